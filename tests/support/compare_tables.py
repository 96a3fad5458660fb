"""Compare the csv files of two folders, cell by cell.

    python tests/support/compare_tables.py OLD_FOLDER NEW_FOLDER --tolerance 1e-6

Numbers must agree within the tolerance, NaN only with NaN, and text exactly. Names that changed on
purpose are given with `--rename OLD=NEW` or in a toml file (`--renames FILE`), so that their
numbers are still compared.
"""

import argparse
import sys
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

ROUNDING = 1e-12  # |0.123457 - 0.123456| is a little more than 1e-6 in binary


@dataclass(frozen=True)
class Difference:
    """Two values that do not agree.

    Attributes
    ----------
    file, column, row
        Where: a file of the new folder, one of its columns, and its data row from 0. A difference
        of a whole table has no column (`""`) and row -1.
    old, new
        Both values as written.
    size
        |old - new|; infinite unless both are numbers.
    """

    file: str
    column: str
    row: int
    old: str
    new: str
    size: float

    def __str__(self) -> str:
        if not self.column:
            return f"{self.file}: {self.old} → {self.new}"
        where = f"{self.file}, column {self.column!r}, row {self.row}"
        if np.isfinite(self.size):
            return f"{where}: {self.old} → {self.new} (differs by {self.size:.3g})"
        return f"{where}: {self.old!r} → {self.new!r}"


@dataclass
class Comparison:
    """The result of comparing two folders.

    Attributes
    ----------
    differences
        Every pair of values that does not agree, the largest first.
    largest
        The largest |old - new| of each file's numbers, also where it is within the tolerance.
    only_old, only_new
        Files that the other folder lacks, under their new names.
    """

    differences: list[Difference] = field(default_factory=list)
    largest: dict[str, float] = field(default_factory=dict)
    only_old: list[str] = field(default_factory=list)
    only_new: list[str] = field(default_factory=list)

    @property
    def agrees(self) -> bool:
        """Whether every old table is there with its values; new ones may have been added."""
        return not self.differences and not self.only_old

    def describe(self, *, at_most: int = 20) -> str:
        """List missing files and the largest differences.

        Parameters
        ----------
        at_most
            How many differences to list.

        Returns
        -------
        str
            One line for each.
        """
        lines = [f"{name}: missing in the new folder" for name in self.only_old]
        lines += [f"{name}: only in the new folder" for name in self.only_new]
        lines += [str(difference) for difference in self.differences[:at_most]]
        if len(self.differences) > at_most:
            lines.append(f"… and {len(self.differences) - at_most} smaller differences")
        return "\n".join(lines)


def compare_folders(
    old: Path,
    new: Path,
    *,
    tolerance: float = 1e-6,
    renamed: Mapping[str, str] | None = None,
) -> Comparison:
    """Compare all csv files of two folders; files are paired by their names.

    Parameters
    ----------
    old, new
        Folders; subfolders are not searched.
    tolerance
        Largest |old - new| at which two numbers agree.
    renamed
        Old name → new name, for whole file names, column names and text values.

    Returns
    -------
    Comparison
        Differences and missing files.

    Raises
    ------
    FileNotFoundError
        If `old` has no csv file: comparing nothing would always succeed.

    Examples
    --------
    >>> compare_folders(Path("figures/microworld"), Path("_runs/new/microworld")).agrees
    True
    """
    renamed = renamed or {}
    old_files = {renamed.get(path.name, path.name): path for path in sorted(old.glob("*.csv"))}
    new_files = {path.name: path for path in sorted(new.glob("*.csv"))}
    if not old_files:
        raise FileNotFoundError(f"no csv file in {old}")
    result = Comparison()
    result.only_old = [name for name in old_files if name not in new_files]
    result.only_new = [name for name in new_files if name not in old_files]
    for name in old_files:
        if name not in new_files:
            continue
        found, largest = compare_tables(
            _read(old_files[name]),
            _read(new_files[name]),
            file=name,
            tolerance=tolerance,
            renamed=renamed,
        )
        result.differences += found
        result.largest[name] = largest
    result.differences.sort(key=lambda difference: -difference.size)
    return result


