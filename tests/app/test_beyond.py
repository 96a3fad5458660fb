"""The chapter beyond the paper: its studies in the command, the table of claims and the report."""

import json
import re
import shutil
from collections import Counter
from pathlib import Path

import nbformat
import pandas as pd
import pytest
from conftest import ROOT
from runs import new_checkout, notebook, recorded
from typer.testing import CliRunner

from seeing_words.app import cli
from seeing_words.app.costs import WorkCount, estimate, section_work, shapes
from seeing_words.app.presets import get_preset, read_preset
from seeing_words.app.report import collect, render, write_report
from seeing_words.app.sections import chapters, find_section, named_sections, sections
from seeing_words.app.sections import section_needs as needs_of
from seeing_words.app.tables import (
    all_claims,
    compare_claims,
    save_claims,
    study_answers,
    where_supported,
)
from seeing_words.core.errors import InputError
from seeing_words.models.store import Store
from seeing_words.studies import (
    concreteness,
    content,
    dimensions,
    dynamics,
    interventions,
    probes,
    transfer,
)

pytestmark = pytest.mark.usefixtures("copied_kernels")

STUDIES = sorted((ROOT / "nbs/beyond").glob("[0-9]*.ipynb"))
PARAMETERS = 'preset: str = "microworld"\nout: str = "figures"'
HEAD = "claim,text,effect,low,high,threshold,verdict\n"
# what a study writes, by the same objects as those of the paper
WRITES = """import pandas as pd
from seeing_words.app.run import start
from seeing_words.plots import forest
run = start("{name}", preset=preset, out=out)
rows = pd.DataFrame([("a", "b", "trained", 0.2, 0.1, 0.3)],
                    columns=["group", "condition", "kind", "effect", "low", "high"])
run.save(forest(rows, label="r"), "dots", data=rows, caption="A dot.", alt="A dot with its line.")
claims = pd.DataFrame([("X{name}", "it is so", 0.2, 0.1, 0.3, "> 0", "supported")],
    columns=["claim", "text", "effect", "low", "high", "threshold", "verdict"])
run.table(claims, "claims")
run.table(pd.DataFrame({{"answer": ["{name} is so: 0.2."]}}), "answer")"""


@pytest.fixture
def root(tmp_path, monkeypatch) -> Path:
    "A checkout with a section of the paper, two studies beyond it and a page."
    root = new_checkout(tmp_path / "checkout", monkeypatch)
    notebook(root / "nbs/paper/1_toy.ipynb", parameters=PARAMETERS, work="'toy'")
    for name in ("1_bends", "2_moves"):
        work = WRITES.format(name=name[2:])
        notebook(root / f"nbs/beyond/{name}.ipynb", parameters=PARAMETERS, work=work)
    notebook(root / "nbs/beyond/walk.ipynb", parameters=PARAMETERS, work="1 / 0")
    return root


def command(*words: str):
    return CliRunner(env={"COLUMNS": "200"}).invoke(cli.app, words)


def wrote(folder: Path, section: str, verdict: str = "supported", answer: str = "") -> None:
    "Leave behind the claims of a section, and perhaps an answer."
    folder.mkdir(parents=True, exist_ok=True)
    row = f"X{section},it is so,0.2,0.1,0.3,> 0,{verdict}\n"
    (folder / f"{section}_claims.csv").write_text(HEAD + row)
    if answer:
        pd.DataFrame({"answer": [answer]}).to_csv(folder / f"{section}_answer.csv", index=False)
    names = [path.name for path in folder.glob(f"{section}_*.csv")]
    recorded(folder, section, *names)


# Names


def test_chapters_hold_the_papers_sections_and_the_numbered_notebooks_beyond(root):
    by_chapter = chapters()
    assert list(by_chapter) == ["paper", "beyond"]
    assert list(by_chapter["paper"]) == list(sections()) == ["toy"]
    assert list(by_chapter["beyond"]) == ["bends", "moves"]
    assert list(sections(beyond=True)) == ["toy", "bends", "moves", "walk"]
    assert find_section("2_moves") == find_section("moves") == by_chapter["beyond"]["moves"]


@pytest.mark.parametrize(
    ("names", "meant"),
    [
        ([], ["toy"]),
        (["beyond"], ["bends", "moves"]),
        (["paper", "beyond"], ["toy", "bends", "moves"]),
        (["2_moves", "beyond", "walk"], ["moves", "bends", "walk"]),
        (["toy", "1_toy"], ["toy"]),
    ],
)
def test_a_chapter_stands_for_its_sections_each_once(root, names, meant):
    assert named_sections(names) == meant


