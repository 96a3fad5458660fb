"""Prepare _proc/ for `quarto render _proc`: the notebooks as nbdev shows them, and figures/ beside them."""
import shutil
from pathlib import Path

from nbdev.serve import proc_nbs

ROOT = Path(__file__).resolve().parent.parent
SITE = ROOT / "_proc"


def main() -> None:
    if hidden := [part for part in SITE.parts if part.startswith(".")]:
        raise SystemExit(f"nbdev skips every page under a folder whose name starts with a dot: {hidden[0]} in {SITE}")
    proc_nbs(force=True)
    shutil.copytree(ROOT / "figures", SITE / "figures")
    for page in SITE.rglob("*.ipynb"):  # nbs/ became the root of the site: figures/ is one folder nearer
        page.write_text(page.read_text(encoding="utf-8").replace("../figures/", "figures/"), encoding="utf-8")


if __name__ == "__main__":  # nbdev spawns processes that import this file
    main()
