"""Your own pictures, captions and networks: one file, no code, and every mistake is reported
before anything runs."""

import ast
import json
import re
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import datasets
import numpy as np
import pandas as pd
import pytest
from datasets import encoded, picture
from families import save
from PIL import Image
from runs import new_checkout, notebook
from typer.testing import CliRunner

from seeing_words.app import cli
from seeing_words.app.check import all_left_out, check_preset, problems
from seeing_words.app.execute import _failure
from seeing_words.app.presets import read_preset
from seeing_words.app.run import lost_parts, prepare, start
from seeing_words.core.files import DamagedFile
from seeing_words.data.images import read_image
from seeing_words.data.selection import damaged_images
from seeing_words.data.sources import coco_stimuli
from seeing_words.models.weights import load_network

pytestmark = pytest.mark.usefixtures("copied_kernels")

ROOT = Path(__file__).resolve().parents[2]
N, NETWORKS = 12, ("dinov2", "siglip", "bloom", "llama", "clip")
TEXTS = [
    "Zwei Hunde schlafen",
    "犬が寝る",
    "كلب",
    "un café à Zürich",
    "🐕 💤",
    'a "quoted" word,\nand a line',
]
MINE = {
    "source": "folder",
    "folder": ".",
    "table": "table.csv",
    "vision": ["./dinov2"],
    "language": ["./bloom"],
    "judge": "./clip",
    "n_folds": 2,
    "n_untrained": 1,
    "device": "cpu",
}
USES = 'preset: str = "microworld"\nout: str = "figures"'


def photographs(folder: Path) -> list[str]:
    "Pictures in the disguises in which they come."
    folder.mkdir()
    made = [Image.fromarray(picture(i, 30 + i, 20)) for i in range(N)]
    turned = Image.Exif()
    turned[0x0112] = 6
    made[0].convert("CMYK").save(folder / "0.jpg")
    made[1].convert("L").save(folder / "1.jpg")
    made[2].save(folder / "2.jpg", exif=turned)
    made[3].resize((20_000, 10)).save(folder / "3.jpg")
    Image.fromarray(np.full((9, 9), 40_000, np.uint16)).save(folder / "4.png")
    made[5].convert("P").save(folder / "5.png")
    made[6].convert("RGBA").save(folder / "6.png")
    made[7].save(folder / "7.webp")
    for i in range(8, N):
        made[i].save(folder / f"{i} é.jpg")
    return sorted(
        (path.name for path in folder.iterdir()),
        key=lambda name: int(name.split(".")[0].split()[0]),
    )


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("own")
    names = photographs(root / "pictures")
    rows = [
        {"image": f"pictures/{name}", "caption": f"{TEXTS[(i + k) % 6]} {i}"}
        for i, name in enumerate(names)
        for k in (0, 1)
    ]
    pd.DataFrame(rows).to_csv(root / "table.csv", index=False)
    pd.DataFrame(rows).to_csv(root / "semicolons.csv", index=False, sep=";")
    (root / "old.csv").write_bytes("image,caption\npictures/0.jpg,ein Bär\n".encode("cp1252"))
    for kind in NETWORKS:
        save(kind, root / kind)
    shutil.copytree(root / "bloom", root / "pickled")
    (root / "pickled/model.safetensors").rename(root / "pickled/pytorch_model.bin")
    shutil.copytree(root / "bloom", root / "unknown")
    config = json.loads((root / "bloom/config.json").read_text()) | {
        "model_type": "wonder",
        "architectures": ["WonderModel"],
    }
    (root / "unknown/config.json").write_text(json.dumps(config))
    return root


@pytest.fixture
def mine(whole, tmp_path) -> Path:
    for path in whole.iterdir():
        if path.is_dir() and path.name != "pictures":
            (tmp_path / path.name).symlink_to(path)
        elif path.is_dir():
            shutil.copytree(path, tmp_path / path.name)
        else:
            shutil.copy(path, tmp_path)
    return tmp_path


def toml(value) -> str:
    if isinstance(value, dict):
        return (
            "{" + ", ".join(f"{json.dumps(key)} = {toml(one)}" for key, one in value.items()) + "}"
        )
    return json.dumps(value, ensure_ascii=False)


