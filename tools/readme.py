"""Write README.md from nbs/index.ipynb, the front page of the site."""

import posixpath
import re
from pathlib import Path

import nbformat

ROOT = Path(__file__).resolve().parent.parent
CODE = re.compile(r"(```.*?```|`[^`\n]+`)", re.DOTALL)
LINK = re.compile(r"""(\]\(|\b(?:src|srcset|href)=")(?![a-z]+:|[#/])([^)\s"]+)""")


def from_root(markdown: str) -> str:
    "Rewrite links that hold from nbs/ so that they hold from the root; code is left alone."

    def target(link: re.Match) -> str:
        return link[1] + posixpath.normpath(posixpath.join("nbs", link[2]))

    return "".join(
        part if i % 2 else LINK.sub(target, part) for i, part in enumerate(CODE.split(markdown))
    )


def text(output: dict) -> str:
    "The text of an output; pictures belong in figures/, as links."
    return output.get("text") or output["data"].get("text/markdown") or output["data"]["text/plain"]


def section(cell: dict) -> str:
    "A cell as markdown."
    if cell.cell_type == "markdown":
        return from_root(cell.source)
    if cell.source.startswith("#| echo: false"):
        return from_root("\n\n".join(text(output).rstrip() for output in cell.outputs))
    shown = "".join(f"\n\n```text\n{text(output).rstrip()}\n```" for output in cell.outputs)
    return f"```python\n{cell.source}\n```{shown}"


def readme() -> str:
    "README.md as nbs/index.ipynb has it now."
    cells = nbformat.read(ROOT / "nbs" / "index.ipynb", as_version=4).cells
    sections = [section(cell) for cell in cells if not cell.source.startswith("#| hide")]
    return "\n\n".join(filter(None, sections)) + "\n"


if __name__ == "__main__":
    (ROOT / "README.md").write_text(readme(), encoding="utf-8")
