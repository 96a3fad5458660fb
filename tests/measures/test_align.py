"Alignment of features from anywhere: reading them, comparing them, saving the result."

import json
import pickle
from pathlib import Path

import numcodecs
import numpy as np
import pandas as pd
import pytest
import safetensors.torch
import torch
import xarray as xr
import zarr
from layers import related
from scipy import sparse
from scipy.stats import kstest
from sklearn.model_selection import KFold

from seeing_words import Alignment, InputError, align, feature_array, predictivity, read_features
from seeing_words.core.files import check_codecs
from seeing_words.measures.folds import make_folds
from seeing_words.measures.inference import max_p_value
from seeing_words.measures.predictivity import null_grid
from seeing_words.studies.layers import align_networks

DIRECTIONS = ("vision to language", "language to vision")
NAMES = [
    "embed",
    "h.2",
    "h.10",
]  # in order of depth and in natural order, not in that of the alphabet


@pytest.fixture(scope="module")
def sides() -> tuple[np.ndarray, np.ndarray]:
    "Vision and language features, (layer, stimulus, unit), that share four dimensions."
    vision, language = zip(*(related(60, 6, 7, noise=noise, seed=1) for noise in (4, 1, 2)))
    return np.stack(vision).astype(np.float32), np.stack(language).astype(np.float32)


@pytest.fixture(scope="module")
def aligned(sides) -> Alignment:
    return quick(dict(zip(NAMES, sides[0])), sides[1])


def quick(vision, language, **settings) -> Alignment:
    return align(
        vision,
        language,
        names=("vision", "language"),
        **{"n_permutations": 19, "n_draws": 200, "n_folds": 3, "progress": False} | settings,
    )


def write(array: np.ndarray, kind: str, folder):
    "The same layers, given in another way."
    named = dict(zip(NAMES, array))
    path = folder / f"features{kind}"
    match kind:
        case ".npy":
            np.save(path, array)
        case ".npz":
            np.savez(path, **named)
        case ".safetensors":
            safetensors.torch.save_file(
                {k: torch.from_numpy(v.copy()) for k, v in named.items()}, path
            )
        case "-3d.npz":
            np.savez(path, features=array)
        case ".zarr":
            for name, layer in named.items():
                zarr.open_group(path, mode="a").create_array(name, data=layer)
        case "-array.zarr":
            zarr.create_array(path, data=array)
        case "-xarray":
            feature_array(array).drop_vars("stimulus").to_dataset().to_zarr(
                path, consolidated=False
            )
        case "array":
            return array
        case "double":
            return array.astype(">f8")
        case "nested lists":
            return array.tolist()
        case "tensor":
            return torch.tensor(array, requires_grad=True)
        case "list":
            return [torch.from_numpy(layer.copy()) for layer in array]
        case "dict":
            return named
        case "frames":
            return {name: pd.DataFrame(layer) for name, layer in named.items()}
        case "sparse":
            return {name: sparse.csr_matrix(layer) for name, layer in named.items()}
        case "xarray":
            return feature_array(array).transpose("unit", "layer", "stimulus")
        case "dataset":
            return xr.Dataset(
                {name: (("stimulus", "unit"), layer) for name, layer in named.items()}
            )
    return str(path)


KINDS = [
    ".npy",
    ".npz",
    ".safetensors",
    "-3d.npz",
    ".zarr",
    "-array.zarr",
    "-xarray",
    "array",
    "double",
    "nested lists",
    "tensor",
    "list",
    "dict",
    "frames",
    "sparse",
    "xarray",
    "dataset",
]


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_input_gives_the_same_layers(sides, tmp_path, kind):
    layers = read_features(write(sides[0], kind, tmp_path))
    assert list(layers) in (NAMES, ["0", "1", "2"])
    assert all(layer.dims == ("stimulus", "unit") for layer in layers.values())
    np.testing.assert_array_equal(np.stack(list(layers.values())), sides[0])


