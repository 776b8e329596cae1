"""The pages in Chromium: axe finds nothing, nothing is asked for elsewhere, the console is empty, keyboards work."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.pages import serving, under_way, write
from tests.support.robustness_result import make_result
from tritguard.report.registry import to_html

sync = pytest.importorskip("playwright.sync_api", reason="needs playwright, which scripts/setup installs")
axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="needs axe-playwright-python")
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
VIEWS = [(390, "dark"), (1280, "light")]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium: apt-get install chromium"),
]


@pytest.fixture(scope="module")
def browser() -> Iterator[sync.Browser]:
    with sync.sync_playwright() as started:
        yield started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])


class Watched:
    """A tab that notes what its console says and what it asks other places for."""

    def __init__(self, browser: sync.Browser, home: str, width: int = 820, scheme: str = "light") -> None:
        viewport = {"width": width, "height": 900}
        self.context = browser.new_context(viewport=viewport, color_scheme=scheme, bypass_csp=True)
        self.tab = self.context.new_page()
        self.found: list[str] = []
        self.tab.on("console", lambda said: self.found.append(f"console: {said.text}"))
        self.tab.on("pageerror", lambda error: self.found.append(f"error: {error}"))
        self.tab.on("request", lambda one: None if one.url.startswith((home, "data:")) else self.found.append(one.url))

    def look(self) -> None:
        assert not self.found
        assert self.tab.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), (
            f"{self.tab.url} scrolls sideways"
        )
        result = axe.Axe().run(self.tab)
        assert result.violations_count == 0, result.generate_report()


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    write(folder / "first")
    write(folder / "second")
    return folder


@pytest.mark.parametrize(("width", "scheme"), VIEWS)
def test_pages_are_well_at_every_width(width: int, scheme: str, root: Path, browser: sync.Browser) -> None:
    under_way(root / "now")  # anew: a run that says nothing for twenty seconds was killed
    server = serving(root)
    watched = Watched(browser, server.base, width, scheme)
    watched.tab.goto(server.address)
    assert watched.tab.url == f"{server.base}/", "the token does not stay in the address"
    for path in ("/", "/run?id=now", "/boards", "/report?id=first&study=robustness", "/compare?run=first&run=second"):
        watched.tab.goto(server.base + path)
        watched.look()
    watched.context.close()


@pytest.mark.parametrize(
    ("width", "paths"),
    [(820, ["/", "/boards", "/run?id=now", "/compare?run=first&run=second"]), (390, ["/boards", "/run?id=now"])],
)
def test_tables_are_not_cut(width: int, paths: list[str], root: Path, browser: sync.Browser) -> None:
    """On a phone some columns of the lists of runs and comparisons stay beyond the edge, and a shadow says so."""
    under_way(root / "now")
    server = serving(root)
    watched = Watched(browser, server.base, width)
    watched.tab.goto(server.address)
    for path in paths:
        watched.tab.goto(server.base + path)
        cut = "[...document.querySelectorAll('.scroll')].filter((box) => box.scrollWidth > box.clientWidth)"
        assert watched.tab.evaluate(f"{cut}.map((box) => box.ariaLabel)") == [], path
    watched.context.close()


def test_a_report_in_a_file_is_well(tmp_path: Path, browser: sync.Browser) -> None:
    page = tmp_path / "report.html"
    page.write_text(to_html(make_result()))
    watched = Watched(browser, page.as_uri())
    watched.tab.goto(page.as_uri())
    watched.look()
    watched.context.close()


def test_runs_are_chosen_by_keyboard_and_stay_chosen_while_the_page_renews_itself(
    root: Path, browser: sync.Browser
) -> None:
    server = serving(root)
    watched = Watched(browser, server.base)
    tab = watched.tab
    tab.goto(server.address)
    boxes = tab.get_by_role("checkbox")
    boxes.nth(0).focus()
    tab.keyboard.press("Space")
    under_way(root / "later")
    tab.get_by_role("progressbar", name="attack: Crafting on the twin").first.wait_for(timeout=8_000)
    assert tab.evaluate("document.activeElement.type") == "checkbox", "the focus is where it was"
    assert boxes.nth(0).is_checked() and not boxes.nth(1).is_checked()
    while not tab.evaluate("document.activeElement === document.querySelectorAll('input')[1]"):
        tab.keyboard.press("Tab")
    tab.keyboard.press("Space")
    while tab.evaluate("document.activeElement.tagName") != "BUTTON":
        tab.keyboard.press("Tab")
    tab.keyboard.press("Enter")
    tab.get_by_role("heading", name="Comparison", exact=False).first.wait_for(timeout=8_000)
    assert not watched.found
    watched.context.close()
