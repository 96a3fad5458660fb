"""The report: strict about what it reads, complete in itself, usable by mouse, key and printer."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from browser import eventually, serious
from conftest import ROOT
from PIL import Image
from runs import new_checkout, notebook

from seeing_words import InputError
from seeing_words.app import report
from seeing_words.app.report import (
    LIMIT,
    Picture,
    collect,
    pictures,
    render,
    small_svg,
    svg_uri,
    write_report,
)
from seeing_words.app.tables import all_claims, save_claims
from seeing_words.core.files import file_digest, with_checksum
from seeing_words.plots import csv_text, save_figure

HOSTILE = """<script>alert("1")</script><img src=x onerror="alert(2)"> '"&{{ 7 * 7 }}"""
MICROWORLD = {
    "preset": "microworld",
    "n_stimuli": 400,
    "n_folds": 5,
    "seed": 3,
    "seeing_words": "0.1.0",
}


def drawn():
    fig, ax = plt.subplots(figsize=(4, 2))
    plt.close(fig)
    ax.plot(np.linspace(0, 1, 9) ** 2, label="a line")
    ax.legend()
    return fig


def run(
    folder: Path, section: str, *, claims: bool = True, caption: str = "A rising line.", **about
) -> Path:
    "What a run of a section writes: a figure, a table, its claims and its provenance."
    about = (
        MICROWORLD
        | {"preset": folder.name, "section": section, "models": {f"microworld/{section}": "abc"}}
        | about
    )
    table = pd.DataFrame({"name": ["b", "a", "c"], "score": [2.0, 10.0, -1.5]})
    saved = save_figure(
        drawn(),
        folder / f"{section}_line",
        data=table,
        caption=caption,
        alt=caption,
        provenance=about,
    )
    (folder / f"{section}_more.csv").write_text(csv_text(table))
    files = [*saved.files, folder / f"{section}_more.csv"]
    if claims:
        rows = pd.DataFrame(
            [
                ["L1", caption, 0.2, 0.1, 0.3, "> 0", "supported"],
                ["L2", "down", -1, -2, 0.5, "< 0", "not supported"],
            ],
            columns=["claim", "text", "effect", "low", "high", "threshold", "verdict"],
        )
        (folder / f"{section}_claims.csv").write_text(csv_text(rows))
        files.append(folder / f"{section}_claims.csv")
    written = {file.name: file_digest(file) for file in files}
    (folder / f"{section}_provenance.json").write_text(
        json.dumps(with_checksum(about | {"versions": {"numpy": "2"}, "written": written}))
    )
    return folder


@pytest.fixture
def root(tmp_path, monkeypatch) -> Path:
    root = new_checkout(tmp_path / "checkout", monkeypatch)
    for k, name in enumerate(("toy", "other")):
        notebook(
            root / f"nbs/paper/{k}_{name}.ipynb",
            title=f"# What of {name}?\n\n> A [link](x.ipynb) of `words`.",
        )
    return root


@pytest.fixture
def made(root) -> Path:
    "The report of two sections, as a file."
    for section in "toy", "other":
        run(root / "figures/microworld", section)
    write_report("microworld", root / "report.html")
    return root / "report.html"


