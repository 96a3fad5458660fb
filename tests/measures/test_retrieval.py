"Ranks and nearest stimuli where responses tie."

import numpy as np
from sklearn.metrics.pairwise import cosine_similarity

from seeing_words.measures.folds import make_folds
from seeing_words.measures.retrieval import nearest, ranks, similarities


def test_similarities_are_scikit_learn_s():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(20, 7)), rng.normal(size=(30, 7))
    a[3] = 0
    np.testing.assert_allclose(similarities(a, b), cosine_similarity(a, b), atol=1e-12)


def test_ties_do_not_depend_on_position_or_number_type():
    rng, folds = np.random.default_rng(0), make_folds(90, n_folds=3)
    target = rng.integers(-1, 2, size=(90, 3)) / 10  # few directions, so many ties
    predicted = target + rng.normal(size=(90, 3)).round(1)
    found = ranks(target, predicted, folds=folds)
    for scale, dtype in ((1, np.float32), (np.pi, float), (1 / 3, np.float32)):
        same = ranks((target * scale).astype(dtype), predicted.astype(dtype), folds=folds)
        np.testing.assert_array_equal(same, found)
    swapped = np.arange(90)
    for test in folds.test:
        swapped[test] = test[::-1]
    np.testing.assert_array_equal(
        ranks(target[swapped], predicted[swapped], folds=folds), found[swapped]
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
