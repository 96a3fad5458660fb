"""The wheel carries the section notebooks, of the paper and beyond it, without their outputs."""

import json
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent


def without_outputs(notebook: Path) -> str:
    "The text of a notebook whose code cells have not been run."
    content = json.loads(notebook.read_text(encoding="utf-8"))
    for cell in content["cells"]:
        if cell["cell_type"] == "code":
            cell["outputs"] = []
            cell["execution_count"] = None
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


class BuildWithSections(build_py):
    "Build the package, and write nbs/paper and the studies of nbs/beyond into its sections."

    def run(self) -> None:
        super().run()
        if self.editable_mode:  # the notebooks of the checkout are used
            return
        sections = Path(self.build_lib) / "seeing_words" / "sections"
        shipped = {sections: "paper/[!_.]*.ipynb", sections / "beyond": "beyond/[0-9]*_*.ipynb"}
        for folder, pattern in shipped.items():
            folder.mkdir(parents=True, exist_ok=True)
            for notebook in sorted((ROOT / "nbs").glob(pattern)):
                (folder / notebook.name).write_text(without_outputs(notebook), encoding="utf-8")


setup(cmdclass={"build_py": BuildWithSections})
