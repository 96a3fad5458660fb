"""Networks of others: every family by the same rules, from folders as their makers save them.

The oracle is transformers used plainly: one stimulus at a time, its own tokenizer, no padding,
reported hidden states.
"""

import gc
import json
import random
import re
import shutil
import weakref
from pathlib import Path
from threading import get_ident

import families
import numpy as np
import pytest
import torch
import transformers
from families import (
    ADDED,
    CONFIGS,
    LANGUAGE,
    LONGEST,
    N_BLOCKS,
    PREPROCESSORS,
    SIZE,
    TEXTS,
    VISION,
    photographs,
    save,
)
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import AutoImageProcessor, AutoModel, AutoModelForCausalLM, AutoTokenizer

from seeing_words.app.costs import shape
from seeing_words.app.presets import get_preset
from seeing_words.core.errors import InputError
from seeing_words.core.files import file_digest
from seeing_words.data.stimuli import OnDemand, StimulusSet
from seeing_words.models import weights as loading
from seeing_words.models.checkpoints import CHECKPOINTS, _companions
from seeing_words.models.extract import capture, extract, pooled_layers
from seeing_words.models.hub import verified, weight_files
from seeing_words.models.inputs import image_preprocessor
from seeing_words.models.load import Model, blocks, load_model
from seeing_words.models.loss import caption_losses, load_reader
from seeing_words.models.pooling import POOLINGS
from seeing_words.models.store import Store, feature_spec
from seeing_words.models.weights import check_head, check_whole, load_network

