"""Networks by their names on the hub: pinned, from the cache where there is no network, and never
from a damaged file."""

import json
import re
import shutil
import time
import tomllib
from contextlib import contextmanager
from dataclasses import replace
from types import SimpleNamespace

import huggingface_hub.constants
import numpy as np
import pytest
import torch
from families import TEXTS, photographs, save
from hub import commit_of, hub
from open_llama import write
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from seeing_words.app.cli import app
from seeing_words.app.download import (
    cached_network,
    execute_plan,
    fetch_repository,
    plan,
    repository_of,
)
from seeing_words.app.presets import read_preset
from seeing_words.core.errors import InputError
from seeing_words.models.clip import clip_scores
from seeing_words.models.extract import pooled_layers
from seeing_words.models.hub import check_weights
from seeing_words.models.load import load_model


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("published")
    made = {kind: save(kind, root / kind) for kind in ("dinov2", "llama")}
    made["bin"] = write(root / "bin", n_parts=3)
    made["flax"] = shutil.copytree(made["llama"], root / "flax")
    (made["flax"] / "model.safetensors").rename(made["flax"] / "flax_model.msgpack")
    for kind in ("dinov2", "llama"):  # other formats of the same, and notes, which nobody needs
        for name in ("pytorch_model.bin", "flax_model.msgpack", "README.md"):
            (made[kind] / name).write_bytes(b"0" * 99)
    return made


def move(monkeypatch, address: str) -> None:
    "As HF_ENDPOINT does; and do not wait before asking again."
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", address)
    monkeypatch.setattr(
        huggingface_hub.constants,
        "HUGGINGFACE_CO_URL_TEMPLATE",
        address + "/{repo_id}/resolve/{revision}/{filename}",
    )
    monkeypatch.setattr(
        "huggingface_hub.utils._http.time",
        SimpleNamespace(sleep=lambda seconds: None, time=time.time),
    )


def go_to(server, cache, monkeypatch):
    "Let a server be the hub, with a cache of its own."
    move(monkeypatch, f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setenv("HF_HUB_DISABLE_PROGRESS_BARS", "1")


@pytest.fixture
def online(folders, tmp_path, monkeypatch):
    repositories = {
        "maker/vision": {"main": folders["dinov2"]},
        "maker/words": {"main": folders["flax"], "refs/pr/7": folders["llama"]},
        "maker/bin": {"main": folders["bin"]},
    }
    with hub(repositories, gated=("maker/closed",)) as server:
        go_to(server, tmp_path / "cache", monkeypatch)
        yield server


@pytest.fixture
def offline(monkeypatch):
    return lambda: monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)


def test_a_name_is_fetched_once_and_its_commit_recorded(online, folders, offline):
    made = load_model("maker/vision")
    assert made.name == "maker/vision" and made.revision == commit_of(folders["dinov2"], "main")
    read = {name.rpartition("/")[2] for name in online.asked if "resolve" in name}
    assert read == {"config.json", "model.safetensors", "preprocessor_config.json"}
    expected = pooled_layers(load_model(str(folders["dinov2"])), photographs(), ["cls"])["cls"]
    assert np.array_equal(pooled_layers(made, photographs(), ["cls"])["cls"], expected)
    online.asked.clear()
    assert load_model("maker/vision", revision=made.revision).revision == made.revision
    assert not online.asked, "a commit that is here needs no network"
    offline()
    assert (
        load_model("maker/vision").revision
        == load_model(f"maker/vision@{made.revision}").revision
        == made.revision
    )


def test_a_revision_with_converted_weights_is_the_way_past_other_formats(online, folders):
    with pytest.raises(
        InputError, match="maker/words has no model.safetensors and no pytorch_model.bin at revis"
    ):
        load_model("maker/words")
    made = load_model("maker/words@refs/pr/7")
    assert made.revision == commit_of(folders["llama"], "refs/pr/7") and made.modality == "language"
    assert load_model("maker/words", revision="refs/pr/7").revision == made.revision
    assert pooled_layers(made, TEXTS, ["last"])["last"].shape == (4, len(TEXTS), 16)
    assert not any(name.endswith((".bin", ".msgpack")) for name in online.asked)


