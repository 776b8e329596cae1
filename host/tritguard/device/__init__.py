"""A board on a serial line, real or emulated, as a Predictor."""

from tritguard.device.board import Device, connect, identify, open_device
from tritguard.device.emulator import EmulatedBoard, emulator_version
from tritguard.device.protocol import Fault, Hello, MemoryUse
from tritguard.device.upload import upload

__all__ = [
    "Device",
    "EmulatedBoard",
    "Fault",
    "Hello",
    "MemoryUse",
    "connect",
    "emulator_version",
    "identify",
    "open_device",
    "upload",
]
