"""Tiny random networks of each family, saved as their makers publish them: their own tokenizers
with their quirks.

BLOOM pads on the left with token 3 and adds nothing; LLaMA pads on the left, has no token to pad
with, and adds `<s>` before; GPT-NeoX begins, ends and knows nothing by one token, and adds none;
OPT comes as vocabulary and merges, and adds `</s>` before.
"""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from torch import nn
from transformers import (
    BloomConfig,
    CLIPConfig,
    Dinov2Config,
    Dinov2WithRegistersConfig,
    GPTNeoXConfig,
    LlamaConfig,
    LlamaTokenizer,
    OPTConfig,
    PreTrainedConfig,
    PreTrainedTokenizerFast,
    SiglipConfig,
    ViTConfig,
)
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING, MODEL_MAPPING

N_BLOCKS, SIZE, LONGEST = 3, 16, 40
TEXTS = [
    "A red boat near the old barn.",
    "Two dogs sleep by the sea, under a small tree!",
    "the café's door is 12 feet high",
    "sky",
    "An old man and a boat; a dog. A DOG?",
    "ein Hund schläft — 犬が寝る",
    "a",
    "boat " * 12 + "boat",
]
_SHAPE = {"hidden_size": 16, "num_hidden_layers": N_BLOCKS, "num_attention_heads": 2}
_WIDE = _SHAPE | {"intermediate_size": 32}
_SEES = {"image_size": SIZE, "patch_size": 8, "initializer_range": 0.3}
_OPT = _SHAPE | {"ffn_dim": 32, "init_std": 0.3, "max_position_embeddings": LONGEST}
_TOWERS = {
    "text_config": _WIDE | {"max_position_embeddings": 12, "projection_dim": 8},
    "projection_dim": 8,
    "vision_config": _WIDE | {"image_size": SIZE, "patch_size": 8, "projection_dim": 8},
}

CONFIGS: dict[str, Callable[..., PreTrainedConfig]] = {
    "dinov2": lambda: Dinov2Config(**_SHAPE, **_SEES, architectures=["Dinov2Model"]),
    "registers": lambda: Dinov2WithRegistersConfig(
        **_SHAPE, **_SEES, num_register_tokens=4, architectures=["Dinov2WithRegistersModel"]
    ),
    "vit": lambda: ViTConfig(**_WIDE, **_SEES, architectures=["ViTForImageClassification"]),
    "clip": lambda **ids: CLIPConfig(
        **_TOWERS | {"text_config": _TOWERS["text_config"] | ids}, architectures=["CLIPModel"]
    ),
    "siglip": lambda: SiglipConfig(**_TOWERS, architectures=["SiglipModel"]),
    "bloom": lambda **ids: BloomConfig(
        n_layer=N_BLOCKS,
        n_head=2,
        hidden_size=16,
        initializer_range=0.3,
        architectures=["BloomForCausalLM"],
        **ids,
    ),
    "llama": lambda **ids: LlamaConfig(
        **_WIDE,
        initializer_range=0.3,
        max_position_embeddings=LONGEST,
        architectures=["LlamaForCausalLM"],
        **ids,
    ),
    "neox": lambda **ids: GPTNeoXConfig(
        **_WIDE,
        initializer_range=0.3,
        max_position_embeddings=LONGEST,
        architectures=["GPTNeoXForCausalLM"],
        **ids,
    ),
    "opt": lambda **ids: OPTConfig(**_OPT, architectures=["OPTForCausalLM"], **ids),
    "opt-350m": lambda **ids: OPTConfig(
        **_OPT,
        word_embed_proj_dim=8,
        do_layer_norm_before=False,
        architectures=["OPTForCausalLM"],
        **ids,
    ),
}
VISION = ("dinov2", "registers", "vit", "clip", "siglip")
LANGUAGE = ("bloom", "llama", "neox", "opt", "opt-350m")
ADDED = {"bloom": 0, "llama": 1, "neox": 0, "opt": 1, "opt-350m": 1}  # tokens before the first word

_MEAN, _STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
_SCALED = {
    "do_resize": True,
    "do_rescale": True,
    "rescale_factor": 1 / 255,
    "do_normalize": True,
    "image_mean": _MEAN,
    "image_std": _STD,
}
_CROPPED = {
    "do_center_crop": True,
    "crop_size": {"height": SIZE, "width": SIZE},
    "do_convert_rgb": True,
}
# as of facebook/dinov2-large, google/vit-base-patch16-224, openai/clip-vit-large-patch14,
# google/siglip-…
PREPROCESSORS = {
    "dinov2": {
        "image_processor_type": "BitImageProcessor",
        "resample": 3,
        "size": {"shortest_edge": 20},
    }
    | _CROPPED,
    "vit": {
        "image_processor_type": "ViTImageProcessor",
        "resample": 2,
        "size": {"height": SIZE, "width": SIZE},
    },
    "clip": {
        "feature_extractor_type": "CLIPFeatureExtractor",
        "resample": 3,
        "size": SIZE,
        "crop_size": SIZE,
        "do_center_crop": True,
    },  # as it was written years ago
    "siglip": {
        "image_processor_type": "SiglipImageProcessor",
        "resample": 3,
        "size": {"height": SIZE, "width": SIZE},
    },
}
PREPROCESSORS = {
    kind: _SCALED | own
    for kind, own in (PREPROCESSORS | {"registers": PREPROCESSORS["dinov2"]}).items()
}


