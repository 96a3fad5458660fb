"""A run refuses what is impossible, computes nothing twice, and writes the same files twice."""

import json
import re
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import ROOT
from matplotlib.text import Text
from runs import new_checkout, notebook, tiny_vision

from seeing_words.app import run
from seeing_words.app.presets import get_preset
from seeing_words.app.run import sources, start, store_root
from seeing_words.app.sections import find_section, parameters, sections
from seeing_words.core.errors import InputError
from seeing_words.core.files import checkout, file_digest
from seeing_words.models import extract as features
from seeing_words.models.consensus import consensus
from seeing_words.models.extract import extract
from seeing_words.models.load import load_model
from seeing_words.plots import contact_sheet, forest

TABLE = pd.DataFrame({"condition": ["trained"], "effect": [1 / 3], "low": [0.3], "high": [0.4]})


@pytest.fixture
def root(tmp_path, monkeypatch):
    return new_checkout(tmp_path / "checkout", monkeypatch)


def figure(a_run):
    return a_run.save(
        forest(TABLE, label="r"), "best", data=TABLE, caption="n = 12, 95 % interval.", alt="A dot."
    )


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"preset": "microwrld"}, "did you mean microworld"),
        ({"n_stimuli": 9}, "n_stimuli = 9: a whole number of at least 10"),
        ({"n_stimuli": 12.0}, "n_stimuli = 12.0: a whole number"),
        ({"n_stimuli": 12, "n_folds": 7}, "n_stimuli = 12 is too few for n_folds = 7"),
        ({"n_folds": 1}, "n_folds = 1: a whole number of at least 2"),
        ({"n_folds": True}, "n_folds = True: a whole number"),
        ({"n_permutations": 0}, "n_permutations = 0: a whole number of at least 1"),
        ({"n_draws": -5}, "n_draws = -5: a whole number of at least 1"),
        ({"seed": -1}, "seed = -1: a whole number of at least 0"),
        ({"seed": None}, "seed = None: a whole number"),
        ({"n_stimulus": 50}, "'n_stimulus' is not a parameter of section toy"),
        ({"preset": 3}, "preset = 3: text in quotes is needed, such as 'microworld'"),
        ({"preset": None}, "preset = None: text in quotes"),
        ({"out": 3}, "out = 3: text in quotes"),
        ({"out": "settings.ini"}, r"out = 'settings.ini': .*settings.ini is a file: name a folder"),
    ],
)
def test_impossible_values_are_refused_by_name(root, given, named):
    with pytest.raises(InputError, match=named):
        start("toy", **given)


@pytest.mark.parametrize("name", ["", "Toy", "../toy", "a b", "1_toy"])
def test_a_section_names_files(root, name):
    with pytest.raises(InputError, match="letters, digits and _ only"):
        start(name)


@pytest.mark.parametrize(
    ("given", "place"),
    [
        ({}, "microworld"),
        ({"n_stimuli": 500, "n_folds": None}, "microworld"),
        ({"n_stimuli": 50, "seed": 3}, "microworld/n_stimuli=50,seed=3"),
        ({"pooling": "mean"}, "microworld"),
        ({"pooling": "last"}, "microworld/pooling=last"),
        ({"network": "../../mine"}, "microworld/network=.._.._mine"),
    ],
)
def test_runs_that_differ_from_the_preset_or_the_notebook_have_their_own_folder(root, given, place):
    notebook(
        root / "nbs/paper/1_toy.ipynb",
        parameters='preset: str = "microworld"\npooling: str = "mean"\nnetwork: str = "theirs"',
    )
    a_run = start("toy", **given)
    assert a_run.place == place
    assert a_run.folder == root / "figures" / place


def test_stimuli_and_folds_are_those_of_the_sizes(root):
    a_run = start("toy", n_stimuli=11, n_folds=3, seed=1)
    assert len(a_run.stimuli) == 11
    assert sorted(np.concatenate(a_run.folds.test)) == list(range(11))
    assert len(a_run.folds.test) == 3


