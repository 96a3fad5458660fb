"""Networks that are modules of one's own, in memory or made by a function of a file."""

import json
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from seeing_words.app.check import check_preset, problems
from seeing_words.app.presets import read_preset
from seeing_words.app.run import start
from seeing_words.core.arrays import layer_values
from seeing_words.core.errors import InputError
from seeing_words.measures.align import align
from seeing_words.models.extract import extract, pooled_layers
from seeing_words.models.load import Model, load_model, short_names
from seeing_words.models.own import redraw, weights_digest
from seeing_words.models.store import Store

IMAGES = list(np.random.default_rng(0).integers(0, 256, (24, 16, 16, 3), np.uint8))

NETS = """
import numpy as np
import torch
from torch import nn

with open({ran!r}, "a") as file:
    file.write("x")


def preprocess(images):
    batch = np.stack([np.resize(image, (16, 16, 3)) for image in images])
    return torch.from_numpy(batch).permute(0, 3, 1, 2) / 127.5 - 1


def lite0():
    torch.manual_seed(7)
    net = nn.Sequential(
        nn.Conv2d(3, 4, 3, 2),
        nn.Sequential(nn.ReLU(), nn.BatchNorm2d(4), nn.Conv2d(4, 6, 3)),
        nn.Sequential(nn.ReLU(), nn.Conv2d(6, 9, 3)),
    )
    return net, preprocess, ["0", "1", "2"]


def scaled(seed=0):
    class Scale(nn.Module):
        def __init__(self):
            super().__init__()
            self.by = nn.Parameter(torch.full((3, 1, 1), 1.0 + seed))
            self.stem = nn.Conv2d(3, 4, 3)

        def forward(self, x):
            return self.stem(x * self.by)

    torch.manual_seed(seed)
    return Scale(), preprocess, ["stem"]


def letters():
    from seeing_words.models.load import Model

    def tokens(captions):
        n = max(map(len, captions))
        ids = torch.tensor([[ord(c) % 50 for c in text.ljust(n)] for text in captions])
        mask = torch.tensor([[i < len(text) for i in range(n)] for text in captions])
        return {{"ids": ids, "attention_mask": mask}}

    class Reader(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed, self.mix = nn.Embedding(50, 5), nn.Linear(5, 7)

        def forward(self, ids, attention_mask):
            return self.mix(self.embed(ids))

    torch.manual_seed(0)
    return Model.from_module(
        Reader(), layers=["embed", "mix"], preprocess=tokens, modality="language"
    )


def pair():
    return nn.Conv2d(3, 4, 3), preprocess


def number():
    return 3


def unknown():
    return nn.Sequential(nn.Conv2d(3, 4, 3)), preprocess, ["stem"]


def drops_one():
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()), lambda x: preprocess(x)[1:], ["0", "1"]


def crashes():
    return nn.Sequential(nn.Conv2d(4, 4, 3), nn.ReLU()), preprocess, ["0", "1"]


def alone():
    return nn.Sequential(nn.Conv2d(3, 4, 3)), preprocess, ["0"]
"""


@pytest.fixture
def file(tmp_path) -> Path:
    path = tmp_path / "my_nets.py"
    path.write_text(NETS.format(ran=str(tmp_path / "ran")))
    return path


def preprocess(images) -> torch.Tensor:
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2) / 127.5 - 1


def cnn() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 6, 3))


# In memory


@torch.no_grad()
def test_feature_maps_are_averaged_over_space():
    net = cnn()
    model = Model.from_module(net, layers=["0", "2"], preprocess=preprocess)
    first = net[0](preprocess(IMAGES))
    last = net(preprocess(IMAGES))
    for size in (1, 7, 64):
        features = extract(model, IMAGES, pooling="mean", batch_size=size)
        for found, expected in zip(layer_values(features), (first, last)):
            np.testing.assert_allclose(found, expected.mean((2, 3)), atol=1e-6)
    assert features.layer_name.values.tolist() == ["0", "2"]
    assert (features.attrs["model"], model.n_layers) == ("Sequential", 1)


class Tokens(nn.Module):
    "A class token, then patches; then one vector."

    def __init__(self):
        super().__init__()
        self.patch, self.norm = nn.Conv2d(3, 5, 8, 8), nn.Identity()
        self.head = nn.Linear(5, 2)

    def forward(self, x):
        patches = self.patch(x).flatten(2).mT
        tokens = self.norm(torch.cat([patches.sum(1, keepdim=True), patches], 1))
        return self.head(tokens[:, 0])


