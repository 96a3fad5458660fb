"""Downloads survive what networks, disks and archives do: against a local server that misbehaves in
every way."""

import errno
import hashlib
import io
import json
import os
import re
import stat
import subprocess
import sys
import threading
import time
import zipfile
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock
from hub import git_digest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rich.console import Console
from rich.progress import Progress
from safetensors.numpy import save
from tokenizers import Tokenizer, models
from typer.testing import CliRunner

from seeing_words.app import cli, download
from seeing_words.app.download import (
    DATA,
    DataSet,
    Download,
    Repository,
    execute_plan,
    fetch_file,
    fetch_repository,
    mirrored,
    plan,
    repository_of,
    unpack,
)
from seeing_words.app.presets import PRESETS, data_root, get_preset
from seeing_words.core.errors import InputError

CONTENT = np.random.default_rng(0).bytes(1_000_000)
SHA = hashlib.sha256(CONTENT).hexdigest()


class Server(ThreadingHTTPServer):
    "Serves `content`, and misbehaves as its fields say."

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.content = {"/file.bin": CONTENT}
        self.cuts = []  # bytes after which an answer's connection is dropped, one an answer
        self.statuses = []  # sent instead of the file, one per request
        self.headers = {}  # that replace those of an answer; None: left out
        self.ranges = True  # whether range requests are heeded
        self.shift = 0  # by which a range is answered wrongly
        self.etag = '"one"'
        self.asked = []  # (path, Range, Accept-Encoding) of every request
        self.pause = 0  # seconds before each 10 000 bytes
        self.head = {}  # path → headers of an answer to HEAD

    def handle_error(self, *words):
        pass  # of connections that the client left

    @property
    def address(self):
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    def log_message(self, *words):
        pass

    def do_HEAD(self):
        self.tell(
            200,
            self.server.head.get(
                self.path, {"Content-Length": str(len(self.server.content.get(self.path, b"")))}
            ),
        )

    def do_GET(self):
        server, path = (
            self.server,
            self.path if self.path in self.server.content else self.path.partition("?")[0],
        )
        server.asked.append((path, self.headers.get("Range"), self.headers.get("Accept-Encoding")))
        if server.statuses and (status := server.statuses.pop(0)):
            return self.tell(status, {"Content-Length": "0"})
        if path.startswith("/moved"):
            return self.tell(
                302, {"Location": path.replace("/moved", "", 1) or "/moved", "Content-Length": "0"}
            )
        if path.startswith("/loop"):
            return self.tell(302, {"Location": path, "Content-Length": "0"})
        if path not in server.content:
            return self.tell(404, {"Content-Length": "0"})
        self.send(path, server.content[path])

    def send(self, path, content):
        server, asked = self.server, self.headers.get("Range")
        heeded = server.ranges and asked and self.headers.get("If-Range") in (None, server.etag)
        start = int(asked.removeprefix("bytes=").rstrip("-")) if heeded else 0
        if heeded and start >= len(content):
            return self.tell(
                416, {"Content-Range": f"bytes */{len(content)}", "Content-Length": "0"}
            )
        start = max(0, start - server.shift) if heeded else start
        headers = {
            "Content-Length": str(len(content) - start),
            "ETag": server.etag,
        } | server.head.get(path, {})
        if heeded:
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        self.tell(206 if heeded else 200, headers | server.headers)
        cut = server.cuts.pop(0) if server.cuts else len(content)
        for at in range(start, min(start + cut, len(content)), 10_000):
            time.sleep(server.pause)
            self.wfile.write(content[at : min(at + 10_000, start + cut)])

    def tell(self, status, headers):
        self.send_response(status)
        for name, value in headers.items():
            if value is not None:
                self.send_header(name, value)
        self.end_headers()


@pytest.fixture
def server(monkeypatch):
    for name in "NO_PROXY", "no_proxy":
        monkeypatch.setenv(name, "127.0.0.1")
    with Server() as made:
        threading.Thread(
            target=made.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True
        ).start()
        yield made
        made.shutdown()


def known(server, path="/file.bin", **changes) -> Download:
    return replace(
        Download(f"{server.address}{path}", "sub/file.bin", len(CONTENT), SHA), **changes
    )


def unknown(server, **changes) -> Download:  # neither size nor checksum published
    return known(server, bytes=None, sha256=None, **changes)


def get(item: Download, folder: Path, **how) -> bytes:
    return fetch_file(item, folder, sleep=lambda seconds: None, **how).read_bytes()


def files(folder: Path) -> set[str]:
    return {
        path.name for path in folder.rglob("*") if path.is_file() and not path.name.startswith(".")
    }


# One file


@pytest.mark.parametrize("kind", [known, unknown])
def test_a_file_arrives_under_its_name_alone(server, tmp_path, kind):
    seen = []
    assert get(kind(server), tmp_path, progress=lambda *sizes: seen.append(sizes)) == CONTENT
    assert files(tmp_path) == {"file.bin"}
    assert seen[-1] == (len(CONTENT), len(CONTENT))
    assert server.asked == [("/file.bin", None, "identity")]
    get(kind(server), tmp_path)
    assert len(server.asked) == 1, "what is there is used as it is"


