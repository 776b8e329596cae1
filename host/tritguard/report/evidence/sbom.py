"""Software bills of materials in CycloneDX: of the firmware that ships, and of the tool that made and measured it."""

from __future__ import annotations

import importlib.metadata
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model import HashAlgorithm, HashType, Property
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL
from packaging.requirements import Requirement

from tritguard import __version__
from tritguard.build import Build
from tritguard.build.record import MAP
from tritguard.emit import Bundle
from tritguard.report.evidence.manifest import sha256_of

_OWN = "Apache-2.0"
# An archive and a member of it that the firmware holds, as the linker's map lists them before anything else.
_MEMBER = re.compile(r"^(\S.*\.a)\(([^()]+)\)$", re.MULTILINE)
_LISTED_UNTIL = "Discarded input sections"
_GCC = "GPL-3.0-or-later WITH GCC-exception-3.1"
# The libraries that toolchains for Cortex-M link, each with its project and licence.
_LIBRARIES = {"libc": ("newlib", "BSD-3-Clause AND others"), "libm": ("newlib", "BSD-3-Clause AND others")}
_LIBRARIES |= {"libgcc": ("libgcc", _GCC)}


@dataclass(frozen=True)
class Archive:
    """A library of the toolchain, or of others, that is part of a firmware.

    Attributes:
        path: where it was when the firmware was linked.
        members: the names of its parts that the firmware holds.
        project: what it belongs to, where that is known.
        licence: its licence, where that is known.
    """

    path: Path
    members: tuple[str, ...]
    project: str
    licence: str | None


def linked_archives(build: Build) -> list[Archive]:
    """List the libraries that a firmware holds parts of, by the map that its linker wrote."""
    text = (build.path / MAP).read_text(errors="replace").partition(_LISTED_UNTIL)[0]
    members: dict[str, list[str]] = {}
    for archive, member in _MEMBER.findall(text):
        members.setdefault(archive, []).append(member)
    found = []
    for archive, names in members.items():
        path = Path(archive)
        project, licence = _LIBRARIES.get(path.stem.partition("_")[0], (path.stem, None))
        found.append(Archive(path, tuple(sorted(names)), project, licence))
    return found


def firmware_sbom(bundle: Bundle, build: Build) -> str:
    """Write the bill of materials of a firmware: the golden model, the generated C and kernels, linked libraries."""
    record, manifest = build.record, bundle.manifest
    root = Component(
        name=f"{manifest.name} for {record.board.id}",
        version=record.build_id,
        type=ComponentType.FIRMWARE,
        hashes=[_sha256(record.binary_sha256)],
        properties=[Property(name="tritguard:engine", value=record.engine)],
    )
    parts = [
        Component(
            name=f"{manifest.name}.tflite",
            type=ComponentType.MACHINE_LEARNING_MODEL,
            hashes=[_sha256(manifest.model_sha256)],
        ),
        Component(
            name="tritguard firmware (start, protocol, engine, driver)",
            version=record.tritguard,
            type=ComponentType.LIBRARY,
            licenses=[LicenseFactory().make_from_string(_OWN)],
        ),
    ]
    if record.engine == "native":
        parts += [
            Component(name=name, version=manifest.tritguard, type=ComponentType.FILE, hashes=[_sha256(digest)])
            for name, digest in manifest.files.items()
            if name.endswith((".c", ".h"))
        ]
    parts += [_library(archive) for archive in linked_archives(build)]
    return _written(root, parts)


def _library(archive: Archive) -> Component:
    return Component(
        name=f"{archive.project} ({archive.path.name})",
        type=ComponentType.LIBRARY,
        hashes=[_sha256(sha256_of(archive.path))] if archive.path.is_file() else [],
        licenses=[LicenseFactory().make_from_string(archive.licence)] if archive.licence else [],
        properties=[Property(name="tritguard:member", value=name) for name in archive.members],
    )


def tool_sbom() -> str:
    """Write the bill of materials of this tritguard: every Python package that it needs and that is installed."""
    root = Component(
        name="tritguard",
        version=__version__,
        type=ComponentType.APPLICATION,
        licenses=[LicenseFactory().make_from_string(_OWN)],
    )
    return _written(root, [_package(found) for found in needed_packages()])


def needed_packages() -> list[importlib.metadata.Distribution]:
    """The installed packages that tritguard with its extras needs, and those that these need, sorted by name."""
    found: dict[str, importlib.metadata.Distribution] = {}
    waiting = [("tritguard", frozenset({"all", "pdf"}))]
    seen = set()
    while waiting:
        name, extras = waiting.pop()
        if (name, extras) in seen:
            continue
        seen.add((name, extras))
        try:
            distribution = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            continue
        found.setdefault(name, distribution)
        waiting += _requirements(distribution, extras)
    del found["tritguard"]
    return [found[name] for name in sorted(found)]


def _requirements(
    distribution: importlib.metadata.Distribution, extras: frozenset[str]
) -> Iterator[tuple[str, frozenset[str]]]:
    for line in distribution.requires or ():
        one = Requirement(line)
        if one.marker is None or any(one.marker.evaluate({"extra": extra}) for extra in ("", *extras)):
            yield re.sub(r"[-_.]+", "-", one.name).lower(), frozenset(one.extras)


def licence_of(distribution: importlib.metadata.Distribution) -> str | None:
    """What a package says about its licence: the expression, else its classifiers, else a free line of text."""
    about = distribution.metadata
    if "License-Expression" in about:
        return about["License-Expression"]
    classified = [line.rpartition(" :: ")[2] for line in about.get_all("Classifier", []) if line.startswith("License")]
    named = about["License"].strip() if "License" in about else ""
    return " AND ".join(classified) or (named if named and "\n" not in named and len(named) < 100 else None)


def _package(distribution: importlib.metadata.Distribution) -> Component:
    licence = licence_of(distribution)
    return Component(
        name=distribution.name,
        version=distribution.version,
        type=ComponentType.LIBRARY,
        purl=PackageURL("pypi", name=distribution.name.lower(), version=distribution.version),
        licenses=[LicenseFactory().make_from_string(licence)] if licence else [],
    )


def _sha256(digest: str) -> HashType:
    return HashType(alg=HashAlgorithm.SHA_256, content=digest)


def _written(root: Component, parts: list[Component]) -> str:
    bom = Bom(components=parts)
    bom.metadata.component = root
    bom.register_dependency(root, parts)
    return JsonV1Dot6(bom).output_as_string(indent=2) + "\n"
