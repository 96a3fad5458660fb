"Gains of curved probes: found where they were planted, along depth and along n, and nowhere else."

from dataclasses import asdict

import numpy as np
import pytest

from seeing_words.core.arrays import feature_array
from seeing_words.core.errors import InputError
from seeing_words.data.microworld.scene import EVALUATION, THINGS, sample_scene
from seeing_words.measures.claims import claims_table, judge
from seeing_words.measures.folds import fold_permutations, make_folds
from seeing_words.measures.inference import predictivity_estimate, resample_weights
from seeing_words.measures.scores import concat_scores, interval
from seeing_words.studies.probes import (
    bound_facts,
    claims_about,
    depth_slope,
    fact_targets,
    gain,
    gain_table,
    mlp_gains,
    over_pairs,
    planted_pair,
    probe_curves,
    probe_layers,
)

N = 300
FOLDS, WEIGHTS = make_folds(N), resample_weights(N, n_draws=100)
HOW = {"folds": FOLDS, "weights": WEIGHTS}


@pytest.fixture(scope="module")
def network():
    "Five layers that hold a code less and less as a product of it, and its linear target."
    rng = np.random.default_rng(0)
    code = rng.choice([-1.0, 1.0], size=(N, 5))
    key = rng.choice([-1.0, 1.0], size=(N, 5))
    layers = []
    for share in (1.0, 0.75, 0.5, 0.25, 0.0):  # of the code that is hidden in products
        open_, hidden = (1 - share) * code, share * code * key
        own = np.hstack([open_, hidden, share * key]) @ rng.normal(size=(15, 15))
        layers.append(own + 0.05 * rng.normal(size=own.shape))
    target = code @ rng.normal(size=(5, 6)) + 0.5 * rng.normal(size=(N, 6))
    return feature_array(np.stack(layers), model="planted"), target


@pytest.fixture(scope="module")
def scores(network):
    source, target = network
    shuffled = target[fold_permutations(FOLDS, 1)[0]]
    return probe_layers(source, {"target": target, "shuffled": shuffled}, **HOW)


def test_scores_of_ridge_are_those_of_predictivity(network, scores):
    source, target = network
    one = predictivity_estimate(source.values[2], target, **HOW)
    own = scores.sel(probe="ridge", layer=2, target="target")
    assert float(own.value) == pytest.approx(float(one.value), abs=1e-6)
    assert np.allclose(own.draws, one.draws, atol=1e-6)


def test_a_gain_in_early_layers_is_found_with_its_slope(scores):
    found = gain(scores.sel(target="target", drop=True))
    assert float(interval(found).low.isel(layer=0)) > 0.3
    assert abs(float(found.value.isel(layer=-1))) < 0.02
    pairs = concat_scores({"a": concat_scores({"b": found}, "target")}, "source")
    slope = depth_slope(over_pairs(pairs))
    (primary,) = [claim for claim in claims_about({}) if claim.primary]
    assert judge(primary, slope).verdict == "supported"


def test_no_gain_is_equivalent_to_none(scores):
    claims = {claim.name: claim for claim in claims_about({"v2l": "vision predicts language"})}
    end = gain(scores.sel(target="target", drop=True)).isel(layer=-1, drop=True)
    shuffled = gain(scores.sel(target="shuffled", drop=True)).mean("layer")
    assert judge(claims["N1 V→L"], end).verdict == "supported"
    assert abs(float(shuffled.value)) < 0.04
    start = gain(scores.sel(target="target", drop=True)).isel(layer=0, drop=True)
    table = claims_table([(claims["N1 V→L"], start), (claims["N3 V→L"], shuffled)])
    assert table.verdict[0] == "contradicted"


def test_residual_networks_find_the_same_layer(network):
    source, target = network
    made = mlp_gains(source, target, layers=[0, 4], n_members=2, steps=150, dropouts=(0.0,), **HOW)
    assert made.depth.values.tolist() == [0, 1]
    assert float(made.value[0]) > 0.1 and abs(float(made.value[1])) < 0.03
    assert float(made.kept[0]) < 0.9


def test_the_gain_grows_with_the_number_of_stimuli(network):
    source, target = network
    made = probe_curves(source.values[0], target, weights=WEIGHTS, min_stimuli=70)
    assert made["size"].values.tolist() == [300, 150, 75]
    along = gain(made).value
    assert float(along[0]) > float(along[-1]) + 0.1
    with pytest.raises(InputError, match="300 stimuli cannot be halved into parts of 200"):
        probe_curves(source.values[0], target, weights=WEIGHTS, min_stimuli=200)


def test_planted_targets_have_the_gain_that_their_name_says():
    facts = np.random.default_rng(1).integers(0, 2, size=(N, 30))
    gains = {}
    for kind in ("linear", "bent"):
        X, Y = planted_pair(facts, kind=kind)
        gains[kind] = gain(probe_layers(feature_array(X), {"": Y}, **HOW)).isel(layer=0, target=0)
    assert abs(float(gains["linear"].value)) < 0.02
    assert float(interval(gains["bent"]).low) > 0.1
    with pytest.raises(InputError, match="'round' is unknown"):
        planted_pair(facts, kind="round")


def test_bound_facts_are_what_single_facts_do_not_tell():
    facts = [asdict(sample_scene(s)) for s in EVALUATION[:N]]
    category = {name: spec["kind"] for name, spec in THINGS.items()}
    kinds = fact_targets(facts, category)
    assert {"place", "thing name", "colour of a thing", "left of"} <= set(kinds)
    assert all(len(values) == N and values.std(0).min() > 0 for values in kinds.values())
    # by hand, for the first pair of categories of a scene that has two
    i = next(i for i, f in enumerate(facts) if len({category[t["name"]] for t in f["things"]}) == 2)
    made = bound_facts([facts[i], _mirrored(facts[i])], category)["left of"]
    places = {}
    for thing in facts[i]["things"]:
        places.setdefault(category[thing["name"]], []).append(thing["x"])
    a, b = sorted(places)
    assert made.ravel().tolist() == [
        np.sign(np.mean(places[b]) - np.mean(places[a])) * turn for turn in (1, -1)
    ]
    # a line of single facts hardly reads who is where: which two are there says a little
    X = np.hstack([kinds["thing name"], kinds["thing colour"]])
    r = predictivity_estimate(X, kinds["left of"], **HOW)
    assert abs(float(r.value)) < 0.2
    assert fact_targets(None, category) == {}
    photographs = [{"things": ["dog", "car"]}, {"things": ["dog"]}]  # without places
    assert list(fact_targets(photographs, category)) == ["thing name"]


def _mirrored(facts: dict) -> dict:
    return facts | {"things": [thing | {"x": 1 - thing["x"]} for thing in facts["things"]]}


def test_tables_leave_out_layers_without_a_score(network):
    source, target = network
    constant = source.copy()
    constant[0] = 1.0
    made = gain(probe_layers(constant, {"": target}, **HOW)).isel(target=0, drop=True)
    table = gain_table({"x": made}, {"x": "trained"})
    assert table.depth.tolist() == [0.25, 0.5, 0.75, 1]
    assert np.isfinite(float(depth_slope(made).value))
    with pytest.raises(InputError, match="3 layers|2 layers with a score"):
        depth_slope(made.isel(layer=[0, 1, 2]))


def test_an_unknown_probe_is_named(network):
    source, target = network
    with pytest.raises(InputError, match="'forest' is unknown: give some of ridge, rbf, poly2"):
        probe_layers(source, {"": target}, probes=["forest"], **HOW)
