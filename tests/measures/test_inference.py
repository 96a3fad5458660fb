"""Bootstrap, nulls, selection, ceilings and verdicts: against brute force, and against simulations
whose truth is known."""

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from layers import related
from scipy.stats import kstest

from seeing_words.core.errors import InputError
from seeing_words.measures.claims import VERDICTS, Claim, claims_table, verdict
from seeing_words.measures.folds import make_folds
from seeing_words.measures.inference import (
    Calibration,
    best_pair,
    calibrate,
    calibrated,
    max_p_value,
    nested_score,
    noise_ceiling,
    p_value,
    peak_depth,
    predictivity_estimate,
    resample_weights,
    score_estimate,
    selected_score,
    split_selected,
)
from seeing_words.measures.numerics import unit_pearson
from seeing_words.measures.predictivity import (
    chosen_alphas,
    mean_over_folds,
    null_grid,
    predictivity,
    predictivity_grid,
)
from seeing_words.measures.scores import concat_scores, format_score, interval, make_scores
from seeing_words.measures.similarity import SIMILARITIES, similarity_grid, similarity_null

FOLDS = make_folds(103)
WEIGHTS = resample_weights(FOLDS, n_draws=50)


def test_weights_resample_stimuli():
    assert WEIGHTS.shape == (50, 103) and WEIGHTS.min() == 0
    assert (WEIGHTS.sum(1) == 103).all()
    np.testing.assert_array_equal(WEIGHTS, resample_weights(103, n_draws=50))
    assert abs(resample_weights(FOLDS).mean(0) - 1).max() < 0.2


def test_weights_keep_groups_together():
    groups = np.array(["a", "b", "c"])[np.arange(30) % 3]
    weights = resample_weights(30, n_draws=200, groups=groups)
    for group in "abc":
        assert (np.ptp(weights[:, groups == group], axis=1) == 0).all()
    np.testing.assert_array_equal(weights.sum(1), 30)  # groups of one size
    with pytest.raises(InputError, match="3 groups for 30 stimuli"):
        resample_weights(30, groups="abc")


def test_a_score_with_its_draws_is_predictivity():
    X, Y = related(103, 20, 8)
    scores = predictivity_estimate(X, Y, folds=FOLDS, weights=WEIGHTS)
    ends = interval(scores)
    assert float(scores.value) == pytest.approx(predictivity(X, Y), abs=1e-6)
    assert ends.low < scores.value < ends.high
    text = f"{float(scores.value):.3f} [{float(ends.low):.3f}, {float(ends.high):.3f}]"
    assert format_score(scores) == text


def test_a_constant_layer_has_no_interval():
    X, Y = related(103, 20, 8)
    scores = predictivity_estimate(np.ones_like(X), Y, folds=FOLDS, weights=WEIGHTS)
    ends = interval(scores)
    assert np.isnan([scores.value, ends.low, ends.high]).all()
    assert verdict(scores) == "not supported"


SMALL = make_folds(100)  # 20 stimuli a fold, where the bias of resampling counts


@pytest.mark.parametrize("n_units", [5, 30])
def test_intervals_cover(n_units):
    """The interval of a score of given maps holds what is to be expected of it in 95 ± 4 % of
    simulations, however many units it has."""
    rng, r, weights = np.random.default_rng(0), 0.6, resample_weights(SMALL, n_draws=200)
    estimates = []
    for _ in range(400):
        prediction = rng.normal(size=(100, n_units))
        target = r * prediction + (1 - r**2) ** 0.5 * rng.normal(size=(100, n_units))
        estimates.append(score_estimate(target, prediction, folds=SMALL, weights=weights))
    expected = np.mean([float(e.value) for e in estimates])
    assert expected == pytest.approx(
        r - r * (1 - r**2) / (2 * 20), abs=0.005
    )  # Pearson's r of 20 stimuli is biased
    ends = [interval(e) for e in estimates]
    assert 0.91 <= np.mean([float(e.low) < expected < float(e.high) for e in ends]) <= 0.98


