"""Turns a bundle into a folder for the user's own project: PlatformIO, CMake, Zephyr, Arduino, or a single header."""

from tritguard.export.folder import ExportManifest, export
from tritguard.export.targets import TARGETS

__all__ = ["TARGETS", "ExportManifest", "export"]
