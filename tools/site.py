"""Make the site in _docs/, by Quarto if installed, else by pages.py; _quarto.yml configures both.

Both render _proc/: the notebooks as nbdev shows them, with the figures and with corrected links.
"""

import ast
import html
import importlib
import inspect
import json
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import answers
import links
import nbformat
import pages
import yaml
from nbclient import NotebookClient
from nbdev.serve import proc_nbs
from PIL import Image
from reader import reading_weights
from readme import CODE, LINK

ROOT = Path(__file__).resolve().parent.parent
PROC, DOCS = ROOT / "_proc", ROOT / "_docs"
FOR_QUARTO = ("quarto.css", "both.css", "favicon.svg")  # of tools/site, named in _quarto.yml
PICTURES = ("figures", "benchmarks")  # folders of the project whose pictures are part of the site
THUMBNAIL = 480  # pixels, the width of a figure in the gallery
# these only show files of the project, which change without them: they are run each time
SHOW_FILES = (
    "docs/how_fast.ipynb",
    "docs/citation.ipynb",
    "docs/claims.ipynb",
    "docs/gallery.ipynb",
    "docs/api.ipynb",
)
# pages whose code is not what they are read for
CODE_FOLDED = ("paper/", "beyond/", "docs/how_it_can_mislead", "docs/real_pictures")
CODE_SHOWN = ("beyond/own_features.ipynb",)
# guides of many parts, each of which is for some readers: all fold but the first
GUIDES_FOLDED = ("docs/own_models_and_data.ipynb", "docs/data_and_models.ipynb")
# what a page needs that has a place for the explorer, from a folder of the site
EXPLORER = """<link rel="stylesheet" href="../explorer/explorer.css">
<script src="../explorer/explorer.js"></script>"""
LAST = re.compile(r"## (Robustness|Check|Choose )")  # sections that stand at the end of a page


def main(quarto: str | None) -> None:
    "Make the site with this command, or without Quarto if there is none."
    if hidden := [part for part in PROC.parts if part.startswith(".")]:
        raise SystemExit(
            "nbdev skips every page under a folder whose name starts with a dot: "
            f"{hidden[0]} in {PROC}"
        )
    prepare()
    shutil.rmtree(DOCS, ignore_errors=True)
    if quarto:
        add_script()
        subprocess.run([quarto, "render", PROC], check=True)
        shutil.move(PROC / "_docs", DOCS)
    else:
        pages.render(PROC, DOCS)
    add_files()
    if dead := links.dead_links(DOCS):
        raise SystemExit("\n".join(["links of the site that lead nowhere:", *map(str, dead)]))
    print(
        f"The site is in {DOCS.relative_to(ROOT)}: open {(DOCS / 'index.html').relative_to(ROOT)}"
    )


def prepare() -> None:
    "Write _proc/."
    proc_nbs(force=True, n_workers=0)  # each worker would import torch and transformers again
    (PROC / "conftest").unlink(missing_ok=True)  # nbdev takes nbs/conftest.py for a page
    for name in FOR_QUARTO:
        shutil.copy2(pages.THEME / name, PROC / name)
    for folder in PICTURES:
        shutil.copytree(ROOT / folder, PROC / folder, ignore=all_but_pictures)
    drawn = figures_by_caption()
    for path in sorted(PROC.rglob("*.ipynb")):
        page = path.relative_to(PROC)
        notebook = nbformat.read(path, as_version=4)
        if page.as_posix() in SHOW_FILES:
            run_again(notebook, ROOT / "nbs" / page.parent)
        section = answers.section_of(page.as_posix())
        if section:
            show_saved(notebook, section)
        if is_folded(page):
            fold_code(notebook)
        else:
            for cell in notebook.cells:
                fold_imports(cell)
        show_svg(notebook, page, drawn)
        describe_pictures(notebook)
        document_what_failed(notebook, page)
        if page.as_posix() in GUIDES_FOLDED:
            fold_all_but_first(notebook)
        if any('<div class="explorer' in cell.source for cell in notebook.cells):
            notebook.cells.append(nbformat.v4.new_markdown_cell(raw(EXPLORER), id="explorer-files"))
        if section:
            last_and_folded(notebook, answers.SECTIONS[section]["open"])
            put_first(notebook, raw(answers.box(section, notebook, website())))
        taken: set[str] = set()
        for holder, name in markdown_in(notebook):
            if name == "text/markdown":
                holder[name] = with_files(holder[name], page, taken)
            holder[name] = with_plain_pictures(
                linked(short_defaults(without_dash(holder[name])), page)
            )
            if 'class="thumb"' in holder[name]:
                holder[name] = with_thumbnails(holder[name])
        nbformat.write(notebook, path)


