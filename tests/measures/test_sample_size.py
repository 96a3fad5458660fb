"Curves against the number of stimuli, and the score with unlimited ones."

import numpy as np
import pytest
import xarray as xr

from seeing_words.core.errors import InputError
from seeing_words.measures.folds import make_folds
from seeing_words.measures.inference import predictivity_estimate, resample_weights
from seeing_words.measures.sample_size import extrapolate, nested_parts, sample_size_curve
from seeing_words.measures.scores import interval


def planted(n: int, units: int, *, decay: float = 0.0, seed: int = 0):
    "Layers that share eight dimensions, and the mean r of the best linear map of the population."
    fixed = np.random.default_rng(units)
    strength = np.arange(1, 9)[:, None] ** -decay
    A, B = (strength * fixed.normal(size=(8, units)) for _ in range(2))
    rng = np.random.default_rng(seed)
    shared = rng.normal(size=(n, 8))
    X, Y = (shared @ M + 1.5 * rng.normal(size=(n, units)) for M in (A, B))
    covariance = A.T @ A + 1.5**2 * np.eye(units)
    explained = ((A.T @ B) * np.linalg.solve(covariance, A.T @ B)).sum(0)
    return X, Y, np.sqrt(explained / ((B**2).sum(0) + 1.5**2)).mean()


@pytest.mark.parametrize("groups", [None, np.repeat(np.arange(90), 5)])
def test_parts_are_nested_and_hold_every_stimulus_once(groups):
    levels = nested_parts(450, min_stimuli=40, seed=3, groups=groups)
    assert [len(parts) for parts in levels] == [1, 2, 4, 8]
    for larger, smaller in zip(levels, levels[1:]):
        np.testing.assert_array_equal(np.sort(np.concatenate(smaller)), np.arange(450))
        assert all(any(set(part) < set(whole) for whole in larger) for part in smaller)
        for part in smaller:
            assert groups is None or all(
                len(set(part) & set(np.flatnonzero(groups == g))) in (0, 5) for g in range(90)
            )


def test_a_point_is_the_mean_over_parts():
    X, Y, _ = planted(240, 6)
    weights = resample_weights(240, n_draws=20)
    curve = sample_size_curve(X, Y, weights=weights)
    assert curve["size"].values.tolist() == [240, 120, 60]
    for size, parts in zip(curve["size"].values, nested_parts(240)):
        scores = [
            predictivity_estimate(
                X[part], Y[part], folds=make_folds(len(part)), weights=weights[:, part]
            )
            for part in parts
        ]
        one = curve.sel(size=size)
        assert float(one.value) == pytest.approx(np.mean([float(s.value) for s in scores]))
        np.testing.assert_allclose(one.draws, np.mean([s.draws.values for s in scores], axis=0))


@pytest.mark.parametrize("exponent", [0.5, 0.8, 1.0])
def test_the_form_is_found_again(exponent):
    sizes = np.array([800.0, 400, 200, 100, 50])
    scores = xr.DataArray(0.7 - 1.5 * sizes**-exponent, {"size": sizes}, "size")
    noise = np.random.default_rng(0).normal(size=(5, 30)) * 1e-6
    curve = xr.Dataset(
        {"value": scores, "draws": scores + xr.DataArray(noise, dims=("size", "draw"))}
    )
    beyond = extrapolate(curve, [3200, np.inf])
    assert beyond.exponent == pytest.approx(exponent)
    expected = [0.7 - 1.5 * 3200**-exponent, 0.7]
    np.testing.assert_allclose(beyond.value, expected, atol=1e-4)
    np.testing.assert_allclose(beyond.draws.mean("draw"), expected, atol=1e-3)


def test_a_curve_that_falls_is_taken_for_flat():
    sizes = np.array([400.0, 200, 100, 50])
    scores = xr.DataArray([0.1, 0.11, 0.12, 0.13], {"size": sizes}, "size")
    noise = np.random.default_rng(0).normal(size=(4, 30)) * 1e-3
    curve = xr.Dataset(
        {"value": scores, "draws": scores + xr.DataArray(noise, dims=("size", "draw"))}
    )
    assert 0.1 < float(extrapolate(curve).value[0]) < 0.13


@pytest.mark.parametrize(("units", "decay"), [(12, 0.0), (24, 1.0)])
def test_intervals_hold_the_score_with_unlimited_stimuli(units, decay):
    "The best linear map's, known from how layers were made; the score at hand falls short of it."
    held, at_hand = 0, []
    for seed in range(12):
        X, Y, truth = planted(400, units, decay=decay, seed=seed)
        curve = sample_size_curve(X, Y, weights=resample_weights(400, n_draws=200, seed=seed))
        ends = interval(extrapolate(curve))
        held += int(float(ends.low[0]) <= truth <= float(ends.high[0]))
        at_hand.append(float(curve.value[0]))
    assert held >= 9
    assert np.mean(at_hand) < truth - 2 * np.std(at_hand) / 12**0.5


@pytest.mark.parametrize(
    ("n", "message"), [(99, "99 stimuli cannot be halved"), (300, "a curve of 3 sizes")]
)
def test_too_few_stimuli_are_named(n, message):
    X, Y, _ = planted(n, 4)
    with pytest.raises(InputError, match=message):
        extrapolate(sample_size_curve(X, Y, weights=resample_weights(n, n_draws=5)))
