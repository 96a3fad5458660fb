"""Simulated networks, and that the claims of every section are tried on them."""

from functools import partial

import numpy as np
import pytest
from scipy.stats import binom

from seeing_words.core.errors import InputError
from seeing_words.measures.claims import Claim
from seeing_words.measures.numerics import unit_pearson
from seeing_words.measures.predictivity import predictivity
from seeing_words.measures.scores import make_scores
from seeing_words.studies.simulated import (
    claim_rates,
    rates_table,
    section_claims,
    simulated_network,
    simulated_networks,
)

SECTIONS = section_claims()
UP = Claim("A", "There is an effect.", "effect")


def world(effect, n, seed):
    rng = np.random.default_rng(seed)
    value = effect + rng.normal() / n**0.5
    return make_scores(value, value + rng.normal(size=400) / n**0.5, np.ones((400, 2)))


def test_the_sections_of_the_paper_have_claims():
    assert set(SECTIONS) == {"layers", "perturbations", "pick_a_pic", "averaging"}


@pytest.mark.parametrize("section", SECTIONS)
def test_every_claim_has_a_world_in_which_it_is_false_and_one_in_which_it_is_true(section):
    claims, simulations = SECTIONS[section]
    names = [claim.name for claim in claims]
    assert len(set(names)) == len(names) > 0
    lacking = [name for name in names if name not in simulations]
    assert not lacking, f"add them to SIMULATIONS of studies/simulated_{section}"
    unknown = [name for name in simulations if name not in names]
    assert not unknown, "these have no claim"
    for name, worlds in simulations.items():
        assert len(worlds) == 2 and all(map(callable, worlds)), name


@pytest.mark.parametrize("section", SECTIONS)
def test_a_section_has_one_primary_claim_for_each_direction_at_most(section):
    primary = [claim for claim in SECTIONS[section][0] if claim.primary]
    assert 1 <= len(primary) <= 2


def test_a_layer_knows_its_facts_as_well_as_signal_and_noise_say():
    rng = np.random.default_rng(0)
    facts = rng.normal(size=(4000, 6))
    features = simulated_network(facts, (0.0, 1.0, 2.0), rng, noise=1.0)
    r = [predictivity(facts, layer.values) for layer in features]
    assert abs(r[0]) < 0.03
    # the variance that facts explain is that of the signal over all, averaged over units
    assert r[1] == pytest.approx(0.5**0.5, abs=0.05) and r[2] == pytest.approx(0.8**0.5, abs=0.05)


def test_networks_share_facts_but_neither_maps_nor_noise():
    rng = np.random.default_rng(0)
    facts = rng.normal(size=(2000, 6))
    a, b = simulated_networks(facts, ["a", "b"], (1.0,), rng, spread=0.0).values()
    assert abs(unit_pearson(a.values[0], b.values[0]).mean()) < 0.2
    assert predictivity(a.values[0], b.values[0]) > 0.5
    stranger = simulated_network(rng.normal(size=(2000, 6)), (1.0,), rng)
    assert abs(predictivity(a.values[0], stranger.values[0])) < 0.05


def test_offsets_and_outliers_are_as_large_as_they_say():
    rng = np.random.default_rng(0)
    features = simulated_network(np.zeros((4000, 1)), (1.0,), rng, offset=0.5, n_outliers=1)
    values = features.values[0]
    np.testing.assert_allclose(np.abs(values.mean(0))[1:], 0.5, atol=0.1)
    np.testing.assert_allclose(values.std(0)[1:], 1, atol=0.1)
    assert values[:, 0].std() == pytest.approx(50, abs=3)


def test_rates_are_those_of_the_verdicts():
    """A one-sided test at 2.5 %, on an effect of 0 and of 3 standard errors."""
    false = claim_rates(partial(world, 0.0), UP, n_runs=400, n=100)
    true = claim_rates(partial(world, 0.3), UP, n_runs=400, n=100)
    assert false.supported == pytest.approx(0.025, abs=0.025)
    assert false.contradicted == pytest.approx(0.025, abs=0.025)
    assert true.supported == pytest.approx(0.85, abs=0.05) and true.contradicted == 0
    assert true.effect == pytest.approx(0.3, abs=0.02) and true.n_runs == 400
    # the interval of Clopper and Pearson, by its definition
    for rates in (false, true):
        k = round(rates.supported * 400)
        assert binom.sf(k - 1, 400, rates.low) == pytest.approx(0.025, rel=0.01)
        assert binom.cdf(k, 400, rates.high) == pytest.approx(0.025, rel=0.01)


def test_the_table_is_a_row_for_each_claim_and_world():
    down = Claim("B", "There is a loss.", "effect", direction="below", label="loss")
    worlds = {
        "A": (partial(world, 0.0), partial(world, 1.0)),
        "B": (partial(world, 1.0), partial(world, -1.0)),
    }
    table = rates_table([UP, down], worlds, n_runs=5, n=100, seed=3)
    assert table[["claim", "world"]].values.tolist() == [
        ["A", "false"],
        ["A", "true"],
        ["B", "false"],
        ["B", "true"],
    ]
    assert table.supported.tolist()[1:] == [1, 0, 1] and table.contradicted[2] == 1
    single = claim_rates(worlds["A"][0], UP, n_runs=5, n=100, seed=3)
    assert table.loc[0, single.index].tolist() == single.tolist()
    with pytest.raises(InputError, match="claim A has no simulations"):
        rates_table([UP], {})
    with pytest.raises(InputError, match="claim A: 0 simulations have no rate"):
        claim_rates(worlds["A"][0], UP, n_runs=0)
