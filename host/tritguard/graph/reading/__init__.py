"""From the container's records to the typed graph, one file a family of ops, each checking all it relies on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from tritguard.errors import BadModelError, UnsupportedOpError
from tritguard.graph.flatbuffer import RawModel, RawOp, parse, reading
from tritguard.graph.model import Graph, Op
from tritguard.graph.reading.activation import absolute, hard_swish, leaky_relu, logistic, relu, softmax, tanh
from tritguard.graph.reading.binary import binary
from tritguard.graph.reading.edges import without_edges
from tritguard.graph.reading.elementwise import add, quantize
from tritguard.graph.reading.join import concatenation, pack
from tritguard.graph.reading.pool import mean, pool
from tritguard.graph.reading.reader import Reader
from tritguard.graph.reading.resize import resize_nearest
from tritguard.graph.reading.shape import pad, reshape
from tritguard.graph.reading.view import depth_to_space, slice_, space_to_depth, split, strided_slice, transpose, unpack
from tritguard.graph.reading.weighted import conv, depthwise, fully_connected, transpose_conv

__all__ = ["SUPPORTED_OPS", "read_graph"]

_OPS: dict[str, Callable[[Reader, RawOp], Op | tuple[Op, ...]]] = {
    "CONV_2D": conv,
    "DEPTHWISE_CONV_2D": depthwise,
    "FULLY_CONNECTED": fully_connected,
    "TRANSPOSE_CONV": transpose_conv,
    "ADD": add,
    "AVERAGE_POOL_2D": pool,
    "MAX_POOL_2D": pool,
    "MEAN": mean,
    "RESHAPE": reshape,
    "SOFTMAX": softmax,
    "PAD": pad,
    "QUANTIZE": quantize,
    "EXPAND_DIMS": reshape,
    "SQUEEZE": reshape,
    "TRANSPOSE": transpose,
    "STRIDED_SLICE": strided_slice,
    "SLICE": slice_,
    "SPLIT": split,
    "SPLIT_V": split,
    "UNPACK": unpack,
    "DEPTH_TO_SPACE": depth_to_space,
    "SPACE_TO_DEPTH": space_to_depth,
    "CONCATENATION": concatenation,
    "PACK": pack,
    "RESIZE_NEAREST_NEIGHBOR": resize_nearest,
    "SUB": binary,
    "MUL": binary,
    "PRELU": binary,
    "MAXIMUM": binary,
    "MINIMUM": binary,
    "RELU": relu,
    "RELU6": relu,
    "LEAKY_RELU": leaky_relu,
    "LOGISTIC": logistic,
    "TANH": tanh,
    "HARD_SWISH": hard_swish,
    "ABS": absolute,
}
SUPPORTED_OPS = tuple(_OPS)


def read_graph(content: bytes) -> Graph:
    """Read an int8 `.tflite` into a typed graph.

    Args:
        content: the file's bytes.

    Raises:
        BadModelError: not a sound int8 model. Edges may be float32 or uint8, see
            `without_edges`.
        UnsupportedOpError: an op, or an option of one, that the engine lacks; names it, its index and what there is.
    """
    raw = parse(content)
    with reading():
        inner, golden_types = without_edges(raw)
        graph = _graph(inner)
    tensors = {
        index: replace(tensor, golden_type=golden_types.get(index, tensor.golden_type))
        for index, tensor in graph.tensors.items()
    }
    return replace(graph, tensors=tensors)


def _graph(raw: RawModel) -> Graph:
    reader = Reader(raw)
    sources, sinks = _edges(reader, raw.inputs, "input"), _edges(reader, raw.outputs, "output")
    ops = tuple(op for raw_op in _needed(raw, sinks) for op in _ops(reader, raw_op))
    _check_order(Graph(reader.tensors, ops, sources[0], sinks[0], sources[1:], sinks[1:]))
    read = {*sinks} | {tensor for op in ops for tensor in op.inputs}
    ops = tuple(op for op in ops if op.output in read)  # parts of a split that nobody reads
    tensors = {index: reader.tensors[index] for index in sorted(read | {*sources})}
    return Graph(tensors, ops, sources[0], sinks[0], sources[1:], sinks[1:])


def _ops(reader: Reader, raw: RawOp) -> tuple[Op, ...]:
    read = _OPS.get(raw.name)
    if read is None:
        raise UnsupportedOpError(f"not supported; supported are {', '.join(SUPPORTED_OPS)}", where=raw.describe())
    made = read(reader, raw)
    return made if isinstance(made, tuple) else (made,)


def _edges(reader: Reader, indices: tuple[int, ...], what: str) -> tuple[int, ...]:
    if not indices:
        raise BadModelError(f"no {what}", where="the graph")
    if len(set(indices)) != len(indices):
        raise UnsupportedOpError(f"a tensor that is an {what} twice", where="the graph")
    return tuple(reader.activation(index, f"the graph's {what}").index for index in indices)


def _needed(raw: RawModel, sinks: tuple[int, ...]) -> list[RawOp]:
    """Ops the outputs depend on through data. What only computes a reshape's target is left out: the shape the
    converter stored is used, as TFLM does."""
    producers = {output: op for op in raw.ops for output in op.outputs}
    needed: set[int] = set()
    stack = [*sinks]
    while stack:
        op = producers.get(stack.pop())
        if op is None or op.index in needed:
            continue
        needed.add(op.index)
        stack += op.inputs[:1] if op.name in ("RESHAPE", "EXPAND_DIMS") else op.inputs
    return [op for op in raw.ops if op.index in needed]


def _check_order(graph: Graph) -> None:
    if not graph.ops:
        raise BadModelError("the model has no ops")
    known = {*graph.inputs}
    for op in graph.ops:
        if any(tensor not in known for tensor in op.inputs) or op.output in known:
            raise BadModelError("damaged file (an op runs before its input exists)", where=f"op {op.index}")
        known.add(op.output)
    if not known.issuperset(graph.outputs):
        raise BadModelError("damaged file (nothing computes the output)")
