"Stimulus sets: refused when parts disagree, whole when a subset is taken, keyed by what is shown."

import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seeing_words.core.errors import InputError
from seeing_words.data.microworld.stimulus_set import microworld_stimuli
from seeing_words.data.stimuli import OnDemand, StimulusSet


def made(n=5, **changes):
    images = np.arange(n * 4 * 6 * 3).reshape(n, 4, 6, 3).astype(np.uint8)
    known = {
        "name": "made",
        "ids": tuple(f"s{i}" for i in range(n)),
        "images": images,
        "captions": tuple((f"thing {i}", "a thing") for i in range(n)),
        "facts": tuple({"i": i} for i in range(n)),
        "tags": (
            ((("noun", "object"), ("number", "count")), (("article", ""), ("noun", "object"))),
        )
        * n,
        "thing_masks": tuple(np.full((1, 4, 6), i % 2 > 0) for i in range(n)),
    }
    return StimulusSet(**known | changes)


def test_it_shows_itself_in_a_line():
    assert len(made()) == 5 and repr(made()) == "made: 5 images of 4×6 pixels, 10 captions"


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"ids": ("a",) * 5}, "made: id 'a' occurs more than once"),
        ({"ids": ("a", "b")}, "made: 2 ids for 5 images"),
        ({"captions": (("x",),) * 4}, "4 captions for 5 images"),
        ({"facts": ()}, "0 facts for 5 images"),
        ({"thing_masks": (None,)}, "1 thing_masks for 5 images"),
        ({"captions": (("x y", "x"),) * 5}, r"stimulus 's0' have \[2, 1\] words and \[2, 2\] tags"),
        (
            {"captions": (("x y", "x y"),) * 3 + (("x y", " \t\n"),) * 2},
            "caption 1 of stimulus 's3' is empty",
        ),
        ({"captions": ((),) * 5}, "stimulus 's0' needs a tuple of one or more captions"),
        (
            {"captions": ("xy",) * 5},
            "stimulus 's0' needs a tuple of one or more captions, not 'xy'",
        ),
        ({"images": np.zeros((5, 4, 6, 3), np.float32)}, "type float32.*RGB in uint8"),
        ({"images": np.zeros((5, 4, 6), np.uint8)}, r"shape \(5, 4, 6\)"),
        ({"images": np.zeros((5, 4, 6, 4), np.uint8)}, "must be"),
        ({"images": np.zeros((0, 4, 6, 3), np.uint8)}, "there must be one or more"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(changes, match):
    with pytest.raises(InputError, match=match):
        made(**changes)


def test_one_side_may_be_missing_until_it_is_asked_for():
    texts = made(images=None, thing_masks=None)
    assert repr(texts) == "made: 10 captions"
    assert repr(texts.subset([1])) == "made: 2 captions"
    assert texts.captions_key() == made().captions_key()
    assert texts.key != made().key
    for ask in (texts.require_images, lambda: texts.images_key):
        with pytest.raises(InputError, match="made has captions only: give images"):
            ask()
    pictures = made(captions=None, tags=None)
    assert repr(pictures) == "made: 5 images of 4×6 pixels"
    assert pictures.subset([4]).images_key == made().subset([4]).images_key
    assert pictures.key != made().key
    for ask in (pictures.require_captions, pictures.caption, pictures.captions_key):
        with pytest.raises(InputError, match="made has images only: give captions"):
            ask()
    with pytest.raises(InputError, match="no images and no captions: give one of them"):
        made(images=None, captions=None)
    with pytest.raises(InputError, match="2 ids for 5 captions"):
        made(images=None, ids=("a", "b"))
    with pytest.raises(InputError, match="has images only"):
        made(captions=None)  # but with tags


def test_a_single_missing_caption_is_counted_in_the_singular():
    short = made(tags=None, captions=(("x", "y"),) * 4 + (("x",),))
    with pytest.raises(InputError, match="1 stimulus has no caption 1, the first is 's4'"):
        short.caption(1)


@given(st.lists(st.integers(-5, 4), min_size=1, max_size=5, unique_by=lambda i: i % 5))
def test_a_subset_takes_everything_along(index):
    whole, part = made(), made().subset(index)
    for position, i in enumerate(index):
        one = i % 5
        assert part.ids[position] == f"s{one}" and part.facts[position] == {"i": one}
        assert (
            part.captions[position] == whole.captions[one]
            and part.tags[position] == whole.tags[one]
        )
        assert (part.images[position] == whole.images[one]).all()
        assert (part.thing_masks[position] == whole.thing_masks[one]).all()


def test_a_subset_by_mask_or_slice_is_the_one_by_numbers():
    keys = {
        made().subset(index).key
        for index in ([1, 3], np.array([0, 1, 0, 1, 0]) > 0, slice(1, 5, 2))
    }
    assert len(keys) == 1


def test_captions_are_chosen_by_number():
    assert made().caption()[2] == "thing 2" and made().caption(1) == ["a thing"] * 5
    for missing in (2, -1):
        with pytest.raises(
            InputError, match=f"5 stimuli have no caption {missing}, the first is 's0'"
        ):
            made().caption(missing)


def test_keys_depend_on_the_stimuli_alone():
    whole, pixels = made(), made().images.copy()
    pixels[4, 3, 5, 2] ^= 1
    other = made(images=pixels)
    assert made(name="other", facts=None, tags=None).key == whole.key
    assert other.images_key != whole.images_key and other.captions_key() == whole.captions_key()
    words = made(captions=(("thing 0", "a hat"), *whole.captions[1:]))
    assert words.images_key == whole.images_key and words.captions_key(0) == whole.captions_key(0)
    assert words.captions_key(1) != whole.captions_key(1) and words.key != whole.key
    assert made(ids=tuple("abcde")).images_key != whole.images_key
    reshaped = made(images=whole.images.reshape(5, 6, 4, 3))
    assert reshaped.images_key != whole.images_key


def test_pixels_cannot_change_under_their_key():
    mine = np.zeros((5, 4, 6, 3), np.uint8)
    with pytest.raises(ValueError, match="read-only"):
        made(images=mine).images[0] = 1
    mine[0] = 1  # what was given stays the caller's


def test_microworld_stimuli_pass_the_checks():
    assert len(microworld_stimuli(3).subset([2])) == 1


# Images of different sizes, and images that are read when they are asked for


def sized(n=5):
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (4 + i, 6, 3), np.uint8) for i in range(n)]


