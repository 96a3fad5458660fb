"""What the preset `paper` names, with random weights and pictures, in the files that its makers
publish: their configurations, names of weights, number formats, parts and archives.

Sizes are the true ones, but that OpenLLaMA and the judge have two blocks; `SMALL` has narrow
networks and fewer stimuli in the same files.
"""

import json
import shutil
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import datasets

PINNED = {  # the commits at which `paper` takes them
    "facebook/dinov2-large": "47b73eefe95e8d44ec3623f8890bd894b6ea2d6c",
    "bigscience/bloom-560m": "ac2ae5fab2ce3f9f40dc79b5ca9f637430d24971",
    "openlm-research/open_llama_7b": "6fb184ff23774c25bf84b3628e49c8b78372c7be",
    "openai/clip-vit-large-patch14": "32bd64288804d66eefd0ccbe215aa642df71cc41",
}
COPY, COPY_COMMIT = "a-laboratory/pick-a-pic", "1" * 40  # of Pick-a-Pic, which a user would name
COCO_SIZES = ((640, 480), (480, 640), (500, 375), (640, 427))  # the most frequent in val2017
ZIPS = {  # archive of COCO → its folder on the server
    "val2017.zip": "zips",
    "annotations_trainval2017.zip": "annotations",
    "panoptic_annotations_trainval2017.zip": "annotations",
}


@dataclass(frozen=True)
class Size:
    """How large everything is.

    Parameters
    ----------
    n_images : int
        Images of COCO, and of Flickr30k.
    n_rankings : int
        Of each split of Pick-a-Pic.
    side : int
        Pixels of its images.
    changes : mapping
        Network → what differs from its true configuration.
    """

    n_images: int
    n_rankings: int
    side: int
    changes: Mapping[str, Mapping] = field(default_factory=dict)


