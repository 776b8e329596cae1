"""Builds firmware with PlatformIO: from a bundle and a board to an ELF."""

from tritguard.build.budget import Budget, parse_bytes
from tritguard.build.firmware import build
from tritguard.build.record import Build, BuildRecord, FlashLayer, Sizes, open_build

__all__ = ["Budget", "Build", "BuildRecord", "FlashLayer", "Sizes", "build", "open_build", "parse_bytes"]
