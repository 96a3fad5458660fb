"""Scores in the units of an intact target: their draws, against refitting every draw."""

import numpy as np

from seeing_words.measures.fixed_target import fixed_target_estimates
from seeing_words.measures.folds import Folds, make_folds
from seeing_words.measures.inference import resample_weights
from seeing_words.measures.shapley import shapley


def refitted(X, own, intact, folds: Folds, weight, alpha: float) -> tuple[float, float]:
    """Both measures with stimuli repeated as a draw has them, in plain numpy."""
    covariance, r = [], []
    for i, test in enumerate(folds.test):
        train = np.repeat(folds.train(i), weight[folds.train(i)])
        held = np.repeat(test, weight[test])
        x = (X - X[train].mean(0)) / X[train].std(0)
        y = own / intact[folds.train(i)].std(0)
        scale = y[train].std(0)
        z = (y - y[train].mean(0)) / scale
        gram = x[train].T @ x[train] + alpha * np.eye(X.shape[1])
        predicted = x[held] @ np.linalg.solve(gram, x[train].T @ z[train]) * scale
        units = range(own.shape[1])
        covariance.append(
            np.mean([np.cov(y[held, u], predicted[:, u], ddof=0)[0, 1] for u in units])
        )
        r.append(np.mean([np.corrcoef(intact[held, u], predicted[:, u])[0, 1] for u in units]))
    return float(np.mean(covariance)), float(np.mean(r))


def test_values_and_spread_are_those_of_refitting():
    rng, folds = np.random.default_rng(0), make_folds(150, n_folds=3)
    facts = rng.normal(size=(150, 4))
    X = facts @ rng.normal(size=(4, 6)) + rng.normal(size=(150, 6))
    lost = rng.normal(size=(150, 5))
    own = facts @ rng.normal(size=(4, 5)) + rng.normal(size=(150, 5))
    intact = 2 * own + lost
    weights = resample_weights(folds, n_draws=150)
    made = fixed_target_estimates(
        X, {"y": (own, intact)}, folds=folds, weights=weights, alphas=[10.0]
    )["y"]
    once = refitted(X, own, intact, folds, np.ones(150, int), 10.0)
    np.testing.assert_allclose(made.value.values, once, atol=1e-5)
    literal = np.array([refitted(X, own, intact, folds, w, 10.0) for w in weights])
    for measure, draws in zip(("covariance", "r"), literal.T):
        linear = made.draws.sel(measure=measure).values
        assert np.corrcoef(linear, draws)[0, 1] > 0.9
        assert 0.8 < linear.std() / draws.std() < 1.25


def test_shares_of_independent_groups_are_their_own():
    explained = {"a": 0.5, "b": 0.3, "c": 0.0}
    shares = shapley("abc", lambda some: sum(explained[k] for k in some))
    assert {k: round(v, 9) for k, v in shares.items()} == explained
    twins = shapley("ab", lambda some: 1.0 if some else 0.0)  # each tells what the other does
    assert twins == {"a": 0.5, "b": 0.5}