FAMILIES = VISION + LANGUAGE
FINAL = {
    "dinov2": "layernorm",
    "registers": "layernorm",
    "vit": "layernorm",
    "bloom": "ln_f",
    "llama": "norm",
    "neox": "final_layer_norm",
    "opt": "decoder.final_layer_norm",
    "opt-350m": "decoder.project_out",
    "siglip": "post_layernorm",
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("families")
    return {kind: save(kind, root / kind) for kind in FAMILIES}


@pytest.fixture
def copy(folders, tmp_path):
    "A folder of one family to damage."
    return lambda kind: Path(shutil.copytree(folders[kind], tmp_path / kind))


def shown(kind: str) -> list:
    return photographs() if kind in VISION else TEXTS


def poolings(kind: str) -> list[str]:
    return [name for name in POOLINGS if not (kind == "siglip" and name == "cls")]


@torch.no_grad()
def plainly(kind: str, folder: Path, pooling: str) -> np.ndarray:  # (layer, stimulus, unit)
    "As anybody would with transformers, one stimulus at a time."
    if kind in LANGUAGE:
        network, tokenizer = (
            AutoModelForCausalLM.from_pretrained(folder),
            AutoTokenizer.from_pretrained(folder),
        )
    else:
        network = AutoModel.from_pretrained(folder)
        network = getattr(network, "vision_model", network)
        processor = AutoImageProcessor.from_pretrained(folder, backend="pil")
    network.eval()
    before = ADDED[kind] if kind in LANGUAGE else {"registers": 5, "siglip": 0}.get(kind, 1)
    out = []
    for stimulus in shown(kind):
        given = (
            tokenizer(stimulus, return_tensors="pt")
            if kind in LANGUAGE
            else processor(Image.fromarray(stimulus), return_tensors="pt")
        )
        # that of the last block, which what is reported may hold only after the final norm
        last = []
        hook = blocks(network)[-1].register_forward_hook(
            lambda module, args, output, last=last: last.append(
                output[0] if isinstance(output, tuple) else output
            )
        )
        reported = network(**given, output_hidden_states=True).hidden_states
        hook.remove()
        tokens = torch.stack([*reported[:N_BLOCKS], *last])[:, 0]  # (layer, token, unit)
        out.append(
            {
                "cls": tokens[:, 0],
                "mean": tokens[:, before:].mean(1),
                "mean_all": tokens.mean(1),
                "last": tokens[:, -1],
            }[pooling].numpy()
        )
    return np.stack(out, 1)


@pytest.mark.parametrize("kind", FAMILIES)
def test_features_are_those_of_one_stimulus_alone_whatever_the_batch_the_padding_and_the_order(
    folders, kind
):
    made, stimuli = load_model(str(folders[kind])), shown(kind)
    order = np.random.default_rng(0).permutation(len(stimuli))
    for pooling in poolings(kind):
        expected = plainly(kind, folders[kind], pooling)
        assert (
            expected.shape == (N_BLOCKS + 1, len(stimuli), 16) and np.abs(expected[-1]).max() > 0.1
        )
        for size in (1, 4, len(stimuli)):
            for places in (np.arange(len(stimuli)), order):
                some = [stimuli[i] for i in places]
                found = np.concatenate(
                    [
                        pooled_layers(made, some[i : i + size], [pooling])[pooling]
                        for i in range(0, len(some), size)
                    ],
                    1,
                )
                np.testing.assert_allclose(found, expected[:, places], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", FAMILIES)
def test_layers_go_from_the_embedding_to_the_last_block_before_the_final_norm(folders, kind):
    made, norm_saw = load_model(str(folders[kind])), []
    assert (made.n_layers, len(blocks(made.network))) == (N_BLOCKS, N_BLOCKS)
    assert made.modality == ("vision" if kind in VISION else "language")
    if kind in FINAL:
        final = made.network.get_submodule(FINAL[kind])
        final.register_forward_pre_hook(lambda module, args: norm_saw.append(args[0]))
    with torch.no_grad(), capture(made.network) as hidden:
        output = made.network(**made.encode(shown(kind)), output_hidden_states=True)
    assert len(hidden) == N_BLOCKS + 1 == len(output.hidden_states)
    for ours, theirs in zip(hidden[:-1], output.hidden_states):
        assert torch.equal(ours, theirs)
    if kind in FINAL:
        assert torch.equal(norm_saw[0], hidden[-1])
    else:
        assert torch.equal(
            output.last_hidden_state, hidden[-1]
        )  # CLIP norms the class token alone, and later


@pytest.mark.parametrize("kind", FAMILIES)
def test_each_block_makes_the_next_layer(folders, kind):
    made, steps = load_model(str(folders[kind])), []

    def note(module, args, kwargs, output):
        steps.append((module, args, kwargs))

    hooks = [block.register_forward_hook(note, with_kwargs=True) for block in blocks(made.network)]
    with torch.no_grad(), capture(made.network) as hidden:
        made.network(**made.encode(shown(kind)))
    for hook in hooks:
        hook.remove()
    for layer, (block, args, kwargs) in enumerate(steps):
        rest = {name: value for name, value in kwargs.items() if name != "hidden_states"}
        with torch.no_grad():
            again = block(hidden[layer], *args[1:], **rest)
        assert torch.allclose(
            again[0] if isinstance(again, tuple) else again, hidden[layer + 1], atol=1e-6
        )


# Captions


@pytest.mark.parametrize("kind", LANGUAGE)
def test_captions_are_the_tokenizers_own_tokens_padded_on_the_right(folders, kind):
    made, tokenizer = load_model(str(folders[kind])), AutoTokenizer.from_pretrained(folders[kind])
    encoded = made.encode(TEXTS)
    for text, ids, mask in zip(TEXTS, encoded["input_ids"], encoded["attention_mask"]):
        own = tokenizer(text)["input_ids"]
        assert ids[: len(own)].tolist() == own and mask.tolist() == [1] * len(own) + [0] * (
            len(mask) - len(own)
        )
    assert len(made.special_ids) == ADDED[kind]
    assert all(
        tuple(ids[: ADDED[kind]].tolist()) == made.special_ids for ids in encoded["input_ids"]
    )


def test_the_tokenizers_have_the_quirks_of_their_families(folders):
    found = {kind: AutoTokenizer.from_pretrained(folders[kind]) for kind in LANGUAGE}
    assert (found["bloom"].padding_side, found["bloom"].pad_token_id) == ("left", 3)
    assert (found["llama"].padding_side, found["llama"].pad_token) == ("left", None)
    assert not (folders["opt"] / "tokenizer.json").exists() and found["opt"].bos_token == "</s>"
    assert [found[kind]("")["input_ids"] for kind in LANGUAGE] == [[], [1], [], [2], [2]]


def test_a_special_token_that_a_caption_spells_out_is_read_as_its_tokenizer_does(folders):
    made, tokenizer = (
        load_model(str(folders["llama"])),
        AutoTokenizer.from_pretrained(folders["llama"]),
    )
    assert (
        made.encode(["a </s> boat"])["input_ids"][0].tolist()
        == tokenizer("a </s> boat")["input_ids"]
    )


@pytest.mark.parametrize("kind", LANGUAGE)
@pytest.mark.parametrize("empty", ["", "  ", "\n\t"])
def test_an_empty_caption_is_refused(folders, kind, empty):
    with pytest.raises(InputError, match=re.escape(f"caption 1 of the batch, {empty!r}, is empty")):
        load_model(str(folders[kind])).encode(["a boat", empty])


@pytest.mark.parametrize("kind", LANGUAGE)
def test_a_caption_longer_than_the_network_takes_is_refused_never_cut(folders, kind):
    made = load_model(str(folders[kind]))
    long = "boat" + " boat" * 200
    n = len(AutoTokenizer.from_pretrained(folders[kind])(long, verbose=False)["input_ids"])
    if kind == "bloom":
        assert made.encode([long])["input_ids"].shape == (1, n)  # ALiBi: no position is too far
    else:
        with pytest.raises(
            InputError,
            match=rf"caption 1 of the batch, .* has {n} tokens; the network accepts {LONGEST} \(2 "
            r"such",
        ):
            made.encode(["a boat", long, long])


def test_a_tokenizers_own_limit_counts_where_the_network_has_none(copy):
    folder = copy("bloom")
    path = folder / "tokenizer_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"model_max_length": 5}))
    with pytest.raises(InputError, match="the network accepts 5"):
        load_model(str(folder)).encode(["boat" + " boat" * 9])


# Images


def bicubic(x: np.ndarray) -> np.ndarray:  # Keys with a = -1/2
    x = np.abs(x)
    return np.where(
        x < 1, 1.5 * x**3 - 2.5 * x**2 + 1, np.where(x < 2, -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2, 0)
    )


def triangle(x: np.ndarray) -> np.ndarray:
    return np.maximum(0, 1 - np.abs(x))


def resized_rows(
    image: np.ndarray, n: int, kernel, reach: int
) -> np.ndarray:  # (row, column, RGB) uint8
    """One axis of a separable resize with antialiasing: the kernel is as wide as the new pixels,
    and cut at the edges."""
    scale = len(image) / n
    wide, out = max(scale, 1), []
    for i in range(n):
        centre = (i + 0.5) * scale
        first, last = (
            max(int(centre - reach * wide + 0.5), 0),
            min(int(centre + reach * wide + 0.5), len(image)),
        )
        weight = kernel((np.arange(first, last) + 0.5 - centre) / wide)
        fixed = np.trunc(weight / weight.sum() * 2**22 + np.copysign(0.5, weight)).astype(
            int
        )  # Pillow's 22 bits
        out.append((np.tensordot(fixed, image[first:last].astype(int), 1) + 2**21) >> 22)
    return np.clip(np.stack(out), 0, 255).astype(np.uint8)


def resized(
    image: np.ndarray, new: tuple[int, int], kernel, reach: int, *, columns_first: bool
) -> np.ndarray:
    "Both axes, rounded to whole levels in between."

    def down(image):
        return resized_rows(image, new[0], kernel, reach)

    def across(image):
        return resized_rows(image.swapaxes(0, 1), new[1], kernel, reach).swapaxes(0, 1)

    return down(across(image)) if columns_first else across(down(image))


def reference(
    image: np.ndarray, config: dict, *, columns_first: bool
) -> np.ndarray:  # (row, column, RGB) before scaling, 0…255
    "What the configuration says, written out."
    kernel, reach = {3: (bicubic, 2), 2: (triangle, 1)}[config["resample"]]
    (h, w), size = image.shape[:2], config["size"]
    size = {"shortest_edge": size} if isinstance(size, int) else size
    if edge := size.get("shortest_edge"):
        new = (edge, int(edge * w / h)) if h <= w else (int(edge * h / w), edge)
    else:
        new = size["height"], size["width"]
    top, left = (new[0] - SIZE) // 2, (new[1] - SIZE) // 2
    return resized(image, new, kernel, reach, columns_first=columns_first)[
        top : top + SIZE, left : left + SIZE
    ]


@pytest.mark.parametrize("kind", ["dinov2", "vit", "clip", "siglip"])
def test_preprocessing_is_what_the_configuration_says_pixel_by_pixel(folders, kind):
    config = PREPROCESSORS[kind]
    values = image_preprocessor(folders[kind])(photographs())["pixel_values"]
    assert values.shape == (len(photographs()), 3, SIZE, SIZE) and values.dtype == torch.float32
    levels = (values.permute(0, 2, 3, 1).numpy() * config["image_std"] + config["image_mean"]) * 255
    np.testing.assert_allclose(
        levels, np.round(levels), atol=1e-3
    )  # every pixel is one of 256 levels, scaled
    for image, found in zip(photographs(), np.round(levels)):
        same = [
            np.array_equal(found, reference(image, config, columns_first=first))
            for first in (True, False)
        ]
        assert same[0] or (
            same[1] and len(image) > 2 * image.shape[1]
        )  # Pillow takes the rows of tall images first


@pytest.mark.parametrize("kind", VISION)
def test_preprocessing_is_that_of_the_library_image_by_image(folders, kind):
    together = image_preprocessor(folders[kind])(photographs())["pixel_values"]
    processor = AutoImageProcessor.from_pretrained(folders[kind], backend="pil")
    for image, values in zip(photographs(), together):
        alone = processor(Image.fromarray(image), return_tensors="pt")["pixel_values"][0]
        assert torch.equal(values, alone.float())


def test_images_are_read_and_prepared_on_several_cores(folders):
    before, seen = torch.get_num_threads(), []
    images = OnDemand(tuple(photographs()), lambda image: seen.append(get_ident()) or image, str)
    torch.set_num_threads(4)
    try:
        several = image_preprocessor(folders["dinov2"])(images)["pixel_values"]
        assert get_ident() not in seen and len(seen) == len(photographs())
    finally:
        torch.set_num_threads(before)
    assert torch.equal(
        several, image_preprocessor(folders["dinov2"])(photographs())["pixel_values"]
    )


@pytest.mark.parametrize("kind", ["dinov2", "registers"])
def test_images_of_another_size_are_seen_as_by_a_preprocessor_that_names_it(folders, copy, kind):
    larger = load_model(str(folders[kind]), image_size=2 * SIZE)
    folder = copy(kind)
    path = folder / "preprocessor_config.json"
    described = json.loads(path.read_text())
    described["size"] = {"shortest_edge": 2 * described["size"]["shortest_edge"]}
    described["crop_size"] = {"height": 2 * SIZE, "width": 2 * SIZE}
    path.write_text(json.dumps(described))
    named = load_model(str(folder))
    pixels = larger.encode(photographs())["pixel_values"]
    assert pixels.shape == (9, 3, 2 * SIZE, 2 * SIZE)
    assert torch.equal(pixels, named.encode(photographs())["pixel_values"])
    found, expected, smaller = (
        pooled_layers(made, photographs(), ["mean"])["mean"]
        for made in (larger, named, load_model(str(folders[kind])))
    )
    assert np.array_equal(found, expected) and not np.allclose(found, smaller, atol=1e-3)
    usual = load_model(str(folders[kind])).revision
    assert larger.revision == f"{usual}-{2 * SIZE}px"


def test_an_image_size_without_a_crop_is_that_of_the_whole_image(folders):
    encode = image_preprocessor(folders["siglip"], 2 * SIZE)
    assert encode(photographs())["pixel_values"].shape == (9, 3, 2 * SIZE, 2 * SIZE)


@pytest.mark.parametrize("kind", ["siglip", "vit", "clip"])  # they interpolate no positions
def test_a_size_that_a_network_does_not_accept_is_refused_before_its_weights_are_read(
    folders, kind
):
    with pytest.raises(InputError, match="does not accept images of 32 pixels a side .* leave im"):
        load_model(str(folders[kind]), image_size=2 * SIZE, weights=False)


def test_an_image_size_is_for_vision_networks_of_others(folders):
    with pytest.raises(InputError, match="is a language network: leave image_size out"):
        load_model(str(folders["bloom"]), image_size=32)
    with pytest.raises(InputError, match="takes images of the size that its card names"):
        load_model("microworld/vision-0", image_size=32)


def test_images_that_stay_of_different_sizes_are_refused(copy):
    folder = copy("dinov2")
    (folder / "preprocessor_config.json").write_text(
        json.dumps(PREPROCESSORS["dinov2"] | {"do_center_crop": False})
    )
    with pytest.raises(
        InputError,
        match=r"preprocessor_config.json gives images \d different sizes: add a crop",
    ):
        load_model(str(folder)).encode(photographs(3))


def test_a_network_without_class_token_has_none_to_pool(folders):
    with pytest.raises(
        InputError,
        match="has no class token; its first token is an ordinary patch: pool by mean",
    ):
        pooled_layers(load_model(str(folders["siglip"])), photographs(), ["cls"])


# Loading


def test_the_head_of_a_language_model_is_left_out(folders):
    for kind in LANGUAGE:
        made = load_model(str(folders[kind])).network
        assert type(made).__name__.endswith("Model") and not made.config.use_cache


@pytest.mark.parametrize("kind", FAMILIES)
def test_number_types_are_those_asked_for_and_angles_stay_exact(folders, kind):
    exact = load_model(str(folders[kind]))
    for dtype, tolerance in (("bfloat16", 0.1), ("float16", 0.02), (torch.float64, 1e-4)):
        made = load_model(str(folders[kind]), dtype=dtype)
        assert {p.dtype for p in made.network.parameters()} == {loading.number_type(dtype)}
        for name, buffer in made.network.named_buffers():
            assert "inv_freq" not in name or buffer.dtype == torch.float32
        found, expected = (pooled_layers(m, shown(kind), ["mean"])["mean"] for m in (made, exact))
        assert (
            found.dtype == np.float32
            and np.abs(found - expected).max() < tolerance * np.abs(expected).max()
        )


@pytest.mark.parametrize("kind", FAMILIES)
def test_an_untrained_twin_needs_no_weights(folders, copy, kind):
    folder = copy(kind)
    (folder / "model.safetensors").unlink()
    state = torch.get_rng_state()
    one, same, other = (load_model(f"untrained:{folder}@{seed}") for seed in (3, 3, 4))
    assert torch.equal(torch.get_rng_state(), state) and one.revision.startswith(
        "untrained-seed-3-"
    )
    assert one.revision == same.revision != other.revision
    found = [
        pooled_layers(m, shown(kind), ["mean"])["mean"]
        for m in (one, same, other, load_model(str(folders[kind])))
    ]
    assert np.array_equal(found[0], found[1])
    assert not np.allclose(found[0], found[2]) and not np.allclose(found[0], found[3])


@pytest.mark.parametrize("kind", ["dinov2", "clip", "llama"])
def test_what_the_store_holds_is_read_without_weights(folders, tmp_path, kind):
    images = np.stack([np.resize(image, (40, 30, 3)) for image in photographs(7)])
    stimuli = StimulusSet("x", tuple("abcdefg"), images, tuple((text,) for text in TEXTS[:7]))
    for name in (str(folders[kind]), f"untrained:{folders[kind]}@3"):
        bare = load_model(name, weights=False, dtype="bfloat16")
        assert {p.device.type for p in bare.network.parameters()} == {"meta"}
        options = {"pooling": "mean", "store": Store(tmp_path), "progress": False}
        with pytest.raises(
            InputError, match="was loaded without its weights: load it with weights=True"
        ):
            extract(bare, stimuli, **options)
        assert extract(load_model(name, dtype="bfloat16"), stimuli, **options).identical(
            extract(bare, stimuli, **options)
        )


def test_a_revision_tells_apart_all_that_changes_features(copy):
    folder = copy("dinov2")
    revisions = [verified(folder)]
    for name in ("config.json", "preprocessor_config.json"):
        (folder / name).write_text((folder / name).read_text() + "\n")
        revisions.append(verified(folder))
    data = bytearray((folder / "model.safetensors").read_bytes())
    data[-1] ^= 1
    (folder / "model.safetensors").write_bytes(data)
    revisions.append(verified(folder))
    (folder / "README.md").touch()
    assert verified(folder) == revisions[-1] and len({*revisions}) == 4


def test_weights_in_parts_are_those_in_one(folders, tmp_path):
    folder = save("llama", tmp_path / "parts", max_shard_size="20KB")
    assert len(weight_files(folder)) > 2 and not (folder / "model.safetensors").exists()
    found, expected = (
        pooled_layers(load_model(str(f)), TEXTS, ["mean"])["mean"]
        for f in (folder, folders["llama"])
    )
    assert np.array_equal(found, expected)
    part = weight_files(folder)[1]
    part.unlink()
    with pytest.raises(
        InputError, match=rf"{part.name} is missing \(1 of \d+ parts of the weights\)"
    ):
        load_model(str(folder))


def test_nothing_keeps_a_network_that_nobody_holds(folders):
    for kind in ("dinov2", "llama"):
        gone = weakref.ref(load_model(str(folders[kind])).network)
        gc.collect()
        assert gone() is None
        made = load_model(str(folders[kind]))
        pooled_layers(made, shown(kind), ["mean"])
        gone = weakref.ref(made.network)
        del made
        gc.collect()
        assert gone() is None


def test_loading_says_nothing(folders, capfd):
    for kind in ("vit", "llama", "clip"):
        load_model(str(folders[kind]))  # whose heads are left out
    assert capfd.readouterr() == ("", "")


def test_a_family_extracts_through_the_store_like_any_other(folders, tmp_path):
    images = np.stack([np.resize(image, (40, 30, 3)) for image in photographs(7)])
    stimuli = StimulusSet("x", tuple("abcdefg"), images, tuple((text,) for text in TEXTS[:7]))
    for kind in ("dinov2", "bloom"):
        made, store = load_model(str(folders[kind])), Store(tmp_path)
        first, again = (
            extract(made, stimuli, pooling="mean", store=store, batch_size=3, progress=False)
            for _ in range(2)
        )
        assert first.identical(again) and first.attrs["revision"] == verified(folders[kind])
        assert feature_spec(made, stimuli, pooling="mean")["precision"] == "float32"
    assert len(store.keys()) == 2


# Faults


def test_weights_of_no_known_format_are_refused_with_the_way_out(copy):
    folder = copy("llama")
    torch.save({}, folder / "pytorch_model.bin")
    load_model(str(folder))  # beside safetensors it is not looked at
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").rename(folder / "flax_model.msgpack")
    with pytest.raises(
        InputError,
        match=r"has no model.safetensors and no pytorch_model.bin: .*convert .*save_pretrained",
    ):
        load_model(str(folder))


@pytest.mark.parametrize(
    ("kind", "file", "match"),
    [
        ("vit", "preprocessor_config.json", "has no preprocessor_config.json: save it with"),
        ("llama", "tokenizer.json", "has no tokenizer.json: save it with the network"),
        ("opt", "vocab.json", "has no tokenizer.json"),
        ("opt", "merges.txt", "the tokenizer .* is missing or damaged"),
        ("neox", "config.json", "has no config.json|no checkpoint"),
    ],
)
def test_a_missing_file_is_named(copy, kind, file, match):
    folder = copy(kind)
    (folder / file).unlink()
    with pytest.raises(InputError, match=match):
        load_model(str(folder))


@pytest.mark.parametrize(
    ("kind", "file"),
    [
        ("vit", "preprocessor_config.json"),
        ("neox", "tokenizer.json"),
        ("bloom", "config.json"),
        ("llama", "tokenizer_config.json"),
        ("opt", "vocab.json"),
    ],
)
@pytest.mark.parametrize("content", [b"{", b"[]", b"\xff\xfe", b""])
def test_a_torn_file_is_named(copy, kind, file, content):
    folder = copy(kind)
    (folder / file).write_bytes(content)
    with pytest.raises(InputError, match=rf"{kind}.*(missing or )?damaged"):
        load_model(str(folder))


def test_damaged_weights_are_refused_or_answer_as_before(copy):
    folder = copy("dinov2")
    path, rng = folder / "model.safetensors", random.Random(0)
    whole, expected = (
        path.read_bytes(),
        pooled_layers(load_model(str(folder)), photographs(), ["mean"])["mean"],
    )
    header, refused = 8 + int.from_bytes(whole[:8], "little"), []
    for place in [*range(8), *rng.sample(range(8, header), 40)]:
        path.write_bytes(
            whole[:place] + bytes([whole[place] ^ (1 << rng.randrange(8))]) + whole[place + 1 :]
        )
        try:
            found = pooled_layers(load_model(str(folder)), photographs(), ["mean"])["mean"]
        except InputError as error:
            refused.append(str(error))
        else:
            np.testing.assert_array_equal(found, expected)
    assert len(refused) > 40 and all(str(folder) in words and "again" in words for words in refused)
    for n in (0, 7, header - 1, header, len(whole) - 1):
        path.write_bytes(whole[:n])
        with pytest.raises(
            InputError, match=r"model.safetensors is damaged or not a safetensors file"
        ):
            load_model(str(folder))


def test_an_index_that_leaves_its_folder_is_refused(copy):
    folder = copy("vit")
    (folder / "model.safetensors").rename(folder / "x.safetensors")
    index = folder / "model.safetensors.index.json"
    for name in ("../x.safetensors", "/x.safetensors", "x.bin", 3, "a/x.safetensors"):
        index.write_text(json.dumps({"weight_map": {"a": name}}))
        with pytest.raises(InputError, match="which is not a safetensors file in the same folder"):
            load_model(str(folder))
    for text in ("", "[]", '{"weight_map": 3}', '{"weight": {}}'):
        index.write_text(text)
        with pytest.raises(InputError, match="index.json is damaged"):
            load_model(str(folder))


def test_a_network_that_transformers_does_not_know_is_refused_and_its_code_not_run(copy, tmp_path):
    folder, ran = copy("llama"), tmp_path / "ran"
    config = json.loads((folder / "config.json").read_text())
    (folder / "mine.py").write_text(f"open({str(ran)!r}, 'w')\n")
    code = {
        "auto_map": {
            "AutoConfig": "mine.C",
            "AutoModel": "mine.M",
            "AutoModelForCausalLM": "mine.M",
        }
    }
    (folder / "config.json").write_text(json.dumps(config | code | {"model_type": "mine"}))
    with pytest.raises(
        InputError, match="does not know; code that comes with a model is never run"
    ):
        load_model(str(folder))
    (folder / "config.json").write_text(
        json.dumps(config | code)
    )  # known to transformers, whose own class is taken
    assert type(load_model(str(folder)).network).__module__.startswith("transformers.")
    assert not ran.exists()


@pytest.fixture
def nobody_asked(monkeypatch):
    "On a terminal, where any question is a failure."

    def asked(*words):
        raise AssertionError(f"asked: {words}")

    monkeypatch.setattr("builtins.input", asked)
    monkeypatch.setattr(
        "sys.stdin",
        type("Terminal", (), {"isatty": lambda self: True, "readline": asked, "read": asked})(),
    )


def with_code(folder: Path, name: str, **said) -> Path:
    """Let a file of the folder name a module beside it, and return the file that this module writes
    when it runs."""
    ran = folder.parent / "ran"
    (folder / "mine.py").write_text(f"open({str(ran)!r}, 'w')\n")
    kinds = "AutoConfig", "AutoModel", "AutoModelForCausalLM", "AutoImageProcessor"
    code = dict.fromkeys(kinds, "mine.C") | {"AutoTokenizer": ["mine.C", "mine.C"]}
    path = folder / name
    path.write_text(json.dumps(json.loads(path.read_text()) | {"auto_map": code} | said))
    return ran


@pytest.mark.parametrize(
    ("kind", "name", "said"),
    [
        ("llama", "config.json", {"model_type": "mine"}),
        ("llama", "config.json", {"model_type": None}),
        ("llama", "config.json", {"model_type": ["llama"]}),
        ("llama", "tokenizer_config.json", {"tokenizer_class": "MineTokenizer"}),
        ("vit", "config.json", {"model_type": "mine"}),
        ("vit", "preprocessor_config.json", {"image_processor_type": "MineProcessor"}),
    ],
)
def test_a_folder_that_needs_its_own_code_is_refused_and_nobody_is_asked(
    copy, nobody_asked, kind, name, said
):
    folder = copy(kind)
    ran = with_code(folder, name, **said)
    refusal = (
        rf"{re.escape(str(folder))}: {name} names Python code .* that comes with a model is "
        r"never run"
    )
    with pytest.raises(InputError, match=refusal):
        load_model(str(folder))
    with pytest.raises(InputError, match=refusal):
        loading.check_whole(folder)
    assert not ran.exists()


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("llama", "config.json"),
        ("llama", "tokenizer_config.json"),
        ("vit", "config.json"),
        ("vit", "preprocessor_config.json"),
    ],
)
def test_what_transformers_knows_itself_is_read_without_the_code_beside_it(
    copy, nobody_asked, kind, name
):
    folder = copy(kind)
    expected = load_model(str(folder))
    ran = with_code(folder, name)
    found = load_model(str(folder))
    loading.check_whole(folder)
    batch = shown(kind)[:2]
    for key, values in expected.encode(batch).items():
        torch.testing.assert_close(found.encode(batch)[key], values, rtol=0, atol=0)
    assert type(found.network) is type(expected.network)
    assert not ran.exists()