# scores that differ by more than rounding, or not at all
hundredths = st.integers(-100, 100).map(lambda i: i / 100)


@given(st.lists(hundredths, min_size=1, max_size=50), hundredths)
def test_p_values_count_ties_and_the_observed(null, observed):
    assert p_value(observed, null) == (1 + sum(x >= observed for x in null)) / (1 + len(null))


@pytest.mark.parametrize("scale", [1e-9, 1.0, 1e9])
def test_p_values_count_scores_that_are_equal_but_for_rounding(scale):
    null = scale * np.array([0.1, 0.3, np.float32(0.3), 0.1 + 0.2, 0.2])
    assert {p_value(scale * x, null) for x in (0.3, np.float32(0.3), 0.1 + 0.2)} == {4 / 6}
    assert p_value(-scale * 0.3, -null) == 1


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


def test_a_pair_without_a_score_in_some_fold_is_never_the_best():
    values = np.full((2, 2, 5), 0.3)
    values[1, 1] = 0.4
    values[0, 1] = [0.9, 0.9, 0.9, 0.9, np.nan]
    assert best_pair(grid(values)) == (1, 1)
    assert selected_score(grid(values)) == pytest.approx(
        0.4
    )  # also where fold 4, left out, is the one without a score
    assert np.isnan(mean_over_folds(grid(values)).values[0, 1])
    with pytest.raises(InputError, match="all 1 scores are missing"):
        best_pair(grid(values)[:1, 1:])


def test_penalties_are_those_of_the_folds_that_have_a_score():
    assert chosen_alphas(np.array([10.0, np.nan, 1.0, 10.0])).tolist() == [1.0, 10.0]


def test_selection_on_other_folds_is_not_flattered():
    rng = np.random.default_rng(0)
    noise = [grid(rng.normal(size=(9, 9, 5))) for _ in range(100)]
    naive = np.mean([scores.mean("fold").max() for scores in noise])
    assert naive > 0.9 and abs(np.mean([selected_score(scores) for scores in noise])) < 0.15
    clear = np.zeros((9, 9, 5))
    clear[4, 5] = 1
    assert selected_score(grid(clear)) == 1


def test_nested_selection_has_no_leak_and_selection_on_other_folds_has_some():
    """Layers that share nothing: chance resemblance in two folds makes each predict the other, so
    their scores agree."""
    rng, folds, reported = np.random.default_rng(0), make_folds(40, n_folds=2), []
    for _ in range(60):
        X, Y = rng.normal(size=(2, 4, 40, 6))
        scores = predictivity_grid(X, Y, folds=folds).predictivity
        inner = [
            predictivity_grid(X[:, s], Y[:, s], folds=make_folds(20, n_folds=2)).predictivity
            for s in folds.test[::-1]
        ]
        reported.append(
            (scores.mean("fold").max().item(), selected_score(scores), nested_score(scores, inner))
        )
    (naive, folded, nested), error = np.mean(reported, 0), np.std(reported, 0) / 60**0.5
    assert naive > folded + 3 * error[1] and folded > 3 * error[1]
    assert abs(nested) < 3 * error[2] < 0.08


# Null calibration


def two_layers(seed: int, n: int = 20) -> np.ndarray:  # independent, (2, layer, stimulus, unit)
    return np.random.default_rng(seed).normal(size=(2, 1, n, 6))


@pytest.mark.parametrize("name", SIMILARITIES)
def test_p_values_of_every_measure_are_honest(name):
    """Small ones are no more frequent than they say. A measure with ties errs to the large side:
    each tie counts against it."""
    best = 0.0 if SIMILARITIES[name].kind == "distance" else 1.0
    p = []
    for seed in range(200):
        X, Y = two_layers(seed)
        score = similarity_grid(X, Y, measure=name).item()
        null = similarity_null(X, Y, measure=name, n_permutations=39, seed=seed).values.ravel()
        p.append(Calibration(score, null, best).p)
    assert kstest(p, "uniform", alternative="greater").pvalue > 0.01


