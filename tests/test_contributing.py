"""The code of CONTRIBUTING.md runs, and the public functions then use what it adds."""

import ast
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml
from conftest import ROOT
from runs import tiny_vision
from typer.testing import CliRunner

from seeing_words import align, load_model, similarity_grid
from seeing_words.app import cli
from seeing_words.app.presets import SOURCES, get_preset
from seeing_words.app.run import start
from seeing_words.app.sections import sections
from seeing_words.data.perturb import PERTURBATIONS, perturb
from seeing_words.measures.folds import make_folds
from seeing_words.measures.inference import p_value, resample_weights
from seeing_words.measures.similarity import SIMILARITIES, similarity_null
from seeing_words.models.extract import extract
from seeing_words.plots import perturbation_forest
from seeing_words.studies.layers import mean_over_networks
from seeing_words.studies.perturbations import change_scores, change_table

PAGE = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
RECIPES = dict(re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL))
SECTION = ROOT / "tests/fixtures/5_ends.ipynb"
REGISTRIES = (SIMILARITIES, PERTURBATIONS, SOURCES)


def block(recipe: str, language: str = "python") -> str:
    (found,) = re.findall(rf"^```{language}\n(.*?)^```$", RECIPES[recipe], re.MULTILINE | re.DOTALL)
    return found


@pytest.fixture
def page(tmp_path, monkeypatch):
    "The names after running every block, with the preset file; registries are restored."
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SEEING_WORDS_STORE", str(tmp_path / "_store"))
    before, names = [dict(registry) for registry in REGISTRIES], {"__name__": "contributed"}
    for recipe in RECIPES:
        if recipe != "A section":
            exec(compile(block(recipe), f"CONTRIBUTING.md: {recipe}", "exec"), names)
    Path("mine.toml").write_text(block("A network", "toml"), encoding="utf-8")
    yield names
    for registry, entries in zip(REGISTRIES, before):
        registry.clear()
        registry.update(entries)


def test_each_recipe_is_one_function_one_line_one_test():
    for recipe in ("A measure of similarity", "A perturbation", "A network", "A data set"):
        body = ast.parse(block(recipe)).body
        functions = [node.name for node in body if isinstance(node, ast.FunctionDef)]
        assert [name.startswith("test_") for name in functions] == [False, True], recipe
        lines = [
            node
            for node in body
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Subscript)
        ]
        assert len(lines) == (recipe != "A network"), recipe  # a network's line stands in a preset


def test_what_the_page_tests_holds(page):
    tests = [name for name in page if name.startswith("test_")]
    assert len(tests) == len(RECIPES) - 1
    for name in tests:
        page[name]()


def test_a_measure_is_offered_scored_and_shuffled(page):
    rng = np.random.default_rng(0)
    shared = rng.normal(size=(40, 3))
    source, target = (
        np.stack([rng.normal(size=(40, 6)), shared @ rng.normal(size=(3, 6)), np.ones((40, 6))])
        for _ in range(2)
    )
    grid = similarity_grid(source, target, measure="distances")
    np.testing.assert_allclose(
        grid[:2, :2], [[page["distances"](X, Y) for Y in target[:2]] for X in source[:2]], atol=1e-5
    )
    assert grid.label == "correlation of distances"
    assert grid.n_missing == 5  # a constant layer's, either way
    assert np.nanargmax(grid.values) == 4
    null = similarity_null(source[1], target[1], measure="distances", n_permutations=19)
    assert p_value(float(grid[1, 1]), null.values.ravel()) == 1 / 20
    assert SIMILARITIES["distances"].function(source[1], source[1]) == pytest.approx(
        SIMILARITIES["distances"].best
    )


def test_a_perturbation_has_its_rows_in_the_table_and_the_figure(page, tmp_path):
    stimuli = page["microworld_stimuli"](20)
    model = load_model(tiny_vision(tmp_path / "tiny"))
    changed = {
        name: perturb(stimuli, name) for name in PERTURBATIONS if name in ("greyscale", "few tones")
    }
    vision = {"tiny": extract(model, stimuli, pooling="mean")}
    seen = {
        name: {"tiny": extract(model, shown, pooling="mean")} for name, shown in changed.items()
    }
    folds = make_folds(20, n_folds=2)
    scores = change_scores(
        vision,
        seen,
        {"other": vision["tiny"]},
        modality="vision",
        folds=folds,
        weights=resample_weights(folds, n_draws=9, seed=0),
    )
    table = change_table(mean_over_networks(scores))
    assert list(dict.fromkeys(table.condition)) == [
        "greyscale",
        "few tones",
    ]  # in the registry's order
    assert set(table.group) == {"images: colour", "images: appearance"}
    fig = perturbation_forest(
        table, {name: shown.images[0] for name, shown in changed.items()}, label="r"
    )
    assert any(
        "few tones" in text.get_text()
        for text in fig.findobj(lambda artist: hasattr(artist, "get_text"))
    )


def test_a_network_and_a_data_set_serve_a_section_and_align(page):
    page["two_blocks"]()
    run = start("toy", preset="mine.toml", n_folds=2, out="figures")
    (vision,), (language,) = run.preset.vision, run.preset.language
    assert run.stimuli.name == "boards"
    assert len(run.stimuli) == get_preset("mine.toml").n_stimuli == 20
    assert run.features(vision).sizes["layer"] == 3
    assert run.trials.preferred.name == "boards"  # other images, since boards have no near misses
    alignment = align(
        *(
            {f"{k}": layer for k, layer in enumerate(run.features(name, "mean").values)}
            for name in (vision, language)
        ),
        names=("vision", "language"),
        n_folds=2,
        n_permutations=0,
        n_draws=9,
        progress=False,
    )
    assert list(alignment.data.vision_name.values) == ["0", "1", "2"]


def test_a_section_that_is_dropped_in_is_found_and_run(tree, tmp_path, monkeypatch):
    monkeypatch.chdir(tree)
    monkeypatch.setenv("SEEING_WORDS_STORE", str(tmp_path / "_store"))
    shutil.copy(SECTION, tree / "nbs/paper")
    assert list(sections())[-1] == "ends"
    result = CliRunner(env={"COLUMNS": "200"}).invoke(
        cli.app, ["figures", "ends", "-p", "n_stimuli=40"]
    )
    assert result.exit_code == 0, result.output
    made = tree / "figures/microworld/n_stimuli=40"
    assert {path.name for path in made.iterdir()} >= {
        "ends_claims.csv",
        "ends_claims.svg",
        "ends_provenance.json",
    }
    models = json.loads((made / "ends_provenance.json").read_text())["models"]
    assert list(models) == ["microworld/llama-0", "microworld/vision-0"]
    site = yaml.safe_load((tree / "_quarto.yml").read_text())
    (papers,) = (
        entry["contents"]
        for entry in site["website"]["sidebar"]["contents"]
        if isinstance(entry, dict) and "paper/1_layers.ipynb" in entry["contents"]
    )
    assert all((tree / "nbs" / page).is_file() for page in papers)  # where the new line goes