@pytest.mark.parametrize("kind", [".npz", ".safetensors", ".zarr", "xarray"])
def test_every_kind_of_input_gives_the_same_alignment(sides, aligned, tmp_path, kind):
    again = quick(write(sides[0], kind, tmp_path), sides[1])
    for name in aligned.data.data_vars:
        np.testing.assert_allclose(again.data[name], aligned.data[name], rtol=1e-6, err_msg=name)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.int8])
def test_other_types_are_converted_and_said(sides, dtype):
    given = torch.from_numpy(10 * sides[0]).to(dtype)
    layers = read_features(given)
    np.testing.assert_array_equal(np.stack(list(layers.values())), given.float())
    name = str(dtype).removeprefix("torch.")
    said = repr(quick(given, sides[1]))
    assert f"features of vision came as {name} and were converted to float32" in said
    assert "features of language came" not in said


def test_names_ids_and_depths_of_xarray_are_kept(sides):
    ids = [f"scene-{i}" for i in range(60)]
    features = feature_array(sides[0], ids=ids).assign_coords(
        layer_name=("layer", NAMES), depth=("layer", [0, 0.9, 1.0])
    )
    layers = read_features(features)
    assert list(layers) == NAMES
    assert list(layers["h.2"].stimulus.values) == ids
    data = quick(features, sides[1]).data
    assert list(data.vision_name.values) == NAMES
    np.testing.assert_array_equal(data.vision_depth, [0, 0.9, 1.0])
    np.testing.assert_array_equal(data.language_depth, [0, 0.5, 1.0])
    with pytest.raises(InputError, match="disagree at stimulus 0: 'scene-0' and 'scene-59'"):
        align(features, feature_array(sides[1], ids=ids[::-1]))


def test_scores_are_those_of_the_engine(sides, aligned):
    grid = align_networks({"v": sides[0]}, {"l": sides[1]}, folds=make_folds(60, n_folds=3))
    grid = grid.sel(vision="v", language="l")
    for name in "predictivity", "alpha", "n_constant_units":
        np.testing.assert_allclose(aligned.data[name], grid[name], atol=1e-6)


def test_layers_of_different_width_score_as_each_pair_alone():
    rng = np.random.default_rng(0)
    shared = rng.normal(size=(40, 3))

    def layer(units):
        return shared @ rng.normal(size=(3, units)) + rng.normal(size=(40, units))

    vision, language = (
        {f"{side}{i}": layer(units) for i, units in enumerate(widths)}
        for side, widths in (("v", (5, 9, 5, 30)), ("l", (8, 60, 8)))
    )
    both = quick(vision, language)
    assert list(both.data.vision_units.values) == [5, 9, 5, 30]
    alone = [
        [(predictivity(X, Y, n_folds=3), predictivity(Y, X, n_folds=3)) for Y in language.values()]
        for X in vision.values()
    ]  # (vision layer, language layer, direction)
    np.testing.assert_allclose(np.stack([both.scores(d) for d in DIRECTIONS], -1), alone, atol=1e-5)
    assert both.data.null.notnull().all() and both.data.cka_debiased.notnull().all()
    assert "4 vision layers of 5 to 30 units, 3 language layers of 8 to 60 units" in repr(both)


def test_the_table_says_the_best_pair(aligned):
    assert list(aligned.table.direction) == list(DIRECTIONS)
    for row in aligned.table.itertuples():
        assert (row.vision_layer, row.language_layer) == ("h.2", "1")
        np.testing.assert_allclose(row.best, aligned.scores(row.direction).max(), atol=1e-5)
        assert row.low < row.nested < row.high and row.nested <= row.best + 1e-6
        assert row.p == 1 / 20
        assert f"{row.nested:.3f} [{row.low:.3f}, {row.high:.3f}]" in repr(aligned)
        assert f"<td>[{row.low:.3f}, {row.high:.3f}]</td>" in aligned._repr_html_()
    assert repr(aligned).startswith(
        "3 vision layers of 6 units, 3 language layers of 7 units; 60 stimuli, 3 folds\n"
    )
    assert "best of 9 pairs of layers" in repr(aligned) and "at n = 60" in repr(aligned)
    assert "19 shuffled" in repr(aligned) and "cannot be below 0.05" in repr(aligned)
    assert max(map(len, repr(aligned).splitlines())) <= 120


