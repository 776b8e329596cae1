"""Reads the graph of a SavedModel as data: checks its ops, and extracts the part that inference runs.

A SavedModel is a program. It is never loaded, because loading would run some of its functions, such as those that
restore and initialise. Every op in it is checked against an allow-list, and the part that the signature runs is turned
into a graph without state.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tensorflow.core.framework import types_pb2
from tensorflow.core.protobuf import saved_model_pb2

from tritguard.errors import BadModelError
from tritguard.foreign.stores import MAX_VALUES


def _ops(names: str) -> frozenset[str]:
    return frozenset(names.split())


# Ops that are functions of their inputs only: what networks for int8 consist of, and arithmetic on shapes around it.
COMPUTING = (
    _ops("Conv2D Conv2DBackpropInput DepthwiseConv2dNative MatMul BatchMatMul BatchMatMulV2 BiasAdd Einsum")
    | _ops("FusedBatchNorm FusedBatchNormV2 FusedBatchNormV3 AvgPool MaxPool Mean Max Min Sum Prod")
    | _ops("Elu LeakyRelu Relu Relu6 Sigmoid Softmax Tanh")
    | _ops("Abs Add AddN AddV2 Floor Maximum Minimum Mul Neg Pow RealDiv Reciprocal Round Rsqrt Sign Sqrt Square")
    | _ops("SquaredDifference Sub Equal Greater GreaterEqual Less LessEqual LogicalAnd LogicalNot LogicalOr SelectV2")
    | _ops("FakeQuantWithMinMaxArgs FakeQuantWithMinMaxVars FakeQuantWithMinMaxVarsPerChannel")
    | _ops("BatchToSpaceND BroadcastTo ConcatV2 DepthToSpace ExpandDims GatherV2 MirrorPad Pack Pad PadV2 Reshape")
    | _ops("ArgMax ResizeBilinear ReverseV2")
    | _ops("ResizeNearestNeighbor Slice SpaceToBatchND SpaceToDepth Split SplitV Squeeze StridedSlice Tile Transpose")
    | _ops("Unpack Cast Const EnsureShape Fill Identity IdentityN NoOp OnesLike Placeholder Range Rank Shape")
    | _ops("StopGradient ZerosLike")
)
CALLS = _ops("PartitionedCall StatefulPartitionedCall")
# Ops that Keras and TensorFlow leave in a file for variables, for saving them, and for training. They are not accepted
# in the signature's part, which may only read variables, so they never run.
BESIDE = (
    _ops("AssignAddVariableOp AssignSubVariableOp AssignVariableOp DisableCopyOnRead VarIsInitializedOp")
    | _ops("MergeV2Checkpoints RestoreV2 SaveV2 Select ShardedFilename StaticRegexFullMatch StringJoin")
    | _ops("RandomUniform StatelessRandomGetKeyCounter StatelessRandomUniformV2")
)
_VARIABLE, _READ = "VarHandleOp", "ReadVariableOp"
_KNOWN = COMPUTING | CALLS | BESIDE | {_VARIABLE, _READ}
_RUN = COMPUTING | CALLS | {_READ}

_SERVING = "serving_default"
_INITIALISER = "__saved_model_init_op"
_MAX_NODES = 100_000  # with every call replaced by its function
_MAX_DEPTH = 100
_NAMED = 3  # number of ops that a message names
_OTHERWISE = "save the network without it"
_EXPORT = "save it with Keras' model.export(folder) or tf.saved_model.save"


@dataclass(frozen=True)
class InferenceGraph:
    """The part of a graph that a signature runs.

    Attributes:
        graph: a GraphDef with ops of `COMPUTING` and `CALLS` only and, at its top level, the variables. These are
            float32 values; in the file they are handles from which values are read.
        input: name of the input tensor, float32.
        shape: shape of the input, without the batch.
        output: name of the output tensor.
        variables: for the name of each variable's tensor, its key in the checkpoint.
    """

    graph: Any
    input: str
    shape: tuple[int, ...]
    output: str
    variables: dict[str, str]


def inference_graph(content: bytes) -> InferenceGraph:
    """Extract the part of a `saved_model.pb` that its signature runs.

    Raises:
        BadModelError: an op anywhere in the file is on no list, or there is no signature with one float32 input and one
            output that can be followed without running anything.
    """
    metas = saved_model_pb2.SavedModel.FromString(content).meta_graphs
    for meta in metas:
        _check_ops(_every_node(meta.graph_def), _KNOWN, "holds")
    serving = [meta for meta in metas if "serve" in meta.meta_info_def.tags]
    if len(serving) != 1:
        raise BadModelError(f"{len(serving)} graphs tagged 'serve'", fix=_EXPORT)
    return _part(serving[0])


def _part(meta: Any) -> InferenceGraph:
    source, result = _signature(meta.signature_def)
    functions = {function.signature.name: function for function in meta.graph_def.library.function}
    top = {node.name: node for node in meta.graph_def.node}
    reached = list(_leading_to(result.name, top))
    called = _called(reached, functions)
    _check_ops(((node, "") for node in reached), _RUN | {_VARIABLE}, "its signature runs")
    inside = ((node, name) for name in called for node in functions[name].node_def)
    _check_ops(inside, _RUN, "its signature runs")
    graph = type(meta.graph_def)(versions=meta.graph_def.versions)
    graph.node.extend(reached)
    graph.library.function.extend(functions[name] for name in called)
    _make_stateless(graph)
    handles = [node.name for node in reached if node.op == _VARIABLE]
    keys = _keys(handles, meta.saver_def.restore_op_name, top, functions)
    return InferenceGraph(
        graph=graph,
        input=source.name,
        shape=tuple(dim.size for dim in source.tensor_shape.dim)[1:],
        output=result.name,
        variables={f"{name}:0": key for name, key in keys.items()},
    )


def _make_stateless(graph: Any) -> None:
    """Make the graph pass the values of variables on, instead of handles from which ops read the values."""
    for function in graph.library.function:
        reads = {f"{node.name}:value:0": f"{node.name}:output:0" for node in function.node_def if node.op == _READ}
        for node in function.node_def:
            node.input[:] = [reads.get(tensor, tensor) for tensor in node.input]
        for name, tensor in function.ret.items():
            function.ret[name] = reads.get(tensor, tensor)
        for arg in function.signature.input_arg:
            arg.type = _value_type(arg.type)
            arg.ClearField("handle_data")
    for node, _ in _every_node(graph):
        if node.op == _READ:
            node.op = "Identity"
            node.attr["T"].CopyFrom(node.attr.pop("dtype"))
        for value in node.attr.values():
            if value.HasField("type"):
                value.type = _value_type(value.type)
            elif value.HasField("list"):
                value.list.type[:] = map(_value_type, value.list.type)


def _value_type(kind: int) -> int:
    return types_pb2.DT_FLOAT if kind == types_pb2.DT_RESOURCE else kind


def _every_node(graph: Any) -> Iterator[tuple[Any, str]]:
    """Each node, and the name of the function it is in; an empty name at the top level."""
    yield from ((node, "") for node in graph.node)
    for function in graph.library.function:
        yield from ((node, function.signature.name) for node in function.node_def)


def _check_ops(nodes: Iterable[tuple[Any, str]], allowed: frozenset[str], does: str) -> None:
    strange: dict[str, str] = {}
    for node, function in nodes:
        if node.op not in allowed:
            strange.setdefault(node.op[:60], f"node {node.name[:80]}" + (f" of {function[:80]}" if function else ""))
        elif node.op == "Const" and _values(node.attr["value"].tensor.tensor_shape) > MAX_VALUES:
            raise BadModelError("a constant has more values than any model has weights", where=f"node {node.name[:80]}")
    if strange:
        named = ", ".join(f"{op} ({where})" for op, where in list(strange.items())[:_NAMED])
        more = f" and {len(strange) - _NAMED} more" if len(strange) > _NAMED else ""
        raise BadModelError(f"{does} {named}{more}: not an op of networks for int8", fix=_OTHERWISE)


def _values(shape: Any) -> int:
    return math.prod(dim.size for dim in shape.dim)


def _signature(signatures: Mapping[str, Any]) -> tuple[Any, Any]:
    """The TensorInfo of the only input and of the only output."""
    names = sorted(name for name in signatures if name != _INITIALISER)
    if _SERVING not in names and len(names) != 1:
        found = ", ".join(names)[:80] or "none"
        raise BadModelError(
            f"it is not clear which signature to run: it has {found}", fix=f"save it with one named {_SERVING}"
        )
    chosen = signatures[_SERVING if _SERVING in names else names[0]]
    if len(chosen.inputs) != 1 or len(chosen.outputs) != 1:
        raise BadModelError(f"{len(chosen.inputs)} inputs and {len(chosen.outputs)} outputs, not one and one")
    (source,), (result,) = chosen.inputs.values(), chosen.outputs.values()
    if source.dtype != types_pb2.DT_FLOAT:
        raise BadModelError("its input is not float32")
    sizes = [dim.size for dim in source.tensor_shape.dim]
    if len(sizes) < 2 or min(sizes[1:]) < 1:
        raise BadModelError(
            f"its input has shape {sizes}", fix="give the model a fixed input shape; the batch may vary"
        )
    return source, result


def _leading_to(tensor: str, nodes: Mapping[str, Any]) -> Iterator[Any]:
    """The nodes that a tensor depends on, each once."""
    seen: set[str] = set()
    open_names = [_node_of(tensor)]
    while open_names:
        name = open_names.pop()
        if name in seen:
            continue
        seen.add(name)
        if name not in nodes:
            raise BadModelError(f"no node {name[:80]!r} in its graph")
        yield nodes[name]
        open_names += [_node_of(source) for source in nodes[name].input]


def _node_of(tensor: str) -> str:
    return tensor.removeprefix("^").partition(":")[0]


def _called(nodes: Iterable[Any], functions: Mapping[str, Any]) -> list[str]:
    """Names of all functions that the nodes call, directly or indirectly.

    Raises:
        BadModelError: a function is missing or calls itself, or the calls expand to more nodes than any network has.
    """
    sizes: dict[str, int] = {}  # number of nodes, with every call replaced by its function

    def size(name: str, above: tuple[str, ...]) -> int:
        if name not in functions or name in above or len(above) > _MAX_DEPTH:
            what = "calls itself" if name in above else "is missing or called too deep"
            raise BadModelError(f"the function {name[:80]!r} {what}")
        if name not in sizes:
            sizes[name] = total(functions[name].node_def, (*above, name))
        return sizes[name]

    def total(body: Iterable[Any], above: tuple[str, ...]) -> int:
        count = sum(1 + sum(size(name, above) for name in _functions_of(node)) for node in body)
        if count > _MAX_NODES:
            raise BadModelError(f"more than {_MAX_NODES:,} nodes")
        return count

    total(nodes, ())
    return list(sizes)


def _functions_of(node: Any) -> Iterator[str]:
    for value in node.attr.values():
        if value.HasField("func"):
            yield value.func.name
        yield from (function.name for function in value.list.func)


def _keys(handles: list[str], restore: str, top: Mapping[str, Any], functions: Mapping[str, Any]) -> dict[str, str]:
    """The key in the checkpoint of each variable, taken from the function that would restore them all."""
    if not handles:
        return {}
    call = top.get(_node_of(restore))
    function = functions.get(call.attr["f"].func.name) if call is not None and call.op in CALLS else None
    if call is None or function is None:
        raise BadModelError("its variables are not restored by a function, as TensorFlow 2 writes it", fix=_EXPORT)
    given = dict(zip((arg.name for arg in function.signature.input_arg), map(_node_of, call.input), strict=False))
    nodes = {node.name: node for node in function.node_def}
    keys = {}
    for node in function.node_def:
        if node.op == "AssignVariableOp":
            keys[given.get(node.input[0], "")] = _restored_key(node.input[1], nodes)
    for copy, original in _copies(top):
        keys.setdefault(original, keys.get(copy, ""))
    if missing := [name for name in handles if not keys.get(name)]:
        raise BadModelError(f"its checkpoint does not say which values {missing[0][:80]!r} has", fix=_EXPORT)
    return {name: keys[name] for name in handles}


def _copies(top: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The name of each variable that starts as a copy of another one, and the name of the other.

    `tf.saved_model.save` of a Keras 3 model writes such copies into the checkpoint; what computes reads the originals.
    """
    for node in top.values():
        if node.op == "AssignVariableOp" and len(node.input) > 1:
            source = top.get(_node_of(node.input[1]))
            if source is not None and source.op == _READ and source.input:
                yield _node_of(node.input[0]), _node_of(source.input[0])


def _restored_key(tensor: str, nodes: Mapping[str, Any]) -> str:
    """The key of the value that an `Identity` passes on from `RestoreV2:tensors:INDEX`, or an empty string."""
    for _ in nodes:
        node = nodes.get(_node_of(tensor))
        if node is None or not node.input:
            return ""
        if node.op == "RestoreV2":
            names, index = nodes.get(_node_of(node.input[1])), tensor.rpartition(":")[2]
            keys = names.attr["value"].tensor.string_val if names is not None else ()
            return keys[int(index)].decode() if index.isdecimal() and int(index) < len(keys) else ""
        tensor = node.input[0]
    return ""
