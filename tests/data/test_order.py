"What word order decides: readings against a search over captions, and captions without a choice."

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seeing_words.data.microworld.caption import caption, text
from seeing_words.data.microworld.order import order_bits, readings
from seeing_words.data.microworld.scene import Thing, sample_scene


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 999_999), st.integers(0, 20))
def test_readings_are_probabilities_and_hold_the_true_one(seed, wording):
    scene = sample_scene(seed)
    words = caption(scene, seed=wording)
    found = readings(scene, words)
    assert sum(found.values()) == pytest.approx(1) and min(found.values()) > 0
    absent = frozenset(word.fact[1] for word in words if word.fact and word.fact[0] == "absent")
    assert absent in {missing for missing, *_ in found}
    assert order_bits(scene, words) <= np.log2(len(found)) + 1e-9


FARM = replace(
    sample_scene(0),
    place="farm",
    time="day",
    weather="clear",
    things=(
        Thing("cow", "brown", "medium", 1, 0.2, 0.5),
        Thing("dog", "white", "medium", 1, 0.8, 0.5),
    ),
    missing=("horse", "sheep"),
)


def by_bag(scene, n=4000):
    "Captions of a scene by the words that they hold."
    bags = {}
    for seed in range(n):
        words = caption(scene, seed=seed)
        bags.setdefault(tuple(sorted(word.text for word in words)), []).append(words)
    return bags


def test_two_scenes_with_the_same_words_are_two_readings():
    """Exchange what is there with what is not: if a caption of one scene has the words of a caption
    of the other, then both are among the readings of these words."""
    swapped = replace(
        FARM,
        things=(replace(FARM.things[0], name="horse"), FARM.things[1]),
        missing=("cow", "sheep"),
    )
    ours, theirs = by_bag(FARM), by_bag(swapped)
    shared = [bag for bag in ours.keys() & theirs.keys() if {"horse", "cow"} <= set(bag)]
    assert len(shared) >= 5
    for bag in shared:
        missing = {names for names, *_ in readings(FARM, ours[bag][0])}
        assert frozenset(["horse"]) <= frozenset().union(*missing)
        assert frozenset(["cow"]) <= frozenset().union(*missing)


def test_a_caption_of_one_thing_alone_has_one_reading():
    alone = replace(FARM, things=FARM.things[:1], missing=())
    for seed in range(50):
        words = caption(alone, seed=seed)
        assert order_bits(alone, words) == pytest.approx(0), text(words)


def test_number_decides_what_it_can():
    "With one singular and one plural name, a plural that is missing leaves no choice."
    scene = replace(FARM, things=FARM.things[:1], missing=("horse",))
    for seed in range(400):
        words = caption(scene, seed=seed)
        plural = [w.text for w in words if w.fact == ("absent", "horse") and w.text.endswith("s")]
        if plural:
            assert len({missing for missing, *_ in readings(scene, words)}) == 1, text(words)
