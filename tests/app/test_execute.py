"""Section notebooks run with what was asked for, or not at all, and fail in their own words."""

import os
import sys
from pathlib import Path

import nbformat
import pytest
from hypothesis import given
from hypothesis import strategies as st
from runs import new_checkout, notebook

from seeing_words.app.execute import Job, SectionError, plan_section, read_value, run_section
from seeing_words.app.run import start
from seeing_words.app.sections import Parameter
from seeing_words.core.errors import InputError

PARAMETERS = """preset: str = "microworld"
n_stimuli: int | None = 20
noise: float = 0.5
refit: bool = True
out: str = "figures"
"""
WORK = """import sys
import pandas as pd
from seeing_words.plots import claims_figure, forest
from seeing_words.app.run import start
run = start("toy", preset=preset, n_stimuli=n_stimuli, noise=noise, refit=refit, out=out)
table = pd.DataFrame([("L1", "a claim", 0.4, 0.3, 0.5, "> 0", "supported")],
                     columns=["claim", "text", "effect", "low", "high", "threshold", "verdict"])
run.save(claims_figure(table), "claims", data=table, caption="n = 20", alt="A table.")
print(sys.executable, noise)"""


@pytest.fixture
def root(tmp_path, monkeypatch):
    return new_checkout(tmp_path / "checkout", monkeypatch)


@pytest.fixture
def toy(root):
    return notebook(root / "nbs/paper/1_toy.ipynb", parameters=PARAMETERS, work=WORK)


def failing(tmp_path, source: str) -> str:
    "The message about a notebook whose second cell is `source`."
    path = notebook(
        tmp_path / "1_bad.ipynb",
        parameters="seed: int = 0",
        before="x = 1",
        bad_cell=source,
        after="x / 0",
    )
    with pytest.raises(SectionError) as error:
        run_section(Job("bad", path, {}, start("bad"), tmp_path / "executed.ipynb"))
    return str(error.value)


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        ("int", st.integers()),
        ("float", st.floats(allow_nan=False)),
        ("str", st.text()),
        ("bool", st.booleans()),
    ],
)
def test_values_are_read_as_they_are_written(kind, values):
    @given(values)
    def reads_back(value):
        for optional in "", " | None":
            read = read_value(Parameter("x", kind + optional, None), str(value))
            assert (read == value and type(read) is type(value)) or (
                str(value) == "None" and optional
            )

    reads_back()


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("int", "5.0"),
        ("int", "five"),
        ("int", ""),
        ("int", "None"),
        ("float", "a"),
        ("bool", "1"),
        ("int | None", "none"),
    ],
)
def test_a_value_of_a_wrong_type_is_refused(kind, text):
    with pytest.raises(InputError, match=f"^x={text}: ") as error:
        read_value(Parameter("x", kind, 3), text)
    assert f"must be of type {kind}, for example x=3" in str(error.value)


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"n_stimulus": "50"}, "section toy has no parameter 'n_stimulus': did you mean n_stimuli"),
        ({"n_stimuli": "many"}, r"n_stimuli=many: the value must be of type int \| None"),
        ({"n_stimuli": "6"}, "n_stimuli = 6: a whole number of at least 10"),
        ({"n_stimuli": "1000000000"}, "1000000000 are asked for, and the microworld has"),
        ({"out": "~nobody-is-called-so/x"}, "out = '~nobody-is-called-so/x': there is no such"),
        ({"out": "x" * 300}, "no folder has so long a name"),
        ({"out": "a\0b"}, "out = "),
        ({"preset": "microwrld"}, "did you mean microworld"),
    ],
)
def test_impossible_parameters_are_refused_before_anything_runs(toy, given, named, monkeypatch):
    monkeypatch.setattr("papermill.execute_notebook", lambda *args, **more: pytest.fail("it ran"))
    with pytest.raises(InputError, match=named):
        plan_section("toy", given)


