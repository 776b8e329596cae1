"""tritguard serve: what its pages show, who may open them, and how a run's folder tells what is under way."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.error import HTTPError
from urllib.parse import quote

import pytest

from tests.support.pages import Browser, serving, under_way, write
from tests.support.robustness_result import make_result
from tests.support.schemas import assert_conforms
from tritguard.api import journal as journals
from tritguard.api.journal import Journal, read_progress
from tritguard.serve.guard import HEADERS


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Browser]:
    root = tmp_path_factory.mktemp("runs")
    hostile = make_result().provenance.model_copy(update={"model_name": "<script>alert(1)</script>\x1b[31m"})
    write(root / "first")
    write(root / "deeper" / "second & third", provenance=hostile)
    under_way(root / "now")
    (root / "broken").mkdir()
    (root / "broken" / "result.json").write_text('{"kind": "robustness"}')
    return root, serving(root)


def test_a_folder_shows_its_runs_the_newest_under_way_first(served: tuple[Path, Browser]) -> None:
    _, browser = served
    page = browser.get("/")
    names = re.findall(r'<a href="/run\?id=([^"]*)">([^<]*)</a>', page)
    assert names[0] == ("now", "in-the-making")
    assert {name for name, _ in names} == {"now", "first", "deeper/second%20%26%20third", "broken"}
    assert "Crafting on the twin: 30 of 120" in page and 'value="0.25"' in page
    assert "<script>alert" not in page and "\x1b" not in page
    assert {name: browser.headers[name] for name in HEADERS} == HEADERS
    assert "<!DOCTYPE" not in browser.get("/?part=1"), "the part that is renewed is no page"


def test_a_run_under_way_shows_the_curve_so_far(served: tuple[Path, Browser]) -> None:
    _, browser = served
    page = browser.get("/run?id=now")
    assert "83 of 100 samples are right" in page and "60 of 100" in page and "<polyline" in page
    assert "It is no result" in page


def test_reports_are_made_of_results_and_never_taken_from_the_folder(served: tuple[Path, Browser]) -> None:
    root, browser = served
    (root / "first" / "report.html").write_text("<script>of anybody's</script>")
    page = browser.get("/report?id=first&study=robustness")
    assert make_result().firmware.board_name in page and "of anybody's" not in page
    assert "script-src 'self'" in browser.headers["content-security-policy"]
    for path in ("/report?id=first&study=faults", "/run?id=../first", "/run?id=nowhere", "/compare?run=first"):
        with pytest.raises(HTTPError, match="400"):
            browser.get(path)
    with pytest.raises(HTTPError, match="404"):
        browser.get("/first/report.html")
    assert "result.json: " in browser.get("/run?id=broken") and "unreadable" in browser.get("/")


def test_two_runs_are_compared_by_their_samples(served: tuple[Path, Browser]) -> None:
    _, browser = served
    page = browser.get(f"/compare?run=first&run={quote('deeper/second & third')}")
    assert "no difference shown" in page and "<script>alert" not in page


def test_boards_are_told_by_what_their_newest_result_saw(served: tuple[Path, Browser]) -> None:
    _, browser = served
    page = browser.get("/boards")
    assert make_result().firmware.board_name in page and "with other bytes than the twin" in page


def test_nobody_else_is_let_in(served: tuple[Path, Browser]) -> None:
    _, browser = served
    stranger = Browser(browser.address)
    for path in ("/", "/?token=", "/?token=wrong", "/static/serve.js", "/compare?run=first&run=first"):
        with pytest.raises(HTTPError, match="403"):
            stranger.get(path)
    with pytest.raises(HTTPError, match="421"):  # a name of somebody's that leads to this machine
        browser.get("/", Host="tritguard.example")
    assert "token" in browser.address and "token" not in browser.get("/")


def test_a_journal_tells_how_a_run_ended(tmp_path: Path) -> None:
    with Journal(tmp_path, "attack") as journal:
        progress = journal.watching(lambda _: lambda *_: None)("Crafting")
        progress(0, 4)
        progress(4, 4)
        seen = read_progress(tmp_path)
        assert seen is not None and seen.alive and [(one.name, one.done) for one in seen.stages] == [("Crafting", 4)]
        assert_conforms(tmp_path / journals.FILE, "progress")
    assert read_progress(tmp_path).state == "done"  # type: ignore[union-attr]
    with pytest.raises(KeyboardInterrupt), Journal(tmp_path, "attack"):
        raise KeyboardInterrupt
    assert read_progress(tmp_path).state == "stopped"  # type: ignore[union-attr]
    with pytest.raises(ValueError, match="wrong"), Journal(tmp_path, "attack"):
        raise ValueError("wrong")
    failed = read_progress(tmp_path)
    assert failed is not None and (failed.state, failed.message) == ("failed", "ValueError") and not failed.alive


def test_a_run_that_was_killed_is_not_under_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody writes its last word; its file grows old, where that of a run that lives is written again and again."""
    monkeypatch.setattr(journals, "BEAT_SECONDS", 0.05)
    with Journal(tmp_path, "attack"):
        before = read_progress(tmp_path)
        deadline = time.monotonic() + 10
        while read_progress(tmp_path) == before and time.monotonic() < deadline:
            time.sleep(0.02)
        living = read_progress(tmp_path)
    assert before is not None and living is not None and living.updated > before.updated
    assert living.alive
    assert not living.model_copy(update={"updated": datetime.now(UTC) - timedelta(minutes=1)}).alive
