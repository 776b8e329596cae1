"""A pretended board at a pseudo-terminal; it answers as a firmware does, and can start late, hang or be renamed."""

from __future__ import annotations

import os
import pty
import select
import threading
import time
import tty
from pathlib import Path
from typing import Self

from tests.support.pretended_board import hello_payload
from tritguard.build import Build
from tritguard.device.protocol import ANSWER, Frame, Receiver, Request, encode
from tritguard.emit import Bundle
from tritguard.twin import Twin


class PtyBoard:
    """Runs until it leaves the `with` block; every port that it ever had lies in `folder`, as a link to a terminal.

    Args:
        folder: where its ports appear.
        bundle: the model, which the twin computes.
        build: the firmware that it says it runs.
        name: its port's name.
        starts_in: seconds during which it drops what it receives whenever it starts, as a board does that resets when
            its port is opened.
        hangs_after: inferences after which it answers nothing any more, until it is switched off and on.
        crashes_at: the inference, from 1 on, that gets no answer, once; HELLO tells of a fault from then on.
        hello: fields in HELLO that differ.
    """

    def __init__(
        self, folder: Path, bundle: Bundle, build: Build, name: str = "tty0", starts_in: float = 0.0,
        hangs_after: int | None = None, crashes_at: int | None = None, hello: dict[str, int | str] | None = None,
    ) -> None:  # fmt: skip
        self._folder, self._bundle, self._twin = folder, bundle, Twin(bundle)
        self._build, self._facts = build, dict(hello or {})
        self._crashes_at = crashes_at
        self._starts_in, self._hangs_after = starts_in, hangs_after
        self._ready = 0.0
        self._ends = [-1, -1]
        self.inferences = 0
        self.power_cycles = 0
        self.switch_on(name)

    @property
    def port(self) -> str:
        """The port where it is now."""
        return str(self._port)

    def switch_on(self, name: str) -> None:
        """Start at a port of this name."""
        self._ends = list(pty.openpty())
        tty.setraw(self._ends[1])
        self._port = self._folder / name
        self._port.symlink_to(os.ttyname(self._ends[1]))
        self._ready = time.monotonic() + self._starts_in
        self._ended = list(os.pipe())
        self._server = threading.Thread(target=self._serve, args=(self._ends[0], self._ended[0]), daemon=True)
        self._server.start()

    def switch_off(self) -> None:
        """End, with the port."""
        self._port.unlink()
        os.write(self._ended[1], b"!")
        self._server.join()  # before its descriptor is another file's, whose bytes it would take
        ends, self._ends = self._ends, [-1, -1]
        for end in (*ends, *self._ended):
            os.close(end)

    def power_cycle(self, name: str, **hello: int | str) -> None:
        """Come back at a port of this name, with these fields of HELLO, and no longer hang."""
        self._facts |= hello
        self.switch_off()
        self.power_cycles += 1
        self._hangs_after = None
        self.switch_on(name)

    def _serve(self, end: int, ended: int) -> None:
        receiver = Receiver()
        while ended not in select.select([end, ended], [], [])[0]:
            received = os.read(end, 4096)
            if time.monotonic() < self._ready:
                continue
            for frame in receiver.take(received):
                if isinstance(frame, Frame) and (payload := self._answer(frame)) is not None:
                    os.write(end, encode(Frame(frame.type + ANSWER, frame.sequence, payload)))

    def _answer(self, frame: Frame) -> bytes | None:
        if self._hangs_after is not None and self.inferences >= self._hangs_after:
            return None
        if frame.type == Request.HELLO:
            return hello_payload(self._bundle, self._build, **self._facts)
        if frame.type == Request.ECHO:
            return frame.payload
        if frame.type == Request.MEMORY:
            arena = self._build.record.sizes.ram_arena
            return b"".join(number.to_bytes(4, "little") for number in (arena, arena + 999, 4096, 500))
        self.inferences += 1
        if self.inferences == self._crashes_at:
            self._facts |= {"count": 1, "cause": 5}
            return None
        return infer_payload(self._bundle, self._twin, frame.payload)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._ends[0] >= 0:
            self.switch_off()


def infer_payload(bundle: Bundle, twin: Twin, sample: bytes) -> bytes:
    """What a right board answers to INFER."""
    import numpy as np  # noqa: PLC0415

    x = np.frombuffer(sample, np.int8).reshape(1, *bundle.manifest.input.shape)
    found = twin.predict(x)
    logits = bundle.manifest.logits
    assert found.logits is not None and logits is not None
    accumulators = np.rint(found.logits[0] / np.array(logits.scale)).astype("<i4")
    return (1000).to_bytes(8, "little") + accumulators.tobytes() + found.scores[0].tobytes()
