"""Prepares the samples of a training: chooses them, converts them to input units, and orders and augments them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tritguard.data import Dataset, SampleArray
from tritguard.errors import BadInputError
from tritguard.train.config import TrainConfig

Float32 = NDArray[np.float32]
Int64 = NDArray[np.int64]

_SHIFT = 4  # the most pixels by which a picture is moved; usual for CIFAR-10


@dataclass(frozen=True)
class InputGrid:
    """The float values that an input may have.

    Attributes:
        low, high: bounds of every input value, in input units.
        step: one step of the int8 input grid that the model will have, in input units; 1/255 for pixels.
    """

    low: float
    high: float
    step: float


@dataclass(frozen=True)
class TrainingSet:
    """Samples drawn from the training part of a data set.

    Attributes:
        x: [n, height, width, channels], uint8 pixels or float32 in input units.
        y: int64[n], the labels.
        grid: the values that the float model is given.
    """

    x: SampleArray
    y: Int64
    grid: InputGrid

    def batches(self, config: TrainConfig, epoch: int, first: int = 0) -> Iterator[tuple[Float32, Int64]]:
        """Yield the samples, float32 in input units, and labels of one epoch, from batch number `first` on.

        The seed and the epoch alone determine the order and the augmentation, so a resumed training gets the same
        batches.
        """
        order = np.random.default_rng([config.seed, epoch]).permutation(len(self.x))
        for number in range(first, math.ceil(len(order) / config.batch_size)):
            chosen = order[number * config.batch_size : (number + 1) * config.batch_size]
            x = input_units(self.x[chosen])
            rng = np.random.default_rng([config.seed, epoch, number])
            if config.augment != "none":
                x = augmented(x, flip=config.augment == "shift-flip", rng=rng)
            if config.cutout:
                x = cut_out(x, config.cutout, rng)
            yield x, self.y[chosen]


def training_set(config: TrainConfig, dataset: Dataset) -> TrainingSet:
    """Draw `config.samples` of the training samples of a data set.

    Raises:
        BadInputError: the data set has no training samples, or a new network cannot be trained on them.
    """
    if dataset.x_train is None or dataset.y_train is None:
        raise BadInputError("no training set", where=dataset.name, fix="give a data set with x_train and y_train")
    if dataset.x_train.dtype == np.int8:
        raise BadInputError(
            "int8 samples are some model's input bytes; a new model has none yet",
            where=dataset.name,
            fix="give uint8 pixels or float32 samples",
        )
    if dataset.x_train.ndim != 4:
        raise BadInputError(
            f"samples have shape {dataset.x_train.shape[1:]}",
            where=dataset.name,
            fix="give samples of shape (height, width, channels)",
        )
    chosen = np.random.default_rng(config.seed).permutation(len(dataset.x_train))[: config.samples]
    x = dataset.x_train[chosen]
    return TrainingSet(x, dataset.y_train[chosen], input_grid(x))


def input_grid(x: SampleArray) -> InputGrid:
    """The grid of these samples. As in TFLite, its range always includes zero."""
    if x.dtype == np.uint8:
        return InputGrid(0.0, 1.0, 1 / 255)
    low, high = min(0.0, float(x.min())), max(0.0, float(x.max()))
    return InputGrid(low, high, (high - low) / 255)


def input_units(x: SampleArray) -> Float32:
    """Samples as the float model takes them, float32: pixels (uint8) are divided by 255, others stay unchanged."""
    return np.asarray(x / np.float32(255) if x.dtype == np.uint8 else x, np.float32)


def augmented(x: Float32, *, flip: bool, rng: np.random.Generator) -> Float32:
    """Move each picture by up to 4 pixels, filling with zeros, and mirror it with probability 1/2 if `flip`.

    Args:
        x: float32[n, height, width, channels].
        flip: whether pictures may be mirrored, exchanging left and right.
        rng: draws the shifts and the mirrored pictures.

    Returns:
        float32 of x's shape.
    """
    n, height, width, _ = x.shape
    padded = np.pad(x, ((0, 0), (_SHIFT, _SHIFT), (_SHIFT, _SHIFT), (0, 0)))
    rows, columns = rng.integers(0, 2 * _SHIFT + 1, (2, n))
    mirrored = np.asarray(rng.random(n) < (0.5 if flip else 0.0))
    moved = np.empty_like(x)
    for index, (row, column) in enumerate(zip(rows, columns, strict=True)):
        picture = padded[index, row : row + height, column : column + width]
        moved[index] = picture[:, ::-1] if mirrored[index] else picture
    return moved


def cut_out(x: Float32, side: int, rng: np.random.Generator) -> Float32:
    """Set a square of each picture to zero, around a pixel drawn evenly, so that it may lie partly outside.

    Args:
        x: float32[n, height, width, channels].
        side: the side of the square, in pixels.
        rng: draws the places.

    Returns:
        float32 of x's shape.
    """
    n, height, width, _ = x.shape
    corners = rng.integers(0, (height, width), (n, 2)) - side // 2
    inside = [
        (np.arange(length) >= first[:, None]) & (np.arange(length) < first[:, None] + side)
        for length, first in zip((height, width), corners.T, strict=True)
    ]
    hidden = inside[0][:, :, None] & inside[1][:, None, :]
    return np.where(hidden[..., None], np.float32(0), x)
