"Predictivity against scikit-learn, in hostile numerics, and against its own invariances."

import numpy as np
import pytest
import torch
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from layers import related
from scipy.stats import kstest
from sklearn.linear_model import Ridge, RidgeCV
from sklearn.model_selection import (
    GroupKFold,
    KFold,
    LeaveOneOut,
    PredefinedSplit,
    RepeatedKFold,
    ShuffleSplit,
)
from sklearn.preprocessing import StandardScaler

from seeing_words.core.arrays import feature_array
from seeing_words.core.errors import InputError
from seeing_words.measures import _ridge_costs as costs
from seeing_words.measures import _ridge_dual, _ridge_null, _ridge_primal
from seeing_words.measures._ridge_dual import ALPHAS, PENALTIES
from seeing_words.measures.folds import Folds, as_folds, fold_permutations, make_folds
from seeing_words.measures.numerics import unit_pearson
from seeing_words.measures.predictivity import (
    AlphaAtEdgeWarning,
    inner_grids,
    null_grid,
    out_of_fold,
    out_of_folds,
    predictivity,
    predictivity_grid,
    predictivity_grids,
    reference_predictivity,
    warn_alpha_at_edge,
)
from seeing_words.studies.layers import align_networks


def zscored(X, train):
    "By numpy alone; constant units become 0."
    constant = np.ptp(X[train], axis=0) == 0
    return np.where(constant, 0, (X - X[train].mean(0)) / np.where(constant, 1, X[train].std(0)))


def naive(X, Y, folds, alphas=ALPHAS):
    "One RidgeCV to choose λ, one Ridge to predict, one corrcoef a unit: (fold, (r, λ))."
    rows = []
    for i, test in enumerate(folds.test):
        train = folds.train(i)
        x, y = zscored(X, train), zscored(Y, train)
        alpha = RidgeCV(alphas=alphas).fit(x[train], y[train]).alpha_
        prediction = Ridge(alpha).fit(x[train], y[train]).predict(x[test]).reshape(len(test), -1)
        r = [np.corrcoef(a, b)[0, 1] for a, b in zip(y[test].T, prediction.T) if np.ptp(a) > 0]
        rows.append((np.mean(r), alpha))
    return np.array(rows)


def test_the_module_is_importable_by_its_name():
    import seeing_words.measures.predictivity as module

    assert module.predictivity is predictivity


SHAPES = [  # stimuli, source units, target units
    (103, 20, 7),  # p < n, n not divisible by 5
    (60, 300, 7),  # p > n
    (60, 47, 10),  # p one below the training stimuli: full rank
    (61, 20, 200),  # a target wider than the stimuli are many
    (53, 150, 150),  # both wide
    (40, 1, 1),
    (1000, 9, 13),  # stimuli far more than units
]


def make_cheapest(monkeypatch, registry, name):
    "Make one way the cheapest, whatever the shapes would choose."
    monkeypatch.setitem(registry, name, lambda *sizes: -1)


@pytest.fixture(params=["rank", "stimulus", "primal"])
def way(request, monkeypatch):
    "Each way to compute sweep and null: dual in ranks, dual in stimuli, and primal."
    form = "primal" if request.param == "primal" else "dual"
    make_cheapest(monkeypatch, costs.FORM_COSTS, form)
    if request.param != "primal":
        make_cheapest(monkeypatch, costs.LOO_COSTS, request.param)
        make_cheapest(monkeypatch, costs.NULL_COSTS, request.param)
    return request.param


@pytest.fixture(params=list(costs.FORM_COSTS))
def form(request, monkeypatch):
    "Each form, whatever the shapes would choose."
    make_cheapest(monkeypatch, costs.FORM_COSTS, request.param)
    return request.param


@pytest.mark.parametrize("shape", SHAPES)
def test_equals_a_naive_loop_in_float64(shape, way):
    X, Y = related(*shape)
    folds = make_folds(shape[0])
    grid = predictivity_grid(X, Y, folds=folds, dtype=torch.float64)
    expected = naive(X, Y, folds)
    np.testing.assert_array_equal(grid.alpha[0, 0], expected[:, 1])
    np.testing.assert_allclose(grid.predictivity[0, 0], expected[:, 0], atol=1e-6, rtol=0)


@pytest.mark.parametrize("shape", SHAPES)
def test_equals_the_reference_in_float64(shape, way):
    X, Y = related(*shape)
    folds = make_folds(shape[0])
    grid = predictivity_grid(X, Y, folds=folds, dtype=torch.float64)
    scores, chosen = reference_predictivity(X, Y, folds=folds)
    np.testing.assert_array_equal(grid.alpha[0, 0], chosen)
    np.testing.assert_allclose(grid.predictivity[0, 0], scores, atol=1e-9, rtol=0)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("offset", "scale"), [(0, 1), (1e4, 1), (-3, 1e5), (2, 1e-4)])
def test_equals_a_naive_loop_in_float32(shape, offset, scale, way):
    X, Y = ((scale * x + offset).astype(np.float32) for x in related(*shape))
    folds = make_folds(shape[0])
    grid = predictivity_grid(X, Y, folds=folds)
    expected = naive(X.astype(float), Y.astype(float), folds)
    np.testing.assert_array_equal(grid.alpha[0, 0], expected[:, 1])
    np.testing.assert_allclose(grid.predictivity[0, 0], expected[:, 0], atol=1e-4, rtol=0)


@pytest.fixture
def few_penalties(monkeypatch):
    "The error is computed at the penalties that may be best only, however small the layers are."
    monkeypatch.setattr(_ridge_dual, "SMALL", 0)


@pytest.mark.parametrize("shape", SHAPES)
def test_penalties_that_cannot_be_best_need_no_error(shape, way, few_penalties):
    X, Y = related(*shape)
    folds = make_folds(shape[0])
    grid = predictivity_grid(X, Y, folds=folds, dtype=torch.float64)
    scores, chosen = reference_predictivity(X, Y, folds=folds)
    np.testing.assert_array_equal(grid.alpha[0, 0], chosen)
    np.testing.assert_allclose(grid.predictivity[0, 0], scores, atol=1e-9, rtol=0)
    X, Y = (x.astype(np.float32) for x in (X, Y))
    np.testing.assert_array_equal(predictivity_grid(X, Y, folds=folds).alpha[0, 0], chosen)