def test_p_values_of_predictivity_are_uniform():
    p = []
    for seed in range(200):
        null = null_grid(
            *two_layers(seed),
            folds=make_folds(20, n_folds=2, seed=seed),
            n_permutations=39,
            seed=seed,
        )
        p.append(max_p_value(null.observed, null.null))
    assert kstest(p, "uniform").pvalue > 0.01


def mean_r(X, Y):  # of each unit of one layer with the same unit of the other
    return unit_pearson(X, Y).mean()


@pytest.mark.parametrize(("measure", "best"), [(mean_r, 1.0), (lambda X, Y: 1 - mean_r(X, Y), 0.0)])
def test_calibrate_has_uniform_p_values_and_is_about_zero_without_relation(measure, best):
    found = [
        calibrate(measure, *two_layers(seed)[:, 0], n_permutations=19, seed=seed, best=best)
        for seed in range(200)
    ]
    assert kstest([c.p for c in found], "uniform").pvalue > 0.01
    assert abs(np.mean([c.calibrated for c in found])) < 0.03


def test_calibrate_agrees_with_a_loop():
    X, Y = related(40, 6, 6)
    found, rng = calibrate(mean_r, X, Y, n_permutations=30, seed=3), np.random.default_rng(3)
    null = np.array([mean_r(X, Y[rng.permutation(40)]) for _ in range(30)])
    np.testing.assert_array_equal(found.null, null)
    assert found.score == mean_r(X, Y) and found.p == p_value(found.score, null)
    assert found.calibrated == pytest.approx((found.score - null.mean()) / (1 - null.mean()))
    np.testing.assert_allclose(found.null_range, np.quantile(null, [0.025, 0.975]))
    assert found.null_mean == null.mean()
    assert repr(found).startswith(f"{found.score:.3f}, shuffled {null.mean():.3f} [")
    assert calibrate(mean_r, X, X, n_permutations=30).calibrated == pytest.approx(1)


NULLS = st.lists(st.floats(-0.5, 0.5), min_size=2, max_size=30).filter(
    lambda null: np.ptp(null) > 1e-3
)


@given(NULLS, st.floats(-0.5, 1), st.floats(0.1, 10), st.floats(-10, 10))
def test_calibration_is_blind_to_the_units_of_a_measure(null, score, scale, shift):
    null = np.array(null)
    one = Calibration(score, null)
    for sign in (1, -1):  # -1: as a distance
        other = Calibration(
            sign * scale * score + shift, sign * scale * null + shift, sign * scale + shift
        )
        assert other.calibrated == pytest.approx(one.calibrated, abs=1e-6)
    assert Calibration(-score, -null, -1.0).p == one.p


def test_calibration_without_a_best_value_or_a_score():
    null = np.array([0.1, 0.2, 0.3])
    assert Calibration(0.4, null, np.inf).p == Calibration(0.0, null, -np.inf).p == 0.25
    assert np.isnan(
        [Calibration(0.4, null, np.inf).calibrated, Calibration(1.0, np.ones(3)).calibrated]
    ).all()
    assert Calibration(1.0, np.ones(3)).p == 1
    missing = calibrate(mean_r, np.ones((20, 2)), np.ones((20, 2)), n_permutations=3)
    assert np.isnan([missing.score, missing.p, missing.calibrated, *missing.null_range]).all()


def layers_and_null(n_permutations: int = 19):
    rng = np.random.default_rng(0)
    source, target = rng.normal(size=(2, 20, 6)), rng.normal(size=(3, 20, 6))
    target[0], target[2] = source[0] + target[0], 0.1
    return (
        similarity_grid(source, target, measure="cka"),
        similarity_null(source, target, measure="cka", n_permutations=n_permutations),
    )


