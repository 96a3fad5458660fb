"""The dress rehearsal, `make rehearsal`: the paper's run from download to figures, on files of the
true formats and shapes with random contents.

It writes the files (`published`), serves them here (`hub`), and runs the commands that a user
would: `download`, `presets check` and `figures`, the last without a network. Then it compares what
was read with plain transformers, sentencepiece, Pillow and pandas. Each step is a process of its
own, whose time and memory are taken. A run that was stopped goes on with the step at which it was;
at the end all but the figures and the report is removed.
"""

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path

import published
from hub import hub

ROOT = Path(__file__).resolve().parents[2]
SUPPORT = Path(__file__).parent
SIZES = {"true": published.TRUE, "small": published.SMALL}
SECTIONS = ("layers", "perturbations", "pick_a_pic", "averaging")
LARGE = ("published", "data", "hub", "store", "nbs", "_runs")  # removed at the end
PAPER, FLICKR = "paper-rehearsal", "paper-rehearsal-flickr30k"


# What the commands read


def write_presets(folder: Path) -> None:
    "The presets `paper` and `paper-flickr30k`, with fewer networks and stimuli."
    vision, *language, judge = published.PINNED
    revisions = [f'"{name}" = "{commit}"' for name, commit in published.PINNED.items()]
    networks = [
        f"vision = {json.dumps([vision])}",
        f"language = {json.dumps(language)}",
        f'judge = "{judge}"',
    ]
    numbers = ["n_folds = 3", "n_permutations = 5", "n_draws = 50", "n_untrained = 1"]
    paper = [
        'summary = "the formats and shapes of `paper`, random weights: only to see that it runs"',
        'source = "coco"',
        'data = ["coco", "pick-a-pic"]',
        'trials = "pick-a-pic"',
        "n_stimuli = 20",
        "n_trials = 16",
        "sections = {averaging = {n_stimuli = 24}, perturbations = {n_stimuli = 10}}",
        f'copies = {{pick-a-pic = "{published.COPY}@{published.COPY_COMMIT}"}}',
    ]
    flickr = [
        'summary = "the same networks on Flickr30k"',
        'source = "flickr30k"',
        'data = ["flickr30k"]',
        "n_stimuli = 24",
    ]
    for name, own in ((PAPER, paper), (FLICKR, flickr)):
        lines = [*own, *networks, *numbers, "", "[revisions]", *revisions]
        (folder / f"{name}.toml").write_text("\n".join(lines) + "\n")


def write_files(folder: Path, size: str) -> None:
    "A checkout to run in, the presets, and everything that is to be downloaded."
    shutil.copytree(ROOT / "nbs/paper", folder / "nbs/paper", dirs_exist_ok=True)
    (folder / "settings.ini").touch()
    write_presets(folder)
    published.write(folder / "published", SIZES[size])


def as_a_user(folder: Path, words: Sequence[str]) -> None:
    "The command `seeing-words`, for which COCO's archives are those written here."
    from dataclasses import replace

    from seeing_words.app import cli, download

    coco = download.DATA["coco"]
    parts = []
    for part in coco.parts:
        archive = folder / "published/coco" / Path(part.path).name
        with archive.open("rb") as file:
            sha = hashlib.file_digest(file, "sha256").hexdigest()
        parts.append(replace(part, bytes=archive.stat().st_size, sha256=sha))
    download.DATA = dict(download.DATA) | {"coco": replace(coco, parts=tuple(parts))}
    sys.argv = ["seeing-words", *words]
    cli.main()


# What was read, against other libraries


def compare(folder: Path, sections: Sequence[str]) -> None:
    "Compare what the run read and computed with other libraries; print a line for each comparison."
    from seeing_words.app.run import start

    run = start("layers", preset=str(folder / f"{PAPER}.toml"))
    vision, *language, judge = published.PINNED
    compare_data(folder, run)
    compare_vision(run, vision)
    for name in language:
        compare_language(run, name)
    compare_judge(run, judge, has_run="pick_a_pic" in sections)
    compare_figures(folder, sections)