def outliers(n, p, q, seed):
    "Layers of steep spectra, a tenth of whose stimuli are many times as large as the others."
    rng = np.random.default_rng(seed)
    sizes = np.arange(1, p + 1) ** -rng.uniform(0, 2)
    X = rng.normal(size=(n, p)) * sizes @ np.linalg.qr(rng.normal(size=(p, p)))[0]
    Y = X @ rng.normal(size=(p, q)) + rng.choice([0.01, 1, 100]) * rng.normal(size=(n, q))
    large = 10 ** (rng.uniform(0, 2) * (rng.random(n) < 0.1))[:, None]
    return X * large, Y * large


@settings(deadline=None, max_examples=60)
@given(st.integers(12, 60), st.integers(1, 80), st.integers(1, 12), st.integers(0, 999))
def test_no_penalty_that_is_best_is_passed_over(n, p, q, seed):
    X, Y = outliers(n, p, q, seed)
    everyone = np.arange(n)
    fold = _ridge_dual._fold(everyone, everyone[:2], ALPHAS, torch.float64)
    source, target = _ridge_dual._source(X, fold), _ridge_dual._target(Y, fold)
    c = source.U.T @ target.Y
    best = _ridge_dual._precise_errors(source, target.Y, range(len(ALPHAS)))
    for along in (
        _ridge_dual._Along.of(source, target.Y, c),
        _ridge_dual._Along.of_gram(source, target.K()),
    ):
        tried = []

        def W_at(i, tried=tried):
            tried.append(i)
            return source.weighted(source.free[i].pow(-2))

        found = _ridge_dual._lowest_errors(source, along, W_at)
        assert set(found) == set(tried) and len(set(tried)) == len(tried)
        lowest = min(best.values())
        assert min(found.values()) == pytest.approx(lowest, rel=1e-6, abs=1e-9)
        assert best[min(found, key=found.get)] == pytest.approx(lowest, rel=1e-6, abs=1e-9)


def test_usually_few_penalties_are_tried(few_penalties, monkeypatch):
    tried, lowest_errors = [], _ridge_dual._lowest_errors
    monkeypatch.setattr(
        _ridge_dual,
        "_lowest_errors",
        lambda *given: tried.append(lowest_errors(*given)) or {**tried[-1]},
    )
    X, Y = related(200, 250, 30, noise=3)
    predictivity_grid(X, Y)
    assert len(tried) == 5 and np.mean([len(errors) for errors in tried]) <= costs.TRIED


def test_constant_and_copied_units_and_units_that_one_stimulus_moves(way):
    "A copy adds no rank; a unit that only one stimulus moves has leverage 1."
    X, Y = related(100, 30, 12)
    X[:, 0], X[:, 1], X[:, 2] = 0.1, X[:, 3], np.arange(100) == 7
    Y[:, 0], Y[:, 1] = 5.0, np.arange(100) == 7
    folds = make_folds(100)
    grid = predictivity_grid(X, Y, folds=folds, dtype=torch.float64)
    expected = naive(X, Y, folds)
    np.testing.assert_array_equal(grid.alpha[0, 0], expected[:, 1])
    np.testing.assert_allclose(
        predictivity_grid(X, Y, folds=folds).predictivity, grid.predictivity, atol=1e-4
    )
    tests_the_lonely = [7 in test for test in folds.test]
    np.testing.assert_array_equal(
        grid.n_constant_units[0, 0], 2
    )  # a lonely unit is constant in training or in test
    assert sum(tests_the_lonely) == 1
    without = naive(X, np.delete(Y, [0, 1], 1), folds)[np.logical_not(tests_the_lonely)]
    np.testing.assert_allclose(
        grid.predictivity[0, 0, np.logical_not(tests_the_lonely)], without[:, 0], atol=1e-3
    )


def test_a_unit_that_only_rounds_is_constant(form):
    X, Y = (x.astype(np.float32) for x in related(100, 10, 5))
    step = np.spacing(np.float32(1e4))
    jitter = np.float32(1e4) + step * np.random.default_rng(0).integers(0, 2, size=100).astype(
        np.float32
    )
    folds = make_folds(100)
    with_jitter = predictivity_grid(
        np.column_stack([X, jitter]), np.column_stack([Y, jitter]), folds=folds
    )
    without = predictivity_grid(X, Y, folds=folds).predictivity
    np.testing.assert_allclose(with_jitter.predictivity, without, atol=1e-6)
    assert (with_jitter.n_constant_units == 1).all()


def test_constant_layers_are_missing_and_counted(way):
    X, Y = related(60, 10, 6)
    source, target = (np.stack([np.full_like(layer, 0.1), layer, layer]) for layer in (X, Y))
    grid = predictivity_grid(source, target)
    missing = np.zeros((3, 3), bool)
    missing[0] = missing[:, 0] = True
    for name in ("predictivity", "alpha"):
        np.testing.assert_array_equal(grid[name].isnull().all("fold"), missing)
        np.testing.assert_array_equal(grid[name].isnull().any("fold"), missing)
    np.testing.assert_array_equal(grid.n_constant_units.max("fold"), 6 * missing)
    null = null_grid(source, target, n_permutations=3)
    np.testing.assert_array_equal(null.null.isnull().all("permutation"), missing)
    np.testing.assert_array_equal(null.observed.isnull(), missing)
    assert np.isnan(predictivity(source[0], Y))


@pytest.mark.parametrize(("layers", "p", "q"), [(4, 128, 128), (1, 1500, 200)])
def test_noise_is_not_predicted(layers, p, q):
    rng = np.random.default_rng(1)
    scores = predictivity_grid(
        rng.normal(size=(layers, 1000, p)), rng.normal(size=(4, 1000, q))
    ).predictivity
    assert abs(scores.mean()) < 0.01


