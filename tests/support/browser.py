"A headless browser for tests of pages: the fixtures `chromium` and `page`."

import os
import shutil
import time
from collections.abc import Callable, Iterator

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")


@pytest.fixture(scope="module")  # its event loop would be in the way of other modules
def chromium() -> Iterator:
    "Chromium as this machine has it; SEEING_WORDS_CHROMIUM names another."
    found = os.environ.get("SEEING_WORDS_CHROMIUM") or next(
        filter(None, map(shutil.which, NAMES)), None
    )
    if not found:
        pytest.skip(
            f"no browser: none of {', '.join(NAMES)} is on the PATH, "
            "SEEING_WORDS_CHROMIUM names none"
        )
    playwright = pytest.importorskip(
        "playwright.sync_api", reason="playwright, which drives the browser, is not installed"
    )
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def page(chromium, request) -> Iterator:
    "An empty page of (width, height), colours; at the end its console must hold no error."
    width, height, colours = getattr(request, "param", (1280, 900, "light"))
    context = chromium.new_context(
        viewport={"width": width, "height": height}, color_scheme=colours
    )
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    page, messages = context.new_page(), []
    page.on(
        "console",
        lambda message: (
            messages.append(message.text)
            if message.type in ("error", "warning")
            and not message.location["url"].endswith("/favicon.ico")  # the browser's own wish
            else None
        ),
    )
    page.on("pageerror", lambda error: messages.append(str(error)))
    yield page
    context.close()
    assert not messages, messages


def serious(page) -> list[str]:
    "What axe-core finds in the page that keeps people from using it."
    from axe_playwright_python.sync_playwright import Axe

    found = Axe().run(page).response["violations"]
    return [
        f"{v['id']}: {v['nodes'][0]['html'][:200]}"
        for v in found
        if v["impact"] in ("serious", "critical")
    ]


def eventually(look: Callable[[], bool], seconds: float = 10) -> None:
    "Wait until a page looks as it should: what a click begins ends a moment later."
    end = time.monotonic() + seconds
    while not look() and time.monotonic() < end:
        time.sleep(0.02)
    assert look()
