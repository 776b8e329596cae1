"""Writes a folder of TFLM arrays through templates."""

from __future__ import annotations

import hashlib
import importlib.metadata
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tritguard import __version__
from tritguard.emit.bundle import MANIFEST, MODEL, EdgeTensor, hash_file
from tritguard.emit.render import environment, identifier
from tritguard.emit.tflm.arena import cmsis_scratch
from tritguard.emit.tflm.manifest import Arrays, ArraysManifest, open_arrays
from tritguard.emit.tflm.ops import has_wide, ops_of, registration
from tritguard.emit.tflm.prepare import Sample, prepare
from tritguard.errors import BadInputError, BadModelError, UnsupportedOpError
from tritguard.files import whole_folder
from tritguard.graph.flatbuffer import RawModel, parse
from tritguard.graph.reading.edges import without_edges
from tritguard.graph.reading.state import variable_name
from tritguard.oracle import keeps_state, oracle_available, probes
from tritguard.predictor import Int8
from tritguard.progress import Progress

_RANDOM_INPUTS = 32
_FRAMES = 4  # in a stream of a model with state
_GOLDEN = "golden.h.jinja"
_FILES = {
    "model_data.h.jinja": "{}_model_data.h",
    "model_data.cc.jinja": "{}_model_data.cc",
    "op_resolver.h.jinja": "{}_op_resolver.h",
    "arena.h.jinja": "{}_arena.h",
    _GOLDEN: "{}_golden.h",
    "example.cc.jinja": "example.cc",
}


def write_arrays(
    content: bytes,
    out: Path,
    *,
    name: str,
    real: Int8 | None = None,
    uncompressed: bool = False,
    compat: bool = False,
    progress: Progress | None = None,
) -> Arrays:
    """Turn an int8 `.tflite` into C++ arrays for TensorFlow Lite Micro.

    The array is the model without what TFLM does not read, with ternary weights compressed if that makes it smaller.
    Nothing is written before it has given the golden model's bytes in TFLM's interpreter. The golden model and a
    manifest go with it.

    Args:
        content: the golden model's bytes.
        out: the folder to write; older arrays there are replaced, anything else is left alone.
        name: the model's name, from which its C++ identifier is made.
        real: int8[n, *input_shape], the user's inputs to compare on besides random ones; of a model with one input.
        uncompressed: leave ternary weights as int8.
        compat: for TFLM builds that read per-channel dense layers wrongly and have no DECODE.
        progress: called with (runs in the interpreter done, total).

    Raises:
        BadModelError: the model is not a sound int8 model, or TFLM refuses it.
        UnsupportedOpError: TFLM has no such op.
        BadInputError: `out` holds something else, or `real` does not fit the model.
        MismatchError: the array gives other bytes.
        ToolMissingError: there is no interpreter to verify a rewritten model with.
    """
    ops_of(parse(content))
    sources, sinks = all_edges(content)
    with whole_folder(out, open_arrays, "folder of TFLM arrays") as draft:
        prepared = prepare(
            content, _inputs(content, sources, real), uncompressed=uncompressed, compat=compat, progress=progress
        )
        manifest = ArraysManifest(
            tritguard=__version__,
            tflite_micro=importlib.metadata.version("tflite-micro") if oracle_available() else None,
            name=name,
            identifier=identifier(name),
            model_sha256=hashlib.sha256(content).hexdigest(),
            model_bytes=len(content),
            array_sha256=hashlib.sha256(prepared.content).hexdigest(),
            array_bytes=len(prepared.content),
            input=sources[0],
            output=sinks[0],
            further_inputs=sources[1:],
            further_outputs=sinks[1:],
            ops=ops_of(parse(prepared.content)),
            wide=has_wide(parse(prepared.content)),
            variables=_variables(parse(content)),
            compat=compat,
            compressed_tensors=prepared.compressed_tensors,
            arena=prepared.arena,
            scratch=cmsis_scratch(parse(prepared.content)),
            alternate=prepared.alternate,
            uncompressed=prepared.uncompressed,
            verified_against_oracle=prepared.verified_against_oracle,
            real_inputs=len(real) if real is not None and prepared.verified_against_oracle else 0,
            files={},
        )
        (draft / MODEL).write_bytes(content)
        for file, text in rendered(prepared.content, prepared.sample, manifest).items():
            (draft / file).write_text(text)
        files = {file.name: hash_file(file) for file in sorted(draft.iterdir())}
        manifest = manifest.model_copy(update={"files": files})
        (draft / MANIFEST).write_text(manifest.model_dump_json(indent=2) + "\n")
    return Arrays(out, manifest, trusted=True)


def edges(content: bytes) -> tuple[EdgeTensor, EdgeTensor]:
    """The model's only input and its only output; see `write_arrays` for what it raises.

    Raises:
        UnsupportedOpError: there are several.
    """
    sources, sinks = all_edges(content)
    for found, what in ((sources, "input"), (sinks, "output")):
        if len(found) != 1:
            raise UnsupportedOpError(f"{len(found)} {what}s, one is supported", where="the graph")
    return sources[0], sinks[0]


