"""Runs a model on a board at a serial line, real or emulated, behind the Predictor interface."""

from tritguard.device.bench import Bench, read_bench
from tritguard.device.board import Device
from tritguard.device.emulators import Counting, EmulatedBoard, EmulatorError, emulator_of, emulator_version
from tritguard.device.fleet import Fleet, Sick, reinforced
from tritguard.device.greeting import identify
from tritguard.device.opening import connect, emulate, open_device
from tritguard.device.ports import AUTO, check_any_port, find_again, find_port
from tritguard.device.protocol import Fault, Hello, MemoryUse
from tritguard.device.upload import by_boot_loader, upload, waits_for

__all__ = [
    "AUTO",
    "Bench",
    "Counting",
    "Device",
    "EmulatedBoard",
    "EmulatorError",
    "Fault",
    "Fleet",
    "Hello",
    "MemoryUse",
    "Sick",
    "by_boot_loader",
    "check_any_port",
    "connect",
    "emulate",
    "emulator_of",
    "emulator_version",
    "find_again",
    "find_port",
    "identify",
    "open_device",
    "read_bench",
    "reinforced",
    "upload",
    "waits_for",
]
