"""Render _proc/ as _docs/ without Quarto: the same pages and navigation, from _quarto.yml."""

import ast
import base64
import io
import json
import posixpath
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import MappingProxyType

import jinja2
import nbformat
import yaml
from bs4 import BeautifulSoup, Tag
from latex2mathml.converter import convert
from markupsafe import Markup, escape
from nbconvert.filters import ansi2html
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath
from PIL import Image
from pygments import highlight
from pygments.filter import simplefilter
from pygments.formatters import HtmlFormatter
from pygments.lexers import get_lexer_by_name
from pygments.token import Token
from pygments.util import ClassNotFound

from seeing_words._modidx import d as INDEX

ROOT = Path(__file__).resolve().parent.parent
THEME = Path(__file__).resolve().parent / "site"
STYLED = (
    Token.Keyword,
    Token.Operator.Word,
    Token.Literal,
    Token.Comment,
    Token.Name.Function,
    Token.Name.Class,
    Token.Name.Decorator,
    Token.Name.Tag,
    Token.Name.Attribute,
)
PICTURES = ("figures", "benchmarks")
BOTH = ("both.css", "both.js")  # used by Quarto's pages, too
LONG = 40  # letters of a cell that wants room for several words in a line
STATIC = (
    "site.css",
    "site.js",
    "favicon.svg",
    "minisearch.js",
    "minisearch.LICENSE.txt",
    "stix-two-math.woff2",
    "stix-two-math.LICENSE.txt",
)


@dataclass
class Page:
    "One notebook of the site."

    source: str  # path of the notebook, from the root of the site
    url: str  # path of the page
    title: str
    description: str
    notebook: nbformat.NotebookNode = field(repr=False)
    trail: tuple[str, ...] = ()  # sections of the sidebar that it stands in, outermost first

    def to(self, url: str) -> str:
        "From this page to another of the site."
        return posixpath.relpath(url, posixpath.dirname(self.url) or ".")


@dataclass
class Section:
    "A titled part of the sidebar."

    title: str
    entries: list  # of Page or Section


def render(proc: Path, docs: Path) -> None:
    "Write every page of `proc` into `docs`."
    site = yaml.safe_load((proc / "_quarto.yml").read_text(encoding="utf-8"))["website"]
    pages = {
        page.source: page for page in (read(proc, path) for path in sorted(proc.rglob("*.ipynb")))
    }
    sidebar = [placed(entry, pages) for entry in site["sidebar"]["contents"]]
    order = reading_order(sidebar)
    docs.mkdir(parents=True)
    template = environment().get_template("page.html.j2")
    records = []
    for k, page in enumerate(order):
        body = content(page, proc, docs, {p.source: p.url for p in order})
        records += search_records(page, body)
        html = template.render(
            site=site,
            page=page,
            sidebar=sidebar,
            navbar=navbar(site, pages),
            body=Markup(str(body)),
            outline=outline(body),
            before=order[k - 1] if k else None,
            after=order[k + 1] if k + 1 < len(order) else None,
        )
        write(docs / page.url, html)
    write(
        docs / "search.js",
        "window.searchRecords = "
        + json.dumps(records, ensure_ascii=False, separators=(",", ":"))
        + ";\n",
    )
    for name in STATIC:
        shutil.copy2(THEME / name, docs / name)
    for folder in PICTURES:
        shutil.copytree(proc / folder, docs / folder)


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def environment() -> jinja2.Environment:
    "Where templates are found; an undefined name is an error."
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(THEME),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


# Navigation


def read(proc: Path, path: Path) -> Page:
    "A page with the head that nbdev made of the notebook's first cell."
    notebook = nbformat.read(path, as_version=4)
    head = yaml.safe_load(notebook.cells[0].source.strip().strip("-"))
    source = path.relative_to(proc).as_posix()
    notebook.cells = [
        cell for cell in notebook.cells[1:] if not cell.source.startswith("<!-- WARNING")
    ]
    url = posixpath.join(
        posixpath.dirname(source), head.get("output-file", path.with_suffix(".html").name)
    )
    return Page(source, url, head["title"], head.get("description", ""), notebook)


def placed(
    entry: str | dict, pages: dict[str, Page], trail: tuple[str, ...] = ()
) -> Page | Section:
    "Resolve an entry of the sidebar to its page or section; a page records its sections."
    if isinstance(entry, str):
        if entry not in pages:
            raise SystemExit(f"_quarto.yml: no notebook {entry}, which the sidebar lists")
        pages[entry].trail = trail
        return pages[entry]
    title = entry["section"]
    return Section(title, [placed(e, pages, (*trail, title)) for e in entry["contents"]])