def same(found: object, expected: object, what: str, allowed: float = 0.0) -> None:
    "Print what agrees, with the largest difference; stop if it does not."
    import numpy as np

    if isinstance(expected, np.ndarray):
        assert np.shape(found) == expected.shape, (what, np.shape(found), expected.shape)
        apart = float(np.abs(np.asarray(found, float) - expected).max())
        assert apart <= allowed, (what, apart, allowed)
        assert np.ptp(expected) > 1e-3, (what, "nothing to be compared")
        what += f", shape {expected.shape}" + (f", apart by {apart:.1e}" if allowed else "")
    else:
        assert found == expected, (what, found, expected)
    print(f"✓ {what}")


def compare_data(folder: Path, run) -> None:
    import io

    import numpy as np
    import pandas as pd
    from PIL import Image

    from seeing_words.data.sources import flickr30k_stimuli, pick_a_pic

    data = folder / "data"
    n_there = len(list((data / "coco/val2017").glob("*.jpg")))
    n_masks = len(list((data / "coco/annotations/panoptic_val2017").glob("*.png")))
    same(n_masks, n_there, f"COCO: {n_there} images and as many masks, from a zip within a zip")
    notes = json.loads((data / "coco/annotations/captions_val2017.json").read_text())
    said = {}
    for one in notes["annotations"]:
        said.setdefault(one["image_id"], set()).add(one["caption"].strip())
    for i in range(3):
        number = int(run.stimuli.ids[i])
        image = Image.open(data / f"coco/val2017/{number:012}.jpg").convert("RGB")
        same(run.stimuli.images[i], np.array(image), f"COCO {number}: pixels as Pillow decodes")
        same(set(run.stimuli.captions[i]) <= said[number], True, f"COCO {number}: captions")
    files = sorted((data / "pick-a-pic/data").glob("*.parquet"))
    rows = pd.concat([pd.read_parquet(path) for path in files])
    prefers = rows[rows["has_label"] & (rows["label_0"] != rows["label_1"])]
    found = pick_a_pic(data / "pick-a-pic")
    n = len(found.preferred)
    same(n, len(prefers), f"Pick-a-Pic: {n} of {len(rows)} rankings of both splits prefer an image")
    row = prefers.set_index("ranking_id").loc[int(found.preferred.ids[0])]
    best = "jpg_0" if row["label_0"] > row["label_1"] else "jpg_1"
    image = np.array(Image.open(io.BytesIO(row[best])).convert("RGB"))
    same(found.preferred.images[0], image, "Pick-a-Pic: the preferred image")
    table = pd.read_csv(data / "flickr30k/flickr_annotations_30k.csv").set_index("filename")
    flickr = flickr30k_stimuli(data / "flickr30k", 24)
    own = {Path(name).stem: name for name in table.index}
    for id_, captions in zip(flickr.ids, flickr.captions):
        raw = json.loads(table.loc[own[Path(id_).stem], "raw"])
        assert list(captions) == [text.strip() for text in raw], id_
    same(len(flickr), 24, "Flickr30k: captions of 24 images as in its csv")


def _plain(cls: type, where: Path, **options):
    "A network as transformers reads it, and what it says of names that do not fit."
    import torch

    network, about = cls.from_pretrained(
        where, dtype=torch.float32, output_loading_info=True, **options
    )
    return network.eval(), about


