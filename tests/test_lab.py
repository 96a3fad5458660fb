"""A notebook that is opened in JupyterLab, and saved by it, stays as it is committed."""

import asyncio
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
from conftest import ROOT
from jupyter_server.services.contents.largefilemanager import AsyncLargeFileManager
from traitlets.config.loader import PyFileConfigLoader

LANGUAGE = {  # what a kernel says of itself, and Lab writes into the notebook
    "codemirror_mode": {"name": "ipython", "version": 3},
    "file_extension": ".py",
    "mimetype": "text/x-python",
    "name": "python",
    "nbconvert_exporter": "python",
    "pygments_lexer": "ipython3",
    "version": "3.99.0",
}
KERNEL = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}


def contents_of(root: Path) -> AsyncLargeFileManager:
    "What reads and saves notebooks in a server that `make lab` starts."
    loader = PyFileConfigLoader("jupyter_server_config.py", path=str(root / "tools/lab"))
    with warnings.catch_warnings():  # the file itself says which one to ignore
        return AsyncLargeFileManager(root_dir=str(root), config=loader.load_config())


async def opened_and_saved(contents: AsyncLargeFileManager, name: str, n_run: int) -> None:
    "Open a notebook as Lab does, run some cells, which give what they gave, and save it."
    model = await contents.get(name)
    notebook = model["content"]
    notebook.metadata.update(language_info=LANGUAGE, kernelspec=KERNEL)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    for k, cell in enumerate(code[:n_run], start=1):
        cell.execution_count = k
        cell.metadata.update(execution={"iopub.status.busy": "2026-01-01T00:00:00Z"})
        for output in cell.outputs:
            if output.output_type == "execute_result":
                output.execution_count = k
    await contents.save(model, name)


@pytest.fixture
def lab(tree):
    "A copy of the project, and what reads and saves its notebooks."
    return tree, contents_of(tree)


def test_notebooks_stay_as_they_are(lab):
    root, contents = lab
    paths = sorted((root / "nbs").rglob("[!.]*.ipynb"))
    assert len(paths) > 90

    async def every() -> list[str]:
        changed = []
        for k, path in enumerate(paths):
            before, name = path.read_bytes(), path.relative_to(root).as_posix()
            await opened_and_saved(contents, name, n_run=k % 3)
            if path.read_bytes() != before:
                changed.append(name)
        return changed

    assert asyncio.run(every()) == []
    made = {path.name for path in (root / "nbs").rglob("*") if path.name.startswith(".")}
    assert made <= {".ipynb_checkpoints"}


def test_what_a_reader_changes_is_saved(lab):
    root, contents = lab
    name = "nbs/library/core/00_errors.ipynb"

    async def edit() -> None:
        model = await contents.get(name)
        model["content"].cells[0].source = "# Another title"
        await contents.save(model, name)

    asyncio.run(edit())
    assert "# Another title" in (root / name).read_text(encoding="utf-8")


def test_make_lab_starts_with_these_settings(tmp_path):
    "`jupyter` finds the file by the variable that the target sets."
    shutil.copytree(ROOT / "tools/lab", tmp_path / "tools/lab")
    told = subprocess.run(["make", "-n", "lab"], cwd=ROOT, capture_output=True, text=True)
    assert "JUPYTER_CONFIG_PATH=tools/lab .venv/bin/jupyter lab" in told.stdout
    asked = "from jupyter_core.paths import jupyter_config_path; print(*jupyter_config_path())"
    found = subprocess.run(
        [sys.executable, "-c", asked],
        env={"JUPYTER_CONFIG_PATH": "tools/lab", "HOME": str(tmp_path)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "tools/lab" in found.stdout.split()
