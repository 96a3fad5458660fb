"""Compute what the explorer in the browser shows, and write it to tools/site/explorer/.

    python tools/explorer.py [scenes] [layers]

The files are committed, so the site is made without any of this; run it again when networks,
scenes or methods change. tests/test_explorer.py compares the files with what the library computes.
"""

import base64
import json
import sys
import tempfile
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image
from reader import network_config

from seeing_words.app.run import Run, start
from seeing_words.core.arrays import take_layer
from seeing_words.data.microworld.caption import vocabulary
from seeing_words.data.modalities import DIRECTIONS
from seeing_words.measures.inference import resample_weights
from seeing_words.measures.predictivity import chosen_alphas, mean_over_folds, out_of_fold
from seeing_words.measures.scores import interval
from seeing_words.studies.explore import (
    CrossModal,
    SceneExplorer,
    Side,
    alternatives,
    cross_modal,
)
from seeing_words.studies.layers import AlignedNetworks, align_all, equally_deep, layer_scores
from seeing_words.studies.one_scene import fact_of, look_at, scenes_by_rank, single_changes

OUT = Path(__file__).resolve().parent / "site" / "explorer"
N_SCENES = 10  # that can be changed
N_NEAR = 5  # neighbours shown
COLUMNS = 20  # of a sheet of pictures
QUALITY = 75  # of a sheet, of 100
N_BINS = 20  # of a scatter, in both directions
LARGEST_Z = 3.0  # at the edge of a scatter
LEVELS = 15  # shades of a scatter


def main(parts: list[str]) -> None:
    "Write the parts that are named, or all."
    OUT.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        if "scenes" in parts or not parts:
            write_scenes(cross_of(start("explorer", preset="microworld", out=folder)))
        if "layers" in parts or not parts:
            write_layers(aligned_of(start("layers", preset="microworld", out=folder)))


def write(name: str, data: object) -> None:
    "As a script, which a page can load from a file as well as from a server."
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    (OUT / f"{name}.js").write_text(f"explorerData.{name} = {text};\n", encoding="utf-8")


def packed(array: np.ndarray, kind: str) -> str:
    "Numbers of a type, such as <f2, in base 64."
    return base64.b64encode(np.ascontiguousarray(array, dtype=kind).tobytes()).decode()


# Scenes and captions


def cross_of(run: Run) -> CrossModal:
    "Two networks and the maps between them, as in nbs/beyond/explorer.ipynb."
    vision, language = run.preset.vision[0], run.preset.language[0]
    how = dict(run.preset.poolings)["vision"][0]
    return cross_modal(
        run.stimuli,
        Side(run.preset.load(vision), how),
        Side(run.preset.load(language), "mean"),
        seen=run.features(vision, how),
        read=run.features(language, "mean"),
        folds=run.folds,
    )


def found(looked: pd.DataFrame, what: str) -> list:
    "For every change: the rank of the scene's own, its neighbours and their cosines."
    columns = looked[[f"{what}_rank", f"{what}s", f"{what}_cosines"]]
    return [
        [rank, near, [round(cosine, 3) for cosine in cosines]]
        for rank, near, cosines in columns.itertuples(index=False)
    ]


def sheet(images: list[np.ndarray], name: str) -> None:
    "Pictures side by side in one file."
    blank = np.full_like(images[0], 255)
    images = [*images, *[blank] * (-len(images) % COLUMNS)]
    rows = [np.concatenate(images[i : i + COLUMNS], axis=1) for i in range(0, len(images), COLUMNS)]
    picture = Image.fromarray(np.concatenate(rows))
    picture.save(OUT / f"{name}.webp", quality=QUALITY, method=6)


