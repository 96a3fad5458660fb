"""Sections on 1, 2 and 3 workers: the tables of the serial run, also where a worker is killed.

Each worker imports PyTorch, which takes longer than its work here: there are as few as will do.
"""

import os
import signal
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from clusters import PATIENCE, Diary, until
from runs import new_checkout, notebook
from typer.testing import CliRunner

pytest.importorskip("distributed")

from seeing_words.app import cli
from seeing_words.app.run import Run, start
from seeing_words.core.arrays import feature_array
from seeing_words.core.cluster import local_workers, progress_of
from seeing_words.core.errors import InputError
from seeing_words.core.parallel import computing_with, parallel_map
from seeing_words.data.perturb import perturb
from seeing_words.measures.inference import resample_weights
from seeing_words.measures.scores import tidy
from seeing_words.models.store import Store
from seeing_words.studies.controls import align_baselines, strongest_scores
from seeing_words.studies.layers import (
    align_all,
    apart_scores,
    depth_scores,
    equally_deep,
    null_scores,
    similarity_grids,
)
from seeing_words.studies.perturbations import change_scores

PRESET = """
source = "microworld"
vision = ["microworld/vision-0", "microworld/vision-1"]
language = ["microworld/llama-0", "microworld/bloom-0"]
n_stimuli = 40
n_folds = 3
n_draws = 10
n_permutations = 3
n_untrained = 1
"""
PATHS = {"OMP_NUM_THREADS": "1", "TQDM_DISABLE": "1"}


def begin(root: Path, monkeypatch) -> Run:
    "A run with an empty store."
    root.mkdir()
    new_checkout(root, monkeypatch)
    (root / "mine.toml").write_text(PRESET)
    torch.set_num_threads(1)
    return start("sweep", preset=str(root / "mine.toml"))


def tables(run: Run) -> dict[str, str]:
    "Some of what sections compute, as they write it: name → CSV."
    vision = equally_deep({name: run.features(name) for name in run.preset.vision})
    language = equally_deep({name: run.features(name, "mean") for name in run.preset.language})
    shared = {"weights": resample_weights(run.folds, n_draws=run.preset.n_draws)}
    shared |= {"folds": run.folds, "results": run.results}
    aligned = align_all(vision, language, **shared)
    grey = perturb(run.stimuli, "greyscale")
    wanted = [(name, None, grey) for name in run.preset.vision]
    changed = {"greyscale": dict(zip(vision, run.many_features(wanted, layers=(-2, -1))))}
    words = np.random.default_rng(0).normal(size=(1, len(run.stimuli), 6))
    baselines = {"noise": feature_array(words, ids=run.stimuli.ids)}
    of_baselines = align_baselines(baselines, language, **shared)
    some = {name: features.isel(layer=[-2, -1]) for name, features in vision.items()}
    changes = change_scores(
        some, changed, language, modality="vision", folds=run.folds, weights=shared["weights"]
    )
    captions = {"intact": run.stimuli.caption()}
    losses = {name: run.losses(name, captions)["intact"] for name in run.preset.language}
    made = {
        "grid": aligned.grid.to_dataframe(),
        "apart": tidy(apart_scores(aligned)),
        "depth": tidy(depth_scores(aligned, "vision")),
        "null": null_scores(aligned, n_permutations=3).to_dataframe(),
        "cka": similarity_grids(aligned).to_dataframe(),
        "baseline": tidy(strongest_scores(of_baselines)),
        "changes": tidy(changes),
        "losses": pd.DataFrame(losses),
    }
    return {name: table.to_csv() for name, table in made.items()}


def entries(run: Run) -> dict[str, str]:
    "The store's entries, and the files of each with their digests."
    keys = Store(run.store.root).keys()
    return {key: (run.store.root / key / "manifest.json").read_text() for key in keys}


@pytest.fixture(scope="module")
def serial(tmp_path_factory):
    "Tables and store of a run without workers."
    with pytest.MonkeyPatch.context() as patch:
        run = begin(tmp_path_factory.mktemp("serial") / "here", patch)
        return tables(run), entries(run)


@pytest.mark.slow
@pytest.mark.parametrize("n", [1, 3])  # two workers run a section and an extraction below
def test_tables_and_store_are_those_of_the_serial_run(n, serial, tmp_path, monkeypatch):
    run = begin(tmp_path / "there", monkeypatch)
    with local_workers(n, n_cores=n, patience=PATIENCE) as executor, computing_with(executor):
        made = tables(run)
        assert len(executor.workers) == n
        assert progress_of(executor).done > 40  # extractions, sources, pairs and folds
    assert made == serial[0]
    assert entries(run) == serial[1]
    for value in run.store.verify().values():
        assert value == []
    assert list((run.store.root / "cluster").iterdir()) == []  # nothing is left of the arrays
    if n == 3:
        begun = start("sweep", preset=str(tmp_path / "there" / "mine.toml"))
        assert tables(begun) == serial[0]  # from the store, without workers


def test_threads_and_processes_are_executors_too(serial, tmp_path, monkeypatch):
    run = begin(tmp_path / "threads", monkeypatch)
    with ThreadPoolExecutor(2) as threads, computing_with(threads):
        assert tables(run) == serial[0]
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as processes:
        with computing_with(processes):
            assert parallel_map(abs, [-1, 2], task="number") == [1, 2]