@pytest.mark.parametrize("p", [10, 150])
def test_an_exact_linear_map_predicts_almost_perfectly(p, way):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, p))
    assert predictivity(X, X @ rng.normal(size=(p, 4)), alphas=[1e-3, 1, 1e3]) > 0.999


def test_the_way_follows_from_the_shapes():
    "In ranks for few dimensions or one target; in stimuli for many of both."
    few, many = (64, 800, 200), (799, 800, 200)

    assert costs.cheapest(costs.LOO_COSTS, 15, *few, [2560] * 31) == "rank"
    assert costs.cheapest(costs.LOO_COSTS, 15, *many, [2560] * 31) == "stimulus"
    assert costs.cheapest(costs.LOO_COSTS, 15, *many, [2560]) == "rank"
    assert costs.cheapest(costs.NULL_COSTS, 15, *few, 3131, 128) == "rank"
    assert costs.cheapest(costs.NULL_COSTS, 15, *many, 3131, 128) == "stimulus"


def by_unit(X, Y, folds):
    "Like `naive`, each unit with its own λ: (fold, (mean r, middle λ))."
    rows = []
    for i, test in enumerate(folds.test):
        train = folds.train(i)
        x, y = zscored(X, train), zscored(Y, train)
        model = RidgeCV(alphas=ALPHAS, alpha_per_target=True).fit(x[train], y[train])
        prediction = model.predict(x[test]).reshape(len(test), -1)
        rows.append(
            (
                unit_pearson(y[test], prediction).mean(),
                np.sort(np.ravel(model.alpha_))[(Y.shape[1] - 1) // 2],
            )
        )
    return np.array(rows)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("dtype", "atol"), [(torch.float64, 1e-6), (torch.float32, 1e-4)])
def test_a_penalty_for_each_unit(shape, dtype, atol, form):
    X, Y = related(*shape)
    Y = np.linspace(0.1, 3, shape[2]) * Y + np.random.default_rng(1).normal(
        size=Y.shape
    )  # units of unequal noise
    folds = make_folds(shape[0])
    grid = predictivity_grid(X, Y, folds=folds, penalty="per_target", dtype=dtype)
    expected = by_unit(X, Y, folds)
    np.testing.assert_allclose(grid.predictivity[0, 0], expected[:, 0], atol=atol, rtol=0)
    steps = np.abs(np.log10(grid.alpha[0, 0] / expected[:, 1])) / 0.5
    assert (
        steps < (1e-9 if dtype == torch.float64 else 1.1)
    ).all()  # float32 may take a neighbour whose error is the same


@pytest.mark.parametrize("penalty", PENALTIES)
def test_all_functions_take_every_penalty(penalty, form):
    X, Y = related(60, 20, 9)
    folds = make_folds(60)
    expected = predictivity_grid(X, Y, folds=folds, penalty=penalty).predictivity
    assert predictivity(X, Y, penalty=penalty) == pytest.approx(expected.mean().item())
    target, prediction = out_of_fold(X, Y, folds=folds, penalty=penalty)
    by_fold = [unit_pearson(target[test], prediction[test]).mean() for test in folds.test]
    np.testing.assert_allclose(by_fold, expected[0, 0], atol=1e-6)
    both = align_networks({"v": X}, {"l": Y}, folds=folds, penalty=penalty).predictivity
    np.testing.assert_array_equal(both.sel(direction="v2l", vision="v", language="l"), expected)


def test_one_unit_has_one_penalty(form):
    X, Y = related(60, 80, 1)
    each, shared = (
        predictivity_grid(X, Y, penalty=name, dtype=torch.float64)
        for name in ("per_target", "shared")
    )
    xr.testing.assert_allclose(each, shared)


def least(call) -> float:
    "The GiB that an error asks for."
    with pytest.raises(
        InputError, match="too small for one pair of layers: give at least"
    ) as error:
        call(1e-6)
    return float(str(error.value).split("at least ")[1].split(",")[0])


def test_results_do_not_depend_on_blocks_of_layers(monkeypatch, form):
    for module in (costs, _ridge_null):  # several blocks of rows and of pairings, too
        monkeypatch.setattr(module, "NULL_BUFFER_BYTES", 2**14)
    monkeypatch.setattr(costs, "ROWS_AT_ONCE", (7, 20))  # and of stimuli
    for other in costs.FORM_COSTS.keys() - {form}:
        monkeypatch.delitem(costs.FORM_COSTS, other)
    rng = np.random.default_rng(0)
    source, target = rng.normal(size=(5, 50, 60)), rng.normal(size=(4, 50, 70))

    def sweep(max_memory):
        targets = {"a": target, "b": target[:3, :, :9]}
        return predictivity_grids(
            source, targets, max_memory=max_memory, dtype=torch.float64
        )  # of noise, penalties all but tie

    def null(max_memory):
        return null_grid(source, target, n_permutations=7, max_memory=max_memory)

    tight, ample = sweep(least(sweep)), sweep(1.0)
    for name in "ab":
        xr.testing.assert_allclose(tight[name], ample[name], atol=1e-5)
    xr.testing.assert_allclose(null(least(null)), null(1.0), atol=1e-5)


@pytest.mark.parametrize(("sources", "targets"), [(1, 1), (2, 3), (25, 31)])
def test_blocks_fill_the_memory_and_no_more(sources, targets):
    each, work = (7 * 2**20, 13 * 2**20), 40 * 2**20
    least = work + costs.LIBRARY_BYTES
    max_memory = (least + sources * each[0] + targets * each[1]) / 2**30
    found = costs.fit_layers(max_memory, (25, 31), each, work)
    used = least + found[0] * each[0] + found[1] * each[1]
    assert max_memory * 2**30 - min(each) - max(each) <= used <= max_memory * 2**30
    assert costs.fit_layers(1e9, (25, 31), each, work) == (25, 31)


