"""What changing images or captions does to alignment."""

from types import SimpleNamespace

import numpy as np
import pytest
import xarray as xr

from seeing_words.core.arrays import feature_array
from seeing_words.core.errors import InputError
from seeing_words.data.microworld.stimulus_set import microworld_stimuli
from seeing_words.data.modalities import DIRECTIONS
from seeing_words.data.perturb import PERTURBATIONS, Perturbation, perturb
from seeing_words.measures.folds import make_folds
from seeing_words.measures.inference import predictivity_estimate, resample_weights
from seeing_words.measures.numerics import fold_zscore
from seeing_words.measures.predictivity import out_of_fold, predictivity
from seeing_words.measures.scores import make_scores
from seeing_words.plots import perturbation_forest
from seeing_words.studies.layers import mean_over_networks
from seeing_words.studies.perturbations import (
    ARMS,
    CLAIMED,
    CLAIMS,
    EXPLAINED,
    change_along_depth,
    change_group,
    change_scores,
    change_table,
    claim_effects,
    explained_covariance,
    fact_indicators,
    fact_scores,
)


def respond(facts: np.ndarray, *seed: int, n: int = 2) -> dict[str, xr.DataArray]:
    """Networks of three layers, the middle one of which mixes the facts."""
    networks = {}
    for i in range(n):
        rng = np.random.default_rng([*seed, i])
        mixing, noise = rng.normal(size=(facts.shape[1], 6)), rng.normal(size=(3, len(facts), 6))
        signal = np.array([0, 2, 0])[:, None, None] * (facts @ mixing)
        networks[f"net-{seed[0]}-{i}"] = feature_array(noise + signal)
    return networks


@pytest.fixture(scope="module")
def made():
    rng, folds = np.random.default_rng(1), make_folds(100)
    facts = rng.normal(size=(100, 3))
    return SimpleNamespace(
        vision=respond(facts, 1),
        language=respond(facts, 2, n=3),
        changed={"flip": respond(-facts, 1), "blur": respond(facts * [1, 1, 0], 1)},
        folds=folds,
        weights=resample_weights(folds, n_draws=200),
    )


@pytest.mark.parametrize("modality", ["vision", "language"])
def test_both_arms_are_what_single_maps_give(made, modality):
    scores = change_scores(
        made.vision,
        made.changed,
        made.language,
        modality=modality,
        folds=made.folds,
        weights=made.weights,
    )
    assert scores.value.dims == ("direction", "arm", "condition", "vision", "language")
    assert scores.sizes["vision"] == (2 if modality == "vision" else 3)
    forward, back = DIRECTIONS if modality == "vision" else DIRECTIONS[::-1]

    def single(X, Y, tested=None, target=None) -> float:
        z, p = out_of_fold(X, Y, folds=made.folds, tested=tested)
        z = z if target is None else fold_zscore(Y, folds=made.folds, of=target)
        by_fold = [
            np.mean([np.corrcoef(a, b)[0, 1] for a, b in zip(z[t].T, p[t].T)])
            for t in made.folds.test
        ]
        return np.mean(by_fold)

    partner = "language" if modality == "vision" else "vision"
    for condition, networks in {"intact": made.vision, **made.changed}.items():
        for own, other in [("net-1-0", "net-2-2"), ("net-1-1", "net-2-0")]:
            at = scores.value.sel(
                {"condition": condition, modality: own, partner: other}
            ).transpose("direction", "arm")
            X, x = made.vision[own].values[-2], networks[own].values[-2]
            Y = made.language[other].values[-2]
            expected = {
                (forward, "refit"): single(x, Y),
                (forward, "without refit"): single(X, Y, tested=x),
                (back, "refit"): single(Y, x),
                (back, "without refit"): single(Y, X, target=x),
            }
            for (direction, arm), value in expected.items():
                assert at.sel(direction=direction, arm=arm).item() == pytest.approx(value, abs=1e-4)
    flipped = mean_over_networks(scores).value.sel(direction=forward, condition="flip")
    assert flipped.sel(arm="without refit") < -0.5 < 0.5 < flipped.sel(arm="refit")


