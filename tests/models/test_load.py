"""Models: what is saved is what is loaded, damage is refused, and hooks see every layer before the
final norm."""

import json
import os
import re
import threading

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tiny import KINDS, PREPROCESS, config, model, network, save, stimuli, tokenizer
from torch import nn
from transformers import AutoModel, AutoModelForCausalLM

from seeing_words.core.errors import InputError
from seeing_words.core.files import file_digest
from seeing_words.core.parallel import parallel_map
from seeing_words.models.checkpoints import checkpoint_card, checkpoints, save_checkpoint
from seeing_words.models.extract import capture
from seeing_words.models.inputs import caption_encoder, image_encoder
from seeing_words.models.load import Model, blocks, load_model
from seeing_words.models.weights import build_network, drawing, load_network


def inputs(made: Model, n: int = 6) -> dict[str, torch.Tensor]:
    return made.encode(stimuli(n).images if made.modality == "vision" else stimuli(n).caption())


@torch.no_grad()
def answer(net: nn.Module, given: dict[str, torch.Tensor]) -> torch.Tensor:
    return net(**given)[0]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("changes", [{}, {"tie_word_embeddings": False}])
def test_what_is_saved_is_what_is_loaded(tmp_path, kind, changes):
    folder = save(kind, tmp_path, **changes)
    saved, loaded = network(kind, **changes), load_model(str(folder))
    given = inputs(loaded)
    assert torch.equal(answer(saved, given), answer(loaded.network, given))
    assert (
        loaded.revision
        == file_digest(folder / "model.safetensors")
        == checkpoint_card(str(folder))["sha256"]
    )
    assert loaded.n_layers == 3 and loaded.modality == (
        "vision" if kind == "dinov2" else "language"
    )
    assert not loaded.network.training and not any(
        p.requires_grad for p in loaded.network.parameters()
    )
    assert loaded.special_ids == (() if kind == "dinov2" else (1, 2))


@pytest.mark.parametrize("kind", KINDS)
def test_transformers_reads_the_folder_too(tmp_path, kind):
    auto = AutoModel if kind == "dinov2" else AutoModelForCausalLM
    mine = model(kind, tmp_path)
    theirs = auto.from_pretrained(
        tmp_path / kind, dtype=torch.float32, local_files_only=True
    ).eval()
    assert torch.allclose(
        answer(mine.network, inputs(mine)), answer(theirs, inputs(mine)), atol=1e-6
    )


def test_weights_are_stored_in_half_precision_and_loaded_as_asked(tmp_path):
    folder = save("llama", tmp_path)
    assert {w.dtype for w in load_file(folder / "model.safetensors").values()} == {torch.float16}
    for dtype in (torch.float32, torch.float64, torch.bfloat16):
        loaded = load_model(str(folder), dtype=dtype).network
        assert {p.dtype for p in loaded.parameters()} == {dtype}
        assert (
            loaded.model.rotary_emb.inv_freq.dtype == torch.float32
        )  # angles would be far off in half precision
        assert torch.isfinite(answer(loaded, inputs(load_model(str(folder))))).all()


def test_a_card_holds_what_was_given_and_the_commit(tmp_path):
    save_checkpoint(
        network("llama"),
        tmp_path / "x",
        tokenizer=tokenizer(),
        card={"data": "captions", "steps": 7, "commit": "abc"},
    )
    card = checkpoint_card("microworld/x", root=tmp_path)
    assert card["data"] == "captions" and card["steps"] == 7 and card["commit"] == "abc"
    assert card["licence"] == "Apache-2.0" and checkpoints(tmp_path) == ["x"]


def test_a_checkpoint_gives_way_only_to_a_whole_one(tmp_path, monkeypatch):
    before = file_digest(save("dinov2", tmp_path) / "model.safetensors")
    broken = network("dinov2", seed=1)
    with torch.no_grad():
        broken.layernorm.weight[3] = 1e6
    with pytest.raises(
        InputError,
        match=r"layernorm.weight contains NaN, or numbers too large for torch.float16",
    ):
        save_checkpoint(broken, tmp_path / "dinov2", preprocess=PREPROCESS)
    assert file_digest(tmp_path / "dinov2/model.safetensors") == before and os.listdir(
        tmp_path
    ) == ["dinov2"]
    save("dinov2", tmp_path, seed=2)
    assert load_model("microworld/dinov2", root=tmp_path).revision != before and os.listdir(
        tmp_path
    ) == ["dinov2"]


