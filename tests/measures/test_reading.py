"Features are read with everything that is known of their numbers, or refused."

import numpy as np
import pandas as pd
import pytest
import xarray as xr
import zarr

from seeing_words import (
    RidgeMap,
    align,
    cka,
    feature_array,
    make_folds,
    noise_ceiling,
    predictivity,
    read_features,
    resample_weights,
)
from seeing_words.core.errors import InputError
from seeing_words.measures.inference import predictivity_estimate, score_estimate
from seeing_words.measures.numerics import unit_pearson
from seeing_words.measures.retrieval import nearest, ranks, retrieval, row_similarities
from seeing_words.studies.ceilings import reliability

# what zarr and xarray say when they write text and groups in zarr's format 3
WRITING = ("ignore:.*Zarr V3 specification", "ignore:Consolidated metadata")
pytestmark = [pytest.mark.filterwarnings(ignored) for ignored in WRITING]

N = 40
IDS = [f"stimulus {i}" for i in range(N)]


@pytest.fixture(scope="module")
def values():  # (layer, stimulus, unit), no two sizes alike
    return np.random.default_rng(0).normal(size=(3, N, 5))


@pytest.fixture(scope="module")
def other(values):
    rng = np.random.default_rng(1)
    return values[1] @ rng.normal(size=(5, 4)) + 0.1 * rng.normal(size=(N, 4))


def written_by_xarray(data: xr.Dataset | xr.DataArray, folder, kind: str, **encoding):
    path = folder / f"{len(list(folder.iterdir()))}{'.nc' if kind == 'nc' else '.zarr'}"
    if kind == "nc":
        data.to_netcdf(path, engine="scipy", **encoding)
    else:
        data.to_zarr(path, zarr_format=int(kind), **encoding)
    return path


def numbers(features: object) -> np.ndarray:
    return np.stack([layer.values for layer in read_features(features).values()])


def align_quickly(a: object, b: object) -> float:
    made = align(a, b, n_permutations=0, n_draws=2, n_folds=2, progress=False)
    return float(made.scores("a to b").max())


BY_XARRAY = ["2", "3", "nc"]  # formats of zarr, and netCDF
ORDERS = [
    ("layer", "stimulus", "unit"),
    ("stimulus", "layer", "unit"),
    ("unit", "stimulus", "layer"),
]


@pytest.mark.parametrize("kind", BY_XARRAY)
@pytest.mark.parametrize("order", ORDERS)
def test_axes_that_have_names_are_read_in_any_order(values, tmp_path, kind, order):
    turned = feature_array(values, ids=IDS).transpose(*order)
    np.testing.assert_array_equal(numbers(turned), values)
    np.testing.assert_array_equal(numbers(turned.to_dataset(name="x")), values)
    np.testing.assert_array_equal(numbers(written_by_xarray(turned, tmp_path, kind)), values)
    by_layer = xr.Dataset({f"block {i}": turned.isel(layer=i, drop=True) for i in range(3)})
    path = written_by_xarray(by_layer, tmp_path, kind)
    assert list(read_features(path)) == ["block 0", "block 1", "block 2"]
    np.testing.assert_array_equal(numbers(path), values)


@pytest.mark.parametrize("kind", BY_XARRAY)
def test_layers_of_unlike_widths_keep_them_in_a_file(values, tmp_path, kind):
    narrow = values.copy()
    narrow[0, :, 2:] = 0
    features = feature_array(narrow, n_units=[2, 5, 5], layer_names=["stem", "a", "b"])
    read = read_features(written_by_xarray(features, tmp_path, kind))
    assert {name: layer.shape for name, layer in read.items()} == {
        "stem": (N, 2),
        "a": (N, 5),
        "b": (N, 5),
    }


def refusal(function, *args) -> str:
    "What a function says when it refuses; empty if it does not."
    try:
        function(*args)
    except InputError as error:
        return str(error)
    return ""


