"""The real line: a modelled one with rate, latency and noise, and the firmware's own C at its end, under sanitizers."""

from __future__ import annotations

import os
import random
import struct
import sys
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typing_extensions import override

from tests.bench.reliability import CASES, QUIET, measure
from tests.support.host_firmware import host_firmware
from tests.support.known_models import image_model
from tests.support.modelled_line import ModelledLine, Weather
from tritguard.device.greeting import greet
from tritguard.device.inferences import Inferences
from tritguard.device.line import NoAnswerError, SerialLine
from tritguard.device.link import Link, Patience
from tritguard.device.noise import Noise
from tritguard.device.parts import PartsLink
from tritguard.device.protocol import ANSWER, Frame, Inference, Parts, Request, encode
from tritguard.device.rate import Rate, call_back
from tritguard.emit import Bundle, write_bundle
from tritguard.errors import DeviceError
from tritguard.twin import Twin

RATES = (3_000_000, 2_000_000)
START = 921_600


@pytest.fixture(scope="module")
def image_bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return write_bundle(image_model(), tmp_path_factory.mktemp("image") / "bundle", name="image")


@pytest.fixture(scope="module")
def program(image_bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return host_firmware(image_bundle, tmp_path_factory.mktemp("firmware"), "modelled_port.c")


@pytest.fixture(scope="module")
def quiet_seconds(program: Path, image_bundle: Bundle) -> float:
    found = measure(program, image_bundle, Weather(), 60)
    assert (found.wrong, found.resent, found.computed) == (0, 0, 60)
    assert found.used >= 0.95 - 0.034 / (60 * 0.04), "but for the first transfer, which nothing overlaps"
    return found.seconds


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(case, marks=[pytest.mark.slow] if case.name.endswith("of bytes broken") else [], id=case.name)
        for case in CASES
        if case.name != QUIET
    ],
)
def test_every_answer_is_right_and_the_slowdown_is_bounded(
    case: object, program: Path, image_bundle: Bundle, quiet_seconds: float
) -> None:
    assert isinstance(case, type(CASES[0]))
    count = 30 if case.slower is not None else 15
    found = measure(program, image_bundle, case.weather, count)
    assert found.wrong == 0
    assert found.computed >= count
    if case.slower is not None:
        assert found.seconds <= case.slower * quiet_seconds


@pytest.mark.parametrize("ring", [1023, 64])
def test_a_board_with_little_memory_is_not_sent_more_than_it_keeps(
    ring: int, program: Path, image_bundle: Bundle
) -> None:
    found = measure(program, image_bundle, Weather(), 10, ring=ring)
    assert (found.wrong, found.resent, found.computed) == (0, 0, 10)
    noisy = measure(program, image_bundle, Weather(broken=lambda _: 0.01), 5, ring=max(ring, 1023))
    assert noisy.wrong == 0


def _line(program: Path, weather: Weather | None = None) -> tuple[ModelledLine, Link]:
    line = ModelledLine(program, baud=START, weather=weather)
    return line, Link(line)


def test_the_fastest_rate_that_works_is_taken(program: Path) -> None:
    for broken, taken in (({}, 3_000_000), ({3_000_000: 0.01}, 2_000_000), ({3_000_000: 0.5, 2_000_000: 0.5}, START)):
        line, link = _line(program, Weather(broken=lambda baud, broken=broken: broken.get(baud, 0.0)))
        with line:
            greet(link)
            rate = Rate(link, line, START, RATES)
            rate.rise()
            assert rate.baud == line.baud == line.board_baud == taken
            assert link.ask(Request.ECHO, b"there") == b"there"