@pytest.mark.parametrize("cores", [1, 2, 16])
def test_results_do_not_depend_on_cores(monkeypatch, cores, form):
    rng = np.random.default_rng(0)
    source, target = rng.normal(size=(3, 50, 60)), rng.normal(size=(2, 50, 70))
    expected = predictivity_grid(source, target), null_grid(source, target, n_permutations=3)
    before = torch.get_num_threads()
    torch.set_num_threads(cores)
    try:
        found = predictivity_grid(source, target), null_grid(source, target, n_permutations=3)
    finally:
        torch.set_num_threads(before)
    for one, other in zip(found, expected):
        xr.testing.assert_identical(one, other)


def test_more_workers_take_no_more_memory_than_there_is():
    for max_memory in (0.2, 0.5, 4.0, 64.0):
        for n_workers in (1, 2, 16, 64):
            sizes = costs.Sizes(make_folds(1000), 1024, [1024] * 4, 15, 3, n_workers=n_workers)
            blocks = costs.dual_blocks(max_memory, sizes)
            (source, target), work = costs.dual_bytes(sizes)
            of_fold = blocks.sources * source + blocks.targets * target
            used = costs.LIBRARY_BYTES + blocks.folds * of_fold + blocks.workers * work
            assert used <= max_memory * 2**30 and blocks.workers <= n_workers
    assert blocks == (5, 3, 4, 64)


@pytest.mark.parametrize("n_folds", [3, 5])
def test_scores_on_training_stimuli_alone_are_those_of_the_other_parts(n_folds, way):
    X, Y = related(83, 12, 7)
    folds = make_folds(83, n_folds=n_folds)
    inner = inner_grids(X, {"y": Y, "z": Y[:, :3]}, folds=folds)
    for name, target in (("y", Y), ("z", Y[:, :3])):
        for k in range(n_folds):
            train = folds.train(k)
            others = [test for j, test in enumerate(folds.test) if j != k]
            within = Folds(tuple(np.searchsorted(train, test) for test in others))
            alone = predictivity_grid(X[train], target[train], folds=within).predictivity
            np.testing.assert_allclose(inner[name][0, 0, k], alone[0, 0], atol=1e-5)


def test_scores_on_training_stimuli_know_nothing_of_the_test_stimuli():
    X, Y = related(60, 12, 7)
    folds = make_folds(60, n_folds=4)
    other = np.random.default_rng(1).normal(size=Y.shape)
    changed = np.where(np.isin(np.arange(60), folds.test[2])[:, None], other, Y)
    before, after = (inner_grids(X, {"y": y}, folds=folds)["y"].isel(fold=2) for y in (Y, changed))
    np.testing.assert_array_equal(before, after)


def test_decompositions_are_kept_for_as_long_as_the_block_lasts(monkeypatch):
    made, decomposed = [], _ridge_dual._decomposed
    monkeypatch.setattr(
        _ridge_dual, "_decomposed", lambda *given: made.append(given) or decomposed(*given)
    )
    X, Y = (np.ascontiguousarray(x) for x in related(60, 70, 7))
    expected = predictivity_grid(X, Y), null_grid(X, Y, n_permutations=3)
    assert len(made) == 10
    for max_memory, times in ((1.0, 5), (0.0, 10)):
        made.clear()
        with _ridge_dual._keeping_sources(max_memory):
            found = predictivity_grid(X, Y), null_grid(X, Y, n_permutations=3)
        assert len(made) == times
        for one, other in zip(found, expected):
            xr.testing.assert_identical(one, other)
    made.clear()
    with _ridge_dual._keeping_sources(1.0):
        predictivity_grid(X, Y), predictivity_grid(X.copy(), Y)  # another array
        predictivity_grid(X, Y, alphas=[1.0]), predictivity_grid(X, Y, folds=4)
    assert len(made) == 5 + 5 + 5 + 4


def test_a_device_may_be_a_name_or_an_object():
    X, Y = related(60, 20, 9)
    for device in ("cpu", torch.device("cpu")):
        xr.testing.assert_identical(predictivity_grid(X, Y, device=device), predictivity_grid(X, Y))
        xr.testing.assert_identical(
            null_grid(X, Y, n_permutations=3, device=device), null_grid(X, Y, n_permutations=3)
        )


@pytest.mark.parametrize("device", ["cpu", *(["cuda"] if torch.cuda.is_available() else [])])
@pytest.mark.parametrize("penalty", PENALTIES)
def test_every_device_agrees_with_float64(device, penalty, way):
    X, Y = related(103, 150, 120)
    exact = predictivity_grid(X, Y, penalty=penalty, dtype=torch.float64)
    xr.testing.assert_allclose(
        predictivity_grid(X, Y, penalty=penalty, device=device), exact, atol=1e-4
    )
    here, there = (null_grid(X, Y, n_permutations=5, device=where) for where in ("cpu", device))
    xr.testing.assert_allclose(here, there, atol=1e-4)


def test_products_are_float32_whatever_is_allowed():
    "A caller may allow TF32 or bfloat16 for training; the setting comes back, also after an error."
    X, Y = related(60, 70, 80)
    expected = predictivity_grid(X, Y), null_grid(X, Y, n_permutations=3)
    torch.set_float32_matmul_precision("medium")
    try:
        found = predictivity_grid(X, Y), null_grid(X, Y, n_permutations=3)
        with pytest.raises(InputError):
            predictivity(X, Y[:-1])
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision("highest")
    for a, b in zip(found, expected):
        xr.testing.assert_identical(a, b)


layers = st.builds(
    related,
    n=st.integers(20, 60),
    p=st.integers(1, 80),
    q=st.integers(1, 80),
    seed=st.integers(0, 99),
)


