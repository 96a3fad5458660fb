"The same numbers on a graphics card: extraction within 1e-3, the engine within 1e-4, in float32."

import numpy as np
import pytest
import torch
from families import LANGUAGE, TEXTS, VISION, photographs, save
from layers import related
from tiny import KINDS, model, stimuli

from seeing_words.core.arrays import feature_array
from seeing_words.measures.folds import make_folds
from seeing_words.measures.predictivity import null_grid, predictivity_grid
from seeing_words.models.clip import clip_scores
from seeing_words.models.extract import extract, pooled_layers
from seeing_words.models.load import load_model

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device here"),
]


def relative(found: np.ndarray, expected: np.ndarray) -> float:
    return float(np.abs(found - expected).max() / np.abs(expected).max())


@pytest.mark.parametrize("kind", KINDS)
def test_features_of_checkpoints_are_those_of_the_cpu(tmp_path, kind):
    here, there = (
        extract(
            model(kind, tmp_path, device=device), stimuli(), pooling="mean", progress=False
        ).values
        for device in ("cpu", "cuda")
    )
    assert relative(there, here) < 1e-3


@pytest.mark.parametrize("kind", VISION + LANGUAGE)
def test_features_of_families_are_those_of_the_cpu(tmp_path, kind):
    folder, shown = str(save(kind, tmp_path)), photographs() if kind in VISION else TEXTS
    here, there = (
        pooled_layers(load_model(folder, device=device), shown, ["mean"])["mean"]
        for device in ("cpu", "cuda")
    )
    assert relative(there, here) < 1e-3
    half = pooled_layers(load_model(folder, device="cuda", dtype="bfloat16"), shown, ["mean"])[
        "mean"
    ]
    assert relative(half, here) < 0.1


def test_a_batch_that_does_not_fit_on_the_card_is_halved(tmp_path):
    made = load_model(str(save("llama", tmp_path)), device="cuda")
    made.network.register_forward_pre_hook(
        lambda module, args, kwargs: torch.empty(
            2**50 if len(kwargs["input_ids"]) > 4 else 1, dtype=torch.uint8, device="cuda"
        ),
        with_kwargs=True,
    )
    with pytest.warns(
        UserWarning, match="a batch of 20 stimuli does not fit in memory; continuing with 2"
    ):
        extract(made, stimuli(), pooling="mean", progress=False)


def test_the_judge_scores_as_on_the_cpu(tmp_path):
    folder = str(save("clip", tmp_path))
    here, there = (
        clip_scores(photographs(4), [["a boat", "sky"]] * 4, name=folder, device=device)
        for device in ("cpu", "cuda")
    )
    assert np.abs(here - there).max() < 1e-3


@pytest.mark.parametrize("penalty", ["shared", "per_target"])
@pytest.mark.parametrize(("n", "p", "q"), [(120, 300, 200), (400, 30, 40)])  # dual and primal
def test_predictivity_is_that_of_the_cpu(penalty, n, p, q):
    source, target = (feature_array(np.stack([layer, layer**3])) for layer in related(n, p, q))
    folds = make_folds(n)
    here, there = (
        predictivity_grid(source, target, folds=folds, penalty=penalty, device=device)
        for device in ("cpu", "cuda")
    )
    assert np.abs(here.predictivity - there.predictivity).max() < 1e-4


def test_the_null_is_that_of_the_cpu():
    source, target = (feature_array(layer[None]) for layer in related(100, 60, 50))
    here, there = (
        null_grid(source, target, folds=make_folds(100), n_permutations=20, seed=0, device=device)
        for device in ("cpu", "cuda")
    )
    for name in here.data_vars:
        if here[name].dtype.kind == "f":
            assert np.nanmax(np.abs(here[name].values - there[name].values)) < 1e-4
