"""What a layer's axes and tokens are is checked, never assumed, on networks of unusual layouts.

The oracle is transformers used plainly: the hidden states that a network reports itself.
"""

import json
from pathlib import Path

import families
import numpy as np
import pytest
import torch
import transformers as tf
from families import photographs

from seeing_words.app.costs import _here
from seeing_words.core.errors import InputError
from seeing_words.models.clip import clip_scores
from seeing_words.models.config import feature_map_layers, network_class
from seeing_words.models.extract import extract, has_class_token, layer_units, pooled_layers
from seeing_words.models.inputs import padded
from seeing_words.models.load import Model, load_model
from seeing_words.models.store import Store
from seeing_words.models.weights import draw_network

SMALL = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
}
SEES = {"image_size": 32, "patch_size": 8}
PREPROCESSOR = {
    "image_processor_type": "BitImageProcessor",
    "size": {"shortest_edge": 36},
    "crop_size": {"height": 32, "width": 32},
}
IMAGES = list(np.random.default_rng(0).integers(0, 256, (5, 40, 50, 3), np.uint8))


def seeing(config: tf.PreTrainedConfig) -> Model:
    "A vision network of random weights that sees images of 32 × 32 pixels."

    def encode(images) -> dict[str, torch.Tensor]:
        batch = torch.from_numpy(np.stack(images)[:, :32, :32]).permute(0, 3, 1, 2)
        return {"pixel_values": batch / 127.5 - 1}

    network = draw_network(network_class(config), config, seed=0)
    return Model("net", "1", "vision", network, encode, layers=feature_map_layers(network))


def reading(config: tf.PreTrainedConfig) -> Model:
    "A language network of random weights whose tokens are the letters of a caption."

    def encode(captions) -> dict[str, torch.Tensor]:
        return padded([[5 + ord(letter) % 40 for letter in text] for text in captions], 0)

    config.use_cache = False
    network = draw_network(network_class(config), config, seed=0)
    return Model("net", "1", "language", network, encode)


# Vision transformers


@pytest.mark.parametrize(
    ("config", "n_front"),
    [
        (tf.ViTConfig(**SMALL, **SEES), 1),
        (tf.DeiTConfig(**SMALL, **SEES), 2),
        (tf.BeitConfig(**SMALL, **SEES), 1),
        (tf.Data2VecVisionConfig(**SMALL, **SEES), 1),
        (tf.ViTMSNConfig(**SMALL, **SEES), 1),
        (tf.IJepaConfig(**SMALL, **SEES), 0),
        (tf.DINOv3ViTConfig(**SMALL, **SEES, num_register_tokens=3), 4),
        (tf.CLIPVisionConfig(**SMALL, **SEES), 1),
        (tf.SiglipVisionConfig(**SMALL, **SEES), 0),
    ],
    ids=lambda value: getattr(value, "model_type", ""),
)
@torch.no_grad()
def test_tokens_before_the_patches_are_those_that_the_network_puts_there(config, n_front):
    model = seeing(config)
    found = pooled_layers(model, IMAGES, ["mean"])["mean"]
    reported = model.network(**model.encode(IMAGES), output_hidden_states=True).hidden_states
    assert reported[1].shape[1] == 16 + n_front
    for layer in (0, 1):
        np.testing.assert_allclose(found[layer], reported[layer][:, n_front:].mean(1), atol=1e-5)
    assert has_class_token(model, IMAGES[0]) == (n_front > 0)


def test_tokens_behind_the_patches_are_refused():
    config = tf.YolosConfig(**SMALL, image_size=[32, 32], patch_size=8, num_detection_tokens=5)
    model = seeing(config)
    said = "net has 6 tokens beside those of 16 patches, of which 1 .* come first: it is unclear"
    for call in (
        lambda: pooled_layers(model, IMAGES, ["mean"]),
        lambda: has_class_token(model, IMAGES[0]),
    ):
        with pytest.raises(InputError, match=said):
            call()


