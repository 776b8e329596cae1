"""Checks a converted model by reading its bytes back: exact ternary weights, int32 biases, an input of pixels."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import tflite
from numpy.typing import NDArray

from tritguard.errors import BadModelError
from tritguard.oracle import builtin_code

Int8 = NDArray[np.int8]

_WEIGHTED_OPS = {
    tflite.BuiltinOperator.CONV_2D,
    tflite.BuiltinOperator.DEPTHWISE_CONV_2D,
    tflite.BuiltinOperator.FULLY_CONNECTED,
}
PIXEL_SCALE = float(np.float32(1 / 255))
PIXEL_ZERO_POINT = -128


def check_ternary(content: bytes, trits: dict[str, Int8]) -> None:
    """Check that the weights of each ternary layer in the model are exactly its trits times 127.

    The converter renames layers, so a layer is found by its weights.

    Args:
        content: a `.tflite` file.
        trits: for the name of each ternary layer, int8 in {-1, 0, 1} in TFLite's order of axes.

    Raises:
        BadModelError: a layer's weights are not among those of the file.
    """
    weights = _int8_weights(tflite.Model.GetRootAs(content))
    for name, kernel in trits.items():
        wanted = (kernel * np.int8(127)).tobytes()
        if wanted not in weights:
            raise BadModelError("its weights in the .tflite are not its trits times 127", where=f"layer {name}")
        weights.remove(wanted)


def check_pixel_input(content: bytes) -> None:
    """Check that the int8 steps of the model's input are pixels: scale 1/255 and zero point -128.

    Raises:
        BadModelError: the input has another scale or zero point.
    """
    scale, zero_point = input_quantization(content)
    if (scale, zero_point) != (PIXEL_SCALE, PIXEL_ZERO_POINT):
        what = f"the input has scale {scale:.9g} and zero point {zero_point}, not 1/255 and {PIXEL_ZERO_POINT}"
        raise BadModelError(what, fix="give float32 calibration samples if the model does not take pixels over 255")


def check_biases(content: bytes) -> None:
    """Check that every bias of a convolution or dense op is int32, like the accumulators to which it is added.

    Raises:
        BadModelError: a bias has another type.
    """
    model = tflite.Model.GetRootAs(content)
    graph = model.Subgraphs(0)
    for op in _weighted_ops(model):
        index = op.Inputs(2) if op.InputsLength() > 2 else -1
        if index >= 0 and graph.Tensors(index).Type() != tflite.TensorType.INT32:
            raise BadModelError("its bias is not int32", where=f"tensor {graph.Tensors(index).Name().decode()}")


def input_quantization(content: bytes) -> tuple[float, int]:
    """The scale and the zero point of the model's input."""
    graph = tflite.Model.GetRootAs(content).Subgraphs(0)
    quantization = graph.Tensors(graph.Inputs(0)).Quantization()
    return float(quantization.Scale(0)), int(quantization.ZeroPoint(0))


def _weighted_ops(model: tflite.Model) -> Iterator[tflite.Operator]:
    graph = model.Subgraphs(0)
    for index in range(graph.OperatorsLength()):
        op = graph.Operators(index)
        if builtin_code(model.OperatorCodes(op.OpcodeIndex())) in _WEIGHTED_OPS:
            yield op


def _int8_weights(model: tflite.Model) -> list[bytes]:
    """The int8 weights of every convolution and dense op, as bytes in the file's order."""
    graph = model.Subgraphs(0)
    weights = []
    for op in _weighted_ops(model):
        tensor = graph.Tensors(op.Inputs(1))
        if tensor.Type() == tflite.TensorType.INT8:
            weights.append(model.Buffers(tensor.Buffer()).DataAsNumpy().tobytes())
    return weights
