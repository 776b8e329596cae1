"""Draws int8 inputs as PNG: images as they are, everything else as heat maps, and differences amplified."""

from __future__ import annotations

import base64
import binascii
import io
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tritguard.errors import BadInputError
from tritguard.evaluate.robustness.result import Picture

SQUARE_SIDE = 168  # pictures are enlarged by whole factors up to this number of pixels
WIDE_SIDE = 490
LEAST_HEIGHT = 32  # a single row of values is stretched to this height
_MOST_AXES = 8  # more than any tensor of a network has; arrays have a bound of their own
_VIRIDIS = np.array([(68, 1, 84), (59, 82, 139), (33, 145, 140), (94, 201, 98), (253, 231, 37)])
_FALL = np.array((33, 102, 172))
_RISE = np.array((178, 24, 43))

Pixels = NDArray[np.uint8]
Integers = NDArray[np.int8] | NDArray[np.int16]


@dataclass(frozen=True)
class Drawing:
    """A picture ready for HTML.

    Attributes:
        clean: a PNG as a data URI, like the two that follow.
        adversarial: the same picture after the attack.
        difference: the change, amplified.
        amplification: the factor that the difference was multiplied with.
        largest_change: max |adversarial - clean| in steps, from the bytes themselves.
        axes: the extents of a heat map along x and y.
    """

    clean: str
    adversarial: str
    difference: str
    width: int
    height: int
    amplification: int
    largest_change: int
    heat_map: bool
    axes: tuple[int, int]

    @property
    def wide(self) -> bool:
        """Whether three such pictures are too wide to stand side by side."""
        return self.width > 2 * self.height


def draw(picture: Picture, where: str) -> Drawing:
    """Draw a picture; see `draw_pair`."""
    return draw_pair(picture.clean_base64, picture.adversarial_base64, picture.shape, where)


def draw_pair(first: str, second: str, shape: tuple[int, ...], where: str) -> Drawing:
    """Draw an input and what was made of it.

    int8[h, w, 3] is an RGB image and a square int8[h, h, 1] a grey one, with int8 -128..127 shown as 0..255. Any other
    shape becomes a heat map over the range that the two inputs span, with its longer axis from left to right.

    Args:
        first: the int8 bytes of the clean input, base64.
        second: those of the changed one.
        shape: the shape of both.
        where: names the picture in errors.

    Raises:
        BadInputError: the bytes of the picture do not fill its shape.
    """
    clean, adversarial = _pixels(first, shape, where), _pixels(second, shape, where)
    change = adversarial.astype(np.int16) - clean
    largest = int(np.abs(change).max())
    gain = max(1, 127 // max(1, largest))
    heat_map = not _is_image(shape)
    paint = _heat_maps if heat_map else _images
    images = paint(clean, adversarial, change * gain)
    height, width = images[0].shape[:2]
    factor = max(1, (WIDE_SIDE if width > 2 * height else SQUARE_SIDE) // max(height, width))
    size = (width * factor, max(height * factor, LEAST_HEIGHT))
    return Drawing(
        clean=png(images[0], size),
        adversarial=png(images[1], size),
        difference=png(images[2], size),
        width=size[0],
        height=size[1],
        amplification=gain,
        largest_change=largest,
        heat_map=heat_map,
        axes=(width, height),
    )


def _pixels(encoded: str, shape: tuple[int, ...], where: str) -> NDArray[np.int8]:
    try:
        values = np.frombuffer(base64.b64decode(encoded, validate=True), np.int8)
    except (binascii.Error, ValueError) as error:
        raise BadInputError(f"the picture is not base64 ({error})", where=where) from error
    if not shape or min(shape) < 1 or values.size != math.prod(shape):
        raise BadInputError(f"the picture has {values.size} bytes, which do not fill the shape {shape}", where=where)
    if len(shape) > _MOST_AXES:
        raise BadInputError(f"the picture has {len(shape)} axes, at most {_MOST_AXES} are drawn", where=where)
    return values.reshape(shape)


def _is_image(shape: tuple[int, ...]) -> bool:
    return len(shape) == 3 and (shape[2] == 3 or (shape[2] == 1 and shape[0] == shape[1]))


def _flat(values: Integers) -> Integers:
    """Reshape values of any shape to rows and columns, with the longer axis across."""
    rows = values.reshape(values.shape[0], -1)
    return rows.T if rows.shape[0] > rows.shape[1] else rows


def _images(clean: Integers, adversarial: Integers, change: Integers) -> tuple[Pixels, Pixels, Pixels]:
    return _grey(clean), _grey(adversarial), _grey(change.clip(-128, 127))


def _heat_maps(clean: Integers, adversarial: Integers, change: Integers) -> tuple[Pixels, Pixels, Pixels]:
    low, high = int(min(clean.min(), adversarial.min())), int(max(clean.max(), adversarial.max()))
    return heat(_flat(clean), low, high), heat(_flat(adversarial), low, high), _diverging(_flat(change))


def _grey(values: Integers) -> Pixels:
    return (values.astype(np.int16) + 128).astype(np.uint8)


def heat(values: NDArray[np.number], low: float, high: float) -> Pixels:
    """Colour values, [height, width], from blue at `low` to yellow at `high`."""
    position = (values.astype(np.float64) - low) / max(1, high - low) * (len(_VIRIDIS) - 1)
    anchors = np.arange(len(_VIRIDIS))
    return np.stack([np.interp(position, anchors, _VIRIDIS[:, channel]) for channel in range(3)], -1).astype(np.uint8)


def _diverging(values: Integers) -> Pixels:
    strength = np.clip(values / 127, -1, 1)[..., np.newaxis]
    end = np.where(strength > 0, _RISE, _FALL)
    return np.asarray(255 + np.abs(strength) * (end - 255), dtype=np.uint8)


def png(pixels: Pixels, size: tuple[int, int]) -> str:
    """Pack pixels, uint8[height, width, 1 or 3], enlarged to a size, as a PNG in a data URI."""
    image = Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)
    buffer = io.BytesIO()
    image.resize(size, Image.Resampling.NEAREST).save(buffer, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
