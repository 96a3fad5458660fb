"""Content taken out of images, captions and both: planted effects are found, and no others."""

from collections import Counter

import numpy as np
import pytest

from seeing_words.core.arrays import feature_array
from seeing_words.core.errors import InputError
from seeing_words.data.microworld.caption import caption, text
from seeing_words.data.microworld.edit import HOW, KINDS, edit_caption, kind_of
from seeing_words.data.microworld.scene import CHOOSING, sample_scene
from seeing_words.data.microworld.stimulus_set import microworld_stimuli, scenes_of
from seeing_words.data.modalities import MODALITIES
from seeing_words.measures.claims import judge
from seeing_words.measures.folds import make_folds
from seeing_words.measures.inference import resample_weights
from seeing_words.studies.content import (
    CLAIMS,
    ablations,
    cell_scores,
    claim_effects,
    content_effects,
    kind_facts,
)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("how", HOW)
def test_words_of_other_kinds_stay(kind, how):
    changed = 0
    for seed in CHOOSING[:60]:
        scene = sample_scene(seed)
        before = caption(scene, seed=3)
        after = edit_caption(scene, kind, how, caption_seed=3)
        assert text(after).strip(" .,")
        others = Counter(w.fact for w in before if kind_of(w.fact) not in (None, kind))
        kept = Counter(w.fact for w in after if kind_of(w.fact) not in (None, kind))
        assert set(others) == set(kept)
        changed += text(before) != text(after)
    assert changed


def planted(shared: dict[str, float], n: int, seed: int):
    """Networks of both sides that hold shared kinds of content, and edits without each of them."""
    rng = np.random.default_rng(seed)
    parts = {k: rng.normal(size=(n, 4)) for k in shared}
    codes = {m: {k: rng.normal(size=(4, 16)) for k in shared} for m in MODALITIES}
    noise = {m: 0.5 * rng.normal(size=(n, 16)) for m in MODALITIES}

    def network(m, without=(), again=0.0):
        held = [shared[k] * parts[k] @ codes[m][k] for k in shared if k not in without]
        return {"a": feature_array((sum(held) + noise[m] + again)[None])}

    return network


def test_a_shared_kind_interacts_and_damage_of_either_side_does_not():
    n, network = 1200, planted({"objects": 0.8, "place": 0.6}, 1200, 0)
    rng = np.random.default_rng(1)
    damage = {m: 1.5 * rng.normal(size=(n, 16)) for m in MODALITIES}
    changed = {
        ("objects", "removed"): {m: network(m, ["objects"]) for m in MODALITIES},
        ("objects", "placebo"): {m: network(m) for m in MODALITIES},
        ("place", "removed"): {
            "vision": network("vision", again=damage["vision"]),
            "language": network("language"),
        },
        ("place", "placebo"): {m: network(m) for m in MODALITIES},
    }
    folds = make_folds(n)
    weights = resample_weights(folds, n_draws=200)
    intact = {m: network(m) for m in MODALITIES}
    scores = cell_scores(intact, changed, folds=folds, weights=weights, layer=-1)
    effects = content_effects(scores.squeeze(["vision", "language"], drop=True))
    found = claim_effects(effects)
    assert judge(CLAIMS[0], found["C objects"]).verdict == "supported"
    # squares of the sizes: the share of what is shared
    assert abs(float(found["C objects"].value) - 0.64) < 0.08
    for arrow in ("V→L", "L→V"):
        assert abs(float(found[f"C place {arrow}"].value)) < 0.02
    main = effects.value.sel(measure="covariance", kind="place", edit="removed", effect="main")
    assert float(main.sel(direction="v2l")) > 0.05  # the damage itself is seen


def test_facts_have_a_column_for_all_that_is_edited():
    stimuli = microworld_stimuli(80, n_captions=1, seeds=CHOOSING)
    facts = kind_facts(scenes_of(stimuli))
    assert list(facts) == list(KINDS)
    for kind, values in facts.items():
        assert len(values) == 80 and (values.std(0) > 0).all(), kind
    place = [scene.place for scene in scenes_of(stimuli)]
    assert facts["place"].shape[1] == len(set(place))


def test_no_edit_on_both_sides_is_an_error():
    with pytest.raises(InputError, match="could be edited on both sides"):
        cell_scores({m: {} for m in MODALITIES}, {}, folds=make_folds(10), weights=np.ones((1, 10)))
    with pytest.raises(InputError, match="edit 'gone' is not known"):
        ablations(microworld_stimuli(2, n_captions=1), edits=["gone"])