def test_as_a_table_it_has_a_row_for_each_direction_and_pair(aligned):
    frame = aligned.to_dataframe()
    assert len(frame) == 2 * 3 * 3
    row = frame.set_index(["direction", "vision_name", "language_name"]).loc[
        "language to vision", "h.10", "1"
    ]
    np.testing.assert_allclose(row.predictivity, aligned.scores("language to vision")[2, 1])
    np.testing.assert_allclose(row.cka_debiased, aligned.data.cka_debiased[2, 1])


def test_one_layer_each_leaves_nothing_to_choose(sides):
    one = quick(sides[0][1], sides[1][1])
    np.testing.assert_allclose(one.table.nested, one.table.best, atol=1e-5)
    np.testing.assert_allclose(
        one.table.best[0], predictivity(sides[0][1], sides[1][1], n_folds=3), atol=1e-5
    )
    assert "one pair of layers, so none was chosen" in repr(one)


def test_without_permutations_there_is_no_p(sides):
    one = quick(sides[0], sides[1], n_permutations=0)
    assert one.table.p.isna().all()
    assert repr(one).splitlines()[3].endswith("–")
    assert "shuffled" not in repr(one)


def test_a_constant_layer_is_missing_and_counted(sides):
    vision = {"flat": np.zeros((60, 6)), "h": sides[0][1]}
    some = quick(vision, sides[1])
    assert (
        some.data.predictivity[:, 0].isnull().all() and some.data.predictivity[:, 1].notnull().all()
    )
    assert (some.data.n_constant_units.sel(direction="language to vision")[0] == 6).all()
    assert set(some.table.vision_layer) == {"h"}
    with pytest.raises(InputError, match="no best pair"):
        quick(np.zeros((2, 60, 6)), sides[1])


def test_too_little_memory_for_cka_leaves_it_out(sides, monkeypatch):
    from seeing_words.measures import align as module

    def refused(*args, **kwargs):
        raise InputError("max_memory is too small")

    monkeypatch.setattr(module, "similarity_grid", refused)
    some = quick(*sides)
    assert some.data.cka_debiased.isnull().all()
    assert "debiased CKA is missing" in repr(some)
    assert len([ax for ax in some.plot().axes if ax.get_title(loc="left")]) == 2


def test_the_figure_shows_both_directions_and_cka(aligned):
    titles = [ax.get_title(loc="left") for ax in aligned.plot().axes]
    assert [title for title in titles if title] == [*DIRECTIONS, "similarity"]


# Statistics


def noise(seed: int, n: int = 40) -> Alignment:
    rng = np.random.default_rng(seed)
    return quick(rng.normal(size=(3, n, 6)), rng.normal(size=(3, n, 6)), seed=seed, n_draws=50)


def test_on_noise_the_score_chosen_apart_is_near_0_and_p_is_spread():
    tables = pd.concat([noise(seed).table for seed in range(24)])
    apart, best = tables.nested, tables.best
    assert abs(apart.mean()) < 3 * apart.std() / 24**0.5
    assert best.mean() > apart.mean() + 3 * apart.std() / 24**0.5
    assert kstest(tables.p[tables.direction == "vision to language"], "uniform").pvalue > 0.01


# Kept


@pytest.mark.parametrize("name", ["a.nc", "a.zarr"])
def test_what_is_saved_is_loaded(aligned, tmp_path, name):
    path = tmp_path / "new folder" / name
    aligned.save(path)
    aligned.save(path)  # over the old one
    loaded = Alignment.load(path)
    xr.testing.assert_identical(loaded.data, aligned.data)
    assert repr(loaded) == repr(aligned)
    assert [file.name for file in path.parent.iterdir()] == [name]
    loaded.save(tmp_path / f"again{'.zarr' if name == 'a.nc' else '.nc'}")
    about = loaded.provenance
    assert (
        about["n_stimuli"] == 60
        and about["n_folds"] == 3
        and about["versions"]["numpy"] == np.__version__
    )
    assert {len(side["sha256"]) for side in about["features"].values()} == {64}


