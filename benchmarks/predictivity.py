"""Predictivity of all layer pairs: seeing_words beside scikit-learn's and himalaya's
cross-validated ridge.

Compared, in one process, with as many threads for each: the same stimuli, folds and 10 penalties,
layers z-scored the same way, one penalty for all units of a target. How each peer is set up, and
why, is said in _peers.py; their time is that of fitting and predicting alone, ours that of the
whole call. Seconds of a peer's pair are 5 × the median of the folds measured, all alike in shape;
ours the median of 3 calls, or one call where it takes 20 s or more.

Extrapolated, and marked so: sweeps of the peers, from one pair or row and one direction (source and
target are equally wide, and the peers share nothing between pairs), and what is slow beyond use,
from fewer folds or penalties, which the last column says. One peer gets a row more than its users
usually do: himalaya with the units of 5 target layers as one target, which shares its
decompositions but chooses one penalty for all 5 layers, so it is not quite the same computation.

Differences are from scikit-learn's RidgeCV on the middle pair: of the score of a fold, with the
penalty each chose (himalaya and GridSearchCV choose otherwise, hence theirs); and, with one penalty
given, of the r of every unit of the first fold.

Written: predictivity.csv and .svg; speed.csv, the same sweeps in GFLOP/s beside a bare `torch.mm`.
`--tiny` shows that it runs.
"""

from dataclasses import dataclass

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from _common import (
    ALPHAS,
    N_FOLDS,
    bare_speed,
    options,
    peak,
    pin_threads,
    publish,
    repeated,
    save,
    say,
    sweep_operations,
    two_networks,
)
from _peers import PEERS, faster_dtype, one_fold, torch_himalaya

from seeing_words.measures.folds import Folds, make_folds
from seeing_words.measures.numerics import unit_pearson
from seeing_words.measures.predictivity import out_of_fold, predictivity_grid

OURS, REFERENCE, JOINED = (
    "seeing_words",
    "scikit-learn RidgeCV",
    "himalaya KernelRidgeCV, 5 targets joined",
)
GRID = "scikit-learn GridSearchCV(Ridge)"


@dataclass(frozen=True)
class Plan:
    n: int = 1000  # stimuli
    units: tuple[int, ...] = (1024, 4096)  # of every layer; the first decides on float32 or float64
    layers: tuple[int, ...] = (1, 5, 25)  # of each network: one way for 1, both ways for sweeps
    few_folds: tuple[tuple[str, int, int], ...] = (
        ("himalaya RidgeCV", 4096, 3),
        (JOINED, 4096, 3),
        (JOINED, 1024, 3),
    )
    few_penalties: tuple[int, ...] = (4096,)  # units at which GridSearchCV gets 1 and 2 penalties


PLANS = {
    False: Plan(),
    True: Plan(
        n=60,
        units=(40, 70),
        layers=(1, 2),
        few_folds=(("himalaya RidgeCV", 70, 2),),
        few_penalties=(70,),
    ),
}


def ways(n_layers: int) -> int:
    return 1 if n_layers == 1 else 2


def case(n_layers: int) -> str:
    return f"{n_layers} × {n_layers}, " + ("one way" if n_layers == 1 else "both ways")


def centre(n_layers: int) -> int:
    return (n_layers - 1) // 2


def middle(network: np.ndarray, n_layers: int) -> np.ndarray:  # (layer, stimulus, unit)
    start = centre(len(network)) - centre(n_layers)
    return network[start : start + n_layers]


# Ours


def sweep(networks: list[np.ndarray], n_layers: int, folds: Folds):
    "Grid of one direction, then of the other in sweeps."
    some = [middle(network, n_layers) for network in networks]
    return [
        predictivity_grid(*pair, folds=folds, alphas=ALPHAS)
        for pair in (some, some[::-1])[: ways(n_layers)]
    ]


def ours(networks: list[np.ndarray], n_layers: int, folds: Folds) -> dict:
    """Seconds, speed and peak memory of one sweep, and score and penalty of its middle pair in each
    fold."""
    n, units, before = *networks[0].shape[1:], peak()
    seconds, timings, (grid, *_) = repeated(lambda: sweep(networks, n_layers, folds))
    say(f"{OURS}, {units} units, {case(n_layers)}: {seconds:.1f} s")
    speed = (
        1e-9
        * ways(n_layers)
        * sweep_operations(n_layers, n_layers, units, units, n, len(ALPHAS))
        / seconds
    )
    pair = grid.isel(source_layer=centre(n_layers), target_layer=centre(n_layers))
    return {
        "seconds": seconds,
        "timings": timings,
        "speed": speed,
        "before": before,
        "peak": peak(),
        "scores": pair.predictivity.values,
        "alpha": float(pair.alpha[0]),
    }


