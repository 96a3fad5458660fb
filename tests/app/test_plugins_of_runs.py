"""What a plugin adds is used, identified and kept apart, and decides no claim of the paper."""

import json
import os
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from runs import new_checkout, notebook
from typer.testing import CliRunner

from seeing_words import similarity_grid
from seeing_words.app import cli
from seeing_words.app import plugins as of_runs
from seeing_words.app.plugins import REGISTRIES, use_plugins
from seeing_words.app.run import start
from seeing_words.core import plugins
from seeing_words.core.errors import InputError
from seeing_words.core.plugins import PLUGINS
from seeing_words.data.perturb import PERTURBATIONS, perturb
from seeing_words.data.stimuli import OnDemand
from seeing_words.measures.similarity import SIMILARITIES
from seeing_words.models.cache import Results

DARKER = """from dataclasses import replace
from seeing_words.data.perturb import PERTURBATIONS, Perturbation

def darken(image):
    return image // 2

def darker(picture, rng):
    return replace(picture, image=darken(picture.image))

PERTURBATIONS["darker"] = Perturbation("darker", "image", "appearance", "half as bright", darker)
"""
MEASURE = """import numpy as np
from seeing_words.measures.similarity import SIMILARITIES, plain_measure

def means(X, Y):
    return abs(float(np.corrcoef(X.mean(1), Y.mean(1))[0, 1]))

SIMILARITIES["means"] = plain_measure(means, "correlation of means")
"""


@pytest.fixture(autouse=True)
def _as_before(monkeypatch):
    "Nothing that a test registers is there for the next one."
    monkeypatch.delenv(PLUGINS, raising=False)
    monkeypatch.setattr(plugins, "_RUN", {})
    monkeypatch.setattr(of_runs, "_ADDED", {})
    before = {what: dict(registry.entries) for what, registry in REGISTRIES.items()}
    modules = set(sys.modules)
    yield
    os.environ.pop(PLUGINS, None)
    for what, registry in REGISTRIES.items():
        registry.entries.clear()
        registry.entries.update(before[what])
    for name in set(sys.modules) - modules:
        if name.startswith("seeing_words_plugin_"):
            del sys.modules[name]


@pytest.fixture
def root(tmp_path, monkeypatch):
    return new_checkout(tmp_path / "checkout", monkeypatch)


def plugin(folder: Path, text: str = DARKER, name: str = "mine.py") -> str:
    (folder / name).write_text(text)
    return str(folder / name)


def command(*words: str):
    return CliRunner(env={"COLUMNS": "200"}).invoke(cli.app, words)


def test_a_perturbation_reaches_the_kernel_and_the_record(root):
    work = """import pandas as pd
from seeing_words.app.run import start
from seeing_words.data.perturb import PERTURBATIONS, perturb
run = start("toy", preset=preset, n_stimuli=12)
shown = perturb(run.stimuli, "darker").images if "darker" in PERTURBATIONS else run.stimuli.images
run.table(pd.DataFrame({"mean": [float(sum(image.mean() for image in shown))]}), "t")"""
    notebook(root / "nbs/paper/1_toy.ipynb", parameters='preset: str = "microworld"', work=work)
    file = plugin(root)
    result = command("figures", "--plugin", file)
    assert result.exit_code == 0, result.output
    assert "plugin mine.py adds the perturbation darker" in result.stderr
    assert command("figures").exit_code == 0  # the environment of this process still names it
    del os.environ[PLUGINS]
    assert command("figures").exit_code == 0
    usual = root / "figures/microworld/n_stimuli=12"
    own = root / "figures/microworld/n_stimuli=12,plugin=mine"
    means = [pd.read_csv(folder / "toy_t.csv")["mean"][0] for folder in (usual, own)]
    assert means[1] == pytest.approx(means[0] / 2, rel=0.02)
    record = json.loads((own / "toy_provenance.json").read_text())
    assert record["plugins"] == {"mine.py": plugins.find_plugin(file).digest}
    assert "plugins" not in json.loads((usual / "toy_provenance.json").read_text())


def test_figures_say_that_a_plugin_was_used(root):
    use_plugins([plugin(root)])
    a_run = start("toy", n_stimuli=12)
    assert "plugin mine.py" in a_run.small_print
    assert a_run.place == "microworld/n_stimuli=12,plugin=mine"