def all_edges(content: bytes) -> tuple[tuple[EdgeTensor, ...], tuple[EdgeTensor, ...]]:
    """The model's inputs and outputs; see `write_arrays` for what it raises."""
    inner, types = without_edges(parse(content))
    sources, sinks = (
        tuple(_edge(inner, index, types, what) for index in indices)
        for indices, what in ((inner.inputs, "input"), (inner.outputs, "output"))
    )
    if not sources or not sinks:
        raise BadModelError("no input or no output", where="the graph")
    return sources, sinks


def _variables(raw: RawModel) -> int:
    handles = (op for graph in (raw, *raw.further) for op in graph.ops if op.name == "VAR_HANDLE")
    return len({variable_name(op) for op in handles})


def _inputs(content: bytes, sources: tuple[EdgeTensor, ...], real: Int8 | None) -> Int8:
    """The inputs to compare on: random ones and the user's; for a model with state, in streams of a few."""
    shape = sources[0].shape if len(sources) == 1 else (sum(prod(edge.shape) for edge in sources),)  # in one row
    x = _samples(shape, sources[0].dtype, real)
    return x[: len(x) // _FRAMES * _FRAMES].reshape(-1, _FRAMES, *shape) if keeps_state(content) else x


def _samples(shape: tuple[int, ...], dtype: np.dtype[Any], real: Int8 | None) -> Int8:
    random = probes(shape, _RANDOM_INPUTS, dtype)
    if real is None:
        return random
    if real.dtype != dtype or real.shape[1:] != shape:
        raise BadInputError(f"inputs are {real.dtype}{list(real.shape[1:])}, the model takes {dtype}{list(shape)}")
    return np.concatenate([random, real])


def _edge(raw: RawModel, index: int, types: dict[int, str], what: str) -> EdgeTensor:
    if index < 0:
        raise BadModelError(f"an {what} is missing", where="the graph")
    tensor = raw.tensors[index]
    if tensor.type not in ("INT8", "INT16"):
        raise BadModelError(
            f"the {what} is {tensor.type}, not INT8", fix="convert the model with full int8 quantization"
        )
    scales, zero_points = tensor.scales, tensor.zero_points
    if not scales and not zero_points:  # TFLM only copies it, in steps of 1.0
        scales, zero_points = (1.0,), (0,)
    if len(scales) != 1 or len(zero_points) != 1:
        raise BadModelError(f"the {what} lacks a scale and zero point")
    scale, zero_point = scales[0], zero_points[0]
    return EdgeTensor.model_validate(
        {
            "name": tensor.name,
            "shape": tensor.shape[1:] if tensor.shape[:1] == (1,) else tensor.shape,
            "scale": scale,
            "zero_point": zero_point,
            "golden_type": types.get(tensor.index, tensor.type).lower(),
            "type": tensor.type.lower(),
        }
    )


@dataclass(frozen=True)
class _Member:
    """How C++ reads an edge: the type of an element, and its name in TFLM's `data`."""

    type: str
    name: str


_MEMBERS = {
    "int8": _Member("int8_t", "int8"),
    "int16": _Member("int16_t", "i16"),
    "uint8": _Member("uint8_t", "uint8"),
    "float32": _Member("float", "f"),
}


def _golden(edge: EdgeTensor, steps: Int8) -> NDArray[Any]:
    """Steps as the golden model has them on this edge; both conversions are exact."""
    if edge.golden_type == "float32":
        return np.asarray((steps.astype(np.float32) - np.float32(edge.zero_point)) * np.float32(edge.scale))
    return (steps.astype(np.int16) + 128).astype(np.uint8) if edge.golden_type == "uint8" else steps


def _edge_contexts(edges: tuple[EdgeTensor, ...], row: Int8 | None) -> list[dict[str, Any]]:
    """What templates say of each edge; `row` holds the steps of all, one after the other."""
    contexts: list[dict[str, Any]] = []
    rest = None if row is None else row.reshape(-1)
    for number, edge in enumerate(edges):
        context = {"edge": edge, "member": _MEMBERS[edge.golden_type], "size": prod(edge.shape), "suffix": number or ""}
        if rest is not None:
            part, rest = rest[: prod(edge.shape)], rest[prod(edge.shape) :]
            context["golden"] = _golden(edge, part)
        contexts.append(context)
    return contexts


def rendered(data: bytes, sample: Sample | None, manifest: ArraysManifest) -> dict[str, str]:
    """Return the C++ files of an array, by name.

    Args:
        data: the array.
        sample: an input and its output, for the file that others are compared with; None where it is not wanted.
        manifest: what is said of the array; only its `files` are not used.
    """
    inputs = _edge_contexts((manifest.input, *manifest.further_inputs), None if sample is None else sample.x)
    outputs = _edge_contexts((manifest.output, *manifest.further_outputs), None if sample is None else sample.scores)
    context = {
        "m": manifest,
        "id": manifest.identifier,
        "guard": manifest.identifier.upper(),
        "data": data,
        "sample": sample is not None,
        "inputs": inputs,
        "outputs": outputs,
        "adds": [registration(op, int8=not (manifest.compat or manifest.wide)) for op in manifest.ops],
    }
    templates = environment().overlay(trim_blocks=True)
    return {
        file.format(manifest.identifier): templates.get_template(f"tflm/{template}").render(context)
        for template, file in _FILES.items()
        if template != _GOLDEN or sample is not None
    }
