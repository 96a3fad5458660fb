"Similarities against second formulas, their invariances, and their edges."

import math
from functools import partial

import numpy as np
import pytest
import torch
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from layers import related
from scipy.linalg import orthogonal_procrustes, subspace_angles
from scipy.spatial.distance import pdist
from scipy.stats import kstest, ortho_group, spearmanr
from sklearn.decomposition import PCA

from seeing_words.core.arrays import feature_array
from seeing_words.core.errors import InputError
from seeing_words.measures.inference import max_p_value
from seeing_words.measures.similarity import (
    SIMILARITIES,
    cka,
    cka_debiased,
    mutual_knn,
    procrustes,
    rsa,
    similarity_grid,
    similarity_null,
    svcca,
)

every_measure = pytest.mark.parametrize("name", SIMILARITIES)

pairs = st.builds(
    related,
    n=st.integers(12, 40),
    p=st.integers(1, 60),
    q=st.integers(1, 60),
    seed=st.integers(0, 99),
)
quick = settings(deadline=None, max_examples=25)


def wider(pair):
    "Two more units: with a single one all cosines are ±1, with two all correlations are."
    return [np.column_stack([Z, Z[:, 0] ** 2, Z[:, 0] ** 3]) for Z in pair]


# Each measure by another formula


@quick
@given(pairs)
def test_cka_is_hsic_with_centring_matrices(pair):
    H = np.eye(len(pair[0])) - 1 / len(pair[0])

    def hsic(K, L):
        return np.trace(K @ H @ L @ H)

    K, L = (X @ X.T for X in pair)
    assert cka(*pair, units="raw") == pytest.approx(hsic(K, L) / np.sqrt(hsic(K, K) * hsic(L, L)))


@quick
@given(pairs)
def test_cka_from_units_is_cka_from_stimuli(pair):
    x, y = (X - X.mean(0) for X in pair)
    expected = np.linalg.norm(x.T @ y) ** 2 / np.linalg.norm(x.T @ x) / np.linalg.norm(y.T @ y)
    assert cka(*pair, units="raw") == pytest.approx(expected)


@quick
@given(pairs)
def test_debiased_cka_is_song_s_estimator(pair):
    "Unbiased HSIC by equation 5 of Song et al. 2012, but for its factor."

    def hsic(K, L):
        n = len(K)
        K, L = K - np.diag(np.diag(K)), L - np.diag(np.diag(L))
        return (
            np.trace(K @ L)
            + K.sum() * L.sum() / (n - 1) / (n - 2)
            - 2 / (n - 2) * K.sum(0) @ L.sum(0)
        )

    K, L = (X @ X.T for X in pair)
    assert cka_debiased(*pair, units="raw") == pytest.approx(
        hsic(K, L) / np.sqrt(hsic(K, K) * hsic(L, L)), abs=1e-9
    )


@quick
@given(pairs, st.integers(1, 10))
def test_mutual_knn_is_brute_force(pair, k):
    def nearest(X, i):
        cosine = X @ X[i] / np.linalg.norm(X, axis=1)
        cosine[i] = -np.inf
        return np.argsort(cosine)[-k:]

    X, Y = wider(pair)
    shared = [len(np.intersect1d(nearest(X, i), nearest(Y, i))) for i in range(len(X))]
    assert mutual_knn(X, Y, k=k, units="raw") == pytest.approx(np.mean(shared) / k)


@quick
@given(pairs)
def test_rsa_is_spearman_of_correlation_distances(pair):
    X, Y = wider(pair)
    assert rsa(X, Y, units="raw") == pytest.approx(
        spearmanr(pdist(X, "correlation"), pdist(Y, "correlation")).statistic
    )


@quick
@given(st.integers(12, 40), st.integers(3, 5), st.integers(0, 99))
def test_rsa_averages_the_ranks_of_ties(n, units, seed):
    X, Y = np.random.default_rng(seed).integers(0, 3, size=(2, n, units)).astype(float)
    X, Y = (
        np.where(np.ptp(Z, axis=1, keepdims=True) == 0, np.arange(units), Z) for Z in (X, Y)
    )  # no flat pattern
    tied = [pdist(Z, "correlation").round(9) for Z in (X, Y)]
    assert len(np.unique(tied[0])) < len(tied[0])
    assert rsa(X, Y, units="raw") == pytest.approx(spearmanr(*tied).statistic)


