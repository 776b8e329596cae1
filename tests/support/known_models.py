"""Small models with known ops, which many tests convert, build and run."""

from __future__ import annotations

import numpy as np

from tests.support.random_moves import computed_size, gather, resize_bilinear, resize_nearest
from tests.support.random_pairs import reduced
from tests.support.tflite_builder import ModelBuilder
from tests.support.tflite_tables import Table


def ternary_model(seed: int = 1) -> bytes:
    """A small model of the ops of convolutional nets, ternary and int8, whose outputs differ on random inputs."""
    rng = np.random.default_rng(seed)
    builder = ModelBuilder((8, 8, 3), 1 / 255, -128)
    weights = (rng.integers(-1, 2, (16, 3, 3, 3)) * 127).astype(np.int8)
    tensor = builder.conv(builder.input, weights, [0.01] * 16, None, (0.05, -128), activation="RELU")
    depthwise = (rng.integers(-1, 2, (3, 3, 16)) * 127).astype(np.int8)
    branch = builder.depthwise(tensor, depthwise, [0.01] * 16, None, (0.05, -128), activation="RELU6")
    tensor = builder.add(tensor, branch, (0.1, -128))
    tensor = builder.pad(tensor, [(1, 1), (0, 1), (0, 0)])
    tensor = builder.pool(tensor, "MAX", (2, 2), (2, 2), same=False, activation="NONE")
    tensor = builder.pool(tensor, "AVERAGE", (2, 2), (1, 1), same=True, activation="NONE")
    tensor = builder.conv(tensor, rng.integers(-127, 128, (8, 1, 1, 16), dtype=np.int8), [0.01] * 8, None, (0.4, 3))
    tensor = builder.quantize(tensor, (0.5, 0))
    tensor = builder.mean(tensor, (0.2, 2), keep_dims=False)
    tensor = builder.dense(tensor, rng.integers(-127, 128, (5, 8), dtype=np.int8), [0.002], None, (0.05, 0))
    return builder.build(builder.softmax(tensor))


def image_model() -> bytes:
    """A model of pictures of 3,072 bytes with ten outputs, which computes little."""
    rng = np.random.default_rng(0)
    builder = ModelBuilder((32, 32, 3), 1 / 255, -128)
    tensor = builder.pool(builder.input, "AVERAGE", (8, 8), (8, 8), same=False, activation="NONE")
    tensor = builder.conv(tensor, rng.integers(-127, 128, (10, 1, 1, 3), dtype=np.int8), [0.01] * 10, None, (0.4, 3))
    tensor = builder.mean(tensor, (0.2, 2), keep_dims=False)
    tensor = builder.dense(tensor, rng.integers(-127, 128, (10, 10), dtype=np.int8), [0.002], None, (0.05, 0))
    return builder.build(builder.softmax(tensor))


def other_ops_model() -> bytes:
    """One op of every kernel that `ternary_model` lacks, scaled so that the output still depends on the inputs."""
    rng = np.random.default_rng(2)
    builder = ModelBuilder((4, 4, 8), 0.05, 0)
    tensor = builder.unary("TANH", builder.input, (1 / 128, 0))
    channels = builder.constant(rng.integers(30, 100, 8, dtype=np.int8), [0.01])
    for name in ("ADD", "SUB", "MUL", "PRELU"):
        tensor = builder.binary(name, tensor, channels, (0.015, 0))
    low = builder.constant(np.full(8, -100, dtype=np.int8), [0.015])
    tensor = builder.binary("MAXIMUM", tensor, low, (0.015, 0))
    tensor = builder.binary("MINIMUM", builder.constant(np.full(8, 100, np.int8), [0.015]), tensor, (0.015, 0))
    wide = rng.integers(-127, 128, (8, 3, 3, 8), dtype=np.int8)
    tensor = builder.transpose_conv(tensor, wide, [0.01] * 8, None, (0.1, 0), (8, 8), stride=(2, 2), same=True)
    tensor = builder.binary("SQUARED_DIFFERENCE", tensor, channels, (0.2, -100))
    tensor = resize_bilinear(builder, gather(builder, tensor, 1, [7, 0, 3, 3, 5]), (8, 8), False, True)
    peak = reduced(builder, tensor, "REDUCE_MAX", [1, 3], builder.quant(tensor))
    least = reduced(builder, tensor, "REDUCE_MIN", [2], builder.quant(tensor))
    total = reduced(builder, tensor, "SUM", [1, 2], (2.0, 3))
    for other in (peak, least):
        tensor = builder.add(tensor, other, (0.3, -100))
    tensor = builder.add(builder.log_softmax(tensor), total, (0.9, -128))
    tensor = builder.add(builder.l2_normalization(tensor), tensor, (0.9, -128))
    grams = builder.activation((8, 8, 8), 2000.0, -128)
    options = Table("BatchMatMulOptions", AdjX=True)
    tensor = builder.op("BATCH_MATMUL", [tensor, tensor], grams, options)
    tensor = builder.transpose(tensor, (0, 2, 1, 3))
    parts = builder.split(tensor, 3, [4, 4], explicit=False)
    tensor = resize_nearest(builder, builder.concatenation(parts[::-1], 3), (3, 3), False, False)
    return builder.build(builder.strided_slice(tensor, [0, 2, 0, 0], [1, 0, 3, 8], [1, -1, 2, 3], (2, 2, 3)))


