"""Influences of stimuli on a score, and the intervals that are made of them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seeing_words.core.errors import InputError
from seeing_words.measures.folds import Folds, make_folds
from seeing_words.measures.inference import predictivity_estimate, resample_weights
from seeing_words.measures.influence import NEIGHBOURS, draw_scores, score_influences
from seeing_words.measures.predictivity import ALPHAS, predictivity, predictivity_grid
from seeing_words.measures.scores import interval


def planted(n, p, q, *, seed=0, spectrum="flat"):
    """Two layers with eight dimensions in common, and noise with this spectrum."""
    world, rng = np.random.default_rng(99), np.random.default_rng(seed)
    shared, sides = rng.normal(size=(n, 8)), []
    for width in (p, q):
        loadings = world.normal(size=(8, width)) / 8**0.5
        rotation = np.linalg.qr(world.normal(size=(width, width)))[0]
        sizes = np.arange(1.0, width + 1) ** {"flat": 0, "decaying": -0.5, "steep": -1}[spectrum]
        sizes *= (width / (sizes**2).sum()) ** 0.5
        sides.append(shared @ loadings + (rng.normal(size=(n, width)) * sizes) @ rotation)
    return sides


def left_out(X, Y, folds, alpha, stimulus):
    """Score of each fold without one stimulus, maps and z-scores made anew."""
    keep = np.delete(np.arange(len(X)), stimulus)
    number = np.cumsum(np.arange(len(X)) != stimulus) - 1
    others = Folds(tuple(number[test[test != stimulus]] for test in folds.test))
    grid = predictivity_grid(X[keep], Y[keep], folds=others, alphas=[alpha])
    return grid.predictivity.values.ravel()


@pytest.mark.parametrize("width", [12, 400])  # fewer and more units than training stimuli
def test_influences_are_what_leaving_a_stimulus_out_does(width):
    X, Y = planted(300, width, 9)
    folds = make_folds(300)
    (made,) = score_influences(X, {"": Y}, folds=folds, alphas=[100.0])[""]
    chosen = made.sel(penalty=0)
    np.testing.assert_allclose(
        chosen.score.mean(), predictivity(X, Y, folds=folds, alphas=[100.0]), atol=1e-6
    )
    stimuli = range(0, 300, 12)
    changes = [chosen.score.values - left_out(X, Y, folds, 100.0, i) for i in stimuli]
    changes = np.mean(changes, 1)
    influence = chosen.influence.mean("fold").values[list(stimuli)]
    assert np.corrcoef(changes, influence)[0, 1] > 0.99
    slope = np.polyfit(influence, changes, 1)[0]
    assert slope == pytest.approx(1, abs=0.12)  # to first order


def test_errors_are_those_of_leaving_each_training_stimulus_out():
    X, Y = planted(60, 5, 4)
    folds, alpha = make_folds(60, n_folds=3), 31.6
    (made,) = score_influences(X, {"": Y}, folds=folds, alphas=[alpha])[""]
    train = folds.train(0)
    x, y = ((v - v[train].mean(0)) / v[train].std(0) for v in (X, Y))
    for i in train[:5]:
        rest = train[train != i]
        A, B = x[rest] - x[rest].mean(0), y[rest] - y[rest].mean(0)
        beta = np.linalg.solve(A.T @ A + alpha * np.eye(5), A.T @ B)
        predicted = y[rest].mean(0) + (x[i] - x[rest].mean(0)) @ beta
        error = made.error.sel(penalty=0).values[0, i]
        assert error == pytest.approx(((y[i] - predicted) ** 2).sum(), rel=1e-4)
    assert (made.error.sel(penalty=0).values[0, folds.test[0]] == 0).all()
    assert np.isinf(made.error.sel(penalty=[-1, 1])).all()  # there is one penalty


def test_the_penalty_is_chosen_again_in_each_draw():
    X, Y = planted(200, 64, 64)
    folds = make_folds(200)
    (made,) = score_influences(X, {"": Y}, folds=folds)[""]
    grid = predictivity_grid(X, Y, folds=folds).isel(source_layer=0, target_layer=0)
    weights = resample_weights(200, n_draws=300)
    for fold in range(5):
        one = made.isel(fold=fold)
        at = ALPHAS.index(float(grid.alpha[fold]))
        total = one.error.sum("stimulus").values
        assert NEIGHBOURS[total.argmin()] == 0
        for k, step in enumerate(NEIGHBOURS):
            alone = predictivity_grid(X, Y, folds=folds, alphas=[ALPHAS[at + step]])
            np.testing.assert_allclose(one.score[k], alone.predictivity[0, 0, fold], atol=1e-5)
    taken = made.copy()
    taken["error"] = made.error.where(made.penalty == 0, np.inf)
    again, kept = (draw_scores(m, weights)[1].std() for m in (made, taken))
    assert again < 0.95 * kept  # between two penalties of the grid, choosing steadies the score


@given(st.floats(0.1, 10), st.integers(0, 5))
@settings(max_examples=15, deadline=None)
def test_draws_do_not_depend_on_scale_or_shift_of_units(scale, seed):
    X, Y = planted(60, 6, 4, seed=seed)
    folds, weights = make_folds(60), resample_weights(60, n_draws=20, seed=seed)
    one = predictivity_estimate(X, Y, folds=folds, weights=weights)
    other = predictivity_estimate(scale * X + 1, 5 - scale * Y, folds=folds, weights=weights)
    np.testing.assert_allclose(one.draws, other.draws, atol=1e-4)


@pytest.mark.parametrize(("p", "q"), [(12, 9), (90, 9), (90, 130)])
def test_penalties_chosen_before_are_taken(p, q):
    X, Y = planted(100, p, q)
    folds = make_folds(100)
    grid = predictivity_grid(X, Y, folds=folds)
    (chosen,) = score_influences(X, {"": Y}, folds=folds)[""]
    known = {"": grid.alpha.values[0, 0]}
    (given_,) = score_influences(X, {"": Y}, folds=folds, chosen=known)[""]
    (some,) = score_influences(X, {"": Y}, folds=folds, chosen=known, only=[3, 1])[""]
    for name in chosen:
        np.testing.assert_allclose(given_[name], chosen[name], rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(some[name], chosen[name][[3, 1]], rtol=1e-5, atol=1e-6)


def test_several_partitions_are_averaged():
    X, Y = planted(120, 10, 8)
    partitions = [make_folds(120, seed=seed) for seed in range(3)]
    weights = resample_weights(120, n_draws=40)
    together = predictivity_estimate(X, Y, folds=partitions, weights=weights)
    each = [predictivity_estimate(X, Y, folds=folds, weights=weights) for folds in partitions]
    np.testing.assert_allclose(together.value, np.mean([e.value for e in each]), atol=1e-6)
    np.testing.assert_allclose(together.draws, np.mean([e.draws for e in each], 0), atol=1e-6)


def test_tested_responses_may_differ_from_those_fitted_on():
    X, Y = planted(120, 10, 8)
    folds, weights = make_folds(120), resample_weights(120, n_draws=40)
    noisy = X + 3 * np.random.default_rng(1).normal(size=X.shape)
    kept = predictivity_estimate(X, Y, folds=folds, weights=weights)
    changed = predictivity_estimate(X, Y, tested=noisy, folds=folds, weights=weights)
    same = predictivity_estimate(X, Y, tested=X.copy(), folds=folds, weights=weights)
    assert changed.value < kept.value
    np.testing.assert_allclose(same.draws, kept.draws, atol=1e-6)


def test_constant_units_have_no_score_and_no_influence():
    X, Y = planted(60, 6, 4)
    folds, weights = make_folds(60), resample_weights(60, n_draws=20)
    wider = np.column_stack([Y, np.ones(60)])
    one, other = (
        predictivity_estimate(X, target, folds=folds, weights=weights) for target in (Y, wider)
    )
    np.testing.assert_allclose(one.draws, other.draws, atol=1e-5)
    nothing = predictivity_estimate(np.ones_like(X), Y, folds=folds, weights=weights)
    assert np.isnan(nothing.value) and np.isnan(nothing.draws).all()


@pytest.mark.parametrize("spectrum", ["flat", "decaying"])
def test_intervals_hold_the_expected_score(spectrum):
    """Small: 120 data sets, so the coverage is known to ± 4 points; the calibration notebook has
    the full simulation."""
    folds, values, ends = make_folds(200), [], []
    for seed in range(120):
        X, Y = planted(200, 32, 32, seed=seed, spectrum=spectrum)
        weights = resample_weights(200, n_draws=400, seed=seed)
        scores = predictivity_estimate(X, Y, folds=folds, weights=weights)
        values.append(float(scores.value))
        ends.append([float(end) for end in interval(scores).to_array()])
    low, high = np.array(ends).T
    covered = (low < np.mean(values)) & (np.mean(values) < high)
    assert 0.90 <= covered.mean() <= 0.99


def test_weights_of_other_stimuli_are_refused():
    X, Y = planted(60, 6, 4)
    (made,) = score_influences(X, {"": Y})[""]
    with pytest.raises(InputError, match=r"shape \(2, 7\) for 60 stimuli"):
        draw_scores(made, np.ones((2, 7)))
    with pytest.raises(InputError, match=r"shape \(2, 7\) for 60 stimuli"):
        score_influences(X, {"": Y}, weights=np.ones((2, 7)))


def test_penalties_that_no_draw_chooses_are_left_out_without_an_effect():
    X, Y = planted(200, 30, 6)
    weights = resample_weights(200, n_draws=100)
    folds = make_folds(200)
    (whole,) = score_influences(X, {"": Y}, folds=folds)[""]
    (some,) = score_influences(X, {"": Y}, folds=folds, weights=weights)[""]
    value, draws = draw_scores(whole, weights)
    value_of_some, draws_of_some = draw_scores(some, weights)
    assert value_of_some == pytest.approx(value, abs=1e-6)
    np.testing.assert_allclose(draws_of_some, draws, rtol=0, atol=1e-6)
    assert np.isfinite(whole.score).sum() > np.isfinite(some.score).sum() >= folds.n_folds