def test_errors_lower_the_rate_before_inputs_are_split(program: Path, image_bundle: Bundle) -> None:
    x = np.random.default_rng(2).integers(-128, 128, (30, 32, 32, 3), dtype=np.int8)
    twin = Twin(image_bundle).predict(x)
    noisy = [False]
    line, link = _line(program, Weather(broken=lambda baud: 0.002 if noisy[0] and baud == 3_000_000 else 0.0))
    with line:
        hello = greet(link)
        rate = Rate(link, line, START, RATES)
        rate.rise()
        assert rate.baud == 3_000_000
        noisy[0] = True
        inferences = Inferences(link, rate, hello.ring, 58, lambda: 0.3, lambda: None)
        for i, payload in inferences.run([sample.tobytes() for sample in x]):
            assert (Inference.parse(payload, 10, 10).scores == twin.scores[i]).all()
        assert rate.baud == line.board_baud == 2_000_000
        assert not inferences._noise.favours_parts(3072)


def test_what_a_board_still_says_about_noise_is_no_fault_of_the_faster_rate(program: Path) -> None:
    line, link = _line(program)
    with line:
        greet(link)
        call_back(line)
        rate = Rate(link, line, START, RATES)
        rate.rise()
        assert rate.baud == 3_000_000


class _Meddled(ModelledLine):
    """A modelled line on which `meddle` gets each frame to the board, and gives what is sent instead."""

    meddle: Callable[[Frame], list[Frame]]

    @override
    def send(self, frame: Frame) -> None:
        for changed in self.meddle(frame):
            super().send(changed)


def test_a_slow_board_that_still_computes_is_waited_for_when_the_rate_falls(program: Path) -> None:
    inferences_sent = [0]

    def break_the_second(frame: Frame) -> list[Frame]:
        inferences_sent[0] += frame.type == Request.INFER
        if frame.type == Request.INFER and inferences_sent[0] == 2:
            line.write(b"\x55\0")
            return []
        return [frame]

    with _Meddled(program, compute=5.0) as line:
        line.meddle = break_the_second
        link = Link(line)
        hello = greet(link)
        rate = Rate(link, line, START, RATES)
        rate.rise()
        inferences = Inferences(link, rate, hello.ring, 58, lambda: 6.0, lambda: None)
        assert len(list(inferences.run([bytes([i]) * 3072 for i in range(5)]))) == 5
        assert rate.baud == line.board_baud == 2_000_000


def test_silence_after_an_answer_is_silence(program: Path) -> None:
    sent, silences = list[Frame](), list[int]()

    def lose_the_second(frame: Frame) -> list[Frame]:
        sent.append(frame)
        return [] if len(sent) == 2 else [frame]

    with _Meddled(program) as line:
        line.meddle = lose_the_second
        asked = Link(line).ask_all(
            Request.ECHO, [b"a", b"b", b"c"], Patience, on_silence=lambda: silences.append(len(sent))
        )
        assert list(asked) == [(0, b"a"), (1, b"b"), (2, b"c")]
    assert silences == [2]


def test_a_caller_that_takes_its_time_costs_no_answer(program: Path) -> None:
    line, link = _line(program)
    with line:
        for _ in link.ask_all(Request.ECHO, [b"a", b"b", b"c", b"d"], Patience, ahead=1000):
            line.pause(100.0)
    assert link.resent == 0


@pytest.mark.parametrize("trouble", ["stray", "late"])
def test_a_board_that_keeps_nothing_is_left_alone_while_it_computes(
    trouble: str, program: Path, image_bundle: Bundle
) -> None:
    """An emulated board's ticks count what it receives."""
    sample = np.zeros(image_bundle.manifest.input.shape, np.int8).tobytes()
    line = _Meddled(program, compute=0.4)
    line.meddle = lambda frame: [frame]
    with line:
        link = Link(line)
        greet(link)
        inferences = Inferences(link, Rate(link, line, START, ()), 0, 58, lambda: 0.02, lambda: None)
        if trouble == "stray":
            inferences._slowest = 0.4
            line.write(b"\x55\0")
        bytes_before = line.to_board.bytes_sent
        ((_, answer),) = inferences.run([sample])
        assert len(answer) == 58
        assert (link.resent, line.computed) == (0, 1)
        assert line.to_board.bytes_sent - bytes_before == len(encode(Frame(Request.INFER, 0, sample)))


