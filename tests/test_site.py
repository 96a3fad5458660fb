"""The site: every notebook has its page, every link resolves, and the tools that make it work."""

import csv
import importlib.util
import json
import re
import subprocess
import sys
import tomllib
import zipfile
from functools import cache
from pathlib import Path

import nbformat
import pytest
import yaml
from bs4 import BeautifulSoup
from conftest import ROOT

import seeing_words
from seeing_words.app.sections import sections
from seeing_words.measures.claims import VERDICTS

sys.path.insert(0, str(ROOT / "tools"))
import answers  # noqa: E402
import links  # noqa: E402
import pages  # noqa: E402

SPEC = importlib.util.spec_from_file_location("make_site", ROOT / "tools" / "site.py")
make_site = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(make_site)

NBS = ROOT / "nbs"
NOTEBOOKS = sorted(
    path.relative_to(NBS).as_posix()
    for path in NBS.rglob("[!.]*.ipynb")
    if path.parent.name != ".ipynb_checkpoints"
)
SITE = yaml.safe_load((ROOT / "_quarto.yml").read_text())


def listed(contents: list) -> list[str]:
    return [
        page
        for entry in contents
        for page in ([entry] if isinstance(entry, str) else listed(entry["contents"]))
    ]


SIDEBAR = listed(SITE["website"]["sidebar"]["contents"])


@cache
def soup(page: Path) -> BeautifulSoup:
    return BeautifulSoup(page.read_text(encoding="utf-8"), "html.parser")


# What _quarto.yml says


def test_nbdev_sees_the_site_configuration():
    link = NBS / "_quarto.yml"
    assert link.is_symlink()
    assert str(link.readlink()) == "../_quarto.yml"
    assert yaml.safe_load(link.read_text()) == SITE


def test_sidebar_lists_every_notebook_once():
    assert sorted(SIDEBAR) == NOTEBOOKS


def test_navbar_leads_to_pages_of_the_sidebar():
    items = SITE["website"]["navbar"]["left"] + SITE["website"]["navbar"]["right"]
    assert {item["href"] for item in items if not item["href"].startswith("https://")} <= set(
        SIDEBAR
    )


def test_both_ways_of_making_the_site_show_the_same_pictures():
    assert make_site.PICTURES == pages.PICTURES


def test_files_that_the_configuration_names_are_brought_to_it():
    named = {*SITE["format"]["html"]["css"], SITE["website"]["favicon"]}
    assert named == set(make_site.FOR_QUARTO)
    assert all((pages.THEME / name).is_file() for name in make_site.FOR_QUARTO)


# The rendered site


@pytest.mark.slow
def test_every_notebook_has_its_page_and_nothing_else_has_one(site):
    names = {re.sub(r"^\d+[a-z]?_", "", Path(name).stem) for name in NOTEBOOKS}
    made = [path.relative_to(site) for path in site.rglob("*.html")]
    assert len(made) == len(NOTEBOOKS)
    assert {path.stem for path in made} == names
    assert yaml.safe_load((site.parent / "_proc" / "_quarto.yml").read_text()) == SITE


@pytest.mark.slow
def test_every_link_and_anchor_of_the_site_resolves(site):
    assert sum(len(links.Reader(page).links) for page in site.rglob("*.html")) > 40 * len(
        NOTEBOOKS
    )  # there are links to check
    assert links.dead_links(site) == []


@pytest.mark.slow
def test_every_page_is_whole(site):
    for page in site.rglob("*.html"):
        html, name = soup(page), page.relative_to(site).as_posix()
        assert html.html["lang"] == "en", name
        assert html.title.string and html.find("meta", attrs={"name": "description"})["content"], (
            name
        )
        assert (
            len(html.find_all("h1"))
            == len(html.find_all("main"))
            == len(html.find_all("header"))
            == 1
        ), name
        (here,) = html.select("#all-pages [aria-current=page]")
        assert here.string == html.h1.get_text(), name
        ids = [tag["id"] for tag in html.find_all(id=True)]
        assert len(ids) == len(set(ids)), name
        assert all(len(image.get("alt", "")) > 10 for image in html.find_all("img")), name