def compare_vision(run, name: str) -> None:
    import numpy as np
    import torch
    from PIL import Image
    from transformers import AutoImageProcessor, AutoModel

    from seeing_words.models.load import pretrained_folder

    where = pretrained_folder(name, published.PINNED[name])
    images = [run.stimuli.images[i] for i in range(3)]
    processor = AutoImageProcessor.from_pretrained(where, backend="pil")
    shown = processor([Image.fromarray(image) for image in images], return_tensors="pt")
    mine = run.preset.load(name, weights=False).encode(images)["pixel_values"]
    same(mine.numpy(), shown["pixel_values"].numpy(), f"{name}: preprocessing of 3 images", 1e-6)
    network, about = _plain(AutoModel, where)
    same(list(about["missing_keys"]), [], f"{name}: every weight is in the file")
    with torch.no_grad():
        hidden = network(**shown, output_hidden_states=True).hidden_states
    expected = np.stack([state[:, 0].numpy() for state in hidden])  # (layer, stimulus, unit)
    found = run.features(name)[:, :3].to_numpy()
    scale = np.abs(expected).max((1, 2), keepdims=True)  # of each layer
    n_blocks = network.config.num_hidden_layers
    same(found.shape[0], n_blocks + 1, f"{name}: layers 0 to {n_blocks}")
    told_apart = np.ptp(expected / scale, axis=1).max(-1)  # in the embedding, the token is the same
    assert (told_apart[1:] > 1e-3).all(), "images are not told apart"
    same(found / scale, expected / scale, f"{name}: class token at every layer", 1e-4)


def compare_language(run, name: str) -> None:
    import numpy as np
    import torch
    from sentencepiece import SentencePieceProcessor
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from seeing_words.models.load import pretrained_folder

    where = pretrained_folder(name, published.PINNED[name])
    captions = [*run.stimuli.caption(), "a    b", "hello     world", "the café's door — 12 feet"]
    is_lone = not (where / "tokenizer.json").is_file()
    if is_lone:
        pieces = SentencePieceProcessor(model_file=str(where / "tokenizer.model"))
        expected_ids = [[1, *row] for row in pieces.encode(captions)]
    else:
        expected_ids = AutoTokenizer.from_pretrained(where)(captions)["input_ids"]
    encoded = run.preset.load(name, weights=False).encode(captions)
    pairs = zip(encoded["input_ids"], encoded["attention_mask"])
    found_ids = [ids[mask.bool()].tolist() for ids, mask in pairs]
    by = "sentencepiece" if is_lone else "transformers"
    same(found_ids, expected_ids, f"{name}: ids of {len(captions)} captions as by {by}")
    options = {"use_safetensors": False} if is_lone else {}
    network, about = _plain(AutoModelForCausalLM, where, **options)
    missing = set(about["missing_keys"]) - {"lm_head.weight"}  # in BLOOM it is the embedding
    same(missing, set(), f"{name}: every weight is in the files")
    last = []  # what the last block returns, before the last norm
    norm = network.model.norm if is_lone else network.transformer.ln_f
    norm.register_forward_pre_hook(lambda module, inputs: last.append(inputs[0]))
    n_before = len(expected_ids[0]) - len(pieces.encode(captions[0])) if is_lone else 0
    expected = []
    for ids in expected_ids[:3]:
        with torch.no_grad():
            hidden = network(torch.tensor([ids]), output_hidden_states=True).hidden_states
        states = [*hidden[:-1], last.pop()]
        expected.append([state[0, n_before:].mean(0).numpy() for state in states])
    expected = np.stack(expected, 1)  # (layer, stimulus, unit)
    found = run.features(name, "mean")[:, :3].to_numpy()
    n_blocks = network.config.num_hidden_layers
    same(found.shape[0], n_blocks + 1, f"{name}: layers 0 to {n_blocks}")
    scale = np.abs(expected).max((1, 2), keepdims=True)
    assert (np.ptp(expected / scale, axis=1).max(-1) > 1e-3).all(), "captions are not told apart"
    same(found / scale, expected / scale, f"{name}: mean of 3 captions at every layer", 1e-4)


