"What the house rules look at: headings, prose and proofs of notebooks; sizes, hints and comments of modules."
import ast
import io
import re
import tokenize
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from nbformat import NotebookNode

# The parts of a section notebook, in order: its claims stand before any result, its checks hold in every preset.
PARTS = {"claims": r"## .*, before any result", "method": r"## Method", "verdicts": r"## Verdicts?",
         "robustness": r"## Robustness", "check": r"## Check"}
DATA = re.compile(r"run\.stimuli\b|run\.trials\b|\.features\(|rng\.")  # a cell that makes or reads what claims are about

# What may stand in prose with digits: taken out in this order, each with what it looks like. What is left was typed.
NOT_TYPED = {
    "code": r"```.*?```|`[^`\n]+`",
    "formulas": r"\$\$.*?\$\$|\$[^$\n]+\$",
    "addresses, DOI and arXiv numbers among them": r"\]\([^)\s]+\)|https?://\S+",
    "years of what is cited": r"(?<=[\w.] )(?:19|20)\d\d(?=[;,)\]])",
    "sections of the paper": r"[Ss]ections? \d(?:\.\d)?|§ ?\d(?:\.\d)?",
    "names of claims": r"\b[A-Z]\d[a-z]?\b",
    "names of layers: 0 is the embedding's": r"[Ll]ayer 0\b",
    "0 and 1 as what a scale begins and ends with": r"\b(?:of|at|around|about|from|to|between|and|variance) [01]\b(?![.,]?\d)",
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
    first = next((i for i in code if not cells[i].source.startswith(("import ", "from "))), None)
    if tagged != [first]: wrong.append("parameters are not the one tagged cell after the imports")
    if any(DATA.search(cells[i].source) for i in code if i < found.get("claims", 0)): wrong.append("data before claims")
    if cells[code[-1]].id != "provenance": wrong.append("the last code is not its provenance")
    return wrong


def typed_numbers(markdown: str) -> list[str]:
    "Numbers in prose that are neither definitions nor citations, each with the words around it."
    for kind, pattern in NOT_TYPED.items():
        markdown = re.sub(pattern, "·", markdown, flags=re.MULTILINE | (re.DOTALL if kind in ("code", "formulas") else 0))
    return [" ".join(found.split()) for found in re.findall(r"(?:\S+\s+)?\S*\d\S*(?:\s+\S+)?", markdown)]


# Names that mean the same wherever they stand, so that a parameter called so needs no comment of its own.
VOCABULARY = {
    "stimuli", "caption", "captions", "scene", "trials", "prompts", "ids", "name", "names",
    "model", "network", "networks", "config", "tokenizer", "revision", "pooling", "device", "dtype",
    "vision", "language", "modality",
    "folds", "n_folds", "weights", "seed", "rng", "n_stimuli", "n_captions", "n_draws", "n_permutations", "batch_size", "k", "ks",
    "direction", "pair", "pairs", "layer", "arm", "measure", "level", "threshold", "alphas", "step", "steps",
    "path", "folder", "root", "store", "key", "preset", "section", "split", "notebook", "progress", "results",
    "fig", "ax", "title", "xlabel", "ylabel", "table", "registry"}
ARRAYS = ("ndarray", "DataArray", "Tensor")
PLAIN = {"int", "float", "str", "bool", "None", "bytes"}


@dataclass(frozen=True)
class Argument:
    "A parameter of a public function, or of a public method of a public class."
    function: str      # module.function or module.Class.method
    name: str
    hint: str          # "" where there is none
    comment: str       # on its line, "" where there is none
    docstring: str     # of the function
    open_ended: bool   # **more

    @property
    def is_told(self) -> bool:
        "Is it said what it is: by a comment, the docstring, the command line's help, or a name that always means the same?"
        if self.comment or f"`{self.name}`" in self.docstring or "help=" in self.hint: return True
        needs_axes = any(kind in self.hint for kind in ARRAYS) and "Callable" not in self.hint
        plain = set(re.findall(r"\w+", self.hint)) <= PLAIN
        return not needs_axes and (not plain or self.name in VOCABULARY)


def public_functions(path: Path) -> Iterator[tuple[str, ast.FunctionDef, int]]:  # name, definition, parameters to leave out
    def of(body: list, prefix: str, n_left_out: int) -> Iterator:
        for node in (node for node in body if not getattr(node, "name", "_").startswith("_")):
            if isinstance(node, ast.FunctionDef): yield prefix + node.name, node, n_left_out
            if isinstance(node, ast.ClassDef): yield from of(node.body, f"{prefix}{node.name}.", 1)
    yield from of(ast.parse(path.read_text(encoding="utf-8")).body, f"{path.stem}.", 0)


def arguments(path: Path) -> Iterator[Argument]:
    "All parameters of a module's public functions."
    lines = io.StringIO(path.read_text(encoding="utf-8")).readline
    comments = {token.start[0]: token.string for token in tokenize.generate_tokens(lines) if token.type == tokenize.COMMENT}
    for name, function, n_left_out in public_functions(path):
        given = function.args
        every = [*given.posonlyargs, *given.args, *filter(None, [given.vararg]), *given.kwonlyargs, *filter(None, [given.kwarg])]
        above = ""
        for a in every[n_left_out:]:
            comment = comments.get(a.lineno, above)
            if "here and below" in comment: above = comment
            yield Argument(name, a.arg, ast.unparse(a.annotation) if a.annotation else "", comment,
                           ast.get_docstring(function) or "", a is given.kwarg)


def sizes(path: Path) -> dict[str, int]:
    "Lines of every function and method, nested ones too: signature and docstring count, decorators and blank lines around don't."
    return {f"{path.stem}.{node.name}:{node.lineno}": node.end_lineno - node.lineno + 1
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.FunctionDef)}


# Library notebooks

def definitions(source: str) -> list[str]:
    "Names of the functions and classes that a cell exports."
    if not re.match(r"#\| export", source): return []
    return [node.name for node in ast.parse(source).body if isinstance(node, ast.FunctionDef | ast.ClassDef)]


def proofs(cells: Sequence[NotebookNode]) -> list[str]:
    "Code that is run to show or check what is exported."
    return [cell.source for cell in cells if cell.cell_type == "code" and not cell.source.startswith("#|")]


def unproven(cells: Sequence[NotebookNode]) -> list[str]:
    "Headings under which something is defined and nothing is run."
    groups: dict[str, list] = {"": []}
    for cell in cells:
        if cell.cell_type == "markdown" and cell.source.startswith("## "): groups[cell.source.split("\n")[0]] = [cell]
        else: groups[next(reversed(groups))].append(cell)
    return [heading for heading, group in groups.items()
            if any(definitions(cell.source) for cell in group if cell.cell_type == "code") and not proofs(group)]
