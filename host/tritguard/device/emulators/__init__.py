"""Emulators of boards: the firmware that ships, and the serial bytes of a real board."""

from tritguard.device.emulators.choice import emulator_of, emulator_version
from tritguard.device.emulators.interface import Counting, Emulator, EmulatorError
from tritguard.device.emulators.running import EmulatedBoard
from tritguard.device.emulators.started import is_emulated

__all__ = [
    "Counting",
    "EmulatedBoard",
    "Emulator",
    "EmulatorError",
    "emulator_of",
    "emulator_version",
    "is_emulated",
]
