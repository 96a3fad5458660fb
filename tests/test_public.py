"""Every public name has a complete docstring, and its examples run."""

import doctest
import inspect
import re

import pytest

import seeing_words

NAMES = sorted(seeing_words.__all__)


def sections(docstring: str) -> set[str]:
    "Titles of the numpydoc sections of a docstring."
    return set(re.findall(r"^(\w[\w ]*)\n-{3,}$", inspect.cleandoc(docstring), re.MULTILINE))


@pytest.mark.parametrize("name", NAMES)
def test_docstring_has_the_numpydoc_sections(name):
    thing = getattr(seeing_words, name)
    needed = {"Examples"}
    if inspect.isfunction(thing):
        needed.add("Returns")
        if inspect.signature(thing).parameters:
            needed.add("Parameters")
    assert needed <= sections(thing.__doc__)


@pytest.mark.parametrize("name", NAMES)
def test_examples_of_the_docstring_run(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SEEING_WORDS_STORE", str(tmp_path / "store"))
    thing = getattr(seeing_words, name)
    module = inspect.getmodule(thing)
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    finder, runner = doctest.DocTestFinder(recurse=False), doctest.DocTestRunner(optionflags=flags)
    (test,) = finder.find(thing, name, module=module, globs=dict(vars(module)))
    assert test.examples
    report = []
    runner.run(test, out=report.append)
    assert runner.summarize(verbose=False).failed == 0, "".join(report)
