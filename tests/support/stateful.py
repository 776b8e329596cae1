"""Builds models that keep state between inferences in resource variables, as converters write streaming networks."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from tests.support.tflite_builder import ModelBuilder, Quant
from tests.support.tflite_tables import Table


@dataclass(frozen=True)
class Variable:
    """A resource variable: its handle's tensor in the main graph, and what it holds."""

    name: str
    handle: int
    shape: tuple[int, ...]
    quant: Quant
    initial: NDArray[np.int8] | None  # None: no subgraph sets it


class StatefulBuilder(ModelBuilder):
    """A model with variables, which a second subgraph sets once."""

    def __init__(self, shape: tuple[int, ...], scale: float, zero_point: int) -> None:
        super().__init__(shape, scale, zero_point)
        self.variables: list[Variable] = []
        self.op("CALL_ONCE", [], [], Table("CallOnceOptions", InitSubgraphIndex=1))

    def variable(self, name: str, shape: tuple[int, ...], quant: Quant, initial: int | None) -> Variable:
        """A variable whose elements begin at `initial`; with None, it begins as TFLM makes it."""
        handle = self._handle(name)
        values = None if initial is None else np.full((1, *shape), initial, dtype=np.int8)
        self.variables.append(Variable(name, handle, shape, quant, values))
        return self.variables[-1]

    def read(self, variable: Variable) -> int:
        output = self.activation(variable.shape, *variable.quant)
        return self.op("READ_VARIABLE", [variable.handle], output, Table("ReadVariableOptions"))

    def assign(self, variable: Variable, tensor: int) -> None:
        self.op("ASSIGN_VARIABLE", [variable.handle, tensor], [], Table("AssignVariableOptions"))

    def shifted(self, variable: Variable, tensor: int) -> int:
        """A ring as streaming layers have it: the kept rows with new ones behind them, of which the last are kept."""
        joined = self.concatenation([self.read(variable), tensor], 1)
        rows, *rest = self.shape(joined)
        begin = [0, rows - variable.shape[0], *[0] * len(rest)]
        end = [1, rows, *rest]
        self.assign(variable, self.strided_slice(joined, begin, end, [1] * len(end), variable.shape))
        return joined

    def further_subgraphs(self) -> list[Table]:
        """The subgraph that sets the variables."""
        main, self.tensors, kept, self.operators = self.tensors, [], self.operators, []
        inputs, self.inputs = self.inputs, []
        for variable in self.variables:
            if variable.initial is not None:
                scale, zero_point = variable.quant
                values = self.constant(variable.initial, [scale], zero_point=zero_point)
                handle = self._handle(variable.name)
                self.op("ASSIGN_VARIABLE", [handle, values], [], Table("AssignVariableOptions"))
        made = self.subgraph([])
        self.tensors, self.operators, self.inputs = main, kept, inputs
        return [made]

    def _handle(self, name: str) -> int:
        tensor = self.tensor([], "RESOURCE")
        options = Table("VarHandleOptions", Container="", SharedName=name)
        return self.op("VAR_HANDLE", [], tensor, options)


def streaming_model() -> bytes:
    """A small wake-word network: two rings of features, a strided convolution, a depthwise one, a dense head."""
    rng = np.random.default_rng(7)
    builder = StatefulBuilder((2, 1, 8), 0.5, 3)
    first = builder.variable("first", (3, 1, 8), (0.5, 3), 3)
    second = builder.variable("second", (4, 1, 6), (0.25, -128), -128)
    features = builder.shifted(first, builder.input)
    weights = rng.integers(-127, 128, (6, 3, 1, 8), dtype=np.int8)
    wide = builder.conv(features, weights, [0.004] * 6, None, (0.25, -128), same=False, activation="RELU")
    ring = builder.shifted(second, wide)
    taps = rng.integers(-127, 128, (7, 1, 6), dtype=np.int8)
    deep = builder.depthwise(ring, taps, [0.004] * 6, None, (0.25, -128), same=False, activation="RELU")
    head = rng.integers(-127, 128, (3, 6), dtype=np.int8)
    dense = builder.dense(builder.reshape(deep, (6,)), head, [0.004] * 3, None, (0.1, 0))
    return builder.build(builder.softmax(dense))


QUANT = (0.5, 3)


def begun(initial: int | None) -> tuple[StatefulBuilder, Variable]:
    builder = StatefulBuilder((3, 2, 4), *QUANT)
    return builder, builder.variable("state", (3, 2, 4), QUANT, initial)


