"""What is equal, exactly or but for rounding, is decided neither by its position nor by the type of
number that it is held in."""

import itertools

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import rankdata, spearmanr

from seeing_words import predictivity
from seeing_words.measures.claims import Claim, judge, verdict
from seeing_words.measures.folds import make_folds
from seeing_words.measures.inference import (
    best_pair,
    nested_score,
    peak_depth,
    split_selected,
)
from seeing_words.measures.numerics import SCORE_TIE, merge_ties
from seeing_words.measures.scores import concat_scores, make_scores
from seeing_words.measures.similarity import SIMILARITIES
from seeing_words.measures.subspace import shared_dimensions
from seeing_words.studies.concreteness import word_auc
from seeing_words.studies.content import rank_agreement
from seeing_words.studies.interventions import nearest_alike, partner_found
from seeing_words.studies.layers import plateau_onset
from seeing_words.studies.pick_a_pic import monotonicity, rank_captions

N_DRAWS = 4
PAIR = ("source_layer", "target_layer")


def scores(values, dim: str) -> xr.Dataset:
    "Scores along `dim` whose draws are the scores themselves."
    weights = np.ones((N_DRAWS, 10), dtype=int)
    return concat_scores(
        {i: make_scores(v, np.full(N_DRAWS, v), weights) for i, v in enumerate(values)}, dim
    )


def jitter(values, seed: int = 0) -> np.ndarray:
    "The same, as another order of sums or single precision would have it."
    values = np.asarray(values, dtype=float)
    off = np.random.default_rng(seed).choice([-1e-9, 0, 1e-9], size=values.shape)
    return values + off * np.abs(values).max()


coarse = st.lists(st.integers(0, 3), min_size=3, max_size=7).map(lambda v: np.array(v) / 7)


@settings(deadline=None, max_examples=30)
@given(coarse, st.integers(0, 99))
def test_numbers_that_are_equal_but_for_rounding_become_equal(values, seed):
    merged = merge_ties(jitter(values, seed))
    np.testing.assert_allclose(merged, values, atol=2e-9)
    np.testing.assert_array_equal(rankdata(merged), rankdata(values))
    np.testing.assert_array_equal(merge_ties(merged), merged)
    both = np.stack([merged, values[::-1]])
    np.testing.assert_array_equal(merge_ties(both, axis=1)[1], merge_ties(values[::-1]))
    np.testing.assert_array_equal(merge_ties(both.T, axis=0), merge_ties(both, axis=1).T)
    with_gap = np.append(values, np.nan)
    np.testing.assert_array_equal(merge_ties(with_gap), np.append(merge_ties(values), np.nan))


@settings(deadline=None, max_examples=30)
@given(coarse, st.integers(0, 99))
def test_trends_of_ties_are_spearmans(values, seed):
    expected = spearmanr(range(len(values)), values).statistic if np.ptp(values) else np.nan
    for rounded in (values, jitter(values, seed), np.float32(values)):
        rho = monotonicity(scores(rounded, "rank"))
        np.testing.assert_allclose(rho.value, expected, atol=1e-12)
        np.testing.assert_allclose(rho.draws, expected, atol=1e-12)
    assert np.isnan(monotonicity(scores([*values, np.nan], "rank")).value)


@settings(deadline=None, max_examples=30)
@given(coarse, coarse, st.integers(0, 99))
def test_agreement_of_ranks_is_spearmans(a, b, seed):
    n = min(len(a), len(b))
    a, b = a[:n], b[:n]
    if not (np.ptp(a) and np.ptp(b)):
        return
    made = rank_agreement(scores(jitter(a, seed), "kind"), scores(np.float32(b), "kind"))
    np.testing.assert_allclose(made.value, spearmanr(a, b).statistic, atol=1e-12)


def test_captions_that_score_alike_are_in_random_order_whatever_the_rounding():
    judged = np.tile([0.3, 0.3, 0.1, 0.3], (300, 1))
    for rounded in (judged, jitter(judged), judged.astype(np.float32)):
        order, n_tied = rank_captions(rounded)
        assert n_tied == 300
        assert (order[:, 0] == 2).all()
        last = np.bincount(order[:, 3], minlength=4)
        assert last[2] == 0
        assert (np.abs(last[[0, 1, 3]] - 100) < 35).all(), last  # 4 standard deviations