def test_other_scenes_have_a_folder_of_their_own_and_are_recorded(root, toy, tmp_path):
    job = plan_section("toy", {"n_stimuli": "12", "scenes": "400"})
    assert job.given == {"n_stimuli": 12, "preset": "microworld@400"}
    assert job.run.folder == root / "figures/microworld@400/n_stimuli=12"
    assert job.run.provenance["scenes"] == [400, 411]
    assert start("toy", n_stimuli=12).provenance["scenes"] == [0, 11]
    with pytest.raises(InputError, match="stimuli from coco are not numbered scenes"):
        plan_section("toy", {"preset": "paper-small", "scenes": "400"})
    with pytest.raises(InputError, match="scenes = '1e3': the number of the first scene"):
        plan_section("toy", {"scenes": "1e3"})


def test_a_notebook_beyond_the_paper_is_planned_if_it_has_a_preset(root, tmp_path):
    text = 'preset: str = "microworld"\nk: int = 3'
    notebook(root / "nbs/beyond/further.ipynb", parameters=text)
    notebook(root / "nbs/beyond/simulation.ipynb", parameters="n: int = 3")
    assert plan_section("further", {"k": "4"}).run.place == "microworld/k=4"
    with pytest.raises(InputError, match="simulation has no preset, so `figures` cannot run it"):
        plan_section("simulation", {})


def test_a_section_runs_in_this_interpreter_with_the_given_parameters(root, toy, tmp_path):
    seen = []
    job = plan_section("1_toy", {"n_stimuli": "30", "noise": "2", "out": str(tmp_path / "out")})
    outcome = run_section(job, on_cell=lambda *cell: seen.append(cell))
    assert outcome.figures == 1
    assert outcome.verdicts == {"L1": "supported"}
    assert job.run.folder == tmp_path / "out/microworld/n_stimuli=30,noise=2.0"
    assert (job.run.folder / "toy_claims.csv").exists()
    assert job.executed == root / "_runs/microworld/n_stimuli=30,noise=2.0/toy.ipynb"
    assert nbformat.read(job.executed, 4).cells[-1].outputs[-1].text == f"{sys.executable} 2.0\n"
    assert [(cell, index, n) for cell, index, n in seen if index != 1] == [
        ("parameters", 0, 3),
        ("work", 2, 3),
    ]


def test_a_failing_cell_is_reported_by_name_and_line_with_its_own_error(root, tmp_path):
    message = failing(
        tmp_path, "def half(x):\n    raise ValueError('source has 400 stimuli')\ny = 2\nhalf(y)"
    )
    assert message.splitlines() == [
        f"cell `bad-cell` of {tmp_path / '1_bad.ipynb'}, line 4:",
        "    half(y)",
        "ValueError: source has 400 stimuli",
        f"The full traceback is in {tmp_path / 'executed.ipynb'}",
    ]


def test_a_cell_with_a_syntax_error_is_reported_too(root, tmp_path):
    message = failing(tmp_path, "y = = 2")
    assert "cell `bad-cell`" in message
    assert "SyntaxError: invalid syntax" in message


def test_a_killed_process_is_reported_too(root, tmp_path):
    message = failing(tmp_path, "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)")
    assert "cell `bad-cell`" in message
    assert "lack of memory; try a smaller n_stimuli" in message


SET_BACK = """import os
for path in run.folder.iterdir():
    os.utime(path, (0, 0))"""


def test_figures_are_counted_by_the_record_of_the_run_not_by_clocks(root, tmp_path, copied_kernels):
    path = notebook(
        root / "nbs/paper/1_toy.ipynb", parameters=PARAMETERS, work=WORK, clock=SET_BACK
    )
    job = plan_section("toy", {"out": str(tmp_path / "out")})
    for _ in range(2):  # the second run meets the first one's files, as old as its own
        outcome = run_section(job)
        assert outcome.figures == 1
        assert outcome.verdicts == {"L1": "supported"}
        assert 0 < outcome.minutes < 10
    # nor are those of an earlier run counted
    for file in Path(job.run.folder).iterdir():
        os.utime(file, (2**32, 2**32))  # as if a clock that is ahead had written it
    notebook(path, parameters=PARAMETERS, work="x = 1")
    outcome = run_section(job)
    assert outcome.figures == 0
    assert outcome.verdicts == {}