@torch.no_grad()
def test_tokens_and_vectors_are_read_as_what_they_are():
    net = Tokens()
    layers = ["patch", "norm", "head"]
    patches = net.patch(preprocess(IMAGES)).flatten(2).mT
    of_all = Model.from_module(net, layers=layers, preprocess=preprocess)
    of_patches = Model.from_module(net, layers=layers, preprocess=preprocess, n_prefix=1)
    mean = patches.mean(1)
    everything = layer_values(extract(of_all, IMAGES, pooling="mean"))
    np.testing.assert_allclose(everything[1], (mean * 4 + patches.sum(1)) / 5, atol=1e-5)
    found = layer_values(extract(of_patches, IMAGES, pooling="mean"))
    np.testing.assert_allclose(found[0], mean, atol=1e-5)
    np.testing.assert_allclose(found[1], mean, atol=1e-5)
    np.testing.assert_allclose(found[2], net(preprocess(IMAGES)), atol=1e-5)
    assert of_all.revision != of_patches.revision
    tokens = Model.from_module(net, layers=["norm", "head"], preprocess=preprocess, n_prefix=1)
    by_class = layer_values(extract(tokens, IMAGES, pooling="cls"))
    np.testing.assert_allclose(by_class[0], patches.sum(1), atol=1e-5)


def test_hooks_are_removed_even_after_an_error():
    net = cnn()
    model = Model.from_module(net, layers=["0", "2"], preprocess=preprocess)

    def n_hooks() -> int:
        parts = list(net.modules())
        return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in parts)

    pooled_layers(model, IMAGES, ["mean"])
    with pytest.raises(InputError):
        pooled_layers(model, IMAGES, ["cls"])
    with pytest.raises(InputError, match="Sequential refuses its input .RuntimeError: "):
        pooled_layers(
            Model.from_module(net, layers=["0"], preprocess=lambda x: preprocess(x)[:, :2]),
            IMAGES,
            ["mean"],
        )
    assert n_hooks() == 0


class Twice(nn.Module):
    def __init__(self):
        super().__init__()
        self.once, self.twice, self.never = nn.Conv2d(3, 3, 1), nn.ReLU(), nn.ReLU()

    def forward(self, x):
        return self.twice(self.once(self.twice(x)))


@pytest.mark.parametrize(("layer", "n"), [("twice", 2), ("never", 0)])
def test_a_layer_that_does_not_run_once_is_refused(layer, n):
    model = Model.from_module(Twice(), layers=["once", layer], preprocess=preprocess)
    with pytest.raises(InputError, match=f"layer '{layer}' of Twice ran {n} times in one pass"):
        pooled_layers(model, IMAGES, ["mean"])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"layers": ["blocks.0"]}, r"no layer 'blocks.0' among its 3 modules: it has 0, 1, 2"),
        ({"layers": []}, "give the names of one or more modules"),
        ({"layers": "0"}, "give the names of one or more modules"),
        ({"layers": ["0", "0"]}, "names a module twice"),
        ({"modality": "sound"}, "modality 'sound': give vision or language"),
        ({"n_prefix": -1}, "n_prefix is -1"),
        ({"preprocess": None}, "not Sequential and NoneType"),
    ],
)
def test_what_cannot_be_is_refused_by_name(change, said):
    with pytest.raises(InputError, match=said):
        Model.from_module(cnn(), **({"layers": ["0"], "preprocess": preprocess} | change))


def test_near_names_of_layers_are_suggested():
    with pytest.raises(InputError, match="no layer 'onse' .*did you mean once.*"):
        Model.from_module(Twice(), layers=["onse"], preprocess=preprocess)


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (lambda x: preprocess(x)[0], r"Tensor of shape \(3, 16, 16\) for 24 stimuli"),
        (lambda x: x, r"preprocess returns list of shape \(\) for 24 stimuli"),
        (lambda x: {"x": 3}, "preprocess returns int"),
        (lambda x: 1 / 0, "preprocess raises ZeroDivisionError on a batch of 24"),
    ],
)
def test_what_preprocess_returns_is_checked(made, said):
    model = Model.from_module(cnn(), layers=["0"], preprocess=made)
    with pytest.raises(InputError, match=said):
        pooled_layers(model, IMAGES, ["mean"])


