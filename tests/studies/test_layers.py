"""Alignment of all layers of many networks."""

import numpy as np
import pytest
import xarray as xr
from layers import related

from seeing_words.core.arrays import feature_array
from seeing_words.core.errors import InputError
from seeing_words.data.modalities import DIRECTIONS
from seeing_words.measures.folds import Folds, make_folds
from seeing_words.measures.inference import peak_depth, predictivity_estimate, resample_weights
from seeing_words.measures.predictivity import mean_over_folds, null_grid, predictivity_grid
from seeing_words.measures.scores import make_scores, tidy
from seeing_words.measures.similarity import similarity_grid
from seeing_words.studies.layers import (
    above_null,
    align_all,
    align_networks,
    alphas_at_edge,
    apart_pairs,
    apart_scores,
    best_scores,
    chosen_apart,
    depth_scores,
    depth_table,
    early_share,
    equally_deep,
    group_by_seed,
    later_minus_early,
    layer_score,
    mean_over_networks,
    null_scores,
    null_table,
    null_units,
    similarity_grids,
)

FOLDS = make_folds(60)
WEIGHTS = resample_weights(FOLDS, n_draws=20)


def networks(modality: str, n_layers: int) -> dict[str, xr.DataArray]:
    made = {}
    for i in range(2):
        layers = [related(60, 8, 8, seed=i, noise=3 - k)[modality == "l"] for k in range(n_layers)]
        made[f"{modality}{i}"] = feature_array(np.stack(layers))
    return made


@pytest.fixture(scope="module")
def aligned():
    return align_all(networks("v", 3), networks("l", 2), folds=FOLDS, weights=WEIGHTS)


def test_the_grid_holds_each_pair_of_networks_in_both_directions(aligned):
    grid = aligned.grid.predictivity
    assert grid.dims == (
        *("direction", "vision", "language", "vision_layer", "language_layer", "fold"),
    )
    assert tuple(grid.direction.values) == DIRECTIONS
    assert {"vision_depth", "language_depth"} <= set(grid.coords)
    vision, language = aligned.vision["v1"], aligned.language["l0"]
    forward = predictivity_grid(vision, language, folds=FOLDS).predictivity
    back = predictivity_grid(language, vision, folds=FOLDS).predictivity
    pair = grid.sel(vision="v1", language="l0")
    np.testing.assert_array_equal(pair.sel(direction="v2l"), forward)
    np.testing.assert_array_equal(pair.sel(direction="l2v"), back.values.swapaxes(0, 1))


def test_the_best_pair_of_layers_is_scored_with_its_own_penalties(aligned):
    best = best_scores(aligned)
    assert best.value.dims == ("direction", "vision", "language")
    for direction in DIRECTIONS:
        own = mean_over_folds(aligned.grid.predictivity.sel(direction=direction))
        highest = own.max(("vision_layer", "language_layer"))
        np.testing.assert_allclose(best.value.sel(direction=direction), highest, atol=1e-6)
    own = mean_over_folds(aligned.grid.predictivity).sel(
        direction="l2v", vision="v1", language="l0"
    )
    v, w = np.unravel_index(own.values.argmax(), own.shape)
    single = predictivity_estimate(
        aligned.language["l0"].values[w],
        aligned.vision["v1"].values[v],
        folds=FOLDS,
        weights=WEIGHTS,
    )
    found = best.sel(direction="l2v", vision="v1", language="l0")
    np.testing.assert_allclose(found.draws, single.draws, atol=1e-6)


def test_layers_chosen_apart_have_the_score_of_each_fold_with_its_own_pair(aligned):
    chosen, scores = chosen_apart(aligned), apart_scores(aligned)
    for direction in DIRECTIONS:
        grid = aligned.grid.predictivity.sel(direction=direction, vision="v1", language="l0")
        own = chosen.sel(direction=direction, vision="v1", language="l0")
        expected = []
        for k in range(5):
            others = mean_over_folds(grid.drop_isel(fold=k)).values
            v, w = np.unravel_index(others.argmax(), others.shape)
            assert (v, w) == (own.vision_layer[k], own.language_layer[k])
            expected.append(grid.values[v, w, k])
        found = scores.sel(direction=direction, vision="v1", language="l0")
        assert float(found.value) == pytest.approx(np.mean(expected), abs=1e-6)
    assert (scores.value <= best_scores(aligned).value + 1e-6).all()


