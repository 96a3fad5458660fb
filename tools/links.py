"""Check that every link and anchor of a rendered site resolves."""
import posixpath
from functools import cache
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

from bs4 import BeautifulSoup

ATTRIBUTES = {"a": "href", "link": "href", "img": "src", "script": "src", "source": "src"}


class Dead(NamedTuple):
    "A link that leads nowhere."
    page: str  # relative to the site
    link: str  # as it is written
    why: str

    def __str__(self) -> str: return f"{self.page}: {self.link} ({self.why})"


def dead_links(site: Path) -> list[Dead]:
    "Every link of a page to the site itself that leads nowhere; what lies elsewhere is not asked for."
    @cache
    def ids(page: Path) -> set[str]:
        soup = BeautifulSoup(page.read_text(encoding="utf-8"), "html.parser")
        return {tag["id"] for tag in soup.find_all(id=True)} | {tag["name"] for tag in soup.find_all("a", attrs={"name": True})}

    pages = sorted(site.rglob("*.html"))
    return [dead for page in pages for link in links_of(page) if (dead := checked(site, page, link, ids))]


def links_of(page: Path) -> list[str]:
    "What a page refers to, once each."
    soup = BeautifulSoup(page.read_text(encoding="utf-8"), "html.parser")
    found = [tag.get(attribute) for name, attribute in ATTRIBUTES.items() for tag in soup.find_all(name)]
    return list(dict.fromkeys(link for link in found if link))


def checked(site: Path, page: Path, link: str, ids) -> Dead | None:
    "What is wrong with a link of a page, if anything."
    where = page.relative_to(site).as_posix()
    parts = urlsplit(link)
    if parts.scheme or parts.netloc: return None
    if parts.path.startswith("/"): return Dead(where, link, "from the server's root, not from the page")
    target = page.parent / unquote(parts.path) if parts.path else page
    inside = posixpath.normpath(target.relative_to(site).as_posix())
    if inside.startswith(".."): return Dead(where, link, "outside the site")
    if not (site / inside).is_file(): return Dead(where, link, "no such file")
    anchor = unquote(parts.fragment)
    if anchor and target.suffix == ".html" and anchor not in ids(site / inside): return Dead(where, link, "no such anchor")
    return None
