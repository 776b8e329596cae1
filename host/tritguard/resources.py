"""Where files that are no Python are: beside the package in a checkout, inside it in a wheel."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


def _find(name: str, checkout: Path = _PACKAGE.parents[1]) -> Path:
    installed = _PACKAGE / f"_{name}"
    return installed if installed.exists() else checkout / name


def firmware_dir() -> Path:
    """The folder of the C sources that are built into every firmware."""
    return _find("firmware")


def boards_dir() -> Path:
    """The folder of board files, one TOML a board."""
    return _find("boards")


def qemu_plugin_dir() -> Path:
    """The folder of QEMU's counting plugin, a work of its own under the GPL."""
    return _find("qemu-plugin", _PACKAGE.parent)


def license_file() -> Path:
    """The text of the Apache licence, 2.0."""
    return _find("LICENSE")
