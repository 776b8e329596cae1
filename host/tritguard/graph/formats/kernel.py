"""What a weight format is made of: packed weights, and the kernel that reads them on a class of cores."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from tritguard.graph.call import Parameters
from tritguard.graph.formats.bits import BitMap
from tritguard.graph.formats.cost import Cost
from tritguard.graph.model import Add, Conv2D, DepthwiseConv2D, Graph, Int32, Weighted, Window

Order = Literal["any", "pixels", "tiles", "channels"]
Image = tuple[int, int, int]
Bytes = NDArray[np.uint8]
_ADD_TABLE_BYTES = 256 * 4


class Weights(ABC):
    """A layer's weights as they lie in flash, and all that follows from how they lie there.

    Attributes:
        by_rows: the layout does not depend on the image's height, so the kernel can run over a stripe of rows.
        by_pixel: the kernel takes pixels one after the other, so an image under a window of one pixel may be one long
            row.
        centres: the kernel subtracts the input's zero point from each activation; otherwise the bias accounts for it.
    """

    by_rows: ClassVar[bool] = False
    by_pixel: ClassVar[bool] = False
    centres: ClassVar[bool] = False

    @property
    @abstractmethod
    def nbytes(self) -> int:
        """The flash that the weights take in bytes, with the magnitudes and channel numbers that the format needs."""

    @abstractmethod
    def parameters(self, op: Weighted, bias: Int32, source: Image, sink: Image) -> Parameters:
        """The fields of the kernel's struct, the packed weights among them under the format's array name.

        Args:
            op: the layer.
            bias: int32[channels], what the kernel adds to its sums.
            source: the height, width and channels of the input; (1, rows, depth) for a fully connected layer.
            sink: the height, width and channels of the output; (1, rows, units) for a fully connected layer.
        """

    def bits(self, op: Weighted) -> BitMap | None:
        """What the bits of the array stand for; None if a bit does not belong to a single weight. See `bits_of`."""
        return None

    def is_defined(self, op: Weighted, memory: Bytes, clean: Bytes) -> bool:
        """Whether the layer with faulty weights computes the same on every machine, and therefore on the twin.

        It does not if a fault leads outside of the arrays, or if the result comes to depend on old scratch contents.
        Unless a format says more, only clean weights are defined.

        Args:
            op: the layer.
            memory: uint8[bytes], the array with faults.
            clean: uint8[bytes], the array without.
        """
        return bool((memory == clean).all())


@lru_cache(maxsize=64)
def bits_of(op: Weighted, weights: Weights) -> BitMap | None:
    """`weights.bits(op)`, worked out once."""
    return weights.bits(op)


@dataclass(frozen=True, eq=False)
class Kernel:
    """A layer's kernel.

    Attributes:
        function: its C name.
        sources: the files of firmware/kernels that it needs.
        weight_format: the name of the format of its weights.
        weights: the packed weights.
        bias: int32[channels], what the kernel adds to its sums.
        cost: what one run is expected to take.
        scratch_bytes: bytes of the arena that it needs while it runs.
        order: how reading and writing follow one another, which says how far its output may lie over its input
            (`graph/arena/access.py`). "pixels": output pixels in rows from the top, a pixel's input read until its last
            channel is written. "tiles": tiles of any number of such pixels, all input of a tile read before any of
            its output is written. "channels": all input of a channel, then all output of the channel of that number,
            each in the place of its input or elsewhere. "any": nothing is promised, the two never overlap.
        decoding: the part of the cost's cycles that decodes stored weights.
        struct: the C type of its parameters; by default the function's name and `_t`.
    """

    function: str
    sources: tuple[str, ...]
    weight_format: str
    weights: Weights
    bias: Int32
    cost: Cost
    scratch_bytes: int = 0
    order: Order = "any"
    decoding: int = 0
    struct: str = ""

    @property
    def type(self) -> str:
        """The C type of its parameters."""
        return self.struct or f"{self.function}_t"


def scratch_sizes(graph: Graph, kernels: Mapping[int, Kernel]) -> dict[int, int]:
    """Bytes of the arena that a layer's kernel works in while it runs, by the layer's position."""
    sizes = {position: kernel.scratch_bytes for position, kernel in kernels.items()}
    return sizes | {position: _ADD_TABLE_BYTES for position, op in enumerate(graph.ops) if isinstance(op, Add)}


def folded_bias(op: Weighted) -> Int32:
    """int32[channels]: bias - zero point * sum of weights, wrapped as the device's sums are."""
    others = tuple(axis for axis in range(op.weights.ndim) if axis != op.channel_axis)
    sums = op.weights.astype(np.int64).sum(axis=others)
    return np.asarray(op.bias - op.input_zero_point * sums).astype(np.int32)


def window_of(op: Weighted) -> Window:
    """A layer's window; that of a fully connected layer covers one pixel."""
    return op.window if isinstance(op, Conv2D | DepthwiseConv2D) else Window((1, 1), (1, 1), (1, 1), (0, 0))
