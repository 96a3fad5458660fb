"""Every benchmark runs at a size of no interest, and its README says what its tables say."""

import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from conftest import ROOT, shared_place
from filelock import FileLock

BENCHMARKS = ROOT / "benchmarks"
COMMON = runpy.run_path(str(BENCHMARKS / "_common.py"))
TABLES = {  # table: the script that writes it, and its columns
    "predictivity": (
        "predictivity",
        [
            "times as long",
            "method",
            "units",
            "layers",
            "seconds",
            "measured",
            "timings",
            "max |Δr|",
            "max |Δr| of a unit at one λ",
            "how",
        ],
    ),
    "speed": (
        "predictivity",
        [
            "share of torch.mm",
            "units",
            "layers",
            "GFLOP/s",
            "GFLOP/s of torch.mm",
            "seconds",
            "peak memory (GiB)",
            "of which before, with features",
        ],
    ),
    "growth": ("growth", ["slope", "along", "method", "value", "seconds", "timings", "measured"]),
    "memory": (
        "memory",
        [
            "times as much",
            "method",
            "units",
            "layers",
            "GiB for the work",
            "peak (GiB)",
            "of which before (GiB)",
        ],
    ),
    "similarity": (
        "similarity",
        [
            "times as long",
            "method",
            "seconds",
            "measure",
            "permutations",
            "layers",
            "units",
            "n",
            "measured",
            "timings",
            "max |Δ|",
        ],
    ),
    "align": (
        "align",
        [
            "times the sweep (CPU)",
            "method",
            "layers",
            "units",
            "n",
            "seconds of CPU",
            "seconds",
            "times quiet align",
            "measured",
        ],
    ),
    "figures": (
        "figures",
        [
            "times as long beside a busy program",
            "section",
            "seconds",
            "seconds beside a busy program",
        ],
    ),
    "extraction": (
        "extraction",
        [
            "overhead (%)",
            "network",
            "store",
            "seconds",
            "seconds of the bare pass",
            "blocks",
            "units",
            "images",
            "batch",
            "rounds timed",
        ],
    ),
    "extraction_memory": (
        "extraction",
        [
            "beyond one bare batch (MiB)",
            "network",
            "peak (MiB)",
            "peak of one bare batch (MiB)",
            "peak of the model alone (MiB)",
            "images",
            "batch",
        ],
    ),
    "scale_out": (
        "scale_out",
        [
            "times as fast as one worker",
            "work",
            "workers",
            "times as fast as without",
            "seconds",
            "tasks",
            "rounds timed",
        ],
    ),
    "load": (
        "load",
        [
            "seconds",
            "step",
            "stimuli",
            "units",
            "layers",
            "peak (GiB)",
            "of which before (GiB)",
        ],
    ),
    "full_size": (
        "full_size",
        [
            "times the sweep",
            "share of torch.mm",
            "part",
            "seconds",
            "GFLOP/s",
            "GFLOP/s of torch.mm",
            "layers",
            "units",
            "n",
            "penalties",
            "permutations",
            "peak memory (GiB)",
        ],
    ),
}
SCRIPTS = sorted({script for script, _ in TABLES.values()})
APART = {
    "memory",
    "extraction",
    "figures",
    "load",
    "scale_out",
}  # they compare peaks of processes, or start others
FIGURES = {"predictivity", "growth"}


IN_TURN = """import runpy, sys
for script, out in zip(sys.argv[1::2], sys.argv[2::2]):
    sys.argv = [script, "--tiny", "--out", out]
    runpy.run_path(script, run_name="__main__")"""


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """The folder that the tiny run of a script filled; each is run once, however many processes
    test it."""
    place = shared_place(tmp_path_factory) / "benchmarks"

    def run(script: str) -> Path:
        together = (
            [script] if script in APART else [name for name in SCRIPTS if name not in APART]
        )  # they share their imports
        with FileLock(place.with_name(f"benchmarks-{together[0]}.lock")):
            if not (place / script).exists():
                fill({name: place / name for name in together})
        failed = (place / script / "failed").read_text()
        assert not failed, failed
        return place / script

    return run


def fill(folders: dict[str, Path]) -> None:
    "Run scripts one after the other in a process of their own, and note what went wrong."
    for folder in folders.values():
        folder.mkdir(parents=True)
    before = written(BENCHMARKS)
    env = os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{BENCHMARKS}", "OMP_NUM_THREADS": "1"}
    words = [
        str(word) for script, out in folders.items() for word in (BENCHMARKS / f"{script}.py", out)
    ]
    done = subprocess.run(
        [sys.executable, "-c", IN_TURN, *words],
        cwd=next(iter(folders.values())),
        env=env,
        capture_output=True,
        text=True,
    )
    touched = "" if written(BENCHMARKS) == before else "a tiny run leaves what is committed alone"
    for folder in folders.values():
        (folder / "failed").write_text(done.stderr if done.returncode else touched)


