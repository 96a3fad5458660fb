import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from browser import chromium, page  # noqa: F401  (fixtures)
from filelock import FileLock
from hypothesis import settings
from kernels import share_imports

ROOT = Path(__file__).resolve().parent.parent

# the same examples in every run; `--hypothesis-profile=default` looks for new ones
settings.register_profile("repeatable", derandomize=True)
settings.load_profile("repeatable")


# What takes longest begins first, so that all processes end together: a file stays in one of them.
# Files that wait for the same thing, such as the site, are apart.
FIRST = (
    "tests/app/test_scale_out.py",
    "tests/core/test_cluster.py",
    "tests/app/test_tiny_paper.py",
    "tests/app/test_beyond.py",
    "tests/test_site.py",
    "tests/test_benchmarks.py",
    "tests/app/test_rehearsal.py",
    "tests/app/test_yours.py",
    "tests/test_wheel.py",
    "tests/test_explorer.py",
    "tests/test_browser.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    order = {ROOT / name: k for k, name in enumerate(FIRST)}
    items.sort(key=lambda item: order.get(item.path, len(order)))


@pytest.fixture(scope="session")
def files() -> list[Path]:
    "Every file of the project, relative to its root: what git tracks or would add."
    if not (ROOT / ".git").exists():
        pytest.skip("the list of the project's files comes from git")
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    return [Path(name) for name in sorted(listed.split("\0")) if name and (ROOT / name).exists()]


@pytest.fixture
def tree(tmp_path: Path, files: list[Path]) -> Path:
    "A copy of the project to build, break or rewrite."
    return copy_of_project(tmp_path / "seeing_words", files)


def copy_of_project(root: Path, files: list[Path]) -> Path:
    for file in files:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / file, root / file, follow_symlinks=False)
    return root


def shared_place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    "A folder of this run that all its test processes see."
    place = tmp_path_factory.getbasetemp()
    return place.parent if "PYTEST_XDIST_WORKER" in os.environ else place


@pytest.fixture(autouse=True)
def _threads_as_they_were():
    "A test may set torch to one thread; the next begins with as many as before."
    n_threads = torch.get_num_threads()
    yield
    torch.set_num_threads(n_threads)


@pytest.fixture(scope="module")
def copied_kernels():
    "Sections run in kernels that need not import PyTorch again; for tests of other things."
    with pytest.MonkeyPatch.context() as patch:
        share_imports(patch)
        yield


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory, files: list[Path]) -> Path:
    "The site, made once without Quarto from a copy of the project, for all test processes."
    place = shared_place(tmp_path_factory)
    root = place / "site" / "seeing_words"
    if any(part.startswith(".") for part in root.parts):
        pytest.skip(f"nbdev sees no page under a dotted folder: {root}")
    with FileLock(place / "site.lock"):
        if not root.exists():
            copy_of_project(root, files)
            run = subprocess.run(
                [sys.executable, "tools/site.py", "--without-quarto"],
                cwd=root,
                capture_output=True,
                text=True,
                env=os.environ | {"PYTHONPATH": str(root)},
            )
            (root / "made").write_text(run.stderr if run.returncode else "")
    failed = (root / "made").read_text()
    assert not failed, failed
    return root / "_docs"
