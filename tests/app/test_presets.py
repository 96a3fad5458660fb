"""Presets are data: what they name exists, and what they don't is answered."""

import os
from dataclasses import FrozenInstanceError, asdict, replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from seeing_words.app.download import DATA, NETWORKS, repository_of
from seeing_words.app.presets import (
    DATA_SETS,
    PINS,
    PRESETS,
    SOURCES,
    UNCONFIRMED_PINS,
    Preset,
    _rows,
    data_folder,
    get_preset,
    preset_file,
    read_preset,
    reduced,
    spelled,
    split_parts,
)
from seeing_words.app.run import start
from seeing_words.core.errors import InputError, did_you_mean
from seeing_words.models.checkpoints import checkpoints
from seeing_words.models.clip import CLIP
from seeing_words.models.hub import NetworkId
from seeing_words.models.load import load_model

HERE = [preset for preset in PRESETS.values() if not preset.data]  # those that need no download
MINE = """vision = ["microworld/vision-0"]
language = ["microworld/llama-0"]
source = "microworld"
n_stimuli = 40
"""


@pytest.mark.parametrize("preset", PRESETS.values(), ids=PRESETS)
def test_a_preset_is_possible(preset):
    assert preset.poolings.keys() == {"vision", "language"}
    assert preset.n_stimuli >= 2 * preset.n_folds
    assert preset.revisions.keys() <= set(preset.networks)
    assert all(len(revision) == 40 and int(revision, 16) for revision in preset.revisions.values())


def test_every_network_of_a_built_in_preset_is_pinned_but_one_whose_commit_is_not_known():
    left_open = {
        name
        for preset in PRESETS.values()
        for name in preset.networks
        if NetworkId.parse(name).repository and name not in preset.revisions
    }
    assert left_open == {"bigscience/bloom-1b1"}
    for preset in PRESETS.values():
        assert preset.revisions == {n: PINS[n] for n in preset.networks if n in PINS}
    assert PINS.keys() <= NETWORKS.keys() and PINS.keys() >= UNCONFIRMED_PINS
    assert all(len(commit) == 40 and int(commit, 16) for commit in PINS.values())


def test_what_is_uncertain_about_a_revision_is_shown_where_revisions_are():
    (shown,) = (value for label, value in _rows(PRESETS["paper"]) if label == "revisions")
    lines = dict(line.split(": ", 1) for line in shown.split("\n"))
    assert lines.keys() == set(PRESETS["paper"].networks)
    assert lines["bigscience/bloom-1b1"] == "revision left open: the newest"
    for name in UNCONFIRMED_PINS:
        assert lines[name].startswith(f"{PINS[name]}, revision not confirmed: compare")
    assert lines["openlm-research/open_llama_3b"] == PINS["openlm-research/open_llama_3b"]
    notes = {name: repository_of(name, PINS.get(name)).note for name in lines}
    assert {name for name, note in notes.items() if note} == UNCONFIRMED_PINS | {
        "bigscience/bloom-1b1"
    }
    assert repository_of("bigscience/bloom-1b7", "0" * 40).note == ""  # a commit of one's own


@pytest.mark.parametrize("preset", HERE, ids=lambda preset: preset.name)
def test_what_a_preset_names_can_be_loaded(preset):
    assert preset.source in SOURCES
    shipped = {f"microworld/{name}" for name in checkpoints()}
    assert set(preset.vision + preset.language) <= shipped


# scenes of the confirmatory run are looked at by no test
@pytest.mark.parametrize(
    "preset", [one for one in HERE if not one.scenes], ids=lambda preset: preset.name
)
def test_a_preset_makes_as_many_stimuli_and_captions_as_its_sizes(preset):
    stimuli = replace(preset, n_stimuli=11, n_captions=2).stimuli()
    assert len(stimuli) == 11
    assert {len(captions) for captions in stimuli.captions} == {2}


def test_every_architecture_has_its_untrained_twins():
    preset = replace(
        PRESETS["microworld"], language=("a/llama-0", "a/llama-1", "a/bloom-7"), n_untrained=2
    )
    assert preset.untrained("language") == (
        "untrained:a/bloom-7@0",
        "untrained:a/bloom-7@1",
        "untrained:a/llama-0@0",
        "untrained:a/llama-0@1",
    )


