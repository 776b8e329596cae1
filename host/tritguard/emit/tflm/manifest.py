"""The manifest of a folder of TFLM arrays."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from tritguard.emit.bundle import MANIFEST, check_files
from tritguard.emit.tflm.arena import Arena, Scratch
from tritguard.emit.tflm.edges import ArrayEdge
from tritguard.errors import BadInputError
from tritguard.records import Record, from_json

_Version = Annotated[str, Field(pattern=r"^[A-Za-z0-9.+_-]+$")]
_Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Alternate(Record):
    """The array used with separate memory for decoded weights: the arena in that case, and the bytes of that memory."""

    arena: Arena
    bytes: int


class Uncompressed(Record):
    """The stripped model without DECODE ops, to compare with."""

    array_bytes: int
    arena: Arena


class Left(Record):
    """Weight tensors left as int8, as DECODE's own code takes more than it saves; and the array's size with DECODE."""

    tensors: int
    array_bytes: int


class ArraysManifest(Record):
    """What the arrays are and what was measured. Sizes are in bytes, shapes are without the batch.

    Attributes:
        identifier: the model's name in C++: the prefix of files and symbols and, with `_model`, the namespace.
        model_sha256: the hash of the golden `.tflite`, which is `model_bytes` long.
        array_sha256: the hash of the array, which is `array_bytes` long.
        further_inputs, further_outputs: the inputs and outputs after the first, in the file's order.
        ops: the kinds of ops in the array, as the schema names them.
        variables: the number of variables that the model keeps between inferences, for TFLM's MicroResourceVariables.
        compat: whether it was written for TFLM builds without per-channel dense layers and DECODE.
        compressed_tensors: the number of weight tensors that are stored as lookup tables.
        arena: the arena's size; None if no interpreter could measure it.
        alternate: see `Alternate`; None if nothing is compressed.
        uncompressed: see `Uncompressed`; None if nothing is compressed.
        left: see `Left`; None if compression was not tried, or was worth it.
        tflite_micro: the version of the interpreter that measured and verified; None without one.
        verified_against_oracle: the number of inputs on which array and golden model gave the same bytes there.
        real_inputs: the number of these inputs that were the user's.
        files: the SHA-256 of each file in the folder.
    """

    schema_version: Literal[1] = 1
    kind: Literal["tflm-arrays"] = "tflm-arrays"
    tritguard: _Version
    tflite_micro: _Version | None
    name: str
    identifier: str
    model_sha256: _Sha256
    model_bytes: int
    array_sha256: _Sha256
    array_bytes: int
    input: ArrayEdge
    output: ArrayEdge
    further_inputs: tuple[ArrayEdge, ...] = ()
    further_outputs: tuple[ArrayEdge, ...] = ()
    ops: tuple[str, ...]
    variables: int = 0
    compat: bool
    compressed_tensors: int
    arena: Arena | None
    scratch: Scratch
    alternate: Alternate | None
    uncompressed: Uncompressed | None
    left: Left | None = None
    verified_against_oracle: int
    real_inputs: int
    files: dict[str, str]


@dataclass(frozen=True)
class Arrays:
    """An opened folder of arrays.

    It holds `<identifier>_{model_data.h,model_data.cc,op_resolver.h,arena.h}`, `example.cc` and the golden
    `model.tflite`. If they are `trusted`, their C++ is compiled as it is (`trusted_arrays`).
    """

    path: Path
    manifest: ArraysManifest
    trusted: bool = field(default=False, compare=False)


def open_arrays(path: Path, *, trust: bool = False) -> Arrays:
    """Open a folder of arrays and check every file against its manifest.

    Args:
        path: the folder.
        trust: compile its C++ even if this version of tritguard would write other files for the array.

    Raises:
        BadInputError: the folder holds no arrays, or a file is missing, was changed or does not belong there.
    """
    if not (path / MANIFEST).is_file():
        raise BadInputError(
            f"no {MANIFEST} here", where=str(path), fix="give a folder of 'tritguard convert --to tflm'"
        )
    manifest = from_json(ArraysManifest, path / MANIFEST, fix="convert the model again")
    check_files(path, manifest.files)
    return Arrays(path, manifest, trust)
