"""Energy from logs whose truth is known: synthetic ones, in the formats that the instruments export."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from typer.testing import CliRunner

from tests.support.device_support import Builder, inputs
from tests.support.noisy_line import NoisyLine
from tests.support.standin import STANDIN_BOARD
from tests.support.tiny_nets import tiny_model
from tritguard import api
from tritguard.boards import Board, load_board
from tritguard.build import build
from tritguard.cli import app
from tritguard.data import Dataset
from tritguard.device import EmulatedBoard, open_device
from tritguard.device.emulators.qemu import Qemu
from tritguard.emit import Bundle, write_bundle
from tritguard.errors import BadInputError
from tritguard.evaluate.deployment.energy import check_against
from tritguard.records import from_table
from tritguard.report.registry import to_html
from tritguard.twin import Twin

pytest_plugins = ("tests.support.device_fixtures", "tests.support.standin")

RATE = 100_000
IDLE_A, BUSY_A, VOLTS = 0.004, 0.020, 3.3
Float = NDArray[np.float64]


def trace(lengths: list[int], gap: int = 37) -> tuple[Float, Float, NDArray[np.bool_]]:
    """Seconds, amperes and marks of inferences that last so many samples each, with pauses between them."""
    high = np.concatenate([np.r_[np.zeros(gap, bool), np.ones(length, bool)] for length in lengths])
    high = np.r_[high, np.zeros(gap, bool)]
    return np.arange(len(high)) / RATE, np.where(high, BUSY_A, IDLE_A), high


def ppk2(seconds: Float, amperes: Float, high: NDArray[np.bool_]) -> str:
    rows = (f"{1000 * t:.3f},{1e6 * a:.3f},0{int(h)}000000\n" for t, a, h in zip(seconds, amperes, high, strict=True))
    return "Timestamp(ms),Current(uA),D0-D7\n" + "".join(rows)


def ppk2_apart(seconds: Float, amperes: Float, high: NDArray[np.bool_]) -> str:
    rows = (
        f"{1000 * t:.3f},{1e6 * a:.3f},0,{int(h)},0,0,0,0,0,0\n" for t, a, h in zip(seconds, amperes, high, strict=True)
    )
    return "Timestamp(ms),Current(uA),D0,D1,D2,D3,D4,D5,D6,D7\n" + "".join(rows)


def joulescope(seconds: Float, amperes: Float, high: NDArray[np.bool_]) -> str:
    rows = (f"{t:.9f},{a:.9g},{VOLTS},{int(h)}\n" for t, a, h in zip(seconds, amperes, high, strict=True))
    return "#time (s),current (A),voltage (V),d1\n" + "".join(rows)


@pytest.mark.parametrize("write", [ppk2, ppk2_apart, joulescope])
def test_each_inference_is_integrated_between_its_marks(
    write: Callable[[Float, Float, NDArray[np.bool_]], str], tmp_path: Path
) -> None:
    lengths = [100, 120, 80]
    log = tmp_path / "log.csv"
    log.write_text(write(*trace(lengths)))
    found = api.energy(log, marks="D1", volts=None if write is joulescope else VOLTS)
    truth = np.array(lengths) / RATE * BUSY_A * VOLTS
    # The ends lie between two samples, where the log's current is half way up.
    slack = (BUSY_A - IDLE_A) * VOLTS / RATE / 4
    assert (found.inferences, found.marks) == (3, "D1")
    assert found.joules.mean == pytest.approx(truth.mean(), abs=slack)
    assert (found.joules.least, found.joules.most) == (
        pytest.approx(truth.min(), abs=slack), pytest.approx(truth.max(), abs=slack)
    )  # fmt: skip
    assert found.joules.deviation == pytest.approx(truth.std(ddof=1), rel=1e-6)
    assert found.idle_watts == pytest.approx(IDLE_A * VOLTS)
    assert found.joules_above_idle is not None
    above = np.array(lengths) / RATE * (BUSY_A - IDLE_A) * VOLTS
    assert found.joules_above_idle.mean == pytest.approx(above.mean(), abs=slack)
    assert found.seconds.median == pytest.approx(100 / RATE)
    assert (found.volts, found.volts_measured) == (pytest.approx(VOLTS), write is joulescope)
    assert found.samples_hz == pytest.approx(RATE, rel=1e-6)


def test_the_powershields_stream_has_no_marks_but_a_current(tmp_path: Path) -> None:
    _, amperes, _ = trace([50, 50])
    log = tmp_path / "stream.txt"
    log.write_text("".join(f"{round(a * 1e5):04d}-05\n" for a in amperes))
    found = api.energy(log, above=0.01, volts=VOLTS, rate_hz=RATE)
    assert (found.format, found.inferences, found.marks) == ("LPM01A", 2, "current above 10 mA")
    assert found.joules.mean == pytest.approx(50 / RATE * BUSY_A * VOLTS, rel=0.01)


def test_an_inference_that_the_log_cuts_is_none(tmp_path: Path) -> None:
    seconds, amperes, high = trace([100, 100, 100])
    log = tmp_path / "log.csv"
    log.write_text(ppk2(seconds[60:-60], amperes[60:-60], high[60:-60]))
    assert api.energy(log, marks="d1", volts=VOLTS).inferences == 1


MARKED = "time,current,voltage,d0\n" + "".join(f"{i},1,0,{int(2 < i < 20)}\n" for i in range(24))


@pytest.mark.parametrize(
    ("content", "options", "words"),
    [
        ("nothing", {}, "holds no current"),
        ("Timestamp(ms),Current(uA)\n0,1\n1,2\n", {"volts": 3}, "does not say which input marks inferences; name one"),
        ("time,current,d0\n0,1,0\n1,2,1\n2,1,0\n", {"marks": "D3", "volts": 3}, r"no input D3; name one of .*\(D0\)"),
        ("time,current,d0\n0,1,0\n1,2,1\n2,1,0\n", {"volts": 3}, "has 1 samples, of at least 10"),
        ("time,current,d0\n0,1,0\n1,2,0\n2,1,0\n", {"volts": 3}, "D0 marks no whole inference"),
        ("time,current,d0\n0,1,0\n0,2,0\n2,1,0\n", {"volts": 3}, "its times do not rise"),
        ("time,current,d0\n0,1,0\n1,2\n", {"volts": 3}, "sample 2 does not have 3 columns"),
        ("time,current (furlong),d0\n0,1,0\n1,2,0\n", {"volts": 3}, "in furlong, which is none of a, ma"),
        ("time,current,d0\n0,x,0\n1,2,0\n", {"volts": 3}, "column current holds no numbers"),
        ("time,current,d0\n0,nan,0\n1,2,0\n", {"volts": 3}, "gaps instead of numbers"),
        ("1234-05\n", {"volts": 3, "above": 0.1}, "holds no times; say how many"),
        ("1234-05\n", {"volts": 3, "above": 0.1, "rate_hz": 0}, "cannot have 0 samples a second"),
        ("1234-05\n", {"volts": 3, "above": 0.1, "rate_hz": math.nan}, "cannot have nan samples a second"),
        ("time,current,D0-D7\n0,1,0\n1,2,010000000\n", {"volts": 3}, "holds 9 characters for its 8 inputs"),
        (MARKED, {"volts": 0}, "a supply of 0 V drives no board"),
        (MARKED, {"volts": math.nan}, "a supply of nan V drives no board"),
        (MARKED, {}, "gaps or zero for the voltage"),
        (MARKED, {"marks": "D0", "above": 0.1}, "both by its input D0 and by the current; give --marks or --above"),
    ],
)
def test_what_is_wrong_with_a_log_is_said(
    content: str, options: dict[str, str | float], words: str, tmp_path: Path
) -> None:
    (tmp_path / "log.csv").write_text(content)
    with pytest.raises(BadInputError, match=words):
        api.energy(tmp_path / "log.csv", **options)  # type: ignore[arg-type]


def test_a_voltage_is_asked_for(tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_text(ppk2(*trace([50])))
    done = CliRunner().invoke(app, ["energy", str(tmp_path / "log.csv"), "--marks", "D1"])
    assert "holds no voltage; say the supply's, with --volts" in str(done.exception)


def test_the_energy_is_taken_into_the_result_of_the_run_that_was_logged(
    small_bundle: Bundle, firmware: Builder, tmp_path: Path
) -> None:
    """A serial server makes a real board of the emulated one, and the log is what its marks would have given."""
    built = firmware(small_bundle, "netduinoplus2")
    x = inputs(small_bundle, 12)
    data = Dataset("noise", x, Twin(small_bundle).predict(x).labels, tuple("abcde"), "steps", "none")
    with (
        EmulatedBoard(built.record.board, built.elf) as emulated,
        NoisyLine(emulated.url, lambda frame: frame, lambda frame: frame) as server,
    ):
        result = api.evaluate(small_bundle, built, data, tmp_path, port=server.url)
    last = round(result.latency.milliseconds / 1000 * RATE)
    log, place = tmp_path / "log.csv", tmp_path / "deployment.json"
    log.write_text(ppk2(*trace([last] * 12)))
    done = CliRunner().invoke(
        app, ["energy", str(log), "--marks", "D1", "--volts", "3.3", "--result", str(place)], catch_exceptions=False
    )
    assert done.exit_code == 0, done.output
    assert "12 inferences, marked by D1\n" in done.output and "supply 3.3 V, 100,000 samples a second" in done.output
    assert f"energy {1e6 * last / RATE * BUSY_A * VOLTS:.0f} uJ an inference" in done.output
    (study,) = api.report(place)[1]
    assert study.energy is not None and study.energy.inferences == 12  # type: ignore[attr-defined]
    assert "all that the board takes, uJ" in to_html(study) and "log.csv" in to_html(study)
    timed = result.latency.model_copy(update={"runs": 4, "frames": 3})
    check_against(study.energy, result.model_copy(update={"latency": timed}), "log")  # type: ignore[attr-defined]
    for lengths, words in (([last] * 11, "marks 11 inferences, the result has 12"), ([2 * last] * 12, "a mark lasts")):
        log.write_text(ppk2(*trace(lengths)))
        with pytest.raises(BadInputError, match=words):
            api.energy(log, place, marks="D1", volts=3.3)


@pytest.mark.parametrize(
    ("board", "pin", "rising", "falling"),
    [
        ("netduinoplus2", "PA5", "GPIOA: unimplemented device write (size 4, offset 0x018, value 0x00000020)",
         "GPIOA: unimplemented device write (size 4, offset 0x018, value 0x00200000)"),
        ("standin", "D2", "offset 0x410, value 0x00000004", "offset 0x410, value 0x00000000"),
    ],
)  # fmt: skip
def test_the_pin_is_high_while_the_model_runs(
    board: str, pin: str, rising: str, falling: str, standin_cores: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """QEMU has no pins on these chips, and logs what is written to them."""
    table = load_board(STANDIN_BOARD if board == "standin" else board).model_dump() | {"mark": pin}
    marked = from_table(Board, table, where="x")
    bundle = write_bundle(tiny_model(), tmp_path / "bundle", name="tiny", core=marked.core_class)
    made = build(bundle, marked, tmp_path / "build")
    log, plain = tmp_path / "log", Qemu.command
    monkeypatch.setattr(Qemu, "command", lambda self, *given: [*plain(self, *given), "-d", "unimp", "-D", str(log)])
    with open_device(bundle, made) as device:
        device.predict(inputs(bundle, 3))
    lines = [line for line in log.read_text().splitlines() if rising in line or falling in line]
    assert [rising in line for line in lines] == [False, *[True, False] * 3]


def test_a_mark_has_to_be_a_pin_that_the_driver_can_set() -> None:
    for board, pin, words in (
        ("netduinoplus2", "D3", "mark: 'D3' is not written as in 'PA5'"),
        ("mps2-an386", "D3", "the driver cmsdk sets no pin"),
    ):
        with pytest.raises(BadInputError, match=words):
            from_table(Board, load_board(board).model_dump() | {"mark": pin}, where="x")
