"""The pages. All are made from results read and checked again; no HTML that lies in a run's folder is passed on."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from tritguard.api.comparing import compare
from tritguard.errors import BadInputError
from tritguard.evaluate.registry import kind_of
from tritguard.report import lines
from tritguard.report.compare import to_html as comparison_to_html
from tritguard.report.registry import to_html
from tritguard.serve import boards, views
from tritguard.serve.runs import Run, find_runs, find_selftests
from tritguard.serve.templating import environment

_HERE = Path(__file__).parent
Page = Callable[[Request], Response]


def application(root: Path) -> Starlette:
    """Make the application that shows the runs of a folder."""
    pages = _Pages(root)
    routes = [
        Route("/", _threaded(pages.runs)),
        Route("/compare", _threaded(pages.comparison)),
        Route("/boards", _threaded(pages.boards)),
        Route("/run", _threaded(pages.run)),
        Route("/report", _threaded(pages.report)),
        Route("/favicon.ico", lambda _: Response(status_code=204)),  # which browsers ask for by themselves
        Mount("/static", StaticFiles(directory=_HERE / "static")),
    ]
    return Starlette(routes=routes, exception_handlers={404: _not_found, 405: _not_found})


def _threaded(page: Page) -> Callable[[Request], Awaitable[Response]]:
    """Answer in a thread, since results are read from files and checked; bad input is answered with a message."""

    async def answer(request: Request) -> Response:
        try:
            return await run_in_threadpool(page, request)
        except BadInputError as error:
            return _said(str(error), 400)
        except (ArithmeticError, ValueError, OSError) as error:  # the last resort: a file says what no check foresaw
            what = f"This page cannot be made of what lies in the folder ({type(error).__name__}: {error})."
            return _said(what, 500)

    return answer


def _not_found(_request: Request, _error: Exception) -> Response:
    return _said("There is no such page, or the run is gone.", 404)


def _said(what: str, status: int) -> Response:
    return HTMLResponse(environment().get_template("said.html.jinja").render(what=what, here=""), status)


class _Pages:
    def __init__(self, root: Path) -> None:
        self._root = root

    def runs(self, request: Request) -> Response:
        """All runs; `part` asks for the table alone, which the page refreshes."""
        return self._page(request, "runs", rows=[views.row(run) for run in find_runs(self._root)])

    def run(self, request: Request) -> Response:
        """One run: how far it is, what is known so far, and its reports."""
        run = self._run(request)
        return self._page(request, "run", run=run, row=views.row(run), curve=views.curve(run), lines=lines)

    def report(self, request: Request) -> Response:
        """A study's report, made from its result."""
        run, name = self._run(request), request.query_params.get("study", "")
        study = next((study for study in run.studies if kind_of(study).name == name), None)
        if study is None:
            raise BadInputError(f"the run has no result of {name}", where=run.id)
        beside = run.studies[1:] if kind_of(study).leads else ()
        beside = tuple(other for other in beside if other.models_sha256 & study.models_sha256)
        return HTMLResponse(to_html(study, beside))

    def comparison(self, request: Request) -> Response:
        """Two or more runs side by side, as `tritguard compare` shows them."""
        known = {run.id: run for run in find_runs(self._root)}
        chosen = request.query_params.getlist("run")
        if gone := [one for one in chosen if one not in known]:
            raise BadInputError(f"there is no run {gone[0]!r}")
        if len(chosen) < 2:
            raise BadInputError("one run alone cannot be compared", fix="choose two or more on the page of the runs")
        if lacking := [one for one in chosen if known[one].robustness is None]:
            raise BadInputError("the run has no result of attacks that can be read", where=lacking[0])
        return HTMLResponse(comparison_to_html(compare([known[one].folder for one in chosen]), home="/"))

    def boards(self, request: Request) -> Response:
        """The boards that ran something, and what is plugged in."""
        used = boards.used(find_runs(self._root))
        tried = boards.tried(find_selftests(self._root))
        return self._page(request, "boards", used=used, tried=tried, plugged=boards.plugged())

    def _run(self, request: Request) -> Run:
        """Find the run that an address names; only what was found in the folder can be named."""
        wanted = request.query_params.get("id", "")
        run = next((run for run in find_runs(self._root) if run.id == wanted), None)
        if run is None:
            raise BadInputError(f"there is no run {wanted!r}")
        return run

    def _page(self, request: Request, name: str, **context: Any) -> Response:
        part = "part" in request.query_params
        template = environment().get_template(f"{name}.part.jinja" if part else f"{name}.html.jinja")
        return HTMLResponse(template.render(root=str(self._root), here=name, **context))
