"Data sets as small as can be, in the very formats in which the large ones are published."

import csv
import io
import json
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
from PIL import Image

WORDS = "a boat two dogs by the sea small red sleeps near barn under old sky".split()
COCO_CATEGORIES = [
    {"supercategory": "person", "isthing": 1, "id": 1, "name": "person"},
    {"supercategory": "animal", "isthing": 1, "id": 18, "name": "dog"},
    {"supercategory": "plant", "isthing": 0, "id": 193, "name": "grass-merged"},
    {"supercategory": "sky", "isthing": 0, "id": 187, "name": "sky-other-merged"},
]


def picture(i: int, width: int = 24, height: int = 16) -> np.ndarray:  # (height, width, 3) uint8
    "A smooth picture, so that a JPEG of it is nearly it; another one for each `i`."
    rng = np.random.default_rng(i)
    corners = Image.fromarray(rng.integers(0, 256, (2, 2, 3), np.uint8))
    return np.array(corners.resize((width, height), Image.Resampling.BILINEAR))


def encoded(pixels: np.ndarray, kind: str = "JPEG", **options) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind, **options)
    return file.getvalue()


def captions(i: int, n: int = 5) -> list[str]:
    rng = np.random.default_rng(1000 + i)
    return [" ".join(rng.choice(WORDS, 4 + k)) for k in range(n)]


def write_json(path: Path, obj) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(obj), encoding="utf-8")


def coco_things(i: int, width: int, height: int) -> np.ndarray:  # (thing, height, width) bool
    "Two things in every picture: a person on the left, above, and a dog on the right, below."
    x, y = width // 24, height // 16  # the smallest pictures have 24 × 16 pixels
    person, dog = np.zeros((2, height, width), bool)
    person[y : 6 * y, x : (5 + i % 3) * x] = True
    dog[8 * y : 12 * y, 10 * x : 20 * x] = True
    return np.stack([person, dog])


def coco(
    root: Path, n: int = 10, split: str = "val2017", sizes: Sequence[tuple[int, int]] = ()
) -> Path:
    """COCO: images, captions (more than five of some), panoptic annotations with their ids in the
    colours of a png. `sizes` are width and height of images, in turn; without, they are tiny."""
    images, records, panoptic = [], [], []
    for folder in (split, f"annotations/panoptic_{split}"):
        (root / folder).mkdir(parents=True)
    for i in range(n):
        number, (width, height) = 139 + 7 * i, (24 + i % 3, 16 + i % 2)
        if sizes:
            width, height = sizes[i % len(sizes)]
        file = f"{number:012}.jpg"
        (root / split / file).write_bytes(encoded(picture(i, width, height), quality=95))
        images.append(
            {
                "license": 1 + i % 8,
                "file_name": file,
                "coco_url": f"http://images.cocodataset.org/{split}/{file}",
                "height": height,
                "width": width,
                "date_captured": "2013-11-21 01:34:01",
                "id": number,
            }
        )
        records += [
            {"image_id": number, "id": 1000 * k + i, "caption": text + "\n" * (k == 2)}
            for k, text in enumerate(captions(i, 5 + i % 2))
        ]
        panoptic.append(_panoptic(root / f"annotations/panoptic_{split}", i, number, width, height))
    records.reverse()  # their order in the file says nothing
    head = {
        "info": {"description": "COCO 2017 Dataset", "year": 2017},
        "licenses": [{"id": 1, "name": "Attribution-NonCommercial-ShareAlike License"}],
        "images": images,
    }
    write_json(root / f"annotations/captions_{split}.json", {**head, "annotations": records})
    write_json(
        root / f"annotations/panoptic_{split}.json",
        {**head, "annotations": panoptic, "categories": COCO_CATEGORIES},
    )
    return root


