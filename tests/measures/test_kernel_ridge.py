"Curved probes against scikit-learn and explicit refits; planted gains are found, and no others."

import numpy as np
import pytest
from sklearn.kernel_ridge import KernelRidge
from sklearn.metrics.pairwise import polynomial_kernel, rbf_kernel
from sklearn.preprocessing import KernelCenterer

from seeing_words.core.errors import InputError
from seeing_words.measures.folds import make_folds
from seeing_words.measures.inference import predictivity_estimates, resample_weights
from seeing_words.measures.kernel_ridge import (
    kernel_estimates,
    kernel_loo_errors,
    kernel_out_of_folds,
)
from seeing_words.measures.numerics import unit_pearson
from seeing_words.measures.residual_mlp import residual_mlp

GRID = {"bandwidths": (0.7, 2.0), "alphas": (0.3, 3.0, 30.0)}


def data(n=60, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, 4)) @ rng.normal(size=(4, 7)) + 3  # more units than dimensions
    Y = np.column_stack([np.tanh(X[:, 0] * X[:, 1] / 5), X[:, 2], X[:, 3] ** 2])
    return X, Y + rng.normal(0, 0.3, Y.shape)


def gram(A, B, kernel, bandwidth, typical, p):
    "The kernel, by scikit-learn's definitions of its parameters."
    if kernel == "rbf":
        return rbf_kernel(A, B, gamma=1 / (2 * bandwidth**2 * typical))
    return polynomial_kernel(A, B, degree=2, gamma=1 / (bandwidth**2 * p), coef0=1)


def prepared(X, Y, train):
    Z = (X - X[train].mean(0)) / X[train].std(0)
    T = (Y - Y[train].mean(0)) / Y[train].std(0)
    distance = ((Z[train][:, None] - Z[train]) ** 2).sum(2)
    m = len(train)
    return Z, T, distance.sum() / (m * (m - 1)), m * X.shape[1]


def fit_predict(K_train, K_test, T_train, alpha, scale):
    "scikit-learn, with an intercept by centring."
    centre = KernelCenterer().fit(K_train)
    fit = KernelRidge(alpha=alpha, kernel="precomputed")
    fit.fit(scale * centre.transform(K_train), T_train - T_train.mean(0))
    return fit.predict(scale * centre.transform(K_test)) + T_train.mean(0)


@pytest.mark.parametrize("kernel", ["rbf", "poly2"])
def test_leave_one_out_is_that_of_explicit_refits(kernel):
    X, Y = data()
    train = np.arange(10, 45)
    found = kernel_loo_errors(X, Y, kernel=kernel, train=train, **GRID)
    Z, T, typical, trace = prepared(X, Y, train)
    for bandwidth in GRID["bandwidths"]:
        K = gram(Z[train], Z[train], kernel, bandwidth, typical, X.shape[1])
        scale = trace / np.trace(KernelCenterer().fit_transform(K))
        for alpha in GRID["alphas"]:
            error = 0.0
            for i in range(len(train)):
                rest = np.delete(np.arange(len(train)), i)
                predicted = fit_predict(
                    K[np.ix_(rest, rest)], K[[i]][:, rest], T[train][rest], alpha, scale
                )
                error += ((T[train][i] - predicted) ** 2).sum()
            got = float(found.sel(bandwidth=bandwidth, alpha=alpha))
            assert got == pytest.approx(error, rel=1e-6)


@pytest.mark.parametrize("kernel", ["rbf", "poly2"])
def test_held_out_predictions_are_scikit_learns_at_the_chosen_pair(kernel):
    X, Y = data()
    folds = make_folds(len(X), n_folds=3, seed=1)
    made = kernel_out_of_folds(X, {"y": Y}, kernel=kernel, folds=folds, **GRID)["y"]
    for f, test in enumerate(folds.test):
        train = folds.train(f)
        errors = kernel_loo_errors(X, Y, kernel=kernel, train=train, **GRID)
        best = errors.stack(pair=("bandwidth", "alpha")).idxmin("pair").item()
        assert (float(made.bandwidth[f]), float(made.alpha[f])) == best
        Z, T, typical, trace = prepared(X, Y, train)
        K = gram(Z, Z[train], kernel, best[0], typical, X.shape[1])
        scale = trace / np.trace(KernelCenterer().fit_transform(K[train]))
        expected = fit_predict(K[train], K[test], T[train], best[1], scale)
        assert np.allclose(made.prediction.values[test], expected, atol=1e-4)


def test_the_linear_kernel_is_the_engine_with_its_draws():
    X, Y = data(120)
    folds, weights = make_folds(120), resample_weights(120, n_draws=40)
    linear = kernel_estimates(X, {"y": Y}, kernel="linear", folds=folds, weights=weights)["y"]
    (engine,) = predictivity_estimates(X, {"y": Y}, folds=folds, weights=weights)["y"]
    assert float(linear.value) == pytest.approx(float(engine.value), abs=1e-5)
    # the engine's draws also hold how scales of source units change, which is next to nothing
    assert np.corrcoef(linear.draws, engine.draws)[0, 1] > 0.98
    assert float(linear.draws.std()) == pytest.approx(float(engine.draws.std()), rel=0.1)


