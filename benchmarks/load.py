"""A hundred thousand stimuli, 768 units, 13 layers: extracted into a store, then aligned.

The network is a stack of random linear layers over tiny images, so that its forward pass costs
little, and the time is that of pooling, writing and comparing. Its 13 layers are extracted into a
new store, and aligned, both ways, with two layers of 768 units that share some dimensions with the
images: without a null, and under `max_memory` of 4 GiB, which is beside the features themselves
(4 GB of the one network, 0.6 GB of the other). Each step is a process of its own, whose peak memory
is taken; the second reads the features from the store. Last, the command lists a store of 200 small
entries.

Written: load.csv. `--tiny` shows that it runs.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

import numpy as np
from _common import (
    ALPHAS,
    COMMAND,
    SHARED,
    in_new_process,
    options,
    peak,
    pin_threads,
    planted,
    publish,
    say,
    timed,
)

SIZES = {False: (100_000, 768, 13, 2), True: (300, 16, 3, 2)}  # stimuli, units, layers, of others
N_ENTRIES = {False: 200, True: 5}
PIXELS, MAX_MEMORY = 8, 4


def network(units: int, n_layers: int):
    "Random linear layers of an image, each followed by tanh."
    import torch
    from torch import nn

    from seeing_words import Model

    torch.manual_seed(0)
    widths = [3 * PIXELS**2, *[units] * n_layers]
    blocks = [
        nn.Sequential(nn.Linear(a, b), nn.Tanh()) for a, b in zip(widths, widths[1:], strict=False)
    ]

    def preprocess(images):
        return torch.from_numpy(np.stack(images)).flatten(1) / 255

    names = [str(i) for i in range(n_layers)]
    return Model.from_module(nn.Sequential(*blocks), layers=names, preprocess=preprocess)


def noise(n: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (n, PIXELS, PIXELS, 3), np.uint8)


def others(images: np.ndarray, units: int, n_layers: int) -> np.ndarray:
    "Layers that share some dimensions with the images; the rest is noise."
    flat = images.reshape(len(images), -1).astype(np.float32)
    mix = np.random.default_rng(1).normal(size=(flat.shape[1], SHARED)).astype(np.float32)
    shared = (flat - flat.mean(0)) @ mix
    return planted(n_layers, units, shared / shared.std(), 1)


def child(what: str, n: int, units: int, n_layers: int, n_others: int, folder: str) -> None:
    "One step in this process."
    from seeing_words import Store, align, extract

    pin_threads()
    images, model, store = noise(n), network(units, n_layers), Store(Path(folder) / "store")
    how = {"pooling": "mean", "batch_size": 1000, "store": store, "progress": False}
    before = peak()
    seconds, features = timed(lambda: extract(model, images, **how))
    if what == "align":
        theirs = others(images, units, n_others)
        before = peak()
        how = {"n_permutations": 0, "n_draws": 100, "max_memory": MAX_MEMORY, "progress": False}
        seconds, alignment = timed(lambda: align(features, theirs, alphas=ALPHAS, **how))
        say(str(alignment))
    print(json.dumps([seconds, before, peak()]))


def fill(n_entries: int, folder: Path) -> None:
    "A store of small entries."
    from seeing_words import Store, extract

    store, model, images = Store(folder), network(16, 3), noise(10)
    for i in range(n_entries):
        ids = [f"{i}-{k}" for k in range(len(images))]
        extract(model, images, pooling="mean", ids=ids, store=store, progress=False)
    assert len(store.keys()) == n_entries, len(store.keys())


def listed(folder: Path) -> float:
    "Seconds of the command that lists a store, the median of three."
    words = [*COMMAND, "store", "list"]
    env = os.environ | {"SEEING_WORDS_STORE": str(folder)}
    options = {"env": env, "stdout": subprocess.DEVNULL, "check": True}
    return median(timed(lambda: subprocess.run(words, **options))[0] for _ in range(3))


def run(size: tuple[int, int, int, int], n_entries: int) -> list[dict]:
    n, units, n_layers, n_others = size
    rows = []

    def add(step: str, layers: str, seconds: float, before: float, after: float) -> None:
        memory = "" if np.isnan(after) else f", {after:.2f} GiB, {before:.2f} before"
        say(f"{step}: {seconds:.2f} s{memory}")
        of_features = {"stimuli": n, "units": units, "layers": layers}
        rows.append(
            {"seconds": seconds, "step": step}
            | (of_features if layers else dict.fromkeys(of_features, ""))
            | {"peak (GiB)": after, "of which before (GiB)": before}
        )

    with tempfile.TemporaryDirectory() as name:
        for what, layers in (("extract", f"{n_layers}"), ("align", f"{n_layers} × {n_others}")):
            add(what, layers, *in_new_process(__file__, [what, *size, name]))
        fill(n_entries, Path(name) / "many")
        seconds = listed(Path(name) / "many")
        add(f"`store list` of {n_entries} entries", "", seconds, np.nan, np.nan)
    return rows


if __name__ == "__main__":
    if sys.argv[1:2] == ["--case"]:
        child(*json.loads(sys.argv[2]))
    else:
        asked = options(__doc__)
        publish("load", run(SIZES[asked.tiny], N_ENTRIES[asked.tiny]), asked.out, pin_threads())