def test_the_best_of_equal_pairs_is_the_first_and_all_of_them_count():
    inner = np.array([[0.5, 0.2, 0.5], [0.1, 0.5, 0.4]])
    outer = xr.DataArray(np.arange(12.0).reshape(2, 3, 2), dims=(*PAIR, "fold"))
    tied = inner == 0.5
    expected = np.mean([outer.values[tied][:, k].mean() for k in range(2)])
    for seed in range(5):
        grid = xr.DataArray(jitter(inner, seed), dims=PAIR)
        assert best_pair(grid) == (0, 0)
        np.testing.assert_allclose(nested_score(outer, [grid] * 2), expected)
        turned = [grid[:, ::-1]] * 2  # the layers in another order
        np.testing.assert_allclose(nested_score(outer[:, ::-1], turned), expected)


def test_selection_on_halves_does_not_depend_on_the_order_of_layers():
    values = np.random.default_rng(0).integers(0, 3, size=(3, 4, 40)) / 7

    def selected(order: slice) -> tuple[float, float]:
        def grid_of(stimuli):
            grid = values[:, :, stimuli].mean(2).round(1)  # many ties
            return xr.DataArray(jitter(grid, len(stimuli))[:, order], dims=PAIR)

        found = split_selected(grid_of, 40, n_splits=20)
        return found.score, found.naive

    forwards, backwards = selected(slice(None)), selected(slice(None, None, -1))
    np.testing.assert_allclose(forwards, backwards, atol=1e-8)


def test_peaks_that_are_equally_high_have_a_mean_depth():
    depths = np.array([0.0, 0.25, 0.5, 1.0])
    for rounded in ([0.1, 0.5, 0.2, 0.5], jitter([0.1, 0.5, 0.2, 0.5], 3)):
        along = scores(rounded, "layer").assign_coords(depth=("layer", depths))
        peak = peak_depth(along, "layer", depth="depth")
        assert float(peak.value) == (0.25 + 1) / 2
        assert peak.draws.values.tolist() == [(0.25 + 1) / 2] * N_DRAWS
    along = scores([np.nan, 0.5, 0.2, 0.1], "layer").assign_coords(depth=("layer", depths))
    assert float(peak_depth(along, "layer", depth="depth").value) == 0.25


def test_a_plateau_does_not_begin_where_rounding_has_it():
    depths = ("vision_layer", [0.0, 0.5, 1.0])
    for rounded in ([0.3, 0.3, 0.3], [0.3, 0.1 + 0.2, 0.3 + 1e-9]):
        curve = scores(rounded, "vision_layer").assign_coords(vision_depth=depths)
        assert float(plateau_onset(curve, "vision", share=1.0).value) == 0


def chance(found: np.ndarray, score: np.ndarray) -> float:
    "How often a row's best column is one that was to be found, if ties are broken at random."
    shares = []
    for right, row in zip(found, score):
        best = row >= row.max() - 1e-6
        shares.append(right[best].mean())
    return float(np.mean(shares))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_nearest_states_that_tie_count_in_parts(dtype):
    rng = np.random.default_rng(0)
    states = rng.integers(0, 2, size=(30, 3)).astype(dtype)  # many alike
    alike = rng.random((30, 30)) < 0.3
    distance = ((states[:, None] - states) ** 2).sum(2).astype(float)
    np.fill_diagonal(distance, np.inf)
    order = rng.permutation(30)
    for some in (np.arange(30), order):
        found = nearest_alike(states[some], alike[np.ix_(some, some)])
        np.testing.assert_allclose(found, chance(alike, -distance), atol=1e-9)
    partners = states[rng.permutation(30)]
    centre = np.concatenate([states, partners]).mean(0)
    a, b = ((x - centre) / np.linalg.norm(x - centre, axis=1)[:, None] for x in (states, partners))
    expected = chance(np.eye(30), (a @ b.T).astype(float))
    for some in (np.arange(30), order):
        np.testing.assert_allclose(partner_found(states[some], partners[some]), expected, atol=1e-6)


