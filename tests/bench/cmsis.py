"""CMSIS-NN's own kernels on a model's layers, from the sources that PyPI's bakenn ships: the anchor beside ours.

Each layer that CMSIS-NN has a kernel for gets random input, runs in the same emulated firmware as our engine does, is
counted the same way, and has to give the oracle's bytes.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tests.support.tflite_builder import ModelBuilder
from tritguard.boards import Board
from tritguard.boards.board import Region
from tritguard.build import build
from tritguard.build.engine import Engine, Library
from tritguard.emit import Bundle
from tritguard.emit.bundle import MANIFEST, EdgeTensor
from tritguard.graph import Graph, read_graph
from tritguard.graph.model import Conv2D, DepthwiseConv2D, FullyConnected, Pool2D, Weighted
from tritguard.oracle import Oracle
from tritguard.profile import ModelCount, count

_FLAGS = ("-std=gnu11", "-O2", "-g", "-ffunction-sections", "-fdata-sections", "-w")
_SCRATCH_BYTES = 1 << 16
# Memories in which the inputs and outputs of all layers fit, where a board's file names a smaller one.
_LARGER_RAM = {"mps3-an547": Region(origin=0x2100_0000, bytes=0x40_0000)}  # its SRAM instead of the DTCM


def cmsis_nn() -> Path | None:
    """The folder of the sources, or None where bakenn is not installed."""
    spec = importlib.util.find_spec("bakenn")
    if spec is None or not spec.submodule_search_locations:
        return None
    return Path(next(iter(spec.submodule_search_locations))) / "backend" / "cmsis_nn" / "vendor"


@dataclass(frozen=True)
class Layer:
    """One layer by itself: its op, and where its input and output lie among those of all layers."""

    op: Conv2D | DepthwiseConv2D | FullyConnected | Pool2D
    input_shape: tuple[int, ...]
    output_shape: tuple[int, ...]
    input_at: int
    output_at: int

    @property
    def input_size(self) -> int:
        return int(np.prod(self.input_shape))

    @property
    def output_size(self) -> int:
        return int(np.prod(self.output_shape))


def anchor_layers(graph: Graph) -> tuple[Layer, ...]:
    """The layers with a CMSIS-NN kernel, in order."""
    layers: list[Layer] = []
    at_input = at_output = 0
    for op in graph.ops:
        if not isinstance(op, Conv2D | DepthwiseConv2D | FullyConnected | Pool2D):
            continue
        shapes = graph.tensors[op.inputs[0]].shape, graph.tensors[op.output].shape
        layers.append(Layer(op, *shapes, at_input, at_output))
        at_input += -(-layers[-1].input_size // 4) * 4
        at_output += -(-layers[-1].output_size // 4) * 4
    return tuple(layers)


def count_cmsis(bundle: Bundle, board: Board, folder: Path) -> ModelCount:
    """Count CMSIS-NN on the bundle's layers; each is known by its index there.

    Raises:
        AssertionError: a byte differs from the oracle's.
    """
    vendor = cmsis_nn()
    assert vendor is not None, "bakenn is not installed"
    content = bundle.model_path.read_bytes()
    graph = read_graph(content)
    layers = anchor_layers(graph)
    sizes = [layers[-1].input_at + layers[-1].input_size, layers[-1].output_at + layers[-1].output_size]
    anchor = _bundle(bundle, folder / "anchor", *sizes)
    files = (*vendor.glob("cmsis_nn/Source/*/*.c"), *vendor.glob("*/Include/*.h"))
    sources = {path.name: path.read_bytes() for path in sorted(files)}
    model = {"tg_model.c": _source(graph, layers, anchor).encode(), "tg_model.h": _header(*sizes).encode()}
    engine = Engine(
        name="native",
        adapter="engine_native.c",
        model_files=model | sources,
        logit_count=0,
        flags=_FLAGS,
        library=Library(),
    )
    x = np.random.default_rng(1).integers(-128, 128, (1, sizes[0]), dtype=np.int8)
    if board.id in _LARGER_RAM:
        memory = board.memory.model_copy(update={"ram": _LARGER_RAM[board.id]})
        board = board.model_copy(update={"memory": memory})
    counted = count(anchor, build(anchor, board, folder / "anchor-build", engine), x)
    for layer in layers:
        own = x[0, layer.input_at : layer.input_at + layer.input_size].reshape(1, *layer.input_shape)
        given = counted.outputs.scores[0, layer.output_at : layer.output_at + layer.output_size]
        wanted = Oracle(_alone(graph, layer)).predict(own).scores[0]
        assert (given == wanted).all(), f"CMSIS-NN's layer {layer.op.index} differs from the oracle"
    return counted


def _bundle(bundle: Bundle, path: Path, input_size: int, output_size: int) -> Bundle:
    edges = {
        name: EdgeTensor(name=name, shape=(size,), scale=1.0, zero_point=0)
        for name, size in (("input", input_size), ("output", output_size))
    }
    manifest = bundle.manifest.model_copy(update={**edges, "logits": None})
    path.mkdir()
    (path / MANIFEST).write_text(manifest.model_dump_json())
    return Bundle(path, manifest)


def _alone(graph: Graph, layer: Layer) -> bytes:
    """The layer as a model of its own."""
    op = layer.op
    source, sink = graph.tensors[op.inputs[0]], graph.tensors[op.output]
    builder = ModelBuilder(layer.input_shape, source.scale, source.zero_point)
    out = (sink.scale, sink.zero_point)
    if isinstance(op, Pool2D):
        kind = "AVERAGE" if op.mode == "average" else "MAX"
        window = op.window
        return builder.build(builder.pool(builder.input, kind, window.kernel, window.stride, _same(layer), "NONE"))
    activation = _activation(op)
    scales = op.weight_scale.tolist()
    if isinstance(op, FullyConnected):
        scales = scales[:1] if len(set(scales)) == 1 else scales
        return builder.build(builder.dense(builder.input, op.weights, scales, op.bias, out, activation))
    add = builder.conv if isinstance(op, Conv2D) else builder.depthwise
    output = add(
        builder.input, op.weights, scales, op.bias, out,
        stride=op.window.stride, dilation=op.window.dilation, same=_same(layer), activation=activation,
    )  # fmt: skip
    return builder.build(output)


def _same(layer: Layer) -> bool:
    """Whether the output has the size that SAME padding gives it."""
    assert not isinstance(layer.op, FullyConnected)
    stride = layer.op.window.stride
    return layer.output_shape[:2] == tuple(-(-layer.input_shape[axis] // stride[axis]) for axis in range(2))


def _activation(op: Weighted) -> str:
    if op.requant.act_min != op.requant.zero_point:
        return "NONE"
    return "RELU" if op.requant.act_max == 127 else "RELU6"


# --- the generated C --------------------------------------------------------------------------------------------------


def _header(input_size: int, output_size: int) -> str:
    return f"""#include <stdint.h>
