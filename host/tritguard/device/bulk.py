"""The bulk line to an emulated board: whole packets go into its memory and out of it, through QEMU's GDB stub.

QEMU's UART moves some 20 kB/s. A stop of the core and a few writes take less than a millisecond.
"""

from __future__ import annotations

import socket
import struct
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Self

from elftools.elf.elffile import ELFFile
from typing_extensions import override

from tritguard.device.line import POLL_SECONDS, WRITE_SECONDS, Line, broken
from tritguard.device.protocol import Frame, ProtocolError, pack, unpack
from tritguard.errors import DeviceError

_IDLE_REGISTER = 0xE000ED00  # CPUID, which port_mark_idle reads and nothing else
_MAILBOX = struct.Struct("<II")  # bytes of the request, bytes of the answer
_ROOM = struct.Struct("<II")  # a frame_room_t: address, bytes
# A firmware of a version that received the input in a buffer of its own has request_packet in place of engine_room.
_SYMBOLS = frozenset({"port_mark_idle", "bulk_mailbox", "engine_room", "request_packet", "answer_packet"})
_CHUNK = 1024  # QEMU takes packets of 4,096 characters, two a byte
_AHEAD = 64  # writes whose replies may wait: with a few hundred, QEMU waits for us to read while we wait for it
_IDLE_SECONDS = 0.2


@dataclass(frozen=True)
class Mailbox:
    """Where a firmware keeps what the bulk line needs: (address, size) in bytes."""

    idle: tuple[int, int]
    lengths: tuple[int, int]
    request: tuple[int, int]
    answer: tuple[int, int]

    @classmethod
    def find(cls, elf: Path) -> Self | None:
        """Read the addresses from a firmware's symbols; None if it has no bulk line."""
        with elf.open("rb") as file:
            image = ELFFile(file)
            table = image.get_section_by_name(".symtab")
            if table is None:
                return None
            places = {
                symbol.name: (int(symbol["st_value"]) & ~1, int(symbol["st_size"]))
                for symbol in table.iter_symbols()
                if symbol.name in _SYMBOLS
            }
            if "engine_room" in places:
                places["request_packet"] = _ROOM.unpack(_content(image, *places["engine_room"]))
        found = [places[name] for name in ("port_mark_idle", "bulk_mailbox", "request_packet", "answer_packet")
                 if name in places]  # fmt: skip
        return cls(*found) if len(found) == len(fields(cls)) else None


