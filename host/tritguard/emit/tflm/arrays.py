"""Writes a folder of TFLM arrays through templates."""

from __future__ import annotations

import hashlib
import importlib.metadata
from pathlib import Path

import numpy as np

from tritguard import __version__
from tritguard.emit.bundle import MANIFEST, MODEL, EdgeTensor, hash_file
from tritguard.emit.render import environment, identifier
from tritguard.emit.tflm.arena import cmsis_scratch
from tritguard.emit.tflm.manifest import Arrays, ArraysManifest, open_arrays
from tritguard.emit.tflm.ops import ops_of, registration
from tritguard.emit.tflm.prepare import Sample, prepare
from tritguard.errors import BadInputError, BadModelError, UnsupportedOpError
from tritguard.files import whole_folder
from tritguard.graph.flatbuffer import RawModel, parse
from tritguard.oracle import oracle_available, probes
from tritguard.predictor import Int8
from tritguard.progress import Progress

_RANDOM_INPUTS = 32
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
        real: int8[n, *input_shape], the user's inputs to compare on besides random ones.
        uncompressed: leave ternary weights as int8.
        compat: for TFLM builds that read per-channel dense layers wrongly and have no DECODE.
        progress: called with (runs in the interpreter done, total).

    Raises:
        BadModelError: the model is not a sound int8 model with one input and one output, or TFLM refuses it.
        UnsupportedOpError: an op is not known to be in TFLM.
        BadInputError: `out` holds something else, or `real` does not fit the model.
        MismatchError: the array gives other bytes.
        ToolMissingError: there is no interpreter to verify a rewritten model with.
    """
    raw = parse(content)
    ops_of(raw)
    source, sink = input_edge(content), _edge(raw, raw.outputs, "output")
    with whole_folder(out, open_arrays, "folder of TFLM arrays") as draft:
        prepared = prepare(content, _inputs(source, real), uncompressed=uncompressed, compat=compat, progress=progress)
        manifest = ArraysManifest(
            tritguard=__version__,
            tflite_micro=importlib.metadata.version("tflite-micro") if oracle_available() else None,
            name=name,
            identifier=identifier(name),
            model_sha256=hashlib.sha256(content).hexdigest(),
            model_bytes=len(content),
            array_sha256=hashlib.sha256(prepared.content).hexdigest(),
            array_bytes=len(prepared.content),
            input=source,
            output=sink,
            ops=ops_of(parse(prepared.content)),
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


def input_edge(content: bytes) -> EdgeTensor:
    """The model's input; see `write_arrays` for what it raises."""
    raw = parse(content)
    return _edge(raw, raw.inputs, "input")


def _inputs(source: EdgeTensor, real: Int8 | None) -> Int8:
    random = probes(source.shape, _RANDOM_INPUTS)
    if real is None:
        return random
    if real.dtype != np.int8 or real.shape[1:] != source.shape:
        raise BadInputError(f"inputs are {real.dtype}{list(real.shape[1:])}, the model takes int8{list(source.shape)}")
    return np.concatenate([random, real])


def _edge(raw: RawModel, indices: tuple[int, ...], what: str) -> EdgeTensor:
    if len(indices) != 1 or indices[0] < 0:
        raise UnsupportedOpError(f"{len(indices)} {what}s, one is supported", where="the graph")
    tensor = raw.tensors[indices[0]]
    if tensor.type != "INT8":
        raise BadModelError(
            f"the {what} is {tensor.type}, not INT8", fix="convert the model with full int8 quantization"
        )
    if len(tensor.scales) != 1 or len(tensor.zero_points) != 1 or tensor.shape[:1] != (1,):
        raise BadModelError(f"the {what} lacks a scale and zero point, or a batch of 1")
    scale, zero_point = tensor.scales[0], tensor.zero_points[0]
    return EdgeTensor(name=tensor.name, shape=tensor.shape[1:], scale=scale, zero_point=zero_point)


def rendered(data: bytes, sample: Sample | None, manifest: ArraysManifest) -> dict[str, str]:
    """Return the C++ files of an array, by name.

    Args:
        data: the array.
        sample: an input and its output, for the file that others are compared with; None where it is not wanted.
        manifest: what is said of the array; only its `files` are not used.
    """
    context = {
        "m": manifest,
        "id": manifest.identifier,
        "guard": manifest.identifier.upper(),
        "data": data,
        "sample": sample,
        "adds": [registration(op, int8=not manifest.compat) for op in manifest.ops],
        "input_size": int(np.prod(manifest.input.shape)),
        "output_size": int(np.prod(manifest.output.shape)),
    }
    return {
        file.format(manifest.identifier): environment().get_template(f"tflm/{template}").render(context)
        for template, file in _FILES.items()
        if template != _GOLDEN or sample is not None
    }
