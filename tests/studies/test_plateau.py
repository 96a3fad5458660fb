"""Where in depth pairs of networks peak: against plain loops, and on curves without a shape."""

import numpy as np
import pytest
import xarray as xr

from seeing_words.core.errors import InputError
from seeing_words.measures.claims import Claim, judge
from seeing_words.measures.inference import mean_over_population, peak_depth
from seeing_words.measures.scores import make_scores
from seeing_words.studies.layers import peak_table, plateau_onset

DEPTHS = np.linspace(0, 1, 9)
LATE = Claim("L", "Alignment is highest from mid-depth on.", "onset", threshold=0.4)


def curves(shape, rng, n_draws=300, n_vision=3, n_language=4):
    """Scores (vision, language, layer) around a shape; layers' errors are much alike, as those of
    layers of one network on the same stimuli are."""
    size = (n_vision, n_language, len(DEPTHS))

    def noise(*more):
        common = rng.normal(size=(*more, 1, 1, 1)) + 0.5 * rng.normal(size=(*more, *size[:2], 1))
        return 0.01 * common + 0.003 * rng.normal(size=(*more, *size))

    by_pair = 1 + 0.15 * rng.normal(size=(*size[:2], 1))
    coords = {"vision_depth": ("vision_layer", DEPTHS)}
    dims = ("vision", "language", "vision_layer")
    estimates = by_pair * shape + noise()
    value = xr.DataArray(estimates, coords, dims=dims)
    draws = xr.DataArray(estimates + noise(n_draws), coords, dims=("draw", *dims))
    return make_scores(value, draws, np.ones((n_draws, 2)))


def test_the_onset_is_found_by_a_loop():
    scores = curves(np.linspace(0.1, 0.3, 9), np.random.default_rng(0), n_draws=5)
    scores = scores.where(scores.vision_depth != 1.0)  # the last layer has no score
    found = plateau_onset(scores, "vision", share=0.8)
    for name in ("value", "draws"):
        values = scores[name].transpose(..., "vision_layer").values
        expected = np.empty(values.shape[:-1])
        for at in np.ndindex(expected.shape):
            curve = values[at]
            near = [k for k in range(9) if curve[k] >= 0.8 * np.nanmax(curve)]
            expected[at] = DEPTHS[near[0]]
        np.testing.assert_array_equal(found[name], expected)


def test_the_table_has_each_pair_with_its_own_peak():
    scores = curves(np.r_[0.1, 0.2, np.full(7, 0.3)], np.random.default_rng(0))
    scores = xr.concat([scores, scores], xr.Variable("direction", ["v2l", "l2v"]))
    scores = scores.assign_coords(vision=list("abc"), language=list("wxyz"))
    table = peak_table(scores, "vision")
    assert len(table) == 24 and (table.onset == 0.25).mean() > 0.8
    assert (table.low <= table.onset).all() and (table.onset <= table.high).all()
    row = table[(table.vision == "b") & (table.language == "z") & (table.direction == "l2v")]
    own = scores.value.sel(direction="l2v", vision="b", language="z").values
    assert row.peak.item() == DEPTHS[own.argmax()]


def test_curves_without_a_shape_do_not_begin_late():
    """Their peak is anywhere, so that its mean would lie in mid-depth."""
    rng, words, onsets, peaks = np.random.default_rng(0), [], [], []
    for _ in range(60):
        scores = curves(np.full(9, 0.25), rng)
        onset = mean_over_population(plateau_onset(scores, "vision"))
        words.append(judge(LATE, onset).verdict)
        onsets.append(float(onset.value))
        peak = peak_depth(scores, "vision_layer", depth="vision_depth").value
        peaks.append(float(peak.mean()))
    assert words.count("supported") <= 0.05 * 60
    assert np.mean(onsets) < 0.1 and np.mean(peaks) > 0.4


def test_a_late_plateau_is_found_and_an_early_one_refuted():
    rng = np.random.default_rng(0)
    words = {"late": [], "early": []}
    for _ in range(20):
        late = curves(np.r_[np.linspace(0.05, 0.2, 5), np.full(4, 0.3)], rng)
        early = curves(np.r_[np.full(3, 0.3), np.linspace(0.27, 0.1, 6)], rng)
        for name, scores in (("late", late), ("early", early)):
            mean = mean_over_population(plateau_onset(scores, "vision"))
            words[name].append(judge(LATE, mean).verdict)
    assert words["late"].count("supported") >= 18
    assert words["early"].count("contradicted") >= 18


def test_no_score_above_zero_has_no_onset():
    scores = curves(np.full(9, -0.2), np.random.default_rng(0), n_draws=3)
    assert np.isnan(plateau_onset(scores, "vision").value).all()
    for share in (0, 1.1):
        with pytest.raises(InputError, match=f"share is {share}; it must be above 0"):
            plateau_onset(scores, "vision", share=share)
