"""The bulk line: the same bytes and ticks as over the UART, and what goes wrong on it."""

from __future__ import annotations

import os
import signal
import struct
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from tests.bench.models import random_net
from tests.support.device_support import BOARDS, OTHER_BOARDS, Builder, crashing_bundle, inputs
from tests.support.impatient import impatient
from tests.support.kept import rows
from tritguard.boards import load_board
from tritguard.build import Build
from tritguard.device import EmulatedBoard, EmulatorError, Fleet, emulate, open_device, reinforced
from tritguard.device.bulk import BulkLine, Mailbox
from tritguard.device.emulators.qemu import TRANSLATED_MIB
from tritguard.device.link import Link, Patience
from tritguard.device.protocol import Frame, Refusal, Request
from tritguard.emit import Bundle, write_bundle
from tritguard.errors import DeviceError, MismatchError
from tritguard.evaluate.confirmation import _Kept, ask, check_lines, confirm
from tritguard.predictor import Int8, Outputs
from tritguard.progress import Progress
from tritguard.twin import Twin

pytest_plugins = ("tests.support.device_fixtures",)


@pytest.fixture
def emulators(monkeypatch: pytest.MonkeyPatch) -> list[EmulatedBoard]:
    """The emulated boards that a test starts, in order."""
    started: list[EmulatedBoard] = []
    start = EmulatedBoard.__init__

    def remember(board: EmulatedBoard, *args: object, **named: object) -> None:
        start(board, *args, **named)  # type: ignore[arg-type]
        started.append(board)

    monkeypatch.setattr(EmulatedBoard, "__init__", remember)
    return started


@pytest.mark.parametrize("board", [*BOARDS, *OTHER_BOARDS])
def test_both_lines_give_the_same_bytes_and_ticks(
    board: str, small_bundle: Bundle, firmware: Builder, tmp_path: Path
) -> None:
    content, core = small_bundle.model_path.read_bytes(), load_board(board).core_class
    bundle = write_bundle(content, tmp_path / "bundle", name="small", core=core)
    build, x, answers = firmware(bundle, board), inputs(bundle, 5), []
    for bulk in (True, False):
        with emulate(bundle, build, bulk=bulk) as device:
            assert device.bulk is bulk
            data = bytes(range(256))
            answers.append((device.predict(x), device.echo(data), device.echo(b""), device.memory(), device.hello))
            assert device.resent_frames == 0
    (over_bulk, *rest), (over_uart, *expected) = answers
    assert rest == expected
    assert (over_bulk.scores == over_uart.scores).all()
    assert over_bulk.logits is not None and (over_bulk.logits == over_uart.logits).all()
    assert over_bulk.ticks is not None and (over_bulk.ticks == over_uart.ticks).all()