def write(root: Path, **changes) -> str:
    lines = [
        f"{name} = {toml(value)}" for name, value in (MINE | changes).items() if value is not None
    ]
    (root / "mine.toml").write_text("\n".join(lines), "utf-8")
    return str(root / "mine.toml")


def check(preset: str, *more: str):
    return CliRunner(env={"COLUMNS": "200"}).invoke(cli.app, ["presets", "check", preset, *more])


def figures(monkeypatch, capsys, preset: str) -> tuple[int, str]:
    "Exit code and error of `seeing-words figures`, as it is installed."
    monkeypatch.setattr(sys, "argv", ["seeing-words", "figures", "--preset", preset])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    return stopped.value.code, " ".join(capsys.readouterr().err.split())


def test_whatever_pictures_and_captions_there_are_they_run_from_one_file(
    mine, monkeypatch, tmp_path_factory
):
    preset, root = write(mine), new_checkout(tmp_path_factory.mktemp("checkout"), monkeypatch)
    work = """from seeing_words.app.run import start
run = start("toy", preset=preset, out=out)
shapes = [run.features(name).shape for name in run.preset.vision + run.preset.language]
assert shapes == [(4, 12, 16)] * 2, shapes
assert run.judge(run.stimuli).shape == (12, 2)"""
    notebook(root / "nbs/paper/1_toy.ipynb", "judge", parameters=USES, work=work)
    result = CliRunner().invoke(cli.app, ["figures", "--preset", preset])
    assert result.exit_code == 0, result.output
    reported = check(preset)
    assert (
        reported.exit_code == 0
        and "No problems found." in reported.output
        and "images: 12 read" in reported.output
    )


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"columns": {"image": "imag"}},
            "table.csv has no column 'imag': did you mean image? Available: image, caption. In a p",
        ),
        (
            {"table": "old.csv"},
            "old.csv: line 2 is not utf-8 (byte 0xe4): name the encoding it was written in, for "
            "example",
        ),
        (
            {"encoding": "cp1252"},
            "table.csv is UTF-8, read as cp1252 its letters would turn into others: encoding = "
            '"utf-8"',
        ),
        (
            {"table": "semicolons.csv"},
            'Cells seem to be separated by another character: separator = ";"',
        ),
        ({"table": "tabel.csv"}, "table = 'tabel.csv' is not in"),
        ({"n_stimuli": 1000}, "has 12 stimuli, 1000 are asked for: write n_stimuli = 12, or less"),
        ({"n_captions": 3}, "12 of 12 stimuli have too few captions"),
        ({"n_stimulus": 5}, "there is no field 'n_stimulus': did you mean n_stimuli"),
        ({"n_stimuli": "12"}, "n_stimuli = '12': it must be a whole number, as in 40"),
        (
            {"language": ["./pickled"]},
            "pytorch_model.bin is damaged or not a file of weights (it holds more than tensors)",
        ),
        ({"language": ["./unknown"]}, "of a network that transformers"),
        (
            {"language": ["./dinov2"]},
            "dinov2: it is a vision network listed under language: move it to vision = […]",
        ),
        (
            {"language": ["bloom-560m"]},
            "there is no network 'bloom-560m' (not a folder): a network is owner/name on the hub",
        ),
        (
            {"vision": ["./siglip"]},
            "it has no class token; its first token is an ordinary patch, or it has feature maps "
            "without tokens: pool by mean, in the preset",
        ),
        (
            {"language": ["./llama"]},
            "has 44 tokens; the network accepts 40. Change the captions, or leave them out: "
            "leave_out = [",
        ),
        ({"judge": "./bloom"}, "is a bloom: a judge must be of the CLIP family, such as judge ="),
        (
            {"trials": "near misses"},
            'only the microworld can draw them: write trials = "other images"',
        ),
        ({"device": "cuda:99"}, "• device 'cuda:99' cannot be used here"),
        ({"folder": "nowhere"}, "nowhere does not exist: correct `folder` in the preset"),
    ],
)
def test_a_mistake_is_reported_before_anything_runs(
    mine, monkeypatch, capsys, tmp_path_factory, changes, said
):
    preset, root = (
        write(mine, **changes),
        new_checkout(tmp_path_factory.mktemp("checkout"), monkeypatch),
    )
    if changes == {"language": ["./llama"]}:
        table = pd.read_csv(mine / "table.csv")
        table.loc[5, "caption"] = "كلب ينام بجانب البحر 10 0"
        table.to_csv(mine / "table.csv", index=False)
    notebook(root / "nbs/paper/1_toy.ipynb", "judge", parameters=USES, work="1 / 0")
    code, error = figures(monkeypatch, capsys, preset)
    assert code == 2 and not (root / "_runs").exists()
    assert "".join(said.split()) in "".join(error.split())  # lines are broken where a path is long
    assert check(preset).exit_code == 1