@pytest.mark.slow
def test_pages_follow_each_other_in_the_order_of_the_sidebar(site):
    page, walked = site / "index.html", []
    while True:
        html = soup(page)
        walked.append(html.h1.get_text())
        before, after = html.find("a", rel="prev"), html.find("a", rel="next")
        assert (before is None) == (len(walked) == 1)
        if after is None:
            break
        page = (page.parent / after["href"]).resolve()
    assert walked == [a.string for a in soup(site / "index.html").select("#all-pages a")]
    assert len(walked) == len(SIDEBAR)


@pytest.mark.slow
def test_nothing_is_fetched_from_elsewhere(site):
    for page in site.rglob("*.html"):
        html = soup(page)
        fetched = [
            tag.get("src") or tag.get("href") for tag in html.find_all(["img", "script", "link"])
        ]
        assert not [
            link for link in fetched if link and re.match(r"(?!data:)[a-z]+:|//|/", link)
        ], page.name
    style = (site / "site.css").read_text()
    assert "@import" not in style
    assert all((site / name).is_file() for name in re.findall(r"""url\("?([^")]+)""", style))


@pytest.mark.slow
def test_figures_are_those_of_the_folder_as_svg(site):
    page = soup(site / "paper" / "layers.html")
    figure = page.find("img", src="../figures/microworld/layers_best.svg")
    about = json.loads((ROOT / "figures" / "microworld" / "layers_best.json").read_text())
    assert figure["alt"] == about["alt"]
    assert figure.find_parent("figure").figcaption.get_text() == about["caption"]
    assert int(figure["width"]) > int(figure["height"]) > 100
    assert soup(site / "index.html").find("img", src="figures/microworld/claims.svg")


# What a section's page opens with


def test_every_section_has_a_box_and_nothing_else_has():
    notebooks = sections(beyond=True)
    assert set(answers.SECTIONS) == set(notebooks) - {"own_features"}
    for name, about in answers.SECTIONS.items():
        assert (NBS / about["notebook"]).samefile(notebooks[name])
        titles = {cell.source.split("\n")[0].removesuffix(" -") for cell in notebook_cells(about)}
        assert {f"## {title}" for title in about["open"]} <= titles, name
        known = set(VERDICTS) == set(about["answer"]) if "answer" in about else True
        assert known and about["question"].endswith("?"), name


def notebook_cells(about: dict) -> list:
    return nbformat.read(NBS / about["notebook"], as_version=4).cells


