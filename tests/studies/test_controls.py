"""The strongest baseline and the variance beyond it."""

import numpy as np
import pytest
import xarray as xr

from seeing_words.core.arrays import feature_array
from seeing_words.measures.folds import make_folds
from seeing_words.measures.inference import predictivity_estimate, resample_weights
from seeing_words.measures.predictivity import mean_over_folds, predictivity_grid
from seeing_words.measures.scores import interval
from seeing_words.measures.unique import unique_variance
from seeing_words.studies.controls import (
    align_baselines,
    baseline_level,
    baseline_table,
    strongest_scores,
    unique_scores,
)
from seeing_words.studies.layers import align_all, align_networks, chosen_apart, depth_table

N = 80
FOLDS = make_folds(N)
WEIGHTS = resample_weights(N, n_draws=50)
FACTS = np.random.default_rng(0).normal(size=(N, 5))


def network(seed: int, n_facts: int, n_layers: int = 2, n_units: int = 8) -> xr.DataArray:
    rng = np.random.default_rng(seed)
    layers = []
    for k in range(n_layers):
        signal = FACTS[:, :n_facts] @ rng.normal(size=(n_facts, n_units))
        layers.append((k + 0.3) * signal + rng.normal(size=(N, n_units)))
    return feature_array(np.stack(layers))


VISION = {"v0": network(1, 4), "v1": network(2, 4)}
LANGUAGE = {"l0": network(3, 5), "l1": network(4, 5)}
rng = np.random.default_rng(9)
BASELINES = {
    "noise": feature_array(rng.normal(size=(N, 12))),
    "two facts": feature_array(100 * FACTS[:, :2] + 30 * rng.normal(size=(N, 2))),
    "unequal": feature_array(FACTS[:, 1:3] * [100, 1] + rng.normal(size=(N, 2)), scaling="layer"),
}


@pytest.fixture(scope="module")
def strong():
    return align_baselines(BASELINES, LANGUAGE, folds=FOLDS, weights=WEIGHTS)


@pytest.fixture(scope="module")
def aligned():
    return align_all(VISION, LANGUAGE, directions=["v2l"], folds=FOLDS, weights=WEIGHTS)


def test_each_baseline_is_scaled_as_it_says(strong):
    for name, scaling in (("two facts", "unit"), ("unequal", "layer")):
        grid = predictivity_grid(BASELINES[name], LANGUAGE["l1"], folds=FOLDS, scaling=scaling)
        found = strong.grid.predictivity.sel(baseline=name, network="l1")
        np.testing.assert_allclose(found, grid.predictivity.isel(source_layer=0))


def test_the_strongest_baseline_is_chosen_on_the_other_folds(strong):
    scores = strongest_scores(strong)
    for name in LANGUAGE:
        grid = strong.grid.predictivity.sel(network=name)
        expected = []
        for k, (chosen, layer) in enumerate(strong.chosen(name)):
            others = mean_over_folds(grid.drop_isel(fold=k))
            assert float(others.max()) == float(others.sel(baseline=chosen)[layer])
            expected.append(float(grid.sel(baseline=chosen)[layer, k]))
        assert float(scores.value.sel(network=name)) == pytest.approx(np.mean(expected), abs=1e-6)
    table = baseline_table(strong)
    assert table.baseline[0] == "two facts" and table.chosen.sum() == 1
    assert table.n_units.tolist()[0] == 2


def test_one_baseline_alone_has_the_draws_of_its_layer():
    one = {"two facts": BASELINES["two facts"]}
    target = {"l0": LANGUAGE["l0"].isel(layer=[1])}
    strong = align_baselines(one, target, folds=FOLDS, weights=WEIGHTS)
    expected = predictivity_estimate(
        one["two facts"].values[0], target["l0"].values[0], folds=FOLDS, weights=WEIGHTS
    )
    found = strongest_scores(strong).sel(network="l0")
    np.testing.assert_allclose(found.value, expected.value, atol=1e-6)
    np.testing.assert_allclose(found.draws, expected.draws, atol=1e-6)


def test_a_baseline_has_the_form_of_a_network_of_one_layer(strong):
    level = baseline_level(strong, "two facts", "v2l")
    expected = align_networks(
        {"two facts": BASELINES["two facts"]}, LANGUAGE, directions=["v2l"], folds=FOLDS
    )
    xr.testing.assert_allclose(
        level.predictivity.drop_vars(["vision_depth", "language_depth"]),
        expected.predictivity.drop_vars(["vision_depth", "language_depth"]),
    )
    for along in ("vision", "language"):
        assert depth_table(level, along).equals(depth_table(expected, along))


def test_unique_variance_is_that_of_each_pair_with_its_own_layers_and_baseline(strong, aligned):
    found = unique_scores(aligned, {"v2l": strong}).sel(direction="v2l")
    assert found.value.dims == ("vision", "language", "part")
    chosen = chosen_apart(aligned).sel(direction="v2l", vision="v0", language="l1")
    baselines = {name for name, _ in strong.chosen("l1")}
    layers = {(int(v), int(w)) for v, w in zip(chosen.vision_layer, chosen.language_layer)}
    assert baselines == {"two facts"} and layers == {(1, 1)}, "the same in all folds"
    expected = unique_variance(
        VISION["v0"].values[1],
        BASELINES["two facts"].values[0],
        LANGUAGE["l1"].values[1],
        folds=FOLDS,
        weights=WEIGHTS,
    )
    pair = found.sel(vision="v0", language="l1")
    np.testing.assert_allclose(pair.value, expected.value)
    np.testing.assert_allclose(pair.draws, expected.draws)
    assert interval(found.mean(("vision", "language"))).low.sel(part="unique") > 0.05


def test_the_other_direction_has_its_own_baselines():
    sources = align_all(VISION, LANGUAGE, directions=["l2v"], folds=FOLDS, weights=WEIGHTS)
    strong = align_baselines(BASELINES, VISION, folds=FOLDS, weights=WEIGHTS)
    found = unique_scores(sources, {"l2v": strong}).sel(direction="l2v")
    assert found.value.dims == ("vision", "language", "part")
    assert found.value.notnull().all() and found.draws.notnull().all()
