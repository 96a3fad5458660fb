"Features along training: what is kept, how small, and that a step that is missing is named."

import json
import shutil

import families
import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from seeing_words.app import cli
from seeing_words.core.errors import InputError
from seeing_words.data.microworld.stimulus_set import microworld_stimuli
from seeing_words.data.stimuli import StimulusSet
from seeing_words.models import snapshots as snap
from seeing_words.models.checkpoints import save_checkpoint
from seeing_words.models.extract import extract
from seeing_words.models.load import load_model
from seeing_words.models.loss import caption_losses, load_reader
from seeing_words.models.train import language_config, subword_tokenizer, train_language

STEPS = 5  # of which all are kept
CONFIG = {"hidden_size": 32, "num_hidden_layers": 4, "num_attention_heads": 2}


@pytest.fixture(scope="module")
def stimuli() -> StimulusSet:
    return microworld_stimuli(40)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    "Snapshots of a small llama-0, and its trained checkpoint."
    place = tmp_path_factory.mktemp("run")
    files = {"tokenizer": subword_tokenizer()}

    def keep(network, step):
        card = {"network": "llama-0", "step": step, "steps": STEPS, "seed": 0}
        save_checkpoint(network, place / f"steps/llama-0/step-{step:05d}", card=card, **files)

    network, curve = train_language(
        range(10**6, 10**6 + 64),
        architecture="llama",
        seed=0,
        steps=STEPS,
        config=language_config("llama", **CONFIG),
        on_step=keep,
        log_every=2,
    )
    card = {"steps": STEPS, "seed": 0, "curve": curve, "objective": "next token"}
    save_checkpoint(network, place / "networks/llama-0", card=card, **files)
    return place


@pytest.fixture(scope="module")
def written(run, stimuli):
    return snap.write_snapshots(
        run / "steps", run / "out", trained=run / "networks", stimuli=stimuli
    )


def test_features_are_those_of_the_networks_rounded(run, written, stimuli):
    (path,) = written
    read = snap.load_snapshots(path, stimuli=stimuli)
    assert path.name == "llama-0.npz"
    assert read.step.values.tolist() == [0, 1, 2, 3, 4, 5]
    assert read.layer.values.tolist() == [2, 3] and read.depth.values.tolist() == [0.5, 0.75]
    assert read.features.stimulus.values.tolist() == list(stimuli.ids)
    for step in (1, 5):
        model = load_model(f"microworld/step-{step:05d}", root=run / "steps/llama-0")
        exact = extract(model, stimuli, pooling="mean", progress=False).isel(layer=[2, 3])
        rounding = abs(read.features.sel(step=step) - exact) / exact.std("stimulus")
        assert float(rounding.max()) <= 1 / 32 + 1e-4
        loss = caption_losses(model, stimuli.caption()).mean()
        assert float(read.loss.sel(step=step)) == pytest.approx(loss, rel=1e-5)


def test_step_0_is_the_network_that_training_started_from(run, written):
    steps = run / "steps/llama-0"
    start = load_model("untrained:microworld/step-00001@0", root=steps).network.state_dict()
    first = load_model("microworld/step-00001", root=steps).network.state_dict()
    for name, weight in start.items():  # warm-up: one step of 2e-3 / 50, and float16 on disk
        assert torch.allclose(weight, first[name], atol=1e-3), name


def test_the_learning_curve_is_the_cards(run, written):
    card = json.loads((run / "networks/llama-0/card.json").read_text())
    read = snap.load_snapshots(written[0])
    assert read.logged.values.tolist() == [row["step"] for row in card["curve"]]
    assert read.training_loss.values == pytest.approx([row["loss"] for row in card["curve"]])


def test_a_curve_of_another_run_is_left_out(run, stimuli, tmp_path):
    other = tmp_path / "networks"
    shutil.copytree(run / "networks", other)
    network = load_model("microworld/llama-0", root=other).network
    network.model.norm.weight.data += 1
    card = {"steps": STEPS, "seed": 0, "curve": [{"step": 1, "loss": 1.0}]}
    save_checkpoint(network, other / "llama-0", card=card, tokenizer=subword_tokenizer())
    (path,) = snap.write_snapshots(run / "steps", tmp_path, trained=other, stimuli=stimuli)
    assert "training_loss" not in snap.load_snapshots(path)
    with pytest.raises(InputError, match="seed 0 and 5 steps, .* card of seed 1 and 5"):
        snap.snapshot_features(
            run / "steps/llama-0", stimuli, card={"seed": 1, "steps": 5, "curve": []}
        )


def test_a_missing_step_is_named_with_what_to_do(run, stimuli, tmp_path):
    steps = tmp_path / "steps"
    shutil.copytree(run / "steps", steps)
    shutil.rmtree(steps / "llama-0/step-00003")
    with pytest.raises(InputError, match=r"lacks step-00003 \(1 step of 5 missing\).*--snapshots"):
        snap.snapshot_series(steps / "llama-0")
    (path,) = snap.write_snapshots(steps, tmp_path, stimuli=stimuli, complete=False)
    with pytest.raises(InputError, match=r"lacks step 3 \(1 step of 6 missing\).*train llama-0"):
        snap.load_snapshots(path)
    assert 3 not in snap.load_snapshots(path, complete=False).step


