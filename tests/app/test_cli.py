"""The command line: what it prints for people and for scripts, and its exit codes."""

import io
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import typer
import zarr
from layers import related
from rich.console import Console
from rich.progress import TimeRemainingColumn
from runs import new_checkout, notebook, recorded, tiny_vision
from safetensors.numpy import save_file
from typer.testing import CliRunner

from seeing_words import Alignment, __version__, align, similarity_grid
from seeing_words.app import cli
from seeing_words.app.presets import PRESETS, get_preset
from seeing_words.app.run import start, store_root
from seeing_words.core.files import format_bytes
from seeing_words.models.extract import extract
from seeing_words.models.load import load_model
from seeing_words.models.store import Store

PARAMETERS = 'preset: str = "microworld"\nn_stimuli: int = 500'


@pytest.fixture
def root(tmp_path, monkeypatch):
    return new_checkout(tmp_path / "checkout", monkeypatch)


def command(*words: str):
    return CliRunner(env={"COLUMNS": "200"}).invoke(cli.app, words)


def main(monkeypatch, *words: str) -> int:
    "The exit code of the command as it is installed."
    monkeypatch.setattr(sys, "argv", ["seeing-words", *words])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    return stopped.value.code


def test_help_and_version():
    assert command("--version").output == f"seeing_words {__version__}\n"
    codes = "Exit codes: 0 done, 1 a notebook failed"
    assert codes in " ".join(app_help().split())
    for words in ["figures"], ["doctor"], ["store", "verify"]:
        assert codes not in " ".join(app_help(*words).split()), "once is enough"


def test_the_help_of_figures_lists_sections_and_parameters_with_their_defaults(root):
    notebook(root / "nbs/paper/1_toy.ipynb", parameters=PARAMETERS + "\nnoise: float = 0.25")
    notebook(root / "nbs/beyond/1_further.ipynb", parameters=PARAMETERS + "\nk: int | None = None")
    lines = [line.split() for line in app_help("figures").splitlines()]
    assert ["toy", "noise=0.25"] in lines
    assert ["further", "k"] in lines
    assert ["preset=microworld", "n_stimuli=500"] in lines  # of both
    assert "  seeing-words figures" in app_help("figures")


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["figures", "toys"], "did you mean toy?"),
        (["figures", "toy", "-p", "n_stimulus=5"], "did you mean n_stimuli?"),
        (["figures", "toy", "-p", "n_stimuli"], "write -p name=value"),
        (["figures", "toy", "--preset", "microwrld"], "did you mean microworld"),
        (["presets", "show", "microwrld"], "did you mean microworld"),
        (["download", "--preset", "papier"], "did you mean paper"),
        (["download", "--preset", "none.toml"], "No such file or directory: check the path"),
        (
            ["figures", "toy", "--preset", "none.toml"],
            "No such file or directory: check the path",
        ),
        (
            ["figures", "toy", "-p", "preset=none.toml"],
            "No such file or directory: check the path",
        ),
        (["download"], "Missing option '--preset'"),
        (["store", "rm"], "give their keys"),
        (["claims"], "run `seeing-words figures --preset microworld` first"),
        (["claims", "-p", "n_stimulus=5"], "did you mean n_stimuli?"),
        (["claims", "figures", "-p", "n_stimuli=50"], "by its folder or by -p"),
        (["report", "-p", "n_stimuli=50"], "nothing was run with n_stimuli=50: run `seeing-words"),
        (["report", "figures/nowhere"], "no run has written to"),
        (["figures", "toy", "--plugin", "none.py"], "plugin none.py: there is no such Python file"),
        (["figures", "toy", "-p", "n_stimuli=two"], "int, for example n_stimuli=500"),
        (["claims", "--preset", "microwrld"], "did you mean microworld"),
        (["store", "rm", "abc"], "0 entries"),
        (["figures", "--no-such-option"], "No such option"),
    ],
)
def test_bad_usage_is_reported_and_exits_with_2(root, monkeypatch, capsys, words, named):
    notebook(root / "nbs/paper/1_toy.ipynb", parameters=PARAMETERS)
    assert main(monkeypatch, *words) == 2
    assert named in " ".join(capsys.readouterr().err.split())


def commands() -> dict[str, str]:
    "Every command that is shown → its help."
    groups = {"": app_help(), "presets": app_help("presets"), "store": app_help("store")}
    shown = re.compile(r"^[│ ] (\w+)  +\w", re.MULTILINE)
    listed = {group: shown.findall(text.partition("Commands")[2]) for group, text in groups.items()}
    names = ["", *(f"{group} {name}".strip() for group, found in listed.items() for name in found)]
    return {name: app_help(*name.split()) for name in names}


def app_help(*words: str) -> str:
    return command(*words, "--help").output


def test_every_command_is_taught_by_examples():
    found = commands()
    assert set(found) == set(cli.EXAMPLES)
    for name, text in found.items():
        assert 1 <= len(cli.EXAMPLES[name]) <= 4
        assert all(f"seeing-words {example}" in text for example in cli.EXAMPLES[name]), name
        assert all(example.startswith(name) for example in cli.EXAMPLES[name])


