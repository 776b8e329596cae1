"""Writes an export: the model's C under its own names, the build system's files, an example, licence and manifest."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Literal

from packaging.version import Version

from tritguard import __version__
from tritguard.emit.bundle import MANIFEST, Bundle, EdgeTensor, Logits, check_files, hash_file
from tritguard.errors import BadInputError
from tritguard.export.amalgamate import amalgamate
from tritguard.export.names import check_prefix, default_prefix, renamed_sources
from tritguard.export.targets import TARGETS
from tritguard.files import whole_folder
from tritguard.records import Record, from_json
from tritguard.resources import license_file
from tritguard.templating import environment

_TEMPLATE = ".jinja"
_NAME = "PREFIX"  # stands for the prefix in the file names of templates


class ExportManifest(Record):
    """Describes an export: which model it holds, under which names, and the SHA-256 of every file."""

    schema_version: Literal[1] = 1
    kind: Literal["export"] = "export"
    tritguard: str
    target: str
    prefix: str
    model: str
    model_sha256: str
    bundle_sha256: str
    input: EdgeTensor
    output: EdgeTensor
    further_inputs: tuple[EdgeTensor, ...] = ()
    further_outputs: tuple[EdgeTensor, ...] = ()
    logits: Logits | None
    classes: tuple[str, ...] | None
    verified_against_oracle: int  # taken from the bundle's manifest
    files: dict[str, str]  # path in the export -> SHA-256


def export(bundle: Bundle, target: str, out: Path, *, prefix: str | None = None) -> ExportManifest:
    """Write a folder that builds in the user's own project.

    Args:
        bundle: the model.
        target: one of `TARGETS`.
        out: the folder, which is written completely or not at all. An older export there is replaced; a folder with
            any other content is left alone.
        prefix: what every C name starts with, in place of the bundle's `tg`; by default derived from the model's name.
            Models with different prefixes can share a firmware.

    Raises:
        BadInputError: the target is unknown, C does not allow the prefix, or `out` exists and is not an export.
    """
    if target not in TARGETS:
        raise BadInputError(
            f"there is no export target {target!r}", where="--to", fix=f"choose one of {', '.join(TARGETS)}"
        )
    prefix = default_prefix(bundle.manifest.name) if prefix is None else prefix
    check_prefix(prefix)
    with whole_folder(out, _check_untouched, "untouched export") as draft:
        _write_sources(draft, bundle, target, prefix)
        _write_rest(draft, bundle, target, prefix)
        manifest = _manifest(draft, bundle, target, prefix)
        (draft / MANIFEST).write_text(manifest.model_dump_json(indent=2) + "\n")
    return manifest


def _check_untouched(out: Path) -> None:
    """Raise BadInputError unless a folder is an export that the user has neither changed nor added files to."""
    check_files(out, from_json(ExportManifest, out / MANIFEST).files, fix="export again")


def _write_sources(draft: Path, bundle: Bundle, target: str, prefix: str) -> None:
    sources = renamed_sources(bundle, prefix)
    layout = TARGETS[target]
    if layout is None:
        interface, implementation = amalgamate(sources, prefix)
        context = _context(bundle, prefix) | {"interface": interface, "implementation": implementation}
        header = environment("tritguard.export").get_template("header.h.jinja").render(context)
        (draft / f"{prefix}_model.h").write_text(header)
        return
    for name, text in sources.items():
        file = draft / (layout.api if name == f"{prefix}_model.h" else layout.sources) / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)


def _write_rest(draft: Path, bundle: Bundle, target: str, prefix: str) -> None:
    context = _context(bundle, prefix)
    templates = environment("tritguard.export")
    for name in templates.list_templates(filter_func=lambda name: name.startswith(f"{target}/")):
        file = draft / name.removeprefix(f"{target}/").removesuffix(_TEMPLATE).replace(_NAME, prefix)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(templates.get_template(name).render(context))
    shutil.copyfile(license_file(), draft / "LICENSE")


def _context(bundle: Bundle, prefix: str) -> dict[str, object]:
    manifest = bundle.manifest
    return {
        "model": manifest,
        "title": re.sub(r"[^A-Za-z0-9_. -]", "_", manifest.name),  # safe in C, CMake, Kconfig, YAML and JSON
        "version": _release(__version__),
        "prefix": prefix,
        "PREFIX": prefix.upper(),
        "inputs": _edges("input", manifest.input, *manifest.further_inputs),
        "outputs": _edges("output", manifest.output, *manifest.further_outputs),
        "sources": sorted(name for name in renamed_sources(bundle, prefix) if name.endswith(".c")),
    }


def _release(version: str) -> str:
    """A version as CMake, Arduino and PlatformIO take it: three numbers, where Python's may say more."""
    return ".".join(str(number) for number in (*Version(version).release, 0, 0)[:3])


def _edges(buffer: str, *edges: EdgeTensor) -> list[dict[str, object]]:
    """Lay edges out one after another in a buffer: each one's fields, size in bytes and C expression for its start."""
    places, at = [], 0
    start = buffer if edges[0].type == "int8" else f"(int8_t *){buffer}"  # a buffer of int16 is aligned
    for edge in edges:
        places.append(dict(edge) | {"bytes": edge.bytes, "start": f"{start} + {at}" if at else start})
        at += edge.bytes
    return places


def _manifest(draft: Path, bundle: Bundle, target: str, prefix: str) -> ExportManifest:
    model = bundle.manifest
    written = sorted(path for path in draft.rglob("*") if path.is_file())
    return ExportManifest(
        tritguard=__version__,
        target=target,
        prefix=prefix,
        model=model.name,
        model_sha256=model.model_sha256,
        bundle_sha256=bundle.sha256,
        input=model.input,
        output=model.output,
        further_inputs=model.further_inputs,
        further_outputs=model.further_outputs,
        logits=model.logits,
        classes=model.classes,
        verified_against_oracle=model.verified_against_oracle,
        files={path.relative_to(draft).as_posix(): hash_file(path) for path in written},
    )