def test_differences_and_shares_are_those_of_the_scores(made):
    scores = mean_over_networks(
        change_scores(
            made.vision,
            made.changed,
            made.language,
            modality="vision",
            folds=made.folds,
            weights=made.weights,
        )
    )
    table = change_table(scores)
    assert list(dict.fromkeys(table.condition)) == ["blur", "flip"]  # in the registry's order
    assert len(table) == 2 * len(DIRECTIONS) * len(ARMS)
    for row in table.itertuples():
        own = scores.sel(condition=row.condition, direction=row.direction, arm=row.arm)
        whole = scores.sel(condition="intact", direction=row.direction, arm=row.arm)
        assert row.effect == pytest.approx((own.value - whole.value).item())
        assert row.share == pytest.approx((own.value / whole.value).item())
        low, high = np.quantile(own.draws - whole.draws, [0.025, 0.975])
        assert (row.low, row.high) == pytest.approx((low, high))


def test_nothing_changed_is_the_intact_score_alone(made):
    scores = change_scores(
        made.vision,
        {},
        made.language,
        modality="vision",
        folds=made.folds,
        weights=made.weights,
    )
    assert scores.condition.values.tolist() == ["intact"]
    single = predictivity_estimate(
        made.vision["net-1-1"].values[-2],
        made.language["net-2-0"].values[-2],
        folds=made.folds,
        weights=made.weights,
    )
    at = scores.sel(direction="v2l", condition="intact", vision="net-1-1", language="net-2-0")
    for arm in ARMS:
        np.testing.assert_allclose(at.draws.sel(arm=arm), single.draws, atol=1e-6)


def test_networks_and_conditions_that_cannot_be_compared_are_refused(made):
    setting = {"folds": made.folds, "weights": made.weights}
    with pytest.raises(InputError, match="modality 'touch': choose vision or language"):
        change_scores(made.vision, made.changed, made.language, modality="touch", **setting)
    with pytest.raises(InputError, match="'intact' is what the others are compared with"):
        change_scores(
            made.vision, {"intact": made.vision}, made.language, modality="vision", **setting
        )
    one = {"flip": dict(list(made.vision.items())[:1])}
    message = "condition 'flip' has features of net-1-0, the intact one of net-1-0, net-1-1"
    with pytest.raises(InputError, match=message):
        change_scores(made.vision, one, made.language, modality="vision", **setting)


def test_depth_curves_are_predictivity_layer_by_layer(made):
    curves = change_along_depth(
        made.vision, made.changed, made.language, modality="vision", folds=made.folds
    )
    assert dict(curves.sizes) == {
        **{"condition": 3, "direction": 2, "network": 2, "partner": 3, "layer": 3}
    }
    assert curves.depth.values.tolist() == [0, 0.5, 1]
    X = made.changed["blur"]["net-1-1"].values[2]
    Y = made.language["net-2-2"].values[-2]
    at = curves.sel(condition="blur", network="net-1-1", partner="net-2-2").isel(layer=2)
    assert at.sel(direction="v2l").item() == pytest.approx(predictivity(X, Y), abs=1e-5)
    assert at.sel(direction="l2v").item() == pytest.approx(predictivity(Y, X), abs=1e-5)
    unequal = {"net-1-0": made.vision["net-1-0"], "net-1-1": made.vision["net-1-1"][:2]}
    with pytest.raises(InputError, match=r"\[2, 3\] layers.*equally_deep"):
        change_along_depth(unequal, {}, made.language, modality="vision", folds=made.folds)


def test_a_users_perturbation_has_its_row_in_the_figure():
    registry = {
        **PERTURBATIONS,
        "upside down": Perturbation(
            "upside down", "image", "appearance", "top and bottom exchanged", lambda p, rng: p
        ),
    }
    rng, folds = np.random.default_rng(0), make_folds(40)
    intact, changed, partners = (
        {"net": feature_array(rng.normal(size=(3, 40, 4)))} for _ in range(3)
    )
    scores = change_scores(
        intact,
        {"upside down": changed},
        partners,
        modality="vision",
        folds=folds,
        weights=resample_weights(folds, n_draws=10),
    )
    table = change_table(mean_over_networks(scores), registry=registry)
    assert set(table.group) == {"images: appearance"} and set(table.condition) == {"upside down"}
    image = np.zeros((8, 8, 3), np.uint8)
    figure = perturbation_forest(table, {"upside down": image}, label="r")
    assert "upside down" in {text.get_text() for ax in figure.axes for text in ax.texts}


