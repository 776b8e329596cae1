"""Fours: four trits per byte as an index into tables of sums, for dense layers of one vector on cores without SMLAD.

firmware/kernels/tg_dense_fours.c draws the table; a trit takes two bits, as in `ternary2`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from tritguard.boards import CoreClass
from tritguard.graph.call import Parameters
from tritguard.graph.formats.cost import Cost, shape_of
from tritguard.graph.formats.fields import weighted_fields
from tritguard.graph.formats.kernel import Bytes, Image, Kernel, Weights, folded_bias
from tritguard.graph.formats.registry import Site, offers
from tritguard.graph.formats.taps import output_cost
from tritguard.graph.model import FullyConnected, Int8, Int32, Weighted

MOST_UNITS = 128  # units that share a table; each has a sum in the scratch
_VALUES = 81  # values of four digits in base 3
_ZERO = 40  # the code of four zeros
_TOGETHER = 4  # units that the kernel takes together


@dataclass(frozen=True, eq=False)
class Fours(Weights):
    """A dense layer's trits.

    Attributes:
        codes: uint8, for each piece of units [ceil(depth / 4), units rounded up to a multiple of four].
        magnitude: uint8[units].
        piece: the units in all pieces but the last.
    """

    codes: NDArray[np.uint8]
    magnitude: NDArray[np.uint8]
    piece: int

    @property
    @override
    def nbytes(self) -> int:
        return int(self.codes.nbytes) + len(self.magnitude)

    @override
    def parameters(self, op: Weighted, bias: Int32, source: Image, sink: Image) -> Parameters:
        layer = weighted_fields(op, bias, {"magnitude": self.magnitude})
        return {"depth": source[2], "units": sink[2], "piece": self.piece, "codes": self.codes, "layer": layer}

    @override
    def is_defined(self, op: Weighted, memory: Bytes, clean: Bytes) -> bool:
        """Whether every code has an entry in the table. Digits behind the last trit meet zeros."""
        return bool((memory < _VALUES).all())


def pack_fours(trits: Int8, piece: int) -> NDArray[np.uint8]:
    """Pack int8[units, depth] trits in {-1, 0, 1}."""
    units, depth = trits.shape
    digits = np.pad(trits, ((0, 0), (0, -depth % 4))).reshape(units, -1, 4) + 1
    codes = (digits @ np.array([1, 3, 9, 27])).astype(np.uint8).T
    pieces = []
    for first in range(0, units, piece):
        part = codes[:, first : first + piece]
        pieces.append(np.pad(part, ((0, 0), (0, -part.shape[1] % _TOGETHER)), constant_values=_ZERO).ravel())
    return np.concatenate(pieces)


@offers("fours", array="codes", code_bytes={"tg_dense_fours.c": 700})
def fours(site: Site) -> list[Kernel]:
    """The kernel of a ternary dense layer of one vector."""
    op = site.op
    if site.core in ("m4", "m55") or site.trits is None or not isinstance(op, FullyConnected) or op.rows != 1:
        return []
    shape = shape_of(op)
    piece = min(MOST_UNITS, -(-shape.channels // _TOGETHER) * _TOGETHER)
    codes = pack_fours(site.trits.trits.reshape(shape.channels, -1), piece)
    weights = Fours(codes, site.trits.magnitude, piece)
    scratch = 4 * piece + 2 * (_VALUES + 1)
    return [
        Kernel(
            "tg_dense_fours", ("tg_dense_fours.c",), "fours", weights, folded_bias(op),
            _cost(weights, shape.channels, shape.positions, site.core), scratch,
        )
    ]  # fmt: skip


def _cost(packed: Fours, units: int, depth: int, core: CoreClass) -> Cost:
    pieces = -(-units // packed.piece)
    tables = pieces * -(-depth // 4)
    lookup, table = ((7.1, 11.5), (345, 480)) if core == "m0" else ((6.1, 10), (430, 600))
    instructions, cycles = output_cost(core)
    return Cost.of((packed.codes.size, *lookup), (tables, *table), (units, instructions + 30, cycles + 40))