def test_an_input_that_the_board_never_has_right_is_given_up(program: Path) -> None:
    def with_another_crc(frame: Frame) -> list[Frame]:
        crc = bytes(byte ^ 0xFF for byte in frame.payload[:4])
        return [replace(frame, payload=crc + frame.payload[4:]) if frame.type == Request.RUN else frame]

    with _Meddled(program) as line:
        line.meddle = with_another_crc
        parts = PartsLink(Link(line), Noise(), 58, lambda: 10 / START, Patience, lambda: None)
        with pytest.raises(DeviceError, match="the board lost an input several times"):
            list(parts.ask_all([random.Random(1).randbytes(3072)], 4000))


def test_an_answer_that_pieces_cannot_name_goes_whole(program: Path) -> None:
    line, link = _line(program)
    with line:
        inferences = Inferences(link, Rate(link, line, START, ()), 4000, 70_000, lambda: 0.3, lambda: None)
        for _ in range(99):
            inferences._noise.learn(3000, lost=True)
        ((_, answer),) = inferences.run([bytes(3072)])
        assert len(answer) == 58


def test_a_board_that_was_reset_is_found_at_the_rate_of_its_start(program: Path) -> None:
    line, link = _line(program)
    with line:
        greet(link)
        rate = Rate(link, line, START, RATES)
        rate.rise()
        line.reset_board()
        with pytest.raises(NoAnswerError):
            link.ask(Request.ECHO, b"x", Patience(0.1, 2))
        rate.start_again()
        assert rate.baud == line.board_baud == START
        assert greet(link).board == "host"


def test_a_session_finds_a_board_that_the_one_before_left_at_another_rate(program: Path) -> None:
    line, link = _line(program)
    with line:
        greet(link)
        Rate(link, line, START, RATES).rise()
        line.set_rate(START)
        assert greet(Link(line), lambda: call_back(line)).board == "host"
        assert line.board_baud == START


def test_a_rate_that_the_board_lacks_is_refused(program: Path) -> None:
    line, link = _line(program)
    with line, pytest.raises(DeviceError, match="no such rate; it began with 921600"):
        link.ask(Request.RATE, (1_000_000).to_bytes(4, "little"))


