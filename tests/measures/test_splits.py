"""Maps fitted on one set and tested on another, against plain numpy and against refitting."""

import numpy as np
import pytest

from seeing_words.core.errors import InputError
from seeing_words.measures.splits import split_estimates


def by_hand(X, Y, train, test, alpha: float) -> float:
    """Mean r of ridge predictions; positions may repeat, as in a bootstrap draw."""
    x = (X - X[train].mean(0)) / X[train].std(0)
    y = (Y - Y[train].mean(0)) / Y[train].std(0)
    gram = x[train].T @ x[train] + alpha * np.eye(X.shape[1])
    predicted = x[test] @ np.linalg.solve(gram, x[train].T @ y[train])
    return float(
        np.mean([np.corrcoef(predicted[:, u], Y[test, u])[0, 1] for u in range(Y.shape[1])])
    )


def test_value_and_draws_are_those_of_two_samples():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(220, 5))
    Y = X @ rng.normal(size=(5, 6)) + 2 * rng.normal(size=(220, 6))
    train, test = np.arange(100), np.arange(120, 220)
    weights = np.ones((120, 220), int)
    for positions in (train, test):  # the two samples are drawn apart
        draws = rng.multinomial(len(positions), np.full(len(positions), 1 / len(positions)), 120)
        weights[:, positions] = draws
    made = split_estimates(X, {"y": Y}, {"s": [(train, test)]}, weights=weights, alphas=[10.0])
    made = made["y"].squeeze(drop=True)
    assert abs(float(made.value) - by_hand(X, Y, train, test, 10.0)) < 1e-5
    literal = [
        by_hand(X, Y, np.repeat(train, w[train]), np.repeat(test, w[test]), 10.0) for w in weights
    ]
    assert np.corrcoef(made.draws, literal)[0, 1] > 0.9
    assert 0.8 < float(made.draws.std()) / np.std(literal) < 1.25


def test_a_source_may_be_changed_for_the_test_alone():
    rng = np.random.default_rng(1)
    X = rng.normal(size=(80, 4))
    Y = X @ rng.normal(size=(4, 5)) + rng.normal(size=(80, 5))
    train, test = np.arange(50), np.arange(50, 80)
    other = X + rng.normal(size=X.shape)
    splits = {"same": [(train, test)], "other": [(train, test)]}
    made = split_estimates(
        X, {"y": Y}, splits, tested={"other": other}, weights=np.ones((2, 80)), alphas=[1.0]
    )["y"]
    mixed = np.where(np.isin(np.arange(80), test)[:, None], other, X)
    assert abs(float(made.value.sel(split="same")) - by_hand(X, Y, train, test, 1.0)) < 1e-5
    assert abs(float(made.value.sel(split="other")) - by_hand(mixed, Y, train, test, 1.0)) < 1e-5
    with pytest.raises(InputError, match="there is no split 'others'"):
        split_estimates(X, {"y": Y}, splits, tested={"others": other}, weights=np.ones((2, 80)))
