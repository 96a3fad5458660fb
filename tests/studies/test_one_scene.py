"""Single changes of a scene, by networks that are plain functions, and ranks by counting."""

import numpy as np
import pytest
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from seeing_words.core.errors import InputError
from seeing_words.data.microworld.near_miss import scene_of
from seeing_words.data.microworld.stimulus_set import microworld_stimuli
from seeing_words.measures.folds import make_folds
from seeing_words.studies.explore import (
    CrossModal,
    alternatives,
    ranks_both_ways,
    with_fact,
)
from seeing_words.studies.one_scene import fact_of, look_at, scenes_by_rank, single_changes

WORDS = ("boat", "tree", "night", "two", "red", "no", "sea", "big")


def looks(images) -> np.ndarray:
    "Mean colours of a 4 × 4 grid."
    images = np.asarray(images, float)
    return images.reshape(len(images), 4, 16, 4, 16, 3).mean((2, 4)).reshape(len(images), -1)


def reads(captions) -> np.ndarray:
    "Counts of a few words, and the length."
    return np.array([[*(c.count(word) for word in WORDS), len(c)] for c in captions], float)


@pytest.fixture(scope="module")
def cross() -> CrossModal:
    stimuli, folds = microworld_stimuli(40), make_folds(40, n_folds=2)
    train, test = folds.train(0), folds.test[0]
    V, W = looks(stimuli.images), reads(stimuli.caption())
    v, w = (StandardScaler().fit(x[train]) for x in (V, W))
    maps = [
        make_pipeline(StandardScaler(), Ridge(10.0)).fit(X[train], Y[train])
        for X, Y in ((W, v.transform(V)), (V, w.transform(W)))
    ]
    return CrossModal(
        stimuli.subset(test),
        looks,
        reads,
        v.transform(V[test]),
        w.transform(W[test]),
        *maps,
        folds,
        ranks=ranks_both_ways(V, W, folds=folds),
    )


def test_ranks_are_counted_among_the_others_and_the_changed_scene(cross):
    position = 3
    scene = scene_of(cross.gallery.facts[position])
    changes = single_changes(scene)[:12]
    found = look_at(cross, position, changes, k=4)
    assert len(found) == 12 and found.change.tolist() == changes
    others = [i for i in range(len(cross.gallery)) if i != position]
    for row in found.itertuples():
        predicted = cross.to_language.predict(looks([row.image]))[0]
        own = cross.to_vision[0].transform(reads([row.caption]))[0]
        cosine = {i: cosine_of(predicted, cross.read[i]) for i in others}
        cosine[position] = cosine_of(predicted, own)
        order = sorted(cosine, key=lambda i: -cosine[i])
        assert row.captions == order[:4]
        assert row.caption_rank == 1 + sum(c > cosine[position] for c in cosine.values())
        np.testing.assert_allclose(row.caption_cosines, [cosine[i] for i in order[:4]], atol=1e-9)
    assert found.image_moved[0] == found.caption_moved[0] == 0


def cosine_of(a: np.ndarray, b: np.ndarray) -> float:
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


def test_images_and_captions_are_those_of_the_changed_scene(cross):
    scene = scene_of(cross.gallery.facts[0])
    found = look_at(cross, 0, [None, (("time",), other_time(scene))])
    assert np.array_equal(found.image[0], cross.gallery.images[0])
    assert found.caption[0] == cross.gallery.caption()[0]
    assert not np.array_equal(found.image[1], found.image[0]) and found.image_moved[1] > 0


def other_time(scene) -> str:
    return next(time for time in ("day", "dusk", "night") if time != scene.time)


def test_every_change_is_of_one_fact_to_another_value(cross):
    for facts in cross.gallery.facts[:5]:
        scene = scene_of(facts)
        every, one_each = single_changes(scene), single_changes(scene, one_each=True)
        assert every[0] is one_each[0] is None and set(one_each) <= set(every)
        for fact, value in every[1:]:
            assert fact_of(scene, fact) != value == fact_of(with_fact(scene, fact, value), fact)
        told = {f for f, v in alternatives(scene).items() if f[-1] not in ("x", "depth")}
        offered = {f for f in told if len(alternatives(scene)[f]) > 1}
        assert {change[0] for change in one_each[1:]} == offered
        assert {change[0] for change in every[1:]} == offered | set(alternatives(scene)) - told


def test_scenes_are_at_evenly_spaced_ranks(cross):
    ranks = cross.ranks["v2l"]["rank"].values[cross.folds.test[0]]
    assert ranks[scenes_by_rank(cross)[0]] == np.sort(ranks)[10]
    assert sorted(scenes_by_rank(cross, 20)) == list(range(20))
    assert ranks[scenes_by_rank(cross, 3)].tolist() == np.sort(ranks)[[0, 10, 19]].tolist()
    for n in (0, 21):
        with pytest.raises(InputError, match="the gallery has 20 scenes"):
            scenes_by_rank(cross, n)