@pytest.mark.parametrize("section", answers.SECTIONS)
def test_answers_are_one_sentence_with_the_numbers_of_the_files(section):
    about = answers.SECTIONS[section]
    notebook = nbformat.read(NBS / about["notebook"], as_version=4)
    found = answers.answer(section, notebook)
    folder = ROOT / "figures" / answers.run_of(section)
    if not list(folder.glob(f"{section}_*.json")):
        assert found == ""
        return
    assert (folder / f"{about['figure']}.svg").is_file()
    if "answer" not in about:
        return
    assert not re.search(r"[.?!] [A-Z]", found) and found.endswith(".")
    assert re.search(r"\[−?\d\.\d+, −?\d\.\d+\]", found), "with an interval"
    with (folder / f"{section}_claims.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    written = {f"{float(row[k]):.{n}f}" for row in rows for k in COLUMNS for n in (2, 3)}
    numbers = re.findall(r"−?\d+\.\d{2,}", found)
    assert len(numbers) >= 3 and {n.replace("−", "-") for n in numbers} <= written


COLUMNS = ("effect", "low", "high")


def test_an_answer_follows_its_verdict(tmp_path, monkeypatch):
    monkeypatch.setattr(answers, "FIGURES", tmp_path)
    (tmp_path / "microworld").mkdir()
    head = "claim,effect,low,high,verdict,primary\n"
    for verdict, begins in (("supported", "Removing"), ("contradicted", "No: removing")):
        row = f"P2,-0.0584,-0.0784,-0.0332,{verdict},True\n"
        (tmp_path / "microworld/perturbations_claims.csv").write_text(head + row)
        found = answers.answer("perturbations", None)
        assert found.startswith(begins) and "−0.058 [−0.078, −0.033]" in found


@pytest.mark.slow
def test_sections_open_with_their_box_and_end_with_checks(site):
    for section, about in answers.SECTIONS.items():
        page = soup(site / make_site_url(about["notebook"]))
        article = page.article
        (box,) = article.select(".answer")
        assert [dt.string for dt in box.find_all("dt")] == ["Question", "Answer", "The paper"]
        assert box.find_previous("h2") is None
        assert answers.command(section) in box.get_text()
        labels = [a.string for a in box.select(".ways a")]
        assert labels[:3] == ["Open in Colab", "Open in Binder", "Download notebook"]
        for link in box.select(".ways a[download]"):
            assert (site / "paper" / link["href"]).resolve().is_file()
        assert not article.select("article > .code"), "code is folded"
        titles = [pages.heading_text(h) for h in article.find_all("h2")]
        last = [bool(make_site.LAST.match(f"## {title}")) for title in titles]
        assert last == sorted(last), section
        for heading in article.find_all("h2"):
            assert is_folded(heading) or pages.heading_text(heading) in about["open"]
        if answers.verdicts(section):  # it was run
            titles = {pages.heading_text(h) for h in article.select("h2") if not is_folded(h)}
            assert titles == set(about["open"])


def is_folded(heading) -> bool:
    return heading.find_parent("details") is not None


def make_site_url(notebook: str) -> str:
    folder, _, name = notebook.rpartition("/")
    return f"{folder}/" + re.sub(r"^\d+_", "", name).replace(".ipynb", ".html")


@pytest.mark.slow
def test_data_of_a_section_can_be_downloaded(site):
    with zipfile.ZipFile(site / "figures/microworld/layers.zip") as archive:
        names = archive.namelist()
        assert "layers_best.csv" in names and all(name.startswith("layers_") for name in names)
        own = ROOT / "figures/microworld/layers_best.csv"
        assert archive.read("layers_best.csv") == own.read_bytes()
    downloaded = site / "downloads/paper/1_layers.ipynb"
    assert downloaded.read_bytes() == (NBS / "paper/1_layers.ipynb").read_bytes()


# Pages that list things


@pytest.mark.slow
def test_the_table_of_claims_has_them_all_with_their_numbers(site):
    table = soup(site / "docs/claims.html").find("table", class_="claims")
    by_run = {}
    for run in ("microworld", "photographs"):
        with (ROOT / f"figures/{run}/claims.csv").open(encoding="utf-8") as file:
            by_run[run] = list(csv.DictReader(file))
    text, claims = table.get_text(" ", strip=True), by_run["microworld"]
    for row in claims + by_run["photographs"]:
        numbers = [f"{round(float(row[k]), 3) + 0:.3f}".replace("-", "−") for k in COLUMNS]
        assert "{} [{}, {}]".format(*numbers) in text, row["claim"]
    way = re.compile(r" (V→L|L→V|vision|language)$")
    stems = {(c["section"], way.sub("", c["claim"]), bool(way.search(c["claim"]))) for c in claims}
    rows = table.tbody.find_all("tr")
    assert len(rows) == len(stems)
    cells = [cell for row in rows for cell in row.find_all("td") if cell.has_attr("data-sort")]
    assert len(cells) == sum(map(len, by_run.values()))
    for row in rows:  # a claim that failed has a reason
        failed = {"not supported", "contradicted"} & set(row["data-verdicts"].split(";"))
        assert bool(row.find_all("td")[-1].get_text()) == bool(failed)


def test_what_is_said_beside_claims_is_about_claims_that_there_are():
    about = tomllib.loads((NBS / "docs/claims.toml").read_text(encoding="utf-8"))
    with (ROOT / "figures/microworld/claims.csv").open(encoding="utf-8") as file:
        claims = list(csv.DictReader(file))
    known = {(c["section"], re.sub(r" (V→L|L→V|vision|language)$", "", c["claim"])) for c in claims}
    for table in ("paper", "why"):
        assert {(s, name) for s, names in about[table].items() for name in names} <= known


@pytest.mark.slow
def test_the_gallery_has_every_figure_of_a_section_and_leads_to_it(site):
    page = soup(site / "docs/gallery.html")
    shown = {}
    for image in page.select(".gallery img"):
        link, name = image.find_parent("a")["href"], Path(image["src"]).stem
        shown[f"{Path(image['src']).parent.name}/{name}"] = link
        assert (site / "docs" / image["src"]).resolve().is_file()
        assert image["src"].endswith(".webp")
    expected = {
        f"{file.parent.name}/{file.stem}"
        for file in (ROOT / "figures").glob("*/*.json")
        if "caption" in (about := json.loads(file.read_text())) and about["provenance"]
    }
    assert set(shown) == expected
    for name, link in shown.items():
        path, _, anchor = link.partition("#")
        is_shown = not name.startswith("photographs/")  # whose figures are on no page
        assert anchor == (f"figure-{Path(name).name}" if is_shown else ""), name
        assert path.startswith("../"), name
    text = page.article.get_text()
    assert all(
        answers.command(section) in text
        for section in ("layers", "averaging", "explorer", "calibration")
    )


@pytest.mark.slow
def test_the_index_of_the_api_leads_to_every_public_name(site):
    page = soup(site / "docs/api.html")
    names = {a.get_text(): a["href"] for a in page.select("table.api tr td:first-child a")}
    assert set(names) == set(seeing_words.__all__)
    for name, link in names.items():
        path, _, anchor = link.partition("#")
        assert anchor, name
        section = soup((site / "docs" / path).resolve()).find(id=anchor).find_parent("section")
        assert section["class"] == ["doc"] and name in section.get_text()
    assert all(page.select(f'table.api a[href="{link}"]')[0] for link in names.values())
    examples = [pre.get_text() for pre in page.select("table.api details pre")]
    assert len(examples) == len(names) and all(">>> " in example for example in examples)
    linked = {a.get_text() for a in page.select("ul li a")}
    assert {"peak_table", "single_changes", "read_answer", "CLAIMS"} <= linked


@pytest.mark.slow
def test_search_leads_to_headings_that_are_there(site):
    records = json.loads(
        (site / "search.js")
        .read_text(encoding="utf-8")
        .removeprefix("window.searchRecords = ")
        .rstrip(";\n")
    )
    assert len({record["id"] for record in records}) == len(records)
    for page in ("library/measures/predictivity.html", "docs/glossary.html"):
        ids = {tag["id"] for tag in soup(site / page).find_all(id=True)}
        anchors = {
            anchor
            for path, _, anchor in (record["id"].partition("#") for record in records)
            if path == page
        } - {""}
        assert anchors and anchors <= ids
    (found,) = [
        record
        for record in records
        if record["id"] == "library/measures/predictivity.html#predictivity_grid"
    ]
    assert "Predict every layer of a target" in found["text"]


@pytest.mark.slow
def test_documented_functions_show_name_signature_and_purpose(site):
    page = soup(site / "library" / "measures" / "folds.html")
    block = page.find(id="make_folds").find_parent("section")
    assert pages.heading_text(block.h3) == "make_folds"
    assert "n_folds:int=5" in block.pre.get_text() and block.select("pre .c1")
    assert "Partition shuffled stimuli into test sets" in block.get_text()


@pytest.mark.slow
def test_pages_that_show_files_show_them_as_they_are_now(site):
    text = soup(site / "docs" / "citation.html").get_text()
    assert SITE["website"]["description"] in text
    assert (ROOT / "CHANGELOG.md").read_text(encoding="utf-8").split("### ")[1].split("\n")[
        0
    ] in text


def test_site_refuses_a_dotted_folder(tree):
    hidden = tree.rename(tree.with_name(".seeing_words"))
    run = subprocess.run(
        [sys.executable, "tools/site.py"], cwd=hidden, capture_output=True, text=True
    )
    assert run.returncode != 0
    assert "starts with a dot: .seeing_words" in run.stderr


@pytest.mark.parametrize("alive", [True, False])
def test_with_quarto_its_pages_are_moved_and_checked_too(alive, tmp_path, monkeypatch):
    quarto = tmp_path / "quarto"
    link = "index.html" if alive else "gone.html"
    quarto.write_text(
        f'#!/bin/sh\n[ $1 = render ] && mkdir "$2/_docs" && echo "<a href={link}>x</a>" > '
        '"$2/_docs/index.html"\n'
    )
    quarto.chmod(0o755)
    proc, docs = tmp_path / "_proc", tmp_path / "_docs"
    for name, value in {
        "ROOT": tmp_path,
        "PROC": proc,
        "DOCS": docs,
        "prepare": proc.mkdir,
        "add_files": lambda: None,
    }.items():
        monkeypatch.setattr(make_site, name, value)
    if alive:
        make_site.main(str(quarto))
        assert (docs / "index.html").exists() and not (proc / "_docs").exists()
    else:
        with pytest.raises(SystemExit, match="gone.html"):
            make_site.main(str(quarto))


def test_pages_of_quarto_get_the_script_of_both(tmp_path, monkeypatch):
    monkeypatch.setattr(make_site, "PROC", tmp_path)
    (tmp_path / "paper").mkdir()
    paths = {tmp_path / "index.ipynb": "", tmp_path / "paper/x.ipynb": "../"}
    for path in paths:
        nbformat.write(notebook_of(("md", "text")), path)
    make_site.add_script()
    for path, up in paths.items():
        cells = nbformat.read(path, as_version=4).cells
        assert cells[-1].source == make_site.raw(f'<script src="{up}both.js"></script>')


def test_the_workflow_publishes_what_make_site_makes():
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "publish.yml").read_text())
    steps = workflow["jobs"]["site"]["steps"]
    used = [step.get("uses", step.get("run", "")).split("@")[0] for step in steps]
    assert (
        used.index("quarto-dev/quarto-actions/setup")
        < used.index("make site")
        < used.index("actions/upload-pages-artifact")
    )
    assert (
        steps[used.index("actions/upload-pages-artifact")]["with"]["path"]
        == SITE["project"]["output-dir"]
    )