class BulkLine(Line):
    """The bulk line to a board whose core waits at reset.

    Args:
        connection: connected to QEMU's GDB stub. The line closes it.
        mailbox: where the firmware keeps requests and answers.
        url: names the board in messages.

    Raises:
        DeviceError: QEMU does not answer.
    """

    bulk = True

    def __init__(self, connection: socket.socket, mailbox: Mailbox, url: str) -> None:
        self.url = url
        self._socket = connection
        self._mailbox = mailbox
        self._buffer = b""
        self._received: deque[Frame | ProtocolError] = deque()
        self._resume = "c"
        if self._ask(f"Z3,{_IDLE_REGISTER:x},4") != b"OK":
            raise DeviceError("QEMU sets no watchpoint", where=url)
        self._write("c")
        self._running = True

    @override
    def send(self, frame: Frame) -> None:
        self._wait_for_idle(_IDLE_SECONDS)
        packet = pack(frame)
        if self._running or len(packet) > self._mailbox.request[1]:
            return  # it is lost, as on a UART of a board that is busy or whose buffer is too small
        to = self._mailbox.request[0]
        parts = [(to + at, packet[at : at + _CHUNK]) for at in range(0, len(packet), _CHUNK)]
        parts.append((self._mailbox.lengths[0], _MAILBOX.pack(len(packet), 0)))
        writes = [f"M{address:x},{len(part):x}:{part.hex()}" for address, part in parts]
        while len(writes) > _AHEAD:
            self._write(*writes[:_AHEAD])
            for write in writes[:_AHEAD]:
                if (reply := self._await_reply()) != b"OK":
                    raise broken(self.url, f"QEMU's debugger says {reply!r} to {write[:20]}")
            del writes[:_AHEAD]
        self._write(*writes, self._resume)
        self._running = True

    @override
    def receive(self, seconds: float = POLL_SECONDS) -> Iterator[Frame | ProtocolError]:
        if self._running:
            self._wait_for_idle(seconds)
        elif not self._received:
            time.sleep(seconds)
        while self._received:
            yield self._received.popleft()

    @override
    def end_block(self) -> None:
        """Do nothing: packets in a memory have no ends that could get lost."""

    @override
    def close(self) -> None:
        self._socket.close()

    def _wait_for_idle(self, seconds: float) -> None:
        """Wait until the core stops where it waits for a request, and take the answer that it left."""
        deadline = time.monotonic() + seconds
        while self._running and (left := deadline - time.monotonic()) > 0:
            reply = self._reply(left)
            if reply is not None and reply.startswith(b"T"):
                self._stopped()
            elif reply not in (None, b"OK"):
                raise broken(self.url, f"QEMU's debugger says {reply!r}")

    def _stopped(self) -> None:
        lengths, answer = _reads(*self._mailbox.lengths), _reads(*self._mailbox.answer)
        self._write("g", *lengths, *answer)  # in one go: each exchange with QEMU costs as much as a small inference
        registers = self._registers()
        requested, answered = _MAILBOX.unpack(self._memory(lengths))
        packet = self._memory(answer)
        start, size = self._mailbox.idle
        at_mark = start <= registers[15] < start + size
        # QEMU stops in front of the watched read and would stop there again: go on where the function returns to.
        self._resume = f"c{registers[14]:x}" if at_mark else "c"
        if not at_mark or requested:
            self._write(self._resume)
            return
        self._running = False
        if answered:
            try:
                self._received.append(unpack(packet[:answered]))
            except ProtocolError as error:
                self._received.append(error)

    def _registers(self) -> tuple[int, ...]:
        """Take the reply to "g": the values of r0 to r15."""
        return struct.unpack("<16I", self._hexadecimal("its registers")[: 16 * 4])

    def _memory(self, reads: list[str]) -> bytes:
        """Take the replies to commands that `_reads` made."""
        return b"".join(self._hexadecimal(f"the memory of {read}") for read in reads)

    def _hexadecimal(self, what: str) -> bytes:
        reply = self._await_reply()
        try:
            return bytes.fromhex(reply.decode())
        except ValueError as error:
            raise broken(self.url, f"QEMU's debugger says {reply!r} when asked for {what}") from error

    def _ask(self, command: str) -> bytes:
        self._write(command)
        return self._await_reply()

    def _await_reply(self) -> bytes:
        reply = self._reply(WRITE_SECONDS)
        if reply is None:
            raise broken(self.url, "QEMU's debugger does not answer")
        return reply

    def _write(self, *commands: str) -> None:
        data = b"".join(b"$%b#%02x" % (body, sum(body) & 0xFF) for body in (text.encode() for text in commands))
        try:
            self._socket.settimeout(WRITE_SECONDS)
            self._socket.sendall(data)
        except OSError as error:
            raise broken(self.url, error) from error

    def _reply(self, seconds: float) -> bytes | None:
        """Return the body of the next packet, or None if there is none in this time."""
        deadline = time.monotonic() + seconds
        while (end := self._buffer.find(b"#")) < 0 or len(self._buffer) < end + 3:
            left = deadline - time.monotonic()
            if left <= 0:
                return None
            try:
                self._socket.settimeout(left)
                received = self._socket.recv(1 << 16)
            except TimeoutError:
                return None
            except OSError as error:
                raise broken(self.url, error) from error
            if not received:
                raise broken(self.url, "the emulator ended")
            self._buffer += received
        body, self._buffer = self._buffer[:end], self._buffer[end + 3 :]
        return body[body.index(b"$") + 1 :] if b"$" in body else b""


def _content(image: ELFFile, address: int, size: int) -> bytes:
    """The bytes that an ELF has at an address; nothing if it has none there."""
    for segment in image.iter_segments("PT_LOAD"):
        at = address - int(segment["p_vaddr"])
        if at >= 0 and at + size <= segment["p_filesz"]:
            return bytes(segment.data()[at : at + size])
    return b""


def _reads(address: int, size: int) -> list[str]:
    """Return the commands that read memory, in parts that QEMU can send."""
    end = address + size
    return [f"m{place:x},{min(_CHUNK, end - place):x}" for place in range(address, end, _CHUNK)]
