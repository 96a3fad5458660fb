"""All sections on the paper's formats in miniature, by the command that runs `paper`."""

import json
import re
import shutil
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import matplotlib as mpl
import nbformat
import numpy as np
import pandas as pd
import pytest
import tiny_paper
from conftest import shared_place
from filelock import FileLock
from safetensors.numpy import load_file
from typer.testing import CliRunner

from seeing_words.app import cli
from seeing_words.app.costs import WorkCount, estimate, section_work, shapes
from seeing_words.app.presets import read_preset
from seeing_words.app.run import start
from seeing_words.app.sections import sections
from seeing_words.data.sources import coco_stimuli, pick_a_pic
from seeing_words.measures.claims import VERDICTS
from seeing_words.models import load as models
from seeing_words.models.store import Store

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("copied_kernels")]
PRESET = tiny_paper.FIXTURES / "tiny-paper.toml"
FIGURES = {
    "layers": {
        "stimuli",
        "map",
        "best",
        "unique",
        "retrieval",
        "units",
        "sizes",
        "depth_vision",
        "depth_language",
        "robustness",
        "claims",
    },
    "perturbations": {
        "stimuli",
        "changes",
        "dose_rotation",
        "dose_words",
        "dose_things",
        "depth_vision",
        "depth_language",
        "robustness",
        "claims",
    },
    "pick_a_pic": {
        "trials",
        "sets",
        "choice",
        "pairs",
        "moved",
        "depth",
        "ranks",
        "rank_ceilings",
        "robustness",
        "claims",
    },
    "averaging": {
        "exemplars",
        "captions",
        "ceilings",
        "images",
        "depth",
        "robustness",
        "claims",
    },
}


@pytest.fixture(scope="module")
def outcome(tmp_path_factory, copied_kernels):
    """What `seeing-words figures --preset tiny-paper.toml` leaves behind; once, however many
    processes test it."""
    place = shared_place(tmp_path_factory)
    root, said = place / "tiny-paper", place / "tiny-paper.txt"
    with FileLock(place / "tiny-paper.lock"), pytest.MonkeyPatch.context() as patch:
        patch.setenv("SEEING_WORDS_STORE", str(root / "_store"))
        patch.setenv("PYTHONPATH", str(Path(cli.__file__).parents[2]))
        if not said.exists():
            said.write_text(run_all(root, patch))
    assert said.read_text().startswith("0"), said.read_text()
    return SimpleNamespace(root=root, folder=root / "figures/tiny-paper", said=said.read_text())


def run_all(root: Path, patch: pytest.MonkeyPatch) -> str:  # exit code, and what was said
    (root / "nbs").mkdir(parents=True)
    shutil.copytree(tiny_paper.FIXTURES.parent.parent / "nbs/paper", root / "nbs/paper")
    (root / "settings.ini").touch()
    patch.chdir(root)
    done = CliRunner(env={"COLUMNS": "200"}).invoke(
        cli.app, ["figures", *FIGURES, "--preset", str(PRESET), "-j", "1"]
    )
    return f"{done.exit_code} {done.output}"


def about(outcome, name: str) -> dict:
    "What stands beside a figure, or the provenance of a section."
    return json.loads((outcome.folder / f"{name}.json").read_text())


def test_every_section_writes_its_figures_and_numbers(outcome):
    assert [path.name for path in (outcome.root / "figures").iterdir()] == ["tiny-paper"]
    for section, names in FIGURES.items():
        assert names <= {
            path.stem.removeprefix(f"{section}_")
            for path in outcome.folder.glob(f"{section}_*.svg")
        }
        for name in names - {"map"}:  # which is several tables
            assert len(pd.read_csv(outcome.folder / f"{section}_{name}.csv")), (section, name)
        assert set(about(outcome, f"{section}_provenance")["written"]) == {
            path.name
            for path in outcome.folder.glob(f"{section}_*")
            if path.suffix != ".tsv"
            and path.name not in (f"{section}_provenance.json", f"{section}_environment.json")
        }


def test_the_store_holds_what_was_estimated(outcome):
    preset = read_preset(PRESET)
    rows = Store(outcome.root / "_store").ls()
    # layers that are stored alone, and later with all others, are one pass of the declaration
    names = ("model", "revision", "stimuli", "perturbation", "pooling")
    stored = {tuple(row[name] for name in names) for row in rows}
    stored = Counter(str(name) for name, *_ in stored)
    passes = {}
    for notebook in sections().values():
        count = WorkCount(preset, shapes(preset), notebook=notebook)
        count.count(section_work(notebook))
        passes |= count.passes
    declared = Counter()
    for (name, *_), n_poolings in passes.items():
        declared[name] += n_poolings
    assert stored == declared
    assert sum(row["bytes"] for row in rows) > estimate(preset, 1e11).store  # and metadata


def test_images_of_the_pretrained_size_are_a_robustness_row(outcome):
    rows = pd.read_csv(outcome.folder / "layers_robustness.csv").query("direction == 'v2l'")
    effect = rows.set_index("condition").effect
    assert effect["images of 16 pixels"] != effect["as above"]
    (revision,) = about(outcome, "layers_provenance")["resized"].values()
    assert revision.endswith("-16px")


