"""The sweep and its null at the size of the paper: every layer pair of a vision and a language
network, both ways.

Random features with planted alignment: each layer mixes `SHARED` dimensions, the same in both
networks, into noise that is weaker the nearer the layer is to the middle. Shows seconds of the
sweep and of the null, their ratio, the share they reach of a bare `torch.mm`'s speed, peak memory,
and whether what was planted is found.

    full_size.py            a few source layers against all targets, extrapolated (some minutes)
    full_size.py --full     all of it (about ten minutes); writes full_size.csv
    full_size.py --tiny     a few seconds, to see that it runs; writes into _runs/benchmarks

Time grows by the same amount with each source layer, once the targets are prepared: so two sizes
give the whole, and the default prints that, as the extrapolation it is, and writes nothing. `make
bench` leaves this one out: it would take all of the time there is.
"""

from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from _common import (
    bare_speed,
    null_operations,
    options,
    peak,
    pin_threads,
    publish,
    sweep_operations,
    timed,
    two_networks,
)

from seeing_words.data.modalities import DIRECTIONS
from seeing_words.measures._ridge_dual import ALPHAS
from seeing_words.measures.folds import make_folds
from seeing_words.measures.predictivity import null_grid, predictivity_grid


@dataclass(frozen=True)
class Size:
    layers: tuple[int, int] = (25, 31)  # of vision, of language
    units: tuple[int, int] = (1024, 2560)  # of a layer of each
    n: int = 1000  # stimuli
    n_permutations: int = 100
    n_units: int = 128  # target units of the null


SIZES = {
    "few": Size(),
    "full": Size(),
    "tiny": Size((3, 4), (96, 128), n=100, n_permutations=5, n_units=16),
}


def operations(size: Size, sources: tuple[int, int]) -> dict[str, float]:
    "Floating-point operations of both directions."
    total = {"sweep": 0.0, "null": 0.0}
    for n_sources, n_targets, p, q in zip(
        sources, size.layers[::-1], size.units, size.units[::-1], strict=True
    ):
        total["sweep"] += sweep_operations(n_sources, n_targets, p, q, size.n, len(ALPHAS))
        total["null"] += null_operations(
            n_sources, n_targets, p, size.n, len(ALPHAS), 1 + size.n_permutations, size.n_units
        )
    return total


def measure(
    size: Size, networks: list[np.ndarray], sources: tuple[int, int], progress: bool
) -> dict[str, list]:
    """Of sweep and null, each direction's (seconds, result), with so many source layers of each
    network."""
    folds, found = make_folds(size.n), {"sweep": [], "null": []}
    for n_sources, source, target in zip(sources, networks, networks[::-1], strict=True):
        some = source[len(source) // 2 :][:n_sources] if n_sources < len(source) else source
        sweep = partial(predictivity_grid, some, target, folds=folds, progress=progress)
        null = partial(
            null_grid,
            some,
            target,
            folds=folds,
            n_permutations=size.n_permutations,
            n_units=size.n_units,
            progress=progress,
        )
        found["sweep"].append(timed(sweep))
        found["null"].append(timed(null))
    return found


def summary(size: Size, found: dict[str, list], sources: tuple[int, int]) -> list[dict]:
    "A row for each part: seconds, speed and its share of a bare torch.mm."
    bare, needed = bare_speed(size.n, max(size.units)), operations(size, sources)
    seconds = {part: sum(s for s, _ in both) for part, both in found.items()}
    return [
        {
            "times the sweep": s / seconds["sweep"],
            "share of torch.mm": f"{1e-9 * needed[part] / s / bare:.0%}",
            "part": part,
            "seconds": s,
            "GFLOP/s": 1e-9 * needed[part] / s,
            "GFLOP/s of torch.mm": bare,
        }
        for part, s in seconds.items()
    ]


def show(size: Size, found: dict[str, list], sources: tuple[int, int]) -> None:
    print(
        f"from {sources[0]} vision layers to {size.layers[1]} and from {sources[1]} language "
        f"layers to {size.layers[0]}:"
    )
    for row in summary(size, found, sources):
        print(
            f"  {row['part']:5} {row['seconds']:8.1f} s {row['GFLOP/s']:7.1f} GFLOP/s, "
            f"{row['share of torch.mm']} of a bare "
            f"torch.mm ({row['GFLOP/s of torch.mm']:.0f}), {row['times the sweep']:.2f} × the sweep"
        )
    for direction, (_, grid), (_, null) in zip(DIRECTIONS, *found.values(), strict=True):
        scores = grid.predictivity.mean("fold")
        print(
            f"  {direction}: r {scores.min():.3f}…{scores.max():.3f}; of the null's units "
            f"{null.observed.max():.3f}, "
            f"their shuffled best {null.null.max():.3f}"
        )


def extrapolate(size: Size, few: dict[str, list], more: dict[str, list]) -> None:
    "From 1 and 3 source layers, each part and direction by a straight line."
    seconds = {
        part: sum(
            a + (b - a) / 2 * (n - 1)
            for n, (a, _), (b, _) in zip(size.layers, few[part], more[part], strict=True)
        )
        for part in few
    }
    print(
        f"EXTRAPOLATED to all {size.layers[0]} × {size.layers[1]} layers, both ways: sweep "
        f"{seconds['sweep']:.0f} s, "
        f"null {seconds['null']:.0f} s, null / sweep {seconds['null'] / seconds['sweep']:.2f}"
    )


def report(name: str, out, threads: int) -> None:
    size = SIZES[name]
    print(
        f"{name}: {size}, 5 folds, {len(ALPHAS)} penalties; {threads} threads, torch "
        f"{torch.__version__}"
    )
    networks, runs = two_networks(size.layers, size.units, size.n), {}
    before = peak()
    for sources in [(1, 1), (3, 3)] if name == "few" else [size.layers]:
        runs[sources] = measure(size, networks, sources, progress=name == "full")
        show(size, runs[sources], sources)
    print(
        f"peak memory {peak():.2f} GiB, of which {before:.2f} before the engine began (features "
        "and libraries)"
    )
    if name == "few":
        extrapolate(size, *runs.values())
        return
    common = {
        "layers": "{} × {}, both ways".format(*size.layers),
        "units": "{}, {}".format(*size.units),
        "n": size.n,
        "penalties": len(ALPHAS),
        "permutations": size.n_permutations,
        "peak memory (GiB)": peak(),
    }
    publish(
        "full_size",
        [row | common for row in summary(size, runs[size.layers], size.layers)],
        out,
        threads,
    )


if __name__ == "__main__":
    asked = options(__doc__, "full")
    report("tiny" if asked.tiny else "full" if asked.full else "few", asked.out, pin_threads())