def test_images_packed_into_one_row_are_refused():
    model = seeing(tf.PixtralVisionConfig(**SMALL, **SEES))
    with pytest.raises(InputError, match=r"shape \(1, 80, 16\) for 5 images: its first axis must"):
        pooled_layers(model, IMAGES, ["mean"])
    with pytest.raises(InputError, match=r"shape \(1, 32, 16\) for 2 images"):
        has_class_token(model, IMAGES[0])  # two are shown, so that `presets check` finds it


@torch.no_grad()
def test_blocks_that_pass_on_feature_maps_are_pooled_over_space():
    config = tf.VitDetConfig(
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        pretrain_image_size=32,
        **SEES,
    )
    model = seeing(config)
    found = pooled_layers(model, IMAGES, ["mean"])["mean"]
    reported = model.network(**model.encode(IMAGES), output_hidden_states=True).hidden_states
    expected = np.stack([hidden.mean((2, 3)).numpy() for hidden in reported])
    np.testing.assert_allclose(found, expected, atol=1e-5)
    with pytest.raises(InputError, match="net has feature maps.* pool by mean"):
        pooled_layers(model, IMAGES, ["cls"])


def test_a_network_that_needs_more_than_pixels_is_named():
    video = tf.VivitConfig(**SMALL)
    patches = tf.Siglip2VisionConfig(**SMALL, patch_size=8, num_patches=16)
    for config, kind in ((video, "ValueError"), (patches, "TypeError")):
        with pytest.raises(InputError, match=f"net refuses its input \\({kind}: "):
            pooled_layers(seeing(config), IMAGES, ["mean"])


# Language networks

TEXTS = ["a red boat", "sky", "two dogs sleep"]


@torch.no_grad()
def test_blocks_that_return_a_list_are_read():
    model = reading(
        tf.OpenAIGPTConfig(
            n_embd=16, n_layer=2, n_head=2, vocab_size=50, architectures=["OpenAIGPTLMHeadModel"]
        )
    )
    found = pooled_layers(model, TEXTS, ["last"])["last"]
    for i, text in enumerate(TEXTS):
        alone = model.network(**model.encode([text]), output_hidden_states=True).hidden_states
        expected = np.stack([hidden[0, -1].numpy() for hidden in alone])
        np.testing.assert_allclose(found[:, i], expected, atol=1e-5)


@pytest.mark.parametrize("n", [2, 3, 4])  # 4: as many captions as tokens
def test_tokens_before_captions_are_refused(n):
    config = tf.XLNetConfig(
        d_model=16, n_layer=2, n_head=2, d_inner=32, vocab_size=50,
        architectures=["XLNetLMHeadModel"],
    )  # fmt: skip
    with pytest.raises(InputError, match=rf"shape \(4, {n if n < 4 else 1}, 16\) for . captions"):
        pooled_layers(reading(config), ["boat"] * n, ["mean"])


def test_as_many_captions_as_tokens_are_no_obstacle():
    config = tf.LlamaConfig(**SMALL, vocab_size=50, architectures=["LlamaForCausalLM"])
    model = reading(config)
    square, two = (pooled_layers(model, ["boat"] * n, ["mean"])["mean"] for n in (4, 2))
    np.testing.assert_allclose(square[:, :2], two, atol=1e-6)


def test_tokens_that_are_no_tokens_of_the_caption_are_refused():
    config = tf.LongformerConfig(
        **SMALL, vocab_size=50, attention_window=4, architectures=["LongformerForMaskedLM"]
    )
    with pytest.raises(InputError, match="a layer has 8 tokens for captions of 7"):
        pooled_layers(reading(config), ["a boat!", "a boat."], ["mean"])


