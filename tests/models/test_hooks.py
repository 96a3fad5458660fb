"""Interventions against what the same network does by itself."""

import numpy as np
import pytest
import torch
from tiny import KINDS, config, model, stimuli
from torch import nn
from transformers import AutoModelForCausalLM

from seeing_words.core.errors import InputError
from seeing_words.models.extract import capture
from seeing_words.models.hooks import edit, patch, project_out


def layers_of(network: nn.Module, **inputs) -> list[torch.Tensor]:
    with torch.no_grad(), capture(network) as layers:
        network(**inputs)
        return list(layers)


def n_hooks(network: nn.Module) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in network.modules())


def basis_of(n_units: int, k: int, seed: int = 0) -> np.ndarray:
    return np.linalg.qr(np.random.default_rng(seed).normal(size=(n_units, k)))[0]


@pytest.mark.parametrize("kind", KINDS)
def test_no_dimension_changes_nothing_at_all(tmp_path, kind):
    made, shown = model(kind, tmp_path), stimuli(4)
    inputs = made.encode(list(shown.images) if kind == "dinov2" else shown.caption())
    before = layers_of(made.network, **inputs)
    for layer in range(4):
        with project_out(made.network, np.zeros((16, 0)), layer=layer, mean=np.ones(16)):
            after = layers_of(made.network, **inputs)
        assert all(torch.equal(a, b) for a, b in zip(before, after))
        states = np.random.default_rng(0).normal(size=(4, 16))
        with patch(made.network, states, layer=layer, positions=[0] * 4, basis=np.zeros((16, 0))):
            after = layers_of(made.network, **inputs)
        for a, b in zip(before, after):
            torch.testing.assert_close(a, b)
    assert n_hooks(made.network) == 0


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("layer", range(4))
def test_a_subspace_is_gone_and_norms_stay(tmp_path, kind, layer):
    made, shown = model(kind, tmp_path), stimuli(4)
    inputs = made.encode(list(shown.images) if kind == "dinov2" else shown.caption())
    before = layers_of(made.network, **inputs)
    basis, mean = basis_of(16, 3), np.random.default_rng(1).normal(size=16) / 100
    with project_out(made.network, basis, layer=layer, mean=mean):
        after = layers_of(made.network, **inputs)
    for earlier in range(layer):
        assert torch.equal(after[earlier], before[earlier])
    h, own = before[layer].double().numpy(), after[layer].double().numpy()
    np.testing.assert_allclose(
        own @ basis, np.broadcast_to(mean @ basis, (*h.shape[:2], 3)), atol=1e-5
    )
    norms = np.linalg.norm(h, axis=2)
    there = norms > 0.01  # padding may be 0, and the mean's part of it cannot be
    np.testing.assert_allclose(np.linalg.norm(own, axis=2)[there], norms[there], rtol=1e-4)
    # outside, the direction is what it was
    left = np.eye(16) - basis @ basis.T
    cosines = ((own @ left) * (h @ left)).sum(2)
    lengths = np.linalg.norm(own @ left, axis=2) * np.linalg.norm(h @ left, axis=2)
    cosines = cosines[there] / lengths[there]
    np.testing.assert_allclose(cosines, 1, atol=1e-5)
    if layer < 3:
        assert not torch.allclose(after[3], before[3], atol=1e-3)


@pytest.mark.parametrize("kind", ["llama", "bloom"])
@pytest.mark.parametrize("layer", range(4))
def test_a_word_with_another_words_state_is_that_word(tmp_path, kind, layer):
    "The only token of a text gets the state of another: from there on the network is as with it."
    made = model(kind, tmp_path)
    one, other = ({"input_ids": torch.tensor([[i]])} for i in (5, 9))
    theirs = layers_of(made.network, **other)
    state = theirs[layer][:, 0].numpy()
    with patch(made.network, state, layer=layer, positions=[0]):
        changed = layers_of(made.network, **one)
    for a, b in zip(changed[layer:], theirs[layer:]):
        torch.testing.assert_close(a, b)


