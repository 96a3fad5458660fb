"""Features: all layers in one pass, pooled as a loop would, whatever the batch, the padding and the
order of poolings."""

import threading
import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.feature_extraction.text import TfidfVectorizer
from tiny import KINDS, model, stimuli

from seeing_words.core.arrays import check_features
from seeing_words.core.errors import InputError
from seeing_words.data.stimuli import OnDemand, StimulusSet
from seeing_words.models import extract as ft
from seeing_words.models import store as st
from seeing_words.models.baselines import bag_of_words, pixels
from seeing_words.models.extract import capture, extract, extract_many
from seeing_words.models.pooling import POOLINGS
from seeing_words.models.store import Store, feature_spec


def plainly(made, shown, pooling) -> np.ndarray:
    "One stimulus at a time, without padding, pooled by indexing: (layer, stimulus, unit)."
    out = []
    for stimulus in shown:
        given = made.encode([stimulus])
        with torch.no_grad(), capture(made.network) as hidden:
            made.network(**given)
        tokens = torch.stack(hidden)[:, 0]  # (layer, token, unit)
        inner = (
            tokens[:, 1:] if made.modality == "vision" else tokens[:, 1:-1]
        )  # without class token; without <s>, </s>
        out.append(
            {
                "cls": tokens[:, 0],
                "mean": inner.mean(1),
                "mean_all": tokens.mean(1),
                "last": tokens[:, -1],
            }[pooling].numpy()
        )
    return np.stack(out, 1)


@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("kind", KINDS)
def test_any_batch_gives_what_one_stimulus_alone_without_padding_gives(tmp_path, kind, pooling):
    made, shown = model(kind, tmp_path), stimuli(70)
    expected = plainly(made, shown.images if kind == "dinov2" else shown.caption(), pooling)
    for batch_size in (1, 7, 64, 1000):
        found = extract(made, shown, pooling=pooling, batch_size=batch_size, progress=False)
        assert found.shape == (4, 70, 16) and found.dtype == np.float32
        np.testing.assert_allclose(found.values, expected, rtol=1e-5, atol=1e-5)
    assert np.abs(expected[-1]).max() > 0.5  # so that 1e-5 says something


@pytest.mark.parametrize("kind", ["llama", "bloom"])
def test_a_caption_does_not_depend_on_its_neighbours(tmp_path, kind):
    made, short = model(kind, tmp_path), "a red boat"
    long = " ".join(["the dog sleeps near a barn"] * 6)

    def first(*captions):
        images = np.zeros((len(captions), 16, 16, 3), np.uint8)
        own = StimulusSet(
            "x", tuple(map(str, range(len(captions)))), images, tuple((c,) for c in captions)
        )
        return extract_many(made, own, ("mean", "last"), progress=False)

    alone, together = first(short), first(short, long, "dog")
    for name in alone:
        assert np.abs(alone[name].values[:, 0] - together[name].values[:, 0]).max() < 1e-5


def test_the_order_of_words_matters_to_deep_layers_only(tmp_path):
    made, images = model("llama", tmp_path), np.zeros((2, 16, 16, 3), np.uint8)
    own = StimulusSet("x", ("a", "b"), images, (("boat by dog",), ("dog by boat",)))
    gap = np.ptp(extract(made, own, pooling="mean", progress=False).values, axis=1).max(1)
    assert gap[0] < 1e-6 and (gap[1:] > 1e-3).all()


@pytest.mark.parametrize("kind", KINDS)
def test_a_constant_first_token_is_constant_in_layer_0(tmp_path, kind):
    layers = extract(model(kind, tmp_path), stimuli(), pooling="cls", progress=False).values
    assert np.ptp(layers[0], axis=0).max() == 0
    assert (np.ptp(layers[1:], axis=1).max() > 0.1) == (
        kind == "dinov2"
    )  # causal: <s> reads nothing that follows


