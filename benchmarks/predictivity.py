"""Predictivity of all layer pairs: seeing_words beside scikit-learn's and himalaya's cross-validated ridge.

Same stimuli, z-scored the same way, same outer folds and penalties, one penalty for all target units, as many threads.
The peers share nothing between pairs of layers, so one pair (median of 3) stands for each of the sweep; ours is the
whole sweep. scikit-learn chooses the penalty by the same leave-one-out error; himalaya by 5 inner folds, hence its
difference. Needs `pip install himalaya`. The table goes to predictivity.csv beside this file.
"""
import platform
import time
import warnings
from pathlib import Path
from statistics import median

import himalaya
import numpy as np
import pandas as pd
import sklearn
import torch
from himalaya.backend import set_backend
from himalaya.kernel_ridge import KernelRidgeCV
from himalaya.ridge import RidgeCV as HimalayaRidgeCV
from sklearn.linear_model import RidgeCV
from threadpoolctl import threadpool_limits

from seeing_words.predictivity import ALPHAS, make_folds, predictivity_grid, unit_pearson

THREADS = torch.get_num_threads()                    # OMP_NUM_THREADS, or one a core
N = 1000                                             # stimuli
CASES = {128: 9, 512: 5, 1024: 3}                    # units of each layer: layers on each side
PEERS = {
    "scikit-learn RidgeCV": lambda: RidgeCV(alphas=ALPHAS),
    "himalaya RidgeCV": lambda: HimalayaRidgeCV(alphas=ALPHAS, solver_params={"local_alpha": False, "warn": False}),
    "himalaya KernelRidgeCV": lambda: KernelRidgeCV(alphas=ALPHAS, solver_params={"local_alpha": False}),
}


def related_layers(n_layers: int, units: int, rng: np.random.Generator, shared: np.ndarray) -> np.ndarray:
    "Float32 layers (layer, stimulus, unit) that share some of their dimensions."
    signal = shared @ rng.normal(size=(n_layers, shared.shape[1], units))
    return (signal + 3 * rng.normal(size=signal.shape)).astype(np.float32)


def one_pair(make, X: np.ndarray, Y: np.ndarray, folds) -> np.ndarray:
    "Score of each fold by a peer."
    scores = []
    for i, test in enumerate(folds.test):
        train = folds.train(i)
        x, y = ((Z - Z[train].mean(0)) / Z[train].std(0) for Z in (X, Y))
        prediction = make().fit(x[train], y[train]).predict(x[test])
        scores.append(unit_pearson(y[test], np.asarray(prediction)).mean())
    return np.array(scores)


def timed(call, repeats: int = 3):
    "Median seconds, and the result."
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        result = call()
        seconds.append(time.perf_counter() - start)
    return median(seconds), result


def compare(units: int, n_layers: int) -> list[dict]:
    "One row of the table a method."
    rng, folds = np.random.default_rng(0), make_folds(N)
    shared = rng.normal(size=(N, 20))
    source, target = (related_layers(n_layers, units, rng, shared) for _ in range(2))
    ours, grid = timed(lambda: predictivity_grid(source, target, folds=folds))
    found = [("seeing_words", ours / n_layers**2, grid.predictivity.values[0, 0])]
    for name, make in PEERS.items():
        found.append((name, *timed(lambda make=make: one_pair(make, source[0], target[0], folds))))
    reference = found[1][2]  # scikit-learn's scores
    return [{"units": units, "layers": f"{n_layers} × {n_layers}", "method": name, "times as long": seconds / found[0][1],
             "ms a pair": 1000 * seconds, "max |Δr|": abs(scores - reference).max()}
            for name, seconds, scores in found]


if __name__ == "__main__":
    warnings.filterwarnings("ignore", module="himalaya")
    set_backend("torch")
    print(f"{N} stimuli, 5 folds, {len(ALPHAS)} penalties, {THREADS} threads, {platform.machine()}; "
          f"torch {torch.__version__}, scikit-learn {sklearn.__version__}, himalaya {himalaya.__version__}")
    with threadpool_limits(THREADS):
        table = pd.DataFrame([row for case in CASES.items() for row in compare(*case)])
    print(table.to_string(index=False, formatters={"times as long": "{:.1f}".format, "ms a pair": "{:.1f}".format,
                                                   "max |Δr|": "{:.0e}".format}))
    table.to_csv(Path(__file__).with_suffix(".csv"), index=False, float_format="%.4g")
