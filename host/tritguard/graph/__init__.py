"""The one representation of a model: read from an int8 `.tflite`, in the integers that the device computes with."""

from tritguard.graph.model import Graph
from tritguard.graph.passes import optimised
from tritguard.graph.reading import SUPPORTED_OPS, read_graph

__all__ = ["SUPPORTED_OPS", "Graph", "optimised", "read_graph"]
