"""Transfer between data sets: T is 1 where nothing shifts, and falls as a map is turned."""

import numpy as np
import pytest

from seeing_words.core.arrays import feature_array
from seeing_words.core.errors import InputError
from seeing_words.data.microworld.scene import CHOOSING, THINGS
from seeing_words.data.microworld.shift import SHIFTS, shifted_stimuli
from seeing_words.measures.claims import judge
from seeing_words.measures.folds import make_folds
from seeing_words.measures.scores import interval
from seeing_words.studies.transfer import (
    choose_layers,
    claims_about,
    known_words,
    transfer_matrix,
    transfer_ratio,
    transfer_scores,
    transfer_splits,
    two_sample_weights,
)

LAYERS = {"vision": 0, "language": 0}


def world(n: int, seed: int, turn: float = 0.0):
    """Networks that hold six facts; the language code is turned into directions of other facts."""
    rng, codes = np.random.default_rng(seed), np.random.default_rng(99)
    facts = rng.normal(size=(n, 6))
    seen, one, other = codes.normal(size=(3, 6, 20))
    other -= one * (one * other).sum(0) / (one**2).sum(0)
    one, other = (2 * x / np.linalg.norm(x, axis=0) for x in (one, other))
    read = facts @ (np.cos(turn) * one + np.sin(turn) * other)
    return {
        "vision": {"v": feature_array((facts @ seen + 0.3 * rng.normal(size=(n, 20)))[None])},
        "language": {"w": feature_array((read + 2 * rng.normal(size=(n, 20)))[None])},
    }


@pytest.mark.parametrize("turn", [0.0, 0.6, 1.2])
def test_the_ratio_is_the_cosine_of_the_turn(turn):
    n = 900
    scores = transfer_scores(
        world(n, 0),
        world(n, 1, turn),
        layers=LAYERS,
        weights=two_sample_weights(n, n, n_draws=200),
        directions=["v2l"],
    ).squeeze(["direction", "vision", "language"], drop=True)
    ratio = transfer_ratio(scores)
    assert abs(float(ratio.value) - np.cos(turn)) < 0.05
    ends = interval(ratio)
    assert float(ends.low) - 0.02 < np.cos(turn) < float(ends.high) + 0.02
    calibrated, holds = claims_about(["other scenes", "another annotator"])
    expected = "supported" if turn == 0 else "contradicted"
    assert judge(calibrated, ratio).verdict == expected
    assert judge(holds, ratio).verdict == expected
    half = float(transfer_ratio(scores, "pooled").value)
    assert half <= 1.02 and (turn == 0 or half > float(ratio.value))


def test_the_interval_holds_what_another_pair_of_samples_gives():
    n, ratios, inside = 150, [], 0
    for seed in range(30):
        scores = transfer_scores(
            world(n, 2 * seed + 10),
            world(n, 2 * seed + 11, 0.6),
            layers=LAYERS,
            weights=two_sample_weights(n, n, n_draws=200, seed=seed),
            directions=["v2l"],
        ).squeeze(["direction", "vision", "language"], drop=True)
        ends = interval(transfer_ratio(scores))
        inside += float(ends.low) < np.cos(0.6) < float(ends.high)
        ratios.append(float(transfer_ratio(scores).value))
    assert inside >= 25  # of 30; 28.5 are expected of exact intervals
    assert abs(np.mean(ratios) - np.cos(0.6)) < 0.03


def test_all_ways_train_on_as_many_and_none_on_what_it_tests():
    splits = transfer_splits(53, 41, n_folds=4, seed=3)
    sizes = {len(train) for each in splits.values() for train, _ in each}
    assert len(sizes) == 1
    tested = np.sort(np.concatenate([test for _, test in splits["own"]]))
    assert np.array_equal(tested, 53 + np.arange(41))
    for way, each in splits.items():
        for train, test in each:
            assert not set(train) & set(test)
            assert len(set(train)) == len(train)
            share = (train < 53).mean()
            assert share == {"own": 0, "pooled": pytest.approx(0.5, abs=0.05)}.get(way, 1)


def test_a_matrix_has_the_own_scores_on_its_diagonal():
    n, folds = 200, make_folds(200)
    sets = {"a": world(n, 0), "b": world(n, 1), "turned": world(n, 2, 1.5)}
    made = transfer_matrix(
        sets, layers=LAYERS, folds=folds, weights=np.ones((2, n)), directions=["v2l"]
    ).value.squeeze(drop=True)
    assert abs(float(made.sel(train="a", test="b") / made.sel(train="b", test="b")) - 1) < 0.05
    assert float(made.sel(train="a", test="turned")) < 0.3 * float(
        made.sel(train="turned", test="turned")
    )


def test_layers_are_those_that_hold_the_facts():
    n, own = 120, world(120, 0)
    noise = np.random.default_rng(5).normal(size=(n, 20))

    def at(features, position):
        layers = [noise] * 3
        layers[position] = features.values[0]
        return feature_array(np.stack(layers))

    networks = {
        "vision": {"v": at(own["vision"]["v"], 2)},
        "language": {"w": at(own["language"]["w"], 1)},
    }
    # noise on noise is predicted perfectly, so the two modalities need noise of their own
    networks["language"]["w"].values[[0, 2]] = np.random.default_rng(6).normal(size=(n, 20))
    assert choose_layers(networks, folds=make_folds(n)) == {"vision": 2, "language": 1}


def test_words_unknown_to_the_first_set_count_nowhere():
    counted = known_words(["a red boat", "a dog"], ["a red cat", "dog dog"]).values[0]
    assert counted.tolist() == [[1, 0, 0, 1], [0, 0, 2, 0]]  # a, boat, dog, red


@pytest.mark.parametrize("shift", SHIFTS)
def test_sets_differ_in_their_shift_alone(shift):
    first, second = shifted_stimuli(shift, 40, size=16, seeds=CHOOSING)
    plain = shifted_stimuli("other scenes", 40, size=16, seeds=CHOOSING)[1]
    same_images = second.images_key == plain.images_key
    same_words = second.captions == plain.captions
    expected = {
        "other scenes": (True, True),
        "other palettes": (False, True),
        "another annotator": (True, False),
        "reshuffled places": (False, False),
        "unseen pairs": (False, False),
    }
    assert (same_images, same_words) == expected[shift]
    if shift == "unseen pairs":
        for facts in second.facts:
            assert not any(facts["place"] in THINGS[t["name"]]["places"] for t in facts["things"])


def test_too_few_stimuli_are_named():
    with pytest.raises(InputError, match="each set needs 15 or more; give more stimuli"):
        transfer_scores(
            world(12, 0), world(12, 1), layers=LAYERS, weights=two_sample_weights(12, 12)
        )