# The checker of links

PAGE = '<h2 id="here">x</h2><a href="{}">x</a>'


@pytest.mark.parametrize(
    ("link", "why"),
    [
        ("other.html", None),
        ("other.html#here", None),
        ("#here", None),
        ("sub/page.html", None),
        ("https://example.org/x", None),
        ("mailto:a@example.org", None),
        ("./other.html?x=1#here", None),
        ("gone.html", "no such file"),
        ("sub", "no such file"),
        ("other.html#gone", "no such anchor"),
        ("#gone", "no such anchor"),
        ("/other.html", "from the server's root, not from the page"),
        ("../outside.html", "outside the site"),
        ("other.ipynb", "no such file"),
    ],
)
def test_dead_links_are_found(link, why, tmp_path):
    site = tmp_path / "site"
    (site / "sub").mkdir(parents=True)
    (tmp_path / "outside.html").write_text("outside")
    (site / "other.html").write_text(PAGE.format("index.html"))
    (site / "sub" / "page.html").write_text(PAGE.format("../index.html#here"))
    (site / "index.html").write_text(PAGE.format(link))
    assert links.dead_links(site) == ([links.Dead("index.html", link, why)] if why else [])


@pytest.mark.parametrize(
    "tag", ['<img src="gone.svg">', '<script src="gone.js"></script>', '<link href="gone.css">']
)
def test_what_a_page_fetches_is_checked_too(tag, tmp_path):
    (tmp_path / "index.html").write_text(tag)
    ((page, link, why),) = links.dead_links(tmp_path)
    assert (page, link[:4], why) == ("index.html", "gone", "no such file")


