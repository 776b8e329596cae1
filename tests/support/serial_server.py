"""A serial server as ser2net is: it puts a port of this machine on the network, by RFC 2217."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from typing import Any, Self

import serial
from serial import rfc2217


class _Terminal(serial.Serial):  # type: ignore[misc]  # pyserial has no types
    """A pseudo-terminal, which has none of the lines that a server is asked to set and to watch."""

    cts = dsr = cd = True
    ri = False

    def _update_dtr_state(self) -> None:
        pass

    def _update_rts_state(self) -> None:
        pass


class SerialServer:
    """Serves one client after another until it leaves the `with` block.

    Args:
        port: the port that is served.

    Attributes:
        url: where it is served.
        rates: the baud rates that clients asked for.
    """

    def __init__(self, port: str) -> None:
        self._port = _Terminal(port, 9600, timeout=0.02)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"rfc2217://127.0.0.1:{self._listener.getsockname()[1]}"
        self.rates: list[int] = []

    def __enter__(self) -> Self:
        threading.Thread(target=self._serve, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()
        self._port.close()

    def _serve(self) -> None:
        with suppress(OSError, TypeError, serial.SerialException):  # closed, perhaps within pyserial
            while True:
                client, _ = self._listener.accept()
                client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                with client:
                    self._carry(client)

    def _carry(self, client: socket.socket) -> None:
        class Connection:
            def write(self, data: bytes) -> None:
                client.sendall(data)

        manager: Any = rfc2217.PortManager(self._port, Connection())
        there = threading.Event()
        threading.Thread(target=self._back, args=(client, manager, there), daemon=True).start()
        try:
            while data := client.recv(4096):
                self._port.write(b"".join(manager.filter(data)))
                if self.rates[-1:] != [self._port.baudrate]:
                    self.rates.append(self._port.baudrate)
        finally:
            there.set()

    def _back(self, client: socket.socket, manager: Any, there: threading.Event) -> None:
        with suppress(OSError, TypeError, serial.SerialException):
            while not there.is_set():
                if data := self._port.read(self._port.in_waiting or 1):
                    client.sendall(b"".join(manager.escape(data)))
