"Claims on averaging, where they are false and where they are true by construction."

import numpy as np
import pytest

from seeing_words.measures.claims import claims_table
from seeing_words.studies.averaging import AVERAGED, CLAIMS
from seeing_words.studies.simulated_averaging import (
    SIMULATIONS,
    exemplar_facts,
    rotated_network,
)

SEEDS = range(4)


def verdicts(claim, world: int, n: int) -> list[str]:
    judged = [(claim, SIMULATIONS[claim.name][world](n, seed)) for seed in SEEDS]
    return claims_table(judged).verdict.tolist()


def test_every_claim_has_its_simulations():
    assert list(SIMULATIONS) == [claim.name for claim in CLAIMS]
    assert [claim.name for claim in CLAIMS if claim.primary] == ["A1 L→V"]


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.name)
def test_false_claims_are_not_supported_and_true_ones_found(claim):
    assert verdicts(claim, 0, 200).count("supported") <= 1
    assert verdicts(claim, 1, 400).count("supported") >= 3


def test_facts_are_told_as_the_world_says():
    rng = np.random.default_rng(0)
    facts = np.ones((4000, 3))
    once = exemplar_facts(facts, 5, complementary=True, rng=rng)
    np.testing.assert_array_equal(once.sum(0), facts)
    by_chance = exemplar_facts(facts, 5, complementary=False, rng=rng)
    assert by_chance.mean() == pytest.approx(0.5, abs=0.01)
    assert np.corrcoef(by_chance[0].ravel(), by_chance[1].ravel())[0, 1] == pytest.approx(
        0, abs=0.03
    )
    assert exemplar_facts(facts, 1, complementary=False, rng=rng).shape == (1, 4000, 3)


def test_networks_of_a_modality_are_alike_but_for_rotation_and_noise():
    rng = np.random.default_rng(0)
    stated = exemplar_facts(rng.normal(size=(5000, 6)), 2, complementary=False, rng=rng)
    one, other = (rotated_network(stated, rng) for _ in range(2))
    assert one.dims == ("exemplar", "stimulus", "unit")
    assert float(one.var()) == pytest.approx(float(other.var()), rel=0.05)


def test_what_is_averaged_names_the_claims():
    letters = {claim.name[2:3] for claim in CLAIMS if claim.name.startswith("A2")}
    assert letters == set("abc"[: len(AVERAGED)])