def reading_order(sidebar: list) -> list[Page]:
    "Every page once, in the order of the sidebar."
    return [
        page
        for entry in sidebar
        for page in ([entry] if isinstance(entry, Page) else reading_order(entry.entries))
    ]


def navbar(site: dict, pages: dict[str, Page]) -> list[dict]:
    """The links at the top. Those to pages know their page, and the part of the sidebar whose pages
    they stand for, unless two of them lead into it."""
    items = site["navbar"].get("left", []) + site["navbar"].get("right", [])
    led_to = [pages.get(item["href"]) for item in items]
    parts = [page.trail[0] if page else None for page in led_to]
    return [
        {
            "text": item.get("text") or item["aria-label"],
            "page": page,
            "href": item["href"],
            "part": part if parts.count(part) == 1 else None,
        }
        for item, page, part in zip(items, led_to, parts)
    ]


def outline(body: BeautifulSoup) -> list[dict]:
    "Headings for the page's own table of contents."
    return [
        {
            "level": int(h.name[1]),
            "id": h["id"],
            "text": heading_text(h),
            "code": "api" in h.get("class", []),
        }
        for h in body.find_all(["h2", "h3"])
    ]


def heading_text(heading: Tag) -> str:
    "The heading without the link to itself."
    return "".join(
        text for text in heading.find_all(string=True) if not text.find_parent(class_="anchor")
    ).strip()


def search_records(page: Page, body: BeautifulSoup) -> list[dict]:
    "Return the search index of a page: the prose below each heading, with its anchor."
    parts = [{"id": page.url, "page": page.title, "title": page.title, "text": [page.description]}]
    for tag in body.find_all(["h2", "h3", "p", "li", "td", "figcaption"]):
        if tag.name in ("h2", "h3"):
            parts.append(
                {
                    "id": f"{page.url}#{tag['id']}",
                    "page": page.title,
                    "title": heading_text(tag),
                    "text": [],
                }
            )
        else:
            parts[-1]["text"].append(tag.get_text(" ", strip=True))
    return [part | {"text": " ".join(part["text"])} for part in parts]


# Cells


def content(page: Page, proc: Path, docs: Path, urls: dict[str, str]) -> BeautifulSoup:
    "The body of a page."
    names = documented_names(page.notebook)
    cells = [cell_html(cell, page, docs, names) for cell in page.notebook.cells]
    body = BeautifulSoup("\n".join(cells), "html.parser")
    for finish in (headings, tables, figures, fold_sections):
        finish(body)
    sizes(body, page, proc)
    links(body, page, urls)
    return body


def cell_html(cell: nbformat.NotebookNode, page: Page, docs: Path, names: dict[str, str]) -> str:
    if cell.cell_type == "markdown":
        return markdown(cell.source)
    if cell.cell_type != "code":
        return ""
    options, source = directives(cell.source)
    urls = {name: page.to(url) for name, url in names.items()}
    shown = "" if options.get("echo") is False or not source else code_html(source, urls=urls)
    if options.get("code-fold"):
        shown = f"<details class=fold><summary>{options['code-summary']}</summary>{shown}</details>"
    kept = [] if options.get("output") is False else cell.outputs
    outputs = [
        output_html(output, options, f"{cell.id}-{k}", page, docs) for k, output in enumerate(kept)
    ]
    if source.startswith("show_doc("):
        return f"<section class=doc>{''.join(outputs)}</section>"
    return shown + "".join(outputs)


def directives(source: str) -> tuple[dict, str]:
    "Quarto's instructions at the top of a cell, and the code below them."
    lines = source.strip().splitlines()
    n = next((k for k, line in enumerate(lines) if not line.startswith("#|")), len(lines))
    named = [line[2:] for line in lines[:n] if re.match(r"#\| *[\w-]+: ", line)]
    return {
        name: value for line in named for name, value in yaml.safe_load(line).items()
    }, "\n".join(lines[n:])


def code_html(
    source: str, language: str = "ipython3", urls: Mapping[str, str] = MappingProxyType({})
) -> str:
    "Highlight keywords, names, strings, numbers and comments only, which keeps pages small."
    try:
        lexer = get_lexer_by_name(language)
    except ClassNotFound:
        lexer = get_lexer_by_name("text")
    lexer.add_filter(only_styled())
    return f"<div class=code>{with_names(highlight(source, lexer, HtmlFormatter()), urls)}</div>"


@simplefilter
def only_styled(self, lexer, stream, options):
    before = ""
    for kind, text in stream:
        if kind is Token.Name and before != ".":
            yield Token.Name.Variable, text  # may be documented, see `with_names`
        else:
            yield (kind if any(kind in styled for styled in STYLED) else Token.Text), text
        before = text