@pytest.mark.parametrize("name", ["a.nc", "a.zarr"])
def test_an_alignment_without_permutations_survives_saving(sides, tmp_path, name):
    alignment = quick(dict(zip(NAMES, sides[0])), sides[1], n_permutations=0)
    alignment.save(tmp_path / name)
    loaded = Alignment.load(tmp_path / name)
    xr.testing.assert_identical(loaded.data, alignment.data)
    assert repr(loaded) == repr(alignment)
    how = {"engine": "scipy"} if name == "a.nc" else {"engine": "zarr", "consolidated": False}
    with xr.open_dataset(tmp_path / name, **how) as plain:  # without this package
        np.testing.assert_array_equal(plain.predictivity, alignment.data.predictivity)
    loaded.save(tmp_path / f"again{name}")
    xr.testing.assert_identical(Alignment.load(tmp_path / f"again{name}").data, alignment.data)


@pytest.mark.parametrize("name", ["a.nc", "a.zarr"])
@pytest.mark.parametrize(
    "axis", ["direction", "vision_layer", "language_layer", "fold", "permutation", "draw"]
)
def test_any_axis_of_length_0_survives_saving(aligned, tmp_path, name, axis):
    empty = Alignment(aligned.data.isel({axis: slice(0)}))
    empty.save(tmp_path / name)
    loaded = Alignment.load(tmp_path / name).data
    xr.testing.assert_identical(loaded, empty.data)
    for key, variable in empty.data.variables.items():
        if variable.dtype.kind in "fiub":  # text comes back as text of another width
            assert (
                loaded[key].dtype.kind == variable.dtype.kind
            )  # netCDF 3 has its own byte order and no int64


def test_provenance_tells_features_apart(sides, aligned):
    other = quick(dict(zip(NAMES, sides[0])), sides[1] + 1).provenance["features"]
    assert other["vision"] == aligned.provenance["features"]["vision"]
    assert other["language"] != aligned.provenance["features"]["language"]


@pytest.mark.parametrize("name", ["a.nc", "a.zarr"])
def test_a_save_that_fails_leaves_the_old_one(aligned, tmp_path, name, monkeypatch):
    path = tmp_path / name
    aligned.save(path)

    def full(*args):
        raise OSError("no space left")

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(OSError, match="no space"):
        aligned.save(path)
    monkeypatch.undo()
    assert [file.name for file in tmp_path.iterdir()] == [name]
    xr.testing.assert_identical(Alignment.load(path).data, aligned.data)


def test_what_is_no_alignment_is_refused(aligned, tmp_path):
    with pytest.raises(InputError, match=r"there is no file or folder .*a\.nc"):
        Alignment.load(tmp_path / "a.nc")
    for name in "a.csv", "a":
        with pytest.raises(InputError, match=r"saved as \.nc or \.zarr"):
            aligned.save(tmp_path / name)
    xr.Dataset({"x": 1}).to_netcdf(tmp_path / "other.nc", engine="scipy")
    with pytest.raises(InputError, match="only what Alignment.save wrote"):
        Alignment.load(tmp_path / "other.nc")
    aligned.save(tmp_path / "torn.nc")
    (tmp_path / "torn.nc").write_bytes((tmp_path / "torn.nc").read_bytes()[:2000])
    with pytest.raises(InputError, match=r"torn\.nc cannot be read"):
        Alignment.load(tmp_path / "torn.nc")


FIXTURES = Path(__file__).parents[1] / "fixtures"


def test_a_file_of_the_first_layout_is_still_read(tmp_path):
    old = Alignment.load(FIXTURES / "alignment-layout-1.nc")
    assert old.names == ("vision", "language") and old.directions == DIRECTIONS
    assert list(old.table.vision_layer) == ["v1", "v0"]
    np.testing.assert_allclose(old.table.best, [0.541, 0.488], atol=0.0005)
    np.testing.assert_allclose(old.table.nested, [0.523, 0.343], atol=0.0005)
    assert old.table.low.isna().all()  # kept without draws then
    old.save(tmp_path / "new.nc")
    xr.testing.assert_identical(Alignment.load(tmp_path / "new.nc").data, old.data)


