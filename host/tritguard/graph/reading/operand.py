"""Operands that are activations or constants, for ops that take either."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tritguard.errors import UnsupportedOpError
from tritguard.graph.flatbuffer import RawOp
from tritguard.graph.model import Constant
from tritguard.graph.reading.reader import Reader


@dataclass(frozen=True)
class Operand:
    """An operand: `tensor` is an activation's index, `constant` holds a constant's values; `shape` is the file's."""

    shape: tuple[int, ...]
    scale: float
    zero_point: int
    tensor: int | None
    constant: Constant | None


def operand(reader: Reader, raw: RawOp, position: int) -> Operand:
    """The op's input at a position.

    Raises:
        BadModelError, UnsupportedOpError: it is missing, or neither an activation nor an int8 constant of one scale.
    """
    tensor = reader.tensor(raw, position)
    if tensor.data is None:
        known = reader.activation(tensor.index, raw.describe())
        return Operand(known.dims, known.scale, known.zero_point, known.index, None)
    if tensor.type != "INT8" or len(tensor.scales) != 1 or len(tensor.zero_points) != 1 or not tensor.scales[0]:
        raise UnsupportedOpError(f"constant {tensor.index} is no int8 tensor with one scale", where=raw.describe())
    values = np.asarray(tensor.data, dtype=np.int8)
    return Operand(
        tensor.shape, tensor.scales[0], tensor.zero_points[0], None,
        Constant(values=values.ravel(), scale=tensor.scales[0]),
    )  # fmt: skip