@cache
def reference() -> dict[tuple[str, str], str]:
    "Where a name of a module is documented: path and anchor, from the root of the site."
    found = {}
    for module, names in INDEX["syms"].items():
        for name, (url, _) in names.items():
            found[module, name.removeprefix(f"{module}.")] = url
    stub = (ROOT / "seeing_words/__init__.pyi").read_text(encoding="utf-8")
    for line in ast.parse(stub).body:
        if isinstance(line, ast.ImportFrom):
            for alias in line.names:
                url = found.get((f"seeing_words.{line.module}", alias.name))
                if url:
                    found["seeing_words", alias.name] = url
    return found


def documented_names(notebook: nbformat.NotebookNode) -> dict[str, str]:
    "Names that the code of a page imports from the package, and where they are documented."
    found = {}
    for cell in notebook.cells:
        if cell.cell_type != "code":
            continue
        code = "\n".join(line for line in cell.source.splitlines() if line[:1] not in ("%", "!"))
        try:
            statements = ast.parse(code).body
        except SyntaxError:
            continue
        for line in statements:
            if isinstance(line, ast.ImportFrom) and line.module:
                for alias in line.names:
                    url = reference().get((line.module, alias.name))
                    if url:
                        found[alias.asname or alias.name] = url
    return found


def with_names(code: str, urls: Mapping[str, str]) -> str:
    "Link the first of each documented name in a block of highlighted code."
    met = set()

    def linked(span: re.Match) -> str:
        name = span[1]
        if name not in urls or name in met:
            return name
        met.add(name)
        return f'<a class="name" href="{urls[name]}">{name}</a>'

    return re.sub(r'<span class="nv">([^<]*)</span>', linked, code)


def output_html(
    output: nbformat.NotebookNode, options: dict, name: str, page: Page, docs: Path
) -> str:
    "One output in the best form that a page can show."
    if output.output_type == "stream":
        return "" if output.name == "stderr" else printed(output.text)
    if output.output_type == "error":
        return printed("\n".join(output.traceback))
    for kind in (
        "text/html",
        "text/markdown",
        "image/svg+xml",
        "image/png",
        "image/jpeg",
        "text/plain",
    ):
        if kind not in output.data:
            continue
        value = output.data[kind]
        if kind == "text/html":
            return f"<div class=output>{value}</div>"
        if kind == "text/markdown":
            return f"<div class=output>{markdown(value)}</div>"
        if kind == "text/plain":
            return printed(value)
        return picture(
            value, kind, output.metadata.get(kind, {}), options["fig-alt"], name, page, docs
        )
    return ""


def printed(text: str) -> str:
    return f"<pre class=output>{ansi2html(text.rstrip())}</pre>"


def picture(data: str, kind: str, about: dict, alt: str, name: str, page: Page, docs: Path) -> str:
    "Write a picture beside its page."
    folder, suffix = posixpath.splitext(page.url)[0] + "_files", kind.split("/")[1].split("+")[0]
    file, raw = (
        docs / folder / f"{name}.{suffix}",
        data.encode() if suffix == "svg" else base64.b64decode(data),
    )
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(raw)
    size = ""
    if suffix != "svg":
        width, height = Image.open(io.BytesIO(raw)).size
        shown = about.get("width", width)
        size = f" width={shown} height={round(height * shown / width)}"
    return f'<p><img src="{page.to(f"{folder}/{file.name}")}" alt="{escape(alt)}"{size}></p>'


# Markdown


class Prose(IPythonRenderer):
    "Formulas become MathML, which browsers draw without a script."

    def block_math(self, body: str) -> str:
        return f'<span class="formula">{convert(body.strip(), display="block")}</span>'

    def inline_math(self, body: str) -> str:
        return convert(body)

    def codespan(self, text: str) -> str:
        "A command's name and its options stay whole at the end of a line."
        return re.sub(
            r"(?<![^\s>])(seeing-words|--[\w-]+)",
            r"<span class=whole>\1</span>",
            super().codespan(text),
        )

    def block_code(self, code: str, info: str | None = None) -> str:
        if info == "{=html}":
            return code
        return code_html(code.rstrip(), info or "text")


def markdown(source: str) -> str:
    return MarkdownWithMath(renderer=Prose(escape=False, exclude_anchor_links=True)).render(source)


# What is put right in the whole page


def slug(title: str) -> str:
    "The anchor that pandoc, and so Quarto, gives a heading."
    kept = re.sub(r"[^\w\s.-]", "", title.lower())
    return re.sub(r"^[^a-z]+", "", re.sub(r"\s+", "-", kept.strip()), flags=re.ASCII) or "section"


