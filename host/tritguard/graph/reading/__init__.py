"""Reads the container's records into the typed graph; one file per family of ops checks everything it relies on.

Every file of this folder is loaded, and a function that reads an op registers itself by its decorator.
"""

from __future__ import annotations

from dataclasses import replace
from importlib import import_module
from pkgutil import iter_modules

from tritguard.errors import BadModelError, UnsupportedOpError
from tritguard.graph.flatbuffer import RawModel, RawOp, parse, reading
from tritguard.graph.model import Concatenation, Gather, Graph, Op, Reshape, View
from tritguard.graph.reading.edges import without_edges
from tritguard.graph.reading.fold import folded
from tritguard.graph.reading.reader import Reader
from tritguard.graph.reading.registry import check_supported, read_op, supported_ops
from tritguard.graph.reading.state import Variable, with_assigns, with_copies, without_variables

__all__ = ["SUPPORTED_OPS", "read_graph"]

for _family in iter_modules(__path__):
    import_module(f"{__name__}.{_family.name}")
SUPPORTED_OPS = supported_ops()


def read_graph(content: bytes) -> Graph:
    """Read an int8 `.tflite` into a typed graph.

    Args:
        content: the file's bytes.

    Raises:
        BadModelError: the file is not a sound int8 model. Edges may be float32 or uint8, see `without_edges`.
        UnsupportedOpError: the engine lacks an op or one of its options; the message names it and what is supported.
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
    raw, variables = without_variables(raw)
    needed, variables = _needed(raw, variables)
    model = folded(replace(raw, ops=needed))
    for raw_op in model.ops:  # before the edges, because an edge may owe its type to an unsupported op
        check_supported(raw_op)
    reader = Reader(model)
    sources, sinks = _edges(reader, raw.inputs, "input"), _edges(reader, raw.outputs, "output")
    for variable in variables:
        if reader.activation(variable.tensor, f"variable {variable.name}").width > 1:
            raise UnsupportedOpError("a 16-bit variable", where=f"variable {variable.name}")
    sinks, copies = with_copies(reader, sinks, variables)
    ops: tuple[Op, ...] = (*copies, *(op for raw_op in model.ops for op in read_op(reader, raw_op)))
    ops, states = with_assigns(reader, ops, variables)
    _check_scales(reader, ops)
    graph = Graph(reader.tensors, ops, sources[0], sinks[0], sources[1:], sinks[1:], (*states, *reader.states))
    _check_order(graph)
    read = {*graph.left} | {tensor for op in ops for tensor in op.inputs}
    ops = tuple(op for op in ops if op.output in read)  # without parts of a split that nothing reads
    tensors = {index: reader.tensors[index] for index in sorted(read | {*graph.given})}
    return replace(graph, tensors=tensors, ops=ops)


def _edges(reader: Reader, indices: tuple[int, ...], what: str) -> tuple[int, ...]:
    if not indices:
        raise BadModelError(f"no {what}", where="the graph")
    if len(set(indices)) != len(indices):
        raise UnsupportedOpError(f"a tensor that is an {what} twice", where="the graph")
    edges = [reader.activation(index, f"the graph's {what}") for index in indices]
    if len({edge.width for edge in edges}) > 1:
        raise UnsupportedOpError(f"an {what} of 8 bits beside one of 16", where="the graph")
    return tuple(edge.index for edge in edges)


def _needed(raw: RawModel, variables: tuple[Variable, ...]) -> tuple[tuple[RawOp, ...], tuple[Variable, ...]]:
    """The ops and variables that the outputs depend on through data, in this inference or in later ones.

    Ops that only compute a reshape's target are left out, as the shape that the converter stored is used, as in TFLM.
    """
    producers = {output: op for op in raw.ops for output in op.outputs}
    waiting = {each.tensor: each for each in variables}
    needed: set[int] = set()
    stack = [*raw.outputs]
    while stack:
        tensor = stack.pop()
        variable = waiting.pop(tensor, None)
        if variable is not None and variable.source is not None:
            stack.append(variable.source)
        op = producers.get(tensor)
        if op is None or op.index in needed:
            continue
        needed.add(op.index)
        stack += op.inputs[:1] if op.name in ("RESHAPE", "EXPAND_DIMS") else op.inputs
    kept = tuple(each for each in variables if each.tensor not in waiting)
    return tuple(op for op in raw.ops if op.index in needed), kept


def _check_scales(reader: Reader, ops: tuple[Op, ...]) -> None:
    """Raise BadModelError where an op computes with a tensor that has no scale."""
    for op in ops:
        missing = reader.unscaled.intersection((*op.inputs, op.output))
        if missing and not isinstance(op, Concatenation | Gather | Reshape | View):
            raise BadModelError(
                f"tensor {min(missing)} lacks a scale and zero point", where=f"op {op.index} ({op.kind})"
            )


def _check_order(graph: Graph) -> None:
    if not graph.ops:
        raise BadModelError("the model has no ops")
    known = {*graph.given}
    for op in graph.ops:
        if any(tensor not in known for tensor in op.inputs) or op.output in known:
            raise BadModelError("damaged file (an op runs before its input exists)", where=f"op {op.index}")
        known.add(op.output)
    if not known.issuperset(graph.left):
        raise BadModelError("damaged file (nothing computes the output)")
