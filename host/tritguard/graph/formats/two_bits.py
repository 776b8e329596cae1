"""Two bits a trit, read by portable C: the format that every ternary layer can have, without scratch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from typing_extensions import override

from tritguard.boards import CoreClass
from tritguard.graph.call import Parameters, window_fields
from tritguard.graph.formats.bits import OFFSET_CODE, PADDING, BitMap, trit_bits
from tritguard.graph.formats.cost import Cost, Shape, shape_of
from tritguard.graph.formats.fields import weighted_fields
from tritguard.graph.formats.kernel import Bytes, Image, Kernel, Weights, window_of
from tritguard.graph.formats.registry import Site, offers
from tritguard.graph.formats.ternary import TRITS_PER_WORD, TernaryWeights
from tritguard.graph.model import Conv2D, DepthwiseConv2D, Int32, Weighted


@dataclass(frozen=True, eq=False)
class TwoBits(Weights):
    """A layer's trits, two bits each, and the magnitude of each channel."""

    by_rows = True
    centres = True
    packed: TernaryWeights

    @property
    @override
    def nbytes(self) -> int:
        return self.packed.nbytes

    @override
    def parameters(self, op: Weighted, bias: Int32, source: Image, sink: Image) -> Parameters:
        multiplier = {"depth_multiplier": op.depth_multiplier} if isinstance(op, DepthwiseConv2D) else {}
        arrays: Parameters = {"trits": self.packed.words, "magnitude": self.packed.magnitude}
        window = window_fields(window_of(op), source, sink)
        return {"window": window, **multiplier, "layer": weighted_fields(op, bias, arrays)}

    @override
    def bits(self, op: Weighted) -> BitMap:
        places = np.arange(op.weights.size)
        if isinstance(op, DepthwiseConv2D):
            rows = places.reshape(-1, op.weights.shape[-1])
            padded = np.pad(rows, ((0, 0), (0, -rows.shape[1] % TRITS_PER_WORD)), constant_values=PADDING).ravel()
        else:  # with the guard word that the kernel reads behind the last word
            padded = np.pad(places, (0, -places.size % TRITS_PER_WORD + TRITS_PER_WORD), constant_values=PADDING)
        return trit_bits(op, np.repeat(padded.reshape(-1, 4), 2, axis=1), np.array(OFFSET_CODE))

    @override
    def is_defined(self, op: Weighted, memory: Bytes, clean: Bytes) -> bool:
        """Padding is never read."""
        return True


@offers("ternary2", array="trits", code_bytes={"tg_conv2d_ternary.c": 900, "tg_depthwise_ternary.c": 800})
def ternary2(site: Site) -> list[Kernel]:
    """The portable kernel of a ternary layer."""
    if site.trits is None:
        return []
    op = site.op
    name, struct = "tg_conv2d_ternary", "tg_conv2d_t"
    if isinstance(op, DepthwiseConv2D):
        name, struct = "tg_depthwise_ternary", "tg_depthwise_ternary_t"
    expected, weights = _cost(op, shape_of(op), site.core), TwoBits(site.trits)
    return [Kernel(name, (f"{name}.c",), "ternary2", weights, op.bias, expected, order="pixels", struct=struct)]


def _cost(op: Weighted, shape: Shape, core: CoreClass) -> Cost:
    outputs = shape.pixels * shape.channels
    slow = core == "m0"
    if isinstance(op, DepthwiseConv2D):
        return Cost.of((outputs * shape.positions, *((66, 82) if slow else (12.5, 19))), (outputs, 60, 80))
    runs = op.window.kernel[0] if isinstance(op, Conv2D) else 1
    each, run = ((19, 23), (100, 125)) if slow else ((8.85, 11.7), (117, 155))
    return Cost.of((outputs * shape.positions, *each), (outputs * runs, *run), (outputs, 60, 80))