def write_scenes(cross: CrossModal) -> None:
    "The gallery, the scenes that can be changed, and what it takes to look for a typed caption."
    scenes = []
    for k, position in enumerate(scenes_by_rank(cross, N_SCENES)):
        scene = SceneExplorer(cross, position).scene
        looked = look_at(cross, position, single_changes(scene), k=N_NEAR)
        sheet(list(looked.image), f"scene-{k}")
        scenes.append(
            {
                "position": position,
                "facts": [[*fact, fact_of(scene, fact)] for fact in alternatives(scene)],
                "changes": [change and [*change[0], change[1]] for change in looked.change],
                "own": looked.caption.tolist(),
                "moved": looked[["image_moved", "caption_moved"]].round(2).values.tolist(),
                "captions": found(looked, "caption"),
                "scenes": found(looked, "scene"),
            }
        )
    sheet(list(cross.gallery.images), "gallery")
    write(
        "scenes",
        {
            "networks": [side.model.name for side in (cross.vision, cross.language)],
            "fitted": cross.folds.n - len(cross.gallery),
            "size": cross.gallery.images.shape[1],
            "columns": COLUMNS,
            "ids": cross.gallery.ids,
            "captions": cross.gallery.caption(),
            "scenes": scenes,
        },
    )
    scale, ridge = cross.to_vision
    weights = ridge.coef_ / scale.scale_  # (vision unit, language unit)
    write(
        "captions",
        {
            "words": vocabulary(),
            "network": network_config(),
            "weights": packed(weights, "<f4"),
            "offset": packed(ridge.intercept_ - weights @ scale.mean_, "<f4"),
            "seen": packed(cross.seen, "<f2"),
        },
    )


# Pairs of layers


def aligned_of(run: Run, n_networks: int | None = None) -> AlignedNetworks:
    "Pairs of trained networks, as in nbs/paper/1_layers.ipynb; of the first few, or of all."
    vision = equally_deep({name: run.features(name) for name in run.preset.vision[:n_networks]})
    names = run.preset.language[:n_networks]
    language = equally_deep({name: run.features(name, "mean") for name in names})
    weights = resample_weights(run.folds, n_draws=run.preset.n_draws, seed=0)
    return align_all(
        vision, language, folds=run.folds, weights=weights, results=run.results, progress=True
    )


def pairs_of(aligned: AlignedNetworks) -> list[tuple]:
    "Every direction, pair of networks and pair of layers, in the order of the file."
    grid = aligned.grid.predictivity
    layers = range(grid.sizes["vision_layer"]), range(grid.sizes["language_layer"])
    return list(product(DIRECTIONS, aligned.vision, aligned.language, *layers))


def scatter(aligned: AlignedNetworks, pair: tuple) -> np.ndarray | None:
    """Shades, (observed bin, predicted bin), of all held-out responses of a pair of layers; None
    where there is no score."""
    direction, vision, language, v, w = pair
    own = aligned.grid.sel(direction=direction, vision=vision, language=language)
    if not np.isfinite(mean_over_folds(own.predictivity).values[v, w]):
        return None
    sides = [
        take_layer(aligned.vision[vision], v).values,
        take_layer(aligned.language[language], w).values,
    ]
    source, target = sides if direction == DIRECTIONS[0] else sides[::-1]
    alphas = chosen_alphas(own.alpha.isel(vision_layer=v, language_layer=w).values)
    both = out_of_fold(source, target, folds=aligned.folds, alphas=alphas)
    edges = np.linspace(-LARGEST_Z, LARGEST_Z, N_BINS + 1)
    observed, predicted = (np.clip(x, -LARGEST_Z, LARGEST_Z).ravel() for x in both)
    counts, _, _ = np.histogram2d(observed, predicted, bins=[edges, edges])
    return np.rint(LEVELS * np.log1p(counts) / np.log1p(counts.max())).astype(np.uint8)


def write_layers(aligned: AlignedNetworks) -> None:
    "Score, interval and scatter of every pair of layers, for every pair of networks."
    pairs = pairs_of(aligned)
    scored = [pair for pair in pairs if pair[3] > 0]  # the first layer of vision is constant
    scores = layer_scores(aligned, scored)
    numbers = np.full((len(pairs), 3), np.nan)
    shades = np.zeros((len(pairs), N_BINS, N_BINS), np.uint8)
    for k, pair in enumerate(pairs):
        drawn = scatter(aligned, pair)
        if drawn is None:
            continue
        ends = interval(scores[pair])
        numbers[k] = float(scores[pair].value), float(ends.low), float(ends.high)
        shades[k] = drawn
    grid = aligned.grid.predictivity
    write(
        "layers",
        {
            "directions": list(DIRECTIONS),
            "vision": list(aligned.vision),
            "language": list(aligned.language),
            "layers": [grid.sizes["vision_layer"], grid.sizes["language_layer"]],
            "n": aligned.folds.n,
            "scores": packed(numbers, "<f2"),
            "bins": N_BINS,
            "largest": LARGEST_Z,
            "levels": LEVELS,
            "scatter": packed(shades[..., ::2] * 16 + shades[..., 1::2], "u1"),
        },
    )


if __name__ == "__main__":
    main(sys.argv[1:])
