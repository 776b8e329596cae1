"""What the kernels of the int8 format share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from tritguard.graph.call import Constant, Parameters
from tritguard.graph.formats.fields import weighted_fields
from tritguard.graph.formats.kernel import Weights
from tritguard.graph.formats.narrow import is_narrow
from tritguard.graph.formats.registry import Site
from tritguard.graph.model import Int8, Int32, Weighted

OUTPUT_CODE = {"tg_output.c": 400}  # bytes of the file that turns sums into int8


@dataclass(frozen=True, eq=False)
class Int8Weights(Weights):
    """Weights that stay int8.

    Attributes:
        values: int8, flat, in the order in which the kernel reads them.
    """

    values: Int8

    @property
    @override
    def nbytes(self) -> int:
        return int(self.values.nbytes)

    def layer(self, op: Weighted, bias: Int32) -> Parameters:
        """The fields of a `tg_weighted_t`; bias: int32[channels]."""
        return weighted_fields(op, bias, {"weights": Constant(self.values, aligned=True)})


def sums_stay_inside(site: Site, op: Weighted) -> bool:
    """Whether a kernel may rescale a layer's sums in few instructions and need not hand them out as logits."""
    logits = site.graph.logits_position()
    return is_narrow(op) and not (logits is not None and site.graph.ops[logits] is op)


def by_channel(op: Weighted, weights: NDArray[Any]) -> NDArray[Any]:
    """Weights, or another array of their shape, as [channels, positions], with positions in the order of a window."""
    return np.moveaxis(weights, op.channel_axis, 0).reshape(len(op.bias), -1)
