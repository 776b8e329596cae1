"""The device: real firmware in a real QEMU over a real socket, and everything that can go wrong on the way."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.support.device_support import (
    BOARDS,
    ENDLESS,
    OTHER_BOARDS,
    TIMER_INSTRUCTIONS,
    Builder,
    changed_bundle,
    crashing_bundle,
    function_at,
    inputs,
)
from tests.support.impatient import impatient
from tests.support.noisy_line import Noise, NoisyLine
from tests.support.tflite_builder import ModelBuilder
from tritguard.boards import load_board
from tritguard.build import Build
from tritguard.device import EmulatedBoard, connect, emulate, open_device
from tritguard.device.emulators import is_emulated
from tritguard.device.line import SerialLine
from tritguard.device.link import Link, Patience
from tritguard.device.protocol import Request, Reset
from tritguard.emit import Bundle, write_bundle
from tritguard.errors import BadInputError, DeviceError, ToolMissingError, WrongFirmwareError
from tritguard.evaluate.measurement import Latency
from tritguard.profile import count, expected_cycles
from tritguard.report.wording import timing
from tritguard.twin import Twin

pytest_plugins = ("tests.support.device_fixtures",)

BAUD = 115_200


@pytest.mark.parametrize("board", BOARDS)
def test_both_boards_answer_as_the_twin_does(board: str, small_bundle: Bundle, firmware: Builder) -> None:
    build = firmware(small_bundle, board)
    x = inputs(small_bundle, 20)
    calls: list[tuple[int, int]] = []
    with open_device(small_bundle, build) as device:
        before = device.memory()
        outputs = device.predict(x, lambda done, total: calls.append((done, total)))
        after = device.memory()
        assert device.echo(bytes(range(256))) == bytes(range(256))
        assert device.resent_frames == 0
    twin = Twin(small_bundle).predict(x)
    assert outputs.scores.dtype == np.int8 and (outputs.scores == twin.scores).all()
    assert outputs.logits is not None and (outputs.logits == twin.logits).all()
    assert calls == [(done, 20) for done in range(21)]

    sizes, hello = build.record.sizes, device.hello
    assert (hello.board, hello.engine, hello.fault.count) == (board, "native", 0)
    assert (hello.build_id, hello.model_sha256) == (build.record.build_id, small_bundle.manifest.model_sha256)
    assert (before.arena, before.static) == (sizes.ram_arena, sizes.ram_static)
    assert before.stack_reserved == sizes.stack_reserved == build.record.board.stack_bytes
    assert 64 <= before.stack_peak < after.stack_peak < after.stack_reserved


@pytest.mark.parametrize("board", OTHER_BOARDS)
def test_every_core_class_boots_answers_and_counts(
    board: str, small_bundle: Bundle, firmware: Builder, tmp_path: Path
) -> None:
    content, core = small_bundle.model_path.read_bytes(), load_board(board).core_class
    bundle = write_bundle(content, tmp_path / "bundle", name="small", core=core)
    build = firmware(bundle, board)
    x = inputs(bundle, 5)
    with open_device(bundle, build) as device:
        assert device.echo(bytes(range(256))) == bytes(range(256))
        outputs = device.predict(x)
        use = device.memory()
        timed = [device.instructions(int(ticks)) for ticks in outputs.ticks]  # type: ignore[union-attr]
        assert (device.hello.board, device.hello.fault.count, device.resent_frames) == (board, 0, 0)
    twin = Twin(small_bundle).predict(x)
    assert (outputs.scores == twin.scores).all()
    assert outputs.logits is not None and (outputs.logits == twin.logits).all()
    assert use.stack_peak < use.stack_reserved
    counted = count(bundle, build, x)
    assert 0 <= sum(filter(None, timed)) - counted.instructions <= TIMER_INSTRUCTIONS * len(x)


def test_a_board_changes_its_rate_when_asked(small_bundle: Bundle, firmware: Builder) -> None:
    build = firmware(small_bundle, "netduinoplus2")
    assert build.record.board.uart.rates
    with emulate(small_bundle, build, bulk=False) as device:
        for rate in (*build.record.board.uart.rates, build.record.board.uart.baud):
            device._link.ask(Request.RATE, rate.to_bytes(4, "little"))
            assert device.echo(b"at another rate") == b"at another rate"  # an emulated line takes any
        with pytest.raises(DeviceError, match="no such rate; it began with 460800"):
            device._link.ask(Request.RATE, (9600).to_bytes(4, "little"))
    with (
        emulate(small_bundle, firmware(small_bundle, BOARDS[0]), bulk=False) as device,
        pytest.raises(DeviceError, match="does not know request 8"),
    ):
        device._link.ask(Request.RATE, (9600).to_bytes(4, "little"))


def test_a_model_without_weights_has_no_logits(firmware: Builder, tmp_path: Path) -> None:
    builder = ModelBuilder((8, 8, 3), 1 / 255, -128)
    pooled = builder.pool(builder.input, "MAX", (2, 2), (2, 2), same=False, activation="NONE")
    bundle = write_bundle(builder.build(pooled), tmp_path / "pool", name="pool")
    x = inputs(bundle, 3)
    with open_device(bundle, firmware(bundle, BOARDS[0])) as device:
        outputs = device.predict(x)
        assert bundle.manifest.arena_bytes == 0
        assert device.memory().arena == bundle.manifest.arena_with_input  # what receives the requests is part of it
    assert outputs.logits is None
    assert (outputs.scores == Twin(bundle).predict(x).scores).all()


def test_the_clock_in_use_is_reported(small_bundle: Bundle, firmware: Builder) -> None:
    hz = {}
    for board in BOARDS:
        with open_device(small_bundle, firmware(small_bundle, board)) as device:
            hz[board] = (device.hello.clock_hz, device.tick_hz)
    # QEMU's STM32F405 has no clock control, so its crystal never starts; its SysTick runs at 168 MHz all the same.
    assert hz == {"mps2-an386": (25_000_000, 25_000_000), "netduinoplus2": (16_000_000, 168_000_000)}


def test_time_counts_instructions_and_repeats(small_bundle: Bundle, firmware: Builder) -> None:
    x = inputs(small_bundle, 10)
    counted = {}
    for board in BOARDS:
        runs = []
        for order in (x, x[::-1]):
            with open_device(small_bundle, firmware(small_bundle, board)) as device:
                ticks = device.predict(order).ticks
                assert ticks is not None
                runs.append(ticks if order is x else ticks[::-1])
        assert (runs[0] == runs[1]).all()
        counted[board] = [device.instructions(int(count)) for count in runs[0]]
    # The kernels are the same; start and stop of the timer and its interrupt every 2**24 ticks are not.
    first, second = (np.array(counted[board]) for board in BOARDS)
    assert np.abs(first - second).max() <= 10
    assert small_bundle.manifest.macs < first.min() < 200 * small_bundle.manifest.macs


def test_a_board_behind_a_serial_server_is_real_though_its_kind_has_an_emulator(
    small_bundle: Bundle, firmware: Builder
) -> None:
    build, x = firmware(small_bundle, "netduinoplus2"), inputs(small_bundle, 2)
    with EmulatedBoard(build.record.board, build.elf) as emulated:
        with connect(emulated.url, small_bundle, build) as device:
            assert device.emulated and device.tick_hz == 168_000_000
        with (
            NoisyLine(emulated.url, lambda frame: frame, lambda frame: frame) as server,
            connect(server.url, small_bundle, build) as device,
        ):
            ticks = device.predict(x).ticks
            assert ticks is not None and not device.emulated
            assert device.instructions(int(ticks[0])) is None
            assert device.tick_hz == device.hello.clock_hz == 16_000_000
    assert not is_emulated(emulated.url)


def test_the_cycles_of_a_real_board_are_called_so_and_stand_beside_the_static_estimate(
    small_bundle: Bundle, firmware: Builder
) -> None:
    """The server hides that the board is emulated, so that its SysTick counts what a real core's would be taken for."""
    build, x = firmware(small_bundle, "netduinoplus2"), inputs(small_bundle, 3)
    with (
        EmulatedBoard(build.record.board, build.elf) as emulated,
        NoisyLine(emulated.url, lambda frame: frame, lambda frame: frame) as server,
        connect(server.url, small_bundle, build) as device,
    ):
        ticks = device.predict(x).ticks
        assert ticks is not None
        latency = Latency.of(device, ticks)
    assert (latency.tick_source, latency.interrupts) == ("systick", "taken off")
    assert latency.cycles_measured == latency.ticks_median == int(np.median(ticks))
    expected = expected_cycles(small_bundle, build)
    assert expected is not None and latency.cycles_expected == expected.cycles
    assert latency.milliseconds == pytest.approx(latency.ticks_median / 16_000)
    words = timing(latency)
    assert f"{latency.ticks_median:,} cycles, measured by the systick" in words
    assert f"of the static estimate ({expected.method}" in words
    # A real board without an emulator is compared with what the kernels' own models expect.
    record = build.record.model_copy(update={"board": build.record.board.model_copy(update={"emulator": None})})
    models = expected_cycles(small_bundle, Build(build.path, record))
    assert models is not None and "cost models of the kernels" in models.method
    assert expected.cycles / 4 < models.cycles < expected.cycles
    told = latency.model_copy(update={"tick_source": "microseconds", "cycles_expected": None, "interrupts": "counted"})
    assert told.cycles_measured is None and "the core counts no cycles" in timing(told)


