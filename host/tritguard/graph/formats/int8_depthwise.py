"""int8 depthwise layers: how they walk over planes (firmware/kernels/tg_planes.h), and the kernels of each core."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from typing_extensions import override

from tritguard.boards import CoreClass
from tritguard.graph.call import Parameters
from tritguard.graph.formats.bits import BitMap
from tritguard.graph.formats.cost import Cost
from tritguard.graph.formats.int8_channels import depthwise_channels
from tritguard.graph.formats.int8_lanes import depthwise_lanes
from tritguard.graph.formats.int8_weights import OUTPUT_CODE, Int8Weights, sums_stay_inside
from tritguard.graph.formats.kernel import Image, Kernel, Order, folded_bias
from tritguard.graph.formats.registry import Site
from tritguard.graph.model import DepthwiseConv2D, Int32, Weighted

DEPTHWISE_CODE = {"tg_planes.c": 1000, "tg_depthwise.c": 500, "tg_depthwise_by1.c": 600, "tg_depthwise_by2.c": 550}
_FOUR = 4  # neighbouring outputs computed together, and lanes of a record of taps: tg_core.h, tg_core_m4_plane.h
_CHANNELS_A_GROUP = 4
_PLANE_BYTES = 1024  # bytes for the plane of each of them


@dataclass(frozen=True)
class Walk:
    """How a depthwise convolution walks over its image.

    Attributes:
        axes: which of height (0) and width (1) the rows and the columns run along.
        band: output rows whose input is in the scratch at the same time.
        planes_bytes: the scratch that their planes take.
    """

    axes: tuple[int, int]
    band: int
    planes_bytes: int


def plan_walk(op: DepthwiseConv2D) -> Walk:
    """The walk with columns along the axis on which fewer products are computed, and as many rows as fit.

    Outputs come in fours, and the taps of a row of the kernel in fours of which every other one is used twice.
    """

    def products(columns: int) -> int:
        fours = -(-op.out_shape[columns] // _FOUR) * op.out_shape[1 - columns]
        return fours * (_FOUR + op.window.kernel[1 - columns] * -(-(_extent(op, columns) + 1) // _FOUR))

    columns = min((1, 0), key=products)
    rows = 1 - columns
    stride = op.window.stride
    pitch = -(-op.out_shape[columns] // _FOUR) * _FOUR * stride[columns] + _extent(op, columns)
    pitch += pitch % 2

    def plane_bytes(band: int) -> int:
        return ((band - 1) * stride[rows] + _extent(op, rows)) * pitch * 2

    band = next((n for n in range(op.out_shape[rows], 1, -1) if plane_bytes(n) <= _PLANE_BYTES), 1)
    planes = min(_CHANNELS_A_GROUP, op.out_shape[2] // op.depth_multiplier)
    return Walk((rows, columns), band, planes * plane_bytes(band))


@dataclass(frozen=True, eq=False)
class Int8Planes(Int8Weights):
    """Weights of a depthwise layer, one channel after the other, in the order of its walk."""

    walk: Walk

    @override
    def parameters(self, op: Weighted, bias: Int32, source: Image, sink: Image) -> Parameters:
        assert isinstance(op, DepthwiseConv2D)
        rows, columns = (_axis_fields(op, source, axis) for axis in self.walk.axes)
        return {
            "rows": rows,
            "columns": columns,
            "channels": source[2],
            "depth_multiplier": op.depth_multiplier,
            "band": self.walk.band,
            "layer": self.layer(op, bias),
        }

    @override
    def bits(self, op: Weighted) -> BitMap:
        places = np.arange(op.weights.size).reshape(op.weights.shape)
        return BitMap(np.repeat(places.transpose(2, *self.walk.axes).reshape(-1, 1), 8, axis=1))


def depthwise_kernels(site: Site, op: DepthwiseConv2D) -> list[Kernel]:
    """The kernel that every layer can have, and the faster ones that suit this one."""
    walk = plan_walk(op)
    planes = Int8Planes(np.ascontiguousarray(op.weights.transpose(2, *walk.axes)).ravel(), walk)
    order: Order = "channels" if op.depth_multiplier == 1 else "any"

    def kernel(function: str, sources: tuple[str, ...], cost: Cost, taps_bytes: int = 0) -> Kernel:
        scratch = walk.planes_bytes + taps_bytes
        return Kernel(function, sources, "int8", planes, folded_bias(op), cost, scratch, order, struct="tg_depthwise_t")

    kernels = [kernel("tg_depthwise_int8", ("tg_planes.c", "tg_depthwise.c", *OUTPUT_CODE), _cost(op, walk, site.core))]
    columns = walk.axes[1]
    stride = op.window.stride[columns]
    if site.core in ("m4", "m55") and stride in (1, 2) and op.window.dilation[columns] == 1 and _is_plain(site, op):
        name, records = f"tg_depthwise_by{stride}", _records(op, walk)
        taps_bytes = records * (20 if stride == 1 else 12) + 4
        files = ("tg_planes.c", f"{name}.c", *OUTPUT_CODE)  # tg_output.c only where the core has no such kernel
        kernels.append(kernel(name, files, _cost_of_records(op, walk, records), taps_bytes))
    return kernels + depthwise_lanes(site, op) + depthwise_channels(site, op, kernels)


def _is_plain(site: Site, op: DepthwiseConv2D) -> bool:
    """Whether a narrow scale, clamped by int8 itself, is all that the sums need."""
    return sums_stay_inside(site, op) and (op.requant.act_min, op.requant.act_max) == (-128, 127)


def _extent(op: DepthwiseConv2D, axis: int) -> int:
    return (op.window.kernel[axis] - 1) * op.window.dilation[axis] + 1


def _records(op: DepthwiseConv2D, walk: Walk) -> int:
    """The records of one channel's taps (tg_core_m4_plane.h); those for a stride of 1 reach one lane further."""
    rows, columns = walk.axes
    reach = op.window.kernel[columns] + (op.window.stride[columns] == 1)
    return op.window.kernel[rows] * -(-reach // _FOUR)


# Instructions and cycles of a tap, of a row of taps, and of what else four outputs take.
_FOURS: dict[CoreClass, tuple[tuple[float, float], tuple[float, float], tuple[float, float]]] = {
    "m0": ((17, 22), (10, 16), (310, 420)),
    "m3": ((12, 19), (8, 12), (150, 200)),
    "m4": ((12, 19), (8, 12), (90, 130)),
    "m55": ((12, 19), (8, 12), (90, 130)),
}


def _cost(op: DepthwiseConv2D, walk: Walk, core: CoreClass) -> Cost:
    rows = walk.axes[0]
    tap, row, four = _FOURS[core]
    fours = _fours(op, walk)
    products = Cost.of((fours * math.prod(op.window.kernel), *tap), (fours * op.window.kernel[rows], *row))
    return _cost_of_planes(op, core) + products + Cost.of((fours, *four))


def _cost_of_records(op: DepthwiseConv2D, walk: Walk, records: int) -> Cost:
    bands = -(-op.out_shape[walk.axes[0]] // walk.band)
    return _cost_of_planes(op, "m4") + Cost.of(
        (_fours(op, walk) * records, 11, 18), (_fours(op, walk), 42, 62),
        (op.out_shape[2] * bands, 105 + 21 * records, 155 + 33 * records),
        (op.out_shape[2] * op.out_shape[walk.axes[0]], 30, 45),
    )  # fmt: skip


def _cost_of_planes(op: DepthwiseConv2D, core: CoreClass) -> Cost:
    """The cost of filling the planes."""
    height, width, channels = op.out_shape
    inputs = channels // op.depth_multiplier * height * op.window.stride[0] * width * op.window.stride[1]
    return Cost.of((inputs, 3.5, 4.5) if core in ("m4", "m55") else (inputs, 9, 14))


def _fours(op: DepthwiseConv2D, walk: Walk) -> int:
    rows, columns = walk.axes
    return op.out_shape[2] * op.out_shape[rows] * -(-op.out_shape[columns] // _FOUR)


def _axis_fields(op: DepthwiseConv2D, source: Image, axis: int) -> Parameters:
    """The fields of a `tg_axis_t`; axis 0 is the height, axis 1 the width."""
    window = op.window
    return {
        "in": source[axis],
        "out": op.out_shape[axis],
        "kernel": window.kernel[axis],
        "stride": window.stride[axis],
        "dilation": window.dilation[axis],
        "pad": window.padding[axis],
        "in_step": math.prod(source[axis + 1 :]),
        "out_step": math.prod(op.out_shape[axis + 1 :]),
    }
