"""The project's files agree with each other and keep the house rules."""

import ast
import graphlib
import inspect
import re
import runpy
import subprocess
import sys
import tomllib
from configparser import ConfigParser

import nbformat
import pytest
import yaml
from conftest import ROOT
from packaging.requirements import Requirement

import seeing_words
from seeing_words.core.extras import EXTRAS

NBS, README = ROOT / "nbs", ROOT / "README.md"
NOTEBOOKS = sorted(
    path.relative_to(NBS).as_posix()
    for path in NBS.rglob("[!.]*.ipynb")
    if path.parent.name != ".ipynb_checkpoints"
)
LIBRARY = [name for name in NOTEBOOKS if name.startswith("library/")]
RUN_WITH_PARAMETERS = [
    name for name in NOTEBOOKS if name.startswith(("paper/", "beyond/", "train/"))
]
PACKAGE = ROOT / "seeing_words"
MODULES = {
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts): path
    for path in sorted(PACKAGE.rglob("*.py"))
    if path.name not in ("__init__.py", "_modidx.py")
}
FLOORS = (
    "core",
    "data",
    "plots",
    "models",
    "measures",
    "studies",
    "app",
)  # a room imports only from itself and those before it
# `measures` and `plots` are about arrays: they know nothing of models, stimuli or presets
NOT_ABOVE = {
    "measures": {"core", "plots", "measures"},
    "plots": {"core", "plots"},
    "data": {"core", "data"},
}
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
SETTINGS = ConfigParser()
SETTINGS.read(ROOT / "settings.ini")
SETTINGS = SETTINGS["DEFAULT"]
SITE = yaml.safe_load((ROOT / "_quarto.yml").read_text())


def cells(name: str) -> list[nbformat.NotebookNode]:
    return nbformat.read(NBS / name, as_version=4).cells


# Notebooks


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_cell_ids_are_names(name):
    ids = [cell.id for cell in cells(name)]
    assert len(set(ids)) == len(ids)
    unnamed = [id for id in ids if not re.fullmatch(r"(?![0-9a-f]{8}(-|$))[a-z0-9][a-z0-9_-]*", id)]
    assert not unnamed, f"give these cells stable names, exports carry them: {unnamed}"


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_first_cell_is_title_and_purpose_alone(name):
    lines = [line for line in cells(name)[0].source.splitlines() if line]
    assert [line.split()[0] for line in lines] == ["#", ">"], (
        "nbdev makes the first cell the page's head and drops the rest"
    )


@pytest.mark.parametrize("name", RUN_WITH_PARAMETERS)
def test_one_parameters_cell_of_annotated_literals(name):
    tagged = [cell for cell in cells(name) if "parameters" in cell.metadata.get("tags", [])]
    assert len(tagged) == 1
    statements = ast.parse(tagged[0].source).body
    assert 1 <= len(statements) <= 12
    for statement, line in zip(statements, tagged[0].source.splitlines(), strict=True):
        assert isinstance(statement, ast.AnnAssign), f"not name: type = literal  # purpose: {line}"
        ast.literal_eval(statement.value)
        assert "  # " in line, f"say what it is for: {line}"


@pytest.mark.parametrize("name", LIBRARY)
def test_cells_that_run_doctests_import_nothing(name):
    for cell in cells(name):
        if "doctest.testmod(" in cell.source:
            assert not re.search(r"^(import|from) ", cell.source, re.MULTILINE), (
                "nbdev runs cells with imports, out of their context, when it makes the site: "
                f"move the import out of cell {cell.id}"
            )


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_links_of_notebooks_hold(name):
    folder = (NBS / name).parent
    missing = []
    for cell in cells(name):
        if cell.cell_type != "markdown":
            continue
        prose = re.sub(r"```.*?```", "", cell.source, flags=re.DOTALL)
        for link in re.findall(r"\]\(([^)\s#]+)[^)]*\)", prose):
            if not re.match(r"[a-z]+:", link) and not (folder / link).exists():
                missing.append(link)
    assert not missing


# README


def test_readme_is_the_index_notebook():
    readme = runpy.run_path(str(ROOT / "tools" / "readme.py"))["readme"]()
    assert README.read_text(encoding="utf-8") == readme, (
        "README.md is behind nbs/index.ipynb: make export"
    )


def test_readme_is_read_in_a_few_minutes():
    text = README.read_text(encoding="utf-8")
    assert len(text.split()) <= 800
    first_screen = text[: text.index("![")]
    assert "pip install" in first_screen and "make figures" in first_screen