# Preparation


def test_links_are_made_to_hold_on_the_site():
    page, repo = Path("paper/1_layers.ipynb"), f"{SITE['website']['repo-url']}/blob/main"
    text = (
        "[a](../library/measures/06_similarity.ipynb#cka) [c](../../CITATION.cff#x) `[d](e)` "
        "![b](../../figures/microworld/claims.png)"
    )
    assert make_site.linked(text, page) == (
        f"[a](../library/measures/06_similarity.ipynb#cka) [c]({repo}/CITATION.cff#x) `[d](e)` "
        "![b](../figures/microworld/claims.svg)"
    )
    assert (
        make_site.on_site("../figures/microworld/claims.png", Path("index.ipynb"))
        == "figures/microworld/claims.svg"
    )
    with pytest.raises(SystemExit, match="1_layers.ipynb: the link ../gone.ipynb leads nowhere"):
        make_site.linked("[a](../gone.ipynb)", page)


def test_a_picture_of_its_own_becomes_plain_html():
    text = (
        'Before ![in a line](b.svg).\n\n![a "quoted" '
        "text](a.svg)\n\n*caption*\n\n```\n![c](c.svg)\n```"
    )
    html = '<p><a href="a.svg"><img src="a.svg" alt="a &quot;quoted&quot; text"></a></p>'
    assert make_site.with_plain_pictures(text) == text.replace('![a "quoted" text](a.svg)', html)


def test_long_defaults_are_cut_from_signatures_only():
    long = "{'a': " + "Perturbation(x), " * 9 + "}"
    doc = (
        "---\n\n### f\n\n```python\ndef f(\n    registry:Mapping={}, # where it is\n    "
        "k:tuple=(1, 2)\n)->None:\n```"
    )
    assert make_site.short_defaults(doc.replace("={}", f"={long}")) == doc.replace("={}", "={…}")
    assert make_site.short_defaults(f"x={long}") == f"x={long}"


