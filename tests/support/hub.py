"""A hub in miniature: a server of its two calls and its files, over folders here. It counts what is
asked of it."""

import hashlib
import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

LARGE = (
    ".safetensors",
    ".bin",
)  # kept under their SHA-256, as git-lfs does; others under git's own checksum


def commit_of(folder: Path, revision: str) -> str:
    return hashlib.sha1(f"{folder.name} {revision}".encode()).hexdigest()


def git_digest(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def entry(path: Path) -> dict:
    data = path.read_bytes()
    described = {"type": "file", "path": path.name, "size": len(data), "oid": git_digest(data)}
    sha = hashlib.sha256(data).hexdigest()
    return described | (
        {"lfs": {"oid": sha, "size": len(data), "pointerSize": 134}} if path.suffix in LARGE else {}
    )


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

    def do_GET(self):
        parts = [unquote(part) for part in urlsplit(self.path).path.strip("/").split("/")]
        self.server.asked.append("/".join(parts))
        api = parts[:2] == ["api", "models"]
        repository, *rest = (
            ["/".join(parts[2:4]), *parts[4:]] if api else ["/".join(parts[:2]), *parts[2:]]
        )
        if repository in self.server.gated:
            return self.refuse(403, "GatedRepo")
        if repository not in self.server.repositories:
            return self.refuse(404 if api else 401, "RepoNotFound")
        revisions = self.server.repositories[repository]  # revision → folder
        revisions = revisions | {
            commit_of(folder, revision): folder for revision, folder in revisions.items()
        }
        kind, revision = (rest + ["revision", "main"])[:2]
        if revision not in revisions:
            return self.refuse(404, "RevisionNotFound")
        folder = revisions[revision]
        files = sorted(path for path in folder.iterdir() if path.is_file())
        if kind == "tree":
            return self.tell([entry(path) for path in files])
        if kind == "revision":
            sha = revision if len(revision) == 40 else commit_of(folder, revision)
            answer = {
                "id": repository,
                "sha": sha,
                "siblings": [{"rfilename": path.name} for path in files],
            }
            return self.tell(answer)
        path = folder / rest[-1]
        if not path.is_file():
            return self.refuse(404, "EntryNotFound")
        file_entry = entry(path)
        etag = file_entry["lfs"]["oid"] if "lfs" in file_entry else file_entry["oid"]
        self.answer(path.read_bytes(), ETag=f'"{etag}"', X_Repo_Commit=revision)

    do_HEAD = do_GET


@contextmanager
def hub(
    repositories: dict[str, dict[str, Path]], gated: tuple[str, ...] = ()
):  # the server; repository → revision → folder
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    server.repositories, server.gated, server.asked = repositories, gated, []
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
