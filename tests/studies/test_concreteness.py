"""Concreteness: planted slopes are found, those of covariates are not, nothing is nothing."""

from itertools import permutations

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from scipy.stats import kstest
from sklearn.linear_model import LinearRegression, Ridge
from sklearn.metrics import roc_auc_score

from seeing_words.core.arrays import feature_array
from seeing_words.core.errors import InputError
from seeing_words.data.microworld.caption import caption, text
from seeing_words.data.microworld.levels import (
    LEVELS,
    concepts,
    tell,
    told,
    told_bits,
    words_with_levels,
)
from seeing_words.data.microworld.near_miss import stated_facts, true_of
from seeing_words.data.microworld.scene import CHOOSING, THINGS, WORLD, sample_scene
from seeing_words.data.microworld.stimulus_set import microworld_stimuli, scenes_of
from seeing_words.data.stimuli import StimulusSet
from seeing_words.data.styles import STYLES, outlines, possible_styles, restyled
from seeing_words.measures.claims import judge
from seeing_words.measures.folds import make_folds
from seeing_words.measures.inference import resample_weights
from seeing_words.measures.scores import interval
from seeing_words.studies.concreteness import (
    SESOI,
    adjusted_slopes,
    alignment_by_stimulus,
    claims_about,
    content_words,
    exchanged_labels,
    frequent,
    level_scores,
    mean_of_words,
    most_and_least,
    partial_slopes,
    planted_world,
    rank_alignment,
    read_norms,
    stimulus_alignment,
    stimulus_covariates,
    style_effects,
    style_scores,
    word_auc,
    word_values,
    words_used,
    words_with_norms,
)


def planted_slope(n: int, seed: int, **how) -> xr.Dataset:
    X, Y, predictors = planted_world(n, seed=seed, **how)
    sides = ({"one": feature_array(side[None])} for side in (X, Y))
    aligned = alignment_by_stimulus(*sides, folds=make_folds(n, seed=seed))
    of_both = aligned.mean(("direction", "vision", "language"))
    weights = resample_weights(n, n_draws=200, seed=seed)
    return adjusted_slopes(of_both, predictors, weights)


# Alignment of stimuli


def test_alignment_is_what_the_score_gains_from_more_of_a_stimulus():
    rng, folds = np.random.default_rng(0), make_folds(60, n_folds=3)
    y = rng.normal(size=(60, 4))
    z = y + 2 * rng.normal(size=(60, 4))

    def score(weights):
        by_fold = []
        for test in folds.test:
            moments = [
                np.cov(y[test, u], z[test, u], aweights=weights[test], ddof=0) for u in range(4)
            ]
            by_fold.append(np.mean([m[0, 1] / np.sqrt(m[0, 0] * m[1, 1]) for m in moments]))
        return np.mean(by_fold)

    own = stimulus_alignment(y, z, folds=folds)
    whole = score(np.ones(60))
    assert own.mean() == pytest.approx(whole)
    for i in (0, 17, 59):
        more, less = np.ones(60), np.ones(60)
        more[i] += 1e-4
        less[i] -= 1e-4
        change = (score(more) - score(less)) / 2e-4
        assert own[i] == pytest.approx(whole + 60 * change, abs=1e-4)


def test_constant_units_count_nowhere():
    rng, folds = np.random.default_rng(0), make_folds(40)
    y, z = rng.normal(size=(2, 40, 3))
    wider = [np.hstack([side, np.ones((40, 1))]) for side in (y, z)]
    np.testing.assert_allclose(
        stimulus_alignment(*wider, folds=folds), stimulus_alignment(y, z, folds=folds)
    )
    assert np.isnan(stimulus_alignment(np.ones((40, 2)), z[:, :2], folds=folds)).all()


def test_ranks_in_bits():
    folds = make_folds(40)
    y = np.random.default_rng(0).normal(size=(40, 3))
    assert (rank_alignment(y, y, folds=folds) == 3).all()  # the first of eight
    assert (rank_alignment(y, -y, folds=folds) == 0).all()  # the last


# Slopes


