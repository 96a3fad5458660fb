"""Shared subspaces of features in which it is known what is shared."""

import numpy as np
import pytest
from scipy.linalg import subspace_angles
from scipy.stats import kstest
from sklearn.cross_decomposition import CCA
from sklearn.linear_model import LinearRegression

from seeing_words.core.errors import InputError
from seeing_words.measures.folds import make_folds
from seeing_words.measures.inference import resample_weights
from seeing_words.measures.scores import interval
from seeing_words.measures.subspace import (
    dimension_estimates,
    orthonormal_basis,
    participation_ratio,
    principal_cosines,
    random_subspaces,
    rotated_participation,
    shapley_shares,
    shared_dimensions,
    shared_subspace,
    variance_share,
    variates,
    without_subspace,
)


def planted(seed: int, n: int, k: int, n_units: int = 64) -> tuple[np.ndarray, np.ndarray]:
    "Two layers that share k dimensions, beside strong directions of their own and white noise."
    rng = np.random.default_rng(seed)
    shared = rng.normal(size=(n, k))
    sides = []
    for _ in range(2):
        mixing = np.linalg.qr(rng.normal(size=(n_units, n_units)))[0]
        own = rng.normal(size=(n, n_units)) * np.geomspace(1.5, 0.2, n_units)
        carriers = np.linalg.qr(rng.normal(size=(n_units, max(k, 1))))[0][:, :k]
        sides.append(3 * shared @ carriers.T + own @ mixing + 0.5 * rng.normal(size=(n, n_units)))
    return sides[0], sides[1]


# Directions


def test_without_a_ridge_correlations_are_those_of_scikit_learn():
    X, Y = planted(0, 300, 3, n_units=6)
    cca = CCA(n_components=6, scale=True, max_iter=5000, tol=1e-12).fit(X, Y)
    u, v = cca.transform(X, Y)
    expected = np.sort([np.corrcoef(u[:, k], v[:, k])[0, 1] for k in range(6)])[::-1]
    found = shared_subspace(X, Y, ridge=0)
    np.testing.assert_allclose(found.strength.values, expected, atol=1e-5)


def test_held_out_correlations_are_those_of_a_plain_loop():
    X, Y = planted(1, 100, 2, n_units=5)
    folds = make_folds(100)
    found = shared_dimensions(X, Y, folds=folds, ridge=0, refit=False)
    Z, V = ((side - side.mean(0)) / side.std(0) for side in (X, Y))
    by_fold = []
    for i, test in enumerate(folds.test):
        train = folds.train(i)
        z, v = Z[train] - Z[train].mean(0), V[train] - V[train].mean(0)
        qz, rz = np.linalg.qr(z)
        qv, rv = np.linalg.qr(v)
        P, _, Qt = np.linalg.svd(qz.T @ qv)
        u = Z[test] @ np.linalg.solve(rz, P)
        w = V[test] @ np.linalg.solve(rv, Qt.T)
        by_fold.append([np.corrcoef(u[:, k], w[:, k])[0, 1] for k in range(5)])
    np.testing.assert_allclose(found.correlation, np.mean(by_fold, axis=0), atol=1e-7)


def test_patterns_are_what_must_go():
    "No linear map follows the partner's variates from what is left; weights are not enough."
    X, Y = planted(2, 400, 3)
    fitted = shared_subspace(X, Y)
    v = variates(Y, fitted, "target")[:, :3]
    left = without_subspace(X, orthonormal_basis(fitted.source_patterns.values[:, :3]))
    assert LinearRegression().fit(left, v).score(left, v) < 1e-9
    unread = without_subspace(X, orthonormal_basis(fitted.source_weights.values[:, :3]))
    assert LinearRegression().fit(unread, v).score(unread, v) > 0.1


# Counting