def spoil(mine: Path) -> None:
    """One of each way in which a stimulus cannot be used: no words, no file, no image, half an
    image."""
    table = pd.read_csv(mine / "table.csv", keep_default_na=False)
    table.loc[table["image"] == "pictures/5.png", "caption"] = ""
    table.to_csv(mine / "table.csv", index=False)
    (mine / "pictures/0.jpg").unlink()
    (mine / "pictures/1.jpg").write_bytes(b"<html>404</html>")
    (mine / "pictures/2.jpg").write_bytes((mine / "pictures/2.jpg").read_bytes()[:-40])


def test_everything_unusable_is_reported_together_and_one_line_leaves_it_out(mine):
    spoil(mine)
    reported = json.loads(check(write(mine), "--json").output)
    assert [one["what"] for one in reported["findings"] if one["problem"]] == ["stimuli"] * 3 + [
        "images"
    ]
    line = reported["leave_out"]
    assert (
        line
        == 'leave_out = ["pictures/5.png", "pictures/0.jpg", "pictures/1.jpg", "pictures/2.jpg"]'
    )
    assert line in check(write(mine)).output
    left_out = json.loads(line.removeprefix("leave_out = "))
    assert check(write(mine, leave_out=left_out, n_stimuli=10)).exit_code == 1  # 8 are left
    table = pd.read_csv(mine / "table.csv")
    more = table.head(8).assign(image=lambda t: "again/" + t["image"].str.replace("pictures/", ""))
    shutil.copytree(mine / "pictures", mine / "again")
    for name in ("0.jpg", "1.jpg", "2.jpg"):
        (mine / "again" / name).write_bytes(encoded(picture(5)))
    pd.concat([table, more]).to_csv(mine / "table.csv", index=False)
    assert check(write(mine, leave_out=left_out)).exit_code == 0
    assert read_preset(str(mine / "mine.toml")).n_stimuli == 12


def test_a_run_before_it_was_mended_does_not_stand_in_the_way_of_a_check(
    mine, monkeypatch, tmp_path_factory
):
    preset, root = write(mine), new_checkout(tmp_path_factory.mktemp("checkout"), monkeypatch)
    assert len(start("toy", preset=preset).stimuli) == N
    ids_file = root / "figures/mine/toy_stimuli.tsv"
    before = ids_file.read_bytes()
    found = check_preset(read_preset(preset), ids_file=ids_file, needs=())
    assert (
        not problems(found)
        and ids_file.read_bytes() == before
        and not all_left_out(read_preset(preset), found)
    )
    fewer = check_preset(
        read_preset(write(mine, n_stimuli=10)), every_image=False, ids_file=ids_file
    )
    assert not problems(fewer)
    (mine / "pictures/7.webp").write_bytes(encoded(picture(3), "WEBP"))
    reported = problems(check_preset(read_preset(preset), ids_file=ids_file, needs=()))
    assert (
        len(reported) == 1
        and "'pictures/7.webp' are not those that" in reported[0]
        and "or remove the list" in reported[0]
    )


@pytest.mark.parametrize(("rows", "n", "n_captions"), [(2, 12, 2), (1, 12, 1), (7, 12, 5)])
def test_sizes_that_the_file_leaves_open_are_those_of_the_table(mine, rows, n, n_captions):
    images = pd.read_csv(mine / "table.csv")["image"].unique()
    pd.DataFrame(
        [{"image": image, "caption": f"dog {k}"} for image in images for k in range(rows)]
    ).to_csv(mine / "table.csv")
    preset = read_preset(write(mine))
    assert (preset.n_stimuli, preset.n_captions) == (n, n_captions)
    preset = read_preset(write(mine, n_stimuli=10, n_captions=1, leave_out=[images[0]]))
    assert (preset.n_stimuli, preset.n_captions, images[0] in preset.stimuli().ids) == (
        10,
        1,
        False,
    )
    assert read_preset(write(mine, leave_out=list(images[:2]))).n_stimuli == 10