def test_a_grid_is_calibrated_pair_by_pair():
    scores, null = layers_and_null()
    grid = calibrated(scores, null)
    assert grid.dims == scores.dims and grid.name == "cka"
    expected = {"label": "calibrated CKA", "kind": "similarity", "units": "zscore", "n_missing": 2}
    assert grid.attrs == expected
    for i in range(2):
        for j in range(2):
            assert grid[i, j].item() == pytest.approx(
                Calibration(scores[i, j].item(), null[:, i, j].values).calibrated
            )
    assert (
        np.isnan(grid[:, 2]).all()
        and np.isnan(calibrated(scores, null.where(null.permutation > 0)))[0, 0]
    )
    np.testing.assert_allclose(calibrated(null, null).mean("permutation")[:, :2], 0, atol=1e-12)
    np.testing.assert_allclose(calibrated(1 - scores, 1 - null, best=0), grid)


def test_biased_cka_rises_with_units_and_neither_debiased_nor_calibrated_does():
    rng, found = np.random.default_rng(0), {}
    for units in (5, 80):
        source, target = rng.normal(size=(2, 8, 20, units))
        raw, null = (f(source, target, measure="cka") for f in (similarity_grid, similarity_null))
        debiased = similarity_grid(source, target, measure="cka_debiased")
        found[units] = [grid.mean().item() for grid in (raw, debiased, calibrated(raw, null))]
    assert found[5][0] < 0.4 and found[80][0] > 0.7
    assert np.abs([found[5][1:], found[80][1:]]).max() < 0.05


# The best pair, without selection bias


def test_the_maximum_is_compared_with_maxima():
    scores, null = layers_and_null()
    present = null[:, :, :2].values.reshape(19, -1).max(1)
    assert max_p_value(scores, null) == p_value(np.nanmax(scores), present)
    assert max_p_value(1 - scores, 1 - null, best=0) == max_p_value(scores, null)
    second = null.where(null.target_layer == 1)  # the only one with a null
    assert max_p_value(scores, second) == p_value(
        scores[:, 1].max().item(), null[:, :, 1].max("source_layer")
    )


def test_p_values_of_the_best_pair_are_uniform():
    "Although the best of four pairs is taken."
    p = []
    for seed in range(200):
        source, target = np.random.default_rng(seed).normal(size=(2, 2, 20, 3))
        null = null_grid(
            source, target, folds=make_folds(20, n_folds=2, seed=seed), n_permutations=19, seed=seed
        )
        p.append(max_p_value(null.observed, null.null))
    assert kstest(p, "uniform").pvalue > 0.01


def test_split_selection_is_a_loop_over_halves():
    X, Y = np.random.default_rng(0).normal(size=(2, 4, 41, 5))
    found = split_selected(
        lambda stimuli: similarity_grid(X[:, stimuli], Y[:, stimuli]), 41, n_splits=3, seed=2
    )
    rng, k = np.random.default_rng(2), 0
    for _ in range(3):
        order = rng.permutation(41)
        for here, there in ((order[:21], order[21:]), (order[21:], order[:21])):
            chosen = similarity_grid(X[:, here], Y[:, here]).values
            i, j = found.chosen[k]
            assert found.naive_scores[k] == pytest.approx(chosen.max(), abs=1e-6)
            assert chosen[i, j] == chosen.max()
            assert found.scores[k] == pytest.approx(
                similarity_grid(X[:, there], Y[:, there]).values[i, j], abs=1e-6
            )
            k += 1
    assert k == len(found.scores) and found.optimism == found.naive - found.score
    assert repr(found) == (
        f"{found.score:.3f} on other stimuli, {found.naive:.3f} where chosen "
        f"({len(np.unique(found.chosen, axis=0))} different pairs in 6 choices)"
    )