def test_areas_under_curves_count_equal_predictions_by_half():
    folds = make_folds(60, n_folds=3)
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 2, size=(60, 1)).astype(float)
    presence = xr.DataArray(rng.random((60, 1)) < 0.4, {"word": ["one"]}, dims=("stimulus", "word"))
    for values in (codes, jitter(codes), codes.astype(np.float32)):
        auc = word_auc({"v": xr.DataArray(values[None], dims=("layer", "stimulus", "unit"))},
                       presence, folds=folds, layer=0)  # fmt: skip
        expected = []
        for k, test in enumerate(folds.test):
            train = folds.train(k)
            there = presence.values[:, 0]
            slope = np.cov(codes[train, 0], there[train])[0, 1]
            yes, no = (np.sign(slope) * codes[test][there[test] == which] for which in (1, 0))
            wins = [(a > b) + (a == b) / 2 for a, b in itertools.product(yes, no)]
            expected.append(np.mean(wins))
        np.testing.assert_allclose(auc.item(), np.mean(expected), atol=1e-9)


def test_p_values_of_shared_dimensions_count_ties_against_them():
    rng = np.random.default_rng(0)
    X = rng.integers(0, 2, size=(40, 2)).astype(float)
    Y = np.tile(X[:, :1], 2) + 1e-9 * rng.normal(size=(40, 2))
    folds = make_folds(40, n_folds=2)
    made = [shared_dimensions(X, values, folds=folds) for values in (Y, np.tile(X[:, :1], 2))]
    np.testing.assert_allclose(made[0].p, made[1].p)


def effect(value: float, spread: float = 0.0) -> xr.Dataset:
    draws = value + spread * np.random.default_rng(0).normal(size=500)
    return make_scores(value, draws, np.ones((500, 10), dtype=int))


@pytest.mark.parametrize("rounding", [0.0, 1e-17, -1e-17, 1e-8, -1e-8])
def test_an_effect_of_rounding_is_none(rounding):
    for direction in ("above", "below"):
        claim = Claim("a", "a is more than b", "a - b", direction=direction)
        found = judge(claim, effect(rounding))
        assert (found.verdict, found.p) == ("not supported", 1)
        assert judge(claim, effect(rounding, 1e-9)).verdict == "not supported"
        both = concat_scores({0: effect(rounding), 1: effect(0.5)}, "pair")
        every = Claim("e", "each is more", "a - b", direction=direction, kind="every")
        assert judge(every, both).verdict != "supported"
    assert verdict((1 + rounding, 2), threshold=1.0) == "not supported"
    same = Claim("s", "a is b", "a - b", kind="equivalence", margin=0.1)
    assert judge(same, effect(0.1 + rounding)).verdict == "not supported"
    assert judge(same, effect(0.1 - 1e-5)).verdict == "supported"
    assert judge(Claim("a", "more", "a - b"), effect(3 * SCORE_TIE)).verdict == "supported"


@pytest.mark.parametrize("name", [*SIMILARITIES, "predictivity"])
def test_scores_do_not_depend_on_the_type_that_numbers_are_held_in(name):
    rng = np.random.default_rng(0)
    scene = rng.normal(size=(50, 3))
    X, Y = (np.float32(scene @ rng.normal(size=(3, 6))) for _ in range(2))
    X[:, 0] = np.float32(0.1) * (1 + 1.2e-7 * rng.integers(-1, 2, 50))  # rounding is all it has
    Y[:, 1] = rng.integers(0, 2, 50)  # and whole numbers
    measure = predictivity if name == "predictivity" else SIMILARITIES[name].function
    single = measure(X, Y)
    np.testing.assert_allclose(measure(X.astype(float), Y.astype(float)), single, rtol=1e-6)
    np.testing.assert_allclose(measure(X.astype(float), Y), single, rtol=1e-6)
    flat = X[:, [0, 0]]
    assert np.isnan(measure(flat, Y)) and np.isnan(measure(flat.astype(float), Y))
    whole = np.float32(1e6 + rng.integers(0, 2, size=(50, 4)))  # exact in either type
    np.testing.assert_allclose(measure(whole, Y), measure(whole - 1e6, Y), rtol=1e-5)
    np.testing.assert_allclose(measure(whole.astype(float), Y), measure(whole, Y), rtol=1e-6)
