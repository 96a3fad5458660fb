"""What the explorer in the browser needs of the language network, to read typed captions."""

import json
from pathlib import Path

from safetensors import safe_open
from safetensors.numpy import save

NETWORK = Path(__file__).resolve().parent.parent / "seeing_words/checkpoints/llama-0"


def network_config(folder: Path = NETWORK) -> dict:
    "What the explorer has to know of the language network beside its weights."
    config, tokenizer = (
        json.loads((folder / name).read_text(encoding="utf-8"))
        for name in ("config.json", "tokenizer.json")
    )
    ids = tokenizer["model"]["vocab"]
    return {
        "size": config["head_dim"],
        "theta": config["rope_parameters"]["rope_theta"],
        "epsilon": config["rms_norm_eps"],
        "begin": config["bos_token_id"],
        "unknown": ids[tokenizer["model"]["unk_token"]],
        "vocabulary": sorted(ids, key=ids.get),
        "merges": tokenizer["model"]["merges"],
    }


def reading_weights(folder: Path = NETWORK) -> bytes:
    "The weights that lead to the penultimate layer, as safetensors."
    with safe_open(folder / "model.safetensors", "np") as file:
        names = [name for name in file.keys() if ".layers." in name or "embed" in name]
        last = max(int(name.split(".")[2]) for name in names if ".layers." in name)
        kept = [name for name in names if f".layers.{last}." not in name]
        return save({name: file.get_tensor(name) for name in kept})