@pytest.mark.parametrize("kind", KINDS)
def test_many_poolings_in_one_pass_are_those_of_separate_passes(tmp_path, kind, monkeypatch):
    made = model(kind, tmp_path)
    alone = {name: extract(made, stimuli(), pooling=name, progress=False) for name in POOLINGS}
    passes = []
    made.network.register_forward_hook(lambda *_: passes.append(1))
    together = extract_many(made, stimuli(), list(POOLINGS), batch_size=10, progress=False)
    assert len(passes) == 2
    for name in POOLINGS:
        assert np.allclose(together[name], alone[name], atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_two_runs_give_the_same_bytes_and_no_gradients(tmp_path, kind):
    made = model(kind, tmp_path)
    first, second = (extract(made, stimuli(), pooling="mean", progress=False) for _ in range(2))
    assert first.values.tobytes() == second.values.tobytes()
    assert all(p.grad is None for p in made.network.parameters()) and not made.network.training
    torch.manual_seed(0)
    state = torch.get_rng_state()
    extract(made, stimuli(), pooling="mean", progress=False)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_features_are_the_same_with_a_store_and_without(tmp_path, monkeypatch, dtype):
    monkeypatch.setattr(st, "BLOCK", 16)
    made, shown = model("llama", tmp_path), stimuli(50)
    options = {"pooling": "last", "dtype": dtype, "batch_size": 7, "progress": False}
    memory, written, read = (
        extract(made, shown, store=store, **options)
        for store in (None, Store(tmp_path / "s"), Store(tmp_path / "s"))
    )
    assert (
        memory.identical(written)
        and memory.identical(read)
        and check_features(read).dtype == np.float32
    )


def test_half_precision_costs_its_rounding_and_says_so_when_it_overflows(tmp_path):
    made = model("llama", tmp_path)
    full, half = (
        extract(made, stimuli(), pooling="mean", dtype=d, progress=False).values
        for d in ("float32", "float16")
    )
    assert 0 < np.abs(full - half).max() <= np.abs(full).max() * 2**-11
    made.network.model.embed_tokens.weight.data *= 1e6
    with pytest.raises(InputError, match='too large for float16: use dtype="float32"'):
        extract(made, stimuli(), pooling="mean", dtype="float16", progress=False)
    assert np.isfinite(extract(made, stimuli(), pooling="mean", progress=False).values).all()


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"pooling": "max"}, "pooling 'max' is unknown: choose one of cls, mean, mean_all, last"),
        (
            {"pooling": "mean", "dtype": "int8"},
            "dtype 'int8': features are stored as float32 or float16",
        ),
        ({"pooling": "mean", "batch_size": 0}, "batch_size is 0: it must be 1 or more"),
        ({"pooling": "mean", "caption": 3}, "20 stimuli have no caption 3, the first is 's0'"),
    ],
)
def test_bad_options_are_refused(tmp_path, options, match):
    with pytest.raises(InputError, match=match):
        extract(model("bloom", tmp_path), stimuli(), **options)


def test_images_that_are_too_small_are_refused(tmp_path):
    wrong = StimulusSet("x", ("a",), np.zeros((1, 8, 8, 3), np.uint8), (("a",),))
    with pytest.raises(InputError, match="images are 8 × 8 pixels; the network accepts 16 × 16"):
        extract(model("dinov2", tmp_path), wrong, pooling="cls", progress=False)


def crowd(made, most: int, error=torch.OutOfMemoryError) -> list[int]:
    "Let a network hold `most` stimuli at once; the sizes of its batches are noted."
    sizes = []

    def refuse(module, args, kwargs):
        n = len(next(iter(kwargs.values())))
        if n > most:
            raise error(
                "DefaultCPUAllocator: can't allocate memory: you tried to allocate 99 bytes"
            )
        sizes.append(n)

    made.network.register_forward_pre_hook(refuse, with_kwargs=True)
    return sizes


@pytest.mark.parametrize("error", [torch.OutOfMemoryError, MemoryError, RuntimeError])
@pytest.mark.parametrize("kind", ["dinov2", "llama"])
def test_a_batch_that_does_not_fit_is_halved_once_and_for_all(tmp_path, monkeypatch, kind, error):
    monkeypatch.setattr(st, "BLOCK", 16)
    made, store = model(kind, tmp_path), Store(tmp_path / "s")
    expected = extract(made, stimuli(40), pooling="mean", progress=False)
    sizes = crowd(made, 5, error)
    with pytest.warns(
        UserWarning, match="a batch of 16 stimuli does not fit in memory; continuing with 4"
    ) as said:
        found = extract(made, stimuli(40), pooling="mean", store=store, progress=False)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert len(said) == 1 and sizes == [4] * 10 and list(store.verify().values()) == [[]]


def test_a_stimulus_that_does_not_fit_alone_is_said(tmp_path):
    made = model("llama", tmp_path)
    crowd(made, 0)
    with pytest.raises(
        InputError,
        match='does not fit in memory with a single stimulus: load it with dtype="bfloat16"',
    ):
        extract(made, stimuli(), pooling="mean", progress=False)