def test_a_source_that_is_not_known_says_so():
    with pytest.raises(
        InputError, match="preset mine: source 'micro' is not known: did you mean microworld"
    ):
        replace(PRESETS["microworld"], name="mine", source="micro").stimuli()


def test_networks_that_differ_by_more_than_a_seed_have_their_own_untrained_networks():
    preset = replace(
        PRESETS["microworld"],
        vision=("lab/vit-large", "lab/vit-small", "gpt", "opt"),
        n_untrained=1,
    )
    assert preset.untrained("vision") == (
        "untrained:gpt@0",
        "untrained:lab/vit-large@0",
        "untrained:lab/vit-small@0",
        "untrained:opt@0",
    )


def test_a_preset_does_not_change_underway():
    with pytest.raises(FrozenInstanceError):
        get_preset("microworld").n_stimuli = 10


def test_a_preset_says_everything_to_people():
    preset = get_preset("microworld")
    console = Console(record=True, width=200, file=None, quiet=False)
    with console.capture() as captured:
        console.print(preset)
    for said in (captured.get(), preset._repr_html_()):
        assert all(name in said for name in (*preset.vision, *preset.language, "1000", "5 folds"))


@pytest.mark.parametrize(
    ("name", "hint"), [("microwrld", "did you mean microworld"), ("zzz", "Available: microworld")]
)
def test_an_unknown_preset_is_answered_with_the_nearest(name, hint):
    with pytest.raises(InputError, match="is not known") as error:
        get_preset(name)
    assert hint in str(error.value)


@given(st.text(), st.lists(st.text(min_size=1), max_size=5))
def test_a_hint_names_all_there_is(name, known):
    hint = did_you_mean(name, known)
    assert all(other in hint for other in known)
    assert known or "nothing" in hint


# Other scenes


def test_scenes_follow_one_another_from_the_one_that_is_named(tmp_path):
    preset = get_preset("microworld@3")
    assert preset == replace(get_preset("microworld"), name="microworld@3", scenes=3)
    stimuli = replace(preset, n_stimuli=12, n_captions=1).stimuli()
    assert stimuli.ids == tuple(f"scene-{k}" for k in range(3, 15))
    assert preset.scene_range == range(3, 503)
    assert get_preset("microworld").scene_range == range(500)
    assert get_preset("paper").scene_range is None
    path = write(tmp_path, MINE + "scenes = 50\n")
    assert get_preset(path).scene_range == range(50, 90)
    assert get_preset(f"{path}@7").name == "mine@7"
    assert get_preset(f"{path}@7").scene_range == range(7, 47)


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("microworld@-1", "scenes = '-1': the number of the first scene is needed, such as 10000"),
        ("microworld@1-5", "scenes = '1-5': the number of the first scene"),
        ("microworld@999501", r"500 scenes from there on must lie within 0 to 999999: name a"),
        (
            "paper@5",
            "scenes = 5: stimuli from coco are not numbered scenes, only those of the micr",
        ),
        ("microwold@5", "did you mean microworld"),
    ],
)
def test_scenes_that_do_not_exist_are_refused(name, problem):
    with pytest.raises(InputError, match=problem):
        get_preset(name)


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("scenes = -1", "scenes = -1 is impossible: 40 scenes from there on must lie within"),
        ("scenes = 999999", "scenes = 999999 is impossible"),
        ('scenes = "0-9"', "scenes = '0-9': it must be a whole number"),
    ],
)
def test_a_file_cannot_name_scenes_that_do_not_exist(tmp_path, line, problem):
    with pytest.raises(InputError, match=problem):
        get_preset(write(tmp_path, MINE + line))


def test_more_stimuli_than_scenes_are_left_are_refused():
    preset = replace(get_preset("microworld@999000"), n_stimuli=1001)
    with pytest.raises(InputError, match="scenes = 999000: 1001 scenes from there on"):
        preset.stimuli()


def test_the_confirmatory_preset_differs_in_its_scenes_alone():
    confirmatory = get_preset("microworld-confirmatory")
    same = replace(confirmatory, name="microworld", scenes=0)
    assert replace(same, summary=get_preset("microworld").summary) == get_preset("microworld")
    assert not set(confirmatory.scene_range) & set(get_preset("microworld").scene_range)


