"""tritguard serve: what its pages show, who may open them, and how a run's folder tells what is under way."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.error import HTTPError
from urllib.parse import quote

import pytest
from starlette.requests import Request
from starlette.responses import Response

from tests.support.pages import Browser, serving, under_way, write
from tests.support.robustness_result import make_result
from tests.support.schemas import assert_conforms
from tritguard.api import journal as journals
from tritguard.api.journal import Journal, read_progress
from tritguard.api.keeping import board_shown
from tritguard.api.schemas import write_schemas
from tritguard.errors import BadInputError
from tritguard.evaluate.registry import STUDIES
from tritguard.serve import runs
from tritguard.serve.app import _threaded
from tritguard.serve.guard import HEADERS
from tritguard.serve.runs import find_runs
from tritguard.serve.views import curve, minute, row


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


def test_a_folder_of_schemas_is_no_run(tmp_path: Path) -> None:
    write_schemas(tmp_path / "schemas")
    write(tmp_path / "attacked")
    assert [run.id for run in find_runs(tmp_path)] == ["attacked"]
    (tmp_path / "schemas" / "deployment.json").write_text('{"kind": "deployment"}')
    assert {run.id for run in find_runs(tmp_path) if run.problems} == {"schemas"}


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
    assert '<a href="/">Runs</a>' in page


def test_boards_are_told_by_what_their_newest_result_saw(served: tuple[Path, Browser]) -> None:
    _, browser = served
    page = browser.get("/boards")
    assert make_result().firmware.board_name in page and "with other bytes than the twin" in page
    assert not re.search(r"\d\dT\d\d:", page), "times are written as on the other pages"


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


def test_a_journal_keeps_what_other_verbs_did_in_the_folder(tmp_path: Path) -> None:
    def works(verb: str, stage: str, name: str = "") -> None:
        with Journal(tmp_path, verb, name, board="a board (emulated)") as journal:
            journal.watching(lambda _: lambda *_: None)(stage)(1, 1)

    works("run", "Building", "a model")
    works("certify", "Proving")
    works("faults", "Flipping")
    works("certify", "Proving again")
    (run,) = find_runs(tmp_path)
    seen = row(run)
    assert [stage.name for stage in seen.stages] == ["run: Building", "faults: Flipping", "certify: Proving again"]
    assert (seen.name, seen.board) == ("a model", "a board (emulated)")
    assert_conforms(tmp_path / journals.FILE, "progress")


def test_a_run_that_failed_says_where_and_why(tmp_path: Path) -> None:
    with (
        pytest.raises(BadInputError),
        Journal(tmp_path / "runs" / "one", "run", "net", board_shown("A board", "/dev/ttyACM0")),
    ):
        raise BadInputError("no such probe")
    page = serving(tmp_path).get("/")
    assert "no such probe" in page and '<td class="board">A board</td>' in page
    assert "runs/<wbr>one" in page, "a path breaks after its slashes"


def test_a_run_under_way_keeps_the_codes_of_its_result(tmp_path: Path) -> None:
    codes = [issue.code for issue in make_result(control=None).issues]
    assert codes
    write(tmp_path / "now", control=None)
    under_way(tmp_path / "now")
    browser = serving(tmp_path)
    for page in ("/", "/run?id=now"):
        assert ", ".join(codes) in browser.get(page)


def test_pages_write_times_alike() -> None:
    assert minute("2026-11-30T01:17:59+02:00") == "2026-11-29 23:17 UTC"
    assert minute("yesterday") == minute("0001-01-01T00:00:00+05:00") == ""


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


ODD_PROGRESS = [
    {"updated": "2031-01-01T00:00:00"},
    {"started": "2031-01-01T00:00:00"},
    *({"stages": [{"step": "", "name": "n", "done": 1, "total": 2, "began": 0, "seconds": 0} | odd]}
      for odd in ({"total": 10**400}, {"done": 2**53 + 1}, {"seconds": 1e300}, {"began": -1})),
]  # fmt: skip
ODD_SO_FAR = [
    {"points": [{"eps_steps": 0, "held": 1}]},
    {"points": [{"eps_steps": 2**31 + 1, "held": 1}]},
    {"points": [{"eps_steps": 1, "held": 101}]},
    {"right": 101},
    {"samples": 10**400},
]


@pytest.mark.parametrize(
    ("name", "odd"), [*(("progress.json", odd) for odd in ODD_PROGRESS), *(("so-far.json", odd) for odd in ODD_SO_FAR)]
)
def test_an_odd_file_of_one_run_is_a_problem_of_that_run_alone(name: str, odd: object, tmp_path: Path) -> None:
    under_way(tmp_path / "now")
    path = tmp_path / "now" / name
    path.write_text(json.dumps(json.loads(path.read_text()) | dict(odd)))  # type: ignore[call-overload]
    (run,) = find_runs(tmp_path)
    assert [name in problem for problem in run.problems] == [True]
    assert row(run).problems == run.problems and curve(run) is None


def test_the_most_that_the_files_may_say_can_be_shown(tmp_path: Path) -> None:
    under_way(tmp_path / "now")
    path = tmp_path / "now" / "progress.json"
    most = {"step": "", "name": "n", "done": 1, "total": 2**53, "began": 1e9, "seconds": 1e9}
    path.write_text(json.dumps(json.loads(path.read_text()) | {"stages": [most]}))
    path = tmp_path / "now" / "so-far.json"
    points = [{"eps_steps": eps, "held": 2**53} for eps in (1, 2**31)]
    path.write_text(json.dumps(json.loads(path.read_text()) | {"samples": 2**53, "points": points}))
    (run,) = find_runs(tmp_path)
    assert row(run).stage is not None and curve(run) is not None and not run.problems


def test_a_file_that_goes_while_it_is_looked_at_spoils_no_list(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "one")
    there = {kind.file for kind in STUDIES} - {"privacy.json"}  # when it was looked for, but no longer
    monkeypatch.setattr(runs, "_is_file", lambda path: path.parent.name == "one" and path.name in there)
    (found,) = find_runs(tmp_path)
    assert found.robustness is not None and len(found.problems) == len(STUDIES) - 2


def test_a_run_of_the_future_is_not_under_way(tmp_path: Path) -> None:
    under_way(tmp_path)
    seen = read_progress(tmp_path)
    assert seen is not None and seen.alive
    assert not seen.model_copy(update={"updated": datetime.now(UTC) + timedelta(days=1)}).alive


def test_a_result_with_no_time_is_shown_without_one(tmp_path: Path) -> None:
    write(tmp_path / "one", provenance=make_result().provenance.model_dump() | {"created": "yesterday"})
    assert [row(run).when for run in find_runs(tmp_path)] == [""]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    for name in ("progress.json", "so-far.json"):
        os.mkfifo(tmp_path / name)
    code = (
        "import sys, pathlib; from tritguard.api.journal import read_progress as one; "
        "from tritguard.evaluate.robustness.so_far import read_so_far as other; "
        "path = pathlib.Path(sys.argv[1]); sys.exit(not one(path) is other(path) is None)"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True, timeout=60)  # which a wait would outlast


def test_what_no_check_foresaw_is_said_in_words() -> None:
    for error, status in ((OverflowError("too large"), 500), (ValueError("odd"), 500), (BadInputError("bad"), 400)):

        def page(_request: Request, error: Exception = error) -> Response:
            raise error

        answer = asyncio.run(_threaded(page)(Request({"type": "http"})))  # type: ignore[arg-type]
        assert answer.status_code == status and str(error) in bytes(answer.body).decode()
