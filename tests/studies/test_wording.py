"""Sentences that follow from scores, and those that the section notebooks show."""

import json
import re

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from conftest import ROOT

from seeing_words.measures.scores import concat_scores, make_scores
from seeing_words.studies.wording import (
    change_word,
    join_words,
    side_word,
    verdict_sentences,
    where_holds,
)

WEIGHTS = np.ones((2, 10))


def score(low: float, high: float) -> xr.Dataset:
    return make_scores((low + high) / 2, np.array([low, high]), WEIGHTS)


@pytest.mark.parametrize(
    ("low", "high", "word"),
    [
        (0.1, 0.2, "rises"),
        (-0.2, -0.1, "falls"),
        (-0.1, 0.1, "does not change reliably"),
        (0.0, 0.1, "rises"),  # the interval of two draws ends within them
        (np.nan, np.nan, "does not change reliably"),
    ],
)
def test_a_change_is_named_by_its_whole_interval(low, high, word):
    assert change_word(score(low, high)) == word


def test_a_score_is_compared_with_its_threshold():
    assert side_word(score(0.6, 0.7), 0.5) == "above"
    assert side_word(score(0.3, 0.4), 0.5) == "below"
    assert side_word(score(0.4, 0.6), 0.5) == "not distinguishable from"


def test_directions_are_named_in_every_case():
    both = concat_scores({"v2l": score(1, 2), "l2v": score(-2, -1)}, "direction")
    assert where_holds(both.value > 0) == "only from vision to language"
    assert where_holds(both.value < 0) == "only from language to vision"
    assert where_holds(abs(both.value) > 0) == "in both directions"
    assert where_holds(abs(both.value) < 0) == "in neither direction"


def test_words_are_joined():
    assert join_words(iter(["a", "b", "c"])) == "a, b and c"
    assert join_words([], empty="no kind") == "no kind"


def test_every_verdict_is_in_a_sentence():
    rows = [
        ("more captions help: vision predicts language", "supported"),
        ("more captions help: language predicts vision", "contradicted"),
        ("a claim of its own", "not supported"),
    ]
    text = verdict_sentences(pd.DataFrame(rows, columns=["text", "verdict"]))
    first, second = text.splitlines()
    assert "**supported** where vision predicts language" in first
    assert "**contradicted** where language predicts vision" in first
    assert second == "- A claim of its own: **not supported**."


def test_claims_on_groups_of_networks_are_put_together():
    rows = [
        ("places come first: vision networks", "contradicted"),
        ("places come first: language networks", "contradicted"),
        ("things come last: vision networks", "supported"),
        ("things come last: language networks", "not supported"),
    ]
    first, second = verdict_sentences(pd.DataFrame(rows, columns=["text", "verdict"])).splitlines()
    assert first.endswith("**contradicted** for vision networks and language networks.")
    assert "**supported** for vision networks and **not supported** for language" in second


def test_what_a_correction_leaves_is_said():
    table = pd.DataFrame(
        {
            "text": ["a", "b", "c"],
            "label": ["first", "second", "third"],
            "verdict": ["supported", "supported", "contradicted"],
            "p_holm": [0.001, 0.08, 1.0],
            "primary": [True, False, False],
        }
    )
    *_, said = verdict_sentences(table).splitlines()
    assert said == (
        "Primary: first, **supported**. With Holm's correction for 3 claims, 1 of 2 stay "
        "supported (not: second)."
    )
    *_, said = verdict_sentences(table.assign(p_holm=1.0)).splitlines()
    assert said.endswith("claims, none of these stays supported.")
    *_, said = verdict_sentences(table.assign(p_holm=0.01)).splitlines()
    assert said.endswith("claims, all of these stay supported.")
    *_, said = verdict_sentences(table[2:]).splitlines()
    assert said == ""


@pytest.mark.parametrize("name", ["3_pick_a_pic", "4_averaging"])
def test_no_plural_follows_the_number_one(name):
    notebook = json.loads((ROOT / f"nbs/paper/{name}.ipynb").read_text(encoding="utf-8"))
    nouns = "captions|images|pairs|layers|trials|networks|exemplars"
    texts = ["".join(cell["source"]) for cell in notebook["cells"]]
    for cell in notebook["cells"]:
        for output in cell.get("outputs", []):
            texts.append("".join(output.get("text", [])))
            texts.append("".join(output.get("data", {}).get("text/markdown", [])))
    for text in texts:
        assert not re.search(rf"\b(1|one) ({nouns})\b", text), text