def displayed(caption: str) -> nbformat.NotebookNode:
    new = nbformat.v4
    outputs = [
        new.new_output(
            "display_data", {"image/png": ""}, metadata={"image/png": {"alt": "Four [of] it."}}
        ),
        new.new_output("display_data", {"text/markdown": caption}),
    ]
    return new.new_notebook(
        cells=[
            new.new_markdown_cell("As said. All of *it*, see [there](x.ipynb):"),
            new.new_code_cell("draw()", outputs=outputs),
        ]
    )


def test_a_figure_is_shown_as_svg_only_if_its_caption_is_the_same():
    drawn, page = {"n = 1000.": Path("figures/a/b.svg")}, Path("paper/x.ipynb")
    notebook = displayed("*n = 1000.*")
    make_site.show_svg(notebook, page, drawn)
    (output,) = notebook.cells[1].outputs
    assert output.data["text/markdown"] == "![Four (of) it.](../../figures/a/b.svg)\n\n*n = 1000.*"
    changed = displayed("*n = 999.*")
    make_site.show_svg(changed, page, drawn)
    assert "image/png" in changed.cells[1].outputs[0].data and len(changed.cells[1].outputs) == 2


def test_a_saved_figure_gets_an_anchor_once_and_links_to_its_files(tmp_path, monkeypatch):
    (tmp_path / "figures/a").mkdir(parents=True)
    about = {"files": ["x_b.csv", "x_b.svg", "x_b.png"]}
    (tmp_path / "figures/a/x_b.json").write_text(json.dumps(about))
    monkeypatch.setattr(make_site, "ROOT", tmp_path)
    shown, taken = '![Two "dots".](../../figures/a/x_b.png)\n\n*n = 3.*', set()
    first, second = (make_site.with_files(shown, Path("paper/x.ipynb"), taken) for _ in "ab")
    html = BeautifulSoup(first, "html.parser")
    assert html.find(id="figure-x_b").img["alt"] == 'Two "dots".'
    assert html.img["src"] == html.p.a["href"] == "../../figures/a/x_b.svg"
    assert [a["href"] for a in html.select(".files a")] == [
        "../../figures/a/x_b.csv",
        "../../figures/a/x_b.svg",
    ]
    assert "*n = 3.*" in first and "id=" not in second
    other = "![Another.](../../figures/a/gone.png)"
    assert make_site.with_files(other, Path("paper/x.ipynb"), taken) == other


def test_figures_that_were_saved_without_being_shown_are_shown():
    notebook = notebook_of(
        ("code", 'for m in kinds:\n    run.save(x, f"depth_{m}", alt="a")'),
        ("code", 'run.save(y, "map")'),
    )
    assert make_site.saving_cell(notebook, "layers_depth_vision", "layers") is notebook.cells[0]
    assert make_site.saving_cell(notebook, "layers_map", "layers") is notebook.cells[1]
    with pytest.raises(SystemExit, match="no cell of the notebook saves the figure layers_other"):
        make_site.saving_cell(notebook, "layers_other", "layers")


def test_a_name_that_nbdev_cannot_document_is_documented():
    cell = nbformat.v4.new_code_cell("#| echo: false\nshow_doc(extrapolate)")
    cell.outputs = [nbformat.v4.new_output("stream", text="Traceback: …")]
    notebook = nbformat.v4.new_notebook(cells=[cell])
    make_site.document_what_failed(notebook, Path("library/measures/17_sample_size.ipynb"))
    text = cell.outputs[0].data["text/markdown"]
    assert "### extrapolate" in text and "def extrapolate(curve" in text and "Traceback" not in text


def test_figures_that_share_a_caption_are_left_alone(tmp_path, monkeypatch):
    for name, caption in {"a/x": "same", "b/x": "same", "b/y": "own", "b/z": "no svg"}.items():
        file = tmp_path / "figures" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.with_suffix(".json").write_text(json.dumps({"caption": caption}))
        if caption != "no svg":
            file.with_suffix(".svg").write_text("<svg/>")
    monkeypatch.setattr(make_site, "ROOT", tmp_path)
    assert make_site.figures_by_caption() == {"own": Path("figures/b/y.svg")}


