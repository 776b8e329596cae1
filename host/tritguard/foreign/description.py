"""What the reading process returns: a network described by plain data."""

from __future__ import annotations

from typing import Literal

from tritguard.records import Record

# The files that a worker writes to its folder.
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
Option = Scalar | tuple[Scalar | tuple[Scalar, ...], ...]  # paddings nest deepest: ((top, bottom), (left, right))


class Layer(Record):
    """A layer of Keras 3, or one of tritguard's. A Clip computes max(low, min(high, x)).

    Attributes:
        name: the layer's name, unique in the network.
        kind: the layer's class.
        options: the arguments of its constructor.
        inputs: names of the layers whose outputs it reads.
        weights: names of its weights. Each is an array `INDEX_NAME` in the weights file, INDEX being the layer's place
            in the description.
    """

    name: str
    kind: Kind
    options: dict[str, Option]
    inputs: tuple[str, ...]
    weights: tuple[str, ...] = ()


class Description(Record):
    """A network.

    Attributes:
        layers: the layers, each after those whose outputs it reads.
        output: name of the layer whose output is the network's.
        notes: what the deployed network will do differently from the file.
    """

    layers: tuple[Layer, ...]
    output: str
    notes: tuple[str, ...] = ()


class Failure(Record):
    """Why a file cannot be read: the fields of a BadModelError, a BadInputError or a ToolMissingError."""

    kind: Literal["model", "input", "missing"]
    what: str
    where: str | None = None
    fix: str | None = None
