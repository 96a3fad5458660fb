"""`align` as users call it: beside the bare sweep of the same layers, beside a plain loop of
scikit-learn's RidgeCV over their pairs, and while another program keeps one core busy.

`align` returns scores of all pairs of layers both ways, layers chosen within training stimuli,
intervals that hold the refitting of maps, p-values from shuffled pairings, and CKA; the sweep
returns the scores alone, and the loop the held-out r of every pair with its own z-scores. All are
measured in one process, one after the other, with the library's default penalties.

Two clocks: seconds on the wall, and seconds of CPU, which other programs disturb less. The loop is
extrapolated where it is long: from one pair, times the pairs.

Beside a busy program, `align` has one core less, on two cores half of them; the ratio to its quiet
time says whether its threads wait for the one that is held back.

Written: align.csv. `--tiny` shows that it runs.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from _common import busy, options, pin_threads, publish, say, two_networks
from sklearn.linear_model import RidgeCV

from seeing_words import align
from seeing_words.measures._ridge_dual import ALPHAS
from seeing_words.measures.folds import Folds, make_folds
from seeing_words.measures.numerics import unit_pearson
from seeing_words.measures.predictivity import predictivity_grid


@dataclass(frozen=True)
class Case:
    layers: int  # of each network
    units: int  # of each layer
    n: int  # stimuli
    pairs: int | None = None  # timed in the loop; None: all


PLANS = {
    False: [
        Case(2, 10, 100),
        Case(4, 64, 1000),
        Case(2, 1024, 1000, pairs=1),
        Case(4, 1024, 1000, pairs=1),
    ],
    True: [Case(2, 6, 40)],
}


def sweep(networks: list[np.ndarray], folds: Folds) -> None:
    for source, target in (networks, networks[::-1]):
        predictivity_grid(source, target, folds=folds)


def whole(networks: list[np.ndarray], folds: Folds, n_permutations: int) -> None:
    align(*networks, folds=folds, n_permutations=n_permutations, progress=False)


def loop(networks: list[np.ndarray], folds: Folds, pairs: int | None) -> int:
    "RidgeCV for so many of the pairs; how many there are."
    V, W = networks
    both = [(X, Y) for A, B in ((V, W), (W, V)) for X in A for Y in B]
    for X, Y in both[:pairs]:
        for i, test in enumerate(folds.test):
            train = folds.train(i)
            x, y = ((Z - Z[train].mean(0)) / Z[train].std(0) for Z in (X, Y))
            model = RidgeCV(alphas=ALPHAS).fit(x[train], y[train])
            unit_pearson(y[test], model.predict(x[test]))
    return len(both)


def clocks(call: Callable, times: int) -> tuple[float, float]:
    "Fewest seconds on the wall and of CPU, of so many calls."
    walls, cpus = [], []
    for _ in range(times):
        wall, cpu = time.perf_counter(), time.process_time()
        call()
        walls.append(time.perf_counter() - wall)
        cpus.append(time.process_time() - cpu)
    return min(walls), min(cpus)


def measured(case: Case) -> list[dict]:
    networks = two_networks((case.layers,) * 2, (case.units,) * 2, case.n)
    folds = make_folds(case.n)
    few = 2 if case.units > 500 else 4  # calls of each
    calls = {
        "the sweep, both ways": partial(sweep, networks, folds),
        "align": partial(whole, networks, folds, 100),
        "align, no permutations": partial(whole, networks, folds, 0),
    }
    found = {name: clocks(call, few) for name, call in calls.items()}
    with busy():
        found["align, beside a busy program"] = clocks(calls["align"], few)
    n_pairs = 2 * case.layers**2
    share = n_pairs / (case.pairs or n_pairs)
    wall, cpu = clocks(partial(loop, networks, folds, case.pairs), 1 if case.pairs else few)
    found["scikit-learn RidgeCV, a loop over pairs"] = wall * share, cpu * share
    bare, quiet = found["the sweep, both ways"], found["align"]
    rows = []
    for name, (wall, cpu) in found.items():
        say(f"{case.layers} × {case.layers} of {case.units}: {name} {wall:.2f} s, CPU {cpu:.2f} s")
        rows.append(
            {
                "times the sweep (CPU)": cpu / bare[1],
                "method": name,
                "layers": f"{case.layers} × {case.layers}",
                "units": case.units,
                "n": case.n,
                "seconds of CPU": cpu,
                "seconds": wall,
                "times quiet align": wall / quiet[0],
                "measured": "extrapolated" if "loop" in name and case.pairs else "measured",
            }
        )
    return rows


if __name__ == "__main__":
    asked = options(__doc__)
    threads = pin_threads()
    rows = []
    for case in PLANS[asked.tiny]:
        rows += measured(case)
    publish("align", rows, asked.out, threads)
