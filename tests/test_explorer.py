"""The explorer in the browser: its data are the library's, its network is torch's, and it works by
mouse, by keyboard, on a phone and without a server."""

import functools
import http.server
import json
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from browser import serious
from conftest import ROOT
from PIL import Image
from playwright.sync_api import Page

from seeing_words.app.run import start
from seeing_words.measures.predictivity import out_of_fold, predictivity
from seeing_words.models.load import load_model
from seeing_words.studies.explore import SceneExplorer, Side, readable
from seeing_words.studies.one_scene import scenes_by_rank, single_changes

sys.path.insert(0, str(ROOT / "tools"))
import explorer  # noqa: E402
import reader  # noqa: E402

pytestmark = pytest.mark.slow

DATA = ROOT / "tools" / "site" / "explorer"
PAGE = "beyond/explorer.html"
MOST = 5 * 2**20  # bytes of a page


def read(name: str) -> dict:
    "What a file of data holds."
    text = (DATA / f"{name}.js").read_text(encoding="utf-8")
    return json.loads(text.partition(" = ")[2].rstrip().rstrip(";"))


def unpacked(text: str, kind: str) -> np.ndarray:
    import base64

    return np.frombuffer(base64.b64decode(text), kind)


SCENES, LAYERS = read("scenes"), read("layers")


# What the files hold is what the library computes


@pytest.fixture(scope="module")
def cross(tmp_path_factory):
    "The networks and maps of the explorer, from an empty store."
    folder = tmp_path_factory.mktemp("explorer")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SEEING_WORDS_STORE", str(folder / "store"))
        yield explorer.cross_of(start("explorer", preset="microworld", out=str(folder)))


def test_scenes_are_those_of_evenly_spaced_ranks(cross):
    chosen = [scene["position"] for scene in SCENES["scenes"]]
    assert chosen == scenes_by_rank(cross, explorer.N_SCENES)
    assert SCENES["ids"] == list(cross.gallery.ids)
    assert SCENES["captions"] == cross.gallery.caption()
    assert not set(cross.gallery.ids) & {cross.gallery.ids[i] for i in ()}


def test_what_a_change_finds_is_what_the_library_finds(cross):
    for k in (0, 5):
        scene = SCENES["scenes"][k]
        own = SceneExplorer(cross, scene["position"])
        changes = single_changes(own.scene)
        assert scene["changes"] == [c and [*c[0], c[1]] for c in json.loads(json.dumps(changes))]
        for at in (0, 3, len(changes) // 2, len(changes) - 1):
            own.choose(scene["position"])
            if changes[at]:
                own.change(*changes[at])
            assert scene["own"][at] == own.caption
            # the library searches the gallery as it is: where the scene itself is not among the
            # nearest, both find the same
            rank, near, cosines = scene["captions"][at]
            theirs = cross.captions(own.image, 6).drop(scene["position"], errors="ignore")
            others = [i for i in near if i != scene["position"]]
            assert others == theirs.index[: len(others)].tolist()
            kept = [c for i, c in zip(near, cosines) if i != scene["position"]]
            np.testing.assert_allclose(kept, theirs.similarity[: len(others)], atol=2e-3)
            _, near, _ = scene["scenes"][at]
            theirs = cross.scenes(own.caption, 6).drop(scene["position"], errors="ignore")
            others = [i for i in near if i != scene["position"]]
            assert others == theirs.index[: len(others)].tolist()
        in_fold = cross.ranks["v2l"]["rank"].values[cross.folds.test[0]][scene["position"]]
        assert scene["captions"][0][0] == in_fold


def test_pictures_are_those_of_the_scenes(cross):
    size, columns = SCENES["size"], SCENES["columns"]
    sheet = np.asarray(Image.open(DATA / "gallery.webp").convert("RGB")).astype(float)
    for i in (0, 57, 199):
        row, column = divmod(i, columns)
        shown = sheet[row * size : (row + 1) * size, column * size : (column + 1) * size]
        assert np.abs(shown - cross.gallery.images[i]).mean() < 12  # of 255: it is compressed
        assert np.abs(shown - cross.gallery.images[i - 1]).mean() > 12


def test_the_map_of_typed_captions_is_the_librarys(cross):
    data = read("captions")
    weights = unpacked(data["weights"], "<f4").reshape(cross.seen.shape[1], -1)
    offset = unpacked(data["offset"], "<f4")
    said = ["two boats at night", "a dog"]
    response = cross.language(said)
    np.testing.assert_allclose(
        response @ weights.T + offset, cross.to_vision.predict(response), atol=1e-3
    )
    seen = unpacked(data["seen"], "<f2").reshape(cross.seen.shape)
    np.testing.assert_allclose(seen, cross.seen, atol=1e-2)
    assert data["network"] == json.loads(json.dumps(reader.network_config()))


def test_scores_and_scatters_of_layers_are_the_librarys(tmp_path, monkeypatch):
    monkeypatch.setenv("SEEING_WORDS_STORE", str(tmp_path / "store"))
    run = start("layers", preset="microworld", out=str(tmp_path), n_draws=200)
    aligned = explorer.aligned_of(run, 1)
    vision, language = next(iter(aligned.vision)), next(iter(aligned.language))
    n_v, n_l = LAYERS["layers"]
    shape = (2, len(LAYERS["vision"]), len(LAYERS["language"]), n_v, n_l)
    scores = unpacked(LAYERS["scores"], "<f2").astype(float).reshape(*shape, 3)
    packed = unpacked(LAYERS["scatter"], "u1").reshape(*shape, -1)
    assert LAYERS["vision"][0] == vision and LAYERS["language"][0] == language
    assert np.isnan(scores[:, :, :, 0]).all() and np.isfinite(scores[:, :, :, 1:]).all()
    assert (scores[..., 1:, :, 1] < scores[..., 1:, :, 0]).all()
    assert (scores[..., 1:, :, 0] < scores[..., 1:, :, 2]).all()
    for d, direction in enumerate(LAYERS["directions"]):
        for v, w in ((7, 4), (1, 0)):
            layers = [aligned.vision[vision].values[v], aligned.language[language].values[w]]
            source, target = layers if direction == "v2l" else layers[::-1]
            expected = predictivity(source, target, folds=aligned.folds)
            assert abs(scores[d, 0, 0, v, w, 0] - expected) < 1e-3
            shades = packed[d, 0, 0, v, w]
            shown = np.stack([shades >> 4, shades & 15], axis=-1).reshape(LAYERS["bins"], -1)
            observed, predicted = out_of_fold(source, target, folds=aligned.folds)
            largest = LAYERS["largest"]
            inside = [np.clip(x, -largest, largest).ravel() for x in (observed, predicted)]
            counts, *_ = np.histogram2d(
                *inside, bins=LAYERS["bins"], range=[[-largest, largest]] * 2
            )
            wanted = np.log1p(counts) / np.log1p(counts.max())
            assert np.abs(shown / LAYERS["levels"] - wanted).max() < 0.5 / LAYERS["levels"] + 0.02


# The network in the browser is the network


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    "The address of a page with the network alone."
    folder = tmp_path_factory.mktemp("bench")
    (folder / "llama.js").write_bytes((DATA / "llama.js").read_bytes())
    (folder / "llama.safetensors").write_bytes(reader.reading_weights())
    (folder / "index.html").write_text(
        "<meta charset=utf-8><title>x</title><script src=llama.js></script>"
    )
    with served(folder) as address:
        yield address


def served(folder: Path):
    "A server of a folder, as a context that gives its address."
    from contextlib import contextmanager

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args):
            pass

    @contextmanager
    def serving():
        handler = functools.partial(Quiet, directory=folder)
        with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            yield f"http://127.0.0.1:{server.server_port}/"
            server.shutdown()

    return serving()