@quick
@given(pairs)
def test_procrustes_is_scipy_s_and_its_rotation_leaves_that_angle(pair):
    wide = max(X.shape[1] for X in pair)
    x, y = (
        np.pad(z, ((0, 0), (0, wide - z.shape[1]))) / np.linalg.norm(z)
        for z in (X - X.mean(0) for X in pair)
    )
    turn, cosine = orthogonal_procrustes(y, x)
    assert procrustes(*pair, units="raw") == pytest.approx(np.arccos(cosine))
    assert procrustes(*pair, units="raw") == pytest.approx(
        2 * np.arcsin(np.linalg.norm(x - y @ turn) / 2)
    )  # chord of that angle


@quick
@given(st.integers(12, 40), st.integers(0, 99))
def test_procrustes_is_the_least_angle_among_turns_of_the_plane(n, seed):
    X, Y = related(n, 2, 2, seed=seed)
    x, y = (z / np.linalg.norm(z) for z in (Z - Z.mean(0) for Z in (X, Y)))
    a = np.linspace(0, 2 * np.pi, 3601)
    turns = np.array([[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]])  # (2, 2, angle)
    angles = [np.arccos(np.einsum("ni,nj,ija->a", x, z, turns)) for z in (y, y * [1, -1])]
    assert procrustes(X, Y, units="raw") == pytest.approx(np.min(angles), abs=1e-5)


@quick
@given(pairs, st.sampled_from([0.5, 0.9, 0.99]))
def test_svcca_is_the_mean_cosine_between_pca_subspaces(pair, variance):
    kept = [PCA(variance, svd_solver="full").fit_transform(X) for X in pair]
    assert svcca(*pair, variance=variance, units="raw") == pytest.approx(
        np.cos(subspace_angles(*kept)).mean(), abs=1e-7
    )


def test_svcca_of_everything_is_the_mean_canonical_correlation():
    X, Y = related(100, 3, 5)
    x, y = (np.linalg.qr(Z - Z.mean(0))[0] for Z in (X, Y))
    assert svcca(X, Y, variance=1) == pytest.approx(np.linalg.svd(x.T @ y, compute_uv=False).mean())
    assert svcca(X, np.column_stack([Y, Y]), variance=1) == pytest.approx(
        svcca(X, Y, variance=1)
    )  # rank, not width


# What none of them may see

BLIND_TO = {
    "rotation": lambda units, seed: ortho_group.rvs(units, random_state=seed),
    "order": lambda units, seed: np.random.default_rng(seed).permutation(np.eye(units)),
}


@every_measure
@quick
@given(
    pair=pairs, random=st.randoms(use_true_random=False), scale=st.sampled_from([1e-3, 3.0, 1e4])
)
def test_symmetric_and_blind_to_what_the_registry_says(name, pair, random, scale):
    X, Y = wider(pair)
    measure = SIMILARITIES[name]
    function = partial(measure.function, units="raw")
    score, order = function(X, Y), random.sample(range(len(X)), len(X))
    turned_X, turned_Y = (
        Z @ BLIND_TO[measure.blind_to](Z.shape[1], random.randrange(100)) for Z in (X, Y)
    )
    expected = pytest.approx(score, abs=1e-6)
    assert function(Y, X) == expected
    assert function(scale * turned_X, Y) == expected
    assert function(X, scale * turned_Y) == expected
    assert function(X[order], Y[order]) == expected
    assert measure.bounds[0] - 1e-9 <= score <= measure.bounds[1] + 1e-9


@every_measure
@quick
@given(pair=pairs, seed=st.integers(0, 99))
def test_nothing_is_more_alike_than_a_layer_and_itself_turned(name, pair, seed):
    X, Y = wider(pair)
    measure = SIMILARITIES[name]
    function = partial(measure.function, units="raw")
    assert function(X, X) == pytest.approx(measure.best, abs=1e-6)
    assert function(X, 2 * X @ BLIND_TO[measure.blind_to](X.shape[1], seed)) == pytest.approx(
        measure.best, abs=1e-6
    )
    worse = {"similarity": 1, "distance": -1}[measure.kind]
    assert worse * function(X, Y) <= worse * measure.best + 1e-6


