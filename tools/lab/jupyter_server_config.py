"""JupyterLab saves a notebook as it is committed; `make lab` starts it with this file.

When a notebook is opened, Lab adds the kernel's language and version to its metadata, and saves it
a little later. What `nbdev_clean` would take out is therefore taken out before a file is written,
so that a notebook that was only looked at stays as it was, byte for byte.
"""

import warnings
from pathlib import Path

from nbdev.clean import clean_nb
from nbdev.config import get_config

ROOT = Path(__file__).resolve().parents[2]


def clean(model: dict, **_) -> None:
    "Take out what differs from one machine to the next; outputs stay."
    if model["type"] != "notebook" or model["content"]["nbformat"] != 4:
        return
    settings = get_config(path=ROOT)
    clean_nb(
        model["content"],
        allowed_metadata_keys=settings.allowed_metadata_keys.split(),
        allowed_cell_metadata_keys=settings.allowed_cell_metadata_keys.split(),
        clean_ids=settings.clean_ids,
    )


# Jupyter validates the setting twice, and says that it replaces itself
warnings.filterwarnings("ignore", message="Overriding existing pre_save_hook")
c.ContentsManager.pre_save_hook = clean  # noqa: F821  (`c` is where Jupyter reads settings)
