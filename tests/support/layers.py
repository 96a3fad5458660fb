"Layers to test measures on."

import numpy as np


def related(n: int, p: int, q: int, *, noise: float = 1.0, seed: int = 0) -> list[np.ndarray]:
    "Two layers, of `p` and `q` units, that share four dimensions."
    rng = np.random.default_rng(seed)
    shared = rng.normal(size=(n, 4))
    return [
        shared @ rng.normal(size=(4, units)) + noise * rng.normal(size=(n, units))
        for units in (p, q)
    ]