def test_rsa_sees_rotations():
    X, Y = related(50, 10, 6)
    assert (
        abs(rsa(X @ ortho_group.rvs(10, random_state=0), Y, units="raw") - rsa(X, Y, units="raw"))
        > 1e-3
    )


@quick
@given(pairs, st.integers(1, 60), st.integers(0, 99))
def test_procrustes_is_a_metric(pair, units, seed):
    X, Y = pair
    Z = np.random.default_rng(seed).normal(size=(len(X), units))
    assert procrustes(X, Y) <= procrustes(X, Z) + procrustes(Z, Y) + 1e-9


@pytest.mark.parametrize("units", ["raw", "zscore"])
@pytest.mark.parametrize("measure", [cka, cka_debiased, procrustes, svcca])
def test_offsets_of_units_do_not_matter(measure, units):
    measure = partial(measure, units=units)
    X, Y = (x.astype(np.float32) for x in related(100, 20, 30))
    assert measure(X + 1e4, Y) == pytest.approx(measure(X, Y), abs=1e-4)
    assert measure(np.column_stack([X, np.full(100, 1e6)]), Y) == pytest.approx(
        measure(X, Y), abs=1e-5
    )


# Units


scales = st.lists(st.sampled_from([1e-3, 0.5, 1.0, 7.0, 50.0, 1e4]), min_size=62, max_size=62)


@every_measure
@quick
@given(pair=pairs, scales=scales, offset=st.sampled_from([0.0, -3.0, 100.0]))
def test_scale_and_offset_of_every_unit_do_not_matter(name, pair, scales, offset):
    X, Y = wider(pair)
    function = SIMILARITIES[name].function
    score = pytest.approx(function(X, Y), abs=1e-6)
    assert function(X * scales[: X.shape[1]] + offset, Y) == score
    assert function(X, Y * scales[: Y.shape[1]]) == score
    order = np.random.default_rng(0).permutation(X.shape[1])
    assert function(X[:, order], Y) == score


@every_measure
def test_zscore_is_raw_on_z_scored_units(name):
    X, Y = related(60, 10, 30, seed=1)
    function = SIMILARITIES[name].function
    zscored = [(Z - Z.mean(0)) / Z.std(0) for Z in (X, Y)]
    assert function(X, Y) == pytest.approx(function(*zscored, units="raw"), abs=1e-6)


def test_one_large_unit_decides_raw_cka_only():
    X, Y = related(500, 64, 64, noise=0.3)
    X[:, 5] = np.random.default_rng(1).normal(size=500)  # one unit has nothing to do with the rest
    before = cka_debiased(X, Y)
    X[:, 5] *= 50
    assert cka_debiased(X, Y) == pytest.approx(before) and before > 0.9
    assert cka_debiased(X, Y, units="raw") < 0.1


def platonic_mutual_knn(feats_A, feats_B, topk):
    """platonic-rep, line by line: prepare_features, compute_score and mutual_knn, each with the
    defaults of measure_alignment.py; features are (stimulus, layer, unit)."""

    def prepare(feats, q=0.95):
        q_val = torch.quantile(feats.abs().flatten(start_dim=1), q, dim=1).mean()
        return feats.clamp(-q_val, q_val)

    def neighbours(feats):
        near = (feats @ feats.T).fill_diagonal_(-1e8)
        return near.argsort(dim=1, descending=True)[:, :topk]

    A, B = prepare(feats_A), prepare(feats_B)
    scores = torch.zeros(A.shape[1], B.shape[1])
    for i in range(A.shape[1]):
        for j in range(B.shape[1]):
            knn_A = neighbours(torch.nn.functional.normalize(A[:, i], p=2, dim=-1))
            knn_B = neighbours(torch.nn.functional.normalize(B[:, j], p=2, dim=-1))
            rows = torch.arange(len(A)).unsqueeze(1)
            mask_A, mask_B = torch.zeros(2, len(A), len(A))
            mask_A[rows, knn_A] = 1.0
            mask_B[rows, knn_B] = 1.0
            scores[i, j] = ((mask_A * mask_B).sum(dim=1) / topk).mean()
    return scores.numpy()


