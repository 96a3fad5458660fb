"""Figures that follow a choice: the widgets by their values, the functions behind them by loops and
by what must not matter."""

import json
import re
from dataclasses import replace

import ipywidgets
import nbformat
import numpy as np
import pytest
import xarray as xr
from conftest import ROOT
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.figure import Figure

from seeing_words.core.errors import InputError
from seeing_words.data.microworld.caption import vocabulary
from seeing_words.data.microworld.near_miss import scene_facts, scene_of
from seeing_words.data.microworld.render import render
from seeing_words.data.microworld.scene import sample_scene
from seeing_words.data.microworld.stimulus_set import microworld_stimuli
from seeing_words.measures.folds import make_folds
from seeing_words.measures.retrieval import ranks, similarities
from seeing_words.models.extract import extract
from seeing_words.models.load import load_model
from seeing_words.studies import explore
from seeing_words.studies.explore import (
    Interactive,
    SceneExplorer,
    Side,
    alternatives,
    cross_modal,
    explore_scenes,
    readable,
    unknown_words,
    with_fact,
)

WIDGET = "application/vnd.jupyter.widget-view+json"
settings.register_profile("few", settings.get_profile("repeatable"), max_examples=25, deadline=None)


@pytest.fixture(scope="module")
def cross():
    stimuli, folds = microworld_stimuli(80), make_folds(80, n_folds=4)
    vision, language = (
        Side(load_model("microworld/vision-0"), "cls"),
        Side(load_model("microworld/bloom-0"), "mean"),
    )
    seen, read = (
        extract(side.model, stimuli, pooling=side.pooling, progress=False)
        for side in (vision, language)
    )
    return cross_modal(stimuli, vision, language, seen=seen, read=read, folds=folds)


@pytest.fixture
def at_the_screen(monkeypatch):
    "As if a person's front end had asked for a cell."

    class Shell:
        def get_parent(self):
            return {"metadata": {"cellId": "use"}}

    monkeypatch.setattr(explore, "get_ipython", Shell)


def cosine(a, b):
    return sum(x * y for x, y in zip(a, b)) / (sum(x * x for x in a) * sum(y * y for y in b)) ** 0.5


# What is found


def test_retrieval_agrees_with_a_plain_loop(cross):
    mapped = cross.to_vision.predict(cross.language(["a red boat on the sea"]))[0]
    found = cross.scenes("a red boat on the sea", k=7)
    by_hand = sorted(
        ((cosine(mapped, shown), i) for i, shown in enumerate(cross.seen)), reverse=True
    )[:7]
    assert found.index.tolist() == [i for _, i in by_hand]
    assert np.allclose(found.similarity, [c for c, _ in by_hand])
    assert found.id.tolist() == [cross.gallery.ids[i] for i in found.index]
    mapped = cross.to_language.predict(cross.vision(cross.gallery.images[[4]]))[0]
    by_hand = sorted(
        ((cosine(mapped, response), i) for i, response in enumerate(cross.read)), reverse=True
    )[:3]
    assert cross.captions(cross.gallery.images[4], k=3).index.tolist() == [i for _, i in by_hand]


def test_the_gallery_was_not_fitted_to(cross):
    "Scalers know the mean of the stimuli they were fitted to: those of all folds but the first."
    stimuli = microworld_stimuli(80)
    assert set(cross.gallery.ids) == {stimuli.ids[i] for i in cross.folds.test[0]}
    others = cross.vision(stimuli.images[cross.folds.train(0)]).astype(float)
    assert np.allclose(cross.to_language[0].mean_, others.mean(0), atol=1e-4)


def test_recall_counts_what_a_loop_counts(cross):
    table = cross.recall((1, 5, 20), n_draws=40).set_index(["asked", "k"])
    for way, asked in explore.ASKED.items():
        for k in (1, 5, 20):
            assert table.recall[asked, k] == pytest.approx(
                (cross.ranks[way]["rank"].values <= k).mean()
            )
            assert table.chance[asked, k] == k / 20


@given(st.integers(0, 1000), st.floats(0.1, 10))
@settings(settings.get_profile("few"))
def test_ranks_know_neither_scale_nor_order_of_units(seed, scale):
    rng, folds = np.random.default_rng(seed), make_folds(24, n_folds=3, seed=seed)
    target, predicted = rng.normal(size=(2, 24, 5))
    order = rng.permutation(5)
    scaled = ranks(scale * target[:, order], predicted[:, order], folds=folds)
    xr.testing.assert_equal(scaled, ranks(target, predicted, folds=folds))
    assert np.allclose(similarities(predicted, target), similarities(scale * predicted, target))