def test_slopes_are_those_of_least_squares():
    rng, n = np.random.default_rng(0), 120
    x, z = rng.normal(size=(2, n))
    values = xr.DataArray(rng.normal(size=(2, n)), dims=("pair", "stimulus"))
    weights = resample_weights(n, n_draws=3)
    made = partial_slopes(values, {"x": x, "z": z}, weights)
    design = np.column_stack([x / x.std(), z / z.std()])
    for k, counts in enumerate([np.ones(n), *weights]):
        fitted = LinearRegression().fit(design, values.values.T, counts).coef_
        own = made.draws.isel(draw=k - 1) if k else made.value
        np.testing.assert_allclose(own.values, fitted, atol=1e-6)


@pytest.mark.parametrize("how", [{"effect": 0.3}, {"confound": 0.3}, {}])
def test_planted_slopes_are_found_and_no_others(how):
    slopes = [planted_slope(200, seed, **how) for seed in range(16)]
    final = [own.sel(adjustment="+ length", drop=True) for own in slopes]
    found = sum(float(interval(own).low) > 0 for own in final)
    mean = np.mean([float(own.value) for own in final])
    raw = np.mean([float(own.value.sel(adjustment="alone")) for own in slopes])
    if "effect" in how:
        assert found >= 14 and mean > 0.04
    else:
        assert found <= 2 and abs(mean) < 0.01
        assert (raw > SESOI) == ("confound" in how)
    claim, size = claims_about(slope=True)
    assert claim.primary and (size.threshold, claim.threshold) == (SESOI, 0)
    verdicts = [judge(claim, own).verdict for own in final]
    assert verdicts.count("supported") == found


def test_intervals_cover_the_slope_of_nothing():
    inside = 0
    for seed in range(40):
        ends = interval(planted_slope(120, seed + 100).sel(adjustment="+ length"))
        inside += bool(ends.low < 0 < ends.high)
    assert inside >= 34  # of 40; 38 are expected


def test_exchanged_labels_are_uniform_where_words_do_not_matter():
    rng, p = np.random.default_rng(0), []
    vocabulary = [f"w{i}" for i in range(30)]
    table = dict(zip(vocabulary, rng.uniform(1, 5, 30)))
    for seed in range(40):
        words = [list(rng.choice(vocabulary, 3)) for _ in range(80)]
        # single words matter, but not by their concreteness
        by_word = dict(zip(vocabulary, rng.normal(size=30)))
        values = mean_of_words(words, by_word) + 0.5 * rng.normal(size=80)
        covariate = {"other": rng.normal(size=80)}
        slope, exchanged = exchanged_labels(
            values, words, table, covariate, n_permutations=39, seed=seed
        )
        p.append((1 + (abs(exchanged) >= abs(slope)).sum()) / 40)
    assert kstest(p, "uniform").pvalue > 0.01


# Words


def test_levels_say_less_and_less_and_only_what_is_true():
    for seed in CHOOSING[:60]:
        scene = sample_scene(seed)
        captions = {level: tell(scene, level) for level in LEVELS}
        bits = [told_bits(stated_facts(words)) for words in captions.values()]
        assert bits[0] > bits[1] > bits[2] >= 0
        assert abs(len(captions["mood"]) - len(captions["name"])) <= 1
        for level, words in captions.items():
            facts = stated_facts(words)
            assert all(true_of(scene, fact, phrase) for fact, phrase in facts)
            assert {own for _, own in words_with_levels(facts)} <= {level}


def test_bits_are_those_of_counted_shares():
    scenes = [sample_scene(seed) for seed in CHOOSING[:3000]]
    things = [thing for scene in scenes for thing in scene.things]
    pairs = [pair for scene in scenes for pair in permutations(scene.things, 2)]
    shares = {
        ((0, "name"), "boat"): np.mean([thing.name == "boat" for thing in things]),
        ((1, "name"), "creatures"): np.mean([THINGS[t.name]["kind"] == "animal" for t in things]),
        ((0, "colour"), "crimson"): np.mean([thing.colour == "red" for thing in things]),
        ((0, "count"), "two"): np.mean([thing.count == 2 for thing in things]),
        (("weather",), "in the rain"): np.mean([scene.weather == "rain" for scene in scenes]),
        (("mood",), "busy"): np.mean([sum(t.count for t in s.things) > 5 for s in scenes]),
        ((1, "right", 0), "right of"): np.mean([a.x > b.x + 0.12 for a, b in pairs]),
    }
    for (fact, phrase), share in shares.items():
        error = np.sqrt((1 - share) / share / 2000) / np.log(2)  # of the sample of scenes
        assert told_bits([(fact, phrase)]) == pytest.approx(-np.log2(share), abs=4 * error)
    both = [((0, "colour"), "red"), (("time",), "at night")]
    assert told_bits(both) == pytest.approx(sum(told_bits([one]) for one in both))