def speeds(plan: Plan, found: dict) -> list[dict]:
    rows = []
    for (units, n_layers), run in found.items():
        bare = bare_speed(plan.n, units)
        rows.append(
            {
                "share of torch.mm": f"{run['speed'] / bare:.0%}",
                "units": units,
                "layers": case(n_layers),
                "GFLOP/s": run["speed"],
                "GFLOP/s of torch.mm": bare,
                "seconds": run["seconds"],
                "peak memory (GiB)": run["peak"],
                "of which before, with features": run["before"],
            }
        )
    return rows


# Peers


def pair_seconds(
    name: str, X, Y, folds: Folds, n_folds: int, dtype: str
) -> tuple[float, int, np.ndarray]:
    "Seconds of a pair, by the median fold; how many were measured; and their scores."
    found = [one_fold(PEERS[name], X, Y, folds, i, ALPHAS, dtype) for i in range(n_folds)]
    return (
        N_FOLDS * float(np.median([s for s, _ in found])),
        n_folds,
        np.array([r.mean() for _, r in found]),
    )


def by_penalties(name: str, X, Y, folds: Folds, dtype: str) -> tuple[float, int, np.ndarray]:
    """The same by a straight line from 1 and 2 penalties in one fold, each the median of 3; nothing
    is chosen."""
    one, two = (
        np.median([one_fold(PEERS[name], X, Y, folds, 0, ALPHAS[:k], dtype)[0] for _ in range(3)])
        for k in (1, 2)
    )
    return N_FOLDS * float(one + (len(ALPHAS) - 1) * (two - one)), 3, np.array([])


def peer(
    name: str, plan: Plan, units: int, networks, folds: Folds, dtype: str, alpha: float
) -> dict:
    """Seconds of a pair and how they were found, scores of the folds measured, r of the first
    fold's units at one penalty."""
    X, Y = (middle(network, 1)[0] for network in networks)
    n_folds = next(
        (few for who, width, few in plan.few_folds if (who, width) == (name, units)), N_FOLDS
    )
    if name == GRID and units in plan.few_penalties:
        found, note = (
            by_penalties(name, X, Y, folds, dtype),
            f"from 1 and 2 of {len(ALPHAS)} penalties in one fold",
        )
    else:
        found, note = (
            pair_seconds(name, X, Y, folds, n_folds, dtype),
            f"{n_folds} of {N_FOLDS} folds of one pair, one way",
        )
    seconds, timings, scores = found
    say(f"{name}, {units} units, {dtype}: {seconds:.1f} s a pair")
    at_one = one_fold(PEERS[name], X, Y, folds, 0, [alpha], dtype)[1]
    return {
        "seconds": seconds,
        "timings": timings,
        "scores": scores,
        "at one": at_one,
        "note": f"{dtype}; {note}",
        "complete": len(scores) == N_FOLDS,
        "row": 1,
    }


def joined(plan: Plan, units: int, networks, folds: Folds, dtype: str) -> dict:
    "himalaya with the units of 5 target layers as one target: seconds a pair."
    X, targets = middle(networks[0], 1)[0], middle(networks[1], min(5, len(networks[1])))
    Y = targets.transpose(1, 0, 2).reshape(len(X), -1)  # (stimulus, layer · unit)
    n_folds = next(
        (few for who, width, few in plan.few_folds if (who, width) == (JOINED, units)), N_FOLDS
    )
    found = [
        one_fold(PEERS["himalaya KernelRidgeCV"], X, Y, folds, i, ALPHAS, dtype)
        for i in range(n_folds)
    ]
    its_own = slice(centre(len(targets)) * units, (centre(len(targets)) + 1) * units)
    seconds = N_FOLDS * float(np.median([s for s, _ in found])) / len(targets)
    say(f"{JOINED}, {units} units, {dtype}: {seconds:.1f} s a pair")
    return {
        "seconds": seconds,
        "timings": n_folds,
        "scores": np.array([r[its_own].mean() for _, r in found]),
        "at one": np.array([]),
        "complete": False,
        "row": len(targets),
        "note": f"{dtype}; {n_folds} of {N_FOLDS} folds of one row of {len(targets)}, one way; "
        "one penalty for the row",
    }


