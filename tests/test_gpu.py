"""What only a machine with an NVIDIA graphics card shows, in some eight minutes, without network.

    python -m pytest -s tests/test_gpu.py

Numbers of the card are those of the CPU: features within 1e-3 in float32, within a bound of their
own in bfloat16; scores, influences and nulls within 1e-4. A batch that does not fit is halved, a
network that does not fit is explained, layers shaped like those of a 13B stream through. Times are
printed beside those of a bare matrix product, and nothing is asserted about them.
"""

import gc
import sys
import time

import numpy as np
import pytest
import torch
from families import LANGUAGE, TEXTS, VISION, photographs, save
from layers import related
from tiny import KINDS, model, stimuli
from transformers import LlamaConfig, LlamaModel

from seeing_words.core.arrays import feature_array
from seeing_words.core.errors import InputError
from seeing_words.core.parallel import computing_on
from seeing_words.measures.folds import make_folds
from seeing_words.measures.inference import predictivity_estimates, resample_weights
from seeing_words.measures.influence import score_influences
from seeing_words.measures.predictivity import (
    count_grid,
    null_grid,
    out_of_folds,
    predictivity_grid,
)
from seeing_words.models.cache import Results
from seeing_words.models.clip import clip_scores
from seeing_words.models.extract import extract, pooled_layers
from seeing_words.models.load import load_model
from seeing_words.models.weights import draw_network, load_network
from seeing_words.studies.precision import precision_effect

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device here"),
]
HALF = 0.1  # of the largest activation: bfloat16 keeps 8 digits, through three blocks


def say(text: str) -> None:
    sys.stderr.write(f"\n{text}\n")  # shown by pytest -s, and with whatever fails


def timed(function, *args, **kwargs) -> tuple[float, object]:
    "Seconds of the second call, with the result; the first one starts libraries."
    function(*args, **kwargs)
    torch.cuda.synchronize()
    began = time.perf_counter()
    value = function(*args, **kwargs)
    torch.cuda.synchronize()
    return time.perf_counter() - began, value


@pytest.fixture
def little_memory():
    "Limit this process to a small part of the card's memory; a function sets the bytes."
    gc.collect()
    torch.cuda.empty_cache()
    total = torch.cuda.mem_get_info()[1]
    yield lambda n_bytes: torch.cuda.set_per_process_memory_fraction(n_bytes / total)
    torch.cuda.set_per_process_memory_fraction(1.0)
    gc.collect()
    torch.cuda.empty_cache()


def relative(found: np.ndarray, expected: np.ndarray) -> float:
    return float(np.abs(found - expected).max() / np.abs(expected).max())


@pytest.mark.parametrize("kind", KINDS)
def test_features_of_checkpoints_are_those_of_the_cpu(tmp_path, kind):
    here, there = (
        extract(
            model(kind, tmp_path, device=device), stimuli(), pooling="mean", progress=False
        ).values
        for device in ("cpu", "cuda")
    )
    assert relative(there, here) < 1e-3


@pytest.mark.parametrize("kind", VISION + LANGUAGE)
def test_features_of_families_are_those_of_the_cpu(tmp_path, kind):
    folder, shown = str(save(kind, tmp_path)), photographs() if kind in VISION else TEXTS
    here, there = (
        pooled_layers(load_model(folder, device=device), shown, ["mean"])["mean"]
        for device in ("cpu", "cuda")
    )
    assert relative(there, here) < 1e-3
    half = pooled_layers(load_model(folder, device="cuda", dtype="bfloat16"), shown, ["mean"])[
        "mean"
    ]
    assert relative(half, here) < HALF


def test_a_batch_that_does_not_fit_on_the_card_is_halved(tmp_path, little_memory):
    made = load_model(str(save("llama", tmp_path)), device="cuda")
    # each caption takes 64 MB for a moment, so that of 20 captions no more than 4 fit
    made.network.register_forward_pre_hook(
        lambda module, args, kwargs: torch.empty(
            2**26 * len(kwargs["input_ids"]), dtype=torch.uint8, device="cuda"
        ),
        with_kwargs=True,
    )
    usual = extract(made, stimuli(), pooling="mean", progress=False, batch_size=2)
    gc.collect()
    torch.cuda.empty_cache()
    little_memory(torch.cuda.memory_reserved() + 2**26 * 5)
    with pytest.warns(UserWarning, match="a batch of 20 stimuli does not fit in memory"):
        halved = extract(made, stimuli(), pooling="mean", progress=False)
    assert relative(halved.values, usual.values) < 1e-5


