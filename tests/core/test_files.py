"Digests, atomic writes, the version of the sources, cache folders, and codecs of zarr arrays."

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import platformdirs
import pytest
import zarr
from hypothesis import given
from hypothesis import strategies as st

from seeing_words.core import files
from seeing_words.core.errors import InputError
from seeing_words.core.files import (
    cache_dir,
    canonical_json,
    check_codecs,
    commit,
    digest,
    file_digest,
    unchanged_digest,
    versions,
    write_atomic,
)

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**6), 10**6) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
)


@given(PLAIN)
def test_canonical_json_reads_back_and_ignores_the_order_of_keys(value):
    def turned(v):
        if isinstance(v, dict):
            return {k: turned(v[k]) for k in reversed(list(v))}
        return [turned(x) for x in v] if isinstance(v, list) else v

    text = canonical_json(value)
    assert json.loads(text) == value and canonical_json(turned(value)) == text
    assert digest(value) == hashlib.sha256(text.encode()).hexdigest()


def test_canonical_json_has_no_nan():
    with pytest.raises(ValueError, match="Out of range"):
        canonical_json({"a": float("nan")})


def test_a_remembered_digest_follows_every_change(tmp_path, monkeypatch):
    path, read = tmp_path / "weights.bin", []
    path.write_bytes(b"a" * 1000)
    monkeypatch.setattr(files, "file_digest", lambda p: read.append(p) or file_digest(p))
    assert (
        unchanged_digest(path) == unchanged_digest(path) == hashlib.sha256(b"a" * 1000).hexdigest()
    )
    assert len(read) == 1
    before = path.stat()
    with path.open("r+b") as file:  # one byte, in place, with the old time of change put back
        file.write(b"b")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert unchanged_digest(path) == hashlib.sha256(b"b" + b"a" * 999).hexdigest()
    other = tmp_path / "other.bin"
    other.write_bytes(b"c" * 1000)
    other.replace(path)
    assert unchanged_digest(path) == hashlib.sha256(b"c" * 1000).hexdigest()


@pytest.mark.parametrize("size", [0, 1, 10**6 + 7])
def test_file_digest_is_sha256_of_the_bytes(tmp_path, size):
    data = os.urandom(size)
    (tmp_path / "f").write_bytes(data)
    assert file_digest(tmp_path / "f") == hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize("fault", ["fsync", "replace"])
def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch, fault):
    write_atomic(tmp_path / "f", "old")

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, fault, fail)
    with pytest.raises(OSError, match="No space left"):
        write_atomic(tmp_path / "f", "new")
    assert [p.name for p in tmp_path.iterdir()] == ["f"] and (tmp_path / "f").read_text() == "old"


def test_write_atomic_replaces_makes_folders_and_takes_bytes(tmp_path):
    for data in (b"\0\xff", "é"):
        write_atomic(tmp_path / "a/b/f", data)
    assert (tmp_path / "a/b/f").read_bytes() == "é".encode()


def test_versions_and_commit_say_what_computed():
    assert versions()["numpy"] == np.__version__ and versions()["python"] == sys.version.split()[0]
    assert commit().startswith("release ") or len(commit().removesuffix("+changes")) == 40


def test_commit_is_not_that_of_a_project_we_are_merely_installed_in(tmp_path, monkeypatch):
    (tmp_path / "venv").mkdir()
    for words in (
        ("init", "-q"),
        ("-c", "user.name=x", "-c", "user.email=x@x", "commit", "-q", "--allow-empty", "-mx"),
    ):
        subprocess.run(["git", "-C", str(tmp_path), *words], check=True)
    monkeypatch.setattr(files, "__file__", str(tmp_path / "venv/files.py"))
    assert commit() == f"release {versions()['seeing-words']}"
    (tmp_path / "venv/files.py").touch()
    subprocess.run(["git", "-C", str(tmp_path), "add", "."], check=True)
    assert commit().endswith("+changes")
    monkeypatch.setenv("PATH", "")  # no git at all
    assert commit().startswith("release")


def test_cache_folders_are_named_by_the_environment_the_checkout_or_the_system(
    tmp_path, monkeypatch
):
    monkeypatch.delenv("SEEING_WORDS_STORE", raising=False)
    monkeypatch.setattr(files, "checkout", lambda: tmp_path)
    assert cache_dir("store") == tmp_path / "_store"
    monkeypatch.setattr(files, "checkout", lambda: None)
    assert cache_dir("store").name == "store"
    assert cache_dir("store").is_relative_to(platformdirs.user_cache_path("seeing_words"))
    monkeypatch.setenv("SEEING_WORDS_STORE", "~/elsewhere")
    assert cache_dir("store") == Path("~/elsewhere").expanduser().resolve()


def test_arrays_that_hold_objects_or_need_unknown_codecs_are_refused():
    numbers = zarr.array(np.arange(4.0))
    assert check_codecs(numbers) is numbers

    class Array:
        path, dtype = "layer", np.dtype(float)

        class metadata:  # noqa: N801
            @staticmethod
            def to_dict():
                inner = [{"name": "bytes"}, {"name": "numcodecs.pickle"}]
                return {
                    "codecs": [{"name": "sharding_indexed", "configuration": {"codecs": inner}}]
                }

    with pytest.raises(InputError, match="'layer' needs the codec 'pickle', which is never run"):
        check_codecs(Array())
