"""The wheel, built from the source distribution, works in a folder without the repository."""

import json
import os
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT, copy_of_project

BUILD = """
import sys
from setuptools import build_meta
print(getattr(build_meta, sys.argv[1])(sys.argv[2]))
"""
PRESET = """
source = "microworld"
vision = ["microworld/vision-0"]
language = ["microworld/llama-0"]
n_stimuli = 40
n_folds = 2
n_permutations = 9
n_draws = 19
"""


def build(what: str, source: Path, folder: Path) -> Path:
    "Build `source` with setuptools; `what` is build_sdist or build_wheel."
    run = subprocess.run(
        [sys.executable, "-c", BUILD, what, str(folder)], cwd=source, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
    return folder / run.stdout.splitlines()[-1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory, files) -> Path:
    "The wheel that is built from the source distribution, as an installer without git builds it."
    place = tmp_path_factory.mktemp("wheel")
    sdist = build("build_sdist", copy_of_project(place / "tree", files), place)
    with tarfile.open(sdist) as archive:
        archive.extractall(place / "unpacked", filter="data")
    (source,) = (place / "unpacked").iterdir()
    return build("build_wheel", source, place)


@pytest.fixture(scope="module")
def command(wheel, tmp_path_factory):
    "Run `seeing-words` from a fresh environment that holds the wheel, in an empty folder."
    place = tmp_path_factory.mktemp("installed")
    venv.create(place / "venv", with_pip=False)
    binaries = place / "venv" / "bin"
    (packages,) = (place / "venv").glob("lib/python*/site-packages")
    install = [
        "--python",
        str(binaries / "python"),
        "install",
        "--quiet",
        "--no-deps",
        "--no-index",
    ]
    subprocess.run([sys.executable, "-m", "pip", *install, str(wheel)], check=True)
    # the dependencies are those of this environment: only the package itself is new
    (packages / "dependencies.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    folder = place / "empty"
    folder.mkdir()
    hidden = ("PYTHONPATH", "SEEING_WORDS_STORE", "SEEING_WORDS_DATA")
    env = {name: value for name, value in os.environ.items() if name not in hidden}
    env |= {"SEEING_WORDS_STORE": str(place / "store"), "COLUMNS": "200"}

    def run(*words: str) -> str:
        done = subprocess.run(
            [binaries / "seeing-words", *words], cwd=folder, env=env, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    run.folder = folder
    return run


def test_wheel_carries_every_file_of_the_package(wheel, files):
    inside = set(zipfile.ZipFile(wheel).namelist())
    expected = {file.as_posix() for file in files if file.parts[0] == "seeing_words"}
    assert any(name.endswith(".safetensors") for name in expected)
    assert expected <= inside


def test_wheel_carries_the_sections_without_outputs(wheel):
    archive = zipfile.ZipFile(wheel)
    paper = list((ROOT / "nbs" / "paper").glob("[!_.]*.ipynb"))
    studies = list((ROOT / "nbs" / "beyond").glob("[0-9]_*.ipynb"))
    names = {f"seeing_words/sections/{notebook.name}": notebook for notebook in paper}
    names |= {f"seeing_words/sections/beyond/{notebook.name}": notebook for notebook in studies}
    assert len(names) >= 10
    assert names.keys() == {name for name in archive.namelist() if name.endswith(".ipynb")}
    for name, notebook in names.items():
        cells = json.loads(notebook.read_text())["cells"]
        shipped = json.loads(archive.read(name))["cells"]
        assert [cell["source"] for cell in shipped] == [cell["source"] for cell in cells]
        assert not any(cell.get("outputs") for cell in shipped)


def test_the_command_works_without_the_repository(command):
    assert command("--version").startswith("seeing_words ")
    assert {"layers", "probes"} <= set(json.loads(command("sections", "--json")))
    layers = np.random.default_rng(0).normal(size=(2, 40, 6))
    for name, features in zip(("vision", "language"), layers):
        np.save(command.folder / f"{name}.npy", features)
    assert "best r" in command("align", "vision.npy", "language.npy", "--permutations", "0")
    assert (command.folder / "alignment" / "alignment.nc").is_file()


@pytest.mark.slow
def test_a_section_and_its_report_are_made_without_the_repository(command):
    (command.folder / "mine.toml").write_text(PRESET)
    (outcome,) = json.loads(command("figures", "averaging", "--preset", "mine.toml", "--json"))
    assert outcome["folder"] == "figures/mine"
    assert (command.folder / "figures" / "mine" / "averaging_claims.csv").is_file()
    assert len(json.loads(command("claims", "--preset", "mine.toml", "--json"))) > 0
    command("report", "--preset", "mine.toml", "--out", "mine.html")
    assert 'id="averaging_claims"' in (command.folder / "mine.html").read_text()
    findings = json.loads(command("doctor", "--json"))
    assert "bad" not in {finding["state"] for finding in findings}