def test_a_revision_follows_weights_layers_and_preprocessing():
    def other(images):
        return preprocess(images) / 2

    def made(net, **settings) -> str:
        settings = {"layers": ["0", "2"], "preprocess": preprocess} | settings
        return Model.from_module(net, **settings).revision

    changed = cnn()
    with torch.no_grad():
        changed[2].bias[0] += 1e-6
    revisions = [
        made(cnn()),
        made(changed),
        made(cnn(), layers=["2", "0"]),
        made(cnn(), preprocess=other),
        made(cnn().half()),
        made(cnn(), revision="mine"),
    ]
    assert made(cnn()) == revisions[0] and len(set(revisions)) == 6 and revisions[-1] == "mine"


def test_the_store_keeps_widths_and_names(tmp_path):
    store = Store(tmp_path)
    model = Model.from_module(cnn(), layers=["0", "2"], preprocess=preprocess, name="net")
    first = extract(model, IMAGES, pooling="mean", store=store, progress=False)
    again = extract(model, IMAGES, pooling="mean", store=store, progress=False)
    assert first.n_units.values.tolist() == [4, 6] and first.identical(again)
    assert list(store.verify().values()) == [[]]


def test_align_takes_such_features_layer_by_layer():
    model = Model.from_module(cnn(), layers=["0", "2"], preprocess=preprocess)
    features = extract(model, IMAGES, pooling="mean")
    settings = {"n_permutations": 0, "n_draws": 3, "n_folds": 2, "progress": False}
    found = align(features, features, **settings).data
    assert found.a_name.values.tolist() == ["0", "2"] and found.a_units.values.tolist() == [4, 6]


def test_untrained_weights_come_from_their_seed_alone():
    nets = [cnn() for _ in range(4)]
    state = torch.get_rng_state()
    threads = [
        threading.Thread(target=redraw, args=(net, seed)) for net, seed in zip(nets, (1, 2, 1, 2))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert torch.equal(torch.get_rng_state(), state)
    digests = [weights_digest(net) for net in nets]
    assert (
        digests[0] == digests[2] != digests[1] == digests[3]
        and weights_digest(cnn()) not in digests
    )


# By a file


def test_a_function_of_a_file_makes_a_network(file, tmp_path):
    name = f"{file}:lite0"
    model = load_model(name)
    assert (model.name, model.modality, model.n_layers) == (name, "vision", 2)
    assert short_names([name]) == {name: "lite0"}
    features = extract(model, IMAGES, pooling="mean")
    assert features.n_units.values.tolist() == [4, 6, 9]
    assert load_model(name).revision == model.revision
    bare = load_model(name, weights=False)
    assert not bare.has_weights and bare.revision == model.revision
    file.write_text(file.read_text() + "\n# changed\n")
    assert load_model(name).revision != model.revision
    assert load_model(name, dtype="bfloat16").like.dtype == torch.bfloat16


def test_its_untrained_twin_is_drawn_again_or_by_the_function(file):
    trained = load_model(f"{file}:lite0")
    twins = [load_model(f"untrained:{file}:lite0@{seed}") for seed in (0, 0, 1)]
    revisions = [twin.revision for twin in twins]
    assert revisions[0] == revisions[1] != revisions[2]
    assert revisions[0].startswith("untrained-seed-0-")
    digests = [weights_digest(model.network) for model in (trained, *twins)]
    assert digests[1] == digests[2] and len(set(digests)) == 3
    by_itself = load_model(f"untrained:{file}:scaled@4")
    assert by_itself.network.by[0].item() == 5.0 and by_itself.revision.startswith("untrained-")
    source = file.read_text()
    file.write_text(source.replace("def scaled(seed=0):", "def scaled():\n    seed = 0"))
    load_model(f"{file}:scaled")
    with pytest.raises(InputError, match=r"'by' .* belongs to a module without `reset_parameters`"):
        load_model(f"untrained:{file}:scaled@4")


def test_captions_are_read_by_a_network_of_ones_own(file):
    model = load_model(f"{file}:letters")
    features = extract(model, ["a boat", "sky", "dogs"], pooling="mean")
    alone = extract(model, ["sky"], pooling="mean")
    np.testing.assert_allclose(features.values[:, 1], alone.values[:, 0], atol=1e-6)
    assert features.n_units.values.tolist() == [5, 7] and not model.predicts_next_word


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("lite1", "has no function 'lite1': did you mean lite0"),
        ("pair", "pair.. returns 2 things: it must return .module, preprocess, layers., or a Mod"),
        ("number", "number.. returns a int: it must return"),
        ("unknown", "has no layer 'stem' among its 1 modules"),
    ],
)
def test_a_function_that_makes_no_network_is_named(file, name, said):
    with pytest.raises(InputError, match=said):
        load_model(f"{file}:{name}")