@pytest.mark.parametrize("name", ["a.nc", "a.zarr"])
def test_a_changed_number_is_noticed(aligned, tmp_path, name):
    aligned.save(tmp_path / name)
    how = {"engine": "scipy"} if name == "a.nc" else {"engine": "zarr", "consolidated": False}
    data = xr.load_dataset(tmp_path / name, **how)
    data.predictivity[0, 1, 1, 0] += 1e-9
    if name == "a.nc":
        data.to_netcdf(tmp_path / name, engine="scipy")
    else:
        data.to_zarr(tmp_path / name, mode="w", zarr_format=2, consolidated=False)
    with pytest.raises(InputError, match="does not match its checksum"):
        Alignment.load(tmp_path / name)


# Names, folds, penalties


def test_any_two_networks_are_compared_under_their_own_names(sides, aligned):
    one = align(sides[0], sides[0], names=("dino", "mae"), n_permutations=0, progress=False)
    assert one.directions == ("dino to mae", "mae to dino")
    assert one.scores("mae to dino").dims == ("dino_layer", "mae_layer")
    assert {"dino_layer", "mae_layer"} < set(one.table.columns)
    assert "3 dino layers of 6 units, 3 mae layers of 6 units" in repr(one)
    assert (one.table.best > 0.95).all(), "a network predicts itself"
    assert align(A, A, n_permutations=0, progress=False).names == ("a", "b")
    with pytest.raises(InputError, match="choose one of vision to language, language to vision"):
        aligned.scores("v2l")


@pytest.mark.parametrize("names", [("a", "a"), ("a",), ("a", "b-c"), ("", "b")])
def test_names_that_cannot_name_axes_are_refused(names):
    with pytest.raises(InputError, match="give two different ones"):
        align(A, A, names=names)


def test_swapping_the_networks_swaps_the_directions(sides, aligned):
    swapped = align(
        sides[1],
        dict(zip(NAMES, sides[0])),
        names=("language", "vision"),
        n_permutations=19,
        n_draws=200,
        n_folds=3,
        progress=False,
    )
    for direction in DIRECTIONS:
        np.testing.assert_allclose(
            swapped.scores(direction).T, aligned.scores(direction), atol=1e-6
        )


def test_folds_can_be_given(sides, aligned):
    same = quick(*sides, folds=make_folds(60, n_folds=3))
    np.testing.assert_allclose(same.data.predictivity, aligned.data.predictivity, atol=1e-6)
    other = quick(*sides, folds=make_folds(60, n_folds=4, seed=1))
    assert other.data.sizes["fold"] == other.provenance["n_folds"] == 4
    splitter = KFold(4, shuffle=True, random_state=0)
    assert quick(*sides, folds=splitter).data.sizes["fold"] == 4
    with pytest.raises(InputError, match="30 stimuli"):
        quick(*sides, folds=make_folds(30))


def test_a_penalty_at_the_edge_of_its_grid_is_reported(sides, aligned):
    assert "of its grid" not in repr(quick(*sides, alphas=[10.0])), "there is nothing to choose"
    narrow = repr(quick(*sides, alphas=[1e-6, 1e-5]))
    assert "vision to language, is the largest of its grid (1e-05) in 3 of 3 folds" in narrow
    high = repr(quick(*sides, alphas=[1e5, 1e6]))
    assert "language to vision, is the smallest of its grid (100000) in 3 of 3 folds" in high


# Refused