@pytest.mark.parametrize("kind", [known, unknown])
@pytest.mark.parametrize("ranges", [True, False])
def test_dropped_connections_are_resumed(server, tmp_path, kind, ranges):
    server.cuts, server.ranges = [1, 300_000, 400_000, 500_000], ranges
    assert get(kind(server), tmp_path) == CONTENT
    starts = [asked for _, asked, _ in server.asked]
    assert starts[:3] == [None, "bytes=1-", "bytes=300001-" if ranges else "bytes=300000-"]


def test_a_connection_that_always_breaks_but_gets_further_delivers(server, tmp_path):
    server.cuts = [50_000] * 30
    assert get(known(server), tmp_path, retries=1) == CONTENT
    assert len(server.asked) == 20


def test_without_getting_further_it_gives_up_and_keeps_what_it_has(server, tmp_path):
    server.cuts = [70_000] + [0] * 10
    slept = []
    with pytest.raises(
        InputError,
        match=r"file.bin: .* no progress in 4 attempts.*the same command continues",
    ):
        fetch_file(known(server), tmp_path, retries=3, wait=2, sleep=slept.append)
    assert slept == [2, 4, 8, 16]  # the first after an attempt that did get further
    assert (tmp_path / "sub/file.bin.partial").read_bytes() == CONTENT[:70_000]
    server.cuts = []
    assert get(known(server), tmp_path) == CONTENT


def test_random_drops_and_kinds_of_misbehaviour(server, tmp_path):
    rng = np.random.default_rng(1)
    for k in range(20):
        server.cuts = [int(cut) for cut in rng.integers(1, 300_000, 12)]
        server.ranges, server.statuses = (
            bool(rng.integers(2)),
            [int(s) for s in rng.choice([0, 0, 500, 503, 429], 6)],
        )
        item = (known if k % 2 else unknown)(server)
        assert get(item, tmp_path / str(k), retries=30) == CONTENT


@pytest.mark.parametrize("seed", range(20))
def test_interrupted_at_a_random_byte_it_resumes_to_the_right_checksum(server, tmp_path, seed):
    stop_at = int(np.random.default_rng(seed).integers(1, len(CONTENT)))

    def stop(done, size):
        if done >= stop_at:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        get(known(server), tmp_path, progress=stop)
    kept = (tmp_path / "sub/file.bin.partial").stat().st_size
    assert kept >= stop_at
    if seed % 2:  # the disk had not everything that was written
        os.truncate(tmp_path / "sub/file.bin.partial", stop_at)
        kept = stop_at
    assert get(known(server), tmp_path) == CONTENT
    assert server.asked[1:] == (
        [("/file.bin", f"bytes={kept}-", "identity")] if kept < len(CONTENT) else []
    )


def test_killed_at_20_random_points_it_resumes(server, tmp_path):
    server.pause = 0.002
    partial = tmp_path / "sub/file.bin.partial"
    points = sorted(
        int(point) for point in np.random.default_rng(2).integers(1, len(CONTENT) - 100_000, 20)
    )
    code = f"""import os, signal, time
from pathlib import Path
from seeing_words.app.download import Download, fetch_file
for point in {points}:
    if (child := os.fork()) == 0:
        url = {server.address + "/file.bin"!r}
        one = Download(url, "sub/file.bin", {len(CONTENT)}, {SHA!r})
        fetch_file(one, Path({str(tmp_path)!r}))
        os._exit(1)
    partial = Path({str(partial)!r})
    while not partial.exists() or partial.stat().st_size < point: time.sleep(0.0005)
    os.kill(child, signal.SIGKILL)
    assert os.waitpid(child, 0)[1] == signal.SIGKILL"""
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True)
    kept = partial.read_bytes()
    assert points[-1] <= len(kept) < len(CONTENT) and kept == CONTENT[: len(kept)]
    assert len({asked for _, asked, _ in server.asked}) >= 10, (
        "killed processes went on where the one before them was"
    )
    server.pause = 0
    assert get(known(server), tmp_path) == CONTENT
    assert server.asked[-1][1] == f"bytes={len(kept)}-"


@pytest.mark.parametrize("served", [CONTENT[:-1] + bytes([CONTENT[-1] ^ 1]), bytes(len(CONTENT))])
def test_wrong_bytes_are_removed(server, tmp_path, served):
    server.content["/file.bin"] = served
    with pytest.raises(
        InputError,
        match=r"file.bin: the downloaded file has SHA-256 .* and was "
        r"removed",
    ):
        get(known(server), tmp_path)
    assert files(tmp_path) <= {"file.bin.partial.tag"}
    server.content["/file.bin"] = CONTENT
    assert get(known(server), tmp_path) == CONTENT
    assert files(tmp_path) == {"file.bin"}


@pytest.mark.parametrize("served", [CONTENT[:-1], CONTENT + b"1", b"<html>Please log in</html>"])
def test_a_file_of_another_size_is_not_begun(server, tmp_path, served):
    server.content["/file.bin"] = served
    with pytest.raises(
        InputError,
        match=f"has {len(served):,} bytes, but 1,000,000 are expected: it is another file",
    ):
        get(known(server), tmp_path)
    assert files(tmp_path) == set()


