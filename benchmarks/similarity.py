"""Permutations of debiased CKA over all layer pairs, beside the plain way.

Ours is `similarity_null`, features to scores, once. The plain way is numpy with what anybody would
share: every layer's centred matrix is made once, then each permutation of each pair re-orders one
matrix and takes one inner product, in float64. It is timed on one pair and 20 permutations (the
median of 3) and extrapolated to the rest, which is the same work again. The difference is the
largest between both over those permutations.

Written: similarity.csv. `--tiny` shows that it runs.
"""

from dataclasses import dataclass

import numpy as np
from _common import options, pin_threads, publish, repeated, say, two_networks

from seeing_words.measures.similarity import similarity_null

MEASURE, SEED = "cka_debiased", 0


@dataclass(frozen=True)
class Size:
    layers: tuple[int, int] = (25, 31)
    units: tuple[int, int] = (1024, 2560)
    n: int = 1000
    n_permutations: int = 1000
    n_plain: int = 20  # permutations that are timed the plain way


SIZES = {False: Size(), True: Size((2, 3), (30, 40), n=50, n_permutations=20, n_plain=5)}


def centred(X: np.ndarray) -> np.ndarray:  # (stimulus, stimulus) of norm 1
    "Linear Gram of a layer, without diagonal, centred so that inner products are unbiased HSIC."
    X, n = X - X.mean(0, dtype=float), len(X)
    K = X @ X.T
    np.fill_diagonal(K, 0)
    row = K.sum(0) / (n - 2)
    K = K - row - row[:, None] + row.sum() / (n - 1)
    np.fill_diagonal(K, 0)
    return K / np.linalg.norm(K)


def plain(K: np.ndarray, L: np.ndarray, orders: list[np.ndarray]) -> np.ndarray:  # (permutation,)
    return np.array([np.vdot(K, L[np.ix_(order, order)]) for order in orders])


def compare(size: Size) -> list[dict]:
    networks = two_networks(size.layers, size.units, size.n)
    say(f"{size.layers[0]} and {size.layers[1]} layers")
    seconds, timings, null = repeated(
        lambda: similarity_null(
            *networks,
            measure=MEASURE,
            n_permutations=size.n_permutations,
            seed=SEED,
            units="raw",  # as the plain way takes them
        ),
        times=1,
    )
    say(f"seeing_words: {seconds:.1f} s")
    rng = np.random.default_rng(SEED)
    orders = [rng.permutation(size.n) for _ in range(size.n_plain)]
    K, L = (centred(network[0]) for network in networks)
    of_one, again, expected = repeated(lambda: plain(K, L, orders))
    naive = of_one / size.n_plain * size.n_permutations * size.layers[0] * size.layers[1]
    difference = float(abs(null.values[: size.n_plain, 0, 0] - expected).max())
    say(f"numpy: {naive:.0f} s, extrapolated")
    common = {
        "measure": MEASURE,
        "permutations": size.n_permutations,
        "layers": "{} × {}".format(*size.layers),
        "units": "{}, {}".format(*size.units),
        "n": size.n,
    }
    return [
        {
            "times as long": t / seconds,
            "method": method,
            "seconds": t,
            **common,
            "measured": how,
            "timings": k,
            "max |Δ|": d,
        }
        for method, t, how, k, d in (
            ("seeing_words", seconds, "measured", timings, difference),
            ("numpy, matrices made once", naive, "extrapolated", again, 0.0),
        )
    ]


if __name__ == "__main__":
    asked = options(__doc__)
    threads = pin_threads()
    publish("similarity", compare(SIZES[asked.tiny]), asked.out, threads)
