"Training along planted series: whose learning makes alignment, when, and in what order."

import families
import numpy as np
import pytest
import xarray as xr

from seeing_words.core.errors import InputError
from seeing_words.data.stimuli import StimulusSet
from seeing_words.measures.folds import make_folds
from seeing_words.measures.predictivity import predictivity
from seeing_words.measures.similarity import cka_debiased
from seeing_words.models.snapshots import save_snapshots
from seeing_words.studies.dynamics import (
    alignment_along,
    claims_about,
    facts_along,
    in_pairs,
    loss_along,
    of_seeds,
    published_series,
    seed_table,
    shipped_pairs,
    transitions,
)

N, STEPS = 120, np.array([0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024])
FOLDS = make_folds(N)


def share(t50: float, width: float) -> np.ndarray:
    x = np.log10(np.maximum(STEPS, 0.5))
    return 1 / (1 + 9.0 ** (-2 * (x - np.log10(t50)) / width))


def series(learned: np.ndarray, modality: str, seed: int = 0) -> xr.Dataset:
    "A network that learns a code of four numbers by the share `learned` (step,)."
    code = np.random.default_rng(0).normal(size=(N, 4))
    rng = np.random.default_rng([seed, len(modality)])
    read, noise = rng.normal(size=(4, 10)), rng.normal(size=(N, 10))
    values = np.array([[s * code @ read + noise] * 2 for s in learned])
    coords = {
        "step": STEPS,
        "layer": [4, 7],
        "depth": ("layer", [0.5, 0.875]),
        "stimulus": [str(i) for i in range(N)],
    }
    features = xr.DataArray(values, coords, ("step", "layer", "stimulus", "unit"))
    attrs = {"modality": modality, "network": f"{modality}-{seed}"}
    return xr.Dataset({"features": features}, attrs=attrs)


def test_scores_are_those_of_the_measures():
    vision = series(share(30, 0.8), "vision")
    language = series(share(100, 0.8), "language")
    along = alignment_along(vision, language, folds=FOLDS)
    V, L = (own.features.isel(layer=-1).values for own in (vision, language))
    for i in (0, 6, 11):
        pairs = {"V_t × L_T": (V[i], L[-1]), "V_T × L_t": (V[-1], L[i]), "V_t × L_t": (V[i], L[i])}
        for curve, (X, Y) in pairs.items():
            found = along.sel(curve=curve, step=STEPS[i])
            r = found.sel(measure="r")
            assert float(r.sel(direction="v2l")) == pytest.approx(
                predictivity(X, Y, folds=FOLDS), abs=1e-4
            )
            assert float(r.sel(direction="l2v")) == pytest.approx(
                predictivity(Y, X, folds=FOLDS), abs=1e-4
            )
            cka = found.sel(measure="debiased CKA", direction="v2l")
            assert float(cka) == pytest.approx(cka_debiased(X, Y), abs=1e-6)
    last = along.isel(step=-1)
    assert np.ptp(last.values, axis=last.dims.index("curve")).max() < 1e-4


def test_the_slower_network_makes_the_rise_and_its_time_is_recovered():
    pairs = [
        (series(np.ones(len(STEPS)), "vision", s), series(share(100, 0.6), "language", s))
        for s in range(3)
    ]
    along = [alignment_along(v, w, folds=FOLDS) for v, w in pairs]
    curves = {
        c: [own.sel(curve=c, measure="r").mean("direction") for own in along]
        for c in ("V_t × L_T", "V_T × L_t", "V_t × L_t")
    }
    table = transitions(curves)
    gain = table.groupby("what").gain.mean()
    assert abs(gain["V_t × L_T"]) < 0.01 and gain["V_t × L_t"] > 0.3
    assert table[table.what == "V_t × L_T"].width.isna().all()
    joint = table[table.what == "V_t × L_t"]
    assert np.allclose(joint.t50, table[table.what == "V_T × L_t"].t50, atol=0.05)
    # r saturates, so that it is there before the code has half of its size
    assert (joint.t50 < 2).all() and (joint.t50 > 1).all()
    made = of_seeds(table, "V_t × L_t", "t50", "V_T × L_t")
    assert abs(float(made.value)) < 0.05
    forest = seed_table(table, ["V_t × L_T", "V_t × L_t"], "t50", {})
    assert forest.condition.tolist() == ["V_t × L_t"] and forest.n.tolist() == [3]


def test_a_finished_network_stands_for_all_steps():
    vision, language = series(share(30, 1), "vision"), series(share(100, 1), "language")
    whole = alignment_along(vision, language, folds=FOLDS)
    fixed = alignment_along(vision.isel(step=[-1]), language, folds=FOLDS)
    own = {"curve": "V_T × L_t"}
    assert np.allclose(fixed.sel(own), whole.sel(own), atol=1e-5)
    others = fixed.sel(curve=["V_t × L_T", "V_t × L_t"])
    assert others.isnull().all()