@pytest.mark.parametrize("kind", [known, unknown])
def test_a_server_that_promises_more_than_it_has(server, tmp_path, kind):
    server.headers, server.ranges = {"Content-Length": "1000000"}, False
    server.content["/file.bin"] = CONTENT[:400_000]
    with pytest.raises(InputError, match="no progress in"):
        get(kind(server), tmp_path, retries=2)
    server.ranges = True  # asked for the rest, it says that 400 000 bytes are all
    if kind is unknown:
        assert get(kind(server), tmp_path) == CONTENT[:400_000]
        return
    with pytest.raises(
        InputError, match="the downloaded file has 400,000 bytes, not 1,000,000, and was removed"
    ):
        get(kind(server), tmp_path)


def test_a_server_that_tells_no_size(server, tmp_path):
    server.headers, server.cuts = {"Content-Length": None}, [250_000, 250_000]
    assert get(known(server), tmp_path) == CONTENT


def test_a_server_without_end(server, tmp_path):
    server.headers, server.content = {"Content-Length": None}, {"/file.bin": CONTENT * 20}
    with pytest.raises(InputError, match="was removed"):
        get(known(server), tmp_path)


def test_a_part_that_was_not_asked_for(server, tmp_path):
    server.cuts, server.shift = [500_000], 7
    with pytest.raises(InputError, match="asked for the bytes from"):
        get(known(server), tmp_path, retries=0)
    assert get(known(server), tmp_path) == CONTENT, "begun anew, without a range"
    server.cuts, server.headers = [500_000], {"Content-Range": None}
    assert get(known(server, path="/file.bin", sha256=SHA), tmp_path / "other") == CONTENT


def test_a_part_longer_than_the_file(server, tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub/file.bin.partial").write_bytes(CONTENT + b"more")
    assert get(known(server), tmp_path) == CONTENT
    (tmp_path / "other/sub").mkdir(parents=True)
    (tmp_path / "other/sub/file.bin.partial").write_bytes(CONTENT + b"more")
    assert get(unknown(server), tmp_path / "other") == CONTENT


@pytest.mark.parametrize("kind", [known, unknown])
def test_a_part_that_is_whole_already(server, tmp_path, kind):
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub/file.bin.partial").write_bytes(CONTENT)
    assert get(kind(server), tmp_path) == CONTENT


def test_a_file_that_changes_between_two_parts_is_not_mixed(server, tmp_path):
    server.cuts = [500_000]
    with pytest.raises(InputError, match="no progress in"):
        get(unknown(server), tmp_path, retries=-1)
    server.content["/file.bin"], server.etag = CONTENT[::-1], '"two"'
    assert get(unknown(server), tmp_path) == CONTENT[::-1]
    assert files(tmp_path) == {"file.bin"}


def test_compression_that_nobody_asked_for_is_refused(server, tmp_path):
    server.headers = {"Content-Encoding": "gzip"}
    with pytest.raises(InputError, match="is sent with the encoding gzip, which was not requested"):
        get(known(server), tmp_path)


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (401, "asks for a login"),
        (403, "the server refuses"),
        (404, "no longer there"),
        (410, "fetch it by hand"),
        (407, "the proxy asks"),
        (416, "fetch it by hand"),
    ],
)
def test_a_refusal_names_the_address_and_a_remedy(server, tmp_path, status, said):
    server.statuses = [status]
    with pytest.raises(
        InputError,
        match=rf"http://127.*/file.bin: HTTP {status} "
        rf".*{said}.*example.org.*--mirror.*sub/file.bin",
    ):
        get(known(server, about="example.org/terms"), tmp_path)
    assert len(server.asked) == 1


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_what_may_pass_is_tried_again(server, tmp_path, status):
    server.statuses = [status, status]
    assert get(known(server), tmp_path) == CONTENT
    server.statuses = [status] * 3
    with pytest.raises(InputError, match=rf"HTTP {status} .*no progress in 3 attempts"):
        get(known(server, path="/file.bin"), tmp_path / "other", retries=2)


def test_the_server_says_how_long_to_wait(server, tmp_path):
    slept = []
    server.statuses, server.headers = [503], {}
    original, Handler.tell = (
        Handler.tell,
        lambda self, status, headers: original(
            self, status, headers | ({"Retry-After": "17"} if status == 503 else {})
        ),
    )
    try:
        fetch_file(known(server), tmp_path, sleep=slept.append)
    finally:
        Handler.tell = original
    assert slept == [17]


def test_redirections_are_followed_to_their_end(server, tmp_path):
    server.cuts = [400_000]
    assert get(known(server, path="/moved/moved/file.bin"), tmp_path) == CONTENT
    with pytest.raises(InputError, match="redirects.*correct the address"):
        get(known(server, path="/loop"), tmp_path / "other")


@pytest.mark.parametrize("url", ["ftp://example.org/file.bin", "no address", "http://"])
def test_no_address(tmp_path, url):
    with pytest.raises(InputError, match="correct the address"):
        get(Download(url, "file.bin"), tmp_path)