def test_the_files_of_pick_a_pic_are_named_where_there_are_none(tmp_path, monkeypatch):
    monkeypatch.setenv("SEEING_WORDS_DATA", str(tmp_path))
    with pytest.raises(InputError) as error:
        data_folder("pick-a-pic", "")
    for split in ("validation_unique", "test_unique"):
        assert f"data/{split}-00000-of-00001-<hash>.parquet" in str(error.value)


# Without some of it


def test_networks_and_data_sets_are_left_out_by_short_or_whole_name():
    paper = get_preset("paper")
    less = get_preset("paper without open_llama_13b bigscience/bloom-560m missing pick-a-pic")
    gone = ("openlm-research/open_llama_13b", "bigscience/bloom-560m")
    assert less == replace(
        paper,
        language=tuple(name for name in paper.language if name not in gone),
        data=("coco",),
        trials="other images",
        revisions={name: one for name, one in paper.revisions.items() if name not in gone},
        without=gone,
        missing=("pick-a-pic",),
    )
    assert less.left_out == (*gone, "pick-a-pic") and not set(gone) & set(less.networks)
    assert reduced(reduced(paper, gone), missing=["pick-a-pic"]) == less


def test_a_judge_that_is_left_out_is_no_network_of_the_preset():
    less = get_preset("paper-small without clip-vit-large-patch14")
    assert less.networks == ("facebook/dinov2-small", "bigscience/bloom-560m")
    assert less.judge == CLIP and less.short[CLIP] == CLIP


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("paper without open_lama_13b", "no such network or data set: did you mean open_llama_13b"),
        ("paper without coco", "its stimuli are from there, so that nothing would be left"),
        ("paper-flickr30k without flickr30k", "its stimuli are from there"),
        ("paper-small without flickr30k", "no such network or data set"),
        ("paper missing dinov2-large", "no vision network is left"),
        ("paper without 'a b", "a quotation mark is not closed"),
        ("papre without coco", "preset 'papre' is not known"),
    ],
)
def test_what_cannot_be_left_out_is_refused(name, said):
    with pytest.raises(InputError, match=said):
        get_preset(name)


PART = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=8)
PARTS = st.lists(PART.filter(lambda name: name not in ("without", "missing")), max_size=3)


@given(
    st.sampled_from(["paper", "microworld@7", "a b/mine.toml", "/x without y/my.toml@3"]),
    PARTS,
    PARTS,
)
def test_what_is_left_out_is_read_as_it_was_written(name, without, missing):
    assert split_parts(spelled(name, without, missing)) == (name, tuple(without), tuple(missing))


def test_a_file_says_what_it_is_without(tmp_path):
    text = MINE.replace('["microworld/llama-0"]', '["microworld/llama-0", "microworld/bloom-0"]')
    less = get_preset(write(tmp_path, text + 'without = ["bloom-0"]\n'))
    assert less.language == ("microworld/llama-0",) and less.without == ("microworld/bloom-0",)
    assert get_preset(write(tmp_path, text) + " without llama-0").language == (
        "microworld/bloom-0",
    )


# One's own, from a file


def write(folder: Path, text: str = MINE, name: str = "mine.toml") -> str:
    (folder / name).write_text(text)
    return str(folder / name)


def test_a_file_is_a_preset(tmp_path):
    preset = get_preset(write(tmp_path))
    assert preset == replace(
        get_preset("microworld"),
        name="mine",
        summary="read from mine.toml",
        n_stimuli=40,
        device="auto",
        sections={},
        vision=("microworld/vision-0",),
        language=("microworld/llama-0",),
    )
    assert len(preset.stimuli()) == 40