def test_no_inputs_give_no_outputs(small_bundle: Bundle, small_build: Build) -> None:
    with open_device(small_bundle, small_build) as device:
        outputs = device.predict(inputs(small_bundle, 0))
    assert outputs.scores.shape == (0, 5)
    with pytest.raises(BadInputError, match="takes int8"):
        device.predict(inputs(small_bundle, 2).astype(np.int16))  # type: ignore[arg-type]


def test_another_model_on_the_board_is_refused(
    small_bundle: Bundle, small_build: Build, firmware: Builder, tmp_path: Path
) -> None:
    other = changed_bundle(small_bundle, tmp_path / "other", model_sha256="0" * 64)
    with pytest.raises(BadInputError, match=r"another bundle than .*other; give the bundle that it was built from"):
        connect("socket://127.0.0.1:1", other, small_build)
    record = small_build.record
    wrong_model = Build(small_build.path, record.model_copy(update={"model_sha256": "0" * 64}))
    wrong_build = Build(small_build.path, record.model_copy(update={"build_id": "0" * 32}))
    wrong_board = firmware(small_bundle, "netduinoplus2")
    with EmulatedBoard(record.board, small_build.elf) as emulated:
        for build, words in (
            (wrong_model, "another model"),
            (wrong_build, "another firmware"),
            (wrong_board, "another kind"),
        ):
            with pytest.raises(WrongFirmwareError, match=words):
                connect(emulated.url, small_bundle, build)
        connect(emulated.url, small_bundle, small_build).close()


