"""Where the files that are not Python lie: beside the package in a checkout, inside it in an installed wheel."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


def _find(name: str, checkout: Path = _PACKAGE.parents[1]) -> Path:
    installed = _PACKAGE / f"_{name}"
    return installed if installed.exists() else checkout / name


def firmware_dir() -> Path:
    """The folder with the C sources that are built into every firmware."""
    return _find("firmware")


def boards_dir() -> Path:
    """The folder with the board files, one TOML file for each board."""
    return _find("boards")


def qemu_plugin_dir() -> Path:
    """The folder with QEMU's counting plugin, which is a separate work under the GPL."""
    return _find("qemu-plugin", _PACKAGE.parent)


def docs_dir() -> Path:
    """The folder with the documentation, whose pages messages name."""
    return _find("docs")


def examples_dir() -> Path:
    """The folder with trained models, each in a folder of its name."""
    return _find("examples")


def license_file() -> Path:
    """The file with the text of the Apache License 2.0."""
    return _find("LICENSE")
