"Arrays: names, checks whose messages say where, digests, and files that are whole or absent."

import hashlib
import json
import os
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from seeing_words.core import arrays
from seeing_words.core.arrays import check_features, check_pair, feature_array
from seeing_words.core.errors import InputError, without_mask
from seeing_words.core.files import (
    canonical_json,
    commit,
    digest,
    file_digest,
    versions,
    write_atomic,
)
from seeing_words.data.stimuli import StimulusSet
from seeing_words.measures.folds import make_folds
from seeing_words.measures.inference import (
    bootstrap_scores,
    calibrate,
    interval,
    noise_ceiling,
    p_value,
    resample_weights,
)
from seeing_words.measures.numerics import unit_pearson
from seeing_words.measures.predictivity import out_of_fold, predictivity, predictivity_grid
from seeing_words.measures.retrieval import similarities
from seeing_words.measures.similarity import SIMILARITIES, cka, similarity_grid
from seeing_words.studies.perturbations import linear_estimate
from seeing_words.studies.pick_a_pic import rank_captions

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**6), 10**6) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
)


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


@given(PLAIN)
def test_canonical_json_reads_back_and_ignores_the_order_of_keys(value):
    def turned(v):
        if isinstance(v, dict):
            return {k: turned(v[k]) for k in reversed(list(v))}
        return [turned(x) for x in v] if isinstance(v, list) else v

    text = canonical_json(value)
    assert json.loads(text) == value and canonical_json(turned(value)) == text
    assert digest(value) == hashlib.sha256(text.encode()).hexdigest()


def test_canonical_json_has_no_nan():
    with pytest.raises(ValueError, match="Out of range"):
        canonical_json({"a": float("nan")})


@pytest.mark.parametrize("size", [0, 1, 10**6 + 7])
def test_file_digest_is_sha256_of_the_bytes(tmp_path, size):
    data = os.urandom(size)
    (tmp_path / "f").write_bytes(data)
    assert file_digest(tmp_path / "f") == hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize("fault", ["fsync", "replace"])
def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch, fault):
    write_atomic(tmp_path / "f", "old")

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(arrays.os, fault, fail)
    with pytest.raises(OSError, match="No space left"):
        write_atomic(tmp_path / "f", "new")
    assert [p.name for p in tmp_path.iterdir()] == ["f"] and (tmp_path / "f").read_text() == "old"


def test_write_atomic_replaces_makes_folders_and_takes_bytes(tmp_path):
    for data in (b"\0\xff", "é"):
        write_atomic(tmp_path / "a/b/f", data)
    assert (tmp_path / "a/b/f").read_bytes() == "é".encode()


def test_versions_and_commit_say_what_computed():
    assert versions()["numpy"] == np.__version__ and versions()["python"] == sys.version.split()[0]
    assert commit().startswith("release ") or len(commit().removesuffix("+changes")) == 40


def test_commit_is_not_that_of_a_project_we_are_merely_installed_in(tmp_path, monkeypatch):
    (tmp_path / "venv").mkdir()
    for words in (
        ("init", "-q"),
        ("-c", "user.name=x", "-c", "user.email=x@x", "commit", "-q", "--allow-empty", "-mx"),
    ):
        subprocess.run(["git", "-C", str(tmp_path), *words], check=True)
    monkeypatch.setattr(arrays, "__file__", str(tmp_path / "venv/arrays.py"))
    assert commit() == f"release {versions()['seeing-words']}"
    (tmp_path / "venv/arrays.py").touch()
    subprocess.run(["git", "-C", str(tmp_path), "add", "."], check=True)
    assert commit().endswith("+changes")
    monkeypatch.setenv("PATH", "")  # no git at all
    assert commit().startswith("release")


LAYER = np.random.default_rng(0).normal(size=(24, 3))


def masked_layer() -> np.ma.MaskedArray:
    "`LAYER`, with two values masked, the first at index (5, 1)."
    layer = np.ma.masked_array(LAYER.copy(), mask=False)
    layer[5, 1] = layer[7, 0] = np.ma.masked
    return layer