def test_a_bin_is_read_at_a_commit_that_is_named_and_at_no_branch(online, folders, offline):
    commit = commit_of(folders["bin"], "main")
    for opens in (
        lambda: load_model("maker/bin"),
        lambda: load_model("maker/bin@main"),
        lambda: check_weights("maker/bin"),
        lambda: fetch_repository(repository_of("maker/bin"), folders["bin"]),
    ):
        with pytest.raises(
            InputError,
            match=rf"maker/bin has no safetensors, only pytorch_model.bin, .*: write "
            rf"maker/bin@{commit} \(what main is now\), or add it to the `revisions`",
        ):
            opens()
    assert not any(name.endswith(".bin") for name in online.asked)
    check_weights("maker/bin", commit)
    assert not any(name.endswith(".bin") for name in online.asked)
    made = load_model(f"maker/bin@{commit}")
    assert made.revision == commit
    expected = pooled_layers(load_model(str(folders["bin"])), TEXTS, ["mean"])["mean"]
    assert np.array_equal(pooled_layers(made, TEXTS, ["mean"])["mean"], expected)
    read = {name.rpartition("/")[2] for name in online.asked if "resolve" in name}
    assert read == {path.name for path in folders["bin"].iterdir()} - {"README.md"}
    with pytest.raises(InputError, match="maker/bin has no safetensors, only pytorch_model.bin"):
        load_model("maker/bin")  # though it is here now
    online.asked.clear()
    offline()
    assert load_model("maker/bin", revision=commit).revision == commit
    check_weights("maker/bin", commit)
    assert cached_network(repository_of("maker/bin", commit)).name == commit
    assert cached_network(repository_of("maker/bin")) is None
    assert not online.asked


def test_any_changed_byte_of_a_bin_is_found_by_the_hubs_checksum(online, folders, tmp_path):
    name = f"maker/bin@{commit_of(folders['bin'], 'main')}"
    load_model(name)
    pattern = "models--maker--bin/snapshots/*/pytorch_model-00002-of-00003.bin"
    path = next((tmp_path / "cache").glob(pattern)).resolve()
    whole = path.read_bytes()
    for place in np.linspace(0, len(whole) - 1, 10).astype(int):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises(InputError, match=r"-00002-of-00003.bin is damaged \(its checksum is n"):
            load_model(name)
    path.unlink()
    assert load_model(name).modality == "language"


def test_an_untrained_twin_fetches_no_weights(online):
    twin = load_model("untrained:maker/words@main@3")
    assert twin.revision.startswith("untrained-seed-3-") and not any(
        "safetensors" in name for name in online.asked
    )
    other = load_model("untrained:maker/words@refs/pr/7@3")
    assert (
        other.revision != twin.revision
    )  # of another commit, even if its configuration is the same


def test_the_newest_commit_is_known_without_its_weights(online, folders):
    bare = load_model("maker/vision", weights=False)
    assert bare.revision == commit_of(folders["dinov2"], "main") and not any(
        "safetensors" in name for name in online.asked
    )


@pytest.mark.parametrize(
    ("name", "match"),
    [
        (
            "maker/closed",
            "maker/closed is gated: accept its terms on https://huggingface.co/maker/closed, "
            "then log in",
        ),
        (
            "maker/none",
            "maker/none is neither a folder nor a public repository on the hub: check the spelling",
        ),
        ("maker/vision@v2", "maker/vision has no revision 'v2': give a commit, branch or tag"),
        ("maker/vision@" + "0" * 40, f"maker/vision has no revision '{'0' * 40}'"),
    ],
)
def test_what_the_hub_refuses_is_said(online, name, match):
    with pytest.raises(InputError, match=match):
        load_model(name)


def test_where_there_is_no_network_it_says_what_to_fetch(online, offline):
    offline()
    with pytest.raises(
        InputError,
        match="maker/vision is not a folder, is not complete in the hub's cache, and the hub "
        "cannot be reached: on a machine with a network, run `seeing-words download` for all that "
        "a preset needs, or run `hf download maker/vision --revision main` .*HF_HUB_OFFLINE is 1",
    ):
        load_model("maker/vision")


def test_a_hub_that_is_down_is_as_good_as_none(online, monkeypatch):
    load_model("maker/vision")
    move(monkeypatch, "http://127.0.0.1:9")
    assert load_model("maker/vision").modality == "vision"  # as it was last time
    with pytest.raises(InputError, match="maker/words .* the hub cannot be reached"):
        load_model("maker/words")