def test_other_errors_of_a_network_name_it(tmp_path):
    made = model("llama", tmp_path)

    def fail(module, args):
        raise RuntimeError("shapes differ")

    made.network.register_forward_pre_hook(fail)
    with pytest.raises(InputError, match=r"refuses its input \(RuntimeError: shapes differ\)") as e:
        extract(made, stimuli(), pooling="mean", progress=False)
    assert isinstance(e.value.__cause__, RuntimeError)


def test_writing_does_not_hold_up_the_network_and_is_one_block_behind(tmp_path, monkeypatch):
    monkeypatch.setattr(st, "BLOCK", 8)
    made, put, ended, written_before = model("llama", tmp_path), st.Writer.put, [], []
    passed = threading.Semaphore(0)
    made.network.register_forward_pre_hook(lambda *_: written_before.append(len(ended)))
    made.network.register_forward_hook(lambda *_: passed.release())

    def waiting(self, start, block):
        assert threading.current_thread() is not threading.main_thread()
        for _ in range({0: 2, 32: 0}.get(start, 1)):  # until the pass for the next block is over
            assert passed.acquire(timeout=60), "the network waits for the disk"
        put(self, start, block)
        ended.append(start)

    monkeypatch.setattr(st.Writer, "put", waiting)
    found = extract(
        made, stimuli(40), pooling="mean", store=Store(tmp_path / "s"), batch_size=8, progress=False
    )
    assert ended == [0, 8, 16, 24, 32]
    assert all(n - written <= 1 for n, written in enumerate(written_before)), (
        "more than one finished block waits"
    )
    monkeypatch.undo()
    np.testing.assert_allclose(
        found, extract(made, stimuli(40), pooling="mean", progress=False), atol=1e-5
    )


def test_an_error_of_the_disk_ends_the_run_and_no_thread_is_left(tmp_path, monkeypatch):
    made, before = model("llama", tmp_path), threading.active_count()
    monkeypatch.setattr(st, "BLOCK", 8)

    def broken(self, start, block):
        raise PermissionError("read-only")

    monkeypatch.setattr(st.Writer, "put", broken)
    passes = []
    made.network.register_forward_hook(lambda *_: passes.append(1))
    with pytest.raises(PermissionError, match="read-only"):
        extract(made, stimuli(80), pooling="mean", store=Store(tmp_path / "s"), progress=False)
    assert len(passes) <= 2 and threading.active_count() == before


def test_of_a_layer_only_what_is_pooled_is_kept(tmp_path, monkeypatch):
    made, capture, kept = model("llama", tmp_path), ft.capture, []

    def watched(network, keep, layers):
        def noted(hidden):
            parts = keep(hidden)
            kept.extend(part.untyped_storage().nbytes() for part in parts)
            return parts

        return capture(network, noted, layers)

    monkeypatch.setattr(ft, "capture", watched)
    extract_many(made, stimuli(), list(POOLINGS), progress=False)
    assert kept == [20 * 16 * 4] * 4 * len(POOLINGS)


def test_a_spec_tells_apart_all_that_changes_features(tmp_path):
    vision, language = model("dinov2", tmp_path), model("llama", tmp_path)
    twin = model("llama", tmp_path, dtype=torch.float64)
    other = stimuli(seed=1)
    specs = [
        feature_spec(vision, stimuli(), pooling="cls"),
        feature_spec(vision, other, pooling="cls"),
        feature_spec(language, stimuli(), pooling="last"),
        feature_spec(language, stimuli(), pooling="mean"),
        feature_spec(language, stimuli(), pooling="mean", dtype="float16"),
        feature_spec(language, replace(stimuli(), condition="sorted"), pooling="mean"),
        feature_spec(twin, stimuli(), pooling="mean"),
        feature_spec(language, other, pooling="mean"),
    ]
    assert len({Store(tmp_path).folder(spec) for spec in specs}) == len(specs)
    assert all(tuple(spec) == st.SPEC for spec in specs)


def test_a_progress_bar_stays_away_from_short_runs(tmp_path, capsys):
    extract(model("llama", tmp_path), stimuli(), pooling="mean")
    assert capsys.readouterr() == ("", "")


def test_bag_of_words_is_tf_idf():
    captions = ["A red boat .", "a boat and a boat", "dog"]
    found = bag_of_words(captions, ids=["x", "y", "z"])
    reference = TfidfVectorizer(token_pattern=r"\S+").fit(captions)
    assert found.sizes == {"layer": 1, "stimulus": 3, "unit": len(reference.vocabulary_)}
    word = reference.vocabulary_
    idf = {w: np.log(4 / (1 + n)) + 1 for w, n in {"a": 2, "boat": 2, "and": 1}.items()}
    second = {"a": 2 * idf["a"], "boat": 2 * idf["boat"], "and": idf["and"]}
    norm = np.sqrt(sum(v**2 for v in second.values()))
    for w, v in second.items():
        assert found.values[0, 1, word[w]] == pytest.approx(v / norm, rel=1e-6)
    assert np.allclose(np.linalg.norm(found.values[0], axis=1), 1, atol=1e-6)