def test_every_caption_of_the_world_has_bits_and_words_with_levels():
    names = {noun for thing in THINGS.values() for noun in thing["nouns"]}
    for seed in range(60):
        facts = stated_facts(caption(sample_scene(seed)))
        assert told_bits(facts) > 0
        for word, level in words_with_levels(facts):
            if word in names:
                assert level == "name"
            assert (level == "mood") == any(word in own for own in WORLD["mood"].values())


def test_concepts_are_true_of_scenes_and_differ():
    stimuli = microworld_stimuli(200, n_captions=1, size=8)
    found = concepts(stimuli)
    for i, scene in enumerate(scenes_of(stimuli)):
        for word in ("boat", "animal", "busy"):
            facts = [(j, "name") for j in range(len(scene.things))]
            if word == "busy":
                facts = [("mood",)]
            expected = any(true_of(scene, fact, word) for fact in facts)
            assert bool(found.sel(word=word)[i]) == expected
    assert set(found.level.values) == set(LEVELS)


def test_auc_is_that_of_sklearn():
    rng, n, folds = np.random.default_rng(0), 200, make_folds(200)
    X = rng.normal(size=(n, 5))
    there = np.column_stack([X[:, 0] + rng.normal(size=n) > 0, rng.random(n) < 0.2])
    presence = xr.DataArray(there, {"word": ["a", "b"]}, dims=("stimulus", "word"))
    auc = word_auc({"v": feature_array(X[None])}, presence, folds=folds)
    expected = []
    for i, test in enumerate(folds.test):
        train = folds.train(i)
        Z = (X - X[train].mean(0)) / X[train].std(0)
        predicted = Ridge(1.0).fit(Z[train], there[train, 0]).predict(Z[test])
        expected.append(roc_auc_score(there[test, 0], predicted))
    assert auc.sel(word="a").item() == pytest.approx(np.mean(expected), abs=0.01)
    assert auc.sel(word="b").item() == pytest.approx(0.5, abs=0.12)
    never = presence.where(presence.word == "a", False)
    assert np.isnan(word_auc({"v": feature_array(X[None])}, never, folds=folds).sel(word="b"))
    assert frequent(presence, 60).word.values.tolist() == ["a"]


# Levels and styles


def test_levels_are_scored_by_one_map_of_a_mixture():
    rng, n, folds = np.random.default_rng(0), 150, make_folds(150)
    facts = rng.normal(size=(n, 3))
    seen, read = rng.normal(size=(2, 3, 8))
    X = facts @ seen + 0.5 * rng.normal(size=(n, 8))
    captions = {
        "all": facts @ read + 0.5 * rng.normal(size=(n, 8)),
        "nothing": rng.normal(size=(n, 8)),
    }
    made = level_scores(
        {"v": feature_array(X[None])},
        {level: {"w": feature_array(Y[None])} for level, Y in captions.items()},
        folds=folds,
        weights=resample_weights(n, n_draws=100),
    ).squeeze(drop=True)
    by_fold = []
    for i, test in enumerate(folds.test):
        train = folds.train(i)
        # on all training images of both levels; half of them, on one each, is a little less
        model = Ridge(1.0).fit(
            np.tile(X[train], (2, 1)), np.vstack([c[train] for c in captions.values()])
        )
        predicted = model.predict(X[test])
        by_fold.append(
            [
                np.mean([np.corrcoef(predicted[:, u], c[test, u])[0, 1] for u in range(8)])
                for c in captions.values()
            ]
        )
    expected = np.mean(by_fold, axis=0)
    np.testing.assert_allclose(made.value.sel(direction="v2l"), expected, atol=0.05)
    claim = claims_about(slope=False, levels=["all", "nothing"])[0]
    own = made.mean("direction")
    assert (
        judge(claim, own.sel(level="all", drop=True) - own.sel(level="nothing", drop=True)).verdict
        == "supported"
    )
    same = level_scores(
        {"v": feature_array(X[None])},
        {level: {"w": feature_array(captions["all"][None])} for level in ("one", "two")},
        folds=folds,
        weights=resample_weights(n, n_draws=100),
    ).mean(("direction", "vision", "language"))
    difference = same.sel(level="one", drop=True) - same.sel(level="two", drop=True)
    assert float(abs(difference.value)) < 1e-6 and judge(claim, difference).verdict != "supported"