def test_where_all_folds_choose_the_best_pair_the_draws_are_its_draws(aligned):
    chosen, apart, best = chosen_apart(aligned), apart_scores(aligned), best_scores(aligned)
    n_pairs = (10 * chosen.vision_layer + chosen.language_layer).std("fold")
    assert bool((n_pairs == 0).any())
    for name in ("value", "draws"):
        np.testing.assert_allclose(
            apart[name].where(n_pairs == 0), best[name].where(n_pairs == 0), atol=1e-6
        )


def test_pairs_without_a_score_in_every_fold_are_not_chosen():
    scores = np.full((2, 2, 3), 0.1)
    scores[1, 1] = [0.9, 0.9, np.nan]
    scores[0, 1] = 0.2
    grid = xr.DataArray(scores, dims=("vision_layer", "language_layer", "fold"))
    assert apart_pairs(grid) == [(0, 1)] * 3
    with pytest.raises(InputError, match="no best pair"):
        apart_pairs(grid * np.nan)


def test_score_and_null_are_of_the_same_units_and_chosen_alike(aligned):
    nulls = null_scores(aligned, n_permutations=19, n_units=3)
    found = above_null(aligned, nulls)
    for direction in DIRECTIONS:
        at = nulls.sel(direction=direction).max(("vision_layer", "language_layer"))
        chance = np.quantile(at.null.mean(("vision", "language")), 0.975)
        expected = float(at.observed.mean()) - chance
        assert float(found.value.sel(direction=direction)) == pytest.approx(expected)
    spread = found.draws.std("draw")
    assert ((spread > 0.001) & (spread < 0.2)).all()


def test_one_direction_alone_is_that_of_both(aligned):
    one = align_all(
        aligned.vision, aligned.language, directions=["l2v"], folds=FOLDS, weights=WEIGHTS
    )
    xr.testing.assert_equal(one.grid, aligned.one_way("l2v").grid)


@pytest.mark.parametrize("along", ["vision", "language"])
def test_every_layer_is_scored_with_its_best_partner(aligned, along):
    scores = depth_scores(aligned, along)
    partner = {"vision": "language_layer", "language": "vision_layer"}[along]
    expected = mean_over_folds(aligned.grid.predictivity).max(partner)
    np.testing.assert_allclose(scores.value, expected, atol=1e-6)
    table = depth_table(aligned.grid, along, scores)
    assert len(table) == 2 * aligned.grid.sizes[f"{along}_layer"]
    np.testing.assert_allclose(table.score, mean_over_networks(expected).values.ravel())
    ends = tidy(mean_over_networks(scores))
    np.testing.assert_allclose(table[["low", "high"]], ends[["low", "high"]])
    assert (table.pair_low <= table.score).all() and (table.score <= table.pair_high).all()


def test_the_null_is_that_of_each_pair_of_networks(aligned):
    nulls = null_scores(aligned, n_permutations=4, n_units=3, seed=1)
    single = null_grid(
        aligned.language["l1"],
        aligned.vision["v0"],
        folds=FOLDS,
        n_permutations=4,
        n_units=3,
        seed=1,
    )
    units = null_units(aligned.vision["v0"], 3, seed=1)
    grid = predictivity_grid(
        aligned.language["l1"], aligned.vision["v0"].isel(unit=units), folds=FOLDS
    )
    mean = mean_over_folds(grid.predictivity)
    np.testing.assert_allclose(single.observed, mean, atol=0.02)  # but for the penalty's choice
    pair = nulls.sel(direction="l2v", vision="v0", language="l1")
    np.testing.assert_array_equal(
        pair.null.transpose("permutation", "language_layer", "vision_layer"), single.null
    )
    np.testing.assert_array_equal(
        pair.observed.transpose("language_layer", "vision_layer"), single.observed
    )
    best = nulls.null.max("language_layer").mean(("vision", "language"))
    table = null_table(nulls, "vision")
    np.testing.assert_allclose(table.score, best.mean("permutation").values.ravel())
    np.testing.assert_allclose(table.high, best.quantile(0.975, "permutation").values.ravel())


def test_similarity_is_that_of_each_pair_of_networks(aligned):
    found = similarity_grids(aligned, measure="cka").sel(vision="v1", language="l0")
    single = similarity_grid(aligned.vision["v1"], aligned.language["l0"], measure="cka")
    np.testing.assert_array_equal(found, single)


def test_networks_can_be_selected_without_computing_again(aligned):
    some = aligned.subset(["v1"], ["l0"]).one_way("l2v")
    assert list(some.vision) == ["v1"] and list(some.language) == ["l0"]
    expected = best_scores(aligned).sel(direction=["l2v"], vision=["v1"], language=["l0"])
    xr.testing.assert_allclose(best_scores(some), expected)


