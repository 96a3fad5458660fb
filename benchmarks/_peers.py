"""The cross-validated ridge of other libraries, each as fast as it honestly goes here.

scikit-learn's `RidgeCV` chooses the penalty by leave-one-out over the stimuli, as seeing_words
does; it computes in float64 whatever it is given, and by the Gram matrix (`gcv_mode`) wherever
units outnumber stimuli. `GridSearchCV(Ridge)` and himalaya choose by 5 inner folds, by squared
error here. himalaya runs on its torch backend; its kernel ridge takes a precomputed linear kernel,
made by one `torch.mm` (its own checks cost more than that), and target units in batches of 512,
which stay in the cache (measured: none, 128, 256, 512, 1024; λs one by one are slower). All choose
one penalty for all units of the target, as ours does. Those that compute in float32 if asked are
timed so, unless float64 is faster.

Z-scoring, and correlating the prediction, are left out of a peer's time; ours is timed with both.
"""

import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from himalaya.backend import get_backend, set_backend
from himalaya.kernel_ridge import KernelRidgeCV
from himalaya.ridge import RidgeCV as HimalayaRidgeCV
from sklearn.linear_model import Ridge, RidgeCV
from sklearn.model_selection import GridSearchCV

from seeing_words.measures.folds import Folds
from seeing_words.measures.numerics import unit_pearson

INNER = 5  # folds of the peers that choose the penalty by folds
SHARED = {"local_alpha": False}  # himalaya: one penalty for all target units


def ridge_cv(x, y, x_test, alphas) -> np.ndarray:
    return RidgeCV(alphas=alphas).fit(x, y).predict(x_test)


def grid_search(x, y, x_test, alphas) -> np.ndarray:
    search = GridSearchCV(
        Ridge(), {"alpha": list(alphas)}, cv=INNER, scoring="neg_mean_squared_error"
    )
    return search.fit(x, y).predict(x_test)


def himalaya_ridge_cv(x, y, x_test, alphas) -> np.ndarray:
    model = HimalayaRidgeCV(alphas=alphas, cv=INNER, solver_params=SHARED | {"warn": False})
    return model.fit(x, y).predict(x_test).numpy()


def himalaya_kernel(x, y, x_test, alphas) -> np.ndarray:
    x, y, x_test = map(torch.from_numpy, (x, y, x_test))
    model = KernelRidgeCV(
        alphas=alphas,
        cv=INNER,
        kernel="precomputed",
        solver_params=SHARED | {"n_targets_batch": 512},
    )
    return model.fit(torch.mm(x, x.T), y).predict(torch.mm(x_test, x.T)).numpy()


@dataclass(frozen=True)
class Peer:
    fit: Callable  # (train x, train y, test x, alphas) → prediction
    dtypes: tuple[str, ...] = ("float32", "float64")


PEERS = {
    "scikit-learn RidgeCV": Peer(ridge_cv, ("float64",)),
    "scikit-learn GridSearchCV(Ridge)": Peer(grid_search),
    "himalaya RidgeCV": Peer(himalaya_ridge_cv),
    "himalaya KernelRidgeCV": Peer(himalaya_kernel),
}


@contextmanager
def torch_himalaya() -> Iterator[None]:
    "himalaya on torch, without what it and scikit-learn have to say about shapes and conditioning."
    before = get_backend().name
    set_backend("torch")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        set_backend(before)


def zscored(X: np.ndarray, train: np.ndarray, dtype: str) -> np.ndarray:  # (stimulus, unit)
    return ((X - X[train].mean(0, dtype=float)) / X[train].std(0, dtype=float)).astype(dtype)


def one_fold(
    peer: Peer,
    X: np.ndarray,
    Y: np.ndarray,
    folds: Folds,
    i: int,
    alphas: Sequence[float],
    dtype: str,
) -> tuple[float, np.ndarray]:  # seconds, r of each target unit
    "Fit and predict one fold of one pair, `X` and `Y` (stimulus, unit)."
    train, test = folds.train(i), folds.test[i]
    x, y = zscored(X, train, dtype), zscored(Y, train, dtype)
    start = time.perf_counter()
    prediction = peer.fit(x[train], y[train], x[test], np.asarray(alphas, dtype))
    return time.perf_counter() - start, unit_pearson(y[test], prediction)


def faster_dtype(
    peer: Peer, X: np.ndarray, Y: np.ndarray, folds: Folds, alphas: Sequence[float]
) -> str:
    "By the faster of two runs of one fold in each."
    if len(peer.dtypes) == 1:
        return peer.dtypes[0]
    return min(
        peer.dtypes,
        key=lambda dtype: min(one_fold(peer, X, Y, folds, 0, alphas, dtype)[0] for _ in range(2)),
    )
