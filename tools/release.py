"""Set the version of a release everywhere, and check that everything agrees on it.

python tools/release.py                 CITATION.bib and .zenodo.json, from CITATION.cff
python tools/release.py 0.2.0           the same for a new version, dated today
python tools/release.py --check v0.2.0  end with 1 unless all files are of this version
python tools/release.py --notes v0.2.0  what changed, from CHANGELOG.md
"""

import argparse
import datetime
import json
import re
import sys
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parent.parent
# every place where the version is written → the line, with the version in parentheses
PLACES = {
    "settings.ini": r"^version = (.+)$",
    "CITATION.cff": r"^version: (.+)$",
    "nbs/library/public.ipynb": r'^    "__version__ = \\"([^"\\]+)',
    "seeing_words/__init__.py": r'^__version__ = "(.+)"$',
}
VERSION = r"\d+\.\d+\.\d+((a|b|rc)\d+)?"


def read(root: Path, name: str) -> str:
    return (root / name).read_text(encoding="utf-8")


def citation(root: Path = ROOT) -> dict:
    "What CITATION.cff says."
    return yaml.safe_load(read(root, "CITATION.cff"))


def _entry(kind: str, key: str, fields: dict[str, object]) -> str:
    lines = [f"  {name:<9} = {{{value}}}" for name, value in fields.items()]
    return f"@{kind}{{{key},\n" + ",\n".join(lines) + "\n}\n"


def bibtex(about: dict) -> str:
    "The software and the paper as BibTeX."
    (paper,) = about["references"]
    names = [f"{author['family-names']}, {author['given-names']}" for author in paper["authors"]]
    released = str(about["date-released"])
    software = {
        "title": f"{{{about['title']}}}",
        "author": f"{{{about['authors'][0]['name']}}}",
        "year": released[:4],
        "month": int(released[5:7]),
        "version": about["version"],
        "url": about["repository-code"],
        "note": about["abstract"].rstrip("."),
    }
    if doi := about.get("doi"):
        software["doi"] = doi
    where = paper["conference"]
    article = {
        "title": f"{{{paper['title']}}}",
        "author": " and ".join(names),
        "booktitle": paper["collection-title"],
        "year": paper["year"],
        "month": paper["month"],
        "address": f"{where['city']}, China",
        "publisher": paper["publisher"]["name"],
        "pages": f"{paper['start']}--{paper['end']}",
        "isbn": paper["isbn"],
        "url": next(one["value"] for one in paper["identifiers"] if one["type"] == "url"),
        "note": paper["identifiers"][0]["value"],
    }
    return (
        _entry("software", "seeing_words", software)
        + "\n"
        + _entry("inproceedings", "he-etal-2025-seeing", article)
    )


def zenodo(about: dict) -> str:
    "What Zenodo is to say of a release; it reads this file when GitHub makes one."
    (paper,) = about["references"]
    metadata = {
        "title": f"{about['title']}: {about['abstract'].rstrip('.')}",
        "description": f"<p>{about['abstract']} It rebuilds the experiments of {paper['title']} "
        f"({', '.join(author['family-names'] for author in paper['authors'])}; "
        f"{paper['conference']['name']}).</p>",
        "upload_type": "software",
        "access_right": "open",
        "license": about["license"],
        "version": about["version"],
        "publication_date": str(about["date-released"]),
        "creators": [{"name": author["name"]} for author in about["authors"]],
        "keywords": about["keywords"],
        "related_identifiers": [
            {
                "identifier": paper["identifiers"][0]["value"],
                "relation": "references",
                "resource_type": "publication-conferencepaper",
            },
            {"identifier": about["url"], "relation": "isDocumentedBy"},
        ],
    }
    return json.dumps(metadata, indent=2, ensure_ascii=False) + "\n"


MADE = {"CITATION.bib": bibtex, ".zenodo.json": zenodo}


def write(root: Path = ROOT) -> None:
    "Write the files that follow from CITATION.cff."
    about = citation(root)
    for name, make in MADE.items():
        (root / name).write_text(make(about), encoding="utf-8")


def set_version(version: str, date: str, root: Path = ROOT) -> None:
    "Write version and date wherever they stand, and what follows from them."
    if not re.fullmatch(VERSION, version):
        sys.exit(f"{version} is not a version such as 0.2.0 or 0.2.0rc1")
    new = {name: read(root, name) for name in PLACES}
    for name, line in PLACES.items():
        found = re.search(line, new[name], re.MULTILINE)
        if not found:
            sys.exit(f"{name} does not say its version in one line")
        new[name] = new[name][: found.start(1)] + version + new[name][found.end(1) :]
    new["CITATION.cff"] = re.sub(
        r"^date-released: .*$", f"date-released: {date}", new["CITATION.cff"], flags=re.MULTILINE
    )
    new["CHANGELOG.md"], n = re.subn(
        rf"^## \[({re.escape(version)}\]|unreleased\]|[^\]]+\] - unreleased).*$",
        f"## [{version}] - {date}",
        read(root, "CHANGELOG.md"),
        count=1,
        flags=re.MULTILINE | re.IGNORECASE,
    )
    if not n:
        sys.exit("CHANGELOG.md has no section of what is unreleased: say what changed")
    for name, text in new.items():
        (root / name).write_text(text, encoding="utf-8")
    write(root)


def notes(version: str, root: Path = ROOT) -> str:
    "What CHANGELOG.md says of a version."
    section = re.search(
        rf"^## \[{re.escape(version)}\].*?\n(.*?)(?=^## \[|\Z)",
        read(root, "CHANGELOG.md"),
        re.MULTILINE | re.DOTALL,
    )
    return section[1].strip() + "\n" if section else ""


def problems(tag: str, root: Path = ROOT) -> list[str]:
    "Whatever keeps a tag from being released."
    version = tag.removeprefix("v")
    if tag != f"v{version}" or not re.fullmatch(VERSION, version):
        return [f"the tag {tag} is not v and a version, such as v0.2.0"]
    found = []
    for name, line in PLACES.items():
        said = re.search(line, read(root, name), re.MULTILINE)
        if not said or said[1] != version:
            found.append(f"{name} says {said[1] if said else 'nothing'}, not {version}")
    about = citation(root)
    for name, make in MADE.items():
        if not (root / name).is_file() or read(root, name) != make(about):
            found.append(f"{name} does not follow from CITATION.cff: python tools/release.py")
    heading = f"## [{version}] - {about['date-released']}"
    if heading not in read(root, "CHANGELOG.md").splitlines():
        found.append(f"CHANGELOG.md has no line {heading!r}, with the date of CITATION.cff")
    elif not notes(version, root).strip():
        found.append(f"CHANGELOG.md says nothing of {version}")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("version", nargs="?", help="new version, such as 0.2.0")
    today = datetime.date.today().isoformat()
    parser.add_argument("--date", default=today, help="of its release (default: today)")
    parser.add_argument("--check", metavar="TAG", help="is everything of this version?")
    parser.add_argument("--notes", metavar="TAG", help="print what changed")
    asked = parser.parse_args()
    if asked.check:
        if wrong := problems(asked.check):
            sys.exit("\n".join(wrong))
        print(f"Everything is of {asked.check}.")
    elif asked.notes:
        print(notes(asked.notes.removeprefix("v")), end="")
    elif asked.version:
        set_version(asked.version, asked.date)
    else:
        write()


if __name__ == "__main__":
    main()
