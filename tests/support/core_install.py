"""An environment with what a core installation has, and nothing of the extras."""

from __future__ import annotations

import sys
import venv
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement

import tritguard


def core_install(folder: Path) -> Path:
    """Make the environment out of this one's packages; returns its Python."""
    venv.create(folder, symlinks=True)
    packages = folder / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"
    for package in _needed(Requirement("tritguard"), {}).values():
        for name in {file.parts[0] for file in package.files or ()} - {"..", "__pycache__"}:
            source = Path(str(package.locate_file(name)))
            if source.exists() and not (packages / name).exists():
                (packages / name).symlink_to(source)
    if not (packages / "tritguard").exists():  # an editable installation
        (packages / "tritguard").symlink_to(Path(tritguard.__file__).parent)
    return folder / "bin" / "python"


def _needed(wanted: Requirement, found: dict[str, Distribution]) -> dict[str, Distribution]:
    """The distributions that one needs without any extra, itself among them, by name."""
    try:
        package = distribution(wanted.name)
    except PackageNotFoundError:  # of another system or another Python
        return found
    if package.name not in found:
        found[package.name] = package
        for line in package.requires or ():
            requirement = Requirement(line)
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                _needed(requirement, found)
    return found