def test_networks_of_unequal_depth_are_refused_and_made_equal(aligned):
    unequal = {**networks("v", 3), "deep": feature_array(np.ones((5, 60, 4)))}
    with pytest.raises(InputError, match=r"vision networks have \[3, 5\] layers.*equally_deep"):
        align_networks(unequal, aligned.language)
    assert {len(features) for features in equally_deep(unequal).values()} == {3}


def test_untrained_networks_are_grouped_by_seed():
    names = ["untrained:o/a@0", "untrained:o/a@1", "untrained:o/b-1@0", "untrained:o/b-1@1"]
    grouped = group_by_seed(dict.fromkeys(names))
    assert {seed: list(each) for seed, each in grouped.items()} == {
        "0": ["untrained:o/a", "untrained:o/b-1"],
        "1": ["untrained:o/a", "untrained:o/b-1"],
    }


def ending_alike() -> tuple[dict, dict, Folds]:
    """Features at last-token pooling; in layer 0, all captions of a test fold end in one token."""
    folds, rng = make_folds(40), np.random.default_rng(0)
    images = rng.normal(size=(40, 6))
    captions = rng.normal(size=(2, 40, 4))
    captions[0] = images[:, :4]  # the best layer by far, if it counted
    captions[0][folds.test[2]] = 1.0  # the embedding of one token
    captions[1] += 0.5 * images[:, :4]
    ids = [str(i) for i in range(40)]
    return (
        {"v": feature_array(images[None], ids=ids)},
        {"w": feature_array(captions, ids=ids)},
        folds,
    )


def test_a_layer_without_a_score_in_one_fold_is_not_the_best():
    vision, language, folds = ending_alike()
    weights = resample_weights(folds, n_draws=20)
    aligned = align_all(vision, language, folds=folds, weights=weights)
    first, second = aligned.grid.predictivity.sel(direction="v2l").values[0, 0, 0]
    assert np.isnan(first).sum() == 1 and np.nanmean(first) > second.mean()
    best = best_scores(aligned).value.sel(direction="v2l").item()
    assert best == pytest.approx(second.mean(), abs=1e-6)
    values = depth_scores(aligned, "language").value.sel(direction="v2l").values.ravel()
    assert np.isnan(values).tolist() == [True, False]
    table = depth_table(aligned.grid, "language")
    assert table.score.isna().tolist() == [True, False] * 2
    # the penalties of the other folds serve a layer without a score in one
    assert np.isfinite(layer_score(aligned, "v2l", "v", "w", 0, 0).value)


def curve(values: list[float], depths: list[float]) -> xr.Dataset:
    """A depth curve along vision whose draws are the values shifted by -0.1 and 0.1."""
    value = xr.DataArray(
        values, dims="vision_layer", coords={"vision_depth": ("vision_layer", depths)}
    )
    draws = value + xr.DataArray([-0.1, 0.1], dims="draw")
    return make_scores(value, draws, np.ones((2, 5), dtype=int))


def test_the_shape_of_a_depth_curve():
    scores = curve([np.nan, 0.2, 0.4, 0.8, 0.6], [0, 0.25, 0.5, 0.75, 1])
    assert peak_depth(scores, "vision_layer", depth="vision_depth").value == 0.75
    later = later_minus_early(scores, "vision")
    assert later.value == pytest.approx(0.4) and later.draws.values == pytest.approx([0.4, 0.4])
    share = early_share(scores, "vision")
    assert share.value == pytest.approx(0.25)
    assert share.draws.values == pytest.approx([0.1 / 0.7, 0.3 / 0.9])


def test_without_an_early_layer_only_the_peak_is_known():
    scores = curve([np.nan, 0.4, 0.6], [0, 0.5, 1])
    assert peak_depth(scores, "vision_layer", depth="vision_depth").value == 1
    for shape in (later_minus_early, early_share):
        assert np.isnan(shape(scores, "vision").value)


def test_penalties_at_the_edge_are_counted_among_maps_with_a_score():
    alpha = xr.DataArray([[1.0, 10.0], [np.nan, 100.0]], dims=("vision_layer", "fold"))
    found = alphas_at_edge(xr.Dataset({"alpha": alpha}), alphas=(1.0, 10.0, 100.0))
    assert found == {"lowest": pytest.approx(1 / 3), "highest": pytest.approx(1 / 3)}