def test_a_network_that_does_not_fit_on_the_card_is_explained(tmp_path, little_memory):
    config = LlamaConfig(
        vocab_size=100, hidden_size=2048, intermediate_size=8192, num_hidden_layers=4
    )
    folder = tmp_path / "large"
    draw_network(LlamaModel, config, seed=0, device="cuda").half().cpu().save_pretrained(folder)
    gc.collect()
    torch.cuda.empty_cache()
    little_memory(2**28)
    with pytest.raises(InputError, match="does not fit in the memory of cuda .*bfloat16"):
        load_network(folder, cls=LlamaModel, device="cuda")


def test_weights_cross_to_the_card_as_published_and_are_cast_there(tmp_path):
    config = LlamaConfig(vocab_size=100, hidden_size=256, intermediate_size=512)
    draw_network(LlamaModel, config, seed=0).half().save_pretrained(tmp_path)
    here, there = (load_network(tmp_path, cls=LlamaModel, device=d) for d in ("cpu", "cuda"))
    for (name, own), other in zip(here.state_dict().items(), there.state_dict().values()):
        assert other.is_cuda and other.dtype == torch.float32, name
        assert torch.equal(own, other.cpu()), name
    assert torch.equal(here.rotary_emb.inv_freq, there.rotary_emb.inv_freq.cpu())


def test_twins_are_drawn_on_the_card_from_the_same_distribution(tmp_path):
    folder = str(save("llama", tmp_path))
    twins = [load_model(f"untrained:{folder}@0", device="cuda") for _ in range(2)]
    here = load_model(f"untrained:{folder}@0")
    assert twins[0].revision == twins[1].revision == f"{here.revision}-cuda"
    for weight, again, own in zip(*(made.network.parameters() for made in (*twins, here))):
        assert weight.is_cuda and torch.equal(weight, again)
        if own.std() > 0 and own.numel() > 200:
            assert abs(float(weight.std() / own.std()) - 1) < 0.25


def test_layers_shaped_like_those_of_a_13b_stream_through_the_card(tmp_path):
    """Four blocks of a 13B, written as it is published: what is in memory is the network, and not
    the features of all captions with all their tokens."""
    config = LlamaConfig(
        vocab_size=1000,
        hidden_size=5120,
        intermediate_size=13824,
        num_hidden_layers=4,
        num_attention_heads=40,
        max_position_embeddings=64,
    )
    made = draw_network(LlamaModel, config, seed=0, device="cuda", dtype=torch.float16)
    n_bytes = 2 * sum(weight.numel() for weight in made.parameters())
    made.cpu().save_pretrained(tmp_path / "blocks", max_shard_size="1GB")
    del made
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    took, network = timed(load_network, tmp_path / "blocks", cls=LlamaModel, device="cuda")
    largest = 4 * 5120 * 13824
    assert torch.cuda.max_memory_allocated() < 2 * (2 * n_bytes) + 3 * largest  # twice loaded
    rate = n_bytes / took / 1e9
    say(f"13B-shaped blocks: {n_bytes / 1e9:.1f} GB read and cast in {took:.1f} s, {rate:.1f} GB/s")
    tokens = torch.randint(0, 1000, (64, 15), device="cuda")
    with torch.no_grad():
        took, _ = timed(network, tokens, use_cache=False)
        half = network.to(torch.bfloat16)
        in_half, _ = timed(half, tokens, use_cache=False)
    per_block = took / 4
    say(
        f"64 captions of 15 tokens: {1e3 * per_block:.1f} ms a block in float32, "
        f"{1e3 * in_half / 4:.1f} in bfloat16; all 40 blocks, 1000 captions: "
        f"{40 * per_block * 1000 / 64:.1f} s"
    )


def test_the_judge_scores_as_on_the_cpu(tmp_path):
    folder = str(save("clip", tmp_path))
    here, there = (
        clip_scores(photographs(4), [["a boat", "sky"]] * 4, name=folder, device=device)
        for device in ("cpu", "cuda")
    )
    assert np.abs(here - there).max() < 1e-3


