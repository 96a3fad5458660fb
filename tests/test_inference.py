"Bootstrap, p-values and verdicts: against brute force, and against simulations whose truth is known."
import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from layers import related

from seeing_words.arrays import InputError
from seeing_words.inference import (
    VERDICTS,
    Claim,
    Estimate,
    average,
    best_pair,
    bootstrap_scores,
    claims_table,
    interval,
    p_value,
    peak_depth,
    predictivity_estimate,
    resample_weights,
    selected_score,
    verdict,
)
from seeing_words.predictivity import make_folds, null_grid, out_of_fold, predictivity, unit_pearson

FOLDS = make_folds(103)
WEIGHTS = resample_weights(FOLDS, n_draws=50)


def test_weights_resample_within_folds():
    assert WEIGHTS.shape == (50, 103) and WEIGHTS.min() == 0
    for test in FOLDS.test:
        assert (WEIGHTS[:, test].sum(1) == len(test)).all()
    np.testing.assert_array_equal(WEIGHTS, resample_weights(FOLDS, n_draws=50))
    assert abs(resample_weights(FOLDS).mean(0) - 1).max() < 0.2


def test_bootstrap_is_repeating_stimuli():
    X, Y = related(103, 20, 8)
    Y[:, 0] = np.arange(103) == 5  # constant in most test sets, and in a third of the draws of the one that has it
    target, prediction = out_of_fold(X, Y, folds=FOLDS)
    scores = bootstrap_scores(target, prediction, folds=FOLDS, weights=WEIGHTS)
    for weights, score in zip(WEIGHTS, scores):
        repeated = [np.repeat(test, weights[test]) for test in FOLDS.test]
        by_fold = [np.nanmean(unit_pearson(target[t], prediction[t])) for t in repeated]
        assert score == pytest.approx(np.mean(by_fold), abs=1e-9)


def test_estimate_is_predictivity_with_draws():
    X, Y = related(103, 20, 8)
    estimate = predictivity_estimate(X, Y, folds=FOLDS, weights=WEIGHTS)
    assert estimate.value == pytest.approx(predictivity(X, Y), abs=1e-6)
    assert estimate.low < estimate.value < estimate.high
    assert repr(estimate) == f"{estimate.value:.3f} [{estimate.low:.3f}, {estimate.high:.3f}]"


def test_a_constant_layer_has_no_interval():
    X, Y = related(103, 20, 8)
    estimate = predictivity_estimate(np.ones_like(X), Y, folds=FOLDS, weights=WEIGHTS)
    assert np.isnan([estimate.value, estimate.low, estimate.high]).all()
    assert verdict(estimate.low, estimate.high) == "not supported"


def test_arithmetic_is_paired():
    rng = np.random.default_rng(0)
    common = rng.normal(size=1000)
    a, b = Estimate(2.0, 2 + common), Estimate(1.0, 1 + common)
    assert repr(a - b) == "1.000 [1.000, 1.000]"
    assert (a + b).value == 3 and (a * 2).value == 4 and (a / b).value == 2 and (a - 0.5).value == 1.5
    np.testing.assert_allclose((a / b).draws, a.draws / b.draws)
    np.testing.assert_allclose(average([a, b]).draws, 1.5 + common)
    with pytest.raises(InputError, match="no estimates"):
        average([])


def test_intervals_cover():
    "The interval of out-of-fold correlations holds their true value in about 95 % of simulations."
    rng, folds, truth = np.random.default_rng(0), make_folds(200), 0.6
    weights, hits = resample_weights(folds, n_draws=400), []
    for _ in range(400):
        prediction = rng.normal(size=(200, 5))
        target = truth * prediction + (1 - truth**2)**0.5 * rng.normal(size=(200, 5))
        low, high = interval(bootstrap_scores(target, prediction, folds=folds, weights=weights))
        hits.append(low < truth < high)
    assert 0.91 < np.mean(hits) < 0.98


@given(st.lists(st.floats(-1, 1), min_size=1, max_size=50), st.floats(-1, 1))
def test_p_values_count_ties_and_the_observed(null, observed):
    assert p_value(observed, null) == (1 + sum(x >= observed for x in null)) / (1 + len(null))


