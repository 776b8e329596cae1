"""Readers of ops that keep a state of their own: LSTM and SVDF."""

from __future__ import annotations

import math

import numpy as np
import tflite

from tritguard.errors import BadModelError, UnsupportedOpError
from tritguard.graph.arithmetic import curve, fixed_point
from tritguard.graph.call import KernelCall, Parameters, calls, scale_fields
from tritguard.graph.flatbuffer import DTYPES, RawOp, RawTensor
from tritguard.graph.model import Int8, Int32, Int64, Op, Requant, Tensor
from tritguard.graph.reading.checks import NO_CLAMP, options_of
from tritguard.graph.reading.reader import Reader
from tritguard.graph.reading.registry import reads
from tritguard.graph.stateful import Lstm, Svdf

_GATES = 4
_ABSENT = {
    "peepholes": range(9, 12), "a projection": range(16, 18), "layer normalisation": range(20, 24),
}  # fmt: skip
_TANH = 4  # the number of the activation in the schema
_GATE_SCALE, _CURVE_SCALE = np.float32(2.0**-12), np.float32(2.0**-15)  # scales at the input and output of the curves
_LEAST_POWER, _MOST_POWER = -28, 2  # exponents of the cell's scale for which products stay in 32 bits
_INT16 = (-(1 << 15), (1 << 15) - 1)


@reads(
    "UNIDIRECTIONAL_SEQUENCE_LSTM",
    device="sums of products and 16-bit gates; the states are bytes that outlive an inference",
    limits="UNIDIRECTIONAL_SEQUENCE_LSTM: a batch of one, int8 with a 16-bit cell; no peepholes, projection or "
    "normalisation",
)
def lstm(reader: Reader, raw: RawOp) -> Op:
    """UNIDIRECTIONAL_SEQUENCE_LSTM with int8 weights, one scale for each matrix."""
    source, output = reader.in_out(raw)
    options = options_of(raw, tflite.UnidirectionalSequenceLSTMOptions)
    _check_kind(raw, options.FusedActivationFunction())
    steps, depth, units = _sizes(raw, source, output, bool(options.TimeMajor()))
    hidden = reader.kept(raw, 18, "INT8", units)
    cell = reader.kept(raw, 19, "INT16", units)
    fresh = [_matrix(reader, raw, 1 + gate, units, depth) for gate in range(_GATES)]
    kept = [_matrix(reader, raw, 5 + gate, units, units) for gate in range(_GATES)]
    biases = [_bias(reader, raw, 12 + gate, units) for gate in range(_GATES)]
    power = round(math.log2(cell.scale))
    if not _LEAST_POWER <= power <= _MOST_POWER:
        raise UnsupportedOpError(f"a cell of scale {cell.scale:g}", where=raw.describe())
    return Lstm(
        index=raw.index,
        inputs=(source.index, hidden.index, cell.index),
        output=output.index,
        steps=steps,
        weights=np.stack([np.hstack([_values(a), _values(b)]) for a, b in zip(fresh, kept, strict=True)]),
        bias=np.stack(
            [
                np.stack(
                    [_folded(b, _values(a), source.zero_point), _folded(0, _values(h), hidden.zero_point)], axis=-1
                )
                for a, h, b in zip(fresh, kept, biases, strict=True)
            ]
        ),
        sums=tuple(
            (_to_gate(source.scale, a.scales[0]), _to_gate(hidden.scale, h.scales[0]))
            for a, h in zip(fresh, kept, strict=True)
        ),
        forget=_rescaling(float(_CURVE_SCALE) * cell.scale / cell.scale, 0),
        input=_rescaling(float(_CURVE_SCALE) ** 2 / cell.scale, 0),
        out=fixed_point.requant(np.array([float(_CURVE_SCALE) ** 2 / hidden.scale]), hidden.zero_point, NO_CLAMP),
        clip=_clip(options.CellClip(), cell.scale),
        cell_power=power,
    )


def _check_kind(raw: RawOp, activation: int) -> None:
    if activation != _TANH:
        raise UnsupportedOpError(f"fused activation {activation}, TANH is supported", where=raw.describe())
    for what, places in _ABSENT.items():
        if any(raw.inputs[place] >= 0 for place in places if place < len(raw.inputs)):
            raise UnsupportedOpError(f"an LSTM with {what}", where=raw.describe())


def _sizes(raw: RawOp, source: Tensor, output: Tensor, time_major: bool) -> tuple[int, int, int]:
    """The rows of the sequence and the elements of a row, in the input and in the output."""
    if len(source.dims) != 3 or len(output.dims) != 3 or source.dims[:2] != output.dims[:2]:
        raise BadModelError(f"{list(source.dims)} into {list(output.dims)}", where=raw.describe())
    batch, steps = source.dims[1::-1] if time_major else source.dims[:2]
    if batch != 1:
        raise UnsupportedOpError(f"a batch of {batch}, one is supported", where=raw.describe())
    return steps, source.dims[2], output.dims[2]


def _matrix(reader: Reader, raw: RawOp, position: int, rows: int, columns: int) -> RawTensor:
    tensor = reader.constant(raw, position, "INT8")
    if tensor.shape != (rows, columns):
        raise BadModelError(f"weights of shape {list(tensor.shape)}, not {[rows, columns]}", where=raw.describe())
    if len(tensor.scales) != 1 or any(tensor.zero_points) or not tensor.scales[0]:
        raise UnsupportedOpError("weights of other than one scale without zero point", where=raw.describe())
    return tensor


