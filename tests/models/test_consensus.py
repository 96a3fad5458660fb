"""The consensus of those who described an image equals a plain computation with matrices."""

import numpy as np
import pytest
from sklearn.feature_extraction.text import CountVectorizer

from seeing_words.core.errors import InputError
from seeing_words.data.stimuli import StimulusSet
from seeing_words.models.consensus import consensus

TOLD = (
    ("A dog runs on the beach.", "A brown dog runs on the sand", "the dog, a DOG, on a beach"),
    ("Two men on horses", "Two men ride horses on the beach", "riders"),
    ("A cat sleeps on a sofa", "a cat on the sofa", "the cat is asleep on a red sofa"),
    ("A dog", "a small dog sleeps on the sofa", "a dog sleeps"),
)


def photographs(told=TOLD, shift=0):
    images = np.arange(4 * 2 * 2 * 3, dtype=np.uint8).reshape(4, 2, 2, 3) + np.uint8(shift)
    return StimulusSet("told", tuple("abcd"[: len(told)]), images[: len(told)], told)


def by_matrices(told):
    "Cosines of weighted counts, from one matrix of captions and words for each length."
    texts = [caption for captions in told for caption in captions]
    of_image = np.repeat(np.arange(len(told)), [len(captions) for captions in told])
    scores = np.zeros(len(texts))
    for length in (1, 2, 3, 4):
        counter = CountVectorizer(ngram_range=(length, length), token_pattern=r"\w+")
        counts = counter.fit_transform(texts).toarray()
        occurs = np.array([(counts[of_image == k] > 0).any(0) for k in range(len(told))])
        weighted = counts * np.log(len(told) / occurs.sum(0))
        norms = np.linalg.norm(weighted, axis=1, keepdims=True)
        unit = np.divide(weighted, norms, out=np.zeros_like(weighted), where=norms > 0)
        cosines = unit @ unit.T
        for i, k in enumerate(of_image):
            others = np.flatnonzero((of_image == k) & (np.arange(len(texts)) != i))
            scores[i] += cosines[i, others].mean() / 4
    return scores.reshape(len(told), -1)


def test_scores_are_mean_cosines_of_weighted_counts():
    np.testing.assert_allclose(consensus(photographs()), by_matrices(TOLD), atol=1e-12)


def test_a_caption_that_two_people_wrote_is_compared_with_the_other_one():
    told = (("a dog", "a dog", "a cat"), *TOLD[1:])
    scores = consensus(photographs(told))
    np.testing.assert_allclose(scores, by_matrices(told), atol=1e-12)
    assert scores[0, 0] == scores[0, 1] > scores[0, 2]


def test_a_prompt_is_closer_to_its_own_image_than_to_another_one():
    prompts = tuple(captions[:1] for captions in TOLD)
    own = consensus(photographs(prompts), references=photographs())
    moved = StimulusSet(
        "moved", tuple("abcd"), photographs().images, tuple(prompts[i] for i in (2, 3, 0, 1))
    )
    other = consensus(moved, references=photographs())
    np.testing.assert_allclose(own, by_matrices(TOLD)[:, :1], atol=1e-12)
    assert (own > other).all()


def test_images_that_nobody_else_described_are_refused():
    with pytest.raises(InputError, match="a: a consensus knows the images of its references only"):
        consensus(photographs(shift=99), references=photographs())
    with pytest.raises(InputError, match="b has one caption"):
        consensus(photographs((TOLD[0], TOLD[1][:1], *TOLD[2:])))