def test_every_field_can_be_given(tmp_path):
    text = (
        MINE
        + """name = "other"
summary = "all of it"
n_captions = 2
n_trials = 12
scenes = 7
surprise = 0.6
show_stimuli = false
n_folds = 4
n_permutations = 3
n_draws = 2
n_untrained = 2
image_size = 518
dtype = "bfloat16"
folder = "pictures"
table = "captions.csv"
data = ["coco", "flickr30k"]
without = ["clip"]
missing = ["flickr30k"]
device = "cuda"
batch_size = 2
trials = "other images"
judge = "./clip"
split = "train2017"
trials_folder = "../pick"
ids_file = "mine.tsv"
encoding = "cp1252"
separator = ";"
[copies]
coco = "lab/coco"
[columns]
image = "file"
[revisions]
"microworld/llama-0" = "abc"
[poolings]
vision = ["mean"]
language = ["last", "mean"]
"""
    )
    values = asdict(get_preset(write(tmp_path, text)))
    assert not [
        name
        for name, value in values.items()
        if value == asdict(PRESETS["microworld"])[name]
        and name not in ("source", "leave_out")  # nothing is left out of scenes that are drawn
    ]
    beside = {"folder": "pictures", "judge": "clip", "ids_file": "mine.tsv"}
    assert {name: values[name] for name in beside} == {
        name: str(tmp_path / file) for name, file in beside.items()
    }
    assert values["trials_folder"] == str(tmp_path.parent / "pick")
    assert values["columns"] == {"image": "file"}
    assert values["revisions"] == {"microworld/llama-0": "abc"}
    assert values["poolings"] == {"vision": ("mean",), "language": ("last", "mean")}


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ("n_fold = 4", "there is no field 'n_fold': did you mean n_folds"),
        ("n_folds = '4'", "n_folds = '4': it must be a whole number"),
        ("n_folds = 4.0", "n_folds = 4.0: it must be a whole number"),
        ("n_folds = true", "n_folds = True: it must be a whole number"),
        ("data = 'coco'", "data = 'coco': it must be a list"),
        ("data = ['coco', 3]", "it must be a list"),
        ("dtype = 32", "dtype = 32: it must be some text"),
        ("dtype = 'float'", "dtype = 'float' is impossible: did you mean .*float32"),
        ("columns = ['a']", "it must be a table"),
        ("columns = {a = 1}", "it must be a table"),
        ("poolings = {vision = 'cls'}", "it must be a table of lists"),
        (
            "poolings = {vision = ['cls']}",
            "poolings = .* is impossible: vision and language each need one",
        ),
        (
            "poolings = {vision = ['first'], language = ['last']}",
            "poolings = .*'first' is none: Available: cls, mean, mean_all, last",
        ),
        (
            "revisions = {llama = 'a'}",
            "revisions = .*'llama' is none of its networks: .*microworld/llama-0",
        ),
        ("n_folds = 1", "n_folds = 1 is impossible: at least 2"),
        ("n_folds = 21", "n_stimuli = 40 is impossible: too few for n_folds = 21"),
        ("n_trials = 9", "n_trials = 9 is impossible: too few for n_folds = 5"),
        ("n_trials = -1", "n_trials = -1 is impossible: at least 0 is needed"),
        ("copies = {coco = 'lab/coco'}", "'coco' is none of its data sets"),
        ("n_untrained = 0", "n_untrained = 0 is impossible: at least 1 is needed"),
        (
            "sections = {layers = {n_untrained = 0}}",
            "at least 1 is needed for layers's n_untrained",
        ),
        ("n_captions = 0", "n_captions = 0 is impossible: at least 1"),
        ("name = 'microworld'", "name = 'microworld' is impossible: .* none of microworld"),
        ("name = '../x'", "name = '../x' is impossible: .*letters"),
        ("name = ''", "name = '': it must be some text"),
        ("n_folds = ", "is not TOML"),
        ("source = 'again'", "is not TOML"),
    ],
)
def test_impossible_values_are_refused_with_the_name_of_the_field(tmp_path, more, said):
    with pytest.raises(InputError, match=rf"preset .*mine.toml.*{said}"):
        read_preset(write(tmp_path, f"{MINE}{more}\n"))


def test_all_problems_are_named_together(tmp_path):
    text = """language = ["microworld/llama-0"]
n_folds = "4"
n_fold = 4
dtype = "float"
device = "meta"
data = ["nope"]
ids_file = "ids.txt"
trials_folder = ""
sections = {layers = {n_draws = 0}}
revisions = {other = "a"}
"""
    with pytest.raises(InputError) as error:
        read_preset(write(tmp_path, text))
    first, *problems = str(error.value).split("\n")
    assert first == f"preset {tmp_path / 'mine.toml'} has 10 problems:"
    for said in (
        "there is no field 'n_fold'",
        "it lacks source",
        "it lacks vision",
        "n_folds = '4': it must be a whole number",
        "trials_folder = '': it must be some text",
        "dtype = 'float' is impossible",
        "device = 'meta' is impossible: Available: auto, cpu",
        "'nope' is none: Available: coco",
        "ids_file = 'ids.txt' is not allowed",
        "at least 1 is needed for layers's n_draws",
    ):
        assert sum(said in problem for problem in problems) == 1, said


