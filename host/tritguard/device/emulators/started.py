"""Which ports are those of emulated boards: the process that started one says so for as long as it runs.

A port's name cannot tell. `socket://` leads to an emulated board as well as to a real one behind a serial server.
"""

from __future__ import annotations

from tritguard.device.locks import Lock, is_held

_KIND = "emulated"
_OURS: set[str] = set()  # started by this process, for systems without locks


class Started:
    """A note that an emulated board runs at a port; other processes of this user can read it.

    Args:
        url: the port.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._lock = Lock(_KIND, url)
        _OURS.add(url)

    def forget(self) -> None:
        """Take the note away, because the board has ended."""
        _OURS.discard(self._url)
        self._lock.release()


def is_emulated(url: str) -> bool:
    """Whether tritguard started an emulated board at this port, in this process or in another one of this user."""
    return url in _OURS or is_held(_KIND, url)