def test_a_network_that_is_a_folder_beside_the_file_needs_no_mark(mine):
    preset = read_preset(
        write(mine, vision=["dinov2"], language=["facebook/bloom", "bloom"], judge="clip")
    )
    assert preset.vision == (str(mine / "dinov2"),) and preset.language == (
        "facebook/bloom",
        str(mine / "bloom"),
    )
    assert preset.judge == str(mine / "clip")


def test_a_section_that_averages_captions_is_left_out_where_images_have_one_each(
    mine, monkeypatch, capsys, tmp_path_factory
):
    pd.read_csv(mine / "table.csv").drop_duplicates("image").to_csv(mine / "table.csv", index=False)
    preset, root = write(mine), new_checkout(tmp_path_factory.mktemp("checkout"), monkeypatch)
    work = (
        "from seeing_words.app.run import start\nassert len(start('toy', preset=preset, "
        "out=out).stimuli) == 12"
    )
    notebook(root / "nbs/paper/1_toy.ipynb", parameters=USES, work=work)
    notebook(root / "nbs/paper/2_means.ipynb", "several captions", parameters=USES, work="1 / 0")
    result = CliRunner(env={"COLUMNS": "200"}).invoke(
        cli.app, ["figures", "--preset", preset, "--json"]
    )
    assert result.exit_code == 0, result.output
    assert [one["section"] for one in json.loads(result.stdout)] == ["toy"]
    assert "means needs several captions per image, but mine has one: it is left out" in " ".join(
        result.stderr.split()
    )
    monkeypatch.setattr(sys, "argv", ["seeing-words", "figures", "means", "--preset", preset])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    assert stopped.value.code == 2
    assert "but mine has one: add captions, or raise n_captions" in " ".join(
        capsys.readouterr().err.split()
    )


SAVES = """import pandas as pd
from seeing_words.app.run import start
from seeing_words.plots import forest
run = start("toy{n}", preset=preset, out=out)
for name in run.preset.vision + run.preset.language:
    run.features(name)
if {trials}:
    print(repr(run.trials))
table = pd.DataFrame([("a", 0.5, 0.4, 0.6)], columns=["condition", "effect", "low", "high"])
run.save(forest(table, label="r"), "best", data=table, caption="A dot.", alt="A dot.")"""


def run_figures(*words: str):
    return CliRunner(env={"COLUMNS": "200"}).invoke(cli.app, ["figures", *words])


def sections_of(root: Path, *needs: tuple[str, ...]) -> Path:
    "A checkout with a section for each of these needs, which saves a figure of all networks."
    for i, needed in enumerate(needs):
        work = SAVES.format(n=i, trials="trials" in needed)
        notebook(root / f"nbs/paper/{i}_toy{i}.ipynb", *needed, parameters=USES, work=work)
    return root / "figures/mine"


def about(folder: Path, name: str) -> dict:
    return json.loads((folder / f"{name}.json").read_text())


def picture_text(folder: Path, name: str) -> str:
    "The words of a figure, whose small print may be broken into lines."
    words = re.findall(r"<!-- (.*?) -->", (folder / f"{name}.svg").read_text())
    return " ".join(words)