def test_data_sets_are_those_that_can_be_downloaded():
    assert set(DATA_SETS) == set(DATA)


@pytest.mark.parametrize("name", SOURCES)
def test_what_a_source_is_capable_of_decides_its_usual_trials_and_judge(name):
    preset = Preset("mine", "", name, (), ())
    assert (preset.trials == "near misses") == (preset.judge == "oracle") == preset.has_facts
    assert preset.has_masks == (name in ("microworld", "coco"))
    assert preset.can_rerender == (name == "microworld")


@pytest.mark.parametrize(
    "name",
    [
        "site-packages/x.pth",
        "ids.txt",
        "tsv",
        "../ids.tsv",
        "sub/../../ids.tsv",
        "/elsewhere/ids.tsv",
        "~/ids.tsv",
        "~nobody-here/ids.tsv",
        "outside/ids.tsv",
        "link.tsv",
        "circle/ids.tsv",
        "a\\u0000.tsv",
        "a\\n.tsv",
    ],
)
def test_a_list_of_ids_is_written_nowhere_else(tmp_path, name):
    home = tmp_path / "home"
    home.mkdir()
    (home / "outside").symlink_to(tmp_path)
    (home / "link.tsv").symlink_to(tmp_path / "elsewhere.tsv")
    (home / "circle").symlink_to(home / "circle")
    with pytest.raises(
        InputError, match=r"preset .*mine.toml: ids_file = .*must end in \.tsv and lie"
    ):
        read_preset(write(home, f'{MINE}ids_file = "{name}"\n'))


def test_a_list_of_ids_lies_beside_the_preset_or_the_figures(tmp_path, monkeypatch):
    (tmp_path / "figures").mkdir()
    (tmp_path / "home/lists").mkdir(parents=True)
    (tmp_path / "home/linked").symlink_to(tmp_path / "home/lists")
    (tmp_path / "nbs/paper").mkdir(parents=True)
    (tmp_path / "settings.ini").touch()
    monkeypatch.chdir(tmp_path)
    figures = tmp_path / "figures/mine/layers_stimuli.tsv"
    for name, place in [
        ("ids.tsv", tmp_path / "home/ids.tsv"),
        ("linked/ids.tsv", tmp_path / "home/lists/ids.tsv"),
        ("../figures/mine/layers_stimuli.tsv", figures),
        (figures, figures),
    ]:
        preset = read_preset(write(tmp_path / "home", f'{MINE}ids_file = "{name}"\n'))
        assert preset.ids_file == str(place)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('vision = ["microworld/vision-0"]', "lacks vision: write vision ="),
        ('source = "microworld"', "lacks source"),
    ],
)
def test_what_is_missing_is_named(tmp_path, line, said):
    with pytest.raises(InputError, match=said):
        read_preset(write(tmp_path, MINE.replace(line, "")))


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('["microworld/vision-0"]', "[]", "vision = .. is impossible: name one network"),
        (
            '"microworld"',
            '"microwrld"',
            "source = 'microwrld' is impossible: did you mean microworld",
        ),
        ("40", "9", "n_stimuli = 9 is impossible: at least 10"),
    ],
)
def test_what_is_given_wrongly_is_named(tmp_path, old, new, said):
    with pytest.raises(InputError, match=said):
        read_preset(write(tmp_path, MINE.replace(old, new)))


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('leave_out = ["s0001"]', "leave_out = .* stimuli from microworld are drawn, so none has"),
        ("n_stimuli = 10000000", "n_stimuli = 10000000 is impossible: 10000000 are asked for, and"),
        ('folder = "~nobody-is-called-so/x"', "'~nobody-is-called-so/x' is no path"),
    ],
)
def test_more_that_is_impossible_is_refused(tmp_path, line, said):
    text = MINE.replace("n_stimuli = 40\n", "") if "n_stimuli" in line else MINE
    with pytest.raises(InputError, match=said):
        read_preset(write(tmp_path, f"{text}{line}\n"))


@pytest.mark.parametrize("name", ["x" * 300, "x/" * 3000 + "a", "a\0b", "loop"])
def test_names_that_no_file_has_are_refused(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "loop.toml").symlink_to(tmp_path / "loop.toml")
    with pytest.raises(InputError, match="is no path of a file"):
        get_preset(f"{name}.toml")