def _panoptic(folder: Path, i: int, number: int, width: int, height: int) -> dict:
    segments = np.full((height, width), 6_710_886 + i)  # sky
    segments[height // 2 :] = 256 * 256 + i  # grass
    for code, mask in zip((3_226_956 + i, 300 + i), coco_things(i, width, height)):
        segments[mask] = code
    colours = np.stack([segments % 256, segments // 256 % 256, segments // 256**2], -1).astype(
        np.uint8
    )
    Image.fromarray(colours).save(folder / f"{number:012}.png")
    codes = {6_710_886 + i: 187, 300 + i: 18, 256 * 256 + i: 193, 3_226_956 + i: 1}
    about = [
        {
            "id": code,
            "category_id": category,
            "iscrowd": 0,
            "bbox": [0, 0, width, height],
            "area": int((segments == code).sum()),
        }
        for code, category in codes.items()
    ]
    return {"segments_info": about, "file_name": f"{number:012}.png", "image_id": number}


PICK_LABELS = (
    (1.0, 0.0),
    (0.0, 1.0),
    (0.5, 0.5),
    (1.0, 0.0),
    None,
    (0.0, 1.0),
)  # of every six rankings; None: no label


def pick_a_pic(
    root: Path,
    n: int = 12,
    split: str = "validation_unique",
    *,
    side: int = 32,
    n_files: int = 2,
    **options,
) -> Path:
    """Pick-a-Pic: parquet with the bytes of both images of `side` pixels; preferences, ties,
    rankings without a label."""
    import pandas as pd

    rows = []
    offset = 0 if split.startswith("validation") else 1000  # rankings differ between splits
    for i in range(offset, offset + n):
        label = PICK_LABELS[(i - offset) % 6]
        first, second = label or (-1.0, -1.0)
        uids = [f"uid-{i}-{side}" for side in (0, 1)]
        rows.append(
            {
                "are_different": first != second,
                "best_image_uid": uids[int(second > first)],
                "caption": captions(i, 1)[0],
                "created_at": pd.Timestamp("2023-01-02"),
                "has_label": label is not None,
                "image_0_uid": uids[0],
                "image_0_url": f"https://example.org/{uids[0]}.png",
                "image_1_uid": uids[1],
                "image_1_url": f"https://example.org/{uids[1]}.png",
                "jpg_0": encoded(picture(2 * i, side, side)),
                "jpg_1": encoded(picture(2 * i + 1, side, 3 * side // 4 + i % 2)),
                "label_0": first,
                "label_1": second,
                "model_0": "stabilityai/stable-diffusion-2-1",
                "model_1": "stabilityai/stable-diffusion-2-1"
                if i % 2
                else "dreamlike-art/dreamlike-photoreal-2.0",
                "ranking_id": 500 + i,
                "user_id": i % 3,
                "num_example_per_prompt": 1,
                "__index_level_0__": i,
            }
        )
    (root / "data").mkdir(parents=True, exist_ok=True)
    starts = [k * n // n_files for k in range(n_files + 1)]
    for k, (start, stop) in enumerate(pairwise(starts)):
        part = rows[start:stop]
        name = f"{split}-0000{k}-of-0000{n_files}-33ead111845fc9c4.parquet"
        pd.DataFrame(part).to_parquet(root / "data" / name, row_group_size=4, **options)
    return root


FLICKR_CAPTIONS = [  # with commas, quotes, bars and signs that a reader of csv may stumble over
    [
        "Two young guys with shaggy hair look at their hands .",
        'A man says " hello " to a dog , twice .',
        '"Stop" reads the sign .',
        "Four men | one ladder .",
        "Someone's café in Zürich .",
    ],
    [
        "A girl climbs .",
        "A little girl , in pink .",
        "She wears a 3/4 sleeve .",
        'A "quoted" word',
        "A dog runs across the grass .",
    ],
]


def flickr30k(root: Path, form: str, n: int = 4, size: tuple[int, int] = (24, 16)) -> Path:
    """Flickr30k, `form` by `form` in which it is passed on; the last row of results.csv lacks a
    bar, as the original does."""
    names = [f"{1000092795 + i}.jpg" for i in range(n)]
    said = [FLICKR_CAPTIONS[i % 2] for i in range(n)]
    for i in range(4, n):  # of many images, no two have the same
        said[i] = [f"{words} : {text}" for words, text in zip(captions(i), said[i])]
    (root / "flickr30k-images").mkdir(parents=True)
    for i, name in enumerate(names):
        (root / "flickr30k-images" / name).write_bytes(encoded(picture(i, *size)))
    splits = ["train", "test"] * n
    text = {
        "results.csv": _pipes,
        "results_20130124.token": _token,
        "flickr_annotations_30k.csv": _raw_csv,
        "dataset_flickr30k.json": _karpathy,
    }[form](names, said, splits)
    (root / form).write_text(text, encoding="utf-8", newline="")
    return root


def flickr30k_parquet(root: Path, n: int = 4, *, converted: bool = False) -> Path:
    """Flickr30k with its images in parquet: of two files, or as the hub converts a repository of
    one, with the splits of the paper in a column."""
    import pandas as pd

    rows = []
    for i in range(n):
        name = f"{1000092795 + i}.jpg"
        rows.append(
            {
                "image": {"bytes": encoded(picture(i)), "path": name},
                "caption": FLICKR_CAPTIONS[i % 2],
                "sentids": [str(5 * i + k) for k in range(5)],
                "img_id": str(i),
                "filename": name,
            }
        )
        if converted:
            rows[-1]["split"] = ("train", "test")[i % 2]
    places = ["data/test-00000-of-00002.parquet", "data/test-00001-of-00002.parquet"]
    if converted:
        places = ["default/test/0000.parquet"]
    for k, place in enumerate(places):
        (root / place).parent.mkdir(parents=True, exist_ok=True)
        pd.DataFrame(rows[k :: len(places)]).to_parquet(root / place)
    return root


def _pipes(names, captions, splits) -> str:
    lines = [
        f"{name}| {k}| {text}"
        for name, texts in zip(names, captions)
        for k, text in enumerate(texts)
    ]
    last = lines.pop().replace("| 4| ", "| 4   ")
    return "\n".join(["image_name| comment_number| comment", *lines, last]) + "\n"


def _token(names, captions, splits) -> str:
    return "".join(
        f"{name}#{k}\t{text}\n"
        for name, texts in zip(names, captions)
        for k, text in enumerate(texts)
    )


def _raw_csv(names, captions, splits) -> str:
    file = io.StringIO()
    rows = csv.writer(file)
    rows.writerow(["raw", "sentids", "split", "filename", "img_id"])
    for i, (name, texts, split) in enumerate(zip(names, captions, splits)):
        rows.writerow(
            [json.dumps(texts), json.dumps(list(range(5 * i, 5 * i + 5))), split, name, i]
        )
    return file.getvalue()


def _karpathy(names, captions, splits) -> str:
    images = [
        {
            "sentids": list(range(5 * i, 5 * i + 5)),
            "imgid": i,
            "split": split,
            "filename": name,
            "sentences": [
                {"tokens": text.lower().split(), "raw": text, "imgid": i, "sentid": 5 * i + k}
                for k, text in enumerate(texts)
            ],
        }
        for i, (name, texts, split) in enumerate(zip(names, captions, splits))
    ]
    return json.dumps({"images": images, "dataset": "flickr30k"})


def own(
    root: Path, suffix: str, n: int = 6, n_captions: int = 2, encoding: str = "utf-8"
) -> Path:  # the table
    "A folder of one's own: pictures and a table that has one row a caption."
    (root / "pictures").mkdir(parents=True, exist_ok=True)
    rows = []
    for i in range(n):
        (root / "pictures" / f"p{i}.png").write_bytes(encoded(picture(i, 12 + i, 12), "PNG"))
        rows += [
            {"image": f"pictures/p{i}.png", "caption": text} for text in captions(i, n_captions)
        ]
    return table(root / f"table{suffix}", rows, encoding)


def table(path: Path, rows: list[dict], encoding: str = "utf-8") -> Path:
    "Write `rows` in the format that the name of `path` asks for."
    import pandas as pd

    frame = pd.DataFrame(rows)
    if path.suffix == ".parquet":
        frame.to_parquet(path)
    elif path.suffix == ".json":
        path.write_text(json.dumps(rows, ensure_ascii=False), encoding)
    elif path.suffix == ".jsonl":
        path.write_text(
            "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding
        )
    else:
        frame.to_csv(
            path, index=False, sep="\t" if path.suffix == ".tsv" else ",", encoding=encoding
        )
    return path