class Page(HTMLParser):
    "Tags with their attributes, and the text of each element that can hold only text."

    def __init__(self, text: str):
        super().__init__()
        self.tags, self.texts = [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.texts.append(data)

    def all(self, tag: str) -> list[dict]:
        return [attributes for name, attributes in self.tags if name == tag]


# What is in it


def test_it_holds_claims_figures_tables_provenance_and_commands(made):
    text = made.read_text()
    page = Page(text)
    assert {"toy_line", "other_line", "all-claims"} == {
        figure["id"] for figure in page.all("figure")
    }
    commands = [
        button["data-text"]
        for button in page.all("button")
        if button.get("class", "").startswith("copy")
    ]
    assert commands == ["seeing-words figures --preset microworld"] * 2 + [
        f"seeing-words figures {section} --preset microworld" for section in ("toy", "other")
    ]
    for shown in (
        "preset microworld · n = 400 · 5 folds · seed 3",
        "What of toy?",
        "0.200",
        "[0.100, 0.300]",
        "2 supported",
        "abc",
        "numpy 2",
        "toy_more.csv",
        "toy_line.csv",
    ):
        assert shown in text, shown
    assert text.index("What of toy?") < text.index("What of other?")
    assert {tag for tag, _ in page.tags} >= {"header", "nav", "main", "footer", "title", "h1"}
    assert all(image.get("alt") is not None for image in page.all("img"))


def test_every_figure_stands_beside_its_preset_sizes_and_command(made):
    for figure in re.findall(r"<figure.*?</figure>", made.read_text(), re.DOTALL):
        assert "preset microworld" in figure and "seeing-words figures" in figure


def test_it_refers_to_nothing_outside(made):
    page = Page(made.read_text())
    refers = [
        value
        for _, attributes in page.tags
        for name, value in attributes.items()
        if name in ("src", "href", "srcset", "action", "poster", "data")
    ]
    ids = {attributes["id"] for _, attributes in page.tags if "id" in attributes}
    assert refers
    assert all(
        value.startswith("data:image/") or value.removeprefix("#") in ids for value in refers
    )
    assert not page.all("link")
    assert not page.all("iframe")
    assert not re.search(r"@import|url\(", made.read_text().split("</style>")[0])


def test_ids_are_unique(made):
    ids = [attributes["id"] for _, attributes in Page(made.read_text()).tags if "id" in attributes]
    assert len(set(ids)) == len(ids)


def test_hostile_text_is_text(root):
    run(root / "figures/microworld", "toy", caption=HOSTILE)
    write_report("microworld", root / "report.html")
    page = Page((root / "report.html").read_text())
    assert len(page.all("script")) == 1
    assert not any(name.startswith("on") for _, attributes in page.tags for name in attributes)
    assert any(image["alt"] == HOSTILE for image in page.all("img"))
    assert HOSTILE in page.texts or HOSTILE in "".join(page.texts)


def test_it_is_the_same_file_each_time(made):
    before = made.read_bytes()
    write_report("microworld", made)
    assert made.read_bytes() == before


# Strictness


def test_nothing_there_says_what_to_run(root):
    with pytest.raises(
        InputError,
        match="nothing was run for preset microworld: .* run `seeing-words figures --preset micr",
    ):
        collect("microworld")


def test_a_section_that_was_not_run_is_said_with_its_command(root):
    run(root / "figures/microworld", "other")
    found = collect("microworld")
    text = render(found)
    assert found.missing == ("toy",)
    assert "1 of 2 sections were run. Not run yet: toy." in text
    assert "seeing-words figures toy --preset microworld" in text
    assert "What of toy?" in text


def test_a_section_beyond_the_paper_has_its_title_and_a_command_that_runs_it(root):
    notebook(root / "nbs/beyond/further.ipynb", title="# And further?\n\n> On from there.")
    run(root / "figures/microworld", "further")
    found = collect("microworld")
    further = found.sections[-1]
    assert (further.name, further.title, further.purpose) == (
        "further",
        "And further?",
        "On from there.",
    )
    assert further.command == "seeing-words figures further --preset microworld"
    assert found.notes[0] == "1 of 3 sections were run. Not run yet: toy, other."
    page = Page(render(found))
    assert "And further?" in page.texts


def test_a_run_that_stopped_before_its_claims_is_reported_without_older_claims(root):
    folder = run(root / "figures/microworld", "toy")
    run(folder, "toy", claims=False)  # the file of claims is still there
    run(folder, "other")
    found = collect("microworld")
    assert found.missing == ("toy",)
    assert {claim["section"] for claim in found.claims} == {"other"}
    assert "toy_claims.csv" in " ".join(found.notes)
    assert "stopped before its claims" in render(found)


def test_without_claims_it_says_so(root):
    run(root / "figures/microworld", "toy", claims=False)
    assert "No section has come to its claims yet" in render(
        write_report("microworld", root / "report.html")
    )


def break_it(folder: Path, how: str) -> None:
    match how:
        case "a figure of another preset":
            about = json.loads((folder / "toy_line.json").read_text())
            about["provenance"]["preset"] = "paper"
            (folder / "toy_line.json").write_text(json.dumps(with_checksum(about)))
            whole = json.loads((folder / "toy_provenance.json").read_text())
            whole["written"]["toy_line.json"] = file_digest(folder / "toy_line.json")
            (folder / "toy_provenance.json").write_text(json.dumps(with_checksum(whole)))
        case "a section of another preset":
            (folder / "toy_provenance.json").write_text(
                (folder / "toy_provenance.json")
                .read_text()
                .replace('"preset": "microworld"', '"preset": "paper"')
            )
        case "half a json":
            (folder / "toy_provenance.json").write_text('{"preset": "micro')
        case "no list of files":
            (folder / "toy_provenance.json").write_text(
                json.dumps(with_checksum({"preset": "microworld"}))
            )
        case "a changed record":
            text = (folder / "toy_provenance.json").read_text()
            (folder / "toy_provenance.json").write_text(
                text.replace('"numpy": "2"', '"numpy": "3"')
            )
        case "a missing svg":
            (folder / "toy_line.svg").unlink()
        case "a changed number":
            (folder / "toy_line.csv").write_text("name,score\na,99\n")
        case "a file elsewhere":
            outside = {"../../settings.ini": file_digest(folder / "../../settings.ini")}
            (folder / "toy_provenance.json").write_text(
                json.dumps(with_checksum({"preset": "microworld", "written": outside}))
            )


@pytest.mark.parametrize(
    ("how", "named"),
    [
        (
            "a figure of another preset",
            "toy_line.json belongs to preset 'paper', not to 'microworld'",
        ),
        (
            "a section of another preset",
            "toy_provenance.json belongs to preset 'paper', not to 'microworld'",
        ),
        ("half a json", "toy_provenance.json cannot be read"),
        ("no list of files", "names no files"),
        ("a changed record", "toy_provenance.json does not match its checksum"),
        ("a missing svg", "toy_line.svg is missing"),
        ("a changed number", "toy_line.csv is not the file that its run wrote"),
        ("a file elsewhere", "is missing"),
    ],
)
def test_what_is_damaged_is_refused_by_name_with_the_command(root, how, named):
    break_it(run(root / "figures/microworld", "toy"), how)
    with pytest.raises(InputError, match=re.escape(named)) as refused:
        write_report("microworld", root / "report.html")
    assert "`seeing-words figures toy --preset microworld`" in str(refused.value)
    assert not (root / "report.html").exists()


def test_two_presets_side_by_side_are_two_reports(root):
    own = root / "tiny paper.toml"
    own.write_text(
        'name = "tiny-paper"\nvision = ["microworld/vision-0"]\nlanguage = ["microworld/llama-0"]\n'
        'source = "microworld"\nn_stimuli = 40'
    )
    run(root / "figures/microworld", "toy", caption="of the microworld")
    run(root / "figures/tiny-paper", "toy", caption="of the tiny paper", n_stimuli=40)
    texts = {asked: render(collect(asked)) for asked in ("microworld", own.name)}
    assert (
        "of the tiny paper" not in texts["microworld"] and "tiny-paper" not in texts["microworld"]
    )
    assert "of the microworld" not in texts[own.name] and "preset microworld" not in texts[own.name]
    assert "preset tiny-paper · n = 40" in texts[own.name]
    assert "figures toy --preset &#39;tiny paper.toml&#39;" in texts[own.name]


def test_the_figure_of_all_claims_is_drawn_again_when_they_have_changed(root):
    folder = run(root / "figures/microworld", "toy")
    save_claims(folder)
    before = (folder / "claims.csv").read_text()
    run(folder, "other")
    assert collect("microworld").overview is None
    assert write_report("microworld", root / "report.html").overview
    assert (folder / "claims.csv").read_text() != before
    (folder / "claims.json").write_text("{")
    assert write_report("microworld", root / "report.html").overview


@pytest.mark.parametrize("kind", ["json", "svg", "png"])
def test_a_figure_of_all_claims_that_was_changed_is_drawn_again(root, kind):
    folder = run(root / "figures/microworld", "toy")
    save_claims(folder)
    file = folder / f"claims.{kind}"
    before = file.read_bytes()
    middle = len(before) // 2
    file.write_bytes(before[:middle] + bytes([before[middle] ^ 1]) + before[middle + 1 :])
    assert collect("microworld").overview is None
    assert write_report("microworld", root / "report.html").overview
    assert file.read_bytes() == before


def test_claims_whose_file_was_changed_are_refused(root):
    folder = run(root / "figures/microworld", "toy")
    assert all_claims(folder).verdict.tolist() == ["supported", "not supported"]
    file = folder / "toy_claims.csv"
    before = file.read_bytes()
    rng = np.random.default_rng(0)
    for place in rng.integers(0, len(before), 30):
        changed = bytearray(before)
        changed[place] ^= 1 << int(rng.integers(8))
        file.write_bytes(changed)
        with pytest.raises(InputError, match="toy_claims.csv is not the file that its run wrote"):
            all_claims(folder)
    file.write_bytes(before)
    record = folder / "toy_provenance.json"
    whole = record.read_text()
    record.write_text(whole.replace('"n_stimuli": ', '"n_stimuli": 1'))
    with pytest.raises(InputError, match="toy_provenance.json does not match its checksum"):
        all_claims(folder)
    record.unlink()
    with pytest.raises(InputError, match="toy_provenance.json"):
        all_claims(folder)


def test_what_a_run_left_out_is_noted(tmp_path, monkeypatch):
    root = new_checkout(tmp_path, monkeypatch)
    notebook(root / "nbs/paper/1_toy.ipynb", parameters='preset: str = "microworld"')
    run(root / "figures/microworld", "toy", missing=["lab/large"], without=["pick-a-pic"])
    notes = collect("microworld").notes
    assert "Left out of section toy because missing or unusable: lab/large." in notes
    assert "Left out of section toy: pick-a-pic." in notes


def test_files_of_other_runs_are_named_only(root):
    folder = run(root / "figures/microworld", "toy")
    run(folder / "n_stimuli=40", "toy", preset="microworld")
    (folder / "toy_old.svg").write_text("<svg/>")
    notes = " ".join(collect("microworld").notes)
    assert "other sizes are not in this report: n_stimuli=40." in notes
    assert "earlier runs are not in this report: toy_old.svg." in notes


# Pictures and size


def test_the_smaller_svg_is_the_same_picture(root, chromium):
    save_figure(
        drawn(), root / "line", data=pd.DataFrame({"x": [1]}), caption="A line", alt="A line"
    )
    svg = (root / "line.svg").read_text()
    small = small_svg(svg)
    assert len(small) < 0.8 * len(svg)
    view = chromium.new_page(viewport={"width": 800, "height": 400})
    seen = []
    for k, text in enumerate((svg, small)):
        view.set_content(
            f'<style>body {{ margin: 0 }}</style><img width=800 src="{svg_uri(text)}">'
        )
        view.screenshot(path=root / f"{k}.png")
        seen.append(np.asarray(Image.open(root / f"{k}.png").convert("L"), float))
    view.close()
    assert seen[0].std() > 5  # something was drawn
    assert np.abs(seen[0] - seen[1]).mean() < 0.1  # of 255


def test_what_is_too_large_as_svg_becomes_a_picture_and_says_so(root, monkeypatch):
    run(root / "figures/microworld", "toy")
    found = collect("microworld")
    figures = list(found.sections[0].figures)
    figures[0].svg.write_text(
        figures[0]
        .svg.read_text()
        .replace("</svg>", "<g>" + "<path d='M 1 1'/>" * 50_000 + "</g></svg>")
    )
    assert pictures(figures, LIMIT)["toy_line"].uri.startswith("data:image/svg+xml,")
    monkeypatch.setattr(report, "LIMIT", 400_000)
    text = render(found)
    assert len(text.encode()) < 400_000
    assert "data:image/webp;base64," in text
    assert "pixels wide, since the svg is too large" in text


def test_long_tables_are_cut_and_say_so(root, monkeypatch):
    monkeypatch.setattr(report, "MOST_ROWS", 2)
    run(root / "figures/microworld", "toy")
    text = render(collect("microworld"))
    assert "3 rows" in text and "The first 2 rows; all are in the file." in text


def test_an_address_stands_in_an_attribute_as_it_is():
    uri = svg_uri("<svg a=\"it's\" b='#x'>&amp; 5 % ü\"</svg>")
    assert not set('"#&\n') & set(uri)
    assert Picture(uri).reduced == 0


def test_all_figures_of_the_microworld_make_a_report_within_the_limit():
    found = collect("microworld", str(ROOT / "figures"))
    text = render(found)
    assert len(text.encode()) <= LIMIT
    assert len(Page(text).all("figure")) == sum(
        len(section.figures) for section in found.sections
    ) + bool(found.overview)
    assert found.claims


# In a browser

SCREENS = [(1280, 900, "light"), (1280, 900, "dark"), (360, 740, "light"), (360, 740, "dark")]


@pytest.mark.parametrize(
    "page", SCREENS, indirect=True, ids=lambda screen: f"{screen[0]}-{screen[2]}"
)
def test_it_fits_the_screen_and_axe_finds_nothing_serious(page, made):
    fetched = []
    page.on("request", lambda request: fetched.append(request.url[:40]))
    page.goto(made.as_uri())
    for details in page.locator("details").all():
        details.evaluate("element => element.open = true")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert serious(page) == []
    assert page.locator("figure img").evaluate_all(
        "images => images.every(image => image.complete && image.naturalWidth > 100)"
    )
    page.locator("figure#toy_line .zoom").click()
    assert serious(page) == []
    assert [url for url in fetched if not url.startswith(("file:", "data:image/"))] == []


def column(page, k: int) -> list[str]:
    return page.locator(f"#toy_line tbody td:nth-child({k})").all_inner_texts()


def test_tables_sort_by_mouse_and_by_key(page, made):
    page.goto(made.as_uri())
    page.locator("#toy_line summary").click()
    names, scores = page.locator("#toy_line th button").all()
    names.click()
    eventually(lambda: column(page, 1) == ["a", "b", "c"])
    scores.focus()
    page.keyboard.press("Enter")
    eventually(lambda: column(page, 2) == ["-1.5", "2", "10"])  # as numbers, not as words
    assert page.locator("#toy_line th").nth(1).get_attribute("aria-sort") == "ascending"
    page.keyboard.press("Enter")
    eventually(lambda: column(page, 2) == ["10", "2", "-1.5"])
    assert page.locator("#toy_line th").nth(1).get_attribute("aria-sort") == "descending"


def scale(page) -> float:
    return page.locator("#viewer img").evaluate(
        "image => new DOMMatrix(getComputedStyle(image).transform).a"
    )


def test_figures_zoom_by_mouse_and_by_key(page, made):
    page.goto(made.as_uri())
    button = page.locator("#toy_line .zoom")
    button.focus()
    page.keyboard.press("Enter")
    assert page.locator("#viewer").is_visible()
    assert "preset microworld" in page.locator("#viewer-title").inner_text()
    assert page.locator("#viewer img").get_attribute("alt") == "A rising line."
    page.keyboard.press("+")
    eventually(lambda: scale(page) > 1.1)
    before = page.locator("#viewer img").bounding_box()["x"]
    page.keyboard.press("ArrowLeft")
    eventually(lambda: page.locator("#viewer img").bounding_box()["x"] > before)
    page.keyboard.press("0")
    eventually(lambda: scale(page) == 1)
    page.locator("#larger").click()
    eventually(lambda: scale(page) > 1.1)
    page.locator("#whole").click()
    eventually(lambda: scale(page) == 1)
    page.mouse.move(640, 450)
    page.mouse.wheel(0, -300)
    eventually(lambda: scale(page) > 1.01)
    page.keyboard.press("Escape")
    assert not page.locator("#viewer").is_visible()
    assert button.evaluate("button => button === document.activeElement")
    page.locator("#other_line img").click()
    assert page.locator("#viewer-title").inner_text().startswith("other_line")
    page.locator("#close").click()
    assert not page.locator("#viewer").is_visible()


def test_commands_are_copied(page, made):
    page.goto(made.as_uri())
    button = page.locator("#toy_line .copy")
    button.click()
    eventually(lambda: button.inner_text().startswith("Copied"))
    assert (
        page.evaluate("navigator.clipboard.readText()")
        == "seeing-words figures toy --preset microworld"
    )


def test_on_paper_provenance_is_open_and_buttons_are_gone(page, made):
    page.goto(made.as_uri())
    page.emulate_media(media="print", color_scheme="dark")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.locator(".provenance dl").first.is_visible()
    assert page.locator(".preset table").is_visible()
    assert not page.locator("#toy_line table").is_visible()
    assert not page.locator("button.copy").first.is_visible()
    assert page.locator("#toy_line img").is_visible()
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert page.pdf(format="A4").startswith(b"%PDF")


def test_without_script_all_is_there(chromium, made):
    context = chromium.new_context(java_script_enabled=False)
    bare = context.new_page()
    bare.goto(made.as_uri())
    assert bare.locator("#toy_line img").is_visible()
    assert not bare.locator("#toy_line .zoom").is_visible()
    assert (
        bare.locator("#toy_line .command code").inner_text()
        == "seeing-words figures toy --preset microworld"
    )
    context.close()
