"""A hub in miniature: a server of its two calls and its files, over folders here, of networks and
of data sets; and of plain files. It counts what is asked of it. Files are sent in pieces and from
where one asks, so that large ones take no memory and a download that stopped goes on."""

import hashlib
import json
import threading
from collections.abc import Mapping
from contextlib import contextmanager
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

# kept under their SHA-256, as git-lfs does; others under git's own checksum
LARGE = (".safetensors", ".bin", ".parquet")
PIECE = 2**20  # bytes that are sent at once


def commit_of(folder: Path, revision: str) -> str:
    return hashlib.sha1(f"{folder.name} {revision}".encode()).hexdigest()


def git_digest(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


@cache
def _digests(path: Path, size: int, changed: int) -> tuple[str, str]:
    "Checksums of git and of git-lfs; computed once for each state of a file."
    with path.open("rb") as file:
        sha = hashlib.file_digest(file, "sha256").hexdigest()
    with path.open("rb") as file:
        made = hashlib.sha1(b"blob %d\0" % size)
        while piece := file.read(PIECE):
            made.update(piece)
    return made.hexdigest(), sha


def entry(path: Path, folder: Path) -> dict:
    "What the hub says of a file."
    about = path.stat()
    git, sha = _digests(path, about.st_size, about.st_mtime_ns)
    name = path.relative_to(folder).as_posix()
    described = {"type": "file", "path": name, "size": about.st_size, "oid": git}
    if path.suffix in LARGE:
        described["lfs"] = {"oid": sha, "size": about.st_size, "pointerSize": 134}
    return described


class Hub(BaseHTTPRequestHandler):
    def log_message(self, *args):
        pass

    def answer(self, body: bytes, code: int = 200, **headers):
        self.send_response(code)
        for name, value in {"Content-Length": len(body), **headers}.items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def tell(self, value):
        self.answer(json.dumps(value).encode(), Content_Type="application/json")

    def refuse(self, code: int, reason: str):
        self.answer(b"{}", code, X_Error_Code=reason, X_Error_Message=reason)

    def send(self, path: Path, **headers):
        "A file, from the byte that is asked for."
        size = path.stat().st_size
        start = int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").split("-")[0])
        if start and start >= size:
            return self.answer(b"", 416, Content_Range=f"bytes */{size}")
        self.send_response(206 if start else 200)
        if start:
            headers["Content_Range"] = f"bytes {start}-{size - 1}/{size}"
        headers |= {"Content_Length": size - start, "Accept_Ranges": "bytes"}
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()
        if self.command == "HEAD":
            return
        with path.open("rb") as file:
            file.seek(start)
            while piece := file.read(PIECE):
                self.wfile.write(piece)

    def do_GET(self):
        # a revision may have a slash in it, which is %2F here
        parts = [unquote(part) for part in urlsplit(self.path).path.strip("/").split("/")]
        address = "/".join(parts)
        self.server.asked.append(address)
        if address in self.server.files:
            return self.send(self.server.files[address])
        is_api = parts[0] == "api"
        parts = parts[1:] if is_api else parts
        kind = "models"
        if parts[0] in ("models", "datasets"):
            kind, *parts = parts
        repository, rest = "/".join(parts[:2]), parts[2:]
        if kind == "datasets":
            repository = f"datasets/{repository}"
        if repository in self.server.gated:
            return self.refuse(403, "GatedRepo")
        if repository not in self.server.repositories:
            return self.refuse(404 if is_api else 401, "RepoNotFound")
        revisions = self.server.repositories[repository]  # revision → folder
        revisions = revisions | {
            commit_of(folder, revision): folder for revision, folder in revisions.items()
        }
        call, revision, *rest = [*rest, "revision", "main"] if len(rest) < 2 else rest
        if revision not in revisions:
            return self.refuse(404, "RevisionNotFound")
        folder = revisions[revision]
        if is_api:
            files = sorted(path for path in folder.rglob("*") if path.is_file())
            return self.describe(call, repository, revision, folder, files)
        path = folder / "/".join(rest)
        if not path.is_file():
            return self.refuse(404, "EntryNotFound")
        described = entry(path, folder)
        etag = described.get("lfs", described)["oid"]
        self.send(path, ETag=f'"{etag}"', X_Repo_Commit=revision)

    def describe(self, call: str, repository: str, revision: str, folder: Path, files: list[Path]):
        "Answer one of the two calls."
        if call == "tree":
            return self.tell([entry(path, folder) for path in files])
        answer = {
            "id": repository.removeprefix("datasets/"),
            "sha": revision if len(revision) == 40 else commit_of(folder, revision),
            "siblings": [{"rfilename": path.relative_to(folder).as_posix()} for path in files],
        }
        self.tell(answer)

    do_HEAD = do_GET


@contextmanager
def hub(
    repositories: dict[str, dict[str, Path]],
    gated: tuple[str, ...] = (),
    files: Mapping[str, Path] | None = None,
):
    """The server. `repositories` is name → revision → folder, of data sets as datasets/owner/name;
    `files` is address → file.
    """
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    server.daemon_threads = True
    server.repositories, server.gated, server.asked = repositories, gated, []
    server.files = files or {}
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
