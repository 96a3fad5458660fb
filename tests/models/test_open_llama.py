"""OpenLLaMA as it is published: only tensors are read from its `.bin`, and its captions are cut as
sentencepiece cuts them."""

import json
import pickle
import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from families import TEXTS
from open_llama import FIRST, N_WORDS, SECOND, Harmful, write, write_tokenizer
from sentencepiece import SentencePieceProcessor
from transformers import AutoModelForCausalLM, LlamaConfig

from seeing_words.app.check import _head
from seeing_words.app.costs import _here
from seeing_words.app.download import _own_item
from seeing_words.app.presets import Preset
from seeing_words.core.errors import InputError
from seeing_words.models.extract import pooled_layers
from seeing_words.models.hub import check_weights, verified, weight_files, weight_shapes
from seeing_words.models.inputs import SentencePieceTokenizer, caption_tokenizer, read_tokenizer
from seeing_words.models.load import load_model
from seeing_words.models.loss import caption_losses, load_reader
from seeing_words.models.weights import check_head, check_whole, load_network

NASTY = [
    "a red boat",
    "a    b",
    "hello     world",
    " lead",
    "trail  ",
    "a\nb",
    "a \n b",
    "a\t\tb",
    "x\r\ny",
    "a\u00a0b",
    "a\u2028b",
    "\u3000a\u3000\u3000b",
    "\u200bboat",
    "A\u00adB",
    "<s>",
    "a <s> boat",
    "a</s>",
    "<unk> <pad>",
    "<0x41>",
    "＜s＞",
    "ﬁne",
    "½ Ⅳ ①",
    "cafe\u0301",
    "café",
    "a▁b",
    "▁a",
    "12 345",
    "犬が寝る",
    "🚤 boat 👩‍🚀",
    "\x00a",
    "don't — “stop”…",
    "ｈｅｌｌｏ　ｗｏｒｌｄ",
    *TEXTS,
]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("open_llama")
    return {n: write(root / f"parts-{n}", n_parts=n) for n in (1, 3)}


@pytest.fixture
def copy(folders, tmp_path):
    return lambda n=1: Path(shutil.copytree(folders[n], tmp_path / f"parts-{n}"))


@pytest.fixture(params=[FIRST, SECOND], ids=["first", "second"])
def words(request, tmp_path):
    "A folder with a tokenizer.model alone, and sentencepiece's own reading of it."
    folder = write_tokenizer(tmp_path / "words", **request.param)
    LlamaConfig(vocab_size=N_WORDS).save_pretrained(folder)
    return folder, SentencePieceProcessor(model_file=str(folder / "tokenizer.model"))


# Weights


@pytest.mark.parametrize("n_parts", [1, 3])
def test_features_are_those_of_the_same_weights_as_safetensors(folders, tmp_path, n_parts):
    folder = folders[n_parts]
    assert [path.suffix for path in weight_files(folder)] == [".bin"] * n_parts
    converted = shutil.copytree(folder, tmp_path / "converted")
    for path in [*weight_files(folder), folder / "pytorch_model.bin.index.json"]:
        (converted / path.name).unlink(missing_ok=True)
    weights = {}
    for path in weight_files(folder):
        weights |= torch.load(path, weights_only=True)
    network = AutoModelForCausalLM.from_pretrained(folder, use_safetensors=False)
    for name, weight in network.state_dict().items():
        assert torch.equal(weight, weights[name])
    network.save_pretrained(converted)
    assert weight_files(converted) == [converted / "model.safetensors"]
    mine, theirs = load_model(str(folder)), load_model(str(converted))
    assert mine.special_ids == (1,) and mine.revision == verified(folder) != theirs.revision
    for pooling in ("mean", "last"):
        found, expected = (pooled_layers(m, TEXTS, [pooling])[pooling] for m in (mine, theirs))
        assert np.array_equal(found, expected) and found.shape == (4, len(TEXTS), 16)
    losses = [caption_losses(load_reader(str(f)), TEXTS[:3]) for f in (folder, converted)]
    assert np.array_equal(*losses) and (losses[0] > 0).all()


def test_safetensors_come_first(copy):
    folder = copy()
    network = AutoModelForCausalLM.from_pretrained(folder, use_safetensors=False)
    network.save_pretrained(folder)
    torch.save({"a": Harmful(folder / "ran")}, folder / "pytorch_model.bin")
    assert weight_files(folder) == [folder / "model.safetensors"]
    assert load_model(str(folder)).has_weights and not (folder / "ran").exists()