def test_features_are_those_of_the_network_and_computed_once(root, monkeypatch, tmp_path):
    name = tiny_vision(tmp_path / "tiny")
    a_run = start("toy", n_stimuli=12)
    found = a_run.features(name)
    np.testing.assert_allclose(
        found, extract(load_model(name), a_run.stimuli, pooling="cls"), atol=1e-6
    )
    assert a_run.provenance["models"] == {name: load_model(name).revision}
    monkeypatch.setattr(features, "pooled_layers", lambda *args: pytest.fail("computed again"))
    np.testing.assert_array_equal(start("toy", n_stimuli=12).features(name, "cls"), found)


def test_poolings_of_the_preset_come_from_one_pass(root, monkeypatch, tmp_path):
    name = tiny_vision(tmp_path / "tiny")
    passes, whole = [], features.pooled_layers
    monkeypatch.setattr(
        features,
        "pooled_layers",
        lambda m, s, poolings: passes.append(list(poolings)) or whole(m, s, poolings),
    )
    preset = replace(
        get_preset("microworld"), poolings={"vision": ("mean", "cls"), "language": ("last",)}
    )
    monkeypatch.setattr(run, "get_preset", lambda name: preset)
    a_run = start("toy", n_stimuli=12)
    assert a_run.features(name).attrs["pooling"] == "mean"
    assert a_run.features(name, "cls").attrs["pooling"] == "cls"
    assert passes == [["mean", "cls"]]


def test_two_runs_write_the_same_bytes_wherever_they_are(root, tmp_path):
    folders = []
    for name in "ab":
        a_run = start("toy", n_stimuli=12, out=tmp_path / name)
        figure(a_run)
        pd.testing.assert_frame_equal(a_run.table(TABLE, "numbers"), TABLE)
        folders.append({path.name: path.read_bytes() for path in a_run.folder.iterdir()})
    assert folders[0] == folders[1]
    assert set(folders[0]) == {f"toy_best.{kind}" for kind in ("svg", "png", "csv", "json")} | {
        "toy_numbers.csv",
        "toy_provenance.json",
        "toy_environment.json",
    }
    assert not any(
        str(tmp_path).encode() in data or re.search(rb"\b20\d\d-\d\d-\d\d", data)
        for data in folders[0].values()
    )


def test_provenance_names_what_was_written_and_from_what(root):
    a_run = start("toy", n_stimuli=12, seed=2)
    saved = figure(a_run)
    record = json.loads((a_run.folder / "toy_provenance.json").read_text())
    assert record["written"] == {file.name: file_digest(file) for file in saved.files}
    assert {k: record[k] for k in ("section", "preset", "n_stimuli", "seed")} == {
        "section": "toy",
        "preset": "microworld",
        "n_stimuli": 12,
        "seed": 2,
    }
    assert record["stimuli"] == a_run.stimuli.key
    about = json.loads((a_run.folder / "toy_best.json").read_text())["provenance"]
    assert about.items() <= record.items()
    # or what is committed would change with the commit that holds it, and with other versions
    assert not {"commit", "versions"} & (set(about) | set(record))
    environment = json.loads((a_run.folder / "toy_environment.json").read_text())
    assert environment["commit"] and environment["versions"]["python"]


def test_another_commit_and_other_versions_change_no_committed_file(root, monkeypatch, files):
    contents = []
    for k in range(2):
        monkeypatch.setattr(run, "commit", lambda k=k: f"commit {k}")
        monkeypatch.setattr(run, "versions", lambda k=k: {"numpy": str(k)})
        a_run = start("toy", n_stimuli=12)
        figure(a_run)
        contents.append({path.name: path.read_bytes() for path in a_run.folder.iterdir()})
    changed = [name for name in contents[0] if contents[0][name] != contents[1][name]]
    assert changed == ["toy_environment.json"]
    ignored = subprocess.run(
        ["git", "check-ignore", "--no-index", "figures/microworld/toy_environment.json"],
        cwd=ROOT,
        capture_output=True,
    )
    assert ignored.returncode == 0


