"""Every public name has a complete docstring, and its examples run."""

import doctest
import importlib
import inspect
import pkgutil
import re

import pytest

import seeing_words

FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def module_names() -> list[str]:
    "Modules that a user may import; those of the command line explain themselves by `--help`."
    names = [m.name for m in pkgutil.walk_packages(seeing_words.__path__, "seeing_words.")]
    private = re.compile(r"\._|\.app\.cli$")
    return [name for name in names if not private.search(name)]


def documented(module) -> dict[str, object]:
    "Public functions and classes that a module defines."
    return {
        name: thing
        for name in getattr(module, "__all__", ())
        if (inspect.isfunction(thing := getattr(module, name)) or inspect.isclass(thing))
        and thing.__module__ == module.__name__
    }


def sections(docstring: str) -> set[str]:
    "Titles of the numpydoc sections of a docstring."
    return set(re.findall(r"^(\w[\w ]*)\n-{3,}$", inspect.cleandoc(docstring), re.MULTILINE))


def missing_sections(thing) -> set[str]:
    "Titles of the numpydoc sections that a docstring should have and lacks."
    needed = {"Examples"}
    if inspect.isfunction(thing):
        signature = inspect.signature(thing)
        if signature.parameters:
            needed.add("Parameters")
        if inspect.isgeneratorfunction(inspect.unwrap(thing)):
            needed.add("Yields")
        elif signature.return_annotation not in (None, "None"):
            needed.add("Returns")
    return needed - sections(thing.__doc__ or "")


def failed_examples(name: str, thing, module) -> str:
    "Report of the examples of a docstring that fail; empty if they pass."
    finder, runner = doctest.DocTestFinder(recurse=False), doctest.DocTestRunner(optionflags=FLAGS)
    (test,) = finder.find(thing, name, module=module, globs=dict(vars(module)))
    assert test.examples, name
    report = []
    runner.run(test, out=report.append)
    return "".join(report) if runner.summarize(verbose=False).failed else ""


@pytest.fixture(autouse=True)
def empty_folder(tmp_path, monkeypatch):
    "Examples run in an empty folder, with an empty store."
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SEEING_WORDS_STORE", str(tmp_path / "store"))


@pytest.mark.parametrize("name", module_names())
def test_docstrings_of_a_module_have_the_numpydoc_sections(name):
    module = importlib.import_module(name)
    missing = {key: missing_sections(thing) for key, thing in documented(module).items()}
    assert {key: titles for key, titles in missing.items() if titles} == {}


@pytest.mark.parametrize("name", sorted(seeing_words.__all__))
def test_what_the_package_exports_at_its_top_is_documented(name):
    thing = getattr(seeing_words, name)
    assert missing_sections(thing) == set()
    assert failed_examples(name, thing, inspect.getmodule(thing)) == ""


# examples of the studies are excerpts: they continue from networks that are not at hand there
@pytest.mark.parametrize("name", [n for n in module_names() if ".studies." not in n])
def test_examples_of_a_module_run(name):
    module = importlib.import_module(name)
    names = [n for n in documented(module) if n not in seeing_words.__all__]
    reports = [failed_examples(n, getattr(module, n), module) for n in names]
    assert "".join(reports) == ""