def test_snapshots_of_two_runs_and_renamed_ones_are_refused(run, tmp_path):
    steps = tmp_path / "llama-0"
    shutil.copytree(run / "steps/llama-0", steps)
    card = steps / "step-00002/card.json"
    card.write_text(card.read_text().replace('"seed": 0', '"seed": 1'))
    with pytest.raises(InputError, match="step-00001 and step-00002 are of different runs"):
        snap.snapshot_series(steps)
    card.write_text(card.read_text().replace('"step": 2', '"step": 7'))
    with pytest.raises(InputError, match="step-00002: its card says step 7"):
        snap.snapshot_series(steps)
    with pytest.raises(InputError, match="holds no snapshots.*seeing-words train nothing"):
        snap.snapshot_series(tmp_path / "nothing")


def test_damaged_missing_and_foreign_files_are_named(written, tmp_path):
    content = written[0].read_bytes()
    for name, bad in (("cut", content[: len(content) // 2]), ("text", b"no zip"), ("none", b"")):
        (tmp_path / f"{name}.npz").write_bytes(bad)
        with pytest.raises(InputError, match=f"{name}.npz is damaged .*seeing-words train {name}"):
            snap.load_snapshots(tmp_path / f"{name}.npz")
    spoilt = bytearray(content)
    spoilt[len(content) // 2] ^= 1
    (tmp_path / "bit.npz").write_bytes(bytes(spoilt))
    with pytest.raises(InputError, match="bit.npz is damaged"):
        snap.load_snapshots(tmp_path / "bit.npz")
    with pytest.raises(InputError, match=r"no snapshots of vision-9 in .*seeing-words snapshots"):
        snap.load_snapshots("vision-9")
    with pytest.raises(InputError, match="responses to other stimuli"):
        snap.load_snapshots(written[0], stimuli=microworld_stimuli(39))


def test_400_scenes_and_25_steps_fit_into_two_and_a_half_megabytes(tmp_path):
    values = np.random.default_rng(0).normal(size=(25, 2, 400, 128)).astype(np.float32)
    values[:, :, 0, 0] = 60  # a unit with an outlier loses precision, and nothing is cut off
    values[:, :, :, 1] = 3  # a unit that never changes
    features = snap.xr.DataArray(
        values,
        {
            "step": np.arange(25),
            "layer": [4, 7],
            "depth": ("layer", [0.5, 0.875]),
            "stimulus": [f"scene-{i}" for i in range(400)],
        },
        ("step", "layer", "stimulus", "unit"),
    )
    dataset = snap.xr.Dataset({"features": features}, attrs={"modality": "vision"})
    path = snap.save_snapshots(tmp_path / "x.npz", dataset)
    assert path.stat().st_size <= 2.5e6
    read = snap.load_snapshots(path).features.values
    assert np.allclose(read[..., 1], 3) and np.allclose(read[:, :, 0, 0], 60, atol=0.3)
    assert abs(read - values)[..., 2:].max() <= 1 / 32 * 1.2


def test_published_steps_are_read_by_revision(tmp_path, monkeypatch):
    "Pythia's architecture (GPT-NeoX), each step a revision of one repository."
    for step in (0, 1000):
        families.save("neox", tmp_path / f"step{step}", seed=step)
    place = {f"some/pythia@step{step}": tmp_path / f"step{step}" for step in (0, 1000)}
    monkeypatch.setattr(snap, "load_model", lambda name, **how: load_model(str(place[name]), **how))
    monkeypatch.setattr(
        snap, "load_reader", lambda name, **how: load_reader(str(place[name]), **how)
    )
    stimuli = StimulusSet("x", ("a", "b"), None, (("A red boat near the old barn.",), ("sky",)))
    series = {1000: "some/pythia@step1000", 0: "some/pythia@step0"}
    found = snap.series_features(series, stimuli, pooling="mean", layers=[0, 2])
    assert found.attrs["network"] == "some/pythia" and found.step.values.tolist() == [0, 1000]
    for step in (0, 1000):
        reader = load_reader(str(tmp_path / f"step{step}"))
        exact = extract(reader, stimuli, pooling="mean", progress=False).isel(layer=[0, 2])
        assert np.array_equal(found.features.sel(step=step).values, exact.values)
        assert float(found.loss.sel(step=step)) == pytest.approx(
            np.nanmean(caption_losses(reader, stimuli.caption()))
        )
    with pytest.raises(InputError, match="layer 9: the network has layers 0 to"):
        snap.series_features(series, stimuli, pooling="mean", layers=[9])
    with pytest.raises(InputError, match="there are no steps"):
        snap.series_features({}, stimuli, pooling="mean")


def test_the_command_writes_the_files(run, tmp_path, monkeypatch):
    monkeypatch.setattr(snap, "N_SCENES", 12)
    words = ["snapshots", str(run / "steps"), "llama-0", "--out", str(tmp_path)]
    done = CliRunner().invoke(cli.app, [*words, "--trained", str(run / "networks")])
    assert done.exit_code == 0, done.output
    assert snap.load_snapshots(tmp_path / "llama-0.npz").sizes["stimulus"] == 12