def test_a_checkpoint_with_a_card_runs_no_code(tmp_path, nobody_asked):
    folder = Path(shutil.copytree(str(CHECKPOINTS / "llama-0"), tmp_path / "mine"))
    ran = with_code(folder, "config.json", model_type="mine")
    card = json.loads((folder / "card.json").read_text())
    weights = load_file(folder / "model.safetensors")
    save_file(
        weights,
        folder / "model.safetensors",
        {"format": "pt", "companions": _companions(folder, card)},
    )
    (folder / "card.json").write_text(
        json.dumps(card | {"sha256": file_digest(folder / "model.safetensors")})
    )
    for name in (str(folder), f"untrained:{folder}@0"):
        with pytest.raises(InputError, match=r"config\.json names Python code .* never run"):
            load_model(name)
    assert shape(get_preset("microworld"), str(folder), "language") is None
    assert not ran.exists()


def test_a_folder_that_brings_its_own_generation_is_not_run(copy, nobody_asked):
    folder = copy("llama")
    ran = folder.parent / "ran"
    (folder / "custom_generate").mkdir()
    (folder / "custom_generate/generate.py").write_text(
        f"open({str(ran)!r}, 'w')\ndef generate(model, **more): pass\n"
    )
    assert load_reader(str(folder)).has_weights
    assert load_model(str(folder)).has_weights
    assert not ran.exists()


