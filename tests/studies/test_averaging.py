"Averages of exemplars: against naive loops, closed forms, and simulations with noise only."

from functools import partial
from itertools import combinations
from math import comb

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from seeing_words.core.arrays import feature_array
from seeing_words.core.errors import InputError
from seeing_words.data.microworld.stimulus_set import (
    microworld_stimuli,
    recaption,
    rerender,
    scenes_of,
)
from seeing_words.measures.folds import make_folds
from seeing_words.measures.inference import noise_ceiling, predictivity_estimate, resample_weights
from seeing_words.measures.numerics import unit_pearson
from seeing_words.measures.predictivity import out_of_fold
from seeing_words.measures.scores import interval
from seeing_words.models.baselines import bag_of_words, pixels
from seeing_words.studies.averaging import (
    align_exemplars,
    asymptotes,
    average_exemplars,
    exemplar_choices,
    exemplar_curves,
    halves,
    independent_exemplars,
    independent_noise,
    mean_with_others,
    other_stimuli,
    penultimate,
    stack_exemplars,
)

N = 120
FOLDS = make_folds(N)
WEIGHTS = resample_weights(FOLDS, n_draws=300)


def several(values: np.ndarray) -> xr.DataArray:
    return xr.DataArray(values, dims=("exemplar", "stimulus", "unit"))


def world(
    n: int, m: int, p: int, *, noise: float, other_noise: float, seed: int = 0
) -> tuple[xr.DataArray, xr.DataArray]:
    "Exemplars of two sides that share `p` facts, with noise alike in all directions."
    rng = np.random.default_rng(seed)
    facts, turn = rng.normal(size=(n, p)), np.linalg.qr(rng.normal(size=(p, p)))[0]
    return (
        several(facts + noise * rng.normal(size=(m, n, p))),
        several(facts @ turn + other_noise * rng.normal(size=(m, n, p))),
    )


def curve_of_pair(x: xr.DataArray, y: xr.DataArray, ks: list[int], **settings) -> xr.Dataset:
    "Scores of one source and one target: (kind, k)."
    curves = exemplar_curves({"x": x}, {"y": y}, ks, **settings)
    return curves.sel(source="x", target="y", drop=True)


def measured(curve: xr.Dataset, k: int) -> xr.Dataset:
    return curve.sel(kind="measured", k=k, drop=True)


def fixed_map(curve: xr.Dataset, k: int) -> xr.Dataset:
    return curve.sel(kind="fixed map", k=k, drop=True)


def gain(curve: xr.Dataset, k: int) -> xr.Dataset:
    return measured(curve, k) - measured(curve, 1)


def beyond_fixed_map(curve: xr.Dataset, k: int) -> xr.Dataset:
    return measured(curve, k) - fixed_map(curve, k)


# Draws and means


@settings(deadline=None)
@given(st.integers(1, 12), st.data())
def test_draws_are_different_choices(m, data):
    k, seed, most = (
        data.draw(st.integers(1, m)),
        data.draw(st.integers(0, 5)),
        data.draw(st.integers(1, 15)),
    )
    draws = exemplar_choices(m, k, max_choices=most, seed=seed)
    assert len(set(draws)) == len(draws) == min(comb(m, k), most)
    assert set(draws) <= set(combinations(range(m), k))
    assert draws == exemplar_choices(m, k, max_choices=most, seed=seed)


def test_one_draw_takes_all_whatever_the_seed():
    exemplars = [feature_array(np.random.default_rng(j).normal(size=(2, 30, 4))) for j in range(7)]
    all_of_them = average_exemplars(exemplars, 7, seed=0)
    xr.testing.assert_identical(all_of_them, average_exemplars(exemplars, 7, seed=1))
    np.testing.assert_allclose(
        all_of_them.values[0], np.mean([e.values for e in exemplars], 0), rtol=1e-5, atol=1e-6
    )


@settings(deadline=None, max_examples=30)
@given(st.permutations(range(5)))
def test_order_of_exemplars_does_not_matter_to_the_mean_of_all(order):
    exemplars = [feature_array(np.random.default_rng(j).normal(size=(2, 12, 3))) for j in range(5)]
    np.testing.assert_allclose(
        average_exemplars([exemplars[i] for i in order], 5),
        average_exemplars(exemplars, 5),
        atol=1e-6,
    )


@pytest.mark.parametrize("k", [1, 2, 3])
def test_mean_of_identical_exemplars_is_the_exemplar(k):
    exemplar = feature_array(np.random.default_rng(0).normal(size=(2, 12, 3)))
    np.testing.assert_allclose(
        average_exemplars([exemplar] * 3, k), [exemplar] * comb(3, k), rtol=1e-6
    )