def test_facts_are_found_where_they_are():
    facts = []
    for place in ("sea", "farm"):
        for name in ("cat", "dog") * 20:
            facts.append({"place": place, "things": ({"name": name, "x": 0.1},)})
    indicators = fact_indicators(facts)
    shapes = {kind: values.shape for kind, values in indicators.items()}
    assert shapes == {"place": (80, 2), "thing name": (80, 2)}
    folds, rng = make_folds(80), np.random.default_rng(0)
    only_place = np.hstack([indicators["place"], rng.normal(size=(80, 2))])
    scores = fact_scores(
        {"net": feature_array(np.repeat(only_place[None], 2, 0))},
        facts,
        folds=folds,
        weights=resample_weights(folds, n_draws=20),
    )
    value = scores.value.sel(network="net")
    assert value.sel(fact="place") > 0.95 > 0.4 > value.sel(fact="thing name")


def test_facts_of_stuff_only_images_are_those_of_stuff():
    stimuli = perturb(microworld_stimuli(8), "stuff-only")
    assert set(fact_indicators(stimuli.facts)) == {"place", "time", "weather"}


def test_names_alone_are_facts_too():
    facts = [{"stuff": ["sea", "sky"], "things": ["dog", "cat"]}, {"stuff": ["sea"], "things": []}]
    indicators = {kind: values.tolist() for kind, values in fact_indicators(facts).items()}
    assert indicators == {"stuff": [[1, 1], [1, 0]], "thing name": [[1, 1], [0, 0]]}


def test_facts_that_never_vary_are_left_out():
    folds = make_folds(60)
    weights = resample_weights(folds, n_draws=5)
    net = {"net": feature_array(np.random.default_rng(0).normal(size=(2, 60, 3)))}
    same = fact_scores(net, [{"stuff": ["sea"]}] * 60, folds=folds, weights=weights)
    assert same.sizes["fact"] == 0
    facts = [{"stuff": ["sea"], "things": ["dog"] * (i % 2)} for i in range(60)]
    layers = np.repeat(fact_indicators(facts)["thing name"][None], 2, 0)
    found = fact_scores({"net": feature_array(layers)}, facts, folds=folds, weights=weights)
    assert found.fact.values.tolist() == ["thing name"] and found.value.item() > 0.99


# The intact target


def test_reading_the_partners_prediction_from_changed_responses_is_two_maps(made):
    "Where the target is changed, what the partner predicts of the intact one is the fixed target."
    scores = change_scores(
        made.vision,
        made.changed,
        made.language,
        modality="vision",
        folds=made.folds,
        weights=made.weights,
    ).value
    X, Y = made.vision["net-1-0"].values[-2], made.language["net-2-1"].values[-2]
    _, shared = out_of_fold(Y, X, folds=made.folds)
    for condition, own in {"intact": X, "blur": made.changed["blur"]["net-1-0"].values[-2]}.items():
        at = scores.sel(direction="l2v", condition=condition, vision="net-1-0", language="net-2-1")
        expected = predictivity(own, shared, folds=made.folds)
        assert at.sel(arm="intact target").item() == pytest.approx(expected, abs=1e-4)
    forward = scores.sel(direction="v2l")
    xr.testing.assert_equal(
        forward.sel(arm="intact target", drop=True), forward.sel(arm="refit", drop=True)
    )


def test_a_target_that_loses_what_was_never_shared_gains_in_r_and_not_against_the_intact_one():
    """Half of the target's variance is its own affair. Without it r rises, as with "nouns only";
    the part that is shared can be read as before, and no more covariance is explained."""
    rng, n = np.random.default_rng(0), 400
    shared, private = rng.normal(size=(n, 4)), rng.normal(size=(n, 8))
    mixing, own = rng.normal(size=(4, 12)), rng.normal(size=(8, 12))
    noise = 0.3 * rng.normal(size=(n, 12))
    partner = feature_array((shared @ rng.normal(size=(4, 12)) + rng.normal(size=(n, 12)))[None])
    intact = feature_array((shared @ mixing + private @ own + noise)[None])
    less = feature_array((shared @ mixing + noise)[None])
    folds = make_folds(n)
    scores = change_scores(
        {"l": intact},
        {"nouns only": {"l": less}},
        {"v": partner},
        modality="language",
        folds=folds,
        weights=resample_weights(folds, n_draws=20),
        layer=-1,
    ).value.sel(direction="v2l", vision="v", language="l")
    before, after = scores.sel(condition="intact"), scores.sel(condition="nouns only")
    assert after.sel(arm="refit") > before.sel(arm="refit") + 0.2
    # what was hidden among private facts is read more easily, up to 1
    assert 0 < after.sel(arm="intact target") - before.sel(arm="intact target") < 0.1
    change = after.sel(arm=EXPLAINED) / before.sel(arm=EXPLAINED)
    assert change.item() == pytest.approx(1, abs=0.1)