@pytest.mark.parametrize("kind", KINDS)
def test_an_untrained_twin_is_drawn_from_its_seed_and_leaves_the_global_state_alone(tmp_path, kind):
    save(kind, tmp_path, seed=5)
    state = torch.get_rng_state()
    twins = [load_model(f"untrained:microworld/{kind}@{seed}", root=tmp_path) for seed in (3, 3, 4)]
    assert torch.equal(torch.get_rng_state(), state)
    given = inputs(twins[0])
    first, same, other = (answer(twin.network, given) for twin in twins)
    assert torch.equal(first, same) and not torch.allclose(first, other)
    assert twins[0].revision == twins[1].revision != twins[2].revision
    assert twins[0].revision.startswith("untrained-seed-3-")
    torch.manual_seed(3)
    plain = build_network(config(kind, initializer_range=0.3), seed=3)
    assert torch.equal(answer(plain, given), first)


def test_twins_drawn_by_several_threads_are_those_drawn_alone():
    name = "untrained:microworld/llama-0@0"
    alone = load_model(name).revision
    n_threads = torch.get_num_threads()
    torch.set_num_threads(4)
    try:
        together = parallel_map(lambda n: load_model(n).revision, [name] * 6)
    finally:
        torch.set_num_threads(n_threads)
    assert set(together) == {alone}


def test_a_twin_does_not_depend_on_what_other_threads_do(tmp_path):
    """Others draw from the global generator and load trained networks, which patches torch for the
    whole process."""
    save("dinov2", tmp_path / "own", seed=5)
    network("llama").save_pretrained(tmp_path / "pretrained")
    twin = "untrained:microworld/dinov2@3"
    alone = load_model(twin, root=tmp_path / "own").revision
    finished = threading.Event()

    def draw():
        while not finished.is_set():
            torch.rand(100)

    def load():
        while not finished.is_set():
            load_network(tmp_path / "pretrained", dtype="bfloat16")

    others = [threading.Thread(target=draw), threading.Thread(target=load)]
    for other in others:
        other.start()
    try:
        beside = {load_model(twin, root=tmp_path / "own").revision for _ in range(20)}
    finally:
        finished.set()
        for other in others:
            other.join()
    assert beside == {alone}


@pytest.mark.parametrize(
    "make",
    [
        lambda: torch.randn(40),
        lambda: torch.rand(3, 5),
        lambda: torch.randint(9, (7,)),
        lambda: torch.randperm(12),
        lambda: torch.normal(0.0, 2.0, (20,)),
        lambda: torch.rand_like(torch.ones(6)),
        lambda: nn.Linear(5, 4).weight,
        lambda: nn.init.trunc_normal_(torch.empty(30)),
        lambda: torch.bernoulli(torch.full((50,), 0.3)),
    ],
)
def test_drawing_gives_the_numbers_of_the_seed_without_the_global_generator(make):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        expected = torch.stack([make(), make()])
    state = torch.get_rng_state()
    with drawing(5):
        found = torch.stack([make(), make()])
    assert torch.equal(found, expected)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(
    ("name", "match"),
    [
        (
            "microworld/vision-9",
            "no checkpoint 'microworld/vision-9'.*there are microworld/dinov2, microworld/llama",
        ),
        ("untrained:microworld/vision-9@0", "no checkpoint 'microworld/vision-9'"),
        (
            "vision-0",
            "there is no network 'vision-0' .not a folder.: .* or one of microworld/",
        ),
        (
            "untrained:microworld/llama",
            "names no seed: end it as in untrained:microworld/vision-0@3",
        ),
        ("untrained:microworld/llama@", "names no seed"),
        ("untrained:microworld/llama@x", "names no seed"),
    ],
)
def test_an_unknown_name_is_answered_with_the_known_ones(tmp_path, name, match):
    for kind in ("llama", "dinov2"):
        save(kind, tmp_path)
    with pytest.raises(InputError, match=match):
        load_model(name, root=tmp_path)