def test_a_session_is_not_confused_by_the_one_before(small_bundle: Bundle, small_build: Build) -> None:
    x = inputs(small_bundle, 3)
    with EmulatedBoard(small_build.record.board, small_build.elf) as emulated:
        for _ in range(3):
            with Link(SerialLine(emulated.url, BAUD)) as link:
                link.line.write(b"\0\7half a fra")
                link.line.write(b"\0" + bytes([4, 1, 4, 1]))
            with connect(emulated.url, small_bundle, small_build) as device:
                assert (device.predict(x).scores == Twin(small_bundle).predict(x).scores).all()


def test_random_strings_do_the_board_no_harm(small_bundle: Bundle, small_build: Build) -> None:
    """Four thousand; `scripts/bench reliability` sends a hundred thousand blocks."""
    rng = random.Random(4)
    x = inputs(small_bundle, 40)
    twin = Twin(small_bundle).predict(x)
    with (
        EmulatedBoard(small_build.record.board, small_build.elf) as emulated,
        connect(emulated.url, small_bundle, small_build) as device,
    ):
        for i in range(40):
            for _ in range(100):
                length = rng.randrange(2000) if rng.random() < 0.002 else rng.randrange(1, 24)
                device._link.line.write(rng.randbytes(length))
            data = rng.randbytes(rng.randrange(257))
            assert device.echo(data) == data
            assert (device.predict(x[i : i + 1]).scores == twin.scores[i]).all()
        assert device.memory().stack_peak < device.memory().stack_reserved