@pytest.mark.parametrize(
    "said",
    [{"attn_implementation": "someone/attention"}, {"experts_implementation": "someone/experts"}],
)
def test_attention_from_a_repository_is_refused(copy, said):
    folder = copy("llama")
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | said))
    with pytest.raises(InputError, match="names the repository 'someone/"):
        load_model(str(folder))


@pytest.mark.parametrize(
    "architecture",
    [
        "BartModel",
        "SwinModel",
        "PoolFormerModel",
        "WhisperForConditionalGeneration",
    ],
)
def test_networks_of_another_kind_are_refused(copy, architecture):
    import transformers

    folder = copy("vit")
    getattr(transformers, architecture).config_class(architectures=[architecture]).save_pretrained(
        folder
    )
    with pytest.raises(
        InputError,
        match=f"architecture '{architecture}' is not a vision encoder, text encoder or causal "
        "language",
    ):
        load_model(str(folder))


def test_weights_of_another_network_are_refused(copy, folders):
    folder = copy("vit")
    for kind in ("dinov2", "llama"):
        shutil.copy(folders[kind] / "model.safetensors", folder)
        with pytest.raises(
            InputError,
            match="lacks .* weights that its config.json describes|cannot be built from its "
            "config.json",
        ):
            load_model(str(folder))
    config = json.loads((folders["vit"] / "config.json").read_text())
    shutil.copy(folders["vit"] / "model.safetensors", folder)
    (folder / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 4}))
    with pytest.raises(InputError, match="lacks 16 of the weights"):
        load_model(str(folder))
    (folder / "config.json").write_text(json.dumps(config | {"hidden_size": 32}))
    with pytest.raises(InputError, match="cannot be built from its config.json and weights"):
        load_model(str(folder))


