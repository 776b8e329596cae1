"""The C++ of a folder of TFLM arrays, for those who compile it: the folder may come from anybody."""

from __future__ import annotations

import hashlib
import re

from tritguard import __version__
from tritguard.emit.render import identifier
from tritguard.emit.tflm.arrays import rendered
from tritguard.emit.tflm.manifest import Arrays
from tritguard.emit.tflm.ops import ops_of
from tritguard.errors import BadInputError
from tritguard.graph.flatbuffer import parse

_BYTE = re.compile(rb"0x([0-9a-f]{2})\b")


def trusted_arrays(arrays: Arrays) -> dict[str, bytes]:
    """Read the files of a folder of arrays that a firmware compiles, by name, and check that they only hold the array.

    The files are compared with what this version writes for the array's bytes, which TensorFlow Lite Micro reads as
    data. The version that they name is not compared. Arrays opened with trust are taken as they are.

    Raises:
        BadInputError: the files differ, and the arrays were opened without trust.
    """
    files = (*arrays.path.glob("*.h"), *arrays.path.glob("*_model_data.cc"))
    found = {file.name: file.read_bytes() for file in sorted(files)}
    if arrays.trusted:
        return found
    expected = _expected(arrays, found)
    # The golden sample is for the user's own program, which may be compiled without it.
    sample = f"{arrays.manifest.identifier}_golden.h"
    compiled = {name: source for name, source in found.items() if name != sample}
    for name in sorted(compiled.keys() | expected.keys()):
        if compiled.get(name) != expected.get(name):
            raise BadInputError(
                f"{name} is not what tritguard {__version__} writes for this array, so it is not compiled",
                where=str(arrays.path),
                fix="leave --arrays out, or give --trust if you know who made them",
            )
    return compiled


def array_in(arrays: Arrays, files: dict[str, bytes]) -> bytes:
    """The array's bytes, read from the C++ among the files of a folder (see `trusted_arrays`)."""
    source = files.get(f"{arrays.manifest.identifier}_model_data.cc", b"")
    return bytes(int(digits, 16) for digits in _BYTE.findall(source))


def _expected(arrays: Arrays, found: dict[str, bytes]) -> dict[str, bytes]:
    """What the compiled files hold, if the array in them is the one that the manifest describes; else nothing."""
    manifest = arrays.manifest
    data = array_in(arrays, found)
    if hashlib.sha256(data).hexdigest() != manifest.array_sha256 or manifest.identifier != identifier(manifest.name):
        return {}
    described = manifest.model_copy(update={"ops": ops_of(parse(data))})
    files = rendered(data, None, described)
    return {name: text.encode() for name, text in files.items() if name in found}
