"""Networks that do not fit, number types that are chosen, weights that cross to a device as they
are published, and layers that are stored alone: what of it can be seen without a graphics card."""

import numpy as np
import pytest
import torch
from families import CONFIGS, save
from tiny import model, stimuli

from seeing_words.core.errors import InputError
from seeing_words.core.parallel import computing_on, parallel_map, usable_device
from seeing_words.measures.folds import make_folds
from seeing_words.measures.inference import predictivity_estimate, resample_weights
from seeing_words.models import weights
from seeing_words.models.cache import Results
from seeing_words.models.config import network_class
from seeing_words.models.extract import extract, extract_many, stored
from seeing_words.models.load import load_model
from seeing_words.models.store import Store


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1.00 GiB"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory"),
        MemoryError(),
    ],
)
@pytest.mark.parametrize("name", ["{}", "untrained:{}@0"])
def test_memory_that_runs_out_while_loading_is_explained(tmp_path, monkeypatch, name, error):
    folder = save("llama", tmp_path)

    def fails(*args, **options):
        raise error

    monkeypatch.setattr(weights, "_from_files", fails)
    monkeypatch.setattr("seeing_words.models.load.draw_network", fails)
    with pytest.raises(InputError, match="does not fit in the memory of cpu .*bfloat16.*offload"):
        load_model(name.format(folder))


@pytest.mark.parametrize("kind", ["llama", "bloom", "dinov2", "opt"])
def test_weights_that_are_cast_after_reading_are_those_that_are_cast_before(tmp_path, kind):
    folder = save(kind, tmp_path)
    config = weights.read_config(folder)
    cls = network_class(config)
    weights._from_files(folder, cls, dtype=torch.float16).save_pretrained(tmp_path / "half")
    folder = tmp_path / "half"
    assert weights._published_type(folder) == torch.float16
    assert weights._made_type(folder, cls, config, "cuda", torch.float32) == torch.float16
    usual = weights.load_network(folder, cls=cls).state_dict()
    late = weights.place(
        weights._from_files(folder, cls, dtype=torch.float16), "cpu", torch.float32
    )
    late = late.state_dict()
    assert usual.keys() == late.keys()
    for name, weight in usual.items():
        assert weight.dtype == torch.float32 and torch.equal(weight, late[name]), name


def test_a_network_whose_buffers_depend_on_the_type_is_read_in_the_type_of_the_computation():
    class Angles(torch.nn.Module):
        def __init__(self, config):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.zeros(2))
            self.register_buffer("angles", torch.linspace(0, 1, 4), persistent=False)

    assert not weights._keeps_buffers(Angles, None, torch.float16)
    llama = CONFIGS["llama"]()
    assert weights._keeps_buffers(network_class(llama), llama, torch.float16)


def test_twins_are_the_same_as_without_a_device_and_as_torch_itself_draws():
    config = CONFIGS["llama"]()
    cls = network_class(config)
    twins = [weights.draw_network(cls, config, seed=3, device=device) for device in (None, "cpu")]
    with torch.random.fork_rng():
        torch.manual_seed(3)
        twins.append(cls(config))
    first, *others = (list(twin.state_dict().values()) for twin in twins)
    for other in others:
        assert all(map(torch.equal, first, other))


def test_the_chosen_number_type_depends_on_the_whole_memory():
    assert weights.fitting_dtype("auto", 13e9, "cpu", 85e9) == torch.float32
    assert weights.fitting_dtype("auto", 13e9, "cpu", 42e9) == torch.bfloat16
    assert weights.fitting_dtype("auto", 6.7e9, "cpu", 25e9) == torch.bfloat16
    assert weights.fitting_dtype("float32", 13e9, "cpu", 1e9) == torch.float32
    free, total = weights.device_memory("cpu")
    assert 0 < free <= total


def test_a_network_that_does_not_fit_is_loaded_in_half_precision(tmp_path, monkeypatch):
    folder = str(save("llama", tmp_path))
    monkeypatch.setattr(weights, "device_memory", lambda device: (1000, 1000))
    for with_weights in (True, False):  # the key of the store is the same
        made = load_model(folder, dtype="auto", weights=with_weights)
        assert made.like.dtype == torch.bfloat16
    monkeypatch.setattr(weights, "device_memory", lambda device: (0, 2**40))
    assert load_model(folder, dtype="auto").like.dtype == torch.float32


def test_layers_that_are_stored_alone_are_those_of_all(tmp_path):
    network, shown, poolings = model("llama", tmp_path), stimuli(), ("mean", "last")
    whole = extract_many(network, shown, poolings, progress=False)
    store = Store(tmp_path / "store")
    options = {"layers": (-2, -1), "store": store, "progress": False}
    assert not stored(network, shown, poolings, store, layers=(-2, -1))
    for _ in range(2):  # computed, then read
        some = extract_many(network, shown, poolings, **options)
        for name in poolings:
            assert some[name].identical(whole[name].isel(layer=[-2, -1]))
    assert stored(network, shown, poolings, store, layers=(-2, -1))
    assert not stored(network, shown, poolings, store)
    extract_many(network, shown, poolings, store=store, progress=False)
    assert stored(network, shown, poolings, store, layers=(0,))  # all of them serve
    first = extract(network, shown, pooling="mean", layers=(0,), store=store, progress=False)
    assert first.identical(whole["mean"].isel(layer=[0])) and len(store.keys()) == 4
    with pytest.raises(InputError, match="layer 4 of .*, which has 4: name positions from 0 to 3"):
        extract(network, shown, pooling="mean", layers=(4,))


def test_fits_go_where_the_block_says(monkeypatch):
    used = []
    monkeypatch.setattr(
        "seeing_words.measures._ridge_dual.usable_device",
        lambda device=None: used.append(usable_device(device).type) or torch.device("cpu"),
    )
    X = np.random.default_rng(0).normal(size=(40, 4))
    draws = resample_weights(make_folds(40), n_draws=5)
    with computing_on("meta"):
        parallel_map(
            lambda _: predictivity_estimate(X, X, folds=make_folds(40), weights=draws), range(2)
        )
    assert set(used) == {"meta"}
    used.clear()
    predictivity_estimate(X, X, folds=make_folds(40), weights=draws)
    assert set(used) == {"cpu"}


def test_results_of_a_card_are_kept_apart(tmp_path):
    def where():
        return usable_device().type

    assert [Results(tmp_path, device)(where) for device in ("meta", "cpu", "meta")] == [
        "meta",
        "cpu",
        "meta",
    ]
    assert len(list(tmp_path.iterdir())) == 2
