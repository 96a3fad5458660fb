"""Layers of different widths in one array: every measure gives what it gives layer by layer."""

import numpy as np
import pytest
import xarray as xr

from seeing_words.core.arrays import (
    feature_array,
    layer_values,
    narrowest,
    one_layer,
    stack_layers,
    take_layer,
)
from seeing_words.core.errors import InputError
from seeing_words.measures import predictivity
from seeing_words.measures._ridge_costs import FORM_COSTS
from seeing_words.measures.align import align
from seeing_words.measures.folds import make_folds
from seeing_words.measures.inference import predictivity_estimate, resample_weights
from seeing_words.measures.predictivity import null_grid, out_of_fold, predictivity_grids
from seeing_words.measures.similarity import SIMILARITIES, similarity_grid
from seeing_words.studies.averaging import average_exemplars, penultimate, stack_exemplars
from seeing_words.studies.layers import align_all, null_scores, null_units, similarity_grids

N, WIDTHS = 60, (3, 9, 6)
FOLDS = make_folds(N, n_folds=3)


@pytest.fixture(scope="module")
def layers() -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    scene = rng.normal(size=(N, 4))
    return [
        (scene @ rng.normal(size=(4, p)) + rng.normal(size=(N, p))).astype(np.float32)
        for p in WIDTHS
    ]


@pytest.fixture(scope="module")
def ragged(layers) -> xr.DataArray:
    names = ["stem", "block.0", "block.1"]
    return feature_array(stack_layers(layers), n_units=WIDTHS, layer_names=names, model="cnn")


@pytest.fixture(scope="module")
def other() -> xr.DataArray:
    rng = np.random.default_rng(0)
    scene = rng.normal(size=(N, 4))
    return feature_array(np.stack([scene @ rng.normal(size=(4, 7)) for _ in range(2)]))


@pytest.mark.parametrize("scaling", ["unit", "layer"])
@pytest.mark.parametrize("form", FORM_COSTS)
def test_scores_are_those_of_each_layer_alone(ragged, layers, other, scaling, form, monkeypatch):
    monkeypatch.setattr(predictivity, "choose_form", lambda *sizes: form)
    setting = {"folds": FOLDS, "scaling": scaling}
    as_source = predictivity_grids(ragged, {"": other}, **setting)[""]
    as_target = predictivity_grids(other, {"": ragged}, **setting)[""]
    assert as_target.n_constant_units.values.max() == 0  # what is filled in is not even counted
    for i, layer in enumerate(layers):
        alone = predictivity_grids(layer, {"": other}, **setting)[""].predictivity
        np.testing.assert_allclose(as_source.predictivity[i], alone[0], atol=1e-6, equal_nan=False)
        alone = predictivity_grids(other, {"": layer}, **setting)[""].predictivity
        np.testing.assert_allclose(as_target.predictivity[:, i], alone[:, 0], atol=1e-6)


def test_filled_in_units_change_no_predictivity_even_if_they_are_left_in(ragged, layers, other):
    "Code outside the package that takes `features.values[layer]` gets the same score."
    weights = resample_weights(FOLDS, n_draws=5)
    setting = {"folds": FOLDS, "weights": weights}
    for i, layer in enumerate(layers):
        for with_zeros, alone in (
            ((ragged.values[i], other.values[0]), (layer, other.values[0])),
            ((other.values[0], ragged.values[i]), (other.values[0], layer)),
        ):
            found = predictivity_estimate(*with_zeros, **setting)
            expected = predictivity_estimate(*alone, **setting)
            np.testing.assert_allclose(found.value, expected.value, atol=1e-6)
            np.testing.assert_allclose(found.draws, expected.draws, atol=1e-6)


def test_a_null_is_computed_on_units_that_every_layer_has(ragged, layers, other):
    null = null_grid(other, ragged, folds=FOLDS, n_permutations=3, n_units=32)
    assert null.attrs["n_units"] == min(WIDTHS) and null.null.notnull().all()
    first = null_grid(other, layers[0], folds=FOLDS, n_permutations=3)
    np.testing.assert_allclose(null.observed[:, 0], first.observed[:, 0], atol=1e-6)
    from_ragged = null_grid(ragged, other, folds=FOLDS, n_permutations=3)
    for i, layer in enumerate(layers):
        alone = null_grid(layer, other, folds=FOLDS, n_permutations=3)
        np.testing.assert_allclose(from_ragged.null[:, i], alone.null[:, 0], atol=1e-6)