def test_pictures_are_described_by_the_figure_or_the_sentence_before():
    notebook = displayed("x")
    make_site.describe_pictures(notebook)
    assert notebook.cells[1].source == '#| fig-alt: "Four [of] it."\ndraw()'
    notebook.cells[1].source = "draw()"
    notebook.cells[1].outputs[0].metadata = {}
    make_site.describe_pictures(notebook)
    assert notebook.cells[1].source == '#| fig-alt: "All of it, see there"\ndraw()'
    make_site.describe_pictures(notebook)  # what a notebook says itself is kept
    assert notebook.cells[1].source.count("fig-alt") == 1


def test_imports_fold_and_other_code_does_not():
    imports, code = (
        nbformat.v4.new_code_cell("\n".join(lines))
        for lines in (["import a"] * 6, ["import a"] * 6 + ["a.b()"])
    )
    for cell in (imports, code):
        make_site.fold_imports(cell)
    assert imports.source.startswith("#| code-fold: true\n#| code-summary: Imports\nimport a")
    assert "code-fold" not in code.source


def notebook_of(*cells: tuple[str, str]) -> nbformat.NotebookNode:
    "Cells of (markdown or code, source); code that begins with show has an output."
    new = nbformat.v4
    made = []
    for kind, source in cells:
        cell = new.new_markdown_cell(source) if kind == "md" else new.new_code_cell(source)
        if kind == "code" and source.startswith("show"):
            cell.outputs = [new.new_output("display_data", {"text/plain": source})]
        made.append(cell)
    return new.new_notebook(cells=made)


def test_code_that_shows_nothing_joins_the_next_and_all_is_folded():
    notebook = notebook_of(
        ("code", "#| eval: false\na = 1"),
        ("code", "b = 2"),
        ("code", "#| fig-alt: c\nshow(a)"),
        ("md", "text"),
        ("code", "d = 4"),
        ("md", "more"),
        ("code", "#| echo: false\nshow(d)"),
    )
    make_site.fold_code(notebook)
    assert [cell.source for cell in notebook.cells] == [
        "#| code-fold: true\n#| code-summary: Code\n#| fig-alt: c\na = 1\n\nb = 2\n\nshow(a)",
        "text",
        "#| code-fold: true\n#| code-summary: Code\nd = 4",
        "more",
        "#| echo: false\nshow(d)",
    ]


def test_robustness_and_checks_come_last_and_sections_fold():
    notebook = notebook_of(
        ("md", "The question."),
        ("code", "import a"),
        ("md", "## Summary"),
        ("code", "show(1)"),
        ("md", "## Robustness\n\nOne choice."),
        ("md", "## Check"),
        ("code", "assert 1"),
        ("md", "## Limits -\n\nSome."),
        ("md", "## Verdicts"),
        ("code", "not_run()"),
    )
    make_site.last_and_folded(notebook, ["Summary", "Limits", "Verdicts"])
    assert [cell.source for cell in notebook.cells] == [
        "The question.",
        "## Parameters {.folded}\n",
        "import a",
        "## Summary",
        "show(1)",
        "## Limits -\n\nSome.",
        "## Verdicts {.folded}\n",
        "not_run()",
        "## Robustness {.folded}\n\nOne choice.",
        "## Check {.folded}\n",
        "assert 1",
    ]


def test_imports_join_the_parameters_that_a_notebook_has():
    notebook = notebook_of(("code", "import a"), ("md", "## Parameters\n\nAll."), ("code", "b = 1"))
    make_site.title_parameters(notebook)
    sources = [cell.source for cell in notebook.cells]
    assert sources == ["## Parameters\n\nAll.", "import a", "b = 1"]


# Rendering


def test_folded_sections_hold_what_stands_below_their_heading():
    body = BeautifulSoup(
        pages.markdown("## One {.folded}\n\ntext\n\n### Sub\n\nmore\n\n## Two\n\nend"),
        "html.parser",
    )
    pages.headings(body)
    pages.fold_sections(body)
    (details,) = body.find_all("details")
    assert details.summary.h2["id"] == "one" and pages.heading_text(details.h2) == "One"
    assert "more" in details.get_text() and "end" not in details.get_text()
    assert not details.has_attr("open")


def test_raw_html_is_left_as_it_is():
    html = '<div class="answer"><p>a_b_c *d*</p></div>'
    assert html in pages.markdown(make_site.raw(html))