def test_names_and_shapes_are_read_without_the_weights(folders):
    shapes = {}
    for path in weight_files(folders[3]):
        shapes |= weight_shapes(path)
    assert shapes["lm_head.weight"] == (N_WORDS, 16)
    assert shapes["model.layers.2.mlp.down_proj.weight"] == (16, 32)
    assert shapes["model.layers.0.self_attn.rotary_emb.inv_freq"] == (4,)
    check_whole(folders[3])
    check_head(folders[3])
    size = _here(folders[3], "language")
    assert size.n_bytes == sum(path.stat().st_size for path in weight_files(folders[3]))
    assert (size.n_layers, size.n_units) == (3, 16)


def test_a_bin_without_the_next_word_head_is_refused(copy):
    folder = copy()
    path = folder / "pytorch_model.bin"
    weights = torch.load(path, weights_only=True)
    torch.save({name: w for name, w in weights.items() if "lm_head" not in name}, path)
    assert load_model(str(folder)).has_weights
    with pytest.raises(InputError, match="has no head that predicts the next word"):
        check_head(folder)


def everything_that_opens(folder: Path) -> list:
    preset = Preset("x", "", "microworld", ("microworld/vision-0",), (str(folder),))
    return [
        lambda: load_model(str(folder)),
        lambda: load_network(folder),
        lambda: load_reader(str(folder)),
        lambda: verified(folder),
        lambda: check_whole(folder),
        lambda: check_head(folder),
        lambda: check_weights(str(folder)),
        lambda: _head(preset, str(folder)),
    ]