@pytest.mark.parametrize("measure", SIMILARITIES)
@pytest.mark.parametrize("units", ["zscore", "raw"])
def test_similarities_are_those_of_each_layer_alone(ragged, layers, other, measure, units):
    grid = similarity_grid(ragged, other, measure=measure, units=units)
    for i, layer in enumerate(layers):
        alone = similarity_grid(layer, other, measure=measure, units=units)
        np.testing.assert_allclose(grid[i], alone[0], atol=1e-6)


def test_clipping_sees_no_filled_in_zeros(ragged, layers, other):
    wide = feature_array(np.stack([layers[1], layers[1]]))
    doubled = feature_array(
        stack_layers([layers[1], np.hstack([layers[1], layers[1]])]), n_units=[9, 18]
    )
    grids = [similarity_grid(x, other, units="platonic") for x in (wide, doubled)]
    # the same values in both, so the same quantile
    np.testing.assert_allclose(*[grid[0] for grid in grids], atol=1e-6)


def test_align_takes_the_array_as_it_takes_a_mapping(ragged, layers, other):
    settings = {"n_permutations": 5, "n_draws": 5, "n_folds": 3, "progress": False}
    one = align(ragged, other, **settings)
    many = align(dict(zip(ragged.layer_name.values, layers)), other, **settings)
    assert one.data.a_name.values.tolist() == ["stem", "block.0", "block.1"]
    assert one.data.a_units.values.tolist() == list(WIDTHS)
    for name in ("predictivity", "null", "cka_debiased", "nested"):
        np.testing.assert_allclose(one.data[name], many.data[name], atol=1e-6)


def test_one_layer_leaves_out_what_is_filled_in(ragged, layers):
    assert narrowest(ragged) == 3
    for i, layer in enumerate(layers):
        for taken in (ragged.isel(layer=i), take_layer(ragged, i), ragged.isel(layer=[i])):
            assert np.array_equal(one_layer(taken, "X").values[0], layer)
        assert np.array_equal(layer_values(ragged)[i], layer)
    observed, _ = out_of_fold(ragged.isel(layer=0), ragged.isel(layer=2), folds=FOLDS)
    assert observed.shape == (N, 6)


def test_features_that_contradict_their_widths_are_refused(ragged, other):
    wrong = ragged.assign_coords(n_units=("layer", [3, 8, 6]))
    with pytest.raises(InputError, match=r"source says that layer 1 has 8 units .* are not 0"):
        predictivity_grids(wrong, {"": other}, folds=FOLDS)


def test_exemplars_keep_their_widths(ragged, layers):
    stacked = stack_exemplars([ragged, 2 * ragged])
    assert penultimate({"a": stacked})["a"].shape == (2, N, 9)
    mean = stacked.mean("exemplar", keep_attrs=True)
    assert np.allclose(take_layer(mean, 0), 1.5 * layers[0])
    assert set(penultimate({"a": stacked})["a"].coords) == {"stimulus"}
    assert average_exemplars(stacked, 2).sizes["unit"] == max(WIDTHS)


def test_sections_compare_such_networks(ragged, layers, other):
    aligned = align_all({"cnn": ragged}, {"llm": other}, folds=FOLDS, weights=np.ones((2, N), int))
    grid = aligned.grid.predictivity.sel(vision="cnn", language="llm")
    alone = predictivity_grids(layers[2], {"": other}, folds=FOLDS)[""].predictivity
    np.testing.assert_allclose(grid.sel(direction="v2l").isel(vision_layer=2), alone[0], atol=1e-6)
    assert len(null_units(ragged, 8, 0)) == 3 and null_units(ragged, 8, 0).max() == 2
    nulls = null_scores(aligned, n_permutations=3, n_units=8)
    assert nulls.null.notnull().all()
    cka = similarity_grids(aligned).isel(vision=0, language=0)
    np.testing.assert_allclose(cka, similarity_grid(ragged, other), atol=1e-6)