def test_the_small_print_lists_networks_briefly(root):
    a_run = start("toy", n_stimuli=12)
    a_run.models.update(
        dict.fromkeys(
            ["microworld/vision-1", "microworld/vision-0", "untrained:microworld/vision-0@4"], ""
        )
    )
    assert a_run.small_print.startswith(
        "preset microworld · vision-0,1, 1 untrained · n = 12, 5 folds · seed 0 · seeing_words"
    )


def test_the_small_print_of_a_figure_names_its_own_stimuli_and_networks(root):
    a_run = start("toy", n_stimuli=12)
    a_run.models.update(dict.fromkeys(["microworld/vision-0", "microworld/llama-0"], ""))
    fig = forest(TABLE, label="r")
    a_run.save(
        fig, "one", data=TABLE, caption="A dot.", alt="A dot.", n=7, networks=["microworld/llama-0"]
    )
    printed = " ".join(text.get_text() for text in fig.findobj(Text))
    assert "llama-0 · n = 7, 5 folds" in printed and "vision-0" not in printed


def test_a_run_says_where_it_writes_without_naming_the_machine(root):
    a_run = start("toy", n_stimuli=12)
    assert "figures/microworld/n_stimuli=12" in repr(a_run)
    assert "figures/microworld/n_stimuli=12" in a_run._repr_html_()
    assert str(root) not in repr(a_run) + a_run._repr_html_()


def test_sources_change_with_code_and_not_with_outputs(root):
    path = notebook(root / "nbs/paper/1_toy.ipynb", parameters="n_folds: int = 5", work="1 + 1")
    before = sources(path)
    output = '"outputs": [{"name": "stdout", "output_type": "stream", "text": "2"}]'
    path.write_text(path.read_text().replace('"outputs": []', output))
    assert sources(path) == before != sources()
    assert sources(notebook(path, parameters="n_folds: int = 5", work="1 + 2")) != before


def test_sources_change_with_the_modules_that_a_section_reaches_and_not_with_others(
    root, monkeypatch
):
    work = "from seeing_words.studies import averaging"
    path = notebook(root / "nbs/paper/1_toy.ipynb", parameters="n_folds: int = 5", work=work)
    before, reached = sources(path), {}
    monkeypatch.setattr(run, "code_digest", lambda name: reached.setdefault(name, "changed"))
    assert sources(path) != before
    assert set(reached) == {"seeing_words.studies", "seeing_words.studies.averaging"}


def test_sections_are_known_with_and_without_their_number(root):
    paths = [
        notebook(root / f"nbs/paper/{name}.ipynb", parameters="seed: int = 0")
        for name in ("1_layers", "2_words")
    ]
    notebook(root / "nbs/paper/_draft.ipynb")
    assert list(sections().items()) == [("layers", paths[0]), ("words", paths[1])]
    assert find_section("layers") == find_section("1_layers") == paths[0]
    with pytest.raises(InputError, match="section 'layrs' is not known: did you mean layers"):
        find_section("layrs")
    further = notebook(root / "nbs/beyond/further.ipynb", parameters="seed: int = 0")
    assert list(sections()) == ["layers", "words"]
    assert list(sections(beyond=True)) == ["layers", "words", "further"]
    assert find_section("further") == further


def test_without_a_checkout_there_are_no_sections_and_the_store_is_the_users(monkeypatch, tmp_path):
    monkeypatch.setattr("seeing_words.core.files.PACKAGE", tmp_path / "site-packages/seeing_words")
    monkeypatch.delenv("SEEING_WORDS_STORE", raising=False)
    monkeypatch.chdir(tmp_path)
    assert checkout() is None
    assert sections() == {}
    assert store_root().parent.name == "seeing_words"
    with pytest.raises(InputError, match="clone the repository"):
        find_section("layers")
    assert start("toy").folder == tmp_path / "figures/microworld"


