"""Writes a bundle: the golden model, C11 that computes the same bytes, and their manifest."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict
from itertools import groupby
from pathlib import Path

import numpy as np

from tritguard import __version__
from tritguard.boards import CoreClass
from tritguard.data import SampleArray
from tritguard.emit.bundle import (
    C_DIR,
    MANIFEST,
    MODEL,
    ArenaSlot,
    Bundle,
    Calibration,
    EdgeTensor,
    Layer,
    Logits,
    Manifest,
    Offer,
    Overlap,
    Removed,
    Striped,
    Ternary,
    hash_file,
    label_rule,
    open_bundle,
)
from tritguard.emit.code import LayerCode
from tritguard.emit.lower import lower
from tritguard.emit.picture import arena_picture
from tritguard.emit.render import environment
from tritguard.errors import BadInputError
from tritguard.files import whole_folder
from tritguard.graph import Graph, read_graph
from tritguard.graph.arena.memory import MemoryPlan, Slot, state_bytes, state_offsets
from tritguard.graph.arena.stripes import Chain
from tritguard.graph.emission import Emission, emission_of
from tritguard.graph.formats.registry import WeightFormat
from tritguard.graph.model import Op, Tensor, Weighted
from tritguard.graph.passes.dead_channels import removed
from tritguard.resources import firmware_dir

_INCLUDE = re.compile(r'^#include "(tg_\w+\.h)"', re.MULTILINE)

Check = Callable[[Bundle], int]


def write_bundle(  # noqa: PLR0913 - what a bundle depends on
    content: bytes, out: Path, *, name: str, core: CoreClass = "m4", classes: tuple[str, ...] | None = None,
    formats: Mapping[int, WeightFormat] | None = None, stripes: bool = True, calibration: SampleArray | None = None,
    check: Check | None = None,
) -> Bundle:  # fmt: skip
    """Turn an int8 `.tflite` into a bundle folder.

    Args:
        content: the golden model's bytes.
        out: the folder to write; an older bundle there is replaced, anything else is left alone.
        name: the model's name in reports.
        core: the class of cores it is for.
        classes: names of the outputs, in order; for a model with one output, of the two classes below and above its
            threshold.
        formats: weight formats by the layer's index, where the cost model's choice is not wanted.
        stripes: compute layers in stripes of rows where that lowers the arena's peak enough (`plan_striped`).
        calibration: [n, *input_shape], the inputs that the int8 ranges were taken from, if they are known.
        check: called with the finished draft before it takes its place; returns the number of inputs on which it was
            equal to the oracle, or raises, in which case nothing is written.

    Raises:
        BadModelError: see `read_graph`.
        BadInputError: `out` exists and is not a bundle, `classes` does not fit the outputs, or a layer cannot have the
            format asked for.
    """
    emission = emission_of(read_graph(content), core, formats, stripes=stripes)
    layers = lower(emission)
    _check_names(classes, emission.graph)
    out = out.resolve()
    with whole_folder(out, open_bundle, "bundle") as draft:
        (draft / MODEL).write_bytes(content)
        (draft / C_DIR).mkdir()
        for file, source in _sources(content, emission, layers, name, __version__).items():
            (draft / C_DIR / file).write_bytes(source)
        manifest = _manifest(draft, content, emission, _layers(emission, layers), name, classes)
        if calibration is not None:
            manifest = manifest.model_copy(update={"calibration": Calibration.of(calibration, manifest.input)})
        (draft / MANIFEST).write_text(manifest.model_dump_json(indent=2) + "\n")
        if check is not None:
            verified = check(Bundle(draft, manifest, emission, trusted=True))
            manifest = manifest.model_copy(update={"verified_against_oracle": verified})
            (draft / MANIFEST).write_text(manifest.model_dump_json(indent=2) + "\n")
    return Bundle(out, manifest, emission, trusted=True)


def _check_names(names: tuple[str, ...] | None, graph: Graph) -> None:
    outputs = graph.tensors[graph.output].size
    classes = label_rule(*(_edge(graph.tensors[tensor]) for tensor in graph.outputs)).classes or outputs
    if names is not None and len(names) != classes:
        told = f"{outputs} outputs" if classes == outputs else "one output, which tells two classes apart"
        raise BadInputError(f"{len(names)} class names for a model with {told}")


def generate(content: bytes, emission: Emission, name: str, version: str) -> dict[str, bytes]:
    """Return the C files of a bundle, by name.

    Args:
        content: the golden model's bytes.
        emission: what the C is written from.
        name: the model's name in reports.
        version: the version of tritguard that the first lines name.
    """
    return _sources(content, emission, lower(emission), name, version)


def _sources(
    content: bytes, emission: Emission, layers: tuple[LayerCode, ...], name: str, version: str
) -> dict[str, bytes]:
    graph, plan = emission.graph, emission.plan
    logits = graph.logits_position()
    digest = hashlib.sha256(content)
    context = {
        "name": name,
        "version": version,
        "sha256": digest.hexdigest(),
        "sha256_bytes": np.frombuffer(digest.digest(), dtype=np.uint8),
        "inputs": [graph.tensors[tensor] for tensor in graph.inputs],
        "outputs": [graph.tensors[tensor] for tensor in graph.outputs],
        "logit_count": 0 if logits is None else graph.tensors[graph.output].size,
        "arena_bytes": plan.arena_bytes,
        "arena_bound": plan.lower_bound,
        "arena_whole": plan.whole_layers,
        "received": plan.input,
        "striped": bool(plan.chains),
        "arena_picture": arena_picture(graph, plan),
        "state_bytes": state_bytes(graph),
        "states": [
            {
                "name": state.name,
                "symbol": f"tg_state{number}_initial",
                "offset": offset,
                "size": state.initial.size,
                "initial": state.initial,
                "uniform": bool((state.initial == state.initial[0]).all()),
            }
            for number, (state, offset) in enumerate(zip(graph.states, state_offsets(graph), strict=True))
        ],
        "macs": graph.macs,
        "layers": layers,
        "runs": _runs(plan, layers),
        "headers": _headers(layers),
        "copies": bool(graph.states)
        or any("memcpy" in (layer.call or "") or (layer.stripes and layer.stripes.move) for layer in layers),
    }
    kernels = _kernel_files({source for layer in layers for source in layer.sources})
    return {
        file: environment().get_template(f"{file}.jinja").render(context).encode()
        for file in ("tg_model.h", "tg_model.c")
    } | {kernel.name: kernel.read_bytes() for kernel in kernels}


def _runs(plan: MemoryPlan, layers: tuple[LayerCode, ...]) -> list[list[LayerCode]]:
    """The layers with code, in order of execution; the layers of a chain are grouped."""
    runs = [list(run) for _, run in groupby(layers, lambda layer: plan.chain(layer.position) or layer.position)]
    return [called for run in runs if (called := [layer for layer in run if layer.call])]


def _headers(layers: tuple[LayerCode, ...]) -> list[str]:
    """The headers for tg_model.c: a kernel file is declared in the header of its name, or otherwise in tg_kernels.h."""
    own = {source.removesuffix(".c") + ".h" for layer in layers for source in layer.sources}
    return sorted({"tg_kernels.h"} | {name for name in own if (firmware_dir() / "kernels" / name).is_file()})


def _kernel_files(sources: set[str]) -> set[Path]:
    """Kernel files and the headers that they include, at any depth; tg_model.c itself needs tg_kernels.h."""
    folder = firmware_dir() / "kernels"
    found: set[Path] = set()
    pending = {folder / name for name in (*sources, "tg_kernels.h")}
    while pending:
        file = pending.pop()
        found.add(file)
        pending |= {folder / name for name in _INCLUDE.findall(file.read_text())} - found
    return found


def _edge(tensor: Tensor) -> EdgeTensor:
    return EdgeTensor.model_validate(
        {
            "name": tensor.name,
            "shape": tensor.shape,
            "scale": tensor.scale,
            "zero_point": tensor.zero_point,
            "golden_type": tensor.golden_type.lower(),
            "type": "int16" if tensor.width > 1 else "int8",
        }
    )


def _logits(graph: Graph) -> Logits | None:
    position = graph.logits_position()
    if position is None:
        return None
    op = graph.ops[position]
    assert isinstance(op, Weighted)
    source = graph.tensors[op.inputs[0]]
    return Logits(
        layer=op.index,
        scale=tuple((source.scale * op.weight_scale).tolist()),
        multiplier=tuple(op.requant.multiplier.tolist()),
        shift=tuple(op.requant.shift.tolist()),
        zero_point=op.requant.zero_point,
        act_min=op.requant.act_min,
        act_max=op.requant.act_max,
    )


def _layers(emission: Emission, layers: tuple[LayerCode, ...]) -> tuple[Layer, ...]:
    """The emitted layers, and what the passes removed from each."""
    before = {op.index: op for op in emission.golden.ops}
    return tuple(
        Layer(
            index=layer.index,
            op=layer.op,
            name=layer.name,
            symbol=layer.symbol,
            output_shape=layer.shape,
            macs=layer.macs,
            weight_format=layer.weight_format,
            weight_bytes=layer.weight_bytes,
            ternary=_ternary(op, layer),
            removed=Removed(**asdict(removed(before[op.index], op))),
        )
        for op, layer in zip(emission.graph.ops, layers, strict=True)
    )


def _ternary(op: Op, layer: LayerCode) -> Ternary | None:
    if layer.choice is None or layer.choice.zeros is None:
        return None
    assert isinstance(op, Weighted)
    offers = tuple(
        Offer(
            weight_format=kernel.weight_format,
            weight_bytes=kernel.weights.nbytes,
            scratch_bytes=kernel.scratch_bytes,
            instructions=kernel.cost.instructions,
            cycles=kernel.cost.cycles,
        )
        for kernel in layer.choice.offers
    )
    return Ternary(zeros=layer.choice.zeros, int8_bytes=op.weights.nbytes, offers=offers)


def _total(layers: tuple[Layer, ...]) -> Removed:
    return Removed(**{name: sum(getattr(layer.removed, name) for layer in layers) for name in Removed.model_fields})


def _arena_slot(graph: Graph, slot: Slot) -> ArenaSlot:
    return ArenaSlot(
        tensor=graph.tensors[slot.tensors[0]].name if slot.tensors else "scratch",
        offset=slot.offset,
        bytes=slot.size,
        first_layer=graph.ops[slot.first].index,
        last_layer=graph.ops[slot.last].index,
        overlaps=tuple(
            Overlap(input=graph.tensors[over.input].name, lead=over.lead, distance=over.distance)
            for over in slot.overlaps
        ),
    )


def _striped(graph: Graph, chain: Chain) -> Striped:
    return Striped(
        first_layer=graph.ops[chain.first].index,
        last_layer=graph.ops[chain.last].index,
        rows=chain.height,
        count=chain.count,
        excess_macs=chain.macs,
    )


def _manifest(
    draft: Path,
    content: bytes,
    emission: Emission,
    layers: tuple[Layer, ...],
    name: str,
    classes: tuple[str, ...] | None,
) -> Manifest:
    graph, plan = emission.graph, emission.plan
    files = sorted(path for path in draft.rglob("*") if path.is_file())
    outputs = tuple(_edge(graph.tensors[tensor]) for tensor in graph.outputs)
    return Manifest(
        tritguard=__version__,
        name=name,
        core=emission.core,
        formats_asked=dict(emission.formats),
        stripes_allowed=emission.stripes,
        model_sha256=hashlib.sha256(content).hexdigest(),
        input=_edge(graph.tensors[graph.input]),
        output=outputs[0],
        further_inputs=tuple(_edge(graph.tensors[tensor]) for tensor in graph.further_inputs),
        further_outputs=outputs[1:],
        logits=_logits(graph),
        label=label_rule(*outputs),
        classes=classes,
        layers=layers,
        macs=graph.macs,
        removed=_total(layers),
        activation_bits=16 if graph.is_wide else 8,
        state_bytes=state_bytes(graph),
        arena_bytes=plan.arena_bytes,
        arena_lower_bound=plan.lower_bound,
        arena_whole_layers=plan.whole_layers,
        arena_with_input=None if plan.input is None else plan.input.room,
        stripes=tuple(_striped(graph, chain) for chain in plan.chains),
        arena=tuple(_arena_slot(graph, slot) for slot in plan.slots),
        verified_against_oracle=0,
        files={path.relative_to(draft).as_posix(): hash_file(path) for path in files},
    )