def test_where_there_are_no_checkpoints_it_says_how_to_get_them(tmp_path):
    with pytest.raises(
        InputError,
        match="there are none.*reinstall the package, or make it again with `make train`",
    ):
        load_model("microworld/vision-0", root=tmp_path)


@pytest.mark.parametrize(
    ("name", "files"),
    [
        ("microworld/llama", ["model.safetensors", "config.json", "tokenizer.json"]),
        (
            "untrained:microworld/llama@1",
            ["config.json", "tokenizer.json"],
        ),  # it does not use the weights
    ],
)
def test_a_flipped_byte_anywhere_is_refused(tmp_path, name, files):
    for path in (save("llama", tmp_path) / file for file in files):
        whole = path.read_bytes()
        for place in np.linspace(0, len(whole) - 1, 12).astype(int):
            path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
            with pytest.raises(InputError, match="checksum"):
                load_model(name, root=tmp_path)
        path.write_bytes(whole)
    load_model(name, root=tmp_path)


@pytest.mark.parametrize("file", ["model.safetensors", "config.json", "tokenizer.json"])
def test_a_missing_file_is_refused(tmp_path, file):
    (save("llama", tmp_path) / file).unlink()
    for name in ("microworld/llama", "untrained:microworld/llama@0"):
        with pytest.raises(InputError, match="missing|checksum mismatch"):
            load_model(name, root=tmp_path)


def test_a_wrong_or_damaged_card_is_refused(tmp_path):
    path = save("dinov2", tmp_path) / "card.json"
    card = json.loads(path.read_text())
    for changes, match in (
        (
            {"sha256": "0" * 64},
            f"has the checksum {card['sha256'][:12]}…, its card says 000000000000…",
        ),
        ({"sha256": None}, "its card says None"),
        ({"preprocess": PREPROCESS | {"mean": [0.5, 0.5, 0.6]}}, "checksum mismatch"),
    ):
        path.write_text(json.dumps(card | changes))
        with pytest.raises(InputError, match=match):
            load_model("microworld/dinov2", root=tmp_path)
    for text in ("{", "[]", "\xff"):
        path.write_bytes(text.encode("latin-1"))
        with pytest.raises(InputError, match="card.json is damaged"):
            load_model("microworld/dinov2", root=tmp_path)


def test_weights_in_another_format_are_refused(tmp_path):
    folder = save("llama", tmp_path)
    torch.save({}, folder / "model.safetensors")  # a pickle
    card = json.loads((folder / "card.json").read_text()) | {
        "sha256": file_digest(folder / "model.safetensors")
    }
    (folder / "card.json").write_text(json.dumps(card))
    with pytest.raises(InputError, match="not a safetensors file"):
        load_model(str(folder))


@pytest.mark.parametrize("name", ["pipeline", "LlamaTokenizer", "os", "LlamaModel"])
def test_only_networks_of_transformers_are_built(name):
    with pytest.raises(
        InputError, match=f"architecture '{name}' is not a vision encoder or causal language model"
    ):
        build_network(config("llama", architectures=[name]), seed=0)


def test_images_are_scaled_channel_by_channel():
    encode = image_encoder({"mean": [0.1, 0.2, 0.3], "std": [0.5, 0.25, 1.0], "size": 16})
    images = stimuli(3).images
    values = encode(images)["pixel_values"].numpy()
    for c, (mean, std) in enumerate(((0.1, 0.5), (0.2, 0.25), (0.3, 1.0))):
        assert np.allclose(values[:, c], (images[..., c] / 255 - mean) / std, atol=1e-6)
    with pytest.raises(InputError, match="images are 16 × 8 pixels; the network accepts 16 × 16"):
        encode(images[:, :8])


