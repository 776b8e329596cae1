"""The ops that change a state, which a model keeps from one inference to the next (`State` in `graph/model.py`)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from tritguard.graph.model import Int8, Int32, Op, Requant


@dataclass(frozen=True, eq=False, kw_only=True)
class Lstm(Op):
    """Long short-term memory over the rows of a sequence, with 16-bit gates and cell.

    `inputs` are the sequence and the two states, the hidden one and the cell's, which the op changes in place. The
    gates are, in this order, input, forget, cell and output.

    Attributes:
        steps: the rows of the sequence.
        weights: int8[4, units, depth + units], those of the row before those of the hidden state.
        bias: int32[4, units, 2], the biases of the two sums, with the zero points folded in.
        sums: the rescalings of the two sums of each gate to 16-bit steps of 2^-12.
        forget: the rescaling of forget gate times cell.
        input: the rescaling of input gate times cell gate.
        out: the rescaling of output gate times tanh of the cell, with the output's zero point.
        clip: the largest step of the cell; -1 if it is not clipped.
        cell_power: a step of the cell is 2^cell_power.
    """

    kind: ClassVar[str] = "UNIDIRECTIONAL_SEQUENCE_LSTM"
    steps: int
    weights: Int8
    bias: Int32
    sums: tuple[tuple[Requant, Requant], ...]
    forget: Requant
    input: Requant
    out: Requant
    clip: int
    cell_power: int

    @property
    def units(self) -> int:
        """The elements of a row of the output."""
        return int(self.weights.shape[1])

    @property
    def kept(self) -> int:
        """The number of elements of the cell."""
        return self.units

    @property
    def macs(self) -> int:
        """One multiply-accumulate for each weight and row."""
        return self.weights.size * self.steps


@dataclass(frozen=True, eq=False, kw_only=True)
class Svdf(Op):
    """Filters over the input and then over time, summed by unit.

    `inputs` are the input and the state, which the op changes in place.

    Attributes:
        weights: int8[filters, depth].
        offset: int32[filters], minus the input's zero point times the sum of a filter's weights.
        time: int16 or int8[filters, memory], the weights over time, the latest last; the state has the same type.
        bias: int32[units]; filters are a multiple of units.
        seen: the rescaling of a filter's sum over the input to the state, whose zero point is 0 if it is int16.
        requant: the rescaling of the sums over time to the output.
    """

    kind: ClassVar[str] = "SVDF"
    weights: Int8
    offset: Int32
    time: NDArray[np.int16] | Int8
    bias: Int32
    seen: Requant
    requant: Requant

    @property
    def kept(self) -> int:
        """The number of elements of the state."""
        return int(self.time.size)

    @property
    def macs(self) -> int:
        """One multiply-accumulate for each weight."""
        return self.weights.size + self.time.size


@dataclass(frozen=True, eq=False, kw_only=True)
class Assign(Op):
    """The new value of a state: a copy of its input, in the memory of the state (`State.after`)."""

    kind: ClassVar[str] = "ASSIGN_VARIABLE"


@dataclass(frozen=True, eq=False, kw_only=True)
class Recurrent(Op):
    """An LSTM or SVDF in the graph of a stream (`passes/unrolled.py`), where the state is a tensor. No device runs it.

    `inputs` are what the layer reads and, from the second frame on, what this op gave in the frame before. The output
    is flat: the layer's output, then what else its next frame needs, in steps of up to 16 bits: the cell of an LSTM, or
    what the filters of an SVDF saw.

    Attributes:
        layer: the op of a single frame, with the tensor indices of the original graph.
    """

    kind: ClassVar[str] = "LSTM or SVDF"
    layer: Lstm | Svdf