def test_blocks_that_do_not_run_one_after_the_other_are_refused():
    config = tf.FunnelConfig(
        d_model=16, n_head=2, block_sizes=[1, 1, 1], d_head=8, d_inner=32, vocab_size=50,
        architectures=["FunnelForMaskedLM"],
    )  # fmt: skip
    with pytest.raises(InputError, match="net: 0 layers were found in a pass.* should be 4"):
        pooled_layers(reading(config), TEXTS, ["mean"])


def test_two_streams_and_random_hashes_are_refused():
    config = tf.ReformerConfig(is_decoder=True, architectures=["ReformerModelWithLMHead"])
    with pytest.raises(InputError, match="a reformer network passes on two streams"):
        network_class(config)


def test_an_error_of_the_network_names_it():
    config = tf.GPT2Config(
        n_embd=16, n_layer=2, n_head=2, vocab_size=20, architectures=["GPT2LMHeadModel"]
    )
    with pytest.raises(InputError, match="net refuses its input .IndexError: index out of range"):
        pooled_layers(reading(config), TEXTS, ["mean"])  # ids up to 44


# CLIP


@torch.no_grad()
def test_clip_pools_the_token_that_closes_a_caption_whatever_the_ids_of_its_words(tmp_path):
    folder = families.save("clip", tmp_path / "clip")
    captions = ["a boat", "a dog near the boat"]
    tokenizer = tf.AutoTokenizer.from_pretrained(folder)
    network, image = tf.CLIPModel.from_pretrained(folder).eval(), photographs(1)
    seen = network.get_image_features(**load_model(str(folder)).encode(image))
    seen = getattr(seen, "pooler_output", seen)[0]
    expected = []
    for caption in captions:
        ids = tokenizer(caption, return_tensors="pt")["input_ids"]
        assert ids[0, -1] == tokenizer.eos_token_id
        assert ids.max() > tokenizer.eos_token_id or tokenizer.eos_token_id == 2
        read = network.text_projection(network.text_model(input_ids=ids).last_hidden_state[0, -1])
        expected.append(float(torch.cosine_similarity(seen, read, dim=0)))
    path = folder / "config.json"
    config = json.loads(path.read_text())
    for end in (tokenizer.eos_token_id, 2):  # 2: transformers itself pools the highest id
        config["text_config"]["eos_token_id"] = end
        path.write_text(json.dumps(config))
        found = clip_scores(image, [captions], name=str(folder))
        np.testing.assert_allclose(found[0], expected, atol=1e-5)


# Convolutional networks

STAGES = {"embedding_size": 8, "hidden_sizes": [8, 16, 24], "depths": [1, 2, 1]}
CNNS = {
    "resnet": tf.ResNetConfig(**STAGES, layer_type="basic", architectures=["ResNetModel"]),
    "regnet": tf.RegNetConfig(**STAGES, groups_width=8, architectures=["RegNetModel"]),
    "bit": tf.BitConfig(**STAGES, num_groups=4, architectures=["BitModel"]),
    "convnext": tf.ConvNextConfig(
        hidden_sizes=[8, 16, 24], depths=[1, 2, 1], num_stages=3, architectures=["ConvNextModel"]
    ),
    "convnextv2": tf.ConvNextV2Config(
        hidden_sizes=[8, 16, 24], depths=[1, 2, 1], num_stages=3, architectures=["ConvNextV2Model"]
    ),
    "efficientnet": tf.EfficientNetConfig(
        image_size=32,
        width_coefficient=0.25,
        depth_coefficient=0.1,
        hidden_dim=320,
        architectures=["EfficientNetModel"],
    ),
    "mobilenet_v2": tf.MobileNetV2Config(
        image_size=32, depth_multiplier=0.25, architectures=["MobileNetV2Model"]
    ),
}
WIDTHS = {
    **dict.fromkeys(("resnet", "regnet", "bit", "convnext", "convnextv2"), [8, 8, 16, 16, 24]),
    "efficientnet": [8, 8, 8, 16, 24, 32, 48, 80],
    "mobilenet_v2": [8] * 6 + [16] * 4 + [24] * 3 + [40] * 3 + [80],
}


