"""Peak memory of each method, in a fresh process for each, so that no peak hides in another's.

A process makes its features, notes its peak so far (libraries and features), runs, and notes the
peak again. Peers run one fold of one pair: their folds are alike and share nothing. Ours runs whole
sweeps, one way; its blocks follow from `max_memory`, left at its default. Peers as _peers.py says;
float32 for those that compute in it.

Peaks are `ru_maxrss`, which on Linux a new process takes over from the one that made it: so that
one stays small, and imports nothing that its children don't. Written: memory.csv. `--tiny` shows
that it runs.
"""

import json
import sys

from _common import (
    ALPHAS,
    N_FOLDS,
    in_new_process,
    options,
    peak,
    pin_threads,
    publish,
    say,
    two_networks,
)

OURS = "seeing_words"
N = 1000
PLANS = {  # method, units, source layers, target layers
    False: [
        (name, 4096, 1, 1)
        for name in (
            OURS,
            "scikit-learn RidgeCV",
            "scikit-learn GridSearchCV(Ridge)",
            "himalaya RidgeCV",
            "himalaya KernelRidgeCV",
        )
    ]
    + [(OURS, 4096, 5, 5), (OURS, 4096, 2, 25)],
    True: [(OURS, 40, 1, 1), ("himalaya KernelRidgeCV", 40, 1, 1)],
}


def run_ours(networks, n: int) -> None:
    from seeing_words.measures.folds import make_folds
    from seeing_words.measures.predictivity import predictivity_grid

    before = peak()
    predictivity_grid(*networks, folds=make_folds(n, n_folds=N_FOLDS), alphas=ALPHAS)
    print(json.dumps([before, peak()]))


def run_peer(name: str, networks, n: int) -> None:
    from _peers import PEERS, one_fold, torch_himalaya

    from seeing_words.measures.folds import make_folds

    before, (X, Y) = peak(), (network[0] for network in networks)
    alphas = ALPHAS[:2] if "GridSearch" in name else ALPHAS  # which it tries one after the other
    with torch_himalaya():
        one_fold(
            PEERS[name], X, Y, make_folds(n, n_folds=N_FOLDS), 0, alphas, PEERS[name].dtypes[0]
        )
    print(json.dumps([before, peak()]))


def child(name: str, units: int, n_sources: int, n_targets: int, n: int) -> None:
    "Measure one method in this process."
    pin_threads()
    networks = two_networks((n_sources, n_targets), (units, units), n)
    if name == OURS:
        run_ours(networks, n)
    else:
        run_peer(name, networks, n)


def measured(*case) -> tuple[float, float]:  # GiB before and at the peak
    "The same in a process of its own."
    before, after = in_new_process(__file__, case)
    say(f"{case[0]}, {case[1]} units, {case[2]} × {case[3]}: {after:.2f} GiB, {before:.2f} before")
    return before, after


def table(plan: list[tuple], n: int) -> list[dict]:
    found = [(*case, *measured(*case, n)) for case in plan]
    least = found[0][-1] - found[0][-2]  # ours, of one pair
    return [
        {
            "times as much": (after - before) / least if least else float("nan"),
            "method": name,
            "units": units,
            "layers": f"{n_sources} × {n_targets}",
            "GiB for the work": after - before,
            "peak (GiB)": after,
            "of which before (GiB)": before,
        }
        for name, units, n_sources, n_targets, before, after in found
    ]


if __name__ == "__main__":
    if sys.argv[1:2] == ["--case"]:
        child(*json.loads(sys.argv[2]))
    else:
        asked = options(__doc__)
        publish(
            "memory", table(PLANS[asked.tiny], 60 if asked.tiny else N), asked.out, pin_threads()
        )
