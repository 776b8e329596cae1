"""Level 1: interval bounds, pushed through every op of the deployed graph in exact integers.

Interval bound propagation (Gowal et al. 2018, 1810.12715), on the integers that the device computes instead of real
numbers, as Lechner et al. (2022, 2211.16187) do it for quantized networks. `steps` says why TFLM's roundings keep the
order; `terms`, `tabled` and `softmax` say how the other parts are bounded.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tritguard.certify.box import Bool, Box
from tritguard.certify.stages import Stage, Sums
from tritguard.graph.model import Int64


@dataclass(frozen=True, eq=False)
class Bounds:
    """What tensors and sums can be, for each of n regions of inputs.

    Attributes:
        boxes: by tensor, boxes of int8 values, int64[n, *shape].
        sums: by the output of a stage of sums, boxes of its sums, int64[n, *summed].
    """

    boxes: Mapping[int, Box]
    sums: Mapping[int, Box]

    def rows(self, chosen: Int64 | Bool | slice) -> Bounds:
        """The bounds of some regions."""
        return Bounds(
            {tensor: box.rows(chosen) for tensor, box in self.boxes.items()},
            {tensor: box.rows(chosen) for tensor, box in self.sums.items()},
        )

    @property
    def empty(self) -> Bool:
        """bool[n]: whether nothing meets all of the bounds, so that the region holds no input."""
        found: Bool = np.logical_or.reduce([box.empty for box in (*self.boxes.values(), *self.sums.values())])
        return found


def propagate(stages: Sequence[Stage], source: int, inputs: Box, known: Mapping[int, Box] | None = None) -> Bounds:
    """Bound every tensor and every sum.

    Args:
        stages: the graph's stages.
        source: the input tensor.
        inputs: boxes of its values, int64[n, *input_shape].
        known: bounds of sums that are known already; the found bounds are cut to them.
    """
    boxes, sums = {source: inputs}, dict[int, Box]()
    for stage in stages:
        if isinstance(stage, Sums):
            found = stage.sums(boxes)
            if known is not None and stage.output in known:
                found = found.meet(known[stage.output])
            sums[stage.output], boxes[stage.output] = found, stage.stepped(found)
        else:
            boxes[stage.output] = stage.bounds(boxes)
    return Bounds(boxes, sums)