def test_every_claim_has_a_verdict(outcome):
    claims = pd.read_csv(outcome.folder / "claims.csv")
    assert set(claims.section) == {"layers", "perturbations", "pick a pic", "averaging"}
    assert set(claims.verdict) <= set(VERDICTS)
    plateau = claims.claim.str.startswith("L2a")  # of noise, it begins nowhere in some draws
    assert claims.loc[~plateau, ["effect", "low", "high"]].notna().all(axis=None)
    unknown = claims[claims[["low", "high"]].isna().any(axis=1)]
    assert set(unknown.verdict) <= {"not supported"}
    named = set(claims.claim)
    assert {"F1a V→L", "F2 L→V", "R1b L→V", "A1 V→L", "A2b V→L", "L1a V→L"} <= named
    assert not named & {"L2b vision", "L3"}  # three blocks have no early third with a score


def test_provenance_names_stimuli_networks_trials_and_judge(outcome):
    preset = read_preset(PRESET)
    run = start("pick_a_pic", preset=str(PRESET), out=str(outcome.root / "other"))
    record = about(outcome, "pick_a_pic_provenance")
    assert record["stimuli"] == run.stimuli.key
    assert record["trials"] == {
        "kind": "pick-a-pic",
        "n": 22,
        "left_out": {"tie": 8, "no label": 8},
        "preferred": run.trials.preferred.key,
        "rejected": run.trials.rejected.key,
    }
    # names from the preset's folder, not from the machine's root
    networks = [str(Path(name).relative_to(PRESET.parent)) for name in preset.networks]
    trained = networks[: len(preset.vision + preset.language)]
    assert record["judge"] == "tiny-paper/clip"
    assert set(record["models"]) == {*networks, *(f"untrained:{name}@0" for name in trained)}
    for section in FIGURES:
        record = about(outcome, f"{section}_provenance")
        assert record["stimuli"] == run.stimuli.key and {*trained} <= set(record["models"])
    listed = {
        name: (outcome.folder / f"pick_a_pic_{name}.tsv").read_text()
        for name in ("stimuli", "trials")
    }
    assert all(id_ in listed["stimuli"] for id_ in run.stimuli.ids)
    assert all(id_ in listed["trials"] for id_ in run.trials.preferred.ids)


def test_figures_speak_of_nothing_that_only_the_microworld_has(outcome):
    for path in sorted(outcome.folder.glob("*.json")):
        record = json.loads(path.read_text())
        text = " ".join([record.get("caption", ""), record.get("alt", "")])
        found = re.search(
            r"microworld|\bscenes?\b|near miss|\b(un)?decidable\b|\boracle\b|\bnan\b|n = 0\b|/",
            text,
        )
        assert not found, (path.name, found)
    for path in outcome.folder.glob("*.svg"):
        assert "microworld" not in path.read_text(), path.name
    both = pd.read_csv(outcome.folder / "pick_a_pic_choice.csv")
    assert both.panel.nunique() == 2
    for _, table in both.groupby("panel"):
        assert not {"undecidable", "another scene", "oracle"} & set(table.condition)
        assert {
            "trained",
            "shuffled prompts",
            "untrained",
            "another prompt's image",
            "clip",
        } <= set(table.condition)
        assert (table.n > 0).all() and table.effect.notna().all()
        assert not np.array_equal(
            *(table.effect[table.condition == name] for name in ("trained", "untrained"))
        )


def run_again(outcome, section: str, out: Path) -> None:
    "Run the cells of the executed notebook in this process, figures going elsewhere."
    notebook = nbformat.read(outcome.root / f"_runs/tiny-paper/{section}.ipynb", as_version=4)
    space = {"display": lambda shown: None}
    with mpl.rc_context():
        for cell in notebook.cells:
            if cell.cell_type == "code":
                exec(compile(cell.source, cell.id, "exec"), space)
            if "parameters" in cell.metadata.get("tags", []):
                space["out"] = out


@pytest.mark.parametrize("section", FIGURES)
def test_a_second_run_loads_no_weights_and_writes_the_same(outcome, section, monkeypatch, tmp_path):
    def refused(*args, **options):
        raise AssertionError("weights were loaded")

    monkeypatch.setattr("seeing_words.models.clip.load_network", refused)
    for name in "load_network", "draw_network":
        monkeypatch.setattr(models, name, refused)
    monkeypatch.setenv("SEEING_WORDS_STORE", str(outcome.root / "_store"))
    monkeypatch.chdir(outcome.root)
    run_again(outcome, section, tmp_path)
    before, after = (
        {path.name: path.read_bytes() for path in folder.glob(f"{section}_*.csv")}
        for folder in (outcome.folder, tmp_path / "tiny-paper")
    )
    assert after == before


def test_the_fixture_is_what_is_written_today(tmp_path):
    old, new = tiny_paper.FIXTURES / "tiny-paper", tiny_paper.write(tmp_path)
    names = {path.relative_to(old) for path in old.rglob("*") if path.is_file()}
    assert names == {path.relative_to(new) for path in new.rglob("*") if path.is_file()}
    for kind in tiny_paper.NETWORKS:
        kept, made = (load_file(root / kind / "model.safetensors") for root in (old, new))
        assert kept.keys() == made.keys()
        for weight in kept:
            np.testing.assert_allclose(
                made[weight], kept[weight], rtol=1e-6, atol=1e-7, err_msg=weight
            )
    for read in (
        lambda root: [coco_stimuli(root / "coco", 30)],
        lambda root: [(found := pick_a_pic(root / "pick-a-pic", 32)).preferred, found.rejected],
    ):
        for kept, made in zip(read(old), read(new)):
            assert (kept.ids, kept.captions, kept.key) == (made.ids, made.captions, made.key)