def written(folder: Path) -> dict[Path, int]:  # file → when
    return {path: path.stat().st_mtime_ns for path in folder.iterdir() if path.is_file()}


@pytest.mark.slow
@pytest.mark.parametrize("script", SCRIPTS)
def test_tiny_run_writes_its_tables_and_figures(script, tiny):
    out, mine = (
        tiny(script),
        {name: columns for name, (by, columns) in TABLES.items() if by == script},
    )
    for name, columns in mine.items():
        table = pd.read_csv(out / f"{name}.csv")
        assert list(table) == columns
        assert (table.filter(regex="^seconds|^peak").stack().dropna() > 0).all()
        assert set(table.get("measured", [])) <= {"measured", "extrapolated"}
    assert set(pd.read_csv(out / "machine.csv").table) == set(mine)
    assert {path.stem for path in out.glob("*.svg")} == FIGURES & set(mine)


@pytest.mark.slow
@pytest.mark.parametrize("script", SCRIPTS)
def test_tables_are_drawn_in_the_readme(script, tiny):
    page = (tiny(script) / "README.md").read_text(encoding="utf-8")
    assert COMMON["with_tables"](page, tiny(script)) == page
    for name, (by, columns) in TABLES.items():
        first = "method" if name in FIGURES else columns[0]
        assert (f"<!-- {name} -->\n| {first} |" in page) or by != script


@pytest.mark.slow
def test_peers_compute_what_is_computed_here(tiny):
    table = pd.read_csv(tiny("predictivity") / "predictivity.csv").set_index("method")
    same, at_one = table["max |Δr|"], table["max |Δr| of a unit at one λ"]
    assert same[["seeing_words", "scikit-learn RidgeCV"]].max() < 1e-5
    assert at_one.max() < 1e-5
    assert {*at_one.index[at_one.isna()]} == {"himalaya KernelRidgeCV, 5 targets joined"}
    assert pd.read_csv(tiny("similarity") / "similarity.csv")["max |Δ|"].max() < 1e-6


def test_every_script_is_run_by_make_and_here():
    scripts = {path.stem for path in BENCHMARKS.glob("[!_]*.py")}
    named = re.search(r"^BENCHMARKS = (.+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)[
        1
    ].split()
    assert scripts == set(SCRIPTS)
    left_out = ["full_size", "figures", "load"]
    assert sorted([*named, *left_out]) == SCRIPTS, "make bench runs all but what takes long"


def test_readme_says_what_the_tables_say():
    page = (BENCHMARKS / "README.md").read_text(encoding="utf-8")
    assert COMMON["with_tables"](page, BENCHMARKS) == page
    assert set(re.findall(r"<!-- (\w+) -->", page)) == {*TABLES, "machine"}
    assert {path.stem for path in BENCHMARKS.glob("*.csv")} <= {*TABLES, "machine"}


def test_tables_fill_their_marks_alone(tmp_path):
    page = "a\n<!-- full -->\nold\n<!-- /full -->\nb\n<!-- none -->\nkept\n<!-- /none -->\n"
    (tmp_path / "full.csv").write_text("x,|y|\n1,\n")
    filled = COMMON["with_tables"](page, tmp_path)
    assert filled == page.replace("old", "| x | \\|y\\| |\n| --- | --- |\n| 1 |  |")


def test_long_calls_are_not_repeated():
    calls = []
    assert COMMON["repeated"](lambda: calls.append(0), long=0)[1] == len(calls) == 1
    assert COMMON["repeated"](lambda: calls.append(0))[1] == len(calls) - 1 == 3


def test_operations_follow_the_sizes_of_the_products():
    count = COMMON["sweep_operations"]
    one, more_targets = count(1, 1, 64, 96, 50, 10), count(1, 2, 64, 96, 50, 10)
    m, t = 40, 10
    gram, errors, predictions = m * m * 96, 10 * m * m, 2 * t * m * (m - 1 + 96)
    assert more_targets - one == 5 * (gram + errors + predictions)
    source = 2 * m * m * 64 + 10 * (2 * m * m * (m - 1) + 1.25 * m**3)
    assert count(2, 2, 64, 96, 50, 10) - more_targets == 5 * (source + 2 * (errors + predictions))