def test_averages_against_a_loop():
    exemplars = np.random.default_rng(0).normal(size=(4, 2, 12, 3)).astype(np.float32)
    means = average_exemplars([feature_array(e) for e in exemplars], 2)
    for mean, label in zip(means.values, means.choice.values):
        a, b = map(int, label.split("+"))
        np.testing.assert_allclose(mean, (exemplars[a] + exemplars[b]) / 2, rtol=1e-5, atol=1e-7)


# Curves


def test_curve_against_loops():
    images, captions = world(N, 4, 5, noise=1, other_noise=1.5)
    curve = curve_of_pair(images, captions, [1, 2, 4], folds=FOLDS, weights=WEIGHTS)
    for k in curve.k.values.tolist():
        found = measured(curve, k)
        scores = []
        for draw in combinations(range(4), k):
            Y, P = out_of_fold(
                images.values[list(draw)].mean(0), captions.values[list(draw)].mean(0), folds=FOLDS
            )
            scores.append(np.mean([unit_pearson(Y[t], P[t]).mean() for t in FOLDS.test]))
        assert found.value == pytest.approx(np.mean(scores), abs=1e-5)


def test_fixed_map_against_loops():
    images, captions = world(N, 3, 5, noise=1, other_noise=1.5)
    curve = curve_of_pair(images, captions, [1, 3], folds=FOLDS, weights=WEIGHTS)
    P = [
        out_of_fold(images.values[0], captions.values[0], tested=images.values[j], folds=FOLDS)[1]
        for j in range(3)
    ]
    singles = [out_of_fold(images.values[j], captions.values[j], folds=FOLDS) for j in range(3)]

    def rel(sides, t):
        return np.mean([unit_pearson(a[t], b[t]) for a, b in combinations(sides, 2)], 0).clip(0)

    expected = []
    for t in FOLDS.test:
        r = np.mean([unit_pearson(y[t], p[t]) for y, p in singles], 0)
        factors = [np.sqrt(3 / (1 + 2 * rel(sides, t))) for sides in (P, captions.values)]
        expected.append((r * factors[0] * factors[1]).mean())
    assert fixed_map(curve, 3).value == pytest.approx(np.mean(expected), abs=1e-5)
    assert fixed_map(curve, 1).value == pytest.approx(float(measured(curve, 1).value))


def test_draws_are_those_of_the_bootstrap_to_first_order():
    images, captions = world(800, 1, 20, noise=1, other_noise=1.5)
    folds = make_folds(800)
    weights = resample_weights(folds, n_draws=400)
    found = curve_of_pair(images, captions, [1], folds=folds, weights=weights)
    found = measured(found, 1)
    exact = predictivity_estimate(
        images.values[0], captions.values[0], folds=folds, weights=weights
    )
    assert found.value == pytest.approx(float(exact.value), abs=1e-6)
    assert np.corrcoef(found.draws, exact.draws)[0, 1] > 0.98
    assert found.draws.std() == pytest.approx(float(exact.draws.std()), rel=0.1)


def test_influence_on_the_gain_of_a_fixed_map_is_its_derivative():
    images, captions = world(N, 3, 4, noise=1, other_noise=1)
    doubled = np.ones((1, N))
    doubled[0, 7] += 1e-5  # one stimulus a little heavier
    few = {"folds": FOLDS, "weights": doubled}
    curve = curve_of_pair(images, captions, [1, 3], **few)
    fold = next(i for i, t in enumerate(FOLDS.test) if 7 in t)
    t = FOLDS.test[fold]

    def weighted(a, b):  # correlation with stimulus weights
        w = doubled[0, t] / doubled[0, t].sum()
        a, b = a[t] - w @ a[t], b[t] - w @ b[t]
        return w @ (a * b) / np.sqrt((w @ a**2) * (w @ b**2))

    P = [
        out_of_fold(images.values[0], captions.values[0], tested=images.values[j], folds=FOLDS)[1]
        for j in range(3)
    ]
    singles = [out_of_fold(images.values[j], captions.values[j], folds=FOLDS) for j in range(3)]

    def score(r):
        rho = [
            np.mean([r(a, b) for a, b in combinations(side, 2)], 0) for side in (P, captions.values)
        ]
        raised = np.prod([np.sqrt(3 / (1 + 2 * x)) for x in rho], 0) - 1
        return (np.mean([r(y, p) for y, p in singles], 0) * raised).mean()

    change = (score(weighted) - score(lambda a, b: unit_pearson(a[t], b[t]))) / FOLDS.n_folds
    found = fixed_map(curve, 3) - fixed_map(curve, 1)
    assert found.draws[0] - found.value == pytest.approx(change, rel=1e-2)


