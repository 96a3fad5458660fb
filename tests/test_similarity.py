"Similarities against second formulas, their invariances, and their edges."
import numpy as np
import pytest
import torch
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from layers import related
from scipy.stats import kstest, ortho_group

from seeing_words.arrays import InputError, feature_array
from seeing_words.similarity import SIMILARITIES, cka, cka_debiased, mutual_knn, similarity_grid, similarity_null

every_measure = pytest.mark.parametrize("name", SIMILARITIES)


pairs = st.builds(related, n=st.integers(12, 40), p=st.integers(1, 60), q=st.integers(1, 60), seed=st.integers(0, 99))
quick = settings(deadline=None, max_examples=25)


@quick
@given(pairs)
def test_cka_from_units_is_cka_from_stimuli(pair):
    x, y = (X - X.mean(0) for X in pair)
    expected = np.linalg.norm(x.T @ y)**2 / np.linalg.norm(x.T @ x) / np.linalg.norm(y.T @ y)
    assert cka(*pair) == pytest.approx(expected)


@quick
@given(pairs)
def test_debiased_cka_is_song_s_estimator(pair):
    "Unbiased HSIC by equation 5 of Song et al. 2012, but for its factor."
    def hsic(K, L):
        n = len(K)
        K, L = K - np.diag(np.diag(K)), L - np.diag(np.diag(L))
        return np.trace(K @ L) + K.sum() * L.sum() / (n - 1) / (n - 2) - 2 / (n - 2) * K.sum(0) @ L.sum(0)
    K, L = (X @ X.T for X in pair)
    assert cka_debiased(*pair) == pytest.approx(hsic(K, L) / np.sqrt(hsic(K, K) * hsic(L, L)), abs=1e-9)


@quick
@given(pairs, st.integers(1, 10))
def test_mutual_knn_is_brute_force(pair, k):
    def nearest(X, i):
        cosine = X @ X[i] / np.linalg.norm(X, axis=1)
        cosine[i] = -np.inf
        return np.argsort(cosine)[-k:]
    X, Y = (np.column_stack([Z, Z[:, 0]**2]) for Z in pair)  # in one dimension all cosines are ±1
    shared = [len(np.intersect1d(nearest(X, i), nearest(Y, i))) for i in range(len(X))]
    assert mutual_knn(X, Y, k=k) == pytest.approx(np.mean(shared) / k)


@every_measure
@quick
@given(pair=pairs, random=st.randoms(use_true_random=False))
def test_symmetric_and_blind_to_rotation_scale_and_order(name, pair, random):
    X, Y = (np.column_stack([Z, Z[:, 0]**2]) for Z in pair)
    measure = SIMILARITIES[name].function
    expected = pytest.approx(measure(X, Y), abs=1e-6)
    order = random.sample(range(len(X)), len(X))
    turn = ortho_group.rvs(X.shape[1], random_state=0) if X.shape[1] > 1 else -np.eye(1)
    assert measure(Y, X) == expected
    assert measure(3 * X @ turn, Y) == expected
    assert measure(X[order], Y[order]) == expected
    assert measure(X, X) == pytest.approx(1)


@pytest.mark.parametrize("measure", [cka, cka_debiased])
def test_offsets_do_not_matter_to_cka(measure):
    X, Y = (x.astype(np.float32) for x in related(100, 20, 30))
    assert measure(X + 1e4, Y) == pytest.approx(measure(X, Y), abs=1e-5)
    assert measure(np.column_stack([X, np.full(100, 1e6)]), Y) == pytest.approx(measure(X, Y), abs=1e-5)


def test_noise_lifts_cka_but_not_debiased_cka():
    rng = np.random.default_rng(0)
    noise = [rng.normal(size=(10, 2, 100, p)) for p in (10, 100, 1000)]
    biased, debiased = (np.array([np.mean([measure(*pair) for pair in pairs]) for pairs in noise])
                        for measure in (cka, cka_debiased))
    assert biased[0] < 0.2 and biased[1] > 0.4 and biased[2] > 0.8
    assert (abs(debiased) < 0.02).all()