@pytest.mark.parametrize("large", [1, 20])
def test_platonic_is_platonic_rep_s(large):
    layers = [np.stack(side) for side in zip(*(related(80, 12, 30, seed=s) for s in range(3)))]
    A, B = (layer.astype(np.float32) for layer in layers)
    A[:, :, 3] *= large
    B[1] *= 3  # a layer of its own scale: the threshold is that of all layers
    expected = platonic_mutual_knn(
        *(torch.from_numpy(Z.transpose(1, 0, 2).copy()) for Z in (A, B)), topk=10
    )
    grid = similarity_grid(A, B, measure="mutual_knn", units="platonic")
    np.testing.assert_allclose(grid, expected, atol=1e-6)
    assert grid.units == "platonic"
    alone = platonic_mutual_knn(
        *(torch.from_numpy(Z[1][:, None].copy()) for Z in (A, B)), topk=5
    ).item()
    assert mutual_knn(A[1], B[1], k=5, units="platonic") == pytest.approx(alone, abs=1e-6)
    raw = similarity_grid(A, B, measure="mutual_knn", units="raw")
    assert abs(raw - grid).max() > 0.01  # clipping tells


# Ties


def codes(rng, n, units, levels):
    "Responses on a few levels, which no binary number is equal to; no pattern is flat."
    values = rng.integers(1, levels + 1, size=(n, units)) / 10
    return np.where(
        np.ptp(values, axis=1, keepdims=True) == 0, np.arange(1, units + 1) / 10, values
    )


@pytest.mark.parametrize("name", ["mutual_knn", "rsa"])
@pytest.mark.parametrize("units", ["zscore", "raw"])
@quick
@given(
    n=st.integers(13, 40),
    width=st.integers(3, 6),
    levels=st.integers(2, 4),
    seed=st.integers(0, 99),
)
def test_ties_do_not_depend_on_position_or_number_type(name, units, n, width, levels, seed):
    rng = np.random.default_rng(seed)
    X, Y = codes(rng, n, width, levels), codes(rng, n, width, levels)
    score = pytest.approx(SIMILARITIES[name].function(X, Y, units=units), abs=1e-6, nan_ok=True)
    order = rng.permutation(n)
    function = partial(SIMILARITIES[name].function, units=units)
    assert function(X[order], Y[order]) == score
    assert function(X[:, ::-1], Y) == score
    assert function(np.pi * X, Y / 3) == score
    single = function(X.astype(np.float32), Y.astype(np.float32))  # may take near ties for ties
    assert single == pytest.approx(score.expected, abs=1e-4, nan_ok=True)
    assert function((X * 10).round().astype(int), Y) == score
    assert np.isnan(function(X, X)) or function(X, X) == pytest.approx(1)


def test_neighbours_that_tie_share_the_places():
    "Stimuli of two kinds: all of one's own kind are equally near."
    X = np.repeat([[0.0, 1.0], [1.0, 0.0]], [21, 31], axis=0)
    Y = np.random.default_rng(0).normal(size=(52, 5))

    def expected(k):
        A = np.zeros((52, 52))
        for kind in (slice(0, 21), slice(21, 52)):
            A[kind, kind] = k / (len(A[kind]) - 1)
        np.fill_diagonal(A, 0)
        z = (Y - Y.mean(0)) / Y.std(0)
        z /= np.linalg.norm(z, axis=1, keepdims=True)
        cosine = z @ z.T - 2 * np.eye(52)
        B = np.zeros((52, 52))
        np.put_along_axis(B, np.argsort(-cosine, axis=1)[:, :k], 1, axis=1)
        return (A * B).sum() / np.linalg.norm(A) / np.linalg.norm(B)

    for k in (3, 10):
        assert mutual_knn(X, Y, k=k) == pytest.approx(expected(k))