def test_naive_selection_is_biased_and_split_selection_is_not():
    """All pairs of layers share equally much, so that the score of any pair is the truth for the
    best."""
    naive, split, truth = [], [], []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        source, target = rng.normal(size=(40, 6)) + rng.normal(size=(2, 4, 40, 6))

        def grid_of(stimuli, source=source, target=target):
            return similarity_grid(source[:, stimuli], target[:, stimuli])

        found = split_selected(grid_of, 40, n_splits=2, seed=seed)
        naive.append(found.naive)
        split.append(found.score)
        truth.append(
            np.mean(
                [
                    similarity_grid(source[:, s], target[:, s])
                    for s in (np.arange(20), np.arange(20, 40))
                ]
            )
        )
    error = np.std(np.subtract(split, truth)) / 40**0.5
    assert np.mean(naive) - np.mean(truth) > 0.1
    assert abs(np.mean(split) - np.mean(truth)) < 3 * error < 0.05


def test_split_selection_takes_folds_and_skips_what_is_missing():
    X, Y = np.random.default_rng(0).normal(size=(2, 2, 40, 5))
    Y[0, 1:] = Y[0, 0]  # constant in one half at least
    folds = make_folds(20, n_folds=2)
    found = split_selected(
        lambda s: predictivity_grid(X[:, s], Y[:, s], folds=folds).predictivity, 40, n_splits=2
    )
    assert (
        found.scores.shape == (4,) and (found.chosen[:, 1] == 1).all() and np.isfinite(found.score)
    )


def test_peak_moves_with_the_draws():
    weights = np.ones((2, 10))
    missing = make_scores(np.nan, np.full(2, np.nan), weights)
    curve = {
        0.0: make_scores(0.0, np.array([0.0, 3.0]), weights),
        0.5: make_scores(1.0, np.array([1.0, 1.0]), weights),
        1.0: missing,
    }
    peak = peak_depth(concat_scores(curve, "depth"), "depth")
    assert float(peak.value) == 0.5
    np.testing.assert_array_equal(peak.draws, [0.5, 0])
    with pytest.raises(InputError, match="no peak"):
        peak_depth(concat_scores({1.0: missing}, "depth"), "depth")


# Noise ceiling


def repeats(
    n_repeats: int, noise: float, *, n: int = 300, q: int = 60, seed: int = 0
):  # signal, responses
    rng = np.random.default_rng(seed)
    signal = rng.normal(size=(n, q))
    return signal, signal + noise * rng.normal(size=(n_repeats, n, q))


@pytest.mark.parametrize("noise", [0.5, 1.0, 3.0])
@pytest.mark.parametrize("n_repeats", [2, 5, 8])
def test_ceiling_is_the_share_of_signal(n_repeats, noise):
    signal, responses = repeats(n_repeats, noise)
    for k in (1, n_repeats):
        low, high = noise_ceiling(responses, n_averaged=k)
        reliability = 1 / (1 + noise**2 / k)
        assert low.mean() == pytest.approx(reliability, abs=0.04)
        assert high.mean() == pytest.approx(reliability**0.5, abs=0.04)
    assert high.mean() == pytest.approx(unit_pearson(responses.mean(0), signal).mean(), abs=0.04)


def test_ceiling_agrees_with_signal_power():
    """Signal power by the analysis of variance, and CCmax of it, as Schoppe et al. (2016) define
    them."""
    _, y = repeats(6, 1.5)
    total, mean_power = y.var(1, ddof=1).mean(0), y.mean(0).var(0, ddof=1)
    signal_power = (6 * mean_power - total) / 5
    cc_max = np.sqrt(signal_power / mean_power)
    high = noise_ceiling(y)[1]
    assert np.abs(high - cc_max).max() < 0.03


@given(st.integers(2, 6), st.integers(0, 100), st.floats(0.1, 10))
def test_ceiling_properties(n_repeats, seed, scale):
    responses = repeats(n_repeats, 1.0, n=20, q=4, seed=seed)[1]
    low, high = noise_ceiling(responses, n_splits=5)
    assert ((low >= 0) & (low <= high) & (high <= 1)).all()
    order = np.random.default_rng(seed).permutation(20)
    np.testing.assert_allclose(
        noise_ceiling(scale * responses[:, order] + 7, n_splits=5), (low, high), atol=1e-6
    )
    assert (noise_ceiling(responses, n_splits=5, n_averaged=2 * n_repeats)[0] >= low).all()
    np.testing.assert_allclose(noise_ceiling(np.repeat(responses[:1], 3, 0)), 1)


