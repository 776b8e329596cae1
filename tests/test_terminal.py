"""What reaches the terminal: words of a model, a board or a file stay words."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from tests.support.robustness_result import make_result
from tritguard.cli import flash, progress, terminal
from tritguard.cli.terminal import CleanConsole
from tritguard.data import Dataset, write_dataset
from tritguard.device import Fault, Hello
from tritguard.errors import TritguardError

TRITGUARD = (sys.executable, "-c", "from tritguard.cli import main; main()")
HOSTILE = "\x1b]0;owned\x07\x1b[2J\x9b31m\r\x08\u202e\U000e0001[red]x[/red][/]:smile:"
SPELLED = "\\u001b]0;owned\\u0007\\u001b[2J\\u009b31m"


def refused(text: str) -> set[str]:
    return {char for char in text if not char.isprintable() and char != "\n"}


def table(text: str) -> Table:
    made = Table(text, title=text)
    made.add_row(text)
    return made


@pytest.mark.parametrize(
    "show",
    [
        lambda console: console.print(HOSTILE),
        lambda console: console.print(Text(HOSTILE, style="bold")),
        lambda console: console.print(Text.assemble(HOSTILE, (HOSTILE, "red"))),
        lambda console: console.print(table(HOSTILE)),
        lambda console: console.print(Panel(HOSTILE, title=Text(HOSTILE))),
        lambda console: console.rule(HOSTILE),
    ],
)
def test_no_control_character_passes_the_console(show: Callable[[CleanConsole], None]) -> None:
    output = io.StringIO()
    show(CleanConsole(file=output, width=400))
    assert not refused(output.getvalue())
    assert "\\u001b" in output.getvalue() and "[red]x[/red]" in output.getvalue()


@pytest.mark.parametrize("on_terminal", [True, False])
def test_progress_reads_no_markup(on_terminal: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    output = io.StringIO()
    monkeypatch.setattr(terminal, "console", CleanConsole(file=output, width=400, force_terminal=on_terminal))
    monkeypatch.setattr(progress, "console", terminal.console)
    with progress.stages() as named:
        stage = named("[red]x[/red]" + HOSTILE)
        for done in range(2):
            stage(done, 1)
    text = output.getvalue()
    assert HOSTILE not in text and "\\u001b]0;owned" in text and "[red]x[/red]" in text
    assert on_terminal or not refused(text)


def lines_of(calls: list[tuple[float, int, int]], monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What a log shows of a stage whose progress is (seconds by the clock, done, total)."""
    output, now = io.StringIO(), [0.0]
    monkeypatch.setattr(terminal, "console", CleanConsole(file=output, width=40))
    monkeypatch.setattr(progress, "console", terminal.console)
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    with progress.stages() as named:
        stage = named("Crafting")
        for seconds, done, total in calls:
            now[0] = 100 + seconds
            stage(done, total)
    return output.getvalue().splitlines()


def test_a_log_gets_a_line_a_tenth_or_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    steady = [(float(second), second, 200) for second in range(201)]
    lines = lines_of(steady, monkeypatch)
    assert len(lines) == 10
    assert lines[0] == "Crafting: 20 of 200, 0:00:20, about 0:03:00 left of this stage"
    assert lines[-1] == "Crafting: 200 of 200, 0:03:20"
    slow = [(float(second), second, 100_000) for second in range(181)]
    assert [line.split(",")[0] for line in lines_of(slow, monkeypatch)] == [
        f"Crafting: {done} of 100" for done in (60, 120, 180)
    ]


def test_a_log_is_not_flooded_by_fast_stages(monkeypatch: pytest.MonkeyPatch) -> None:
    assert lines_of([(done / 1000, done, 1000) for done in range(1001)], monkeypatch) == [
        "Crafting: 1,000 of 1,000, 0:00:01"
    ]
    assert lines_of([], monkeypatch) == []
    assert lines_of([(0, 5, 5), (1, 5, 5)], monkeypatch) == []


def test_a_log_says_what_was_done_before(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = lines_of([(0, 40, 100), (30, 70, 100), (60, 100, 100)], monkeypatch)
    assert lines == [
        "Crafting: 70 of 100, 40 of them done before, 0:00:30, about 0:00:30 left of this stage",
        "Crafting: 100 of 100, 40 of them done before, 0:01:00",
    ]


def test_every_verb_prints_on_the_clean_consoles() -> None:
    """Anything else would pass words on as they are."""
    for file in Path(terminal.__file__).parent.glob("*.py"):
        if file.name != "terminal.py":
            code = file.read_text()
            assert "Console(" not in code and " print(" not in code and "stdout" not in code, file
            echoes = [line for line in code.splitlines() if "typer.echo(" in line]
            assert echoes in ([], ["        typer.echo(__version__)"]), file


def test_what_a_board_says_of_itself(capsys: pytest.CaptureFixture[str]) -> None:
    flash.describe(Hello("0" * 32, "1" * 64, 1, 1, 1, 100, 1, Fault(0, 0, 0, 0, 0), 0, HOSTILE, HOSTILE))
    output = capsys.readouterr().out
    assert not refused(output) and "\\u001b]0;owned" in output and "[red]x[/red]" in output


def test_a_data_sets_names(tmp_path: Path) -> None:
    forged = "a\nerror: all is well"
    x, y = np.zeros((2, 4, 4), np.uint8), np.zeros(2, np.int64)
    write_dataset(tmp_path / "data.npz", Dataset(HOSTILE, x, y, (HOSTILE, forged), "pixel/255", HOSTILE))
    command = [*TRITGUARD, "data", str(tmp_path / "data.npz")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert not refused(done.stdout) and SPELLED in done.stdout
    assert "a\\u000aerror: all is well" in done.stdout


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_a_results_keys_and_names(options: list[str], tmp_path: Path) -> None:
    result = make_result(classes=(HOSTILE,) * 12)
    settings = result.attacks[0].parameters | {HOSTILE: HOSTILE}
    attacks = (result.attacks[0].model_copy(update={"parameters": settings}), *result.attacks[1:])
    written = result.model_copy(update={"attacks": attacks}).model_dump_json()
    named = (f'"attack":{json.dumps(name)}' for name in (attacks[0].attack, HOSTILE))  # wherever it is named
    (tmp_path / "result.json").write_text(written.replace(*named))
    command = [*TRITGUARD, "report", str(tmp_path / "result.json"), *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert not refused(done.stdout) and SPELLED.partition("]")[0] in done.stdout
    if options:
        assert json.loads(done.stdout)["attacks"][0]["attack"] == HOSTILE


@pytest.mark.parametrize("verbose", [[], ["-v"]])
def test_an_errors_words(verbose: list[str], tmp_path: Path) -> None:
    path = str(tmp_path / HOSTILE.replace("/", "|"))
    done = subprocess.run([*TRITGUARD, "report", path, *verbose], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert not refused(done.stderr) and "\\u001b]0;owned" in done.stderr and "[red]x[|red]" in done.stderr


def test_an_errors_line_stays_one_line() -> None:
    forged = "gone\nall is well"
    raise_it = (
        "import tritguard.cli as cli\n"
        "def failing(*_):\n"
        f"    raise cli.TritguardError({forged!r}, where={HOSTILE!r})\n"
        "cli.app = failing\n"
        "cli.main()\n"
    )
    done = subprocess.run([sys.executable, "-c", raise_it], capture_output=True, text=True, check=False)
    assert done.returncode == TritguardError.exit_code
    assert len(done.stderr.splitlines()) == 1 and not refused(done.stderr)
