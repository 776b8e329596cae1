"""What the reading process hands over: a network as plain data."""

from __future__ import annotations

from typing import Literal

from tritguard.records import Record

# What a worker leaves in its folder.
DESCRIPTION = "description.json"
WEIGHTS = "weights.npz"
FAILURE = "failure.json"

Kind = Literal[
    "InputLayer",
    "Conv2D",
    "DepthwiseConv2D",
    "Dense",
    "BatchNormalization",
    "ReLU",
    "Clip",
    "Activation",
    "Softmax",
    "Add",
    "MaxPooling2D",
    "AveragePooling2D",
    "GlobalAveragePooling2D",
    "Flatten",
    "Reshape",
    "ZeroPadding2D",
    "Dropout",
    "tritguard>TernaryConv2D",
    "tritguard>TernaryDepthwiseConv2D",
    "tritguard>TernaryDense",
]
Scalar = bool | int | float | str | None
Option = Scalar | tuple[Scalar | tuple[Scalar, ...], ...]  # the deepest are paddings: ((top, bottom), (left, right))


class Layer(Record):
    """A layer of Keras 3, or of tritguard's; a Clip is max(low, min(high, x)).

    Attributes:
        name: unique in the network.
        kind: its class.
        options: what its constructor takes.
        inputs: names of the layers whose outputs it reads.
        weights: names of its weights, each an array `INDEX_NAME` of the weights file.
    """

    name: str
    kind: Kind
    options: dict[str, Option]
    inputs: tuple[str, ...]
    weights: tuple[str, ...] = ()


class Description(Record):
    """A network.

    Attributes:
        layers: in an order in which each comes after those it reads.
        output: name of the layer that gives the output.
        notes: where the network as it will be deployed cannot follow the file exactly.
    """

    layers: tuple[Layer, ...]
    output: str
    notes: tuple[str, ...] = ()


class Failure(Record):
    """Why a file cannot be taken: the fields of a BadModelError, a BadInputError or a ToolMissingError."""

    kind: Literal["model", "input", "missing"]
    what: str
    where: str | None = None
    fix: str | None = None