def add_script() -> None:
    "Let Quarto's pages load the script of both renderers; pages.py has it in its template."
    for path in PROC.rglob("*.ipynb"):
        up = "../" * (len(path.relative_to(PROC).parts) - 1)
        notebook = nbformat.read(path, as_version=4)
        tag = raw(f'<script src="{up}both.js"></script>')
        notebook.cells.append(nbformat.v4.new_markdown_cell(tag, id="script-of-both"))
        nbformat.write(notebook, path)


def website() -> dict:
    "What _quarto.yml says of the site."
    return yaml.safe_load((ROOT / "_quarto.yml").read_text(encoding="utf-8"))["website"]


def add_files() -> None:
    "Put beside the pages what both renderers need, and what can be downloaded."
    for name in pages.BOTH:
        shutil.copy2(pages.THEME / name, DOCS / name)
    shutil.copytree(pages.THEME / "explorer", DOCS / "explorer")
    (DOCS / "explorer" / "llama.safetensors").write_bytes(reading_weights())
    for table in [path for folder in PICTURES for path in (ROOT / folder).rglob("*.csv")]:
        shutil.copy2(table, DOCS / table.relative_to(ROOT))
    for png in (ROOT / "figures").glob("*/*.png"):
        with Image.open(png) as picture:
            small = picture.convert("RGB")
        small.thumbnail((THUMBNAIL, 3 * THUMBNAIL))
        small.save(DOCS / png.relative_to(ROOT).with_suffix(".webp"), quality=70, method=6)
    for section, about in answers.SECTIONS.items():
        notebook = DOCS / "downloads" / about["notebook"]
        notebook.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / "nbs" / about["notebook"], notebook)
        archive = DOCS / "figures" / answers.run_of(section) / f"{section}.zip"
        if tables := answers.data_of(section):
            with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
                for table in tables:
                    file.write(table, table.name)


def all_but_pictures(folder: str, names: list[str]) -> list[str]:
    "For shutil.copytree: what to leave behind."
    return [
        name
        for name in names
        if Path(folder, name).is_file() and not name.endswith((".svg", ".png"))
    ]


def run_again(notebook: nbformat.NotebookNode, folder: Path) -> None:
    "Run a notebook where its source lies."
    NotebookClient(notebook, resources={"metadata": {"path": str(folder)}}).execute()


# How a page is read


def raw(html: str) -> str:
    "Html that Quarto and pages.py leave as it is."
    return f"```{{=html}}\n{html}\n```"


def put_first(notebook: nbformat.NotebookNode, markdown: str) -> None:
    "Put a cell below the title."
    at = 1 + any("<!-- WARNING" in cell.source for cell in notebook.cells[1:2])
    notebook.cells.insert(at, nbformat.v4.new_markdown_cell(markdown, id="answer-box"))


def is_folded(page: Path) -> bool:
    "Whether the code of a page opens only when asked."
    name = page.as_posix()
    return name.startswith(CODE_FOLDED) and name not in CODE_SHOWN


def fold_code(notebook: nbformat.NotebookNode) -> None:
    "Fold all code; cells that show nothing join the next one, so that there is less to open."
    kept: list[nbformat.NotebookNode] = []
    for cell in notebook.cells:
        before = kept[-1] if kept else None
        if cell.cell_type == "code" and before is not None and is_silent(before):
            cell.source = joined(before.source, cell.source)
            kept[-1] = cell
        else:
            kept.append(cell)
    notebook.cells = kept
    for cell in notebook.cells:
        if cell.cell_type == "code" and cell.source and "#| echo" not in cell.source:
            cell.source = f"#| code-fold: true\n#| code-summary: Code\n{cell.source}"


def is_silent(cell: nbformat.NotebookNode) -> bool:
    "Whether a cell of code shows nothing."
    return cell.cell_type == "code" and not cell.outputs and "#| echo" not in cell.source


