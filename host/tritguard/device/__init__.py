"""Runs a model on a board at a serial line, real or emulated, behind the Predictor interface."""

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