@pytest.mark.parametrize("averaged", ["source", "target", "both"])
def test_reliability_is_exact_where_it_is_all_there_is(averaged):
    n, s, t = 20_000, 1.0, 1.5
    images, captions = world(n, 3, 3, noise=s, other_noise=t)
    folds = make_folds(n)
    x, y = (
        (images if averaged != "target" else images[:1]),
        (captions if averaged != "source" else captions[:1]),
    )
    weights = resample_weights(folds, n_draws=20)
    curve = curve_of_pair(x, y, [1, 2, 3], folds=folds, weights=weights)
    for k in curve.k.values.tolist():
        found = measured(curve, k)
        noise = [
            v**2 / (k if averaged in (side, "both") else 1)
            for v, side in ((s, "source"), (t, "target"))
        ]
        closed = 1 / np.sqrt((1 + noise[0]) * (1 + noise[1]))
        assert found.value == pytest.approx(closed, abs=0.01)
        assert fixed_map(curve, k).value == pytest.approx(closed, abs=0.01)
        assert beyond_fixed_map(curve, k).value == pytest.approx(0, abs=0.003)


def test_a_map_that_stays_gains_what_reliability_predicts_whatever_the_noise():
    rng, n = np.random.default_rng(0), 8000
    facts = rng.normal(size=(n, 4))
    images = several(
        facts + rng.normal(size=(4, n, 4)) * [0.2, 0.5, 1, 3]
    )  # directions differ in noise: refitting would pay
    captions = several(
        facts @ rng.normal(size=(4, 5)) + rng.normal(size=(4, n, 5)) * [0.5, 1, 2, 3, 4]
    )
    folds = make_folds(n)
    weights = resample_weights(folds, n_draws=20)
    curve = curve_of_pair(images, captions, [1, 4], folds=folds, weights=weights)
    stays = out_of_fold(
        images.values[0], captions.values[0], tested=images.values.mean(0), folds=folds
    )[1]
    scores = [unit_pearson(captions.values.mean(0)[t], stays[t]).mean() for t in folds.test]
    assert fixed_map(curve, 4).value == pytest.approx(np.mean(scores), abs=0.006)
    assert interval(beyond_fixed_map(curve, 4)).low > 0


def test_single_exemplar_reliability_is_that_of_split_halves():
    images, captions = world(400, 2, 4, noise=0, other_noise=1)
    folds = make_folds(400, n_folds=2)
    curve = curve_of_pair(
        images[:1],
        captions,
        [1, 2],
        folds=folds,
        weights=resample_weights(folds, n_draws=10),
    )
    once = [out_of_fold(images.values[0], y, folds=folds)[1] for y in captions.values]
    expected = []
    for t in folds.test:
        one, two = (noise_ceiling(captions.values[:, t], n_averaged=k)[0] for k in (1, 2))
        r = np.mean([unit_pearson(y[t], p[t]) for y, p in zip(captions.values, once)], 0)
        expected.append((r * np.sqrt(two / one)).mean())
    assert fixed_map(curve, 2).value == pytest.approx(np.mean(expected), abs=1e-6)


def test_end_of_the_curve():
    n = 6000
    images, captions = world(n, 6, 3, noise=0.5, other_noise=1)
    folds = make_folds(n)
    end = asymptotes(
        {"x": images[:1]}, {"y": captions}, folds=folds, weights=resample_weights(folds, n_draws=20)
    )
    assert float(end.value.squeeze()) == pytest.approx(1 / np.sqrt(1.25), abs=0.01)
    np.testing.assert_allclose(halves(captions)[1], captions.values[[1, 3, 5]].mean(0))
    xr.testing.assert_identical(halves(images[:1]), images[:1])


def test_constant_units_are_left_out():
    images, captions = world(N, 3, 4, noise=1, other_noise=1)
    captions.values[:, :, 0] = 2.5
    curves = [
        curve_of_pair(images, y, [1, 3], folds=FOLDS, weights=WEIGHTS)
        for y in (captions, captions[:, :, 1:])
    ]
    assert measured(curves[0], 3).value == pytest.approx(
        float(measured(curves[1], 3).value), abs=0.01
    )
    assert np.isfinite(fixed_map(curves[0], 3).draws).all()


# Surrogates