def peers(
    plan: Plan, units: int, networks, folds: Folds, dtypes: dict[str, str], alpha: float
) -> dict[str, dict]:
    found = {name: peer(name, plan, units, networks, folds, dtypes[name], alpha) for name in PEERS}
    return found | {JOINED: joined(plan, units, networks, folds, dtypes["himalaya KernelRidgeCV"])}


# Tables


def difference(found: np.ndarray, reference: np.ndarray) -> float:  # NaN where nothing was found
    return float(abs(found - reference[: len(found)]).max()) if len(found) else np.nan


def at_one_penalty(
    networks, folds: Folds, alpha: float
) -> np.ndarray:  # r of ours, (unit,) of the first fold
    X, Y = (middle(network, 1)[0] for network in networks)
    target, prediction = (z[folds.test[0]] for z in out_of_fold(X, Y, folds=folds, alphas=[alpha]))
    return unit_pearson(target, prediction)


def rows(
    units: int, n_layers: int, run: dict, others: dict[str, dict], at_one: np.ndarray
) -> list[dict]:
    "One case of the table: what a peer takes for a pair, times the pairs of the case."
    n_pairs, reference = ways(n_layers) * n_layers**2, others[REFERENCE]
    found = [
        (OURS, run | {"at one": at_one, "note": "the whole call", "complete": True}, run["seconds"])
    ]
    found += [
        (name, other, n_pairs * other["seconds"])
        for name, other in others.items()
        if other["row"] <= n_layers
    ]
    return [
        {
            "times as long": seconds / run["seconds"],
            "method": name,
            "units": units,
            "layers": case(n_layers),
            "seconds": seconds,
            "measured": "measured"
            if one["complete"] and (name == OURS or n_layers == 1)
            else "extrapolated",
            "timings": one["timings"],
            "max |Δr|": difference(one["scores"], reference["scores"]),
            "max |Δr| of a unit at one λ": difference(one["at one"], reference["at one"]),
            "how": one["note"],
        }
        for name, one, seconds in found
    ]


def figure(table: pd.DataFrame):
    "Seconds of the largest sweep by each method, on one log axis a width."
    largest = table[table.layers == table.layers.iloc[-1]]
    widths = largest.units.unique()
    fig, axes = plt.subplots(
        1,
        len(widths),
        figsize=(5.5 * len(widths), 2.8),
        sharey=True,
        layout="constrained",
        squeeze=False,
    )
    for ax, units in zip(axes[0], widths, strict=True):
        some = largest[largest.units == units].iloc[::-1]
        seconds = some.seconds.astype(float)
        ax.scatter(seconds, some.method, c=np.where(some.method == OURS, "C0", "0.5"))
        for y, (value, ratio) in enumerate(zip(seconds, some["times as long"], strict=True)):
            ax.annotate(f"  {ratio} ×", (value, y), va="center", fontsize=8)
        ax.set(
            xscale="log",
            xlabel="seconds (of the others: extrapolated)",
            title=f"{some.layers.iloc[0]}, {units} units",
        )
        ax.set_xlim(seconds.min() / 3, 10 * seconds.max())
        ax.grid(axis="y", color="0.9")
    return fig


def run(plan: Plan, out, threads: int) -> None:
    folds, most = make_folds(plan.n, n_folds=N_FOLDS), max(plan.layers)
    networks, found = {}, {}
    for (
        units
    ) in plan.units:  # ours first, the narrower first: so that peak memory is that of what ran
        networks[units] = two_networks((most, most), (units, units), plan.n)
        say(f"{most} layers of {units} units, twice")
        found |= {
            (units, n_layers): ours(networks[units], n_layers, folds) for n_layers in plan.layers
        }
    narrow = [middle(network, 1)[0] for network in networks[plan.units[0]]]
    dtypes = {name: faster_dtype(one, *narrow, folds, ALPHAS[:3]) for name, one in PEERS.items()}
    table = []
    for units in plan.units:
        alpha = found[units, 1]["alpha"]
        others = peers(plan, units, networks[units], folds, dtypes, alpha)
        at_one = at_one_penalty(networks[units], folds, alpha)
        for n_layers in plan.layers:
            table += rows(units, n_layers, found[units, n_layers], others, at_one)
    publish("speed", speeds(plan, found), out, threads)
    save(figure(publish("predictivity", table, out, threads)), out / "predictivity.svg")


if __name__ == "__main__":
    asked = options(__doc__)
    threads = pin_threads()
    say(f"{threads} threads")
    with torch_himalaya():
        run(PLANS[asked.tiny], asked.out, threads)
