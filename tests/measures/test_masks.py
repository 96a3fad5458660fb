"Every measure refuses masked values, which NumPy would turn into numbers."

import numpy as np
import pandas as pd
import pytest

from seeing_words.core.arrays import check_features, feature_array
from seeing_words.core.errors import InputError
from seeing_words.data.stimuli import StimulusSet
from seeing_words.measures.folds import make_folds
from seeing_words.measures.inference import (
    calibrate,
    noise_ceiling,
    p_value,
    resample_weights,
    score_estimate,
)
from seeing_words.measures.numerics import unit_pearson
from seeing_words.measures.predictivity import out_of_fold, predictivity, predictivity_grid
from seeing_words.measures.retrieval import similarities
from seeing_words.measures.similarity import SIMILARITIES, cka, similarity_grid
from seeing_words.studies.pick_a_pic import rank_captions

LAYER = np.random.default_rng(0).normal(size=(24, 3))


def masked_layer() -> np.ma.MaskedArray:
    "`LAYER`, with two values masked, the first at index (5, 1)."
    layer = np.ma.masked_array(LAYER.copy(), mask=False)
    layer[5, 1] = layer[7, 0] = np.ma.masked
    return layer


FOLDS = make_folds(24, n_folds=3)
WEIGHTS = resample_weights(FOLDS, n_draws=20)
TAKE_A_LAYER = {
    "check_features": check_features,
    "feature_array": feature_array,
    "predictivity, source": lambda x: predictivity(x, LAYER),
    "predictivity, target": lambda x: predictivity(LAYER, x),
    "predictivity_grid": lambda x: predictivity_grid(x, LAYER),
    "out_of_fold": lambda x: out_of_fold(x, LAYER),
    "unit_pearson": lambda x: unit_pearson(LAYER, x),
    "similarity_grid": lambda x: similarity_grid(x, LAYER),
    "calibrate": lambda x: calibrate(cka, x, LAYER, n_permutations=5),
    "score_estimate": lambda x: score_estimate(LAYER, x, folds=FOLDS, weights=WEIGHTS),
    "p_value": lambda x: p_value(0.5, x),
    "similarities": lambda x: similarities(LAYER, x),
    "rank_captions": rank_captions,
    **{name: (lambda x, f=measure.function: f(x, LAYER)) for name, measure in SIMILARITIES.items()},
}


@pytest.mark.parametrize("take", TAKE_A_LAYER.values(), ids=TAKE_A_LAYER)
def test_masked_values_are_refused_by_everything_that_takes_an_array(take):
    with pytest.raises(
        InputError, match=r"is masked at index \(5, 1\) \(2 masked values\): fill in those values"
    ):
        take(masked_layer())


@pytest.mark.parametrize("take", TAKE_A_LAYER.values(), ids=TAKE_A_LAYER)
def test_a_mask_that_hides_nothing_changes_nothing(take):
    unmasked = np.ma.masked_array(LAYER, mask=np.zeros_like(LAYER, bool))
    plain, made = take(LAYER), take(unmasked)
    assert repr(plain) == repr(made)


def test_masked_repeats_and_images_are_refused():
    with pytest.raises(InputError, match=r"^responses is masked at index \(0, 5, 1\)"):
        noise_ceiling(np.ma.stack([masked_layer(), masked_layer()]))
    images = np.ma.masked_array(np.zeros((2, 4, 4, 3), np.uint8), mask=False)
    images[1, 0, 0, 2] = np.ma.masked
    with pytest.raises(InputError, match=r"^toy: images is masked at index \(1, 0, 0, 2\)"):
        StimulusSet("toy", ("a", "b"), images, (("one",), ("two",)))


def test_missing_values_in_a_null_distribution_are_refused():
    with pytest.raises(InputError, match="null is missing at index"):
        p_value(0.5, pd.Series([0.1, pd.NA], dtype="Float64"))
