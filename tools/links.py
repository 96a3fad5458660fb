"""Check that every link and anchor of a rendered site resolves."""

import posixpath
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

REFERENCES = {("a", "href"), ("link", "href"), ("img", "src"), ("script", "src"), ("source", "src")}


class Dead(NamedTuple):
    "A link that leads nowhere."

    page: str  # relative to the site
    link: str  # as it is written
    why: str

    def __str__(self) -> str:
        return f"{self.page}: {self.link} ({self.why})"


class Reader(HTMLParser):
    "What a page refers to, and what in it can be referred to."

    def __init__(self, page: Path):
        super().__init__()
        self.links: dict[str, None] = {}  # in their order, once each
        self.anchors: set[str] = set()
        self.feed(page.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        for name, value in attributes:
            if not value:
                continue
            if (tag, name) in REFERENCES:
                self.links[value] = None
            if name == "id" or (tag, name) == ("a", "name"):
                self.anchors.add(value)


def dead_links(site: Path) -> list[Dead]:
    "Find the dead links of a page within the site; links to elsewhere are not followed."
    read = cache(Reader)
    return [
        Dead(page.relative_to(site).as_posix(), link, why)
        for page in sorted(site.rglob("*.html"))
        for link in read(page).links
        if (why := trouble(site, page, link, read))
    ]


def trouble(site: Path, page: Path, link: str, read) -> str | None:
    "What is wrong with a link of a page, if anything."
    parts = urlsplit(link)
    if parts.scheme or parts.netloc:
        return None
    if parts.path.startswith("/"):
        return "from the server's root, not from the page"
    inside = page.relative_to(site).as_posix()
    if parts.path:
        inside = posixpath.normpath(posixpath.join(posixpath.dirname(inside), unquote(parts.path)))
    if inside.startswith(".."):
        return "outside the site"
    if not (site / inside).is_file():
        return "no such file"
    anchor = unquote(parts.fragment)
    if anchor and inside.endswith(".html") and anchor not in read(site / inside).anchors:
        return "no such anchor"
    return None
