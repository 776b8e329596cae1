"""tritguard monitor: shows the frames on a serial line."""

from __future__ import annotations

import secrets
import time
from typing import Annotated

import typer

from tritguard.cli.terminal import console, say
from tritguard.device.line import SerialLine
from tritguard.device.protocol import (
    ANSWER,
    ERROR,
    Frame,
    Hello,
    MemoryUse,
    ProtocolError,
    Refusal,
    Request,
)

_ASK_SECONDS = 1.0


def command(
    port: Annotated[str, typer.Argument(help="Serial port, in any form that pyserial opens.")],
    baud: Annotated[int, typer.Option(min=1, help="Bits per second; USB and sockets ignore it.")] = 115_200,
    listen: Annotated[
        bool, typer.Option("--listen", help="Send nothing; otherwise HELLO and MEMORY are asked every second.")
    ] = False,
    seconds: Annotated[float | None, typer.Option(min=0, help="End after this time; by default at Ctrl-C.")] = None,
) -> None:
    """Show each frame that a board sends, decoded, with the time since the start."""
    line = SerialLine(port, baud)
    say(f"listening at {port}; Ctrl-C ends it")
    try:
        _watch(line, not listen, seconds)
    except KeyboardInterrupt:
        console.print("stopped")
    finally:
        line.close()


def _watch(line: SerialLine, ask: bool, seconds: float | None) -> None:
    start = asked = time.monotonic()
    sequence = secrets.randbelow(1 << 16)
    due = True
    while seconds is None or time.monotonic() - start < seconds:
        if ask and (due or time.monotonic() - asked > _ASK_SECONDS):
            asked, due = time.monotonic(), False
            for request in (Request.HELLO, Request.MEMORY):
                sequence += 1
                line.send(Frame(request, sequence, b""))
        for item in line.receive():
            say(f"{time.monotonic() - start:9.3f} s  {in_words(item)}")


def in_words(item: Frame | ProtocolError) -> str:
    """Describe what a board sent, in one line."""
    if isinstance(item, ProtocolError):
        return f"no frame: {item}"
    try:
        return f"#{item.sequence} {_content(item)}"
    except ProtocolError as error:
        return f"#{item.sequence} type {item.type:#04x}, {len(item.payload)} B: {error}"


def _content(frame: Frame) -> str:
    if frame.type == ERROR:
        return f"ERROR: {Refusal.parse(frame.payload)}"
    if frame.type == Request.HELLO + ANSWER:
        hello = Hello.parse(frame.payload)
        return (
            f"HELLO: {hello.board}, {hello.engine} engine, {hello.clock_hz / 1e6:g} MHz, build {hello.build_id}, "
            f"model {hello.model_sha256[:12]}, {hello.inputs} inputs, {hello.outputs} outputs, {hello.logits} logits, "
            f"last fault {hello.fault}, {hello.facts}"
        )
    if frame.type == Request.MEMORY + ANSWER:
        use = MemoryUse.parse(frame.payload)
        return f"MEMORY: arena {use.arena}, static {use.static}, stack {use.stack_peak} of {use.stack_reserved} B"
    known = {request + ANSWER: request.name for request in Request}
    return f"{known.get(frame.type, f'type {frame.type:#04x}')}: {len(frame.payload)} B {frame.payload[:16].hex(' ')}"
