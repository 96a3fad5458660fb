"""The site in a real browser, if there is one: no errors, accessible, usable by keyboard alone."""

import functools
import http.server
import os
import re
import threading
from urllib.parse import urljoin

import pytest
from browser import serious
from conftest import ROOT
from playwright.sync_api import Browser, BrowserContext, Page

pytestmark = pytest.mark.slow

PHONE, DESK = {"width": 360, "height": 740}, {"width": 1280, "height": 900}
# a page of each kind; `EVERY_PAGE=1 pytest tests/test_browser.py -k accessible` tests them all
PAGES = [
    "index.html",
    "paper/layers.html",
    "beyond/probes.html",
    "docs/gallery.html",
    "docs/claims.html",
    "docs/api.html",
    "library/measures/similarity.html",
    "docs/how_it_can_mislead.html",
    "docs/glossary.html",
]
if os.environ.get("EVERY_PAGE"):
    PAGES = [
        path.relative_to(ROOT / "nbs")
        .with_name(re.sub(r"^\d+[a-z]?_", "", path.stem) + ".html")
        .as_posix()
        for path in sorted((ROOT / "nbs").glob("**/[!.]*.ipynb"))
        if path.parent.name != ".ipynb_checkpoints"
    ]


@pytest.fixture(scope="module")
def address(site):
    "Of the site under a path of a server, as it is published."

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args):
            pass

    handler = functools.partial(Quiet, directory=site.parent.parent)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/{site.parent.name}/{site.name}/"
        server.shutdown()


@pytest.fixture
def desk(chromium: Browser):
    with chromium.new_context(viewport=DESK, reduced_motion="reduce") as context:
        yield context


def opened(context: BrowserContext, url: str) -> tuple[Page, list[str]]:
    "A page, and the list that its troubles go to."
    page, troubles = context.new_page(), []
    icon = urljoin(
        url, "/favicon.ico"
    )  # asked for by the browser itself where a picture, not a page, is opened
    page.set_default_timeout(120_000)  # a busy machine is slow, not wrong
    page.on(
        "console",
        lambda message: (
            troubles.append(f"{message.text} {message.location['url']}")
            if message.type in ("error", "warning") and message.location["url"] != icon
            else None
        ),
    )
    page.on("pageerror", lambda error: troubles.append(str(error)))
    page.on(
        "requestfailed",
        lambda request: (
            troubles.append(f"{request.failure}: {request.url}")
            if request.failure != "net::ERR_ABORTED"
            else None
        ),
    )  # a picture still on its way when the reader moved on
    page.goto(url)
    return page, troubles


@pytest.mark.parametrize("url", PAGES)
def test_page_is_accessible_and_fits(url, chromium, address):
    for colours in ("light", "dark"):
        with chromium.new_context(
            viewport=DESK, color_scheme=colours, reduced_motion="reduce"
        ) as context:
            page, troubles = opened(context, address + url)
            assert serious(page) == [], colours
            for size in (DESK, PHONE):
                page.set_viewport_size(size)
                assert page.evaluate("document.documentElement.scrollWidth") <= size["width"], (
                    colours
                )
            assert troubles == [], colours


def test_phone_is_accessible_with_its_menu_open(chromium, address):
    with chromium.new_context(viewport=PHONE, reduced_motion="reduce") as context:
        page, troubles = opened(context, address + "docs/glossary.html")
        menu = page.get_by_role("button", name="Menu")
        menu.press("Enter")
        assert menu.get_attribute("aria-expanded") == "true"
        page.get_by_role("navigation", name="All pages").get_by_role(
            "link", name="Citation and changelog"
        ).wait_for()
        assert serious(page) == []
        page.keyboard.press("Escape")
        assert menu.get_attribute("aria-expanded") == "false" and menu.evaluate(
            "e => e === document.activeElement"
        )
        assert page.get_by_role("navigation", name="All pages").count() == 0
        assert troubles == []


def test_axe_would_find_what_is_wrong(desk):
    page = desk.new_page()
    page.set_content(
        "<html lang=en><title>x</title><main><h1>x</h1><img src=x><p "
        "style='color:#ccc'>pale</p></main>"
    )
    assert {found.partition(":")[0] for found in serious(page)} >= {"image-alt", "color-contrast"}


def test_every_stop_of_the_keyboard_is_seen(desk, site):
    page, _ = opened(desk, (site / "index.html").as_uri())
    stops = []
    for _ in range(40):
        page.keyboard.press("Tab")
        stop = page.evaluate("""() => {
            const e = document.activeElement, box = e.getBoundingClientRect();
            const seen = box.width > 0 && box.bottom > 0 && box.top < innerHeight;
            return [e.textContent.trim(), getComputedStyle(e).outlineStyle, seen];
        }""")
        assert stop[1:] == ["solid", True], stop
        stops.append(stop[0])
    assert stops[0] == "Skip to the text"
    assert {"seeing_words", "The paper", "Glossary"} <= set(stops)