@pytest.mark.parametrize(
    ("options", "match"),
    [
        (
            {"dtype": "int8"},
            "dtype 'int8': networks compute in float32, bfloat16, float16, float64",
        ),
        ({"device": "gpu"}, "device 'gpu' cannot be used here"),
        ({"revision": "main"}, "is not a repository on the hub, so it has no revision 'main'"),
    ],
)
def test_bad_options_are_refused(folders, options, match):
    with pytest.raises(InputError, match=match):
        load_model(str(folders["vit"]), **options)


def test_offloading_needs_accelerate(folders, monkeypatch):
    monkeypatch.setattr(loading.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(
        InputError,
        match="with the package accelerate: `pip install accelerate`, or give 'cpu' or 'cuda'",
    ):
        load_model(str(folders["llama"]), device="offload")


def test_a_network_that_hides_patches_is_refused():
    from transformers import ViTMAEConfig, ViTMAEModel

    config = ViTMAEConfig(
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        image_size=32,
        patch_size=8,
    )
    network = ViTMAEModel(config).eval()
    made = Model(
        "mae",
        "x",
        "vision",
        network,
        lambda images: {"pixel_values": torch.zeros(len(images), 3, 32, 32)},
    )
    with pytest.raises(
        InputError, match="mae has 5 tokens for 16 patches: it does not cover the whole image"
    ):
        pooled_layers(made, [0, 0], ["mean"])


def test_a_network_whose_blocks_are_unclear_is_refused_before_its_weights_are_read(copy):
    folder = copy("vit")
    (folder / "model.safetensors").write_bytes(b"")
    changes = {"num_hidden_layers": 0}
    (folder / "config.json").write_text(
        json.dumps(json.loads((folder / "config.json").read_text()) | changes)
    )
    with pytest.raises(InputError, match="ViTModel has no blocks"):
        load_model(str(folder))


def test_every_family_is_tested():
    assert {*FAMILIES} == {*CONFIGS}


def damaged_versions(whole: bytes, seed: int, n: int):
    "Cut and flipped at many places, and replaced by other kinds of things."
    rng = random.Random(seed)
    yield from (
        b"",
        b"null",
        b"[]",
        b"3",
        b'"text"',
        b"{}",
        b"\x00" * len(whole),
        b"\xff\xfe{}",
        b"[" * 10_000,
    )
    for place in rng.sample(range(len(whole)), min(n, len(whole))):
        yield whole[:place]
        yield whole[:place] + bytes([whole[place] ^ (1 << rng.randrange(8))]) + whole[place + 1 :]


@pytest.mark.parametrize(
    ("kind", "file"),
    [
        ("vit", "config.json"),
        ("vit", "preprocessor_config.json"),
        ("llama", "config.json"),
        ("llama", "tokenizer.json"),
        ("llama", "tokenizer_config.json"),
        ("opt", "vocab.json"),
        ("opt", "merges.txt"),
        ("bloom", "model.safetensors.index.json"),
    ],
)
def test_whatever_byte_is_damaged_the_network_answers_or_its_folder_is_named(copy, kind, file):
    """Never an error of another kind. In a user's own folder, a number changed into another valid
    number cannot be detected: then the network answers, but its revision, a digest of its files, is
    another."""
    folder = copy(kind)
    path, shown = folder / file, photographs(2) if kind == "vit" else TEXTS[:2]
    if file.endswith("index.json"):
        names = dict.fromkeys(load_file(folder / "model.safetensors"), "part.safetensors")
        (folder / "model.safetensors").rename(folder / "part.safetensors")
        path.write_text(json.dumps({"metadata": {}, "weight_map": names}))
    whole, sound = path.read_bytes(), load_model(str(folder))
    expected, refused = pooled_layers(sound, shown, ["mean"])["mean"], []
    for damaged in damaged_versions(whole, 0, 12):
        path.write_bytes(damaged)
        try:
            model = load_model(str(folder))
        except InputError as error:
            refused.append(str(error))
            continue
        try:
            found = pooled_layers(model, shown, ["mean"])["mean"]
        except InputError:
            pass  # as of a caption that has too many tokens now
        else:
            assert model.revision != sound.revision or np.array_equal(found, expected)
    assert len(refused) > 3 and all(kind in said for said in refused)


def test_a_masked_autoencoder_sees_the_whole_image_and_says_the_same_each_time(tmp_path):
    from transformers import ViTMAEConfig, ViTMAEForPreTraining

    shape = {
        "hidden_size": 16,
        "num_hidden_layers": 3,
        "num_attention_heads": 2,
        "intermediate_size": 32,
    }
    config = ViTMAEConfig(
        **shape, image_size=16, patch_size=8, decoder_hidden_size=8, decoder_num_attention_heads=2
    )
    ViTMAEForPreTraining(config).save_pretrained(tmp_path)
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(PREPROCESSORS["vit"]))
    images = photographs(5)
    for name in (str(tmp_path), f"untrained:{tmp_path}@0"):
        model = load_model(name)
        with capture(model.network, lambda hidden: hidden.shape[1]) as n_tokens:
            model.network(**model.encode(images))
        assert n_tokens == [1 + 4] * 4
        whole, again = (pooled_layers(model, images, ["cls", "mean"]) for _ in range(2))
        alone = [pooled_layers(model, [image], ["cls", "mean"]) for image in images]
        for how, values in whole.items():
            np.testing.assert_allclose(again[how], values, atol=1e-5)
            np.testing.assert_allclose(
                np.concatenate([one[how] for one in alone], 1), values, atol=1e-5
            )