def joined(before: str, after: str) -> str:
    "Two sources as one, with the directives of the second at the top."
    lines = after.splitlines()
    n = next((k for k, line in enumerate(lines) if not line.startswith("#|")), len(lines))
    code = [line for line in before.splitlines() if not line.startswith("#|")]
    return "\n".join([*lines[:n], *code, "", *lines[n:]])


def last_and_folded(notebook: nbformat.NotebookNode, shown: list[str]) -> None:
    "Move robustness and checks to the end, and fold all sections of a page but those `shown`."
    title_parameters(notebook)
    blocks: list[list[nbformat.NotebookNode]] = [[]]
    for cell in notebook.cells:
        if cell.cell_type == "markdown" and cell.source.startswith("## "):
            blocks.append([])
        blocks[-1].append(cell)
    head, *sections = blocks
    sections.sort(key=lambda cells: bool(LAST.match(cells[0].source)))
    for cells in sections:
        title, _, text = cells[0].source.partition("\n")
        is_run = any(cell.get("outputs") or prose_of(cell) for cell in cells)
        if without_dash(title).removeprefix("## ") not in shown or not is_run:
            cells[0].source = f"{without_dash(title)} {{.folded}}\n{text}"
    notebook.cells = [*head, *(cell for cells in sections for cell in cells)]


def fold_all_but_first(notebook: nbformat.NotebookNode) -> None:
    "Fold the sections of a guide."
    headings = [cell for cell in notebook.cells if cell.source.startswith("## ")]
    for cell in headings[1:]:
        title, _, text = cell.source.partition("\n")
        cell.source = f"{without_dash(title)} {{.folded}}\n{text}"


def prose_of(cell: nbformat.NotebookNode) -> str:
    "What a cell of markdown says below its heading."
    return re.sub(r"^#+ .*", "", cell.source).strip() if cell.cell_type == "markdown" else ""


def title_parameters(notebook: nbformat.NotebookNode) -> None:
    "Let imports, parameters and the start of the run stand in a section of their own."
    cells = notebook.cells
    first = next((k for k, cell in enumerate(cells) if cell.cell_type == "code"), len(cells))
    rest = enumerate(cells[first:], first)
    heading = next((k for k, cell in rest if cell.source.startswith("## ")), len(cells))
    if heading < len(cells) and cells[heading].source.startswith("## Parameters"):
        title = cells.pop(heading)
    else:
        title = nbformat.v4.new_markdown_cell("## Parameters", id="parameters-title")
    cells.insert(first, title)


def fold_imports(cell: nbformat.NotebookNode) -> None:
    "A cell of many imports tells a reader little: it opens when asked."
    if cell.cell_type != "code" or cell.source.count("\n") < 4 or "#| echo" in cell.source:
        return
    code = "\n".join(line for line in cell.source.splitlines() if not line.startswith(("#|", "%")))
    try:
        statements = ast.parse(code).body
    except SyntaxError:
        return  # magics and shell commands are no imports
    if all(isinstance(statement, ast.Import | ast.ImportFrom) for statement in statements):
        cell.source = f"#| code-fold: true\n#| code-summary: Imports\n{cell.source}"


# Figures


def figures_by_caption() -> dict[str, Path]:
    "Map captions to the svg files of figures/, leaving out captions that two figures share."
    found: dict[str, list[Path]] = {}
    for sidecar in sorted((ROOT / "figures").glob("*/*.json")):
        caption, svg = (
            json.loads(sidecar.read_text(encoding="utf-8")).get("caption"),
            sidecar.with_suffix(".svg"),
        )
        if caption and svg.exists():
            found.setdefault(caption, []).append(svg.relative_to(ROOT))
    return {caption: paths[0] for caption, paths in found.items() if len(paths) == 1}


def show_svg(notebook: nbformat.NotebookNode, page: Path, drawn: dict[str, Path]) -> None:
    """Replace the embedded picture of a saved figure by its svg, if the captions are equal.

    The caption contains numbers and settings, so an outdated picture stays as the notebook has it.
    """
    up = "../" * len(page.parts)
    for cell in notebook.cells:
        outputs = cell.get("outputs", [])
        for picture, words in list(zip(outputs, outputs[1:])):
            caption = words.get("data", {}).get("text/markdown", "")
            figure = drawn.get(caption.strip("*"))
            if figure is None or "image/png" not in picture.get("data", {}):
                continue
            alt = (
                picture.metadata.get("image/png", {})
                .get("alt", "")
                .translate(str.maketrans("[]", "()"))
            )
            shown = f"![{alt}]({up}{figure.as_posix()})\n\n{caption}"
            picture.data = nbformat.from_dict({"text/markdown": shown})
            picture.metadata = nbformat.from_dict({})
            outputs.remove(words)