def test_the_skip_link_leads_to_the_text(desk, site):
    page, _ = opened(desk, (site / "paper/layers.html").as_uri())
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.tagName") == "MAIN"


def test_search_by_keyboard(desk, address):
    page, troubles = opened(desk, address + "docs/glossary.html")
    page.keyboard.press("/")
    page.keyboard.type("leave-one-out penalt")
    page.locator(".results a").first.wait_for()
    n_found = int(page.locator(".status").inner_text().removesuffix(" places"))
    assert page.locator(".results a").count() == min(n_found, 20)
    assert serious(page) == []
    page.keyboard.press("ArrowDown")
    assert page.evaluate("document.activeElement.closest('.results') !== null")
    result = page.evaluate("document.activeElement.href")
    assert re.search("/(library/measures|docs)/.*#", result)
    page.keyboard.press("Enter")
    page.wait_for_url(result)
    assert troubles == []


def test_search_works_from_a_file_and_says_when_nothing_is_found(desk, site):
    page, troubles = opened(desk, (site / "library/plots.html").as_uri())
    page.get_by_role("button", name="Search").click()
    page.keyboard.type("glossary")
    page.locator(".results a", has_text="Glossary").first.wait_for()
    page.get_by_role("searchbox").fill("zxqzxq")
    page.locator(".status", has_text="0 places").wait_for()
    page.keyboard.press("Escape")
    assert not page.get_by_role("dialog").is_visible() and troubles == []


def test_the_theme_is_chosen_and_remembered(desk, address):
    page, _ = opened(desk, address + "index.html")
    button, ground = (
        page.get_by_role("button", name="Dark theme"),
        "getComputedStyle(document.body).backgroundColor",
    )
    light = page.evaluate(ground)
    assert button.get_attribute("aria-pressed") == "false"
    button.press("Enter")
    dark = page.evaluate(ground)
    assert dark != light and button.get_attribute("aria-pressed") == "true"
    page.goto(address + "docs/glossary.html")
    assert page.evaluate(ground) == dark


def test_pages_turn_under_a_path(desk, address):
    page, troubles = opened(desk, address + "index.html")
    page.get_by_role("link", name="Next").click()
    page.wait_for_url("**/docs/install.html")
    assert troubles == []


@pytest.mark.parametrize("size", [DESK, PHONE], ids=["desk", "phone"])
def test_a_figure_fits_and_opens_larger(size, chromium, address):
    with chromium.new_context(viewport=size, reduced_motion="reduce") as context:
        page, troubles = opened(context, address + "paper/layers.html")
        link = page.locator(".answer figure a")
        small = link.locator("img").bounding_box()
        assert small["x"] >= 0 and small["x"] + small["width"] <= size["width"]
        box = link.locator("img").evaluate("e => [e.clientWidth, e.parentElement.clientWidth]")
        assert box[0] <= box[1], "nothing of it is cut off"
        link.press("Enter")
        dialog = page.get_by_role("dialog", name="Figure", exact=True)
        image = dialog.locator("img")
        image.evaluate("e => e.decode()")
        assert image.get_attribute("alt") == link.locator("img").get_attribute("alt")
        fit = image.bounding_box()["width"]
        assert size["width"] * 0.5 <= fit <= size["width"]
        dialog.get_by_role("button", name="Larger").press("Enter")
        assert abs(image.bounding_box()["width"] - 1.5 * fit) <= 2
        image.click()
        assert image.bounding_box()["width"] > 2.5 * fit
        assert serious(page) == []
        href = dialog.get_by_role("link", name="Open the file").evaluate("e => e.href")
        assert href.endswith("/figures/microworld/layers_map.svg")
        page.keyboard.press("Escape")
        assert not dialog.is_visible() and troubles == []


SECTIONS = [
    f"{folder}/{re.sub(r'^[0-9]+_', '', path.stem)}.html"
    for folder in ("paper", "beyond")
    for path in sorted((ROOT / "nbs" / folder).glob("[!_.]*.ipynb"))
]


def test_pages_of_sections_answer_first_and_are_short(chromium, address):
    size = {"width": 1440, "height": 900}
    with chromium.new_context(viewport=size, reduced_motion="reduce") as context:
        page, _ = opened(context, address + SECTIONS[0])
        for url in SECTIONS:
            page.goto(address + url)
            page.evaluate("document.querySelectorAll('img').forEach(e => { e.loading = 'eager'; })")
            height = page.evaluate("document.documentElement.scrollHeight")
            assert height <= 8000, (url, height)
            for figure in page.locator(".answer figure").all():
                box = figure.bounding_box()
                assert box["y"] + box["height"] <= 1.5 * size["height"], url