def test_two_revisions_that_differ_are_refused(online):
    with pytest.raises(
        InputError, match="and revision='main' name different revisions: give only one"
    ):
        load_model("maker/words@refs/pr/7", revision="main")


@pytest.mark.parametrize("file", ["model.safetensors", "config.json", "preprocessor_config.json"])
def test_any_changed_byte_in_the_cache_is_found_by_the_hubs_checksum(online, tmp_path, file):
    load_model("maker/vision")
    path = next((tmp_path / "cache").glob(f"models--maker--vision/snapshots/*/{file}")).resolve()
    whole = path.read_bytes()
    for place in np.linspace(0, len(whole) - 1, 10).astype(int):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises(
            InputError,
            match=rf"{file} is damaged \(its checksum is not .*: remove .*/blobs/{path.name}; it",
        ):
            load_model("maker/vision")
    path.unlink()  # as it says
    assert load_model("maker/vision").modality == "vision"


# What `download` fetches is what `load_model` reads

MODELS = {
    "lab/sees": "dinov2",
    "lab/reads": "llama",
    "lab/parts": "bloom",
    "lab/bin": "open_llama",
    "lab/judge": "clip",
}


def in_parts(folder, prefix: str):
    "The weights of a folder in two files, named as nobody expects, and an index of them."
    whole = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names, where = sorted(whole), {}
    for k in range(2):
        save_file(
            {name: whole[name] for name in names[k::2]},
            folder / f"{prefix}-{k}.safetensors",
            {"format": "pt"},
        )
        where |= dict.fromkeys(names[k::2], f"{prefix}-{k}.safetensors")
    (folder / "model.safetensors.index.json").write_text(
        json.dumps({"metadata": {}, "weight_map": where})
    )


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    root = tmp_path_factory.mktemp("lab")
    made = {
        name: {"main": write(root / kind) if kind == "open_llama" else save(kind, root / kind)}
        for name, kind in MODELS.items()
    }
    in_parts(made["lab/parts"]["main"], "pytorch_model")
    save_file(
        {"w": torch.zeros(3)}, made["lab/reads"]["main"] / "consolidated.safetensors"
    )  # which nobody reads
    return made


@pytest.fixture
def lab(published, tmp_path, monkeypatch):
    with hub(published) as server:
        go_to(server, tmp_path / "cache", monkeypatch)
        yield server


@pytest.fixture
def mine(published, tmp_path):
    "A preset of these networks, two of them pinned."
    parts, whole = (commit_of(published[name]["main"], "main") for name in ("lab/parts", "lab/bin"))
    path = tmp_path / "mine.toml"
    path.write_text(
        'source = "microworld"\nvision = ["lab/sees"]\nlanguage = ["lab/reads", '
        '"lab/parts", "lab/bin"]\njudge = "lab/judge"\n'
        f'[revisions]\n"lab/parts" = "{parts}"\n"lab/bin" = "{whole}"\n'
    )
    return read_preset(path)


def states(preset) -> dict[str, str]:
    return {item.what: item.state for item in plan(preset).items}


def loads(preset, name) -> bool:
    "Does a network load?"
    try:
        if name == preset.judge:
            clip_scores(photographs(2), [["a boat"], ["a dog"]], name=name)
        else:
            preset.load(name)
    except InputError:
        return False
    return True


def test_what_was_downloaded_needs_no_network_again(lab, mine, offline):
    assert set(states(mine).values()) == {"missing"}
    assert execute_plan(plan(mine)) == {}
    assert set(states(mine).values()) == {"there"}
    assert not any("consolidated" in name for name in lab.asked)
    lab.asked.clear()
    offline()
    for name in mine.vision + mine.language:
        whole, bare, twin = (
            mine.load(name),
            mine.load(name, weights=False),
            mine.load(f"untrained:{name}@0"),
        )
        assert whole.revision == bare.revision and twin.revision.startswith("untrained-seed-0-")
    assert clip_scores(photographs(2), [["a boat"], ["a dog"]], name=mine.judge).shape == (2, 1)
    assert set(states(mine).values()) == {"there"} and execute_plan(plan(mine)) == {}
    assert not lab.asked