@every_measure
def test_constant_layers_are_missing(name):
    X, Y = related(50, 10, 6)
    source, target = np.stack([np.full_like(X, 0.1), X]).astype(np.float32), np.stack([Y, np.zeros_like(Y)])
    grid = similarity_grid(source, target, measure=name)
    np.testing.assert_array_equal(grid.isnull(), [[True, True], [False, True]])
    assert np.isnan(SIMILARITIES[name].function(source[0], Y))
    null = similarity_null(source, target, measure=name, n_permutations=2)
    np.testing.assert_array_equal(null[0].isnull(), grid.isnull())


@every_measure
def test_grid_is_all_pairs(name):
    source, target = (np.stack(side) for side in zip(*(related(60, 10, 6, seed=seed) for seed in range(3))))
    source, target = feature_array(source, model="a"), feature_array(target[:2], model="b")
    grid = similarity_grid(source, target, measure=name)
    expected = [[SIMILARITIES[name].function(X, Y) for Y in target.values] for X in source.values]
    np.testing.assert_allclose(grid, expected, atol=1e-5)
    assert grid.dims == ("source_layer", "target_layer") and grid.attrs["label"] == SIMILARITIES[name].label
    np.testing.assert_array_equal(grid.source_depth, [0, 0.5, 1])


@every_measure
def test_null_is_what_shuffling_gives(name):
    X, Y = related(60, 10, 6)
    null = similarity_null(np.stack([X, X]), Y, measure=name, n_permutations=5, seed=3)
    assert null.sizes == {"permutation": 5, "source_layer": 2, "target_layer": 1}
    rng = np.random.default_rng(3)
    expected = [SIMILARITIES[name].function(X, Y[rng.permutation(60)]) for _ in range(5)]
    np.testing.assert_allclose(null[:, 1, 0], expected, atol=1e-5)
    xr.testing.assert_identical(null, similarity_null(np.stack([X, X]), Y, measure=name, n_permutations=5, seed=3))


@pytest.mark.parametrize("name", ["cka", "cka_debiased"])
def test_p_values_of_independent_layers_are_uniform(name):
    p = []
    for seed in range(200):
        X, Y = np.random.default_rng(seed).normal(size=(2, 20, 5))
        null = similarity_null(X, Y, measure=name, n_permutations=39, seed=seed).values
        p.append((1 + (null >= SIMILARITIES[name].function(X, Y)).sum()) / 40)
    assert kstest(np.array(p) - 0.0125, "uniform").pvalue > 0.01


@pytest.mark.parametrize(("call", "message"), [
    (lambda X, Y: cka(X, Y[:-1]), "X has 50 stimuli, Y has 49"),
    (lambda X, Y: cka(np.stack([X, X]), Y), "X has 2 layers"),
    (lambda X, Y: cka_debiased(X, np.full_like(Y, np.nan)), "Y holds nan at layer 0, stimulus 0, unit 0"),
    (lambda X, Y: mutual_knn(X, Y, k=49), r"k is 1…48"),
    (lambda X, Y: mutual_knn(X[:9], Y[:9], k=2), "X has 9 stimuli"),
    (lambda X, Y: similarity_grid(X, Y, measure="CKA"), "no measure 'CKA'; there are cka, cka_debiased, mutual_knn"),
    (lambda X, Y: similarity_null(X, Y, measure="rsa"), "there are cka"),
    (lambda X, Y: similarity_grid(X, Y[:40]), "source has 50 stimuli, target has 40"),
])
def test_bad_input_is_named(call, message):
    with pytest.raises(InputError, match=message):
        call(*related(50, 10, 6))


def test_tensors_and_integers_are_fine():
    X, Y = related(50, 10, 6)
    assert cka(torch.as_tensor(X), torch.as_tensor(Y)) == cka(X, Y)
    assert mutual_knn(np.round(X * 100).astype(int), Y) == pytest.approx(mutual_knn(np.round(X * 100), Y), abs=0.01)
