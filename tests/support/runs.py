"A checkout to run in, with throw-away section notebooks and a network of 600 weights."

import json
from pathlib import Path

import nbformat
from transformers import Dinov2Config

from seeing_words.core.files import file_digest, with_checksum
from seeing_words.models.checkpoints import save_checkpoint
from seeing_words.models.weights import build_network


def notebook(path: Path, *needs: str, **cells: str) -> Path:
    "Write a notebook with these cells and needs; the cell called `parameters` is tagged so."
    tags = {"parameters": {"tags": ["parameters"]}}
    made = [
        nbformat.v4.new_code_cell(source, id=name.replace("_", "-"), metadata=tags.get(name, {}))
        for name, source in cells.items()
    ]
    kernel = {"name": "nobody-has-this", "display_name": "none", "language": "python"}
    path.parent.mkdir(parents=True, exist_ok=True)
    metadata = {"kernelspec": kernel, "seeing_words": {"needs": list(needs)}}
    nbformat.write(nbformat.v4.new_notebook(cells=made, metadata=metadata), path)
    return path


def new_checkout(root: Path, monkeypatch) -> Path:
    "An empty source checkout at `root`, to be within."
    (root / "nbs/paper").mkdir(parents=True)
    (root / "settings.ini").touch()
    monkeypatch.chdir(root)
    monkeypatch.setenv("SEEING_WORDS_STORE", str(root / "_store"))
    return root


def tiny_vision(folder: Path) -> str:
    "The name of a vision network that takes the microworld's images."
    config = Dinov2Config(
        hidden_size=8,
        num_hidden_layers=2,
        num_attention_heads=2,
        mlp_ratio=1,
        image_size=64,
        patch_size=32,
        architectures=["Dinov2Model"],
    )
    preprocess = {"mean": [0.5] * 3, "std": [0.25] * 3, "size": 64}
    return str(save_checkpoint(build_network(config, seed=0), folder, preprocess=preprocess))


def recorded(folder: Path, section: str, /, *names: str, **about: object) -> None:
    "Record a section's run as having written files of its folder."
    written = {name: file_digest(folder / name) for name in names}
    record = with_checksum(about | {"written": written})
    (folder / f"{section}_provenance.json").write_text(json.dumps(record))
