"""Cached results: a value comes back as it was, and only if nothing it depends on has changed."""

import json
import sys
from dataclasses import fields, is_dataclass
from functools import partial

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from safetensors.numpy import save

from seeing_words.core.arrays import feature_array
from seeing_words.core.errors import InputError
from seeing_words.measures.claims import Claim
from seeing_words.measures.folds import make_folds
from seeing_words.measures.inference import resample_weights
from seeing_words.measures.scores import make_scores
from seeing_words.models import cache
from seeing_words.models.cache import Results, _checksum, _read, _unpack, fingerprint
from seeing_words.studies.layers import align_all, best_scores, null_scores, similarity_grids

ARRAYS = hnp.arrays(
    st.sampled_from([np.float32, np.float64, np.int64, np.bool_]),
    hnp.array_shapes(min_dims=0, min_side=0),
)


def same(a, b) -> bool:
    if isinstance(a, xr.DataArray | xr.Dataset):
        return a.identical(b)
    if isinstance(a, pd.DataFrame):
        return a.equals(b) and list(a.columns) == list(b.columns) and a.index.names == b.index.names
    if is_dataclass(a):
        return type(a) is type(b) and all(
            same(getattr(a, f.name), getattr(b, f.name)) for f in fields(a)
        )
    if isinstance(a, np.ndarray):
        return a.dtype == b.dtype and np.array_equal(a, b, equal_nan=a.dtype.kind == "f")
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[k], b[k]) for k in a)
    if isinstance(a, list | tuple):
        return type(a) is type(b) and len(a) == len(b) and all(map(same, a, b))
    return a == b


VALUES = [
    3,
    0.1,
    "é",
    None,
    True,
    [1, (2.0, "x")],
    {("a", "b"): np.arange(3), "c": [np.zeros((0, 2))]},
    np.array(["v2l", "l2v"]),
    np.array(1.5),
    np.array([np.nan, np.inf]),
    xr.DataArray(
        np.ones((2, 3), np.float32),
        {"way": ["v2l", "l2v"], "depth": ("way", [0.0, 1.0])},
        ("way", "unit"),
        "r",
        {"model": "m", "n": 3},
    ),
    xr.Dataset({"a": ("x", [1, 2]), "b": (("x", "y"), np.eye(2))}, {"x": [5, 6]}, {"seed": 0}),
    xr.Dataset(
        {"value": ("pair", [0.1, 0.2], {"unit": "r"})},
        {"draw": [0, 1, 2], "pair": ["a×b", "a×c"]},
        {"ways": ["v2l", "l2v"], "digest": "d1"},
    ),
    Claim("a", "one thing beats another", "one − another"),
    {1: make_scores(0.2, np.ones(2), np.ones((2, 10))), np.inf: [0.3, None]},
    make_scores(0.1, np.zeros(2), np.ones((2, 10))),
    pd.DataFrame(
        {"name": ["a", "b"], "score": [0.5, np.nan], "n": [1, 2], ("way", 1): [True, False]}
    ),
    pd.DataFrame({"score": [1.0, 2.0]}, index=pd.Index(["x", "y"], name="condition")),
]


def kept(folder, value):
    "What a second call gives back, when only the first computes `value`."
    results, calls = Results(folder), []

    def made(name):
        return calls.append(name) or value

    results(made, "once")
    again = results(made, "once")
    assert calls == ["once"]
    return again


@pytest.mark.parametrize("value", VALUES, ids=lambda v: type(v).__name__)
def test_what_comes_back_is_what_was_put_away(value, tmp_path):
    assert same(kept(tmp_path, value), value)


@settings(deadline=None, max_examples=30)
@given(ARRAYS)
def test_any_array_comes_back(tmp_path_factory, array):
    assert same(kept(tmp_path_factory.mktemp("results"), array), array)


@settings(deadline=None, max_examples=50)
@given(ARRAYS, ARRAYS)
def test_a_fingerprint_is_of_content(a, b):
    alike = a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
    assert (fingerprint(a) == fingerprint(b)) == alike


CHANGES = [
    lambda a: feature_array(a.values + 1e-6, ids=a.stimulus.values),
    lambda a: feature_array(a.values, ids=a.stimulus.values[::-1]),
    lambda a: a.isel(layer=[0]),
    lambda a: a.assign_attrs(model="another"),
]


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_input_is_another_result(change):
    features = feature_array(np.random.default_rng(0).normal(size=(2, 10, 3)))
    assert fingerprint(change(features)) != fingerprint(features)