def test_a_missing_network_is_left_out_of_every_section_and_each_figure_says_so(
    mine, monkeypatch, tmp_path_factory
):
    preset = write(mine, language=["./bloom", "./open_llama_13b"])
    root = new_checkout(tmp_path_factory.mktemp("checkout"), monkeypatch)
    folder = sections_of(root, (), ("judge",))
    missing = str(mine / "open_llama_13b")
    ran = run_figures("--preset", preset)
    assert ran.exit_code == 3, ran.output
    first = ran.stderr.splitlines()[0]
    assert first.startswith(f"! mine: left out: {missing}") and "is not a folder" in first
    assert "Left out, since missing or unusable: " + missing + ". Figures" in ran.stderr
    for n in (0, 1):
        record = about(folder, f"toy{n}_provenance")
        assert record["missing"] == ["open_llama_13b"] and "without" not in record
        assert set(record["models"]) == {"dinov2", "bloom"}  # named from the preset's folder
        assert about(folder, f"toy{n}_best")["provenance"]["missing"] == ["open_llama_13b"]
        assert "left out: open_llama_13b" in picture_text(folder, f"toy{n}_best")
    printed = json.loads(run_figures("--preset", preset, "--json").stdout)
    assert [list(one["missing"]) for one in printed] == [[missing]] * 2
    assert all("is not a folder" in one["missing"][missing] for one in printed)


def test_strict_refuses_to_run_without_what_is_missing(mine, monkeypatch, capsys, tmp_path_factory):
    preset = write(mine, language=["./bloom", "./open_llama_13b"])
    root = new_checkout(tmp_path_factory.mktemp("checkout"), monkeypatch)
    sections_of(root, (), ("judge",))
    monkeypatch.setattr(sys, "argv", ["seeing-words", "figures", "--strict", "--preset", preset])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    said = " ".join(capsys.readouterr().err.split())
    assert stopped.value.code == 2 and not (root / "_runs").exists()
    assert "preset mine cannot run; nothing was started: • " + str(mine / "open_llama_13b") in said
    assert said.endswith("Without --strict, toy0, toy1 would run without what is missing")


def test_without_pick_a_pic_trials_are_of_other_images(mine, monkeypatch, tmp_path_factory):
    preset = write(mine, trials="pick-a-pic", trials_folder="nowhere")
    root = new_checkout(tmp_path_factory.mktemp("checkout"), monkeypatch)
    folder = sections_of(root, (), ("judge", "trials"), ("trials of a data set",))
    ran = run_figures("--preset", preset)
    assert ran.exit_code == 3, ran.output
    first = ran.stderr.splitlines()[0]
    assert first.startswith("! mine: left out (of toy1, toy2): pick-a-pic: ")
    assert "nowhere does not exist: correct `trials_folder` in the preset" in first
    assert "missing" not in about(folder, "toy0_provenance")
    assert about(folder, "toy2_provenance")["missing"] == ["pick-a-pic"]
    record = about(folder, "toy1_provenance")
    assert record["missing"] == ["pick-a-pic"] and record["trials"]["kind"] == "other images"
    assert record["trials"]["n"] == 12
    assert "left out: pick-a-pic" in picture_text(folder, "toy1_best")
    # with one of the two splits, as many trials as there are
    datasets.pick_a_pic(mine / "nowhere", 18)
    datasets.pick_a_pic(mine / "nowhere", 6, "test_unique")
    ran = run_figures("--preset", preset)
    assert ran.exit_code == 0, ran.output
    record = about(folder, "toy1_provenance")
    assert record["trials"]["kind"] == "pick-a-pic" and record["trials"]["n"] == 12
    assert record["trials"]["left_out"] == {"tie": 4, "no label": 4}


def test_a_section_is_left_out_only_if_nothing_that_it_needs_is_left(
    mine, monkeypatch, capsys, tmp_path_factory
):
    root = new_checkout(tmp_path_factory.mktemp("checkout"), monkeypatch)
    sections_of(root, (), ("judge",), ("next words",))
    ran = run_figures("--preset", write(mine, judge="bloom"), "--json")
    assert ran.exit_code == 3, ran.output
    assert "! mine: section toy1 is left out: judge: " in ran.stderr
    printed = json.loads(ran.stdout)
    assert [one["section"] for one in printed] == ["toy0", "toy2", "toy1"]
    assert "is a bloom: a judge must be" in printed[-1]["left_out"]
    # a network without a head reads no next words
    llama = Path(shutil.copytree(mine / "llama", mine / "body"))
    load_network(llama).save_pretrained(llama)
    ran = run_figures("--preset", write(mine, judge="bloom", language=["body"]), "--json")
    assert ran.exit_code == 3, ran.output
    *ran_ones, one, two = json.loads(ran.stdout)
    assert [done["section"] for done in ran_ones] == ["toy0"]
    assert (one["section"], two["section"]) == ("toy1", "toy2")
    assert two["left_out"] == "no language network is left"
    assert "section toy2 is left out: next words" in ran.stderr or "has no head" in ran.stderr
    code, reported = figures(monkeypatch, capsys, write(mine, vision=["nowhere/here"]))
    assert code == 2 and "nothing was started" in reported
    assert "no vision network is left" in reported and "Without --strict" not in reported


