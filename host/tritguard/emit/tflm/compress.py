"""Compresses ternary weights as TFLM does: 2-bit indices and a table of values per channel, decoded by DECODE ops."""

from __future__ import annotations

import contextlib
import io
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np

from tritguard.graph.flatbuffer import RawTensor, parse, reading

# For (op, input 1), the axis of output channels, along which TFLM quantizes weights.
_CHANNEL_AXIS = {"CONV_2D": 0, "FULLY_CONNECTED": 0, "DEPTHWISE_CONV_2D": 3}
_METADATA_BYTES = 16  # bytes in front of each tensor's tables
# A DECODE op and its tensors take 112 B of flash and, on a 64-bit host, 208 B of the arena besides the data. A tensor
# that saves less than both is not worth one.
_DECODE_BYTES = 320
_DECODE_FLASH_BYTES = 112
_MOST_VALUES = 4
DECODE_CODE_BYTES = 18_524
"""Flash that DECODE's own code takes once, on a Cortex-M4 in a release of TFLM; with messages 3,256 B more."""


@dataclass(frozen=True)
class Compressed:
    """A model with DECODE ops.

    Attributes:
        content: the `.tflite` file.
        tensors: the number of compressed weight tensors.
        decoded_bytes: the most bytes that one DECODE writes.
    """

    content: bytes
    tensors: int
    decoded_bytes: int


@dataclass(frozen=True)
class _Plan:
    """How one tensor is compressed.

    Attributes:
        axis: the axis of channels; None where its quantization, and so its table, is per tensor.
        saved: the bytes of flash that compressing it saves, DECODE's own code aside.
    """

    tensor: RawTensor
    bits: int
    axis: int | None
    saved: int


def pays(saved: int, *, has_decode: bool) -> bool:
    """Whether an array that is smaller by `saved` bytes makes the firmware smaller.

    Args:
        saved: the bytes.
        has_decode: the firmware has DECODE's code in any case.
    """
    return saved > (0 if has_decode else DECODE_CODE_BYTES)


def compressible(content: bytes, *, has_decode: bool = False) -> bool:
    """Whether compression would pay; does not need TFLM's package."""
    return pays(sum(plan.saved for plan in _plans(content)), has_decode=has_decode)


def compress(content: bytes) -> Compressed | None:
    """Compress every weight tensor that gets smaller that way; None if there is none.

    Args:
        content: a `.tflite` file, op codes in the newer field (see `container.unpack`).
    """
    plans = _plans(content)
    if not plans:
        return None
    from tflite_micro import compression  # noqa: PLC0415 - optional

    # The compressor reports on stderr and by warnings what only matters to a handwritten specification.
    with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
        warnings.simplefilter("ignore")
        packed = bytes(compression.compress(content, _spec(plans)))
    return Compressed(packed, len(plans), max(plan.tensor.data.size for plan in plans if plan.tensor.data is not None))


def _plans(content: bytes) -> list[_Plan]:
    raw = parse(content)
    with reading():
        axes = {op.input(1): _CHANNEL_AXIS[op.name] for op in raw.ops if op.name in _CHANNEL_AXIS}
        found = [_plan(raw.tensors[index], axis) for index, axis in axes.items()]
    return [plan for plan in found if plan is not None]


def _plan(tensor: RawTensor, axis: int) -> _Plan | None:
    """How to compress one tensor, with as many tables as its quantization has scales.

    DECODE takes the number of tables from the quantization: a single table over weights that are scaled per channel
    decodes to garbage (tflite-micro #3685), so nothing here can ask for that.
    """
    data, per_channel = tensor.data, len(tensor.scales) > 1
    if data is None or tensor.type != "INT8" or tensor.quantized_dimension != (axis if per_channel else 0):
        return None
    channels = np.moveaxis(data, axis, 0).reshape(data.shape[axis] if per_channel else 1, -1)
    values = max(len(np.unique(channel)) for channel in channels)
    if values > _MOST_VALUES:
        return None
    bits = 1 if values <= 2 else 2
    packed = -(-data.size * bits // 8) + _METADATA_BYTES + values * len(channels)
    if data.size - packed < _DECODE_BYTES:
        return None
    return _Plan(tensor, bits, axis if per_channel else None, data.size - packed - _DECODE_FLASH_BYTES)


def _spec(plans: list[_Plan]) -> Any:
    from tflite_micro import compression  # noqa: PLC0415 - optional
    from tflite_micro.tensorflow.lite.micro.compression.spec import PerChannel, PerTensor  # noqa: PLC0415

    builder = compression.SpecBuilder()
    for plan in plans:
        mode = PerTensor() if plan.axis is None else PerChannel(axis=plan.axis)
        builder.add_tensor(subgraph=0, tensor=plan.tensor.index).with_lut(index_bitwidth=plan.bits, mode=mode)
    return builder.build()