def test_preprocessing_that_stands_in_the_file_of_a_processor_is_read(copy):
    folder = copy("clip")
    before, revision = (
        image_preprocessor(folder)(photographs(3))["pixel_values"],
        load_model(str(folder)).revision,
    )
    own = json.loads((folder / "preprocessor_config.json").read_text()) | {
        "image_processor_type": "CLIPImageProcessor"
    }
    (folder / "preprocessor_config.json").unlink()
    (folder / "processor_config.json").write_text(
        json.dumps({"processor_class": "CLIPProcessor", "image_processor": own})
    )
    check_whole(folder, both=True)
    assert torch.equal(image_preprocessor(folder)(photographs(3))["pixel_values"], before)
    assert load_model(str(folder)).revision != revision  # it counts as what features depend on


@pytest.mark.parametrize("size", [{"longest_edge": 16}, {"height": 16}, "large"])
def test_a_size_that_says_nothing_of_both_sides_is_refused_with_its_file(copy, size):
    folder = copy("vit")
    path = folder / "preprocessor_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"size": size}))
    with pytest.raises(InputError, match=f"{folder.name}.*preprocessor_config.json"):
        load_model(str(folder)).encode(photographs(2))


@pytest.mark.parametrize("kind", LANGUAGE)
def test_weights_without_a_next_token_head_are_refused(folders, copy, kind):
    check_head(folders[kind])
    folder = copy(kind)
    load_network(folder).save_pretrained(folder)
    tied = json.loads((folder / "config.json").read_text()).get("tie_word_embeddings", True)
    if tied:
        check_head(folder)
    else:
        with pytest.raises(
            InputError,
            match="has no head that predicts the next word: save the network with "
            "`AutoModelForCausalLM`",
        ):
            check_head(folder)