A = np.random.default_rng(0).normal(size=(30, 4))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "holds no layers"),
        ({"a": A, "b": A[:9]}, "features of a, layer 'a', has 30 stimuli, layer 'b' has 9"),
        ({"a": A, "b": A[0]}, "features of a holds 'b' of shape (4,), which is no layer"),
        (
            {"a": A[None], "b": A[None]},
            "layer 'a', has shape (1, 30, 4): a layer is (stimulus, unit)",
        ),
        (A[0], "have shape (4,)"),
        (A[None, None], "have shape (1, 1, 30, 4)"),
        (A * 1j, "of type complex128: they must be real numbers"),
        (A.astype(str), "they must be real numbers"),
        (A.astype(object), "of type object"),
        ([[1.0, 2.0], [3.0]], "layers of unlike shapes"),
        (None, "must be real numbers"),
        (np.where(A > 2, np.nan, A), "layer '0', holds nan at stimulus"),
        ({"h.1": A, "h.2": np.where(A > 2, np.inf, A)}, "layer 'h.2', holds inf at stimulus"),
        (A[:, :0], "is empty: 30 stimuli, 0 units"),
        (xr.DataArray(A, dims=("time", "unit")), "has dims ('time', 'unit')"),
        ({"a": xr.DataArray(A, dims=("time", "unit"))}, "layer 'a', has dims ('time', 'unit')"),
        (
            feature_array(np.stack([A, A])).assign_coords(layer_name=("layer", ["h", "h"])),
            "several layers called 'h'",
        ),
    ],
    ids=str.split(
        "empty lengths 1-d 3-d flat 4-d complex text object ragged nothing nan inf no-units dims "
        "layer-dims twice"
    ),
)
def test_unusable_features_are_refused_in_words(given, said):
    with pytest.raises(InputError) as refused:
        align(given, A)
    assert said in str(refused.value)
    assert "features of a" in str(refused.value)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"n_folds": 20}, "cannot make 20 folds"),
        ({"n_permutations": -1}, "n_permutations is -1"),
        ({"n_permutations": 2.5}, "n_permutations is 2.5: give a whole number"),
        ({"n_permutations": True}, "n_permutations is True: give a whole number"),
        ({"n_permutations": None}, "n_permutations is None"),
        ({"n_draws": 0}, "n_draws is 0"),
        ({"n_draws": "many"}, "n_draws is 'many'"),
        ({"n_folds": None}, "n_folds is None: give a whole number"),
        ({"n_folds": 2.5}, "n_folds is 2.5"),
        ({"seed": -1}, "seed is -1: give a whole number, 0 or more"),
        ({"seed": None}, "seed is None"),
        ({"seed": 0.5}, "seed is 0.5"),
        ({"alphas": "weak"}, "positive ridge penalties, between 1e-100 and 1e100, not weak"),
        ({"alphas": None}, "positive ridge penalties"),
        ({"alphas": [1e308]}, "positive ridge penalties"),
        ({"names": None}, "names (None,): give two different ones"),
        ({"names": (1, 2)}, "names (1, 2): give two different ones"),
        ({"device": "meta"}, "device 'meta' cannot be used here"),
        ({"device": 1.5}, "device '1.5' cannot be used here"),
        ({"max_memory": None}, "max_memory is None: give a number of GiB"),
        ({"max_memory": "4"}, "max_memory is '4': give a number of GiB"),
        ({"max_memory": float("nan")}, "too small for one pair of layers"),
        ({"alphas": [0.0]}, "positive ridge penalties"),
        ({"device": "abacus"}, "device 'abacus' cannot be used here"),
        ({"max_memory": 1e-6}, "too small for one pair of layers"),
    ],
)
def test_impossible_settings_are_refused_in_words(settings, said):
    with pytest.raises(InputError) as refused:
        align(A, A, **settings)
    assert said in str(refused.value)


def test_an_infinite_limit_is_none(sides, aligned):
    whole = quick(dict(zip(NAMES, sides[0])), sides[1], max_memory=float("inf"))
    xr.testing.assert_allclose(whole.data.predictivity, aligned.data.predictivity)


def test_sides_of_different_length_and_too_few_stimuli_are_refused():
    with pytest.raises(InputError, match="a has 30 stimuli, b has 29"):
        align(A, A[1:])
    with pytest.raises(InputError, match="have 19 stimuli: at least 20 are needed"):
        align(A[:19], A[:19])


def torn(path, keep: float = 0.6) -> None:
    path.write_bytes(path.read_bytes()[: int(keep * path.stat().st_size)])


