"Ridge maps of pairs: against scikit-learn, leaving out pairs by hand, and exchanged members."

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import Ridge

from seeing_words.core.errors import InputError
from seeing_words.measures.folds import make_folds
from seeing_words.measures.ridge_pairs import out_of_pairs, pair_zscore

N = 40
FOLDS = make_folds(N, n_folds=4)


def pairs(seed: int, units: int, *, alike: float = 0.3) -> tuple[np.ndarray, np.ndarray]:
    "Two members that resemble each other, with offsets and scales."
    rng = np.random.default_rng(seed)
    first, other = rng.normal(size=(2, N, units))
    return 5 + 3 * first, 4 + 3 * (first + alike * other)


def scaled_rows(pair, train):
    "Both members, z-scored by all members of the training pairs: (member, pair, unit)."
    members = np.stack(pair)
    rows = np.concatenate(members[:, train])
    return (members - rows.mean(0)) / rows.std(0)


@pytest.mark.parametrize("n_units", [5, 90])
def test_map_and_penalty_are_those_of_the_definition(n_units):
    source = pairs(0, n_units)
    target = tuple(
        x[:, :3] + np.random.default_rng(i).normal(size=(N, 3)) for i, x in enumerate(source)
    )
    alphas = [3.0, 30.0, 300.0]
    predicted = out_of_pairs(source, {"y": target}, folds=FOLDS, alphas=alphas)["y"]
    for fold, test in enumerate(FOLDS.test):
        train = FOLDS.train(fold)
        X, Y = scaled_rows(source, train), scaled_rows(target, train)
        errors = []
        for alpha in alphas:
            error = 0.0
            for i in train:
                others = train[train != i]
                peer = Ridge(alpha).fit(np.concatenate(X[:, others]), np.concatenate(Y[:, others]))
                error += ((Y[:, i] - peer.predict(X[:, i])) ** 2).sum()
            errors.append(error)
        best = Ridge(alphas[int(np.argmin(errors))])
        best.fit(np.concatenate(X[:, train]), np.concatenate(Y[:, train]))
        for member in range(2):
            np.testing.assert_allclose(
                predicted[member][test], best.predict(X[member, test]), atol=1e-7
            )


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([3, 70]))
def test_exchanged_members_exchange_predictions_to_the_last_bit(seed, n_units):
    source, exchanged = np.stack(pairs(seed, n_units)), np.random.default_rng(seed).random(N) < 0.5
    target = np.stack(pairs(seed + 1, 4))
    swapped = [np.where(exchanged[:, None], x[::-1], x) for x in (source, target)]
    before = out_of_pairs(tuple(source), {"y": tuple(target)}, folds=FOLDS)["y"]
    after = out_of_pairs(tuple(swapped[0]), {"y": tuple(swapped[1])}, folds=FOLDS)["y"]
    after = np.stack(after)
    assert np.array_equal(np.where(exchanged[:, None], after[::-1], after), np.stack(before))


def test_members_that_are_nearly_equal_do_not_give_each_other_away():
    "Noise sources of twins: the penalty must be the largest, not one that remembers the twin."
    rng = np.random.default_rng(0)
    source = rng.normal(size=(N, 60))
    twins = (source, source + 1e-3 * rng.normal(size=source.shape))
    noise = rng.normal(size=(N, 3))
    predicted = out_of_pairs(twins, {"noise": (noise, noise)}, folds=FOLDS)["noise"]
    assert np.square(predicted).mean() < 0.05


def test_constant_units_are_zero():
    first, second = pairs(0, 3)
    first[:, 1] = second[:, 1] = 7.0
    z = pair_zscore((first, second), folds=FOLDS)
    assert (z[0][:, 1] == 0).all() and (z[1][:, 1] == 0).all()
    dead = np.ones((N, 2))
    predicted = out_of_pairs((dead, dead), {"y": (first, second)}, folds=FOLDS)["y"]
    assert (predicted[0] == 0).all() and (predicted[1] == 0).all()


def test_bad_pairs_are_refused():
    first, second = pairs(0, 3)
    with pytest.raises(InputError, match="the first member of source"):
        out_of_pairs((first, second[:, 1:]), {"y": (first, second)}, folds=FOLDS)
    with pytest.raises(InputError, match="there is no target"):
        out_of_pairs((first, second), {}, folds=FOLDS)
    with pytest.raises(InputError, match="tested: members of shape"):
        out_of_pairs(
            (first, second), {"y": (first, second)}, tested=(first[:30], second[:30]), folds=FOLDS
        )
    with pytest.raises(InputError, match="of: responses of shape"):
        pair_zscore((first, second), folds=FOLDS, of=(first[:30], second[:30]))
    with pytest.raises(InputError, match="target y"):
        out_of_pairs((first, second), {"y": (first[:30], second[:30])}, folds=FOLDS)
