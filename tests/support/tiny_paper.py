"""What the preset tests/fixtures/tiny-paper.toml works on: a few pictures and random networks, in
the formats of `paper`.

The files are kept in git, so that the preset runs anywhere. This writes them again: `python
tests/tiny_paper.py`.
"""

import json
import shutil
import sys
from pathlib import Path

import datasets
import families

FIXTURES = Path(__file__).resolve().parents[1] / "fixtures"
NETWORKS = ("dinov2", "bloom", "llama", "clip")


def write(root: Path) -> Path:
    "Write the folder that the preset names."
    datasets.coco(root / "coco", n=30)
    for split, n in (("validation_unique", 30), ("test_unique", 18)):
        datasets.pick_a_pic(root / "pick-a-pic", n, split)
    for kind in NETWORKS:
        families.save(kind, root / kind, seed=7)  # their untrained twins are drawn from 0 on
    # as DINOv2, it sees images of another size than it was pretrained on
    path = root / "dinov2/preprocessor_config.json"
    seen = json.loads(path.read_text())
    seen |= {"size": {"shortest_edge": 28}, "crop_size": {"height": 24, "width": 24}}
    path.write_text(json.dumps(seen))
    return root


if __name__ == "__main__":
    shutil.rmtree(FIXTURES / "tiny-paper", ignore_errors=True)
    sys.stdout.write(f"{write(FIXTURES / 'tiny-paper')}\n")
