"""The public functions used as a reader of the README uses them: checked by mypy, never run."""

from pathlib import Path
from typing import assert_type

import numpy as np
import pandas as pd
import xarray as xr

import seeing_words as sw


def own_features(vision: np.ndarray, language: np.ndarray, folder: Path) -> pd.DataFrame:
    alignment = sw.align(vision, language, n_permutations=19, seed=1)
    assert_type(alignment, sw.Alignment)
    alignment.save(folder / "alignment.nc")
    assert_type(sw.read_features(folder / "vision.npy"), dict[str, xr.DataArray])
    return alignment.table


def two_layers(X: np.ndarray, Y: np.ndarray) -> list[float]:
    return [sw.predictivity(X, Y), sw.cka_debiased(X, Y), sw.mutual_knn(X, Y), sw.rsa(X, Y)]


def all_layers(X: np.ndarray, Y: np.ndarray) -> xr.Dataset:
    source, target = sw.feature_array(X), sw.feature_array(Y)
    folds = sw.make_folds(len(X), n_folds=5, seed=0)
    assert_type(folds, sw.Folds)
    assert_type(sw.similarity_grid(source, target, measure="cka"), xr.DataArray)
    return sw.predictivity_grid(source, target, folds=folds)


def stimuli_and_networks() -> xr.DataArray:
    stimuli = sw.microworld_stimuli(100)
    assert_type(stimuli, sw.StimulusSet)
    grey = sw.perturb(stimuli, "greyscale")
    return sw.extract(sw.load_model("microworld/vision-0"), grey, pooling="cls")


def a_run() -> str:
    run = sw.start("layers", preset="microworld", n_stimuli=100)
    assert_type(run.preset, sw.Preset)
    return repr(run)
