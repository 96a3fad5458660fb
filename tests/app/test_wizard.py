"""A preset file is written by asking, or without asking, and can be used as it is."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from typer.testing import CliRunner

from seeing_words.app import cli
from seeing_words.app.presets import PINS, read_preset
from seeing_words.app.wizard import find_tables, guess_columns, look_at_table

NETWORKS = ["--vision", "microworld/vision-0", "--language", "microworld/llama-0"]


def command(*words: str, answers: str = ""):
    return CliRunner(env={"COLUMNS": "200"}).invoke(cli.app, ["init", *words], input=answers)


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    "A folder with a folder of 12 pictures and their captions."
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pictures").mkdir()
    rng = np.random.default_rng(0)
    rows = []
    for i in range(12):
        image = rng.integers(0, 256, (20, 30, 3), dtype=np.uint8)
        Image.fromarray(image).save(tmp_path / f"pictures/{i}.png")
        rows += [{"file": f"{i}.png", "text": f"caption {k} of {i}"} for k in range(2)]
    pd.DataFrame(rows).to_csv(tmp_path / "pictures/captions.csv", index=False)
    return tmp_path


def test_it_asks_and_the_file_can_be_used(here):
    answers = "pictures\n\n10\nmicroworld/vision-0, facebook/dinov2-small\n\ny\n"
    result = command(answers=answers)
    assert result.exit_code == 0, result.output
    preset = read_preset("mine.toml")
    assert preset.folder == str(here / "pictures") and preset.table == "captions.csv"
    assert preset.columns == {"image": "file", "caption": "text"}
    assert (preset.n_stimuli, preset.n_captions) == (10, 2)
    assert preset.vision == ("microworld/vision-0", "facebook/dinov2-small")
    assert preset.language == ("bigscience/bloom-560m",)
    pinned = ("facebook/dinov2-small", "bigscience/bloom-560m")
    assert preset.revisions == {name: PINS[name] for name in pinned}
    assert preset.show_stimuli
    assert len(preset.stimuli()) == 10
    assert str(here) not in Path("mine.toml").read_text(), "it may be passed on with the folder"
    for line in ("presets check mine.toml", "figures --preset mine.toml"):
        assert f"seeing-words {line}" in result.stdout


def test_it_does_not_ask_what_it_is_told(here):
    words = ["own.toml", "--folder", "pictures", *NETWORKS, "--hide", "--yes"]
    result = command(*words)
    assert result.exit_code == 0, result.output
    preset = read_preset("own.toml")
    assert (preset.name, preset.n_stimuli, preset.show_stimuli) == ("own", 12, False)
    assert "is there already" in str(command(*words).exception)
    assert command(*words, "--force", "--stimuli", "11").exit_code == 0
    assert read_preset("own.toml").n_stimuli == 11


@pytest.mark.parametrize(
    ("words", "source", "data"),
    [
        (["--folder", "microworld", *NETWORKS], "microworld", ()),
        (["--folder", "coco"], "coco", ("coco",)),
    ],
)
def test_data_sets_need_no_table(here, words, source, data):
    assert command(*words, "--yes", "--stimuli", "40").exit_code == 0
    preset = read_preset("mine.toml")
    assert (preset.source, preset.data, preset.n_stimuli) == (source, data, 40)


def test_it_asks_for_columns_that_it_cannot_tell(here):
    table = here / "pictures/captions.csv"
    table.write_text(table.read_text().replace("file,text", "file,words"))
    words = ["--folder", "pictures", *NETWORKS]
    refused = command(*words, "--yes")
    assert "columns file, words: rename that of the caption to 'caption'" in str(refused.exception)
    assert not Path("mine.toml").exists()
    result = command(*words, answers="\nwords\n\ny\n")
    assert result.exit_code == 0, result.output
    assert read_preset("mine.toml").columns == {"image": "file", "caption": "words"}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--folder", "nowhere"], "nowhere is not a folder"),
        (["--folder", "."], "holds no table"),
        (["mine.txt"], "ends in .toml"),
        (["--folder", "pictures", "--table", "none.csv"], "none.csv is not a file"),
        (["--folder", "pictures", "--vision", "microworld/visoin-0"], ""),
    ],
)
def test_what_cannot_be_is_refused(here, words, said):
    result = command(*words, "--yes")
    if said:
        assert result.exit_code != 0 and said in str(result.exception)
        assert not Path("mine.toml").exists()
    else:  # whether networks are there is found by `presets check`
        assert result.exit_code == 0


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"image": "x", "caption": "a"}, {"image": "image", "caption": "caption"}),
        ({"path": "a.JPG", "n": "1", "Sentence": "a"}, {"image": "path", "caption": "Sentence"}),
        (
            {"img": "a.png", "caption_1": "a", "caption_2": "b"},
            {"image": "img", "caption": "caption"},
        ),
        ({"a": "1", "b": "2"}, {}),
    ],
)
def test_columns_are_guessed_by_their_names_and_cells(row, expected):
    assert guess_columns([row]) == expected


@pytest.mark.parametrize(
    ("data", "encoding", "separator"),
    [
        ("image;caption\n1.jpg;ein Bär\n".encode("cp1252"), "cp1252", ";"),
        ("image,caption\n1.jpg,ein Bär\n".encode("utf-16"), "utf-16", ""),
        ("image\tcaption\n1.jpg\tein Bär\n".encode(), "", "\t"),
        (b"image,caption\n1.jpg,a; b; c\n", "", ""),
    ],
)
def test_encoding_and_separator_are_found(tmp_path, data, encoding, separator):
    (tmp_path / "table.csv").write_bytes(data)
    found = look_at_table(tmp_path / "table.csv")
    assert (found.encoding, found.separator) == (encoding, separator)
    assert found.columns == {"image": "image", "caption": "caption"}
    assert find_tables(tmp_path) == [tmp_path / "table.csv"]