def _noise(rng: random.Random, share: float) -> Noise:
    """Noise that loses, doubles, breaks or cuts this share of all frames."""

    def lose(frame: bytes) -> bytes:
        return b""

    def double(frame: bytes) -> bytes:
        return frame + b"\0" + frame

    def flip(frame: bytes) -> bytes:
        broken = bytearray(frame)
        broken[rng.randrange(len(broken))] ^= 1 << rng.randrange(8)
        return bytes(broken)

    def cut(frame: bytes) -> bytes:
        return frame[: rng.randrange(len(frame))]

    kinds: list[Callable[[bytes], bytes]] = [lose, double, flip, cut]

    def noise(frame: bytes) -> bytes:
        return rng.choice(kinds)(frame) if len(frame) > 1 and rng.random() < share else frame

    return noise


def test_a_noisy_line_costs_time_but_no_answer_is_wrong(
    small_bundle: Bundle, small_build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tritguard.device.inferences.ANSWER_SECONDS", 0.2)
    x = inputs(small_bundle, 60)
    rng = random.Random(5)
    with (
        EmulatedBoard(small_build.record.board, small_build.elf) as emulated,
        NoisyLine(emulated.url, _noise(rng, 0.15), _noise(rng, 0.15)) as line,
        connect(line.url, small_bundle, small_build) as device,
    ):
        outputs = device.predict(x)
        assert device.resent_frames > 5
    twin = Twin(small_bundle).predict(x)
    assert (outputs.scores == twin.scores).all()
    assert (outputs.logits == twin.logits).all()
    assert outputs.ticks is not None and outputs.ticks.min() > 0


@pytest.mark.parametrize("share", [0.001, 0.01])
def test_broken_bytes_cost_time_but_no_answer_is_wrong(share: float, small_bundle: Bundle, small_build: Build) -> None:
    x, rng = inputs(small_bundle, 30), np.random.default_rng(10)

    def break_bytes(frame: bytes) -> bytes:
        data = np.frombuffer(frame, np.uint8).copy()
        hit = rng.random(len(data)) < share
        data[hit] += rng.integers(1, 256, hit.sum(), dtype=np.uint8)
        return data.tobytes()

    with (
        EmulatedBoard(small_build.record.board, small_build.elf) as emulated,
        NoisyLine(emulated.url, break_bytes, break_bytes) as line,
        connect(line.url, small_bundle, small_build) as device,
    ):
        outputs = device.predict(x)
        assert device.resent_frames > 30 * share
    twin = Twin(small_bundle).predict(x)
    assert (outputs.scores == twin.scores).all()
    assert (outputs.logits == twin.logits).all()


def test_a_line_that_answers_nothing_is_reported(small_bundle: Bundle, small_build: Build) -> None:
    with (
        EmulatedBoard(small_build.record.board, small_build.elf) as emulated,
        NoisyLine(emulated.url, lambda _: b"", lambda frame: frame) as line,
        pytest.raises(DeviceError, match="no answer to HELLO"),
    ):
        connect(line.url, small_bundle, small_build)


@pytest.mark.parametrize("after", [0, 0.3])
def test_an_emulator_that_is_killed_is_reported_at_once(small_bundle: Bundle, small_build: Build, after: float) -> None:
    x = np.repeat(inputs(small_bundle, 1), 100_000, axis=0)
    with (
        EmulatedBoard(small_build.record.board, small_build.elf) as emulated,
        connect(emulated.url, small_bundle, small_build) as device,
    ):
        killer = threading.Timer(after, os.kill, (emulated.process_id, signal.SIGKILL))
        killer.start()
        start = time.monotonic()
        with pytest.raises(DeviceError, match="connection broke"):
            device.predict(x)
        assert time.monotonic() - start < after + 5


def test_a_board_that_stops_answering_is_reported(
    small_bundle: Bundle, small_build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (
        EmulatedBoard(small_build.record.board, small_build.elf) as emulated,
        connect(emulated.url, small_bundle, small_build) as device,
    ):
        device.predict(inputs(small_bundle, 1))
        os.kill(emulated.process_id, signal.SIGSTOP)
        impatient(monkeypatch)
        with pytest.raises(DeviceError, match="no answer"):
            device.predict(inputs(small_bundle, 1))


@pytest.mark.parametrize("board", BOARDS)
def test_a_crash_is_reported_and_the_board_comes_back(
    board: str, small_bundle: Bundle, firmware: Builder, tmp_path: Path
) -> None:
    bundle = crashing_bundle(small_bundle, tmp_path / "crashing")
    build = firmware(bundle, board)
    x = inputs(bundle, 5)
    x[:, 0, 0, 0] = (0, 1, 2, 3, 4)
    with EmulatedBoard(build.record.board, build.elf) as emulated:
        faults = (
            "bus fault",
            "stack overflow",
            "usage fault",
            "an inference without end, stopped by the watchdog",
        )
        for crash, words in enumerate(faults, start=1):
            with connect(emulated.url, bundle, build) as device:
                assert (device.predict(x[:1]).scores == Twin(small_bundle).predict(x[:1]).scores).all()
                start = time.monotonic()
                with pytest.raises(DeviceError, match=f"crashed and the board reset itself: {words}"):
                    device.predict(x[crash : crash + 1])
                assert time.monotonic() - start < 15
            with connect(emulated.url, bundle, build) as device:
                assert device.hello.fault.count == crash
                assert words in str(device.hello.fault)
                assert device.hello.facts.reset == Reset.FAULT
                if crash == ENDLESS:
                    assert function_at(build.elf, device.hello.fault.pc) == "tg_model_run"
                assert (device.predict(x[:1]).scores == Twin(small_bundle).predict(x[:1]).scores).all()


def test_what_is_missing_is_said(
    small_bundle: Bundle, small_build: Build, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    record = small_build.record
    with pytest.raises(DeviceError, match="cannot be opened"):
        connect("/dev/there-is-no-such-port", small_bundle, small_build)
    with pytest.raises(DeviceError, match="cannot be opened"):
        connect("socket://127.0.0.1:1", small_bundle, small_build)
    board = record.board.model_copy(update={"emulator": None})
    with pytest.raises(BadInputError, match="no emulator"):
        EmulatedBoard(board, small_build.elf)
    assert record.board.emulator is not None
    machine = record.board.emulator.model_copy(update={"machine": "no-such-machine"})
    with pytest.raises(DeviceError, match=r"QEMU exited at once \(.*unsupported machine"):
        EmulatedBoard(record.board.model_copy(update={"emulator": machine}), small_build.elf)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ToolMissingError, match="qemu-system-arm is not installed"):
        EmulatedBoard(record.board, small_build.elf)


def test_an_emulator_ends_with_its_block(small_build: Build) -> None:
    with EmulatedBoard(small_build.record.board, small_build.elf) as emulated:
        os.kill(emulated.process_id, 0)
    with pytest.raises(ProcessLookupError):
        os.kill(emulated.process_id, 0)


STARTS_ONE = """
import sys, threading, time
from pathlib import Path
from tritguard.build import open_build
from tritguard.device.emulators import EmulatedBoard

build, boards = open_build(Path(sys.argv[1])), []
thread = threading.Thread(target=lambda: boards.append(EmulatedBoard(build.record.board, build.elf)))
thread.start()
thread.join()
print(boards[0].process_id, flush=True)
time.sleep(600)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="Linux alone kills it")
def test_an_emulator_ends_with_a_process_that_is_killed(small_build: Build) -> None:
    process = subprocess.Popen([sys.executable, "-c", STARTS_ONE, str(small_build.path)], stdout=subprocess.PIPE)
    assert process.stdout is not None
    emulator = Path("/proc") / process.stdout.readline().decode().strip()

    def runs() -> bool:  # what is dead may wait for its new parent to look at it
        return (emulator / "stat").exists() and (emulator / "stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"

    time.sleep(0.5)
    assert runs(), "the thread that started it has ended"
    process.kill()
    process.communicate()
    deadline = time.monotonic() + 20
    while runs():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_the_link_counts_what_it_sent_again(small_build: Build) -> None:
    lost = iter([True, True, False, False])

    def lose_two(frame: bytes) -> bytes:
        return b"" if len(frame) > 1 and next(lost) else frame

    with (
        EmulatedBoard(small_build.record.board, small_build.elf) as emulated,
        NoisyLine(emulated.url, lose_two, lambda frame: frame) as line,
        Link(SerialLine(line.url, BAUD)) as link,
    ):
        assert link.ask(Request.ECHO, b"x", Patience(0.2)) == b"x"
        assert link.resent == 2