@pytest.mark.parametrize("k", [0, 3, 10])
def test_planted_dimensions_are_counted(k):
    "Level 1 %: of so few data sets none should have one too many."
    for seed in range(3):
        X, Y = planted(seed, 400, k)
        folds = make_folds(400, seed=seed)
        for refit in (True, False) if seed == 0 else (False,):
            found = shared_dimensions(X, Y, folds=folds, level=0.01, refit=refit, seed=seed)
            assert int(found.n_dimensions) == k, (seed, refit)


def test_kept_directions_count_too_many_as_rarely_as_the_level_says():
    "Two dimensions among few units, where folds vary together most: without widening, 13 %."
    too_many = 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        shared = rng.normal(size=(200, 2))
        X, Y = (shared @ rng.normal(size=(2, 8)) + rng.normal(size=(200, 8)) for _ in "XY")
        folds = make_folds(200, seed=seed)
        found = shared_dimensions(X, Y, folds=folds, refit=False, seed=seed)
        assert int(found.n_dimensions) >= 2
        too_many += int(found.n_dimensions) > 2
    assert too_many <= 6  # 3 of 60 are expected at 5 %


@pytest.mark.slow
@pytest.mark.parametrize("k", [0, 3, 10])
def test_planted_dimensions_are_counted_among_more_stimuli(k):
    X, Y = planted(7, 1000, k)
    found = shared_dimensions(X, Y, folds=make_folds(1000), level=0.01)
    assert int(found.n_dimensions) == k


@pytest.mark.parametrize("refit", [True, False])
def test_p_is_uniform_where_nothing_is_shared(refit):
    p = []
    for seed in range(80):
        X, Y = planted(seed, 60, 0, n_units=6)
        folds = make_folds(60, n_folds=3, seed=seed)
        found = shared_dimensions(X, Y, folds=folds, n_permutations=39, refit=refit, seed=seed)
        p.append(float(found.p[0]))
    # p is a multiple of 1/40: half a step makes it symmetric
    if refit:
        assert kstest(np.array(p) - 1 / 80, "uniform").pvalue > 0.01
    # with kept directions it is on the safe side: the spread of shuffles is widened
    assert np.mean(np.array(p) <= 0.05) < 0.12 and np.mean(np.array(p) <= 0.5) < 0.62


def test_variances_are_those_of_each_variate():
    "Three directions of known share: they have the variance that they were given."
    rng = np.random.default_rng(0)
    shared = rng.normal(size=(1000, 3)) * [3.0, 2.0, 1.0]
    rotation = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    X = np.hstack([shared, rng.normal(size=(1000, 3))])
    Y = shared @ rotation
    found = shared_dimensions(X, Y, folds=make_folds(1000), refit=False)
    # z-scored units: half of the source's variance is shared, all of the target's
    assert abs(float(found.source_variance.sum()) - 0.5) < 0.02
    assert abs(float(found.target_variance.sum()) - 1.0) < 0.02


def test_draws_are_around_the_estimate_and_never_see_a_test_stimulus():
    X, Y = planted(3, 300, 3)
    folds = make_folds(300)
    weights = resample_weights(folds, n_draws=30)
    made = dimension_estimates(X, Y, folds=folds, weights=weights)
    assert float(made["count"].value) == 3
    ends = interval(made["count"])
    assert float(ends.low) <= 3 <= float(ends.high) and float(ends.high - ends.low) < 4
    # if copies of a stimulus came into both parts, noise would correlate in draws
    noise = planted(4, 300, 0)
    nothing = dimension_estimates(*noise, folds=folds, weights=weights)
    assert float(nothing["correlation"].draws.max()) < 0.45
    assert abs(float(nothing["count"].draws.std())) < 1


