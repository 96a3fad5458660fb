"""The sweep and its null at the size of the paper: every layer pair of a vision and a language network, both ways.

Random features with planted alignment: each layer mixes `SHARED` dimensions, the same in both networks, into noise that
is weaker the nearer the layer is to the middle. Prints seconds of the sweep and of the null, their ratio, the share they
reach of a bare `torch.mm`'s speed, peak memory, and whether what was planted is found.

    full_size.py            1 and 3 source layers against all target layers, from which the rest follows (some minutes)
    full_size.py --full     all of it
    full_size.py --tiny     a few seconds, to see that it runs

Time grows by the same amount with each source layer, once the targets are prepared: so two sizes give the whole, and the
default prints that, as the extrapolation it is.
"""
import argparse
import platform
import resource
import time
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch

from seeing_words.predictivity import ALPHAS, DIRECTIONS, make_folds, null_grid, predictivity_grid


@dataclass(frozen=True)
class Size:
    layers: tuple[int, int] = (25, 31)      # of vision, of language
    units: tuple[int, int] = (1024, 2560)   # of a layer of each
    n: int = 1000                           # stimuli
    n_permutations: int = 100
    n_units: int = 128                      # target units of the null


SHARED = 20  # planted dimensions
SIZES = {"few": Size(), "full": Size(), "tiny": Size((3, 4), (96, 128), n=100, n_permutations=5, n_units=16)}


def planted(n_layers: int, units: int, shared: np.ndarray, seed: int) -> np.ndarray:
    "Float32 layers (layer, stimulus, unit), the middle ones nearest to what is shared."
    rng = np.random.default_rng(seed)
    layers = np.empty((n_layers, len(shared), units), np.float32)
    for layer, depth in zip(layers, np.linspace(-1, 1, n_layers), strict=True):
        layer[:] = shared @ rng.normal(size=(shared.shape[1], units)) + 4 * (1 + abs(depth)) * rng.normal(size=layer.shape)
    return layers


def operations(size: Size, sources: tuple[int, int]) -> dict[str, float]:
    "Floating-point operations, at the rank there is, by the counts in the library notebook; decompositions not counted."
    t, A, total = size.n // 5, len(ALPHAS), {"sweep": 0.0, "null": 0.0}
    m = size.n - t
    for n_sources, n_targets, p, q in zip(sources, size.layers[::-1], size.units, size.units[::-1], strict=True):
        r, gram = min(p, m - 1), 2 * min(m, p)**2 * max(m, p)
        pairs, pairings = n_sources * n_targets, (1 + size.n_permutations) * n_sources * n_targets
        total["sweep"] += 5 * (n_sources * (gram + A * (2*m*m*r + 1.25 * m**3)) + n_targets * m*m*q)
        total["sweep"] += 5 * pairs * (A*m*m + 2*t*m * (r + q))
        total["null"] += 5 * (n_sources * (gram + A*m*m*r) + pairings * (A*m*m + 2*t*m * size.n_units))
    return total


def timed(call) -> tuple[float, object]:
    start = time.perf_counter()
    result = call()
    return time.perf_counter() - start, result


def peak() -> float:  # GiB of this process so far
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**30 if platform.system() == "Darwin" else 2**20)


def bare_speed(size: Size) -> float:
    "GFLOP/s of torch.mm at the shape of a prediction."
    m, t, q = size.n - size.n // 5, size.n // 5, max(size.units)
    a, b = torch.randn(t, m), torch.randn(m, q)
    return 2e-9 * t * m * q / min(timed(lambda: torch.mm(a, b))[0] for _ in range(20))


def measure(size: Size, networks: list[np.ndarray], sources: tuple[int, int], progress: bool) -> dict[str, list]:
    "Of sweep and null, each direction's (seconds, result), with so many source layers of each network."
    folds, found = make_folds(size.n), {"sweep": [], "null": []}
    for n_sources, source, target in zip(sources, networks, networks[::-1], strict=True):
        some = source[len(source) // 2:][:n_sources] if n_sources < len(source) else source
        sweep = partial(predictivity_grid, some, target, folds=folds, progress=progress)
        null = partial(null_grid, some, target, folds=folds, n_permutations=size.n_permutations, n_units=size.n_units,
                       progress=progress)
        found["sweep"].append(timed(sweep))
        found["null"].append(timed(null))
    return found


def show(size: Size, found: dict[str, list], sources: tuple[int, int]) -> None:
    seconds, bare = {part: sum(s for s, _ in both) for part, both in found.items()}, bare_speed(size)
    print(f"from {sources[0]} vision layers to {size.layers[1]} and from {sources[1]} language layers to {size.layers[0]}:")
    for part, needed in operations(size, sources).items():
        speed = 1e-9 * needed / seconds[part]
        print(f"  {part:5} {seconds[part]:8.1f} s {speed:7.1f} GFLOP/s, {speed / bare:4.0%} of a bare torch.mm ({bare:.0f})")
    print(f"  null / sweep = {seconds['null'] / seconds['sweep']:.2f}")
    for direction, (_, grid), (_, null) in zip(DIRECTIONS, *found.values(), strict=True):
        scores = grid.predictivity.mean("fold")
        print(f"  {direction}: r {scores.min():.3f}…{scores.max():.3f}; of the null's units {null.observed.max():.3f}, "
              f"their shuffled best {null.null.max():.3f}")


def extrapolate(size: Size, few: dict[str, list], more: dict[str, list]) -> None:
    "From 1 and 3 source layers, each part and direction by a straight line."
    seconds = {part: sum(a + (b - a) / 2 * (n - 1) for n, (a, _), (b, _) in zip(size.layers, few[part], more[part], strict=True))
               for part in few}
    print(f"EXTRAPOLATED to all {size.layers[0]} × {size.layers[1]} layers, both ways: sweep {seconds['sweep']:.0f} s, "
          f"null {seconds['null']:.0f} s, null / sweep {seconds['null'] / seconds['sweep']:.2f}")


def report(name: str) -> None:
    size = SIZES[name]
    print(f"{name}: {size}, 5 folds, {len(ALPHAS)} penalties; {torch.get_num_threads()} threads, {platform.machine()}, "
          f"torch {torch.__version__}")
    shared = np.random.default_rng(0).normal(size=(size.n, SHARED))
    networks = [planted(*side, shared, seed) for seed, side in enumerate(zip(size.layers, size.units, strict=True), 1)]
    before, runs = peak(), {}
    for sources in [(1, 1), (3, 3)] if name == "few" else [size.layers]:
        runs[sources] = measure(size, networks, sources, progress=name == "full")
        show(size, runs[sources], sources)
    if name == "few": extrapolate(size, *runs.values())
    print(f"peak memory {peak():.2f} GiB, of which {before:.2f} before the engine began (features and libraries)")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    choice = parser.add_mutually_exclusive_group()
    for name in ("full", "tiny"):
        choice.add_argument(f"--{name}", dest="size", action="store_const", const=name, default="few")
    report(parser.parse_args().size)