def compare_judge(run, name: str, *, has_run: bool) -> None:
    import numpy as np
    import torch
    from PIL import Image
    from transformers import AutoImageProcessor, AutoTokenizer, CLIPModel

    from seeing_words.data.stimuli import StimulusSet
    from seeing_words.models.load import pretrained_folder

    where = pretrained_folder(name, published.PINNED[name])
    stimuli = run.stimuli
    if not has_run:  # then it is judged here
        images = [stimuli.images[i] for i in range(3)]
        stimuli = StimulusSet("three", stimuli.ids[:3], images, stimuli.captions[:3])
    scores = run.judge(stimuli)[:3]
    network, about = _plain(CLIPModel, where)
    same(list(about["missing_keys"]), [], f"{name}: every weight is in the file")
    images = [Image.fromarray(stimuli.images[i]) for i in range(3)]
    seen = AutoImageProcessor.from_pretrained(where, backend="pil")(images, return_tensors="pt")
    tokenizer = AutoTokenizer.from_pretrained(where)
    expected = []
    for i in range(3):
        read = tokenizer(list(stimuli.captions[i]), padding=True, return_tensors="pt")
        with torch.no_grad():
            out = network(pixel_values=seen["pixel_values"][i : i + 1], **read)
            expected.append((out.logits_per_image[0] / network.logit_scale.exp()).numpy())
    same(scores, np.stack(expected), f"{name}: cosines of 3 images and their captions", 1e-5)


def compare_figures(folder: Path, sections: Sequence[str]) -> None:
    figures = folder / "figures" / PAPER
    for section in sections:
        about = json.loads((figures / f"{section}_provenance.json").read_text())
        same(about.get("missing"), None, f"section {section}: nothing was missing")
        n = sum(name.endswith(".svg") for name in about["written"])
        same(n > 0, True, f"section {section}: {n} figures")
        *networks, judge = published.PINNED
        same(set(networks) <= set(about["models"]), True, f"section {section}: all networks")


# The steps


def size_of(folder: Path) -> int:
    "Bytes on the disk."
    blocks = {}
    for path in folder.rglob("*"):
        about = path.lstat()
        blocks[about.st_ino] = about.st_blocks
    return 512 * sum(blocks.values())


def run_step(folder: Path, name: str, words: Sequence[str], env: Mapping[str, str]) -> dict:
    "Run a process to its end; how long it took, and how much memory it and its children used."
    began, log = time.monotonic(), folder / f"{name}.log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, *words], cwd=folder, env=env, stdout=out, stderr=subprocess.STDOUT
        )
        try:
            _, status, used = os.wait4(process.pid, 0)
        except BaseException:
            process.terminate()
            process.wait()
            raise
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        last = log.read_text(errors="replace").splitlines()[-30:]
        raise SystemExit("\n".join([*last, f"{name} ended with {process.returncode}: see {log}"]))
    unit = 1 if sys.platform == "darwin" else 1024
    return {
        "wall": time.monotonic() - began,
        "cpu": used.ru_utime + used.ru_stime,
        "memory": used.ru_maxrss * unit,
        "disk": size_of(folder),
    }


def environment(folder: Path, address: str | None) -> dict[str, str]:
    "Everything goes to the folder; without an address there is no network."
    env = dict(os.environ)
    env |= {
        "SEEING_WORDS_DATA": str(folder / "data"),
        "SEEING_WORDS_STORE": str(folder / "store"),
        "HF_HOME": str(folder / "hub"),
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "NO_PROXY": "127.0.0.1",
        "no_proxy": "127.0.0.1",
        "COLUMNS": "200",
        "PYTHONPATH": os.pathsep.join(
            [str(ROOT), str(SUPPORT), *filter(None, [env.get("PYTHONPATH")])]
        ),
    }
    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HUB_OFFLINE", "HF_ENDPOINT"):
        env.pop(name, None)
    return env | ({"HF_ENDPOINT": address} if address else {"HF_HUB_OFFLINE": "1"})


