"Arrays: names, checks whose messages say where, digests, and files that are whole or absent."
import hashlib
import json
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from seeing_words import arrays
from seeing_words.arrays import (
    InputError,
    canonical_json,
    check_features,
    check_pair,
    commit,
    digest,
    feature_array,
    file_digest,
    versions,
    write_atomic,
)

PLAIN = st.recursive(st.none() | st.booleans() | st.integers(-10**6, 10**6) | st.text(max_size=5),
                     lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3))


@pytest.mark.parametrize("values", [np.ones((12, 4)), torch.ones(12, 4, requires_grad=True), np.ones((1, 12, 4), int),
                                    np.ones((12, 4), np.float16), torch.ones(12, 4, dtype=torch.bfloat16)])
def test_arrays_and_tensors_become_named_float32_but_float64_stays(values):
    features = check_features(values)
    assert features.dims == ("layer", "stimulus", "unit") and features.shape == (1, 12, 4)
    assert features.dtype == (np.float64 if getattr(values, "dtype", None) == np.float64 else np.float32)


def test_depth_runs_from_0_to_1_and_attributes_stay():
    features = feature_array(np.zeros((5, 12, 2)), model="m", ids=[f"s{i}" for i in range(12)], pooling="cls")
    assert features.depth.values.tolist() == [0, 0.25, 0.5, 0.75, 1]
    assert features.attrs == {"model": "m", "pooling": "cls"} and features.stimulus.values[3] == "s3"


def test_named_arrays_may_come_in_any_order_of_axes():
    features = feature_array(np.random.default_rng(0).normal(size=(2, 12, 3)))
    assert check_features(features.transpose("unit", "layer", "stimulus")).identical(features)


@given(place=st.tuples(st.integers(0, 2), st.integers(0, 11), st.integers(0, 4)),
       bad=st.sampled_from([np.nan, np.inf, -np.inf]))
def test_the_first_bad_number_is_named_by_its_place(place, bad):
    values = np.zeros((3, 12, 5), np.float32)
    values[place] = bad
    values[2, 11, 4] = np.nan if place == (2, 11, 4) else np.inf
    layer, stimulus, unit = place
    with pytest.raises(InputError, match=rf"^source holds -?(nan|inf) at layer {layer}, stimulus {stimulus}, unit {unit} "):
        check_features(values, "source")


@pytest.mark.parametrize(("values", "match"), [
    (np.ones(4), r"shape \(4,\).*give \(layer, stimulus, unit\)"),
    (np.ones((1, 1, 12, 4)), "give"),
    (np.ones((9, 4)), "9 stimuli: at least 10 are needed"),
    (np.ones((0, 12, 4)), "empty: 0 layers of 4 units"),
    (np.ones((2, 12, 0)), "empty: 2 layers of 0 units"),
    (np.full((12, 4), "x"), "must be real numbers"),
    (np.full((12, 4), 1j), "must be real numbers"),
    (xr.DataArray(np.ones((12, 4)), dims=("time", "unit")), r"dims \('time', 'unit'\): they must be"),
])
def test_what_is_no_feature_array_is_refused(values, match):
    with pytest.raises(InputError, match=match): check_features(values, "language")


def test_ids_must_be_as_many_as_stimuli():
    with pytest.raises(InputError, match="3 ids for 12 stimuli"): feature_array(np.ones((12, 4)), ids=["a", "b", "c"])


def test_pairs_must_be_of_the_same_stimuli_in_the_same_order():
    ids = [f"s{i}" for i in range(12)]
    source, target = (feature_array(np.ones((1, 12, 3)), ids=order) for order in (ids, [*ids[:4], *ids[:3:-1]]))
    check_pair(source, source)
    check_pair(source, target.drop_vars("stimulus"))
    with pytest.raises(InputError, match="cat and dog disagree at stimulus 4: 's4' and 's11'"):
        check_pair(source, target, ("cat", "dog"))
    with pytest.raises(InputError, match="source has 12 stimuli, target has 11"): check_pair(source, target[:, 1:])


@given(PLAIN)
def test_canonical_json_reads_back_and_ignores_the_order_of_keys(value):
    def turned(v):
        if isinstance(v, dict): return {k: turned(v[k]) for k in reversed(list(v))}
        return [turned(x) for x in v] if isinstance(v, list) else v
    text = canonical_json(value)
    assert json.loads(text) == value and canonical_json(turned(value)) == text
    assert digest(value) == hashlib.sha256(text.encode()).hexdigest()


def test_canonical_json_has_no_nan():
    with pytest.raises(ValueError, match="Out of range"): canonical_json({"a": float("nan")})


@pytest.mark.parametrize("size", [0, 1, 10**6 + 7])
def test_file_digest_is_sha256_of_the_bytes(tmp_path, size):
    data = os.urandom(size)
    (tmp_path / "f").write_bytes(data)
    assert file_digest(tmp_path / "f") == hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize("fault", ["fsync", "replace"])
def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch, fault):
    write_atomic(tmp_path / "f", "old")
    def fail(*_): raise OSError(28, "No space left on device")
    monkeypatch.setattr(arrays.os, fault, fail)
    with pytest.raises(OSError, match="No space left"): write_atomic(tmp_path / "f", "new")
    assert [p.name for p in tmp_path.iterdir()] == ["f"] and (tmp_path / "f").read_text() == "old"


def test_write_atomic_replaces_makes_folders_and_takes_bytes(tmp_path):
    for data in (b"\0\xff", "é"): write_atomic(tmp_path / "a/b/f", data)
    assert (tmp_path / "a/b/f").read_bytes() == "é".encode()


def test_versions_and_commit_say_what_computed():
    assert versions()["numpy"] == np.__version__ and versions()["python"] == sys.version.split()[0]
    assert commit().startswith("release ") or len(commit().removesuffix("+changes")) == 40


def test_commit_is_not_that_of_a_project_we_are_merely_installed_in(tmp_path, monkeypatch):
    (tmp_path / "venv").mkdir()
    for words in (("init", "-q"), ("-c", "user.name=x", "-c", "user.email=x@x", "commit", "-q", "--allow-empty", "-mx")):
        subprocess.run(["git", "-C", str(tmp_path), *words], check=True)
    monkeypatch.setattr(arrays, "__file__", str(tmp_path / "venv/arrays.py"))
    assert commit() == f"release {versions()['seeing-words']}"
    (tmp_path / "venv/arrays.py").touch()
    subprocess.run(["git", "-C", str(tmp_path), "add", "."], check=True)
    assert commit().endswith("+changes")
    monkeypatch.setenv("PATH", "")  # no git at all
    assert commit().startswith("release")