def test_nobody_answers(server, tmp_path):
    item = known(server)
    server.shutdown()
    server.server_close()
    with pytest.raises(
        InputError,
        match="ConnectionError.*no progress in 2 attempts.*Check the network and the proxy",
    ):
        get(item, tmp_path, retries=1)


def test_silence_is_a_dropped_connection(server, tmp_path):
    server.pause = 1
    with pytest.raises(InputError, match="timed out"):
        get(known(server), tmp_path, retries=0, timeout=0.1)


def test_a_mirror_and_a_proxy(server, tmp_path, monkeypatch):
    elsewhere = known(server, url="http://images.example.org/file.bin")
    assert get(elsewhere, tmp_path, mirror=f"{server.address}/") == CONTENT
    assert mirrored("http://a.org/b/c.zip?d", "http://e.org/f/") == "http://e.org/f/b/c.zip"
    server.content["http://images.example.org/file.bin"] = CONTENT  # what a proxy is asked for
    for name in "HTTP_PROXY", "http_proxy":
        monkeypatch.setenv(name, server.address)
    assert get(elsewhere, tmp_path / "other") == CONTENT
    assert server.asked[-1][0] == "http://images.example.org/file.bin"


def test_two_processes_do_not_fetch_the_same_file(server, tmp_path):
    (tmp_path / "sub").mkdir()
    with (
        FileLock(tmp_path / "sub/.file.bin.lock"),
        pytest.raises(InputError, match="being downloaded by another process"),
    ):
        get(known(server), tmp_path)
    assert get(known(server), tmp_path) == CONTENT


