"""What the benchmarks share: layers with known alignment, clocks, pinned threads, tables, and the
README made of them.

A benchmark is a table. `publish` writes it as csv, adds the machine and the versions that made it
to machine.csv, and writes every table that is there between the marks of README.md. Tables come
from the csv alone, so that the README says what the csv says. Nothing here is a benchmark: names
that begin with `_` are not run by `make bench`.
"""

import argparse
import json
import os
import platform
import re
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from statistics import median

import matplotlib
import numpy as np
import pandas as pd
import torch
from threadpoolctl import threadpool_limits

HERE = Path(__file__).resolve().parent
TRIED = HERE.parent / "_runs" / "benchmarks"  # where tiny runs go: git ignores it
ALPHAS = tuple(float(a) for a in np.logspace(0, 7, 10))
N_FOLDS, SHARED = 5, 20  # SHARED: planted dimensions
VERSIONS = ("seeing-words", "torch", "numpy", "scipy", "scikit-learn", "himalaya")
START = time.perf_counter()
COMMAND = (sys.executable, "-c", "from seeing_words.app.cli import main; main()")


# Running


def options(doc: str, *flags: str) -> argparse.Namespace:  # tiny, out, and the flags
    "What the command line asks for; the folder for results is there."
    parser = argparse.ArgumentParser(
        description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for flag in ("tiny", *flags):
        parser.add_argument(f"--{flag}", action="store_true")
    parser.add_argument(
        "--out",
        type=Path,
        help="folder for results (default: beside this script; of --tiny: _runs/benchmarks)",
    )
    asked = parser.parse_args()
    asked.out = asked.out or (TRIED if asked.tiny else HERE)
    asked.out.mkdir(parents=True, exist_ok=True)
    return asked


def pin_threads() -> int:
    "One thread for each core, or OMP_NUM_THREADS, in every library alike."
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    threads = int(os.environ.get("OMP_NUM_THREADS", cores))
    torch.set_num_threads(threads)
    threadpool_limits(threads)  # stays until the process ends
    return threads


def say(text: str) -> None:
    print(f"{time.perf_counter() - START:6.0f} s  {text}", flush=True)


def timed(call: Callable) -> tuple[float, object]:
    start = time.perf_counter()
    result = call()
    return time.perf_counter() - start, result


def repeated(call: Callable, *, times: int = 3, long: float = 20.0) -> tuple[float, int, object]:
    "Median seconds of so many calls (of one, if it takes `long`), how many, and the last result."
    seconds, result = timed(call)
    seconds = [seconds]
    while len(seconds) < times and seconds[0] < long:
        again, result = timed(call)
        seconds.append(again)
    return median(seconds), len(seconds), result


@contextmanager
def busy() -> Iterator[None]:
    "Beside a program that keeps one core busy."
    program = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        yield
    finally:
        program.kill()
        program.wait()


def in_new_process(script: str, case: Sequence) -> object:
    "Run a script with `--case`, print what it prints, and return its last line, which is JSON."
    answer = subprocess.run(
        [sys.executable, script, "--case", json.dumps(case)],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    *lines, last = answer.stdout.splitlines()
    print("\n".join(lines), end="\n" if lines else "")
    return json.loads(last)


def peak() -> float:  # GiB of this process so far
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (
        2**30 if platform.system() == "Darwin" else 2**20
    )


# Layers and their operations


def planted(n_layers: int, units: int, shared: np.ndarray, seed: int) -> np.ndarray:
    """Float32 layers (layer, stimulus, unit), the middle ones nearest to what is shared, (stimulus,
    dimension)."""
    rng = np.random.default_rng(seed)
    layers = np.empty((n_layers, len(shared), units), np.float32)
    for layer, depth in zip(layers, np.linspace(-1, 1, n_layers), strict=True):
        noise = rng.standard_normal(layer.shape, np.float32)
        layer[:] = shared @ rng.normal(size=(shared.shape[1], units)) + 4 * (1 + abs(depth)) * noise
    return layers


def two_networks(
    layers: tuple[int, int], units: tuple[int, int], n: int
) -> list[np.ndarray]:  # two (layer, stimulus, unit)
    shared = np.random.default_rng(0).normal(size=(n, SHARED))
    return [
        planted(*side, shared, seed) for seed, side in enumerate(zip(layers, units, strict=True), 1)
    ]


def sweep_operations(
    n_sources: int, n_targets: int, p: int, q: int, n: int, n_alphas: int
) -> float:
    """Floating-point operations of one direction, if the errors of all penalties are multiplied out
    from Gram matrices, of each symmetric product five eighths; decompositions not counted.

    Ours does less: it finds out which penalties may be the best, and computes one half of what is
    symmetric. So a speed in these operations says how fast a plain implementation would have to
    multiply."""
    t = n // N_FOLDS
    m = n - t
    r, gram = min(p, m - 1), 2 * min(m, p) ** 2 * max(m, p)
    sources = n_sources * (gram + n_alphas * (2 * m * m * r + 1.25 * m**3))
    return N_FOLDS * (
        sources
        + n_targets * m * m * q
        + n_sources * n_targets * (n_alphas * m * m + 2 * t * m * (r + q))
    )


def null_operations(
    n_sources: int, n_targets: int, p: int, n: int, n_alphas: int, n_pairings: int, n_units: int
) -> float:
    "The same of the null, observed pairing counted."
    t = n // N_FOLDS
    m = n - t
    r, gram = min(p, m - 1), 2 * min(m, p) ** 2 * max(m, p)
    pairings = n_sources * n_targets * n_pairings
    return N_FOLDS * (
        n_sources * (gram + n_alphas * m * m * r)
        + pairings * (n_alphas * m * m + 2 * t * m * n_units)
    )


def bare_speed(n: int, units: int) -> float:
    "GFLOP/s of torch.mm at the shape of a prediction, the best of 20."
    t = n // N_FOLDS
    a, b = torch.randn(t, n - t), torch.randn(n - t, units)
    return 2e-9 * a.numel() * units / min(timed(lambda: torch.mm(a, b))[0] for _ in range(20))


# Tables


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    found = re.search(r"model name\s*: (.+)", info.read_text()) if info.exists() else None
    return found[1].strip() if found else platform.processor() or platform.machine()


def _memory() -> str:  # GiB
    return f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.1f}"


def _machine(name: str, threads: int) -> dict[str, str]:
    return {
        "table": name,
        "processor": _processor(),
        "cores": str(os.cpu_count()),
        "threads": str(threads),
        "memory (GiB)": _memory(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
    } | {package: version(package) for package in VERSIONS}


def read(path: Path) -> pd.DataFrame:  # of what is written, nothing parsed
    return pd.read_csv(path, dtype=str, keep_default_na=False)


def publish(name: str, rows: list[dict], out: Path, threads: int) -> pd.DataFrame:
    "Write a table, who made it, and the README of the folder."
    table = pd.DataFrame(rows)
    numbers = table.select_dtypes("floating")
    table[numbers.columns] = numbers.map(
        lambda x: "" if np.isnan(x) else f"{x:.3g}" if abs(x) < 1000 else f"{x:.0f}"
    )
    table.to_csv(out / f"{name}.csv", index=False)
    machines = out / "machine.csv"
    others = read(machines).query("table != @name") if machines.exists() else pd.DataFrame()
    both = pd.concat([others, pd.DataFrame([_machine(name, threads)])]).sort_values("table")
    both.to_csv(machines, index=False)
    page = out / "README.md"
    if not page.exists():
        shutil.copy(HERE / "README.md", page)
    page.write_text(with_tables(page.read_text(encoding="utf-8"), out), encoding="utf-8")
    print(table.to_string(index=False))
    return table


def save(fig, path: Path) -> None:
    "Save a figure so that the same numbers make the same file."
    with matplotlib.rc_context({"svg.hashsalt": path.stem}):
        fig.savefig(path, metadata={"Date": None})


# README


def markdown(table: pd.DataFrame) -> str:
    lines = [table.columns, ["---"] * len(table.columns), *table.itertuples(index=False)]
    return "\n".join(
        "| " + " | ".join(cell.replace("|", r"\|") for cell in map(str, line)) + " |"
        for line in lines
    )


def _and_all(short: pd.DataFrame, table: pd.DataFrame, what: str) -> str:
    folded = f"<details><summary>{what}</summary>\n\n{markdown(table)}\n\n</details>"
    return f"{markdown(short)}\n\n{folded}"


def ratios(table: pd.DataFrame) -> str:
    "Of the comparison, times as long by method and case; then the whole of it, folded away."
    extrapolated = np.where(table.measured == "extrapolated", "≈ ", "")
    cells = table.assign(
        case=table.units + " units, " + table.layers, cell=extrapolated + table["times as long"]
    )
    wide = cells.pivot(index="method", columns="case", values="cell").loc[
        table.method.unique(), cells.case.unique()
    ]
    return _and_all(
        wide.fillna("").reset_index(), table, "Seconds, differences, and what was measured"
    )


def slopes(table: pd.DataFrame) -> str:
    "Of the growth, a slope for each method and axis; then the whole of it, folded away."
    one = table.drop_duplicates(["method", "along"])
    wide = one.pivot(index="method", columns="along", values="slope").loc[
        one.method.unique(), one.along.unique()
    ]
    return _and_all(wide.fillna("").reset_index(), table, "Seconds")


DRAWN = {"predictivity": ratios, "growth": slopes}  # other tables as they are


def with_tables(page: str, folder: Path) -> str:
    """Fill `page` between `<!-- name -->` and `<!-- /name -->` with `name`.csv of the folder, where
    there is one."""

    def fill(mark: re.Match) -> str:
        name, path = mark[1], folder / f"{mark[1]}.csv"
        return (
            f"<!-- {name} -->\n{DRAWN.get(name, markdown)(read(path))}\n<!-- /{name} -->"
            if path.exists()
            else mark[0]
        )

    return re.sub(r"<!-- (\w+) -->\n.*?<!-- /\1 -->", fill, page, flags=re.DOTALL)