TYPED = ["two boats at night", "a dog", *SCENES["captions"][:6]]


def test_the_network_in_the_browser_reads_as_torch_does(page: Page, bench):
    page.goto(bench)
    read_here = page.evaluate(
        """async ([config, captions]) => {
            const buffer = await (await fetch("llama.safetensors")).arrayBuffer();
            const llama = new TinyLlama.Llama(buffer, config);
            return captions.map((text) => [llama.tokenizer.encode(text), [...llama.read(text)]]);
        }""",
        [reader.network_config(), TYPED],
    )
    model = load_model("microworld/llama-0")
    expected = Side(model, "mean")(TYPED)
    assert np.abs(expected).max() > 0.1
    for text, (tokens, state), response in zip(TYPED, read_here, expected):
        assert tokens == model.encode([text])["input_ids"][0].tolist()[:-1], text  # without the end
        np.testing.assert_allclose(state, response, atol=1e-3)


# The page


@pytest.fixture(scope="module")
def address(site):
    with served(site) as address:
        yield address


@pytest.fixture
def opened(page: Page, address) -> Page:
    page.set_default_timeout(120_000)
    page.goto(address + PAGE)
    page.wait_for_selector("html[data-explorer=ready]")
    return page


def test_a_fact_is_flipped(opened):
    part = opened.get_by_role("region", name="Change a fact")
    k = len(SCENES["scenes"]) // 2
    scene = SCENES["scenes"][k]
    at = next(i for i, c in enumerate(scene["changes"]) if c and c[0] == "place")
    captions = part.locator("ol").first
    before, image = captions.inner_text(), part.locator(".large .picture").first
    was = image.evaluate("e => e.style.backgroundPosition")
    part.get_by_label("place").select_option(str(at))
    assert part.get_by_label("place").evaluate("e => e === document.activeElement")
    assert image.evaluate("e => e.style.backgroundPosition") != was
    assert captions.inner_text() != before
    assert scene["own"][at] in part.locator(".said").inner_text()
    rank = scene["captions"][at][0]
    assert f"found {rank}" in part.locator(".ranks").inner_text().replace("\n", " ")
    assert f"place is now {scene['changes'][at][-1]}" in part.locator(".status").inner_text()
    part.get_by_role("button", name="Undo").click()
    assert captions.inner_text() == before
    part.get_by_role("group", name="Scene").get_by_role("button").first.click()
    assert SCENES["scenes"][0]["own"][0] in part.locator(".said").inner_text()


