"""A small Hugging Face hub on this machine: repositories are folders, with one commit each."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@contextmanager
def hub(root: Path) -> Iterator[str]:
    """Serve ``root``/models/OWNER/NAME and ``root``/datasets/OWNER/NAME; yields the endpoint."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._answer()

        do_HEAD = do_POST = do_GET

        def _answer(self) -> None:
            asked = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
            parts = unquote(urlsplit(self.path).path).strip("/").split("/")
            if parts == [""]:
                self._send(b"")
            elif parts[0] == "api" and len(parts) >= 4:
                self._describe(root.joinpath(*parts[1:4]), "/".join(parts[2:4]), parts[4:], asked)
            elif "resolve" in parts:
                at = parts.index("resolve")
                kind = [] if parts[0] == "datasets" else ["models"]
                self._file(root.joinpath(*kind, *parts[:at], *parts[at + 2 :]))
            else:
                self._missing("EntryNotFound")

        def _describe(self, folder: Path, name: str, what: list[str], asked: str) -> None:
            if not folder.is_dir():
                self._missing("RepoNotFound")
                return
            files = sorted(path for path in folder.rglob("*") if path.is_file())
            named = [{"type": "file", "path": path.relative_to(folder).as_posix(), "size": path.stat().st_size,
                      "oid": _etag(path)} for path in files]  # fmt: skip
            found: object = {"id": name, "sha": COMMIT, "siblings": [{"rfilename": one["path"]} for one in named]}
            if what[:1] == ["tree"]:
                under = "/".join(what[2:])
                found = [one for one in named if str(one["path"]).startswith(under)]
            elif what[:1] == ["paths-info"]:
                wanted = json.loads(asked)["paths"] if asked.startswith("{") else parse_qs(asked).get("paths", [])
                found = [one for one in named if one["path"] in wanted]
            self._send(json.dumps(found).encode())

        def _file(self, path: Path) -> None:
            if not path.is_file():
                self._missing("EntryNotFound")
                return
            self._send(path.read_bytes(), ETag=f'"{_etag(path)}"')

        def _missing(self, reason: str) -> None:
            self._send(b"", 404, **{"X-Error-Code": reason})

        def _send(self, body: bytes, status: int = 200, **headers: str) -> None:
            self.send_response(status)
            for key, value in {"X-Repo-Commit": COMMIT, "Content-Length": str(len(body)), **headers}.items():
                self.send_header(key, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _etag(path: Path) -> str:
    return hashlib.sha1(path.read_bytes()).hexdigest()