@settings(deadline=None, max_examples=20)
@given(layers, st.floats(-100, 100), st.floats(0.01, 100))
def test_units_have_no_scale_and_no_order(pair, offset, scale):
    X, Y = pair
    expected = predictivity(X, Y)
    assert predictivity(scale * X + offset, Y[:, ::-1]) == pytest.approx(expected, abs=1e-4)
    assert predictivity(X[:, ::-1], offset - scale * Y) == pytest.approx(expected, abs=1e-4)
    assert predictivity(np.column_stack([X, np.ones(len(X))]), Y) == pytest.approx(
        expected, abs=1e-4
    )


@settings(deadline=None, max_examples=20)
@given(layers, st.randoms(use_true_random=False))
def test_stimuli_have_no_order(pair, random):
    X, Y = pair
    order = np.array(random.sample(range(len(X)), len(X)))
    folds = make_folds(len(X))
    moved = Folds(tuple(np.argsort(order)[test] for test in folds.test))
    before, after = (
        predictivity_grid(X, Y, folds=folds),
        predictivity_grid(X[order], Y[order], folds=moved),
    )
    np.testing.assert_allclose(before.predictivity, after.predictivity, atol=1e-4)


@settings(deadline=None)
@given(st.integers(10, 200), st.integers(2, 5), st.integers(0, 9))
def test_folds_are_a_partition(n, n_folds, seed):
    folds = make_folds(n, n_folds=n_folds, seed=seed)
    np.testing.assert_array_equal(np.sort(np.concatenate(folds.test)), np.arange(n))
    assert max(map(len, folds.test)) - min(map(len, folds.test)) <= 1
    for i in range(n_folds):
        np.testing.assert_array_equal(np.union1d(folds.train(i), folds.test[i]), np.arange(n))
        assert not np.intersect1d(folds.train(i), folds.test[i]).size


def test_the_form_follows_from_the_shapes_and_the_memory():
    def form(n, p, *units, max_memory=4.0):
        return costs.choose_form(max_memory, costs.Sizes(make_folds(n), p, units, len(ALPHAS)))

    assert form(118_000, 1024, *[1024] * 31) == "primal"
    assert form(20_000, 256, 256) == "primal"
    assert form(1000, 1024, *[2560] * 31) == "dual"
    assert form(1000, 4096, 4096) == "dual"
    assert form(3000, 1024, 4096) == "dual"  # too few to pay for covariances in float64
    assert form(3000, 1024, 4096, max_memory=0.5) == "primal"  # but those are smaller


def test_blocks_of_stimuli_fill_the_memory_and_no_more():
    sizes = costs.Sizes(make_folds(118_000), 1024, [1024] * 31, 15, 25)
    (source, target), work = costs.primal_bytes(sizes)
    least = costs.LIBRARY_BYTES + source + target + work
    for max_memory in np.linspace(least / 2**30 + 1e-9, 4, 20):
        targets, stimuli = costs.primal_blocks(max_memory, sizes)
        used = (
            least
            + (targets - 1) * target
            + (stimuli - costs.ROWS_AT_ONCE[0]) * costs.row_bytes(sizes)
        )
        assert used <= max_memory * 2**30
        assert (
            targets == 31
            or max_memory * 2**30 - used < target + costs.row_bytes(sizes)
            or stimuli == costs.ROWS_AT_ONCE[1]
        )
    with pytest.raises(InputError, match="too small"):
        costs.primal_blocks(0.99 * least / 2**30, sizes)


@pytest.mark.parametrize("penalty", PENALTIES)
def test_files_are_read_block_by_block(monkeypatch, penalty, tmp_path):
    "Files mapped into memory are touched block by block, and never as a whole."
    folds = make_folds(997)
    make_cheapest(monkeypatch, costs.FORM_COSTS, "primal")
    monkeypatch.setattr(costs, "ROWS_AT_ONCE", (16, 50))
    for name, layer in zip("XY", related(997, 6, 5)):
        np.save(tmp_path / f"{name}.npy", layer.astype(np.float32))
    X, Y = (np.load(tmp_path / f"{name}.npy", mmap_mode="r") for name in "XY")
    blocks, whole = [], _ridge_primal.to_float64
    monkeypatch.setattr(
        _ridge_primal, "to_float64", lambda values: blocks.append(values.shape) or whole(values)
    )
    found = predictivity_grid(X, Y, folds=folds, penalty=penalty)
    assert max(len(shape) and shape[0] for shape in blocks) == 50
    observed, predicted = out_of_fold(X, Y, folds=folds, penalty=penalty)
    assert max(len(shape) and shape[0] for shape in blocks) == 50
    monkeypatch.setattr(_ridge_primal, "to_float64", whole)
    make_cheapest(monkeypatch, costs.FORM_COSTS, "dual")
    monkeypatch.delitem(costs.FORM_COSTS, "primal")
    xr.testing.assert_allclose(
        found, predictivity_grid(X, Y, folds=folds, penalty=penalty), atol=1e-5
    )
    for a, b in zip((observed, predicted), out_of_fold(X, Y, folds=folds, penalty=penalty)):
        np.testing.assert_allclose(a, b, atol=1e-4)


def test_a_unit_that_moves_only_in_the_test_part_leaves_no_rounding(form):
    "Parts are added, not subtracted from a total, which would leave rounding of the test part."
    X, Y = (x.astype(np.float32) for x in related(300, 8, 5))
    folds = make_folds(300)
    expected = predictivity_grid(X, Y, folds=folds).predictivity
    lonely = (1e6 * np.isin(np.arange(300), folds.test[0])).astype(np.float32)[:, None] * X[:, :1]
    found = predictivity_grid(np.column_stack([X, lonely]), Y, folds=folds).predictivity
    np.testing.assert_allclose(found[0, 0, 0], expected[0, 0, 0], atol=1e-5)


def test_parts_may_be_of_any_size(form):
    X, Y = related(400, 8, 5)
    order = np.random.default_rng(0).permutation(400)
    folds = Folds((order[:11], order[11:90], order[90:]))
    expected = naive(X, Y, folds)
    grid = predictivity_grid(X, Y, folds=folds)
    np.testing.assert_array_equal(grid.alpha[0, 0], expected[:, 1])
    np.testing.assert_allclose(grid.predictivity[0, 0], expected[:, 0], atol=1e-4)