_SMALL = {
    "hidden_size": 16,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "vocab_size": 640,
}
_T5 = {"d_model": 16, "d_kv": 8, "d_ff": 32, "num_heads": 2, "vocab_size": 640}
ENCODERS = {  # class that was saved → its configuration; T5 with as many blocks as parts of a block
    "BertForMaskedLM": {},
    "BertModel": {},
    "RobertaForMaskedLM": {"max_position_embeddings": LONGEST + 2, "pad_token_id": 1},
    "MPNetModel": {},  # as of sentence-transformers
    "DebertaV2ForMaskedLM": {},
    "T5ForConditionalGeneration": _T5 | {"num_layers": 2},
    "T5EncoderModel": _T5 | {"num_layers": 3},
}


def save_encoder(name: str, folder: Path, **changes):
    "Save a text encoder with OPT's tokenizer, which adds one token before the first word."
    folder.mkdir()
    families._TOKENIZERS["opt"](folder)
    cls = getattr(transformers, name)
    config = cls.config_class(**(_SMALL if "num_layers" not in changes else {}) | changes)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = cls(config).eval()
    network.save_pretrained(folder)
    return network


@pytest.mark.parametrize("name", ENCODERS)
def test_a_text_encoder_is_a_language_network_without_a_loss(tmp_path, name):
    folder = tmp_path / "encoder"
    saved = save_encoder(name, folder, **ENCODERS[name])
    made = load_model(str(folder))
    assert made.modality == "language"
    check_whole(folder)
    check_head(folder)  # let pass: there is no loss to compute
    found = pooled_layers(made, TEXTS, ["mean", "last"])

    body = saved.get_encoder() if name.startswith("T5") else saved.base_model
    for i, text in enumerate(TEXTS):
        with torch.no_grad():
            states = body(**made.encode([text]), output_hidden_states=True).hidden_states
        for layer in range(made.n_layers):  # T5 reports the last layer after its final norm
            tokens = states[layer][0].numpy()
            np.testing.assert_allclose(found["last"][layer, i], tokens[-1], atol=1e-5)
            np.testing.assert_allclose(found["mean"][layer, i], tokens[1:].mean(0), atol=1e-5)
    with pytest.raises(InputError, match="is a text encoder .* which predicts no next word"):
        load_reader(str(folder))


