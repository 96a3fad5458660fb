"""How the time of a sweep grows: with layers, units, stimuli and permutations, ours beside two
peers.

Along each axis the rest stays as `BASE` says, one way. Ours is the median of 3 whole sweeps (of
one, if it takes 5 s or more); the null is timed alone. Peers, scikit-learn's RidgeCV and himalaya's
KernelRidgeCV (set up as _peers.py says), are extrapolated: 5 × the median of 3 folds of one pair,
times the pairs; along layers that makes their slope 2 by construction. The slope is that of a
straight line through the logarithms, so a mean over the range shown, not a limit.

Written: growth.csv and growth.svg. `--tiny` shows that it runs.
"""

from dataclasses import dataclass, replace

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from _common import (
    ALPHAS,
    N_FOLDS,
    options,
    pin_threads,
    publish,
    repeated,
    save,
    say,
    two_networks,
)
from _peers import PEERS, faster_dtype, one_fold, torch_himalaya

from seeing_words.measures.folds import make_folds
from seeing_words.measures.predictivity import null_grid, predictivity_grid

OURS, NULL = "seeing_words", "seeing_words, null"
TIMED = ("scikit-learn RidgeCV", "himalaya KernelRidgeCV")


@dataclass(frozen=True)
class Setting:
    layers: int = 2  # of each network
    units: int = 1024  # of every layer
    n: int = 1000  # stimuli
    permutations: int = 100  # of the null


@dataclass(frozen=True)
class Plan:
    base: Setting
    along: dict[str, tuple[int, ...]]


PLANS = {
    False: Plan(
        Setting(),
        {
            "layers": (1, 2, 4, 8),
            "units": (256, 512, 1024, 2048, 4096),
            "n": (250, 500, 1000, 2000),
            "permutations": (30, 100, 300, 1000),
        },
    ),
    True: Plan(
        Setting(2, 40, 60, 5),
        {"layers": (1, 2), "units": (20, 40), "n": (40, 80), "permutations": (5, 10)},
    ),
}
N_UNITS = 128  # target units of the null


def features(at: Setting) -> list[np.ndarray]:
    return two_networks((at.layers,) * 2, (at.units,) * 2, at.n)


def ours(at: Setting) -> tuple[float, int]:  # seconds, timings
    networks, folds = features(at), make_folds(at.n, n_folds=N_FOLDS)
    return repeated(lambda: predictivity_grid(*networks, folds=folds, alphas=ALPHAS), long=5)[:2]


def null(at: Setting) -> tuple[float, int]:
    networks, folds = features(at), make_folds(at.n, n_folds=N_FOLDS)
    settings = {
        "folds": folds,
        "alphas": ALPHAS,
        "n_permutations": at.permutations,
        "n_units": N_UNITS,
    }
    return repeated(lambda: null_grid(*networks, **settings), long=5)[:2]


def peer(name: str, at: Setting, dtype: str) -> tuple[float, int]:
    (X, *_), (Y, *_) = features(replace(at, layers=1))
    folds = make_folds(at.n, n_folds=N_FOLDS)
    found = [one_fold(PEERS[name], X, Y, folds, i, ALPHAS, dtype)[0] for i in range(3)]
    return at.layers**2 * N_FOLDS * float(np.median(found)), len(found)


def curve(along: str, method: str, values: tuple[int, ...], seconds_at) -> list[dict]:
    "Rows of one method along one axis, with the slope through them."
    found = [seconds_at(value) for value in values]
    seconds = np.array([s for s, _ in found])
    slope = float(np.polyfit(np.log(values), np.log(seconds), 1)[0])
    say(f"{along}, {method}: slope {slope:.2f}, {seconds[-1]:.1f} s at {values[-1]}")
    return [
        {
            "slope": slope,
            "along": along,
            "method": method,
            "value": value,
            "seconds": float(s),
            "timings": timings,
            "measured": "extrapolated" if method in TIMED else "measured",
        }
        for value, (s, timings) in zip(values, found, strict=True)
    ]


def curves(plan: Plan) -> list[dict]:
    (X, *_), (Y, *_) = features(plan.base)
    folds = make_folds(plan.base.n, n_folds=N_FOLDS)
    dtypes = {name: faster_dtype(PEERS[name], X, Y, folds, ALPHAS) for name in TIMED}
    rows = []
    for along, values in plan.along.items():

        def at(value, along=along):
            return replace(plan.base, **{along: value})

        if along == "permutations":
            rows += curve(along, NULL, values, lambda value: null(at(value)))
            continue
        rows += curve(along, OURS, values, lambda value: ours(at(value)))
        for name in TIMED:
            rows += curve(
                along, name, values, lambda value, name=name: peer(name, at(value), dtypes[name])
            )
    return rows


def figure(table: pd.DataFrame, base: Setting):
    "A panel for each axis, both logarithmic, slopes in the legend."
    along = table.along.unique()
    fig, axes = plt.subplots(
        1, len(along), figsize=(3.2 * len(along), 3.6), sharey=True, layout="constrained"
    )
    colours = {OURS: "C0", NULL: "C0", **dict(zip(TIMED, ("C1", "C2"), strict=True))}
    for ax, axis in zip(axes, along, strict=True):
        for method, some in table[table.along == axis].groupby("method", sort=False):
            dashed = "--" if some.measured.iloc[0] == "extrapolated" else "-"
            ax.loglog(
                some.value,
                some.seconds.astype(float),
                "o" + dashed,
                color=colours[method],
                ms=4,
                label=f"{method}: slope {some.slope.iloc[0]}",
            )
        values = table[table.along == axis].value.unique()
        ax.set_xticks(values, values)
        ax.minorticks_off()
        ax.set_xlabel(
            {"n": "stimuli", "layers": "layers of each network", "units": "units of a layer"}.get(
                axis, axis
            )
        )
        ax.legend(fontsize=6.5)
    axes[0].set_ylabel("seconds")
    fig.suptitle(
        f"Else {base.layers} × {base.layers} layers of {base.units} units, {base.n} stimuli; "
        "dashed: extrapolated",
        fontsize=9,
    )
    return fig


if __name__ == "__main__":
    asked = options(__doc__)
    threads, plan = pin_threads(), PLANS[asked.tiny]
    with torch_himalaya():
        found = curves(plan)
    save(figure(publish("growth", found, asked.out, threads), plan.base), asked.out / "growth.svg")
