"""A hundred thousand stimuli, 768 units, 13 layers: extracted into a store, then aligned.

The network is a stack of random linear layers over tiny images, so that its forward pass costs
little and the time is that of pooling, writing and comparing. Its 13 layers are extracted into a
new store and aligned, both ways, with two layers of 768 units which share a few dimensions with
the images, under `max_memory` of 4 GiB (beside the features themselves), without a null: 26 pairs
of layers each way. Each step runs in a process of its own, whose peak memory is taken; the second
reads the features from the store. Last, a store with 200 small entries is listed by the command.

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
import pandas as pd
from _common import ALPHAS, SHARED, options, peak, pin_threads, publish, say, timed

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


def features(n: int, units: int, n_layers: int, folder: Path):
    "Those of the network, from the store of the folder or into it; and the images."
    from seeing_words import Store, extract

    images = np.random.default_rng(0).integers(0, 256, (n, PIXELS, PIXELS, 3), np.uint8)
    store = Store(folder / "store")
    model = network(units, n_layers)
    found = extract(model, images, pooling="mean", batch_size=1000, store=store, progress=False)
    return found, images


def others(images: np.ndarray, units: int, n_layers: int) -> np.ndarray:
    "Layers that share some dimensions with the images; the rest is noise."
    rng = np.random.default_rng(1)
    flat = images.reshape(len(images), -1).astype(np.float32)
    shared = (flat - flat.mean(0)) @ rng.normal(size=(flat.shape[1], SHARED)).astype(np.float32)
    layers = rng.standard_normal((n_layers, len(images), units), np.float32)
    weights = rng.normal(size=(SHARED, units)).astype(np.float32)
    for layer in layers:
        layer += shared / shared.std() @ weights
    return layers


def child(what: str, n: int, units: int, n_layers: int, n_others: int, folder: str) -> None:
    "One step in this process."
    from seeing_words import align

    pin_threads()
    seconds, (found, images) = timed(lambda: features(n, units, n_layers, Path(folder)))
    before = peak()
    if what == "align":
        theirs = others(images, units, n_others)
        before = peak()
        seconds, alignment = timed(
            lambda: align(
                found,
                theirs,
                alphas=ALPHAS,
                n_permutations=0,
                n_draws=100,
                max_memory=MAX_MEMORY,
                progress=False,
            )
        )
        say(str(alignment))
    print(json.dumps([seconds, before, peak()]))


def list_entries(n_entries: int, folder: Path) -> float:
    "Seconds of the command that lists a store with so many entries."
    from seeing_words import Store, extract

    store = Store(folder / "many")
    images = np.random.default_rng(0).integers(0, 256, (10, PIXELS, PIXELS, 3), np.uint8)
    model = network(16, 3)
    for i in range(n_entries):
        ids = [f"{i}-{k}" for k in range(len(images))]
        extract(model, images, pooling="mean", ids=ids, store=store, progress=False)
    assert len(store.keys()) == n_entries, len(store.keys())
    words = [str(Path(sys.executable).with_name("seeing-words")), "store", "list"]
    env = dict(os.environ) | {"SEEING_WORDS_STORE": str(store.root)}
    options = {"env": env, "capture_output": True, "text": True, "check": True}
    runs = [timed(lambda: subprocess.run(words, **options)) for _ in range(3)]
    print(runs[-1][1].stdout[-300:])
    return median(seconds for seconds, _ in runs)


def run(size: tuple[int, int, int, int], n_entries: int) -> list[dict]:
    n, units, n_layers, n_others = size
    rows = []
    with tempfile.TemporaryDirectory() as name:
        for what, layers in (("extract", f"{n_layers}"), ("align", f"{n_layers} × {n_others}")):
            answer = subprocess.run(
                [sys.executable, __file__, "--case", json.dumps([what, *size, name])],
                stdout=subprocess.PIPE,
                text=True,
                check=True,
            )
            *printed, last = answer.stdout.splitlines()
            seconds, before, after = json.loads(last)
            print("\n".join(printed))
            say(f"{what}: {seconds:.1f} s, {after:.2f} GiB, {before:.2f} before")
            rows.append(
                {
                    "seconds": seconds,
                    "step": what,
                    "stimuli": n,
                    "units": units,
                    "layers": layers,
                    "peak (GiB)": after,
                    "of which before (GiB)": before if what == "align" else np.nan,
                }
            )
        seconds = list_entries(n_entries, Path(name))
        say(f"`store list` of {n_entries} entries: {seconds:.2f} s")
        rows.append({"seconds": seconds, "step": f"`store list` of {n_entries} entries"})
    table = pd.DataFrame(rows)
    words = table.select_dtypes(exclude="floating").columns
    return table.fillna(dict.fromkeys(words, "")).to_dict("records")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--case"]:
        child(*json.loads(sys.argv[2]))
    else:
        asked = options(__doc__)
        publish("load", run(SIZES[asked.tiny], N_ENTRIES[asked.tiny]), asked.out, pin_threads())
