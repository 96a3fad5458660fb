"""Near-duplicates: copies of a picture are found whatever was done to them, and nothing else is."""

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from seeing_words.data.duplicates import _alike_captions, near_duplicates, picture_code
from seeing_words.data.stimuli import StimulusSet


def photograph(seed: int, height: int = 120, width: int = 160) -> np.ndarray:
    "Colours with the spectrum of photographs: the amplitude falls with the frequency."
    rng = np.random.default_rng(seed)
    fall = np.hypot(np.fft.fftfreq(height)[:, None] * height, np.fft.fftfreq(width) * width)
    layers = []
    for _ in range(3):
        waves = np.fft.fft2(rng.normal(size=(height, width))) / np.maximum(fall, 1)
        waves[0, 0] = 0
        layers.append(np.fft.ifft2(waves).real)
    grey = layers[0]
    pixels = np.stack([grey + 0.3 * layer for layer in layers], -1)
    return np.clip(128 + 50 * pixels / pixels.std(), 0, 255).astype(np.uint8)


def resized(image: np.ndarray) -> np.ndarray:
    return np.array(Image.fromarray(image).resize((75, 57), Image.Resampling.BICUBIC))


def recompressed(image: np.ndarray) -> np.ndarray:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=25)
    return np.array(Image.open(file))


def cropped(image: np.ndarray) -> np.ndarray:
    rows, columns = round(0.02 * image.shape[0]), round(0.02 * image.shape[1])
    return image[rows:-rows, columns:-columns]


COPIES = {
    "resized": resized,
    "recompressed": recompressed,
    "cropped": cropped,
    "brighter": lambda image: np.clip(0.8 * image + 40.0, 0, 255).astype(np.uint8),
    "all": lambda image: recompressed(resized(cropped(image))),
}


def set_of(name: str, images: list[np.ndarray], captions: list[tuple[str, ...]] | None = None):
    captions = captions or [(f"{name} number {i} has its own words",) for i in range(len(images))]
    ids = tuple(f"{name}{i}" for i in range(len(images)))
    return StimulusSet(name, ids, images, tuple(captions))


def test_planted_copies_are_found_and_nothing_else():
    originals = [photograph(i) for i in range(60)]
    others = [photograph(1000 + i, 90, 130) for i in range(60)]
    planted = set()
    for k, change in enumerate(COPIES.values()):
        for source in (7 * k, 7 * k + 3):
            place = 59 - source  # the order of the other set is another
            others[place] = change(originals[source])
            planted.add((f"a{source}", f"b{place}"))
    found = near_duplicates(set_of("a", originals), set_of("b", others))
    assert set(zip(found["a"], found["b"])) == planted
    assert set(found["found_by"]) == {"image"} and (found["overlap"] == 0).all()
    assert (found["bits"] <= 14).all() and (found["correlation"] >= 0.85).all()


def test_flat_pictures_are_no_copies_of_each_other():
    flat = [np.full((20, 30, 3), grey, np.uint8) for grey in (0, 128, 255)]
    assert not picture_code(flat[1]).any()
    assert near_duplicates(set_of("a", flat), set_of("b", flat)).empty


def test_captions_of_nearly_the_same_words_are_found():
    images = [photograph(i, 40, 50) for i in range(4)]
    ours = [
        ("a man rides a wave on a surfboard", "two dogs"),
        ("a dog runs",),
        ("three red boats lie in the harbour at night",),
        ("a child eats an apple",),
    ]
    theirs = [
        ("something else entirely is here", "A man rides a WAVE on the surfboard !"),
        ("a dog runs",),  # too short to mean anything
        ("two red boats lie on the lake by day",),
        ("a child eats an apple",),
    ]
    more = [photograph(100 + i, 40, 50) for i in range(3)]
    found = near_duplicates(set_of("a", images, ours), set_of("b", [*more, images[3]], theirs))
    rows = {(row.a, row.b): (row.found_by, row.overlap) for row in found.itertuples()}
    # man, rides, wave, on, surfboard, a are shared; only one has: the
    assert rows == {("a0", "b0"): ("caption", pytest.approx(6 / 7)), ("a3", "b3"): ("both", 1.0)}
    alone = near_duplicates(
        set_of("a", images, ours), set_of("b", [*more, images[3]], theirs), min_overlap=1.1
    )
    assert alone[["a", "b", "found_by"]].values.tolist() == [["a3", "b3", "image"]]


LISTS = st.lists(
    st.lists(st.text("abcdef ", min_size=1, max_size=14), min_size=1, max_size=2), max_size=8
)


@settings(max_examples=200, deadline=None)
@given(LISTS, LISTS, st.sampled_from([0.3, 0.5, 0.7, 0.8, 1.0]))
def test_looking_only_at_rare_words_misses_no_pair(a, b, least):
    expected = {}
    for i, ours in enumerate(a):
        for j, theirs in enumerate(b):
            for one in ours:
                for other in theirs:
                    x, y = set(one.split()), set(other.split())
                    if min(len(x), len(y)) >= 2 and len(x & y) / len(x | y) >= least:
                        overlap = len(x & y) / len(x | y)
                        expected[i, j] = max(overlap, expected.get((i, j), 0))
    assert _alike_captions(a, b, least, 2) == expected