def test_a_typed_caption_finds_what_the_library_finds(opened, cross):
    part = opened.get_by_role("region", name="Type a caption")
    for words in ("a boat at sea", "Two boats at night!"):
        part.get_by_label("Caption").fill(words)
        part.get_by_label("Caption").press("Enter")
        part.locator(".status", has_text="the nearest").wait_for()
        shown = [
            int(key)
            for key in part.locator("ol.near li").evaluate_all("all => all.map(e => e.dataset.key)")
        ]
        expected = cross.scenes(words, 6)
        assert readable(cross.language.model, words) in part.locator(".status").inner_text()
        assert shown == expected.index.tolist()
        cosines = part.locator(".cosine").all_inner_texts()
        np.testing.assert_allclose([float(c) for c in cosines], expected.similarity, atol=0.006)


def test_unknown_words_are_refused_and_leave_nothing_behind(opened):
    part = opened.get_by_role("region", name="Type a caption")
    part.get_by_label("Caption").fill("a boatt at night")
    part.get_by_role("button", name="Find scenes").click()
    part.locator(".status", has_text="does not know “boatt” (perhaps boat").wait_for()
    assert part.locator("ol.near li").count() == 0


def test_layers_are_chosen_by_keyboard_and_mouse(page, address):
    page.set_default_timeout(120_000)
    page.goto(address + "paper/layers.html#choose-a-pair-of-layers")
    page.wait_for_selector("html[data-explorer=ready]")
    part = page.locator(".explorer .part-layers")
    start = part.locator("[aria-selected=true]")
    v, w = int(start.get_attribute("data-v")), int(start.get_attribute("data-l"))
    scores = unpacked(LAYERS["scores"], "<f2").astype(float)
    best = np.nanargmax(scores.reshape(2, 3, 4, 81, 3)[0, 0, 0, :, 0])
    assert (v, w) == divmod(int(best), 9)
    start.focus()
    page.keyboard.press("ArrowDown")
    assert page.evaluate("document.activeElement.dataset.v") == str(v - 1)
    assert f"vision {v - 1}, language {w}" in part.locator(".readout").inner_text()
    value, low, high = scores.reshape(2, 3, 4, 9, 9, 3)[0, 0, 0, v - 1, w]
    assert f"r = {value:.3f} [{low:.3f}, {high:.3f}]" in part.locator(".readout").inner_text()
    cell = part.locator("button[data-v='3'][data-l='6']")
    cell.scroll_into_view_if_needed()
    cell.hover()
    assert "vision 3, language 6" in part.locator(".readout").inner_text()
    ink = part.locator("canvas").evaluate(
        "e => [...e.getContext('2d').getImageData(0, 0, 240, 240).data].filter(x => x < 200).length"
    )
    assert ink > 1000
    part.get_by_label("direction").select_option("l2v")
    assert "vision 3, language 6" in part.locator(".readout").inner_text()


@pytest.mark.parametrize(
    "page", [(1280, 900, "light"), (1280, 900, "dark"), (360, 740, "light")], indirect=True
)
def test_the_explorer_is_accessible_and_fits(opened):
    assert serious(opened) == []
    width = opened.viewport_size["width"]
    assert opened.evaluate("document.documentElement.scrollWidth") <= width


def test_the_page_weighs_at_most_5_mib_with_all_that_it_can_load(page, address):
    page.set_default_timeout(120_000)
    sizes = {}
    page.on("response", lambda answer: sizes.update({answer.url: len(answer.body())}))
    page.goto(address + PAGE)
    page.wait_for_selector("html[data-explorer=ready]")
    for details in page.locator("details.section").all():
        details.evaluate("e => { e.open = true; }")
    for button in page.get_by_role("group", name="Scene").get_by_role("button").all():
        button.click()
    part = page.get_by_role("region", name="Type a caption")
    part.get_by_role("button", name="Find scenes").click()
    part.locator(".status", has_text="the nearest").wait_for()
    page.evaluate("""async () => {
        for (let y = 0; y < document.body.scrollHeight; y += 400) {
            scrollTo(0, y);
            await new Promise((done) => setTimeout(done, 30));
        }
    }""")
    page.wait_for_load_state("networkidle")
    assert any(url.endswith("llama.safetensors") for url in sizes)
    assert any(url.endswith("scene-9.webp") for url in sizes)
    assert any(url.endswith(".svg") for url in sizes)
    assert sum(sizes.values()) <= MOST


def test_from_a_file_facts_are_flipped_and_typing_says_what_it_needs(chromium, site):
    with chromium.new_context() as context:
        page = context.new_page()
        page.set_default_timeout(120_000)
        page.goto((site / PAGE).as_uri())
        page.wait_for_selector("html[data-explorer=ready]")
        assert page.locator(".explorer .large .picture").count()
        page.get_by_role("button", name="Find scenes").click()
        page.locator(".status", has_text="serve the folder").wait_for()
