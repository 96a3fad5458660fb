"""For `pytest --nbval-lax nbs/…`: nbdev_clean takes execution counts away, and nbval reads a missing one as a cell never run.

The paper's sections run here at a small size, told through their parameters cell; `make figures` runs them at full size."""
import re

SMALL = {"n_stimuli": 120, "n_permutations": 19, "n_draws": 100, "out": "_runs/nbval"}  # those that a notebook has


def pytest_collection_modifyitems(items):
    for item in items:
        cell = getattr(item, "cell", None)
        if cell is None: continue
        if cell.get("execution_count") is None: cell["execution_count"] = 0
        if item.path.parent.name == "paper" and "parameters" in cell.metadata.get("tags", []):
            has = [name for name in SMALL if re.search(rf"^{name}\b", cell.source, re.MULTILINE)]
            cell.source += "".join(f"\n{name} = {SMALL[name]!r}" for name in has)
