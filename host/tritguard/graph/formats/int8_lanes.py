"""int8 layers on cores with vectors of bytes (firmware/kernels/tg_lanes.h)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from tritguard.graph.call import Constant, Parameters, window_fields
from tritguard.graph.formats.bits import BitMap
from tritguard.graph.formats.cost import TILE, Cost, Shape, shape_of
from tritguard.graph.formats.fields import trit_scale
from tritguard.graph.formats.int8_weights import Int8Weights, by_channel, sums_stay_inside
from tritguard.graph.formats.kernel import Bytes, Image, Kernel, bits_of, folded_bias, window_of
from tritguard.graph.formats.registry import Site
from tritguard.graph.model import DepthwiseConv2D, Int32, Weighted

LANES_CODE = {"tg_conv2d_lanes.c": 1100, "tg_depthwise_lanes.c": 900}
_EIGHT = 8  # channels that a record holds
_ORDER = (0, 2, 4, 6, 1, 3, 5, 7)
_RECORD = np.dtype([("bias", "i4", _EIGHT), ("multiplier", "i4", _EIGHT), ("shift", "i1", _EIGHT)])


@dataclass(frozen=True, eq=False)
class Int8Lanes(Int8Weights):
    """Weights of a convolution as they are, int8[channels, positions]."""

    by_rows = True
    by_pixel = True

    @override
    def parameters(self, op: Weighted, bias: Int32, source: Image, sink: Image) -> Parameters:
        return {
            "window": window_fields(window_of(op), source, sink),
            "weights": Constant(self.values, aligned=True),
            "channels": Constant(_records(op, bias), "tg_eight_t"),
            "in_zero_point": op.input_zero_point,
            "scale": trit_scale(op),
        }

    @override
    def bits(self, op: Weighted) -> BitMap:
        places = by_channel(op, np.arange(op.weights.size).reshape(op.weights.shape))
        return BitMap(np.repeat(places.reshape(-1, 1), 8, axis=1))

    @override
    def is_defined(self, op: Weighted, memory: Bytes, clean: Bytes) -> bool:
        """Every weight is read, and nothing else."""
        return True


class Int8DepthwiseLanes(Int8Lanes):
    """Weights of a depthwise layer, int8[groups, taps, 8], with zeros behind the last channel and the last tap."""

    by_pixel = False

    @override
    def bits(self, op: Weighted) -> BitMap:
        places = np.arange(op.weights.size).reshape(op.weights.shape) + 1
        return BitMap(np.repeat(_grouped(places).reshape(-1, 1) - 1, 8, axis=1))  # what is padded becomes PADDING

    @override
    def is_defined(self, op: Weighted, memory: Bytes, clean: Bytes) -> bool:
        """Whether no weight is -128, two of which overflow a sum of 16 bits, and no padding has become a weight."""
        bits = bits_of(op, self)
        within = bool((memory.view(np.int8) > -128).all())
        return within and bits is not None and bits.leaves_padding(memory, clean)


def windows_kernel(site: Site, op: Weighted) -> list[Kernel]:
    """The kernel of a convolution or of a dense layer of several rows, where it suits."""
    if site.core != "m55" or not sums_stay_inside(site, op):
        return []
    shape = shape_of(op)
    blocks = shape.tiles * shape.channels * -(-shape.positions // 16)
    cost = windows_cost(shape, op) + Cost.of(
        (blocks, 10, 20), (shape.tiles * shape.channels, 33, 50), (shape.pixels * shape.channels, 3, 5)
    )  # fmt: skip
    name, weights = "tg_conv2d_lanes", Int8Lanes(np.ascontiguousarray(by_channel(op, op.weights)).ravel())
    return [Kernel(name, (f"{name}.c",), "int8", weights, folded_bias(op), cost, shape.positions * TILE, "tiles",
                   struct="tg_by_lanes_t")]  # fmt: skip


def windows_cost(shape: Shape, op: Weighted) -> Cost:
    """The cost of the windows of a layer's tiles."""
    rows = shape.tiles * TILE * window_of(op).kernel[0]
    return Cost.of((shape.tiles, 150, 200), (shape.tiles * TILE * shape.positions, 0.4, 0.6), (rows, 30, 45))


def depthwise_lanes(site: Site, op: DepthwiseConv2D) -> list[Kernel]:
    """The kernel of a depthwise layer, where it suits."""
    suits = op.depth_multiplier == 1 and int(op.weights.min()) > -128
    if site.core != "m55" or not suits or not sums_stay_inside(site, op):
        return []
    height, width, channels = op.out_shape
    taps = _even(math.prod(op.window.kernel))
    groups = height * width * -(-channels // _EIGHT)
    copied = height * width - math.prod(inner_outputs(site, op, axis) for axis in (0, 1))
    cost = Cost.of((groups * taps, 8, 14), (groups, 32, 50), (height * width, 50, 70), (copied * taps, 22, 32))
    weights = Int8DepthwiseLanes(_grouped(op.weights).ravel())
    name, scratch = "tg_depthwise_lanes", taps * (8 + channels)
    return [Kernel(name, (f"{name}.c",), "int8", weights, folded_bias(op), cost, scratch, "pixels",
                   struct="tg_by_lanes_t")]  # fmt: skip


def inner_outputs(site: Site, op: DepthwiseConv2D, axis: int) -> int:
    """The outputs along an axis whose window lies inside the input."""
    window, size = op.window, site.graph.tensors[op.inputs[0]].shape[axis]
    first = np.arange(op.out_shape[axis]) * window.stride[axis] - window.padding[axis]
    return int(np.sum((first >= 0) & (first + (window.kernel[axis] - 1) * window.dilation[axis] < size)))


def _grouped(weights: NDArray[Any]) -> NDArray[Any]:
    """[kernel_h, kernel_w, channels] as [groups, taps, 8] with zeros as padding; the number of taps is even."""
    channels = weights.shape[-1]
    taps = weights.reshape(-1, channels)
    padded = np.pad(taps, ((0, len(taps) % 2), (0, -channels % _EIGHT)))
    return np.ascontiguousarray(padded.reshape(len(padded), -1, _EIGHT).swapaxes(0, 1))


def _records(op: Weighted, bias: Int32) -> NDArray[Any]:
    """The records of `tg_eight_t`; channels behind the last one are zeros."""
    records = np.zeros(-(-len(bias) // _EIGHT), dtype=_RECORD)
    for name, values in (("bias", bias), ("multiplier", op.requant.multiplier), ("shift", op.requant.shift)):
        padded = np.pad(values, (0, -len(values) % _EIGHT)).reshape(-1, _EIGHT)
        records[name] = padded[:, _ORDER]
    return records


def _even(value: int) -> int:
    return value + value % 2
