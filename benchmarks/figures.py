"""`make figures`: how long each section of the paper takes, alone and beside a busy program.

Each section is run as `seeing-words figures SECTION` does, in a process of its own, with the
features in the store: it is run once before, so that only what it computes from them is timed. The
results that it keeps beside them are removed before each run, so that they are computed again.

It takes as long as three runs of the paper (about half an hour), and `make bench` leaves it out.

Written: figures.csv. `--tiny` runs one section on few stimuli and networks, to see that it works.
"""

import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

from _common import COMMAND, busy, options, pin_threads, publish, say

SECTIONS = ("layers", "perturbations", "pick_a_pic", "averaging")
FEW = """
source = "microworld"
vision = ["microworld/vision-0"]
language = ["microworld/llama-0"]
n_stimuli = 40
n_folds = 2
n_permutations = 9
n_draws = 19
"""


def run(section: str, preset: str, store: Path, folder: Path) -> float:
    "Seconds that a section takes."
    shutil.rmtree(store / "results", ignore_errors=True)
    command = [*COMMAND, "figures", section, "--preset", preset, "-p", f"out={folder}"]
    env = os.environ | {"SEEING_WORDS_STORE": str(store)}
    start = time.perf_counter()
    subprocess.run(command, env=env, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def measured(section: str, preset: str, store: Path) -> dict:
    with tempfile.TemporaryDirectory() as folder:
        places = [Path(folder) / name for name in ("first", "quiet", "busy")]
        run(section, preset, store, places[0])
        quiet = run(section, preset, store, places[1])
        with busy():
            beside = run(section, preset, store, places[2])
    say(f"{section}: {quiet:.0f} s, beside a busy program {beside:.0f} s")
    return {
        "times as long beside a busy program": beside / quiet,
        "section": section,
        "seconds": quiet,
        "seconds beside a busy program": beside,
    }


if __name__ == "__main__":
    asked = options(__doc__)
    threads = pin_threads()
    sections, preset = SECTIONS, "microworld"
    with tempfile.TemporaryDirectory() as store:
        if asked.tiny:
            sections, preset = SECTIONS[:1], str(Path(store, "few.toml"))
            Path(preset).write_text(FEW)
        rows = [measured(section, preset, Path(store)) for section in sections]
    publish("figures", rows, asked.out, threads)
