"Messages of errors, and values that are masked or missing."

import numpy as np
import pandas as pd
import pytest
import torch

from seeing_words.core.arrays import check_features
from seeing_words.core.errors import InputError, counted, did_you_mean, first_line, without_mask

LAYER = np.random.default_rng(0).normal(size=(24, 3))


def masked_layer() -> np.ma.MaskedArray:
    "`LAYER`, with two values masked, the first at index (5, 1)."
    layer = np.ma.masked_array(LAYER.copy(), mask=False)
    layer[5, 1] = layer[7, 0] = np.ma.masked
    return layer


def test_unknown_names_get_the_nearest_known_ones():
    known = ["microworld", "paper", "paper-small"]
    assert did_you_mean("papre", known).startswith("did you mean paper or paper-small? Available: ")
    assert did_you_mean("zzz", known) == "Available: microworld, paper, paper-small"


def test_a_number_has_its_noun_in_the_singular_or_plural():
    assert counted(1, "stimulus", "stimuli") == "1 stimulus"
    assert [counted(n, "caption") for n in (0, 2)] == ["0 captions", "2 captions"]


def test_the_first_line_of_a_message_is_short_and_never_empty():
    assert first_line(OSError("a\nb")) == "a"
    assert first_line(OSError("  \n")) == "OSError"
    assert len(first_line(OSError("x" * 500), 50)) == 50


@pytest.mark.filterwarnings(
    "ignore:The PyTorch API of (MaskedTensors|nested tensors)"
)  # prototypes
def test_masks_within_lists_and_of_tensors_are_seen():
    with pytest.raises(InputError, match=r"vision, item 1, is masked at index \(5, 1\)"):
        check_features([LAYER, masked_layer()], "vision")
    with pytest.raises(InputError, match="item 1, is masked at index"):
        without_mask([1.0, np.ma.masked])
    mask = torch.ones(24, 3, dtype=torch.bool)
    whole = torch.masked.masked_tensor(torch.from_numpy(LAYER), mask.clone())
    np.testing.assert_array_equal(check_features(whole).values[0], LAYER)
    mask[5, 1] = False
    with pytest.raises(InputError, match=r"masked at index \(5, 1\) \(1 masked value\)"):
        check_features(torch.masked.masked_tensor(torch.from_numpy(LAYER), mask))
    with pytest.raises(InputError, match="is a nested tensor: give one"):
        check_features(torch.nested.nested_tensor([torch.ones(12, 3), torch.ones(11, 3)]))


def test_missing_values_of_pandas_are_refused_and_nullable_numbers_are_numbers():
    nullable = pd.DataFrame(LAYER).astype("Float64").assign(count=pd.array(range(24), "Int64"))
    np.testing.assert_array_equal(check_features(nullable).values[0, :, :3], LAYER)
    nullable.loc[5, 1] = pd.NA
    with pytest.raises(InputError, match=r"is missing at index \(5, 1\) \(1 missing value\)"):
        check_features(nullable)
