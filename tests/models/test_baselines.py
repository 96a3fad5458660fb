"""Baselines: HOG and random convolutions against loops, tokens against the tokenizer."""

from collections import Counter

import numpy as np
import pytest
from sklearn.feature_extraction.text import CountVectorizer, TfidfTransformer
from tiny import model, stimuli

from seeing_words.core.errors import InputError
from seeing_words.models.baselines import (
    bag_of_tokens,
    bag_of_words,
    caption_baselines,
    image_baselines,
    oriented_gradients,
    pixels,
    random_convolutions,
)

IMAGES = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3)).astype(np.uint8)


def hog_by_loops(image: np.ndarray) -> np.ndarray:
    """Histograms of oriented gradients, pixel by pixel.

    In this form, the numbers agree with `skimage.feature.hog` (9 orientations, 8 × 8 pixels per
    cell, 2 × 2 cells per block, L2-Hys) of scikit-image 0.26 to 3e-8.
    """
    image = image / 255
    cells = np.zeros((8, 8, 9))
    for y in range(64):
        for x in range(64):
            best = (-1.0, 0.0)
            for channel in range(3):
                down = image[y + 1, x, channel] - image[y - 1, x, channel] if 0 < y < 63 else 0.0
                right = image[y, x + 1, channel] - image[y, x - 1, channel] if 0 < x < 63 else 0.0
                degrees = np.rad2deg(np.arctan2(down, right)) % 180
                best = max(best, (np.hypot(down, right), degrees), key=lambda each: each[0])
            size, degrees = best
            cells[y // 8, x // 8, min(int(degrees // 20), 8)] += size / 64
    blocks = []
    for i in range(7):
        for j in range(7):
            block = cells[i : i + 2, j : j + 2].ravel()
            block = np.minimum(block / np.sqrt(np.sum(block**2) + 1e-10), 0.2)
            blocks.append(block / np.sqrt(np.sum(block**2) + 1e-10))
    return np.concatenate(blocks)


def test_oriented_gradients_against_loops():
    found = oriented_gradients(IMAGES).values[0]
    assert found.shape == (3, 1764)
    for image, row in zip(IMAGES, found, strict=True):
        np.testing.assert_allclose(row, hog_by_loops(image), atol=1e-5)


def test_an_edge_votes_for_its_own_direction_in_its_own_cell():
    image = np.zeros((64, 64, 3), np.uint8)
    image[:, 20:] = 255  # an upright edge, whose gradient points to the right: 0°
    blocks = oriented_gradients([image]).values.reshape(7, 7, 4, 9)
    assert (blocks[:, :, :, 1:] == 0).all()
    assert (blocks[:, 2, ::2, 0] > 0).all()  # the left cells of the block that begins at 16
    assert (blocks[:, 3:] == 0).all()


def test_contrast_and_brightness_leave_oriented_gradients_alone():
    dark = (IMAGES // 2).astype(np.uint8)
    found = oriented_gradients(dark + 100), oriented_gradients(dark)
    np.testing.assert_allclose(*found, atol=1e-5)


@pytest.mark.parametrize("grid", [1, 7, 64])
def test_cells_have_whole_pixels(grid):
    with pytest.raises(InputError, match="2, 4, 8, 16 or 32 cells"):
        oriented_gradients(IMAGES, grid=grid)


def test_random_convolutions_against_loops():
    found = random_convolutions(IMAGES[:1], n_filters=2, size=3, grid=2, seed=5).values[0, 0]
    filters = np.random.default_rng(5).normal(size=(2, 3, 3, 3))
    padded = np.pad(IMAGES[0] / 255 - 0.5, ((1, 1), (1, 1), (0, 0)))
    expected = np.zeros((2, 2, 2))
    for k, weights in enumerate(filters):
        weights = weights / np.linalg.norm(weights)
        for y in range(64):
            for x in range(64):
                patch = padded[y : y + 3, x : x + 3].transpose(2, 0, 1)
                expected[k, y // 32, x // 32] += max(0.0, np.sum(weights * patch)) / 32**2
    np.testing.assert_allclose(found, expected.ravel(), atol=1e-5)


def test_images_of_any_size_are_brought_to_one():
    large = IMAGES.repeat(3, axis=1).repeat(3, axis=2)  # 192 × 192, the same at 64 × 64
    mixed = [large[0], IMAGES[1]]
    for baseline in (oriented_gradients, random_convolutions):
        np.testing.assert_allclose(baseline(mixed), baseline(IMAGES[:2]), atol=1e-5)


def test_image_baselines_are_each_and_all_joined():
    found = image_baselines(IMAGES, ids=["x", "y", "z"])
    *each, joined = found.values()
    np.testing.assert_array_equal(joined, np.concatenate([one.values for one in each], axis=2))
    np.testing.assert_array_equal(found["pixels"], pixels(IMAGES))
    assert all(one.stimulus.values.tolist() == ["x", "y", "z"] for one in found.values())


def test_tokens_are_counted_without_padding_and_special_ones(tmp_path):
    made, captions = model("llama", tmp_path), stimuli().caption()
    found = bag_of_tokens(captions, made.encode, special_ids=made.special_ids, weighting="counts")
    rows = []
    for caption in captions:  # one at a time, so that nothing is padded
        ids = made.encode([caption])["input_ids"][0].tolist()
        rows.append(Counter(token for token in ids if token not in made.special_ids))
    known = sorted(set().union(*rows))
    expected = [[row[token] for token in known] for row in rows]
    np.testing.assert_array_equal(found.values[0], expected)
    weighted = bag_of_tokens(captions, made.encode, special_ids=made.special_ids)
    reference = TfidfTransformer().fit_transform(expected).toarray()
    np.testing.assert_allclose(weighted.values[0], reference)


def test_word_counts_are_those_of_scikit_learn():
    captions = ["A red boat .", "a boat and a boat", "dog"]
    reference = CountVectorizer(token_pattern=r"\S+").fit_transform(captions).toarray()
    np.testing.assert_array_equal(bag_of_words(captions, weighting="counts").values[0], reference)


def test_networks_with_one_tokenizer_share_its_baselines(tmp_path):
    made, captions = model("llama", tmp_path), stimuli().caption()

    def coarser(n):  # n words share a token
        def encode(texts):
            batch = made.encode(texts)
            return {**batch, "input_ids": batch["input_ids"] // n + 1000}

        return encode

    networks = {
        "words": (made.encode, made.special_ids),  # each of which is one token
        "a": (coarser(2), ()),
        "b": (coarser(2), ()),
        "c": (coarser(3), ()),
    }
    assert list(caption_baselines(captions, networks)) == [
        *("word counts", "word TF–IDF"),
        *("token counts (a)", "token TF–IDF (a)"),
        *("token counts (c)", "token TF–IDF (c)"),
    ]


def test_unknown_weightings_and_captions_without_tokens_are_refused(tmp_path):
    made = model("llama", tmp_path)
    with pytest.raises(InputError, match="weighting 'log': choose one of tf-idf, counts"):
        bag_of_words(["a dog"], weighting="log")
    everything = range(made.network.config.vocab_size)
    with pytest.raises(InputError, match="the 1 captions have no tokens"):
        bag_of_tokens(["a dog"], made.encode, special_ids=everything)
