"""A tiny OpenLLaMA in the files that its makers publish: weights as pytorch_model.bin, whole or in
parts, old buffers among them, and a tokenizer.model of sentencepiece without tokenizer.json."""

import io
import json
import os
import random
from functools import cache
from pathlib import Path

import torch
from families import full_network
from sentencepiece import SentencePieceTrainer

WORDS = (
    "a red boat near the old barn two dogs sleep by sea under small tree man door is twelve feet "
    "high hello world thermal café fine person rides horse across green field while children watch"
).split()
# as of the first OpenLLaMA, and as of the second, which keeps runs of spaces
FIRST = {"normalization_rule_name": "nmt_nfkc", "remove_extra_whitespaces": True}
SECOND = {"normalization_rule_name": "identity", "remove_extra_whitespaces": False}
N_WORDS = 420
_MARK = {
    "__type": "AddedToken",
    "lstrip": False,
    "normalized": True,
    "rstrip": False,
    "single_word": False,
}
TOKENIZER_CONFIG = {  # as in the repository of open_llama_3b
    "add_bos_token": True,
    "add_eos_token": False,
    "bos_token": _MARK | {"content": "<s>"},
    "eos_token": _MARK | {"content": "</s>"},
    "unk_token": _MARK | {"content": "<unk>"},
    "pad_token": None,
    "clean_up_tokenization_spaces": False,
    "model_max_length": 2048,
    "sp_model_kwargs": {},
    "tokenizer_class": "LlamaTokenizer",
}


@cache
def _trained(**normaliser) -> bytes:
    rng, written = random.Random(0), io.BytesIO()
    SentencePieceTrainer.train(
        sentence_iterator=(" ".join(rng.choices(WORDS, k=9)) for _ in range(800)),
        model_writer=written,
        model_type="bpe",
        vocab_size=N_WORDS,
        byte_fallback=True,
        split_digits=True,
        unk_id=0,
        bos_id=1,
        eos_id=2,
        pad_id=-1,
        num_threads=1,
        minloglevel=2,
        **normaliser,
    )
    return written.getvalue()


def write_tokenizer(folder: Path, **normaliser) -> Path:
    "A tokenizer.model with the settings of LLaMA's tokenizer, and its configuration."
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tokenizer.model").write_bytes(_trained(**(normaliser or FIRST)))
    (folder / "tokenizer_config.json").write_text(json.dumps(TOKENIZER_CONFIG))
    return folder


def write(folder: Path, *, n_parts: int = 1, seed: int = 0) -> Path:
    "The folder; more than one part are listed in an index, as in the 7B and the 13B."
    write_tokenizer(folder)
    ids = {"vocab_size": N_WORDS, "bos_token_id": 1, "eos_token_id": 2}
    network = full_network("llama", seed=seed, tie_word_embeddings=False, **ids).half()
    network.config.save_pretrained(folder)
    weights = {name: weight.clone() for name, weight in network.state_dict().items()}
    for layer in range(network.config.num_hidden_layers):  # as transformers once saved them
        weights[f"model.layers.{layer}.self_attn.rotary_emb.inv_freq"] = torch.rand(4)
    if n_parts == 1:
        torch.save(weights, folder / "pytorch_model.bin")
        return folder
    where = {}
    for k in range(n_parts):
        part = f"pytorch_model-{k + 1:05}-of-{n_parts:05}.bin"
        some = dict(list(weights.items())[k::n_parts])
        torch.save(some, folder / part)
        where |= dict.fromkeys(some, part)
    index = {"metadata": {"total_size": 1}, "weight_map": where}
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps(index))
    return folder


class Harmful:
    "In a pickle: a folder that is made when it is opened."

    def __init__(self, folder: Path):
        self.folder = str(folder)

    def __reduce__(self):
        return os.mkdir, (self.folder,)
