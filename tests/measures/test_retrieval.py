"""Retrieval: ties, chance, order, and intervals against simulations with a known expectation."""

import numpy as np
import pytest
from sklearn.metrics.pairwise import cosine_similarity

from seeing_words.core.errors import InputError
from seeing_words.measures.folds import Folds, make_folds
from seeing_words.measures.inference import resample_weights
from seeing_words.measures.predictivity import out_of_fold
from seeing_words.measures.retrieval import chance, nearest, ranks, recall, retrieval, similarities
from seeing_words.measures.scores import interval


@pytest.mark.parametrize(("seed", "k"), [(0, 1), (1, 3), (2, 6)])
def test_ties_are_worth_what_a_random_order_gives(seed, k):
    "Codes of two values: most stimuli are tied. The mean over random orders is the closed form."
    rng, folds = np.random.default_rng(seed), make_folds(20, n_folds=2, seed=seed)
    target = np.eye(2)[rng.integers(0, 2, 20)]
    predicted = np.eye(2)[rng.integers(0, 2, 20)]
    found = recall(ranks(target, predicted, folds=folds), k, weights=np.ones((1, 20), dtype=int))
    orders = []
    for _ in range(200):
        jitter = 0.03 * rng.normal(size=target.shape)
        place = ranks(target + jitter, predicted, folds=folds)["rank"].values
        orders.append((place <= k).mean())
    assert found.value.item() == pytest.approx(np.mean(orders), abs=0.04)


@pytest.mark.parametrize("seed", range(4))
def test_the_order_of_stimuli_does_not_matter(seed):
    rng = np.random.default_rng(seed)
    target, predicted = np.eye(3)[rng.integers(0, 3, (2, 24))]
    folds = make_folds(24, n_folds=3, seed=seed)
    weights = resample_weights(folds, n_draws=20)
    order = rng.permutation(24)
    where = np.argsort(order)
    moved = Folds(tuple(np.sort(where[test]) for test in folds.test))
    before = retrieval(target, predicted, folds=folds, weights=weights)
    after = retrieval(target[order], predicted[order], folds=moved, weights=weights[:, order])
    assert np.allclose(before.value, after.value)
    assert np.allclose(before.draws, after.draws)


def test_what_says_nothing_scores_at_chance():
    folds = make_folds(60, n_folds=3)
    weights = resample_weights(folds, n_draws=30)
    found = retrieval(
        np.random.default_rng(0).normal(size=(60, 4)),
        np.zeros((60, 4)),
        folds=folds,
        weights=weights,
    )
    assert np.allclose(found.value, found.chance)
    assert found.chance.values.tolist() == [chance(k, folds) for k in (1, 5, 10)] + [10.5]


def planted(rng, mixing, n, noise=4):
    facts = rng.normal(size=(n, mixing.shape[1]))
    return facts @ mixing + noise * rng.normal(size=(2, n, mixing.shape[2]))


@pytest.mark.parametrize("fitted", [False, True], ids=["maps given", "maps fitted"])
def test_intervals_cover_the_expected_recall(fitted):
    "Planted alignment: the mean over data sets lies within most intervals."
    n, n_sets = 120, 40
    rng = np.random.default_rng(0)
    mixing = rng.normal(size=(2, 8, 24))
    many, of_many = planted(rng, mixing, 20_000)
    given = np.linalg.lstsq(many, of_many, rcond=None)[0]
    values, lows, highs = [], [], []
    for seed in range(n_sets):
        X, Y = planted(rng, mixing, n)
        folds = make_folds(n, seed=seed)
        weights = resample_weights(folds, n_draws=200, seed=seed)
        pair = out_of_fold(X, Y, folds=folds) if fitted else (Y, X @ given)
        found = retrieval(*pair, folds=folds, weights=weights)
        ends = interval(found)
        values.append(found.value.values)
        lows.append(ends.low.values)
        highs.append(ends.high.values)
    expected = np.mean(values, axis=0)
    covered = ((np.array(lows) <= expected) & (expected <= np.array(highs))).mean(0)
    # 0.95 less 4 standard errors, the median rank too where the maps are given: it depends most on
    # the maps, which are not refitted, so that tables give it no interval
    assert (covered[:3] > 0.81).all()
    assert covered[3] > (0.7 if fitted else 0.81)
    # and they are not so wide that covering says nothing
    assert ((np.array(highs) - np.array(lows)).mean(0) < 7 * np.std(values, axis=0)).all()


def test_other_stimuli_are_refused():
    folds = make_folds(20)
    weights = resample_weights(folds, n_draws=3)
    with pytest.raises(InputError, match="target has 20 stimuli, predicted 19"):
        retrieval(np.ones((20, 2)), np.ones((19, 2)), folds=folds, weights=weights)


def test_similarities_are_scikit_learn_s():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(20, 7)), rng.normal(size=(30, 7))
    a[3] = 0
    np.testing.assert_allclose(similarities(a, b), cosine_similarity(a, b), atol=1e-12)


def test_ties_do_not_depend_on_position_or_number_type():
    rng, folds = np.random.default_rng(0), make_folds(90, n_folds=3)
    target = rng.integers(-1, 2, size=(90, 3)) / 10  # few directions, so many ties
    predicted = target + rng.normal(size=(90, 3)).round(1)
    found = ranks(target, predicted, folds=folds)["rank"].values
    for scale, dtype in ((1, np.float32), (np.pi, float), (1 / 3, np.float32)):
        same = ranks((target * scale).astype(dtype), predicted.astype(dtype), folds=folds)
        np.testing.assert_array_equal(same["rank"], found)
    swapped = np.arange(90)
    for test in folds.test:
        swapped[test] = test[::-1]
    np.testing.assert_array_equal(
        ranks(target[swapped], predicted[swapped], folds=folds)["rank"], found[swapped]
    )


def test_the_nearest_of_equals_is_any_of_them():
    folds = make_folds(4000, n_folds=2)
    target = np.ones((4000, 3)) * np.array([0.1, 0.2, 0.7])
    target *= np.random.default_rng(0).uniform(0.5, 2, size=(4000, 1))  # equal but for rounding
    first = nearest(target, target, folds=folds)
    for test in folds.test:
        place = np.searchsorted(test, first[test])
        np.testing.assert_array_equal(test[place], first[test])  # of the same fold
        assert abs(place.mean() / len(test) - 0.5) < 5 * (1 / 12 / len(test)) ** 0.5
