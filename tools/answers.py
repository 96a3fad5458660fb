"""The box that a section's page opens with: question, answer with its interval, paper, figure."""

import html
import json
import re
import tomllib
from pathlib import Path

import nbformat
import pandas as pd

ROOT = Path(__file__).resolve().parent.parent
FIGURES = ROOT / "figures"
SECTIONS = tomllib.loads((Path(__file__).parent / "site/sections.toml").read_text("utf-8"))
WITHOUT_FIGURE = ("explorer",)  # its page begins with something to use
PAPER = "https://arxiv.org/abs/2509.20751"


class Effect:
    "An effect with its interval, written with as many decimal places as the format says."

    def __init__(self, effect: float, low: float, high: float):
        self.numbers = effect, low, high

    def __format__(self, places: str) -> str:
        n = int(places or 3)
        value, low, high = (f"{round(x, n) + 0:.{n}f}".replace("-", "−") for x in self.numbers)
        return f"{value} [{low}, {high}]"


class Effects(dict):
    "Effects by claim, for `str.format`, in which names of fields may hold spaces and arrows."

    def fill(self, template: str) -> str:
        def filled(field: re.Match) -> str:
            return format(self[field[1]], field[2] or "")

        return re.sub(r"\{([^:}]+)(?::(\d))?\}", filled, template)


def section_of(page: str) -> str | None:
    "The section that a notebook is the page of, if any."
    return next((name for name, about in SECTIONS.items() if about["notebook"] == page), None)


def run_of(section: str) -> str:
    "The folder of figures that the site shows of a section."
    return SECTIONS[section].get("run", "microworld")


def answer(section: str, notebook: nbformat.NotebookNode) -> str:
    "The answer of a section in a sentence, its numbers from the files that the run wrote."
    about, folder = SECTIONS[section], FIGURES / run_of(section)
    saved, claims = (folder / f"{section}_{name}.csv" for name in ("answer", "claims"))
    if "answer_cell" in about:
        cell = next(cell for cell in notebook.cells if cell.id == about["answer_cell"])
        return cell.outputs[0].data["text/markdown"]
    if "answer" not in about:
        return pd.read_csv(saved).answer[0] if saved.is_file() else ""
    if not claims.is_file():
        return ""
    table = pd.read_csv(claims)
    effects = Effects(
        {row.claim: Effect(row.effect, row.low, row.high) for row in table.itertuples()},
        n=len(table),
        supported=int((table.verdict == "supported").sum()),
    )
    decides = table[table.primary] if table.primary.any() else table.iloc[:1]
    return effects.fill(about["answer"][decides.verdict.item()])


def verdicts(section: str) -> str:
    "How many claims of a section have which verdict."
    claims = FIGURES / run_of(section) / f"{section}_claims.csv"
    if not claims.is_file():
        return ""
    counts = pd.read_csv(claims).verdict.value_counts()
    return ", ".join(f"{n} {verdict}" for verdict, n in counts.items())


def box(section: str, notebook: nbformat.NotebookNode, site: dict) -> str:
    "The box as html, for a page in a folder of the site; `site` is the website of _quarto.yml."
    about = SECTIONS[section]
    found = answer(section, notebook)
    rows = [("Question", html.escape(about["question"]))]
    if found:
        counts = verdicts(section)
        counts = f' <span class="counts">Claims: {counts}.</span>' if counts else ""
        rows.append(("Answer", f"<strong>{html.escape(found)}</strong>{counts}"))
    else:
        text = f"Not run yet at full size: <code>{command(section)}</code> answers it."
        rows.append(("Answer", text))
    rows.append(("The paper", f'{html.escape(about["paper"])} <a href="{PAPER}">arXiv</a>'))
    listed = "".join(f"<dt>{name}</dt><dd>{text}</dd>" for name, text in rows)
    drawn = "" if section in WITHOUT_FIGURE else main_figure(section)
    return f'<div class="answer"><dl>{listed}</dl>{drawn}{ways(about["notebook"], site)}</div>'


def main_figure(section: str) -> str:
    "The one figure of a section, if its run has drawn it."
    svg = FIGURES / run_of(section) / f"{SECTIONS[section]['figure']}.svg"
    if not svg.is_file():
        return ""
    about = json.loads(svg.with_suffix(".json").read_text("utf-8"))
    width, height = size_of(svg)
    path = f"../{svg.relative_to(ROOT).as_posix()}"
    caption = html.escape(about["caption"])
    return (
        f'<figure><a href="{path}"><img src="{path}" alt="{html.escape(about["alt"])}" '
        f'width="{width}" height="{height}"></a><figcaption>{caption}</figcaption></figure>'
    )


def size_of(svg: Path) -> tuple[int, int]:
    "Width and height of a picture in CSS pixels."
    head = svg.read_text("utf-8")[:2000]
    points = re.search(r'width="([\d.]+)pt" height="([\d.]+)pt"', head).groups()
    return tuple(round(float(p) * 4 / 3) for p in points)


def command(section: str) -> str:
    "What makes the figures of a section again."
    return SECTIONS[section].get("command", f"seeing-words figures {section}")


def ways(page: str, site: dict) -> str:
    "Ways to run a notebook, or to take its parts away."
    section = section_of(page)
    repo = site["repo-url"].removeprefix("https://github.com/")
    branch, path = site["repo-branch"], f"{site['repo-subdir']}/{page}"
    colab = f"https://colab.research.google.com/github/{repo}/blob/{branch}/{path}"
    binder = f"https://mybinder.org/v2/gh/{repo}/{branch}?labpath={path.replace('/', '%2F')}"
    links = [
        f'<a href="{colab}">Open in Colab</a>',
        f'<a href="{binder}">Open in Binder</a>',
        f'<a href="../downloads/{page}" download>Download notebook</a>',
    ]
    if section and data_of(section):
        archive = f"../figures/{run_of(section)}/{section}.zip"
        links.append(f'<a href="{archive}" download>Download data</a>')
    if section:
        line = command(section)
        links.append(f'<span class="command"><code>{line}</code></span>')
    colab_needs = "In Colab, run <code>%pip install 'seeing-words[paper]'</code> first."
    return f'<p class="ways">{" ".join(links)}</p><p class="hint">{colab_needs}</p>'


def data_of(section: str) -> list[Path]:
    "The tables that the run of a section wrote."
    return sorted((FIGURES / run_of(section)).glob(f"{section}_*.csv"))
