"""Firmware: a bundle and a board become an ELF, through PlatformIO."""

from tritguard.build.firmware import build
from tritguard.build.record import Build, BuildRecord, FlashLayer, Sizes, open_build

__all__ = ["Build", "BuildRecord", "FlashLayer", "Sizes", "build", "open_build"]