FOLDS = make_folds(24, n_folds=3)
WEIGHTS = resample_weights(FOLDS, n_draws=20)
TAKE_A_LAYER = {
    "check_features": check_features,
    "feature_array": feature_array,
    "predictivity, source": lambda x: predictivity(x, LAYER),
    "predictivity, target": lambda x: predictivity(LAYER, x),
    "predictivity_grid": lambda x: predictivity_grid(x, LAYER),
    "out_of_fold": lambda x: out_of_fold(x, LAYER),
    "unit_pearson": lambda x: unit_pearson(LAYER, x),
    "similarity_grid": lambda x: similarity_grid(x, LAYER),
    "calibrate": lambda x: calibrate(cka, x, LAYER, n_permutations=5),
    "bootstrap_scores": lambda x: bootstrap_scores(x, LAYER, folds=FOLDS, weights=WEIGHTS),
    "linear_estimate": lambda x: linear_estimate(LAYER, x, folds=FOLDS, weights=WEIGHTS),
    "interval": interval,
    "p_value": lambda x: p_value(0.5, x),
    "similarities": lambda x: similarities(LAYER, x),
    "rank_captions": rank_captions,
    **{name: (lambda x, f=measure.function: f(x, LAYER)) for name, measure in SIMILARITIES.items()},
}


@pytest.mark.parametrize("take", TAKE_A_LAYER.values(), ids=TAKE_A_LAYER)
def test_masked_values_are_refused_by_everything_that_takes_an_array(take):
    with pytest.raises(
        InputError, match=r"is masked at index \(5, 1\) \(2 masked values\): fill in those values"
    ):
        take(masked_layer())


@pytest.mark.parametrize("take", TAKE_A_LAYER.values(), ids=TAKE_A_LAYER)
def test_a_mask_that_hides_nothing_changes_nothing(take):
    unmasked = np.ma.masked_array(LAYER, mask=np.zeros_like(LAYER, bool))
    plain, made = take(LAYER), take(unmasked)
    assert repr(plain) == repr(made)


def test_masked_repeats_and_images_are_refused():
    with pytest.raises(InputError, match=r"^responses is masked at index \(0, 5, 1\)"):
        noise_ceiling(np.ma.stack([masked_layer(), masked_layer()]))
    images = np.ma.masked_array(np.zeros((2, 4, 4, 3), np.uint8), mask=False)
    images[1, 0, 0, 2] = np.ma.masked
    with pytest.raises(InputError, match=r"^toy: images is masked at index \(1, 0, 0, 2\)"):
        StimulusSet("toy", ("a", "b"), images, (("one",), ("two",)))


@pytest.mark.filterwarnings(
    "ignore:The PyTorch API of (MaskedTensors|nested tensors)"
)  # prototypes
def test_masks_within_lists_and_of_tensors_are_seen():
    with pytest.raises(InputError, match=r"vision, item 1, is masked at index \(5, 1\)"):
        check_features([LAYER, masked_layer()], "vision")
    with pytest.raises(InputError, match="item 1, is masked at index"):
        without_mask([1.0, np.ma.masked])
    mask = torch.ones(24, 3, dtype=torch.bool)
    whole = torch.masked.masked_tensor(torch.from_numpy(LAYER), mask.clone())
    np.testing.assert_array_equal(check_features(whole).values[0], LAYER)
    mask[5, 1] = False
    with pytest.raises(InputError, match=r"masked at index \(5, 1\) \(1 masked value\)"):
        check_features(torch.masked.masked_tensor(torch.from_numpy(LAYER), mask))
    with pytest.raises(InputError, match="is a nested tensor: give one"):
        check_features(torch.nested.nested_tensor([torch.ones(12, 3), torch.ones(11, 3)]))


def test_missing_values_of_pandas_are_refused_and_nullable_numbers_are_numbers():
    nullable = pd.DataFrame(LAYER).astype("Float64").assign(count=pd.array(range(24), "Int64"))
    np.testing.assert_array_equal(check_features(nullable).values[0, :, :3], LAYER)
    nullable.loc[5, 1] = pd.NA
    with pytest.raises(InputError, match=r"is missing at index \(5, 1\) \(1 missing value\)"):
        check_features(nullable)
    with pytest.raises(InputError, match="null is missing at index"):
        p_value(0.5, pd.Series([0.1, pd.NA], dtype="Float64"))
