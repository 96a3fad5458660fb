"""The guide *A real run on a laptop*: what it fetches, checks and writes, on small stand-ins."""

import csv
import runpy
import shutil
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from seeing_words.app.presets import read_preset

TOOLS = Path(__file__).parents[1] / "tools" / "photographs"
TOLD = {"b.jpg": ("a dog, running", 'a "dog"'), "a.jpg": ("a cat", "the cat")}


@pytest.fixture
def get():
    return runpy.run_path(str(TOOLS / "get.py"))


def flickr8k(folder, layout):
    "A small Flickr8k as its authors, or as others, pack it."
    images = folder / {"authors": "Flicker8k_Dataset", "others": "Images"}[layout]
    images.mkdir(parents=True)
    for name, size in zip(TOLD, ((400, 300), (100, 180))):
        Image.new("RGB", size, "red").save(images / name)
    pairs = [(name, text) for name, texts in TOLD.items() for text in texts]
    if layout == "authors":
        lines = [f"{name}#{k % 2}\t{text}\n" for k, (name, text) in enumerate(pairs)]
        (folder / "Flickr8k.token.txt").write_text("".join(lines))
    else:
        with (folder / "captions.txt").open("w", newline="") as file:
            csv.writer(file).writerows([("image", "caption"), *pairs])
    return folder


@pytest.mark.parametrize("layout", ["authors", "others"])
def test_photographs_are_the_first_by_name_in_every_layout(get, tmp_path, layout):
    out = tmp_path / "out"
    out.mkdir()
    get["get_photographs"](flickr8k(tmp_path / "flickr8k", layout), out)
    with (out / "captions.csv").open(newline="") as file:
        rows = list(csv.reader(file))
    expected = [(f"images/{name}", text) for name in ("a.jpg", "b.jpg") for text in TOLD[name]]
    assert list(map(tuple, rows)) == [("file", "text"), *expected]
    # a short side of 240, and small ones as they are
    for name, size in (("b.jpg", (320, 240)), ("a.jpg", (100, 180))):
        with Image.open(out / "images" / name) as image:
            assert image.size == size


def test_a_folder_without_captions_is_refused(get, tmp_path):
    with pytest.raises(SystemExit, match="has no table of captions: expected one of captions.txt"):
        get["get_photographs"](tmp_path, tmp_path)


def test_a_package_with_another_digest_is_refused_before_it_is_unpacked(get, tmp_path):
    path = tmp_path / "wheels" / "gguf-0.19.0-py3-none-any.whl"
    path.parent.mkdir()
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("gguf/__init__.py", "")
    package = get["READERS"]["gguf==0.19.0"]
    with pytest.raises(SystemExit, match="has SHA-256 .*, not .*: delete it, and do not use it"):
        get["unpacked"](tmp_path, {"gguf==0.19.0": package})
    assert not (tmp_path / "packages").exists()
    right = package._replace(sha256=get["sha256"](path))
    assert (get["unpacked"](tmp_path, {"gguf==0.19.0": right}) / "gguf/__init__.py").is_file()


def test_the_preset_reads_what_lies_beside_it(get, tmp_path):
    """All five captions of each image, networks beside the file, nothing that shows stimuli."""
    names = [f"{k:02}.jpg" for k in range(12)]
    folder = tmp_path / "images of others"
    (folder / "images").mkdir(parents=True)
    for name in names:
        Image.new("RGB", (40, 30)).save(folder / "images" / name)
    with (folder / "captions.csv").open("w", newline="") as file:
        told = [(name, text) for name in names for text in "vwxyz"]
        csv.writer(file).writerows([("file", "text"), *told])
    out = tmp_path / "out"
    out.mkdir()
    get["get_photographs"](folder, out)
    shutil.copy(TOOLS / "photographs.toml", out)
    preset = read_preset(out / "photographs.toml")
    assert (preset.name, preset.n_stimuli, preset.n_captions) == ("photographs", 12, 5)
    assert preset.vision == (f"{out}/nets.py:lite0",)
    assert preset.language[0] == str(out / "networks/gemma-3-270m")
    assert preset.judge == "consensus" and not preset.show_stimuli
    assert len(preset.stimuli().captions[0]) == 5


def test_preprocessing_takes_the_central_square_of_seven_eighths(tmp_path, monkeypatch):
    """Of an image of 256 × 320 pixels it is rows 16 to 240 and columns 48 to 272, unscaled."""
    (tmp_path / "efficientnet_lite_pytorch.py").write_text("class EfficientNet: pass")
    monkeypatch.syspath_prepend(tmp_path)
    nets = runpy.run_path(str(TOOLS / "nets.py"))
    monkeypatch.delitem(sys.modules, "efficientnet_lite_pytorch")
    image = np.random.default_rng(0).integers(0, 256, (256, 320, 3), dtype=np.uint8)
    seen = nets["preprocess"]([image, image])
    assert seen.shape == (2, 3, 224, 224)
    expected = (image[16:240, 48:272].astype(np.float32) - 127) / 128
    np.testing.assert_allclose(seen[1].permute(1, 2, 0).numpy(), expected, atol=1e-6)
