"""The passes from the golden graph to the one that is emitted, which gives the same bytes with less work."""

from __future__ import annotations

from collections.abc import Callable

from tritguard.graph.model import Graph
from tritguard.graph.passes.clamps import fuse_clamps
from tritguard.graph.passes.dead_channels import remove_dead_channels

PASSES: tuple[Callable[[Graph], Graph], ...] = (fuse_clamps, remove_dead_channels)


def optimised(graph: Graph) -> Graph:
    """The graph after all passes. Tensors and ops keep their indices in the `.tflite`.

    The passes know int8 alone: a graph with 16-bit activations stays as it is.
    """
    if graph.is_wide:
        return graph
    for each in PASSES:
        graph = each(graph)
    return graph