def test_many_targets_share_one_source():
    X, Y = related(50, 10, 6)
    Z = related(50, 3, 70)[1]
    together = predictivity_grids(X, {"y": Y, "z": Z})
    for name, target in (("y", Y), ("z", Z)):
        xr.testing.assert_allclose(
            together[name], predictivity_grid(X, target), atol=1e-5
        )  # perhaps in another form


def test_grid_carries_names_depths_and_sizes():
    X, Y = related(50, 10, 6)
    source, target = (
        feature_array(np.stack([X, X, X]), model="a"),
        feature_array(np.stack([Y, Y]), model="b"),
    )
    grid = predictivity_grid(source, target)
    assert grid.sizes == {"source_layer": 3, "target_layer": 2, "fold": 5}
    assert list(grid.source_depth) == [0, 0.5, 1] and list(grid.target_depth) == [0, 1]
    sides = {"source_model": "a", "n_source_units": 10, "target_model": "b", "n_target_units": 6}
    assert grid.attrs == {"n_stimuli": 50} | sides
    bare = predictivity_grid(source.drop_vars(["layer", "depth"]), target)
    np.testing.assert_array_equal(bare.source_depth, grid.source_depth)


def test_two_runs_agree_to_the_bit(form):
    X, Y = related(60, 70, 80)
    xr.testing.assert_identical(predictivity_grid(X, Y), predictivity_grid(X, Y))
    xr.testing.assert_identical(
        null_grid(X, Y, n_permutations=5), null_grid(X, Y, n_permutations=5)
    )


@pytest.mark.parametrize("q", [6, 80])
def test_out_of_fold_scores_as_the_grid(q, form):
    X, Y = related(60, 20, q)
    folds = make_folds(60)
    target, prediction = out_of_fold(X, Y, folds=folds)
    by_fold = [np.nanmean(unit_pearson(target[test], prediction[test])) for test in folds.test]
    np.testing.assert_allclose(
        by_fold, predictivity_grid(X, Y, folds=folds).predictivity[0, 0], atol=1e-6
    )
    for i, test in enumerate(folds.test):
        np.testing.assert_allclose(target[test], zscored(Y, folds.train(i))[test], atol=1e-5)


@pytest.mark.parametrize("penalty", PENALTIES)
def test_penalties_at_an_end_are_counted(penalty, form):
    X, Y = related(60, 10, 6)
    Y[:, 0] = 1.0  # without a score
    grid = predictivity_grid(X, Y, penalty=penalty, alphas=[1, 10, 1e6], dtype=torch.float64)
    for i, test in enumerate(make_folds(60).test):
        train = np.setdiff1d(np.arange(60), test)
        model = RidgeCV(alphas=[1, 10, 1e6], alpha_per_target=penalty == "per_target")
        y = zscored(Y, train)[:, 1:]
        alpha = np.atleast_1d(model.fit(zscored(X, train)[train], y[train]).alpha_)
        assert grid.alpha_at_edge[0, 0, i] == pytest.approx(np.mean(alpha != 10))


def test_one_penalty_and_no_score_are_at_no_end():
    X, Y = related(60, 10, 6)
    assert (predictivity_grid(X, Y, alphas=[3.0]).alpha_at_edge == 0).all()
    assert predictivity_grid(X, np.ones_like(Y)).alpha_at_edge.isnull().all()


def test_the_end_of_the_grid_is_warned_of_only_when_asked():
    "Warnings are errors here, so that a grid that warned by itself would fail."
    X, _ = related(60, 10, 6)
    noise = np.random.default_rng(0).normal(size=(60, 5))
    grid = predictivity_grid(X, noise, alphas=[1, 100])
    with pytest.warns(AlphaAtEdgeWarning, match=r"100% .* smallest \(1\) or the largest \(100\)"):
        assert warn_alpha_at_edge(grid) == 1
    assert warn_alpha_at_edge(grid, tolerated=1) == 1


def test_splitters_are_folds():
    X, Y = related(60, 10, 6)
    splitter = KFold(4, shuffle=True, random_state=0)
    folds = Folds(tuple(test for _, test in splitter.split(X)))
    expected = predictivity_grid(X, Y, folds=folds)
    for same in (splitter, list(splitter.split(X)), as_folds(splitter, 60)):
        xr.testing.assert_identical(predictivity_grid(X, Y, folds=same), expected)
    assert predictivity(X, Y, folds=splitter) == pytest.approx(expected.predictivity.mean().item())
    np.testing.assert_array_equal(
        out_of_fold(X, Y, folds=splitter)[1], out_of_fold(X, Y, folds=folds)[1]
    )
    np.testing.assert_array_equal(
        out_of_folds(X, {"y": Y}, folds=splitter)["y"], out_of_folds(X, {"y": Y}, folds=folds)["y"]
    )
    xr.testing.assert_identical(
        null_grid(X, Y, folds=splitter, n_permutations=3),
        null_grid(X, Y, folds=folds, n_permutations=3),
    )
    assert predictivity_grid(X, Y, folds=3).sizes["fold"] == 3


def test_groups_stay_together():
    groups = np.repeat(np.arange(12), 5)
    splitters = [(GroupKFold(4), groups), (PredefinedSplit(groups % 3), None)]
    for splitter, labels in splitters:
        folds = as_folds(splitter, 60, labels)
        for i, test in enumerate(folds.test):
            assert not np.intersect1d(groups[test], groups[folds.train(i)]).size


def test_permutations_stay_within_folds():
    folds = make_folds(53)
    shuffled = fold_permutations(folds, 20)
    for test in folds.test:
        np.testing.assert_array_equal(np.sort(shuffled[:, test], axis=1), np.tile(test, (20, 1)))
    assert len(np.unique(shuffled, axis=0)) == 20
    np.testing.assert_array_equal(shuffled, fold_permutations(folds, 20))
    assert (shuffled != fold_permutations(folds, 20, seed=1)).any()