def test_functions_and_their_settings_have_different_keys():
    one, other = partial(kept, "a"), partial(kept, "b")
    assert fingerprint(one) == fingerprint(partial(kept, "a")) != fingerprint(other)
    assert fingerprint(kept) != fingerprint(same)


def test_only_classes_of_the_package_are_made_from_a_file(tmp_path, monkeypatch):
    def claim():
        return Claim("a", "one thing beats another", "one − another")

    monkeypatch.setattr(Claim, "__module__", "subprocess")
    Results(tmp_path)(claim)
    monkeypatch.undo()
    (file,) = tmp_path.iterdir()
    with pytest.raises(ValueError, match="no class of seeing_words"):
        _read(file)
    assert isinstance(Results(tmp_path)(claim), Claim)  # computed again


@pytest.mark.parametrize("name", ["align_networks", "Path", "nothing"])
def test_nothing_but_a_dataclass_is_called_by_its_name(name):
    packed = ["object", ["seeing_words.studies.layers", name, {}]]
    with pytest.raises(ValueError, match="is no dataclass of seeing_words"):
        _unpack(packed, {})


def test_a_changed_parameter_is_another_result(tmp_path):
    def double(x, *, times=2):
        return times * x

    results = Results(tmp_path)
    assert [results(double, 2), results(double, 2, times=3)] == [4, 6]
    assert len(list(tmp_path.iterdir())) == 2


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package of four modules, instead of ours: a → b → c, and d, which a does not reach.

    Returns the function that writes one of its modules and digests what `a` can reach.
    """
    folder = tmp_path / "small_package"
    (folder / "inner").mkdir(parents=True)
    for name in ("__init__.py", "inner/__init__.py", "c.py", "d.py"):
        (folder / name).touch()
    (folder / "a.py").write_text("def f():\n    from .inner import b\n    return b.g()\n")
    (folder / "inner/b.py").write_text("from ..c import *\nimport json\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(cache, "_PACKAGE", "small_package")

    def digest_after(name: str, text: str) -> str:
        (folder / name).write_text(text)
        cache.code_digest.cache_clear()
        cache._digest_and_imports.cache_clear()
        return cache.code_digest("small_package.a")

    yield digest_after
    cache.code_digest.cache_clear()
    cache._digest_and_imports.cache_clear()
    for name in [name for name in sys.modules if name.partition(".")[0] == "small_package"]:
        del sys.modules[name]


def test_the_code_of_a_function_is_what_its_module_imports_and_no_more(package):
    before = package("d.py", "")
    assert package("d.py", "x = 1") == before
    assert package("c.py", "x = 1") != before
    assert package("c.py", "") == before
    assert package("inner/b.py", "import json") != before


def test_a_docstring_of_the_command_line_recomputes_nothing():
    reached, waiting = set(), ["seeing_words.measures.predictivity"]
    while waiting:
        name = waiting.pop()
        if name not in reached:
            reached.add(name)
            waiting += cache._digest_and_imports(name)[1]
    assert "seeing_words.measures.folds" in reached
    assert not any(name.startswith("seeing_words.app") for name in reached)


def test_an_array_changed_in_place_is_another_result(tmp_path):
    results, x = Results(tmp_path), np.ones((600, 600))  # beyond a mebibyte

    def total(values):
        return values.sum()

    assert results(total, x) == 360_000
    x *= 2
    assert results(total, x) == 720_000


def test_a_changed_number_type_is_found_in_a_file(tmp_path):
    def halves():
        return np.array([0.5, 1.5])

    Results(tmp_path)(halves)
    (file,) = tmp_path.iterdir()
    whole = file.read_bytes()
    assert whole.count(b'"F64"') == 1
    file.write_bytes(whole.replace(b'"F64"', b'"I64"'))
    with pytest.raises(ValueError, match="is damaged"):
        _read(file)
    np.testing.assert_array_equal(Results(tmp_path)(halves), [0.5, 1.5])


def test_a_users_function_that_changed_has_another_key(tmp_path):
    def made(text: str):
        names = {"__name__": "__main__"}
        exec(text, names)
        return names["score"]

    keep = Results(tmp_path)
    texts = (
        "def score(x): return x + 1",
        "def score(x): return x + 2",
        "def score(x): return (lambda y: y + 3)(x)",
    )
    assert [keep(made(text), 1) for text in texts] == [2, 3, 4]
    assert keep(made(f"\n\n{texts[0]}"), 1) == 2  # the same, elsewhere
    assert len(list(tmp_path.iterdir())) == 3
    assert fingerprint(made(texts[0])) == fingerprint(made(texts[0])) != fingerprint(made(texts[1]))


@pytest.mark.parametrize(
    "damage", [lambda b: b[:-1] + bytes([b[-1] ^ 1]), lambda b: b[:20], lambda b: b""]
)
def test_a_damaged_file_is_computed_again(damage, tmp_path):
    def ones(n):
        return np.ones(n)

    Results(tmp_path)(ones, 5)
    (file,) = tmp_path.iterdir()
    file.write_bytes(damage(file.read_bytes()))
    np.testing.assert_array_equal(Results(tmp_path)(ones, 5), np.ones(5))


def test_a_failed_computation_leaves_nothing(tmp_path):
    def fails():
        raise InputError("no")

    with pytest.raises(InputError):
        Results(tmp_path)(fails)
    assert not list(tmp_path.iterdir())


def test_pairs_come_out_of_the_folder_as_they_went_in(tmp_path):
    rng = np.random.default_rng(0)
    vision, language = (
        {f"{side}-{k}": feature_array(rng.normal(size=(2, 60, 8))) for k in range(2)}
        for side in "vl"
    )
    folds = make_folds(60)
    weights = resample_weights(folds, n_draws=20)

    def all_of(results):
        aligned = align_all(vision, language, folds=folds, weights=weights, results=results)
        return [
            aligned.grid,
            similarity_grids(aligned),
            best_scores(aligned),
            null_scores(aligned, n_permutations=3, n_units=4),
        ]

    first = all_of(Results(tmp_path))
    n_files = len(list(tmp_path.iterdir()))
    assert (
        all(map(same, all_of(Results(tmp_path)), first))
        and len(list(tmp_path.iterdir())) == n_files
    )


@pytest.mark.parametrize(
    "fault",
    [OSError(28, "No space left on device"), PermissionError(13, "Permission denied"),
     OSError(5, "Input/output error")],
)  # fmt: skip
def test_a_result_that_cannot_be_written_is_returned_all_the_same(tmp_path, monkeypatch, fault):
    def fail(*_, **__):
        raise fault

    monkeypatch.setattr("seeing_words.core.files.tempfile.mkstemp", fail)
    with pytest.warns(UserWarning, match="the result of ones cannot be kept in .*computed again"):
        np.testing.assert_array_equal(Results(tmp_path)(ones, 5), np.ones(5))
    assert not list(tmp_path.iterdir())


def ones(n: int) -> np.ndarray:
    return np.ones(n)


def words(n: int) -> set[str]:
    return {str(i) for i in range(n)}


def test_a_result_that_no_file_can_hold_is_returned_all_the_same(tmp_path):
    with pytest.warns(UserWarning, match="the result of words cannot be kept"):
        assert Results(tmp_path)(words, 2) == {"0", "1"}
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("function", [np.cumsum, max, np.add, partial(ones)])
def test_a_function_whose_code_is_not_known_is_refused_by_name(function, tmp_path):
    with pytest.raises(InputError, match="cannot be cached: give a function that is written in"):
        Results(tmp_path)(function, [1, 2])


STRUCTURES = [
    "[" * 99999,
    "[]",
    "null",
    json.dumps(["object", ["seeing_words.measures.folds", "Folds", {"x": ["plain", 1]}]]),
    json.dumps(["object", ["os.path", "Path", {}]]),
    json.dumps(["object", ["seeing_words.nothing", "Nothing", {}]]),
    json.dumps(["array", ["99", [3]]]),
]


@pytest.mark.parametrize("structure", STRUCTURES)
def test_a_file_that_is_sound_and_says_nonsense_is_computed_again(structure, tmp_path):
    Results(tmp_path)(ones, 5)
    (file,) = tmp_path.iterdir()
    about = {"structure": structure, "checksum": _checksum({}, structure)}
    file.write_bytes(save({}, about))
    np.testing.assert_array_equal(Results(tmp_path)(ones, 5), np.ones(5))
    np.testing.assert_array_equal(_read(file), np.ones(5))  # written anew