def drawn(side: int) -> np.ndarray:
    return np.full((side, side + 1, 3), side, np.uint8)


@given(st.lists(st.integers(-5, 4), min_size=1, max_size=5, unique_by=lambda i: i % 5))
def test_images_of_different_sizes_go_with_their_subset(index):
    images = sized()
    part = made(images=images).subset(index)
    assert all((found == images[i]).all() for found, i in zip(part.images, index, strict=True))


def test_images_of_different_sizes_are_checked_and_kept_from_change():
    images = sized()
    with pytest.raises(ValueError, match="read-only"):
        made(images=images).images[0].fill(0)
    images[0] += 1  # what was given stays the caller's
    for wrong in (images[0][..., 0], images[0].astype(float)):
        with pytest.raises(InputError, match="RGB in uint8"):
            made(images=[wrong, *images[1:]])
    assert repr(made(images=images)) == "made: 5 images of various sizes, 10 captions"


def test_keys_of_images_of_different_sizes_follow_their_pixels():
    images, changed = sized(), sized()
    changed[4][0, 0, 0] ^= 1
    assert made(images=images).images_key == made(images=list(images)).images_key
    assert made(images=images).images_key != made(images=changed).images_key
    turned = [
        image.transpose(1, 0, 2).reshape(image.shape) if i == 3 else image
        for i, image in enumerate(images)
    ]
    assert made(images=images).images_key != made(images=turned).images_key


def test_equal_images_in_a_list_are_one_array_with_the_same_key():
    whole = made()
    assert made(images=list(whole.images)).images_key == whole.images_key


@given(
    st.slices(7)
    | st.lists(st.integers(-7, 6), min_size=1)
    | st.lists(st.booleans(), min_size=7, max_size=7)
)
def test_a_sequence_on_demand_is_indexed_like_an_array(index):
    sides = np.arange(1, 8)
    lazy = OnDemand(tuple(sides), drawn, str)
    assert [image[0, 0, 0] for image in lazy[index]] == list(
        sides[index if isinstance(index, slice) else np.array(index)]
    )


def test_nothing_is_made_before_it_is_asked_for():
    made_so_far = []
    lazy = OnDemand(tuple(range(3, 8)), lambda n: made_so_far.append(n) or drawn(n), str)
    stimuli = made(images=lazy, thing_masks=lazy).subset([4, 2])
    assert stimuli.images_key != made().images_key and len(repr(stimuli)) and not made_so_far
    assert stimuli.thing_masks[1].shape == (5, 6, 3) and made_so_far == [5]


def test_an_error_within_an_item_does_not_end_the_sequence():
    lazy = OnDemand((0, 1), lambda i: [][i], str)
    with pytest.raises(IndexError):
        list(lazy)


def test_a_sequence_on_demand_travels():
    lazy = OnDemand((3, 4), drawn, str)
    sent = pickle.loads(pickle.dumps(made(images=lazy[[0, 1, 0, 1, 0]])))
    assert sent.images_key == made(images=lazy[[0, 1, 0, 1, 0]]).images_key
    with pytest.raises(InputError, match="there are no images"):
        made(images=lazy[2:])
