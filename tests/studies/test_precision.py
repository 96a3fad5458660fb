"The effect of the number type, computed step by step beside `precision_effect`."

import numpy as np
import pytest
from tiny import model, save, stimuli

from seeing_words.core.errors import InputError
from seeing_words.measures.folds import make_folds
from seeing_words.measures.inference import predictivity_estimate, resample_weights
from seeing_words.models.extract import extract
from seeing_words.studies.precision import precision_effect

PAIR = "microworld/dinov2", "microworld/llama"


def test_scores_are_those_of_each_type_and_the_difference_is_paired(tmp_path):
    for kind in ("dinov2", "llama"):
        save(kind, tmp_path)
    shown = stimuli(60)
    found = precision_effect(*PAIR, shown, folds=3, n_draws=30, root=tmp_path)
    weights = resample_weights(make_folds(60, n_folds=3), n_draws=30)
    made = {}
    for dtype in ("float32", "bfloat16"):
        seen, read = (
            extract(model(kind, tmp_path, dtype=dtype), shown, pooling=how).values[-2]
            for kind, how in (("dinov2", "cls"), ("llama", "mean"))
        )
        for d, pair in (("v2l", (seen, read)), ("l2v", (read, seen))):
            own = predictivity_estimate(*pair, folds=make_folds(60, n_folds=3), weights=weights)
            made[d, dtype] = own
            there = found.sel(direction=d, arithmetic=dtype)
            assert float(there.value) == float(own.value)
            np.testing.assert_array_equal(there.draws, own.draws)
    for d in ("v2l", "l2v"):
        difference = found.sel(direction=d, arithmetic="difference")
        expected = made[d, "bfloat16"].draws - made[d, "float32"].draws
        np.testing.assert_array_equal(difference.draws, expected)
        assert 0 < abs(float(difference.value)) < 0.2


def test_two_types_are_needed(tmp_path):
    with pytest.raises(InputError, match="name two different number types"):
        precision_effect(*PAIR, stimuli(20), dtypes=("float32", "float32"), root=tmp_path)
