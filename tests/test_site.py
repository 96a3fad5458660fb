"""The site: every notebook has its page, every link resolves, and the tools that make it work."""

import importlib.util
import json
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import nbformat
import pytest
import yaml
from bs4 import BeautifulSoup
from conftest import ROOT

sys.path.insert(0, str(ROOT / "tools"))
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
    assert {SITE["format"]["html"]["css"], SITE["website"]["favicon"]} == set(make_site.FOR_QUARTO)
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
    }.items():
        monkeypatch.setattr(make_site, name, value)
    if alive:
        make_site.main(str(quarto))
        assert (docs / "index.html").exists() and not (proc / "_docs").exists()
    else:
        with pytest.raises(SystemExit, match="gone.html"):
            make_site.main(str(quarto))


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


# Rendering


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
