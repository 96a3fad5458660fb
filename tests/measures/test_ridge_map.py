"RidgeMap against scikit-learn, and as one of its estimators."

from unittest import SkipTest

import numpy as np
import pytest
from layers import related
from sklearn.base import clone
from sklearn.linear_model import Ridge, RidgeCV
from sklearn.model_selection import GridSearchCV, KFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import estimator_checks_generator

from seeing_words.core.errors import InputError
from seeing_words.measures._ridge_dual import ALPHAS, PENALTIES
from seeing_words.measures.numerics import unit_pearson
from seeing_words.measures.predictivity import predictivity
from seeing_words.measures.ridge_map import RidgeMap

SHAPES = [(60, 20, 7), (40, 100, 5), (50, 49, 80), (30, 1, 1)]


@pytest.mark.parametrize("penalty", PENALTIES)
@pytest.mark.parametrize("shape", SHAPES)
def test_equals_ridge_cv_of_z_scores(shape, penalty):
    X, Y = related(*shape)
    X, Y = 3 * X + 10, 0.1 * Y - 7
    scale = StandardScaler().fit(Y)
    peer = make_pipeline(
        StandardScaler(), RidgeCV(alphas=ALPHAS, alpha_per_target=penalty == "per_target")
    ).fit(X, scale.transform(Y))
    ridge = RidgeMap(penalty=penalty).fit(X, Y)
    np.testing.assert_allclose(ridge.alpha_, np.squeeze(peer[-1].alpha_))
    expected = scale.inverse_transform(peer.predict(X).reshape(Y.shape))
    np.testing.assert_allclose(ridge.predict(X), expected, atol=1e-9)


def test_coefficients_are_those_of_ridge():
    X, Y = related(60, 20, 3)
    ridge = RidgeMap(alphas=[5.0]).fit(X, Y)
    x, y = StandardScaler().fit(X), StandardScaler().fit(Y)
    peer = Ridge(5.0).fit(x.transform(X), y.transform(Y))
    np.testing.assert_allclose(ridge.coef_, peer.coef_ * y.scale_[:, None] / x.scale_)
    np.testing.assert_allclose(ridge.intercept_, Y.mean(0) - ridge.coef_ @ X.mean(0))


def test_score_is_the_mean_correlation():
    X, Y = related(80, 10, 6)
    ridge = RidgeMap().fit(X[:40], Y[:40])
    expected = unit_pearson(Y[40:], ridge.predict(X[40:])).mean()
    assert ridge.score(X[40:], Y[40:]) == pytest.approx(expected)


def test_cross_validated_score_is_predictivity():
    X, Y = related(80, 30, 6)
    splitter = KFold(4, shuffle=True, random_state=0)
    for penalty in PENALTIES:
        scores = cross_val_score(RidgeMap(penalty=penalty), X, Y, cv=splitter)
        expected = predictivity(X, Y, folds=splitter, penalty=penalty)
        assert scores.mean() == pytest.approx(expected, abs=1e-5)


def test_constant_units_predict_nothing_and_are_predicted_as_their_mean():
    X, Y = related(60, 10, 4)
    X[:, 3], Y[:, 1] = 0.1, 7.0
    ridge = RidgeMap().fit(X, Y)
    assert (ridge.coef_[:, 3] == 0).all()
    np.testing.assert_allclose(ridge.predict(X)[:, 1], 7.0)
    without = RidgeMap().fit(np.delete(X, 3, 1), np.delete(Y, 1, 1))
    np.testing.assert_allclose(
        np.delete(ridge.predict(X), 1, 1), without.predict(np.delete(X, 3, 1))
    )
    assert ridge.score(X, Y) == pytest.approx(without.score(np.delete(X, 3, 1), np.delete(Y, 1, 1)))


def test_a_single_target_is_one_dimensional():
    X, Y = related(60, 10, 1)
    ridge, wide = RidgeMap().fit(X, Y[:, 0]), RidgeMap().fit(X, Y)
    assert ridge.coef_.shape == (10,) and ridge.predict(X).shape == (60,)
    assert wide.coef_.shape == (1, 10) and wide.predict(X).shape == (60, 1)
    np.testing.assert_allclose(ridge.predict(X), wide.predict(X)[:, 0])
    assert ridge.score(X, Y[:, 0]) == pytest.approx(wide.score(X, Y))


def test_parameters_can_be_read_set_and_searched():
    ridge = clone(RidgeMap([1.0, 10.0], penalty="per_target"))
    assert ridge.get_params() == {"alphas": [1.0, 10.0], "penalty": "per_target", "device": "cpu"}
    assert ridge.set_params(penalty="shared").penalty == "shared"
    X, Y = related(60, 10, 4)
    search = GridSearchCV(RidgeMap(), {"penalty": list(PENALTIES)}, cv=3).fit(X, Y)
    assert search.best_estimator_.coef_.shape == (4, 10)


@pytest.mark.parametrize(
    ("estimator", "message"),
    [
        (RidgeMap(penalty="mine"), "give one of shared, per_target"),
        (RidgeMap(alphas=[0.0]), "positive ridge penalties"),
        (RidgeMap(device="abacus"), "cannot be used here"),
    ],
)
def test_bad_parameters_are_named(estimator, message):
    with pytest.raises(InputError, match=message):
        estimator.fit(*related(50, 10, 6))


def test_keeps_the_contract_of_estimators():
    passed = set()
    for estimator, check in estimator_checks_generator(RidgeMap()):
        try:
            check(estimator)
        except SkipTest:  # of array libraries that are not installed or not switched on
            continue
        passed.add(check.func.__name__)
    assert {"check_regressors_train", "check_fit_idempotent", "check_estimators_nan_inf"} <= passed
    assert len(passed) > 40
