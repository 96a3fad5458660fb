"""Sources: what comes from files is right, or refused by a message that names the file; the same
stimuli everywhere."""

import io
import json
import shutil
import zlib
from functools import partial
from pathlib import Path

import datasets
import numpy as np
import pandas as pd
import pytest
from datasets import captions, encoded, picture
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from seeing_words.app.download import DATA
from seeing_words.core.errors import InputError
from seeing_words.core.files import inside
from seeing_words.data import selection, tables
from seeing_words.data.images import MAX_SIDE, read_header, read_image
from seeing_words.data.selection import (
    TooFew,
    Unusable,
    damaged_images,
    ids_offered,
    read_ids,
)
from seeing_words.data.sources import (
    FLICKR_FORMS,
    PICK_COLUMNS,
    PICK_FORMS,
    PICK_SPLITS,
    coco_stimuli,
    flickr30k_stimuli,
    folder_stimuli,
    pick_a_pic,
)
from seeing_words.data.tables import ImageCell, read_cells
from seeing_words.models.baselines import pixels
from seeing_words.studies.pick_a_pic import PreferenceSet

SMOOTH = picture(0, 30, 20)
VALIDATION = ("validation_unique",)  # one of the two splits of Pick-a-Pic
often = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def saved(image: Image.Image, kind: str, **options) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def refused(read) -> tuple:  # what was read, or None; the message, if it was refused
    try:
        return read(), ""
    except InputError as error:
        return None, str(error)


# Images


def made(mode: str, values: np.ndarray) -> Image.Image:
    return Image.frombytes(mode, values.shape[1::-1], values.tobytes())


def rgba() -> np.ndarray:
    return np.dstack(
        [SMOOTH, np.linspace(0, 255, SMOOTH[..., 0].size).reshape(20, 30).astype(np.uint8)]
    )