@pytest.fixture(params=CNNS)
def cnn(request, tmp_path) -> tuple[str, Path]:
    network = draw_network(network_class(CNNS[request.param]), CNNS[request.param], seed=0)
    for name, buffer in network.named_buffers():  # as if it were trained
        if name.endswith("running_mean"):
            buffer.uniform_(-0.1, 0.1, generator=torch.Generator().manual_seed(0))
    network.save_pretrained(tmp_path / "net")
    (tmp_path / "net" / "preprocessor_config.json").write_text(json.dumps(PREPROCESSOR))
    return request.param, tmp_path / "net"


@torch.no_grad()
def test_a_convolutional_network_is_read_from_its_folder(cnn, tmp_path):
    kind, folder = cnn
    model = load_model(str(folder))
    store = Store(tmp_path / "store")
    features = extract(model, IMAGES, pooling="mean", store=store, progress=False)
    assert model.modality == "vision" and not has_class_token(model, IMAGES[0])
    widths = layer_units(model, IMAGES)
    assert list(widths) == features.n_units.values.tolist() == WIDTHS[kind]
    assert features.layer_name.values.tolist() == list(model.layers)
    plain = tf.AutoModel.from_pretrained(folder).eval()
    output = plain(**model.encode(IMAGES), output_hidden_states=True)
    reported = [hidden.mean((2, 3)).numpy() for hidden in output.hidden_states]
    ours = [features.values[i][:, :n] for i, n in enumerate(widths)]
    # what transformers reports, stages or blocks, is among the layers
    for expected in reported:
        assert any(
            layer.shape == expected.shape and np.allclose(layer, expected, atol=1e-4)
            for layer in ours
        )
    np.testing.assert_allclose(ours[-1], reported[-1], atol=1e-4)
    # from the store, without weights, and without one
    bare = load_model(str(folder), weights=False)
    assert not bare.has_weights
    assert extract(bare, IMAGES, pooling="mean", store=store).identical(features)
    assert extract(model, IMAGES, pooling="mean", progress=False).identical(features)
    with pytest.raises(InputError, match="has feature maps.* pool by mean"):
        extract(model, IMAGES, pooling="last")


def test_its_untrained_twin_number_type_and_size(cnn):
    _, folder = cnn
    one, same, other = (load_model(f"untrained:{folder}@{seed}") for seed in (1, 1, 2))
    made = [pooled_layers(model, IMAGES, ["mean"])["mean"] for model in (one, same, other)]
    assert np.array_equal(made[0], made[1]) and not np.allclose(made[0], made[2])
    exact = pooled_layers(load_model(str(folder)), IMAGES, ["mean"])["mean"]
    for name in (str(folder), f"untrained:{folder}@1"):
        rough = load_model(name, dtype="bfloat16")
        assert {p.dtype for p in rough.network.parameters()} == {torch.bfloat16}
        assert np.isfinite(pooled_layers(rough, IMAGES, ["mean"])["mean"]).all()
    rough = pooled_layers(load_model(str(folder), dtype="bfloat16"), IMAGES, ["mean"])["mean"]
    assert np.abs(rough - exact).max() < 0.1 * np.abs(exact).max()
    size = _here(folder, "vision")
    assert size.n_layers == one.n_layers and size.n_units == max(WIDTHS[cnn[0]])
    n_weights = sum(weight.numel() for weight in one.network.parameters())
    assert size.n_parameters == n_weights and size.n_multiplied > n_weights


def test_a_transformer_in_stages_is_refused_with_the_ways_out():
    config = tf.SwinConfig(image_size=32, architectures=["SwinModel"])
    with pytest.raises(InputError, match=r"SwinModel.*Model.from_module.*`align`"):
        network_class(config)
