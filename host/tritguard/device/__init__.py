"""A board on a serial line, real or emulated, as a Predictor."""

from tritguard.device.board import Device, connect, open_device
from tritguard.device.emulator import EmulatedBoard
from tritguard.device.protocol import Hello, MemoryUse

__all__ = ["Device", "EmulatedBoard", "Hello", "MemoryUse", "connect", "open_device"]