def test_the_command_fetches_what_is_loaded(lab, mine, tmp_path, offline):
    words = (
        "download",
        "--preset",
        str(tmp_path / "mine.toml"),
        "--data",
        str(tmp_path / "data"),
        "--json",
    )
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    printed = json.loads(done.stdout)
    assert printed["failed"] == {} and {item["state"] for item in printed["items"]} == {"there"}
    offline()
    assert all(loads(mine, name) for name in mine.networks)


def test_pins_of_today_are_printed_as_a_preset_file_has_them(lab, mine, published, tmp_path):
    "Those that the preset has already, those that differ, and those it leaves open."
    path = tmp_path / "mine.toml"
    text = path.read_text()
    old = commit_of(published["lab/bin"]["main"], "main")
    path.write_text(text.replace(old, "0" * 40))
    done = CliRunner().invoke(app, ["presets", "pin", str(path)])
    assert done.exit_code == 0, done.output
    expected = {name: commit_of(folder["main"], "main") for name, folder in published.items()}
    assert tomllib.loads(done.stdout) == {"revisions": expected}
    remarks = dict(re.findall(r'"(.*)" = ".*"  # in mine: (.*)', done.stdout))
    open_ones = dict.fromkeys(("lab/sees", "lab/reads", "lab/judge"), "left open")
    assert remarks == {"lab/bin": "0" * 40} | open_ones
    assert not any("resolve" in name for name in lab.asked)
    path.write_text(text.partition("[revisions]")[0] + done.stdout)  # as it is meant to be used
    assert read_preset(path).revisions == expected


def test_pins_that_cannot_be_asked_for_are_named_and_end_with_1(lab, mine, tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(path.read_text().replace("lab/sees", "lab/none"))
    done = CliRunner().invoke(app, ["presets", "pin", str(path), "--json"])
    printed = json.loads(done.stdout)
    assert done.exit_code == 1 and printed["failed"].keys() == {"lab/none"}
    assert "neither a folder nor a public repository" in printed["failed"]["lab/none"]
    assert printed["revisions"].keys() == {"lab/reads", "lab/parts", "lab/bin", "lab/judge"}
    path.write_text(path.read_text().replace('"lab/none"', '"lab/sees@main"'))
    done = CliRunner().invoke(app, ["presets", "pin", str(path)])
    assert done.exit_code == 0 and "lab/sees" not in done.stdout  # its name has a revision


@pytest.mark.parametrize("name", MODELS)
def test_there_is_said_of_what_loads_and_of_nothing_else(lab, mine, tmp_path, offline, name):
    """Any file of the cache removed or cut: the plan says missing exactly where loading fails, and
    fetching mends it."""
    execute_plan(plan(mine))
    snapshot = next((tmp_path / f"cache/models--{name.replace('/', '--')}/snapshots").iterdir())
    for path in sorted(snapshot.iterdir()):
        kept = path.resolve()
        whole = kept.read_bytes()
        for left in (None, whole[:-1], b""):
            kept.unlink()
            if left is not None:
                kept.write_bytes(left)
            with monkeypatched_offline():
                assert loads(mine, name) == (states(mine)[name] == "there"), (path.name, left)
            kept.write_bytes(whole)
    path.resolve().unlink()
    if path.is_symlink():
        path.unlink()
    assert execute_plan(plan(mine)) == {} and states(mine)[name] == "there"


@contextmanager
def monkeypatched_offline():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
        yield


def test_a_network_that_cannot_be_loaded_is_reported_after_its_download(lab, mine, published):
    folder = published["lab/sees"]["main"]
    preset, path = replace(mine, judge=""), folder / "preprocessor_config.json"
    text = path.read_text()
    path.unlink()
    try:
        assert "has no preprocessor_config.json" in execute_plan(plan(preset))["lab/sees"]
    finally:
        path.write_text(text)


def test_an_incomplete_folder_is_reported_in_the_plan(mine, tmp_path):
    own = save("llama", tmp_path / "own")
    assert states(replace(mine, language=(str(own),), revisions={}))[str(own)] == "there"
    (own / "tokenizer.json").unlink()
    items = {
        item.what: item for item in plan(replace(mine, language=(str(own),), revisions={})).items
    }
    assert items[str(own)].state == "by hand" and "has no tokenizer.json" in items[str(own)].note
