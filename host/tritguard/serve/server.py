"""The server, which only this machine can reach."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable
from pathlib import Path

import uvicorn

from tritguard.errors import BadInputError
from tritguard.serve.app import application
from tritguard.serve.guard import Guard, new_token

HOST = "127.0.0.1"


def serve(root: Path, port: int, ready: Callable[[str], None]) -> None:
    """Show the runs of a folder until Ctrl-C.

    Args:
        root: the folder.
        port: where to listen; 0 for any port that is free.
        ready: called with the address, which holds the token, once it can be opened.

    Raises:
        BadInputError: there is no such folder, or the port is taken.
    """
    if not root.is_dir():
        raise BadInputError("no such folder", where=str(root))
    with contextlib.closing(socket.socket()) as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind((HOST, port))
        except OSError as error:
            raise BadInputError(f"port {port}: {error.strerror}", fix="give another --port, or 0 for any") from error
        listening.listen()
        port, token = listening.getsockname()[1], new_token()
        guarded = Guard(application(root), port, token)
        config = uvicorn.Config(guarded, log_level="error", lifespan="off", server_header=False, access_log=False)
        ready(f"http://{HOST}:{port}/?token={token}")
        with contextlib.suppress(KeyboardInterrupt):
            uvicorn.Server(config).run(sockets=[listening])
