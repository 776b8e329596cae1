"""The networks whose widths and depth can be chosen, and what each choice computes, without building it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product

from tritguard.errors import BadInputError
from tritguard.train.config import Block, Stage

Image = tuple[int, int, int]
Stages = tuple[Stage, ...]

_WIDTHS = (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 128)  # the channels of the first stage
_GROWTHS = (1.0, 1.25, 1.5, 2.0)  # by how much channels grow from one stage to the next
_STEP = 8  # widths are multiples of it, because kernels compute several channels or read several trits at a time
_LAST_SIDES = (4, 8)  # the fewest and the most pixels of the picture's shorter side at the last stage
_MOST_CHANNELS = 1024


@dataclass(frozen=True)
class Layer:
    """A layer with weights: output pixels, weights (the MACs of one pixel), output channels, and bytes in and out."""

    pixels: int
    weights: int
    channels: int
    inputs: int
    outputs: int


@dataclass(frozen=True)
class Work:
    """What a choice computes.

    Attributes:
        weights: the number of all layers' weights, without biases.
        macs: multiply-accumulates of an inference, including those over padding.
        channels: outputs of all layers with weights, each of which has a bias and a multiplier.
        peak: the most bytes of int8 activations that a layer reads and writes together.
    """

    weights: int
    macs: int
    channels: int
    peak: int

    @classmethod
    def of(cls, layers: list[Layer]) -> Work:
        """The sum over layers, and the highest peak."""
        return cls(
            weights=sum(layer.weights for layer in layers),
            macs=sum(layer.weights * layer.pixels for layer in layers),
            channels=sum(layer.channels for layer in layers),
            peak=max(layer.inputs + layer.outputs for layer in layers),
        )


@dataclass(frozen=True)
class Family:
    """A network of `tritguard.train.nets` with settings.

    Attributes:
        choices: the choices for an input of a shape (height, width, channels).
        settings: the settings of `[train]` that make a choice.
        work: what a choice computes for a shape and a number of classes.
        words: a choice in a few words.
    """

    choices: Callable[[Image], Iterator[Stages]]
    settings: Callable[[Stages], dict[str, object]]
    work: Callable[[Stages, Image, int], Work]
    words: Callable[[Stages], str]


def family_of(net: str) -> Family:
    """The family of a network.

    Raises:
        BadInputError: its widths and depth cannot be chosen.
    """
    if net not in FAMILIES:
        names = " or ".join(repr(name) for name in FAMILIES)
        raise BadInputError(f"{net!r} has no widths to choose", where="--fit", fix=f"set net to {names}")
    return FAMILIES[net]


def _widths(first: int, count: int) -> Iterator[tuple[int, ...]]:
    """Widths of `count` stages, each at most twice the one before; every choice once."""
    found = set()
    for growths in product(_GROWTHS, repeat=count - 1):
        widths = [first]
        for growth in growths:
            widths.append(_STEP * round(widths[-1] * growth / _STEP))
        if widths[-1] <= _MOST_CHANNELS and tuple(widths) not in found:
            found.add(tuple(widths))
            yield tuple(widths)


def _counts(side: int) -> Iterator[int]:
    """The numbers of strides of two that bring a side to a length that suits the last stage, the fewest first."""
    least, most = _LAST_SIDES
    count, left = 0, side
    while left > most:
        count, left = count + 1, math.ceil(left / 2)
    yield count
    while math.ceil(left / 2) >= least:
        count, left = count + 1, math.ceil(left / 2)
        yield count


def _staged(
    first_strides: tuple[int, ...], depths: Callable[[int], Iterator[tuple[int, ...]]], shape: Image
) -> Iterator[Stages]:
    """Stages with strides of two after the first, over all first widths, growths and depths."""
    side = min(shape[:2])
    for stride in first_strides:
        for count in _counts(math.ceil(side / stride)):
            for first in _WIDTHS:
                for widths, chosen in product(list(_widths(first, count + 1)), list(depths(count + 1))):
                    strides = (stride, *[2] * count)
                    yield tuple(
                        Stage.model_construct(channels=width, stride=each, blocks=blocks)
                        for width, each, blocks in zip(widths, strides, chosen, strict=True)
                    )


def _residual_depths(count: int) -> Iterator[tuple[int, ...]]:
    return product((0, 1), *[(0, 1, 2)] * (count - 1))


def _residual_choices(shape: Image) -> Iterator[Stages]:
    return _staged((1, 2), _residual_depths, shape)


def _residual_settings(stages: Stages) -> dict[str, object]:
    return {"net": "residual", "stages": [stage.model_dump() for stage in stages]}


def _residual_work(stages: Stages, shape: Image, classes: int) -> Work:
    height, width, channels = shape
    layers = []
    for stage in stages:
        before = height * width * channels
        height, width = math.ceil(height / stage.stride), math.ceil(width / stage.stride)
        pixels, out = height * width, stage.channels
        layers.append(Layer(pixels, 9 * channels * out, out, before, pixels * out))
        # A block's input stays until it is added, while its second convolution reads the first one's output.
        inner = Layer(pixels, 9 * out * out, out, 2 * pixels * out, pixels * out)
        layers += [inner] * (2 * stage.blocks)
        channels = out
    return Work.of([*layers, Layer(1, channels * classes, classes, channels, classes)])


def _separable_depths(count: int) -> Iterator[tuple[int, ...]]:
    """Depths of `count` groups of blocks; the fewer groups, the deeper they may be."""
    return product(range(1, {1: 8, 2: 4}.get(count, 3) + 1), repeat=count)


def _separable_choices(shape: Image) -> Iterator[Stages]:
    height, width, channels = shape
    halved = (math.ceil(height / 2), math.ceil(width / 2), channels)
    for stages in _staged((1,), _separable_depths, halved):
        for stem in sorted({stages[0].channels, max(_STEP, _STEP * round(stages[0].channels / 2 / _STEP))}):
            yield (Stage.model_construct(channels=stem, stride=2, blocks=0), *stages)


def _separable_settings(stages: Stages) -> dict[str, object]:
    blocks = [
        Block(channels=stage.channels, stride=stage.stride if number == 0 else 1).model_dump()
        for stage in stages[1:]
        for number in range(stage.blocks)
    ]
    return {"net": "separable", "stem": stages[0].channels, "blocks": blocks}


def _separable_work(stages: Stages, shape: Image, classes: int) -> Work:
    height, width, channels = shape
    before = height * width * channels
    stem, *groups = stages
    height, width = math.ceil(height / 2), math.ceil(width / 2)
    layers = [
        Layer(height * width, 9 * channels * stem.channels, stem.channels, before, height * width * stem.channels)
    ]
    channels = stem.channels
    for group in groups:
        for number in range(group.blocks):
            before, stride = height * width * channels, group.stride if number == 0 else 1
            height, width = math.ceil(height / stride), math.ceil(width / stride)
            pixels, out = height * width, group.channels
            layers.append(Layer(pixels, 9 * channels, channels, before, pixels * channels))
            layers.append(Layer(pixels, channels * out, out, pixels * channels, pixels * out))
            channels = out
    return Work.of([*layers, Layer(1, channels * classes, classes, channels, classes)])


def _words(stages: Stages, unit: str) -> str:
    def word(stage: Stage) -> str:
        stride = f"/{stage.stride}" if stage.stride > 1 else ""
        return f"{stage.channels}{stride}" + (f"{unit}{stage.blocks}" if stage.blocks else "")

    return " ".join(map(word, stages))


FAMILIES: dict[str, Family] = {
    "residual": Family(_residual_choices, _residual_settings, _residual_work, lambda stages: _words(stages, "+")),
    "separable": Family(_separable_choices, _separable_settings, _separable_work, lambda stages: _words(stages, "x")),
}
