"What the house rules look at: the cells of notebooks, their headings and their prose."
import re
from collections.abc import Sequence

from nbformat import NotebookNode

# The parts of a section notebook, in order: its claims stand before any result, its checks hold in every preset.
PARTS = {"claims": r"## .*, before any result", "method": r"## Method", "verdicts": r"## Verdicts?", "robustness": r"## Robustness",
         "check": r"## Check"}
DATA = re.compile(r"\.stimuli\b|\.trials\b|\.features\(|rng\.")  # a cell that makes or reads what claims are about

# What may stand in prose with digits: taken out in this order, each with what it looks like. What is left was typed.
NOT_TYPED = {
    "code": r"```.*?```|`[^`\n]+`",
    "formulas": r"\$\$.*?\$\$|\$[^$\n]+\$",
    "addresses, DOI and arXiv numbers among them": r"\]\([^)\s]+\)|https?://\S+",
    "years of what is cited": r"(?<=\w )(?:19|20)\d\d(?=[;,)\]])",
    "sections of the paper": r"[Ss]ections? \d(?:\.\d)?|§ ?\d(?:\.\d)?",
    "names of claims": r"\b[A-Z]\d[a-z]?\b",
    "names of layers: 0 is the embedding's": r"[Ll]ayer 0\b",
    "numbers of a list": r"^\d+\. ",
    "names of formats": r"\bfloat(?:16|32|64)\b",
    "the level of every interval, a definition": r"\b95 %|\b97\.5 %",
}


def parts(cells: Sequence[NotebookNode]) -> dict[str, int]:
    "Where each part of a section begins."
    return {part: i for part, heading in PARTS.items() for i, cell in enumerate(cells)
            if cell.cell_type == "markdown" and re.match(heading + "$", cell.source.split("\n")[0])}


def faults(cells: Sequence[NotebookNode]) -> list[str]:
    "What a section notebook lacks of its anatomy, or has in another order."
    found, code = parts(cells), [i for i, cell in enumerate(cells) if cell.cell_type == "code"]
    wrong = [f"no {part}" for part in PARTS if part not in found]
    if [part for part in PARTS if part in found] != list(found) or list(found.values()) != sorted(found.values()):
        wrong.append(f"parts in another order: {sorted(found, key=found.get)}")
    if cells[1].cell_type != "markdown" or cells[1].source.startswith("#"): wrong.append("no question after the title")
    tagged = [i for i in code if "parameters" in cells[i].metadata.get("tags", [])]
    if tagged != code[1:2]: wrong.append("parameters are not the one tagged cell after the imports")
    if any(DATA.search(cells[i].source) for i in code if i < found.get("claims", 0)): wrong.append("data before claims")
    if "provenance" not in cells[code[-1]].source: wrong.append("the last code is not its provenance")
    return wrong


def typed_numbers(markdown: str) -> list[str]:
    "Numbers in prose that are neither definitions nor citations, each with the words around it."
    for kind, pattern in NOT_TYPED.items():
        markdown = re.sub(pattern, "·", markdown, flags=re.MULTILINE | (re.DOTALL if kind in ("code", "formulas") else 0))
    return [" ".join(found.split()) for found in re.findall(r"(?:\S+\s+)?\S*\d\S*(?:\s+\S+)?", markdown)]
