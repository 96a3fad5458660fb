"""The package is what the notebooks say: exporting and cleaning again changes nothing."""

import os
import subprocess
import sys
from pathlib import Path


def nbdev(command: str, root: Path) -> None:
    env = {
        name: value for name, value in os.environ.items() if name != "IN_TEST"
    }  # set, it makes nbdev_export a no-op
    run = subprocess.run(
        [Path(sys.executable).with_name(command)], cwd=root, env=env, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
    assert "Failed" not in run.stderr, (
        run.stderr
    )  # of a notebook it cannot read nbdev_clean only warns


def contents(root: Path, files: list[Path]) -> dict[Path, bytes | None]:
    return {file: (root / file).read_bytes() if (root / file).exists() else None for file in files}


def test_export_and_clean_change_nothing(tree, files):
    before = contents(tree, files)
    for module in (tree / "seeing_words").rglob("*.py"):
        if module.name != "__init__.py":
            module.unlink()  # so that each has to come from a notebook
    nbdev("nbdev_export", tree)
    nbdev("nbdev_clean", tree)
    after = contents(tree, files)
    changed = [str(file) for file in files if after[file] != before[file]]
    assert not changed, f"`make export` would change {changed}"