def test_weights_of_one_change_nothing():
    X, Y = planted(5, 200, 2)
    folds = make_folds(200)
    made = dimension_estimates(X, Y, folds=folds, weights=np.ones((2, 200), dtype=int))
    np.testing.assert_allclose(made["correlation"].draws.values.T, [made["correlation"].value] * 2)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"X": np.ones((60, 4))}, "no unit varies"),
        ({"X": np.zeros((50, 4))}, "60"),
        ({"n_permutations": 9}, "19 or more"),
        ({"level": 0}, "between 0 and 1"),
        ({"ridge": -1.0}, "at least 0"),
        ({"n_components": 0}, "at least 1"),
        ({"folds": make_folds(40)}, "40 stimuli"),
    ],
)
def test_bad_input_is_named(change, says):
    X, Y = np.random.default_rng(0).normal(size=(2, 60, 4))
    setting = {"X": X, "Y": Y, "folds": make_folds(60)} | change
    with pytest.raises(InputError, match=says):
        shared_dimensions(**setting)


def test_too_few_stimuli_are_named_with_what_to_do():
    X, Y = np.random.default_rng(0).normal(size=(2, 10, 4))
    with pytest.raises(InputError, match="10 stimuli: .* raise n_stimuli"):
        shared_subspace(X, Y)


# Angles, removal, facts, units


def test_cosines_are_those_of_scipy():
    U, V = np.random.default_rng(0).normal(size=(2, 50, 3))
    expected = np.cos(subspace_angles(U - U.mean(0), V - V.mean(0)))
    np.testing.assert_allclose(principal_cosines(U, V), np.sort(expected)[::-1], atol=1e-8)


def test_random_subspaces_hold_the_variance_and_nothing_else_is_fixed():
    values = np.random.default_rng(0).normal(size=(200, 30)) * np.geomspace(5, 0.5, 30)
    for share in (0.05, 0.4):
        bases = random_subspaces(values, 4, variance=share, n=20, seed=1)
        np.testing.assert_allclose(bases.transpose(0, 2, 1) @ bases, [np.eye(4)] * 20, atol=1e-8)
        np.testing.assert_allclose(
            [variance_share(values, basis) for basis in bases], share, rtol=0.0101
        )
        overlaps = [np.linalg.norm(a.T @ b) ** 2 / 4 for a, b in zip(bases[:-1], bases[1:])]
        assert max(overlaps) < 0.9
    # more than the strongest components have cannot be held
    strongest = np.sort(np.linalg.eigvalsh(np.cov(values.T)))[::-1]
    most = strongest[:2].sum() / strongest.sum()
    nearest = random_subspaces(values, 2, variance=0.99, n=1)[0]
    assert most * 0.97 < variance_share(values, nearest) <= most + 1e-9


def test_shapley_shares_add_up_and_are_fair_to_copies():
    rng, folds = np.random.default_rng(0), make_folds(300)
    a, b = rng.normal(size=(2, 300, 1))
    target = a + b + rng.normal(size=(300, 1))
    weights = resample_weights(folds, n_draws=20)
    alone = shapley_shares({"all": np.hstack([a, b])}, target, folds=folds, weights=weights)
    three = {"a": a, "b": b, "copy of a": a.copy()}
    shares = shapley_shares(three, target, folds=folds, weights=weights)
    assert abs(float(shares.value.sum()) - float(alone.value.item())) < 5e-3
    a_share, b_share, copied = shares.value.values.ravel()
    assert abs(a_share - copied) < 1e-6 and abs(b_share - 2 * a_share) < 0.05
    with pytest.raises(InputError, match="9 groups"):
        shapley_shares({str(i): a for i in range(9)}, target, folds=folds, weights=weights)


def test_units_that_carry_a_direction_alone_are_told_from_a_rotated_basis():
    rotated = rotated_participation(np.eye(80)[:, :5], n_rotations=100)
    assert abs(rotated.mean() / 80 - 1 / 3) < 0.02
    np.testing.assert_allclose(participation_ratio(np.eye(80)[:, :5]), 1)
    mixed = np.linalg.qr(np.random.default_rng(0).normal(size=(80, 5)))[0]
    low, high = np.quantile(rotated.mean(1), [0.005, 0.995])
    assert low < participation_ratio(mixed).mean() < high
