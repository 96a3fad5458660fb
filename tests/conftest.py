import shutil
import subprocess
from pathlib import Path

import pytest
import torch
from browser import chromium, page  # noqa: F401  (fixtures)
from hypothesis import settings

ROOT = Path(__file__).resolve().parent.parent

# the same examples each time, so that a change is judged by what it changed; `--hypothesis-profile=default` looks for new ones
settings.register_profile("repeatable", derandomize=True)
settings.load_profile("repeatable")


@pytest.fixture(scope="session")
def files() -> list[Path]:
    "Every file of the project, relative to its root: what git tracks or would add."
    if not (ROOT / ".git").exists(): pytest.skip("the list of the project's files comes from git")
    listed = subprocess.run(["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
                            cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [Path(name) for name in sorted(listed.split("\0")) if name and (ROOT / name).exists()]


@pytest.fixture
def tree(tmp_path: Path, files: list[Path]) -> Path:
    "A copy of the project to build, break or rewrite."
    root = tmp_path / "seeing_words"
    for file in files:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / file, root / file, follow_symlinks=False)
    return root


@pytest.fixture(autouse=True)
def _threads_as_they_were():
    "A test may set torch to one thread; the next begins with as many as before."
    n_threads = torch.get_num_threads()
    yield
    torch.set_num_threads(n_threads)
