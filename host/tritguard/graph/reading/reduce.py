"""Readers of sums, means, maxima and minima over axes."""

from __future__ import annotations

import math

import numpy as np

from tritguard.errors import BadModelError, UnsupportedOpError
from tritguard.graph.arithmetic import fixed_point
from tritguard.graph.call import KernelCall, Parameters, calls, filled, scale_fields
from tritguard.graph.flatbuffer import RawOp
from tritguard.graph.model import Mean, Op, Reduce, Requant, Tensor
from tritguard.graph.reading.checks import NO_CLAMP, axis_of, same_scale, same_width
from tritguard.graph.reading.reader import Reader
from tritguard.graph.reading.registry import reads, reads_wide
from tritguard.graph.wide import WideReduce

_MOST_AXES = 3  # axes that the kernel walks over, among those that stay and among those that vanish
_Axes = tuple[tuple[int, int], ...]


@reads(
    "MEAN",
    "SUM",
    "REDUCE_MAX",
    "REDUCE_MIN",
    device="one walk for each output element",
    limits="REDUCE_MAX and REDUCE_MIN: one scale",
)
def reduce(reader: Reader, raw: RawOp) -> Op:
    """MEAN, SUM, REDUCE_MAX and REDUCE_MIN over any axes."""
    source, output = reader.in_out(raw)
    kept, reduced = _walked(reader, raw, source, output)
    if raw.name in ("REDUCE_MAX", "REDUCE_MIN"):
        same_scale(source, output, raw)
    positions = math.prod(size for size, _ in reduced)
    requant = _requant(raw.name, source, output, positions)
    is_image = source.batched and len(source.shape) == 3 and _gone(reader, raw, source) == {1, 2}
    if raw.name == "MEAN" and is_image:  # the layout of images
        return Mean(
            index=raw.index, inputs=(source.index,), output=output.index, positions=positions,
            input_zero_point=source.zero_point, requant=requant,
        )  # fmt: skip
    return Reduce(
        index=raw.index, inputs=(source.index,), output=output.index, function=raw.name, kept=kept, reduced=reduced,
        input_zero_point=source.zero_point, requant=requant,
    )  # fmt: skip


@reads_wide("MEAN", "SUM")
def wide_reduce(reader: Reader, raw: RawOp) -> Op:
    """MEAN and SUM of 16-bit activations."""
    source, output = reader.in_out(raw)
    same_width(source, output, raw)
    kept, reduced = _walked(reader, raw, source, output)
    return WideReduce(
        index=raw.index, inputs=(source.index,), output=output.index, operator=raw.name, kept=kept, reduced=reduced,
        requant=_requant(raw.name, source, output, math.prod(size for size, _ in reduced)),
    )  # fmt: skip


def _gone(reader: Reader, raw: RawOp, source: Tensor) -> set[int]:
    """The axes that vanish."""
    return {axis_of(raw, axis, len(source.dims)) for axis in reader.integers(raw, 1)}


def _walked(reader: Reader, raw: RawOp, source: Tensor, output: Tensor) -> tuple[_Axes, _Axes]:
    """The axes that stay and those that vanish, checked against the output's size."""
    gone = _gone(reader, raw, source)
    kept, reduced = _axes(source, gone)
    if math.prod(size for size, _ in kept) != output.size:
        raise BadModelError(f"output {list(output.dims)} of axes {sorted(gone)}", where=raw.describe())
    if max(len(kept), len(reduced)) > _MOST_AXES:
        raise UnsupportedOpError(f"axes {sorted(gone)} of {list(source.dims)}", where=raw.describe())
    return kept, reduced


def _axes(source: Tensor, gone: set[int]) -> tuple[_Axes, _Axes]:
    """The sizes and steps of the axes that stay and of those that vanish, joined where they form one run."""
    axes: dict[bool, list[tuple[int, int]]] = {False: [], True: []}
    for axis, size in enumerate(source.dims):
        step = math.prod(source.dims[axis + 1 :])
        same = axes[axis in gone]
        if size == 1:
            continue
        if same and same[-1][1] == size * step:
            same[-1] = (same[-1][0] * size, step)
        else:
            same.append((size, step))
    return tuple(axes[False]), tuple(axes[True])


def _requant(name: str, source: Tensor, output: Tensor, positions: int) -> Requant:
    real = source.scale / output.scale
    if name != "MEAN":
        return fixed_point.requant(np.array([real]), output.zero_point, NO_CLAMP)
    multiplier, shift = fixed_point.mean_multiplier(real, positions)
    return Requant(
        np.array([multiplier], dtype=np.int32), np.array([shift], dtype=np.int32), output.zero_point, *NO_CLAMP
    )


@calls(Mean)
def _mean_call(op: Mean, _source: Tensor, sink: Tensor) -> KernelCall:
    parameters: Parameters = {
        "positions": op.positions,
        "channels": sink.size,
        "in_zero_point": op.input_zero_point,
        "scale": scale_fields(op.requant),
        "out_zero_point": op.requant.zero_point,
    }
    return KernelCall("tg_mean", "tg_elementwise.c", parameters)


def _fields(op: Reduce | WideReduce) -> Parameters:
    """The fields of a `tg_reduce_t` that say which elements become one."""
    parameters: Parameters = {}
    for name, axes in (("kept", op.kept), ("reduced", op.reduced)):
        parameters = {
            **parameters,
            f"{name}_sizes": filled(tuple(size for size, _ in axes), 1, _MOST_AXES),
            f"{name}_steps": filled(tuple(step for _, step in axes), 0, _MOST_AXES),
        }
    return parameters


@calls(WideReduce)
def _wide_reduce_call(op: WideReduce, _source: Tensor, _sink: Tensor) -> KernelCall:
    parameters = {**_fields(op), "scale": scale_fields(op.requant)}
    return KernelCall("tg_wide_sum", "tg_wide_reduce.c", parameters, struct="tg_reduce_t")


@calls(Reduce)
def _reduce_call(op: Reduce, _source: Tensor, _sink: Tensor) -> KernelCall:
    kernels = {"SUM": "tg_sum", "MEAN": "tg_sum", "REDUCE_MAX": "tg_reduce_max", "REDUCE_MIN": "tg_reduce_min"}
    rescaling: Parameters = {
        "in_zero_point": op.input_zero_point,
        "scale": scale_fields(op.requant),
        "out_zero_point": op.requant.zero_point,
    }
    return KernelCall(kernels[op.function], "tg_reduce.c", {**_fields(op), **rescaling}, struct="tg_reduce_t")
