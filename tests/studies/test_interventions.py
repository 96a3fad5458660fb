"""Interventions on networks in which it is known what they use, and on those that use nothing."""

import numpy as np
import pytest
import torch
from scipy.stats import kstest
from tiny import WORDS, config, tokenizer
from torch.nn import functional as F
from transformers import LlamaForCausalLM

from seeing_words.core.errors import InputError
from seeing_words.data.microworld.scene import sample_scene
from seeing_words.data.microworld.stimulus_set import microworld_stimuli
from seeing_words.data.stimuli import StimulusSet
from seeing_words.measures.claims import judge
from seeing_words.measures.inference import resample_weights
from seeing_words.measures.subspace import random_subspaces
from seeing_words.models.inputs import caption_encoder
from seeing_words.models.load import Model
from seeing_words.models.loss import caption_losses, load_reader
from seeing_words.studies.interventions import (
    against_random,
    claims_about,
    class_means,
    class_subspace,
    fact_probes,
    losses_after,
    make_documents,
    mean_loss,
    nearest_alike,
    necessity,
    partner_found,
    preferences,
    rank_p,
    shared_content,
    specificity,
    switched,
    token_losses,
    token_states,
    told_facts,
    word_classes,
)


@pytest.fixture(scope="module")
def reader() -> Model:
    torch.manual_seed(0)
    network = LlamaForCausalLM(config("llama", initializer_range=0.4)).eval()
    return Model("tiny", "r", "language", network, caption_encoder(tokenizer(), 0), (1, 2))


def sentences(n: int, seed: int) -> list[str]:
    rng = np.random.default_rng(seed)
    return [" ".join(rng.choice(WORDS, rng.integers(3, 8))) for _ in range(n)]


# Documents and losses


def test_losses_are_those_of_the_whole_caption(reader):
    "Beside the words, `caption_losses` counts the end token."
    texts = sentences(5, 0)
    documents = make_documents(reader, texts)
    found = token_losses(reader, documents, batch_size=2)
    with torch.no_grad():
        for i, (text, whole) in enumerate(zip(texts, caption_losses(reader, texts))):
            ids = reader.encode([text])["input_ids"]
            logits = reader.network(input_ids=ids).logits[0]
            last = F.cross_entropy(logits[-2], ids[0, -1]).item()
            own = np.nansum(found[i]) + last
            assert abs(own / (ids.shape[1] - 1) - whole) < 1e-4


def test_second_captions_follow_first_ones_whatever_the_tokenizer_adds(reader):
    documents = make_documents(reader, ["a red boat"], ["the dog"])
    expected = reader.encode(["the dog"])["input_ids"][0].tolist()
    expected += reader.encode(["a red boat"])["input_ids"][0, 1:].tolist()
    assert documents.input_ids[0].tolist() == expected
    assert documents.ends.tolist() == [3] and documents.words[0].tolist() == [-1] * 4 + [
        0,
        1,
        2,
        -1,
    ]


@pytest.mark.slow
def test_pieces_of_words_belong_to_their_words():
    trained = load_reader("microworld/llama-0")
    text = microworld_stimuli(1).captions[0][0]
    documents = make_documents(trained, [text])
    n_words = len(text.split())
    words = documents.words[0]
    assert words[words >= 0].max() == n_words - 1 and (np.diff(words[words >= 0]) >= 0).all()
    ids = documents.input_ids[0].numpy()
    for i, word in enumerate(text.split()):
        prefix = " ".join(text.split()[:i])
        start = len(trained.encode([prefix])["input_ids"][0]) - 2 if i else 0
        whole = len(trained.encode([f"{prefix} {word}".strip()])["input_ids"][0]) - 2
        assert (words == i).sum() == whole - start
    assert (ids[words < 0] < 4).all()  # tokens of no word are special ones


