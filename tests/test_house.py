"""The house rules hold everywhere: anatomy, proofs and prose of notebooks; sizes, hints and comments of code."""
import statistics
import subprocess

import house
import nbformat
import pytest
from conftest import ROOT
from test_project import LIBRARY, MODULES, NBS, NOTEBOOKS, cells

# Notebooks beside the sections that make no claim: they show how something is done.
HOW_TO = {"beyond/own_features.ipynb": "walks through `align` on features made in it"}
SECTIONS = [name for name in NOTEBOOKS if name.startswith(("paper/", "beyond/")) and name not in HOW_TO]

# Cells in which digits are definitions of a kind that no pattern tells.
STATED = {
    ("beyond/calibration.ipynb", "claims-md"): "thresholds, which are set before any result",
}

# Headings whose definitions are proven by a test instead: what they do takes files, networks, processes or terminals.
PROVEN_BY = {
    ("library/01b_sources.ipynb", "## The door for text"): "test_sources.py",
    ("library/01b_sources.ipynb", "## The door for parquet"): "test_sources.py",
    ("library/01b_sources.ipynb", "## What a source finds"): "test_sources.py",
    ("library/01b_sources.ipynb", "## From files to stimuli"): "test_sources.py",
    ("library/04a_judges.ipynb", "## Towers"): "test_judges.py",
    ("library/13b_alignment.ipynb", "## What comes out"): "test_alignment.py",
    ("library/14_presets.ipynb", "## A preset"): "test_presets.py",
    ("library/14_presets.ipynb", "## Where data lies, and where networks run"): "test_presets.py",
    ("library/14b_download.ipynb", "## From the hub"): "test_download.py",
    ("library/14c_costs.ipynb", "## What a section computes"): "test_costs.py",
    ("library/14d_check.ipynb", "## A finding"): "test_yours.py",
    ("library/14d_check.ipynb", "## Stimuli"): "test_yours.py",
    ("library/14d_check.ipynb", "## Networks"): "test_yours.py",
    ("library/14d_check.ipynb", "## Judge and trials"): "test_yours.py",
    ("library/15_run.ipynb", "## Networks in memory"): "test_run.py",
    ("library/16b_report.ipynb", "## Sections"): "test_report.py",
    ("library/17_cli.ipynb", "## Claims"): "test_cli.py",
    ("library/17_cli.ipynb", "## Report"): "test_cli.py",
}

# Parameters that neither a comment nor their name explains, each with where it is read.
TOLD_ELSEWHERE = {
    "download.mirrored(url)": "its type and name are all there is to say",
    "download.told_bytes(size)": "bytes, as the function's name says",
    "perturb.keep_speech(kept)": "the docstring: parts of speech",
    "presets.data_folder(given)": "the docstring: the folder that a preset gives",
    "sources.folder_stimuli(image_column)": "the comments on the other columns",
}


@pytest.mark.parametrize("name", [name for name in NOTEBOOKS if name.startswith(("paper/", "beyond/"))])
def test_numbers_in_prose_are_computed(name):
    typed = {cell.id: found for cell in cells(name) if cell.cell_type == "markdown" and (name, cell.id) not in STATED
             if (found := house.typed_numbers(cell.source))}
    assert not typed, f"compute these, or say in tests/test_house.py why they are definitions: {typed}"


def test_no_exception_is_left_that_nothing_needs():
    unneeded = [(name, id) for name, id in STATED for cell in cells(name)
                if cell.id == id and not house.typed_numbers(cell.source)]
    assert not unneeded


@pytest.mark.parametrize(("prose", "found"), [
    ("The peak lies at 0.62.", ["at 0.62."]), ("12 of 16 claims hold", ["12 of", "16 claims"]), ("It rose by 3 %", ["by 3 %"]),
    ("Layer 7 is best", ["Layer 7 is"]), ("between 0.3 and 0.5", ["between 0.3 and", "0.5"]), ("a score of 0.1", ["of 0.1"]),
    ("Section 3.1 of [the paper](https://arxiv.org/abs/2509.20751), `n = 100`, $p < 0.05$", []),
    ("Claims L2a and P1; layer 0 is the embedding (Kornblith et al. 2019)", []),
    ("95 % intervals in float16, around 0", []), ("```sh\nmake -j 8\n```\n1. one\n2. two", []),
    ("[Gram](https://doi.org/10.48550/arXiv.1905.00414) of 200 stimuli", ["of 200 stimuli"]),
])
def test_a_number_is_typed_unless_it_defines_or_cites(prose, found):
    assert house.typed_numbers(prose) == found


