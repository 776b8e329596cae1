"""QKeras' quantizers, applied to weights as QKeras applies them at inference. Runs in the reading process alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tritguard.errors import BadModelError, ToolMissingError
from tritguard.foreign.expressions import Call

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

# With its dependencies tf-keras would install a second TensorFlow over tensorflow-cpu.
INSTALL_QKERAS = (
    "pip install --no-deps qkeras==0.9.0 tf-keras==2.21.0 tensorflow-model-optimization==0.8.1 keras-tuner==1.4.8 "
    "kt-legacy==1.0.5, and pip install pyparsing networkx dm-tree"
)


def quantized(call: Call, weights: NDArray[np.float32], where: str) -> NDArray[np.float32]:
    """Weights as the network computes with them at inference.

    Raises:
        BadModelError: a quantizer that is not known here, or that QKeras refuses.
        ToolMissingError: QKeras is not installed.
    """
    quantizer = _make(call, _OF_WEIGHTS, where)
    try:
        return np.asarray(quantizer(weights), np.float32)
    except Exception as error:  # QKeras asserts and divides as it goes
        raise BadModelError(f"QKeras' {call.name} fails on its weights ({_first_line(error)})", where=where) from error


@dataclass(frozen=True)
class Saturation:
    """A quantized activation without its rounding: max(low, min(high, x)).

    Attributes:
        low: 0 where it is a ReLU, else negative.
        high: the greatest value it gives.
        notes: how the deployed network will differ.
    """

    low: float
    high: float
    notes: tuple[str, ...]


def activation(call: Call, where: str) -> Saturation:
    """What a quantized activation does, from QKeras' forward pass.

    Raises:
        BadModelError: one that int8 activations cannot follow.
    """
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
    """Where a quantized_relu saturates, and what is to be said of it."""
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
    """The least and the greatest value that a quantized_bits gives."""
    if quantizer.alpha not in (None, 1):
        fix = "use alpha=1"
        raise BadModelError(f"quantized_bits of activations with alpha={quantizer.alpha!r}", where=where, fix=fix)
    magnitude_bits = int(quantizer.bits) - bool(quantizer.keep_negative)
    if magnitude_bits < 1:
        raise BadModelError("quantized_bits of one bit, a sign, of activations", where=where, fix="use two bits")
    end = float(2.0**quantizer.integer)
    step = end / 2.0**magnitude_bits
    low = (-end + step if quantizer.symmetric else -end) if quantizer.keep_negative else 0.0
    return low, end - step


def import_qkeras() -> Any:
    """The module of QKeras' quantizers; it takes seconds to import, and most files need none.

    Raises:
        ToolMissingError: it is not installed.
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
    try:
        quantizer = getattr(import_qkeras(), call.name)(*call.args, **call.kwargs)
    except Exception as error:  # whatever its constructor makes of the arguments
        raise BadModelError(f"QKeras refuses {call.name} ({_first_line(error)})", where=where) from error
    if getattr(quantizer, "use_stochastic_rounding", False):
        fix = "save it with use_stochastic_rounding=False"
        raise BadModelError("rounds at random at inference too: no fixed weights", where=where, fix=fix)
    return quantizer


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0][:200] or type(error).__name__