def test_sums_by_class_are_all_losses(reader):
    documents = make_documents(reader, sentences(6, 1), sentences(6, 2))
    rng = np.random.default_rng(0)
    classes = [rng.choice(["content", "function"], words.max() + 1) for words in documents.words]
    losses = token_losses(reader, documents)
    by_class = class_means(losses, documents, classes)
    total = sum(sums.sum() for sums, _ in by_class.values())
    np.testing.assert_allclose(total, np.nansum(losses), rtol=1e-6)
    assert sum(n.sum() for _, n in by_class.values()) == np.isfinite(losses).sum()
    weights = resample_weights(6, n_draws=20)
    score = mean_loss(*by_class["content"], weights)
    sums, counts = by_class["content"]
    np.testing.assert_allclose(float(score.value), sums.sum() / counts.sum())
    np.testing.assert_allclose(score.draws, (weights @ sums) / (weights @ counts))


# Null interventions


def test_ranks_are_uniform_where_one_subspace_is_like_the_others(reader):
    p = []
    states = token_states(reader, make_documents(reader, sentences(40, 3)), 2)
    bases = random_subspaces(states, 2, variance=0.15, n=40 * 10, seed=0)
    for i in range(40):
        documents = make_documents(reader, sentences(4, 100 + i))
        classes = [
            ["content" if word % 2 else "function" for word in range(words.max() + 1)]
            for words in documents.words
        ]
        own = bases[10 * i : 10 * i + 10]
        rises = necessity(reader, documents, classes, own, layer=2, mean=states.mean(0))
        first, *others = map(specificity, rises)
        p.append(rank_p(first, others))
    assert kstest(np.array(p) - 0.05, "uniform").pvalue > 0.01
    assert np.mean(np.array(p) <= 0.1) < 0.3


def test_no_subspace_changes_no_loss(reader):
    documents = make_documents(reader, sentences(4, 5))
    classes = [["content"] * (words.max() + 1) for words in documents.words]
    empty = np.zeros((16, 0))
    (rises,) = necessity(reader, documents, classes, [empty], layer=1, mean=np.ones(16))
    assert not rises["content"][0].any()


def test_what_a_network_needs_is_found(reader):
    "The direction by which the head reads two words: without it, these are predicted worse."
    states = token_states(reader, make_documents(reader, sentences(60, 6)), 3)
    mean = states.mean(0)
    head = reader.network.lm_head.weight.detach().numpy().astype(float)
    needed = np.linalg.qr((head - head.mean(0))[4:10].T)[0]
    bases = [needed[:, :4], *random_subspaces(states, 4, variance=0.02, n=30)]
    # content: tokens that the network predicts with certainty, which it can only lose
    documents = make_documents(reader, sentences(20, 7))
    classes = [["content"] * (words.max() + 1) for words in documents.words]
    rises = necessity(reader, documents, classes, bases, layer=3, mean=mean)
    size = [abs(own["content"][0]).sum() for own in rises]
    assert rank_p(size[0], size[1:]) < 0.05


def test_one_that_exceeds_all_random_ones_is_supported_and_no_other():
    claim = claims_about(facts=False)[0]
    random = np.random.default_rng(0).normal(size=200)
    assert judge(claim, against_random(5.0, random)).verdict == "supported"
    assert judge(claim, against_random(0.5, random)).verdict == "not supported"
    assert judge(claim, against_random(-5.0, random)).verdict == "contradicted"
    assert rank_p(5.0, random) == 1 / 201


# States and facts


def test_the_state_of_another_caption_makes_the_network_read_on_as_after_it(reader):
    "At the last layer, the word after the first caption is predicted from its end alone."
    texts, first, other = sentences(5, 8), sentences(5, 9), sentences(5, 10)
    documents = make_documents(reader, [text.split()[0] for text in texts], first)
    theirs = make_documents(reader, [text.split()[0] for text in texts], other)
    states = token_states(reader, theirs, 3)
    lengths = theirs.attention_mask.sum(1).numpy()
    starts = np.concatenate([[0], np.cumsum(lengths)[:-1]])
    at_ends = states[starts + theirs.ends]
    swapped = losses_after(reader, documents, at_ends, layer=3)
    np.testing.assert_allclose(swapped, losses_after(reader, theirs, None, layer=3), atol=1e-4)