def test_a_damaged_file_of_the_user_is_reported_and_kept(server, tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub/file.bin").write_bytes(b"mine")
    with pytest.raises(InputError, match="sub/file.bin has 4 bytes, not 1,000,000: move it away"):
        get(known(server), tmp_path)
    assert (tmp_path / "sub/file.bin").read_bytes() == b"mine"


# Archives


def archive(path: Path, **members: str | bytes) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as opened:
        for name, content in members.items():
            opened.writestr(name, content)
    return path


def member(path: Path, name: str, content: bytes = b"x", mode: int = 0) -> Path:
    info = zipfile.ZipInfo(name)
    info.filename, info.external_attr, info.compress_type = name, mode << 16, zipfile.ZIP_DEFLATED
    with zipfile.ZipFile(path, "a") as opened:
        opened.writestr(info, content)
    return path


def test_wanted_members_are_unpacked(tmp_path):
    made = archive(
        tmp_path / "a.zip",
        **{"val/1.jpg": b"1", "val/2.jpg": b"2", "train/3.jpg": b"3", "readme": "r"},
    )
    out = tmp_path / "out"
    assert unpack(made, out, ["val/*", "read*"]) == [
        out / "val/1.jpg",
        out / "val/2.jpg",
        out / "readme",
    ]
    assert files(out) == {"1.jpg", "2.jpg", "readme"}
    assert not any(path.name.startswith(".") for path in out.rglob("*"))
    with pytest.raises(InputError, match="has no other/.* check that it is the right archive"):
        unpack(made, out, ["other/*"])


def test_what_is_unpacked_is_not_unpacked_again(tmp_path, monkeypatch):
    made = archive(tmp_path / "a.zip", **{f"{k}.txt": f"text {k}" for k in range(10)})
    unpacked, usual = [], download._unpack_member

    def one(opened, info, path):
        if len(unpacked) == 4:
            raise KeyboardInterrupt
        unpacked.append(info.filename)
        usual(opened, info, path)

    monkeypatch.setattr(download, "_unpack_member", one)
    with pytest.raises(KeyboardInterrupt):
        unpack(made, tmp_path / "out")
    assert not list((tmp_path / "out").glob("*.txt")), "nothing has its name before all is there"
    monkeypatch.setattr(
        download,
        "_unpack_member",
        lambda *words: unpacked.append(words[1].filename) or usual(*words),
    )
    unpack(made, tmp_path / "out")
    assert unpacked == [f"{k}.txt" for k in range(10)]
    (tmp_path / "out/3.txt").write_text("text X")  # right size, wrong bytes
    unpack(made, tmp_path / "out")
    assert unpacked[10:] == ["3.txt"]
    assert (tmp_path / "out/3.txt").read_text() == "text 3"


@pytest.mark.parametrize(
    ("name", "mode", "said"),
    [
        ("../out.txt", 0, "leads out"),
        ("a/../../out.txt", 0, "leads out"),
        ("/etc/out.txt", 0, "leads out"),
        ("..\\out.txt", 0, "leads out"),
        ("C:\\out.txt", 0, "leads out"),
        ("c:out.txt", 0, "leads out"),
        ("link", stat.S_IFLNK | 0o777, "is a link"),
        ("device", stat.S_IFBLK | 0o644, "is a link or a device"),
    ],
)
def test_members_that_lead_elsewhere_are_refused(tmp_path, name, mode, said):
    made = member(archive(tmp_path / "a.zip", good="g"), name, b"/etc/passwd", mode)
    with pytest.raises(InputError, match=f"a.zip is refused: .*{said}"):
        unpack(made, tmp_path / "in/out")
    assert files(tmp_path) == {"a.zip"}


@pytest.mark.parametrize("names", [("a", "a"), ("a", "A"), ("a", "a/b")])
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_members_that_collide_are_refused(tmp_path, names):
    for name in names:
        member(tmp_path / "a.zip", name)
    with pytest.raises(InputError, match="one name' stands for"):
        unpack(tmp_path / "a.zip", tmp_path / "out")


def test_bombs_are_refused(tmp_path, monkeypatch):
    with pytest.raises(InputError, match=r"'bomb' unpacks to 20,000,000 bytes from 19,"):
        unpack(archive(tmp_path / "a.zip", bomb=bytes(20_000_000)), tmp_path / "out")
    monkeypatch.setattr(download, "_MAX_BYTES", 100)
    with pytest.raises(InputError, match="more than 100 bytes together"):
        unpack(
            archive(tmp_path / "b.zip", **{str(k): bytes(60) for k in range(2)}), tmp_path / "out"
        )
    monkeypatch.undo()
    made = archive(tmp_path / "c.zip", one=CONTENT[:1000])
    with zipfile.ZipFile(made, "a") as opened:  # a second entry of the same bytes
        info = opened.getinfo("one")
        again = zipfile.ZipInfo("two")
        for key in (
            "header_offset",
            "file_size",
            "compress_size",
            "CRC",
            "compress_type",
            "create_system",
            "flag_bits",
        ):
            setattr(again, key, getattr(info, key))
        opened.filelist.append(again)
        opened.NameToInfo["two"] = again
        opened._didModify = True
    with pytest.raises(InputError, match="share their bytes"):
        unpack(made, tmp_path / "out")
    monkeypatch.setattr(
        download.shutil, "disk_usage", lambda place: type("Usage", (), {"free": 10})
    )
    with pytest.raises(InputError, match=r"d.zip: 60 B to unpack, 10 B free .*free some space"):
        unpack(archive(tmp_path / "d.zip", one=bytes(60)), tmp_path / "out")


@given(st.data())
@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_a_damaged_archive_is_reported_or_unpacked_correctly(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("damage")
    sound = {"a/one.json": b'{"a": 1}' * 50, "two.bin": CONTENT[:500], "three": b""}
    made = archive(folder / "a.zip", **sound)
    content = bytearray(made.read_bytes())
    match data.draw(st.sampled_from(["flip", "cut", "zero"])):
        case "flip":
            content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
        case "cut":
            del content[data.draw(st.integers(0, len(content) - 1)) :]
        case "zero":
            start = data.draw(st.integers(0, len(content) - 1))
            content[start : start + 40] = bytes(len(content[start : start + 40]))
    made.write_bytes(content)
    unpacked, said = [], "a.zip"
    try:
        unpacked = unpack(made, folder / "out")
    except InputError as error:
        said = str(error)
    assert "a.zip" in said
    for path in unpacked:  # a name may have changed, a content not
        assert path.is_relative_to(folder / "out") and path.read_bytes() in sound.values()


# Data sets: a small COCO on the server


@pytest.fixture
def small(server, tmp_path, monkeypatch) -> DataSet:
    "A data set like COCO, and a preset `paper` that asks for nothing else."
    inner = archive(
        tmp_path / "panoptic_val.zip", **{"panoptic_val/1.png": b"png", "__MACOSX/x": b"junk"}
    )
    packed = {
        "images.zip": {"val/1.jpg": b"jpg", "val/2.jpg": b"jpg2", "readme": b""},
        "annotations.zip": {
            "annotations/captions.json": b"{}",
            "annotations/panoptic_val.zip": inner.read_bytes(),
            "annotations/train.json": b"[]",
        },
    }
    wanted = {
        "images.zip": ("val/*.jpg",),
        "annotations.zip": ("annotations/captions.json", "annotations/panoptic_val.zip"),
    }
    parts = []
    for name, members in packed.items():
        content = archive(tmp_path / name, **members).read_bytes()
        server.content[f"/{name}"] = content
        parts.append(
            Download(
                f"{server.address}/{name}",
                f"small/{name}",
                len(content),
                hashlib.sha256(content).hexdigest(),
                "CC BY 4.0",
                "example.org/terms",
                members=wanted[name],
            )
        )
    made = DataSet(
        "Small",
        "small",
        (("val/*.jpg",), ("annotations/captions.json",), ("annotations/panoptic_val/*.png",)),
        tuple(parts),
        "CC BY 4.0",
        "example.org/terms",
    )
    monkeypatch.setattr(download, "DATA", {"small": made, "flickr30k": DATA["flickr30k"]})
    preset = replace(get_preset("microworld"), name="paper", data=("small", "flickr30k"))
    monkeypatch.setitem(PRESETS, "paper", preset)
    return made


def states(root: Path) -> list[str]:
    return [
        item.state for item in plan("paper", root).items if not item.what.startswith("microworld/")
    ]


def test_a_plan_is_carried_out_and_then_all_is_there(server, small, tmp_path):
    root = tmp_path / "data"
    before = plan("paper", root)
    assert [item.state for item in before.items[:3]] == ["missing", "missing", "by hand"]
    size = sum(part.bytes for part in small.parts)
    assert [needed for needed, _ in before.disks.values()] == [2 * size]
    assert not server.asked and not root.exists(), "a plan begins nothing"
    server.cuts = [100, 50, 70]
    with Progress(console=Console(file=io.StringIO(), force_terminal=True)) as progress:
        assert execute_plan(before, progress=progress) == {}
        assert all(task.finished for task in progress.tasks)
    assert files(root) == {
        "images.zip",
        "annotations.zip",
        "1.jpg",
        "2.jpg",
        "captions.json",
        "panoptic_val.zip",
        "1.png",
    }
    assert small.is_there(root)
    assert states(root) == ["there", "by hand"]
    n_asked = len(server.asked)
    assert execute_plan(plan("paper", root)) == {}
    assert len(server.asked) == n_asked


def test_a_users_folder_is_used_as_it_is(server, small, tmp_path):
    for name in "val/7.jpg", "annotations/captions.json", "annotations/panoptic_val/7.png":
        (tmp_path / "small" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "small" / name).touch()
    assert states(tmp_path)[0] == "there"
    (tmp_path / "small/.images.zip.unpacking").mkdir()
    assert states(tmp_path)[0] == "missing", "unpacking was interrupted"


def test_one_that_fails_does_not_hold_up_the_others(server, small, tmp_path):
    del server.content["/images.zip"]
    failed = execute_plan(plan("paper", tmp_path / "data"))
    assert list(failed) == ["small/images.zip"]
    assert "HTTP 404" in failed["small/images.zip"]
    assert "captions.json" in files(tmp_path / "data")


def test_ctrl_c_stops_all_and_keeps_what_has_arrived(server, small, tmp_path, monkeypatch):
    big = CONTENT * 3
    server.content["/images.zip"], server.pause = big, 0.002
    item = replace(small.parts[0], bytes=len(big), sha256=None, members=())
    monkeypatch.setitem(download.DATA, "small", replace(small, parts=(item,)))
    root = tmp_path / "data"

    def interrupt(futures):
        while not (root / "small/images.zip.partial").exists():
            time.sleep(0.005)
        raise KeyboardInterrupt

    monkeypatch.setattr(download, "as_completed", interrupt)
    with pytest.raises(KeyboardInterrupt):
        execute_plan(plan("paper", root))
    monkeypatch.undo()
    kept = (root / "small/images.zip.partial").read_bytes()
    assert kept == big[: len(kept)]
    assert len(kept) < len(big)


def test_a_disk_without_room_is_refused_before_anything_starts(
    server, small, tmp_path, monkeypatch
):
    monkeypatch.setattr(
        download.shutil, "disk_usage", lambda place: type("Usage", (), {"free": 100})
    )
    with pytest.raises(
        InputError,
        match=r"preset paper needs .* has 100 B free: free some space, or choose another folder "
        r"with --data",
    ):
        execute_plan(plan("paper", tmp_path / "data"))
    assert not server.asked


def test_a_plan_says_everything_to_people_and_to_scripts(tmp_path, monkeypatch):
    monkeypatch.setattr(download, "cached_network", lambda repository: None)
    made, by_hand = plan("paper", tmp_path), plan("paper-flickr30k", tmp_path)
    console = Console(width=500)
    with console.capture() as captured:
        console.print(made, by_hand)
    said = captured.get()
    for item in made.items + by_hand.items:
        assert item.what in said and item.about in said
    for word in (
        "816 MB",
        "about 14.1 GB",
        "BigScience BLOOM RAIL",
        "CC BY 4.0",
        "by hand",
        "needed on the disk",
        "newest",
        "revision 47b73eefe95e",
        "Flickr",
        str(tmp_path / "flickr30k"),
        "since April 2025",
    ):
        assert word in " ".join(said.split()), word
    described = json.loads(json.dumps(made.as_dict()))
    assert described["items"][0]["url"].endswith("val2017.zip")
    assert sum(disk["needed"] for disk in described["disks"]) > 70e9


def test_unknown_data_are_refused(tmp_path):
    preset = replace(get_preset("microworld"), data=("cocoa",))
    with pytest.raises(InputError, match="data set 'cocoa' is not known: did you mean coco"):
        plan(preset, tmp_path)


def test_the_data_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("SEEING_WORDS_DATA", str(tmp_path / "here"))
    assert data_root() == tmp_path / "here"
    monkeypatch.delenv("SEEING_WORDS_DATA")
    assert data_root().name == "_data"
    monkeypatch.setattr("seeing_words.core.files.PACKAGE", tmp_path / "site-packages/seeing_words")
    monkeypatch.chdir(tmp_path)
    assert data_root() == Path.home() / ".cache/seeing_words/data"


def test_what_is_published_of_files_is_well_formed():
    for name, data in DATA.items():
        assert data.licence != "unknown" and data.about.startswith("https://") and data.by_hand, (
            name
        )
        for part in data.parts:
            assert part.path.split("/")[0] == data.folder
            if isinstance(part, Download):
                assert len(part.sha256) == 64 and int(part.sha256, 16) and part.bytes
    for preset in PRESETS.values():
        assert set(preset.data) <= set(DATA)
        for name in preset.vision + preset.language:
            assert name.startswith("microworld/") or name in download.NETWORKS


# The hub

CONFIG = json.dumps(
    {"model_type": "llama", "architectures": ["LlamaForCausalLM"], "num_hidden_layers": 1}
).encode()
FILES = {
    "config.json": CONFIG,
    "tokenizer.json": Tokenizer(models.WordLevel({"a": 0}, "a")).to_str().encode(),
    "model.safetensors": save({"w": np.zeros(3, np.float32)}),
    "pytorch_model.bin": b"pickle",
    "onnx/model.onnx": b"onnx",
    "onnx/config.json": b"{}",
}
COMMIT = "0" * 39 + "1"


@pytest.fixture
def hub(server, tmp_path, monkeypatch):
    "A hub with one network, on the server; the cache of this machine is left alone."
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
    publish(server, "models/lab/net", FILES)
    return server


def publish(server, repo: str, contents: dict[str, bytes], page: str = "") -> None:
    kind, name = repo.split("/", 1)
    page = f"/{name}" if kind == "models" else f"/{kind}/{name}"
    info = {
        "id": name,
        "sha": COMMIT,
        "private": False,
        "siblings": [{"rfilename": file} for file in contents],
    }
    tree = [
        {"type": "file", "path": file, "size": len(data), "oid": "0" * 40}
        for file, data in contents.items()
    ]
    server.content[f"/api/{repo}"] = json.dumps(info).encode()
    for revision in "main", COMMIT:
        server.content[f"/api/{repo}/revision/{revision}"] = json.dumps(info).encode()
        server.content[f"/api/{repo}/tree/{revision}"] = json.dumps(tree).encode()
        for file, data in contents.items():
            path = f"{page}/resolve/{revision}/{file}"
            server.content[path] = data
            server.head[path] = {
                "ETag": f'"{git_digest(data)}"',
                "X-Repo-Commit": COMMIT,
                "Content-Length": str(len(data)),
            }


def test_a_network_is_fetched_from_the_hub_without_its_pickle(hub, tmp_path):
    repository = repository_of("lab/net")
    assert download.cached_network(repository) is None
    folder = fetch_repository(repository, tmp_path, endpoint=hub.address)
    assert {path.name for path in folder.rglob("*") if path.is_file()} == {
        "config.json",
        "tokenizer.json",
        "model.safetensors",
    }
    assert (folder / "model.safetensors").read_bytes() == FILES["model.safetensors"]
    assert download.cached_network(repository) == folder
    (folder / "model.safetensors").unlink()
    assert download.cached_network(repository) is None


def test_weights_of_another_format_are_refused_with_the_way_out(hub, tmp_path):
    publish(hub, "models/lab/old", {"config.json": CONFIG, "flax_model.msgpack": b"flax"})
    with pytest.raises(
        InputError,
        match=r"lab/old has no model.safetensors and no pytorch_model.bin at revision main: weights"
        r".*convert those of another format",
    ):
        fetch_repository(repository_of("lab/old"), tmp_path, endpoint=hub.address)


def test_what_the_hub_lacks_is_reported(hub, tmp_path, monkeypatch):
    with pytest.raises(
        InputError, match=r"lab/none is not a folder.*run `hf download lab/none.*404"
    ):
        fetch_repository(repository_of("lab/none"), tmp_path, endpoint=hub.address)
    gone = Repository("yuvalkirstain/pickapic_v2", "dataset", "pick-a-pic", ("data/*.parquet",))
    with pytest.raises(InputError, match=r"yuvalkirstain/pickapic_v2 "):
        fetch_repository(gone, tmp_path, endpoint=hub.address)
    hub.shutdown()
    hub.server_close()
    monkeypatch.setattr(
        "time.sleep", lambda seconds: None
    )  # between the hub library's own attempts
    with pytest.raises(InputError, match="the hub cannot be reached: .*HTTPS_PROXY.*HF_ENDPOINT"):
        fetch_repository(repository_of("lab/net", "1" * 40), tmp_path, endpoint=hub.address)


PICK_FILES = {
    f"data/{split}-00000-of-00001-c163d5839d8aed9f.parquet": b"PAR1" + split.encode()
    for split in ("validation_unique", "test_unique")
}


def test_pick_a_pic_is_fetched_only_from_a_copy_that_is_named(hub, tmp_path, monkeypatch):
    publish(hub, "datasets/lab/copy", PICK_FILES | {"data/train-00000-of-00645-ab.parquet": b"1"})
    monkeypatch.setenv("HF_ENDPOINT", hub.address)
    (item,) = [i for i in plan("paper", tmp_path).items if i.what == "pick-a-pic"]
    assert item.state == "by hand" and item.source is None
    for file in PICK_FILES:
        assert re.sub("-[0-9a-f]{16}", "-<hash>", file) in item.note
    (item,) = [
        one
        for one in plan("paper", tmp_path, copies={"pick-a-pic": "lab/copy"}).items
        if one.what == "pick-a-pic"
    ]
    assert (
        item.state == "missing"
        and item.note == "a copy that you named, of which the newest is taken"
    )
    fetch_repository(item.source, tmp_path, endpoint=hub.address)
    assert DATA["pick-a-pic"].is_there(tmp_path)
    fetched = {
        path.relative_to(tmp_path / "pick-a-pic").as_posix(): path.read_bytes()
        for path in (tmp_path / "pick-a-pic").rglob("*.parquet")
    }
    assert fetched == PICK_FILES


def test_a_preset_may_name_a_copy_and_the_command_goes_before_it(tmp_path):
    preset = replace(get_preset("paper"), copies={"pick-a-pic": f"lab/one@{'1' * 40}"})
    for copies, name, revision in (
        (None, "lab/one", "1" * 40),
        ({"pick-a-pic": f"lab/two@{'2' * 40}"}, "lab/two", "2" * 40),
    ):
        needed = plan(preset, tmp_path, copies=copies)
        (item,) = [item for item in needed.items if item.what == "pick-a-pic"]
        assert (item.source.name, item.source.revision) == (name, revision)
        assert item.note == "a copy that you named"


@pytest.mark.parametrize(
    ("copies", "match"),
    [
        ({"coco": "lab/copy"}, "can be had of pick-a-pic"),
        ({"pick-a-pic": "copy"}, "'copy': a copy is named as OWNER/NAME@COMMIT"),
        ({"pick-a-pic": "https://huggingface.co/lab/copy"}, "is named as OWNER/NAME@COMMIT"),
        ({"pick-a-pick": "lab/copy"}, "needs no such data set: did you mean pick-a-pic"),
    ],
)
def test_a_copy_that_cannot_be_had_is_refused(tmp_path, copies, match):
    with pytest.raises(InputError, match=match):
        plan("paper", tmp_path, copies=copies)


def test_a_copy_without_the_files_is_refused(hub, tmp_path):
    publish(hub, "datasets/lab/empty", {"data/train-0.parquet": b"PAR1"})
    repository = Repository(
        "lab/empty", "dataset", "pick-a-pic", ("data/validation_unique-*.parquet",)
    )
    with pytest.raises(InputError, match="lab/empty has none of the files that are needed"):
        fetch_repository(repository, tmp_path, endpoint=hub.address)


@pytest.mark.parametrize(
    ("name", "is_one"),
    [
        ("facebook/dinov2-small", True),
        ("microworld/vision-0", False),
        ("untrained:a/b@0", False),
        ("/a/b", False),
        ("./a", False),
        ("a/b/c", False),
        ("gpt2", False),
    ],
)
def test_which_names_are_of_the_hub(name, is_one):
    assert (repository_of(name) is not None) == is_one


# The command


def command(*words: str):
    return CliRunner(env={"COLUMNS": "250"}).invoke(cli.app, words)


def test_the_command_shows_and_then_fetches(server, small, tmp_path):
    root = str(tmp_path / "data")
    shown = command("download", "--preset", "paper", "--data", root, "--dry-run")
    assert shown.exit_code == 0 and "missing" in shown.output and "CC BY 4.0" in shown.output
    assert not server.asked
    printed = json.loads(
        command("download", "--preset", "paper", "--data", root, "--dry-run", "--json").output
    )
    assert [item["state"] for item in printed["items"][:3]] == ["missing", "missing", "by hand"]
    fetched = command("download", "--preset", "paper", "--data", root)
    assert fetched.exit_code == 0, fetched.output
    assert "CC BY 4.0" in fetched.output
    assert "flickr30k" in fetched.output.split("By hand")[1]
    assert small.is_there(Path(root))
    printed = json.loads(command("download", "--preset", "paper", "--data", root, "--json").output)
    assert printed["failed"] == {} and [item["state"] for item in printed["items"][:2]] == [
        "there",
        "by hand",
    ]


def test_the_command_ends_with_1_where_something_failed(server, small, tmp_path):
    del server.content["/images.zip"]
    result = command("download", "--preset", "paper", "--data", str(tmp_path / "data"))
    assert result.exit_code == 1
    assert "HTTP 404" in result.output
    result = command("download", "--preset", "paper", "--data", str(tmp_path / "data"), "--json")
    assert result.exit_code == 1 and list(json.loads(result.output)["failed"]) == [
        "small/images.zip"
    ]


def test_the_command_takes_a_mirror(server, small, tmp_path, monkeypatch):
    gone = tuple(
        replace(part, url=part.url.replace("127.0.0.1", "gone.example.org")) for part in small.parts
    )
    monkeypatch.setitem(download.DATA, "small", replace(small, parts=gone))
    words = (
        "download",
        "--preset",
        "paper",
        "--data",
        str(tmp_path / "data"),
        "--mirror",
        server.address,
    )
    assert command(*words).exit_code == 0
    assert small.is_there(tmp_path / "data")


def test_the_lock_is_the_only_trace_of_an_error_of_the_disk(server, tmp_path, monkeypatch):
    def full(done, size):
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(
        InputError,
        match=r"file.bin.partial: No space left on device: free some space.*the same command "
        r"continues",
    ):
        get(known(server), tmp_path, progress=full)
    assert get(known(server), tmp_path) == CONTENT