def in_all_forms(layer: np.ndarray, ids: list[str], folder) -> dict[str, object]:
    "The same layer (stimulus, unit) with ids, in every form that can hold them."
    named = feature_array(layer, ids=ids)
    texts = named.assign_coords(stimulus=pd.Index(ids))  # text of any length
    np.savez(folder / "a.npz", layer=layer, ids=np.array(ids))
    group = zarr.create_group(folder / "plain.zarr")
    group.create_array("layer", data=layer)
    group.create_array("stimulus_ids", data=np.array(ids))
    frame = pd.DataFrame(layer, index=ids)
    frame.to_csv(folder / "a.csv")
    frame.rename(columns=str).to_parquet(folder / "a.parquet")
    forms = {
        "DataArray": named,
        "layer": named[0],
        "Dataset": named.to_dataset(name="x"),
        "list": [xr.DataArray(layer, {"stimulus": ids}, ("stimulus", "unit"))],
        "dict": {"ids": ids, "layer": layer},
        "data frame": frame,
        "data frames": {"layer": frame},
        "nullable data frame": frame.convert_dtypes(),
        "csv": pd.read_csv(folder / "a.csv", index_col=0),
        "parquet": pd.read_parquet(folder / "a.parquet"),
        "npz": folder / "a.npz",
        "plain zarr": folder / "plain.zarr",
    }
    for kind in BY_XARRAY:
        forms[f"xarray {kind}"] = written_by_xarray(named, folder, kind)
    for kind in ("2", "3"):
        forms[f"xarray {kind}, long texts"] = written_by_xarray(texts, folder, kind)
    return forms


def test_ids_are_compared_whatever_they_come_in(values, other, tmp_path):
    here = feature_array(values, ids=IDS)
    order = np.random.default_rng(2).permutation(N)
    (tmp_path / "same").mkdir()
    (tmp_path / "shuffled").mkdir()
    same = in_all_forms(other, IDS, tmp_path / "same")
    shuffled = in_all_forms(other[order], [IDS[i] for i in order], tmp_path / "shuffled")
    for form, features in same.items():
        (layer,) = read_features(features).values()
        assert layer.stimulus.values.tolist() == IDS, form
        np.testing.assert_allclose(layer, other, err_msg=form)
    assert align_quickly(here, same["npz"]) == align_quickly(values, other)
    said = f"disagree at stimulus 0: '{IDS[0]}' and"
    for form, features in shuffled.items():
        assert said in refusal(align, here, features), form


def test_ids_of_any_layer_count_and_number_types_do_not():
    rng = np.random.default_rng(0)
    layers = rng.normal(size=(3, N, 5))
    order = rng.permutation(N)
    named = [xr.DataArray(layer, {"stimulus": IDS}, ("stimulus", "unit")) for layer in layers]
    mixed = {"a": layers[0], "b": named[1], "c": named[2][order]}
    with pytest.raises(InputError, match="layer 'b', and layer 'c' disagree at stimulus"):
        read_features(mixed)
    with pytest.raises(InputError, match="a and b disagree at stimulus"):
        align({"a": layers[0], "b": named[1]}, [named[2][order]])
    numbered = feature_array(layers[:1]).assign_coords(stimulus=np.arange(N))
    assert cka(numbered, feature_array(layers[1])) == cka(layers[0], layers[1])
    with pytest.raises(InputError, match="X and Y disagree at stimulus 0: '0' and '39'"):
        cka(numbered, feature_array(layers[1])[:, ::-1])
    with pytest.raises(InputError, match="X and Y disagree"):
        cka(pd.DataFrame(layers[0], index=IDS), pd.DataFrame(layers[1], index=IDS[::-1]))
    one_sided = cka(layers[0], pd.DataFrame(layers[1], index=IDS))
    assert one_sided == pytest.approx(cka(layers[0], layers[1]), rel=1e-12)


def test_an_id_that_occurs_twice_is_refused(values, other, tmp_path):
    twice = [*IDS[:-1], IDS[3]]
    for form, features in in_all_forms(other, twice, tmp_path).items():
        assert "has the id 'stimulus 3' more than once" in refusal(align, values, features), form
    with pytest.raises(InputError, match="has 39 ids for 40 stimuli"):
        read_features({"layer": other, "ids": IDS[1:]})
    with pytest.raises(InputError, match="has ids twice, as id and stimuli"):
        read_features({"layer": other, "id": IDS, "stimuli": IDS})