def large_windows_model(kernel: tuple[int, int] = (10, 4), channels: tuple[int, ...] = (27, 30)) -> bytes:
    """Convolutions whose windows are so large beside the images that columns of four would be most of the arena.

    The number of positions of the first is a multiple of four or not, that of the second is widened in pieces.
    """
    rng = np.random.default_rng(9)
    builder = ModelBuilder((14, 8, 3), 0.05, 3)
    tensor, depth = builder.input, 3
    for units, stride in zip(channels, ((1, 1), (2, 3)), strict=False):
        weights = rng.integers(-127, 128, (units, *kernel, depth), dtype=np.int8)
        bias = rng.integers(-999, 999, units, dtype=np.int32)
        scale = 0.02 * float(np.sqrt(weights[0].size))
        tensor = builder.conv(tensor, weights, [0.01] * units, bias, (scale, -7), stride=stride, activation="RELU")
        depth = units
    return builder.build(tensor)


def long_dense_model(depth: int = 1003, units: int = 7, activation: str = "NONE") -> bytes:
    """A dense layer whose vector is widened in pieces, the last of them short and odd."""
    rng = np.random.default_rng(8)
    builder = ModelBuilder((depth,), 0.05, 3)
    weights, bias = rng.integers(-127, 128, (units, depth), dtype=np.int8), rng.integers(-9, 9, units, dtype=np.int32)
    return builder.build(builder.dense(builder.input, weights, [0.01] * units, bias, (2.0, -1), activation))


def several(inputs_: int, outputs: int) -> bytes:
    """A sum of tanh of the first input, of the others and of a constant."""
    builder = ModelBuilder((3, 4), 0.5, 3)
    ramp = np.roll(np.arange(12, dtype=np.int8), 5).reshape(1, 3, 4)
    sources = [builder.input, *(builder.add_input((3, 4), 0.25, number) for number in range(inputs_ - 1))]
    total = builder.unary("TANH", sources[0], (1 / 128, 0))
    for source in sources[1:]:
        total = builder.add(total, source, (0.5, 1))
    total = builder.add(total, builder.constant(ramp, [1.0]), (0.5, 1))
    return builder.build(*[total, builder.reshape(total, (12,)), builder.reshape(sources[0], (4, 3))][:outputs])


def edged(kind: str, quant: tuple[float, int] = (0.25, -3)) -> bytes:
    """A model whose golden edges are of another type."""
    outside = (quant[0], quant[1] + 128)
    builder = ModelBuilder((4, 3), *quant)
    inner = builder.input
    builder.inputs = [builder.edge((4, 3), kind, outside)]
    builder.op("QUANTIZE", builder.inputs, inner, Table("QuantizeOptions"))
    tensor = builder.unary("TANH", inner, (1 / 128, 0))
    name = "DEQUANTIZE" if kind == "FLOAT32" else "QUANTIZE"
    return builder.build(builder.op(name, [tensor], builder.edge((4, 3), kind, (1 / 128, 128))))