@pytest.mark.parametrize(
    "example", sorted({example for examples in cli.EXAMPLES.values() for example in examples})
)
def test_examples_parse(example):
    group, words = typer.main.get_command(cli.app), shlex.split(example)
    name, inner, rest = group.resolve_command(group.make_context("seeing-words", [*words]), words)
    while hasattr(inner, "commands"):
        name, inner, rest = inner.resolve_command(inner.make_context(name, [*rest]), rest)
    assert inner.make_context(name, list(rest)).params


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("figures to", ["toy"]),
        ("figures toy o", ["other"]),
        (
            "figures --preset mi",
            ["microworld", "microworld-all", "microworld-confirmatory", "mine.toml"],
        ),
        ("claims --preset paper-s", ["paper-small"]),
        ("report --pre", ["--preset"]),
        ("presets show microworld-", ["microworld-all", "microworld-confirmatory"]),
        ("presets check mine", ["mine.toml"]),
        ("presets check py", []),  # pyproject.toml is no preset
        ("figures other -p n", ["n_stimuli=", "noise="]),
        ("figures toy -p n", ["n_stimuli="]),
        ("figures -p s", ["scenes="]),
        ("align A.npy B.npy --measure r", ["rsa"]),
        ("store l", ["list"]),
        ("rep", ["report"]),
    ],
)
def test_the_shell_completes_sections_presets_and_commands(root, typed, expected):
    notebook(root / "nbs/paper/1_toy.ipynb", parameters=PARAMETERS)
    notebook(root / "nbs/paper/2_other.ipynb", parameters=PARAMETERS + "\nnoise: float = 0.5")
    (root / "mine.toml").write_text('source = "microworld"')
    (root / "pyproject.toml").write_text('[project]\nname = "mine"')
    words = f"seeing-words {typed}"
    asked = {
        "_SEEING_WORDS_COMPLETE": "complete_bash",
        "COMP_WORDS": words,
        "COMP_CWORD": str(len(words.split()) - 1),
    }
    assert (
        CliRunner(env=asked).invoke(cli.app, [], prog_name="seeing-words").output.split()
        == expected
    )


def answer_without(slow: set[str], *words: str, **env: str) -> str:
    "What the command prints in a new process, which imports none of what takes long to import."
    code = f"""import sys
from seeing_words.app.cli import main
sys.argv = {["seeing-words", *words]}
try:
    main()
finally:
    imported = {slow} & {{*sys.modules}}
    assert not imported, imported
"""
    run = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | env, capture_output=True, text=True
    )
    assert not run.stderr, run.stderr
    return run.stdout


@pytest.mark.parametrize("typed", ["figures ", "figures layers -p n", "report --preset p"])
def test_completion_answers_at_once(typed):
    asked = {
        "_SEEING_WORDS_COMPLETE": "complete_bash",
        "COMP_WORDS": f"seeing-words {typed}",
        "COMP_CWORD": str(len(typed.split(" "))),
    }
    slow = {"torch", "numpy", "pandas", "matplotlib", "xarray", "zarr"}
    assert answer_without(slow, **asked).split()


def test_the_store_is_listed_without_pytorch(tmp_path):
    stimuli = start("toy", n_stimuli=12).stimuli
    extract(load_model("microworld/vision-0"), stimuli, pooling="cls", store=Store(tmp_path))
    slow = {"torch", "transformers", "pandas", "matplotlib", "scipy.stats"}
    printed = answer_without(slow, "store", "list", SEEING_WORDS_STORE=str(tmp_path))
    assert "vision-0" in printed and "1 entry of features" in printed


def test_without_section_notebooks_it_says_so(root, monkeypatch, capsys):
    assert main(monkeypatch, "figures") == 2
    assert "clone the repository" in capsys.readouterr().err


def test_sections_run_in_order_and_a_failure_ends_with_1_after_the_others(root):
    write = """import json
from pathlib import Path
from seeing_words.core.files import file_digest, with_checksum
folder = Path("../../figures/microworld")
folder.mkdir(parents=True)
(folder / "toy_map.svg").touch()
(folder / "toy_claims.csv").write_text("claim,text,effect,low,high,threshold,verdict\\n"
    "L1,up,0.2,0.1,0.3,> 0,supported\\nL2,down,0.1,-0.1,0.3,> 0,not supported\\n")
written = {name: file_digest(folder / name) for name in ("toy_map.svg", "toy_claims.csv")}
record = with_checksum({"written": written})
(folder / "toy_provenance.json").write_text(json.dumps(record))"""
    notebook(root / "nbs/paper/1_bad.ipynb", parameters=PARAMETERS, work="1 / 0")
    notebook(root / "nbs/paper/2_toy.ipynb", parameters=PARAMETERS, work=write)
    result = command("figures", "--preset", "microworld")
    assert result.exit_code == 1
    assert "✗ bad failed in cell `work` of nbs/paper/1_bad.ipynb, line 1:" in result.output
    assert "ZeroDivisionError: division by zero" in result.output
    row = next(line for line in result.output.splitlines() if line.startswith("│ toy"))
    assert [cell.strip() for cell in row.strip("│").split("│")][2:] == [
        "1",
        "✓ 1 supported",
        "figures/microworld",
    ]
    assert "○ 1 not supported" in result.output
    assert (root / "figures/microworld/claims.svg").is_file()
    assert "seeing-words claims figures/microworld\n" in result.output
    assert "seeing-words report figures/microworld\n" in result.output
    assert "All claims in one figure: figures/microworld/claims.svg\n" in result.output
    assert command("claims", "figures/microworld").output == command("claims").output
    text = command("claims").output
    assert "✓ supported" in text and "0.200 [0.100, 0.300] > 0" in text
    assert [(c["section"], c["claim"]) for c in json.loads(command("claims", "--json").output)] == [
        ("toy", "L1"),
        ("toy", "L2"),
    ]


