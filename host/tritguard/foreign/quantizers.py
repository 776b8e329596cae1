"""QKeras' quantizers, applied to weights as QKeras applies them at inference. Runs in the reading process alone."""

from __future__ import annotations

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
_OF_ACTIVATIONS = {"quantized_relu", "quantized_bits", "quantized_linear"}


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


def activation(call: Call, where: str) -> tuple[float | None, bool, str | None]:
    """What a quantized activation does.

    Returns:
        upper: where it saturates, or None.
        rectified: whether it is a ReLU.
        note: how int8 will differ, or None.

    Raises:
        BadModelError: one that int8 activations cannot follow.
    """
    quantizer = _make(call, _OF_ACTIVATIONS, where)
    bits = int(quantizer.bits)
    coarse = f"{where}: activations of {bits} bits become int8, finer than in the file" if bits < 8 else None
    if call.name != "quantized_relu":
        return None, False, coarse or f"{where}: {call.name} becomes the int8 range seen in calibration"
    if quantizer.use_sigmoid or quantizer.negative_slope:
        raise BadModelError("quantized_relu with a sigmoid or a slope", where=where, fix="use the plain one")
    if quantizer.is_quantized_clip:
        return float(2.0**quantizer.integer * (1 - 2.0**-bits)), True, coarse
    bound = quantizer.relu_upper_bound
    return (None if bound is None else float(bound)), True, coarse


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
            fix="pip install qkeras==0.9.0 pyparsing, then pip install --no-deps tf-keras==2.21.0",
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