#define TG_INPUT_BYTES {input_size}u
#define TG_OUTPUT_BYTES {output_size}u
#define TG_LOGIT_COUNT 0u
#define TG_ARENA_BYTES 0u
extern const uint8_t tg_model_sha256[32];
void tg_model_run(const int8_t *input, int8_t *output, int32_t *logits);
"""


def _source(graph: Graph, layers: Sequence[Layer], bundle: Bundle) -> str:
    parts = [
        '#include "arm_nnfunctions.h"',
        '#include "tg_model.h"',
        _array("const uint8_t", "tg_model_sha256", bytes.fromhex(bundle.manifest.model_sha256)),
        f"static int8_t scratch[{_SCRATCH_BYTES}] __attribute__((aligned(4)));",
        "static const cmsis_nn_context context = {scratch, sizeof scratch};",
        *(_constants(layer) for layer in layers),
        "void tg_model_run(const int8_t *input, int8_t *output, int32_t *logits)\n{",
        *(f"TG_LAYER({layer.op.index});\n{_call(graph, layer)}" for layer in layers),
        "}\n",
    ]
    return "\n".join(parts)


def _constants(layer: Layer) -> str:
    op = layer.op
    if not isinstance(op, Weighted):
        return ""
    arrays = {
        "static const int8_t": ("weights", op.weights.ravel()),
        "static const int32_t": ("bias", op.bias),
    }
    lines = [_array(kind, f"l{op.index}_{name}", values) for kind, (name, values) in arrays.items()]
    lines.append(_array("static int32_t", f"l{op.index}_multiplier", op.requant.multiplier))
    lines.append(_array("static int32_t", f"l{op.index}_shift", op.requant.shift))
    return "\n".join(lines)


def _array(kind: str, name: str, values: Iterable[Any]) -> str:
    return f"{kind} {name}[] = {{{', '.join(str(int(value)) for value in values)}}};"


def _dims(n: int, h: int, w: int, c: int) -> str:
    return f"&(const cmsis_nn_dims){{{n}, {h}, {w}, {c}}}"


def _tile(pair: tuple[int, int]) -> str:
    return f"{{{pair[1]}, {pair[0]}}}"  # width first


def _call(graph: Graph, layer: Layer) -> str:
    op, name = layer.op, f"l{layer.op.index}"
    source, sink = f"input + {layer.input_at}", f"output + {layer.output_at}"
    if isinstance(op, FullyConnected):
        units, depth = op.weights.shape
        params = f"{{{-op.input_zero_point}, 0, {op.requant.zero_point}, {_range(op)}}}"
        quant = f"{{{name}_multiplier[0], {name}_shift[0]}}"
        return (
            f"arm_fully_connected_s8(&context, &(const cmsis_nn_fc_params){params}, "
            f"&(const cmsis_nn_per_tensor_quant_params){quant}, {_dims(op.rows, 1, 1, depth)}, {source}, "
            f"{_dims(depth, 1, 1, units)}, {name}_weights, {_dims(1, 1, 1, units)}, {name}_bias, "
            f"{_dims(op.rows, 1, 1, units)}, {sink});"
        )
    inside, outside = _dims(1, *layer.input_shape), _dims(1, *layer.output_shape)
    window = f"{_tile(op.window.stride)}, {_tile(op.window.padding)}"
    if isinstance(op, Pool2D):
        kernel = "arm_avgpool_s8" if op.mode == "average" else "arm_max_pool_s8"
        params = f"{{{window}, {{{op.act_min}, {op.act_max}}}}}"
        return (
            f"{kernel}(&context, &(const cmsis_nn_pool_params){params}, {inside}, {source}, "
            f"{_dims(1, *op.window.kernel, 1)}, {outside}, {sink});"
        )
    depthwise = isinstance(op, DepthwiseConv2D)
    multiplier = f"{op.depth_multiplier}, " if isinstance(op, DepthwiseConv2D) else ""
    params = f"{{{-op.input_zero_point}, {op.requant.zero_point}, {multiplier}{window}, {_tile(op.window.dilation)}, "
    params += f"{_range(op)}}}"
    kind, kernel = ("dw_conv", "depthwise_conv") if depthwise else ("conv", "convolve")
    filter_dims = _dims(1, *op.weights.shape) if depthwise else _dims(*op.weights.shape)
    return (
        f"arm_{kernel}_wrapper_s8(&context, &(const cmsis_nn_{kind}_params){params}, "
        f"&(const cmsis_nn_per_channel_quant_params){{{name}_multiplier, {name}_shift}}, {inside}, {source}, "
        f"{filter_dims}, {name}_weights, {_dims(1, 1, 1, len(op.bias))}, {name}_bias, {outside}, {sink});"
    )


def _range(op: Weighted) -> str:
    return f"{{{op.requant.act_min}, {op.requant.act_max}}}"
