"""Applies QKeras' quantizers to weights as QKeras does at inference. Runs in the reading process only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tritguard.errors import BadModelError, ToolMissingError, first_line
from tritguard.foreign.expressions import Call, parse

_OF_WEIGHTS = {
    "ternary",
    "stochastic_ternary",
    "binary",
    "stochastic_binary",
    "quantized_bits",
    "quantized_linear",
    "quantized_po2",
    "quantized_relu_po2",
}
_OF_ACTIVATIONS = {"quantized_relu", "quantized_bits"}
_SIGNS = "a sign or a threshold, which no op of TensorFlow Lite Micro computes"
_POWERS = "powers of two, which int8's even steps do not hold"
_NO_ACTIVATIONS = {  # why these are not taken for activations
    **dict.fromkeys(("binary", "stochastic_binary", "ternary", "stochastic_ternary", "bernoulli"), _SIGNS),
    **dict.fromkeys(("quantized_po2", "quantized_relu_po2"), _POWERS),
}

# Without --no-deps, tf-keras would install a second TensorFlow over tensorflow-cpu.
INSTALL_QKERAS = (
    "pip install --no-deps qkeras==0.9.0 tf-keras==2.21.0 tensorflow-model-optimization==0.8.1 keras-tuner==1.4.8 "
    "kt-legacy==1.0.5, and pip install pyparsing networkx dm-tree"
)


def quantized(call: Call, weights: NDArray[np.float32], where: str) -> NDArray[np.float32]:
    """Quantize weights to the values with which the network computes at inference.

    Raises:
        BadModelError: the quantizer is not known here, QKeras refuses it, or it rounds at random.
        ToolMissingError: QKeras is not installed.
    """
    quantizer = _make(call, _OF_WEIGHTS, where)
    try:
        return np.asarray(quantizer(weights), np.float32)
    except Exception as error:  # QKeras asserts, and may divide by zero
        raise BadModelError(f"QKeras' {call.name} fails on its weights ({_reason(error)})", where=where) from error


@dataclass(frozen=True)
class Saturation:
    """A quantized activation without its rounding: max(low, min(high, x)).

    Attributes:
        low: 0 for a ReLU, else negative.
        high: the greatest value of the output.
        notes: how the deployed network will differ from the file.
    """

    low: float
    high: float
    notes: tuple[str, ...]


def activation(call: Call, where: str) -> Saturation:
    """The range to which a quantized activation clips, according to QKeras' forward pass.

    Raises:
        BadModelError: int8 activations cannot reproduce it, or QKeras refuses it.
        ToolMissingError: QKeras is not installed.
    """
    if call.name in _NO_ACTIVATIONS:
        what = f"{call.name} of activations, which gives {_NO_ACTIVATIONS[call.name]}"
        raise BadModelError(what, where=where, fix=f"those taken are {', '.join(sorted(_OF_ACTIVATIONS))}")
    quantizer = _make(call, _OF_ACTIVATIONS, where)
    if quantizer.qnoise_factor != 1:
        raise BadModelError(f"{call.name} with a qnoise_factor", where=where, fix="save it with qnoise_factor=1")
    bits = int(quantizer.bits)
    coarse = (f"{where}: activations of {bits} bits become int8, finer than in the file",) if bits < 8 else ()
    if call.name == "quantized_relu":
        high, ignored = _relu_bound(quantizer, where)
        return Saturation(0.0, high, coarse + ignored)
    low, high = _fixed_point_range(quantizer, where)
    clipped = (f"{where}: clipped to {low:g} to {high:g} on the int8 grid of what it reads",) if low else ()
    return Saturation(low, high, coarse + clipped)


def _relu_bound(quantizer: Any, where: str) -> tuple[float, tuple[str, ...]]:
    """The value at which a quantized_relu saturates, and notes for the user."""
    if quantizer.use_sigmoid or quantizer.negative_slope:
        raise BadModelError("quantized_relu with a sigmoid or a slope", where=where, fix="use the plain one")
    greatest = float(2.0**quantizer.integer * (1 - 2.0 ** -int(quantizer.bits)))
    bound = quantizer.relu_upper_bound
    if not bound or bound >= greatest:
        return greatest, ()
    if not quantizer.is_quantized_clip:
        return float(bound), ()
    what = f"saturates at {greatest:g}: QKeras heeds relu_upper_bound={bound:g} with is_quantized_clip=False alone"
    return greatest, (f"{where}: {what}, which only 'quantized_relu(...)' as text keeps",)


def _fixed_point_range(quantizer: Any, where: str) -> tuple[float, float]:
    """The least and the greatest output of a quantized_bits."""
    if quantizer.alpha not in (None, 1):
        fix = "use alpha=1"
        what = f"quantized_bits of activations with alpha={quantizer.alpha!r}, a scale of each batch's own"
        raise BadModelError(what, where=where, fix=fix)
    magnitude_bits = int(quantizer.bits) - bool(quantizer.keep_negative)
    if magnitude_bits < 1:
        raise BadModelError("quantized_bits of one bit, a sign, of activations", where=where, fix="use two bits")
    end = float(2.0**quantizer.integer)
    step = end / 2.0**magnitude_bits
    low = (-end + step if quantizer.symmetric else -end) if quantizer.keep_negative else 0.0
    return low, end - step


def makes_activation(value: object) -> bool:
    """Whether QKeras is asked for what a configuration says of an activation, as `activation` does with these."""
    try:
        call = parse(value, "")
    except BadModelError:
        return False
    return call is not None and call.name in _OF_ACTIVATIONS


def import_qkeras() -> Any:
    """Import the module with QKeras' quantizers. This takes seconds, and most files do not need it.

    Raises:
        ToolMissingError: QKeras is not installed.
    """
    try:
        from qkeras import quantizers  # noqa: PLC0415 - see above
    except ImportError as error:
        raise ToolMissingError(
            f"QKeras cannot be imported ({error})",
            fix=INSTALL_QKERAS,
        ) from error
    return quantizers


def _make(call: Call, known: set[str], where: str) -> Any:
    if call.name not in known:
        fix = f"those taken are {', '.join(sorted(known))}"
        raise BadModelError(f"the quantizer {call.name[:60]!r} is not taken here", where=where, fix=fix)
    module = import_qkeras()
    try:
        quantizer = getattr(module, call.name)(*call.args, **call.kwargs)
    except Exception as error:  # its constructor may raise anything on odd arguments
        raise BadModelError(f"QKeras refuses {call.name} ({_reason(error)})", where=where) from error
    if getattr(quantizer, "use_stochastic_rounding", False):
        fix = "save it with use_stochastic_rounding=False"
        raise BadModelError("rounds at random at inference too: no fixed weights", where=where, fix=fix)
    return quantizer


def _reason(error: Exception) -> str:
    return first_line(error) or type(error).__name__
