"""From a bundle to a folder for the user's own project: PlatformIO, CMake, Zephyr, Arduino, or one header."""

from tritguard.export.folder import ExportManifest, export
from tritguard.export.targets import TARGETS

__all__ = ["TARGETS", "ExportManifest", "export"]