def test_a_file_that_cannot_be_run_is_named(file):
    with pytest.raises(InputError, match="nets.py does not exist"):
        load_model(f"{file.parent}/nets.py:lite0")
    with pytest.raises(InputError, match="names a file without a function"):
        load_model(str(file))
    with pytest.raises(InputError, match="it has no revision 'main'"):
        load_model(f"{file}:lite0", revision="main")
    file.write_text("def broken(:")
    with pytest.raises(InputError, match=r"my_nets.py: the file raises SyntaxError"):
        load_model(f"{file}:broken")
    file.write_text("import nothing_of_this_name")
    with pytest.raises(InputError, match=r"the file raises ModuleNotFoundError .*nothing_of_this"):
        load_model(f"{file}:lite0")
    file.write_text("def quits():\n    raise SystemExit(0)")
    with pytest.raises(InputError, match=r"quits\(\) raises SystemExit"):
        load_model(f"{file}:quits")


# In a preset

OWN = """source = "microworld"
vision = ["my_nets.py:lite0"]
language = ["microworld/llama-0"]
n_stimuli = 40
n_folds = 2
n_permutations = 3
n_draws = 20
n_captions = 2
n_untrained = 1
device = "cpu"
poolings = {vision = ["mean"], language = ["mean", "last"]}
"""


@pytest.fixture
def preset(file, tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("SEEING_WORDS_STORE", str(tmp_path / "store"))
    (tmp_path / "own.toml").write_text(OWN)
    return tmp_path / "own.toml"


def test_reading_a_preset_runs_nothing_and_checking_it_does(preset, tmp_path):
    found = read_preset(preset)
    assert found.vision == (f"{tmp_path}/my_nets.py:lite0",)
    assert not found.is_embedded and not (tmp_path / "ran").exists()
    findings = check_preset(found)
    assert problems(findings) == []
    (own,) = [one for one in findings if one.what.endswith("lite0")]
    assert own.found == "vision, 3 layers of 4 to 9 units, 837 parameters"
    assert (tmp_path / "ran").read_text()


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("lite0", "vision network listed under language"),
        ("drops_one", "preprocess returns Tensor of shape"),
        ("crashes", "crashes refuses its input .RuntimeError: "),
        ("alone", "it names a single layer"),
        ("lite9", "has no function 'lite9'"),
    ],
)
def test_a_check_finds_what_a_run_would(preset, written, said):
    text = preset.read_text().replace("my_nets.py:lite0", f"my_nets.py:{written}")
    if written == "lite0":
        text = text.replace('["microworld/llama-0"]', '["my_nets.py:lite0"]')
    preset.write_text(text)
    (line,) = [line for line in problems(check_preset(read_preset(preset))) if "my_nets.py" in line]
    assert json.dumps(said)[1:-1].split(" .")[0].split("crashes ")[-1] in line


def test_pooling_by_a_class_token_that_it_lacks_is_found(preset):
    preset.write_text(preset.read_text().replace("poolings =", "# "))
    (line,) = problems(check_preset(read_preset(preset)))
    assert "pool by" in line and "mean" in line


def test_a_missing_file_is_refused_before_a_run(preset):
    preset.write_text(preset.read_text().replace("my_nets.py", "nets.py"))
    with pytest.raises(InputError, match=r"there is no file .*/nets.py: correct the path"):
        start("example", preset=str(preset))
    preset.write_text(preset.read_text().replace("nets.py:lite0", "nets.py"))
    with pytest.raises(InputError, match="nets.py' has no function: name one"):
        read_preset(preset)


def test_a_run_computes_its_features_once_and_reads_them_without_weights(preset, tmp_path):
    run = start("example", preset=str(preset), out=tmp_path / "figures")
    (name,) = run.preset.vision
    features = run.features(name)
    assert features.n_units.values.tolist() == [4, 6, 9]
    assert run.losses(name, {"intact": ["a boat"]}) == {}
    again = start("example", preset=str(preset), out=tmp_path / "figures")
    assert again.features(name).identical(features)
    assert not again.networks.loaded  # its weights were not needed
    twin = run.features(run.preset.untrained("vision")[0])
    assert not np.allclose(twin.values, features.values)
    two = run.many_features([(name, None, run.stimuli)], layers=(-2, -1))[0]
    assert [layer.shape[1] for layer in layer_values(two)] == [6, 9]
