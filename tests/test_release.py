"""A release can be cited, has one version everywhere, and is tried before it is published."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from conftest import ROOT

sys.path.insert(0, str(ROOT / "tools"))
import release

sys.path.pop(0)
WORKFLOW = yaml.safe_load((ROOT / ".github/workflows/release.yml").read_text(encoding="utf-8"))
JOBS = WORKFLOW["jobs"]


def fields(entry: str) -> dict[str, str]:
    return dict(re.findall(r"^  (\w+) += \{(.*?)\},?$", entry, re.MULTILINE))


# Citing


def test_the_citation_names_all_that_a_reference_needs():
    about = release.citation()
    for name in ("authors", "title", "version", "date-released", "license", "repository-code"):
        assert about[name], name
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", str(about["date-released"]))
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert f'Repository = "{about["repository-code"]}"' in project
    assert f'Documentation = "{about["url"]}"' in project
    assert f'license = "{about["license"]}"' in project


def test_bibtex_says_what_the_citation_says():
    software, paper = (ROOT / "CITATION.bib").read_text(encoding="utf-8").split("\n\n")
    about, (article,) = release.citation(), release.citation()["references"]
    said = fields(software)
    assert software.startswith("@software{seeing_words,")
    assert said["title"] == "{seeing_words}" and said["version"] == about["version"]
    assert said["year"] == str(about["date-released"])[:4]
    assert said["url"] == about["repository-code"]
    said = fields(paper)
    assert said["title"].strip("{}") == article["title"]
    assert said["author"] == "He, Zoe Wanying and Trott, Sean and Khosla, Meenakshi"
    assert said["pages"] == "35645--35660" and said["year"] == "2025"
    assert said["url"] and said["publisher"] and said["note"] == "arXiv:2509.20751"


def test_zenodo_is_told_the_same():
    metadata = json.loads((ROOT / ".zenodo.json").read_text(encoding="utf-8"))
    about = release.citation()
    assert metadata["version"] == about["version"]
    assert metadata["publication_date"] == str(about["date-released"])
    assert [creator["name"] for creator in metadata["creators"]] == ["The seeing_words authors"]
    assert metadata["upload_type"] == "software" and metadata["license"] == about["license"]
    assert metadata["related_identifiers"][0]["identifier"] == "arXiv:2509.20751"


def test_files_follow_from_the_citation():
    for name, make in release.MADE.items():
        assert (ROOT / name).read_text(encoding="utf-8") == make(release.citation()), (
            "run python tools/release.py"
        )


# Versions


def test_a_version_is_set_everywhere_and_then_the_check_passes(tree):
    assert release.problems("v1.2.3", tree)
    release.set_version("1.2.3", "2030-04-05", tree)
    changelog = (tree / "CHANGELOG.md").read_text(encoding="utf-8")
    assert "## [1.2.3] - 2030-04-05" in changelog and "unreleased" not in changelog
    assert release.problems("v1.2.3", tree) == []
    for name in release.PLACES:
        assert "1.2.3" in (tree / name).read_text(encoding="utf-8"), name
    assert "year      = {2030}" in (tree / "CITATION.bib").read_text(encoding="utf-8")
    before = {path: path.read_bytes() for path in tree.rglob("*") if path.is_file()}
    release.set_version("1.2.3", "2030-04-05", tree)
    assert before == {path: path.read_bytes() for path in before}


@pytest.mark.parametrize(
    ("name", "old", "new", "said"),
    [
        (
            "settings.ini",
            "version = 1.2.3",
            "version = 1.2.2",
            "settings.ini says 1.2.2, not 1.2.3",
        ),
        ("CHANGELOG.md", "2030-04-05", "2030-04-06", "CHANGELOG.md has no line"),
        ("CITATION.bib", "2030", "2029", "CITATION.bib does not follow from CITATION.cff"),
        (".zenodo.json", "open", "closed", ".zenodo.json does not follow from CITATION.cff"),
    ],
)
def test_a_tag_of_something_else_is_not_released(tree, name, old, new, said):
    release.set_version("1.2.3", "2030-04-05", tree)
    text = (tree / name).read_text(encoding="utf-8")
    (tree / name).write_text(text.replace(old, new), encoding="utf-8")
    (found,) = release.problems("v1.2.3", tree)
    assert said in found


@pytest.mark.parametrize("tag", ["1.2.3", "v1.2", "vnext", "v1.2.3-final"])
def test_a_tag_that_is_no_version_is_refused(tag):
    assert "is not v and a version" in release.problems(tag)[0]


def test_the_notes_of_a_release_are_its_section_of_the_changelog(tree):
    (tree / "CHANGELOG.md").write_text(
        "# Changelog\n\n## [0.2.0] - 2030-01-01\n### Added\n- b\n\n## [0.1.0] - 2029-01-01\n- a\n"
    )
    assert release.notes("0.2.0", tree) == "### Added\n- b\n"
    assert release.notes("0.1.0", tree) == "- a\n"
    assert release.notes("0.3.0", tree) == ""


def test_the_command_ends_with_1_and_says_why(tree):
    run = subprocess.run(
        [sys.executable, "tools/release.py", "--check", "v9.9.9"],
        cwd=tree,
        capture_output=True,
        text=True,
    )
    assert run.returncode == 1
    assert "settings.ini says 0.1.0, not 9.9.9" in run.stderr


# The workflow


def commands(job: str) -> str:
    return "\n".join(step.get("run", "") for step in JOBS[job]["steps"])


def test_nothing_is_published_that_was_not_built_checked_and_tried():
    assert JOBS["try"]["needs"] == "build"
    assert set(JOBS["publish"]["needs"]) == {"build", "try"}
    assert JOBS["announce"]["needs"] == "publish"
    assert "python -m build" in commands("build")
    assert "twine check --strict" in commands("build")
    assert '--check "$GITHUB_REF_NAME"' in commands("build")
    assert JOBS["publish"]["if"] == "github.ref_type == 'tag'"
    assert JOBS["try"]["strategy"]["matrix"]["dist"] == ["whl", "tar.gz"]
    assert WORKFLOW[True]["push"] == {"tags": ["v*"]}  # YAML reads the key `on` as true


def test_only_what_publishes_has_the_right_to():
    assert WORKFLOW["permissions"] == {"contents": "read"}
    rights = {name: job["permissions"] for name, job in JOBS.items() if "permissions" in job}
    assert rights == {"publish": {"id-token": "write"}, "announce": {"contents": "write"}}
    assert "password" not in str(WORKFLOW).lower()


def test_commands_of_the_workflow_parse():
    "Each `seeing-words` command of the workflow is one that this version has."
    import shlex

    import typer

    from seeing_words.app import cli

    group = typer.main.get_command(cli.app)
    lines = re.findall(r"^ *seeing-words (.+)$", commands("try"), re.MULTILINE)
    assert len(lines) >= 6
    for line in lines:
        words = shlex.split(line)
        if words == ["--version"]:
            continue
        name, command, rest = group.resolve_command(group.make_context("x", [*words]), words)
        assert command.make_context(name, list(rest)).params


def test_the_source_distribution_has_what_is_cited():
    manifest = (ROOT / "MANIFEST.in").read_text(encoding="utf-8").split()
    for name in ("CITATION.cff", "CITATION.bib", "CHANGELOG.md"):
        assert name in manifest and Path(ROOT, name).is_file()
