"""Files of one's own are run when they are named, once, and their code is identified."""

import os
import subprocess
import sys
from functools import partial

import pytest

from seeing_words.core import plugins
from seeing_words.core.errors import InputError
from seeing_words.core.plugins import (
    PLUGINS,
    find_plugin,
    load_plugins,
    name_plugins,
    plugin_digests,
)


@pytest.fixture(autouse=True)
def _no_others(monkeypatch):
    monkeypatch.delenv(PLUGINS, raising=False)
    monkeypatch.setattr(plugins, "_RUN", {})
    before = set(sys.modules)
    yield
    os.environ.pop(PLUGINS, None)
    for name in set(sys.modules) - before:
        del sys.modules[name]


def written(path, text: str):
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    return path


def test_the_digest_is_that_of_the_code_and_of_what_it_imports_from_beside(tmp_path):
    mine = written(tmp_path / "mine.py", "import json\nimport helper\nfrom more import deeper\n")
    helper = written(tmp_path / "helper.py", "X = 1\n")
    deeper = written(tmp_path / "more/deeper.py", "Y = 1\n")
    written(tmp_path / "more/__init__.py", "")
    written(tmp_path / "unused.py", "Z = 1\n")
    digests = [find_plugin(mine).digest]
    written(tmp_path / "unused.py", "Z = 2\n")
    helper.write_text('"Says more."\nX = 1  # as before\n')
    assert find_plugin(mine).digest == digests[0]
    for path, text in ((helper, "X = 2\n"), (deeper, "Y = 2\n"), (mine, "import helper\n")):
        path.write_text(text)
        digests.append(find_plugin(mine).digest)
    assert len(set(digests)) == len(digests)
    (tmp_path / "elsewhere").mkdir()
    copy = written(tmp_path / "elsewhere/mine.py", "import helper\n")
    written(tmp_path / "elsewhere/helper.py", "X = 2\n")
    assert find_plugin(copy).digest == digests[-1], "the place does not count"


def test_a_file_is_run_only_if_named_and_once(tmp_path):
    log = tmp_path / "log"
    mine = written(
        tmp_path / "mine.py", f"with open({str(log)!r}, 'a') as f:\n    f.write('run ')\n"
    )
    assert load_plugins() == () and not log.exists()
    name_plugins([mine])
    assert not log.exists(), "to name it does not run it"
    assert [plugin.name for plugin in load_plugins() + load_plugins()] == ["mine.py"] * 2
    name_plugins([mine])  # again
    load_plugins()
    assert log.read_text() == "run "
    child = "from seeing_words.core.plugins import load_plugins; print(*load_plugins())"
    told = subprocess.run([sys.executable, "-c", child], capture_output=True, text=True, check=True)
    assert "mine.py" in told.stdout and log.read_text() == "run run "


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("x = (", r"plugin .*mine.py, line 1: "),
        ("x = 1 / 0", r"plugin mine.py raises ZeroDivisionError \(division by zero\)"),
        ("import no_such_module", r"plugin mine.py raises ModuleNotFoundError"),
        ("raise SystemExit(3)", "plugin mine.py raises SystemExit"),
        (
            "from seeing_words import make_folds\nmake_folds(3)",
            "plugin mine.py: 3 stimuli are too few",
        ),
    ],
)
def test_errors_name_the_file_and_it_is_run_again_when_corrected(tmp_path, text, said):
    mine = written(tmp_path / "mine.py", text)

    def use():
        name_plugins([mine])
        return load_plugins()

    with pytest.raises(InputError, match=said):
        use()
    assert str(tmp_path) not in sys.path
    mine.write_text("x = 1")
    (plugin,) = use()
    assert sys.modules[plugin.module].x == 1


@pytest.mark.parametrize("name", ["none.py", "mine.txt", "."])
def test_what_is_no_python_file_is_refused(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.txt").touch()
    with pytest.raises(InputError, match="there is no such Python file"):
        name_plugins([name])
    assert PLUGINS not in os.environ


def test_functions_are_of_their_plugin_or_of_any(tmp_path):
    one = written(tmp_path / "one.py", "def f(): pass\nclass Called:\n    def __call__(self): pass")
    two = written(tmp_path / "two.py", "def f(): pass")
    name_plugins([one, two])
    first, second = load_plugins()
    module = sys.modules[first.module]
    for thing in module.f, partial(module.f), partial(partial(module.f)), module.Called():
        assert plugin_digests(thing) == [first.digest]
    assert plugin_digests(sys.modules[second.module].f) == [second.digest]
    assert plugin_digests(load_plugins) == []
    assert plugin_digests(print) == [first.digest, second.digest]
