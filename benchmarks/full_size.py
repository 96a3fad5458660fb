"""The sweep and its null at the size of the paper: every layer pair of a vision and a language network, both ways.

Random features with planted alignment: each layer mixes `SHARED` dimensions, the same in both networks, into noise that
is weaker the nearer the layer is to the middle. Prints seconds of the sweep and of the null, their ratio, what they
reach of a bare `torch.mm` of the same shapes' speed, peak memory, and whether what was planted is found.

    full_size.py            two layers of vision, three of language, at the real widths (about a minute)
    full_size.py --full     the real size: 25 layers of 1024 units, 31 of 2560, 1000 stimuli, 100 permutations
    full_size.py --tiny     a few seconds, to see that it runs

A reduced run also prints the full size's time: what grows with pairs of layers (and permutations) times the pairs, what
grows with layers times the layers, from a fit to two reduced runs. That is an extrapolation, and the line says so.
"""
import argparse
import platform
import resource
import time
from dataclasses import dataclass, replace

import numpy as np
import torch

from seeing_words.predictivity import DIRECTIONS, align, make_folds, null_grid

SHARED = 20  # planted dimensions


@dataclass(frozen=True)
class Size:
    layers: tuple[int, int]  # of vision, of language
    units: tuple[int, int]   # of a layer of each
    n: int = 1000            # stimuli
    n_permutations: int = 100
    n_units: int = 128       # target units of the null


FULL = Size(layers=(25, 31), units=(1024, 2560))
SIZES = {"reduced": replace(FULL, layers=(2, 3)), "full": FULL,
         "tiny": Size(layers=(2, 3), units=(96, 128), n=100, n_permutations=5, n_units=16)}


def planted(n_layers: int, units: int, shared: np.ndarray, seed: int) -> np.ndarray:
    "Float32 layers (layer, stimulus, unit), the middle ones nearest to what is shared."
    rng = np.random.default_rng(seed)
    layers = np.empty((n_layers, len(shared), units), np.float32)
    for layer, depth in zip(layers, np.linspace(-1, 1, n_layers), strict=True):
        layer[:] = shared @ rng.normal(size=(shared.shape[1], units)) + 4 * (1 + abs(depth)) * rng.normal(size=layer.shape)
    return layers


def timed(call):
    start = time.perf_counter()
    result = call()
    return time.perf_counter() - start, result


def operations(size: Size) -> dict[str, float]:
    "Floating-point operations that the algorithm needs at full rank, by the counts in the library notebook; no eigh."
    t = size.n // 5
    m, A, total = size.n - t, 15, {"sweep": 0.0, "null": 0.0}
    for s in (0, 1):
        sources, targets, p, q = size.layers[s], size.layers[1 - s], size.units[s], size.units[1 - s]
        r = min(p, m - 1)
        gram = 2 * min(m, p)**2 * max(m, p)
        total["sweep"] += 5 * (sources * (gram + 2*A*m*m*r + 1.25 * A*m**3) + targets * m*m*q
                               + sources * targets * (A*m*m + 2*t*m * (r + q)))
        pairings = (1 + size.n_permutations) * targets
        total["null"] += 5 * sources * (gram + A*m*m*r + pairings * (A*m*m + 2*t*m * size.n_units))
    return total


def bare_speed(size: Size) -> float:
    "GFLOP/s of torch.mm at the shape of a prediction."
    m, t, q = size.n - size.n // 5, size.n // 5, max(size.units)
    a, b = torch.randn(t, m), torch.randn(m, q)
    return 2e-9 * t * m * q / min(timed(lambda: torch.mm(a, b))[0] for _ in range(20))


def measure(size: Size, progress: bool = False) -> tuple[dict[str, float], float, list]:
    "Seconds of sweep and null, the peak GiB added to the features, and what was found."
    shared = np.random.default_rng(0).normal(size=(size.n, SHARED))
    vision, language = (planted(*side, shared, seed) for seed, side in enumerate(zip(size.layers, size.units), 1))
    folds, before = make_folds(size.n), peak()
    sweep, found = timed(lambda: align({"v": vision}, {"l": language}, folds=folds, progress=progress))
    def both_nulls(): return [null_grid(*sides, folds=folds, n_permutations=size.n_permutations, n_units=size.n_units,
                                        progress=progress) for sides in ((vision, language), (language, vision))]
    null, nulls = timed(both_nulls)
    return {"sweep": sweep, "null": null}, peak() - before, [found["v", "l"], *nulls]


def peak() -> float:  # GiB of this process so far
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**30 if platform.system() == "Darwin" else 2**20)


def extrapolate(size: Size, seconds: dict[str, float]) -> dict[str, float]:
    "Seconds at full size, from this run and one of a single pair of layers: a part by layers, a part by pairs."
    single, _, _ = measure(replace(size, layers=(1, 1)))
    def shapes(s): return [[sum(s.layers), np.prod(s.layers)] for s in (replace(size, layers=(1, 1)), s)]
    fits = {name: np.linalg.solve(np.array(shapes(size), float), [single[name], seconds[name]]) for name in seconds}
    return {name: float(fit @ [sum(FULL.layers), np.prod(FULL.layers)]) for name, fit in fits.items()}


def report(name: str, size: Size) -> None:
    print(f"{name}: layers {size.layers[0]} × {size.layers[1]}, units {size.units[0]} and {size.units[1]}, {size.n} stimuli, "
          f"5 folds, 15 penalties, both directions; null: {size.n_permutations} permutations, {size.n_units} units")
    print(f"{torch.get_num_threads()} threads, {platform.machine()}, torch {torch.__version__}")
    seconds, memory, (grid, *nulls) = measure(size, progress=name == "full")
    bare, needed = bare_speed(size), operations(size)
    for part, duration in seconds.items():
        speed = 1e-9 * needed[part] / duration
        print(f"{part:5}  {duration:8.1f} s  {speed:6.1f} GFLOP/s, {speed / bare:4.0%} of a bare torch.mm ({bare:.0f})")
    print(f"null / sweep = {seconds['null'] / seconds['sweep']:.2f}; {memory:.2f} GiB at most beside {peak() - memory:.2f}")
    for direction, null in zip(DIRECTIONS, nulls, strict=True):
        scores = grid.predictivity.sel(direction=direction).mean("fold")
        print(f"{direction}: r {scores.min():.3f}…{scores.max():.3f}; of the null's units {null.observed.max():.3f}, "
              f"their shuffled best {null.null.max():.3f}")
    if name == "reduced":
        full = extrapolate(size, seconds)
        print(f"EXTRAPOLATED to {FULL.layers[0]} × {FULL.layers[1]} layers: "
              f"sweep {full['sweep']:.0f} s, null {full['null']:.0f} s, null / sweep {full['null'] / full['sweep']:.2f}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    choice = parser.add_mutually_exclusive_group()
    for name in ("full", "tiny"):
        choice.add_argument(f"--{name}", dest="size", action="store_const", const=name, default="reduced")
    name = parser.parse_args().size
    report(name, SIZES[name])