OWN = """
import os, time
import torch
from torch import nn


def net():
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(3, 4, 8, 8), nn.Conv2d(4, 5, 2))

    def preprocess(images):
        with open({diary!r}, "a") as file:
            file.write(f"batch {{os.getpid()}}\\n")
        time.sleep(0.2)
        return torch.stack([torch.from_numpy(image.copy()) for image in images]).permute(
            0, 3, 1, 2
        ) / 255

    return module, preprocess, ["0", "1"]
"""


@pytest.mark.slow
def test_an_extraction_whose_worker_is_killed_goes_on_at_the_block_it_reached(
    tmp_path, monkeypatch
):
    root = tmp_path / "killed"
    root.mkdir()
    new_checkout(root, monkeypatch)
    diary = Diary(tmp_path / "diary")
    (root / "net.py").write_text(OWN.format(diary=diary.path))
    text = PRESET.replace('"microworld/vision-0", "microworld/vision-1"', '"./net.py:net"')
    text = text.replace("n_stimuli = 40", "n_stimuli = 600\nbatch_size = 50")
    (root / "mine.toml").write_text(text + '[poolings]\nvision = ["mean"]\nlanguage = ["mean"]\n')
    run = start("sweep", preset=str(root / "mine.toml"))
    (name,) = run.preset.vision

    def kill() -> None:
        pid = diary.pid("batch")
        until(lambda: len(diary.lines()) >= 8)  # the first block of 5 batches is stored
        os.kill(pid, signal.SIGKILL)

    with local_workers(2, n_cores=2, patience=PATIENCE) as executor, computing_with(executor):
        with ThreadPoolExecutor(1) as beside:
            killing = beside.submit(kill)
            found = run.features(name)
            killing.result()
    batches = len(diary.lines())
    assert 12 < batches < 24 - 4  # 12 at least, and the first block once
    with computing_with(None):
        monkeypatch.setenv("SEEING_WORDS_STORE", str(tmp_path / "again"))
        again = start("sweep", preset=str(root / "mine.toml")).features(name)
    assert again.identical(found)


def command(root: Path, *words: str) -> subprocess.CompletedProcess:
    "`seeing-words …` in a checkout, in a process of its own."
    return subprocess.run(
        [sys.executable, "-c", "from seeing_words.app.cli import main; main()", *words],
        cwd=root,
        env=os.environ | PATHS | {"SEEING_WORDS_STORE": str(root / "_store")},
        capture_output=True,
        text=True,
    )


SWEEP = {
    "parameters": 'preset: str = "microworld"\nout: str = "figures"',
    "start": "from seeing_words.app.run import start\nrun = start('sweep', preset=preset, out=out)",
    "compute": """
import os
from seeing_words.core.parallel import current_executor, parallel_map
from seeing_words.measures.inference import resample_weights
from seeing_words.studies.layers import align_all
vision = {name: run.features(name) for name in run.preset.vision}
language = {name: run.features(name, "mean") for name in run.preset.language}
weights = resample_weights(run.folds, n_draws=5)
aligned = align_all(vision, language, folds=run.folds, weights=weights, results=run.results)
run.table(aligned.grid.to_dataframe(), "grid")
where = parallel_map(lambda i: os.getpid(), range(4), task="process")
print("elsewhere:", current_executor() is not None and os.getpid() not in where)
""",
}


@pytest.mark.slow
def test_figures_extract_and_align_take_workers(tmp_path, monkeypatch, copied_kernels):
    torch.set_num_threads(1)
    here, there = tmp_path / "here", tmp_path / "there"
    for root in (here, there):
        root.mkdir()
        new_checkout(root, monkeypatch)
        notebook(root / "nbs/paper/1_sweep.ipynb", **SWEEP)
        (root / "mine.toml").write_text(PRESET)
    in_turn = CliRunner(env=PATHS | {"SEEING_WORDS_STORE": str(here / "_store")})
    monkeypatch.chdir(here)
    serial = in_turn.invoke(cli.app, ["figures", "--preset", "mine.toml"])
    assert serial.exit_code == 0, serial.output
    extracted = command(there, "extract", "--preset", "mine.toml", "--workers", "1", "--json")
    assert extracted.returncode == 0, extracted.stderr
    assert extracted.stdout.count('"condition": "intact"') == 4
    run = command(there, "figures", "--preset", "mine.toml", "--workers", "2")
    assert run.returncode == 0, run.stderr
    assert "Scheduler: tcp://127.0.0.1:" in run.stderr
    assert "its pages: http://127.0.0.1:" in run.stderr
    grids = [next(root.glob("figures/*/sweep_grid.csv")).read_bytes() for root in (here, there)]
    assert grids[0] == grids[1]
    executed = next(there.glob("_runs/*/sweep.ipynb")).read_text()
    assert "elsewhere: True" in executed
    assert "elsewhere: False" in next(here.glob("_runs/*/sweep.ipynb")).read_text()
    for name in ("a", "b"):
        features = np.random.default_rng(len(name)).normal(size=(2, 40, 5))
        np.save(there / f"{name}.npy", features + ord(name))
    shared = ("align", "a.npy", "b.npy", "--folds", "3", "--permutations", "5")
    monkeypatch.chdir(there)
    done = in_turn.invoke(cli.app, [*shared, "--out", "serial"])
    assert done.exit_code == 0, done.output
    done = command(there, *shared, "--out", "workers", "--workers", "2")
    assert done.returncode == 0, done.stderr
    first, second = ((there / out / "alignment.csv").read_bytes() for out in ("serial", "workers"))
    assert first == second
    both = [*shared, "--workers", "2", "--scheduler", "tcp://x:1"]
    with pytest.raises(InputError, match="give one of --scheduler, --workers and --slurm"):
        in_turn.invoke(cli.app, both, catch_exceptions=False)