# Faults that are none, each with why.
MEANT = {"paper/4_averaging.ipynb": ["data before claims"]}  # how many captions there are decides what is claimed


@pytest.mark.parametrize("name", SECTIONS)
def test_a_section_has_its_anatomy(name):
    assert house.faults(cells(name)) == MEANT.get(name, [])


def broken(name: str, how: str) -> list[nbformat.NotebookNode]:
    "A section whose anatomy is wrong in one respect."
    made = cells(name)
    where = house.parts(made)
    if how == "no robustness": del made[where["robustness"]]
    if how == "data before claims": made.insert(where["claims"], nbformat.v4.new_code_cell("x = run.features('a')"))
    if how == "no question after the title": del made[1]
    if how == "parts in another order": made.insert(0, made.pop(where["check"]))
    if how == "the last code is not its provenance": made.append(nbformat.v4.new_code_cell("1"))
    return made


@pytest.mark.parametrize("how", ["no robustness", "data before claims", "no question after the title", "parts in another order",
                                 "the last code is not its provenance"])
def test_a_broken_anatomy_is_seen(how):
    assert any(fault.startswith(how) for fault in house.faults(broken("paper/1_layers.ipynb", how)))


@pytest.mark.parametrize("name", LIBRARY)
def test_a_library_notebook_says_which_module_it_is_before_anything_is_exported(name):
    directives = [line for cell in cells(name) if cell.cell_type == "code" for line in cell.source.splitlines()
                  if line.startswith(("#| default_exp", "#| export"))]
    assert directives[0].startswith("#| default_exp")
    assert sum(line.startswith("#| default_exp") for line in directives) == 1


@pytest.mark.parametrize("name", LIBRARY)
def test_what_a_library_notebook_defines_it_proves(name):
    unproven = house.unproven(cells(name))
    elsewhere = [heading for notebook, heading in PROVEN_BY if notebook == name]
    assert [heading for heading in unproven if heading not in elsewhere] == [], "nothing is run under these headings"
    assert set(elsewhere) <= set(unproven), "these are proven by now: take them off the list"


def test_proofs_elsewhere_name_what_they_prove():
    for (notebook, _), test in PROVEN_BY.items():
        module = next(cell.source.split()[-1] for cell in cells(notebook) if cell.source.startswith("#| default_exp"))
        assert f"seeing_words.{module}" in (NBS.parent / "tests" / test).read_text() or f"import {module}" in (
            NBS.parent / "tests" / test).read_text()


def test_half_of_all_functions_have_eight_lines_or_fewer():
    lines = [n for path in MODULES.values() for n in house.sizes(path).values()]
    assert statistics.median(lines) <= 8
    assert max(lines) <= 40


@pytest.mark.parametrize("module", MODULES)
def test_public_functions_have_type_hints(module):
    bare = [f"{a.function}({a.name})" for a in house.arguments(MODULES[module]) if not a.hint and not a.open_ended]
    bare += [f"{name} → ?" for name, function, _ in house.public_functions(MODULES[module]) if function.returns is None]
    assert not bare


@pytest.mark.parametrize("module", MODULES)
def test_parameters_say_what_they_are(module):
    told = {name for name in TOLD_ELSEWHERE if name.startswith(f"{module}.")}
    silent = {f"{a.function}({a.name})" for a in house.arguments(MODULES[module]) if not a.is_told}
    assert silent <= told, "add a comment: shapes with axis names, units, what None means"
    assert told <= silent, "these are told by now: take them off the list"


TOY = '''def f(
    X: np.ndarray,
    Y: np.ndarray,  # (stimulus, unit)
    n: int,
    seed: int,
    width: int,     # pixels
    folds: Folds,
    z,
) -> float:
    "Of `n`."
'''


def test_a_silent_parameter_is_seen(tmp_path):
    (tmp_path / "toy.py").write_text(TOY)
    found = {a.name: (a.is_told, bool(a.hint)) for a in house.arguments(tmp_path / "toy.py")}
    assert found == {"X": (False, True), "Y": (True, True), "n": (True, True), "seed": (True, True), "width": (True, True),
                     "folds": (True, True), "z": (False, False)}


# Commands

def dry_run(*words: str) -> str:
    return subprocess.run(["make", "-n", *words], cwd=ROOT, capture_output=True, text=True, check=True).stdout


def test_lab_opens_the_index_with_its_figures_within_reach():
    assert "jupyter lab --ServerApp.root_dir=. nbs/index.ipynb" in dry_run("lab")


def test_one_section_can_be_made_alone():
    assert "seeing-words figures layers --preset microworld" in dry_run("figures", "SECTIONS=layers")
