"""Means over networks as a sample of a population: against the t distribution, and on simulated
networks of which the truth is known."""

import numpy as np
import pytest
import xarray as xr
from scipy import stats

from seeing_words.core.errors import InputError
from seeing_words.measures.inference import mean_over_population
from seeing_words.measures.scores import interval, make_scores, steps

NAMES = {
    "vision": ["vision-0", "vision-1", "vision-2"],
    "language": ["bloom-0", "bloom-1", "llama-0", "llama-1", "llama-2"],
}


def architecture(name: str) -> str:
    return name.split("-")[0]


def scores_of(values, noise=0.0, n_draws=400, seed=0):
    """Values (vision, language); all stimuli's noise is common to the networks."""
    n_vision, n_language = np.shape(values)
    names = {"vision": NAMES["vision"][:n_vision], "language": NAMES["language"][:n_language]}
    value = xr.DataArray(values, names)
    draws = xr.DataArray(noise * np.random.default_rng(seed).normal(size=n_draws), dims="draw")
    return make_scores(value, value + draws, np.ones((n_draws, 2)))


def values(seed=0, n_vision=3, n_language=5):
    return np.random.default_rng(seed).normal(size=(n_vision, n_language))


def test_the_value_is_the_mean_and_one_dimension_has_students_interval():
    scores = scores_of(values(), n_draws=20_000).sel(vision="vision-0", drop=True)
    mean = mean_over_population(scores)
    y = scores.value.values
    assert float(mean.value) == pytest.approx(y.mean())
    low, high = stats.t.interval(0.95, 4, y.mean(), stats.sem(y))
    ends = interval(mean)
    assert (float(ends.low), float(ends.high)) == pytest.approx(
        (low, high), abs=0.03 * (high - low)
    )
    assert mean.attrs == {"sampled": "stimuli, language", "degrees_of_freedom": "language 4"}


def test_strata_are_taken_as_they_are():
    """With a large difference between architectures, only differences within them count."""
    y = np.array([[10.0, 10.2, 0.1, 0.0, 0.3]])
    scores = scores_of(y, n_draws=20_000).isel(vision=0, drop=True)
    mean = mean_over_population(scores, strata=architecture)
    within = np.concatenate([y[0, :2] - y[0, :2].mean(), y[0, 2:] - y[0, 2:].mean()])
    error = np.sqrt((within**2).sum() / 3 / 5)
    ends = interval(mean)
    assert float(ends.high - ends.low) == pytest.approx(2 * stats.t.ppf(0.975, 3) * error, rel=0.05)
    assert mean.attrs["degrees_of_freedom"] == "language 3"


def test_networks_that_are_alone_are_taken_as_given():
    scores = scores_of(values(n_vision=1), noise=0.1)
    mean = mean_over_population(scores.isel(language=[0]))
    expected = scores.isel(language=[0]).mean(("vision", "language"))
    np.testing.assert_array_equal(mean.draws, expected.draws)
    assert mean.attrs == {"sampled": "stimuli", "degrees_of_freedom": "vision 0, language 0"}
    assert mean_over_population(scores).attrs["sampled"] == "stimuli, language"


def test_differences_stay_paired():
    """The mean of a difference is the difference of the means, in every draw."""
    one, other = scores_of(values(0), 0.1), scores_of(values(1), 0.2)
    mean = mean_over_population(one - other, strata=architecture)
    apart = [mean_over_population(scores, strata=architecture) for scores in (one, other)]
    xr.testing.assert_allclose(mean.drop_attrs(), (apart[0] - apart[1]).drop_attrs())
    # a constant difference has no variance, however much the networks differ
    constant = mean_over_population(one + 1) - mean_over_population(one)
    assert float(constant.draws.std()) < 1e-12


def test_other_dimensions_stay_and_missing_scores_are_missing():
    scores = xr.concat([scores_of(values(k)) for k in (0, 1)], "direction")
    mean = mean_over_population(scores)
    assert mean.draws.dims == ("direction", "draw") and mean.value.dims == ("direction",)
    one = mean_over_population(scores.isel(direction=1))
    np.testing.assert_allclose(mean.draws.isel(direction=1), one.draws)
    gap = scores.where(scores.vision != "vision-1")
    assert np.isnan(mean_over_population(gap).draws).all()


@pytest.mark.parametrize(("n_vision", "n_language"), [(3, 3), (3, 5)])
def test_intervals_cover_the_mean_of_the_population(n_vision, n_language):
    """Two kinds of networks, crossed, with effects of either and of the pair."""
    rng, held, held_naive = np.random.default_rng(0), 0, 0
    for seed in range(250):
        truth = rng.normal(size=(n_vision, 1)) + rng.normal(size=(1, n_language))
        truth = truth + 0.5 * rng.normal(size=(n_vision, n_language))
        scores = scores_of(truth + 0.3 * rng.normal(), 0.3, seed=seed)
        ends = interval(mean_over_population(scores))
        naive = interval(scores.mean(("vision", "language")))
        held += bool(ends.low < 0 < ends.high) / 250
        held_naive += bool(naive.low < 0 < naive.high) / 250
    assert held >= 0.92 and held_naive < 0.7


def test_no_networks_are_named():
    with pytest.raises(InputError, match="have the dimensions none, but networks are expected"):
        mean_over_population(scores_of(values()).isel(vision=0, language=0, drop=True))


def test_steps_are_differences_and_a_rise_needs_all():
    scores = scores_of([[0.0, 0.3, 0.1, 0.2, 0.4]], 0.1).isel(vision=0, drop=True)
    found = steps(scores, "language")
    np.testing.assert_allclose(found.value, [0.3, -0.2, 0.1, 0.2])
    assert list(found.language.values) == NAMES["language"][1:]
    np.testing.assert_allclose(found.draws, np.diff(scores.draws, axis=0))
    with pytest.raises(InputError, match="steps along 'language' need two points"):
        steps(scores.isel(language=[0]), "language")
