"""Golden numbers: what the paper's sections computed before the package was rebuilt.

`tests/golden/<section>/*.csv` are the tables of the four sections at a small size (n_stimuli=120,
n_permutations=19, n_draws=100), written by the code of commit 8096817 with one thread. `make test`
runs each section once, under nbval, at just this size; nbs/conftest.py then compares its tables
with the golden ones and fails with the largest differences. `pytest --nbval-lax nbs/paper` does the
same.

**When a number has changed**, first suppose that the code is wrong. A column, label or file that
was renamed on purpose belongs in tests/golden/renamed.toml; its numbers are still compared.

**To regenerate on purpose**, because a defect was mended or a definition changed, run the section
and copy its tables, then look at every difference that git shows and say in the commit message why
each is right:

    OMP_NUM_THREADS=1 .venv/bin/python -m pytest --nbval-lax nbs/paper/1_layers.ipynb
    cp _runs/nbval/layers/microworld/*/layers_*.csv tests/golden/layers/

A table that is added later has no golden numbers until it is copied in the same way.
"""

import subprocess
import sys
from pathlib import Path

import nbformat
import pandas as pd
import pytest
from conftest import ROOT
from support.compare_tables import compare_folders, compare_tables, read_renames

GOLDEN = ROOT / "tests/golden"
SECTIONS = ["layers", "perturbations", "pick_a_pic", "averaging"]
COMPARE = ROOT / "tests/support/compare_tables.py"

OLD = """condition,layer,r,low
intact,0,0.5,
intact,1,0.25,0.125
grey,0,0.75,0.5
"""


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    "Two folders with the same table."
    for name in ("old", "new"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "scores.csv").write_text(OLD)
    return tmp_path / "old", tmp_path / "new"


# The golden tables themselves; nbs/conftest.py compares them with what the sections compute


@pytest.mark.parametrize("section", SECTIONS)
def test_a_section_has_golden_tables_of_numbers(section):
    notebooks = [path.name for path in (ROOT / "nbs/paper").glob(f"*_{section}.ipynb")]
    assert len(notebooks) == 1, "the notebook was renamed: rename tests/golden/<section> as well"
    tables = {path.name: pd.read_csv(path) for path in (GOLDEN / section).glob("*.csv")}
    numbers = sum(table.select_dtypes("number").size for table in tables.values())
    assert all(name.startswith(section) for name in tables)
    assert numbers > 100


def test_every_golden_folder_belongs_to_a_section():
    assert {path.name for path in GOLDEN.iterdir() if path.is_dir()} == set(SECTIONS)


# The comparison


def test_equal_tables_agree(folders):
    found = compare_folders(*folders, tolerance=0)
    assert found.agrees
    assert found.largest == {"scores.csv": 0}


def test_a_number_outside_the_tolerance_is_reported_with_its_place(folders):
    old, new = folders
    (new / "scores.csv").write_text(OLD.replace("0.25,", "0.251,").replace("0.75", "0.7501"))
    found = compare_folders(old, new, tolerance=5e-4)
    assert not found.agrees
    assert [(d.file, d.column, d.row, d.old, d.new) for d in found.differences] == [
        ("scores.csv", "r", 1, "0.25", "0.251")
    ]
    assert found.largest["scores.csv"] == pytest.approx(0.001)
    everything = compare_folders(old, new, tolerance=1e-6)
    assert [d.row for d in everything.differences] == [1, 2], "the largest difference comes first"


def test_one_in_the_sixth_decimal_is_within_one_millionth():
    old = pd.DataFrame({"r": ["0.123456"]})
    assert compare_tables(old, pd.DataFrame({"r": ["0.123457"]}), tolerance=1e-6)[0] == []
    assert len(compare_tables(old, pd.DataFrame({"r": ["0.123458"]}), tolerance=1e-6)[0]) == 1


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("0.5,\n", "0.5,0\n"),  # NaN became a number
        ("0.125", ""),  # a number became NaN
        ("0.125", "inf"),
        ("grey", "gray"),
        ("grey,0,0.75,0.5\n", ""),  # a row is gone
        ("condition,layer,r,low", "condition,layer,score,low"),
    ],
)
def test_what_is_no_small_change_of_a_number_is_reported(folders, before, after):
    old, new = folders
    assert before in OLD
    (new / "scores.csv").write_text(OLD.replace(before, after))
    found = compare_folders(old, new, tolerance=10)
    assert len(found.differences) == 1
    assert not found.agrees
    assert "scores.csv" in found.describe()


def test_order_of_rows_and_columns_does_not_matter(folders):
    old, new = folders
    table = pd.read_csv(new / "scores.csv", dtype=str)
    table.loc[::-1, ["r", "layer", "low", "condition"]].to_csv(new / "scores.csv", index=False)
    assert compare_folders(old, new, tolerance=0).agrees