def test_all_facts_switch_with_the_whole_state_at_the_last_layer(reader):
    captions, others = ["a boat near the sea"] * 6, ["the dog sleeps"] * 6
    rng = np.random.default_rng(0)
    probes = []
    for i in range(6):
        one, two = rng.choice(WORDS, 2, replace=False)
        probes.append((i, "x", one, two))
    before = preferences(reader, captions, probes, None, layer=3)
    theirs = preferences(reader, others, probes, None, layer=3)
    documents = make_documents(reader, others)
    states = token_states(reader, documents, 3).reshape(6, -1, 16)[:, -1]
    after = preferences(reader, captions, probes, states, layer=3)
    np.testing.assert_allclose(after, theirs, atol=1e-4)
    share = switched(before, after, ["x"] * 6)
    known = before > 0
    assert share == (
        {} if not known.any() else dict.fromkeys(("x", "all"), np.mean(theirs[known] < 0))
    )


def test_probes_are_true_of_one_scene_and_false_of_the_other():
    scenes = [sample_scene(i) for i in range(30)]
    others = scenes[1:] + scenes[:1]
    probes = fact_probes(scenes, others)
    assert {kind for _, kind, *_ in probes} == {"place", "time", "weather", "thing name"}
    for pair, kind, own, theirs in probes:
        a, b = scenes[pair], others[pair]
        if kind in ("place", "time", "weather"):
            assert getattr(a, kind) != getattr(b, kind)
        else:
            assert own.split()[-1] != theirs.split()[-1]


def test_words_and_facts_of_captions_agree():
    stimuli = microworld_stimuli(5)
    classes = word_classes(stimuli, range(5), 1)
    told = told_facts([sample_scene(i) for i in range(5)], 1)
    for own, facts, captions in zip(classes, told, stimuli.captions):
        assert len(own) == len(facts) == len(captions[1].split())
    with pytest.raises(InputError, match="no caption 7"):
        word_classes(stimuli, [0], 7)


def test_neighbours_are_counted_as_a_loop_counts_them():
    rng = np.random.default_rng(0)
    states, labels = rng.normal(size=(30, 4)), rng.integers(0, 3, 30)
    hits = 0
    for i in range(30):
        distance = [np.inf if j == i else np.linalg.norm(states[i] - states[j]) for j in range(30)]
        hits += labels[int(np.argmin(distance))] == labels[i]
    assert nearest_alike(states, labels[:, None] == labels) == hits / 30
    assert partner_found(states, states[::-1]) < 0.3
    facts = [{"place": "sea", "things": ["dog"]}, {"place": "sea", "things": [{"name": "cat"}]}]
    assert shared_content(facts, "thing").tolist() == [[True, False], [False, True]]
    assert shared_content(facts, "place").all()


def test_a_syntax_subspace_holds_what_tells_classes_apart():
    rng = np.random.default_rng(0)
    labels = np.repeat(["a", "b", "c"], 50)
    offsets = np.linalg.qr(rng.normal(size=(10, 2)))[0] @ rng.normal(size=(2, 3)) * 5
    states = rng.normal(size=(150, 10)) + offsets.T[np.repeat(np.arange(3), 50)]
    basis = class_subspace(states, labels, 5)
    assert basis.shape == (10, 2)
    left = states - states @ basis @ basis.T
    means = np.array([left[labels == name].mean(0) for name in "abc"])
    assert abs(means - means.mean(0)).max() < 1e-9


# What does not fit


def test_what_does_not_fit_is_named(reader):
    headless = Model("bare", "r", "language", reader.network.model, reader.encode, (1, 2))
    documents = make_documents(reader, ["a boat"])
    with pytest.raises(InputError, match="bare has no head that predicts words"):
        token_losses(headless, documents)
    with pytest.raises(InputError, match="layers 0 to 3; there is no layer 9"):
        token_states(reader, documents, 9)
    with pytest.raises(InputError, match="written after a first one"):
        losses_after(reader, documents, np.zeros((1, 16)), layer=1)
    seer = Model("eye", "r", "vision", reader.network, reader.encode)
    with pytest.raises(InputError, match="eye is a vision network"):
        make_documents(seer, ["a boat"])
    untagged = StimulusSet("plain", ("0",), None, (("a boat",),))
    with pytest.raises(InputError, match="plain: .*tagged"):
        word_classes(untagged, [0])
    with pytest.raises(InputError, match="no function words"):
        specificity({"content": (np.ones(1), np.ones(1))})