def test_readme_links_hold():
    links = re.findall(
        r"""(?:\]\(|\b(?:src|srcset|href)=")([^)\s"#]+)""", README.read_text(encoding="utf-8")
    )
    missing = [
        link for link in links if not re.match(r"[a-z]+:", link) and not (ROOT / link).exists()
    ]
    assert not missing


def test_readme_rewrites_links_but_not_code():
    from_root = runpy.run_path(str(ROOT / "tools" / "readme.py"))["from_root"]
    assert (
        from_root("![a](../figures/a.png) [b](paper/1.ipynb#x)")
        == "![a](figures/a.png) [b](nbs/paper/1.ipynb#x)"
    )
    assert from_root('<img src="../figures/a.png">') == '<img src="figures/a.png">'
    kept = "[c](https://example.org) [d](#claims) `x[0](y)`\n```python\nfunctions[0](y)\n```"
    assert from_root(kept) == kept


# Package


def test_every_public_name_explains_itself():
    names = seeing_words.__all__
    assert len(set(names)) == len(names)
    assert all(getattr(seeing_words, name).__doc__ for name in names)
    assert seeing_words.__doc__


def imports(module: str) -> set[str]:
    "The modules of the package that a module imports, also within functions."
    package = ["seeing_words", *module.split(".")[:-1]]
    names = set()
    for node in ast.walk(ast.parse(MODULES[module].read_text())):
        if not isinstance(node, ast.ImportFrom):
            continue
        base = package[: len(package) - node.level + 1] if node.level else []
        source = ".".join([*base, *([node.module] if node.module else [])])
        if source.split(".")[0] != "seeing_words":
            continue
        inner = source.removeprefix("seeing_words").lstrip(".")
        for alias in node.names:
            longer = f"{inner}.{alias.name}".lstrip(".")
            names.add(longer if longer in MODULES else inner)
    return names - {""}  # the version comes from the package itself


def test_each_module_has_one_notebook():
    exported = [
        re.search(r"^#\| default_exp ([\w.]+)", source, re.MULTILINE)[1]
        for name in LIBRARY
        for source in ["\n".join(cell.source for cell in cells(name))]
    ]
    assert sorted(exported) == sorted([*MODULES, "__init__"])


@pytest.mark.parametrize("module", MODULES)
def test_rooms_import_only_from_those_above(module):
    room = module.split(".")[0]
    allowed = NOT_ABOVE.get(room, set(FLOORS[: FLOORS.index(room) + 1]))
    used = imports(module)
    assert used <= set(MODULES)
    assert {other.split(".")[0] for other in used} <= allowed


def test_no_two_modules_import_each_other():
    graphlib.TopologicalSorter({module: imports(module) for module in MODULES}).prepare()


DISTRIBUTIONS = {
    "IPython": "ipython",
    "PIL": "pillow",
    "dask_jobqueue": "dask-jobqueue",
    "huggingface_hub": "huggingface-hub",
    "jupyter_client": "jupyter-client",
    "jupyter_core": "jupyter-core",
    "lazy_loader": "lazy-loader",
    "sklearn": "scikit-learn",
}
EXTRAS_OF_ROOMS = {"models": {"models"}, "studies": {"models", "paper", "explore"}}
EXTRAS_OF_ROOMS["app"] = {"models", "paper"}
EXTRAS_OF_ROOMS["measures.ridge_map"] = {"models"}  # an estimator of scikit-learn


def packages_imported(module: str) -> set[str]:
    "Distributions that a module imports when it is itself imported."
    names = set()
    for node in ast.parse(MODULES[module].read_text()).body:
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names.add(node.module)
    names = {name.split(".")[0] for name in names} - sys.stdlib_module_names - {"seeing_words"}
    return {DISTRIBUTIONS.get(name, name) for name in names}


def declared_packages(extras: set[str]) -> set[str]:
    requirements = list(PYPROJECT["project"]["dependencies"])
    for extra in extras:
        requirements += PYPROJECT["project"]["optional-dependencies"][extra]
    return {Requirement(text).name for text in requirements}


@pytest.mark.parametrize("module", MODULES)
def test_imports_are_declared_in_the_extra_of_the_room(module):
    room = module.split(".")[0]
    extras = EXTRAS_OF_ROOMS.get(module, EXTRAS_OF_ROOMS.get(room, set()))
    assert packages_imported(module) <= declared_packages(extras)