def test_half_of_a_state_is_written_at_its_position_only(tmp_path):
    made = model("llama", tmp_path)
    inputs = {"input_ids": torch.arange(4, 12).reshape(2, 4)}
    before = layers_of(made.network, **inputs)
    basis, states = basis_of(16, 5), np.random.default_rng(1).normal(size=(2, 16))
    with patch(made.network, states, layer=2, positions=[1, -1], basis=basis):
        after = layers_of(made.network, **inputs)
    h, own = (side[2].double().numpy() for side in (before, after))
    at = [0, 1], [1, 3]
    np.testing.assert_allclose(own[at] @ basis, states @ basis, atol=1e-5)
    left = np.eye(16) - basis @ basis.T
    np.testing.assert_allclose(own[at] @ left, h[at] @ left, atol=1e-5)
    own[at] = h[at]
    np.testing.assert_array_equal(own, h)
    assert torch.equal(after[3][0, 0], before[3][0, 0])  # earlier words know nothing of it
    assert not torch.allclose(after[3][0, 2], before[3][0, 2])


def test_networks_with_a_head_are_changed_as_well(tmp_path):
    network = AutoModelForCausalLM.from_config(config("llama")).eval()
    ids = torch.arange(4, 10).reshape(1, 6)
    with torch.no_grad():
        with edit(network, lambda h: torch.full_like(h, 0.5), layer=3):
            made = network(input_ids=ids).logits
        by_hand = network.lm_head(network.model.norm(torch.full((1, 6, 16), 0.5)))
    torch.testing.assert_close(made, by_hand)


class Returns(nn.Module):
    def __init__(self, kind: str):
        super().__init__()
        self.kind, self.inner = kind, nn.Identity()

    def forward(self, x):
        made = {"tuple": (x, "rest"), "list": [x, "rest"], "dict": {"h": x, "more": "rest"}}
        return made.get(self.kind, x)


@pytest.mark.parametrize("kind", ["tensor", "tuple", "list", "dict"])
def test_whatever_a_module_returns_its_first_value_is_changed(kind):
    outer = nn.ModuleDict({"part": Returns(kind)})
    x = torch.ones(1, 2, 3)
    with edit(outer, lambda h: h + 1, layer="part"):
        made = outer["part"](x)
    first, *rest = made.values() if kind == "dict" else [made] if kind == "tensor" else made
    assert torch.equal(first, x + 1) and rest == [] * (kind == "tensor") + ["rest"] * (
        kind != "tensor"
    )
    assert type(made) is type(outer["part"](x))
    assert torch.equal(x, torch.ones(1, 2, 3))


def test_errors_leave_no_hook_behind(tmp_path):
    made = model("llama", tmp_path)
    ids = torch.arange(4, 8).reshape(1, 4)

    def run():
        made.network(input_ids=ids)

    def fail():
        raise KeyError("in the block")

    for within, error in ((run, InputError), (fail, KeyError)):
        with pytest.raises(error):
            with patch(made.network, np.zeros((3, 16)), layer=1, positions=[0, 0, 0]):
                within()
        assert n_hooks(made.network) == 0
    with pytest.raises(ZeroDivisionError):
        with edit(made.network, lambda h: h / (1 // 0), layer=0):
            run()
    assert n_hooks(made.network) == 0


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"layer": 4}, "layers 0 .* to 3; there is no layer 4"),
        ({"layer": -1}, "no layer -1"),
        ({"layer": "layers.7"}, "no module 'layers.7'"),
        ({"basis": np.ones((16, 2))}, "orthonormal"),
        ({"basis": np.eye(8)[:, :2], "mean": np.zeros(8)}, "8 units for a layer of 16"),
        ({"mean": np.zeros(3)}, "mean of shape"),
    ],
)
def test_what_does_not_fit_is_named(tmp_path, options, says):
    made = model("llama", tmp_path)
    settings = {"basis": np.eye(16)[:, :2], "layer": 1, "mean": np.zeros(16)} | options
    with pytest.raises(InputError, match=says):
        with project_out(made.network, **settings):
            made.network(input_ids=torch.arange(4, 8).reshape(1, 4))