def test_a_device_without_a_port_uses_the_bulk_line_where_the_firmware_has_one(
    small_bundle: Bundle, small_build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    x = inputs(small_bundle, 2)
    with open_device(small_bundle, small_build) as device:
        assert device.bulk
    monkeypatch.setattr(Mailbox, "find", lambda _: None)
    with open_device(small_bundle, small_build) as device:
        assert not device.bulk
        assert (device.predict(x).scores == Twin(small_bundle).predict(x).scores).all()
        answered = ask(device, x, lambda *_: None)
        assert (answered.bulk_inputs, answered.uart_again) == (0, 0)


@pytest.mark.parametrize("board", BOARDS)
def test_a_crash_is_named(board: str, small_bundle: Bundle, firmware: Builder, tmp_path: Path) -> None:
    bundle = crashing_bundle(small_bundle, tmp_path / "crashing")
    build, x = firmware(bundle, board), inputs(bundle, 4)
    x[:, 0, 0, 0] = (0, 1, 2, 3)
    with open_device(bundle, build) as device:
        assert device.bulk
        assert (device.predict(x[:1]).scores == Twin(small_bundle).predict(x[:1]).scores).all()
        start = time.monotonic()
        with pytest.raises(DeviceError, match="crashed and the board reset itself: bus fault"):
            device.predict(x[1:2])
        assert time.monotonic() - start < 15
        assert (device.predict(x[:1]).scores == Twin(small_bundle).predict(x[:1]).scores).all(), "it came back"


def test_a_request_of_hundreds_of_writes_does_not_wait_for_ever(firmware: Builder, tmp_path: Path) -> None:
    """QEMU did not read on while nobody read its replies to them."""
    bundle = write_bundle(
        random_net((280, 280, 3), [("conv", (3, 3), (8, 8), 4)], classes=3), tmp_path / "b", name="big"
    )
    x = inputs(bundle, 2)
    with open_device(bundle, firmware(bundle, BOARDS[0])) as device:
        assert device.bulk
        assert (device.predict(x).scores == Twin(bundle).predict(x).scores).all()


def test_an_emulator_keeps_no_more_translated_code_than_it_is_given(
    small_bundle: Bundle, small_build: Build, emulators: list[EmulatedBoard]
) -> None:
    """It translates a little more at each inference; without a bound, 10^5 of them took 40 MiB."""
    with open_device(small_bundle, small_build) as device:
        device.predict(inputs(small_bundle, 1))
        mapped = Path(f"/proc/{emulators[0].process_id}/maps").read_text().splitlines()
        ranges = [line.split()[0].split("-") for line in mapped if line.split()[1] == "rwxp"]
        size = sum(int(end, 16) - int(start, 16) for start, end in ranges)
    assert 0 < size <= TRANSLATED_MIB << 20


def test_an_emulator_that_is_killed_is_reported_at_once(
    small_bundle: Bundle, small_build: Build, emulators: list[EmulatedBoard]
) -> None:
    x = np.repeat(inputs(small_bundle, 1), 100_000, axis=0)
    with open_device(small_bundle, small_build) as device:
        threading.Timer(0.3, os.kill, (emulators[0].process_id, signal.SIGKILL)).start()
        start = time.monotonic()
        with pytest.raises(DeviceError, match="connection broke"):
            device.predict(x)
        assert time.monotonic() - start < 5


def test_a_board_that_stops_answering_is_reported(
    small_bundle: Bundle, small_build: Build, emulators: list[EmulatedBoard], monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_device(small_bundle, small_build) as device:
        device.predict(inputs(small_bundle, 1))
        os.kill(emulators[0].process_id, signal.SIGSTOP)
        impatient(monkeypatch)
        with pytest.raises(DeviceError, match="no answer"):
            device.predict(inputs(small_bundle, 1))


def test_a_late_answer_counts_and_a_stale_one_does_not(
    small_bundle: Bundle, small_build: Build, emulators: list[EmulatedBoard]
) -> None:
    with open_device(small_bundle, small_build) as device:
        link: Link = device._link
        os.kill(emulators[0].process_id, signal.SIGSTOP)
        threading.Timer(0.5, os.kill, (emulators[0].process_id, signal.SIGCONT)).start()
        assert link.ask(Request.ECHO, b"late", Patience(0.3)) == b"late"
        assert link.resent >= 1
        link.line.send(Frame(Request.ECHO, 1, b"stale"))
        assert link.ask(Request.ECHO, b"new") == b"new"


def test_the_board_checks_what_the_bulk_line_brings(small_bundle: Bundle, small_build: Build) -> None:
    with open_device(small_bundle, small_build) as device:
        line = device._link.line
        assert isinstance(line, BulkLine)
        for length in (1, 11, 13, 100, 1 << 20, (1 << 32) - 1):
            line._write(f"M{line._mailbox.lengths[0]:x},8:{struct.pack('<II', length, 0).hex()}", line._resume)
            line._running = True
            line._wait_for_idle(10)
            (answer,) = line.receive()
            assert isinstance(answer, Frame) and "broken frame" in str(Refusal.parse(answer.payload)), length
        assert device.echo(b"whole") == b"whole"
        with pytest.raises(DeviceError, match="wrong length"):
            device._link.ask(Request.INFER, b"too few")


def test_a_share_goes_over_the_uart_too(small_bundle: Bundle, small_build: Build) -> None:
    x = inputs(small_bundle, 40)
    seen = confirm(small_bundle, small_build, x, lambda *_: None)
    assert (seen.inputs, seen.bulk_inputs, seen.uart_again, seen.mismatched_inputs) == (40, 40, 16, 0)
    with open_device(small_bundle, small_build) as device:
        answered = ask(device, x[:2], lambda *_: None)
    right = answered.outputs
    assert (answered.bulk_inputs, answered.uart_again) == (2, 2)
    assert right.ticks is not None
    check_lines(small_build, right, right)
    for wrong in (Outputs(right.scores, right.logits, right.ticks + 1), Outputs(right.scores ^ 1, right.logits)):
        with pytest.raises(MismatchError, match="differ"):
            check_lines(small_build, wrong, right)


def test_a_board_that_ends_is_quarantined_and_the_others_take_over(
    small_bundle: Bundle, small_build: Build, emulators: list[EmulatedBoard]
) -> None:
    x, seen = inputs(small_bundle, 120), list[int]()
    with open_device(small_bundle, small_build) as device:
        right = device.predict(x)
        with reinforced(device, 3) as fleet:

            def kill(done: int, _total: int) -> None:
                if done >= 32 and emulators[1].process_id not in killed:
                    killed.append(emulators[1].process_id)
                    os.kill(emulators[1].process_id, signal.SIGKILL)
                seen.append(done)

            killed: list[int] = []
            assert_same(fleet.predict(x, kill), right)
            assert [(sick.board, "connection broke" in sick.reason) for sick in fleet.sick] == [(device.name, True)]
            assert not fleet.sick[0].disagreed
            assert seen[0] == 0 and seen[-1] == len(x)
            for emulator in (emulators[0], emulators[2]):
                os.kill(emulator.process_id, signal.SIGKILL)
            with pytest.raises(DeviceError, match=r"no board is left \(.*connection broke"):
                fleet.predict(x)


def test_a_board_that_answers_otherwise_is_quarantined(
    small_bundle: Bundle, small_build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    x, twin = inputs(small_bundle, 40), Twin(small_bundle)
    with open_device(small_bundle, small_build) as device:
        right = device.predict(x)
        for boards in (2, 3):  # of two, the twin decides
            with reinforced(device, boards, twin.predict) as fleet:
                monkeypatch.setattr(fleet.devices[0], "predict", partial(_changed, fleet.devices[0].predict))
                assert_same(fleet.predict(x), right)
                monkeypatch.undo()
                reason = "answers the same inputs otherwise than the other boards"
                assert [(sick.reason, sick.disagreed) for sick in fleet.sick] == [(reason, True)]


def test_answers_of_an_emulator_are_not_taken_for_a_real_boards(
    small_bundle: Bundle, small_build: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Firmware and board are the same; only what runs it differs."""
    x, campaign = inputs(small_bundle, 2), tmp_path / "campaign.db"
    with open_device(small_bundle, small_build) as device:
        _Kept(device, "asked", campaign).complete(x, Fleet([device]))
        for again in (True, False):
            answers = _Kept(device, "asked", campaign)._answers
            assert answers is not None and answers.recall(x)[0].tolist() == [again, again]
            monkeypatch.setattr(device, "emulator", None)
        monkeypatch.undo()


def test_a_confirmation_that_is_interrupted_goes_on(
    small_bundle: Bundle, small_build: Build, tmp_path: Path, emulators: list[EmulatedBoard]
) -> None:
    x, campaign, calls = inputs(small_bundle, 100), tmp_path / "campaign.db", list[int]()

    def confirmed(stop: int = 1000) -> Outputs:
        calls.clear()

        def told(done: int, _total: int) -> None:
            calls.append(done)
            if done >= stop:
                while len(emulators) < 2:  # the board; the last one is asked over the UART, and starts meanwhile
                    time.sleep(0.01)
                os.kill(emulators[-2].process_id, signal.SIGKILL)
                os.kill(emulators[-1].process_id, signal.SIGKILL)

        with open_device(small_bundle, small_build) as device:
            return ask(device, x, told, campaign=campaign, boards=1).outputs

    with pytest.raises(DeviceError):
        confirmed(stop=48)
    kept = len(rows(campaign, "SELECT * FROM answers WHERE device LIKE '%asked'"))
    assert 48 <= kept < 100
    resumed = confirmed()
    assert calls[0] == kept and calls[-1] == 100
    assert rows(campaign, "SELECT * FROM answers") == []
    assert_same(resumed, confirmed())
    assert calls[0] == 0


def _changed(answer: Callable[..., Outputs], x: Int8, progress: Progress | None = None) -> Outputs:
    said = answer(x, progress)
    return Outputs(said.scores ^ 1, said.logits, said.ticks)


def assert_same(ours: Outputs, theirs: Outputs) -> None:
    assert np.array_equal(ours.scores, theirs.scores)
    assert ours.logits is not None and np.array_equal(ours.logits, theirs.logits)
    assert np.array_equal(ours.ticks, theirs.ticks)


def test_a_fleet_answers_in_order_and_tells_its_progress(small_bundle: Bundle, small_build: Build) -> None:
    x, calls = inputs(small_bundle, 70), list[tuple[int, int]]()
    with open_device(small_bundle, small_build) as device, reinforced(device, 3) as fleet:
        assert len(fleet.devices) == 3
        answers = fleet.predict(x, lambda done, count: calls.append((done, count)))
        assert fleet.predict(x[:0]).scores.shape == (0, *answers.scores.shape[1:])
        alone = device.predict(x)
    assert (answers.scores == alone.scores).all()
    assert answers.logits is not None and (answers.logits == alone.logits).all()
    assert answers.ticks is not None and (answers.ticks == alone.ticks).all()
    assert calls == sorted(calls) and calls[-1] == (70, 70)


def test_a_fleet_ends_soon_after_the_last_of_its_boards(
    small_bundle: Bundle, small_build: Build, emulators: list[EmulatedBoard]
) -> None:
    x = np.repeat(inputs(small_bundle, 1), 100_000, axis=0)
    with open_device(small_bundle, small_build) as device, reinforced(device, 2) as fleet:
        for emulator in emulators:
            threading.Timer(0.3, os.kill, (emulator.process_id, signal.SIGKILL)).start()
        start = time.monotonic()
        with pytest.raises(DeviceError, match=r"no board is left \(.*connection broke"):
            fleet.predict(x)
        assert time.monotonic() - start < 5


def test_a_board_at_a_uart_stays_alone(small_bundle: Bundle, small_build: Build) -> None:
    with emulate(small_bundle, small_build, bulk=False) as device, reinforced(device, 3) as fleet:
        assert fleet.devices == (device,)


def test_an_emulator_that_does_not_start_says_why(small_bundle: Bundle, small_build: Build) -> None:
    record = small_build.record
    assert record.board.emulator is not None
    machine = record.board.emulator.model_copy(update={"machine": "no-such-machine"})
    board = record.board.model_copy(update={"emulator": machine})
    build = Build(small_build.path, record.model_copy(update={"board": board}))
    with (
        pytest.raises(EmulatorError, match=r"QEMU exited at once \(.*unsupported machine"),
        emulate(small_bundle, build),
    ):
        pass