def test_the_checkout_is_found_from_within_it(monkeypatch, tmp_path):
    monkeypatch.delenv("SEEING_WORDS_STORE", raising=False)
    (tmp_path / "here/nbs/paper").mkdir(parents=True)
    (tmp_path / "here/settings.ini").touch()
    monkeypatch.chdir(tmp_path / "here/nbs/paper")
    assert checkout() == tmp_path / "here"
    assert store_root() == tmp_path / "here/_store"


@pytest.mark.parametrize(
    "cell", ["n = 5", "n: int = len('abc')", "n: list = []", "n: int", "import os"]
)
def test_parameters_are_plain_and_typed(tmp_path, cell):
    with pytest.raises(
        InputError, match=r"1_toy.ipynb: the parameter `.*` must be written as name: type = value"
    ):
        parameters(notebook(tmp_path / "1_toy.ipynb", parameters=cell))


def test_there_is_one_cell_of_parameters(tmp_path):
    with pytest.raises(InputError, match="0 cells tagged `parameters`"):
        parameters(notebook(tmp_path / "1_toy.ipynb", work="1"))


@pytest.mark.parametrize("name", sections())
def test_every_section_of_the_paper_hands_all_its_parameters_to_its_run(name):
    path = sections()[name]
    code = path.read_text()
    assert {"preset", "n_stimuli", "seed", "out"} <= set(parameters(path))
    assert all(f"{parameter}={parameter}" in code for parameter in parameters(path)), (
        "start(…) must get every parameter"
    )


@pytest.mark.parametrize("name", sections())
@pytest.mark.parametrize("value", ["max", "cls", "", None, 3, [], True])
def test_every_section_refuses_captions_pooled_in_no_way(name, value):
    with pytest.raises(InputError, match=r"^pooling = "):
        start(name, pooling=value)


@pytest.mark.parametrize(
    ("name", "parameter", "values"),
    [
        ("perturbations", "rotation", ["90", 1.5, None, True]),
        ("perturbations", "tagger", [None, 1]),
        ("averaging", "n_exemplars", ["5", 2.0, None, 0, -1]),
        ("averaging", "max_choices", [0, None, [1]]),
        ("averaging", "n_many", [0, -1, None]),
    ],
)
def test_a_section_refuses_values_of_another_kind_and_counts_below_one(name, parameter, values):
    for value in values:
        with pytest.raises(
            InputError, match=rf"^{parameter} = {re.escape(repr(value))}: .* is needed"
        ):
            start(name, **{parameter: value})


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('language = ["./nowhere"]', "names .*nowhere, which is not a folder here"),
        ('vision = ["/nowhere"]', "names /nowhere, which is not a folder"),
        ('vision = ["microworld/visoin-0"]', "did you mean microworld/vision-0"),
        ('judge = "./nobody"', "names .*nobody, which is not a folder"),
        ('trials_folder = "nothing"', "names .*nothing, which is not a folder"),
    ],
)
def test_missing_networks_and_folders_are_refused_before_anything_is_computed(root, line, message):
    lines = {
        "vision": 'vision = ["microworld/vision-0"]',
        "language": 'language = ["microworld/bloom-0"]',
    }
    lines[line.partition(" ")[0]] = line
    (root / "mine.toml").write_text("\n".join(['source = "microworld"', *lines.values()]))
    with pytest.raises(InputError, match=message):
        start("toy", preset="mine.toml")


COMMITTED = sorted((Path(__file__).parents[2] / "figures").glob("*/*_provenance.json"))


