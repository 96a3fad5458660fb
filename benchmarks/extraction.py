"""Extraction of every layer beside a bare pass of transformers, and its peak memory.

The bare pass is what anybody would write: the processor of transformers, the network, once over the batches, nothing kept.
Ours is `extract` of the same images in the same batches: every layer pooled two ways, without a store, and with an empty one.
Networks are random, of ViT's architecture, saved and loaded like any other; images are noise of 500 × 375 pixels, as large as
photographs of MS-COCO. A pair of ours and of the bare pass is timed in turn, so that a busy machine slows both; overhead is
the median of the pairs' ratios, less one.

Memory: peaks of fresh processes, of the network alone, of one bare pass of one batch, and of the whole extraction into a
store. Peaks are `ru_maxrss`, as memory.py says. Written: extraction.csv, extraction_memory.csv. `--tiny` shows that it runs.
"""
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np
from _common import options, peak, pin_threads, publish, say, timed

N_PAIRS = 7  # of ours and bare passes


@dataclass(frozen=True)
class Case:
    name: str
    hidden: int
    blocks: int
    heads: int
    pixels: int
    patch: int
    batch: int
    images: int = 64


CASES = {False: [Case("tiny", 64, 4, 4, 64, 16, 64), Case("ViT-B", 768, 12, 12, 224, 16, 16)],
         True: [Case("tiny", 32, 2, 2, 32, 16, 4, images=8)]}


def saved(case: Case, folder: Path) -> Path:
    "A random network in a folder, as `save_pretrained` leaves it."
    from transformers import ViTConfig, ViTImageProcessorPil, ViTModel
    config = ViTConfig(hidden_size=case.hidden, num_hidden_layers=case.blocks, num_attention_heads=case.heads,
                       intermediate_size=4 * case.hidden, image_size=case.pixels, patch_size=case.patch)
    ViTModel(config).save_pretrained(folder)
    ViTImageProcessorPil(size={"height": case.pixels, "width": case.pixels}).save_pretrained(folder)
    return folder


def photographs(n: int):
    from seeing_words.stimuli import StimulusSet
    images = np.random.default_rng(0).integers(0, 256, (n, 375, 500, 3), np.uint8)
    return StimulusSet("noise", tuple(map(str, range(n))), images, (("noise",),) * n)


def bare(folder: Path, images: np.ndarray, batch: int) -> Callable[[], None]:
    "A pass of transformers alone."
    import torch
    from transformers import AutoImageProcessor, AutoModel
    network = AutoModel.from_pretrained(folder).eval()
    processor = AutoImageProcessor.from_pretrained(folder, backend="pil")

    @torch.inference_mode()
    def run() -> None:
        for i in range(0, len(images), batch):
            network(**processor(list(images[i:i + batch]), input_data_format="channels_last", return_tensors="pt"))
    return run


def ours(folder: Path, stimuli, batch: int, *, kept: bool) -> Callable[[], None]:
    "The same by `extract_many`, into a new store where it is kept."
    from seeing_words.features import Store, extract_many
    from seeing_words.models import load_model
    model = load_model(str(folder))

    def run() -> None:
        with tempfile.TemporaryDirectory() as root:
            extract_many(model, stimuli, ("cls", "mean"), batch_size=batch, store=Store(root) if kept else None, progress=False)
    return run


def in_turn(one: Callable, other: Callable) -> tuple[float, float, float]:  # median seconds of each, and of their ratios
    one(), other()  # the first of each allocates
    pairs = [(timed(one)[0], timed(other)[0]) for _ in range(N_PAIRS)]
    return *(median(side) for side in zip(*pairs)), median(a / b for a, b in pairs)


def speed(case: Case, folder: Path) -> list[dict]:
    stimuli, rows = photographs(case.images), []
    plain = bare(folder, stimuli.images, case.batch)
    for kept in (False, True):
        seconds, without, ratio = in_turn(ours(folder, stimuli, case.batch, kept=kept), plain)
        say(f"{case.name}, {'store' if kept else 'no store'}: {seconds:.2f} s, bare {without:.2f} s, ratio {ratio:.3f}")
        rows.append({"overhead (%)": 100 * (ratio - 1), "network": case.name, "store": "written" if kept else "none",
                     "seconds": seconds, "seconds of the bare pass": without, "blocks": case.blocks, "units": case.hidden,
                     "images": case.images, "batch": case.batch, "pairs timed": N_PAIRS})
    return rows


def child(what: str, folder: str, n: int, batch: int) -> None:
    "Print the peak of this process after one thing."
    pin_threads()
    stimuli = photographs(n)
    if what == "bare": bare(Path(folder), stimuli.images[:batch], batch)()
    else:
        run = ours(Path(folder), stimuli, batch, kept=True)
        if what == "ours": run()
    print(json.dumps(peak()))


def measured(what: str, case: Case, folder: Path) -> float:  # GiB
    "The same in a process of its own."
    asked = json.dumps([what, str(folder), case.images, case.batch])
    answer = subprocess.run([sys.executable, __file__, "--case", asked], stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(answer.stdout.splitlines()[-1])


def memory(case: Case, folder: Path) -> dict:
    found = {what: 1024 * measured(what, case, folder) for what in ("model", "bare", "ours")}
    say(f"{case.name}: " + ", ".join(f"{what} {mib:.0f} MiB" for what, mib in found.items()))
    return {"beyond one bare batch (MiB)": found["ours"] - found["bare"], "network": case.name, "peak (MiB)": found["ours"],
            "peak of one bare batch (MiB)": found["bare"], "peak of the model alone (MiB)": found["model"],
            "images": case.images, "batch": case.batch}


def run(cases: list[Case]) -> tuple[list[dict], list[dict]]:
    speeds, peaks = [], []
    for case in cases:
        with tempfile.TemporaryDirectory() as root:
            folder = saved(case, Path(root))
            peaks.append(memory(case, folder))
            speeds += speed(case, folder)
    return speeds, peaks


if __name__ == "__main__":
    if sys.argv[1:2] == ["--case"]:
        child(*json.loads(sys.argv[2]))
    else:
        asked, threads = options(__doc__), pin_threads()
        speeds, peaks = run(CASES[asked.tiny])
        publish("extraction", speeds, asked.out, threads)
        publish("extraction_memory", peaks, asked.out, threads)
