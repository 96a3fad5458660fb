"""Scores with their bootstrap draws: arithmetic, intervals, and what must not be combined."""

import numpy as np
import pytest
import xarray as xr

from seeing_words.core.errors import InputError
from seeing_words.measures.scores import (
    concat_scores,
    draw_labels,
    format_score,
    interval,
    make_scores,
    slope,
    tidy,
)

RNG = np.random.default_rng(0)
WEIGHTS = RNG.multinomial(20, np.full(20, 1 / 20), size=3)
OTHER = WEIGHTS[::-1].copy()
A = make_scores(2.0, np.array([1.0, 2.0, 4.0]), WEIGHTS)
B = make_scores(4.0, np.array([3.0, 4.0, 5.0]), WEIGHTS)


@pytest.mark.parametrize(
    ("made", "value", "draws"),
    [
        (sum([A, B]), 6, [4, 6, 9]),
        (1 - A, -1, [0, -1, -3]),
        (-A, -2, [-1, -2, -4]),
        (2 * A, 4, [2, 4, 8]),
        (1 / A, 0.5, [1, 0.5, 0.25]),
        (A - 1, 1, [0, 1, 3]),
        (A / B, 0.5, [1 / 3, 0.5, 0.8]),
        (np.float64(2) * A, 4, [2, 4, 8]),
    ],
)
def test_arithmetic_is_draw_by_draw_with_numbers_on_either_side(made, value, draws):
    assert float(made.value) == pytest.approx(value)
    np.testing.assert_allclose(made.draws, draws)


def test_a_paired_difference_is_narrower_than_its_parts():
    common = RNG.normal(size=1000)
    weights = RNG.multinomial(20, np.full(20, 1 / 20), size=1000)
    difference = make_scores(2.0, 2 + common, weights) - make_scores(1.0, 1 + common, weights)
    assert format_score(difference) == "1.000 [1.000, 1.000]"


@pytest.mark.parametrize("combine", [lambda a, b: a - b, lambda a, b: a + b, lambda a, b: a / b])
def test_scores_of_different_weights_have_no_interval(combine):
    other = make_scores(4.0, np.array([3.0, 4.0, 5.0]), OTHER)
    with pytest.raises(InputError, match="different weights"):
        interval(combine(A, other))
    with pytest.raises(InputError, match="same `weights`"):
        concat_scores({"a": A, "b": other}, "condition")


MASKED = np.ma.masked_array([1.0, 2.0, 4.0], mask=[False, True, False])


@pytest.mark.parametrize(
    ("value", "draws", "weights", "named"),
    [
        (2.0, MASKED, WEIGHTS, r"draws is masked at index \(1\)"),
        (MASKED[1], np.ones(3), WEIGHTS, "value is masked"),
        (2.0, np.ones(3), np.ma.masked_less(WEIGHTS, 1), "weights is masked at index"),
    ],
)
def test_masked_numbers_are_no_scores(value, draws, weights, named):
    with pytest.raises(InputError, match=named):
        make_scores(value, draws, weights)


def test_a_mask_that_hides_nothing_changes_nothing():
    draws = np.ma.masked_array([1.0, 2.0, 4.0], mask=False)
    assert make_scores(2.0, draws, WEIGHTS).identical(A)


def test_labels_depend_on_the_weights_alone():
    np.testing.assert_array_equal(draw_labels(WEIGHTS), draw_labels(WEIGHTS.astype(float)))
    assert not set(draw_labels(WEIGHTS)) & set(draw_labels(OTHER))
    assert not set(draw_labels(WEIGHTS)) & set(draw_labels(WEIGHTS[:, :10]))


def test_as_many_draws_as_weights():
    with pytest.raises(InputError, match="2 draws, the weights 3"):
        make_scores(1.0, np.ones(2), WEIGHTS)


def test_interval_is_numpys_quantile_and_missing_where_a_draw_is():
    draws = xr.DataArray(RNG.normal(size=(2, 3)), dims=("layer", "draw"))
    scores = make_scores(draws.mean("draw"), draws, WEIGHTS)
    ends = interval(scores, level=0.8)
    np.testing.assert_allclose(ends.low, np.quantile(draws, 0.1, axis=1))
    np.testing.assert_allclose(ends.high, np.quantile(draws, 0.9, axis=1))
    holed = make_scores(draws.mean("draw"), draws.where(draws.layer > 0), WEIGHTS)
    assert np.isnan(interval(holed).low[0]) and np.isfinite(interval(holed).low[1])


def test_slope_is_polyfits_in_value_and_draws():
    x = (1, 3, 5)
    line = {
        k: make_scores(y, np.array([y, -y, 2 * y]), WEIGHTS) for k, y in zip(x, (0.2, 0.5, 0.6))
    }
    scores = concat_scores(line, "k")
    fitted = slope(scores, "k")
    assert float(fitted.value) == pytest.approx(np.polyfit(x, scores.value, 1)[0])
    expected = [np.polyfit(x, scores.draws[:, i], 1)[0] for i in range(3)]
    np.testing.assert_allclose(fitted.draws, expected)
    with pytest.raises(InputError, match="two points"):
        slope(scores.isel(k=[0]), "k")


def test_tidy_has_a_row_for_each_score_in_order():
    table = tidy(concat_scores({"b": B, "a": A}, "condition"), name="effect")
    assert list(table.columns) == ["condition", "effect", "low", "high"]
    assert list(table.condition) == ["b", "a"] and list(table.effect) == [4.0, 2.0]
    assert list(tidy(A).columns) == ["value", "low", "high"]


def test_nothing_to_put_together_is_an_error():
    with pytest.raises(InputError, match="no scores"):
        concat_scores({}, "condition")