def show_saved(notebook: nbformat.NotebookNode, section: str) -> None:
    "Show figures that a section saved without displaying them, below the cell that did."
    folder = ROOT / "figures" / answers.run_of(section)
    outputs = [str(o.get("data", {})) for cell in notebook.cells for o in cell.get("outputs", [])]
    for sidecar in sorted(folder.glob(f"{section}_*.json")):
        about = json.loads(sidecar.read_text(encoding="utf-8"))
        if "caption" not in about or any(f"/{sidecar.stem}." in output for output in outputs):
            continue
        cell = saving_cell(notebook, sidecar.stem, section)
        path = f"../../{sidecar.relative_to(ROOT).with_suffix('.png').as_posix()}"
        alt = about["alt"].translate(str.maketrans("[]", "()"))
        shown = {"text/markdown": f"![{alt}]({path})\n\n*{about['caption']}*"}
        cell.outputs.append(nbformat.v4.new_output("display_data", shown))


def saving_cell(
    notebook: nbformat.NotebookNode, figure: str, section: str
) -> nbformat.NotebookNode:
    """The cell that names a figure such as layers_map, with or without its section, in a string or
    in an f-string."""
    names = figure, figure.removeprefix(f"{section}_")
    for cell in notebook.cells:
        if cell.cell_type != "code" or "save" not in cell.source:
            continue
        for text in re.findall(r'"(\w[\w{}]*)"', cell.source):
            pattern = re.sub(r"\\{.*?\\}", r"\\w+", re.escape(text))
            if any(re.fullmatch(pattern, name) for name in names):
                return cell
    raise SystemExit(f"no cell of the notebook saves the figure {figure}")


def document_what_failed(notebook: nbformat.NotebookNode, page: Path) -> None:
    "Where nbdev cannot write a signature, such as one with an array as default: Python's own."
    for cell in notebook.cells:
        asked = re.search(r"^show_doc\((\w+)\)", cell.source, re.MULTILINE)
        if not asked or not any("Traceback" in str(output) for output in cell.outputs):
            continue
        folder = ".".join(page.parent.parts[1:])
        module = f"seeing_words.{folder}.{re.sub(r'^[0-9]+_', '', page.stem)}"
        thing = getattr(importlib.import_module(module), asked[1])
        text = inspect.getdoc(thing)
        code = f"```python\ndef {asked[1]}{inspect.signature(thing)}\n```"
        shown = {"text/markdown": f"---\n\n### {asked[1]}\n\n{code}\n\n*{text.splitlines()[0]}*"}
        cell.outputs = [nbformat.v4.new_output("display_data", shown)]


SAVED = re.compile(
    r"^!\[([^]]*)\]\((?:\.\./)+(figures/[^)]+/([^)/]+))\.(?:png|svg)\)$", re.MULTILINE
)


def with_files(markdown: str, page: Path, taken: set[str]) -> str:
    """Give a figure that a section has saved an anchor, once in a page, and links to its files.

    An output is a picture alone in its paragraph, and its caption.
    """
    found = SAVED.search(markdown)
    sidecar = ROOT / f"{found[2]}.json" if found else None
    if not found or not sidecar.is_file():
        return markdown
    up = "../" * len(page.parts)
    about = json.loads(sidecar.read_text(encoding="utf-8"))
    files = [name for name in about["files"] if name.endswith((".csv", ".svg"))]
    folder = f"{up}{found[2].rpartition('/')[0]}"
    anchor = "" if found[3] in taken else f' id="figure-{found[3]}"'
    taken.add(found[3])
    links = " ".join(f'<a href="{folder}/{name}">{name}</a>' for name in files)
    path, alt = f"{up}{found[2]}.svg", html.escape(found[1])
    shown = f'<p{anchor}><a href="{path}"><img src="{path}" alt="{alt}"></a></p>'
    return f'{markdown.replace(found[0], shown)}\n\n<p class="files">{links}</p>'


