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


def resource_of(build_id: str, *, emulated: bool) -> str:
    """The resource of workers that have boards of one kind which run this firmware.

    An emulator's answers do not stand for a real board's, nor do its ticks.
    """
    return f"{'emulated' if emulated else 'real'} board {build_id[:16]}"


def hold(devices: Sequence[Device]) -> dict[str, float]:
    """Let this process lease boards; returns its resources."""
    alike: dict[str, list[Device]] = {}
    for device in devices:
        alike.setdefault(resource_of(device.hello.build_id, emulated=device.emulated), []).append(device)
    for resource, held in alike.items():
        _HELD[resource] = held
        _LOCKS[resource] = [threading.Lock() for _ in held]
    return {resource: len(held) for resource, held in alike.items()}


def answer_from(resource: str, number: int, x: Int8) -> tuple[Outputs, int]:
    """Ask one of this process's boards for int8[n, *input_shape]; returns the answers and the frames sent again.

    Raises:
        DeviceError: the board failed, or there is no such board.
    """
    if number >= len(_HELD.get(resource, ())):
        raise DeviceError(f"this worker has no {resource} of number {number}")
    with _LOCKS[resource][number]:
        device = _HELD[resource][number]
        before = device.resent_frames
        return device.predict(x), device.resent_frames - before