def test_missing_files_are_listed_and_only_lost_ones_disagree(folders):
    old, new = folders
    (new / "more.csv").write_text(OLD)
    added = compare_folders(old, new)
    assert added.only_new == ["more.csv"] and added.agrees
    lost = compare_folders(new, old)
    assert lost.only_old == ["more.csv"] and not lost.agrees


def test_an_empty_folder_is_refused(folders, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="no csv file"):
        compare_folders(tmp_path / "empty", folders[1])


def test_renamed_files_columns_and_labels_are_still_compared(folders, tmp_path):
    old, new = folders
    (new / "scores.csv").unlink()
    renames = tmp_path / "renamed.toml"
    renames.write_text(
        '[files]\n"scores.csv" = "alignment.csv"\n'
        '[columns]\nr = "score"\n[labels]\ngrey = "greyscale"\n'
    )
    text = OLD.replace(",r,", ",score,").replace("grey", "greyscale")
    (new / "alignment.csv").write_text(text)
    assert compare_folders(old, new, tolerance=0, renamed=read_renames(renames)).agrees
    (new / "alignment.csv").write_text(text.replace("0.75", "0.76"))
    found = compare_folders(old, new, renamed=read_renames(renames))
    assert [(d.file, d.column, d.row) for d in found.differences] == [("alignment.csv", "score", 2)]


def test_the_command_prints_differences_and_fails(folders):
    old, new = folders
    command = [sys.executable, COMPARE, old, new, "--tolerance", "1e-6"]
    assert subprocess.run(command, capture_output=True).returncode == 0
    (new / "scores.csv").write_text(OLD.replace("0.25,", "0.26,").replace("grey", "greyscale"))
    found = subprocess.run([*command, "--rename", "grey=greyscale"], capture_output=True, text=True)
    assert found.returncode == 1
    assert "scores.csv, column 'r', row 1: 0.25 → 0.26 (differs by 0.01)" in found.stdout
    assert "grey" not in found.stdout


# The comparison after a notebook's last cell


@pytest.mark.slow
def test_a_changed_or_missing_table_fails_the_notebook_that_wrote_it(tmp_path):
    paper, support = tmp_path / "nbs/paper", tmp_path / "tests/support"
    for folder in (paper, support):
        folder.mkdir(parents=True)
    for name in ("nbs/conftest.py", "tests/support/compare_tables.py", "pyproject.toml"):
        (tmp_path / name).write_text((ROOT / name).read_text())
    # these notebooks import nothing
    (support / "kernels.py").write_text("def share_imports(patch):\n    pass\n")
    parameters = nbformat.v4.new_code_cell(
        'n_stimuli: int | None = None\nout: str = "figures"', metadata={"tags": ["parameters"]}
    )

    def section(name: str, golden: str, computes: bool = True) -> None:
        compute = nbformat.v4.new_code_cell(
            "from pathlib import Path\n"
            "folder = Path('../..', out, 'microworld')\n"
            "folder.mkdir(parents=True)\n"
            "text = f'n,r\\n{n_stimuli},0.5\\n'\n"
            f"written = (folder / '{name}_scores.csv').write_text(text)"
        )
        notebook = nbformat.v4.new_notebook(
            cells=[parameters, compute] if computes else [parameters],
            metadata={"kernelspec": {"name": "python3", "display_name": "", "language": "python"}},
        )
        nbformat.write(notebook, paper / f"1_{name}.ipynb")
        kept = tmp_path / f"tests/golden/{name}/{name}_scores.csv"
        kept.parent.mkdir(parents=True)
        kept.write_text(f"n,r\n120,{golden}\n")

    section("same", "0.5009")
    section("changed", "0.5011")
    section("lost", "0.5", computes=False)
    earlier = tmp_path / "_runs/nbval/lost/microworld/lost_scores.csv"
    earlier.parent.mkdir(parents=True)
    earlier.write_text("n,r\n120,0.5\n")
    (tmp_path / "tests/golden/renamed.toml").write_text((GOLDEN / "renamed.toml").read_text())

    printed = _nbval(tmp_path)
    assert "2 failed, 6 passed" in printed, "five cells, and the comparison of what is the same"
    assert "changed_scores.csv, column 'r', row 0: 0.5011 → 0.5" in printed
    assert "lost wrote tables into 0 folders" in printed, "a table of an earlier run was compared"


def _nbval(root: Path) -> str:
    "What pytest prints about a project's notebooks."
    command = [sys.executable, "-m", "pytest", "--nbval-lax", "-p", "no:cacheprovider", "nbs"]
    return subprocess.run(command, cwd=root, capture_output=True, text=True).stdout