def test_surrogates_keep_means_and_second_moments_of_each_stimulus():
    _, captions = world(N, 4, 3, noise=1, other_noise=1)
    redrawn = independent_exemplars(captions, seed=3)
    np.testing.assert_allclose(redrawn.mean("exemplar"), captions.mean("exemplar"), atol=1e-12)
    for i in range(N):
        one, other = (x.values[:, i] - x.values[:, i].mean(0) for x in (captions, redrawn))
        np.testing.assert_allclose(one.T @ one, other.T @ other, atol=1e-12)
    assert not np.allclose(redrawn, captions)
    xr.testing.assert_identical(redrawn, independent_exemplars(captions, seed=3))
    xr.testing.assert_identical(captions[:1], independent_exemplars(captions[:1]))


def test_surrogates_of_two_networks_share_their_noise_and_those_of_two_seeds_do_not():
    _, captions = world(2000, 4, 1, noise=1, other_noise=1)
    mean = captions.mean("exemplar")

    def noise(seed):
        return (independent_exemplars(captions, seed=seed) - mean).values[0, :, 0]

    assert np.corrcoef(noise(0), noise(0))[0, 1] == pytest.approx(1)
    assert abs(np.corrcoef(noise(0), noise(1))[0, 1]) < 0.1
    assert abs(np.corrcoef(noise(0), mean.values[:, 0])[0, 1]) < 0.1


def test_noise_is_reduced_to_what_independence_permits():
    rng, n, m = np.random.default_rng(0), 20_000, 4
    facts, folds = rng.normal(size=(n, 1)), make_folds(n)
    speaker = rng.integers(0, m, size=n)
    once = several(np.stack([facts * (speaker == j)[:, None] for j in range(m)]))
    # exemplars do not correlate, yet each correlates with the facts by 1/√m
    assert independent_noise(once, facts, folds=folds) == pytest.approx(
        (1 - 1 / m) ** 0.5, abs=0.01
    )
    by_chance = several(facts * (rng.random((m, n, 1)) < 1 / m))
    assert independent_noise(by_chance, facts, folds=folds) == pytest.approx(1, abs=0.01)
    alone = independent_noise(once[:1], facts, folds=folds)
    constant = independent_noise(several(np.ones((m, n, 1))), facts, folds=folds)
    assert alone == constant == 1


def surrogates_of(stated: np.ndarray, n: int, seed: int) -> xr.Dataset:
    "Gain beyond that of surrogates where captions tell some of 16 facts."
    rng, folds = np.random.default_rng(seed), make_folds(n)
    facts = rng.normal(size=(n, 16)) / np.sqrt(np.arange(1, 17))
    picture = several((facts @ rng.normal(size=(16, 40)) + rng.normal(size=(n, 40)) / 2)[None])
    captions = (facts * stated) @ rng.normal(size=(16, 40)) + rng.normal(size=(5, n, 40)) / 5
    weights = resample_weights(folds, n_draws=200)
    curve = curve_of_pair(
        picture, several(captions), [1, 5], folds=folds, weights=weights, n_surrogates=8
    )
    gains = curve.sel(k=5, drop=True) - curve.sel(k=1, drop=True)
    return gains.sel(kind="measured", drop=True) - gains


def test_omitted_facts_gain_more_than_a_fixed_map_but_no_more_than_surrogates():
    n = 300
    stated = np.random.default_rng(5).random((5, n, 16)) < 0.5
    ends = interval(surrogates_of(stated, n, 0))
    assert ends.low.sel(kind="fixed map") > 0
    assert ends.low.sel(kind="predicted") < 0 < ends.high.sel(kind="predicted")


def test_captions_that_complement_each_other_gain_more_than_surrogates():
    n = 300
    speaker = np.random.default_rng(5).integers(0, 5, size=(n, 16))
    stated = np.stack([speaker == j for j in range(5)])
    assert interval(surrogates_of(stated, n, 0)).low.sel(kind="predicted") > 0


def test_surrogates_end_where_the_data_do_and_draws_include_their_spread():
    images, captions = world(N, 3, 4, noise=1, other_noise=1)
    shared = {"folds": FOLDS, "weights": WEIGHTS}
    few, more = (curve_of_pair(images, captions, [1, 3], n_surrogates=s, **shared) for s in (2, 12))
    for curve in (few, more):
        measured_end = measured(curve, 3)
        predicted_end = curve.sel(kind="predicted", k=3, drop=True)
        np.testing.assert_allclose(predicted_end.value, measured_end.value, atol=1e-6)
        np.testing.assert_allclose(predicted_end.draws, measured_end.draws, atol=1e-6)
    start = more.sel(kind="predicted", k=1, drop=True)
    assert start.draws.std() > 0
    assert start.value == pytest.approx(float(measured(more, 1).value), abs=0.05)


# Controls


