"""Writes a folder of TFLM arrays through templates."""

from __future__ import annotations

import hashlib
import importlib.metadata
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tritguard import __version__
from tritguard.emit.bundle import MANIFEST, MODEL, hash_file
from tritguard.emit.render import environment, identifier
from tritguard.emit.tflm.arena import cmsis_scratch
from tritguard.emit.tflm.edges import ArrayEdge, all_edges, samples
from tritguard.emit.tflm.manifest import Arrays, ArraysManifest, open_arrays
from tritguard.emit.tflm.ops import ops_of, registrations
from tritguard.emit.tflm.prepare import Sample, prepare
from tritguard.errors import BadModelError
from tritguard.files import whole_folder
from tritguard.graph.flatbuffer import RawModel, parse
from tritguard.graph.reading.state import variable_name
from tritguard.oracle import keeps_state, oracle_available
from tritguard.predictor import Int8
from tritguard.progress import Progress

_RANDOM_INPUTS = 32
_FRAMES = 4  # frames in a stream of a model with state
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
    has_decode: bool = False,
    compat: bool = False,
    progress: Progress | None = None,
) -> Arrays:
    """Turn a quantized `.tflite` into C++ arrays for TensorFlow Lite Micro.

    The array is the model without what TFLM does not read, with ternary weights compressed if that makes the firmware
    smaller. Nothing is written before it has given the golden model's bytes in TFLM's interpreter. The golden model and
    a manifest go with it.

    Args:
        content: the golden model's bytes.
        out: the folder to write; older arrays there are replaced, anything else is left alone.
        name: the model's name, from which its C++ identifier is made.
        real: int8[n, *input_shape], the user's inputs to compare on besides random ones, for a model with one input,
            which is int8 or is converted to int8 first.
        uncompressed: leave ternary weights as int8.
        has_decode: the firmware has DECODE's code in any case: compress wherever the array gets smaller.
        compat: for TFLM builds that read per-channel dense layers wrongly and have no DECODE.
        progress: called with (runs in the interpreter done, total).

    Raises:
        BadModelError: the model computes in float32, or TFLM refuses it.
        UnsupportedOpError: TFLM has no such op.
        BadInputError: `out` holds something else, or `real` does not fit the model.
        MismatchError: the array gives other bytes.
        ToolMissingError: there is no interpreter to verify a rewritten model with.
    """
    ops_of(parse(content))
    _check_biases(parse(content))
    sources, sinks = all_edges(content)
    with whole_folder(out, open_arrays, "folder of TFLM arrays") as draft:
        prepared = prepare(
            content,
            _inputs(content, real),
            uncompressed=uncompressed,
            has_decode=has_decode,
            compat=compat,
            progress=progress,
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
            variables=_variables(parse(content)),
            compat=compat,
            compressed_tensors=prepared.compressed_tensors,
            arena=prepared.arena,
            scratch=cmsis_scratch(parse(prepared.content)),
            alternate=prepared.alternate,
            uncompressed=prepared.uncompressed,
            left=prepared.left,
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


def _check_biases(raw: RawModel) -> None:
    """Refuse an INT32 bias in a 16-bit transposed convolution, which TFLM reads as INT64, past its end."""
    for op in raw.ops:
        if op.name != "TRANSPOSE_CONV" or len(op.inputs) < 4 or op.inputs[3] < 0:
            continue
        if raw.tensors[op.input(2)].type == "INT16" and raw.tensors[op.input(3)].type == "INT32":
            what = "a bias of INT32, which TensorFlow Lite Micro reads as one of INT64, past its end"
            raise BadModelError(what, where=op.describe())


def _variables(raw: RawModel) -> int:
    handles = (op for graph in (raw, *raw.further) for op in graph.ops if op.name == "VAR_HANDLE")
    return len({variable_name(op) for op in handles})


def _inputs(content: bytes, real: Int8 | None) -> Int8:
    """The inputs to compare on, a row of bytes each; for a model with state, in streams of `_FRAMES` rows."""
    x = samples(content, _RANDOM_INPUTS, real)
    return x[: len(x) // _FRAMES * _FRAMES].reshape(-1, _FRAMES, x.shape[1]) if keeps_state(content) else x


@dataclass(frozen=True)
class _Member:
    """How C++ reads an edge: the type of an element, and its name in TFLM's `data`."""

    type: str
    name: str


_MEMBERS = {
    "int8": _Member("int8_t", "int8"),
    "uint8": _Member("uint8_t", "uint8"),
    "int16": _Member("int16_t", "i16"),
    "int32": _Member("int32_t", "i32"),
    "int64": _Member("int64_t", "i64"),
    "float32": _Member("float", "f"),
    "bool": _Member("bool", "b"),
}


def _edge_contexts(edges: tuple[ArrayEdge, ...], row: Int8 | None) -> list[dict[str, Any]]:
    """What templates say about each edge; `row` holds the bytes of all edges, one after the other."""
    contexts: list[dict[str, Any]] = []
    rest = row
    for number, edge in enumerate(edges):
        context = {"edge": edge, "member": _MEMBERS[edge.golden_type], "says": _said(edge), "suffix": number or ""}
        if rest is not None:
            golden, rest = edge.parted(rest)
            context["golden"] = golden.astype(np.uint8) if golden.dtype.kind == "b" else golden
        contexts.append(context)
    return contexts


def _said(edge: ArrayEdge) -> str:
    """The shape, and what an element q stands for."""
    shape = " x ".join(map(str, edge.shape)) or "1"
    if edge.golden_type == "float32":
        return f"{shape}, real"
    if edge.scale is None:
        return f"{shape}, {edge.golden_type}"
    return f"{shape}, real = {edge.scale} * (q - ({edge.resting}))"


def rendered(data: bytes, sample: Sample | None, manifest: ArraysManifest) -> dict[str, str]:
    """Return the C++ files of an array, by name.

    Args:
        data: the array.
        sample: an input and its output, for the file with the golden bytes; None to leave that file out.
        manifest: describes the array; its `files` are not used.
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
        "adds": registrations(parse(data), int8=not manifest.compat),
    }
    templates = environment().overlay(trim_blocks=True)
    return {
        file.format(manifest.identifier): templates.get_template(f"tflm/{template}").render(context)
        for template, file in _FILES.items()
        if template != _GOLDEN or sample is not None
    }