@pytest.mark.parametrize("penalty", ["shared", "per_target"])
@pytest.mark.parametrize(("n", "p", "q"), [(120, 300, 200), (400, 30, 40)])  # dual and primal
def test_predictivity_is_that_of_the_cpu(penalty, n, p, q):
    source, target = (feature_array(np.stack([layer, layer**3])) for layer in related(n, p, q))
    folds = make_folds(n)
    here, there = (
        predictivity_grid(source, target, folds=folds, penalty=penalty, device=device)
        for device in ("cpu", "cuda")
    )
    assert np.abs(here.predictivity - there.predictivity).max() < 1e-4


def test_the_null_is_that_of_the_cpu():
    source, target = (feature_array(layer[None]) for layer in related(100, 60, 50))
    here, there = (
        null_grid(source, target, folds=make_folds(100), n_permutations=20, seed=0, device=device)
        for device in ("cpu", "cuda")
    )
    for name in here.data_vars:
        if here[name].dtype.kind == "f":
            assert np.nanmax(np.abs(here[name].values - there[name].values)) < 1e-4


def test_influences_and_predictions_are_those_of_the_cpu():
    X, Y = related(120, 80, 60)
    weights = resample_weights(make_folds(120), n_draws=30)
    made = {}
    for device in ("cpu", "cuda"):
        with computing_on(device):
            (influences,) = score_influences(X, {"": Y}, folds=make_folds(120))[""]
            (scores,) = predictivity_estimates(X, {"": Y}, folds=make_folds(120), weights=weights)[
                ""
            ]
            (predicted,) = out_of_folds(X, {"": Y}, folds=make_folds(120))[""]
        made[device] = influences.score.values, scores.value, scores.draws.values, predicted
    for here, there in zip(*made.values()):
        assert np.nanmax(np.abs(here - there)) < 1e-4


def test_a_result_that_does_not_fit_on_the_card_is_computed_on_the_cpu(tmp_path, little_memory):
    X, Y = related(300, 400, 200)
    source, target = feature_array(X[None]), feature_array(Y[None])
    predictivity_grid(source, target, device="cuda")  # starts the libraries
    gc.collect()
    torch.cuda.empty_cache()
    little_memory(torch.cuda.memory_reserved() + 2**17)
    with pytest.warns(UserWarning, match="predictivity_grid does not fit in the memory of cuda"):
        found = Results(tmp_path, "cuda")(predictivity_grid, source, target, folds=make_folds(300))
    assert found.identical(predictivity_grid(source, target, folds=make_folds(300)))


def test_a_sweep_of_the_papers_size_beside_a_bare_product():
    "All pairs of 25 layers of 1024 and 4096 units, 1000 stimuli, five folds; and its parts."
    n, p, q, n_layers = 1000, 1024, 4096, 25
    a = torch.ones(8192, 8192, device="cuda")
    took, _ = timed(torch.mm, a, a)
    speed = 2 * 8192**3 / took
    say(f"bare product in float32: {speed / 1e12:.1f} TFLOP/s")
    gram = torch.randn(800, 800, device="cuda", dtype=torch.float64)
    took, _ = timed(torch.linalg.eigh, gram @ gram.T)
    say(f"eigenvectors of 800 rows in float64: {1e3 * took:.0f} ms")
    rng = np.random.default_rng(0)
    source = feature_array(rng.normal(size=(n_layers, n, p)).astype(np.float32))
    target = feature_array(rng.normal(size=(n_layers, n, q)).astype(np.float32))
    folds = make_folds(n)
    torch.cuda.synchronize()
    began = time.perf_counter()
    grid = predictivity_grid(source, target, folds=folds, device="cuda")
    took = time.perf_counter() - began
    counted = 2 * count_grid(folds, p, [q] * n_layers, n_sources=n_layers)
    say(
        f"sweep of 25 × 25 layers: {took:.1f} s, {counted / took / 1e12:.2f} TFLOP/s of those "
        f"counted, {counted / took / speed:.1%} of a bare product"
    )
    few = source.isel(layer=[0, 1]), target.isel(layer=[0, 1])
    here = predictivity_grid(*few, folds=folds)
    there = grid.isel(source_layer=[0, 1], target_layer=[0, 1])
    assert np.abs(here.predictivity.values - there.predictivity.values).max() < 1e-4


def test_the_effect_of_bfloat16_on_the_card(tmp_path):
    for kind in ("dinov2", "llama"):
        model(kind, tmp_path)
    pair = "microworld/dinov2", "microworld/llama"
    found = precision_effect(*pair, stimuli(60), folds=3, n_draws=20, device="cuda", root=tmp_path)
    assert np.abs(found.value.sel(arithmetic="difference")).max() < 0.2