def test_others_are_others():
    orders = other_stimuli(FOLDS, 4)
    for test in FOLDS.test:
        assert {tuple(sorted(order[test])) for order in orders} == {tuple(test)}
    seen = np.vstack([np.arange(N), orders])
    assert all(len(set(column)) == 5 for column in seen.T)


def test_exemplars_of_others_lower_alignment_in_a_simulation():
    images, captions = world(N, 4, 4, noise=0.5, other_noise=0.5)
    control = partial(mean_with_others, orders=other_stimuli(FOLDS, 3))
    curves = align_exemplars(
        {"v": images[:1]}, {"l": captions}, [1, 4], folds=FOLDS, weights=WEIGHTS, mean=control
    )
    curves = curves.sel(kind="measured", drop=True)
    gains = curves.sel(k=4, drop=True) - curves.sel(k=1, drop=True)
    assert gains.value.dims == ("direction", "vision", "language")
    assert (interval(gains).high < 0).all()


def test_captions_of_others_lower_alignment_in_the_microworld():
    stimuli = microworld_stimuli(150, n_captions=3)
    words = (
        bag_of_words([text for j in range(3) for text in stimuli.caption(j)])
        .values[0]
        .reshape(3, 150, -1)
    )
    seen = several(pixels(stimuli.images, grid=4, bins=2).values)
    folds = make_folds(150)
    shared = {"folds": folds, "weights": resample_weights(folds, n_draws=200)}
    own = curve_of_pair(several(words), seen, [1, 3], **shared)
    control = partial(mean_with_others, orders=other_stimuli(folds, 2))
    others = curve_of_pair(several(words), seen, [1, 3], **shared, mean=control)
    assert interval(gain(own, 3)).low > 0 > interval(gain(others, 3)).high


# The microworld, rendered and described again


@settings(max_examples=10, deadline=None)
@given(st.integers(1, 6), st.integers(1, 4))
def test_scenes_are_rendered_and_described_again_from_the_same_facts(m, j):
    stimuli = microworld_stimuli(4, n_captions=2)
    described, drawn = recaption(stimuli, m), rerender(stimuli, j)
    assert [captions[:2] for captions in described.captions] == [
        captions[:m] for captions in stimuli.captions
    ]
    assert scenes_of(described) == scenes_of(drawn) == scenes_of(stimuli)
    assert (drawn.condition, drawn.captions) == (f"rendering={j}", stimuli.captions)
    assert [mask.shape for mask in drawn.thing_masks] == [
        mask.shape for mask in stimuli.thing_masks
    ]
    assert drawn.images_key != stimuli.images_key


# Errors


def test_errors():
    exemplars = [feature_array(np.random.default_rng(j).normal(size=(2, 12, 3))) for j in range(2)]
    with pytest.raises(InputError, match="between 1 and 2"):
        average_exemplars(exemplars, 3)
    with pytest.raises(InputError, match="max_choices = 0"):
        exemplar_choices(5, 2, max_choices=0)
    with pytest.raises(InputError, match="no exemplars"):
        stack_exemplars([])
    with pytest.raises(InputError, match="exemplar 1 has shape"):
        stack_exemplars([exemplars[0], exemplars[1][:, :, :2]])
    images, captions = world(N, 2, 3, noise=1, other_noise=1)
    shared = {"folds": FOLDS, "weights": WEIGHTS}
    with pytest.raises(InputError, match="include 1"):
        exemplar_curves({"x": images}, {"y": captions}, [2], **shared)
    with pytest.raises(InputError, match="one exemplar each"):
        exemplar_curves({"x": images[:1]}, {"y": captions[:1]}, [1, 2], **shared)
    with pytest.raises(InputError, match="numbers of exemplars differ between targets"):
        exemplar_curves({"x": images}, {"y": captions, "z": captions[:1]}, [1], **shared)
    with pytest.raises(InputError, match="n_surrogates = 1"):
        exemplar_curves({"x": images}, {"y": captions}, [1], n_surrogates=1, **shared)
    with pytest.raises(InputError, match="disagree at stimulus 0"):
        exemplar_curves(
            {"x": images.assign_coords(stimulus=range(N))},
            {"y": captions.assign_coords(stimulus=range(1, N + 1))},
            [1],
            **shared,
        )
    with pytest.raises(InputError, match="folds of more than 30"):
        other_stimuli(FOLDS, 30)
    with pytest.raises(InputError, match="from 0 on"):
        rerender(microworld_stimuli(2), -1)
    with pytest.raises(InputError, match="one or more are needed"):
        recaption(microworld_stimuli(2), 0)
    assert penultimate({"a": stack_exemplars(exemplars)}, 5)["a"].shape == (2, 5, 3)
