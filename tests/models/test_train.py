"Training: losses against naive loops, schedules, runs that continue, and data that stay apart."

import math
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

from seeing_words.core.errors import InputError
from seeing_words.data.microworld.caption import caption, text
from seeing_words.data.microworld.render import render
from seeing_words.data.microworld.scene import CHOOSING, TRAINING, moment, sample_clip, sample_scene
from seeing_words.models import train as training
from seeing_words.models.checkpoints import checkpoint_card
from seeing_words.models.load import load_model


def test_contrastive_loss_against_a_loop():
    views = torch.randn(10, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    unit, losses = (views / views.norm(dim=1, keepdim=True)).numpy(), []
    for i in range(10):
        others = {j: math.exp(unit[i] @ unit[j] / 0.15) for j in range(10) if j != i}
        losses.append(-math.log(others[(i + 5) % 10] / sum(others.values())))
    assert training.contrastive_loss(views)[0].item() == pytest.approx(np.mean(losses))


SMALL = {
    "llama": {"hidden_size": 32, "num_hidden_layers": 2},
    "bloom": {"hidden_size": 32, "n_layer": 2},
}


@pytest.mark.parametrize("architecture", ["llama", "bloom"])
def test_next_token_loss_against_a_loop_without_padding(architecture):
    torch.manual_seed(0)
    config = training.language_config(architecture, **SMALL[architecture])
    build = {"llama": training.LlamaForCausalLM, "bloom": training.BloomForCausalLM}
    network = build[architecture](config).eval()
    rows, nats = training.documents(TRAINING[:5]), []
    for row in rows:
        logp = network(input_ids=torch.tensor([row])).logits[0].log_softmax(-1)
        nats += [-logp[t, row[t + 1]].item() for t in range(len(row) - 1)]
    loss = training.next_token_loss(network, training.padded(rows)).item()
    assert loss == pytest.approx(np.mean(nats), abs=1e-4)


def test_documents_hold_captions_of_one_scene_each_closed():
    rows, tokenizer = training.documents(TRAINING[:3], epoch=2), training.subword_tokenizer()
    assert all(row[0] == 1 and row.count(2) == 3 and 3 not in row for row in rows)
    scene = sample_scene(TRAINING[1])
    captions = [text(caption(scene, seed=1000 + 6 + c)) for c in range(3)]
    decoded = tokenizer.decode(rows[1], skip_special_tokens=False)
    assert [part.split() for part in decoded.removeprefix("<s>").split("</s>")][:3] == [
        words.split() for words in captions
    ]


def test_the_tokenizer_loses_no_caption_and_splits_most_words():
    tokenizer = training.subword_tokenizer()
    captions = [text(caption(sample_scene(s), seed=3)) for s in CHOOSING[:300]]
    encoded = tokenizer.encode_batch(captions)
    assert [tokenizer.decode(each.ids) for each in encoded] == captions
    assert 3 not in {i for each in encoded for i in each.ids}  # nothing is unknown
    words = {word for words in captions for word in words.split()}
    split = [len(tokenizer.encode(word).ids) > 3 for word in words]
    assert np.mean(split) > 0.5


def test_training_captions_are_not_the_evaluation_wordings():
    assert training.documents(TRAINING[:2], epoch=0) != training.documents(TRAINING[:2], epoch=1)


def test_rate_rises_then_falls():
    rates = [training.rate(s, 400) for s in range(400)]
    assert np.argmax(rates) in range(45, 55) and rates[-1] < 0.02 and rates[0] < 0.05
    assert max(rates) <= 1


def test_snapshots_are_dense_early_and_hold_the_last_step():
    steps = training.snapshot_steps(1000)
    assert steps[0] == 1 and steps[-1] == 1000 and len(steps) <= 24
    gaps = np.diff(steps)
    assert (np.diff(gaps[-8:]) > 0).all()


def test_random_views_stay_in_range_and_follow_the_generator():
    images = torch.rand(6, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    views = [
        training.random_view(images, generator=torch.Generator().manual_seed(s), size=40)
        for s in (0, 0, 1)
    ]
    assert views[0].shape == (6, 3, 40, 40) and views[0].min() >= 0 and views[0].max() <= 1
    assert torch.equal(views[0], views[1]) and not torch.equal(views[0], views[2])


def test_clips_share_the_setting_and_moments_share_the_facts():
    clips = training.training_clips(2, n_scenes=3, n_moments=2, workers=1)
    assert np.array_equal(clips, training.training_clips(2, n_scenes=3, n_moments=2, workers=2))
    scenes = sample_clip(TRAINING[3:6])
    first = sample_scene(TRAINING[3])
    assert {(s.place, s.time, s.weather) for s in scenes} == {
        (first.place, first.time, first.weather)
    }
    assert len({s.things for s in scenes}) == 3
    again = render(moment(scenes[2], 1), seed=scenes[2].seed + 10**9).image
    assert np.array_equal(clips[1, 2, 1], again)
    assert not np.array_equal(clips[1, 2, 0], clips[1, 2, 1])
    with pytest.raises(InputError, match="make fewer clips"):
        training.training_clips(3, n_scenes=2, seeds=range(5))


def test_views_of_a_step_are_pairs_of_moments_of_one_scene():
    clips = np.zeros((4, 5, 3, 2, 2, 3), np.uint8)
    for place in np.ndindex(4, 5, 3):  # clip, scene, moment
        clips[place] = place
    views = training._two_moments(torch.from_numpy(clips), 3, 4, torch.Generator().manual_seed(0))
    which = (views[:, :, 0, 0] * 255).round().int()
    one, other = which[:12], which[12:]
    assert (one[:, :2] == other[:, :2]).all() and (one[:, 2] != other[:, 2]).all()
    assert len({tuple(row) for row in one[:, :2].tolist()}) == 12
    assert len(set(one[:, 0].tolist())) == 3


def test_a_loss_that_is_not_finite_stops_the_run():
    layer = nn.Linear(1, 1)
    with pytest.raises(InputError, match="step 0: lower `peak_rate`"):
        training.train(
            layer, lambda step: (layer.weight.sum() * torch.nan, {}), steps=2, peak_rate=1.0
        )


def test_bad_requests_are_refused(tmp_path):
    with pytest.raises(InputError, match="choose 'llama' or 'bloom'"):
        training.language_config("gpt")
    with pytest.raises(InputError, match="do not fill one batch"):
        training.train_language(TRAINING[:4], architecture="llama", seed=0, steps=1)
    with pytest.raises(InputError, match="choose from vision-0, "):
        training.train_network("vision-9", tmp_path)


CLIPS = np.random.default_rng(0).integers(0, 256, (3, 4, 2, 64, 64, 3), dtype=np.uint8)
TINY = training.vision_config(
    hidden_size=32, num_hidden_layers=2, num_attention_heads=2, attention_probs_dropout_prob=0.1
)
TRAIN = {
    "vision": partial(training.train_vision, CLIPS, seed=1, config=TINY),
    "language": partial(
        training.train_language,
        TRAINING[:6],
        architecture="bloom",
        seed=1,
        batch_size=2,
        config=training.language_config("bloom", hidden_dropout=0.5, **SMALL["bloom"]),
    ),
}


@pytest.mark.parametrize("kind", TRAIN)
def test_training_follows_from_its_seed_and_leaves_the_global_generator_alone(kind):
    torch.manual_seed(8)
    state = torch.get_rng_state()
    first = [row["loss"] for row in TRAIN[kind](steps=2)[1]]
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(9)
    assert [row["loss"] for row in TRAIN[kind](steps=2)[1]] == first


class Killed(BaseException):
    pass


@pytest.mark.parametrize("kind", TRAIN)
def test_a_run_that_was_killed_ends_where_the_whole_run_does(kind, tmp_path):
    how = {"steps": 7, "log_every": 1, "save_every": 2}
    whole, curve = TRAIN[kind](**how)
    state = tmp_path / "state"

    def kill(network, step):
        if step == 5:
            raise Killed

    with pytest.raises(Killed):
        TRAIN[kind](**how, state=state, on_step=kill)
    assert state.exists()
    steps = []
    resumed, again = TRAIN[kind](
        **how, state=state, on_step=lambda network, step: steps.append(step)
    )
    assert steps == [5, 6, 7]  # the last state was written after step 4
    assert [(row["step"], row["loss"]) for row in again] == [
        (row["step"], row["loss"]) for row in curve
    ]
    ours, theirs = whole.state_dict(), resumed.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert not list(tmp_path.iterdir())  # nothing is left behind


def test_the_state_of_another_run_is_refused(tmp_path):
    def kill(network, step):
        if step == 3:
            raise Killed

    how = {"steps": 4, "save_every": 2, "state": tmp_path / "state"}
    with pytest.raises(Killed):
        TRAIN["vision"](**how, run="one", on_step=kill)
    with pytest.raises(InputError, match="state of a run with other settings: delete it"):
        TRAIN["vision"](**how, run="another")


@pytest.mark.parametrize("name", ["vision-1", "llama-0"])
def test_a_trained_network_is_a_checkpoint_with_an_honest_card(name, tmp_path, monkeypatch):
    monkeypatch.setitem(training.RECIPES, "vision", {"steps": 2, "n_clips": 2})
    monkeypatch.setitem(training.RECIPES, "language", {"steps": 2, "n_scenes": 64})
    folder = training.train_network(name, tmp_path, snapshots=tmp_path / "steps")
    model = load_model(f"microworld/{name}", root=tmp_path)
    assert folder == tmp_path / name
    assert model.modality == ("vision" if name.startswith("vision") else "language")
    kept = sorted(path.name for path in (tmp_path / "steps" / name).iterdir())
    assert kept == ["step-00001", "step-00002"]
    card = checkpoint_card(f"microworld/{name}", root=tmp_path)
    assert card["steps"] == 2 and card["seeds"][0] == TRAINING.start
    assert card["seeds"][1] - card["seeds"][0] == (20 if name == "vision-1" else 64)