def test_claims_of_other_scenes_stand_side_by_side(root):
    head = "claim,text,effect,low,high,threshold,verdict\n"
    runs = {
        "microworld": ("L1,up,0.2,0.1,0.3,> 0,supported\n", "A1,down,0.1,-0.1,0.3,> 0,supported\n"),
        "microworld-confirmatory": ("L1,up,0.1,-0.1,0.3,> 0,not supported\n", ""),
    }
    for name in ("1_layers", "2_averaging"):
        notebook(root / f"nbs/paper/{name}.ipynb", parameters=PARAMETERS, work="1")
    for run, (layers, averaging) in runs.items():
        folder = root / "figures" / run
        folder.mkdir(parents=True)
        (folder / "layers_claims.csv").write_text(head + layers)
        recorded(folder, "layers", "layers_claims.csv")
        if averaging:
            (folder / "averaging_claims.csv").write_text(head + averaging)
            recorded(folder, "averaging", "averaging_claims.csv")
    records = json.loads(command("claims", "--json").output)
    assert [(r["section"], r["claim"], r["run"], r["verdict"]) for r in records] == [
        ("layers", "L1", "microworld", "supported"),
        ("layers", "L1", "microworld-confirmatory", "not supported"),
        ("averaging", "A1", "microworld", "supported"),
    ]
    printed = command("claims").output
    assert "microworld-confirmatory" in printed and "○ not supported" in printed
    assert "not run" in printed
    assert "★" not in printed, "older tables do not say which claim is the primary one"
    alone = command("claims", "figures/microworld", "--json").output
    assert [r["claim"] for r in json.loads(alone)] == ["L1", "A1"]


HEAD = "claim,text,effect,low,high,threshold,verdict\n"


def judged(folder: Path, section: str, **about) -> Path:
    "The claims and the record of a run, as far as `claims` and `report` read them."
    folder.mkdir(parents=True, exist_ok=True)
    claims = folder / f"{section}_claims.csv"
    claims.write_text(f"{HEAD}L1,{section} up,0.2,0.1,0.3,> 0,supported\n")
    about = {"section": section, "preset": "microworld", "seed": 0, **about}
    recorded(folder, section, claims.name, **about)
    return folder


def test_a_run_with_other_parameters_has_its_claims_and_its_report(root):
    sized = 'preset: str = "microworld"\nn_stimuli: int | None = None\nseed: int = 0'
    notebook(root / "nbs/paper/1_layers.ipynb", parameters=sized)
    notebook(root / "nbs/paper/2_perturbations.ipynb", parameters=sized)
    notebook(root / "nbs/paper/3_pooled.ipynb", parameters=sized + '\npooling: str = "mean"')
    usual = root / "figures/microworld"
    judged(usual, "layers", n_stimuli=500)
    variant = judged(usual / "n_stimuli=200,seed=7", "layers", n_stimuli=200, seed=7)
    asked = ["-p", "n_stimuli=200", "-p", "seed=7"]
    by_folder = command("claims", "figures/microworld/n_stimuli=200,seed=7", "--json").output
    assert json.loads(by_folder) == json.loads(command("claims", *asked, "--json").output)
    assert [record["run"] for record in json.loads(by_folder)] == ["n_stimuli=200,seed=7"]
    for words in [str(variant)], asked:
        result = command("report", *words, "--out", "new.html")
        assert result.exit_code == 0, result.output
        assert "new.html: microworld n_stimuli=200 seed=7" in result.output
        page = (root / "new.html").read_text()
        redo = "--preset microworld -p n_stimuli=200 -p seed=7"
        assert f"seeing-words figures {redo}" in page
        assert f"seeing-words figures perturbations {redo}" in page  # not run yet
        assert "n = 200" in page and "n = 500" not in page
    # a section whose own size this is writes to the preset's folder
    assert get_preset("microworld").of_section("perturbations").n_stimuli == 400
    judged(usual, "perturbations", n_stimuli=400)
    judged(usual / "n_stimuli=400", "layers", n_stimuli=400)
    records = json.loads(command("claims", "-p", "n_stimuli=400", "--json").output)
    assert [(r["section"], r["run"]) for r in records] == [
        ("layers", "n_stimuli=400"),
        ("perturbations", "microworld"),
    ]
    assert "figures/microworld/n_stimuli=400" in str(
        command("report", *asked[:1], "n_stimuli=400").exception
    )
    only = command("claims", "-p", "pooling=last").exception
    assert "run `seeing-words figures --preset microworld -p pooling=last` first" in str(only)


def write_own_preset(root: Path) -> None:
    "A preset file of 40 stimuli, own/mine.toml."
    (root / "own").mkdir()
    (root / "own/mine.toml").write_text(
        'vision = ["microworld/vision-0"]\nlanguage = ["microworld/llama-0"]\n'
        'source = "microworld"\nn_stimuli = 40'
    )