def test_networks_that_hold_the_same_find_every_stimulus():
    rng = np.random.default_rng(0)
    V = rng.normal(size=(60, 8))
    turn = np.linalg.qr(rng.normal(size=(8, 8)))[0]
    places = explore.ranks_both_ways(V, V @ turn, folds=make_folds(60))
    assert all((found["rank"] == 1).all() for found in places.values())


# Words


@pytest.mark.parametrize("name", ["microworld/llama-0", "microworld/bloom-0"])
def test_every_word_of_the_world_is_known_and_no_other(name):
    model = load_model(name)
    assert unknown_words(model, " ".join(vocabulary())) == []
    assert unknown_words(model, "a xylophone , a xylophone and Boats") == ["xylophone", "Boats"]
    assert readable(model, "A Boat, and TWO dogs") == "a boat , and two dogs"


def test_a_word_that_is_not_known_is_named(cross):
    with pytest.raises(InputError, match=r"bloom-0 does not know “boad” \(perhaps .*boat"):
        cross.scenes("a boad")
    with pytest.raises(InputError, match="the caption is empty"):
        cross.scenes("  ")


# Facts


@given(st.integers(0, 10_000), st.data())
@settings(settings.get_profile("few"))
def test_a_changed_scene_is_a_scene_of_the_world(seed, data):
    scene = sample_scene(seed)
    for _ in range(4):
        fact = data.draw(st.sampled_from(list(alternatives(scene))))
        value = data.draw(st.sampled_from(alternatives(scene)[fact]))
        scene = with_fact(scene, fact, value)
        assert (
            getattr(scene, fact[0]) if len(fact) == 1 else getattr(scene.things[fact[0]], fact[1])
        ) == value
    allowed = alternatives(scene)
    assert all(
        value in allowed[fact] for fact, value in scene_facts(scene).items() if fact in allowed
    )
    assert render(scene).image.shape == (64, 64, 3)


# A picture for everyone, widgets for who can use them


def draw(x, colour):
    fig = Figure(figsize=(1, 1))
    fig.subplots().plot([x], [0], "o", color=colour)
    return fig


@pytest.fixture
def dots():
    return Interactive(draw, {"x": range(3), "colour": ["red", "blue"]}, "A dot.", {"x": 1})


def test_a_program_gets_the_picture_alone(dots):
    data, about = dots._repr_mimebundle_()
    assert data.keys() == {"image/png", "text/plain"}
    assert about["image/png"]["alt"] == data["text/plain"] == "A dot."


def test_a_person_gets_widgets_beside_the_same_picture(dots, at_the_screen):
    data, _ = dots._repr_mimebundle_()
    assert data.keys() == {"image/png", "text/plain", WIDGET}
    assert data["text/plain"] == "A dot."


def test_the_picture_follows_the_controls(dots):
    controls, picture = dots.widgets().children
    x, colour = controls.children
    assert (x.value, x.min, x.max, colour.options) == (1, 0, 2, ("red", "blue"))
    shown = {picture.value}
    for change in (lambda: setattr(x, "value", 2), lambda: setattr(colour, "value", "blue")):
        change()
        text = f"A dot. Chosen: x 2, colour {colour.value}."
        assert picture.value == explore._img(dots.picture(x=2, colour=colour.value), text)
        shown.add(picture.value)
    assert len(shown) == 3
    assert 'alt="A dot. Chosen: x 2, colour blue."' in picture.value


def test_a_choice_that_is_not_there_is_refused(dots):
    with pytest.raises(
        InputError, match="x = 3 is not among the choices:  x: 0 … 2; colour: red, blue"
    ):
        dots.picture(x=3)


# The explorer's widgets


@pytest.fixture
def controls(cross):
    scenes = [{*alternatives(scene_of(facts))["place",]} for facts in cross.gallery.facts]
    anywhere = next(i for i, places in enumerate(scenes) if {"kitchen", "mountain"} <= places)
    return explore._Controls(SceneExplorer(cross, anywhere))


def agree(controls):
    """Does every control show the scene's fact, by value and by the place in its menu that the
    front end shows?"""
    scene = controls.explorer.scene
    assert controls.facts.keys() >= alternatives(scene).keys()
    for fact, allowed in alternatives(scene).items():
        control = controls.facts[fact]
        value = (
            getattr(scene, fact[0]) if len(fact) == 1 else getattr(scene.things[fact[0]], fact[1])
        )
        assert control.value == value
        if isinstance(control, ipywidgets.Dropdown):
            assert control.options == tuple(allowed) and allowed[control.index] == value
    rows = [row.layout.display != "none" for row in controls.things]
    assert sum(rows) == len(scene.things) and rows == sorted(rows, reverse=True)
    return True


