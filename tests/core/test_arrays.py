"Feature arrays: names of axes, types of numbers, and checks that name the place of a fault."

import numpy as np
import pytest
import torch
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from seeing_words.core.arrays import (
    check_features,
    check_pair,
    feature_array,
    one_layer,
    pair_coords,
)
from seeing_words.core.errors import InputError


@pytest.mark.parametrize(
    "values",
    [
        np.ones((12, 4)),
        torch.ones(12, 4, requires_grad=True),
        np.ones((1, 12, 4), int),
        np.ones((12, 4), np.float16),
        torch.ones(12, 4, dtype=torch.bfloat16),
    ],
)
def test_arrays_and_tensors_become_named_float32_but_float64_stays(values):
    features = check_features(values)
    assert features.dims == ("layer", "stimulus", "unit") and features.shape == (1, 12, 4)
    assert features.dtype == (
        np.float64 if getattr(values, "dtype", None) == np.float64 else np.float32
    )


def test_depth_runs_from_0_to_1_and_attributes_stay():
    features = feature_array(
        np.zeros((5, 12, 2)), model="m", ids=[f"s{i}" for i in range(12)], pooling="cls"
    )
    assert features.depth.values.tolist() == [0, 0.25, 0.5, 0.75, 1]
    assert (
        features.attrs == {"model": "m", "pooling": "cls"} and features.stimulus.values[3] == "s3"
    )


def test_named_arrays_may_come_in_any_order_of_axes():
    features = feature_array(np.random.default_rng(0).normal(size=(2, 12, 3)))
    assert check_features(features.transpose("unit", "layer", "stimulus")).identical(features)


@given(
    place=st.tuples(st.integers(0, 2), st.integers(0, 11), st.integers(0, 4)),
    bad=st.sampled_from([np.nan, np.inf, -np.inf]),
)
def test_the_first_bad_number_is_named_by_its_place(place, bad):
    values = np.zeros((3, 12, 5), np.float32)
    values[place] = bad
    values[2, 11, 4] = np.nan if place == (2, 11, 4) else np.inf
    layer, stimulus, unit = place
    with pytest.raises(
        InputError,
        match=rf"^source holds -?(nan|inf) at layer {layer}, stimulus {stimulus}, unit {unit} ",
    ):
        check_features(values, "source")


@pytest.mark.parametrize(
    ("values", "match"),
    [
        (np.ones(4), r"shape \(4,\).*give \(layer, stimulus, unit\)"),
        (np.ones((1, 1, 12, 4)), "give"),
        (np.ones((9, 4)), "9 stimuli: at least 10 are needed"),
        (np.ones((0, 12, 4)), "empty: 0 layers of 4 units"),
        (np.ones((2, 12, 0)), "empty: 2 layers of 0 units"),
        (np.full((12, 4), "x"), "must be real numbers"),
        (np.full((12, 4), 1j), "must be real numbers"),
        (
            xr.DataArray(np.ones((12, 4)), dims=("time", "unit")),
            r"dims \('time', 'unit'\): they must be",
        ),
    ],
)
def test_what_is_no_feature_array_is_refused(values, match):
    with pytest.raises(InputError, match=match):
        check_features(values, "language")


def test_ids_must_be_as_many_as_stimuli():
    with pytest.raises(InputError, match="3 ids for 12 stimuli"):
        feature_array(np.ones((12, 4)), ids=["a", "b", "c"])


def test_pairs_must_be_of_the_same_stimuli_in_the_same_order():
    ids = [f"s{i}" for i in range(12)]
    source, target = (
        feature_array(np.ones((1, 12, 3)), ids=order) for order in (ids, [*ids[:4], *ids[:3:-1]])
    )
    check_pair(source, source)
    check_pair(source, target.drop_vars("stimulus"))
    with pytest.raises(InputError, match="cat and dog disagree at stimulus 4: 's4' and 's11'"):
        check_pair(source, target, ("cat", "dog"))
    with pytest.raises(InputError, match="source has 12 stimuli, target has 11"):
        check_pair(source, target[:, 1:])


def test_one_layer_takes_a_single_layer_in_any_form():
    features = feature_array(np.random.default_rng(0).normal(size=(2, 12, 3)))
    for layer in (features.isel(layer=1), features.values[1], features[1:]):
        np.testing.assert_array_equal(one_layer(layer, "source").values, features.values[1:])
    with pytest.raises(InputError, match="source has 2 layers: give one"):
        one_layer(features, "source")


def test_depth_of_a_pair_is_evenly_spaced_where_none_is_given():
    features = feature_array(np.zeros((3, 12, 5)))
    coords = pair_coords(features.drop_vars("depth"), features[1:])
    assert coords["source_depth"][1].tolist() == [0, 0.5, 1]
    assert coords["target_depth"][1].tolist() == [0.5, 1]
    assert coords["target_layer"].tolist() == [1, 2]