def test_wrong_names_of_chapters_and_sections_are_answered_with_the_right_ones(root):
    with pytest.raises(InputError, match="section 'beyon' is not known: did you mean beyond"):
        named_sections(["beyon"])
    for study in (root / "nbs/beyond").glob("[0-9]*"):
        study.unlink()
    with pytest.raises(InputError, match="no section notebooks in .*nbs/beyond"):
        named_sections(["beyond"])


def test_an_installed_package_brings_both_chapters(tmp_path, monkeypatch):
    package = tmp_path / "site-packages/seeing_words"
    notebook(package / "sections/1_toy.ipynb", parameters=PARAMETERS)
    notebook(package / "sections/beyond/1_bends.ipynb", parameters=PARAMETERS)
    monkeypatch.setattr("seeing_words.app.sections.PACKAGE", package)
    monkeypatch.setattr("seeing_words.core.files.PACKAGE", package)
    monkeypatch.chdir(tmp_path)
    assert {chapter: list(own) for chapter, own in chapters().items()} == {
        "paper": ["toy"],
        "beyond": ["bends"],
    }
    assert find_section("bends").parent == package / "sections/beyond"


# The command


def test_figures_beyond_runs_the_studies_and_plain_figures_the_paper(root):
    ran = command("figures", "--json")
    assert [one["section"] for one in json.loads(ran.stdout)] == ["toy"]
    ran = command("figures", "beyond", "--json", "-j", "1")
    assert ran.exit_code == 0, ran.output
    assert [
        (one["section"], one["figures"], one["verdicts"]) for one in json.loads(ran.stdout)
    ] == [
        ("bends", 1, {"Xbends": "supported"}),
        ("moves", 1, {"Xmoves": "supported"}),
    ]
    folder = root / "figures/microworld"
    for name in ("bends", "moves"):
        record = json.loads((folder / f"{name}_provenance.json").read_text())
        assert record["section"] == name and len(record["sources"]) == 64
        assert set(record["written"]) == {
            *(f"{name}_dots.{kind}" for kind in ("svg", "png", "csv", "json")),
            f"{name}_claims.csv",
            f"{name}_answer.csv",
        }
    table = pd.read_csv(folder / "claims.csv")
    assert table[["chapter", "section", "claim"]].values.tolist() == [
        ["beyond", "bends", "Xbends"],
        ["beyond", "moves", "Xmoves"],
    ]
    text = command("claims").output
    assert "beyond: bends" in text and "beyond: moves" in text
    report = write_report("microworld", root / "report.html")
    assert [(s.name, s.chapter, s.answer) for s in report.sections] == [
        ("toy", "paper", ""),
        ("bends", "beyond", "bends is so: 0.2."),
        ("moves", "beyond", "moves is so: 0.2."),
    ]
    page = (root / "report.html").read_text()
    assert "<strong>bends is so: 0.2.</strong>" in page
    assert 'id="bends_dots"' in page and "<td>beyond: bends<td>Xbends" in page


def test_sections_of_both_chapters_are_listed_and_completed(root):
    text = command("sections").output
    assert text.index("toy") < text.index("seeing-words figures beyond") < text.index("bends")
    assert list(json.loads(command("sections", "--json").output)) == ["toy", "bends", "moves"]
    assert cli._section_names("b") == ["bends", "beyond"]
    assert "beyond" in command("figures", "--help").output


def test_a_study_that_needs_several_captions_is_left_out_of_its_chapter(root, capsys):
    (root / "mine.toml").write_text(
        'source = "microworld"\nvision = ["microworld/vision-0"]\n'
        'language = ["microworld/llama-0"]\nn_stimuli = 40\nn_captions = 1'
    )
    parameters, study = PARAMETERS, root / "nbs/beyond/2_moves.ipynb"
    notebook(study, "several captions", parameters=parameters, work="1 / 0")
    ran = command("figures", "beyond", "--preset", "mine.toml", "--json")
    assert [one["section"] for one in json.loads(ran.stdout)] == ["bends"]
    said = " ".join(ran.stderr.split())
    assert "moves needs several captions per image, but mine has one: it is left out" in said
    ran = command("figures", "beyond", "moves", "--preset", "mine.toml")
    assert isinstance(ran.exception, InputError), "it was named, so that it is not left out"


# Claims and answers


