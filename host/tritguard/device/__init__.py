"""Runs a model on a board at a serial line, real or emulated, behind the Predictor interface."""

from tritguard.device.board import Device, connect, emulate, identify, open_device
from tritguard.device.emulator import EmulatedBoard, EmulatorError, emulator_version
from tritguard.device.protocol import Fault, Hello, MemoryUse
from tritguard.device.upload import upload

__all__ = [
    "Device",
    "EmulatedBoard",
    "EmulatorError",
    "Fault",
    "Hello",
    "MemoryUse",
    "connect",
    "emulate",
    "emulator_version",
    "identify",
    "open_device",
    "upload",
]
