"""Unique variance: against scikit-learn, finite differences, and worlds of known answer."""

import numpy as np
import pytest
from sklearn.linear_model import Ridge
from sklearn.model_selection import LeaveOneOut, cross_val_predict

from seeing_words.core.errors import InputError
from seeing_words.measures.folds import make_folds
from seeing_words.measures.inference import resample_weights
from seeing_words.measures.scores import interval
from seeing_words.measures.unique import fold_variance, unique_variance

N, SHARES, ALPHAS = 60, (0.25, 0.5), (0.01, 0.1, 1.0, 10.0)
TRAIN, TEST = np.arange(45), np.arange(45, N)


def layers(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    "Two sources of unlike sizes that share a part, and a target of both."
    rng = np.random.default_rng(seed)
    shared = rng.normal(size=(N, 3))
    X = np.hstack([shared, rng.normal(size=(N, 5))]) @ rng.normal(size=(8, 70))
    B = 100 * np.hstack([shared, rng.normal(size=(N, 4))]) @ rng.normal(size=(7, 20)) + 7
    Y = X[:, :6] + 0.05 * B[:, :6] + 3 * rng.normal(size=(N, 6))
    return X, B, Y


def scaled(values: np.ndarray, scaling: str) -> np.ndarray:
    "A block by training stimuli, of mean squared length 1."
    centred = values - values[TRAIN].mean(0)
    if scaling == "unit":
        centred = centred / values[TRAIN].std(0)
    return centred / np.sqrt((centred[TRAIN] ** 2).sum(1).mean())


def concatenated(X, B, share, scaling):
    return np.hstack(
        [np.sqrt(share) * scaled(X, scaling[0]), np.sqrt(1 - share) * scaled(B, scaling[1])]
    )


@pytest.mark.parametrize("scaling", [("unit", "unit"), ("unit", "layer"), ("layer", "unit")])
def test_both_together_are_ridge_on_scaled_concatenation_chosen_by_leaving_one_out(scaling):
    X, B, Y = layers(0)
    found = fold_variance(
        X,
        B,
        {"y": Y},
        train=TRAIN,
        test=TEST,
        scaling=scaling,
        shares=SHARES,
        alphas=ALPHAS,
    )["y"]
    z = (Y - Y[TRAIN].mean(0)) / Y[TRAIN].std(0)
    errors = {}
    for share in (0.0, *SHARES, 1.0):
        both = concatenated(X, B, share, scaling)
        for alpha in ALPHAS:
            predicted = cross_val_predict(Ridge(alpha), both[TRAIN], z[TRAIN], cv=LeaveOneOut())
            errors[share, alpha] = ((predicted - z[TRAIN]) ** 2).sum()
    for part, offered in {"network": {1.0}, "baseline": {0.0}, "both": {0.0, *SHARES, 1.0}}.items():
        best = min((key for key in errors if key[0] in offered), key=errors.get)
        assert found.chosen[part] == best
        both = concatenated(X, B, best[0], scaling)
        predicted = Ridge(best[1]).fit(both[TRAIN], z[TRAIN]).predict(both[TEST])
        assert found.error[part] == pytest.approx(((predicted - z[TEST]) ** 2).sum())
    assert found.total == pytest.approx((z[TEST] ** 2).sum())


def test_what_a_stimulus_changes_is_the_derivative_by_its_weight():
    X, B, Y = layers(1)
    found = fold_variance(X, B, {"y": Y}, train=TRAIN, test=TEST, shares=SHARES, alphas=ALPHAS)["y"]
    z = (Y - Y[TRAIN].mean(0)) / Y[TRAIN].std(0)
    share, alpha = found.chosen["both"]
    both = concatenated(X, B, share, ("unit", "unit"))

    def error(weights):  # the scales of the units stay as they are
        ridge = Ridge(alpha, fit_intercept=False)
        ridge.fit(both[TRAIN], z[TRAIN], sample_weight=weights[TRAIN])
        return weights[TEST] @ ((ridge.predict(both[TEST]) - z[TEST]) ** 2).sum(1)

    step = 1e-4
    for i in (0, 17, 44, 45, 59):
        up, down = np.ones(N), np.ones(N)
        up[i] += step
        down[i] -= step
        slope = (error(up) - error(down)) / (2 * step)
        assert found.error_by_stimulus["both"][i] == pytest.approx(slope, rel=1e-3)


def test_parts_add_up_and_several_targets_do_not_disturb_each_other():
    X, B, Y = layers(2)
    folds = make_folds(N)
    weights = resample_weights(folds, n_draws=20)
    found = unique_variance(X, B, Y, folds=folds, weights=weights)
    at = {part: found.sel(part=part, drop=True) for part in found.part.values}
    for numbers in ("value", "draws"):
        unique = at["both"] - at["baseline"]
        np.testing.assert_allclose(at["unique"][numbers], unique[numbers], atol=1e-12)
        whole = at["unique"] + at["shared"] + at["both"] - at["network"]
        np.testing.assert_allclose(whole[numbers], at["both"][numbers], atol=1e-12)
    targets = {"a": Y, "b": X[:, :2]}
    several = fold_variance(X, B, targets, train=TRAIN, test=TEST)
    alone = fold_variance(X, B, {"b": X[:, :2]}, train=TRAIN, test=TEST)
    assert several["b"].error == pytest.approx(alone["b"].error)


def test_a_network_that_knows_less_than_the_baseline_adds_nothing():
    rng = np.random.default_rng(3)
    facts = rng.normal(size=(150, 6))
    B = facts @ rng.normal(size=(6, 30))
    X = B @ rng.normal(size=(30, 20)) + 8 * rng.normal(size=(150, 20))
    Y = facts @ rng.normal(size=(6, 10)) + 2 * rng.normal(size=(150, 10))
    folds = make_folds(150)
    weights = resample_weights(folds, n_draws=200)
    found = unique_variance(X, B, Y, folds=folds, weights=weights)
    value = found.value.to_series()
    assert value["network"] > 0.3, "it predicts"
    assert abs(value["unique"]) < 0.01
    assert interval(found).low.sel(part="unique") <= 0
    assert value["shared"] == pytest.approx(value["network"], abs=0.01)


def test_unlike_stimuli_and_unknown_scalings_are_refused():
    X, B, Y = layers(0)
    with pytest.raises(InputError, match="network has 60, baseline has 50, target y has 60"):
        fold_variance(X, B[:50], {"y": Y}, train=TRAIN, test=TEST)
    with pytest.raises(InputError, match="scaling 'none': choose one of unit, layer"):
        fold_variance(X, B, {"y": Y}, train=TRAIN, test=TEST, scaling=("none", "unit"))
