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
    assert "/library/measures/" in result and "#" in result
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


def test_pages_turn_and_figures_open_under_a_path(desk, address):
    page, troubles = opened(desk, address + "index.html")
    page.get_by_role("link", name="Next").click()
    page.wait_for_url("**/beyond/own_features.html")
    page.goto(address + "paper/layers.html")
    page.locator("figure a").first.click()
    page.wait_for_url("**/figures/microworld/*.svg")
    assert troubles == []


def test_without_scripts_everything_can_be_read(chromium, site):
    with chromium.new_context(viewport=PHONE, java_script_enabled=False) as context:
        page = context.new_page()
        page.goto((site / "paper/layers.html").as_uri())
        assert page.get_by_role("navigation", name="All pages").is_visible()
        assert page.get_by_role("heading", level=1).is_visible()
        assert not page.get_by_role("button", name="Menu").is_visible()
