"Claims on layers, where they are false and where they are true by construction."

import numpy as np
import pytest

from seeing_words.measures.claims import judge
from seeing_words.studies.layers import CLAIMS
from seeing_words.studies.simulated_layers import SIMULATIONS, learned_world


def test_every_claim_has_its_simulations_and_one_is_primary():
    assert list(SIMULATIONS) == [claim.name for claim in CLAIMS]
    assert [claim.name for claim in CLAIMS if claim.primary] == ["L1"]


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.name)
def test_a_false_claim_is_not_supported_and_a_true_one_is_found(claim):
    false, true = SIMULATIONS[claim.name]
    assert judge(claim, false(150, 0)).verdict != "supported"
    assert judge(claim, true(150, 0)).verdict == "supported"


def test_networks_that_are_maps_of_the_baseline_predict_but_add_nothing():
    derived = learned_world(150, 1, "v2l", derived=True)
    knowing = learned_world(150, 1, "v2l")
    assert float(derived["L1b V→L"].value) > 0.1
    assert abs(float(derived["L1d V→L"].value)) < 0.02 < float(knowing["L1d V→L"].value)
    assert np.isfinite(derived["L1"].draws).all()
