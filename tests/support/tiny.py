"Networks small enough to be made, saved and run many times in a test."

from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from torch import nn
from transformers import BloomConfig, Dinov2Config, LlamaConfig, PreTrainedConfig

from seeing_words.data.stimuli import StimulusSet
from seeing_words.models.checkpoints import save_checkpoint
from seeing_words.models.extract import extract_many
from seeing_words.models.load import Model, load_model
from seeing_words.models.store import Store
from seeing_words.models.weights import build_network

WORDS = "a boat and the dog by sea small red sleeps near barn under old sky".split()
PREPROCESS = {"mean": [0.5] * 3, "std": [0.25] * 3, "size": 16}
KINDS = ("dinov2", "llama", "bloom")


def config(kind: str, **changes) -> PreTrainedConfig:
    if kind == "dinov2":
        return Dinov2Config(
            **{
                "hidden_size": 16,
                "num_hidden_layers": 3,
                "num_attention_heads": 2,
                "image_size": 16,
                "patch_size": 8,
                "architectures": ["Dinov2Model"],
            }
            | changes
        )
    ids = {
        "vocab_size": 4 + len(WORDS),
        "hidden_size": 16,
        "pad_token_id": 0,
        "bos_token_id": 1,
        "eos_token_id": 2,
    }
    if kind == "bloom":
        return BloomConfig(
            **ids | {"n_layer": 3, "n_head": 2, "architectures": ["BloomForCausalLM"]} | changes
        )
    return LlamaConfig(
        **ids
        | {
            "intermediate_size": 32,
            "num_hidden_layers": 3,
            "num_attention_heads": 2,
            "architectures": ["LlamaForCausalLM"],
        }
        | changes
    )


def tokenizer() -> Tokenizer:
    made = Tokenizer(
        models.WordLevel(
            {w: i for i, w in enumerate(["<pad>", "<s>", "</s>", "<unk>", *WORDS])}, "<unk>"
        )
    )
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    made.post_processor = processors.TemplateProcessing(
        "<s> $A </s>", special_tokens=[("<s>", 1), ("</s>", 2)]
    )
    return made


def network(kind: str, *, seed: int = 0, **changes) -> nn.Module:
    """An untrained network whose weights half precision holds exactly; large enough for attention
    to matter."""
    made = build_network(config(kind, initializer_range=0.3, **changes), seed=seed)
    for weight in made.parameters():
        weight.data = weight.data.half().float()
    return made


def save(kind: str, root: Path, **changes) -> Path:
    extra = {"preprocess": PREPROCESS} if kind == "dinov2" else {"tokenizer": tokenizer()}
    return save_checkpoint(network(kind, **changes), root / kind, **extra)


def model(kind: str, root: Path, **options) -> Model:
    if not (root / kind).exists():
        save(kind, root)
    return load_model(f"microworld/{kind}", root=root, **options)


def stimuli(n: int = 20, *, seed: int = 0) -> StimulusSet:
    "Noise, with captions of 1 to 12 words."
    rng = np.random.default_rng(seed)
    captions = tuple((" ".join(rng.choice(WORDS, rng.integers(1, 13))),) for _ in range(n))
    images = rng.integers(0, 256, (n, 16, 16, 3), np.uint8)
    return StimulusSet("noise", tuple(f"s{i}" for i in range(n)), images, captions)


def fill_store(root: str, models: str, kind: str, n: int) -> None:
    """Extract into a store: what the tests kill, starve and run twice at once.

    With one thread: sums then come in one order whatever else the machine does, so bytes can be
    compared, and a forked child does not wait for threads that stayed with its parent.
    """
    torch.set_num_threads(1)
    extract_many(
        model(kind, Path(models)), stimuli(n), ("mean", "last"), store=Store(root), progress=False
    )