def test_larger_images_are_averaged_down():
    encode = image_encoder({"mean": [0.5] * 3, "std": [0.25] * 3, "size": 16})
    images = stimuli(3).images
    doubled = images.repeat(2, axis=1).repeat(2, axis=2)  # each pixel four times
    small, large = (encode(some)["pixel_values"].numpy() for some in (images, doubled))
    inside = (slice(None), slice(None), slice(1, -1), slice(1, -1))
    # a triangle over four pixels in each direction: weights 1 3 3 1 of two neighbours each
    side = np.array([1, 6, 1]) / 8
    padded = np.pad(small, ((0, 0), (0, 0), (1, 1), (1, 1)), mode="edge")
    expected = sum(
        side[i] * side[j] * padded[:, :, i : i + 16, j : j + 16] for i in range(3) for j in range(3)
    )
    assert np.allclose(large[inside], expected[inside], atol=1e-5)


def test_captions_are_closed_and_padded_on_the_right():
    encoded = caption_encoder(tokenizer(), 0)(["a boat", "the", "boat xyz a"])
    ids = tokenizer().get_vocab()
    assert encoded["input_ids"].tolist() == [
        [1, ids["a"], ids["boat"], 2, 0],
        [1, ids["the"], 2, 0, 0],
        [1, ids["boat"], 3, ids["a"], 2],
    ]
    assert encoded["attention_mask"].tolist() == [[1, 1, 1, 1, 0], [1, 1, 1, 0, 0], [1, 1, 1, 1, 1]]


@pytest.mark.parametrize("empty", ["", "  ", "\n", "</s>"])
def test_an_empty_caption_is_refused(empty):
    with pytest.raises(InputError, match=re.escape(f"caption 1 of the batch, {empty!r}, is empty")):
        caption_encoder(tokenizer(), 0)(["a boat", empty])


@pytest.mark.parametrize("kind", KINDS)
def test_hooks_see_what_transformers_reports_but_the_last_layer_before_the_final_norm(
    tmp_path, kind
):
    made = model(kind, tmp_path)
    norms = {"dinov2": "layernorm", "llama": "model.norm", "bloom": "transformer.ln_f"}
    with torch.no_grad(), capture(made.network) as hidden:
        reported = made.network(**inputs(made), output_hidden_states=True).hidden_states
    final = made.network.get_submodule(norms[kind])
    with torch.no_grad():
        after = final(hidden[-1])
    assert len(hidden) == len(reported) == made.n_layers + 1
    for ours, theirs in zip(hidden[:-1], reported[:-1]):
        assert torch.equal(ours, theirs)
    last = (
        hidden[-1] if kind == "dinov2" else after
    )  # Dinov2 reports it before its norm, the others after
    assert torch.allclose(last, reported[-1], atol=1e-6) and not torch.allclose(
        hidden[-1], after, atol=1e-2
    )


def test_hooks_copy_and_start_over_with_every_pass(tmp_path):
    made = model("llama", tmp_path)
    chain = blocks(made.network)
    spoil = chain[1].register_forward_pre_hook(
        lambda module, args: args[0].zero_()
    )  # as an in-place block would
    with torch.no_grad(), capture(made.network) as hidden:
        for _ in range(2):
            made.network(**inputs(made))
    spoil.remove()
    assert len(hidden) == 4 and hidden[1].abs().max() > 0


def test_hooks_are_gone_even_after_an_error(tmp_path):
    made = model("bloom", tmp_path)
    with pytest.raises(RuntimeError, match="stop"), capture(made.network):
        raise RuntimeError("stop")  # noqa: PT012
    for block in blocks(made.network):
        assert not block._forward_hooks and not block._forward_pre_hooks


def test_ambiguous_lists_of_blocks_are_refused():
    net = network("llama")
    net.more = nn.ModuleList([nn.Identity() for _ in range(3)])
    with pytest.raises(InputError, match="LlamaForCausalLM has 2 lists of 3 modules"):
        blocks(net)


@pytest.mark.parametrize("name", checkpoints())
def test_every_shipped_checkpoint_loads_and_reads_its_stimuli(name):
    made = load_model(f"microworld/{name}")
    assert made.n_layers >= 8 and made.network.config.hidden_size == 128
    card = checkpoint_card(f"microworld/{name}")
    assert {"commit", "curve", "data", "licence", "objective", "seeds", "sha256", "steps"} <= set(
        card
    )