def _bias(reader: Reader, raw: RawOp, position: int, size: int) -> Int32:
    tensor = reader.constant(raw, position, "INT32")
    if tensor.shape != (size,):
        raise BadModelError(f"bias {list(tensor.shape)} does not match {size} units", where=raw.describe())
    return np.asarray(tensor.data, dtype=np.int32)


def _values(tensor: RawTensor) -> Int8:
    return np.asarray(tensor.data, dtype=np.int8)


def _folded(bias: Int32 | int, weights: Int8, zero_point: int) -> Int32:
    """The bias with the zero point's part of the sum folded in, wrapped as the sum is."""
    whole: Int64 = np.asarray(bias, dtype=np.int64) - zero_point * weights.astype(np.int64).sum(axis=1)
    return fixed_point.wrap(whole).astype(np.int32)


def _to_gate(scale: float, weight_scale: float) -> Requant:
    """A sum's rescaling to a gate; `GetQuantizedConvolutionMultipler` multiplies the scales in float32, then widens."""
    return _rescaling(float(np.float32(scale) * np.float32(weight_scale)) / float(_GATE_SCALE), 0)


def _rescaling(real: float, zero_point: int) -> Requant:
    return fixed_point.requant(np.array([real]), zero_point, _INT16)


def _clip(clip: float, scale: float) -> int:
    """The cell's clip in steps, rounded towards zero; -1 if there is none."""
    return int(min(max(float(np.float32(clip)) / scale, _INT16[0]), _INT16[1])) if clip > 0 else -1


@calls(Lstm)
def _lstm_call(op: Lstm, source: Tensor, _sink: Tensor) -> KernelCall:
    multiplier, shift = curve.turned(op.cell_power)
    parameters: Parameters = {
        "weights": op.weights.ravel(),
        "bias": op.bias.ravel(),
        "scales": np.array(
            [[int(each.multiplier[0]), int(each.shift[0])] for pair in op.sums for each in pair], dtype=np.int32
        ).ravel(),
        "curve": curve.sigmoid_points(),
        "steps": op.steps,
        "depth": op.weights.shape[2] - op.units,
        "units": op.units,
        "forget": scale_fields(op.forget),
        "input": scale_fields(op.input),
        "output": scale_fields(op.out),
        "clip": op.clip,
        "tanh_multiplier": multiplier,
        "tanh_shift": shift,
        "out_zero_point": op.out.zero_point,
    }
    return KernelCall("tg_lstm", "tg_lstm.c", parameters)


@reads(
    "SVDF",
    device="sums of products over the input and over time; the state is bytes that outlive an inference",
    limits="SVDF: a batch of one, int8",
)
def svdf(reader: Reader, raw: RawOp) -> Op:
    """SVDF. The output's range implies its fused activation; TFLM's integer kernel has no other."""
    source, output = reader.in_out(raw)
    rank = options_of(raw, tflite.SVDFOptions).Rank()
    weights = reader.constant(raw, 1, "INT8")
    kind = "INT8" if reader.tensor(raw, 2).type == "INT8" else "INT16"
    time = reader.constant(raw, 2, kind)
    if len(weights.shape) != 2 or len(time.shape) != 2 or weights.shape[0] != time.shape[0] or rank < 1:
        raise BadModelError(f"weights {list(weights.shape)} and {list(time.shape)}", where=raw.describe())
    filters, memory = time.shape
    if filters % rank or source.dims != (1, weights.shape[1]) or output.dims != (1, filters // rank) or not memory:
        raise UnsupportedOpError(
            f"{list(source.dims)} into {list(output.dims)} by {filters} filters of rank {rank}", where=raw.describe()
        )
    for tensor in (weights, time):
        if len(tensor.scales) != 1 or any(tensor.zero_points) or not tensor.scales[0]:
            raise UnsupportedOpError("weights of other than one scale without zero point", where=raw.describe())
    bias = _bias(reader, raw, 3, filters // rank)
    state = reader.kept(raw, 4, kind, filters * memory)
    seen, out = (np.float32(each.scale) for each in (state, output))
    first = np.float32(source.scale) * np.float32(weights.scales[0]) / seen  # in float32, as in TFLM
    second = seen * np.float32(time.scales[0]) / out
    return Svdf(
        index=raw.index,
        inputs=(source.index, state.index),
        output=output.index,
        weights=_values(weights),
        offset=_folded(0, _values(weights), source.zero_point),
        time=np.asarray(time.data, dtype=DTYPES[kind]),
        bias=bias,
        seen=fixed_point.requant(np.array([float(first)]), state.zero_point, NO_CLAMP if kind == "INT8" else _INT16),
        requant=fixed_point.requant(np.array([float(second)]), output.zero_point, NO_CLAMP),
    )


@calls(Svdf)
def _svdf_call(op: Svdf, _source: Tensor, sink: Tensor) -> KernelCall:
    parameters: Parameters = {
        "weights": op.weights.ravel(),
        "offset": op.offset,
        **({"narrow": op.time.ravel()} if op.time.dtype == np.int8 else {"wide": op.time.ravel()}),
        "bias": op.bias,
        "depth": op.weights.shape[1],
        "units": sink.size,
        "rank": len(op.weights) // sink.size,
        "memory": op.time.shape[1],
        "seen": scale_fields(op.seen),
        "out": scale_fields(op.requant),
        "zero_point": op.seen.zero_point,
        "out_zero_point": op.requant.zero_point,
    }
    return KernelCall("tg_svdf", "tg_svdf.c", parameters)