def test_folded_sections_open_when_a_link_leads_into_them(desk, address):
    page, troubles = opened(desk, address + "paper/layers.html")
    section = page.locator("details.section", has=page.locator("#ceilings"))
    assert not section.evaluate("e => e.open")
    page.locator(".outline.wide a[href='#ceilings']").click()
    assert section.evaluate("e => e.open")
    assert page.locator("#ceilings").is_visible()
    everything = page.get_by_role("button", name="Open all sections")
    everything.click()
    assert page.locator("details.section:not([open])").count() == 0
    page.get_by_role("button", name="Close all sections").click()
    assert page.locator("details.section[open]").count() == 0
    page.goto(address + "paper/layers.html#robustness")
    page.reload()
    assert page.locator("#robustness").is_visible()
    assert troubles == []


def test_sections_of_quarto_fold_too(desk, tmp_path):
    script = (ROOT / "tools/site/both.js").as_uri()
    (tmp_path / "x.html").write_text(
        "<html lang=en><title>x</title><main><h1>x</h1><section id=one class='level2 folded'>"
        "<h2>One</h2><p>text</p><section id=sub class=level3><h3>Sub</h3></section></section>"
        "<section id=two class=level2><h2>Two</h2></section></main>"
        f"<script src='{script}'></script>"
    )
    page, troubles = opened(desk, (tmp_path / "x.html").as_uri())
    assert not page.get_by_text("text").is_visible() and page.get_by_text("Two").is_visible()
    assert page.locator("details.section > summary > h2").all_inner_texts() == ["One"]
    for anchor, seen in (("one", "text"), ("sub", "Sub")):
        page.goto((tmp_path / "x.html").as_uri() + f"#{anchor}")
        page.reload()
        assert page.get_by_text(seen, exact=True).is_visible()
    assert serious(page) == [] and troubles == []


def test_tables_sort_by_number_and_by_word(desk, address):
    page, troubles = opened(desk, address + "docs/claims.html")
    table = page.locator("table.claims")
    names = table.locator("tbody tr td:first-child b:first-child")
    first = names.all_inner_texts()
    head = table.get_by_role("columnheader", name="microworld L→V")
    for order, sign in (("ascending", 1), ("descending", -1)):
        head.get_by_role("button").press("Enter")
        assert head.get_attribute("aria-sort") == order
        values = table.locator("tbody td:nth-child(3)").evaluate_all(
            "all => all.filter(e => e.dataset.sort).map(e => Number(e.dataset.sort))"
        )
        assert len(values) > 10 and values == sorted(values, key=lambda value: sign * value)
        empty = table.locator("tbody tr:last-child td:nth-child(3)")
        assert empty.inner_text() == "–", "what has no number comes last"
    head.get_by_role("button").click()
    assert names.all_inner_texts() == first and head.get_attribute("aria-sort") is None
    table.get_by_role("columnheader", name="claim").get_by_role("button").click()
    words = names.all_inner_texts()
    assert words != first and words == sorted(words, key=str.lower)
    page.get_by_label("Verdict").select_option("contradicted")
    seen = [row for row in table.locator("tbody tr").all() if row.is_visible()]
    assert 0 < len(seen) < len(first)
    assert all("contradicted" in row.inner_text() for row in seen)
    assert f"{len(seen)} of {len(first)} claims" in page.get_by_role("status").first.inner_text()
    assert serious(page) == [] and troubles == []


def test_the_command_of_a_section_is_copied(chromium, address):
    with chromium.new_context(viewport=DESK) as context:
        context.grant_permissions(["clipboard-read", "clipboard-write"])
        page, troubles = opened(context, address + "paper/averaging.html")
        page.get_by_role("button", name="Copy command").click()
        page.get_by_role("button", name="Copied").wait_for()
        copied = page.evaluate("navigator.clipboard.readText()")
        assert copied == "seeing-words figures averaging" and troubles == []


@pytest.mark.parametrize(
    ("query", "page_of_first"),
    [
        ("install", "docs/install.html"),
        ("confidence interval", "docs/predictivity.html"),
        ("ridge regression", "docs/predictivity.html"),
        ("how to cite", "docs/citation.html"),
        ("colab", "docs/install.html"),
        ("own model", "docs/own_models_and_data.html"),
    ],
)
def test_search_finds_what_readers_ask_for(query, page_of_first, desk, address):
    page, _ = opened(desk, address + "docs/glossary.html")
    page.keyboard.press("/")
    page.keyboard.type(query)
    page.locator(".results a").first.wait_for()
    page.locator(".status", has_text="place").wait_for()
    assert page_of_first in page.locator(".results a").first.evaluate("e => e.href")


def test_without_scripts_everything_can_be_read(chromium, site):
    with chromium.new_context(viewport=PHONE, java_script_enabled=False) as context:
        page = context.new_page()
        page.goto((site / "paper/layers.html").as_uri())
        assert page.get_by_role("navigation", name="All pages").is_visible()
        page.locator("summary", has_text="Method").click()
        assert page.get_by_role("heading", name="Ceilings").is_visible()
        assert page.get_by_role("heading", level=1).is_visible()
        assert not page.get_by_role("button", name="Menu").is_visible()
