"""For `pytest --nbval-lax nbs/…`: nbdev_clean takes execution counts away, and nbval reads a missing one as a cell never run."""


def pytest_collection_modifyitems(items):
    for item in items:
        cell = getattr(item, "cell", None)
        if cell is not None and cell.get("execution_count") is None: cell["execution_count"] = 0