def steps(folder: Path, size: str, sections: Sequence[str]) -> dict[str, tuple[str, Callable]]:
    "Name → what it does in words, and a function from the server's address to its command."
    own = [str(SUPPORT / "rehearsal.py"), "--folder", str(folder), "--size", size]
    user = [*own, "--as-a-user"]
    paper, flickr = f"{PAPER}.toml", f"{FLICKR}.toml"
    return {
        "write": ("networks and data sets written", lambda at: [*own, "--write"]),
        "download": (
            "`download` from a server here",
            lambda at: [*user, "download", "--preset", paper, "--mirror", at],
        ),
        "check": (
            "`presets check` of Flickr30k, put there by hand",
            lambda at: [*user, "presets", "check", flickr],
        ),
        "figures": (
            "`figures`, without a network",
            lambda at: [*user, "figures", *sections, "--preset", paper, "-j", "1"],
        ),
        "compare": (
            "comparison with other libraries",
            lambda at: [*own, "--compare", "--sections", *sections],
        ),
    }


ONLINE = ("download",)


def _described(step: str, words: str, took: Mapping[str, float]) -> str:
    return (
        f"{step:9} {words:50} {took['wall']:6.0f} s, {took['cpu']:6.0f} s of CPU, "
        f"{took['memory'] / 1e9:5.2f} GB of memory, {took['disk'] / 1e9:5.2f} GB on the disk"
    )


def rehearse(folder: Path, size: str = "true", sections: Sequence[str] = SECTIONS) -> str:
    "Run what is still to be done, and return the report."
    record = folder / "steps.json"
    folder.mkdir(parents=True, exist_ok=True)
    taken = json.loads(record.read_text()) if record.is_file() else {}
    for step, (words, command) in steps(folder, size, sections).items():
        if step in taken:
            print(f"{step:9} was done by the run before", flush=True)
            continue
        if step == "check":
            source, place = folder / "published/flickr30k", folder / "data/flickr30k"
            shutil.copytree(source, place, dirs_exist_ok=True)
        at = folder / "published"
        served = nullcontext()
        if step in ONLINE:
            served = hub(published.repositories(at), files=published.archives(at))
        with served as server:
            address = f"http://127.0.0.1:{server.server_port}" if server else None
            env = environment(folder, address)
            taken[step] = run_step(folder, step, command(address), env)
        begun = record.with_suffix(".begun")
        begun.write_text(json.dumps(taken, indent=1))
        begun.replace(record)
        print(_described(step, words, taken[step]), flush=True)
    report = _report(folder, size, sections, taken)
    (folder / "report.txt").write_text(report + "\n")
    for name in LARGE:
        shutil.rmtree(folder / name, ignore_errors=True)
    record.unlink()
    return report


def _report(folder: Path, size: str, sections: Sequence[str], taken: Mapping) -> str:
    lines = ["What was compared, by the run's own features and by other libraries:"]
    log = (folder / "compare.log").read_text().splitlines()
    lines += [line for line in log if line.startswith("✓")]
    lines += ["", f"What it took, with networks and data of {size} size:"]
    for step, (words, _) in steps(folder, size, sections).items():
        lines.append(_described(step, words, taken[step]))
    total = {key: sum(took[key] for took in taken.values()) for key in ("wall", "cpu")}
    most = {key: max(took[key] for took in taken.values()) for key in ("memory", "disk")}
    lines.append(_described("together", "", total | most))
    lines.append(f"Figures, and what each step printed, are in {folder}; the rest was removed.")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    add = parser.add_argument
    add("--folder", type=Path, default=ROOT / "_runs/rehearsal", help="where everything goes")
    add("--size", choices=SIZES, default="true")
    add("--sections", nargs="*", default=SECTIONS)
    add("--write", action="store_true", help=argparse.SUPPRESS)  # the steps
    add("--compare", action="store_true", help=argparse.SUPPRESS)
    add("--as-a-user", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    given = parser.parse_args()
    folder = given.folder.resolve()
    if given.write:
        write_files(folder, given.size)
    elif given.compare:
        compare(folder, given.sections)
    elif given.as_a_user:
        as_a_user(folder, given.as_a_user)
    else:
        print(rehearse(folder, given.size, given.sections))


if __name__ == "__main__":
    main()
