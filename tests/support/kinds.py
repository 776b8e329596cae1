"""Models of one layer each, of the kinds that have kernels of their own, in the forms that those kernels take."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from hypothesis import strategies as st

from tests.support.tflite_builder import ModelBuilder

KINDS = (
    "depthwise", "line", "few outputs", "multiplied", "one channel", "few channels", "convolution", "trits", "pixel",
    "dilated", "pool",
)  # fmt: skip


@st.composite
def models_of_kind(draw: st.DrawFn, kind: str) -> bytes:
    """One layer whose sums are narrow and which only int8 clamps; with the pool behind it, it does not give logits."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    kernel, stride, dilation, multiplier, inputs = _form(draw, kind)
    sides = tuple(
        (k - 1) * d + draw(st.integers(1, 9 if max(kernel) < 8 else 14)) * s
        for k, s, d in zip(kernel, stride, dilation, strict=True)
    )
    if kind == "line":
        sides = (sides[0], kernel[1])
    elif kind == "few outputs":
        sides = tuple((k - 1) * d + draw(st.integers(1, 3)) for k, d in zip(kernel, dilation, strict=True))
    builder = ModelBuilder((*(sides if kind != "pixel" else kernel), inputs), 0.05, int(rng.integers(-128, 20)))
    options: dict[str, Any] = {"stride": stride, "dilation": dilation, "same": draw(st.booleans()) and kind != "pixel"}
    if kind == "pool":
        tensor = builder.pool(
            builder.input, draw(st.sampled_from(["MAX", "AVERAGE"])), kernel, stride, bool(options["same"]), "NONE"
        )
        return builder.build(tensor)
    depthwise = kind in ("depthwise", "line", "few outputs", "multiplied", "one channel", "dilated")
    channels = inputs * multiplier if depthwise else draw(st.integers(1, 21))
    shape = (*kernel, channels) if depthwise else (channels, *kernel, inputs)
    weights = rng.integers(-127, 128, shape, dtype=np.int8)
    if kind == "trits":  # of a magnitude for each channel
        weights = (rng.integers(-1, 2, shape) * rng.integers(1, 128, (channels, 1, 1, 1))).astype(np.int8)
    positions = weights.size // channels
    scales = rng.uniform(0.005, 0.02, channels).tolist()
    bias = rng.integers(-3000, 3000, channels, dtype=np.int32)
    activation = draw(st.sampled_from(["NONE", "RELU"]))
    out = (0.05 * 0.02 * math.sqrt(positions) * 60 / draw(st.sampled_from([0.5, 1, 3])), -128)
    add = builder.depthwise if depthwise else builder.conv
    tensor = add(builder.input, weights, scales, bias, out, activation=activation, **options)
    return builder.build(builder.pool(tensor, "MAX", (1, 1), (1, 1), False, "NONE"))


def _form(draw: st.DrawFn, kind: str) -> tuple[tuple[int, int], tuple[int, int], tuple[int, int], int, int]:
    """Kernel, stride, dilation, depth multiplier and input channels."""
    sides = st.integers(1, 5)
    kernel = (draw(sides), draw(sides))
    stride = (draw(st.integers(1, 3)),) * 2
    dilation, multiplier, inputs = (1, 1), 1, draw(st.integers(1, 20))
    if kind == "depthwise":
        kernel = draw(st.sampled_from([(3, 3), (3, 3), (5, 5), kernel]))
        inputs = draw(st.sampled_from([3, 8, 16, 19, inputs]))
    elif kind == "line":
        kernel = (draw(st.integers(1, 16)), 1)
        stride = (draw(st.integers(1, 2)), 1)
    elif kind == "few outputs":
        kernel = draw(st.sampled_from([(3, 3), (1, 5), (15, 1), (4, 2), kernel]))
        stride, dilation = (draw(st.integers(1, 2)),) * 2, (draw(st.integers(1, 2)),) * 2
        stride = stride if dilation == (1, 1) else (1, 1)
        inputs = draw(st.sampled_from([1, 3, 4, 16, 31, inputs]))
    elif kind == "multiplied":
        multiplier = draw(st.integers(2, 8))
    elif kind == "one channel":
        multiplier, inputs = draw(st.integers(1, 9)), 1
    elif kind == "few channels":
        inputs = draw(st.integers(1, 5))
    elif kind == "convolution":
        inputs = draw(st.sampled_from([4, 8, 16, 20, 32, 35]))
    elif kind == "trits":
        inputs = draw(st.sampled_from([1, 3, 16, 64, 70, inputs]))
        stride = stride if inputs <= 20 else (1, 1)
        dilation = draw(st.sampled_from([(1, 1), (1, 1), (2, 2)])) if stride == (1, 1) else dilation
    elif kind == "pixel":
        stride, inputs = (1, 1), draw(st.integers(1, 70))
    elif kind == "dilated":
        stride, dilation = (1, 1), (draw(st.integers(1, 3)), draw(st.integers(2, 3)))
    else:
        inputs = draw(st.sampled_from([1, 4, 16, 23]))
    return kernel, stride, dilation, multiplier, inputs