TRUE = Size(60, 500, 512)
_NARROW_TOWER = {"hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 2}
SMALL = Size(
    26,
    36,
    64,
    {
        "dinov2-large": {"hidden_size": 32, "num_attention_heads": 2, "num_hidden_layers": 6},
        "bloom-560m": {"n_embed": 32, "num_attention_heads": 2, "n_layer": 3},
        "open_llama_7b": {"hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 2},
        "clip-vit-large-patch14": {
            "text_config": _NARROW_TOWER,
            "vision_config": _NARROW_TOWER,
        },
    },
)


# Configurations, as the repositories have them

DINOV2 = {
    "architectures": ["Dinov2Model"],
    "attention_probs_dropout_prob": 0.0,
    "drop_path_rate": 0.0,
    "hidden_act": "gelu",
    "hidden_dropout_prob": 0.0,
    "hidden_size": 1024,
    "image_size": 518,
    "initializer_range": 0.02,
    "layer_norm_eps": 1e-06,
    "layerscale_value": 1.0,
    "mlp_ratio": 4,
    "model_type": "dinov2",
    "num_attention_heads": 16,
    "num_channels": 3,
    "num_hidden_layers": 24,
    "patch_size": 14,
    "qkv_bias": True,
    "torch_dtype": "float32",
    "transformers_version": "4.31.0.dev0",
    "use_swiglu_ffn": False,
}
DINOV2_PREPROCESSOR = {
    "crop_size": {"height": 224, "width": 224},
    "do_center_crop": True,
    "do_convert_rgb": True,
    "do_normalize": True,
    "do_rescale": True,
    "do_resize": True,
    "image_mean": [0.485, 0.456, 0.406],
    "image_processor_type": "BitImageProcessor",
    "image_std": [0.229, 0.224, 0.225],
    "resample": 3,
    "rescale_factor": 0.00392156862745098,
    "size": {"shortest_edge": 256},
}
BLOOM = {  # with the old names n_embed and num_attention_heads
    "apply_residual_connection_post_layernorm": False,
    "architectures": ["BloomForCausalLM"],
    "attention_dropout": 0.0,
    "attention_softmax_in_fp32": True,
    "bias_dropout_fusion": True,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "hidden_dropout": 0.0,
    "initializer_range": 0.02,
    "layer_norm_epsilon": 1e-05,
    "masked_softmax_fusion": True,
    "model_type": "bloom",
    "n_embed": 1024,
    "n_inner": None,
    "n_layer": 24,
    "num_attention_heads": 16,
    "offset_alibi": 100,
    "pad_token_id": 3,
    "pretraining_tp": 1,
    "seq_length": 2048,
    "skip_bias_add": True,
    "skip_bias_add_qkv": False,
    "transformers_version": "4.20.0",
    "unk_token_id": 0,
    "use_cache": True,
    "vocab_size": 250880,
}
OPEN_LLAMA = {
    "architectures": ["LlamaForCausalLM"],
    "bos_token_id": 1,
    "eos_token_id": 2,
    "hidden_act": "silu",
    "hidden_size": 4096,
    "initializer_range": 0.02,
    "intermediate_size": 11008,
    "max_position_embeddings": 2048,
    "model_type": "llama",
    "num_attention_heads": 32,
    "num_hidden_layers": 2,  # 32 in truth
    "pad_token_id": 0,
    "rms_norm_eps": 1e-06,
    "tie_word_embeddings": False,
    "torch_dtype": "float16",
    "transformers_version": "4.30.0.dev0",
    "use_cache": True,
    "vocab_size": 32000,
}
CLIP = {
    "architectures": ["CLIPModel"],
    "initializer_factor": 1.0,
    "logit_scale_init_value": 2.6592,
    "model_type": "clip",
    "projection_dim": 768,
    "text_config": {
        "bos_token_id": 0,
        "eos_token_id": 2,  # the old fault: the token that closes a caption has another id
        "hidden_act": "quick_gelu",
        "hidden_size": 768,
        "intermediate_size": 3072,
        "layer_norm_eps": 1e-05,
        "max_position_embeddings": 77,
        "model_type": "clip_text_model",
        "num_attention_heads": 12,
        "num_hidden_layers": 2,  # 12 in truth
        "pad_token_id": 1,
        "projection_dim": 768,
        "vocab_size": 49408,
    },
    "torch_dtype": "float32",
    "vision_config": {
        "hidden_act": "quick_gelu",
        "hidden_size": 1024,
        "image_size": 224,
        "intermediate_size": 4096,
        "layer_norm_eps": 1e-05,
        "model_type": "clip_vision_model",
        "num_attention_heads": 16,
        "num_hidden_layers": 2,  # 24 in truth
        "patch_size": 14,
        "projection_dim": 768,
    },
}
CLIP_PREPROCESSOR = {
    "crop_size": 224,
    "do_center_crop": True,
    "do_normalize": True,
    "do_resize": True,
    "feature_extractor_type": "CLIPFeatureExtractor",
    "image_mean": [0.48145466, 0.4578275, 0.40821073],
    "image_std": [0.26862954, 0.26130258, 0.27577711],
    "resample": 3,
    "size": 224,
}


def _write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n")


# Tokenizers of the true number of words: some are learnt, the rest is never met


def _learnt(
    n_words: int, *, first: tuple[str, ...] = (), last: tuple[str, ...] = (), end: str = ""
) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Vocabulary and merges of byte-level BPE. The tokens `first` have the lowest ids, `last` the
    highest; `end` closes a word.
    """
    from families import TEXTS
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    suffix = {"end_of_word_suffix": end} if end else {}
    made = Tokenizer(models.BPE(**suffix))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=not end)
    if end:
        made.pre_tokenizer = pre_tokenizers.Sequence(
            [pre_tokenizers.WhitespaceSplit(), made.pre_tokenizer]
        )
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=900,
        special_tokens=list(first),
        initial_alphabet=alphabet,
        show_progress=False,
        **suffix,
    )
    texts = [*TEXTS, *(text for i in range(60) for text in datasets.captions(i))]
    made.train_from_iterator(texts, trainer)
    state = json.loads(made.to_str())["model"]
    words = state["vocab"]
    if end:
        for letter in sorted(alphabet):
            words.setdefault(letter + end, len(words))
    for k in range(n_words - len(words) - len(last)):
        words[f"<unmet {k}>"] = len(words)
    for token in last:
        words[token] = len(words)
    return words, [tuple(pair) for pair in state["merges"]]


def _bloom_words(folder: Path) -> None:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    special = ("<unk>", "<s>", "</s>", "<pad>")
    made = Tokenizer(models.BPE(*_learnt(250_680, first=special)))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    made.add_special_tokens(list(special))
    made.save(str(folder / "tokenizer.json"))
    named = dict(zip(("unk_token", "bos_token", "eos_token", "pad_token"), special))
    _write_json(folder / "special_tokens_map.json", named)
    about = {"name_or_path": "bigscience/tokenizer", "add_prefix_space": False}
    about |= {"padding_side": "left", "tokenizer_class": "BloomTokenizerFast"}
    _write_json(folder / "tokenizer_config.json", named | about)


def _open_llama_words(folder: Path) -> None:
    "A tokenizer.model of 32 000 pieces and no tokenizer.json."
    import open_llama
    from sentencepiece import sentencepiece_model_pb2

    open_llama.write_tokenizer(folder)
    path = folder / "tokenizer.model"
    model = sentencepiece_model_pb2.ModelProto.FromString(path.read_bytes())
    lowest = min(piece.score for piece in model.pieces)
    for k in range(OPEN_LLAMA["vocab_size"] - len(model.pieces)):
        model.pieces.add(piece=f"▁unmet▁{k}", score=lowest - 1 - k)
    model.trainer_spec.vocab_size = len(model.pieces)
    path.write_bytes(model.SerializeToString())


def _clip_words(folder: Path) -> None:
    from transformers import CLIPTokenizer

    words, merges = _learnt(49_408, last=("<|startoftext|>", "<|endoftext|>"), end="</w>")
    CLIPTokenizer(words, merges).backend_tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "vocab.json").write_text(json.dumps(words))
    lines = ["#version: 0.2", *(" ".join(pair) for pair in merges)]
    (folder / "merges.txt").write_text("\n".join(lines) + "\n")
    ends = {"bos_token": "<|startoftext|>", "eos_token": "<|endoftext|>"}
    ends |= {"pad_token": "<|endoftext|>", "unk_token": "<|endoftext|>"}
    _write_json(folder / "special_tokens_map.json", ends)
    about = {"model_max_length": 77, "tokenizer_class": "CLIPTokenizer", "do_lower_case": True}
    _write_json(folder / "tokenizer_config.json", ends | about)


# Networks


def _drawn(cls: type, config, seed: int) -> dict:
    "Weights by name, drawn as transformers draws them."
    import torch

    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = cls(config)
    return dict(network.state_dict())


def _dinov2(folder: Path, **changes) -> None:
    from safetensors.torch import save_file
    from transformers import Dinov2Config, Dinov2Model

    config = DINOV2 | changes
    _write_json(folder / "config.json", config)
    _write_json(folder / "preprocessor_config.json", DINOV2_PREPROCESSOR)
    weights = _drawn(Dinov2Model, Dinov2Config.from_dict(config), 101)
    save_file(weights, folder / "model.safetensors", {"format": "pt"})


def _bloom(folder: Path, **changes) -> None:
    "Old names of weights, without `transformer.` and without the head, which is the embedding."
    from safetensors.torch import save_file
    from transformers import BloomConfig, BloomModel

    config = BLOOM | changes
    _write_json(folder / "config.json", config)
    _bloom_words(folder)
    weights = _drawn(BloomModel, BloomConfig.from_dict(config), 102)
    weights = {name: weight.half() for name, weight in weights.items()}
    assert "word_embeddings.weight" in weights
    save_file(weights, folder / "model.safetensors", {"format": "pt"})


def _open_llama(folder: Path, **changes) -> None:
    "Two parts of pytorch_model.bin with their index, and buffers that later versions do not have."
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    config = OPEN_LLAMA | changes
    _write_json(folder / "config.json", config)
    _open_llama_words(folder)
    weights = _drawn(LlamaForCausalLM, LlamaConfig.from_dict(config), 103)
    weights = {name: weight.half() for name, weight in weights.items()}
    width = config["hidden_size"] // config["num_attention_heads"]
    for layer in range(config["num_hidden_layers"]):
        old = f"model.layers.{layer}.self_attn.rotary_emb.inv_freq"
        weights[old] = 1 / 10_000 ** (torch.arange(0, width, 2) / width)
    names = sorted(weights)
    where = {}
    for k, some in enumerate((names[: len(names) // 2], names[len(names) // 2 :])):
        part = f"pytorch_model-0000{k + 1}-of-00002.bin"
        torch.save({name: weights[name] for name in some}, folder / part)
        where |= dict.fromkeys(some, part)
    size = sum(weight.nbytes for weight in weights.values())
    index = {"metadata": {"total_size": size}, "weight_map": where}
    _write_json(folder / "pytorch_model.bin.index.json", index)


def _clip(folder: Path, **changes) -> None:
    "With numbers of positions among the weights, as they once were saved."
    import torch
    from safetensors.torch import save_file
    from transformers import CLIPConfig, CLIPModel

    config = CLIP | {name: CLIP[name] | changed for name, changed in changes.items()}
    _write_json(folder / "config.json", config)
    _write_json(folder / "preprocessor_config.json", CLIP_PREPROCESSOR)
    _clip_words(folder)
    weights = _drawn(CLIPModel, CLIPConfig.from_dict(config), 104)
    for tower, n in (("text", 77), ("vision", 257)):
        weights[f"{tower}_model.embeddings.position_ids"] = torch.arange(n)[None]
    save_file(weights, folder / "model.safetensors", {"format": "pt"})


# Data sets


def _zip(path: Path, root: Path, members: list[Path], **more: bytes) -> None:
    with zipfile.ZipFile(path, "w") as made:
        for member in members:
            made.write(member, member.relative_to(root))
        for name, content in more.items():
            made.writestr(name, content)


def _coco(folder: Path, size: Size) -> None:
    "The three archives of COCO; that of the panoptic annotations has another in it."
    root = datasets.coco(folder / "unpacked", size.n_images, sizes=COCO_SIZES)
    notes = root / "annotations"
    inner = notes / "panoptic_val2017.zip"
    _zip(inner, notes, sorted((notes / "panoptic_val2017").iterdir()))
    with zipfile.ZipFile(inner, "a") as made:  # as macOS leaves it
        made.writestr("__MACOSX/._panoptic_val2017", b"junk")
    _zip(folder / "val2017.zip", root, sorted((root / "val2017").iterdir()))
    captions = [notes / "captions_val2017.json"]
    other = {"annotations/instances_val2017.json": b"{}"}
    _zip(folder / "annotations_trainval2017.zip", root, captions, **other)
    panoptic = [notes / "panoptic_val2017.json", inner]
    _zip(folder / "panoptic_annotations_trainval2017.zip", root, panoptic)
    shutil.rmtree(root)


def _pick_a_pic(folder: Path, size: Size) -> None:
    for split in ("validation_unique", "test_unique"):
        datasets.pick_a_pic(folder, size.n_rankings, split, side=size.side, n_files=1)


def _flickr30k(folder: Path, size: Size) -> None:
    "As nlphuji/flickr30k is unpacked."
    made = folder / "made"
    datasets.flickr30k(made, "flickr_annotations_30k.csv", size.n_images, (500, 375))
    for path in made.iterdir():
        path.rename(folder / path.name)
    made.rmdir()


NETWORKS: Mapping[str, Callable[..., None]] = {
    "dinov2-large": _dinov2,
    "bloom-560m": _bloom,
    "open_llama_7b": _open_llama,
    "clip-vit-large-patch14": _clip,
}
DATA: Mapping[str, Callable[[Path, Size], None]] = {
    "coco": _coco,
    "pick-a-pic": _pick_a_pic,
    "flickr30k": _flickr30k,
}


def write(root: Path, size: Size = TRUE) -> Path:
    "Write everything that is not there yet; what a killed run left half written is written again."
    for name, make in {**NETWORKS, **DATA}.items():
        if (root / name).is_dir():
            continue
        begun = root / f".{name}.begun"
        shutil.rmtree(begun, ignore_errors=True)
        begun.mkdir(parents=True)
        if name in NETWORKS:
            make(begun, **size.changes.get(name, {}))
        else:
            make(begun, size)
        begun.rename(root / name)
    return root


def repositories(root: Path) -> dict[str, dict[str, Path]]:
    "As `hub.hub` takes them: name → commit → folder."
    found = {}
    for name, commit in PINNED.items():
        found[name] = {commit: root / name.partition("/")[2]}
    found[f"datasets/{COPY}"] = {COPY_COMMIT: root / "pick-a-pic"}
    return found


def archives(root: Path) -> dict[str, Path]:
    "COCO's archives by their address on the server."
    return {f"{folder}/{name}": root / "coco" / name for name, folder in ZIPS.items()}