def test_results_with_another_version_of_a_plugin_are_computed_again(tmp_path, monkeypatch):
    X = np.random.default_rng(0).normal(size=(1, 20, 4)).astype(np.float32)
    results, values = Results(tmp_path / "results"), []
    for text in (MEASURE, MEASURE.replace("X.mean(1)", "X.max(1)")):
        SIMILARITIES.pop("means", None)
        monkeypatch.setattr(plugins, "_RUN", {})
        use_plugins([plugin(tmp_path, text)])
        for _ in range(2):
            grid = results(similarity_grid, X, X[..., ::-1], measure="means")
            values.append(round(float(grid.squeeze()), 9))
    assert values[0] == values[1] != values[2] == values[3]
    assert values[0] == 1  # the order of units does not matter to a mean
    assert len(list((tmp_path / "results").iterdir())) == 2


def test_images_on_demand_are_known_by_the_code_of_the_whole_plugin(tmp_path, monkeypatch):
    stimuli = start("toy", n_stimuli=12, out=tmp_path).stimuli
    alone = tuple(stimuli.subset([i]) for i in range(12))
    images = OnDemand(alone, lambda one: one.images[0], lambda one: one.images_key)
    real = replace(stimuli, images=images, thing_masks=None, facts=None)
    keys = []
    for text in (DARKER, DARKER + "# as before\n", DARKER.replace("// 2", "// 3")):
        PERTURBATIONS.pop("darker", None)
        monkeypatch.setattr(plugins, "_RUN", {})
        use_plugins([plugin(tmp_path, text)])
        keys.append(perturb(real, "darker").images_key)
    assert keys[0] == keys[1] != keys[2]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (('"darker"', '"blur"'), "mine.py: the perturbation 'blur' is there already"),
        (('["darker"]', '["darkest"]'), "'darkest': it is registered by another name than its own"),
        (('"image", "app', '"picture", "app'), "its modality is 'picture', and must be image or"),
        (('"appearance"', '"looks"'), "its kind is 'looks', and must be appearance or semantics"),
        (('"darker"', '"dark=2"'), "a name is some text without = and"),
        (
            ('Perturbation("darker", "image", "appearance", "half as bright", darker)', "darker"),
            "it is of type function, and must be a Perturbation",
        ),
    ],
)
def test_an_entry_that_would_do_harm_is_refused_and_nothing_stays(root, change, said):
    before = dict(PERTURBATIONS)
    with pytest.raises(InputError, match=said):
        use_plugins([plugin(root, DARKER.replace(*change))])
    assert PERTURBATIONS == before
    plugin(root)  # corrected
    use_plugins()
    assert "darker" in PERTURBATIONS


def test_poolings_are_not_added_since_features_are_stored_by_their_name(root):
    text = "from seeing_words.models.pooling import POOLINGS\nPOOLINGS['max'] = max\n"
    with pytest.raises(InputError, match="the pooling 'max': a plugin cannot add a pooling"):
        use_plugins([plugin(root, text)])


def test_two_plugins_of_one_name_are_refused(root, tmp_path):
    with pytest.raises(InputError, match="two plugins are called mine.py"):
        use_plugins([plugin(root, "x = 1"), plugin(tmp_path, "x = 2")])


def test_align_uses_a_measure_of_a_plugin(tmp_path):
    rng = np.random.default_rng(0)
    for name in "AB":
        np.save(tmp_path / f"{name}.npy", rng.normal(size=(2, 40, 6)))
    files = [str(tmp_path / f"{name}.npy") for name in "AB"]
    words = ["align", *files, "--out", str(tmp_path / "out"), "--permutations", "0"]
    without = command(*words, "--measure", "means")
    assert "there is no measure 'means'" in str(without.exception)
    file = plugin(tmp_path, MEASURE)
    result = command(*words, "--measure", "means", "--plugin", file, "--json")
    assert result.exit_code == 0, result.output
    (found,) = json.loads(result.stdout)["measures"]
    X, Y = (np.load(one) for one in files)
    expected = [[abs(np.corrcoef(x.mean(1), y.mean(1))[0, 1]) for y in Y] for x in X]
    assert found["value"] == pytest.approx(np.max(expected), abs=1e-5)


def test_a_plugin_that_adds_nothing_is_pointed_out(root):
    notebook(root / "nbs/paper/1_toy.ipynb", parameters='preset: str = "microworld"', work="1")
    assert (
        "! plugin mine.py adds nothing"
        in command("figures", "--plugin", plugin(root, "x = 1")).stderr
    )