@pytest.mark.parametrize(
    ("title", "anchor"),
    [  # the first four are those of pandoc's manual
        ("Heading identifiers in HTML", "heading-identifiers-in-html"),
        ("Dogs?--in my house?", "dogs--in-my-house"),
        ("HTML, S5, or RTF?", "html-s5-or-rtf"),
        ("3. Applications", "applications"),
        ("33", "section"),
        ("One's own, from a file", "ones-own-from-a-file"),
        ("make_folds", "make_folds"),
    ],
)
def test_anchors_are_those_of_pandoc(title, anchor):
    assert pages.slug(title) == anchor


def test_headings_of_one_name_get_anchors_of_their_own():
    body = BeautifulSoup("<h2>A b</h2><h2>A b</h2><h3>A b</h3>", "html.parser")
    pages.headings(body)
    assert [item["id"] for item in pages.outline(body)] == ["a-b", "a-b-1", "a-b-2"]


def test_formulas_are_mathml_and_code_keeps_its_dollars():
    html = pages.markdown("With $x^2$ and `$y$`:\n\n$$\\frac{a}{b}$$")
    assert (
        "<msup><mi>x</mi><mn>2</mn></msup>" in html
        and "<mfrac>" in html
        and 'display="block"' in html
    )
    assert "<code>$y$</code>" in html


def test_options_do_not_break_at_the_end_of_a_line():
    html = pages.markdown("`seeing-words download --dry-run a--b <x>`")
    assert html.count("<span class=whole>") == 2
    assert (
        BeautifulSoup(html, "html.parser").code.text == "seeing-words download --dry-run a--b <x>"
    )


def test_code_marks_what_has_a_style_and_escapes_the_rest():
    html = pages.code_html("def f(x): return x < 'a'  # b")
    marked = BeautifulSoup(html, "html.parser").find_all("span", class_=True)
    assert [(tag["class"], tag.string) for tag in marked] == [
        (["k"], "def"),
        (["nf"], "f"),
        (["k"], "return"),
        (["s1"], "'a'"),
        (["c1"], "# b"),
    ]
    assert "x &lt; " in html and "<pre>" in pages.code_html("<x>", "no such language")


def test_names_of_the_package_lead_to_where_they_are_documented():
    notebook = notebook_of(
        ("code", "%matplotlib inline\nfrom seeing_words import align as compare"),
        ("code", "from seeing_words.studies.layers import peak_table\nimport numpy"),
    )
    names = pages.documented_names(notebook)
    assert names == {
        "compare": "library/measures/align.html#align",
        "peak_table": "library/studies/layers.html#peak_table",
    }
    html = pages.code_html("a.compare(compare, compare(x))", urls=names)
    (link,) = BeautifulSoup(html, "html.parser").find_all("a")
    assert link["href"] == names["compare"] and link.previous_sibling.endswith("(")
    assert "<span" not in html.replace("<span></span>", "")


def test_cells_obey_their_directives():
    options, code = pages.directives(
        '#| export\n#| fig-alt: "a: b"\n#| echo: false\nx = 1  #| no\n'
    )
    assert (options, code) == ({"fig-alt": "a: b", "echo": False}, "x = 1  #| no")


def test_tables_lose_their_looks_and_get_a_box_and_one_head():
    body = BeautifulSoup(
        '<div class="output"><style>x</style><table border="1"><thead><tr '
        'style="a"><th></th><th>n</th></tr>'
        "<tr><th>source</th><th></th></tr></thead><tr><th>a</th><td>1</td></tr></table></div>",
        "html.parser",
    )
    pages.tables(body)
    assert str(body) == (
        '<div class="output"><div '
        'class="table"><table><thead><tr><th>source</th><th>n</th></tr></thead>'
        "<tr><th>a</th><td>1</td></tr></table></div></div>"
    )


def test_only_a_paragraph_in_italics_is_a_caption():
    body = BeautifulSoup(
        '<p><img src="a.svg"></p><p><em>n = 3, in full.</em></p><p><img src="b.svg"></p>'
        '<p><em>Then</em> text.</p><p>In a line <img src="c.svg"></p>',
        "html.parser",
    )
    pages.figures(body)
    first, second = body.find_all("figure")
    assert first.figcaption.get_text() == "n = 3, in full." and second.figcaption is None
    assert body.find_all("p")[0].get_text() == "Then text." and first.a["href"] == "a.svg"


def test_a_sidebar_that_names_no_notebook_is_refused():
    with pytest.raises(SystemExit, match="no notebook paper/5.ipynb, which the sidebar lists"):
        pages.placed({"section": "The paper", "contents": ["paper/5.ipynb"]}, {})
