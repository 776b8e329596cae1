"""Columns: a tile's activations side by side as int16, which int8 and dual-channel kernels multiply with.

firmware/kernels/tg_columns.h draws them; their scratch and cost are worked out here.
"""

from __future__ import annotations

from tritguard.graph.formats.cost import TILE, Cost, Shape
from tritguard.graph.model import FullyConnected, Graph, Weighted

POSITIONS_A_GROUP = 4


def columns_bytes(graph: Graph, op: Weighted) -> int:
    """The scratch, in bytes, of one tile's columns in a convolution or fully connected layer."""
    depth = op.weights.shape[1] if isinstance(op, FullyConnected) else graph.tensors[op.inputs[0]].shape[-1]
    positions = padded_positions(op)
    return positions * TILE * 2 + (depth if depth % POSITIONS_A_GROUP == 0 else positions * TILE)


def columns_cost(shape: Shape, gather: tuple[float, float] = (15, 24)) -> Cost:
    """The cost of filling a layer's columns, with four bytes of each pixel of a tile at a time.

    gather: instructions and cycles per gathered element, where the input channels are no multiple of four.
    """
    gathered = 0 if shape.in_channels % POSITIONS_A_GROUP == 0 else shape.positions * TILE
    groups = -(-shape.positions // POSITIONS_A_GROUP)
    return Cost.of((shape.tiles * groups, 22, 33), (shape.tiles, 110, 160), (shape.tiles * gathered, *gather))


def pixels_cost(shape: Shape) -> Cost:
    """The cost of columns of pixels that are read where they lie."""
    groups = -(-shape.positions // POSITIONS_A_GROUP)
    return Cost.of((shape.tiles * groups, 19, 28), (shape.tiles, 110, 160))


def padded_positions(op: Weighted) -> int:
    """The number of a channel's weights, padded to whole groups."""
    return -(-(op.weights.size // len(op.bias)) // POSITIONS_A_GROUP) * POSITIONS_A_GROUP
