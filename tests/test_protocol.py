"""The protocol's two implementations: Python's against itself, and the firmware's C, under sanitizers, against it."""

from __future__ import annotations

import random
import struct
import subprocess
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.bench.models import random_net
from tests.support import fuzz
from tests.support.host_firmware import host_firmware as build_host_firmware
from tritguard.device.protocol import (
    ANSWER,
    ERROR,
    VERSION,
    ErrorCode,
    Frame,
    Hello,
    Inference,
    Interrupts,
    MemoryUse,
    PortFacts,
    ProtocolError,
    Receiver,
    Refusal,
    Request,
    Reset,
    TickSource,
    decode,
    encode,
)
from tritguard.emit import Bundle, write_bundle
from tritguard.twin import Twin

pytest_plugins = ("tests.support.device_fixtures",)

frames = st.builds(
    Frame,
    type=st.integers(0, 255),
    sequence=st.integers(0, 2**32 - 1),
    mark=st.integers(0, 2**16 - 1),
    payload=st.one_of(
        st.binary(max_size=600),
        # Long runs are where COBS has its special case.
        st.lists(st.sampled_from([b"\0", b"x" * 253, b"x" * 254, b"x" * 255, b"y"]), max_size=6).map(b"".join),
    ),
)


def received(*chunks: bytes) -> list[Frame | ProtocolError]:
    receiver = Receiver()
    return [item for chunk in chunks for item in receiver.take(chunk)]


@given(st.lists(frames, max_size=4), st.integers(1, 700))
def test_frames_survive_the_line_in_any_pieces(sent: list[Frame], piece: int) -> None:
    line = b"".join(map(encode, sent))
    assert received(*(line[i : i + piece] for i in range(0, len(line), piece))) == sent