def compare_tables(
    old: pd.DataFrame,
    new: pd.DataFrame,
    *,
    file: str = "",
    tolerance: float = 1e-6,
    renamed: Mapping[str, str] | None = None,
) -> tuple[list[Difference], float]:
    """Compare two tables of text as read from csv.

    Columns are paired by name, whatever their order; the new table may have more of them. Rows are
    paired by their labels (text and whole numbers) where these identify every row of both tables,
    otherwise by position.

    Parameters
    ----------
    old, new
        Tables whose cells are all `str`.
    file
        Name reported with the differences.
    tolerance
        Largest |old - new| at which two numbers agree.
    renamed
        Old name → new name, for column names and text values.

    Returns
    -------
    differences : list of Difference
    largest : float
        The largest difference between two numbers, 0 if there are none.

    Examples
    --------
    >>> old = pd.DataFrame({"layer": ["0", "1"], "r": ["0.25", "0.5"]})
    >>> new = pd.DataFrame({"r": ["0.5", "0.25"], "layer": ["1", "0"]})
    >>> compare_tables(old, new)
    ([], 0.0)
    """
    renamed = renamed or {}
    old = old.rename(columns=renamed).replace(dict(renamed))
    if len(old) != len(new):
        return [_of_table(file, f"{len(old)} rows", f"{len(new)} rows")], 0.0
    differences = []
    missing = [column for column in old.columns if column not in new.columns]
    if missing:
        differences.append(_of_table(file, f"columns {missing}", f"only {list(new.columns)}"))
    shared = old.columns.drop(missing)
    rows = _matching_rows(old[shared], new[shared])
    largest = 0.0
    for column in shared:
        for value, row in zip(old[column], rows, strict=True):
            other = new[column].iloc[row]
            size = _distance(value, other)
            if np.isfinite(size):
                largest = max(largest, size)
            if size > tolerance + ROUNDING:
                differences.append(Difference(file, column, int(row), value, other, size))
    return differences, largest


def read_renames(file: Path) -> dict[str, str]:
    """Read names that changed on purpose from a toml file, all tables of which are joined.

    Parameters
    ----------
    file
        Such as tests/golden/renamed.toml.

    Returns
    -------
    dict
        Old name → new name.

    Examples
    --------
    >>> read_renames(Path("tests/golden/renamed.toml"))
    {}
    """
    tables = tomllib.loads(file.read_text(encoding="utf-8"))
    names = {}
    for table in tables.values():
        names |= table
    return names


def _read(path: Path) -> pd.DataFrame:
    return pd.read_csv(path, dtype=str, keep_default_na=False)


def _of_table(file: str, old: str, new: str) -> Difference:
    return Difference(file, "", -1, old, new, np.inf)


def _number(text: str) -> float | None:
    """The number that a cell holds: NaN for an empty one, None for text."""
    if text == "":
        return np.nan
    try:
        return float(text)
    except ValueError:
        return None


def _distance(old: str, new: str) -> float:
    """|old - new|; 0 for equal text and for two NaN, infinite for whatever else is unequal."""
    a = _number(old)
    b = _number(new)
    if old == new or (a is not None and b is not None and np.isnan(a) and np.isnan(b)):
        return 0.0
    if a is None or b is None or np.isnan(a) or np.isnan(b):
        return np.inf
    return abs(a - b)


def _matching_rows(old: pd.DataFrame, new: pd.DataFrame) -> np.ndarray:
    """The row of `new` that belongs to each row of `old`, as positions."""
    in_order = np.arange(len(old))
    labels = [column for column in old.columns if _is_label(old[column]) and _is_label(new[column])]
    if not labels:
        return in_order
    old_labels = pd.MultiIndex.from_frame(old[labels])
    new_labels = pd.MultiIndex.from_frame(new[labels])
    if not (old_labels.is_unique and new_labels.is_unique):
        return in_order
    rows = new_labels.get_indexer(old_labels)
    if (rows < 0).any():
        return in_order  # a label differs: it is reported where it stands
    return rows


def _is_label(column: Iterable[str]) -> bool:
    """Whether a column holds only text and whole numbers."""
    for text in column:
        number = _number(text)
        if number is not None and not text.lstrip("-").isdigit():
            return False
    return True


def _pair(text: str) -> tuple[str, str]:
    old, equals, new = text.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError(f"{text!r}: OLD=NEW is needed")
    return old, new


def main() -> int:
    """Run the command.

    Returns
    -------
    int
        0 where all tables agree, 1 otherwise.
    """
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("old", type=Path, metavar="OLD_FOLDER")
    parser.add_argument("new", type=Path, metavar="NEW_FOLDER")
    parser.add_argument("--tolerance", type=float, default=1e-6)
    parser.add_argument("--rename", type=_pair, action="append", default=[], metavar="OLD=NEW")
    parser.add_argument("--renames", type=Path, metavar="FILE", help="toml file of OLD = NEW")
    parser.add_argument("--at-most", type=int, default=20, help="differences to list")
    given = parser.parse_args()
    renamed = read_renames(given.renames) if given.renames else {}
    renamed |= dict(given.rename)
    result = compare_folders(given.old, given.new, tolerance=given.tolerance, renamed=renamed)
    for name, largest in result.largest.items():
        print(f"{largest:<12.3g}{name}")
    print(result.describe(at_most=given.at_most))
    return 0 if result.agrees else 1


if __name__ == "__main__":
    sys.exit(main())