@pytest.mark.parametrize("n_parts", [1, 3])
@pytest.mark.parametrize("how", ["zip", "old", "plain"])
def test_a_bin_with_code_in_it_is_refused_and_nothing_is_run(copy, tmp_path, how, n_parts):
    folder, ran = copy(n_parts), tmp_path / "ran"
    path = weight_files(folder)[-1]
    weights = torch.load(path, weights_only=True) | {"more": Harmful(ran)}
    if how == "plain":
        path.write_bytes(pickle.dumps({"more": Harmful(ran)}, protocol=2))
    else:
        torch.save(weights, path, _use_new_zipfile_serialization=how == "zip")
    for opens in everything_that_opens(folder):
        with pytest.raises(InputError, match=rf"{path.name} is refused: it names \w+.mkdir, which"):
            opens()
    item = _own_item(str(folder))
    assert item.state == "by hand" and "is refused: it names" in item.note
    assert not ran.exists()


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (b"", r"is damaged or not a file of weights \(EOFError\)"),
        (b"0" * 99, "is damaged or not a file of weights"),
        (None, "is damaged or not a file of weights"),
        ([1, 2], "does not hold tensors by name"),
        ({"a": 3}, "does not hold tensors by name"),
        ({1: torch.zeros(2)}, "does not hold tensors by name"),
    ],
)
def test_a_file_that_does_not_hold_weights_is_named(copy, content, match):
    folder = copy()
    path = folder / "pytorch_model.bin"
    if content is None:
        path.write_bytes(path.read_bytes()[:-1])
    elif isinstance(content, bytes):
        path.write_bytes(content)
    else:
        torch.save(content, path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for opens in everything_that_opens(folder):
            with pytest.raises(InputError, match=rf"pytorch_model.bin {match}") as caught:
                opens()
            assert "weights_only" not in str(caught.value), "torch's advice is the wrong one here"


@pytest.mark.parametrize("name", ["../x.bin", "/x.bin", "x.safetensors", 3, "a/x.bin"])
def test_an_index_names_bins_of_its_own_folder_only(copy, name):
    folder = copy(3)
    path = folder / "pytorch_model.bin.index.json"
    path.write_text(json.dumps({"weight_map": {"a": name}}))
    with pytest.raises(InputError, match="which is not a bin file in the same folder"):
        load_model(str(folder))


def test_a_missing_part_is_named(copy):
    folder = copy(3)
    part = weight_files(folder)[1]
    part.unlink()
    with pytest.raises(InputError, match=rf"{part.name} is missing \(1 of 3 parts"):
        load_model(str(folder))


def test_weights_of_another_network_are_refused(copy):
    folder = copy()
    torch.save({"model.norm.weight": torch.ones(16)}, folder / "pytorch_model.bin")
    with pytest.raises(InputError, match="lacks 28 of the weights that its config.json describes"):
        load_model(str(folder))


# Captions


def test_captions_are_cut_as_sentencepiece_cuts_them(words):
    folder, pieces = words
    tokenizer = read_tokenizer(folder)
    assert isinstance(tokenizer, SentencePieceTokenizer)
    expected = [[1, *pieces.encode(text)] for text in NASTY]
    assert tokenizer(NASTY)["input_ids"] == expected
    assert [tokenizer(text)["input_ids"] for text in NASTY] == expected
    assert tokenizer("")["input_ids"] == [1] and tokenizer.model_max_length == 2048
    again = pickle.loads(pickle.dumps(tokenizer))
    assert again(NASTY)["input_ids"] == expected
    config = LlamaConfig(vocab_size=N_WORDS)
    encoded = caption_tokenizer(tokenizer, config)(NASTY)
    for ids, mask, own in zip(encoded["input_ids"], encoded["attention_mask"], expected):
        assert ids[mask.bool()].tolist() == own and mask.sum() == len(own)


def test_the_first_normaliser_collapses_spaces_and_writes_characters_as_usual(tmp_path):
    read = read_tokenizer(_described(write_tokenizer(tmp_path / "first", **FIRST)))
    ids = {text: read(text)["input_ids"] for text in NASTY}
    assert ids["a    b"] == ids["a\nb"] == ids["a \n b"] == read("a b")["input_ids"]
    assert (
        ids["hello     world"]
        == read("hello world")["input_ids"]
        == read(NASTY[-1 - 8])["input_ids"]
    )
    assert ids["ﬁne"] == read("fine")["input_ids"] and ids["cafe\u0301"] == ids["café"]
    second = read_tokenizer(_described(write_tokenizer(tmp_path / "second", **SECOND)))
    assert len(second("a    b")["input_ids"]) == len(second("a b")["input_ids"]) + 3


def test_a_mark_that_a_caption_spells_out_is_text(words):
    read = read_tokenizer(words[0])
    for text in ("<s>", "a <s> boat", "a</s>", "<unk>"):
        assert not {0, 1, 2} & set(read(text)["input_ids"][1:])


def test_captions_without_words_are_refused(words):
    encode = caption_tokenizer(read_tokenizer(words[0]), LlamaConfig(vocab_size=N_WORDS))
    with pytest.raises(InputError, match="caption 1 of the batch, ' ', is empty"):
        encode(["a boat", " "])


def test_where_other_tokens_are_added_they_are_those_of_the_configuration(words):
    folder, pieces = words
    path = folder / "tokenizer_config.json"
    path.write_text(
        json.dumps(json.loads(path.read_text()) | {"add_bos_token": False, "add_eos_token": True})
    )
    assert read_tokenizer(folder)("a red boat")["input_ids"] == [*pieces.encode("a red boat"), 2]


def test_with_a_tokenizer_json_beside_it_that_is_read(words):
    folder, _ = words
    read_tokenizer(folder).settings.save_pretrained(folder)
    assert (folder / "tokenizer.json").is_file()
    assert not isinstance(read_tokenizer(folder), SentencePieceTokenizer)


def _described(folder: Path) -> Path:
    LlamaConfig(vocab_size=N_WORDS).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("absent", ["sentencepiece", "google.protobuf"])
def test_packages_that_are_missing_are_named_before_anything_runs(copy, monkeypatch, absent):
    import importlib.util

    folder, find = copy(), importlib.util.find_spec
    monkeypatch.setattr(
        "importlib.util.find_spec", lambda name, *more: None if name == absent else find(name)
    )
    for opens in (lambda: load_model(str(folder)), lambda: check_whole(folder)):
        with pytest.raises(
            InputError, match="tokenizer.model .*two packages: `pip install sentencepiece protobuf`"
        ) as caught:
            opens()
        assert "tiktoken" not in str(caught.value)
    assert _own_item(str(folder)).state == "by hand"


@pytest.mark.parametrize("content", [b"", b"0" * 99, b"\x0a\x03"])
def test_a_damaged_tokenizer_is_not_called_whole(copy, content):
    folder = copy()
    (folder / "tokenizer.model").write_bytes(content)
    for opens in (lambda: load_model(str(folder)), lambda: check_whole(folder)):
        with pytest.raises(
            InputError, match="tokenizer.model is damaged or not a sentencepiece model"
        ) as caught:
            opens()
        assert "tiktoken" not in str(caught.value)
    item = _own_item(str(folder))
    assert item.state == "by hand" and "sentencepiece" in item.note


def test_captions_are_neither_padded_nor_cut_by_it(words):
    with pytest.raises(InputError, match="does not pad or cut captions"):
        read_tokenizer(words[0])(["a"], padding=True)