@given(frames, st.data())
def test_a_broken_frame_is_never_another_frame(frame: Frame, data: st.DataObject) -> None:
    line = bytearray(encode(frame))
    for _ in range(data.draw(st.integers(1, 3))):
        line[data.draw(st.integers(0, len(line) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(line)))
    for item in received(bytes(line[:cut]), b"\0", bytes(line[cut:])):
        assert isinstance(item, ProtocolError) or item == frame


@given(frames, st.binary(max_size=300))
def test_noise_before_a_frame_does_not_cost_it(frame: Frame, noise: bytes) -> None:
    assert received(noise, encode(frame))[-1] == frame


def test_ten_thousand_random_strings_do_no_harm() -> None:
    rng = random.Random(1)
    receiver = Receiver()
    for _ in range(10_000):
        noise = rng.randbytes(rng.randrange(200))
        list(receiver.take(noise))
        for parse in (Hello.parse, MemoryUse.parse, Refusal.parse, lambda data: Inference.parse(data, 12, 12)):
            try:
                str(parse(noise))
            except ProtocolError:
                continue
    good = Frame(1, 2, b"abc")
    assert list(receiver.take(encode(good)))[-1] == good


def test_endless_noise_without_a_zero_is_forgotten() -> None:
    receiver = Receiver()
    for _ in range(40):
        assert list(receiver.take(b"\1" * 65536)) == []
    assert len(receiver._block) <= 1 << 20


@given(st.binary(min_size=1, max_size=40).filter(lambda block: b"\0" not in block))
def test_decode_knows_no_other_error(block: bytes) -> None:
    with pytest.raises(ProtocolError):
        decode(block)


@pytest.fixture(scope="session")
def host_firmware(small_bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_host_firmware(small_bundle, tmp_path_factory.mktemp("host"), "host_port.c")


def answers(program: Path, line: bytes) -> list[Frame]:
    """What the firmware answers to these bytes; all of it has to be whole."""
    done = subprocess.run([program], input=line, capture_output=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr.decode()
    items = received(done.stdout)
    assert not [item for item in items if isinstance(item, ProtocolError)]
    return [item for item in items if isinstance(item, Frame)]


@pytest.mark.slow
def test_the_c_and_the_python_agree(host_firmware: Path) -> None:
    rng = random.Random(2)
    pieces = [b"\0", b"x" * 253, b"x" * 254, b"\xff", b"ab"]
    payloads = [rng.randbytes(length) for length in range(257)]
    payloads += [b"".join(rng.choices(pieces, k=3))[:256] for _ in range(200)]
    asked = [Frame(Request.ECHO, rng.getrandbits(32), payload) for payload in payloads]
    expected = [Frame(Request.ECHO + ANSWER, frame.sequence, frame.payload) for frame in asked]
    assert answers(host_firmware, b"".join(map(encode, asked))) == expected


def test_every_request_is_answered_as_documented(host_firmware: Path, small_bundle: Bundle) -> None:
    inputs = small_bundle.manifest.input.shape
    size = inputs[0] * inputs[1] * inputs[2]
    hello, infer, memory = answers(
        host_firmware,
        encode(Frame(Request.HELLO, 1))
        + encode(Frame(Request.INFER, 2, bytes(size)))
        + encode(Frame(Request.MEMORY, 3)),
    )
    parsed = Hello.parse(hello.payload)
    assert parsed.model_sha256 == small_bundle.manifest.model_sha256
    assert parsed.build_id == bytes(range(16)).hex()
    assert (parsed.inputs, parsed.outputs, parsed.logits) == (size, 5, 5)
    assert parsed.ring == 1023
    assert parsed.facts == PortFacts(TickSource.MICROSECONDS, Interrupts.MASKED, Reset.PIN, 1_000_000, 4000, "host")
    assert (parsed.board, parsed.engine, parsed.clock_hz, str(parsed.fault)) == ("host", "native", 1_000_000, "none")
    assert Hello.parse(hello.payload + b"a later revision's field") == parsed
    assert Inference.parse(infer.payload, 5, 5).ticks == 0x0123456789ABCDEF
    arena = small_bundle.manifest.arena_with_input
    assert arena is not None and MemoryUse.parse(memory.payload) == MemoryUse(arena, 1, 2, 3)


def test_a_hello_of_an_earlier_revision_says_nothing_of_the_port(host_firmware: Path) -> None:
    (hello,) = answers(host_firmware, encode(Frame(Request.HELLO, 1)))
    whole, engine = Hello.parse(hello.payload), hello.payload.index(b"native") + len("native")
    assert whole.facts.port == "host"
    for end in range(engine, len(hello.payload)):
        assert Hello.parse(hello.payload[:end]).facts == PortFacts()
    later = bytearray(hello.payload)
    later[engine : engine + 3] = b"\x70\x71\x72"  # meanings that a later revision may give
    facts = Hello.parse(bytes(later)).facts
    assert (facts.ticks, facts.interrupts, facts.reset, facts.tick_hz) == (0, 0, 0, 1_000_000)


@pytest.mark.parametrize(
    ("request_frame", "code", "detail"),
    [
        (Frame(Request.HELLO, 7, b"x"), ErrorCode.BAD_LENGTH, 0),
        (Frame(Request.INFER, 7, b"x"), ErrorCode.BAD_LENGTH, 192),
        (Frame(Request.INFER, 7, bytes(193)), ErrorCode.BAD_LENGTH, 192),
        (Frame(Request.MEMORY, 7, b"x"), ErrorCode.BAD_LENGTH, 0),
        (Frame(Request.ECHO, 7, bytes(256), version=1), ErrorCode.BAD_VERSION, VERSION),
        (Frame(99, 7), ErrorCode.UNKNOWN_TYPE, 0),
        (Frame(ERROR, 7), ErrorCode.UNKNOWN_TYPE, 0),
    ],
)
def test_the_firmware_refuses_with_a_code(
    host_firmware: Path, request_frame: Frame, code: ErrorCode, detail: int
) -> None:
    (answer,) = answers(host_firmware, encode(request_frame))
    assert (answer.type, answer.sequence) == (ERROR, 7)
    assert Refusal.parse(answer.payload) == Refusal(code, request_frame.type, detail)


@pytest.mark.parametrize(
    "noise", [b"x", b"\1", b"\xff" * 100, encode(Frame(4, 1, bytes(257))), encode(Frame(4, 1))[:-3]]
)
def test_what_is_no_frame_is_called_broken(host_firmware: Path, noise: bytes) -> None:
    answer, echo = answers(host_firmware, noise + encode(Frame(Request.ECHO, 9, b"still there")))
    assert (answer.type, answer.sequence) == (ERROR, 0)
    assert Refusal.parse(answer.payload).code == ErrorCode.BROKEN_FRAME
    assert echo.payload == b"still there"


def test_ten_thousand_random_strings_do_the_firmware_no_harm(host_firmware: Path) -> None:
    rng = random.Random(3)
    line, expected = b"", []
    valid = [
        encode(Frame(Request.ECHO, 1, bytes(range(1, 100)))),
        encode(Frame(Request.INFER, 1, bytes(192))),
        *(encode(Frame(Request.PART, 1, bytes(64), mark=place)) for place in (0, 2, 4, 5)),
        encode(Frame(Request.RUN, 1, struct.pack("<IHH", zlib.crc32(bytes(192)), 0, 33))),
        encode(Frame(Request.RATE, 1, (921_600).to_bytes(4, "little"))),
    ]
    valid += [block for block in fuzz.corpus() if len(block) > 1]
    for i in range(10_000):
        noise = bytearray(rng.choice((rng.randbytes(rng.randrange(1, 64)), rng.choice(valid))))
        noise[rng.randrange(len(noise))] ^= 1 << rng.randrange(8)  # a good frame, almost
        line += bytes(noise)
        if i % 50 == 0:
            frame = Frame(Request.ECHO, 1_000_000 + i, rng.randbytes(rng.randrange(256)))
            line += encode(frame)
            expected.append(Frame(Request.ECHO + ANSWER, frame.sequence, frame.payload))
    assert [frame for frame in answers(host_firmware, line) if frame.sequence >= 1_000_000] == expected


def over_its_input() -> bytes:
    """A network whose first layers write over its input, of 768 bytes."""
    return random_net((16, 16, 3), [("conv", (3, 3), (1, 1), 4), ("conv", (3, 3), (2, 2), 8)], classes=3)


def of_few_inputs() -> bytes:
    """A network whose input, of 75 bytes, is shorter than a part may be, so that it comes in the small buffer."""
    return random_net((5, 5, 3), [("conv", (3, 3), (1, 1), 40), ("conv", (3, 3), (1, 1), 4)], classes=3)


def asked_whole(sequence: int, x: np.ndarray) -> bytes:
    return encode(Frame(Request.INFER, sequence, x.tobytes()))


def asked_in_parts(sequence: int, x: np.ndarray, answer_bytes: int) -> tuple[bytes, bytes]:
    """The parts of an input, 64 bytes each, and the RUN that asks for all of the answer."""
    data = x.tobytes()
    parts = [encode(Frame(Request.PART, sequence, data[at : at + 64], mark=at // 32)) for at in range(0, len(data), 64)]
    return b"".join(parts), encode(Frame(Request.RUN, sequence, struct.pack("<IHH", zlib.crc32(data), 0, answer_bytes)))


@pytest.mark.slow
@pytest.mark.parametrize(("net", "beside"), [(over_its_input, False), (over_its_input, True), (of_few_inputs, False)])
def test_an_input_that_is_received_in_the_arena_gives_its_own_answer(
    net: Callable[[], bytes], beside: bool, tmp_path: Path
) -> None:
    """In every order of requests: a model writes over its input, and the next request over what it left."""
    bundle = write_bundle(net(), tmp_path / "bundle", name="net")
    program = build_host_firmware(bundle, tmp_path, "host_port.c", beside=beside)
    x = np.random.default_rng(7).integers(-128, 128, (6, *bundle.manifest.input.shape), dtype=np.int8)
    scores, accumulators = Twin(bundle, threads=1).run(x)
    assert accumulators is not None
    size = 8 + 5 * bundle.manifest.output.bytes
    rng, line, expected = random.Random(5), b"", []
    for sequence in range(1, 300):
        which = rng.randrange(len(x))
        parts, run = asked_in_parts(sequence, x[which], size)
        kind, runs = rng.randrange(5), 0
        if kind == 0:  # the answer was lost, and the whole request comes again
            line += asked_whole(sequence, x[which]) * 2
        elif kind == 1:  # the answer was lost: it is kept, and not computed from what is left of the input
            line, runs = line + parts + run * 3, 3
        elif kind == 2:  # another request's memory is that of the parts
            other = encode(Frame(Request.ECHO, 1, rng.randbytes(256)))
            noise = rng.choice((other, other[:-3] + b"\1\0"))
            line, runs = line + parts + noise + run + parts + run, 1
        elif kind == 3:  # another inference is between the parts and their run, of which they all get lost
            line, runs = line + parts + asked_whole(1_000, x[0]) + run + parts + run, 1
        else:
            line += rng.randbytes(rng.randrange(300)) + b"\0" + asked_whole(sequence, x[which])
        expected += [(sequence, which)] * (runs or 1 + (kind == 0))
    given = [frame for frame in answers(program, line) if frame.type in (Request.INFER + ANSWER, Request.RUN + ANSWER)]
    given = [frame for frame in given if frame.sequence < 300]
    assert [frame.sequence for frame in given] == [sequence for sequence, _ in expected]
    for frame, (_, which) in zip(given, expected, strict=True):
        answer = Inference.parse(frame.payload, bundle.manifest.output.bytes, bundle.manifest.output.bytes)
        assert (answer.scores == scores[which].ravel()).all()
        assert (answer.accumulators == accumulators[which].ravel()).all()


@pytest.mark.slow
@pytest.mark.parametrize("net", [over_its_input, of_few_inputs])
def test_the_fuzzer_finds_nothing_where_the_input_lies_in_the_arena(net: Callable[[], bytes], tmp_path: Path) -> None:
    bundle = write_bundle(net(), tmp_path / "bundle", name="net")
    plan = bundle.emission.plan
    assert plan.input is not None and plan.input.room < plan.arena_bytes + bundle.manifest.input.bytes + 268
    program = build_host_firmware(bundle, tmp_path, "fuzz_port.c", traced=True)
    assert fuzz.fuzz(program, 4_000, 2, fuzz.corpus()).edges > 100


@pytest.mark.slow
def test_the_fuzzer_tries_what_is_kept_and_more(small_bundle: Bundle, tmp_path: Path) -> None:
    program, known = build_host_firmware(small_bundle, tmp_path, "fuzz_port.c", traced=True), fuzz.corpus()
    found = fuzz.fuzz(program, len(known) + 1_000, 1, known)
    assert found.blocks == len(known) + 1_000 and found.edges > 100
    assert list(found.kept[: len(known)]) == known