def by_gcv(X, Y, folds):
    "Predictivity with λ by generalised cross-validation, from explicit hat matrices."
    scores = []
    for i, test in enumerate(folds.test):
        train = folds.train(i)
        x, y = zscored(X, train), zscored(Y, train)

        def error(alpha, x=x[train], y=y[train]):
            hat = x @ np.linalg.solve(x.T @ x + alpha * np.eye(x.shape[1]), x.T) + 1 / len(x)
            return np.square(y - hat @ y).sum() / (1 - np.trace(hat) / len(x)) ** 2

        best = min(ALPHAS, key=error)
        r = unit_pearson(y[test], Ridge(best).fit(x[train], y[train]).predict(x[test]))
        scores.append(np.nanmean(r))
    return np.mean(scores)


@pytest.mark.parametrize(
    "shape", [(60, 12, 6), (50, 100, 6), (60, 47, 6), (61, 40, 70), (53, 400, 60)]
)
def test_null_is_what_shuffling_gives(shape, way):
    X, Y = related(*shape)
    folds = make_folds(shape[0])
    null = null_grid(X, Y, folds=folds, n_permutations=4, n_units=100)
    assert null.n_units == shape[2]
    assert null.observed.item() == pytest.approx(by_gcv(X, Y, folds), abs=1e-5)
    for i, shuffled in enumerate(fold_permutations(folds, 4)):
        assert null.null[i].item() == pytest.approx(by_gcv(X, Y[shuffled], folds), abs=1e-5)


def test_the_null_does_not_depend_on_blocks_of_permutations():
    "Wide grids are shuffled in several blocks of permutations."
    X, Y = related(40, 5, 400)
    target = np.stack([Y] * 3)
    in_blocks = null_grid(X, target, n_permutations=30, n_units=400)
    np.testing.assert_allclose(
        in_blocks.null[:7], null_grid(X, target, n_permutations=30, n_units=400).null[:7]
    )
    alone = null_grid(X, Y, n_permutations=30, n_units=400)
    np.testing.assert_allclose(in_blocks.null[:, :, [1]], alone.null, atol=1e-5)


def test_p_values_of_independent_layers_are_uniform():
    p = []
    for seed in range(200):
        rng = np.random.default_rng(seed)
        null = null_grid(
            rng.normal(size=(30, 4)), rng.normal(size=(30, 3)), n_permutations=39, seed=seed
        )
        p.append((1 + (null.null >= null.observed).sum().item()) / 40)
    assert kstest(np.array(p) - 0.0125, "uniform").pvalue > 0.01