def test_draws_are_those_of_refits():
    "The spread of draws is that of scores of new samples."
    rng = np.random.default_rng(0)
    first, second = rng.normal(size=(8, 8)), rng.normal(size=(8, 4))

    def sample(seed):
        draw = np.random.default_rng(seed)
        X = draw.normal(size=(150, 8))
        return X, np.tanh(X @ first) @ second + draw.normal(0, 1.5, (150, 4))

    def score(seed, n_draws):
        X, Y = sample(seed)
        made = kernel_estimates(
            X,
            {"": Y},
            folds=make_folds(150, seed=seed),
            weights=resample_weights(150, n_draws=n_draws),
            bandwidths=(1.0, 2.0),
        )[""]
        return float(made.value), float(made.draws.std())

    scores, spreads = zip(*(score(seed, 60) for seed in range(1, 31)))
    assert np.mean(spreads) == pytest.approx(np.std(scores), rel=0.35)


def planted(kind, n=500, seed=0):
    "A source of 20 units and a target that is a line, or a random two-layer network, of its code."
    rng = np.random.default_rng(seed)
    code = rng.normal(size=(n, 6))
    X = code @ rng.normal(size=(6, 20)) + 0.1 * rng.normal(size=(n, 20))
    hidden = code @ rng.normal(size=(6, 40)) * 0.8
    Y = hidden if kind == "linear" else np.abs(hidden)
    Y = Y @ rng.normal(size=(40, 8))
    return X, (Y - Y.mean(0)) / Y.std(0) + 0.5 * rng.normal(size=(n, 8))


@pytest.mark.parametrize("kernel", ["rbf", "poly2"])
def test_gain_is_found_where_it_was_planted_and_equivalent_to_0_where_not(kernel):
    gains = {}
    for kind in ("linear", "bent"):
        X, Y = planted(kind)
        folds, weights = make_folds(len(X)), resample_weights(len(X), n_draws=200)
        curved = kernel_estimates(X, {"": Y}, kernel=kernel, folds=folds, weights=weights)[""]
        (line,) = predictivity_estimates(X, {"": Y}, folds=folds, weights=weights)[""]
        gains[kind] = curved - line
    low, high = np.quantile(gains["linear"].draws, [0.05, 0.95])
    assert -0.02 < low < high < 0.02
    assert np.quantile(gains["bent"].draws, 0.025) > 0.2


def test_the_residual_network_finds_the_planted_gain_and_no_other():
    gains = {}
    for kind in ("linear", "bent"):
        X, Y = planted(kind)
        shuffled = np.random.default_rng(1).permutation(len(X))
        made = residual_mlp(
            {"X": X, "shuffled": X[shuffled]}, Y, folds=3, n_members=3, steps=200, dropouts=(0.0,)
        )
        for name, own in made.items():
            truth = np.empty(Y.shape)
            folds = make_folds(len(X), n_folds=3)
            for f, test in enumerate(folds.test):
                train = folds.train(f)
                truth[test] = (Y[test] - Y[train].mean(0)) / Y[train].std(0)
            r = {
                key: unit_pearson(truth, own[key].values).mean() for key in ("ridge", "prediction")
            }
            gains[kind, name] = r["prediction"] - r["ridge"]
    assert gains["bent", "X"] > 0.15
    assert abs(gains["linear", "X"]) < 0.02
    assert abs(gains["linear", "shuffled"]) < 0.03 and abs(gains["bent", "shuffled"]) < 0.03


def test_residual_networks_do_not_depend_on_what_is_trained_beside_them():
    X, Y = planted("bent", n=120)
    how = {"folds": 2, "n_members": 2, "steps": 20, "dropouts": (0.0,)}
    alone = residual_mlp({"a": X}, Y, **how)["a"]
    beside = residual_mlp({"a": X, "b": X[::-1].copy()}, Y, **how)["a"]
    # the weights drawn first are those of the first layer
    assert np.allclose(alone.prediction, beside.prediction, atol=1e-4)


@pytest.mark.parametrize("kernel", ["linear", "rbf", "poly2"])
@pytest.mark.parametrize("n", [33, 60])
def test_a_constant_layer_has_no_score(kernel, n):
    X, Y = data(n)
    for same in (np.full_like(X, 0.1), X[[0]].repeat(n, axis=0).astype(np.float32)):
        weights = resample_weights(n, n_draws=5)
        made = kernel_estimates(same, {"": Y}, kernel=kernel, folds=3, weights=weights)[""]
        assert np.isnan(float(made.value)) and made.draws.isnull().all()


def test_bad_settings_are_named():
    X, Y = data()
    with pytest.raises(InputError, match="'cubic' is unknown: give one of linear, rbf, poly2"):
        kernel_out_of_folds(X, {"": Y}, kernel="cubic")
    with pytest.raises(InputError, match="bandwidths must be one or more positive numbers"):
        kernel_out_of_folds(X, {"": Y}, bandwidths=(1, -1))
    with pytest.raises(InputError, match="at least 10 are needed"):
        kernel_out_of_folds(X[:8], {"": Y[:8]})
    with pytest.raises(InputError, match="2 or more members"):
        residual_mlp({"": X}, Y, n_members=1)
    with pytest.raises(InputError, match="must be equally wide"):
        residual_mlp({"a": X, "b": X[:, :2]}, Y)