HIDDEN = (7, 2)  # stimulus and unit of a missing number


@pytest.mark.parametrize("kind", BY_XARRAY)
@pytest.mark.parametrize("fill", [-9999.0, 0.0, 1e30])
def test_missing_numbers_of_a_file_are_refused(other, tmp_path, kind, fill):
    gap = other.copy()
    gap[HIDDEN] = np.nan
    encoding = {"encoding": {"features": {"_FillValue": fill}}}
    path = written_by_xarray(feature_array(gap), tmp_path, kind, **encoding)
    with pytest.raises(InputError, match="holds nan at stimulus 7, unit 2"):
        read_features(path)


@pytest.mark.parametrize("kind", BY_XARRAY)
def test_packed_numbers_of_a_file_are_unpacked(other, tmp_path, kind):
    packed = {"dtype": "int16", "scale_factor": 0.001, "add_offset": 5.0, "_FillValue": -32768}
    path = written_by_xarray(feature_array(other), tmp_path, kind, encoding={"features": packed})
    np.testing.assert_allclose(numbers(path)[0], other, atol=0.00051)


@pytest.mark.parametrize("name", ["_FillValue", "missing_value"])
def test_attributes_say_which_numbers_are_missing(other, tmp_path, name):
    gap = other.copy()
    gap[HIDDEN] = -9999
    marked = feature_array(gap).assign_attrs({name: -9999.0})
    plain = zarr.create_group(tmp_path / "plain.zarr").create_array("layer", data=gap)
    plain.attrs[name] = -9999.0
    old = zarr.create_group(tmp_path / "old.zarr", zarr_format=2)
    old.create_array("layer", data=gap, fill_value=-9999.0)
    for features in (marked, marked[0], {"a": marked[0]}, tmp_path / "plain.zarr", old.store.root):
        with pytest.raises(InputError, match="holds nan at stimulus 7, unit 2"):
            read_features(features)
    with pytest.raises(InputError, match="X holds nan at layer 0, stimulus 7, unit 2"):
        cka(marked, other)
    scaled = feature_array(other).assign_attrs(scale_factor=3.0, add_offset=1.0)
    np.testing.assert_allclose(numbers(scaled)[0], 3 * other + 1)
    with pytest.raises(InputError, match="outside of the valid numbers"):
        read_features(feature_array(other).assign_attrs(valid_range=[-0.1, 0.1]))
    with pytest.raises(InputError, match="which cannot be decoded"):
        read_features(feature_array(other).assign_attrs(scale_factor="three"))


def test_a_single_array_of_a_dataset_is_not_read_without_its_ids(other, tmp_path):
    path = written_by_xarray(feature_array(other, ids=IDS), tmp_path, "3")
    with pytest.raises(InputError, match="it is one array of a dataset: give its whole group"):
        read_features(path / "features")


def test_tokens_are_not_taken_for_stimuli(tmp_path):
    tokens = np.random.default_rng(0).normal(size=(N, N, 3))  # (stimulus, token, unit)
    np.save(tmp_path / "square.npy", tokens)
    np.savez(tmp_path / "few.npz", tokens[:, :21])
    for features in (tokens, tokens[:, :21], tmp_path / "square.npy", tmp_path / "few.npz"):
        with pytest.raises(InputError, match=r"give the mean over the tokens of each stimulus"):
            read_features(features)
    named = xr.DataArray(tokens, dims=("layer", "stimulus", "unit"))
    assert len(read_features(named)) == N  # as it says itself
    assert len(read_features(tokens[:1])) == 1


def test_what_is_no_layer_is_named_with_a_remedy(other, tmp_path):
    np.savez(tmp_path / "labels.npz", layer=other, labels=np.arange(N))
    np.savez(tmp_path / "names.npz", layer=other, names=np.array(IDS))
    np.savez(tmp_path / "objects.npz", layer=other, ids=np.array(IDS, dtype=object))
    for name in ("labels", "names"):
        said = f"holds '{name}' of shape \\(40,\\), which is no layer .* call it 'ids' if"
        with pytest.raises(InputError, match=said):
            read_features(tmp_path / f"{name}.npz")
    with pytest.raises(InputError, match=r"numpy.array\(ids, dtype=str\)"):
        read_features(tmp_path / "objects.npz")