def _set_to_another_value() -> bytes:
    """The initial value is not the zero point, so that a reset of TFLM's interpreter would not bring it back."""
    builder, state = begun(-77)
    total = builder.add(builder.read(state), builder.input, (0.9, 5))
    builder.assign(state, builder.quantize(total, QUANT))
    return builder.build(total)


def _never_set() -> bytes:
    builder, state = begun(None)
    builder.assign(state, builder.input)
    return builder.build(builder.unary("TANH", builder.read(state), (1 / 128, 0)))


def _read_before_it_is_set() -> bytes:
    builder, state = begun(None)
    old = builder.read(state)
    builder.assign(state, builder.input)
    return builder.build(old)


def _read_after_it_is_assigned() -> bytes:
    """The old value is read once more behind the assignment, and the new one by a READ_VARIABLE."""
    builder, state = begun(9)
    old = builder.read(state)
    builder.assign(state, builder.add(old, builder.input, QUANT))
    both = builder.binary("SUB", builder.read(state), old, (0.7, -2))
    return builder.build(both)


def _assigned_twice() -> bytes:
    builder, state = begun(1)
    builder.assign(state, builder.binary("MAXIMUM", builder.read(state), builder.input, QUANT))
    builder.assign(state, builder.add(builder.read(state), builder.input, QUANT))
    return builder.build(builder.unary("RELU", builder.read(state), QUANT))


def _a_delay_line() -> bytes:
    """Each variable gets the old value of the one before it."""
    builder, state = begun(2)
    later = builder.variable("later", (3, 2, 4), QUANT, -5)
    last = builder.variable("last", (3, 2, 4), QUANT, 100)
    values = [builder.read(each) for each in (state, later, last)]
    for variable, value in zip((later, last, state), (*values[:2], builder.input), strict=True):
        builder.assign(variable, value)
    return builder.build(builder.concatenation(values, 3))


def _never_assigned() -> bytes:
    builder, state = begun(40)
    return builder.build(builder.add(builder.read(state), builder.input, QUANT))


def _reshaped() -> bytes:
    """Through reshapes on both sides, with a matrix product in between."""
    builder, state = begun(7)
    weights = np.random.default_rng(3).integers(-127, 128, (24, 24), dtype=np.int8)
    flat = builder.reshape(builder.add(builder.read(state), builder.input, QUANT), (24,))
    moved = builder.dense(flat, weights, [0.002] * 24, None, QUANT)
    builder.assign(state, builder.reshape(moved, (3, 2, 4)))
    return builder.build(moved)


def _unread() -> bytes:
    """A variable that is only written is left out, with what computes it."""
    builder, state = begun(7)
    builder.assign(state, builder.unary("TANH", builder.input, (1 / 128, 0)))
    return builder.build(builder.unary("RELU", builder.input, QUANT))


def _of_other_values() -> bytes:
    """Set to values that differ from element to element."""
    builder, state = begun(0)
    values = np.arange(24, dtype=np.int8).reshape(1, 3, 2, 4) * 3 - 40
    builder.variables[0] = replace(state, initial=values)
    builder.assign(state, builder.binary("MINIMUM", builder.read(state), builder.input, QUANT))
    return builder.build(builder.read(state))


STATEFUL = {
    "streaming": streaming_model,
    **{
        model.__name__.strip("_").replace("_", " "): model
        for model in (
            _set_to_another_value, _never_set, _read_before_it_is_set, _read_after_it_is_assigned, _assigned_twice,
            _a_delay_line, _never_assigned, _reshaped, _unread, _of_other_values,
        )
    },
}  # fmt: skip


def exchanged() -> bytes:
    """Two variables that are exchanged, which is refused."""
    builder, first = begun(1)
    second = builder.variable("second", (3, 2, 4), QUANT, 2)
    values = [builder.read(first), builder.read(second)]
    builder.assign(first, values[1])
    builder.assign(second, values[0])
    return builder.build(builder.add(values[0], builder.input, QUANT))


