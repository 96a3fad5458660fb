"""Retrieval between networks whose shared facts are known."""

import numpy as np
import pytest
import xarray as xr

from seeing_words.core.arrays import feature_array
from seeing_words.core.errors import InputError
from seeing_words.data.modalities import DIRECTIONS
from seeing_words.measures.folds import make_folds
from seeing_words.measures.inference import resample_weights
from seeing_words.measures.scores import concat_scores, interval
from seeing_words.studies.retrieval import retrieval_table, retrieve, retrieve_both_ways

N = 150
FOLDS = make_folds(N)
SETTINGS = {"folds": FOLDS, "weights": resample_weights(FOLDS, n_draws=100)}


def network(facts: np.ndarray, seed: int, noise: float = 0.3) -> xr.DataArray:
    rng = np.random.default_rng(seed)
    signal = facts @ rng.normal(size=(facts.shape[1], 12))
    return feature_array(signal + noise * rng.normal(size=(3, len(facts), 12)))


@pytest.fixture(scope="module")
def facts() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(N, 6))


def test_more_shared_facts_find_more(facts):
    "All, some and none of the facts: the order is known, and none is at chance."
    sources = {
        "all": network(facts, 1),
        "some": network(facts[:, :2], 1),
        "none": network(np.random.default_rng(9).normal(size=(N, 6)), 1),
    }
    found = retrieve(sources, {"target": network(facts, 2)}, **SETTINGS).isel(target=0)
    recalled = found.value.sel(statistic="R@5")
    assert recalled.sel(source="all") > recalled.sel(source="some") > recalled.sel(source="none")
    ends = interval(found, 0.999).sel(source="none")  # four statistics of one data set
    assert ((ends.low <= found.chance) & (found.chance <= ends.high)).all()
    assert interval(found).low.sel(source="all", statistic="R@1") > found.chance[0]


def test_both_ways_are_each_way(facts):
    vision, language = {"v": network(facts, 1)}, {"a": network(facts, 2), "b": network(facts, 3)}
    both = retrieve_both_ways(vision, language, **SETTINGS)
    back = retrieve(language, vision, **SETTINGS)
    assert np.allclose(
        both.value.sel(direction="l2v", vision="v", language="b"),
        back.value.sel(source="b", target="v"),
    )
    assert both.direction.values.tolist() == list(DIRECTIONS)


def test_a_baseline_has_one_layer(facts):
    one = retrieve({"words": feature_array(facts[None])}, {"v": network(facts, 1)}, **SETTINGS)
    assert one.value.sel(statistic="R@1").item() > 0.5


def test_the_table_holds_every_score_beside_chance(facts):
    vision, language = {"v": network(facts, 1)}, {"a": network(facts, 2)}
    both = retrieve_both_ways(vision, language, **SETTINGS).mean(("vision", "language"))
    one_way = concat_scores({"v2l": both.sel(direction="v2l", drop=True)}, "direction")
    table = retrieval_table({"networks": both, "pixels": one_way})
    assert len(table) == 12
    row = table[(table.direction == "L→V") & (table.statistic == "R@10")]
    assert row.value.item() == both.value.sel(direction="l2v", statistic="R@10").item()
    assert row.chance.item() == 10 / 30
    no_interval = table[["low", "high"]].isna().all(axis=1)
    assert (no_interval == (table.statistic == "median rank")).all()


def test_no_networks_are_refused(facts):
    with pytest.raises(InputError, match="0 sources and 1 targets"):
        retrieve({}, {"v": network(facts, 1)}, **SETTINGS)
