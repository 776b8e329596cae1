"""Encodes and decodes the serial protocol of docs/serial-protocol.md, with pure functions that use no port or clock."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import TypeVar

import numpy as np
from cobs import cobs
from numpy.typing import NDArray

from tritguard.predictor import Int8

VERSION = 2
ANSWER = 0x80
ERROR = 0xFF

_HEADER = struct.Struct("<BBHI")  # version, type, mark, sequence
_CRC = struct.Struct("<I")
MARKS = 1 << 16
_TICKS = 1 << 63  # an inference has fewer, which int64 holds
PLACE_BYTES = 32  # an input that comes in parts is counted in these
PART_BYTES_MAX = 128
_LONGEST_BLOCK = 1 << 20  # no board sends more; this bounds how much noise without a zero byte is kept


class Request(IntEnum):
    """The requests of a host. The type of an answer is the type of its request plus ANSWER."""

    HELLO = 1
    INFER = 2
    MEMORY = 3
    ECHO = 4
    PROFILE = 5
    PART = 6
    RUN = 7
    RATE = 8
    RESET = 9


class ErrorCode(IntEnum):
    """Why a board refused a request."""

    BROKEN_FRAME = 1
    BAD_VERSION = 2
    UNKNOWN_TYPE = 3
    BAD_LENGTH = 4
    ENGINE_FAILED = 5
    BAD_PLACE = 6
    BAD_RATE = 7
    BAD_ORDER = 8


_HARD_FAULT = 3
_WATCHDOG = 257
_ESCALATED = ((0x000000FF, "memory fault"), (0x0000FF00, "bus fault"), (0xFFFF0000, "usage fault"))
_FAULTS = {
    2: "NMI", 3: "hard fault", 4: "memory fault", 5: "bus fault", 6: "usage fault", 256: "stack overflow",
    257: "an inference without end, stopped by the watchdog",
}  # fmt: skip


class ProtocolError(ValueError):
    """Raised for bytes that do not follow the protocol. The message has no full stop."""


@dataclass(frozen=True)
class Frame:
    """One packet. `type` is in 0..255, `sequence` in 0..2**32 - 1, and `mark`, which answers repeat, in 0..65535."""

    type: int
    sequence: int
    payload: bytes = b""
    version: int = VERSION
    mark: int = 0


def wire_bytes(payload: int) -> int:
    """How many bytes a frame takes on the wire at most, zeros included, for `payload` bytes of payload."""
    packet = _HEADER.size + payload + _CRC.size
    return packet + packet // 254 + 1 + 2


def pack(frame: Frame) -> bytes:
    """Return the packet of a frame, with its CRC."""
    packet = _HEADER.pack(frame.version, frame.type, frame.mark, frame.sequence) + frame.payload
    return packet + _CRC.pack(zlib.crc32(packet))


def unpack(packet: bytes) -> Frame:
    """Check and read a packet.

    Raises:
        ProtocolError: the packet is too short or broken.
    """
    if len(packet) < _HEADER.size + _CRC.size:
        raise ProtocolError("shorter than a header")
    body = packet[: -_CRC.size]
    if zlib.crc32(body) != _CRC.unpack(packet[-_CRC.size :])[0]:
        raise ProtocolError("wrong CRC")
    version, kind, mark, sequence = _HEADER.unpack_from(body)
    return Frame(kind, sequence, bytes(body[_HEADER.size :]), version, mark)


def encode(frame: Frame) -> bytes:
    """Return the bytes of a frame on the wire, including the zeros before and after it."""
    stuffed: bytes = cobs.encode(pack(frame))
    return b"\0" + stuffed + b"\0"


def decode(block: bytes) -> Frame:
    """Decode a non-empty block, that is, the bytes between two zeros.

    Raises:
        ProtocolError: the block is not a valid frame.
    """
    try:
        packet = cobs.decode(block)
    except cobs.DecodeError as error:
        raise ProtocolError("the byte stuffing is broken") from error
    return unpack(packet)


class Receiver:
    """Cuts a stream of received bytes into frames."""

    def __init__(self) -> None:
        self._block = bytearray()

    def take(self, received: bytes) -> Iterator[Frame | ProtocolError]:
        """Yield the frames that these bytes complete, and an error for each block that is not a valid frame."""
        first, *rest = received.split(b"\0")
        self._extend(first)
        for part in rest:
            block = bytes(self._block)
            self._block.clear()
            self._extend(part)
            if block:
                try:
                    yield decode(block)
                except ProtocolError as error:
                    yield error

    @property
    def unfinished(self) -> bool:
        """Whether a block has begun and its end is still to come."""
        return bool(self._block)

    def forget(self) -> None:
        """Forget the block that has begun."""
        self._block.clear()

    def _extend(self, part: bytes) -> None:
        self._block += part
        del self._block[_LONGEST_BLOCK:]


@dataclass(frozen=True)
class Fault:
    """Why a board last reset itself; see HELLO in docs/serial-protocol.md.

    Attributes:
        count: how many faults reset it since power-up.
        cause: 0 if there was none, 2 to 6 for an Arm exception number, 256 for a stack overflow, 257 for an inference
            that the watchdog ended.
        pc: the program counter at the fault, in the board's address space; 0 if it is not known.
        status: the core's CFSR register at the fault.
        address: the core's BFAR register at the fault, meaningful if CFSR says so.
    """

    count: int
    cause: int
    pc: int
    status: int
    address: int

    def __str__(self) -> str:
        if self.cause == 0:
            return "none"
        name = _FAULTS.get(self.cause, f"exception {self.cause}")
        if self.cause == _HARD_FAULT and self.status:  # a fault whose own handler is off becomes a hard fault
            name = next(kind for mask, kind in _ESCALATED if self.status & mask)
        place = f" at {self.pc:#010x}" if self.pc else ""
        if self.cause == _WATCHDOG:  # nothing faulted, so the fault's registers say nothing
            return f"{name}{place}"
        return f"{name}{place} (CFSR {self.status:#010x}, BFAR {self.address:#010x})"


class TickSource(IntEnum):
    """What counts the ticks of an inference on a board."""

    UNKNOWN = 0
    SYSTICK = 1
    CYCLE_COUNTER = 2
    MICROSECONDS = 3

    @property
    def is_cycles(self) -> bool:
        """Whether a tick is a cycle of the core, on a real board."""
        return self in (TickSource.SYSTICK, TickSource.CYCLE_COUNTER)


class Interrupts(IntEnum):
    """Which interrupts run while the model does."""

    UNKNOWN = 0
    TAKEN_OFF = 1
    MASKED = 2
    COUNTED = 3


class Reset(IntEnum):
    """What the last reset of a board came from."""

    UNKNOWN = 0
    POWER = 1
    PIN = 2
    SOFTWARE = 3
    WATCHDOG = 4
    FAULT = 5


_TICK_WORDS = {
    TickSource.UNKNOWN: "a source not told",
    TickSource.SYSTICK: "SysTick",
    TickSource.CYCLE_COUNTER: "the cycle counter",
    TickSource.MICROSECONDS: "the framework's microseconds",
}
_INTERRUPT_WORDS = {
    Interrupts.UNKNOWN: "interrupts not told of",
    Interrupts.TAKEN_OFF: "the line's interrupts taken off them",
    Interrupts.MASKED: "the framework's interrupts masked while the model runs",
    Interrupts.COUNTED: "with the framework's interrupts in them",
}
_RESET_WORDS = {
    Reset.UNKNOWN: "a cause not known",
    Reset.POWER: "power",
    Reset.PIN: "the reset pin",
    Reset.SOFTWARE: "software",
    Reset.WATCHDOG: "the chip's watchdog",
    Reset.FAULT: "a fault",
}


@dataclass(frozen=True)
class PortFacts:
    """How a board measures time and what it came up from; see HELLO in docs/serial-protocol.md.

    Attributes:
        ticks: what counts the ticks.
        interrupts: which interrupts run while the model does.
        reset: what the last reset came from.
        tick_hz: ticks a second; 0: not told.
        watchdog_ms: an inference that takes longer, in milliseconds, becomes a fault; 0: nothing ends one.
        port: the firmware's port, a folder in firmware/port.
    """

    ticks: TickSource = TickSource.UNKNOWN
    interrupts: Interrupts = Interrupts.UNKNOWN
    reset: Reset = Reset.UNKNOWN
    tick_hz: int = 0
    watchdog_ms: int = 0
    port: str = ""

    _FIXED = struct.Struct("<3B2I")

    def __str__(self) -> str:
        watchdog = f"after {self.watchdog_ms / 1000:g} s" if self.watchdog_ms else "none"
        return (
            f"ticks by {_TICK_WORDS[self.ticks]}{f' at {self.tick_hz:,} Hz' if self.tick_hz else ''}, "
            f"{_INTERRUPT_WORDS[self.interrupts]}, last reset by {_RESET_WORDS[self.reset]}, watchdog {watchdog}"
        )

    @classmethod
    def parse(cls, rest: bytes) -> PortFacts:
        """Read what follows the engine in a HELLO; a firmware of an earlier revision says nothing there.

        Raises:
            ProtocolError: the port's name is not printable ASCII.
        """
        if len(rest) <= cls._FIXED.size:
            return cls()
        ticks, interrupts, reset, tick_hz, watchdog_ms = cls._FIXED.unpack_from(rest)
        try:
            port, _later = _text(rest[cls._FIXED.size :])
        except IndexError:
            return cls()
        return cls(
            _known(TickSource, ticks), _known(Interrupts, interrupts), _known(Reset, reset), tick_hz, watchdog_ms, port
        )


_E = TypeVar("_E", bound=IntEnum)


def _known(kind: type[_E], number: int) -> _E:
    """The member of this number; that of 0, unknown, for one that a later revision may have given a meaning."""
    return kind(number if number in kind._value2member_map_ else 0)


@dataclass(frozen=True)
class Hello:
    """How a board identifies itself.

    Hashes and ids are in hex, `inputs`, `outputs` and `logits` in elements, `longest_payload` in bytes;
    `ring` is how many received bytes the board keeps while it computes.
    """

    build_id: str
    model_sha256: str
    inputs: int
    outputs: int
    logits: int
    longest_payload: int
    clock_hz: int
    fault: Fault
    ring: int
    board: str
    engine: str
    facts: PortFacts = PortFacts()

    _FIXED = struct.Struct("<16s32s11I")

    @classmethod
    def parse(cls, payload: bytes) -> Hello:
        """Read an answer's payload; bytes after the known fields come from a later revision and are ignored.

        Raises:
            ProtocolError: the payload is too short, or a text in it is not printable ASCII.
        """
        try:
            build_id, model, inputs, outputs, logits, longest, clock, *fault, ring = cls._FIXED.unpack_from(payload)
            board, rest = _text(payload[cls._FIXED.size :])
            engine, rest = _text(rest)
        except (struct.error, IndexError) as error:
            raise ProtocolError(f"a HELLO of {len(payload)} bytes is too short") from error
        return cls(
            build_id.hex(), model.hex(), inputs, outputs, logits, longest, clock, Fault(*fault), ring, board, engine,
            PortFacts.parse(rest),
        )  # fmt: skip


def _text(data: bytes) -> tuple[str, bytes]:
    end = 1 + data[0]
    if end > len(data):
        raise IndexError
    text = data[1:end].decode("ascii", "replace")
    if not (text.isascii() and text.isprintable()):
        raise ProtocolError("a text in HELLO is not printable ASCII")
    return text, data[end:]


@dataclass(frozen=True)
class MemoryUse:
    """RAM in bytes.

    Attributes:
        arena: the activations.
        static: everything but the stack, including the arena.
        stack_reserved: the size of the stack.
        stack_peak: the deepest use of the stack since reset.
    """

    arena: int
    static: int
    stack_reserved: int
    stack_peak: int

    @classmethod
    def parse(cls, payload: bytes) -> MemoryUse:
        """Read an answer's payload.

        Raises:
            ProtocolError: the payload has the wrong length.
        """
        if len(payload) != 16:
            raise ProtocolError(f"a MEMORY answer has {len(payload)} bytes instead of 16")
        return cls(*struct.unpack("<4I", payload))


@dataclass(frozen=True)
class Parts:
    """What a board has of an input that comes in parts.

    Attributes:
        first: the first place that the answer tells about; all before it are there.
        there: which places are there, from `first` on; the answer tells nothing about those behind them.
    """

    first: int
    there: tuple[bool, ...]

    @classmethod
    def parse(cls, payload: bytes) -> Parts:
        """Read the payload of the answer to a RUN whose input is not complete yet, or complete and about to run.

        Raises:
            ProtocolError: the payload is too short.
        """
        if len(payload) < 4:
            raise ProtocolError(f"a PART answer has {len(payload)} bytes")
        bits = np.unpackbits(np.frombuffer(payload, np.uint8, offset=4), bitorder="little")
        return cls(struct.unpack_from("<I", payload)[0], tuple(bits.astype(bool).tolist()))


@dataclass(frozen=True)
class Inference:
    """The result of one inference: int8[k] scores, int32[m] accumulators, and its time in ticks."""

    scores: Int8
    accumulators: NDArray[np.int32]
    ticks: int

    @classmethod
    def parse(cls, payload: bytes, outputs: int, logits: int) -> Inference:
        """Read an answer's payload.

        Raises:
            ProtocolError: the payload has the wrong length, or no inference takes such a time.
        """
        if len(payload) != 8 + 4 * logits + outputs:
            raise ProtocolError(
                f"an INFER answer of {len(payload)} bytes does not fit {outputs} outputs and {logits} logits"
            )
        (ticks,) = struct.unpack_from("<Q", payload)
        _check_time(ticks)
        accumulators = np.frombuffer(payload, "<i4", logits, 8).astype(np.int32)
        return cls(np.frombuffer(payload, np.int8, outputs, 8 + 4 * logits), accumulators, ticks)


def _check_time(ticks: int) -> None:
    if not 0 < ticks < _TICKS:
        raise ProtocolError(f"an inference of {ticks:,} ticks")


@dataclass(frozen=True)
class LayerTicks:
    """Where the time of one inference went, in ticks, without the time that measuring took.

    Attributes:
        outside: the time outside all layers.
        layers: int64[layers], the time of each layer by its index in the bundle.
    """

    outside: int
    layers: NDArray[np.int64]

    @classmethod
    def parse(cls, payload: bytes, layers: int) -> LayerTicks:
        """Read an answer's payload.

        Raises:
            ProtocolError: the payload has the wrong length, or no inference takes such a time.
        """
        if len(payload) != 8 * (1 + layers):
            raise ProtocolError(f"a PROFILE answer of {len(payload)} bytes does not fit {layers} layers")
        ticks = struct.unpack(f"<{1 + layers}Q", payload)
        _check_time(sum(ticks))
        return cls(ticks[0], np.array(ticks[1:], dtype=np.int64))


@dataclass(frozen=True)
class Refusal:
    """An error answer: its code, the type of the refused request, and a detail whose meaning depends on the code."""

    code: int
    request: int
    detail: int

    def __str__(self) -> str:
        words: dict[int, str] = {
            ErrorCode.BROKEN_FRAME: "it received a broken frame",
            ErrorCode.BAD_VERSION: f"it speaks protocol version {self.detail}, this is version {VERSION}",
            ErrorCode.UNKNOWN_TYPE: f"it does not know request {self.request}",
            ErrorCode.BAD_LENGTH: f"request {self.request} has the wrong length, the right one is {self.detail}",
            ErrorCode.ENGINE_FAILED: f"its engine could not run the model (the engine's error number: {self.detail})",
            ErrorCode.BAD_PLACE: f"a part does not lie in the input, which has {self.detail} places",
            ErrorCode.BAD_ORDER: f"its stream goes on with frame {self.detail}; was it reset in between?",
            ErrorCode.BAD_RATE: f"its line has no such rate; it began with {self.detail} Bd",
        }
        return words.get(self.code, f"it gave the unknown error code {self.code}")

    @classmethod
    def parse(cls, payload: bytes) -> Refusal:
        """Read an error answer's payload.

        Raises:
            ProtocolError: the payload has the wrong length.
        """
        if len(payload) != 8:
            raise ProtocolError(f"an error answer has {len(payload)} bytes instead of 8")
        code, request, _reserved, detail = struct.unpack("<BBHI", payload)
        return cls(code, request, detail)
