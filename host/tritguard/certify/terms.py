"""What a sum is made of: linear maps of tensors, and operands that are first brought to a common scale."""

from __future__ import annotations

from abc import ABC, abstractmethod
from copy import copy
from typing import Self

import numpy as np
from typing_extensions import override

from tritguard.certify.box import Box
from tritguard.certify.linear import Crop, LinearMap
from tritguard.certify.maps import PickMap
from tritguard.graph.arithmetic import fixed_point
from tritguard.graph.model import Float64, Int64, Requant


class Term(ABC):
    """One tensor's part of a sum: a linear function of the tensor's distance from its zero point, or nearly one.

    Attributes:
        tensor: its index.
        zero_point: subtracted from it first.
        map: the linear function.
        slop: how far the part may be from that function, in units of the sum.
    """

    tensor: int
    zero_point: int
    map: LinearMap
    slop: float = 0.0

    @abstractmethod
    def ends(self, box: Box) -> Box:
        """What the part can be, in exact integers, where the tensor is in a box of its shape."""

    def cropped(self, out: Crop, source: Crop) -> Self:
        """The same part for a crop of the output, from a crop of the tensor that holds all it sees."""
        part = copy(self)
        part.map = self.map.cropped(out, source)
        return part

    @property
    def reach(self) -> Float64:
        """float64[*out_shape]: the sum of the absolute values of each output's coefficients."""
        return self.map.reach


class Summed(Term):
    """The sums of a layer with weights, of a mean or of an average pool."""

    def __init__(self, tensor: int, zero_point: int, weights: LinearMap) -> None:
        self.tensor, self.zero_point, self.map = tensor, zero_point, weights

    @override
    def ends(self, box: Box) -> Box:
        """Twice the middle of the box goes through the weights and its width through their absolute values."""
        twice = self.map.forward((box.low + box.high - 2 * self.zero_point).astype(np.float64))
        spread = self.map.magnitude.forward((box.high - box.low).astype(np.float64))
        return Box(((twice - spread) / 2).astype(np.int64), ((twice + spread) / 2).astype(np.int64))


class Scaled(Term):
    """An operand of an addition, brought to the common scale with 20 extra bits by a rounding of its own.

    Args:
        tensor, zero_point: the operand.
        requant: the rescaling of the operand.
        left_shift: the extra bits.
        sign: 1, or -1 for what is subtracted.
        places: int64[*out_shape], the element of the flat operand that each output takes.
        source: the operand's shape.
    """

    map: PickMap

    def __init__(
        self, tensor: int, zero_point: int, requant: Requant, left_shift: int, sign: int, places: Int64,
        source: tuple[int, ...],
    ) -> None:  # fmt: skip
        self.tensor, self.zero_point = tensor, zero_point
        self._requant, self._left_shift, self._sign = requant, left_shift, sign
        factor = sign * float(np.ldexp(float(requant.multiplier[0]), int(requant.shift[0]) - 31 + left_shift))
        self.map = PickMap(places, factor, source)
        right = max(-int(requant.shift[0]), 0)
        self.slop = 0.5 + (2.0 ** -(right + 1) if right else 0.0)

    @property
    def fits(self) -> bool:
        """Whether no rescaled operand leaves 32 bits, whatever its value."""
        return fits_rescaled(self._requant, self._left_shift)

    @override
    def ends(self, box: Box) -> Box:
        places = self.map.places
        low, high = (self._rescaled(bound.reshape(len(bound), -1)[:, places]) for bound in (box.low, box.high))
        return Box(low, high) if self._sign > 0 else Box(-high, -low)

    def _rescaled(self, steps: Int64) -> Int64:
        return rescaled(steps - self.zero_point, self._requant, self._left_shift)


def fits_rescaled(requant: Requant, left_shift: int) -> bool:
    """Whether no operand of an addition leaves 32 bits when it is brought to the common scale, whatever its value."""
    widest = 256 << left_shift << max(int(requant.shift[0]), 0)
    return widest < 1 << 31


def rescaled(distances: Int64, requant: Requant, left_shift: int) -> Int64:
    """Operands' distances from their zero points, in the common scale; it rises with them (`steps`) if all fit."""
    return fixed_point.multiply(distances << left_shift, requant.multiplier, requant.shift)
