"Training: losses against naive loops, schedules, and data that stay apart."

import math

import numpy as np
import pytest
import torch
from torch import nn

from seeing_words.core.errors import InputError
from seeing_words.data.microworld.caption import caption, text
from seeing_words.data.microworld.scene import TRAINING, sample_scene
from seeing_words.models import train as dy


def test_contrastive_loss_against_a_loop():
    views = torch.randn(10, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    unit, losses = (views / views.norm(dim=1, keepdim=True)).numpy(), []
    for i in range(10):
        others = {j: math.exp(unit[i] @ unit[j] / 0.2) for j in range(10) if j != i}
        losses.append(-math.log(others[(i + 5) % 10] / sum(others.values())))
    assert dy.contrastive_loss(views)[0].item() == pytest.approx(np.mean(losses))


@pytest.mark.parametrize("architecture", ["llama", "bloom"])
def test_next_word_loss_against_a_loop_without_padding(architecture):
    torch.manual_seed(0)
    size = {"hidden_size": 32} | (
        {"n_layer": 2} if architecture == "bloom" else {"num_hidden_layers": 2}
    )
    config = dy.language_config(architecture, **size)
    network = {"llama": dy.LlamaForCausalLM, "bloom": dy.BloomForCausalLM}[architecture](
        config
    ).eval()
    ids, nats = dy.documents(TRAINING[:5]), []
    for row in ids:
        row = row[row != 0]
        logp = network(input_ids=row[None]).logits[0].log_softmax(-1)
        nats += [-logp[t, row[t + 1]].item() for t in range(len(row) - 1)]
    assert dy.next_word_loss(network, ids).item() == pytest.approx(np.mean(nats), abs=1e-4)


def test_documents_hold_captions_of_one_scene_each_closed():
    ids, tokenizer = dy.documents(TRAINING[:3], epoch=2), dy.word_tokenizer()
    assert (ids[:, 0] == 1).all() and ((ids == 2).sum(1) == 3).all() and not (ids == 3).any()
    scene = sample_scene(TRAINING[1])
    words = " </s> ".join(text(caption(scene, seed=1000 + 6 + c)) for c in range(3))
    decoded = tokenizer.decode(ids[1][ids[1] != 0].tolist(), skip_special_tokens=False)
    assert decoded == f"<s> {words} </s>"


def test_training_captions_are_not_the_evaluation_wordings():
    assert not torch.equal(dy.documents(TRAINING[:2], epoch=0), dy.documents(TRAINING[:2], epoch=1))


def test_rate_rises_then_falls():
    rates = [dy.rate(s, 400) for s in range(400)]
    assert np.argmax(rates) in range(45, 55) and rates[-1] < 0.02 and rates[0] < 0.05
    assert max(rates) <= 1


def test_random_views_stay_in_range_and_follow_the_generator():
    images = torch.rand(6, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    views = [
        dy.random_view(images, generator=torch.Generator().manual_seed(s), size=40)
        for s in (0, 0, 1)
    ]
    assert views[0].shape == (6, 3, 40, 40) and views[0].min() >= 0 and views[0].max() <= 1
    assert torch.equal(views[0], views[1]) and not torch.equal(views[0], views[2])


def test_rendering_does_not_depend_on_the_number_of_workers():
    assert np.array_equal(
        dy.training_images(TRAINING[:6], workers=1), dy.training_images(TRAINING[:6], workers=2)
    )


def test_a_loss_that_is_not_finite_stops_the_run():
    weight = nn.Parameter(torch.ones(1))
    with pytest.raises(InputError, match="step 0: lower `peak_rate`"):
        dy.train([weight], lambda step: (weight.sum() * torch.nan, {}), steps=2, peak_rate=1.0)


def test_bad_requests_are_refused():
    with pytest.raises(InputError, match="choose 'llama' or 'bloom'"):
        dy.language_config("gpt")
    with pytest.raises(InputError, match="do not fill one batch"):
        dy.train_language(TRAINING[:4], architecture="llama", seed=0, steps=1)


@pytest.mark.parametrize(
    "train",
    [
        lambda: dy.train_vision(np.zeros((4, 64, 64, 3), np.uint8), seed=1, steps=2, batch_size=4)[
            1
        ],
        lambda: dy.train_language(
            TRAINING[:4],
            architecture="bloom",
            seed=1,
            steps=2,
            batch_size=2,
            config=dy.language_config("bloom", hidden_dropout=0.5),
        )[1],
    ],
)
def test_training_follows_from_its_seed_and_leaves_the_global_generator_alone(train):
    torch.manual_seed(8)
    state = torch.get_rng_state()
    first = [row["loss"] for row in train()]
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(9)
    assert [row["loss"] for row in train()] == first
