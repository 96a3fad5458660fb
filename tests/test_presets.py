"""Presets are data: what they name exists, and what they don't is answered."""
from dataclasses import FrozenInstanceError, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from seeing_words.arrays import InputError
from seeing_words.models import checkpoints
from seeing_words.presets import PRESETS, SOURCES, did_you_mean, get_preset


@pytest.mark.parametrize("preset", PRESETS.values(), ids=PRESETS)
def test_what_a_preset_names_can_be_loaded(preset):
    assert preset.source in SOURCES
    shipped = {f"microworld/{name}" for name in checkpoints()}
    assert set(preset.vision + preset.language) <= shipped
    assert dict(preset.poolings).keys() == {"vision", "language"}
    assert preset.n_stimuli >= 2 * preset.n_folds


@pytest.mark.parametrize("preset", PRESETS.values(), ids=PRESETS)
def test_stimuli_are_as_many_as_said(preset):
    stimuli = replace(preset, n_stimuli=11, n_captions=2).stimuli()
    assert len(stimuli) == 11
    assert {len(captions) for captions in stimuli.captions} == {2}


def test_every_architecture_has_its_untrained_twins():
    preset = replace(PRESETS["microworld"], language=("a/llama-0", "a/llama-1", "a/bloom-7"), n_untrained=2)
    assert preset.untrained("language") == (
        "untrained:a/bloom-7@0", "untrained:a/bloom-7@1", "untrained:a/llama-0@0", "untrained:a/llama-0@1")


def test_a_preset_does_not_change_underway():
    with pytest.raises(FrozenInstanceError):
        get_preset("microworld").n_stimuli = 10


def test_a_preset_says_everything_to_people():
    preset = get_preset("microworld")
    console = Console(record=True, width=200, file=None, quiet=False)
    with console.capture() as captured:
        console.print(preset)
    for said in (captured.get(), preset._repr_html_()):
        assert all(name in said for name in (*preset.vision, *preset.language, "1000", "5 folds"))


@pytest.mark.parametrize(("name", "hint"), [("microwrld", "did you mean microworld?"), ("zzz", "There is: microworld")])
def test_an_unknown_preset_is_answered_with_the_nearest(name, hint):
    with pytest.raises(InputError, match="is not known") as error:
        get_preset(name)
    assert hint in str(error.value)


@given(st.text(), st.lists(st.text(min_size=1), max_size=5))
def test_a_hint_names_all_there_is(name, known):
    hint = did_you_mean(name, known)
    assert all(other in hint for other in known)
    assert known or "nothing" in hint
