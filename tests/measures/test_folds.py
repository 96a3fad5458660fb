"Folds of whole groups, repeated partitions, and shuffles that move whole groups."

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.model_selection import GroupKFold, KFold

from seeing_words.core.errors import InputError
from seeing_words.measures.folds import (
    Folds,
    as_folds,
    fold_permutations,
    make_folds,
    repeated_folds,
)

group_sizes = st.lists(st.integers(1, 6), min_size=12, max_size=40)
quick = settings(deadline=None, max_examples=50)


def labels(sizes, seed):
    "Labels of groups of these sizes, in random order."
    groups = np.repeat([f"image {i}" for i in range(len(sizes))], sizes)
    return np.random.default_rng(seed).permutation(groups)


@quick
@given(group_sizes, st.integers(2, 5), st.integers(0, 9))
def test_groups_are_never_divided_and_folds_are_as_equal_as_they_allow(sizes, n_folds, seed):
    groups = labels(sizes, seed)
    folds = make_folds(len(groups), n_folds=n_folds, seed=seed, groups=groups)
    np.testing.assert_array_equal(np.sort(np.concatenate(folds.test)), np.arange(len(groups)))
    for i, test in enumerate(folds.test):
        assert not set(groups[test]) & set(groups[folds.train(i)])
    filled = [len(test) for test in folds.test]
    assert max(filled) - min(filled) <= max(sizes)
    same = np.unique(groups, return_inverse=True)[1]
    np.testing.assert_array_equal(
        folds.groups[:, None] == folds.groups, same[:, None] == same
    )  # the same partition into groups, whatever they are called


def test_groups_of_one_size_fill_folds_equally_and_at_random():
    groups = np.repeat(np.arange(40), 3)
    folds = [make_folds(120, groups=groups, seed=seed) for seed in (0, 0, 1)]
    assert all(len(test) == 24 for each in folds for test in each.test)
    assert all((a == b).all() for a, b in zip(folds[0].test, folds[1].test))
    assert any((a != b).any() for a, b in zip(folds[0].test, folds[2].test))


def test_any_labels_make_groups():
    numbers = np.repeat(np.arange(10), 2)
    expected = make_folds(20, groups=numbers).test
    for same in (numbers.astype(str), list(numbers), numbers * 1.5, numbers.astype(object)):
        for test, wanted in zip(make_folds(20, groups=same).test, expected, strict=True):
            np.testing.assert_array_equal(test, wanted)


@quick
@given(group_sizes, st.integers(0, 9))
def test_shuffles_move_whole_groups_within_their_test_set(sizes, seed):
    groups = labels(sizes, seed)
    folds = make_folds(len(groups), n_folds=3, seed=seed, groups=groups)
    for shuffle in fold_permutations(folds, 5, seed=seed):
        for test in folds.test:
            np.testing.assert_array_equal(np.sort(shuffle[test]), test)
        for group in np.unique(groups):
            come = groups[shuffle[groups == group]]
            assert len(set(come)) == 1 and len(come) == (groups == come[0]).sum()


def test_shuffles_of_single_stimuli_are_as_many_as_without_groups():
    folds = make_folds(60, groups=np.arange(60))
    assert len(np.unique(fold_permutations(folds, 200), axis=0)) == 200
    place = np.stack(fold_permutations(folds, 4000))[:, folds.test[0]]
    counts = [(place[:, 0] == stimulus).sum() for stimulus in folds.test[0]]
    assert max(abs(np.array(counts) - 4000 / 12)) < 5 * (4000 / 12) ** 0.5


def test_repeated_partitions_begin_with_the_first_and_differ():
    partitions = repeated_folds(100, n_repeats=6, seed=3)
    assert len(partitions) == 6
    for test, first in zip(partitions[0].test, make_folds(100, seed=3).test, strict=True):
        np.testing.assert_array_equal(test, first)
    firsts = {tuple(each.test[0]) for each in partitions}
    assert len(firsts) == 6
    assert [tuple(each.test[0]) for each in repeated_folds(100, n_repeats=2, seed=3)] == [
        tuple(each.test[0]) for each in partitions[:2]
    ]
    groups = np.repeat(np.arange(50), 2)
    for folds in repeated_folds(100, 4, 2, groups=groups):
        assert folds.n_folds == 4 and folds.groups is not None


def test_folds_made_elsewhere_take_groups_along():
    groups = np.repeat(np.arange(20), 3)
    for folds in (None, 4, GroupKFold(4), make_folds(60, groups=groups)):
        whole = as_folds(folds, 60, groups=groups)
        np.testing.assert_array_equal(whole.groups, groups)
    assert as_folds(KFold(4), 60).groups is None
    assert "60 stimuli in 20 groups" in repr(whole)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: make_folds(20, groups=np.arange(19)), r"shape \(19,\) for 20 stimuli"),
        (lambda: make_folds(20, groups=np.zeros((20, 2))), r"shape \(20, 2\) for 20 stimuli"),
        (lambda: make_folds(4, n_folds=2, groups=["a", None, "b", "c"]), "stimulus 1 has no label"),
        (lambda: make_folds(4, n_folds=2, groups=[1, 2, 3, np.nan]), "stimulus 3 has no label"),
        (lambda: make_folds(20, groups=np.arange(20) // 5), "4 of them cannot make 5 folds"),
        (lambda: make_folds(11, groups=[0] * 7 + [1, 2, 3, 4]), "leave a fold of 1 stimuli"),
        (
            lambda: as_folds(make_folds(20, n_folds=2), 20, groups=np.arange(20) % 10),
            "divide the group of stimulus",
        ),
        (lambda: Folds(make_folds(20).test, np.arange(3)), "3 labels for 20 stimuli"),
        (lambda: repeated_folds(20, n_repeats=0), "n_repeats is 0"),
    ],
)
def test_impossible_groups_are_named(call, message):
    with pytest.raises(InputError, match=message):
        call()
