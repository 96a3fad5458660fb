"""Estimated needs of a preset, compared with other ways of counting and with what the store holds
after a run."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from families import save
from typer.testing import CliRunner

from seeing_words.app import cli, download
from seeing_words.app.costs import (
    CONDITIONS,
    GROUPS,
    ONLY_IF,
    FeatureRequest,
    SectionWork,
    WorkCount,
    check_memory,
    check_room,
    estimate,
    kept,
    machine_speed,
    section_work,
    shape,
    shapes,
    trained,
)
from seeing_words.app.presets import PRESETS, get_preset
from seeing_words.app.run import stored_layers
from seeing_words.app.sections import section_metadata, section_needs, sections
from seeing_words.core.errors import InputError
from seeing_words.core.files import format_bytes
from seeing_words.data.perturb import PERTURBATIONS
from seeing_words.models.load import load_model
from seeing_words.models.store import Store

TINY = str(Path(__file__).parents[1] / "fixtures/tiny-paper.toml")


@pytest.fixture(autouse=True)
def _nothing_downloaded(monkeypatch):
    monkeypatch.setattr("seeing_words.app.costs.cached_network", lambda repository: None)
    monkeypatch.setattr(download, "cached_network", lambda repository: None)


def command(*words: str):
    return CliRunner(env={"COLUMNS": "250"}).invoke(cli.app, words)


@pytest.mark.parametrize("kind", ["dinov2", "vit", "llama", "bloom", "neox", "opt"])
def test_shapes_are_those_of_the_loaded_network(tmp_path, kind):
    model = load_model(str(save(kind, tmp_path / kind)))
    found = shape(get_preset("microworld"), str(tmp_path / kind), model.modality)
    assert (found.n_layers, found.n_units) == (model.n_layers, model.network.config.hidden_size)
    assert found.n_parameters == sum(w.numel() for w in model.network.parameters())
    assert found.n_bytes == (tmp_path / kind / "model.safetensors").stat().st_size
    looked_up = sum(
        m.weight.numel() for m in model.network.modules() if isinstance(m, torch.nn.Embedding)
    )
    assert found.n_multiplied == found.n_parameters - looked_up


@pytest.mark.parametrize("name", get_preset("microworld").networks)
def test_shapes_of_the_shipped_networks(name):
    model = load_model(name)
    found = shape(get_preset("microworld"), name, model.modality)
    assert found.n_parameters == sum(w.numel() for w in model.network.parameters())
    assert (found.n_layers, found.n_tokens) == (8, 37 if model.modality == "vision" else 15)


def test_published_sizes_and_what_is_not_known():
    paper = get_preset("paper")
    card = {"device_bytes": 85e9}
    expected = {cost.network: cost for cost in estimate(paper, 1e12, **card).networks}
    assert set(expected) == set(paper.networks)
    large, judge = (
        expected["openlm-research/open_llama_13b"],
        expected["openai/clip-vit-large-patch14"],
    )
    assert (large.download, large.memory) == (26e9, 52e9)
    assert (judge.download, judge.memory, judge.store) == (428e6 * 4, 428e6 * 4, 0)
    assert judge.seconds == pytest.approx(2 * 1000 * (304e6 * 257 + 124e6 * 15 * 5) / 1e12)
    assert estimate(replace(paper, dtype="bfloat16"), 1e12).largest == 26e9
    assert estimate(paper, 1e12, device_bytes=40e9).largest == 28.28e9  # of the 7B in float32
    mine = replace(paper, vision=("lab/secret", *paper.vision))
    expected = estimate(mine, 1e12)
    assert expected.unknown == ["lab/secret"] and expected.store == estimate(paper, 1e12).store
    assert shapes(mine)["lab/secret"] is None


def test_a_damaged_folder_is_unknown(tmp_path):
    folder = save("llama", tmp_path / "llama")
    (folder / "config.json").write_text("{")
    assert shape(get_preset("microworld"), str(folder), "language") is None


@pytest.mark.parametrize("section", sections())
def test_estimates_grow_with_what_they_depend_on(section):
    preset = get_preset("microworld").of_section(section)

    def of(preset, *speeds):
        return estimate(preset, *(speeds or (1e11,)), sections={section: preset}).sections[0]

    base = of(preset)
    assert base.extraction > 0 and base.alignment > 0 and 0 < base.held <= base.store
    twice = of(replace(preset, n_stimuli=2 * preset.n_stimuli))
    assert (
        twice.alignment > base.alignment
        and twice.extraction > base.extraction
        and twice.store > base.store
    )
    fewer = of(replace(preset, language=preset.language[:1]))
    assert fewer.alignment < base.alignment and fewer.store < base.store
    assert of(preset, 2e11).alignment == pytest.approx(base.alignment / 2)
    assert of(preset, 2e11, 1e11).alignment == base.alignment, "maps are fitted by the processor"


def test_what_sections_share_is_counted_once():
    expected = estimate(get_preset("microworld"), 1e11)
    assert expected.store < sum(section.store for section in expected.sections)
    assert expected.seconds < sum(section.seconds for section in expected.sections)
    assert sum(cost.store for cost in expected.networks) == expected.store
    assert expected.memory == expected.largest + expected.held + 4 * 2**30


def written(folder: Path, **metadata) -> Path:
    "A section notebook without cells, with metadata."
    path = folder / "1_toy.ipynb"
    path.write_text(json.dumps({"cells": [], "metadata": {"seeing_words": metadata}}))
    return path


def test_every_section_declares_what_it_asks_for():
    for section, notebook in sections().items():
        work = section_work(notebook)
        assert work.requests and work.fits > 0, section
        groups = [GROUPS[request.networks] for request in work.requests]
        assert all(group(get_preset("paper")) for group in groups), section


def test_all_names_for_metadata_are_used():
    works = {path: section_work(path) for path in sections(beyond=True).values()}
    requests = [request for work in works.values() if work for request in work.requests]
    whole = {name for path in works for name in section_metadata(path).get("whole", ())}
    assert {request.networks for request in requests} | whole == set(GROUPS)
    assert {request.stimuli for request in requests} == set(CONDITIONS)
    assert {request.only_if for request in requests} - {""} == set(ONLY_IF)


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        ({"networks": "visoin", "stimuli": "intact"}, "'visoin': did you mean vision"),
        ({"networks": "vision", "stimuli": "intct"}, "'intct': did you mean intact"),
        ({"networks": "vision", "stimuli": "intact", "only_if": "x"}, "names 'x'"),
        ({"networks": "vision", "stimulus": "intact"}, "'stimulus': did you mean stimuli"),
    ],
)
def test_unknown_names_in_metadata_are_refused(tmp_path, request_, said):
    with pytest.raises(InputError, match=f"1_toy.ipynb: its metadata names {said}|{said}"):
        section_work(written(tmp_path, features=[request_]))


def test_a_section_without_a_declaration_is_left_out(tmp_path):
    assert section_work(written(tmp_path)) is None
    with pytest.raises(InputError, match="names the need 'judgement': did you mean judge"):
        section_needs(written(tmp_path, needs=["judgement"]))


def test_perturbations_are_counted_from_their_registry():
    preset = replace(get_preset("microworld"), n_untrained=0)
    one = estimate(preset, 1e11, sections={"perturbations": preset}).sections[0]
    n_images = 1 + sum(p.modality == "image" for p in PERTURBATIONS.values())
    n_captions = 1 + sum(p.modality == "caption" for p in PERTURBATIONS.values())
    n_images, n_captions = n_images + 1, n_captions + 1  # the second rendering and caption
    assert one.store == 4 * 9 * 128 * 500 * (3 * n_images + 5 + 2 * (4 * n_captions + 2 * 3))


def test_what_is_not_fitted_costs_passes_only():
    preset, of = get_preset("microworld"), FeatureRequest
    second = of("language", "second caption")
    counts = []
    for request in (second, replace(second, fitted=False)):
        counts.append(WorkCount(preset, shapes(preset)))
        counts[-1].count(SectionWork((request,)))
    assert counts[0].passes == counts[1].passes and len(counts[0].passes) == 4
    assert counts[0].multiplications > counts[1].multiplications == 0


def test_trained():
    assert (
        trained("untrained:lab/net@refs/pr/7@3") == "lab/net@refs/pr/7"
        and trained("lab/net") == "lab/net"
    )


def test_the_machine_has_a_speed():
    assert machine_speed(128) > 1e6 and machine_speed(64, device="cpu") > 1e5


# Room


def test_what_does_not_fit_is_refused_with_the_way_out(tmp_path):
    expected, store = estimate(get_preset("paper"), 1e12), Store(tmp_path / "store")
    assert "features: about 31.6 GB more" in check_room(expected, store, free=10**12)
    with pytest.raises(
        InputError,
        match=r"preset paper adds about 31.6 GB .* 1 GB free: set SEEING_WORDS_STORE .*n_stimuli",
    ):
        check_room(expected, store, free=10**9)


def test_networks_that_do_not_fit_in_memory_are_refused_with_the_ways_out():
    paper = replace(get_preset("paper"), device="cuda")
    expected = estimate(replace(paper, dtype="float32"), 1e13)
    check_memory(expected, on_device=85 * 10**9, on_machine=64 * 10**9)
    with pytest.raises(InputError) as refused:
        check_memory(expected, on_device=24 * 10**9, on_machine=64 * 10**9)
    for part in (
        "openlm-research/open_llama_13b takes 52 GB of memory, and cuda has 24 GB free",
        'dtype = "auto"',
        "bfloat16, here 26 GB",
        "leave out what is too large (bigscience/bloom-7b1 openlm-research/open_llama_7b",
        'device = "offload"',
    ):
        assert part in str(refused.value), part
    auto = estimate(paper, 1e13, device_bytes=42e9)
    check_memory(auto, on_device=40 * 10**9, on_machine=64 * 10**9)
    with pytest.raises(InputError, match="this machine has 20 GB free"):  # files pass through it
        check_memory(auto, on_device=40 * 10**9, on_machine=20 * 10**9)
    check_memory(replace(expected, preset=replace(paper, device="offload")), on_device=1)


def test_the_time_is_the_sum_of_its_terms():
    expected = estimate(replace(get_preset("paper"), device="cuda"), 2e13, 1e13, device_bytes=85e9)
    terms = {term.what: term for term in expected.terms}
    assert expected.seconds == pytest.approx(sum(t.amount / t.rate for t in expected.terms))
    passes = sum(cost.seconds for cost in expected.networks)
    assert terms["passes of networks"].seconds == pytest.approx(passes)
    # nine twins for section 1, whose features of intact stimuli section 2 finds in the store, nine
    # for the trials of section 3, one for the captions of section 4
    sizes = shapes(get_preset("paper"))
    every = sum(size.n_parameters for size in sizes.values())
    again = sizes["openlm-research/open_llama_7b"].n_parameters
    assert terms["drawing untrained weights"].amount == pytest.approx(2 * every + again)
    assert expected.store < 40e9


def test_sections_store_all_layers_of_the_networks_that_their_metadata_name():
    paper, found = get_preset("paper"), {}
    for section, notebook in sections().items():
        found[section] = {
            name.rpartition("/")[2]: stored_layers(notebook, paper, name)
            for name in (*paper.networks[:-1], *paper.untrained("language"))
        }
        assert not any(
            stored_layers(notebook, get_preset("microworld"), name)
            for name in get_preset("microworld").networks[:-1]
        )
    whole = {s: {name for name, layers in own.items() if not layers} for s, own in found.items()}
    assert len(whole.pop("layers")) == len(found["layers"])
    assert whole == {
        "perturbations": {"dinov2-large", "bloom-560m", "open_llama_3b"},
        "pick_a_pic": {"dinov2-large", "bloom-560m", "open_llama_3b"},
        "averaging": {"dinov2-large", "bloom-560m"},
    }
    last = stored_layers(sections()["perturbations"], paper, paper.vision[0], last=True)
    assert last == (-2, -1)


def test_features_of_other_stimuli_are_mentioned_not_subtracted(tmp_path):
    from tiny import fill_store

    fill_store(str(tmp_path / "store"), str(tmp_path), "llama", 20)
    store = Store(tmp_path / "store")
    preset = get_preset("microworld")
    preset = replace(preset, language=(str(store.ls()[0]["model"]),), n_stimuli=500)
    expected = estimate(preset, 1e12)
    line = check_room(expected, store, free=10**12)
    stored = format_bytes(kept(store, preset)[1])
    assert f"about {format_bytes(expected.store)} more" in line
    assert f"less what it holds of the same stimuli (of the same networks: {stored})" in line


def test_figures_refuses_before_it_starts(tmp_path, monkeypatch):
    monkeypatch.setenv("SEEING_WORDS_STORE", str(tmp_path / "store"))
    monkeypatch.setattr(
        "seeing_words.app.costs.shutil.disk_usage", lambda place: type("Usage", (), {"free": 1000})
    )
    monkeypatch.setattr(cli, "_run_all", lambda *_: pytest.fail("it began"))
    result = command("figures", "--preset", TINY)
    assert isinstance(result.exception, InputError) and "set SEEING_WORDS_STORE" in str(
        result.exception
    )


def test_figures_runs_small_networks_side_by_side_and_others_in_turn(tmp_path, monkeypatch):
    monkeypatch.setenv("SEEING_WORDS_STORE", str(tmp_path / "store"))
    monkeypatch.setattr(cli, "n_cores", lambda: 3)
    asked = []
    monkeypatch.setattr(cli, "_run_all", lambda jobs, n_jobs, executor: asked.append(n_jobs) or [])
    said = [
        command("figures", *words).output
        for words in ((), ("--preset", TINY), ("--preset", TINY, "-j", "2"))
    ]
    assert asked == [3, 1, 2]
    assert "features: about" not in said[0] and all("features: about" in text for text in said[1:])


def test_the_store_counts_a_presets_own_networks(tmp_path):
    from tiny import fill_store

    fill_store(str(tmp_path / "store"), str(tmp_path), "llama", 20)
    store = Store(tmp_path / "store")
    name = store.ls()[0]["model"]
    preset = replace(get_preset("microworld"), language=(name,))
    assert kept(store, preset) == (2, sum(row["bytes"] for row in store.ls())) and kept(
        store, get_preset("paper")
    ) == (0, 0)


# The command


def test_presets_show_what_they_cost(monkeypatch, tmp_path):
    monkeypatch.setenv("SEEING_WORDS_DATA", str(tmp_path))
    shown = command("presets", "show", "paper-small").output
    for word in (
        "facebook/dinov2-small",
        "ed25f3a31f01632728cabb09d1542f84ab7b0056",
        "CC BY 4.0",
        "1.12 GB",
        "Times are estimates",
        "averaging",
        "MIT",
        "Memory: about",
    ):
        assert word in shown, word
    expected = estimate(get_preset("paper-small"), 1e12)
    all_of_it = next(line for line in shown.splitlines() if line.startswith("│ all, one"))
    assert [cell.strip() for cell in all_of_it.strip("│").split("│")[1:4]] == [
        format_bytes(sum(cost.download for cost in expected.networks)),
        format_bytes(expected.largest),
        format_bytes(expected.store),
    ]


@pytest.mark.parametrize("name", [*PRESETS, TINY])
def test_presets_show_as_json(name):
    printed = json.loads(command("presets", "show", name, "--json").stdout)
    assert [section["section"] for section in printed["section_costs"]] == list(sections())
    assert (
        printed["costs"][0]["network"] == get_preset(name).vision[0]
        and printed["store"] > 0
        and not printed["unknown"]
    )
    assert (
        set(printed["memory"]) == {"largest network", "features", "engine"} and "items" in printed
    )


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.2, "0 s"),
        (119, "119 s"),
        (150, "2.5 min"),
        (3000, "50 min"),
        (8000, "2.2 h"),
        (100_000, "28 h"),
        (400_000, "4.6 days"),
        (None, "?"),
    ],
)
def test_times_in_words(seconds, words):
    assert cli._time(seconds) == words


def test_images_of_another_size_have_other_tokens(tmp_path):
    preset = replace(get_preset("paper-small"), image_size=518)
    assert shape(preset, "facebook/dinov2-small", "vision").n_tokens == 37**2 + 1
    assert shape(preset, "bigscience/bloom-560m", "language").n_tokens == 15
    usual = shape(get_preset("paper-small"), "facebook/dinov2-small", "vision")
    assert usual.n_tokens == 16**2 + 1
    folder = str(save("dinov2", tmp_path / "dinov2"))  # patches of 8 pixels
    own = replace(preset, vision=(folder,))
    assert shape(own, folder, "vision").n_tokens == 64**2 + 1
    assert shape(replace(own, image_size=0), folder, "vision").n_tokens == 2**2 + 1