def test_runs_of_a_preset_file_are_reported_by_their_folder(root):
    work = (
        "import pandas as pd\nfrom seeing_words.app.run import start\n"
        'run = start("toy", preset=preset, seed=seed)\n'
        'columns = ["claim", "text", "effect", "low", "high", "threshold", "verdict"]\n'
        'row = ("L1", "up", 0.2, 0.1, 0.3, "> 0", "supported")\n'
        'run.table(pd.DataFrame([row], columns=columns), "claims")'
    )
    notebook(
        root / "nbs/paper/1_toy.ipynb",
        parameters='preset: str = "microworld"\nseed: int = 0',
        work=work,
    )
    write_own_preset(root)
    result = command("figures", "--preset", "own/mine.toml", "-p", "seed=3")
    assert result.exit_code == 0, result.output
    (line,) = [line for line in result.output.splitlines() if "seeing-words report" in line]
    words = shlex.split(line.partition("seeing-words ")[2])
    assert words == ["report", "figures/mine/seed=3", "--preset", "own/mine.toml"]
    assert command(*words).exit_code == 0
    assert "seed=3" in (root / "report.html").read_text()
    alone = command("report", "figures/mine/seed=3")
    assert "--preset mine.toml" in str(alone.exception)
    (line,) = [line for line in result.output.splitlines() if "seeing-words claims" in line]
    assert command(*shlex.split(line.partition("seeing-words ")[2])).exit_code == 0


def test_a_number_that_is_missing_is_null_in_json(root):
    notebook(root / "nbs/paper/1_layers.ipynb", parameters=PARAMETERS)
    folder = root / "figures/microworld"
    folder.mkdir(parents=True)
    rows = "L1,up,0.2,0.1,0.3,> 0,supported,\nL2,down,0.2,0.1,0.3,> 0,supported,0.5\n"
    (folder / "layers_claims.csv").write_text(HEAD.strip() + ",p_holm\n" + rows)
    recorded(folder, "layers", "layers_claims.csv")
    text = command("claims", "--json").output
    assert "NaN" not in text
    assert [record["p_holm"] for record in json.loads(text)] == [None, 0.5]


def test_claims_show_the_corrected_p_and_the_primary_claim(root):
    notebook(root / "nbs/paper/1_layers.ipynb", parameters=PARAMETERS, work="1")
    folder = root / "figures/microworld"
    folder.mkdir(parents=True)
    (folder / "layers_claims.csv").write_text(
        "claim,text,effect,low,high,threshold,verdict,p,p_holm,primary\n"
        "L1,up,0.2,0.1,0.3,> 0,supported,0.001,0.002,True\n"
        "L2,down,0.2,-0.1,0.3,> 0,not supported,0.2,0.2,False\n"
    )
    recorded(folder, "layers", "layers_claims.csv")
    printed = command("claims").output
    assert "★ L1" in printed and "★ L2" not in printed
    assert "p = 0.002" in printed and "p = 0.200" in printed
    assert "★ the claim by which its section is judged" in printed