def test_p_value_of_missing_scores():
    assert np.isnan(p_value(np.nan, [0.0]))
    with pytest.raises(InputError, match="1 of 3 null scores"):
        p_value(0.5, [0.1, np.nan, 0.2])


def grid(values):
    return xr.DataArray(values, dims=("source_layer", "target_layer", "fold"))


def test_best_pair_is_over_folds_and_skips_missing_layers():
    values = np.zeros((3, 4, 5))
    values[0] = np.nan
    values[1, 2, 0], values[2, 3] = 0.9, 0.5
    assert best_pair(grid(values)) == best_pair(grid(values).mean("fold")) == (2, 3)
    with pytest.raises(InputError, match="all 4 scores are missing"):
        best_pair(grid(values)[0])


def test_selection_on_other_folds_is_not_flattered():
    rng = np.random.default_rng(0)
    noise = [grid(rng.normal(size=(9, 9, 5))) for _ in range(100)]
    naive = np.mean([scores.mean("fold").max() for scores in noise])
    assert naive > 0.9 and abs(np.mean([selected_score(scores) for scores in noise])) < 0.15
    clear = np.zeros((9, 9, 5))
    clear[4, 5] = 1
    assert selected_score(grid(clear)) == 1


def test_the_null_of_the_best_pair_is_exact():
    "Without any relation, 5 % of data sets get p ≤ 0.05 although the best of nine pairs is taken."
    p = []
    for seed in range(150):
        source, target = np.random.default_rng(seed).normal(size=(2, 3, 30, 3))
        null = null_grid(source, target, folds=make_folds(30), n_permutations=19, seed=seed)
        best = null.max(("source_layer", "target_layer"))
        p.append(p_value(best.observed.item(), best.null))
    assert 0.01 < np.mean(np.array(p) <= 0.05) < 0.1


def test_peak_moves_with_the_draws():
    missing = Estimate(np.nan, np.full(2, np.nan))
    curve = [Estimate(0.0, np.array([0.0, 3.0])), Estimate(1.0, np.array([1.0, 1.0])), missing]
    peak = peak_depth(curve, [0, 0.5, 1])
    assert peak.value == 0.5
    np.testing.assert_array_equal(peak.draws, [0.5, 0])
    with pytest.raises(InputError, match="no peak"):
        peak_depth([missing], [1])


@given(st.floats(-1, 1), st.floats(0, 1), st.floats(-1, 1))
def test_verdicts_mirror(low, width, threshold):
    above = verdict(low, low + width, threshold=threshold)
    below = verdict(low, low + width, threshold=threshold, direction="below")
    assert VERDICTS.index(above) + VERDICTS.index(below) == 2
    assert (above == "supported") == (low > threshold)


def test_claims_table_is_computed():
    up = Claim("L1", "trained beats untrained", "trained - untrained")
    down = Claim("L2", "it is lost", "share kept", threshold=0.5, direction="below")
    table = claims_table([(up, Estimate(0.2, np.array([0.1, 0.3]))), (down, Estimate(0.5, np.array([0.4, 0.6])))])
    assert list(table.columns) == ["claim", "text", "effect", "low", "high", "threshold", "verdict"]
    assert list(table.verdict) == ["supported", "not supported"] and list(table.threshold) == ["> 0", "< 0.5"]
    assert list(claims_table([]).columns) == list(table.columns)


@pytest.mark.parametrize(("call", "message"), [
    (lambda Y: bootstrap_scores(Y, Y[:-1], folds=FOLDS, weights=WEIGHTS), "prediction 102"),
    (lambda Y: bootstrap_scores(Y, Y, folds=FOLDS, weights=WEIGHTS[:, :9]), "weights 9"),
    (lambda Y: Claim("L1", "", "", direction="up"), "claim L1: direction is 'above' or 'below', not 'up'"),
])
def test_bad_input_is_named(call, message):
    with pytest.raises(InputError, match=message):
        call(related(103, 20, 8)[1])