def test_every_optional_import_is_assigned_to_the_extra_that_installs_it():
    for extra, modules in EXTRAS.items():
        packages = {DISTRIBUTIONS.get(module, module) for module in modules}
        assert packages <= declared_packages({extra, "paper"})
        assert not packages & declared_packages(set())


WITH_THE_CORE_ALONE = """
import importlib.abc, sys
import numpy as np
from seeing_words.core.extras import EXTRAS

class Missing(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {module for group in EXTRAS.values() for module in group}:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Missing())
import seeing_words
vision, language = np.random.default_rng(0).normal(size=(2, 30, 4))
print(seeing_words.align(vision, language, n_permutations=0, n_draws=9, progress=False))
seeing_words.cka(vision, language), seeing_words.microworld_stimuli(2)
for name, extra in {"load_model": "models", "RidgeMap": "models", "start": "models"}.items():
    try:
        getattr(seeing_words, name)
    except ImportError as error:
        assert f"pip install 'seeing-words[{extra}]'" in str(error), error
    else:
        raise AssertionError(f"{name} was imported without its packages")
"""


def test_two_arrays_are_aligned_without_the_optional_packages():
    run = subprocess.run(
        [sys.executable, "-c", WITH_THE_CORE_ALONE], capture_output=True, text=True, cwd=ROOT
    )
    assert run.returncode == 0, run.stderr
    assert "best r" in run.stdout


def test_a_module_is_importable_under_the_name_of_its_function():
    import seeing_words.measures.predictivity as module

    assert inspect.ismodule(module)
    assert module.predictivity is seeing_words.predictivity


def test_checkpoints_are_small():
    assert (
        sum(path.stat().st_size for path in (ROOT / "seeing_words" / "checkpoints").rglob("*"))
        <= 40 * 2**20
    )


# Versions, addresses, paths


def test_one_version():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    version = SETTINGS["version"]
    assert seeing_words.__version__ == version
    assert citation["version"] == version
    assert f"## [{version}]" in (ROOT / "CHANGELOG.md").read_text()


def test_one_description_and_address():
    project, site = PYPROJECT["project"], SITE["website"]
    assert project["description"] == SETTINGS["description"] == site["description"]
    assert project["requires-python"] == f">={SETTINGS['min_python']}"
    assert project["urls"]["Repository"] == SETTINGS["git_url"] == site["repo-url"]
    assert (
        project["urls"]["Documentation"]
        == SETTINGS["doc_host"] + SETTINGS["doc_baseurl"]
        == site["site-url"]
    )


def locked() -> dict[str, str]:
    lines = [
        line
        for line in (ROOT / "requirements.lock").read_text().splitlines()
        if not line.startswith("#")
    ]
    assert all(re.fullmatch(r"[\w.-]+==[\w.]+", line) for line in lines), (
        "every line pins one version"
    )
    return {
        re.sub(r"[-_.]+", "-", name).lower(): version
        for name, version in (line.split("==") for line in lines)
    }


def test_lock_satisfies_pyproject():
    versions = locked()
    extras = PYPROJECT["project"]["optional-dependencies"]
    requirements = [text for group in extras.values() for text in group]
    requirements += PYPROJECT["project"]["dependencies"]
    for text in requirements:
        if text.startswith("seeing-words["):
            continue
        requirement = Requirement(text)
        assert requirement.specifier.contains(versions[requirement.name]), text


def test_no_machine_in_the_files(files):
    folder = rb"(?<![\w.~])/(?:work|root|home|opt|tmp)/|file:/[/]"
    registry = rb"index-ur[l]|find-link[s]|py[p]i\.org|pythonhoste[d]"
    place = re.compile(folder + b"|" + registry)
    texts = {file: (ROOT / file).read_bytes() for file in files if not (ROOT / file).is_dir()}
    found = {
        str(file): match[0]
        for file, text in texts.items()
        if b"\0" not in text and (match := place.search(text))
    }
    assert not found


# Commands


def test_help_lists_every_target():
    makefile = (ROOT / "Makefile").read_text()
    targets = re.search(r"^\.PHONY: (.*)", makefile, re.MULTILINE)[1].split()
    shown = subprocess.run(["make"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert re.findall(r"^  make (\w+) +\S", shown, re.MULTILINE) == targets


def test_old_python_is_refused_in_words(tree):
    run = subprocess.run(
        ["make", "figures", "PYTHON=false"], cwd=tree, capture_output=True, text=True
    )
    assert run.returncode != 0
    assert "needs Python 3.11 or newer" in run.stderr
