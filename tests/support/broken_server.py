"""A web server on this machine that breaks transfers as a bad line does, and a fixture that runs it."""

from __future__ import annotations

import hashlib
import http.server
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

import pytest

from tritguard.data.download import RemoteFile


@dataclass
class BrokenServer:
    """What the server has and how it behaves.

    Attributes:
        url: its address, which ends in a slash.
        contents: the files it serves, by name.
        cut_after: after how many bytes of the body the connection is dropped, an entry for each answer; later answers
            are whole.
        shift: how many bytes further than it was asked it continues a file.
        ranges: whether it continues a file, and the status it gives otherwise.
        statuses: errors to answer with first, an entry for each request.
        asked: the Range header of each request so far.
    """

    url: str = ""
    contents: dict[str, bytes] = field(default_factory=dict)
    cut_after: list[int] = field(default_factory=list)
    shift: int = 0
    ranges: bool = True
    statuses: list[int] = field(default_factory=list)
    asked: list[str | None] = field(default_factory=list)

    def source(self, name: str) -> RemoteFile:
        content = self.contents[name]
        return RemoteFile(self.url + name, len(content), hashlib.sha256(content).hexdigest(), "ask a friend")


@pytest.fixture
def server() -> Iterator[BrokenServer]:
    behaviour = BrokenServer()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            wanted = self.headers.get("Range")
            behaviour.asked.append(wanted)
            content = behaviour.contents.get(self.path[1:])
            status = behaviour.statuses.pop(0) if behaviour.statuses else (404 if content is None else 200)
            if content is None or status != HTTPStatus.OK:
                self.send_error(status)
                return
            start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted and behaviour.ranges else 0
            start += behaviour.shift if start else 0
            self.send_response(206 if start else 200)
            if start:
                self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
            self.send_header("Content-Length", str(len(content) - start))
            self.end_headers()
            cut = behaviour.cut_after.pop(0) if behaviour.cut_after else len(content)
            self.wfile.write(content[start : start + cut])

        def log_message(self, *args: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        behaviour.url = f"http://127.0.0.1:{running.server_port}/"
        threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        yield behaviour
        running.shutdown()
