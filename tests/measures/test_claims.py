"""Claims of all kinds: against their definitions, and on simulated effects of which the truth is
known."""

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm

from seeing_words.core.errors import InputError
from seeing_words.measures.claims import Claim, claims_table, holm, judge, verdict
from seeing_words.measures.scores import interval, make_scores

N_DRAWS = 1000
WEIGHTS = np.ones((N_DRAWS, 10), dtype=int)
# draws of a standard normal number, as even as they can be
EVEN = norm.ppf((np.arange(N_DRAWS) + 0.5) / N_DRAWS)
EVERY = Claim("E", "Every pair shows it.", "smallest", kind="every")
SAME = Claim("S", "It stays the same.", "difference", kind="equivalence", margin=0.1)


def score(value: float, error: float):  # one number, normal with this standard error
    return make_scores(value, value + error * EVEN, WEIGHTS)


def several(values, draws):  # draws (item, draw)
    return make_scores(
        xr.DataArray(values, dims="pair"), xr.DataArray(draws, dims=("pair", "draw")), WEIGHTS
    )


def estimated(truth, rng, correlation: float = 0.7):
    """Estimates of several numbers, with draws; standard error 1, equally correlated."""
    n = len(truth)
    mix = np.hstack([correlation**0.5 * np.ones((n, 1)), (1 - correlation) ** 0.5 * np.eye(n)])
    values = truth + mix @ rng.normal(size=n + 1)
    return several(values, values[:, None] + mix @ rng.normal(size=(n + 1, N_DRAWS)))


def rates(claim, truth, n_runs: int = 200, **settings):
    rng = np.random.default_rng(0)
    words = [judge(claim, estimated(truth, rng, **settings)).verdict for _ in range(n_runs)]
    return words.count("supported") / n_runs, words.count("contradicted") / n_runs


# Effects


@given(st.floats(-3, 3), st.sampled_from(["above", "below"]))
def test_an_effect_is_judged_by_its_interval_and_p_agrees(z, direction):
    found = judge(Claim("A", "", "", direction=direction), score(z, 1.0))
    ends = [float(end) for end in interval(score(z, 1.0)).values()]
    assert (found.effect, found.low, found.high) == pytest.approx((z, *ends))
    assert found.verdict == verdict((found.low, found.high), direction=direction)
    p = 2 * norm.sf(z if direction == "above" else -z)
    assert found.p == pytest.approx(min(p, 1), abs=0.003)
    assert (found.p <= 0.05) == (found.verdict == "supported")


def test_p_values_reach_beyond_the_draws():
    """A thousand draws cannot show a p-value below 0.002 by counting."""
    assert judge(Claim("A", "", ""), score(5, 1)).p == pytest.approx(2 * norm.sf(5), rel=0.2)


def test_a_tail_heavier_than_normal_counts():
    heavy = make_scores(8.0, 8 + np.random.default_rng(0).standard_t(2, N_DRAWS), WEIGHTS)
    share = 2 * float((heavy.draws <= 0).mean())
    assert judge(Claim("A", "", ""), heavy).p == pytest.approx(share) and share > 0.004


def test_effects_without_spread_have_a_p_value():
    assert judge(Claim("A", "", ""), score(1, 0)).p == 0
    assert judge(Claim("A", "", ""), score(0, 0)).p == 1


# Every


@pytest.mark.parametrize("correlation", [0, 0.3, 0.7])
def test_every_is_neither_supported_nor_contradicted_without_an_effect(correlation):
    """Twelve pairs of networks on the same stimuli."""
    supported, contradicted = rates(EVERY, np.zeros(12), correlation=correlation)
    assert supported <= 0.05 and contradicted <= 0.05


def test_every_is_not_supported_where_one_of_twelve_lacks_the_effect():
    """The hardest case for the rule: all the others are certain."""
    supported, contradicted = rates(EVERY, np.r_[0, np.full(11, 20.0)], n_runs=800)
    assert 0.01 <= supported <= 0.05  # 2.5 %, the rate of a single one-sided test
    assert contradicted <= 0.02


def test_a_true_effect_in_every_pair_is_found_and_one_exception_refutes():
    assert rates(EVERY, np.full(12, 5.0))[0] > 0.9
    assert rates(EVERY, np.r_[-5, np.full(11, 5.0)]) == pytest.approx((0, 0.97), abs=0.03)
    # a small effect in every pair is never called an exception
    assert rates(EVERY, np.full(12, 1.0))[1] <= 0.01


def test_every_reports_an_interval_of_the_smallest():
    """It covers the smallest of the true numbers in at least 95 % of simulations, whatever they
    are, and decides the verdict."""
    rng = np.random.default_rng(0)
    for truth in (np.zeros(6), np.arange(6.0), np.r_[0, np.full(5, 0.5)]):
        found = [judge(EVERY, estimated(truth, rng)) for _ in range(300)]
        assert np.mean([f.low <= truth.min() <= f.high for f in found]) >= 0.93
        assert all(f.verdict == verdict((f.low, f.high)) for f in found)
        assert all(f.low <= f.effect <= f.high for f in found)