@pytest.mark.parametrize("kind", [".npy", ".npz", ".safetensors"])
def test_a_torn_file_is_refused(sides, tmp_path, kind):
    path = tmp_path / f"features{kind}"
    write(sides[0], kind, tmp_path)
    torn(path)
    with pytest.raises(InputError, match=rf"features{kind} cannot be read as {kind}"):
        read_features(path)
    path.write_bytes(b"")
    with pytest.raises(InputError, match=rf"cannot be read as {kind}"):
        read_features(path)


def test_masked_features_are_refused_whatever_they_come_in(sides):
    masked = np.ma.masked_array(sides[0].copy(), mask=False)
    masked[1, 3, 2] = np.ma.masked
    for given, name in [
        (masked, r"features of a is masked at index \(1, 3, 2\)"),
        (list(masked), r"features of a, layer '1' is masked at index \(3, 2\)"),
        (dict(zip(NAMES, masked)), r"features of a, layer 'h.2' is masked at index \(3, 2\)"),
    ]:
        with pytest.raises(InputError, match=name):
            align(given, sides[1])
    layers = read_features(np.ma.masked_array(sides[0], mask=np.zeros_like(sides[0], bool)))
    np.testing.assert_array_equal(np.stack(list(layers.values())), sides[0])


def test_a_torn_zarr_is_refused(sides, tmp_path):
    write(sides[0], ".zarr", tmp_path)
    chunk = next(
        file
        for file in (tmp_path / "features.zarr").rglob("*")
        if file.is_file() and file.name != "zarr.json"
    )
    torn(chunk)
    with pytest.raises(InputError, match=r"features\.zarr cannot be read as \.zarr"):
        read_features(tmp_path / "features.zarr")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"empty cannot be read as \.zarr"):
        read_features(tmp_path / "empty")
    zarr.create_group(tmp_path / "bare.zarr")
    with pytest.raises(InputError, match=r"bare\.zarr holds no layers"):
        read_features(tmp_path / "bare.zarr")


def test_no_pickle_is_opened(tmp_path):
    objects = np.empty(2, dtype=object)
    np.save(tmp_path / "objects.npy", objects, allow_pickle=True)
    np.savez(tmp_path / "objects.npz", allow_pickle=True, a=objects)
    for name in "objects.npy", "objects.npz":
        with pytest.raises(InputError, match="Object arrays cannot be loaded"):
            read_features(tmp_path / name)
    (tmp_path / "features.pt").touch()
    with pytest.raises(InputError, match="Pickles are never opened"):
        read_features(tmp_path / "features.pt")
    with pytest.raises(InputError, match=r"there is no file or folder .*missing\.npy"):
        read_features(tmp_path / "missing.npy")
    np.savez(tmp_path / "none.npz")
    with pytest.raises(InputError, match=r"none\.npz holds no layers"):
        read_features(tmp_path / "none.npz")


def test_provenance_is_json_with_its_keys_sorted(aligned):
    assert list(json.loads(aligned.data.attrs["provenance"])) == sorted(aligned.provenance)


@pytest.mark.parametrize(
    "filters",
    [[{"id": "vlen-utf8"}, {"id": "pickle", "protocol": 5}], [{"id": "pickle", "protocol": 5}]],
)
@pytest.mark.parametrize("dtype", ["|O", "<f8"])
@pytest.mark.parametrize("within", [True, False])
def test_a_pickle_within_zarr_is_never_opened(tmp_path, filters, dtype, within):
    ran, path = tmp_path / "ran", tmp_path / "outside.zarr"

    class Harm:
        def __reduce__(self):
            return open, (str(ran), "w")

    array = path / "layer" if within else path
    array.mkdir(parents=True)
    if within:
        (path / ".zgroup").write_text(json.dumps({"zarr_format": 2}))
    (array / ".zarray").write_text(
        json.dumps(
            {
                "zarr_format": 2,
                "shape": [20, 3],
                "chunks": [20, 3],
                "dtype": dtype,
                "order": "C",
                "fill_value": 0 if dtype == "<f8" else "",
                "compressor": None,
                "filters": filters,
            }
        )
    )
    (array / "0.0").write_bytes(pickle.dumps(Harm()))
    with pytest.raises(InputError, match="cannot be read as .zarr|never run"):
        read_features(path)
    with pytest.raises(InputError, match="cannot be read"):
        Alignment.load(path)
    assert not ran.exists()


