"""The documentation as a site: it builds without a broken link, loads nothing from elsewhere, and shows what works."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
import typer
import typer.main

from tests.support.shared import ROOT
from tritguard import api
from tritguard.cli import app
from tritguard.data.dataset import read_dataset

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
CALL = re.compile(r"^(?:\. \.venv/bin/activate && )?tritguard .*$", re.MULTILINE)
# Links to follow are others' to load; these are loaded with the page.
LOADED = {"script": "src", "img": "src", "link": "href", "iframe": "src", "source": "src"}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("mkdocs", reason="mkdocs is not installed: quick runs leave the site out")
    out = tmp_path_factory.mktemp("site")
    command = ["-m", "mkdocs", "build", "--strict", "--site-dir", str(out)]  # `--quiet` would not count warnings
    done = subprocess.run(
        [sys.executable, *command, "--config-file", str(ROOT / "docs" / "site" / "mkdocs.yml")],
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return out


class _Loads(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag in LOADED and given.get("rel") != "canonical":
            self.found.append(given.get(LOADED[tag]) or "")


def test_no_page_loads_anything_from_elsewhere(site: Path) -> None:
    pages = sorted(site.rglob("*.html"))
    assert {page.stem for page in PAGES if page.name != "README.md"} <= {page.stem for page in pages}
    for page in pages:
        loads = _Loads()
        loads.feed(page.read_text())
        assert not [url for url in loads.found if re.match(r"(https?:)?//", url)], page
    for sheet in site.rglob("*.css"):
        assert not re.search(r"(@import|url\()\s*[\"']?(https?:)?//", sheet.read_text()), sheet


def test_the_reference_shows_all_that_is_offered(site: Path) -> None:
    page = (site / "reference.html").read_text()
    assert len(api.__all__) > 30
    assert not {name for name in api.__all__ if f'id="tritguard.api.{name}"' not in page}


def calls() -> list[tuple[str, str]]:
    """Each call of tritguard in a block of shell code: the page and the line."""
    found = []
    for page in PAGES:
        for block in re.findall(r"```sh\n(.*?)```", page.read_text(), re.DOTALL):
            found += [(page.name, line) for line in CALL.findall(block)]
    return found


@pytest.mark.parametrize(("page", "line"), calls())
def test_a_call_that_is_shown_is_one_that_can_be_made(page: str, line: str) -> None:
    """Its verb, arguments and options exist; what the options mean is for other tests."""
    words = shlex.split(line.rsplit("&&", maxsplit=1)[-1], comments=True)[1:]
    group = typer.main.get_command(app)
    context = group.make_context("tritguard", list(words))
    assert words and context is not None
    verb, command, rest = group.resolve_command(context, words)  # type: ignore[attr-defined] # the app is a group
    assert verb and command.make_context(verb, rest, parent=context)


def test_the_data_set_that_is_shown_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    page = (ROOT / "docs" / "own-data.md").read_text()
    (block,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    exec(compile(block, "own-data.md", "exec"), {})
    assert read_dataset(tmp_path / "mine.npz").classes == ("up", "down", "left", "right")
