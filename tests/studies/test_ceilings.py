"""Ceilings of targets whose reliability and facts are known."""

import numpy as np
import pytest
import xarray as xr

from seeing_words.core.arrays import feature_array
from seeing_words.core.errors import InputError
from seeing_words.data.microworld.stimulus_set import microworld_stimuli
from seeing_words.data.stimuli import StimulusSet
from seeing_words.measures.folds import make_folds
from seeing_words.measures.inference import predictivity_estimate, resample_weights
from seeing_words.measures.predictivity import out_of_fold
from seeing_words.measures.scores import concat_scores, interval, make_scores
from seeing_words.studies.averaging import exemplar_features
from seeing_words.studies.ceilings import (
    captioned_facts,
    ceiling_table,
    fact_matrix,
    oracle_scores,
    reliability,
    reliability_ceiling,
    reliability_ceilings,
    share_of_ceiling,
    unit_ceilings,
    unit_panels,
    unit_scores,
    unit_table,
)


def repeats_of(signal: np.ndarray, reliable: np.ndarray, seed: int, n_repeats: int = 2):
    "Repeats of a signal of unit variance whose share of their variance is given for each unit."
    noise = np.random.default_rng(seed).normal(size=(n_repeats, *signal.shape))
    return np.sqrt(reliable) * signal + np.sqrt(1 - reliable) * noise


def planted(seed: int, n: int, n_units: int = 24):
    "Facts, and a signal of unit variance that is linear in them."
    rng = np.random.default_rng(seed)
    facts = rng.normal(size=(n, 4))
    mixing = np.random.default_rng(99).normal(size=(4, n_units))
    return facts, facts @ (mixing / np.linalg.norm(mixing, axis=0))


def test_units_without_reliability_add_nothing_on_average():
    "With a root clipped at 0 the ceiling of pure noise would be 0.1 here."
    weights = resample_weights(make_folds(200), n_draws=50)
    noise = np.random.default_rng(0).normal(size=(2, 200, 300))
    assert abs(reliability_ceiling(noise, weights=weights).value) < 0.04
    clipped = np.sqrt(reliability(noise, weights=weights).value.clip(0)).mean()
    assert clipped > 0.1


def test_more_repeats_are_the_mean_over_pairs():
    weights = resample_weights(make_folds(60), n_draws=5)
    repeats = repeats_of(planted(0, 60)[1], np.full(24, 0.5), 1, n_repeats=3)
    pairs = [reliability(repeats[[i, j]], weights=weights) for i, j in ((0, 1), (0, 2), (1, 2))]
    mean = sum(pair.value for pair in pairs) / 3
    assert np.allclose(reliability(repeats, weights=weights).value, mean)


def test_the_share_is_one_for_who_knows_all_and_its_interval_covers():
    """A source that holds the signal exactly reaches its ceiling, in the large.

    At n = 200 the regression loses a little; the ceiling's own interval must hold the truth in most
    data sets, and so must that of the share, about its mean.
    """
    n, reliable, n_sets = 200, np.linspace(0.2, 0.8, 24), 25
    truth = np.sqrt(reliable).mean()
    ceilings, shares = [], []
    for seed in range(n_sets):
        facts, signal = planted(seed, n)
        repeats = repeats_of(signal, reliable, seed + 1000)
        folds = make_folds(n, seed=seed)
        weights = resample_weights(folds, n_draws=200, seed=seed)
        ceiling = reliability_ceiling(repeats, weights=weights)
        score = predictivity_estimate(facts, repeats[0], folds=folds, weights=weights)
        share = share_of_ceiling(score, ceiling)
        ends, share_ends = interval(ceiling), interval(share)
        ceilings.append([ceiling.value, ends.low, ends.high])
        shares.append([share.value, share_ends.low, share_ends.high])
    value, low, high = np.array(ceilings, dtype=float).T
    assert value.mean() == pytest.approx(truth, abs=0.01)
    assert ((low <= truth) & (truth <= high)).mean() > 0.77  # 0.95 less 4 standard errors
    value, low, high = np.array(shares, dtype=float).T
    assert value.mean() == pytest.approx(1, abs=0.04)
    assert ((low <= value.mean()) & (value.mean() <= high)).mean() > 0.77


def test_who_knows_half_gets_less_than_the_ceiling():
    facts, signal = planted(0, 600)
    folds = make_folds(600)
    weights = resample_weights(folds, n_draws=100)
    repeats = repeats_of(signal, np.full(24, 0.5), 1)
    score = predictivity_estimate(facts[:, :2], repeats[0], folds=folds, weights=weights)
    share = share_of_ceiling(score, reliability_ceiling(repeats, weights=weights))
    assert interval(share).high < 0.9


def test_a_share_of_nothing_is_missing():
    weights = resample_weights(make_folds(100), n_draws=50)
    nothing = reliability_ceiling(
        np.random.default_rng(0).normal(size=(2, 100, 6)), weights=weights
    )
    score = make_scores(0.2, np.full(50, 0.2), weights)
    assert np.isnan(share_of_ceiling(score, nothing).value)


