"""The same work without workers, and on one and two workers of this machine.

Extraction: random networks of ViT's architecture, each over two sets of images, into a new store;
a task is one network and one set. Sweep: every layer of three networks with every layer of three
others, both ways, of planted features; a task is one source network in one direction, with all its
targets. Without workers, one thread computes; each worker has one thread, too. So on two cores, two
workers could be twice as fast as one; what is missing is the sending of tasks, the reading of
weights by both, and the end, at which one waits for the other. Workers are started before, and have
run a task of each kind. The three ways are timed in turn, so that a busy machine slows all;
ratios are medians over rounds. Results are compared, too: they must be the same bits.

Written: scale_out.csv. `--tiny` shows that it runs.
"""

import os
import tempfile
from collections.abc import Callable
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np
from _common import ALPHAS, SHARED, options, planted, publish, say, timed


@dataclass(frozen=True)
class Case:
    networks: int
    hidden: int
    blocks: int
    pixels: int
    images: int
    layers: int
    units: int
    n: int
    rounds: int


CASES = {False: Case(4, 192, 6, 96, 100, 6, 256, 400, 3), True: Case(2, 32, 2, 32, 8, 2, 16, 40, 1)}


def saved(case: Case, folder: Path) -> list[str]:
    "Random networks in folders, as `save_pretrained` leaves them."
    import torch
    from transformers import ViTConfig, ViTImageProcessorPil, ViTModel

    names = []
    for seed in range(case.networks):
        config = ViTConfig(
            hidden_size=case.hidden,
            num_hidden_layers=case.blocks,
            num_attention_heads=4,
            intermediate_size=4 * case.hidden,
            image_size=case.pixels,
        )
        torch.manual_seed(seed)
        place = folder / f"net-{seed}"
        ViTModel(config).save_pretrained(place)
        ViTImageProcessorPil(size={"height": case.pixels, "width": case.pixels}).save_pretrained(
            place
        )
        names.append(str(place))
    return names


def extraction(case: Case, folder: Path) -> tuple[Callable[[], object], int]:
    "A call that extracts into a new store and returns digests of its entries, and its tasks."
    from seeing_words.app.presets import Preset
    from seeing_words.app.run import store_features
    from seeing_words.core.parallel import one_by_one
    from seeing_words.data.stimuli import StimulusSet
    from seeing_words.models.store import Store

    names = saved(case, folder)
    preset = Preset("b", "networks", "microworld", tuple(names), ("microworld/llama-0",))
    shown = []
    for seed in range(2):
        shape = case.images, case.pixels, case.pixels, 3
        images = np.random.default_rng(seed).integers(0, 256, shape, np.uint8)
        ids = tuple(str(i) for i in range(case.images))
        shown.append(StimulusSet(f"noise {seed}", ids, images))
    jobs = [(name, i) for name in names for i in range(len(shown))]

    def run() -> object:
        root = Path(tempfile.mkdtemp(dir=folder))

        def store(job: tuple[str, int]) -> object:
            return store_features(preset, job[0], shown[job[1]], ["cls", "mean"], 0, (), root)

        one_by_one(store, jobs, task="extract")
        keys = Store(root).keys()
        return {key: (root / key / "manifest.json").read_text() for key in keys}

    return run, len(jobs)


def sweep(case: Case) -> tuple[Callable[[], object], int]:
    "A call that aligns three networks with three others, and its tasks."
    from seeing_words.core.arrays import feature_array
    from seeing_words.measures.folds import make_folds
    from seeing_words.studies.layers import align_networks

    shared = np.random.default_rng(0).normal(size=(case.n, SHARED))
    features = [
        feature_array(planted(case.layers, case.units, shared, seed), model=str(seed))
        for seed in range(6)
    ]
    vision = {f"v{i}": one for i, one in enumerate(features[:3])}
    language = {f"l{i}": one for i, one in enumerate(features[3:])}
    folds = make_folds(case.n)

    def run() -> object:
        grid = align_networks(vision, language, folds=folds, alphas=ALPHAS)
        return grid.predictivity.values.tobytes()

    return run, 6


def run(case: Case) -> list[dict]:
    import torch

    from seeing_words.core.cluster import local_workers
    from seeing_words.core.parallel import computing_with

    torch.set_num_threads(1)
    rows = []
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        os.environ["SEEING_WORDS_STORE"] = str(folder / "store")
        executors = {"none": None}
        for n in (1, 2):
            executors[str(n)] = stack.enter_context(local_workers(n, n_cores=n))
        works = {"extraction": extraction(case, folder), "sweep": sweep(case)}
        for what, (call, n_tasks) in works.items():

            def once(way: str, call=call) -> tuple[float, object]:
                executor = executors[way]
                with computing_with(executor) if executor else nullcontext():
                    return timed(call)

            results = {way: once(way)[1] for way in executors}  # imports, first of all
            assert len({repr(result) for result in results.values()}) == 1, "not the same bits"
            seconds = {way: [] for way in executors}
            for _ in range(case.rounds):
                for way in executors:
                    seconds[way].append(once(way)[0])
            for way, own in seconds.items():
                ratio = median(a / b for a, b in zip(seconds["none"], own, strict=True))
                by_one = median(a / b for a, b in zip(seconds["1"], own, strict=True))
                say(f"{what}, workers {way}: {median(own):.2f} s, {by_one:.2f} times one worker")
                rows.append(
                    {
                        "times as fast as one worker": by_one,
                        "work": what,
                        "workers": way,
                        "times as fast as without": ratio,
                        "seconds": median(own),
                        "tasks": n_tasks,
                        "rounds timed": case.rounds,
                    }
                )
    return rows


if __name__ == "__main__":
    asked = options(__doc__)
    publish("scale_out", run(CASES[asked.tiny]), asked.out, 1)