def test_files_that_unpack_to_too_much_are_refused_before_they_are(tmp_path):
    np.savez_compressed(tmp_path / "a.npz", np.zeros((N, 500_000), np.float32))
    zarr.create_array(tmp_path / "a.zarr", shape=(N, 10**9), chunks=(N, 10**6), dtype="f4")
    for name in ("a.npz", "a.zarr"):
        with pytest.raises(InputError, match="unpacks to .* bytes from"):
            read_features(tmp_path / name)
    np.savez_compressed(tmp_path / "small.npz", np.zeros((N, 5), np.float32))
    assert numbers(tmp_path / "small.npz").shape == (1, N, 5)


@pytest.mark.parametrize("scale", [1e61, 1e200, 1e-200])
def test_numbers_whose_squares_cannot_be_summed_are_refused(other, scale):
    with pytest.raises(InputError, match="squares of such numbers cannot be summed"):
        align(other * scale, other)
    with pytest.raises(InputError, match="squares of such numbers cannot be summed"):
        cka(other, other * scale)
    assert cka(other, other * 1e50) == pytest.approx(1)


@pytest.mark.parametrize("name", ["x" * 300, "x" * 300 + ".npy", "a\0b.npy", "x/" * 3000])
def test_names_that_no_file_has_are_refused(other, name):
    with pytest.raises(InputError, match="there is no file or folder"):
        align(name, other)


def test_named_axes_and_ids_are_heeded_by_every_function_of_plain_arrays():
    rng = np.random.default_rng(0)
    signal = rng.normal(size=(N, 3))
    repeats = signal + 0.5 * rng.normal(size=(4, N, 3))
    target, predicted = repeats[0], repeats[1]
    folds, weights = make_folds(N), resample_weights(N, n_draws=3)

    def named(values: np.ndarray, order: np.ndarray | slice = slice(None)) -> xr.DataArray:
        ids = np.array(IDS)[order]
        return xr.DataArray(values[order], {"stimulus": ids}, ("stimulus", "unit")).T

    several = xr.DataArray(repeats, dims=("repeat", "stimulus", "unit")).transpose()
    for low, expected in zip(noise_ceiling(several), noise_ceiling(repeats)):
        np.testing.assert_array_equal(low, expected)
    np.testing.assert_array_equal(
        reliability(several.transpose("unit", "repeat", "stimulus"), weights=weights).value,
        reliability(repeats, weights=weights).value,
    )
    settings = {"folds": folds, "weights": weights}
    functions = {
        "unit_pearson": unit_pearson,
        "score": lambda a, b: score_estimate(a, b, **settings).value,
        "ranks": lambda a, b: ranks(a, b, folds=folds)["rank"],
        "nearest": lambda a, b: nearest(a, b, folds=folds),
        "retrieval": lambda a, b: retrieval(a, b, **settings).value,
        "row_similarities": row_similarities,
        "RidgeMap": lambda a, b: RidgeMap().fit(a, b).coef_,
        "predictivity": lambda a, b: predictivity(a, b, folds=folds),
        "estimate": lambda a, b: predictivity_estimate(a, b, **settings).value,
        "cka": cka,
    }
    other = rng.permutation(N)
    for name, function in functions.items():
        plain = function(target, predicted)
        np.testing.assert_array_equal(function(named(target), named(predicted)), plain, name)
        np.testing.assert_array_equal(function(named(target), predicted), plain, name)
        said = refusal(function, named(target), named(predicted, other))
        assert "disagree at stimulus 0: 'stimulus 0' and" in said, name
    fitted = RidgeMap().fit(target, predicted)
    np.testing.assert_array_equal(fitted.predict(named(target)), fitted.predict(target))
    assert fitted.score(named(target), named(predicted)) == fitted.score(target, predicted)
    with pytest.raises(InputError, match=r"two of them must be stimulus and unit"):
        unit_pearson(xr.DataArray(target, dims=("sample", "feature")), predicted)
