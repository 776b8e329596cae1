"""Third-party notices: the licences of other people's code in a firmware, and a list of what the tool needs."""

from __future__ import annotations

import shutil
from pathlib import Path

from tritguard.build import Build
from tritguard.build.pio import COMPILER
from tritguard.printable import printable
from tritguard.report.evidence.sbom import Archive, licence_of, linked_archives, needed_packages
from tritguard.resources import license_file

# Where Debian and Ubuntu keep the licences of the toolchain's libraries, by project, below the toolchain's own prefix.
_DEBIAN = {"newlib": "share/doc/libnewlib-arm-none-eabi/copyright", "libgcc": "share/doc/gcc-arm-none-eabi/copyright"}
_RULE = "=" * 100


def notices(build: Build) -> str:
    """Write the notices: in full for what is in the firmware, by name for what only makes and measures it."""
    firmware = [_of_archive(archive) for archive in linked_archives(build)]
    tool = [
        f"{found.name} {found.version}: {licence_of(found) or 'the package names no licence'}"
        for found in needed_packages()
    ]
    parts = [
        "IN THE FIRMWARE",
        f"tritguard's firmware, kernels and generated C: Apache License 2.0\n\n{license_file().read_text()}",
        *firmware,
        "IN THE TOOL, not in the firmware: the packages are installed on their own and not part of this folder",
        "\n".join(tool),
    ]
    return f"\n{_RULE}\n".join(part.strip("\n") + "\n" for part in parts)


def _of_archive(archive: Archive) -> str:
    head = f"{archive.project}, from {archive.path.name}: {', '.join(archive.members)}"
    if (text := _text_of(archive)) is not None:
        return f"{head}\n\n{text}"
    licence = archive.licence or "not known to tritguard"
    return f"{head}\nLicence: {licence}. Its text was not found on the machine that linked the firmware."


def _text_of(archive: Archive) -> str | None:
    """Find the licence's text in the toolchain that is installed here, if the library belongs to that toolchain.

    The paths come from the map of a build, and the text is copied: neither may lead out of the toolchain's folder.
    """
    name, compiler = _DEBIAN.get(archive.project), shutil.which(COMPILER)
    if name is None or compiler is None:
        return None
    prefix = Path(compiler).resolve().parents[1]
    place = (prefix / name).resolve()
    inside = all(path.is_relative_to(prefix) for path in (archive.path.resolve(), place))
    return printable(place.read_text(errors="replace"), kept="\n\t") if inside and place.is_file() else None