def test_claims_of_both_chapters_make_one_table_in_order(root):
    folder = root / "figures/microworld"
    for name in ("moves", "toy", "walk"):
        wrote(folder, name, verdict="contradicted" if name == "moves" else "supported")
    table = all_claims(folder)
    assert table[["chapter", "section"]].values.tolist() == [["paper", "toy"], ["beyond", "moves"]]
    save_claims(folder)
    about = json.loads((folder / "claims.json").read_text())
    assert "1 supported; beyond the paper 1 contradicted" in about["caption"]
    assert "beyond: moves" in (folder / "claims.svg").read_text()


def test_runs_are_compared_in_both_chapters(root):
    one, other = root / "figures/microworld", root / "figures/photographs"
    wrote(one, "moves")
    wrote(one, "toy")
    wrote(other, "moves", verdict="not supported")
    table = compare_claims([one, other])
    assert table[["section", "run"]].values.tolist() == [
        ["toy", "microworld"],
        ["moves", "microworld"],
        ["moves", "photographs"],
    ]
    held = where_supported(other, one)
    assert held[["chapter", "section", "holds"]].values.tolist() == [
        ["beyond", "moves", "organism only"]
    ]


def test_answers_are_read_in_order_and_empty_where_nothing_was_run(root):
    folder = root / "figures/microworld"
    wrote(folder, "moves", answer="It moves by 0.2.")
    assert study_answers(folder).values.tolist() == [
        ["bends", "1_bends.ipynb", ""],
        ["moves", "2_moves.ipynb", "It moves by 0.2."],
    ]
    assert set(study_answers(root / "figures/none").answer) == {""}


def test_a_report_names_studies_that_were_not_run_and_one_without_claims_is_finished(root):
    notebook(
        root / "nbs/beyond/1_bends.ipynb",
        parameters=PARAMETERS,
        work="import pandas as pd\nfrom seeing_words.app.run import start\n"
        'run = start("bends", preset=preset, out=out)\n'
        'run.table(pd.DataFrame({"answer": ["Left open."]}), "answer")',
    )
    assert command("figures", "bends").exit_code == 0
    found = collect("microworld")
    assert "Beyond the paper, not run: moves." in found.notes
    assert found.missing == ("toy",)
    text = render(found)
    assert "Left open." in text and "stopped before its claims" not in text


# The studies themselves


def cells(study: Path) -> dict[str, str]:
    return {cell.id: cell.source for cell in nbformat.read(study, as_version=4).cells}


@pytest.mark.parametrize("study", STUDIES, ids=lambda path: path.stem)
def test_studies_have_one_form(study):
    found = cells(study)
    name = re.sub(r"^\d+_", "", study.stem)
    order = ["title", "question", "imports", "parameters-md", "parameters", "start", "summary"]
    order += ["verdicts-md", "verdicts", "answer-md", "answer", "limits-md", "check-md", "check"]
    order += ["provenance", "see-also"]
    assert [cell for cell in found if cell in order] == order
    for cell in ("claims-md", "method-md"):  # before anything is known
        assert list(found).index(cell) < list(found).index("summary")
    assert f'run = start(\n    "{name}",' in found["start"]
    assert re.search(r'^    "claims",$', found["verdicts"], re.MULTILINE) or (
        '        "claims",' in found["verdicts"]
    )
    assert 'run.table(pd.DataFrame({"answer": [answer]}), "answer")' in found["answer"]
    assert f"`seeing-words figures {name} " in found["parameters-md"]
    assert "https://arxiv.org/abs/2509.20751" in found["question"]


@pytest.mark.parametrize("study", STUDIES, ids=lambda path: path.stem)
def test_what_a_study_declares_is_known_and_can_be_estimated(study):
    needs_of(study)
    for name in ("microworld", "paper"):
        preset = get_preset(name)
        count = WorkCount(preset, shapes(preset), notebook=study)
        count.count(section_work(study))
        assert bool(count.passes) == (study.stem != "6_dynamics")  # which reads snapshots


def test_room_is_estimated_for_the_studies_that_are_to_run():
    preset = get_preset("microworld")
    costs = estimate(preset, 1e11, sections=dict.fromkeys(chapters()["beyond"], preset)).sections
    assert [cost.section for cost in costs] == list(chapters()["beyond"])
    assert all(cost.store > 0 for cost in costs if cost.section != "dynamics")
    assert [cost.section for cost in estimate(preset, 1e11).sections] == list(sections())


