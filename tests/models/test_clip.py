"The judge against CLIP's own logits, one pair at a time."

import re

import numpy as np
import pytest
import torch
from families import TEXTS, photographs, save
from PIL import Image
from transformers import AutoImageProcessor, AutoTokenizer, CLIPModel

from seeing_words.core.errors import InputError
from seeing_words.data.stimuli import StimulusSet
from seeing_words.models.clip import clip_judge, clip_scores

SHORT = ["a boat", "sky", "the dog", "a", "red door", "an old man"]
CAPTIONS = [[SHORT[i % 6], SHORT[(i + 2) % 6], SHORT[(i + 3) % 6]] for i in range(7)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save("clip", tmp_path_factory.mktemp("clip"))


@torch.no_grad()
def logits(folder, image: np.ndarray, caption: str) -> float:
    "Of one image and one caption, by the network itself: cosine times its scale."
    network = CLIPModel.from_pretrained(folder).eval()
    pixels = AutoImageProcessor.from_pretrained(folder, backend="pil")(
        Image.fromarray(image), return_tensors="pt"
    )
    tokens = AutoTokenizer.from_pretrained(folder)(
        caption, return_tensors="pt", truncation=True, max_length=12
    )
    output = network(
        input_ids=tokens["input_ids"],
        attention_mask=tokens["attention_mask"],
        pixel_values=pixels["pixel_values"],
    )
    return float(output.logits_per_image / network.logit_scale.exp())


def test_scores_are_the_networks_own_cosines_whatever_the_batch(folder):
    images = photographs(7)
    expected = np.array(
        [
            [logits(folder, image, caption) for caption in own]
            for image, own in zip(images, CAPTIONS)
        ]
    )
    assert np.ptp(expected) > 0.1 and abs(expected).max() <= 1
    for batch_size in (1, 4, 64):
        found = clip_scores(images, CAPTIONS, name=str(folder), batch_size=batch_size)
        assert found.shape == (7, 3)
        np.testing.assert_allclose(found, expected, atol=1e-5)


def test_a_judge_scores_every_caption_of_every_stimulus(folder):
    images = np.stack([np.resize(image, (24, 30, 3)) for image in photographs(7)])
    stimuli = StimulusSet("x", tuple("abcdefg"), images, tuple(map(tuple, CAPTIONS)))
    assert np.array_equal(
        clip_judge(stimuli, name=str(folder)), clip_scores(images, CAPTIONS, name=str(folder))
    )


def test_captions_too_long_are_judged_by_their_beginning_and_counted(folder):
    own = [["sky", TEXTS[7]], [TEXTS[1], "a boat"]]
    with pytest.warns(
        UserWarning,
        match=r"2 of 4 captions are longer than the 12 tokens that .* reads \(the longest ",
    ):
        found = clip_scores(photographs(2), own, name=str(folder))
    assert found[0, 1] == pytest.approx(logits(folder, photographs(2)[0], TEXTS[7]), abs=1e-5)


def test_memory_that_is_short_makes_smaller_batches(folder, monkeypatch):
    expected, real = (
        clip_scores(photographs(7), CAPTIONS, name=str(folder)),
        CLIPModel.get_image_features,
    )

    def crowded(self, pixel_values):
        if len(pixel_values) > 3:
            raise torch.OutOfMemoryError("full")
        return real(self, pixel_values=pixel_values)

    monkeypatch.setattr(CLIPModel, "get_image_features", crowded)
    with pytest.warns(
        UserWarning, match="a batch of 7 stimuli does not fit in memory; continuing with 3"
    ):
        found = clip_scores(photographs(7), CAPTIONS, name=str(folder))
    np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize("captions", [CAPTIONS[:6], [*CAPTIONS[:6], ["a"]], [[]] * 7])
def test_every_image_needs_as_many_captions(folder, captions):
    with pytest.raises(
        InputError,
        match=f"7 images, but captions of {len(captions)}, .* each: give every image the same "
        "number",
    ):
        clip_scores(photographs(7), captions, name=str(folder))


def test_only_networks_of_its_family_judge(tmp_path, folder):
    other = save("siglip", tmp_path / "siglip")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (other / name).write_bytes((folder / name).read_bytes())
    with pytest.raises(
        InputError, match="is a siglip network: the judge must be of the CLIP family"
    ):
        clip_scores(photographs(1), [["a"]], name=str(other))
    with pytest.raises(
        InputError,
        match=re.escape("there is no CLIP network 'clip-3': give a name on the hub, such as"),
    ):
        clip_scores(photographs(1), [["a"]], name="clip-3")