@pytest.mark.parametrize("name", ["mutual_knn", "rsa", "cka_debiased"])
def test_p_values_of_independent_codes_are_honest(name):
    "Stimuli of a few kinds in both layers, so that most distances tie."
    small = 0
    for seed in range(150):
        rng = np.random.default_rng([seed, 3])
        X, Y = codes(rng, 30, 3, 3), codes(rng, 30, 3, 3)
        score = similarity_grid(X, Y, measure=name)
        null = similarity_null(X, Y, measure=name, n_permutations=19, seed=seed)
        small += max_p_value(score, null) <= 0.05 if score.notnull().all() else 0
    assert small <= 15  # 7.5 expected at most; three standard errors above


# Noise


def test_noise_lifts_all_but_debiased_cka():
    rng = np.random.default_rng(0)
    noise = [rng.normal(size=(10, 2, 100, p)) for p in (10, 100, 1000)]

    def mean(measure):
        return np.array([np.mean([measure(*pair) for pair in pairs]) for pairs in noise])

    for biased in mean(cka), mean(svcca), 1 - mean(procrustes) / (math.pi / 2):
        assert (np.diff(biased) > 0.1).all() and biased[2] > 0.7
    assert (abs(mean(cka_debiased)) < 0.02).all()
    assert (abs(mean(rsa)) < 0.03).all()


@every_measure
def test_p_values_of_independent_layers_are_uniform(name):
    "Ranks among shuffled pairings, ties broken by chance; so 1…40 are equally likely."
    rank, rng = [], np.random.default_rng(0)
    for seed in range(200):
        X, Y = np.random.default_rng([seed, 7]).normal(size=(2, 20, 5))
        null = similarity_null(X, Y, measure=name, n_permutations=39, seed=seed).values.ravel()
        null = null - SIMILARITIES[name].function(X, Y)
        above, tied = (null > 1e-6).sum(), (abs(null) <= 1e-6).sum()
        rank.append(1 + above + rng.integers(0, tied + 1))
    assert kstest((np.array(rank) - 0.5) / 40, "uniform").pvalue > 0.01


# All pairs, and the null


@every_measure
def test_constant_layers_are_missing(name):
    X, Y = related(50, 10, 6)
    source, target = (
        np.stack([np.full_like(X, 0.1), X]).astype(np.float32),
        np.stack([Y, np.zeros_like(Y)]),
    )
    grid = similarity_grid(source, target, measure=name)
    np.testing.assert_array_equal(grid.isnull(), [[True, True], [False, True]])
    assert grid.n_missing == 3
    assert np.isnan(SIMILARITIES[name].function(source[0], Y))
    null = similarity_null(source, target, measure=name, n_permutations=2)
    np.testing.assert_array_equal(null[0].isnull(), grid.isnull())


def test_rsa_is_missing_where_a_pattern_is_flat():
    X, Y = related(50, 10, 6)
    X[7] = 0.3
    assert np.isnan(rsa(X, Y, units="raw")) and not np.isnan(rsa(X, Y))  # z-scored it is not flat
    assert np.isnan(rsa(X[:, :1], Y)) and not np.isnan(cka(X, Y))
    X[7] = np.delete(X, 7, axis=0).mean(0)  # every unit is at its mean
    assert np.isnan(rsa(X, Y))


@every_measure
@pytest.mark.parametrize("units", [(10, 6), (30, 100)])
def test_grid_is_all_pairs(name, units):
    source, target = (
        np.stack(side) for side in zip(*(related(60, *units, seed=seed) for seed in range(3)))
    )
    source, target = feature_array(source, model="a"), feature_array(target[:2], model="b")
    measure, grid = SIMILARITIES[name], similarity_grid(source, target, measure=name)
    expected = np.array([[measure.function(X, Y) for Y in target.values] for X in source.values])
    np.testing.assert_allclose(grid, expected, atol=1e-5)
    assert grid.dims == ("source_layer", "target_layer")
    assert (grid.attrs["label"], grid.attrs["kind"]) == (measure.label, measure.kind)
    np.testing.assert_array_equal(grid.source_depth, [0, 0.5, 1])
    np.testing.assert_allclose(similarity_grid(target, source, measure=name), expected.T, atol=1e-5)
    np.testing.assert_allclose(
        similarity_grid(source, target, measure=name, max_memory=140 * 60**2 / 2**30),
        expected,
        atol=1e-5,
    )
    itself = similarity_grid(source, source, measure=name)
    np.testing.assert_allclose(np.diag(itself), measure.best, atol=1e-5)


