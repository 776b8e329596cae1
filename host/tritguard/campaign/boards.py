"""The boards that a worker of a campaign has, and what it does with them."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from tritguard.device import Device
from tritguard.errors import DeviceError
from tritguard.predictor import Int8, Outputs

CRAFTS = "craft"
"""The resource of a worker that crafts."""

_HELD: dict[str, list[Device]] = {}
_LOCKS: dict[str, list[threading.Lock]] = {}


def resource_of(build_id: str) -> str:
    """The resource of workers that have boards which run this firmware."""
    return f"board {build_id[:16]}"


def hold(devices: Sequence[Device]) -> dict[str, float]:
    """Let this process lease boards, at least one, which run the same firmware; returns its resources."""
    build_id = devices[0].hello.build_id
    _HELD[build_id] = list(devices)
    _LOCKS[build_id] = [threading.Lock() for _ in devices]
    return {resource_of(build_id): len(devices)}


def answer_from(build_id: str, number: int, x: Int8) -> tuple[Outputs, int]:
    """Ask one of this process's boards for int8[n, *input_shape]; returns the answers and the frames sent again.

    Raises:
        DeviceError: the board failed, or there is no such board.
    """
    if number >= len(_HELD.get(build_id, ())):
        raise DeviceError(f"this worker has no board {number} with firmware {build_id[:12]}")
    with _LOCKS[build_id][number]:
        device = _HELD[build_id][number]
        before = device.resent_frames
        return device.predict(x), device.resent_frames - before