@pytest.mark.parametrize("field", ["folder", "table", "trials_folder", "judge", "vision"])
@pytest.mark.parametrize("name", ["x" * 300, "x/" * 3000 + "a", "a\\u0000b"])
def test_names_in_a_file_that_no_file_has_are_refused(tmp_path, field, name):
    value = f'["{name}"]' if field == "vision" else f'"{name}"'
    text = MINE.replace('vision = ["microworld/vision-0"]\n', "") if field == "vision" else MINE
    with pytest.raises(InputError, match=f"{field}: no file has so long a name, or NUL in it"):
        read_preset(write(tmp_path, f"{text}{field} = {value}\n"))
    with pytest.raises(InputError, match="no network has such a name"):
        load_model(name.replace("\\u0000", "\0"))


@pytest.mark.parametrize("text", ["a = " + "[" * 3000 + "]" * 3000, "a = " + "{b=" * 3000 + "1"])
def test_a_file_of_lists_within_lists_is_refused(tmp_path, text):
    with pytest.raises(InputError, match="mine.toml (has lists within lists too deep|is not TOML)"):
        get_preset(write(tmp_path, text))


def test_a_file_that_is_none(tmp_path):
    with pytest.raises(
        InputError, match="preset .*none.toml: No such file or directory: check the path"
    ):
        get_preset(str(tmp_path / "none.toml"))
    (tmp_path / "bytes.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match="bytes.toml is not TOML"):
        get_preset(str(tmp_path / "bytes.toml"))


def test_paths_are_relative_to_the_file_and_the_file_to_here_or_the_checkout(tmp_path, monkeypatch):
    (tmp_path / "nbs/paper").mkdir(parents=True)
    (tmp_path / "settings.ini").touch()
    (tmp_path / "sub").mkdir()
    write(tmp_path / "sub", MINE.replace("microworld/vision-0", "./vit"))
    for place, name in ("", "sub/mine.toml"), ("nbs/paper", "sub/mine.toml"), ("sub", "mine.toml"):
        monkeypatch.chdir(tmp_path / place)
        assert get_preset(name).vision == (str(tmp_path / "sub/vit"),)
        assert preset_file(name) == tmp_path / "sub/mine.toml"
    assert preset_file("microworld") is None


def test_a_run_starts_from_a_file(tmp_path, monkeypatch):
    monkeypatch.setenv("SEEING_WORDS_STORE", str(tmp_path / "store"))
    run = start("toy", preset=write(tmp_path), n_folds=4, out=tmp_path)
    assert (
        run.features("microworld/vision-0").sizes["stimulus"]
        == run.features("microworld/llama-0").sizes["stimulus"]
        == 40
    )
    assert run.folder == tmp_path / "mine" / "n_folds=4"
    assert run.provenance["preset"] == "mine"
    assert os.fspath(start("toy", preset=write(tmp_path), out=tmp_path).folder) == os.fspath(
        tmp_path / "mine"
    )


SOME = st.text(max_size=4)


@given(
    st.dictionaries(
        st.sampled_from(
            ["name", "source", "n_folds", "n_stimuli", "vision", "columns", "poolings", "data", "x"]
        ),
        st.one_of(
            st.integers(-3, 50),
            SOME,
            st.booleans(),
            st.none(),
            st.lists(SOME, max_size=2),
            st.dictionaries(SOME, SOME),
        ),
    )
)
def test_whatever_a_file_says_it_is_read_or_refused(changes):
    found = {
        "vision": ["microworld/vision-0"],
        "language": ["microworld/llama-0"],
        "source": "microworld",
    } | changes
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("seeing_words.app.presets._read_toml", lambda path: found)
        try:
            said = f"some.toml: {read_preset('some.toml').source}"
        except InputError as error:
            said = str(error)
    assert "some.toml" in said


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        ("", 'consensus.*pictures of other trials lack: write trials = "other images"'),
        ('trials = "other images"\nn_captions = 2', "consensus.*3 or more are needed"),
        ('trials = "other images"\nshow_stimuli = "no"', "'no': it must be true or false"),
    ],
)
def test_a_consensus_needs_other_captions_of_the_same_images(tmp_path, lines, told):
    path = tmp_path / "mine.toml"
    path.write_text(
        'source = "microworld"\nvision = ["microworld/vision-0"]\n'
        f'language = ["microworld/llama-0"]\njudge = "consensus"\n{lines}\n'
    )
    with pytest.raises(InputError, match=told):
        read_preset(path)