def describe_pictures(notebook: nbformat.NotebookNode) -> None:
    "Give pictures an alternative text: their own, or the last sentence before the cell."
    before = notebook.cells[0].source
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            before = cell.source
        pictures = [
            o
            for o in cell.get("outputs", [])
            if any(kind.startswith("image/") for kind in o.get("data", {}))
        ]
        if not pictures or "#| fig-alt" in cell.source:
            continue
        own = [
            about["alt"]
            for about in pictures[0].metadata.values()
            if isinstance(about, dict) and "alt" in about
        ]
        alt = own[0] if own else last_sentence(before)
        cell.source = f"#| fig-alt: {json.dumps(alt, ensure_ascii=False)}\n{cell.source}"


def last_sentence(markdown: str) -> str:
    "The last sentence of the last paragraph, without its marks."
    paragraph = re.sub(
        r"\[([^]]*)\]\([^)]*\)|[*`$]", r"\1", markdown.strip().split("\n\n")[-1]
    ).lstrip("#> ")
    return re.split(r"(?<=[.;!?]) ", " ".join(paragraph.split()))[-1].rstrip(":")


# Markdown


def markdown_in(notebook: nbformat.NotebookNode) -> list[tuple[dict, str]]:
    "Where markdown stands, in cells and in outputs: what holds it, and under which name."
    shown = [
        (output["data"], "text/markdown")
        for cell in notebook.cells
        for output in cell.get("outputs", [])
        if "text/markdown" in output.get("data", {})
    ]
    return [(cell, "source") for cell in notebook.cells if cell.cell_type == "markdown"] + shown


def without_dash(markdown: str) -> str:
    "nbdev's mark of a heading that the outline leaves out is for nbdev alone."
    return re.sub(r"^(#+ .*?) -$", r"\1", markdown, flags=re.MULTILINE)


def short_defaults(markdown: str) -> str:
    "Shorten defaults of documented signatures that are whole registries or long sequences."
    if not markdown.startswith("---\n\n###"):
        return markdown
    return re.sub(
        r"=([{(\[]).{80,}([})\]])(,? *(?:#.*)?)$", r"=\1…\2\3", markdown, flags=re.MULTILINE
    )


def with_plain_pictures(markdown: str) -> str:
    """A picture alone in its paragraph, as html that opens it in its own size.

    Quarto would print the alternative text of markdown as a caption; these have captions already.
    """

    def plain(picture: re.Match) -> str:
        alt, path = html.escape(picture[1]), picture[2]
        return f'<p><a href="{path}"><img src="{path}" alt="{alt}"></a></p>'

    return "".join(
        part if i % 2 else re.sub(r"^!\[([^]]*)\]\(([^)\s]+)\)$", plain, part, flags=re.MULTILINE)
        for i, part in enumerate(CODE.split(markdown))
    )


def with_thumbnails(markdown: str) -> str:
    "Small pictures of figures, which `add_files` makes, in place of the figures."
    return re.sub(r'(<img class="thumb" src="[^"]+)\.svg"', r'\1.webp"', markdown)


def linked(markdown: str, page: Path) -> str:
    "Links that hold in the notebook, made to hold on the site; code is left alone."

    def target(link: re.Match) -> str:
        return link[1] + on_site(link[2], page)

    return "".join(
        part if i % 2 else LINK.sub(target, part) for i, part in enumerate(CODE.split(markdown))
    )


def on_site(link: str, page: Path) -> str:
    """Translate a link from the repository to the site; files that are not on it are linked on
    GitHub."""
    path, anchor = re.fullmatch(r"([^#]*)(.*)", link).groups()
    file = (ROOT / "nbs" / page.parent / path).resolve()
    if not file.exists():
        raise SystemExit(f"{page}: the link {link} leads nowhere")
    if file.is_relative_to(ROOT / "nbs"):
        return link
    inside = file.relative_to(ROOT)
    if inside.parts[0] not in PICTURES or inside.suffix not in (".svg", ".png", ".csv"):
        site = website()
        return f"{site['repo-url']}/blob/{site['repo-branch']}/{inside.as_posix()}{anchor}"
    if inside.suffix == ".png" and (ROOT / inside).with_suffix(".svg").exists():
        inside = inside.with_suffix(".svg")
    return "../" * (len(page.parts) - 1) + inside.as_posix() + anchor


if __name__ == "__main__":
    main(None if "--without-quarto" in sys.argv[1:] else shutil.which("quarto"))
