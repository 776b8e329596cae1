"""Profiles a firmware: by counting in the emulator where possible, otherwise with the board's own timer."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from tritguard import __version__
from tritguard.boards import Board
from tritguard.build import Build, build
from tritguard.build.engine import native_engine
from tritguard.device import Device, emulator_of, open_device
from tritguard.emit.bundle import Bundle
from tritguard.errors import BadInputError
from tritguard.files import scratch_folder
from tritguard.predictor import Int8
from tritguard.profile.counting import FunctionCount, LayerCount, ModelCount, count
from tritguard.profile.cycles import COMPILER_PREFIX, has_model
from tritguard.profile.far import far_layers
from tritguard.profile.record import FunctionWork, LayerWork, Method, Profile, Work


def profile(bundle: Bundle, built: Build, port: str | None = None) -> Profile:
    """Profile one inference, on one random input.

    TensorFlow Lite Micro is counted as a whole, function by function. Layer by layer it is timed, in a firmware that
    was built with a profiler, on an emulated board too.

    Args:
        bundle: the model.
        built: its firmware. A firmware at a port must have been built with a profiler. In the emulator, the firmware
            that ships is counted as it is; where counting is not possible, a temporary one with a profiler is built.
        port: the port of a real board; by default an emulated board is started.

    Raises:
        BadInputError: no port is given and the board has no emulator, or the firmware needs a profiler and has
            none.
        DeviceError, ToolMissingError, BuildError: see `count`, `open_device` and `build`.
    """
    x = _sample(bundle)
    timed = built.record.times_layers
    if port is None and not timed and _can_count(built.record.board):
        return _profile(bundle, built, _counted(count(bundle, built, x)))
    if not timed and built.record.engine != "native":
        raise BadInputError(
            "was built without a profiler",
            where=str(built.path),
            fix="build with --profile, of a library that has TensorFlow Lite Micro's messages",
        )
    with scratch_folder() as folder:
        if port is None and not timed:
            built = build(bundle, built.record.board, folder / "build", native_engine(bundle, profile=True))
        with open_device(bundle, built, port) as device:
            return _profile(bundle, built, _timed(device, x.reshape(bundle.manifest.input.shape)))


@dataclass(frozen=True)
class CycleEstimate:
    """The average cycles per instruction of one firmware, estimated with a static model of its core."""

    per_instruction: float
    method: str


def estimate_cycles(bundle: Bundle, built: Build) -> CycleEstimate | None:
    """Count one inference in the emulator and estimate its cycles per instruction.

    Returns:
        The estimate, or None if the core has no cycle model or this machine lacks the tools for counting.

    Raises:
        DeviceError: see `count`.
    """
    core = built.record.board.core
    if not has_model(core) or not _can_count(built.record.board):
        return None
    counted = count(bundle, built, _sample(bundle))
    assert counted.cycles is not None
    ratio = counted.cycles / counted.instructions
    method = f"{ratio:.2f} cycles an instruction: a static {core} model over this firmware's exact counts, "
    return CycleEstimate(ratio, method + "without flash wait states")


@dataclass(frozen=True)
class ExpectedCycles:
    """What a static model of the core expects for one inference, and how it was found, to compare measurements with."""

    cycles: int
    method: str


def expected_cycles(bundle: Bundle, built: Build) -> ExpectedCycles | None:
    """Estimate the cycles of an inference without the board.

    Where the board has an emulator that counts and its core has a model, the whole firmware's instructions are counted
    and weighted. Otherwise it is the sum of what the kernels' cost models expect for the layers with weights.

    Returns:
        The estimate, or None for an engine that is not the native one, or if no layer has weights.

    Raises:
        DeviceError: see `count`.
    """
    board = built.record.board
    if built.record.engine != "native":
        return None
    if board.emulator is not None and has_model(board.core) and _can_count(board):
        cycles = count(bundle, built, _sample(bundle)).cycles
        assert cycles is not None
        return ExpectedCycles(cycles, f"a static {board.core} model over this firmware's exact counts")
    cycles = sum(kernel.cost.cycles for kernel in bundle.emission.kernels.values())
    method = f"the cost models of the kernels for the core class {bundle.manifest.core}, layers with weights only"
    return ExpectedCycles(cycles, method) if cycles else None


def _sample(bundle: Bundle) -> Int8:
    """Draw one random input from a fixed seed, so that it is the same every time."""
    manifest, limits = bundle.manifest, np.iinfo(bundle.manifest.input_dtype)
    shape = (1, *manifest.input.shape)
    noise = np.random.default_rng(0).integers(limits.min, limits.max, shape, dtype=manifest.input_dtype, endpoint=True)
    return manifest.as_streams(noise)


def _can_count(board: Board) -> bool:
    return emulator_of(board).can_count() and shutil.which(f"{COMPILER_PREFIX}objdump") is not None


@dataclass(frozen=True)
class _Measured:
    """The result of counting or timing, by layer."""

    method: Method
    emulated: bool
    tick_hz: int | None
    ticks_are_cycles: bool
    layers: Mapping[int, Work]
    functions: Mapping[int, tuple[FunctionWork, ...]]
    outside: Work
    total: Work
    outside_functions: tuple[FunctionWork, ...] = ()


def _counted(counted: ModelCount) -> _Measured:
    layers = {layer.layer: layer for layer in counted.layers}
    outside = layers.pop(None, LayerCount(None, ()))
    named = {index: layer for index, layer in layers.items() if index is not None}
    return _Measured(
        method="counted",
        emulated=True,
        tick_hz=None,
        ticks_are_cycles=False,
        layers={index: _work(layer) for index, layer in named.items()},
        functions={index: _functions(layer) for index, layer in named.items()},
        outside=_work(outside),
        total=_work(counted),
        outside_functions=() if named else _functions(outside),
    )


def _functions(layer: LayerCount) -> tuple[FunctionWork, ...]:
    return tuple(FunctionWork(name=part.name, work=_work(part)) for part in layer.functions)


def _work(counted: FunctionCount | LayerCount | ModelCount) -> Work:
    return Work(instructions=counted.instructions, cycles=counted.cycles)


def _timed(device: Device, sample: Int8) -> _Measured:
    ticks = device.profile(sample)

    def work(amount: int) -> Work:
        return Work(ticks=amount, instructions=device.instructions(amount))

    return _Measured(
        method="timed",
        emulated=device.emulated,
        tick_hz=device.tick_hz,
        ticks_are_cycles=not device.emulated and device.hello.facts.ticks.is_cycles,
        layers={index: work(int(amount)) for index, amount in enumerate(ticks.layers) if amount},
        functions={},
        outside=work(ticks.outside),
        total=work(ticks.outside + int(ticks.layers.sum())),
    )


def _profile(bundle: Bundle, built: Build, measured: _Measured) -> Profile:
    manifest, record = bundle.manifest, built.record
    own = record.engine == "native"  # memory and formats are as the bundle says
    flash = {layer.layer: layer.bytes for layer in record.sizes.flash_layers}
    # An op with several outputs is listed as several layers with the same index.
    first = {layer.index: layer for layer in reversed(manifest.layers) if layer.index in measured.layers}
    counted = {at: work.instructions for at, work in measured.layers.items() if work.instructions is not None}
    far = far_layers(bundle.emission, counted) if own else {}
    layers = (
        LayerWork(
            layer=index,
            op=layer.op,
            name=layer.name,
            weight_format=layer.weight_format if own or layer.weight_format == "none" else "int8",
            macs=sum(part.macs for part in manifest.layers if part.index == index),
            flash_bytes=flash.get(index, 0),
            arena_bytes=manifest.arena_in_use(index) if own else 0,
            work=measured.layers[index],
            functions=measured.functions.get(index, ()),
            far=far.get(index, ""),
        )
        for index, layer in reversed(first.items())
    )
    return Profile(
        tritguard=__version__,
        model=manifest.name,
        model_sha256=manifest.model_sha256,
        board=record.board.id,
        board_name=record.board.name,
        core=record.board.core,
        emulated=measured.emulated,
        build_id=record.build_id,
        elf_sha256=record.elf_sha256,
        method=measured.method,
        tick_hz=measured.tick_hz,
        ticks_are_cycles=measured.ticks_are_cycles,
        macs=manifest.macs,
        flash_total=record.sizes.flash_total,
        arena_bytes=record.sizes.ram_arena,
        layers=tuple(layers),
        outside=measured.outside,
        total=measured.total,
        engine=record.engine,
        outside_functions=measured.outside_functions,
    )