def test_claims_have_names_of_their_own_over_all_studies():
    names = [claim.name for claim in content.CLAIMS]
    told = {"slope": True, "levels": ["name", "mood"], "words": True, "drawings": True}
    names += [claim.name for claim in concreteness.claims_about(**told)]
    names += [claim.name for claim in dimensions.claims_about(recurrence=True, facts=True)]
    names += [claim.name for claim in dynamics.claims_about(["place", "thing name"])]
    names += [claim.name for claim in interventions.claims_about(facts=True)]
    names += [claim.name for claim in probes.claims_about({"v2l": "a", "l2v": "b"})]
    names += [claim.name for claim in transfer.claims_about(["other scenes", "reshuffled places"])]
    assert len(names) > 30 and len(set(names)) == len(names)
    of_paper = pd.read_csv(ROOT / "figures/microworld/claims.csv").query("chapter == 'paper'")
    assert not set(names) & set(of_paper.claim)


# The front page


def front_page_lines(folder: Path) -> str:
    "What the cell of the front page says of a folder of figures."
    source = cells(ROOT / "nbs/index.ipynb")["beyond"].replace("#| echo: false", "")
    space = {"figures": folder.parent, "Markdown": lambda text: text}
    *lines, last = source.replace('"microworld"', repr(folder.name)).strip().splitlines()
    exec("\n".join(lines), space)
    return eval(last, space)


def test_the_front_page_has_a_line_for_each_study_run_or_not(tmp_path):
    folder = tmp_path / "microworld"
    assert front_page_lines(folder).count(": not run yet.") == len(STUDIES)
    wrote(folder, "probes", answer="Curves read 0.2 more.")
    lines = front_page_lines(folder).splitlines()
    assert lines[0] == "- [Probes](beyond/1_probes.ipynb): Curves read 0.2 more."
    assert len(lines) == len(STUDIES) and sum("not run yet" in line for line in lines[1:]) == (
        len(STUDIES) - 1
    )


def test_the_front_page_has_room_for_seven_answers():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    before, rest = text.split("## Beyond the paper\n")
    of_studies = [line for line in rest.splitlines() if "](nbs/beyond/" in line][: len(STUDIES)]
    assert all(line.startswith("- [") for line in of_studies)
    others = len(text.split()) - sum(len(line.split()) for line in of_studies)
    assert others + 7 * (2 + 21) <= 700  # sentences of 24 words at most, most of them shorter


# On the paper's formats in miniature


@pytest.mark.slow
def test_every_study_runs_on_the_papers_formats(tmp_path, monkeypatch):
    (tmp_path / "nbs/beyond").mkdir(parents=True)
    (tmp_path / "nbs/paper").mkdir()
    for study in STUDIES:
        shutil.copy(study, tmp_path / "nbs/beyond")
    (tmp_path / "settings.ini").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SEEING_WORDS_STORE", str(tmp_path / "_store"))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    preset_file = ROOT / "tests/fixtures/tiny-paper.toml"
    ran = command("figures", "beyond", "--preset", str(preset_file), "-j", "1")
    assert ran.exit_code == 0, ran.output
    folder = tmp_path / "figures/tiny-paper"
    names = list(chapters()["beyond"])
    assert len(names) == len(STUDIES)
    for name in names:
        record = json.loads((folder / f"{name}_provenance.json").read_text())
        made = {path.name for path in folder.glob(f"{name}_*") if path.suffix != ".tsv"}
        beside = {f"{name}_provenance.json", f"{name}_environment.json"}
        assert set(record["written"]) == made - beside
        assert f"{name}_answer.csv" in made
        if name != "dynamics":  # random networks have no snapshots of their training
            assert {f"{name}_claims.csv", f"{name}_claims.svg"} <= made
    answers = study_answers(folder).set_index("section").answer
    assert (answers.str.split().str.len() > 5).all()
    assert answers["dynamics"].startswith("Left open")
    assert set(all_claims(folder).section) == {*names} - {"dynamics"}
    assert collect(str(preset_file)).missing == tuple(sections())
    # the store holds what the studies declare
    preset = read_preset(preset_file)
    rows = Store(tmp_path / "_store").ls()
    names = ("model", "stimuli", "perturbation", "pooling")
    stored = {tuple(row[name] for name in names) for row in rows}
    passes = {}
    for study in chapters()["beyond"].values():
        count = WorkCount(preset, shapes(preset), notebook=study)
        count.count(section_work(study))
        passes |= count.passes
    declared = Counter()
    for (network, *_), n_poolings in passes.items():
        declared[network] += n_poolings
    assert Counter(str(network) for network, *_ in stored) == declared