def on_white(colour: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    share = alpha[..., None] / 255
    return colour * share + 255 * (1 - share)


def cmyk_to_rgb(cmyk: np.ndarray) -> np.ndarray:
    return (255.0 - cmyk[..., :3]) * (255.0 - cmyk[..., 3:]) / 255


GREY, DEEP = SMOOTH[..., 0], np.arange(600, dtype=np.uint16).reshape(20, 30) * 109
CMYK = np.dstack([255 - SMOOTH, GREY // 2])
KINDS = {  # name → file, what it shows
    "png": (encoded(SMOOTH, "PNG"), SMOOTH),
    "bmp": (encoded(SMOOTH, "BMP"), SMOOTH),
    "tiff": (encoded(SMOOTH, "TIFF", compression="tiff_lzw"), SMOOTH),
    "webp": (encoded(SMOOTH, "WEBP", lossless=True), SMOOTH),
    "grey": (encoded(GREY, "PNG"), np.dstack([GREY] * 3)),
    "one bit": (saved(Image.fromarray(GREY > 99), "PNG"), np.dstack([(GREY > 99) * 255] * 3)),
    "16 bits": (encoded(DEEP, "PNG"), np.dstack([DEEP // 256] * 3)),
    "16 bits tiff": (encoded(DEEP, "TIFF"), np.dstack([DEEP // 256] * 3)),
    "palette": (
        saved(
            Image.fromarray(SMOOTH // 64 * 64).convert(
                "P", palette=Image.Palette.ADAPTIVE, colors=256
            ),
            "PNG",
        ),
        SMOOTH // 64 * 64,
    ),
    "gif": (saved(Image.fromarray(SMOOTH // 64 * 64), "GIF"), SMOOTH // 64 * 64),
    "transparent": (encoded(rgba(), "PNG"), on_white(SMOOTH, rgba()[..., 3])),
    "grey transparent": (
        saved(made("LA", rgba()[..., [0, 3]]), "PNG"),
        on_white(rgba()[..., [0] * 3], rgba()[..., 3]),
    ),
    "CMYK": (saved(made("CMYK", CMYK), "TIFF"), cmyk_to_rgb(CMYK)),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_image_is_three_channels_of_eight_bits(kind):
    data, expected = KINDS[kind]
    found = read_image(data)
    assert found.dtype == np.uint8 and found.shape == (20, 30, 3) and found.flags.c_contiguous
    np.testing.assert_allclose(found, expected, atol=1.01)


@pytest.mark.parametrize("mode", ["L", "CMYK", "RGB"])
def test_jpegs_of_every_mode(mode):
    data = saved(Image.fromarray(SMOOTH).convert(mode), "JPEG", quality=98, subsampling=0)
    expected = Image.fromarray(SMOOTH).convert(mode).convert("RGB")
    np.testing.assert_allclose(read_image(data).astype(int), np.array(expected), atol=6)


def test_a_colour_that_stands_for_transparent_is_white():
    flat = np.full((20, 30, 3), (10, 20, 30), np.uint8)
    data = saved(Image.fromarray(flat), "PNG", transparency=(10, 20, 30))
    assert (read_image(data) == 255).all()
    ramp = Image.fromarray(GREY).convert("P")
    expected = np.where((np.array(ramp) == 7)[..., None], 255, np.array(ramp.convert("RGB")))
    np.testing.assert_array_equal(read_image(saved(ramp, "PNG", transparency=7)), expected)


UPRIGHT = {
    1: lambda a: a,
    2: np.fliplr,
    3: lambda a: np.rot90(a, 2),
    4: np.flipud,
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: np.rot90(a.swapaxes(0, 1), 2),
    8: np.rot90,
    9: lambda a: a,
}


@pytest.mark.parametrize("turn", UPRIGHT)
@pytest.mark.parametrize(
    ("kind", "options"),
    [("PNG", {}), ("TIFF", {}), ("WEBP", {"lossless": True}), ("JPEG", {"quality": 98})],
)
def test_images_stand_upright(kind, options, turn):
    exif = Image.Exif()
    exif[274] = turn
    data = saved(Image.fromarray(SMOOTH), kind, exif=exif, **options)
    found = read_image(data)
    np.testing.assert_allclose(
        found.astype(int), UPRIGHT[turn](SMOOTH), atol=8 if kind == "JPEG" else 0
    )
    assert read_header(data, "it", MAX_SIDE)[0] == found.shape[:2]


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "TIFF"])
def test_of_several_frames_the_first(kind):
    frames = [Image.new("RGB", (8, 6), colour) for colour in ("red", "blue", "lime")]
    data = saved(frames[0], kind, save_all=True, append_images=frames[1:])
    assert np.abs(read_image(data).astype(int) - (255, 0, 0)).max() < 3


@pytest.mark.parametrize(
    ("kind", "width", "height"),
    [("JPEG", 20_000, 2_000), ("PNG", 300, 20_000), ("JPEG", 2_500, 20_000)],
)
def test_large_images_are_scaled_down(kind, width, height):
    wide = Image.fromarray(picture(3, 40, 40)).resize((width, height), Image.Resampling.BILINEAR)
    data = saved(wide, kind)
    found = read_image(data)
    shrink = MAX_SIDE / max(width, height)
    assert found.shape == (max(1, round(height * shrink)), max(1, round(width * shrink)), 3)
    assert read_header(data, "it", MAX_SIDE)[0] == found.shape[:2]
    thumb = Image.fromarray(found).resize((16, 16), Image.Resampling.BOX)
    np.testing.assert_allclose(
        np.array(thumb, int), wide.resize((16, 16), Image.Resampling.BOX), atol=8
    )


def test_scaling_is_near_the_mean_of_what_becomes_one_pixel():
    large = np.array(Image.fromarray(SMOOTH).resize((600, 400), Image.Resampling.BILINEAR))
    means = large.reshape(40, 10, 60, 10, 3).mean((1, 3))
    assert np.abs(read_image(encoded(large, "PNG"), max_side=60) - means).max() < 4


def bomb(kind: str, side: int) -> bytes:
    "A small file that claims `side` × `side` pixels."
    data = bytearray(encoded(SMOOTH, kind))
    at, width = {"PNG": (16, ">u4"), "GIF": (6, "<u2"), "BMP": (18, "<u4")}[kind]
    claim = np.array([side, side], width).tobytes()
    data[at : at + len(claim)] = claim
    if kind == "PNG":
        data[29:33] = np.array(zlib.crc32(data[12:29]), ">u4").tobytes()
    return bytes(data)


@pytest.mark.parametrize(("kind", "side"), [("PNG", 100_000), ("GIF", 65_535), ("BMP", 100_000)])
def test_bombs_are_refused_unopened(kind, side, monkeypatch):
    data = bomb(kind, side)

    def decoded(*_):
        raise AssertionError("the image was decoded")

    monkeypatch.setattr(Image.Image, "load", decoded)
    with pytest.raises(
        InputError, match=f"bomb.x claims {side} × {side} pixels, more than max_pixels = 536870912"
    ):
        read_image(data, name="bomb.x")


def test_the_limit_is_a_parameter(tmp_path):
    (tmp_path / "a.png").write_bytes(encoded(SMOOTH, "PNG"))
    assert read_image(tmp_path / "a.png", max_pixels=600).shape == (20, 30, 3)
    with pytest.raises(
        InputError, match=r"a\.png claims 30 × 20 pixels, more than max_pixels = 599"
    ):
        read_image(str(tmp_path / "a.png"), max_pixels=599)


def test_what_is_no_image_is_refused_by_name(tmp_path):
    for name, data, match in (
        ("a.jpg", b"", "a.jpg is empty: convert"),
        ("b.png", b"<html>", "b.png is not an image of a"),
        ("c.gif", b"%PDF-1.4", "c.gif is not an image"),
        ("d.png", encoded(SMOOTH, "PPM"), "d.png is not an"),
    ):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(InputError, match=match):
            read_image(tmp_path / name)
    for name in ("nowhere.jpg", "."):
        with pytest.raises(InputError, match="there is no such file"):
            read_image(tmp_path / name)
    for values in (np.zeros((4, 4), np.float32), np.zeros((4, 4), np.int32)):
        with pytest.raises(InputError, match="e.tif has pixels of 32 bits"):
            read_image(encoded(values, "TIFF"), name="e.tif")


def test_a_file_that_may_not_be_read(tmp_path, monkeypatch):
    (tmp_path / "a.png").write_bytes(encoded(SMOOTH, "PNG"))

    def refused(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("builtins.open", refused)
    with pytest.raises(
        InputError, match=r"a\.png: Permission denied: check the path and who may read it"
    ):
        read_image(tmp_path / "a.png")


NOISE = np.random.default_rng(0).integers(
    0, 256, (20, 30, 3), np.uint8
)  # so that every byte of a file counts
WHOLE = {
    "JPEG": encoded(NOISE),
    "PNG": encoded(NOISE, "PNG"),
    "GIF": encoded(NOISE, "GIF"),
    "BMP": encoded(NOISE, "BMP"),
    "WEBP": encoded(NOISE, "WEBP", lossless=True),
    "TIFF": encoded(NOISE, "TIFF", compression="tiff_lzw"),
    "progressive": encoded(NOISE, "JPEG", progressive=True),
}


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@pytest.mark.parametrize("kind", WHOLE)
def test_an_image_cut_short_is_refused_or_whole(kind):
    data = WHOLE[kind]
    cuts = [*range(0, len(data), max(1, len(data) // 60)), *range(len(data) - 12, len(data))]
    found, messages = zip(
        *(refused(partial(read_image, data[:kept], name="cut.x")) for kept in cuts)
    )
    assert all("cut.x" in said and "leave it out" in said for said in messages if said)
    assert all((image == read_image(data)).all() for image in found if image is not None)
    assert sum(map(bool, messages)) > 55


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@pytest.mark.parametrize("kind", WHOLE)
@often
@given(where=st.floats(0, 1, exclude_max=True), value=st.integers(1, 255))
def test_a_changed_byte_gives_an_image_or_an_error_that_names_it(kind, where, value):
    data = bytearray(WHOLE[kind])
    data[int(where * len(data))] ^= value
    found, message = refused(lambda: read_image(bytes(data), name="flip.x", max_pixels=10**6))
    assert "flip.x" in message or (
        found.dtype == np.uint8 and found.ndim == 3 and found.shape[2] == 3
    )


# Paths


@pytest.mark.parametrize(
    "name",
    [
        "../a.png",
        "b/../../a.png",
        "/etc/passwd",
        "..",
        "..\\a.png",
        "b\\..\\..\\a.png",
        "a\0.png",
        "",
        " ",
    ],
)
def test_names_that_leave_the_folder_are_refused(tmp_path, name):
    with pytest.raises(InputError, match="is not a file within"):
        inside(tmp_path, name)


def test_links_may_not_leave_the_folder(tmp_path):
    folder, elsewhere = tmp_path / "data", tmp_path / "elsewhere"
    for made in (folder, elsewhere):
        made.mkdir()
    for path in (folder / "a.png", elsewhere / "secret.png"):
        path.write_bytes(encoded(SMOOTH, "PNG"))
    (folder / "within.png").symlink_to(folder / "a.png")
    (folder / "out.png").symlink_to(elsewhere / "secret.png")
    (folder / "there").symlink_to(elsewhere)
    (folder / "circle").symlink_to(folder / "circle")
    assert read_image(inside(folder, "within.png")).shape == (20, 30, 3)
    for name in ("out.png", "there/secret.png"):
        with pytest.raises(InputError, match="and replace links that lead outside it by copies"):
            inside(folder, name)
    with pytest.raises(InputError, match="circle"):
        read_image(inside(folder, "circle"))
    (tmp_path / "link").symlink_to(folder)  # the folder itself is the reader's own choice
    assert inside(tmp_path / "link", "a.png").is_file()


# COCO


@pytest.fixture(scope="module")
def coco_folder(tmp_path_factory) -> Path:
    return datasets.coco(tmp_path_factory.mktemp("data") / "coco")


@pytest.fixture
def coco(coco_folder, tmp_path) -> Path:  # one's own, to be damaged
    return shutil.copytree(coco_folder, tmp_path / "coco")


def edit(path: Path, change) -> None:
    whole = json.loads(path.read_text())
    change(whole)
    path.write_text(json.dumps(whole))


def test_coco_images_captions_masks_and_facts(coco_folder):
    stimuli = coco_stimuli(coco_folder, 10)
    assert repr(stimuli) == "coco val2017: 10 images of various sizes, 50 captions"
    assert sorted(stimuli.ids, key=int) == [str(139 + 7 * i) for i in range(10)]
    for k, id_ in enumerate(stimuli.ids):
        i = (int(id_) - 139) // 7
        expected = picture(i, 24 + i % 3, 16 + i % 2)
        assert stimuli.captions[k] == tuple(captions(i))
        assert np.abs(stimuli.images[k].astype(int) - expected).mean() < 4
        np.testing.assert_array_equal(
            stimuli.thing_masks[k], datasets.coco_things(i, *expected.shape[1::-1])[::-1]
        )
        assert stimuli.facts[k] == {
            "things": ["dog", "person"],
            "stuff": ["sky-other-merged", "grass-merged"],
        }
    assert pixels(stimuli.images, ids=stimuli.ids).shape == (1, 10, 8 * 8 * 3 + 64)


def test_a_choice_depends_on_the_seed_alone_and_grows(coco):
    few, more, other = (coco_stimuli(coco, n, seed=seed) for n, seed in ((4, 0), (7, 0), (4, 1)))
    assert few.ids == more.ids[:4] != other.ids and few.key == more.subset(slice(4)).key
    edit(coco / "annotations/captions_val2017.json", lambda whole: whole["images"].reverse())
    assert coco_stimuli(coco, 4).ids == few.ids


@pytest.mark.parametrize("n", [0, 11, -1])
def test_as_many_as_there_are(coco_folder, n):
    with pytest.raises(
        InputError,
        match=rf"coco val2017 has 10 stimuli, {n} are asked for: write n_stimuli = 10, or less",
    ):
        coco_stimuli(coco_folder, n)


def test_another_laboratory_works_on_the_same(coco, tmp_path):
    ours = coco_stimuli(coco, 6, seed=3, ids_file=tmp_path / "ids.txt")
    assert list(read_ids(tmp_path / "ids.txt")) == list(ours.ids)
    written = (tmp_path / "ids.txt").read_bytes()
    assert (
        str(tmp_path) not in written.decode()
        and "# 6 of 10 stimuli of coco val2017, seed 3" in written.decode()
    )
    theirs = coco_stimuli(coco, 6, seed=99, ids_file=tmp_path / "ids.txt")
    assert theirs.key == ours.key and (tmp_path / "ids.txt").read_bytes() == written
    assert coco_stimuli(coco, 2, ids_file=tmp_path / "ids.txt").ids == ours.ids[:2]
    with pytest.raises(
        InputError,
        match=r"has 6 stimuli in the list of ids .*ids\.txt, 7 are asked for: .* or remove the "
        r"list",
    ):
        coco_stimuli(coco, 7, ids_file=tmp_path / "ids.txt")
    (tmp_path / "ids.txt").write_text("# by hand\n160\n\n139\n")
    assert coco_stimuli(coco, 2, ids_file=tmp_path / "ids.txt").ids == ("160", "139")
    for text, match in (
        ("160\n7\n", "lacks 1 stimulus of the list .*, the first is '7'"),
        ("# none\n", "names no stimuli"),
        ("160\n139\n160\n", "id '160' in line 3 occurs before"),
        ("160\tabc\n", "what follows '160' is not a digest"),
        (f"160\t{'0' * 64}\n139\n", "what follows '139' is not a digest"),
        ("# 3 of 9 stimuli\n160\n139\n", "names 2 stimuli and claims 3"),
    ):
        (tmp_path / "ids.txt").write_text(text)
        with pytest.raises(InputError, match=match):
            coco_stimuli(coco, 1, ids_file=tmp_path / "ids.txt")


@pytest.mark.parametrize("sign", ["\t", "\n", "\r", "\0", "\x1b", "\x85", "\u2028", "\u2029"])
def test_ids_with_control_characters_are_refused(sign, tmp_path):
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    rows = [{"id": f"a{sign}import os", "image": "a.png", "caption": "a house"}]
    (tmp_path / "table.json").write_text(json.dumps(rows))
    with pytest.raises(InputError, match=r"id 'a.*' holds a tab, a line break, another control"):
        folder_stimuli(tmp_path, "table.json", columns={"id": "id"}, ids_file=tmp_path / "ids.tsv")
    assert not (tmp_path / "ids.tsv").exists()


def shown(stimuli) -> tuple:
    "All that is shown and known of them."
    masks = [] if stimuli.thing_masks is None else [mask.tobytes() for mask in stimuli.thing_masks]
    return stimuli.key, [image.tobytes() for image in stimuli.images], masks, stimuli.facts


def files(folder: Path) -> list[str]:
    return sorted(
        path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()
    )


def damage(path: Path, where: float, value: int | None) -> bytes:
    "Change one byte of a file, or cut it there; what it was."
    whole = path.read_bytes()
    at = int(where * len(whole))
    path.write_bytes(
        whole[:at] if value is None else whole[:at] + bytes([whole[at] ^ value]) + whole[at + 1 :]
    )
    return whole


@pytest.fixture(scope="module")
def listed(tmp_path_factory):
    "Small data sets with the list of their ids, how each is read, and what it shows."
    root = tmp_path_factory.mktemp("listed")
    made = {
        "coco": datasets.coco(root / "coco", 2),
        "pick": datasets.pick_a_pic(root / "pick", 6),
        "pick with checksums": datasets.pick_a_pic(root / "pick-sums", 6, write_page_checksum=True),
    }
    made |= {form: datasets.flickr30k(root / form, form, 2) for form in FLICKR_FORMS}
    for suffix in (".csv", ".tsv", ".json", ".jsonl", ".parquet"):
        made[suffix] = root / suffix[1:]
        datasets.own(made[suffix], suffix, 2)

    def read(name: str) -> list[tuple]:
        folder = made[name]
        ids_file = folder / "ids.txt"
        if name.startswith("pick"):
            found = pick_a_pic(folder, 3, splits=VALIDATION, ids_file=ids_file)
            return [shown(found.preferred), shown(found.rejected), found.kinds]
        if name == "coco":
            return [shown(coco_stimuli(folder, 2, ids_file=ids_file))]
        if name in FLICKR_FORMS:
            return [shown(flickr30k_stimuli(folder, 2, ids_file=ids_file))]
        return [shown(folder_stimuli(folder, f"table{name}", ids_file=ids_file))]

    return made, read, {name: read(name) for name in made}


LISTED = [
    "coco",
    "pick",
    "pick with checksums",
    *FLICKR_FORMS,
    ".csv",
    ".tsv",
    ".json",
    ".jsonl",
    ".parquet",
]


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@pytest.mark.parametrize("name", LISTED)
@often
@given(
    which=st.integers(0, 99),
    where=st.floats(0, 1, exclude_max=True),
    value=st.none() | st.integers(1, 255),
)
def test_damaged_data_is_read_correctly_or_refused(listed, name, which, where, value):
    made, read, expected = listed
    paths = files(made[name])
    path = made[name] / paths[which % len(paths)]
    whole = damage(path, where, value)
    try:
        found, message = refused(lambda: read(name))
    finally:
        path.write_bytes(whole)
    assert found == expected[name] if found else len(message) < 1000


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@pytest.mark.parametrize("name", LISTED)
@often
@given(
    which=st.integers(0, 99),
    where=st.floats(0, 1, exclude_max=True),
    value=st.none() | st.integers(1, 255),
)
def test_without_a_list_damage_is_refused_or_read_but_never_another_error(
    listed, name, which, where, value
):
    made, read, _ = listed
    ids = (made[name] / "ids.txt").read_bytes()
    paths = [path for path in files(made[name]) if path != "ids.txt"]
    path = made[name] / paths[which % len(paths)]
    (made[name] / "ids.txt").unlink()
    whole = damage(path, where, value)
    try:
        found, message = refused(lambda: read(name))
    finally:
        path.write_bytes(whole)
        (made[name] / "ids.txt").write_bytes(ids)
    assert found or 0 < len(message) < 1000


@pytest.mark.parametrize(
    ("path", "change", "match"),
    [
        (
            "captions",
            lambda w: w["images"].append(w["images"][0]),
            "id '139' occurs more than once",
        ),
        (
            "captions",
            lambda w: w["images"][0].update(file_name="../../secret.jpg"),
            r"secret\.jpg' is not a file within val2017",
        ),
        (
            "captions",
            lambda w: w["images"][0].update(file_name="x.jpg"),
            "1 of 10 images are missing in val2017, the first is x.jpg",
        ),
        (
            "captions",
            lambda w: w["annotations"][-1].update(caption=" \n"),
            "stimulus '139': caption 0 is empty",
        ),
        (
            "captions",
            lambda w: w["annotations"][-1].update(caption="a\0b"),
            "holds a NUL or half a character",
        ),
        (
            "captions",
            lambda w: w["annotations"][-1].update(caption="a\ud800b"),
            "holds a NUL or half a character",
        ),
        (
            "captions",
            lambda w: w["annotations"][-1].update(caption="x" * 10_001),
            "has 10001 characters, more than 10000",
        ),
        (
            "captions",
            lambda w: w["annotations"][-1].update(caption=None),
            "caption 0 is None: it must be text",
        ),
        (
            "captions",
            lambda w: w["annotations"].pop(),
            "stimulus '139' has 4 captions, n_captions is 5",
        ),
        (
            "captions",
            lambda w: w.pop("images"),
            r"captions_val2017\.json cannot be read \(KeyError: 'images'\)",
        ),
        ("captions", lambda w: w.update(images=[]), "coco val2017 holds no stimuli"),
        (
            "panoptic",
            lambda w: w["annotations"].pop(0),
            r"panoptic_val2017\.json, image 139 cannot be read \(KeyError",
        ),
        (
            "panoptic",
            lambda w: w["annotations"][0].update(file_name="/x.png"),
            "is not a file within panoptic_val2017",
        ),
        (
            "panoptic",
            lambda w: w["annotations"][0].update(file_name="x.png"),
            r"x\.png is missing in panoptic_val2017: unpack",
        ),
        (
            "panoptic",
            lambda w: w["images"][0].update(width=99),
            r"'139' is of \(16, 24\) pixels, its annotation of \(16, 99\)",
        ),
        (
            "panoptic",
            lambda w: w["images"][0].update(width=0, height=0),
            r"its annotation of \(0, 0\)",
        ),
        ("panoptic", lambda w: w["categories"].pop(), r"image \d+ cannot be read \(KeyError: 187"),
    ],
)
def test_coco_that_does_not_fit_is_refused_by_name(coco, path, change, match):
    edit(coco / f"annotations/{path}_val2017.json", change)
    with pytest.raises(InputError, match=match):
        coco_stimuli(coco, 10)


def test_coco_without_panoptic_annotations(coco):
    shutil.rmtree(coco / "annotations/panoptic_val2017")
    with pytest.raises(
        InputError, match="coco has no annotations/panoptic_val2017 and no panoptic_val2017: unpack"
    ):
        coco_stimuli(coco, 3)
    stimuli = coco_stimuli(coco, 3, masks=False)
    assert stimuli.thing_masks is None and stimuli.facts is None
    with pytest.raises(InputError, match=r"no annotations/captions_train2017\.json"):
        coco_stimuli(coco, 3, split="train2017")


def test_masks_whose_png_disagrees_are_refused_when_read(coco):
    png = coco / "annotations/panoptic_val2017/000000000139.png"
    for wrong, match in (
        (np.zeros((16, 24, 3), np.uint8), r"000000000139\.png has no pixel of segment 300, which"),
        (np.zeros((9, 24, 3), np.uint8), r"is of \(9, 24\) pixels, its annotation of \(16, 24\)"),
    ):
        png.write_bytes(encoded(wrong, "PNG"))
        stimuli = coco_stimuli(coco, 10)
        with pytest.raises(InputError, match=match):
            stimuli.thing_masks[stimuli.ids.index("139")]


def test_masks_are_scaled_with_their_image(coco):
    stimuli = coco_stimuli(coco, 10, max_side=12)
    for image, masks, whole in zip(
        stimuli.images, stimuli.thing_masks, coco_stimuli(coco, 10).thing_masks
    ):
        assert masks.shape == (2, *image.shape[:2]) and max(image.shape) == 12
        rows, columns = ((np.arange(n) * m // n) for n, m in zip(image.shape, whole.shape[1:]))
        np.testing.assert_array_equal(masks, whole[:, rows][:, :, columns])


@pytest.mark.parametrize("turn", UPRIGHT)
def test_masks_drawn_before_an_image_was_turned_are_turned_with_it(coco, turn):
    exif, file = Image.Exif(), coco / "val2017/000000000139.jpg"
    exif[274] = turn
    file.write_bytes(saved(Image.open(file), "JPEG", exif=exif))
    stimuli = coco_stimuli(coco, 10)
    at = stimuli.ids.index("139")
    drawn = datasets.coco_things(0, 24, 16)[::-1]
    expected = [
        UPRIGHT[turn](mask) if turn in (5, 6, 7, 8) else mask for mask in drawn
    ]  # else sizes tell nothing
    np.testing.assert_array_equal(stimuli.thing_masks[at], expected)
    assert stimuli.images[at].shape[:2] == expected[0].shape


def test_an_image_without_things_has_no_masks(coco):
    edit(
        coco / "annotations/panoptic_val2017.json",
        lambda whole: [kind.update(isthing=0) for kind in whole["categories"]],
    )
    stimuli = coco_stimuli(coco, 10)
    assert all(
        masks.shape == (0, *image.shape[:2])
        for masks, image in zip(stimuli.thing_masks, stimuli.images)
    )
    assert not any(facts["things"] for facts in stimuli.facts)


def test_nothing_is_decoded_before_it_is_asked_for(coco_folder, monkeypatch):
    def decoded(*_, **__):
        raise AssertionError("an image was decoded")

    monkeypatch.setattr(selection, "read_image", decoded)
    stimuli = coco_stimuli(coco_folder, 10).subset([3, 1])
    assert len(stimuli.key) == 64
    with pytest.raises(AssertionError):
        stimuli.images[0]


def test_keys_follow_the_bytes_of_images_and_how_large_they_are_read(coco):
    before = coco_stimuli(coco, 10)
    assert (
        coco_stimuli(coco, 10).images_key
        == before.images_key
        != coco_stimuli(coco, 10, max_side=20).images_key
    )
    moved = shutil.copytree(coco, coco.parent / "elsewhere")
    assert coco_stimuli(moved, 10).key == before.key
    (coco / "val2017/000000000146.jpg").write_bytes(encoded(picture(1, 25, 17), quality=50))
    after = coco_stimuli(coco, 10)
    assert after.images_key != before.images_key and after.captions_key() == before.captions_key()


def test_all_damaged_images_are_reported_together(coco):
    stimuli = coco_stimuli(coco, 10)
    for number in (139, 160):
        path = coco / f"val2017/{number:012}.jpg"
        path.write_bytes(path.read_bytes()[:-20])
    found = damaged_images(stimuli)
    assert set(found) == {"139", "160"} and "000000000139.jpg cannot be read" in found["139"]
    for number in (146, 153):
        (coco / f"val2017/{number:012}.jpg").write_bytes(b"<html>")
    with pytest.raises(
        InputError,
        match=r"coco val2017: 2 of 10 images cannot be used\. 0+1.*jpg is not an image of a known",
    ):
        coco_stimuli(coco, 10)


# Pick-a-Pic


@pytest.fixture(scope="module")
def picks(tmp_path_factory) -> Path:
    folder = datasets.pick_a_pic(tmp_path_factory.mktemp("pick-a-pic"), 12)
    return datasets.pick_a_pic(folder, 6, "test_unique")


def test_both_splits_of_unique_prompts_are_read_and_as_many_trials_as_there_are(picks):
    found = pick_a_pic(picks, 1000)
    assert found.preferred.name == "pick-a-pic validation_unique + test_unique"
    # of every six rankings one is a tie and one has no label
    assert len(found.kinds) == 4 * (12 + 6) // 6 and found.left_out == {"tie": 3, "no label": 3}
    assert pick_a_pic(picks).preferred.key == found.preferred.key
    assert len(pick_a_pic(picks, 5).kinds) == 5
    one = pick_a_pic(picks, splits=["test_unique"])
    assert one.preferred.name == "pick-a-pic test_unique" and len(one.kinds) == 4
    assert set(one.preferred.ids) < set(found.preferred.ids)


@pytest.mark.parametrize("form", PICK_FORMS)
def test_files_of_a_split_are_found_where_the_data_set_has_them(tmp_path, form):
    datasets.pick_a_pic(tmp_path / "published", 12)
    datasets.pick_a_pic(tmp_path / "published", 6, "test_unique")
    moved = {}
    for path in sorted((tmp_path / "published/data").glob("*.parquet")):
        split, _, rest = path.name.partition("-")
        moved.setdefault(split, []).append(path)
        place = form.format(split=split).replace("*", rest.removesuffix(".parquet"))
        if form.endswith("/*.parquet"):  # as the hub numbers them
            place = form.format(split=split).replace("*", f"{len(moved[split]) - 1:04}")
        (tmp_path / "pick-a-pic" / place).parent.mkdir(parents=True, exist_ok=True)
        path.rename(tmp_path / "pick-a-pic" / place)
    assert DATA["pick-a-pic"].is_there(tmp_path)
    assert len(pick_a_pic(tmp_path / "pick-a-pic").kinds) == 12


def test_a_thousand_prompts_of_which_some_are_ties_make_fewer_trials(tmp_path):
    image = encoded(picture(0))
    for k, split in enumerate(PICK_SPLITS):
        rows = []
        for i in range(500):
            first = 0.5 if i < 60 else float(i % 2)
            rows.append((f"prompt {k} {i}", image, image, first, 1 - first, True, "a", "b", i))
        frame = pd.DataFrame(rows, columns=PICK_COLUMNS)
        frame["ranking_id"] += 500 * k
        place = tmp_path / f"data/{split}-00000-of-00001-c163d5839d8aed9f.parquet"
        place.parent.mkdir(exist_ok=True)
        frame.to_parquet(place)
    found = pick_a_pic(tmp_path, 1000)
    assert len(found.kinds) == 880 and found.left_out == {"tie": 120}
    assert len(set(found.preferred.ids)) == 880


def test_other_parquet_files_are_not_taken_for_the_data_set(tmp_path):
    (tmp_path / "pick-a-pic/data").mkdir(parents=True)
    frame = pd.DataFrame({"caption": ["a"]})
    for name in ("train-00000-of-00645-ab.parquet", "some.parquet"):
        frame.to_parquet(tmp_path / "pick-a-pic/data" / name)
        assert not DATA["pick-a-pic"].is_there(tmp_path)
        with pytest.raises(InputError, match="has no parquet file of split 'validation_unique'"):
            pick_a_pic(tmp_path / "pick-a-pic")


def test_a_split_that_is_missing_is_told_and_the_other_one_read(tmp_path):
    folder = datasets.pick_a_pic(tmp_path / "p", 12)
    with pytest.warns(UserWarning, match="no parquet file of split 'test_unique': trials"):
        found = pick_a_pic(folder)
    assert found.preferred.name == "pick-a-pic validation_unique" and len(found.kinds) == 8


def test_a_list_that_is_shorter_than_what_is_asked_for_is_refused(picks, tmp_path):
    ids_file = tmp_path / "ids.tsv"
    assert len(pick_a_pic(picks, splits=["test_unique"], ids_file=ids_file).kinds) == 4
    with pytest.raises(InputError, match=r"4 stimuli in the list.*12 are asked for.*n_trials = 4"):
        pick_a_pic(picks, ids_file=ids_file)
    assert len(pick_a_pic(picks, 4, ids_file=ids_file).kinds) == 4
    with pytest.raises(InputError, match="0 stimuli beside 12 left out"):
        pick_a_pic(picks, leave_out=pick_a_pic(picks).preferred.ids)


def test_preferred_and_rejected_by_the_label_of_each_ranking(picks):
    found = pick_a_pic(picks, 8, splits=VALIDATION)
    assert found.left_out == {"tie": 2, "no label": 2}
    assert (
        found.preferred.ids == found.rejected.ids
        and found.preferred.captions == found.rejected.captions
    )
    assert (found.preferred.condition, found.rejected.condition) == ("preferred", "rejected")
    for k, id_ in enumerate(found.preferred.ids):
        i = int(id_) - 500
        first, second = (
            read_image(encoded(picture(2 * i + side, 32, (32, 24 + i % 2)[side])))
            for side in (0, 1)
        )
        better, worse = (
            (first, second) if datasets.PICK_LABELS[i % 6] == (1.0, 0.0) else (second, first)
        )
        assert (found.preferred.images[k] == better).all() and (
            found.rejected.images[k] == worse
        ).all()
        assert found.preferred.captions[k] == (captions(i, 1)[0],)
        assert found.kinds[k] == ("same generator" if i % 2 else "two generators")


def test_trials_are_chosen_by_seed_and_listed(picks, tmp_path):
    few, more = pick_a_pic(picks, 3), pick_a_pic(picks, 8)
    assert (
        few.preferred.ids == more.preferred.ids[:3]
        and few.preferred.key == more.preferred.subset([0, 1, 2]).key
    )
    listed = pick_a_pic(picks, 3, ids_file=tmp_path / "ids.txt")
    again = pick_a_pic(picks, 3, seed=5, ids_file=tmp_path / "ids.txt")
    assert listed.preferred.key == again.preferred.key != again.rejected.key


def test_rankings_are_a_set_of_trials(picks):
    found = pick_a_pic(picks, 8, splits=VALIDATION)
    trials = PreferenceSet(**vars(found))
    assert (
        repr(trials) == "8 trials, preferred and rejected (2 left out: tie, 2 left out: no label)"
    )
    assert trials.subset([3, 1]).swapped().preferred.key == found.rejected.subset([3, 1]).key
    assert trials.among("same generator").sum() == found.kinds.count("same generator")


def repicked(picks: Path, folder: Path, **columns) -> Path:
    frame = pd.concat(
        [pd.read_parquet(path) for path in sorted((picks / "data").glob("validation*.parquet"))],
        ignore_index=True,
    )
    for name, change in columns.items():
        frame[name] = change(frame[name])
    folder.mkdir()
    frame.to_parquet(folder / "validation_unique-00000-of-00001.parquet")
    return folder


@pytest.mark.parametrize(
    ("columns", "n", "match"),
    [
        (
            {"label_0": lambda c: c.where(c.index != 3, 0.7)},
            3,
            r"parquet, row 3: labels are \(0\.7, 0\.0\): they must be",
        ),
        (
            {"label_0": lambda c: 0.5, "label_1": lambda c: 0.5},
            3,
            "no ranking prefers one image .*tie",
        ),
        (
            {"jpg_0": lambda c: [b""] * 12},
            3,
            r"jpg_0 in row \d+ of validation_unique-.*parquet holds no image",
        ),
        (
            {"jpg_1": lambda c: [b"<html>"] * 12},
            8,
            "4 of 8 images cannot be used. the image of 5.. is not an image",
        ),
        ({"jpg_1": lambda c: ["http://x"] * 12}, 3, "jpg_1.*must be.*bytes"),
    ],
)
def test_unusable_rankings_are_reported(picks, tmp_path, columns, n, match):
    folder = repicked(picks, tmp_path / "data", **columns)
    with pytest.raises(InputError, match=match):
        pick_a_pic(folder, n, splits=VALIDATION)


def test_repeated_rankings_and_empty_prompts_are_left_out_and_counted(picks, tmp_path):
    folder = repicked(
        picks,
        tmp_path / "data",
        caption=lambda c: c.where(c.index > 0, " "),
        ranking_id=lambda c: c.where(c.index != 9, 501),
    )
    assert pick_a_pic(folder, 6, splits=VALIDATION).left_out == {
        "no prompt": 1,
        "the same ranking again": 1,
        "tie": 2,
        "no label": 2,
    }


def test_a_split_or_column_that_is_not_there(picks, tmp_path):
    with pytest.raises(
        InputError,
        match=r"no parquet file of split 'validatoin_unique', such as data/validatoin_unique-00000-"
        r"of-00001-<hash>\.parquet: did you mean validation_unique",
    ):
        pick_a_pic(picks, 3, splits=["validatoin_unique"])
    with pytest.raises(
        InputError, match="'validation_unique' or 'test_unique'.*Available: nothing"
    ):
        pick_a_pic(tmp_path, 3)
    pd.DataFrame({"caption": ["a"], "image_0_url": ["x"], "label_0": [1.0]}).to_parquet(
        tmp_path / "test-0.parquet"
    )
    with pytest.raises(
        InputError,
        match=r"test-0\.parquet has no column 'jpg_0': Available: caption, image_0_url, label_0",
    ):
        pick_a_pic(tmp_path, 3, splits=["test"])


def test_parquet_that_unpacks_to_too_much_is_refused(tmp_path, monkeypatch):
    datasets.own(tmp_path, ".parquet")
    pd.DataFrame(
        {"image": ["pictures/p0.png"] * 4000, "caption": ["x" * 20_000] * 4000}
    ).to_parquet(tmp_path / "bomb.parquet")
    assert (tmp_path / "bomb.parquet").stat().st_size < 100_000
    monkeypatch.setattr(tables, "MAX_TABLE", 2**24)
    with pytest.raises(
        InputError,
        match=r"bomb\.parquet unpacks to more than 16777216 bytes without its images: split it",
    ):
        folder_stimuli(tmp_path, "bomb.parquet")
    monkeypatch.setattr(tables, "MAX_ROWS", 3999)
    with pytest.raises(InputError, match=r"bomb\.parquet claims 4000 rows, more than 3999"):
        folder_stimuli(tmp_path, "bomb.parquet")


# Flickr30k


@pytest.mark.parametrize("form", FLICKR_FORMS)
def test_flickr30k_in_every_form(tmp_path, form):
    stimuli = flickr30k_stimuli(datasets.flickr30k(tmp_path / "f", form), 4)
    assert sorted(stimuli.ids) == ["1000092795", "1000092796", "1000092797", "1000092798"]
    for id_, own, image in zip(stimuli.ids, stimuli.captions, stimuli.images):
        i = int(id_) - 1000092795
        assert own == tuple(datasets.FLICKR_CAPTIONS[i % 2])
        assert (image == read_image(encoded(picture(i)))).all()


@pytest.mark.parametrize("form", ["flickr_annotations_30k.csv", "dataset_flickr30k.json"])
def test_flickr30k_by_split(tmp_path, form):
    folder = datasets.flickr30k(tmp_path / "f", form)
    assert set(flickr30k_stimuli(folder, 2, split="test").ids) == {"1000092796", "1000092798"}
    with pytest.raises(InputError, match=f"{form} has no split 'tset': did you mean test"):
        flickr30k_stimuli(folder, 2, split="tset")


@pytest.mark.parametrize("layout", ["zip and csv", "parquet", "converted", "Kaggle"])
def test_flickr30k_as_others_distribute_it(tmp_path, layout):
    folder = tmp_path / "flickr30k"
    if layout == "zip and csv":  # nlphuji/flickr30k, unpacked
        datasets.flickr30k(folder, "flickr_annotations_30k.csv")
    elif layout == "Kaggle":
        inner = datasets.flickr30k(folder / "flickr30k_images", "results.csv")
        (inner / "flickr30k-images").rename(inner / "flickr30k_images")
    else:
        datasets.flickr30k_parquet(folder, converted=layout == "converted")
    assert DATA["flickr30k"].is_there(tmp_path)
    stimuli = flickr30k_stimuli(folder, 4)
    assert sorted(stimuli.ids) == ["1000092795", "1000092796", "1000092797", "1000092798"]
    for id_, own, image in zip(stimuli.ids, stimuli.captions, stimuli.images):
        i = int(id_) - 1000092795
        assert own == tuple(datasets.FLICKR_CAPTIONS[i % 2])
        assert (image == read_image(encoded(picture(i)))).all()
    if layout == "converted":
        assert set(flickr30k_stimuli(folder, 2, split="test").ids) == {"1000092796", "1000092798"}
    elif layout == "parquet":
        with pytest.raises(InputError, match="parquet has no split 'test'"):
            flickr30k_stimuli(folder, 2, split="test")


@pytest.mark.parametrize(
    ("frame", "match"),
    [
        ({"image": [b"x"], "filename": ["a.jpg"]}, "0.parquet has no column 'caption'"),
        (
            {"image": [b"x"], "caption": ["one"], "filename": ["a.jpg"]},
            "must be a list of captions",
        ),
        ({"image": ["a"], "caption": [["one"]], "filename": ["a.jpg"]}, "the bytes of an image"),
    ],
)
def test_parquet_that_is_not_flickr30k_is_refused(tmp_path, frame, match):
    pd.DataFrame(frame).to_parquet(tmp_path / "0.parquet")
    with pytest.raises(InputError, match=match):
        flickr30k_stimuli(tmp_path, 1, n_captions=1)


def test_flickr30k_that_cannot_be_read(tmp_path):
    folder = datasets.flickr30k(tmp_path / "f", "results.csv")
    with pytest.raises(InputError, match=r"results\.csv has no split 'test'"):
        flickr30k_stimuli(folder, 2, split="test")
    for text, match in (
        ("a.jpg| 0| x\n", "line 1 is not `image_name"),
        ("image_name| comment_number| comment\na.jpg x\n", "line 2 is not `image"),
        (
            "image_name| comment_number| comment\n../a.jpg| 0| x\n",
            "is not a file within flickr30k-images",
        ),
        ("image_name| comment_number| comment\na.jpg| 0| \n", "stimulus 'a': caption 0 is empty"),
    ):
        (folder / "results.csv").write_text(text)
        with pytest.raises(InputError, match=match):
            flickr30k_stimuli(folder, 1, n_captions=1)
    (folder / "results.csv").unlink()
    with pytest.raises(
        InputError, match=r"f has no results_20130124\.token and no results\.csv and no"
    ):
        flickr30k_stimuli(folder, 1)


# One's own


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".json", ".jsonl", ".parquet"])
def test_a_users_folder_in_every_format(tmp_path, suffix):
    datasets.own(tmp_path, suffix)
    stimuli = folder_stimuli(tmp_path, f"table{suffix}", name="mine")
    assert repr(stimuli) == "mine: 6 images of various sizes, 12 captions"
    assert stimuli.ids == tuple(f"pictures/p{i}.png" for i in range(6))
    assert stimuli.captions == tuple(tuple(captions(i, 2)) for i in range(6))
    assert all((image == picture(i, 12 + i, 12)).all() for i, image in enumerate(stimuli.images))
    assert (
        folder_stimuli(tmp_path, f"table{suffix}", 2, seed=1, n_captions=1).captions[1]
        == (folder_stimuli(tmp_path, tmp_path / f"table{suffix}", 3, seed=1).captions[1][:1])
    )


ROWS = [{"id": i, "image": f"pictures/p{i}.png", "caption": f"thing {i}"} for i in range(3)]


@pytest.fixture
def mine(tmp_path) -> Path:
    datasets.own(tmp_path, ".csv")
    return tmp_path


def written(folder: Path, rows: list[dict], suffix: str = ".json") -> Path:
    return datasets.table(folder / f"rows{suffix}", rows)


@pytest.mark.parametrize("suffix", [".json", ".jsonl", ".parquet"])
def test_captions_in_lists(mine, suffix):
    rows = [row | {"caption": [row["caption"], f"again {i}"]} for i, row in enumerate(ROWS)]
    stimuli = folder_stimuli(mine, written(mine, rows, suffix), columns={"id": "id"})
    assert stimuli.ids == ("0", "1", "2") and stimuli.captions[2] == ("thing 2", "again 2")


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".json", ".jsonl", ".parquet"])
def test_captions_in_numbered_columns(mine, suffix):
    rows = [
        {"image": row["image"], **{f"caption_{k}": f"{i} {k}" for k in (1, 2, 10)}}
        for i, row in enumerate(ROWS)
    ]
    rows[1]["caption_2"] = ""
    stimuli = folder_stimuli(mine, written(mine, rows, suffix))
    assert stimuli.captions == (("0 1", "0 2", "0 10"), ("1 1", "1 10"), ("2 1", "2 2", "2 10"))
    with pytest.raises(
        InputError, match=r"stimulus 'pictures/p1\.png' has 2 captions, n_captions is 3"
    ):
        folder_stimuli(mine, written(mine, rows, suffix), n_captions=3)


@pytest.mark.parametrize("as_struct", [False, True])
def test_images_within_a_parquet_file(tmp_path, as_struct):
    data = [encoded(picture(i, 12 + i, 12), "PNG") for i in range(5)]
    cells = (
        [{"bytes": one, "path": f"{i}.png"} for i, one in enumerate(data)] if as_struct else data
    )
    frame = pd.DataFrame(
        {
            "picture": cells,
            "text": [f"thing {i}" for i in range(5)],
            "key": [f"k{i}" for i in range(5)],
        }
    )
    frame.to_parquet(tmp_path / "all.parquet", row_group_size=2)
    stimuli = folder_stimuli(
        tmp_path, "all.parquet", columns={"image": "picture", "caption": "text", "id": "key"}
    )
    assert stimuli.ids == tuple(f"k{i}" for i in range(5))
    assert all((image == picture(i, 12 + i, 12)).all() for i, image in enumerate(stimuli.images))
    by_row = folder_stimuli(
        tmp_path, "all.parquet", 3, columns={"image": "picture", "caption": "text"}
    )
    assert all(
        (image == picture(int(id_), 12 + int(id_), 12)).all()
        for id_, image in zip(by_row.ids, by_row.images)
    )
    frame[["picture"]].to_parquet(tmp_path / "alone.parquet")
    with pytest.raises(InputError, match="has no column 'caption'"):
        folder_stimuli(tmp_path, "alone.parquet", columns={"image": "picture"})


@pytest.mark.parametrize(
    "text",
    [
        "一只狗睡着了。",
        "كلب نائم",
        "Σκύλος",
        "пёс",
        "🐕 asleep",
        "naïve “quotes”, commas; bars|",
        'says "hi"',
        "two\nlines",
        "NA",
        "null",
        "007",
        "1.50",
    ],
)
@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".json", ".jsonl", ".parquet"])
def test_captions_in_any_language_stay_what_they_are(mine, suffix, text):
    table = written(mine, [row | {"caption": text} for row in ROWS], suffix)
    assert folder_stimuli(mine, table).captions == ((text,),) * 3


@pytest.mark.parametrize("encoding", ["cp1252", "latin-1", "utf-16", "utf-8-sig", "utf-8"])
def test_encodings_are_asked_for_and_never_guessed(mine, encoding):
    table = mine / "coded.csv"
    table.write_text("image,caption\npictures/p0.png,a café\n", encoding)
    assert folder_stimuli(mine, table, encoding=encoding).captions == (("a café",),)
    if encoding.startswith("utf-8"):
        assert folder_stimuli(mine, table).captions == (("a café",),)
    else:
        with pytest.raises(
            InputError,
            match=r"coded\.csv: line \d is not utf-8 .*name the encoding it was written in, for "
            r"exam",
        ):
            folder_stimuli(mine, table)
    with pytest.raises(InputError, match=r"coded\.csv: Python knows no encoding 'klingon'"):
        folder_stimuli(mine, table, encoding="klingon")


@pytest.mark.parametrize(
    ("suffix", "text", "match"),
    [
        (
            ".csv",
            "picture,caption\na.png,x\n",
            r"t\.csv has no column 'image': Available: picture, caption",
        ),
        (
            ".csv",
            "image,captoin\na.png,x\n",
            r"t\.csv has no column 'caption': did you mean captoin\?",
        ),
        (
            ".csv",
            "image;caption\na.png;x\n",
            r"Available: image;caption\. Cells seem to be separated by another character: "
            r"separator = \";\"",
        ),
        (
            ".csv",
            "image,caption\na.png,x, y\n",
            r"line 2 has not as many cells as there are columns \(image, caption\): quote",
        ),
        (".csv", "image,caption\na.png\n", "line 2 has not as many cells"),
        (
            ".csv",
            'image,caption\na.png,"x\n',
            r"t\.csv: the row that begins in line 2 is not quoted as csv is \(unexpected end",
        ),
        (
            ".csv",
            'image,caption\na.png,"x" y\n',
            "the row that begins in line 2 is not quoted as csv is",
        ),
        (".csv", "image,caption\na.png," + "x" * 200_000 + "\n", "field larger than field limit"),
        (".csv", "image,caption\n", r"t\.csv has no rows"),
        (".csv", "", r"t\.csv has no rows"),
        (".csv", "image,caption\npictures/p0.png,\n", r"t\.csv, row 1: caption 0 is empty"),
        (".csv", "image,caption\npictures/p0.png,a\0b\n", "NUL"),
        (".csv", "image,caption\n,x\n", "'' is not a file within"),
        (
            ".csv",
            "image,caption\npictures/p9.png,x\n",
            r"1 of 1 images are missing in .*, the first is pictures.p9\.png",
        ),
        (".csv", "image,caption\n/etc/passwd,x\n", "'/etc/passwd' is not a file within"),
        (".csv", "image,caption_1,caption_2\npictures/p0.png,,\n", "row 1: there is no caption"),
        (
            ".csv",
            "image,caption_1,caption_2\npictures/p0.png,a,b\npictures/p0.png,c,d\n",
            "p0.png' occurs before, with all",
        ),
        (".json", '[{"image": "a.png", "caption": []}]', "row 1: there is no caption"),
        (".json", '[{"image": null, "caption": "x"}]', "row 1: the image is None: name a file"),
        (".json", '[{"image": "a.png", "caption": 7}]', "row 1: caption 0 is 7: it must be text"),
        (
            ".json",
            '[{"image": "a.png"}, {"caption": "x"}]',
            "row 2: the image is None: name a file",
        ),
        (".json", '{"a": [{"image": "a"}], "b": [{}]}', "a table in json is a list of objects"),
        (".json", '["a", "b"]', "a table in json is a list of objects"),
        (".json", "7", r"t\.json: a table in json is a list of objects"),
        (".json", "[" * 100_000, r"t\.json cannot be read \(RecursionError"),
        (".json", '[{"image": ', r"t\.json cannot be read \(JSONDecodeError"),
        (
            ".jsonl",
            '{"image": "pictures/p0.png", "caption": "x"}\n{"image": ',
            r"t\.jsonl, line 2 cannot be read",
        ),
        (".jsonl", "7\n", "a table in json is a list of objects"),
        (".parquet", "PAR1", r"t\.parquet cannot be read"),
        (
            ".xlsx",
            "",
            r"t\.xlsx: a table is one of \.csv, \.tsv, \.txt, \.json, \.jsonl or \.parquet",
        ),
    ],
)
def test_tables_that_do_not_fit_are_refused_by_name(mine, suffix, text, match):
    (mine / f"t{suffix}").write_text(text)
    with pytest.raises(InputError, match=match):
        folder_stimuli(mine, f"t{suffix}")


@pytest.mark.parametrize(
    ("ids", "match"),
    [
        ((5, 6, 5), r"rows\.json, row 3: id '5' occurs before, for another image"),
        ((5, None, 7), "row 2: the id is None: it must be text or a whole number"),
        ((5, 1.5, 7), "row 2: the id is 1.5"),
        ((5, " ", 7), "row 2: the id is ' '"),
        ((5, "a\tb", 7), r"id 'a\\tb' holds a tab"),
    ],
)
def test_ids_tell_stimuli_apart(mine, ids, match):
    table = written(mine, [row | {"id": id_} for row, id_ in zip(ROWS, ids)])
    with pytest.raises(InputError, match=match):
        folder_stimuli(mine, table, columns={"id": "id"})


def test_a_row_that_repeats_a_whole_stimulus_is_refused(mine):
    table = written(mine, [row | {"caption": [row["caption"]]} for row in (*ROWS, ROWS[0])])
    with pytest.raises(InputError, match="row 4: id '0' occurs before, with all its captions"):
        folder_stimuli(mine, table, columns={"id": "id"})


def test_a_table_that_is_not_there(mine):
    with pytest.raises(InputError, match=r"none\.csv: No such file or directory"):
        folder_stimuli(mine, "none.csv")
    with pytest.raises(InputError, match=r"none\.parquet"):
        folder_stimuli(mine, "none.parquet")


def test_another_separator(mine):
    (mine / "t.csv").write_text("image;caption\npictures/p0.png;a, b\n")
    assert folder_stimuli(mine, "t.csv", separator=";").captions == (("a, b",),)


def test_a_parquet_file_that_has_fewer_rows_than_it_says(picks):
    path = sorted((picks / "data").glob("validation*.parquet"))[0]
    for column, row in (("jpg_0", 99), ("caption", 0)):
        with pytest.raises(
            InputError,
            match=rf"{column} in row {row} of validation_unique-.*parquet holds no image, or is "
            r"not",
        ):
            read_cells([ImageCell(path, "jpg_0", 0), ImageCell(path, column, row)])


# What cannot be used is counted, and may be left out


def test_all_unusable_rows_are_reported_together_and_left_out_by_name(mine):
    rows = [
        {
            "image": f"pictures/p{i % 3}.png",
            "id": f"é{i}",
            "caption": "" if i in (1, 4) else f"text {i}",
        }
        for i in range(6)
    ]
    table = written(mine, rows)
    with pytest.raises(
        Unusable, match=r"rows\.json: 2 of 6 stimuli cannot be used\. .*row 2: .*row 5: "
    ) as raised:
        folder_stimuli(mine, table, columns={"id": "id"})
    assert list(raised.value.wrong) == ["é1", "é4"] and str(raised.value).endswith(
        'leave them out: leave_out = ["é1", "é4"]'
    )
    assert folder_stimuli(
        mine, table, columns={"id": "id"}, leave_out=list(raised.value.wrong)
    ).ids == (
        "é0",
        "é2",
        "é3",
        "é5",
    )


def test_the_choice_of_the_others_stays_when_some_are_left_out(coco):
    whole = coco_stimuli(coco, 10).ids
    assert coco_stimuli(coco, 5, leave_out=(whole[1], whole[3])).ids == tuple(
        np.delete(whole, [1, 3])[:5]
    )
    with pytest.raises(
        TooFew, match="coco val2017 has 8 stimuli beside 2 left out, 9 are asked for"
    ) as raised:
        coco_stimuli(coco, 9, leave_out=whole[:2])
    assert raised.value.there == {"n_stimuli": 8}


def test_missing_images_are_counted_and_the_nearest_name_is_suggested(mine):
    rows = [{"image": f"P{i}.PNG" if i < 2 else f"q{i}.png", "caption": "x"} for i in range(20)]
    table = written(mine, [*rows, {"image": "pictures/p0.png", "caption": "there"}])
    message = (
        r"20 of 21 images are missing .*, the first is P0\.PNG \(there is pictures.p0\.png: "
        r".*`seeing-words presets check`"
    )
    with pytest.raises(Unusable, match=message):
        folder_stimuli(mine, table)


def test_where_no_image_is_in_the_folder_its_place_is_named(mine, tmp_path):
    rows = [{"image": f"p{i}.png", "caption": "x"} for i in range(4)]
    said = "none of its 4 images is in .*, the first would be p0.png: name that folder, .*folder = "
    with pytest.raises(InputError, match=f'{said}"…/pictures"') as refused:
        folder_stimuli(mine, written(mine, rows))
    assert not isinstance(refused.value, Unusable), "leaving all images out is offered nowhere"
    table = (mine / written(mine, rows)).resolve()
    assert len(folder_stimuli(mine / "pictures", table)) == 4
    empty = mine / "empty"
    empty.mkdir()
    with pytest.raises(InputError, match=f'{said}"…/../pictures"'):
        folder_stimuli(empty, table)
    nowhere = written(mine, [{"image": f"z{i}.png", "caption": "x"} for i in range(4)])
    with pytest.raises(InputError, match="would be z0.png: correct the folder, or the names"):
        folder_stimuli(mine, nowhere)


@pytest.mark.parametrize("ids", [("nope",), ("nope", "pictures/p1.png")])
def test_ids_that_are_to_be_left_out_are_known_to_be_those_of_no_stimulus(mine, ids):
    with ids_offered() as offered:
        folder_stimuli(mine, "table.csv", leave_out=ids)
    assert set(ids) - offered == {"nope"} and len(offered) == 6


FLICKR8K = {
    "table": 'image,caption\npictures/p0.png,a dog\npictures/p0.png,"a dog, asleep"\n'
    "pictures/p1.png,it costs $5\n",
    "tabs": "image\tcaption\npictures/p0.png\ta dog\npictures/p0.png\ta dog, asleep\n"
    "pictures/p1.png\tit costs $5\n",
    "numbered": "pictures/p0.png#0\ta dog\r\npictures/p0.png#1\ta dog, asleep\r\n"
    "pictures/p1.png#0\tit costs $5\r\n",
}


@pytest.mark.parametrize("form", FLICKR8K)
def test_text_files_as_flickr8k_is_published_are_tables(mine, form):
    (mine / "captions.txt").write_text(FLICKR8K[form], newline="")
    stimuli = folder_stimuli(mine, "captions.txt")
    assert stimuli.ids == ("pictures/p0.png", "pictures/p1.png")
    assert stimuli.captions == (("a dog", "a dog, asleep"), ("it costs $5",))
    (mine / "captions.txt").write_text(FLICKR8K["numbered"] + "no number\tx\n")
    with pytest.raises(InputError, match="line 4 is not `image#number<tab>caption`: 'no number"):
        folder_stimuli(mine, "captions.txt")


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252", "ascii", "iso8859-15"])
def test_utf8_is_not_read_as_another_encoding(mine, encoding):
    (mine / "t.csv").write_text("image,caption\npictures/p0.png,ein Bär\n", "utf-8")
    with pytest.raises(
        InputError, match=r't\.csv is UTF-8, read as .* would turn into others: encoding = "utf-8"'
    ):
        folder_stimuli(mine, "t.csv", encoding=encoding)


def test_a_row_with_wrong_quotes_is_reported_by_its_first_line(mine):
    (mine / "t.csv").write_text(
        'image,caption\npictures/p0.png,"two\nlines"\npictures/p1.png,"never '
        "closed\npictures/p2.png,x\n"
    )
    with pytest.raises(
        InputError, match=r"t\.csv: the row that begins in line 4 is not quoted as csv is"
    ):
        folder_stimuli(mine, "t.csv")


def test_the_other_separator_is_named_even_if_cells_hold_commas(mine):
    (mine / "t.csv").write_text("image;caption\npictures/p0.png;a dog, asleep\n")
    with pytest.raises(
        InputError, match=r'not as many cells .*by another character: separator = ";"'
    ):
        folder_stimuli(mine, "t.csv")