@given(st.lists(st.floats(-2, 2), min_size=1, max_size=5), st.floats(-1, 1))
def test_every_below_mirrors_every_above(values, threshold):
    rng = np.random.default_rng(0)
    values = np.array(values)
    scores = several(values, values[:, None] + 0.3 * rng.normal(size=(len(values), N_DRAWS)))
    above = judge(Claim("E", "", "", threshold, kind="every"), scores)
    below = Claim("E", "", "", -threshold, direction="below", kind="every")
    below = judge(below, -scores)
    assert (below.verdict, below.p) == (above.verdict, above.p)
    assert (below.effect, below.low, below.high) == (-above.effect, -above.high, -above.low)
    assert above.effect == values.min()
    lows = interval(scores).low.values
    assert (above.verdict == "supported") == (lows > threshold).all()


def test_every_along_two_dimensions_and_along_none():
    pairs = several(np.array([2.0, 3.0]), np.array([[2.0], [3.0]]) + 0.1 * EVEN)
    grid = xr.concat([pairs, pairs + 1], "direction")
    assert judge(EVERY, grid).effect == 2
    assert judge(EVERY, score(1, 0.1)) == judge(Claim("A", "", ""), score(1, 0.1))


def test_a_missing_number_leaves_every_unsupported_but_an_exception_counts():
    values = np.array([5.0, np.nan])
    assert judge(EVERY, several(values, values[:, None] + EVEN)).verdict == "not supported"
    values = np.array([-9.0, np.nan])
    found = judge(EVERY, several(values, values[:, None] + EVEN))
    assert found.verdict == "contradicted" and np.isnan(found.p)


# Equivalence


@given(st.floats(-0.3, 0.3), st.floats(0.001, 0.1))
def test_equivalence_is_two_one_sided_tests(value, error):
    found = judge(SAME, score(value, error))
    p = max(norm.sf((value + 0.1) / error), norm.sf((0.1 - value) / error))
    assert found.p == pytest.approx(p, abs=0.003)
    assert (found.verdict == "supported") == (found.p <= 0.05)
    ends = interval(score(value, error), level=0.9)
    assert (found.low, found.high) == pytest.approx((float(ends.low), float(ends.high)))


@pytest.mark.parametrize(
    ("value", "error", "word"),
    [
        (0.0, 0.01, "supported"),
        (0.0, 0.2, "not supported"),  # no significant difference shows nothing
        (0.09, 0.02, "not supported"),  # the interval crosses the margin
        (0.05, 0.02, "supported"),  # a difference that is significant, and small
        (0.2, 0.02, "contradicted"),
        (-0.2, 0.02, "contradicted"),
        (np.nan, 1.0, "not supported"),
    ],
)
def test_verdicts_on_equivalence(value, error, word):
    assert judge(SAME, score(value, error)).verdict == word


def test_equivalence_is_rarely_found_at_the_margin_and_found_where_it_holds():
    rng = np.random.default_rng(0)
    for truth, least, most in ((0.1, 0.02, 0.08), (0.0, 0.8, 1.0)):
        words = []
        for value in truth + 0.03 * rng.normal(size=400):
            words.append(judge(SAME, score(value, 0.03)).verdict)
        assert least <= words.count("supported") / 400 <= most
        assert words.count("contradicted") / 400 <= 0.05


# Tables


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_is_its_definition(p):
    """The k-th smallest is rejected if it and all smaller ones are small enough."""
    corrected = holm(p)
    for level in (0.01, 0.05, 0.2, 0.7):
        rejected, order = np.zeros(len(p), bool), np.argsort(p, kind="stable")
        for step, i in enumerate(order):
            if p[i] * (len(p) - step) > level:
                break
            rejected[i] = True
        np.testing.assert_array_equal(corrected <= level, rejected)
    assert (corrected >= p).all() and corrected.max() <= 1


def test_holm_keeps_the_rate_of_any_false_claim():
    rng = np.random.default_rng(0)
    assert np.mean([holm(rng.uniform(size=20)).min() <= 0.05 for _ in range(2000)]) <= 0.06


def test_the_table_has_every_kind():
    pairs = several(np.array([2.0, 3.0]), np.array([[2.0], [3.0]]) + EVEN)
    primary = Claim("A", "Up.", "", primary=True)
    table = claims_table([(EVERY, pairs), (SAME, score(0, 0.01)), (primary, score(9, 1))])
    assert table.threshold.tolist() == ["> 0", "0 ± 0.1", "> 0"]
    assert table.verdict.tolist() == ["supported"] * 3
    assert table.primary.tolist() == [False, False, True]
    np.testing.assert_allclose(table.p_holm, holm(table.p))
    assert table.effect.tolist() == [2, 0, 9]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Claim("L1", "", "", kind="all"), "claim L1: unknown kind 'all'"),
        (lambda: Claim("L1", "", "", kind="equivalence"), "needs a margin above 0, not None"),
        (
            lambda: Claim("L1", "", "", kind="equivalence", margin=-0.1),
            "needs a margin above 0, not -0.1",
        ),
        (lambda: Claim("L1", "", "", margin=0.1), "belongs to kind 'equivalence', not 'effect'"),
        (
            lambda: judge(Claim("L1", "", ""), several(np.zeros(2), np.zeros((2, N_DRAWS)))),
            "claim L1 is decided by one number, but its score has the dimensions pair",
        ),
        (
            lambda: judge(EVERY, several(np.zeros(0), np.zeros((0, N_DRAWS)))),
            "claim E: there are no scores along pair",
        ),
        (lambda: judge(EVERY, score(0, 1).isel(draw=[])), "no bootstrap draws"),
    ],
)
def test_bad_claims_are_named(call, message):
    with pytest.raises(InputError, match=message):
        call()
