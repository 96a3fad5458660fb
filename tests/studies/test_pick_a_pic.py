"Forced choice, judges and ranks: against naive computations, closed forms and chance."

from dataclasses import replace

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from scenes import changed_facts
from sklearn.linear_model import Ridge

from seeing_words.core.arrays import feature_array
from seeing_words.core.errors import InputError
from seeing_words.data.microworld.near_miss import NEAR_MISSES, scene_of
from seeing_words.data.microworld.stimulus_set import microworld_stimuli
from seeing_words.data.modalities import DIRECTIONS
from seeing_words.measures.folds import make_folds
from seeing_words.measures.inference import predictivity_estimate, resample_weights
from seeing_words.measures.predictivity import out_of_fold, out_of_folds
from seeing_words.measures.ridge_pairs import out_of_pairs
from seeing_words.measures.scores import concat_scores, interval, make_scores, slope
from seeing_words.studies import pick_a_pic as pf

N = 150
FOLDS = make_folds(N)
WEIGHTS = resample_weights(FOLDS, n_draws=100)


@pytest.fixture(scope="module")
def trials() -> pf.PreferenceSet:
    return pf.near_miss_trials(microworld_stimuli(N, n_captions=3))


def planted(seed: int = 0, *, noise: float = 0.5) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Prompts, better and worse images, all linear in shared facts, with different offsets and
    scales."""
    rng = np.random.default_rng(seed)
    facts, changed = rng.normal(size=(2, N, 4))
    see, say = rng.normal(size=(4, 9)), rng.normal(size=(4, 7))
    prompts, better, worse = facts @ say, facts @ see, changed @ see
    return tuple(3 + 5 * (x + noise * rng.normal(size=x.shape)) for x in (prompts, better, worse))


def naive_choices(prompts, better, worse, direction: str, alpha: float) -> np.ndarray:
    "The definition, trial by trial: maps and z-scores of both images of every training trial."

    def cosine(a, b):
        return a @ b / (np.linalg.norm(a) * np.linalg.norm(b))

    right = np.empty(N)
    for k, test in enumerate(FOLDS.test):
        train = FOLDS.train(k)
        images = np.concatenate([better[train], worse[train]])

        def z(x, of):
            return (of - x.mean(0)) / x.std(0)

        said = z(prompts[train], prompts)
        liked, other = z(images, better), z(images, worse)
        texts = np.concatenate([said[train], said[train]])
        images = np.concatenate([liked[train], other[train]])
        source, target = (texts, images) if direction == "l2v" else (images, texts)
        line = Ridge(alpha=alpha, fit_intercept=False).fit(source, target)
        for i in test:
            if direction == "l2v":
                a, b = (cosine(line.predict(said[[i]])[0], x[i]) for x in (liked, other))
            else:
                a, b = (cosine(line.predict(x[[i]])[0], said[i]) for x in (liked, other))
            right[i] = 1.0 if a > b else 0.0 if a < b else 0.5
    return right


# Trials of the microworld


def test_match_and_near_miss_differ_in_one_fact(trials):
    assert trials.names == ("match", "near miss") and trials.rejected.condition == "near miss"
    assert trials.preferred.ids == trials.rejected.ids and set(trials.kinds) <= set(NEAR_MISSES)
    for a, b in zip(trials.preferred.facts, trials.rejected.facts):
        assert len(changed_facts(scene_of(a), scene_of(b))) == 1


def test_two_thirds_of_trials_are_decidable_and_kinds_are_spread(trials):
    assert 0.5 < trials.decidable.mean() < 0.8
    counts = [trials.among(kind).sum() for kind in set(trials.kinds)]
    assert sum(counts) == N and len(counts) == len(NEAR_MISSES)
    assert (trials.among(decidable=True) == trials.decidable).all() and not (
        trials.among(decidable=False) & trials.decidable
    ).any()


def test_the_oracle_is_the_ideal_observer(trials):
    assert np.array_equal(pf.judge_choices(trials), np.where(trials.decidable, 1.0, 0.5))
    lost = pf.judge_choices(trials, order=pf.other_prompts(FOLDS))
    low, high = pf.wilson(lost)
    assert low <= 0.5 <= high


def test_a_trial_is_decidable_where_the_prompt_contradicts_the_near_miss(trials):
    for facts, (prompt, *_), expected in zip(
        trials.rejected.facts, trials.preferred.caption_facts, trials.decidable
    ):
        assert pf.contradicted(scene_of(facts), prompt) == expected
    assert not any(
        pf.contradicted(scene_of(f), t[0])
        for f, t in zip(trials.preferred.facts, trials.preferred.caption_facts)
    )


def test_trials_do_not_depend_on_their_neighbours_images(trials):
    some = trials.subset(np.arange(10))
    assert (
        len(some) == 10
        and some.kinds == trials.kinds[:10]
        and np.array_equal(some.decidable, trials.decidable[:10])
    )
    again = pf.near_miss_trials(microworld_stimuli(N, n_captions=3))
    assert np.array_equal(again.rejected.images, trials.rejected.images)
    other = pf.near_miss_trials(trials.preferred, seed=1)
    assert not np.array_equal(other.rejected.images, trials.rejected.images)


def test_stimuli_without_facts_have_no_near_misses(trials):
    with pytest.raises(InputError, match="only the microworld has"):
        pf.near_miss_trials(replace(trials.preferred, facts=None))
    with pytest.raises(InputError, match="choose one of object"):
        pf.near_miss_trials(trials.preferred, kinds=["weather"])
    with pytest.raises(InputError, match="no trial is of kind 'weather'"):
        trials.among("weather")


def test_sets_that_are_no_trials_are_refused(trials):
    with pytest.raises(InputError, match="same ids and captions"):
        replace(trials, rejected=trials.rejected.subset(slice(3)))
    with pytest.raises(InputError, match="2 kinds"):
        replace(trials, kinds=("a", "b"))


# Forced choice


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("noise", [0.5, 3.0])
def test_choices_are_those_of_the_definition(direction, noise, monkeypatch):
    layers = planted(noise=noise)

    def one_penalty(source, targets, **options):
        return out_of_pairs(source, targets, alphas=[10.0], **options)

    monkeypatch.setattr(pf, "out_of_pairs", one_penalty)
    made = pf.map_trials(*layers, direction=direction, folds=FOLDS).choices()
    expected = naive_choices(*layers, direction, 10.0)
    untied = made != 0.5
    assert untied.mean() > 0.98 and np.array_equal(made[untied], expected[untied])
    assert expected.mean() > (0.85 if noise < 1 else 0.5)


def test_many_predictions_are_those_made_one_by_one():
    prompts, better, worse = planted()
    many = out_of_folds(
        better, {"a": prompts, "b": prompts[:, :2]}, tested=[better, worse], folds=FOLDS
    )
    for name, target in (("a", prompts), ("b", prompts[:, :2])):
        for found, tested in zip(many[name], (better, worse)):
            np.testing.assert_allclose(
                found, out_of_fold(better, target, tested=tested, folds=FOLDS)[1], atol=1e-5
            )
    with pytest.raises(InputError, match="the same units"):
        out_of_folds(better, {"a": prompts}, tested=[worse[:, 1:]], folds=FOLDS)


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_noise_is_chosen_at_chance(direction):
    rng = np.random.default_rng(3)
    right = pf.map_trials(
        *(rng.normal(size=(N, 6)) for _ in range(3)), direction=direction, folds=FOLDS
    ).choices()
    low, high = scipy.stats.binom(N, 0.5).interval(0.999)
    assert low <= right.sum() <= high


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from(DIRECTIONS), st.booleans())
def test_exchanged_images_exchange_choices(seed, direction, everywhere):
    "The fit does not know the sides: choices of exchanged trials are reversed, exactly."
    prompts, better, worse = planted(seed, noise=4.0)
    exchanged = np.random.default_rng(seed).random(N) < (1 if everywhere else 0.5)
    first, second = (
        np.where(exchanged[:, None], a, b) for a, b in ((worse, better), (better, worse))
    )
    before, after = (
        pf.map_trials(prompts, *sides, direction=direction, folds=FOLDS).choices()
        for sides in ((better, worse), (first, second))
    )
    assert np.array_equal(after, np.where(exchanged, 1 - before, before))
    if everywhere:
        assert after.sum() == N - before.sum()


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_maps_fitted_on_one_side_find_that_side(direction):
    "The control: with an offset between sides that show the same, both sides win in turn."
    rng = np.random.default_rng(1)
    content = rng.normal(size=(N, 4))
    see, say = rng.normal(size=(4, 9)), rng.normal(size=(4, 7))
    prompts = content @ say + rng.normal(size=(N, 7))
    better, worse = (content @ see + rng.normal(size=(N, 9)) for _ in range(2))
    better += better.std(0)
    accuracy = {
        side: pf.map_trials(
            prompts, better, worse, direction=direction, folds=FOLDS, fitted_on=side
        )
        .choices()
        .mean()
        for side in pf.FITTED_ON
    }
    assert accuracy["rejected"] < 0.4 and accuracy["preferred"] > 0.6
    assert 0.4 < accuracy["both"] < 0.6


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_equal_images_count_one_half(direction):
    prompts, better, _ = planted()
    assert (
        pf.map_trials(prompts, better, better, direction=direction, folds=FOLDS).choices() == 0.5
    ).all()
    dead = np.ones_like(better)  # a constant layer has nothing to choose by
    assert (
        pf.map_trials(prompts, dead, dead, direction=direction, folds=FOLDS).choices() == 0.5
    ).all()


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_scale_and_offset_of_units_do_not_matter(direction):
    prompts, better, worse = planted(noise=2.0)
    scale, offset = np.linspace(0.1, 10, better.shape[1]), np.arange(better.shape[1])
    plain = pf.map_trials(prompts, better, worse, direction=direction, folds=FOLDS).choices()
    changed = pf.map_trials(
        prompts, better * scale + offset, worse * scale + offset, direction=direction, folds=FOLDS
    ).choices()
    assert (plain == changed).mean() > 0.99


def test_shuffled_prompts_are_at_chance():
    order = pf.other_prompts(FOLDS, seed=1)
    assert (order != np.arange(N)).all() and sorted(order) == list(range(N))
    for direction in DIRECTIONS:
        mapped = pf.map_trials(*planted(noise=0.1), direction=direction, folds=FOLDS)
        low, high = pf.wilson(mapped.choices(order))
        assert low <= 0.5 <= high
        assert (
            mapped.against(order).choices().mean() > 0.9
        )  # but the images of other trials can be distinguished
        assert np.array_equal(mapped.against(np.arange(N)).choices(), np.full(N, 0.5))


def planted_pairs() -> dict:
    "Two vision and one language networks."
    images = [planted(seed)[1:] for seed in (0, 1)]
    prompts = planted(0)[0]
    return {
        "prompts": {"l": prompts},
        "preferred": {f"v{i}": pair[0] for i, pair in enumerate(images)},
        "rejected": {f"v{i}": pair[1] for i, pair in enumerate(images)},
    }


def test_accuracy_with_shuffled_prompts_is_the_mean_over_orders():
    mapped = pf.map_pairs(**planted_pairs(), direction="l2v", folds=FOLDS)
    among = np.arange(N) % 3 > 0
    found = pf.shuffled_accuracy(
        mapped, folds=FOLDS, weights=WEIGHTS, among=among, seed=2, n_shuffles=3
    )
    orders = [pf.other_prompts(FOLDS, seed=2, step=step) for step in (1, 2, 3)]
    for (v, w), m in mapped.items():
        expected = np.mean([m.choices(order)[among].mean() for order in orders])
        assert float(found.value.sel(vision=v, language=w)) == pytest.approx(expected)
    many = pf.shuffled_accuracy(mapped, folds=FOLDS, weights=WEIGHTS, n_shuffles=10**3)
    assert np.isfinite(many.value).all(), "as many as folds have"


def test_draws_of_shuffled_accuracy_follow_prompts():
    """Where the prompt alone decides, as with an offset, accuracy with shuffled prompts varies with
    the sample of prompts, and its difference from accuracy with the own prompts hardly does."""
    rng = np.random.default_rng(0)
    prompts, images = rng.normal(size=(N, 1)), rng.normal(size=(N, 1))
    always = pf.Mapped(prompts, np.ones((N, 1)), -np.ones((N, 1)))  # chosen by the prompt's sign
    mapped = {("v", "l"): always}
    own = pf.share_estimate(pf.choices_of_pairs(mapped), WEIGHTS, dim="trial")
    shuffled = pf.shuffled_accuracy(mapped, folds=FOLDS, weights=WEIGHTS)
    assert float(shuffled.draws.std()) == pytest.approx(float(own.draws.std()), rel=0.05)
    assert float((own - shuffled).draws.std()) < 0.4 * float(own.draws.std())
    by_image = pf.Mapped(np.ones((N, 1)), images, -images)  # chosen by the images alone
    mapped = {("v", "l"): by_image}
    own = pf.share_estimate(pf.choices_of_pairs(mapped), WEIGHTS, dim="trial")
    shuffled = pf.shuffled_accuracy(mapped, folds=FOLDS, weights=WEIGHTS)
    assert float((own - shuffled).draws.std()) < 0.4 * float(own.draws.std())


def test_prompts_that_repeat_stay_together():
    prompts = [f"prompt {i // 3}" for i in range(N)]
    folds = pf.prompt_folds(prompts, seed=1)
    fold = np.empty(N, int)
    for i, test in enumerate(folds.test):
        fold[test] = i
    assert all(len(set(fold[3 * i : 3 * i + 3])) == 1 for i in range(N // 3))
    for step in (1, 5):
        order = pf.other_prompts(folds, step=step)
        assert sorted(order) == list(range(N))
        assert all(prompts[i] != prompts[j] for i, j in enumerate(order))
    every_prompt = pf.prompt_folds([str(i) for i in range(N)])
    assert every_prompt.groups is None
    assert all(np.array_equal(a, b) for a, b in zip(every_prompt.test, FOLDS.test))
    with pytest.raises(InputError, match="use fewer folds"):
        pf.other_prompts(pf.prompt_folds(["a"] * 6 + ["b"] * 6, n_folds=2))


def test_a_layer_that_is_the_same_for_all_is_left_empty():
    prompts, better, worse = planted()
    dead = np.zeros_like(better)
    stacked = [{"v": feature_array(np.stack([dead, x, x]))} for x in (better, worse)]
    read = {"l": feature_array(np.stack([prompts, prompts, prompts]))}
    for direction in DIRECTIONS:
        curve = pf.accuracy_along(
            read,
            *stacked,
            "vision",
            direction=direction,
            folds=FOLDS,
            weights=WEIGHTS,
            among={"all": np.ones(N, bool)},
        )
        value = curve.value.sel(condition="all")
        assert np.isnan(value[0]) and np.isfinite(value[1:]).all()


def test_bad_trials_are_refused():
    prompts, better, worse = planted()
    with pytest.raises(InputError, match="choose one of v2l"):
        pf.map_trials(prompts, better, worse, direction="v2v", folds=FOLDS)
    with pytest.raises(InputError, match="have 149 to 150 trials"):
        pf.map_trials(prompts[:-1], better, worse, direction="l2v", folds=FOLDS)
    with pytest.raises(InputError, match="the same units"):
        pf.map_trials(prompts, better, worse[:, 1:], direction="v2l", folds=FOLDS)
    with pytest.raises(InputError, match="too few for folds"):
        pf.map_trials(prompts[:1], better[:1], worse[:1], direction="v2l", folds=make_folds(1))
    with pytest.raises(InputError, match="choose one of both"):
        pf.map_trials(prompts, better, worse, direction="v2l", folds=FOLDS, fitted_on="left")
    with pytest.raises(InputError, match="of the same networks"):
        pf.map_pairs({"l": prompts}, {"v": better}, {"w": worse}, direction="v2l", folds=FOLDS)


# Accuracy


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 400), st.data())
def test_wilson_is_scipys(n, data):
    k = data.draw(st.integers(0, n))
    expected = scipy.stats.binomtest(k, n).proportion_ci(method="wilson")
    np.testing.assert_allclose(pf.wilson(np.arange(n) < k), expected, atol=1e-10)


def test_half_choices_count_one_half():
    choices = np.array([1, 1, 1, 0.5, 0.5, 0])
    assert pf.wilson(choices) == pf.wilson(np.array([1, 1, 1, 1, 0, 0]))
    with pytest.raises(InputError, match="no trials"):
        pf.wilson(np.array([]))


def test_every_kind_with_trials_has_an_accuracy(trials):
    oracle = pf.accuracy_by_kind(pf.judge_choices(trials), trials, WEIGHTS, decidable=True)
    others = pf.accuracy_by_kind(np.ones(N), trials, WEIGHTS, decidable=False)
    assert set(oracle.group.values) == {"all trials", *trials.kinds}
    assert (oracle.value == 1).all()
    n = {name: scores.n.to_series() for name, scores in (("yes", oracle), ("no", others))}
    assert n["yes"]["all trials"] + n["no"]["all trials"] == N
    assert n["yes"].drop("all trials").sum() == n["yes"]["all trials"]
    everywhere = replace(trials, decidable=np.ones(N, bool))
    with pytest.raises(InputError, match="no trial out of 150"):
        pf.accuracy_by_kind(np.ones(N), everywhere, WEIGHTS, decidable=False)


def test_accuracy_of_a_kind_is_that_of_its_trials(trials):
    right = np.random.default_rng(0).choice([0, 0.5, 1], N)
    scores = pf.accuracy_by_kind(right, trials, WEIGHTS)
    mask = trials.among("object")
    of_kind = scores.sel(group="object")
    assert float(of_kind.value) == pytest.approx(right[mask].mean())
    expected = np.average(right[mask], weights=WEIGHTS[7, mask])
    assert float(of_kind.draws[7]) == pytest.approx(expected)


def test_alignment_is_predictivity():
    prompts, better, _ = planted()
    for direction in DIRECTIONS:
        made = pf.align_layers(
            {"v": better},
            {"l": prompts, "m": prompts[:, :3]},
            direction=direction,
            folds=FOLDS,
            weights=WEIGHTS,
        )
        pair = (better, prompts) if direction == "v2l" else (prompts, better)
        expected = predictivity_estimate(*pair, folds=FOLDS, weights=WEIGHTS)
        assert made.value.dims == ("vision", "language")
        pair_scores = made.sel(vision="v", language="l")
        assert abs(pair_scores.value - expected.value) < 1e-5
        np.testing.assert_allclose(pair_scores.draws, expected.draws, atol=1e-4)


def test_layers_are_taken_by_name():
    networks = {
        "deep": feature_array(np.arange(3 * N * 2).reshape(3, N, 2)),
        "flat": feature_array(np.ones((N, 2))),
    }
    assert (
        pf.at_layer(networks)["deep"][0, 0] == N * 2
        and pf.at_layer(networks, -1)["deep"][0, 0] == 2 * N * 2
    )
    assert list(pf.every_layer(networks)) == [("deep", 0), ("deep", 1), ("deep", 2), ("flat", 0)]


# Judges and ranks


def test_the_oracle_counts_true_facts(trials):
    scores = pf.judged(trials.preferred)
    facts, stated = trials.preferred.facts[0], trials.preferred.caption_facts[0][1]
    named = {(f[0], "name") if f[-1] == "verb" else f for f, _ in stated}
    assert scores[0, 1] == len(named) / (5 + 4 * len(facts["things"]))
    assert ((0 < scores) & (scores <= 1)).all()


def test_judges_are_checked(trials, monkeypatch):
    with pytest.raises(InputError, match="choose one of oracle"):
        pf.judged(trials.preferred, "critic")
    monkeypatch.setattr(pf, "JUDGES", {"short": lambda stimuli: np.ones((3, 1))})
    with pytest.raises(InputError, match="not one for each of 150 × 3"):
        pf.judged(trials.preferred, "short")
    uneven = replace(
        trials.preferred, captions=(("one",), *trials.preferred.captions[1:]), tags=None
    )
    with pytest.raises(InputError, match="1 to 3 captions"):
        pf.judged(uneven, "short")
    with pytest.raises(InputError, match="only the microworld has"):
        pf.oracle(replace(trials.preferred, caption_facts=None))


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 20), st.integers(2, 6), st.integers(0, 1000))
def test_captions_are_in_the_order_of_their_scores_and_ties_are_counted(n, m, seed):
    scores = np.random.default_rng(seed).integers(0, 4, (n, m)).astype(float)
    order, n_tied = pf.rank_captions(scores, seed=seed)
    assert (np.sort(order, axis=1) == np.arange(m)).all()
    assert (np.diff(np.take_along_axis(scores, order, axis=1), axis=1) >= 0).all()
    assert n_tied == sum(len(set(row)) < m for row in scores)


def test_ties_are_broken_at_random_not_by_position():
    scores = np.tile([1.0, 0.0, 1.0, 1.0], (3000, 1))
    order, n_tied = pf.rank_captions(scores)
    assert n_tied == 3000 and (order[:, 0] == 1).all()
    for rank in (1, 2, 3):
        counts = np.bincount(order[:, rank], minlength=4)[[0, 2, 3]]
        assert scipy.stats.chisquare(counts).pvalue > 1e-3
    assert np.array_equal(order, pf.rank_captions(scores)[0])
    assert not np.array_equal(order, pf.rank_captions(scores, seed=1)[0])


def test_scores_that_follow_length_have_nothing_beyond_it():
    rng = np.random.default_rng(0)
    length = rng.integers(3, 15, (200, 5))
    of_length = np.sqrt(length) + rng.normal(size=(200, 1))  # no line, and images that differ
    np.testing.assert_allclose(pf.beyond_length(of_length, length), 0, atol=1e-9)
    fit = rng.normal(size=(200, 5))
    left = pf.beyond_length(of_length + fit, length)
    order, _ = pf.rank_captions(left)
    words = np.take_along_axis(length, order, axis=1).mean(0)
    assert np.ptp(words) < 1, "ranks beyond length have the same length"
    assert np.corrcoef(left.ravel(), fit.ravel())[0, 1] > 0.8
    with pytest.raises(InputError, match="one for each caption"):
        pf.beyond_length(fit, length[:, 1:])


def test_scores_that_cannot_be_ranked_are_refused():
    with pytest.raises(InputError, match=r"stimulus 1, caption 0 is nan \(1 such\)"):
        pf.rank_captions([[1, 2], [np.nan, 1]])
    with pytest.raises(InputError, match="2 or more captions"):
        pf.rank_captions([[1], [2]])
    order, n_tied = pf.rank_captions(np.ones((4, 3)))  # a judge who sees no difference
    assert n_tied == 4 and (np.sort(order, axis=1) == [0, 1, 2]).all()


def test_captions_that_fit_better_align_better():
    prompts, better, _ = planted(noise=0.2)
    noise = np.random.default_rng(1).normal(size=prompts.shape)
    fits = np.array([8.0, 0.0, 3.0])  # less is better
    order, _ = pf.rank_captions(np.tile(-fits, (N, 1)))
    ranked = pf.by_rank([prompts + 10 * k * noise for k in fits], order)
    for direction in DIRECTIONS:
        curve = pf.rank_curve(
            {"v": better}, {"l": ranked}, direction=direction, folds=FOLDS, weights=WEIGHTS
        )
        assert curve.value.dims == ("rank", "vision", "language")
        curve = curve.mean(["vision", "language"])
        assert interval(slope(curve, "rank")).low > 0
        assert pf.monotonicity(curve).value == pytest.approx(1)
        flat = pf.rank_curve(
            {"v": better}, {"l": [prompts] * 3}, direction=direction, folds=FOLDS, weights=WEIGHTS
        )
        assert abs(slope(flat, "rank").value).max() < 1e-9


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(-1000, 1000), min_size=2, max_size=7, unique=True))
def test_trends_are_those_of_numpy_and_scipy(thousandths):
    scores = [score / 1000 for score in thousandths]  # differences within rounding are ties
    weights = np.ones((2, 10))
    points = {rank: make_scores(s, np.array([s, -s]), weights) for rank, s in enumerate(scores)}
    curve = concat_scores(points, "rank")
    rank = np.arange(len(scores))
    line = slope(curve, "rank")
    np.testing.assert_allclose(line.value, np.polyfit(rank, scores, 1)[0], atol=1e-9)
    rho = scipy.stats.spearmanr(rank, scores).statistic
    trend = pf.monotonicity(curve)
    np.testing.assert_allclose(trend.value, rho, atol=1e-9)
    np.testing.assert_allclose(trend.draws, [rho, -rho], atol=1e-9)


def test_equal_scores_share_their_rank():
    weights = np.ones((2, 10))
    scores = {1: 0.0, 2: 1.0, 3: 1.0}
    points = {rank: make_scores(s, np.array([0.5, s]), weights) for rank, s in scores.items()}
    trend = pf.monotonicity(concat_scores(points, "rank"))
    assert float(trend.value) == pytest.approx(3**0.5 / 2)
    assert np.isnan(trend.draws[0]), "scores that are all equal have no trend"
    assert float(trend.draws[1]) == pytest.approx(3**0.5 / 2)