def headings(body: BeautifulSoup) -> None:
    "Every heading gets an anchor of its own, and a link to itself."
    taken: dict[str, int] = {}
    found = body.find_all(re.compile("^h[1-6]$"))
    # names of the API first: links to `cka` mean the function, not a chapter called CKA
    for heading in sorted(found, key=lambda heading: heading.find_parent(class_="doc") is None):
        if heading.get_text().endswith(" {.folded}"):  # pandoc's way to write a class
            heading.contents[-1].replace_with(heading.contents[-1].removesuffix(" {.folded}"))
            heading["class"] = "folded"
        name = slug(heading.get_text())
        taken[name] = taken.get(name, -1) + 1
        heading["id"] = f"{name}-{taken[name]}" if taken[name] else name
        if heading.find_parent(class_="doc"):
            heading["class"] = "api"
        if "folded" in heading.get("class", []) or heading.find_parent("summary"):
            continue  # what opens a section is pressed itself, and holds no link
        link = body.new_tag(
            "a",
            href=f"#{heading['id']}",
            attrs={"class": "anchor", "aria-label": "Link to this heading"},
        )
        link.string = "#"
        heading.append(link)
    for line in body.select("section.doc hr"):
        line.decompose()


def fold_sections(body: BeautifulSoup) -> None:
    "A section whose heading says so opens when asked."
    for heading in body.find_all("h2", class_="folded"):
        details = body.new_tag("details", attrs={"class": "section"})
        following = list(heading.next_siblings)
        heading.wrap(details).insert(0, body.new_tag("summary"))
        details.summary.append(heading.extract())
        for tag in following:
            if getattr(tag, "name", None) == "h2":
                break
            details.append(tag.extract())


def tables(body: BeautifulSoup) -> None:
    "Tables scroll in a box of their own and leave their looks to the style sheet."
    for style in body.select(".output style"):
        style.decompose()
    for table in body.find_all("table"):
        for tag in [table, *table.find_all(True)]:
            for attribute in ("style", "border"):
                tag.attrs.pop(attribute, None)
        join_head(table)
        for cell in table.find_all("th"):
            if not cell.get_text(strip=True):
                cell.name = "td"
        for cell in table.select("td"):
            if len(cell.get_text(strip=True)) > LONG:
                cell["class"] = "long"
        table.wrap(body.new_tag("div", attrs={"class": "table"}))


def join_head(table: Tag) -> None:
    "pandas names the index in a row of its own below the columns: one row holds both."
    rows = [row.find_all(["th", "td"]) for row in table.select("thead > tr")]
    if len(rows) != 2 or len(rows[0]) != len(rows[1]):
        return
    names, columns = [[cell.get_text(strip=True) for cell in row] for row in (rows[1], rows[0])]
    n = sum(map(bool, names))
    if any(names[n:]) or any(columns[: n - 1]):
        return
    for column, name in zip(rows[0][:n], names):
        column.string = name
    rows[1][0].find_parent("tr").decompose()


def figures(body: BeautifulSoup) -> None:
    "Make a figure of a picture alone in its paragraph, with the italics below as caption."
    for image in body.find_all("img"):
        image["loading"] = "lazy"
        shown = image.parent if image.parent.name == "a" else image
        paragraph = shown.parent
        if paragraph.name != "p" or any(
            child is not shown and str(child).strip() for child in paragraph.children
        ):
            continue
        following = paragraph.find_next_sibling()
        paragraph.name = "figure"
        if shown is image:
            image.wrap(body.new_tag("a", href=image["src"]))
        if following is not None and is_italic(following):
            caption = following.extract()
            caption.name = "figcaption"
            caption.em.unwrap()
            paragraph.append(caption)


def sizes(body: BeautifulSoup, page: Page, proc: Path) -> None:
    "Say how large a picture is, so that the page does not jump when it comes."
    for image in body.find_all("img", width=False):
        if image["src"].startswith("data:"):
            continue
        file = proc / posixpath.normpath(posixpath.join(posixpath.dirname(page.url), image["src"]))
        if not file.exists():
            continue
        if file.suffix == ".svg":
            found = re.search(
                r'width="([\d.]+)pt" height="([\d.]+)pt"', file.read_text(encoding="utf-8")[:2000]
            )
            size = [round(float(points) * 4 / 3) for points in found.groups()] if found else []
        else:
            size = Image.open(file).size
        image.attrs |= zip(("width", "height"), size)


def is_italic(tag: Tag) -> bool:
    "A paragraph that is in italics from its first to its last word."
    parts = [child for child in tag.children if str(child).strip()]
    return tag.name == "p" and len(parts) == 1 and parts[0].name == "em"


def links(body: BeautifulSoup, page: Page, urls: dict[str, str]) -> None:
    "Links to notebooks lead to their pages."
    for link in body.find_all("a", href=True):
        path, hash, anchor = link["href"].partition("#")
        source = posixpath.normpath(posixpath.join(posixpath.dirname(page.source), path))
        if source in urls and path:
            link["href"] = page.to(urls[source]) + hash + anchor
