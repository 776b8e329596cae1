"""Folders with runs, and a server that shows them."""

from __future__ import annotations

import threading
from datetime import UTC, datetime
from pathlib import Path
from urllib.request import HTTPCookieProcessor, Request, build_opener

from tests.support.robustness_result import make_result
from tests.support.schemas import assert_conforms
from tritguard.api import journal as journals
from tritguard.api.journal import Journal
from tritguard.evaluate.robustness.so_far import CurveSoFar, HeldSoFar
from tritguard.serve.server import serve


class Browser:
    """Opens pages as a browser does: it keeps cookies and follows redirections."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.base = address.partition("/?")[0]
        self._opener = build_opener(HTTPCookieProcessor())

    def get(self, path: str, **headers: str) -> str:
        with self._opener.open(Request(self.base + path, headers=headers), timeout=10) as answer:
            self.headers = {name.lower(): value for name, value in answer.headers.items()}
            return answer.read().decode()


def serving(root: Path) -> Browser:
    """Serve a folder from a thread, which ends with the tests."""
    ready, addresses = threading.Event(), []

    def told(address: str) -> None:
        addresses.append(address)
        ready.set()

    threading.Thread(target=serve, args=(root, 0, told), daemon=True).start()
    assert ready.wait(10)
    browser = Browser(addresses[0])
    browser.get(addresses[0].removeprefix(browser.base))
    return browser


def write(folder: Path, **changes: object) -> Path:
    folder.mkdir(parents=True)
    (folder / "result.json").write_text(make_result(**changes).model_dump_json())
    return folder


def under_way(folder: Path) -> None:
    """What a run leaves while its attacks go on."""
    with Journal(folder, "run", "in-the-making") as journal:
        journal.begins("attack")
        journal.watching(lambda _: lambda *_: None)("Crafting on the twin")(30, 120)
        text = (folder / journals.FILE).read_text()
    (folder / journals.FILE).write_text(text)
    points = (HeldSoFar(eps_steps=1, held=60), HeldSoFar(eps_steps=8, held=11))
    curve = CurveSoFar(updated=datetime.now(UTC), samples=100, right=83, jobs=12, points=points)
    (folder / "so-far.json").write_text(curve.model_dump_json())
    assert_conforms(folder / "so-far.json", "so-far")
