"""Extraction of every layer beside a bare pass of transformers, and its peak memory.

The bare pass is what anybody would write: the processor of transformers, the network, once over the
batches, nothing kept. Ours is `extract` of the same images in the same batches: every layer pooled
two ways, without a store, and with an empty one. The fixed cost of a store entry is estimated from
ten times as many images of the tiny network. Networks are random, of ViT's architecture, saved and
loaded like any other; images are noise of 500 × 375 pixels, as large as photographs of MS-COCO.
Ours and the bare pass are timed in turn, so that a busy machine slows both; overhead is the median
of the ratios, less one. Removing the store that a run leaves is not timed.

Memory: peaks of fresh processes, of the network alone, of one bare pass of one batch, and of the
whole extraction into a store. Peaks are `ru_maxrss`, as memory.py says. Written: extraction.csv,
extraction_memory.csv. `--tiny` shows that it runs.
"""

import json
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np
from _common import in_new_process, options, peak, pin_threads, publish, say, timed


@dataclass(frozen=True)
class Case:
    name: str
    hidden: int
    blocks: int
    heads: int
    pixels: int
    patch: int
    batch: int
    rounds: int  # of ours without a store and with one, and of the bare pass, in turn
    images: int = 64


CASES = {
    False: [
        Case("tiny", 64, 4, 4, 64, 16, 64, 31),
        Case("tiny, ten times the images", 64, 4, 4, 64, 16, 64, 5, images=640),
        Case("ViT-B", 768, 12, 12, 224, 16, 16, 3),
    ],
    True: [Case("tiny", 32, 2, 2, 32, 16, 4, 3, images=8)],
}


def saved(case: Case, folder: Path) -> Path:
    "A random network in a folder, as `save_pretrained` leaves it."
    from transformers import ViTConfig, ViTImageProcessorPil, ViTModel

    config = ViTConfig(
        hidden_size=case.hidden,
        num_hidden_layers=case.blocks,
        num_attention_heads=case.heads,
        intermediate_size=4 * case.hidden,
        image_size=case.pixels,
        patch_size=case.patch,
    )
    ViTModel(config).save_pretrained(folder)
    ViTImageProcessorPil(size={"height": case.pixels, "width": case.pixels}).save_pretrained(folder)
    return folder


def photographs(n: int):
    from seeing_words.data.stimuli import StimulusSet

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
            network(
                **processor(
                    list(images[i : i + batch]),
                    input_data_format="channels_last",
                    return_tensors="pt",
                )
            )

    return run


def ours(folder: Path, stimuli, batch: int, *, kept: bool) -> Callable[[str], None]:
    "The same by `extract_many`, into a new store in the given folder, where it is kept."
    from seeing_words.models.extract import extract_many
    from seeing_words.models.load import load_model
    from seeing_words.models.store import Store

    model = load_model(str(folder))

    def run(root: str) -> None:
        extract_many(
            model,
            stimuli,
            ("cls", "mean"),
            batch_size=batch,
            store=Store(root) if kept else None,
            progress=False,
        )

    return run


def in_turn(
    ways: dict[str, Callable[[str], None]], bare: Callable[[], None], n: int
) -> dict[str, tuple[float, float, float]]:
    """Of each way, medians over rounds: its seconds, those of the bare pass, and their ratio. In a
    round each is timed once."""

    def one_round() -> tuple[list[float], float]:
        def seconds(run: Callable[[str], None]) -> float:
            with tempfile.TemporaryDirectory() as root:
                return timed(lambda: run(root))[0]

        return [seconds(run) for run in ways.values()], timed(bare)[0]

    one_round()  # the first of each allocates
    rounds = [one_round() for _ in range(n)]
    without = median(alone for _, alone in rounds)
    return {
        way: (
            median(each[i] for each, _ in rounds),
            without,
            median(each[i] / alone for each, alone in rounds),
        )
        for i, way in enumerate(ways)
    }


def speed(case: Case, folder: Path) -> list[dict]:
    stimuli, rows = photographs(case.images), []
    plain = bare(folder, stimuli.images, case.batch)
    ways = {
        way: ours(folder, stimuli, case.batch, kept=way == "written") for way in ("none", "written")
    }
    for way, (seconds, without, ratio) in in_turn(ways, plain, case.rounds).items():
        say(f"{case.name}, store {way}: {seconds:.2f} s, bare {without:.2f} s, ratio {ratio:.3f}")
        rows.append(
            {
                "overhead (%)": 100 * (ratio - 1),
                "network": case.name,
                "store": way,
                "seconds": seconds,
                "seconds of the bare pass": without,
                "blocks": case.blocks,
                "units": case.hidden,
                "images": case.images,
                "batch": case.batch,
                "rounds timed": case.rounds,
            }
        )
    return rows


def child(what: str, folder: str, n: int, batch: int) -> None:
    "Print the peak of this process after one thing."
    pin_threads()
    stimuli = photographs(n)
    if what == "bare":
        bare(Path(folder), stimuli.images[:batch], batch)()
    else:
        run = ours(Path(folder), stimuli, batch, kept=True)
        if what == "ours":
            with tempfile.TemporaryDirectory() as root:
                run(root)
    print(json.dumps(peak()))


def measured(what: str, case: Case, folder: Path) -> float:  # GiB
    "The same in a process of its own."
    return in_new_process(__file__, [what, str(folder), case.images, case.batch])


def memory(case: Case, folder: Path) -> dict:
    found = {what: 1024 * measured(what, case, folder) for what in ("model", "bare", "ours")}
    say(f"{case.name}: " + ", ".join(f"{what} {mib:.0f} MiB" for what, mib in found.items()))
    return {
        "beyond one bare batch (MiB)": found["ours"] - found["bare"],
        "network": case.name,
        "peak (MiB)": found["ours"],
        "peak of one bare batch (MiB)": found["bare"],
        "peak of the model alone (MiB)": found["model"],
        "images": case.images,
        "batch": case.batch,
    }


def run(cases: list[Case]) -> tuple[list[dict], list[dict]]:
    speeds, peaks = [], []
    for case in cases:
        with tempfile.TemporaryDirectory() as root:
            folder = saved(case, Path(root))
            if case.images <= 64:
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
