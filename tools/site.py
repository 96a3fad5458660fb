"""Make the site in _docs/, by Quarto if installed, else by pages.py; _quarto.yml configures both.

Both render _proc/: the notebooks as nbdev shows them, with the figures and with corrected links.
"""

import ast
import html
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import links
import nbformat
import pages
import yaml
from nbclient import NotebookClient
from nbdev.serve import proc_nbs
from readme import CODE, LINK

ROOT = Path(__file__).resolve().parent.parent
PROC, DOCS = ROOT / "_proc", ROOT / "_docs"
FOR_QUARTO = ("quarto.css", "favicon.svg")  # files of tools/site that _quarto.yml names
PICTURES = ("figures", "benchmarks")  # folders of the project whose pictures are part of the site
# these only show files of the project, which change without them: they are run each time
SHOW_FILES = ("docs/how_fast.ipynb", "docs/citation.ipynb")


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
        subprocess.run([quarto, "render", PROC], check=True)
        shutil.move(PROC / "_docs", DOCS)
    else:
        pages.render(PROC, DOCS)
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
        for cell in notebook.cells:
            fold_imports(cell)
        show_svg(notebook, page, drawn)
        describe_pictures(notebook)
        for holder, name in markdown_in(notebook):
            holder[name] = with_plain_pictures(
                linked(short_defaults(without_dash(holder[name])), page)
            )
        nbformat.write(notebook, path)


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
            picture.data = nbformat.from_dict(
                {"text/markdown": f"![{alt}]({up}{figure.as_posix()})\n\n{caption}"}
            )
            picture.metadata = nbformat.from_dict({})
            outputs.remove(words)


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
    if inside.parts[0] not in PICTURES or inside.suffix not in (".svg", ".png"):
        site = yaml.safe_load((ROOT / "_quarto.yml").read_text(encoding="utf-8"))["website"]
        return f"{site['repo-url']}/blob/{site['repo-branch']}/{inside.as_posix()}{anchor}"
    if (ROOT / inside).with_suffix(".svg").exists():
        inside = inside.with_suffix(".svg")
    return "../" * (len(page.parts) - 1) + inside.as_posix() + anchor


if __name__ == "__main__":
    main(None if "--without-quarto" in sys.argv[1:] else shutil.which("quarto"))
