"""A serial line that loses, doubles and breaks frames: a TCP proxy in front of an emulated board."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from typing import Self
from urllib.parse import urlsplit

# Takes a frame with its closing zero and returns what is passed on instead.
Noise = Callable[[bytes], bytes]


class NoisyLine:
    """Passes frames on between one client and a board, through one `Noise` in each direction."""

    def __init__(self, url: str, to_board: Noise, to_host: Noise) -> None:
        parts = urlsplit(url)
        self._server = socket.create_server(("127.0.0.1", 0))
        self._board = socket.create_connection((str(parts.hostname), int(parts.port or 0)))
        self.url = f"socket://127.0.0.1:{self._server.getsockname()[1]}"
        threading.Thread(target=self._serve, args=(to_board, to_host), daemon=True).start()

    def _serve(self, to_board: Noise, to_host: Noise) -> None:
        try:
            client, _ = self._server.accept()
        except OSError:
            return
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        threading.Thread(target=_pass_on, args=(self._board, client, to_host), daemon=True).start()
        _pass_on(client, self._board, to_board)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.close()
        self._board.close()


def _pass_on(source: socket.socket, sink: socket.socket, noise: Noise) -> None:
    waiting = b""
    try:
        while received := source.recv(4096):
            *frames, waiting = (waiting + received).split(b"\0")
            for frame in frames:
                sink.sendall(noise(frame + b"\0"))
    except OSError:
        pass
    finally:
        sink.close()