def test_what_is_left_out_by_name_has_a_folder_of_its_own(mine, monkeypatch, tmp_path_factory):
    preset = write(mine, vision=["./dinov2"], language=["./bloom", "./llama"])
    root = new_checkout(tmp_path_factory.mktemp("checkout"), monkeypatch)
    folder = sections_of(root, ()) / "without=llama"
    ran = run_figures("--preset", preset, "--without", "llama", "--json")
    assert ran.exit_code == 0 and "left out" not in ran.stderr.lower(), ran.output
    (one,) = json.loads(ran.stdout)
    assert one["without"] == [str(mine / "llama")] and one["missing"] == {}
    assert about(folder, "toy0_provenance")["without"] == ["llama"]
    assert "left out: llama" in picture_text(folder, "toy0_best")
    assert not (root / "figures/mine/toy0_best.svg").exists()
    ran = run_figures("--preset", preset, "--without", "lama")
    assert ran.exit_code == 1 and "did you mean llama" in str(ran.exception)


def test_the_least_that_a_preset_says_has_short_names_for_figures(mine):
    preset = read_preset(write(mine, vision=["dinov2", "owner/dinov2"], judge="clip"))
    assert list(preset.short.values()) == [f"{mine.name}/dinov2", "owner/dinov2", "bloom", "clip"]


def test_messages_that_the_guide_explains_are_those_of_the_package():
    guide = json.loads((ROOT / "nbs/docs/own_models_and_data.ipynb").read_text(encoding="utf-8"))
    (table,) = ["".join(c["source"]) for c in guide["cells"] if c["id"] == "errors-md"]
    texts = []  # all strings of the package
    for path in (ROOT / "seeing_words").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                texts.append(node.value)
    rows = [line.split("|")[1] for line in table.splitlines() if line.startswith("| *")]
    quoted = [message for row in rows for message in re.findall(r"\*(.+?)\*", row)]
    assert len(quoted) > 10
    for message in quoted:
        for part in message.split("…"):
            assert any(part.strip(" ;") in text for text in texts), message


def test_figures_made_with_more_are_not_replaced(mine, monkeypatch, capsys, tmp_path_factory):
    preset = write(mine, language=["./bloom", "./llama"])
    llama = str(mine / "llama")
    (mine / "llama").unlink()  # a link
    root = new_checkout(tmp_path_factory.mktemp("checkout"), monkeypatch)
    folder = sections_of(root, (), ())
    folder.mkdir(parents=True)
    record = {"models": {"bloom": "1", "untrained:llama@0": "2"}}  # named from the preset's folder
    for n in (0, 1):
        (folder / f"toy{n}_provenance.json").write_text(json.dumps(record))
    code, said = figures(monkeypatch, capsys, preset)
    assert code == 2 and "nothing was started" in said and not (root / "_runs").exists()
    assert (
        f"figures/mine has figures of toy1 made with {llama}, which figures made without would "
        f"replace: to have those, too, in a folder of their own, add --without {llama}"
    ) in said
    assert json.loads((folder / "toy0_provenance.json").read_text()) == record
    # a section without such figures runs all the same
    (folder / "toy1_provenance.json").unlink()
    ran = run_figures("--preset", preset, "--json")
    assert ran.exit_code == 3, ran.output
    first, second = json.loads(ran.stdout)
    assert first["section"] == "toy1" and list(first["missing"]) == [llama]
    assert second["section"] == "toy0" and "would replace" in second["left_out"]
    assert f"section toy0 is left out: {llama}" in " ".join(ran.stderr.split())
    assert json.loads((folder / "toy0_provenance.json").read_text()) == record
    # nothing would be lost of figures that were made without it, too
    toy0, toy1 = (prepare(f"toy{n}", preset=preset) for n in (0, 1))
    assert lost_parts(toy1, [llama]) == []
    assert lost_parts(toy0, [llama, "pick-a-pic"]) == [llama]
    (folder / "toy0_provenance.json").write_text(json.dumps({"trials": {"kind": "pick-a-pic"}}))
    assert lost_parts(toy0, [llama, "pick-a-pic"]) == ["pick-a-pic"]
    (folder / "toy0_provenance.json").write_text("{")
    assert lost_parts(toy0, [llama]) == []