def test_layers_of_networks_have_each_their_ceiling():
    _, signal = planted(0, 300)
    weights = resample_weights(make_folds(300), n_draws=10)
    shares = {"a": (0.0, 0.5, 0.9), "b": (0.2, 0.2, 0.2)}

    def features(name: str, repeat: int) -> xr.DataArray:
        layers = []
        for i, share in enumerate(shares[name]):
            layers.append(repeats_of(signal, np.full(24, share), 10 * i + repeat)[0])
        return feature_array(np.stack(layers))

    repeats = exemplar_features(features, list(shares), 2)
    ceilings = reliability_ceilings(repeats, weights=weights)
    assert np.allclose(ceilings.value, np.sqrt(list(shares.values())), atol=0.05)
    assert ceilings.depth.values.tolist() == [0, 0.5, 1]
    last = reliability_ceilings(repeats, weights=weights, layers=[-1])
    assert np.allclose(last.value[:, 0], ceilings.value[:, -1])
    constant = {"a": repeats["a"] * [[[[0.0]], [[1.0]], [[1.0]]]]}
    assert np.isnan(reliability_ceilings(constant, weights=weights).value[0, 0])


def test_the_oracle_knows_what_is_planted():
    facts, signal = planted(0, 300)
    folds = make_folds(300)
    settings = {"folds": folds, "weights": resample_weights(folds, n_draws=10)}
    networks = {"a": feature_array(np.stack([signal, signal + np.ones(24)]))}
    scores = oracle_scores({"all": facts, "half": facts[:, :2]}, networks, **settings)
    value = scores.value.sel(network="a", layer=1)
    assert value.sel(facts="all") > 0.99
    assert 0.5 < value.sel(facts="half") < 0.9
    alone = predictivity_estimate(facts[:, :2], signal, **settings)
    assert value.sel(facts="half") == pytest.approx(float(alone.value), abs=1e-4)


def test_facts_of_the_microworld_decide_its_captions_and_their_own_oracle():
    stimuli = microworld_stimuli(40, n_captions=2)
    described = captioned_facts(stimuli, 1)
    mixed = captioned_facts(stimuli, np.arange(40) % 2)
    assert mixed[::2] == captioned_facts(stimuli)[::2] and mixed[1::2] == described[1::2]
    for facts, own, stated in zip(stimuli.facts, described, stimuli.caption_facts, strict=True):
        for kind in ("place", "time", "weather"):
            assert own.get(kind) in (None, facts[kind])
            assert (kind in own) == any(fact == (kind,) for fact, _ in stated[1])
        names = {thing["name"] for thing in facts["things"]}
        assert {thing["name"] for thing in own["things"] if "name" in thing} <= names
    every = fact_matrix(stimuli.facts)
    assert set(np.unique(every)) == {0, 1}
    assert (every.std(0) > 0).all()
    place = fact_matrix(stimuli.facts, kinds=["place"])
    assert (place.sum(1) == 1).all()


def test_units_stand_below_their_ceilings():
    facts, signal = planted(0, 500)
    folds = make_folds(500)
    weights = resample_weights(folds, n_draws=50)
    reliable = np.linspace(0.1, 0.9, 24)
    repeats = repeats_of(signal, reliable, 1)
    target, prediction = out_of_fold(facts, repeats[0], folds=folds)
    scores = unit_scores(target, prediction, folds=folds, weights=weights)
    mean = predictivity_estimate(facts, repeats[0], folds=folds, weights=weights)
    assert scores.value.mean().item() == pytest.approx(mean.value.item(), abs=1e-4)
    table = unit_table(scores, unit_ceilings(repeats, weights=weights))
    assert table.ceiling.is_monotonic_decreasing
    assert np.corrcoef(table.r, table.ceiling)[0, 1] > 0.9
    assert table.share.mean() == pytest.approx(1, abs=0.1)
    panels = unit_panels({"V→L": table})
    assert panels[panels.condition == "r"].score.tolist() == table.r.tolist()
    constant = repeats.copy()
    constant[:, :, 3] = 1
    left = unit_table(scores, unit_ceilings(constant, weights=weights))
    assert 3 not in left.unit.values


def test_the_table_has_a_share_of_each_ceiling_that_is_known():
    weights = resample_weights(make_folds(20), n_draws=4)

    def both(v2l: float, l2v: float) -> xr.Dataset:
        values = {"v2l": v2l, "l2v": l2v}
        made = {way: make_scores(v, np.full(4, v), weights) for way, v in values.items()}
        return concat_scores(made, "direction")

    captions = both(0.5, 0.8).sel(direction=["v2l"])
    table = ceiling_table(both(0.25, 0.4), {"captions": captions, "oracle": both(1.0, 0.5)})
    assert table[["direction", "ceiling", "share"]].values.tolist() == [
        ["V→L", "captions", 0.5],
        ["V→L", "oracle", 0.25],
        ["L→V", "oracle", 0.8],
    ]


def test_what_has_no_ceiling_is_refused():
    weights = resample_weights(make_folds(20), n_draws=2)
    with pytest.raises(InputError, match="2 or more repeats"):
        reliability(np.ones((1, 20, 3)), weights=weights)
    with pytest.raises(InputError, match="repeats are of 19 stimuli, weights of 20"):
        reliability(np.ones((2, 19, 3)), weights=weights)
    pictures = StimulusSet("mine", ("a", "b"), captions=(("one",), ("two",)))
    with pytest.raises(InputError, match="not known which facts"):
        captioned_facts(pictures)
    with pytest.raises(InputError, match="no facts vary among 2 stimuli; known kinds: none"):
        fact_matrix([{}, {}])
    with pytest.raises(InputError, match="no ceiling"):
        ceiling_table(make_scores(0.1, np.ones(2), weights), {})