# in steps, since differences within rounding are ties
@given(*(st.integers(*ends).map(lambda k: k / 1000) for ends in ((-9, 9), (0, 9), (-9, 9))))
def test_verdicts_mirror(low, width, threshold):
    above = verdict((low, low + width), threshold=threshold)
    below = verdict((low, low + width), threshold=threshold, direction="below")
    assert VERDICTS.index(above) + VERDICTS.index(below) == 2
    assert (above == "supported") == (low > threshold)


def test_claims_table_is_computed():
    up = Claim("L1", "trained beats untrained", "trained - untrained")
    down = Claim("L2", "it is lost", "share kept", threshold=0.5, direction="below")
    table = claims_table(
        [
            (up, make_scores(0.2, np.array([0.1, 0.3]), np.ones((2, 10)))),
            (down, make_scores(0.5, np.array([0.4, 0.6]), np.ones((2, 10)))),
        ]
    )
    assert list(table.columns)[:8] == (
        ["label", "claim", "text", "effect", "low", "high", "threshold", "verdict"]
    )
    assert list(table.columns)[8:] == ["p", "p_holm", "primary"]
    assert list(table.verdict) == ["supported", "not supported"] and list(table.threshold) == [
        "> 0",
        "< 0.5",
    ]
    assert list(claims_table([]).columns) == list(table.columns)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda Y: score_estimate(Y, Y[:-1], folds=FOLDS, weights=WEIGHTS), "prediction 102"),
        (lambda Y: score_estimate(Y, Y, folds=FOLDS, weights=WEIGHTS[:, :9]), "weights 9"),
        (
            lambda Y: Claim("L1", "", "", direction="up"),
            "claim L1: direction is 'above' or 'below', not 'up'",
        ),
        (lambda Y: calibrate(mean_r, Y, Y[:-1]), "X has 103 stimuli, Y has 102"),
        (lambda Y: calibrate(mean_r, np.stack([Y, Y]), Y), "X has 2 layers"),
        (
            lambda Y: calibrate(mean_r, Y, Y, n_permutations=0),
            "0 permutations are too few for a null",
        ),
        (
            lambda Y: calibrated(grid(np.zeros((2, 3, 5))), layers_and_null()[1]),
            "if scores have folds, take their mean",
        ),
        (
            lambda Y: calibrated(*[layers_and_null()[0]] * 2),
            "null must have those of scores and permutation",
        ),
        (lambda Y: calibrated(layers_and_null()[0][1:], layers_and_null()[1]), "different layers"),
        (
            lambda Y: max_p_value(*(x[..., 2:] for x in layers_and_null())),
            "none of 2 pairs has both",
        ),
        (lambda Y: nested_score(grid(np.zeros((2, 3, 5))), []), "0 inner grids for 5 folds"),
        (lambda Y: split_selected(lambda s: None, 3), "50 splits of 3 stimuli"),
        (lambda Y: split_selected(lambda s: None, 9, n_splits=0), "0 splits of 9 stimuli"),
        (lambda Y: noise_ceiling(Y), r"shape \(103, 8\): they must be \(repeat, stimulus, unit\)"),
        (lambda Y: noise_ceiling(Y[None]), r"shape \(1, 103, 8\)"),
        (
            lambda Y: noise_ceiling([Y, np.where(Y == Y[4, 2], np.nan, Y)]),
            "nan at repeat 1, stimulus 4, unit 2",
        ),
        (lambda Y: noise_ceiling([Y, Y], n_averaged=0), "not of 0"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(InputError, match=message):
        call(related(103, 20, 8)[1])


def test_constant_responses_have_no_score():
    folds = make_folds(20)
    weights = resample_weights(folds, n_draws=4)
    nothing = score_estimate(np.zeros((20, 2)), np.ones((20, 2)), folds=folds, weights=weights)
    assert np.isnan(nothing.value) and np.isnan(nothing.draws).all()