# Damaged files


def cut_off(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-30])


def test_a_check_names_every_damaged_image_also_those_that_would_take_a_place(mine):
    datasets.coco(mine / "coco", 30)
    order = coco_stimuli(mine / "coco", 30).ids  # the choice of fewer is its beginning
    broken = set(order[1:14:2]) | {order[25]}
    for id_ in broken:
        cut_off(mine / f"coco/val2017/{int(id_):012}.jpg")
    (mine / f"coco/annotations/panoptic_val2017/{int(order[4]):012}.png").write_bytes(b"png")
    broken.add(order[4])
    n_read = next(n for n in range(31) if len(set(order[:n]) - broken) == 12)
    expected = [id_ for id_ in order[:n_read] if id_ in broken]
    assert len([id_ for id_ in expected if id_ in order[:12]]) < len(expected) < len(broken)
    changes = {"source": "coco", "folder": "coco", "table": None, "n_stimuli": 12, "n_captions": 1}
    preset = read_preset(write(mine, **changes))
    found = check_preset(preset, needs=())
    (images,) = [one for one in found if one.problem]
    assert images.what == "images" and sorted(images.leave_out) == sorted(expected)
    first, *lines = images.problem.splitlines()
    n_chosen = sum(id_ in order[:12] for id_ in expected)
    assert first == (
        f"{n_chosen} of 12 are damaged, and {len(expected) - n_chosen} of those that would take "
        "their place:"
    )
    assert len(lines) == len(expected)
    for id_ in expected:
        assert sum(f"{int(id_):012}." in line for line in lines) == 1
    preset = read_preset(write(mine, **changes, leave_out=list(images.leave_out)))
    assert not problems(check_preset(preset, needs=()))
    assert not damaged_images(preset.stimuli())


def test_a_check_reads_the_images_of_trials(mine):
    for split in ("validation_unique", "test_unique"):
        datasets.pick_a_pic(mine / "picks", 30, split)
    path = sorted((mine / "picks/data").glob("*.parquet"))[0]
    rows = pd.read_parquet(path)
    changes = {"trials": "pick-a-pic", "trials_folder": "picks", "n_trials": 40}
    id_, whole = str(rows.loc[0, "ranking_id"]), rows.loc[0, "jpg_1"]  # the other is preferred
    # cut off at its end, and in its header
    for n_left, what in ((len(whole) - 30, "images of trials"), (40, "trials")):
        rows.at[0, "jpg_1"] = whole[:n_left]
        rows.to_parquet(path)
        found = check_preset(read_preset(write(mine, **changes)), needs=("trials",))
        wrong = [one for one in found if one.problem]
        assert [one.what for one in wrong] == [what] and wrong[0].leave_out == (id_,)
        assert f"the image of {id_} cannot be read" in wrong[0].problem
    changes["leave_out"] = [id_]
    assert not problems(check_preset(read_preset(write(mine, **changes)), needs=("trials",)))


def test_a_section_that_meets_a_damaged_file_says_how_to_find_all():
    job = SimpleNamespace(
        notebook=Path("1_toy.ipynb"),
        executed=Path("_runs/1_toy.ipynb"),
        given={"preset": "/my data/mine.toml missing pick-a-pic"},
        run=None,
    )
    for name, is_damage in (("DamagedFile", True), ("InputError", False)):
        error = SimpleNamespace(traceback=[], ename=name, evalue="139.jpg cannot be read")
        said = str(_failure(job, "work", error))
        assert "139.jpg cannot be read" in said
        assert ("seeing-words presets check '/my data/mine.toml'\n" in said) == is_damage
    with pytest.raises(DamagedFile, match="139.jpg cannot be read"):
        read_image(encoded(picture(3))[:-100], name="139.jpg")