@pytest.mark.parametrize("path", COMMITTED, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_committed_figures_come_from_these_sources(path):
    record = json.loads(path.read_text())
    assert record["sources"] == sources(find_section(record["section"])), (
        "the package or the notebook has changed since: make the figures again, `make figures`"
    )


def test_stimuli_that_must_not_be_passed_on_are_in_no_file(root):
    lines = 'source = "microworld"\nvision = ["microworld/vision-0"]\n'
    lines += 'language = ["microworld/llama-0"]\nn_stimuli = 12\n'
    ids = root / "figures/mine/toy_stimuli.tsv"  # the choice of stimuli has the figure's name
    ids.parent.mkdir(parents=True)
    ids.write_text("id")
    for shown in ("true", "false"):  # the second run removes what the first one wrote
        (root / "mine.toml").write_text(f"{lines}show_stimuli = {shown}\n")
        a_run = start("toy", preset="mine.toml")
        captions = a_run.stimuli.caption()
        saved = a_run.save(
            contact_sheet(a_run.stimuli.images[:2], captions[:2]),
            "stimuli",
            data=pd.DataFrame({"id": a_run.stimuli.ids[:2], "caption": captions[:2]}),
            caption=f"Two images; the first is called {captions[0]}.",
            alt="Two images.",
        )
        figure(a_run)
        written = b"".join(path.read_bytes() for path in a_run.folder.iterdir())
        assert (captions[0].encode() in written) == (shown == "true")
        assert bool(saved.files) == (shown == "true")
        assert {path.name for path in a_run.folder.glob("toy_best.*")} == {
            f"toy_best.{kind}" for kind in ("svg", "png", "csv", "json")
        }
    assert [*a_run.folder.glob("toy_stimuli*")] == [ids]
    assert "show_stimuli = false" in saved._repr_markdown_()


def test_files_do_not_say_where_networks_lie(root):
    home = root / "with networks"
    home.mkdir()
    tiny_vision(home / "nets/small")
    lines = 'source = "microworld"\nvision = ["nets/small"]\n'
    (home / "mine.toml").write_text(lines + 'language = ["microworld/llama-0"]\nn_stimuli = 12\n')
    a_run = start("toy", preset=str(home / "mine.toml"))
    name, untrained = a_run.preset.vision[0], a_run.preset.untrained("vision")[0]
    assert name == str(home / "nets/small")
    a_run.models.update({name: "1", untrained: "2"})
    scores = pd.DataFrame({"network": [name, untrained], "r": [0.5, 0.1]})
    a_run.table(scores, "numbers")
    fig = forest(TABLE, label="r")
    a_run.save(fig, "best", data={"": TABLE, "all": scores}, caption="A dot.", alt="A dot.")
    assert a_run.provenance["models"] == {"nets/small": "1", "untrained:nets/small@0": "2"}
    assert pd.read_csv(a_run.folder / "toy_numbers.csv").network.tolist() == [
        "nets/small",
        "untrained:nets/small@0",
    ]
    for path in a_run.folder.iterdir():
        assert str(home).encode() not in path.read_bytes(), path.name


def test_a_consensus_judges_by_all_captions_of_the_run(root):
    lines = 'source = "microworld"\nvision = ["microworld/vision-0"]\ntrials = "other images"\n'
    lines += 'language = ["microworld/llama-0"]\nn_stimuli = 12\njudge = "consensus"\n'
    (root / "mine.toml").write_text(lines)
    a_run = start("toy", preset="mine.toml")
    scores = a_run.judge(a_run.stimuli)
    np.testing.assert_allclose(scores, consensus(a_run.stimuli), atol=1e-12)
    # a prompt alone beside its image is scored as among all captions of the image
    first = replace(
        a_run.stimuli,
        captions=tuple(captions[:1] for captions in a_run.stimuli.captions),
        tags=None,
        caption_facts=None,
    )
    np.testing.assert_allclose(a_run.judge(first), scores[:, :1], atol=1e-12)