def test_order_of_facts_is_recovered():
    vision = series(share(30, 0.5), "vision")
    rng = np.random.default_rng(0)
    code = np.random.default_rng(0).normal(size=(N, 4))
    early = rng.normal(size=(N, 3))
    late = vision.features.values
    late[:, :, :, :3] = 2 * early * share(8, 0.5)[:, None, None, None] + 0.5 * late[..., :3]
    facts = {"early": (early > 0).astype(float), "late": (code > 0).astype(float)}
    along = facts_along(vision, facts, folds=FOLDS)
    assert along.dims == ("fact", "step")
    table = transitions({k: [along.sel(fact=k)] for k in facts}).set_index("what")
    assert table.t50["early"] < table.t50["late"] - 0.2


def test_losses_are_read_or_missing():
    vision = series(share(30, 1), "vision")
    assert loss_along(vision).isnull().all()
    logged = np.arange(1, 1025)
    curve = 5 - np.log10(logged) + 0.1 * np.random.default_rng(0).normal(size=len(logged))
    noted = vision.assign(training_loss=xr.DataArray(curve, {"logged": logged}))
    found = loss_along(noted)
    assert np.allclose(found.sel(step=[64, 512]), 5 - np.log10([64, 512]), atol=0.08)
    assert float(found.sel(step=0)) == pytest.approx(curve[0])
    fall = transitions({"loss": [found]}, falling=["loss"]).iloc[0]
    assert fall.gain < -2 and np.isfinite(fall.width)


def test_pairs_and_what_is_missing(tmp_path):
    made = {
        name: series(share(30, 1), name[:-2]) for name in ("vision-0", "vision-1", "language-0")
    }
    assert in_pairs(made) == [("vision-0", "language-0"), ("vision-1", "language-0")]
    assert in_pairs({"vision-0": made["vision-0"]}) == []
    save_snapshots(tmp_path / "vision-0.npz", made["vision-0"])
    cut = made["vision-0"].isel(step=slice(5))
    cut.attrs["planned"] = STEPS.tolist()
    save_snapshots(tmp_path / "vision-1.npz", cut)
    found, missing = shipped_pairs(2, folder=tmp_path)
    assert list(found) == ["vision-0"]
    assert set(missing) == {"vision-1", "llama-0", "bloom-0"}
    assert "lacks step 16" in missing["vision-1"]
    assert "seeing-words train llama-0 --snapshots" in missing["llama-0"]


def test_a_series_of_others_is_read_by_its_pattern(tmp_path):
    steps = (0, 1, 2, 4, 8, 16)
    for step in steps:
        families.save("neox", tmp_path / f"pythia-step{step}", seed=step)
    texts = [f"{colour} boat near the barn" for colour in ("red", "blue", "green")]
    stimuli = StimulusSet("x", ("a", "b", "c"), None, tuple((text,) for text in texts))
    numbers = ",".join(map(str, steps))
    pattern = str(tmp_path / "pythia-step{}")
    made = published_series(pattern, numbers, stimuli, pooling="mean")
    assert made.step.values.tolist() == list(steps) and made.loss.notnull().all()
    with pytest.raises(InputError, match="write {} once where the step stands"):
        published_series("EleutherAI/pythia-160m", numbers, stimuli, pooling="mean")
    with pytest.raises(InputError, match="whole numbers with commas"):
        published_series(pattern, "1,b", stimuli, pooling="mean")
    with pytest.raises(InputError, match="2 steps; at least 6"):
        published_series(pattern, "1,2", stimuli, pooling="mean")


def test_series_of_other_stimuli_or_steps_are_refused():
    vision, language = series(share(30, 1), "vision"), series(share(30, 1), "language")
    with pytest.raises(InputError, match="responses to other stimuli"):
        alignment_along(vision, language.isel(stimulus=slice(1, None)), folds=FOLDS)
    later = language.assign_coords(step=STEPS + 5000)
    with pytest.raises(InputError, match="share 0 steps: at least 6"):
        alignment_along(vision, later, folds=FOLDS)


def test_claims_on_order_need_facts():
    assert [c.name for c in claims_about()] == ["S1", "S2"]
    names = [c.name for c in claims_about(["place", "thing name"])]
    assert names == ["S1", "S2", "S3 vision", "S4 vision", "S3 language", "S4 language"]
    (first,) = [c for c in claims_about() if c.primary]
    assert first.criterion == "< 0.3"
