"""A board that lies: a TCP server that speaks the serial protocol and answers with what a test gives it."""

from __future__ import annotations

import socket
import threading
from collections.abc import Mapping
from typing import Self

from tritguard.build import Build
from tritguard.device.protocol import ANSWER, Frame, Hello, Receiver, Request, encode
from tritguard.emit import Bundle


def hello_payload(bundle: Bundle, build: Build, **changes: int | str) -> bytes:
    """The HELLO of a board that runs this build, with some fields changed."""
    record, manifest = build.record, bundle.manifest
    numbers: dict[str, int | str] = {
        "inputs": manifest.input.bytes,
        "outputs": manifest.output_bytes,
        "logits": 0 if manifest.logits is None else manifest.output_bytes,
        "longest_payload": 4096,
        "clock_hz": record.board.clock.hz,
        "count": 0,
        "cause": 0,
        "pc": 0,
        "status": 0,
        "address": 0,
        "ring": 1023,
    }
    texts: dict[str, int | str] = {"board": record.board.id, "engine": "native"}
    numbers |= {name: value for name, value in changes.items() if name in numbers}
    texts |= {name: value for name, value in changes.items() if name in texts}
    fixed = Hello._FIXED.pack(
        bytes.fromhex(record.build_id), bytes.fromhex(record.model_sha256), *(int(value) for value in numbers.values())
    )
    encoded = [str(text).encode("latin-1") for text in texts.values()]
    return fixed + b"".join(bytes([len(text)]) + text for text in encoded)


class PretendedBoard:
    """Answers each request with the payload given for it, and those without one not at all. A context manager.

    Attributes:
        url: the port, for pyserial.
        asked: the types of the requests so far.
    """

    def __init__(self, answers: Mapping[Request, bytes]) -> None:
        self._answers = answers
        self._server = socket.create_server(("127.0.0.1", 0))
        self.url = f"socket://127.0.0.1:{self._server.getsockname()[1]}"
        self.asked: list[int] = []
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        try:
            while True:
                client, _ = self._server.accept()
                with client:
                    self._talk(client)
        except OSError:  # closed
            return

    def _talk(self, client: socket.socket) -> None:
        receiver = Receiver()
        while received := client.recv(4096):
            for frame in receiver.take(received):
                if not isinstance(frame, Frame):
                    continue
                self.asked.append(frame.type)
                if frame.type in self._answers:
                    payload = self._answers[Request(frame.type)]
                    client.sendall(encode(Frame(frame.type + ANSWER, frame.sequence, payload)))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.close()