@pytest.mark.parametrize("size", [(16, 16), (19, 8)])
def test_pixels_against_loops(size):
    images = np.random.default_rng(0).integers(0, 256, (3, *size, 3), np.uint8)
    found = pixels(images).values[0]
    assert found.shape == (3, 8 * 8 * 3 + 64)
    for image, row in zip(images, found):
        cells, counts = {}, np.zeros((4, 4, 4))
        for y in range(size[0]):
            for x in range(size[1]):
                cells.setdefault((y * 8 // size[0], x * 8 // size[1]), []).append(image[y, x] / 255)
                counts[tuple(image[y, x] // 64)] += 1
        means = [np.mean(cells[i, j], 0) for i in range(8) for j in range(8)]
        assert np.allclose(
            row, np.concatenate([np.ravel(means), counts.ravel() / counts.sum()]), atol=1e-6
        )


def test_pixels_need_an_image_as_large_as_the_grid():
    with pytest.raises(InputError, match="too small for a 8 × 8 grid"):
        pixels(np.zeros((2, 4, 9, 3), np.uint8))


def test_damage_is_recomputed_with_a_warning_that_names_it(tmp_path):
    made, store = model("dinov2", tmp_path), Store(tmp_path / "s")
    spec = feature_spec(made, stimuli(), pooling="cls")
    first = extract(made, stimuli(), pooling="cls", store=store, progress=False)
    (store.folder(spec) / "features.zarr/features/c/0/0/0").write_bytes(b"")
    with pytest.warns(
        UserWarning,
        match=r"is damaged \(features.zarr/features/c/0/0/0 is changed\): it is computed again",
    ):
        again = extract(made, stimuli(), pooling="cls", store=store, progress=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert again.identical(first) and extract(
            made, stimuli(), pooling="cls", store=store
        ).identical(first)


def test_features_of_images_read_on_demand_are_those_of_an_array(tmp_path):
    made, whole = model("dinov2", tmp_path), stimuli()
    lazy = OnDemand(tuple(whole.images), np.asarray, str)
    same = StimulusSet(whole.name, whole.ids, lazy, whole.captions)
    found, expected = (extract(made, shown, pooling="cls", batch_size=6) for shown in (same, whole))
    assert (found.values == expected.values).all() and found.attrs["stimuli"] != expected.attrs[
        "stimuli"
    ]
    assert pixels(lazy, ids=whole.ids).equals(pixels(whole.images, ids=whole.ids))


def test_images_or_texts_alone_have_the_features_of_a_set_that_holds_them(tmp_path):
    whole = stimuli()
    for kind, alone in (
        ("dinov2", whole.images),
        ("dinov2", list(whole.images)),
        ("llama", whole.caption()),
    ):
        made = model(kind, tmp_path)
        expected = extract(made, whole, pooling="mean", progress=False)
        found = extract(made, alone, pooling="mean", ids=whole.ids, progress=False)
        assert found.stimulus.values.tolist() == list(whole.ids)
        np.testing.assert_array_equal(found.values, expected.values)
        assert found.attrs["stimuli"] == expected.attrs["stimuli"]  # one entry of a store
        unnamed = extract(made, alone, pooling="mean", progress=False)
        assert unnamed.stimulus.values.tolist() == [str(i) for i in range(20)]


@pytest.mark.parametrize(
    ("kind", "given", "match"),
    [
        ("dinov2", ["a boat"], "is a vision network: give images, not texts"),
        ("llama", np.zeros((1, 16, 16, 3), np.uint8), "is a language network: give texts, not im"),
        ("llama", "a boat", "give a list of texts, not 'a boat'"),
        ("dinov2", [], "give a list of images"),
    ],
)
def test_what_a_network_does_not_take_is_refused(tmp_path, kind, given, match):
    with pytest.raises(InputError, match=match):
        extract(model(kind, tmp_path), given, pooling="mean")


def test_ids_are_for_plain_images_and_texts_only(tmp_path):
    with pytest.raises(InputError, match="already has ids"):
        extract(model("llama", tmp_path), stimuli(), pooling="mean", ids=stimuli().ids)
