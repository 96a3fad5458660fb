"""The dress rehearsal on narrow networks, in the files of the true ones: killed, it goes on."""

import json
from pathlib import Path

import published
import pytest
import rehearsal
from published import BLOOM, DINOV2, DINOV2_PREPROCESSOR, OPEN_LLAMA, PINNED

from seeing_words.app.download import NETWORKS
from seeing_words.app.presets import PINS


def test_configurations_are_the_published_ones():
    # bytes of the repository's files, as its page lists them
    for config, size in ((DINOV2, 549), (DINOV2_PREPROCESSOR, 436)):
        assert len(json.dumps(config, indent=2) + "\n") == size
    known = [NETWORKS[name] for name in PINNED]
    assert [one.n_units for one in known[:3]] == [
        DINOV2["hidden_size"],
        BLOOM["n_embed"],
        OPEN_LLAMA["hidden_size"],
    ]
    assert [one.n_layers for one in known[:2]] == [DINOV2["num_hidden_layers"], BLOOM["n_layer"]]
    assert [one.n_words for one in known[1:3]] == [BLOOM["vocab_size"], OPEN_LLAMA["vocab_size"]]
    assert {name: PINS[name] for name in PINNED} == PINNED


def test_a_killed_run_writes_again_what_was_half_written(tmp_path, monkeypatch):
    made = []

    def half(folder: Path, *more, **changes) -> None:
        (folder / "half").touch()
        raise KeyboardInterrupt

    def whole(folder: Path, *more, **changes) -> None:
        made.append(folder.name)
        (folder / "whole").touch()

    makers = dict.fromkeys(published.NETWORKS, whole)
    monkeypatch.setattr(published, "DATA", dict.fromkeys(published.DATA, whole))
    monkeypatch.setattr(published, "NETWORKS", makers | {"open_llama_7b": half})
    with pytest.raises(KeyboardInterrupt):
        published.write(tmp_path)
    monkeypatch.setattr(published, "NETWORKS", makers)
    published.write(tmp_path)
    names = {*published.NETWORKS, *published.DATA}
    assert sorted(made) == sorted(f".{name}.begun" for name in names), "each of them once"
    assert {path.name for path in tmp_path.iterdir()} == names
    assert all([one.name for one in path.iterdir()] == ["whole"] for path in tmp_path.iterdir())


@pytest.mark.slow
def test_the_small_rehearsal(tmp_path, monkeypatch, capsys):
    folder, run_step, ran = tmp_path / "rehearsal", rehearsal.run_step, []

    def killed(folder, name, words, env):
        if name == "check":
            raise KeyboardInterrupt
        ran.append(name)
        return run_step(folder, name, words, env)

    monkeypatch.setattr(rehearsal, "run_step", killed)
    with pytest.raises(KeyboardInterrupt):
        rehearsal.rehearse(folder, "small", ["pick_a_pic"])
    assert ran == ["write", "download"]
    monkeypatch.setattr(rehearsal, "run_step", run_step)
    report = rehearsal.rehearse(folder, "small", ["pick_a_pic"])
    assert "download  was done by the run before" in capsys.readouterr().out
    checked = [line for line in report.splitlines() if line.startswith("✓")]
    for name in PINNED:
        assert sum(line.startswith(f"✓ {name}") for line in checked) >= 2, name
    for words in (
        "✓ COCO: 26 images and as many masks, from a zip within a zip",
        "✓ Pick-a-Pic: 48 of 72 rankings of both splits prefer an image",
        "✓ openlm-research/open_llama_7b: ids of 23 captions as by sentencepiece",
        "✓ bigscience/bloom-560m: layers 0 to 3",
        "✓ section pick_a_pic: nothing was missing",
    ):
        assert words in checked, report
    assert all(step in report for step in rehearsal.steps(folder, "small", ["pick_a_pic"]))
    assert not any((folder / name).exists() for name in rehearsal.LARGE)
    assert list((folder / "figures/paper-rehearsal").glob("pick_a_pic_*.svg"))
    assert (folder / "report.txt").read_text() == report + "\n"