def test_what_is_lost_and_what_has_moved_add_up():
    rng, n, folds = np.random.default_rng(0), 200, make_folds(200)
    facts = rng.normal(size=(n, 4))
    seen, other, read = rng.normal(size=(3, 4, 10))
    noise = rng.normal(size=(4, n, 10))
    pictures = {
        "usual": facts @ seen + noise[0],
        "same": facts @ seen + noise[1],
        "moved": facts @ other + noise[2],
    }
    features = {style: {"v": feature_array(X[None])} for style, X in pictures.items()}
    language = {"w": feature_array((facts @ read + noise[3])[None])}
    weights = resample_weights(n, n_draws=100)
    made = style_scores(features, language, folds=folds, weights=weights).squeeze(drop=True)
    parts = style_effects(made).mean("direction")
    lost, moved = claims_about(slope=False, drawings=True)
    for style, (is_lost, has_moved) in {"same": (0, 0), "moved": (0, 1)}.items():
        own = parts.sel(style=style, drop=True)
        assert (judge(lost, own.sel(part="lost", drop=True)).verdict == "supported") == is_lost
        assert (judge(moved, own.sel(part="moved", drop=True)).verdict == "supported") == has_moved
    value = made.value
    missing = value.sel(train="usual", test="usual") - value.sel(train="usual", test="moved")
    total = style_effects(made).value.sum("part").sel(style="moved")
    np.testing.assert_allclose(total, missing)
    by_hand = []
    for i, test in enumerate(folds.test):
        X, Y = pictures["usual"], language["w"].values[0]
        model = Ridge(1.0).fit(X[folds.train(i)], Y[folds.train(i)])
        predicted = model.predict(pictures["moved"][test])
        by_hand.append([np.corrcoef(predicted[:, u], Y[test, u])[0, 1] for u in range(10)])
    found = float(value.sel(direction="v2l", train="usual", test="moved"))
    assert found == pytest.approx(np.mean(by_hand), abs=0.03)


@pytest.mark.parametrize("style", STYLES)
def test_styles_show_the_same_things(style):
    stimuli = microworld_stimuli(6, n_captions=1)
    made = restyled(stimuli, style)
    assert (made.captions, made.facts) == (stimuli.captions, stimuli.facts)
    assert np.array_equal(restyled(stimuli, style).images, made.images)  # again the same
    assert (made.images_key == stimuli.images_key) == (style == "usual")
    if style == "silhouette":
        for image, masks in zip(made.images, stimuli.thing_masks):
            assert np.array_equal(image[..., 0] == 0, masks.any(0))
    if style == "line drawing":
        grey = made.images
        assert (grey[..., 0] == grey[..., 1]).all() and (grey > 250).mean() > 0.5


def test_outlines_are_where_colours_change():
    image = np.full((6, 6, 3), 200, np.uint8)
    image[2:4, 2:4] = 20
    dark = outlines(image)[..., 0] == 0
    assert dark[2, 1] and dark[2, 3] and dark[1, 2] and dark[3, 2]
    assert not dark[0].any() and not dark[:, 5].any() and dark.sum() == 7  # a corner counts once


# Norms, and input that does not do


def tagged_set(*captions: str) -> StimulusSet:
    pos = {"dogs": "NOUN", "justice": "NOUN", "berries,": "NOUN", "red": "ADJ", "the": "DET"}
    tags = tuple((tuple((pos[word], "object") for word in own.split()),) for own in captions)
    ids = tuple(f"s{i}" for i in range(len(captions)))
    return StimulusSet("texts", ids, None, tuple((own,) for own in captions), tags)