def listening() -> None:
    "Let Ctrl-C through, which a shell's background jobs do not hear."
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def test_stopped_by_hand_it_says_how_to_go_on_and_goes_on_from_the_store(root, tmp_path):
    work = """import os, time
from pathlib import Path
from seeing_words.app.run import start
run = start("toy", n_stimuli=n_stimuli, network=network, out=out)
run.features(network)
Path(out, "kernel").write_text(str(os.getpid()))
time.sleep(0 if Path(out, "again").exists() else 100)"""
    out = tmp_path / "out"
    out.mkdir()
    network = tiny_vision(tmp_path / "tiny")
    sizes = f'preset: str = "microworld"\nn_stimuli: int = 12\nout: str = "{out}"'
    sizes += f'\nnetwork: str = "{network}"'
    notebook(root / "nbs/paper/1_toy.ipynb", parameters=sizes, work=work)
    begun = subprocess.Popen(
        [sys.executable, "-c", "from seeing_words.app.cli import main; main()", "figures"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        preexec_fn=listening,
    )
    while not (out / "kernel").exists() and begun.poll() is None:
        time.sleep(0.1)
    begun.send_signal(signal.SIGINT)
    said = begun.communicate(timeout=60)[0]
    assert begun.returncode == 130, said
    assert (
        "Stopped in toy. What was computed is stored: the same command continues from there."
        in " ".join(said.split())
    )
    assert "Traceback" not in said and "\x1b" not in said
    with pytest.raises(ProcessLookupError):
        os.kill(int((out / "kernel").read_text()), 0)
    kept = {path: path.stat().st_mtime_ns for path in store_root().rglob("*") if path.is_file()}
    assert any(path.name == "manifest.json" for path in kept)
    (out / "again").touch()
    assert command("figures").exit_code == 0
    assert {path: path.stat().st_mtime_ns for path in kept if path.suffix != ".lock"} == {
        path: made for path, made in kept.items() if path.suffix != ".lock"
    }


def test_a_section_runs_from_a_preset_file(root, monkeypatch):
    work = (
        "import pandas as pd\nfrom seeing_words.app.run import start\n"
        'run = start("toy", preset=preset, out=out)\n'
        'run.table(pd.DataFrame({"n": [run.preset.n_stimuli]}), "t")'
    )
    notebook(
        root / "nbs/paper/1_toy.ipynb",
        parameters='preset: str = "microworld"\nout: str = "figures"',
        work=work,
    )
    write_own_preset(root)
    result = command("figures", "--preset", "own/mine.toml")
    assert result.exit_code == 0, result.output
    assert pd.read_csv(root / "figures/mine/toy_t.csv").n.tolist() == [40]


def test_sections_are_listed_with_their_parameters(root):
    notebook(root / "nbs/paper/1_toy.ipynb", parameters=PARAMETERS)
    assert "n_stimuli=500" in command("sections").output
    assert json.loads(command("sections", "--json").output)["toy"]["n_stimuli"] == {
        "type": "int",
        "default": 500,
        "about": "",
    }


def test_the_parameters_of_a_section_are_explained(root):
    own = 'preset: str = "microworld"\nk: int | None = None  # nearest neighbours'
    notebook(root / "nbs/paper/1_toy.ipynb", parameters=own)
    row = next(line for line in command("sections", "toy").output.splitlines() if " k " in line)
    assert [cell.strip() for cell in row.strip("│").split("│")] == [
        "k",
        "int",
        "the preset's",
        "nearest neighbours",
    ]
    listed = json.loads(command("sections", "toy", "--json").output)
    assert listed == {
        "toy": {
            "preset": {"type": "str", "default": "microworld", "about": ""},
            "k": {"type": "int | None", "default": None, "about": "nearest neighbours"},
        }
    }


def test_figures_for_scripts_and_without_bars_or_colour_when_piped(root):
    notebook(root / "nbs/paper/1_toy.ipynb", parameters=PARAMETERS, work="n_stimuli")
    code = """import sys
from seeing_words.app.cli import main
slow = {"sklearn", "transformers.modeling_utils"} & {*sys.modules}
if slow: sys.exit(f"{slow}: import them where they are used")
main()"""  # half of the time that the first line of help would take
    ran = subprocess.run(
        [sys.executable, "-c", code, "figures", "--json"], capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stderr
    (outcome,) = json.loads(ran.stdout)
    assert outcome["minutes"] >= 0
    assert outcome | {"minutes": 0} == {
        "section": "toy",
        "minutes": 0,
        "figures": 0,
        "verdicts": {},
        "folder": "figures/microworld",
        "without": [],
        "missing": {},
    }
    assert ran.stderr == ""


def test_bars_are_drawn_on_a_terminal(monkeypatch):
    shown = io.StringIO()
    monkeypatch.setattr(cli, "_bars", Console(file=shown, force_terminal=True, width=100))
    assert list(cli._each("abc", "looking")) == ["a", "b", "c"]
    assert "looking" in shown.getvalue()
    monkeypatch.setattr(cli, "_bars", Console(file=(quiet := io.StringIO())))
    assert list(cli._each("abc", "looking")) == ["a", "b", "c"]
    assert quiet.getvalue() == ""
    columns = {type(column) for column in cli._COLUMNS}
    assert TimeRemainingColumn in columns


def test_a_report_is_written_and_says_what_is_missing(root, monkeypatch, capsys):
    for k, name in enumerate(("toy", "other")):
        notebook(root / f"nbs/paper/{k}_{name}.ipynb", parameters=PARAMETERS)
    assert main(monkeypatch, "report") == 2
    assert "run `seeing-words figures --preset microworld` first" in " ".join(
        capsys.readouterr().err.split()
    )
    folder = root / "figures/microworld"
    start("toy", n_stimuli=12).table(pd.DataFrame({"n": [1]}), "counts")
    next(folder.glob("n_stimuli*")).rename(root / "kept")
    for file in (root / "kept").iterdir():
        file.rename(folder / file.name)
    result = command("report", "--out", "new.html")
    assert result.exit_code == 0, result.output
    assert "1 of 2 sections were run. Not run yet: other." in result.output
    assert "new.html: microworld" in result.output
    assert "toy_counts.csv" in (root / "new.html").read_text()
    said = json.loads(command("report", "--json").output)
    assert said["file"] == "report.html"
    assert said["bytes"] == (root / "report.html").stat().st_size
    assert said["missing"] == ["toy", "other"]  # toy came to no claims
    assert main(monkeypatch, "report", "--out", str(folder)) == 2
    assert "is a folder" in capsys.readouterr().err
    assert main(monkeypatch, "report", "--out", "new.html/report.html") == 2
    assert "is not a writable folder" in capsys.readouterr().err


def test_align_stopped_by_hand_writes_nothing_and_ends_with_130(
    tmp_path, layers, monkeypatch, capsys
):
    def stopped(*args, **more):
        raise KeyboardInterrupt

    monkeypatch.setattr("seeing_words.measures.align.align", stopped)
    assert main(monkeypatch, "align", "A.npy", "B.npy", "--out", str(tmp_path / "out")) == 130
    assert "Nothing was written" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_presets_for_people_and_for_scripts():
    assert "microworld" in command("presets", "list").output
    assert json.loads(command("presets", "list", "--json").output) == list(PRESETS)
    shown = json.loads(command("presets", "show", "microworld", "--json").output)
    assert shown["vision"] == list(get_preset("microworld").vision)
    assert all(name in command("presets", "show", "microworld").output for name in shown["vision"])


def test_the_store_is_listed_verified_and_cleared(root, tmp_path):
    assert "The store _store is empty." in command("store", "ls").output
    model = load_model(tiny_vision(tmp_path / "tiny"))
    stimuli = start("toy", n_stimuli=12).stimuli
    for pooling in "cls", "mean":
        extract(model, stimuli, pooling=pooling, store=Store(store_root()))
    rows = json.loads(command("store", "ls", "--json").output)
    assert {row["pooling"] for row in rows} == {"cls", "mean"}
    listed = command("store", "list", "--entries").output
    assert all(row["key"][:12] in listed for row in rows)
    summed = command("store", "list").output
    assert not any(row["key"][:12] in summed for row in rows)
    cells = next(line for line in summed.splitlines() if "cls, mean" in line).strip("│").split("│")
    assert [cell.strip() for cell in cells][1:4] == ["cls, mean", "2", "1"]
    total = format_bytes(sum(row["bytes"] for row in rows))
    assert f"_store: 2 entries of features, {total}; 0 cached results, 0" in summed
    assert f"_store: 2 entries of features, {total}" in listed
    assert command("store", "verify").exit_code == 0
    chunk = next(path for path in (store_root() / rows[0]["key"]).rglob("c/*/*/*"))
    data = bytearray(chunk.read_bytes())
    data[-1] ^= 1
    chunk.write_bytes(data)
    found = command("store", "verify", "--json")
    assert found.exit_code == command("store", "verify").exit_code == 1
    assert {key: bool(damage) for key, damage in json.loads(found.output).items()} == {
        rows[0]["key"]: True,
        rows[1]["key"]: False,
    }
    assert "2 entries, 1 damaged" in command("store", "verify").output
    assert json.loads(command("store", "list", "--json").output) == rows
    assert json.loads(command("store", "rm", "--damaged", "--json").output) == [rows[0]["key"]]
    assert command("store", "verify").exit_code == 0
    assert command("store", "rm", rows[1]["key"][:8]).exit_code == 0
    assert json.loads(command("store", "ls", "--json").output) == []


def test_clearing_the_store_takes_results_and_unfinished_entries_along(root, tmp_path):
    model = load_model(tiny_vision(tmp_path / "tiny"))
    extract(model, start("toy", n_stimuli=12).stimuli, pooling="cls", store=Store(store_root()))
    (store_root() / f"{'b' * 64}.partial").mkdir()
    (store_root() / f"{'b' * 64}.notes").touch()
    (store_root() / "results").mkdir()
    (store_root() / "results" / f"{'c' * 64}.safetensors").touch()
    said = command("store", "rm", "--all").output
    assert said.count("removed ") == 3 and "removed 1 cached results" in said
    left = [path.name for path in store_root().rglob("*") if path.suffix != ".lock"]
    assert left == ["results"]
    assert command("store", "rm").exit_code != 0


def test_names_with_marks_of_rich_are_printed_as_they_are(root, tmp_path, monkeypatch):
    odd = tmp_path / "a [/x] [red]b"
    folder = tiny_vision(odd / "tiny")
    monkeypatch.setenv("SEEING_WORDS_STORE", str(odd / "store"))
    assert f"The store {odd}/store is empty." in command("store", "list").output
    model = load_model(folder)
    stimuli = start("toy", n_stimuli=12).stimuli
    extract(model, stimuli, pooling="cls", store=Store(store_root()))
    listed = command("store", "list")
    assert listed.exit_code == 0
    assert "[/x] [red]b" in "".join(listed.output.split("\n")).replace("│", "")
    assert command("store", "verify").exit_code == 0
    preset = odd / "mine.toml"
    preset.write_text(
        f'source = "microworld"\nvision = ["{folder}"]\nlanguage = ["microworld/llama-0"]\n'
        'n_stimuli = 20\nn_folds = 2\nsummary = "of [/b]"\n'
    )
    for words in (["presets", "show"], ["presets", "check"]):
        shown = command(*words, str(preset))
        assert shown.exit_code == 0, shown.output
        assert "[/x]" in shown.output
    assert command("download", "--preset", str(preset), "--dry-run").exit_code == 0
    claims = root / "figures [/x]" / "run"
    claims.mkdir(parents=True)
    notebook(root / "nbs/paper/1_layers.ipynb", parameters=PARAMETERS, work="1")
    (claims / "layers_claims.csv").write_text(
        "claim,text,effect,low,high,threshold,verdict\nL[/1],of [/x],0.2,0.1,0.3,> 0,supported\n"
    )
    recorded(claims, "layers", "layers_claims.csv")
    said = command("claims", str(claims), str(claims)).output
    assert "L[/1]" in said and "of [/x]" in said


def doctor(monkeypatch, **changes) -> tuple[int, dict[str, dict]]:
    monkeypatch.setattr(
        "seeing_words.app.presets.PRESETS",
        {"microworld": replace(get_preset("microworld"), **changes)},
    )
    result = command("doctor", "--json")
    return result.exit_code, {finding["what"]: finding for finding in json.loads(result.output)}


def test_doctor_finds_nothing_wrong(root, monkeypatch, tmp_path):
    code, found = doctor(monkeypatch, vision=(tiny_vision(tmp_path / "tiny"),), language=())
    assert code == 0
    assert {finding["state"] for finding in found.values()} == {"ok"}
    assert set(found) == {
        "python",
        "packages",
        "extras",
        "checkpoints",
        "device",
        "machine",
        "store",
        "downloads",
    }
    assert found["extras"]["found"] == "models, paper, explore, cluster"
    said = command("doctor").output
    assert "✓" in said and said.rstrip().endswith("Everything that is installed works.")


def test_doctor_finds_a_damaged_checkpoint_and_another_version(root, monkeypatch, tmp_path):
    weights = tmp_path / "tiny/model.safetensors"
    name = tiny_vision(weights.parent)
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    lock = f"numpy==0.1 \\\n    --hash=sha256:0\nno-such-package==2.0\npytest=={pytest.__version__}"
    (root / "requirements.lock").write_text(lock)
    monkeypatch.setattr(sys, "prefix", str(root / ".venv"))
    code, found = doctor(monkeypatch, vision=(name,), language=("microworld/huge",))
    assert code == 1
    assert found["checkpoint"]["state"] == found["checkpoints"]["state"] == "bad"
    assert found["lock file"]["state"] == "warning"
    assert "instead of 0.1; no-such-package missing" in found["lock file"]["found"]
    assert command("doctor").output.rstrip().endswith("3 problems, 1 warning.")


def test_doctor_raises_no_false_alarm(root, monkeypatch, tmp_path):
    "A build for another device is the same version; another environment may have other versions."
    changes = {"vision": (tiny_vision(tmp_path / "tiny"),), "language": ()}
    torch, plain = sys.modules["torch"].__version__, np.__version__
    lock = f"torch=={torch.partition('+')[0]}\nnumpy=={plain}"
    (root / "requirements.lock").write_text(lock)
    monkeypatch.setattr(sys, "prefix", str(root / ".venv"))  # as make makes it
    code, found = doctor(monkeypatch, **changes)
    assert code == 0
    assert found["lock file"] == {
        "what": "lock file",
        "state": "ok",
        "found": "2 packages as in requirements.lock",
    }
    (root / "requirements.lock").write_text(f"numpy==0.1\nno-such-package==2.0\ntorch=={torch}")
    monkeypatch.setattr(sys, "prefix", str(tmp_path))  # as pip makes it
    found = doctor(monkeypatch, **changes)[1]
    assert {finding["state"] for finding in found.values()} == {"ok"}
    assert found["lock file"]["found"] == (
        "1 packages as in requirements.lock; 1 of other versions; 1 not installed"
    )


def test_doctor_finds_packages_that_do_not_do(root, monkeypatch, tmp_path):
    needed = ["numpy>=999", "no-such-package", "torch>=1", "absent; extra == 'models'"]
    monkeypatch.setattr("importlib.metadata.requires", lambda name: needed)
    code, found = doctor(monkeypatch, vision=(tiny_vision(tmp_path / "tiny"),), language=())
    assert code == 1
    expected = f"numpy {np.__version__}, needed is >=999; no-such-package is missing"
    assert found["packages"]["found"] == expected


def features_file(layers: list[np.ndarray], path: Path) -> str:
    named = {f"h.{i}": layer for i, layer in enumerate(layers)}
    match path.suffix:
        case ".npy":
            np.save(path, np.stack(layers))
        case ".npz":
            np.savez(path, **named)
        case ".safetensors":
            save_file(named, path)
        case ".zarr":
            for name, layer in named.items():
                zarr.open_group(path, mode="a").create_array(name, data=layer)
    return str(path)


@pytest.fixture
def layers() -> tuple[list[np.ndarray], list[np.ndarray]]:
    vision, language = zip(*(related(40, 6, 7, noise=noise) for noise in (1, 2)))
    return list(vision), list(language)


@pytest.mark.parametrize(("a", "b"), [("A.npy", "B.npz"), ("A.safetensors", "B.zarr")])
def test_align_writes_table_figure_and_data(tmp_path, layers, a, b):
    files = [features_file(side, tmp_path / name) for side, name in zip(layers, (a, b))]
    words = [
        "align",
        *files,
        "--out",
        str(tmp_path / "new/out"),
        "--folds",
        "3",
        "--permutations",
        "19",
        "--seed",
        "7",
    ]
    result = command(*words)
    assert result.exit_code == 0, result.output
    expected = align(*layers, names=("vision", "language"), n_folds=3, n_permutations=19, seed=7)
    out = tmp_path / "new/out"
    loaded = Alignment.load(out / "alignment.nc")
    np.testing.assert_allclose(loaded.data.predictivity, expected.data.predictivity, atol=1e-6)
    assert repr(loaded) in result.output
    assert {file.name for file in out.iterdir()} == {
        f"alignment.{kind}" for kind in ("csv", "nc", "svg", "png", "json")
    }
    assert all(str(file) in result.output for file in out.iterdir())
    rows = pd.read_csv(out / "alignment.csv")
    assert len(rows) == 2 * 2 * 2
    np.testing.assert_allclose(
        rows.predictivity.max(),
        max(expected.scores(d).max() for d in expected.directions),
        rtol=1e-5,
    )
    again = command(*words, "--json")
    said = json.loads(again.stdout)
    assert [row["direction"] for row in said["table"]] == list(expected.directions)
    np.testing.assert_allclose(
        [row["best"] for row in said["table"]], expected.table.best, atol=1e-6
    )
    assert {Path(file).suffix for file in said["files"]} == {".csv", ".nc", ".svg", ".png", ".json"}
    assert said["provenance"]["seed"] == 7


@pytest.mark.parametrize("kind", ["a label a line", "a column"])
def test_align_keeps_groups_whole(tmp_path, layers, kind):
    files = [features_file(side, tmp_path / name) for side, name in zip(layers, ("A.npy", "B.npy"))]
    labels = [f"prompt {i // 2}" for i in range(40)]
    if kind == "a column":
        named = f"{tmp_path / 'pairs.csv'}:prompt"
        rows = "".join(f"{i}.jpg,{label}\n" for i, label in enumerate(labels))
        (tmp_path / "pairs.csv").write_text("image,prompt\n" + rows)
    else:
        named = str(tmp_path / "groups.txt")
        (tmp_path / "groups.txt").write_text("\n".join(labels) + "\n")
    words = ["--out", str(tmp_path / "out"), "--permutations", "19", "--groups", named, "--json"]
    said = json.loads(command("align", *files, *words).stdout)
    expected = align(*layers, names=("vision", "language"), n_permutations=19, groups=labels)
    assert said["provenance"]["n_groups"] == 20
    np.testing.assert_allclose(
        [row["nested"] for row in said["table"]], expected.table.nested, atol=1e-6
    )


@pytest.mark.parametrize(
    ("name", "best"), [("rsa", np.nanmax), ("procrustes", np.nanmin), ("mutual_knn", np.nanmax)]
)
def test_align_compares_by_other_measures(tmp_path, layers, name, best):
    files = [features_file(side, tmp_path / file) for side, file in zip(layers, ("A.npz", "B.npy"))]
    words = ["align", *files, "--out", str(tmp_path), "--permutations", "19", "--seed", "3"]
    said = json.loads(command(*words, "--measure", name, "--json").stdout)
    grid = similarity_grid(*(np.stack(side) for side in layers), measure=name).values
    (found,) = said["measures"]
    assert found["value"] == pytest.approx(best(grid), abs=1e-6)
    i, j = np.argwhere(np.isclose(grid, best(grid)))[0]
    assert (found["vision_layer"], found["language_layer"]) == (f"h.{i}", str(j))
    assert found["p"] == 1 / 20
    table = pd.read_csv(tmp_path / "measures.csv", dtype={"language_layer": str})
    assert table.columns.tolist() == ["measure", "vision_layer", "language_layer", "value"]
    cell = table.set_index(["vision_layer", "language_layer"]).value[f"h.{i}", str(j)]
    assert cell == pytest.approx(best(grid), abs=1e-6)
    printed = command(*words, "--measure", name, "--permutations", "0").stdout
    assert f"{name}: {best(grid):.3f}, best pair h.{i} with {j}\n" in printed


def test_align_without_p_is_json_all_the_same(tmp_path, layers):
    files = [features_file(side, tmp_path / name) for side, name in zip(layers, ("A.npy", "B.npy"))]
    result = command("align", *files, "--out", str(tmp_path), "--permutations", "0", "--json")
    assert [row["p"] for row in json.loads(result.stdout)["table"]] == [None, None]


@pytest.mark.parametrize("at", range(6))
def test_align_on_a_full_disk_writes_nothing_and_says_so(tmp_path, layers, monkeypatch, capsys, at):
    files = [features_file(side, tmp_path / name) for side, name in zip(layers, ("A.npy", "B.npy"))]
    words = ["align", *files, "--out", str(tmp_path / "out"), "--permutations", "0"]
    if at % 2:  # there are files of an earlier run
        assert main(monkeypatch, *words) == 0
    before = {p.name: p.read_bytes() for p in (tmp_path / "out").glob("*")}
    calls, sync = [], os.fsync

    def full(handle):
        calls.append(handle)
        if len(calls) > at:
            raise OSError(28, "No space left on device")
        sync(handle)

    monkeypatch.setattr("seeing_words.core.files.os.fsync", full)
    if at < 5:
        assert main(monkeypatch, *words) == 2
        assert "cannot be written (No space left on device): free some" in " ".join(
            capsys.readouterr().err.split()
        )
        assert {p.name: p.read_bytes() for p in (tmp_path / "out").glob("*")} == before
    else:
        assert main(monkeypatch, *words) == 0 and len(calls) == 5


def test_the_home_folder_may_be_written_as_a_tilde(tmp_path, layers, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    for side, name in zip(layers, ("A.npy", "B.npy")):
        features_file(side, tmp_path / "home" / name)
    monkeypatch.chdir(tmp_path)
    result = command("align", "~/A.npy", "~/B.npy", "--out=~/out", "--permutations", "0")
    assert result.exit_code == 0, result.output
    assert (tmp_path / "home/out/alignment.nc").is_file()
    run = start("toy", n_stimuli=20, n_folds=2, out="~/figures")
    assert run.folder.is_relative_to(tmp_path / "home/figures")
    assert not (tmp_path / "~").exists()


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["A.npy", "missing.npy"], "no file or folder missing.npy"),
        (["A.npy", "x" * 300 + ".npy"], "no file or folder xxx"),
        (["A.npy", "B.npy", "--out", "x" * 300], "File name too long"),
        (["A.npy", "B.npy", "--seed", "-1"], "seed is -1: give a whole number, 0 or more"),
        (["A.npy", "B.npy", "--device", "meta"], "device 'meta' cannot be used"),
        (["A.npy", "B.npy", "--max-memory", "nan"], "too small for one pair of layers"),
        (["A.npy", "B.pkl"], "Pickles are never opened"),
        (["A.npy", "short.npy"], "vision has 40 stimuli, language has 39"),
        (["A.npy", "B.npy", "--folds", "30"], "cannot make 30 folds"),
        (["A.npy", "B.npy", "--device", "abacus"], "device 'abacus' cannot be used"),
        (["A.npy", "B.npy", "--max-memory", "0"], "too small for one pair of layers"),
        (["A.npy", "B.npy", "--out", "A.npy"], "A.npy is not a writable folder"),
        (["A.npy", "B.npy", "--groups", "no.txt"], "--groups no.txt: no file no.txt"),
        (["A.npy", "B.npy", "--groups", "few.txt"], "groups"),
        (["A.npy"], "Missing argument 'B'"),
    ],
)
def test_align_refuses_in_words_ends_with_2_and_leaves_nothing(
    tmp_path, layers, monkeypatch, capsys, words, named
):
    monkeypatch.chdir(tmp_path)
    features_file(layers[0], tmp_path / "A.npy")
    features_file(layers[1], tmp_path / "B.npy")
    features_file([layer[1:] for layer in layers[1]], tmp_path / "short.npy")
    (tmp_path / "B.pkl").touch()
    (tmp_path / "few.txt").write_text("a\nb\n")
    before = sorted(tmp_path.rglob("*"))
    assert main(monkeypatch, "align", *words) == 2
    assert named in " ".join(capsys.readouterr().err.split())
    assert sorted(tmp_path.rglob("*")) == before