def test_a_changed_fact_changes_picture_captions_and_menus(controls):
    explorer, first = controls.explorer, controls.sheet.value
    assert agree(controls)
    indoors, outdoors = "kitchen", "mountain"
    assert {indoors, outdoors} <= {*alternatives(explorer.scene)["place",]}
    controls.facts["place",].value = outdoors
    assert agree(controls) and explorer.scene.place == outdoors
    controls.facts["weather",].value = "snow"
    controls.facts[0, "x"].value = 0.9
    assert agree(controls) and (explorer.scene.weather, explorer.scene.things[0].x) == ("snow", 0.9)
    assert (
        "weather" in controls.message.value
        and "x of thing 1" in controls.message.value
        and controls.sheet.value != first
    )
    controls.facts["place",].value = indoors
    assert (
        agree(controls)
        and explorer.scene.weather == "clear"
        and controls.facts["weather",].options == ("clear",)
    )
    controls.undo.click()
    assert agree(controls) and controls.sheet.value == first


def test_another_scene_has_its_own_things(controls, cross):
    counts = [len(facts["things"]) for facts in cross.gallery.facts]
    for n in sorted(set(counts)):
        controls.which.value = counts.index(n)
        assert agree(controls) and len(controls.explorer.scene.things) == n


def test_a_typed_caption_is_answered_or_refused_in_words(controls):
    own = controls.sheet.value
    controls.words.value = "Two Boats, at night"
    answered = controls.sheet.value
    assert answered != own and "“Two Boats, at night”" in answered
    controls.words.value = "two boats & a <b>zeppelin</b>"
    assert "does not know “&amp;”, “&lt;b&gt;zeppelin&lt;/b&gt;”" in controls.message.value
    assert controls.sheet.value == answered
    controls.words.value = ""
    assert controls.sheet.value == own and "does not know" not in controls.message.value


def test_stimuli_without_facts_are_chosen_and_it_is_said(cross):
    plain = replace(cross, gallery=replace(cross.gallery, facts=None))
    chooser = explore_scenes(plain, 2)
    assert isinstance(chooser, Interactive) and "No facts are known of these stimuli" in chooser.alt
    assert chooser.picture() != chooser.picture(stimulus=3)
    with pytest.raises(InputError, match="have no known facts"):
        SceneExplorer(plain)


# Notebooks


def test_committed_notebooks_hold_pictures_and_no_widgets():
    for path in sorted((ROOT / "nbs").rglob("[!.]*.ipynb")):
        nb = nbformat.read(path, as_version=4)
        assert "widgets" not in nb.metadata, (
            f"{path.name}: run it by `make outputs`, which leaves no widgets behind"
        )
        for cell in nb.cells:
            for output in cell.get("outputs", []):
                assert WIDGET not in output.get("data", {}), (
                    f"{path.name}, cell {cell.id}: run it by `make outputs`"
                )


@pytest.mark.parametrize("name", ["1_layers", "2_perturbations", "3_pick_a_pic", "4_averaging"])
def test_every_section_has_one_call_that_follows_a_choice(name):
    cells = json.loads((ROOT / "nbs/paper" / f"{name}.ipynb").read_text(encoding="utf-8"))["cells"]
    sources = {cell["id"]: "".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"}
    calls = [
        cell
        for cell in cells
        if re.search(r"^explore_\w+\(", sources.get(cell["id"], ""), re.MULTILINE)
    ]
    assert len(calls) == 1
    (output,) = [output for output in calls[0]["outputs"] if "image/png" in output.get("data", {})]
    assert output["metadata"]["image/png"]["alt"]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {"pooling": "max"},
            "pooling = 'max': captions of preset microworld are pooled by mean or last",
        ),
        ({"pooling": []}, "pooling = "),
        ({"k": 0}, "k = 0: a whole number from 1 to 200"),
        ({"k": 201}, "k = 201"),
        ({"k": "10"}, "k = '10'"),
        ({"scene": -1}, "scene = -1: a whole number from 0 to 199"),
        ({"scene": 200}, "scene = 200"),
        ({"preset": "microwold"}, "did you mean microworld"),
        ({"n_stimuli": 3}, "n_stimuli = 3: a whole number"),
    ],
)
def test_the_explorer_refuses_impossible_parameters_before_computing(given, message):
    cells = json.loads((ROOT / "nbs/beyond/explorer.ipynb").read_text(encoding="utf-8"))["cells"]
    sources, space = {cell["id"]: "".join(cell["source"]) for cell in cells}, {}
    for name in ("imports", "parameters"):
        exec(sources[name], space)
    with pytest.raises(InputError, match=message):
        exec(sources["start"], space | given)
