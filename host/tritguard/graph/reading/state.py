"""Variables that a model keeps between inferences, and the subgraph that sets them once.

The file moves values into and out of variables by ops. In the typed graph a variable is two tensors: its value before
the inference, which nothing computes, and its value after it. A READ_VARIABLE is the first of them, or whatever was
assigned before it in the same inference, and costs nothing; the last ASSIGN_VARIABLE is an `Assign`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import tflite

from tritguard.errors import BadModelError, UnsupportedOpError
from tritguard.graph.flatbuffer import RawModel, RawOp, RawTensor
from tritguard.graph.model import Int8, Op, Reshape, State
from tritguard.graph.reading.checks import options_of
from tritguard.graph.reading.fold import folded
from tritguard.graph.reading.reader import Reader
from tritguard.graph.reading.registry import describes
from tritguard.graph.stateful import Assign

describes(
    "CALL_ONCE", "VAR_HANDLE", "READ_VARIABLE", "ASSIGN_VARIABLE",
    device="bytes that outlive an inference; at most a copy",
    limits="int8 variables of one scale, which a subgraph of constants sets",
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class Variable:
    """A variable of the file.

    Attributes:
        name: its name in the file.
        tensor: the tensor that READ_VARIABLE gives.
        read: the index of that op.
        source: the tensor that is assigned last; None if nothing is.
        assigned: the index of the op that assigns it; -1 if none does.
        initial: int8[size], the value at the beginning.
    """

    name: str
    tensor: int
    read: int
    source: int | None
    assigned: int
    initial: Int8


def without_variables(raw: RawModel) -> tuple[RawModel, tuple[Variable, ...]]:
    """The model without ops on variables, and the variables that are read before they are assigned.

    Raises:
        BadModelError, UnsupportedOpError: a variable has no value, changes its size, shape or scale, or is set to
            what is no int8 constant.
    """
    walk = _Walk(raw)
    ops = tuple(op for op in raw.ops if walk.keeps(op))
    renamed = tuple(replace(op, inputs=walk.renamed(op.inputs)) for op in ops)
    model = replace(raw, ops=renamed, outputs=walk.renamed(raw.outputs), further=())
    return model, tuple(walk.variable(name) for name in walk.read)


class _Walk:
    """A walk over the ops of a model in their order, with what each variable holds at that point."""

    def __init__(self, raw: RawModel) -> None:
        self._raw = raw
        self._handles: dict[int, str] = {}
        self._holds: dict[str, int] = {}  # the tensor whose value a variable has
        self._assigned: dict[str, RawOp] = {}
        self._reads: dict[str, RawOp] = {}
        self._first_assigned: dict[str, RawTensor] = {}
        self._names: dict[int, int] = {}  # for each tensor that a READ_VARIABLE gives, the one that stands for it
        self._initial: dict[str, Int8] = {}
        self.read: dict[str, int] = {}  # the variables that are read before they are assigned, by name

    def keeps(self, op: RawOp) -> bool:
        """Take the next op; return whether it stays in the model."""
        if op.name == "CALL_ONCE":
            self._initial |= _initial(self._raw, op)
        elif op.name == "VAR_HANDLE":
            self._handles[op.output(0)] = variable_name(op)
        elif op.name == "READ_VARIABLE":
            self._take_read(op)
        elif op.name == "ASSIGN_VARIABLE":
            name = _variable(self._handles, op)
            self._first_assigned.setdefault(name, self._raw.tensors[op.input(1)])
            self._holds[name] = self.renamed(op.inputs)[1]
            self._assigned[name] = op
        else:
            return True
        return False

    def renamed(self, tensors: tuple[int, ...]) -> tuple[int, ...]:
        """The tensors, in which those that a READ_VARIABLE gives are replaced by what stands for them."""
        return tuple(self._names.get(tensor, tensor) for tensor in tensors)

    def variable(self, name: str) -> Variable:
        """A variable that is read before it is assigned."""
        tensor = self._raw.tensors[self.read[name]]
        op = self._assigned.get(name)
        source = None if op is None else self._holds[name]
        if source is not None and math.prod(self._raw.tensors[source].shape) != math.prod(tensor.shape):
            assert op is not None
            raise BadModelError(f"variable {name} is read with another size than it is assigned", where=op.describe())
        if name not in self._initial and name not in self._first_assigned:
            raise BadModelError(f"nothing gives variable {name} a value")
        initial = self._initial.get(name)
        if initial is None:  # TFLM begins at the zero point of the tensor that is assigned first
            zero_points = self._first_assigned[name].zero_points or (0,)
            initial = np.full(math.prod(tensor.shape), zero_points[0], dtype=np.int8)
        if initial.size != math.prod(tensor.shape):
            raise BadModelError(f"variable {name} is set with {initial.size} values for {list(tensor.shape)}")
        return Variable(name, tensor.index, self._reads[name].index, source, -1 if op is None else op.index, initial)

    def _take_read(self, op: RawOp) -> None:
        name, output = _variable(self._handles, op), self._raw.tensors[op.output(0)]
        if name not in self._holds:
            self._holds[name] = self.read[name] = output.index
            self._reads[name] = op
            return
        held = self._raw.tensors[self._holds[name]]
        if (held.shape, held.scales, held.zero_points) != (output.shape, output.scales, output.zero_points):
            what = f"variable {name} read with another shape or scale than tensor {held.index}, which it holds"
            raise UnsupportedOpError(what, where=op.describe())
        self._names[output.index] = held.index


def variable_name(op: RawOp) -> str:
    """The variable that a VAR_HANDLE names."""
    options = options_of(op, tflite.VarHandleOptions)
    container, name = options.Container() or b"", options.SharedName() or b""
    return "/".join(part.decode(errors="replace") for part in (container, name) if part)


def _variable(handles: dict[int, str], op: RawOp) -> str:
    handle = op.input(0)
    if handle not in handles:
        raise BadModelError("no VAR_HANDLE gives its variable", where=op.describe())
    return handles[handle]


def _initial(raw: RawModel, op: RawOp) -> dict[str, Int8]:
    """The values that the subgraph of a CALL_ONCE assigns, flat."""
    number = options_of(op, tflite.CallOnceOptions).InitSubgraphIndex()
    if not 1 <= number <= len(raw.further):
        raise BadModelError(f"no subgraph {number}", where=op.describe())
    subgraph = folded(raw.further[number - 1])
    handles: dict[int, str] = {}
    values: dict[str, Int8] = {}
    for each in subgraph.ops:
        if each.name == "VAR_HANDLE":
            handles[each.output(0)] = variable_name(each)
        elif each.name == "ASSIGN_VARIABLE":
            source = subgraph.tensors[each.input(1)]
            if source.data is None or source.type != "INT8":
                what = "a variable is set to what is no int8 constant"
                raise UnsupportedOpError(what, where=f"{each.describe()} of subgraph {number}")
            values[_variable(handles, each)] = np.asarray(source.data, dtype=np.int8).ravel()
        else:
            raise UnsupportedOpError(
                "more than variables set to constants", where=f"{op.describe()}, {each.describe()}"
            )
    return values


def with_copies(
    reader: Reader, sinks: tuple[int, ...], variables: tuple[Variable, ...]
) -> tuple[tuple[int, ...], tuple[Op, ...]]:
    """The outputs, and copies for those that are the old value of a variable, which has a place of its own."""
    read = {each.tensor: each.read for each in variables}
    made, copies = [], []
    for sink in sinks:
        if sink in read:
            copy = reader.between(reader.tensors[sink], reader.tensors[sink].dims)
            copies.append(Reshape(index=read[sink], inputs=(sink,), output=copy.index))
        made.append(copies[-1].output if sink in read else sink)
    return tuple(made), tuple(copies)


def with_assigns(
    reader: Reader, ops: tuple[Op, ...], variables: tuple[Variable, ...]
) -> tuple[tuple[Op, ...], tuple[State, ...]]:
    """The ops with an `Assign` for each variable that changes, as soon as nothing reads its old value any more.

    Raises:
        UnsupportedOpError: variables are exchanged, so that each needs the old value of the other.
    """
    made = list(ops)
    states = {
        each.tensor: State(name=each.name, before=each.tensor, after=each.tensor, initial=each.initial)
        for each in variables
    }
    waiting = [each for each in variables if each.source is not None and _root(made, each.source) != each.tensor]
    while waiting:
        ready = next((each for each in waiting if not _is_awaited(made, each, waiting)), None)
        if ready is None:
            raise UnsupportedOpError("variables that are exchanged", where=f"op {waiting[0].assigned}")
        waiting.remove(ready)
        assert ready.source is not None
        known = reader.tensors[ready.tensor]
        after = reader.between(known, known.dims)
        assign = Assign(index=ready.assigned, inputs=(ready.source,), output=after.index)
        readers = [
            at
            for at, op in enumerate(made)
            if op.output == ready.source or ready.tensor in {_root(made, tensor) for tensor in op.inputs}
        ]
        made.insert(1 + max(readers, default=-1), assign)
        states[ready.tensor] = replace(states[ready.tensor], after=after.index)
    return tuple(made), tuple(states.values())


def _root(ops: list[Op], tensor: int) -> int:
    """The tensor whose memory a tensor may share by reshapes."""
    reshapes = {op.output: op.inputs[0] for op in ops if isinstance(op, Reshape)}
    while tensor in reshapes:  # each at most once, because a file may have a ring of them
        tensor = reshapes.pop(tensor)
    return tensor


def _is_awaited(ops: list[Op], variable: Variable, waiting: list[Variable]) -> bool:
    """Whether another variable is still to be given this one's old value."""
    return any(
        each is not variable and each.source is not None and _root(ops, each.source) == variable.tensor
        for each in waiting
    )