def _bytes(*special: str) -> Tokenizer:
    "Byte-level BPE, as of BLOOM, GPT-NeoX and OPT."
    made = Tokenizer(models.BPE())
    made.pre_tokenizer, made.decoder = (
        pre_tokenizers.ByteLevel(add_prefix_space=False),
        decoders.ByteLevel(),
    )
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    made.train_from_iterator(
        TEXTS,
        trainers.BpeTrainer(
            vocab_size=320,
            special_tokens=list(special),
            initial_alphabet=alphabet,
            show_progress=False,
        ),
    )
    return made


def _named(folder: Path, cls: str) -> None:  # the class that its makers name
    path = folder / "tokenizer_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"tokenizer_class": cls}))


def _bloom(folder: Path) -> dict:
    PreTrainedTokenizerFast(
        tokenizer_object=_bytes("<unk>", "<s>", "</s>", "<pad>"),
        unk_token="<unk>",
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        padding_side="left",
    ).save_pretrained(folder)
    _named(folder, "BloomTokenizerFast")
    return {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 3}


def _neox(folder: Path) -> dict:
    end = "<|endoftext|>"
    PreTrainedTokenizerFast(
        tokenizer_object=_bytes(end, "<|padding|>"), unk_token=end, bos_token=end, eos_token=end
    ).save_pretrained(folder)
    _named(folder, "GPTNeoXTokenizerFast")
    return {"bos_token_id": 0, "eos_token_id": 0}


def _llama(folder: Path) -> dict:
    made = Tokenizer(models.BPE(byte_fallback=True, fuse_unk=True, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.Metaspace()
    fallback = [f"<0x{i:02X}>" for i in range(256)]
    made.train_from_iterator(
        TEXTS,
        trainers.BpeTrainer(
            vocab_size=360, special_tokens=["<unk>", "<s>", "</s>", *fallback], show_progress=False
        ),
    )
    state = json.loads(made.to_str())["model"]
    LlamaTokenizer(
        vocab=state["vocab"], merges=[tuple(pair) for pair in state["merges"]], add_bos_token=True
    ).save_pretrained(folder)
    return {"bos_token_id": 1, "eos_token_id": 2}


def _opt(folder: Path) -> dict:
    folder.mkdir(parents=True, exist_ok=True)
    _bytes("<s>", "<pad>", "</s>", "<unk>").model.save(str(folder))
    end = {
        "__type": "AddedToken",
        "content": "</s>",
        "lstrip": False,
        "normalized": True,
        "rstrip": False,
        "single_word": False,
    }
    pad = end | {"content": "<pad>"}
    (folder / "tokenizer_config.json").write_text(
        json.dumps(
            {
                "errors": "replace",
                "unk_token": end,
                "bos_token": end,
                "eos_token": end,
                "pad_token": pad,
                "add_prefix_space": False,
                "add_bos_token": True,
                "tokenizer_class": "GPT2Tokenizer",
            }
        )
    )
    return {"bos_token_id": 2, "eos_token_id": 2, "pad_token_id": 1}


def _clip(folder: Path) -> dict:
    made = _bytes("<|startoftext|>", "<|endoftext|>")
    made.post_processor = processors.TemplateProcessing(
        "<|startoftext|> $A <|endoftext|>",
        special_tokens=[("<|startoftext|>", 0), ("<|endoftext|>", 1)],
    )
    PreTrainedTokenizerFast(
        tokenizer_object=made,
        bos_token="<|startoftext|>",
        eos_token="<|endoftext|>",
        pad_token="<|endoftext|>",
        model_max_length=12,
    ).save_pretrained(folder)
    return {"bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 1, "vocab_size": 320}


_TOKENIZERS = {
    "bloom": _bloom,
    "llama": _llama,
    "neox": _neox,
    "opt": _opt,
    "opt-350m": _opt,
    "clip": _clip,
}


def full_network(kind: str, *, seed: int = 0, **ids) -> nn.Module:
    "The network as its makers save it, with its head."
    config = CONFIGS[kind](**ids)
    cls = (MODEL_FOR_CAUSAL_LM_MAPPING if kind in LANGUAGE else MODEL_MAPPING)[type(config)]
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return cls(config).eval()


def save(kind: str, folder: Path, *, seed: int = 0, **options) -> Path:
    "A folder as `save_pretrained` leaves it."
    folder.mkdir(parents=True, exist_ok=True)
    ids = _TOKENIZERS[kind](folder) if kind in _TOKENIZERS else {}
    if kind in LANGUAGE:
        ids["vocab_size"] = 640
    full_network(kind, seed=seed, **ids).save_pretrained(folder, **options)
    if kind in PREPROCESSORS:
        (folder / "preprocessor_config.json").write_text(json.dumps(PREPROCESSORS[kind]))
    return folder


def photographs(n: int = 9, *, seed: int = 0) -> list[np.ndarray]:
    "Noise over gradients, of different sizes and shapes: wide, tall, small, square, of odd sides."
    rng = np.random.default_rng(seed)
    sizes = [(48, 64), (64, 48), (33, 47), (16, 16), (20, 20), (9, 31), (90, 21), (17, 200), (3, 3)]
    made = []
    for i in range(n):
        h, w = sizes[i % len(sizes)]
        slope = np.linspace(0, 255, h * w).reshape(h, w, 1)
        made.append(
            np.clip(slope * rng.random(3) + rng.normal(0, 40, (h, w, 3)), 0, 255).astype(np.uint8)
        )
    return made
