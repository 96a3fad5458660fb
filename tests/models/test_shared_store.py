"""The store on a file system of a network, whose habits are imitated here: answers that get lost,
files that stay while somebody reads them, and names that are seen late."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny import model, stimuli

from seeing_words.core.files import move, write_atomic
from seeing_words.models.extract import extract
from seeing_words.models.store import Store


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


def lose_answers(monkeypatch) -> list[Path]:
    "Every rename succeeds, is repeated by the server, and reports what the repetition met."
    renamed, replace = [], os.replace

    def twice(source, target, **more):
        replace(source, target, **more)
        renamed.append(Path(target))
        raise FileNotFoundError(2, "No such file or directory", str(source))

    monkeypatch.setattr(os, "replace", twice)
    return renamed


def test_a_rename_whose_answer_is_lost_has_happened(tmp_path, monkeypatch):
    net = model("llama", tmp_path)
    renamed = lose_answers(monkeypatch)
    write_atomic(tmp_path / "table.csv", "a,b\n")
    assert (tmp_path / "table.csv").read_text() == "a,b\n"
    found = extract(net, stimuli(), pooling="mean", store=Store(tmp_path / "s"))
    (key,) = Store(tmp_path / "s").keys()
    assert Store(tmp_path / "s").verify() == {key: []}
    assert (tmp_path / "s" / key) in renamed
    again = extract(net, stimuli(), pooling="mean", store=Store(tmp_path / "s"))
    assert again.identical(found)


def test_a_rename_of_nothing_is_an_error(tmp_path):
    (tmp_path / "there").write_text("")
    with pytest.raises(FileNotFoundError):
        move(tmp_path / "nothing", tmp_path / "there")


def test_remains_that_somebody_still_reads_do_not_stop_a_new_entry(tmp_path, monkeypatch):
    store, net = Store(tmp_path / "s"), model("llama", tmp_path)
    found = extract(net, stimuli(), pooling="mean", store=store)
    (key,) = store.keys()
    (store.root / key / "manifest.json").unlink()  # as a removal leaves it that was killed
    rmtree = shutil.rmtree

    def leaves_one(path, *words, **more):  # NFS renames what is open, and keeps the folder
        files = [file for file in Path(path).rglob("*") if file.is_file()]
        if files and Path(path).name.startswith(key) and not Path(path).suffix == ".partial":
            kept = files[0].with_name(".nfs0000000000a1b2c3")
            os.rename(files[0], kept)
            if not more.get("ignore_errors"):
                raise OSError(39, "Directory not empty", str(path))
            return
        rmtree(path, *words, **more)

    monkeypatch.setattr(shutil, "rmtree", leaves_one)
    again = extract(net, stimuli(), pooling="mean", store=store)
    assert again.identical(found)
    assert store.verify() == {key: []}
    assert store.keys() == [key]


def test_an_entry_that_is_seen_late_is_read_and_not_computed_again(tmp_path, monkeypatch):
    store, net = Store(tmp_path / "s"), model("llama", tmp_path)
    found = extract(net, stimuli(), pooling="mean", store=store)
    listed, is_file, listdir = [], Path.is_file, os.listdir

    def late(path):  # what this machine remembers of a name, until it lists the folder
        return is_file(path) and (path.name != "manifest.json" or bool(listed))

    def look(path="."):
        listed.append(path)
        return listdir(path)

    monkeypatch.setattr(Path, "is_file", late)
    monkeypatch.setattr(os, "listdir", look)
    monkeypatch.setattr(net.network, "forward", None)  # it cannot be run
    again = extract(net, stimuli(), pooling="mean", store=store)
    assert again.identical(found)
    assert store.root in listed


def test_a_block_that_arrived_torn_is_found_whoever_wrote_it(tmp_path):
    store, net = Store(tmp_path / "s"), model("llama", tmp_path)
    found = extract(net, stimuli(), pooling="mean", store=store)
    (key,) = store.keys()
    block = next((store.root / key).rglob("c/*/*/0"))
    content = block.read_bytes()
    block.write_bytes(content[: len(content) // 2] + bytes(len(content) - len(content) // 2))
    with pytest.warns(UserWarning, match="damaged .* is changed"):
        again = extract(net, stimuli(), pooling="mean", store=store)
    assert np.array_equal(again, found)