def test_captions_by_norms_of_a_file(tmp_path):
    file = tmp_path / "norms.tsv"
    rows = ["Word\tConc.M\tSUBTLEX", "Dog\t4.85\t900", "justice\t1.45\t200", "berry\t4.9\t"]
    file.write_text("\n".join([*rows, "the\t1.4\t99999"]) + "\n")
    stimuli = tagged_set("the dogs", "red justice", "berries, dogs", "the red")
    values = word_values(stimuli, str(file))
    assert values.words[0] == [["dog"], ["justice"], ["berry", "dog"], []]
    np.testing.assert_allclose(values.concreteness(), [4.85, 1.45, 4.875, np.nan])
    assert values.frequency == {"dog": 900, "justice": 200, "the": 99999}
    covariates = stimulus_covariates(stimuli, values.words[0], frequency=values.frequency)
    assert list(covariates) == ["log frequency"]  # all captions have two words
    np.testing.assert_allclose(covariates["log frequency"][:2], np.log([900, 200]))
    used = words_used(values.words, values.table)
    assert used.sel(word="dog").values.tolist() == [True, False, True, False]


def test_the_world_has_levels_of_its_own():
    stimuli = microworld_stimuli(40)
    values = word_values(stimuli)
    for c in (0, 3):
        expected = [
            np.mean([LEVELS[level] for _, level in words_with_levels(own[c])])
            for own in stimuli.caption_facts
        ]
        np.testing.assert_allclose(values.concreteness(c), expected)
    assert word_values(tagged_set("the dogs")) is None
    assert told(stimuli, "kind").caption()[0] == text(tell(sample_scene(0), "kind"))


def test_two_captions_of_an_image_are_the_most_and_the_least_concrete():
    captions = (("a", "b", "c"), ("d", "e", "f"), ("g", "h", "i"))
    stimuli = StimulusSet("three", ("x", "y", "z"), None, captions)
    values = [[1.0, 2.0, np.nan], [3.0, 2.0, 4.0], [2.0, np.nan, np.nan]]
    sets, chosen = most_and_least(stimuli, [np.array(own) for own in values])
    assert chosen.tolist() == [0]  # the others have no two that differ
    assert [own.caption() for own in sets.values()] == [["b"], ["a"]]


def test_input_that_does_not_do_is_named(tmp_path):
    file = tmp_path / "norms.csv"
    stimuli = tagged_set("the dogs", "red justice")
    for content, message in (
        ("word,Conc.M\ndog,4\n", "no column 'Word'"),
        ("Word,Conc.M\ndog,\n", "row 2, 'dog': Conc.M is '', not a number"),
        ("Word,Conc.M\n", "is empty"),
    ):
        file.write_text(content)
        with pytest.raises(InputError, match=message):
            read_norms(file)
    with pytest.raises(InputError, match="there is no file .*Conc.M, or leave `norms` empty"):
        word_values(stimuli, str(tmp_path / "none.csv"))
    french = pd.DataFrame({"concreteness": [4.0]}, index=["chien"])
    with pytest.raises(InputError, match="such as 'dogs': take norms of the captions' language"):
        words_with_norms(content_words(stimuli), french)
    bare = StimulusSet("bare", ("a",), None, (("dogs",),))
    with pytest.raises(InputError, match="add them with `tagged"):
        content_words(bare)
    with pytest.raises(InputError, match="two or more captions of each image"):
        most_and_least(stimuli, [np.array([4.0, 2.0])])
    values = xr.DataArray(np.arange(30.0), dims="stimulus")
    weights = np.ones((2, 30), dtype=int)
    for predictors, message in (
        ({"concreteness": np.r_[np.arange(12.0), np.full(18, np.nan)]}, "known of 12 of 30"),
        ({"concreteness": np.ones(30)}, "concreteness is the same in all of 30"),
        ({"a": np.arange(30.0), "b": 1 - np.arange(30.0)}, "one follows from the other"),
        ({"a": np.arange(29.0)}, "same stimulus axis"),
    ):
        with pytest.raises(InputError, match=message):
            partial_slopes(values, predictors, weights)
    photographs = StimulusSet("photographs", ("a",), np.zeros((1, 9, 9, 3), np.uint8))
    assert "silhouette" not in possible_styles(photographs)
    with pytest.raises(InputError, match="need masks of things"):
        restyled(photographs, "silhouette")
    with pytest.raises(InputError, match="no facts are known"):
        told(photographs, "name")