def test_a_roberta_takes_as_many_tokens_as_it_has_positions_behind_the_padding(tmp_path):
    save_encoder("RobertaForMaskedLM", tmp_path / "x", **ENCODERS["RobertaForMaskedLM"])
    made = load_model(str(tmp_path / "x"))
    longest = " ".join(["a"] * (LONGEST - 1))  # and the token that is added
    assert len(made.encode([longest])["input_ids"][0]) == LONGEST
    assert np.isfinite(pooled_layers(made, [longest], ["last"])["last"]).all()
    with pytest.raises(InputError, match=f"the network accepts {LONGEST} "):
        made.encode([longest + " a"])


def test_a_bert_that_is_a_decoder_has_a_loss_only_with_its_head(tmp_path):
    save_encoder("BertLMHeadModel", tmp_path / "whole", is_decoder=True)
    check_head(tmp_path / "whole")
    reader = load_reader(str(tmp_path / "whole"))
    assert np.isfinite(caption_losses(reader, TEXTS[:2])).all()

    save_encoder("BertModel", tmp_path / "body", is_decoder=True)
    assert load_model(str(tmp_path / "body")).has_weights
    with pytest.raises(InputError, match="has no head that predicts the next word"):
        check_head(tmp_path / "body")


def test_lists_inside_blocks_are_not_taken_for_blocks(tmp_path):
    save_encoder("T5EncoderModel", tmp_path / "x", **_T5 | {"num_layers": 2})
    made = load_model(str(tmp_path / "x"))
    assert pooled_layers(made, TEXTS[:2], ["mean"])["mean"].shape == (3, 2, 16)
