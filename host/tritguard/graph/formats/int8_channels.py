"""int8 depthwise layers pixel by pixel, four channels at a time (firmware/kernels/tg_channels.h)."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from tritguard.boards import CoreClass
from tritguard.graph.call import Parameters, window_fields
from tritguard.graph.formats.bits import BitMap
from tritguard.graph.formats.cost import Cost
from tritguard.graph.formats.int8_lanes import inner_outputs
from tritguard.graph.formats.int8_weights import Int8Weights, sums_stay_inside
from tritguard.graph.formats.kernel import Bytes, Image, Kernel, folded_bias
from tritguard.graph.formats.registry import Site
from tritguard.graph.model import DepthwiseConv2D, Int32, Weighted

CHANNELS_CODE = {"tg_depthwise_channels.c": 1090}
_CHANNELS = 4  # channels that lie together
_SLOWER = 1.1  # times another kernel's cycles, beyond which the flash that it saves is not worth it
_POINTER = 8  # bytes of a pointer on a 64-bit host, which uses the arena planned for the device


class Int8Channels(Int8Weights):
    """Weights of a depthwise layer, int8[groups, taps, 4] as tg_channels.h draws them."""

    by_rows = True

    @override
    def parameters(self, op: Weighted, bias: Int32, source: Image, sink: Image) -> Parameters:
        assert isinstance(op, DepthwiseConv2D)
        return {"window": window_fields(op.window, source, sink), "layer": self.layer(op, bias)}

    @override
    def bits(self, op: Weighted) -> BitMap:
        places = np.arange(op.weights.size).reshape(op.weights.shape) + 1
        return BitMap(np.repeat(_grouped(places).reshape(-1, 1) - 1, 8, axis=1))  # what is padded becomes PADDING

    @override
    def is_defined(self, op: Weighted, memory: Bytes, clean: Bytes) -> bool:
        """Every weight is read, and nothing else."""
        return True


# Instructions and cycles of a tap of four channels, those that a tap standing alone adds, those of the four channels'
# outputs, and those of finding where a pixel's tap reads.
_Pair = tuple[float, float]
_COUNTS: dict[CoreClass, tuple[_Pair, _Pair, _Pair, _Pair]] = {
    "m0": ((22.5, 32), (2, 4), (274, 345), (20, 30)),
    "m3": ((14.5, 25), (1.5, 3), (60, 85), (13, 19)),
    "m4": ((10, 14), (3, 5), (58, 74), (13, 19)),
}


def depthwise_channels(site: Site, op: DepthwiseConv2D, others: Iterable[Kernel]) -> list[Kernel]:
    """The kernel of a depthwise layer, where it suits and is not much slower than others."""
    if site.core == "m55" or op.depth_multiplier != 1 or not sums_stay_inside(site, op) or not _clamps(site, op):
        return []
    cost = _cost(site, op)
    if cost.cycles > _SLOWER * min(kernel.cost.cycles for kernel in others):
        return []
    weights = Int8Channels(_grouped(op.weights).ravel())
    name, scratch = "tg_depthwise_channels", _POINTER * (math.prod(op.window.kernel) + 1) + op.out_shape[2]
    return [Kernel(name, (f"{name}.c",), "int8", weights, folded_bias(op), cost, scratch, "pixels")]


def _cost(site: Site, op: DepthwiseConv2D) -> Cost:
    (height, width, channels), taps = op.out_shape, math.prod(op.window.kernel)
    groups = height * width * -(-channels // _CHANNELS)
    rows, columns = (inner_outputs(site, op, axis) for axis in (0, 1))
    moved = max(0, rows * columns - (rows if width > 1 else 1))  # pixels that follow another inner one
    tap, alone, four, place = _COUNTS[site.core]
    return Cost.of(
        (groups * taps, *tap), (groups * (taps % 2), *alone), (groups, *four),
        ((height * width - moved) * taps, *place), (moved * taps, 5, 8), (height * width, 40, 60),
    )  # fmt: skip


def _clamps(site: Site, op: DepthwiseConv2D) -> bool:
    """Whether the core's loops clamp as the layer does; all but M0's clamp to int8 alone, after a right shift."""
    plain = (op.requant.act_min, op.requant.act_max) == (-128, 127) and int(op.requant.shift.max()) < 0
    return plain or site.core == "m0"


def _grouped(weights: NDArray[Any]) -> NDArray[Any]:
    """[kernel_h, kernel_w, channels] as [groups, taps, 4]: a first tap alone if their number is odd, then pairs."""
    channels = weights.shape[-1]
    flat = np.pad(weights.reshape(-1, channels), ((0, 0), (0, -channels % _CHANNELS)))
    taps = flat.reshape(len(flat), -1, _CHANNELS).swapaxes(0, 1)
    single, pairs = taps[:, : len(flat) % 2], taps[:, len(flat) % 2 :]
    # Two channels of both taps, then the other two.
    pairs = pairs.reshape(len(taps), -1, 2, 2, 2).transpose(0, 1, 3, 2, 4).reshape(len(taps), -1, _CHANNELS)
    return np.ascontiguousarray(np.concatenate([single, pairs], axis=1))