def _parts(sequence: int, data: bytes, size: int = 64) -> list[Frame]:
    return [Frame(Request.PART, sequence, data[at : at + size], mark=at // 32) for at in range(0, len(data), size)]


def _run(sequence: int, data: bytes, mark: int = 0, piece: tuple[int, int] = (0, 58)) -> Frame:
    return Frame(Request.RUN, sequence, struct.pack("<IHH", zlib.crc32(data), *piece), mark=mark)


def _said(line: ModelledLine, *frames: Frame) -> list[Frame]:
    for frame in frames:
        line.send(frame)
    items, end = list[Frame](), line.now() + 0.4
    while line.now() < end:
        items += [item for item in line.receive() if isinstance(item, Frame)]
    return items


def test_an_input_in_parts_runs_once_and_never_with_a_part_missing(program: Path, image_bundle: Bundle) -> None:
    rng = random.Random(6)
    data, other = rng.randbytes(3072), rng.randbytes(3072)
    right = Twin(image_bundle).predict(np.frombuffer(data, np.int8).reshape(1, 32, 32, 3)).scores[0]
    line, _ = _line(program)
    with line:
        parts = _parts(7, data)
        (state,) = _said(line, *parts[:5], *parts[6:], _run(7, data, mark=3))
        told = Parts.parse(state.payload)
        assert (state.type, state.sequence, state.mark) == (Request.PART + ANSWER, 7, 3)
        assert (told.first, [8 + i for i, there in enumerate(told.there[:88]) if not there]) == (8, [10, 11])
        assert _said(line, *_parts(8, other)) == [], "another input's parts are dropped while one is not complete"
        complete, answer = _said(line, parts[5], _run(7, data, mark=4))
        assert Parts.parse(complete.payload) == Parts(96, ())
        assert (Inference.parse(answer.payload, 10, 10).scores == right).all()
        assert line.computed == 1
        (again,) = _said(line, _run(7, data, mark=5))
        assert (again.payload, again.mark, line.computed) == (answer.payload, 5, 1)
        (piece,) = _said(line, _run(7, data, piece=(8, 12)))
        assert piece.payload == answer.payload[8:20]
        (wrong,) = _said(line, *_parts(9, other), _run(9, data))
        assert Parts.parse(wrong.payload).first == 0 and line.computed == 1, "the CRC is that of another input"


def test_whole_inputs_and_parts_do_not_mix(program: Path, image_bundle: Bundle) -> None:
    rng = random.Random(7)
    data, other = rng.randbytes(3072), rng.randbytes(3072)
    line, link = _line(program)
    with line:
        assert _said(line, *_parts(7, data)) == []
        first = link.ask(Request.INFER, other)
        state, *_ = _said(line, _run(7, data))
        assert Parts.parse(state.payload).first == 0, "the whole input lies where the parts lay"
        assert link.ask(Request.INFER, other) == first


@pytest.mark.parametrize("place", [(96, b"x" * 32), (95, b"x" * 64), (0, b""), (0, b"x" * 33), (0, b"x" * 160)])
def test_a_part_that_does_not_lie_in_the_input_is_refused(place: tuple[int, bytes], program: Path) -> None:
    line, _ = _line(program)
    with line:
        (refused,) = _said(line, Frame(Request.PART, 7, place[1], mark=place[0]))
        assert refused.payload[0] == 6


def test_random_requests_in_any_order_do_the_firmware_no_harm(program: Path, image_bundle: Bundle) -> None:
    rng = random.Random(8)
    inputs = [rng.randbytes(3072) for _ in range(3)]
    x = np.stack([np.frombuffer(data, np.int8).reshape(32, 32, 3) for data in inputs])
    scores = [row.tobytes() for row in Twin(image_bundle).predict(x).scores]
    kinds: list[Request] = [Request.PART] * 8 + [Request.RUN, Request.RUN, Request.INFER, Request.RATE, Request.ECHO]
    line, link = _line(program)
    with line:
        for _ in range(300):
            which, kind = rng.randrange(3), rng.choice(kinds)
            data = inputs[which]
            frames = {
                Request.PART: [Frame(kind, which, rng.randbytes(rng.choice((32, 64, 7))), mark=rng.randrange(100))],
                Request.RUN: [_run(which, data, mark=rng.randrange(99), piece=(rng.randrange(60), rng.randrange(60)))],
                Request.RATE: [Frame(kind, which, rng.randbytes(4))],
            }.get(kind, [*_parts(which, data), _run(which, data)])
            for answer in _said(line, *frames):
                if answer.type == Request.RUN + ANSWER and len(answer.payload) == 58:
                    assert answer.payload[48:] == scores[answer.sequence], "a wrong answer"
        assert link.ask(Request.ECHO, b"still there") == b"still there"


def test_noise_is_estimated_from_what_arrives() -> None:
    noise, rng = Noise(), random.Random(9)
    assert not any(noise.favours_parts(payload) for payload in (10, 32, 100, 127, 129, 3072))
    for share in (0.001, 0.01, 0.03):
        for _ in range(3000):
            noise.learn(47, lost=rng.random() > (1 - share) ** 47)
        assert noise.share == pytest.approx(share, rel=0.5)
        assert noise.favours_parts(3072)
        assert [noise.favours_parts(payload) for payload in (1, 32, 33, 100)] == [
            False,
            False,
            share > 0.01,
            share > 0.001,
        ]
    for _ in range(200):
        noise.learn(3100, lost=False)
    assert not noise.favours_parts(3072)


@pytest.mark.skipif(sys.platform != "linux", reason="needs a pseudo-terminal that keeps a rate")
def test_a_serial_port_goes_to_another_rate() -> None:
    import termios  # noqa: PLC0415 - not on every system

    host, board = os.openpty()
    line = SerialLine(os.ttyname(board), START)
    try:
        assert line.has_rate
        for baud in (2_000_000, START):
            line.set_rate(baud)
            assert termios.tcgetattr(board)[4:6] == [getattr(termios, f"B{baud}")] * 2
        line.write(b"to the board")
        assert os.read(host, 100) == b"to the board"
    finally:
        line.close()
        os.close(host)
        os.close(board)
