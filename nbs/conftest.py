"""How `pytest --nbval-lax nbs/…` runs the notebooks.

nbdev_clean takes execution counts away, and nbval reads a missing one as a cell that was never run.

The sections, of the paper and beyond it, run at a small size, set below their parameters; `make
figures` runs them at full size. After the last cell of a section of the paper, its tables are
compared with those of `tests/golden`, see tests/test_golden.py. For this it starts without tables
of earlier runs, and from an empty feature store: stored features would hide that their computation
has changed.
"""

import re
import shutil
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from support.compare_tables import compare_folders, read_renames  # noqa: E402
from support.kernels import share_imports  # noqa: E402

RUNS = ROOT / "_runs/nbval"
GOLDEN = ROOT / "tests/golden"
SMALL = {"n_stimuli": 120, "n_permutations": 19, "n_draws": 100}  # those that a notebook has
# of sections beyond the paper, which have no golden tables: the least that still has a spread
SMALL |= {
    "n_networks": 2,
    "n_members": 2,
    "steps": 20,
    "n_curve": 200,
    "n_drawn": 100,
    "n_refits": 8,
    "n_behaviour": 24,
    "n_random": 20,
    "n_pairs": 2,
    "n_choosing": 100,
}
OF_SECTIONS = {  # section → what is other there; None: as the notebook has it
    "dynamics": {"n_stimuli": None},  # snapshots hold responses to the preset's stimuli
    "probes": {"n_stimuli": 60},
    "transfer": {"n_stimuli": 60},
    "content": {"n_stimuli": 60},
    "organism": {"n_stimuli": 60, "preset": "microworld"},
}
# Numbers differ a little between machines: their linear algebra sums in different orders. Without
# AVX
# (ATEN_CPU_CAPABILITY=default MKL_CBWR=COMPATIBLE) averaging changes by 1e-6, perturbations by
# 1e-5.
TOLERANCE = 1e-3


class GoldenTables(pytest.Item):
    """The tables that a section has just written, against the golden ones."""

    def runtest(self) -> None:
        section = section_of(self.path)
        folders = {file.parent for file in (RUNS / section).rglob(f"{section}_*.csv")}
        if len(folders) != 1:
            pytest.fail(
                f"{section} wrote tables into {len(folders)} folders of {RUNS / section}: "
                "one is expected, after all cells of its notebook",
                pytrace=False,
            )
        renamed = read_renames(GOLDEN / "renamed.toml")
        found = compare_folders(
            GOLDEN / section, folders.pop(), tolerance=TOLERANCE, renamed=renamed
        )
        if not found.agrees:
            pytest.fail(
                f"numbers of section {section} have changed (tests/test_golden.py says what "
                f"to do), golden → now:\n{found.describe()}",
                pytrace=False,
            )

    def reportinfo(self):
        return self.path, None, f"{self.path.name}: golden tables"


def section_of(notebook: Path) -> str:
    """`layers` for 1_layers.ipynb."""
    return re.sub(r"^\d+[a-z]*_", "", notebook.stem)


def is_section(notebook: Path) -> bool:
    """Whether it is a section: any notebook of the paper, one beyond it that has a preset."""
    folder, name = notebook.parent.name, notebook.stem
    return folder == "paper" or (
        folder == "beyond" and (name[0].isdigit() or name in ("explorer", "organism"))
    )


def pytest_configure(config):
    """Begin with an empty store: once, in the process that starts all others."""
    if config.getoption("nbval_lax", False) and not hasattr(config, "workerinput"):
        shutil.rmtree(RUNS / "store", ignore_errors=True)


@cache
def _share_imports() -> None:
    """Once, in a process that runs notebooks."""
    share_imports(pytest.MonkeyPatch())


def pytest_collection_modifyitems(items):
    last_cells = {}
    for item in items:
        cell = getattr(item, "cell", None)
        if cell is None:
            continue
        if cell.get("execution_count") is None:
            cell["execution_count"] = 0
        if not is_section(item.path):
            continue
        last_cells[item.path] = item
        if "parameters" in cell.metadata.get("tags", []):
            cell.source += _small_size(cell.source, section_of(item.path))
    for notebook, item in last_cells.items():
        if (GOLDEN / section_of(notebook)).is_dir():
            golden = GoldenTables.from_parent(item.parent, name="golden tables")
            golden.add_marker("slow")
            items.insert(items.index(item) + 1, golden)
    # sections take longest: they begin first, so that all processes end together
    items.sort(key=lambda item: not is_section(item.path))


def pytest_runtest_setup(item):
    """Remove what an earlier run of the same section has written."""
    _share_imports()
    if is_section(item.path) and item.name == "Cell 0":
        shutil.rmtree(RUNS / section_of(item.path), ignore_errors=True)


def _small_size(parameters: str, section: str) -> str:
    """Lines to add below a parameters cell: a small size, and where to read and write."""
    lines = [""]
    for name, value in (SMALL | OF_SECTIONS.get(section, {})).items():
        if value is not None and re.search(rf"^{name}\b", parameters, re.MULTILINE):
            lines.append(f"{name} = {value!r}")
    lines.append(f"out = {f'_runs/nbval/{section}'!r}")
    lines.append("import os")
    lines.append(f"os.environ['SEEING_WORDS_STORE'] = {str(RUNS / 'store')!r}")
    return "\n".join(lines)