def test_explained_covariance_is_a_mean_over_units_then_folds_and_its_draws_are_first_order():
    rng, folds = np.random.default_rng(0), make_folds(90, n_folds=3)
    target, prediction = rng.normal(size=(2, 90, 5))
    weights = resample_weights(folds, n_draws=2000)
    found = explained_covariance(target, prediction, folds=folds, weights=weights)
    by_fold = []
    for test in folds.test:
        units = [np.cov(y, z, bias=True)[0, 1] for y, z in zip(target[test].T, prediction[test].T)]
        by_fold.append(np.mean(units))
    assert found.value.item() == pytest.approx(np.mean(by_fold))
    one = np.ones((1, 90), dtype=int)
    same = explained_covariance(target, prediction, folds=folds, weights=one)
    assert same.draws.item() == pytest.approx(found.value.item())


# Groups and claims


def test_what_captions_tell_of_is_not_called_appearance():
    groups = {name: change_group(entry) for name, entry in PERTURBATIONS.items()}
    images = [name for name, entry in PERTURBATIONS.items() if entry.modality == "image"]
    for name in images:
        called_appearance = groups[name] == "images: appearance"
        assert called_appearance == (not PERTURBATIONS[name].changes)
    assert groups["greyscale"] == groups["hue shift"] == "images: colour"
    assert groups["patch shuffle"] == groups["rotation"] == "images: layout"
    assert groups["scrambled"] == "captions: word order"
    assert groups["nouns only"] == "captions: words"


def test_claims_name_the_changes_of_images_that_the_library_has():
    groups = {name: change_group(entry) for name, entry in PERTURBATIONS.items()}
    for claim, group in ("P1a", "appearance"), ("P1b", "colour"), ("P1c", "layout"):
        assert set(CLAIMED[claim]) == {n for n, own in groups.items() if own == f"images: {group}"}


def scores_of(values: dict[str, list[float]]) -> xr.Dataset:
    "The same score in every arm and draw: condition → score in each direction."
    weights = resample_weights(make_folds(20), n_draws=3)
    arms = [*ARMS, EXPLAINED]
    value = xr.DataArray(
        [[[both[i] for both in values.values()] for _ in arms] for i in range(2)],
        {"direction": list(DIRECTIONS), "arm": arms, "condition": list(values)},
        dims=("direction", "arm", "condition"),
    )
    return make_scores(value, value.expand_dims(draw=3, axis=-1), weights)


def test_effects_are_differences_and_shares_of_the_arm():
    values = {  # condition → V→L, L→V
        "intact": [0.5, 1],
        "blur": [0.5, 1],
        "hue shift": [0.4, 1],
        "flip": [0.3, 1],
        "stuff-only": [0.2, 0.5],
        "scrambled": [0.45, 1],
        "nouns only": [0.1, 0.5],
    }
    scores = scores_of(values)
    effects = claim_effects(scores)
    assert set(effects) == {claim.name for claim in CLAIMS}
    assert effects["P1b V→L"].value.item() == pytest.approx(0.8)
    assert effects["P2"].value.sel(direction="v2l").item() == pytest.approx(0.2)
    assert effects["P3a V→L"].value.item() == pytest.approx(-0.05)
    assert effects["P3b L→V"].value.item() == pytest.approx(0.5)
    # what is registered beside them has rows in tables, and decides nothing
    with_more = claim_effects(scores_of(values | {"darker": [0.01, 0.01]}))
    assert with_more.keys() == effects.keys()
    for name, effect in effects.items():
        xr.testing.assert_equal(with_more[name].value, effect.value)
    without_masks = claim_effects(scores.drop_sel(condition="stuff-only"))
    assert set(effects) - set(without_masks) == {"P2"}