def wide_edges() -> bytes:
    """A network that begins in 16 bits and ends in a softmax of 16 and in 32, as keyword networks of SVDF do."""
    builder = ModelBuilder((6,), 0.05, -128)
    rng = np.random.default_rng(6)
    inner = builder.input
    builder.inputs = [builder.tensor([1, 6], "INT16", [0.0005], [0])]
    builder.op("QUANTIZE", builder.inputs, inner, Table("QuantizeOptions"))
    logits = builder.dense(inner, rng.integers(-127, 128, (3, 6), dtype=np.int8), [0.01], None, (0.1, 2))
    softmax = builder.op(
        "SOFTMAX", [logits], builder.tensor([1, 3], "INT16", [1 / 65536], [-32768]), Table("SoftmaxOptions", Beta=1.0)
    )
    wide = builder.tensor([1, 3], "INT32", [1 / 32768], [0])
    return builder.build(builder.op("QUANTIZE", [softmax], wide, Table("QuantizeOptions")))


def float_end() -> bytes:
    """A head whose float32 values are exponentiated, and one that leaves as it is."""
    builder = ModelBuilder((6,), 0.05, 3)
    rng = np.random.default_rng(7)
    heads = []
    for units in (4, 3):
        weights = rng.integers(-127, 128, (units, 6), dtype=np.int8)
        head = builder.dense(builder.input, weights, [0.01], None, (0.1, 2))
        heads.append(builder.op("DEQUANTIZE", [head], builder.edge((units,), "FLOAT32", (0, 0))))
    exponent = builder.op("EXP", [heads[0]], builder.edge((4,), "FLOAT32", (0, 0)), Table("ExpOptions"))
    return builder.build(exponent, heads[1])


def computed_ahead() -> bytes:
    """A resize to twice the size of the input, which the file computes from its shape."""
    builder = ModelBuilder((3, 5, 2), 0.5, 3)
    return builder.build(resized_by_its_shape(builder))


def resized_by_its_shape(builder: ModelBuilder) -> int:
    """The input of 3 x 5 pixels at twice its size, which ops compute from its shape."""
    resized = resize_bilinear(builder, builder.input, (6, 10), align_corners=False, half_pixels=True)
    resizing = builder.operators.pop()
    resizing.fields["Inputs"][1] = computed_size(builder, builder.input, 2)
    builder.operators.append(resizing)
    return resized


def any_edges() -> bytes:
    """Inputs and outputs that the engine has none of: 16 and 32 bits, bool, float32 inside, uint8 of another scale, and
    batches of two, without scales where an op needs none.
    """
    builder = ModelBuilder((6,), 0.05, -128)
    rng = np.random.default_rng(6)
    quantize = Table("QuantizeOptions")
    wide = builder.tensor([1, 6], "INT16", [0.0005], [0])
    pixels = builder.tensor([1, 6], "UINT8", [0.02], [7])
    pair = builder.tensor([2, 3], "INT8", [0.1], [5])
    builder.op("QUANTIZE", [wide], builder.input, quantize)
    shifted = builder.op("QUANTIZE", [pixels], builder.tensor([1, 6], "INT8", [0.05], [-128]), quantize)
    logits = builder.dense(shifted, rng.integers(-127, 128, (3, 6), dtype=np.int8), [0.01], None, (0.1, 2))
    real = builder.op("DEQUANTIZE", [logits], builder.tensor([1, 3], "FLOAT32", [], []))
    flags = builder.tensor([1, 6], "BOOL", [], [])
    builder.inputs = [wide, pixels, pair]
    outputs = [
        builder.op("RELU", [real], builder.tensor([1, 3], "FLOAT32", [], [])),
        builder.op("GREATER", [builder.input, shifted], flags, Table("GreaterOptions")),
        builder.op("QUANTIZE", [logits], builder.tensor([1, 3], "INT32", [1 / 32768], [0]), quantize),
        builder.op("LOGISTIC", [pair], builder.tensor([2, 3], "INT8", [1 / 256], [-128])),
    ]
    return builder.build(*outputs)


def big_ternary_model(channels: int = 16) -> bytes:
    """A convolution of 144 ternary weights a channel, which TFLM's compression makes smaller by some 100 B each."""
    builder = ModelBuilder((4, 4, 16), 0.5, 0)
    weights = (np.random.default_rng(2).integers(-1, 2, (channels, 3, 3, 16)) * 127).astype(np.int8)
    return builder.build(builder.conv(builder.input, weights, [0.01] * channels, None, (1.0, 0)))