@every_measure
@pytest.mark.parametrize("n_source", [1, 3])
def test_null_is_what_shuffling_gives(name, n_source):
    (X, Y), n = related(60, 10, 10), 11
    source, target = np.stack([X] * n_source), np.stack([X, Y])
    null = similarity_null(source, target, measure=name, n_permutations=n, seed=3)
    assert null.sizes == {"permutation": n, "source_layer": n_source, "target_layer": 2}
    rng = np.random.default_rng(3)
    shuffles = [rng.permutation(60) for _ in range(n)]
    for layer, values in enumerate((X, Y)):
        expected = [SIMILARITIES[name].function(X, values[shuffle]) for shuffle in shuffles]
        np.testing.assert_allclose(null[:, -1, layer], expected, atol=1e-5)
    xr.testing.assert_identical(
        null, similarity_null(source, target, measure=name, n_permutations=n, seed=3)
    )
    blocks = similarity_null(
        source, target, measure=name, n_permutations=n, seed=3, max_memory=100 * 60**2 / 2**30
    )
    xr.testing.assert_allclose(null, blocks, atol=1e-6)


# Input


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda X, Y: cka(X, Y[:-1]), "X has 50 stimuli, Y has 49"),
        (lambda X, Y: cka(np.stack([X, X]), Y), "X has 2 layers"),
        (
            lambda X, Y: cka_debiased(X, np.full_like(Y, np.nan)),
            "Y holds nan at layer 0, stimulus 0, unit 0",
        ),
        (lambda X, Y: mutual_knn(X, Y, k=49), r"k is 1…48"),
        (lambda X, Y: mutual_knn(X[:9], Y[:9], k=2), "X has 9 stimuli"),
        (
            lambda X, Y: svcca(X, Y, variance=0),
            "variance is 0; it is the share to keep, above 0 and at most 1",
        ),
        (lambda X, Y: svcca(X, Y, variance=99), "variance is 99"),
        (
            lambda X, Y: similarity_grid(X, Y, measure="CKA"),
            f"no measure 'CKA'; there are {', '.join(SIMILARITIES)}",
        ),
        (lambda X, Y: similarity_null(X, Y, measure="cca"), "there are cka"),
        (
            lambda X, Y: cka(X, Y, units="z"),
            "units='z': choose one of zscore, raw, platonic",
        ),
        (lambda X, Y: similarity_grid(X, Y, units="z"), "choose one of zscore, raw, platonic"),
        (lambda X, Y: similarity_grid(X, Y[:40]), "source has 50 stimuli, target has 40"),
        (
            lambda X, Y: similarity_grid(X, Y, max_memory=2e-4),
            "too small for one pair of layers: give at least 0.001",
        ),
        (
            lambda X, Y: similarity_null(X, Y, n_permutations=0),
            "n_permutations is 0: give a whole number, 1 or more",
        ),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(InputError, match=message):
        call(*related(50, 10, 6))


@every_measure
def test_tensors_halves_and_integers_are_fine(name):
    X, Y = related(50, 10, 6)
    measure, half, whole = (
        SIMILARITIES[name].function,
        X.astype(np.float16),
        np.round(X * 100).astype(int),
    )
    assert measure(torch.as_tensor(X), torch.as_tensor(Y)) == measure(X, Y)
    assert measure(half, Y) == pytest.approx(measure(half.astype(float), Y))
    assert measure(whole, Y) == pytest.approx(measure(whole.astype(float), Y))
    named = xr.DataArray(whole[None], dims=("layer", "stimulus", "unit"))
    assert similarity_grid(named, Y, measure=name).item() == pytest.approx(
        measure(whole, Y), abs=1e-5
    )