def lstm(
    builder: ModelBuilder, source: int, units: int, rng: np.random.Generator, *, cell: float = 2.0**-11,
    clip: float = 0.0, time_major: bool = False, hidden: Quant = (1 / 128, 0),
) -> int:  # fmt: skip
    """An LSTM of int8 with a 16-bit cell over [1, steps, depth], or time-major over [steps, 1, depth]."""
    shape = builder.tensors[source].shape
    scale = builder.quant(source)[0]

    def weights(columns: int) -> int:
        values = rng.integers(-127, 128, (units, columns), dtype=np.int8)
        return builder.constant(values, [float(rng.uniform(0.3, 1.0)) / (127 * columns**0.5)])

    def bias(matrix: int) -> int:
        scales = builder.tensors[matrix].scales
        assert scales is not None
        return builder.constant(rng.integers(-4000, 4000, units, dtype=np.int32), [scale * scales[0]])

    fresh, kept = [weights(shape[2]) for _ in range(4)], [weights(units) for _ in range(4)]
    states = [
        builder.tensor([1, units], kind, [float(quant[0])], [quant[1]])
        for kind, quant in (("INT8", hidden), ("INT16", (cell, 0)))
    ]
    for state in states:
        builder.tensors[state].variable = True
    inputs = [source, *fresh, *kept, -1, -1, -1, *map(bias, fresh), -1, -1, *states, -1, -1, -1, -1]
    options = Table(
        "UnidirectionalSequenceLSTMOptions", FusedActivationFunction=4, CellClip=clip, TimeMajor=time_major or None
    )
    output = builder.tensor([*shape[:2], units], "INT8", [float(hidden[0])], [hidden[1]])
    return builder.op("UNIDIRECTIONAL_SEQUENCE_LSTM", inputs, output, options)


def svdf(
    builder: ModelBuilder,
    source: int,
    units: int,
    rank: int,
    memory: int,
    out: Quant,
    rng: np.random.Generator,
    *,
    narrow: bool = False,
) -> int:
    """An SVDF of int8, with a state of 16 or 8 bits."""
    scale, (depth,) = builder.quant(source)[0], builder.shape(source)
    filters = units * rank
    seen, slow = (1 / 20, 1 / 100) if narrow else (1 / 300, 1 / 5000)
    weights = builder.constant(rng.integers(-127, 128, (filters, depth), dtype=np.int8), [0.5 / (127 * scale * depth)])
    most, kind = (100, np.dtype(np.int8)) if narrow else (3000, np.dtype(np.int16))
    time = builder.constant(rng.integers(-most, most, (filters, memory), dtype=kind), [slow])
    bias = builder.constant(
        rng.integers(-30 * most, 30 * most, units, dtype=np.int32), [float(np.float32(seen * slow))]
    )
    state = builder.tensor([1, filters * memory], kind.name.upper(), [seen], [-50 if narrow else 0])
    builder.tensors[state].variable = True
    inputs = [source, weights, time, bias, state]
    return builder.op("SVDF", inputs, builder.activation((units,), *out), Table("SVDFOptions", Rank=rank))


def _an_lstm() -> bytes:
    builder = ModelBuilder((5, 7), 0.05, -4)
    return builder.build(lstm(builder, builder.input, 9, np.random.default_rng(1)))


def _a_clipped_lstm() -> bytes:
    """With a coarse cell, an output with a zero point, and a dense layer behind the last of its steps."""
    rng = np.random.default_rng(2)
    builder = ModelBuilder((3, 6), 0.07, 10)
    wide = lstm(builder, builder.input, 8, rng, cell=2.0**-13, clip=1.5, hidden=(0.009, -7))
    deep = lstm(builder, wide, 5, rng, cell=2.0**-12)
    last = builder.strided_slice(deep, [0, 2, 0], [1, 3, 5], [1, 1, 1], (5,), ShrinkAxisMask=2)
    return builder.build(builder.dense(last, rng.integers(-127, 128, (4, 5), dtype=np.int8), [0.01], None, (0.002, 0)))


def _a_time_major_lstm() -> bytes:
    rng = np.random.default_rng(3)
    builder = ModelBuilder((1, 6), 0.1, 1)
    builder.tensors[builder.input].shape = [4, 1, 6]
    return builder.build(lstm(builder, builder.input, 3, rng, cell=2.0**-9, time_major=True))


def _an_svdf() -> bytes:
    rng = np.random.default_rng(4)
    builder = ModelBuilder((10,), 0.3, -2)
    first = svdf(builder, builder.input, 6, 1, 5, (0.02, -128), rng)
    return builder.build(svdf(builder, first, 4, 2, 3, (0.02, 3), rng))


def _an_svdf_of_8_bits() -> bytes:
    rng = np.random.default_rng(5)
    builder = ModelBuilder((10,), 0.3, -2)
    return builder.build(svdf(builder, builder.input, 6, 2, 7, (0.02, -8), rng, narrow=True))


STATEFUL |= {
    "an LSTM": _an_lstm, "a clipped LSTM": _a_clipped_lstm, "a time-major LSTM": _a_time_major_lstm,
    "an SVDF": _an_svdf, "an SVDF of 8 bits": _an_svdf_of_8_bits,
}  # fmt: skip