def test_codecs_that_only_compute_are_read(tmp_path):
    values = np.random.default_rng(0).normal(size=(20, 3))
    for form in (2, 3):
        zarr.create_array(tmp_path / f"{form}.zarr", data=values, zarr_format=form)
        np.testing.assert_allclose(read_features(tmp_path / f"{form}.zarr")["0"].values, values)
    array = zarr.create_array(
        tmp_path / "sharded.zarr", data=values, shards=(20, 3), chunks=(10, 3)
    )
    assert check_codecs(array) is array
    pickled = zarr.create_array(
        tmp_path / "p.zarr", shape=(2,), dtype="f8", zarr_format=2, filters=[numcodecs.Pickle()]
    )
    with pytest.raises(InputError, match="needs the codec 'pickle', which is never run"):
        check_codecs(pickled)


# Stimuli that come in groups


def copies(seed: int, n_groups: int = 30, units: int = 20) -> tuple[np.ndarray, ...]:
    "Unrelated layers of near copies, one to three of each stimulus, and which copies which."
    rng = np.random.default_rng(seed)
    groups = np.repeat(np.arange(n_groups), rng.integers(1, 4, n_groups))
    X, Y = (rng.normal(size=(n_groups, units))[groups] for _ in range(2))
    X, Y = (layer + 0.1 * rng.normal(size=layer.shape) for layer in (X, Y))
    order = rng.permutation(len(groups))
    return X[order], Y[order], groups[order]


def test_groups_take_away_the_score_for_nothing():
    X, Y, groups = copies(0, n_groups=60, units=60)
    apart, together = quick(X, Y), quick(X, Y, groups=groups)
    assert apart.table.best.min() > 0.3 and apart.table.p.max() == 0.05
    assert together.table.best.abs().max() < 0.15 and together.table.p.min() > 0.05
    assert f"{len(X)} stimuli in 60 groups" in str(together)
    assert together.provenance["n_groups"] == 60 and apart.provenance["n_groups"] is None
    named = quick(X, Y, groups=[f"scene {g}" for g in groups])
    pd.testing.assert_frame_equal(named.table, together.table)


def test_draws_take_whole_groups():
    "Copies of stimuli tell no more than the stimuli."
    rng = np.random.default_rng(0)
    X, Y = related(60, 6, 7, noise=2)
    widths = {}
    for name, times in (("once", 1), ("four times", 4)):
        groups = np.repeat(np.arange(60), times)
        jitter = (1e-3 * rng.normal(size=(60 * times, q)) for q in (6, 7))
        aligned = quick(X[groups] + next(jitter), Y[groups] + next(jitter), groups=groups)
        widths[name] = (aligned.table.high - aligned.table.low).mean()
    assert widths["four times"] > 0.75 * widths["once"]


def test_groups_of_few_stimuli_choose_layers_within_groups(sides):
    X, Y, groups = copies(3, n_groups=24)
    aligned = quick(np.stack([X, X**3]), Y, groups=groups)
    assert aligned.table.nested.notna().all()
    with pytest.raises(InputError, match="fold 0 trains on a single group"):
        quick(X, Y, groups=groups > 11, n_folds=2)
    with pytest.raises(InputError, match="divide the group"):
        quick(X, Y, folds=make_folds(len(X)), groups=groups)
    with pytest.raises(InputError, match="give one for each stimulus"):
        quick(X, Y, groups=groups[1:])


def test_p_values_of_groups_are_honest():
    p = []
    for seed in range(60):
        X, Y, groups = copies(seed, n_groups=24, units=4)
        folds = make_folds(len(X), n_folds=2, groups=groups, seed=seed)
        null = null_grid(X, Y, folds=folds, n_permutations=19, seed=seed)
        p.append(max_p_value(null.observed, null.null))
    assert kstest(p, "uniform", alternative="greater").pvalue > 0.01