def test_null_ways_agree_layer_by_layer(monkeypatch):
    "Layers of different strength choose different penalties, so pairings go through several maps."
    rng = np.random.default_rng(0)
    shared = rng.normal(size=(60, 6))

    def layers(n, units):
        return np.stack(
            [
                i * shared @ rng.normal(size=(6, units)) + rng.normal(size=(60, units))
                for i in range(n)
            ]
        )

    source, target, found = layers(4, 90), layers(5, 20), []
    for way in ("rank", "stimulus"):
        with monkeypatch.context() as patch:
            make_cheapest(patch, costs.NULL_COSTS, way)
            found.append(null_grid(source, target, n_permutations=10, n_units=20))
    xr.testing.assert_allclose(*found, atol=1e-5)
    assert found[0].observed.max() > 0.5


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda X, Y: predictivity(X, Y, penalty="mine"),
            "penalty 'mine' is unknown: give one of shared, per_target",
        ),
        (
            lambda X, Y: predictivity_grid(X, Y, device="abacus"),
            "device 'abacus' cannot be used here",
        ),
        (lambda X, Y: null_grid(X, Y, device="cuda:99"), "device 'cuda:99' cannot be used here"),
        (
            lambda X, Y: align_networks({"v": X}, {"l": Y}, max_memory=0),
            "max_memory=0 GiB is too small",
        ),
        (lambda X, Y: null_grid(X, Y, max_memory=float("nan")), "max_memory=nan GiB is too small"),
        (lambda X, Y: predictivity(X, Y[:-1]), "source has 50 stimuli, target has 49"),
        (lambda X, Y: predictivity(X[:9], Y[:9]), "X has 9 stimuli"),
        (lambda X, Y: predictivity(np.stack([X, X]), Y), "X has 2 layers"),
        (
            lambda X, Y: predictivity(np.where(np.arange(10) == 3, np.nan, X), Y),
            "layer 0, stimulus 0, unit 3",
        ),
        (lambda X, Y: predictivity(X, Y, n_folds=26), r"n_folds is 2…25"),
        (lambda X, Y: predictivity(X, Y, alphas=[1, -1]), "positive ridge penalties"),
        (lambda X, Y: predictivity(X, Y, alphas=[]), "positive ridge penalties"),
        (lambda X, Y: predictivity_grid(X, Y, folds=make_folds(60)), r"make_folds\(50\)"),
        (lambda X, Y: predictivity_grid(X, Y, folds=ShuffleSplit(5)), "exactly once"),
        (lambda X, Y: out_of_fold(X, Y, folds=RepeatedKFold()), "exactly once"),
        (lambda X, Y: as_folds(LeaveOneOut(), 50), "not a partition"),
        (lambda X, Y: as_folds(GroupKFold(5), 50), "groups"),
        (lambda X, Y: as_folds(KFold(51), 50), r"KFold\(.*cannot split 50 stimuli"),
        (lambda X, Y: as_folds("five", 50), "'five' cannot split"),
        (
            lambda X, Y: as_folds([(range(1, 25), range(25, 50)), (range(25, 50), range(25))], 50),
            "trains fold 0 on 24 of the 25 stimuli",
        ),
        (lambda X, Y: predictivity_grids(X, {"b": np.full_like(Y, np.inf)}), "target b holds inf"),
        (
            lambda X, Y: predictivity_grid([X, X[1:]], Y),
            r"source are layers of unlike shapes \(\(50, 10\), \(49, 10\)\)",
        ),
        (lambda X, Y: predictivity_grid([], Y), r"source have shape \(0,\)"),
        (lambda X, Y: predictivity_grid(X[None][:0], Y), "source is empty: 0 layers"),
        (lambda X, Y: predictivity_grid(X, Y[:, :0]), "target is empty: 1 layer of 0 units"),
        (lambda X, Y: predictivity_grid(X[:, 0], Y), r"source have shape \(50,\)"),
        (lambda X, Y: predictivity_grids(X, {}), "there is no target"),
        (lambda X, Y: inner_grids(X, {"y": Y}, folds=2), "nothing is left to fit a map on"),
        (lambda X, Y: align_networks({"v": X}, {}), "there is no target"),
        (
            lambda X, Y: align_networks({"v": X}, {"a": Y, "b": Y[1:]}),
            "source has 50 stimuli, target b has 49",
        ),
        (lambda X, Y: predictivity(X.astype(str), Y), "must be real numbers"),
        (
            lambda X, Y: out_of_fold(X, Y, max_memory=1e-6),
            "too small for one pair of layers: give at least",
        ),
        (lambda X, Y: unit_pearson(X, Y), "same stimuli"),
        (lambda X, Y: Folds(()), "not a partition"),
        (lambda X, Y: Folds((np.array([0, 1]), np.array([3, 4]))), "not a partition"),
        (lambda X, Y: make_folds(3), "too few"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(InputError, match=message):
        call(*related(50, 10, 6))


def test_one_alpha_integers_tensors_and_single_layers_are_fine():
    X, Y = related(50, 10, 6)
    assert (predictivity_grid(X, Y, alphas=10.0).alpha == 10).all()
    assert predictivity(torch.as_tensor(X), torch.as_tensor(Y)) == predictivity(X, Y)
    counts = np.round(4 * X).astype(int)
    assert predictivity(counts, Y) == pytest.approx(predictivity(counts.astype(float), Y), abs=1e-6)
    features = feature_array(np.stack([X, Y[:, [0] * 10]]).astype(np.float32))
    assert predictivity(features.sel(layer=0), features[[0]]) > 0.9
    halves = xr.DataArray(X[None].astype(np.float16), dims=("layer", "stimulus", "unit"))
    assert predictivity(halves, Y) == pytest.approx(predictivity(X, Y), abs=1e-3)


def test_units_a_hundred_times_as_many_as_stimuli():
    X, Y = related(30, 3000, 3)
    expected = naive(X, Y, make_folds(30))
    grid = predictivity_grid(X, Y)
    np.testing.assert_array_equal(grid.alpha[0, 0], expected[:, 1])
    np.testing.assert_allclose(grid.predictivity[0, 0], expected[:, 0], atol=1e-4)


@pytest.mark.parametrize("kind", ["float16", "int8", "uint16", "int64", "bool"])
def test_other_number_types_are_converted_and_the_grid_names_them(kind):
    X, Y = related(60, 10, 6)
    counts = np.clip(np.round(4 * np.abs(X)), 0, 100) if kind != "bool" else X > 0
    features, floats = counts.astype(kind), counts.astype(kind).astype(np.float32)
    grid, expected = predictivity_grid(features, Y), predictivity_grid(floats, Y)
    assert grid.attrs == expected.attrs | {"source_converted_from": kind}
    np.testing.assert_array_equal(grid.predictivity, expected.predictivity)
    named = xr.DataArray(features[None], dims=("layer", "stimulus", "unit"))
    assert predictivity_grid(Y, named).attrs["target_converted_from"] == kind
    assert "target_converted_from" not in grid.attrs


@pytest.mark.parametrize("max_memory", [0, 1e-6])
@pytest.mark.parametrize("shape", [(60, 20, 9), (2000, 8, 5), (30, 600, 3)])
def test_the_least_memory_that_an_error_names_is_enough(shape, max_memory):
    X, Y = related(*shape)
    for call in (
        lambda m: predictivity_grid(X, Y, max_memory=m).predictivity,
        lambda m: out_of_fold(X, Y, max_memory=m)[1],
        lambda m: null_grid(X, Y, n_permutations=2, max_memory=m).null,
    ):
        np.testing.assert_allclose(call(least(call)), call(4.0), atol=1e-5)
    with pytest.raises(InputError, match=f"max_memory={max_memory} GiB is too small"):
        predictivity_grid(X, Y, max_memory=max_memory)


def test_the_null_of_many_stimuli_and_few_units_takes_no_gram():
    "20 000 stimuli: their Gram alone would take 1.5 GiB."
    X, Y = (x.astype(np.float32) for x in related(20_000, 4, 3))
    null = null_grid(X, Y, n_permutations=3, max_memory=1.0)
    assert abs(null.null).max() < 0.05 and null.observed == pytest.approx(
        predictivity(X, Y), abs=1e-3
    )


@pytest.mark.parametrize("copies", [1, 5])  # fewer units than training stimuli, and more
def test_changed_stimuli_are_predicted_by_the_map_of_intact_ones(copies, form):
    rng = np.random.default_rng(0)
    X = np.repeat(rng.normal(size=(100, 30)), copies, 1) + 0.1 * rng.normal(size=(100, 30 * copies))
    Y, changed = X[:, :7] + rng.normal(size=(100, 7)), X + rng.normal(size=X.shape)
    folds, expected = make_folds(100), np.empty(Y.shape)
    for i, test in enumerate(folds.test):
        x, y = (StandardScaler().fit(fitted[folds.train(i)]) for fitted in (X, Y))
        ridge = Ridge(3.0).fit(x.transform(X[folds.train(i)]), y.transform(Y[folds.train(i)]))
        expected[test] = ridge.predict(x.transform(changed[test]))
    np.testing.assert_allclose(
        out_of_fold(X, Y, tested=changed, folds=folds, alphas=[3.0])[1], expected, atol=1e-5
    )
