"""What a network takes on a board, by its kernels, its memory plan and firmware that is built for comparison."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from tritguard.boards import Board
from tritguard.build import Build, build
from tritguard.build.budget import Budget
from tritguard.build.project import RING_BYTES_MIN
from tritguard.data import SampleArray
from tritguard.emit import write_bundle
from tritguard.files import scratch_folder
from tritguard.graph import read_graph
from tritguard.graph.emission import Emission, emission_of
from tritguard.graph.formats.registry import code_bytes
from tritguard.profile import expected_cycles
from tritguard.train.config import TrainConfig

_CHANNEL_BYTES = 9  # a bias and a multiplier of 32 bits, a shift of 8
_RING = ".ring"  # the section of the serial line's buffer, which gives way where RAM is scarce


@dataclass(frozen=True)
class Model:
    """What a network takes, apart from the firmware around it.

    Attributes:
        weight_bytes: bytes of its weights as they lie in flash, with what each output channel needs.
        code_bytes: bytes of the kernels that are chosen for its layers with weights.
        arena_bytes: bytes of the memory plan's arena, in which the input is received.
        cycles: what the kernels' cost models expect for its layers with weights.
        macs: multiply-accumulates.
    """

    weight_bytes: int
    code_bytes: int
    arena_bytes: int
    cycles: int
    macs: int


@dataclass(frozen=True)
class Around:
    """What a firmware takes besides such a model, as firmwares that were built show.

    Attributes:
        flash: bytes: start-up, driver, protocol, other kernels, the calls of all layers.
        ram: bytes of static memory without arena and buffer.
        buffer, least_buffer: bytes of the serial line's buffer, and those that it shrinks to where RAM is scarce.
        stack: bytes reserved.
        cycles: the cycles that the cost models expect and those of the whole inference, as pairs (expected, whole),
            rising.
    """

    flash: int
    ram: int
    buffer: int
    least_buffer: int
    stack: int
    cycles: tuple[tuple[int, int], ...]

    @property
    def slowdown(self) -> float:
        """The cycles of a whole inference for each that the cost models expect, as the largest known model shows."""
        expected, whole = self.cycles[-1]
        return whole / expected

    def flash_of(self, model: Model) -> int:
        """Bytes of flash of a firmware with this model."""
        return self.flash + model.weight_bytes + model.code_bytes

    def ram_of(self, model: Model, most: int) -> int:
        """Bytes of RAM of such a firmware with its stack, if `most` are allowed: the buffer takes what else is left."""
        without = self.ram + self.stack + model.arena_bytes
        return without + min(self.buffer, max(self.least_buffer, most - without))

    def cycles_of(self, model: Model) -> int:
        """Estimated cycles of an inference: interpolated between the known ones, in proportion below and above them."""
        expected, whole = zip((0, 0), *self.cycles, strict=True)
        if model.cycles > expected[-1]:
            return round(self.slowdown * model.cycles)
        return round(float(np.interp(model.cycles, expected, whole)))


Golden = Callable[[TrainConfig], bytes]


def golden_maker(shape: tuple[int, ...], classes: int, samples: SampleArray) -> Golden:
    """A function that gives the `.tflite` of a network with newly drawn weights, ternary where a training's would be.

    How many trits are zero depends on the weights, and so does the best format: a third of newly drawn ones is zero.

    Args:
        shape: height, width, channels.
        classes: number of outputs.
        samples: real inputs [n, *shape], for the int8 ranges.
    """
    # TensorFlow takes seconds to import.
    from tritguard.convert import network_to_tflite  # noqa: PLC0415
    from tritguard.train.backend import keras  # noqa: PLC0415
    from tritguard.train.nets import build_net  # noqa: PLC0415
    from tritguard.train.quantize import quantize  # noqa: PLC0415

    def make(config: TrainConfig) -> bytes:
        keras.utils.set_random_seed(config.seed)
        # With float activations the layers are at once those that a training stores.
        as_stored = config.quantize.model_copy(update={"activations": "float"})
        return network_to_tflite(quantize(build_net(config, shape, classes), as_stored), samples)

    return make


def model_of(content: bytes, board: Board) -> Model:
    """What the model of a `.tflite` takes on a board."""
    return _model(emission_of(read_graph(content), board.core_class))


def _model(emission: Emission) -> Model:
    kernels = emission.kernels
    channels = sum(len(kernel.bias) for kernel in kernels.values())
    plan = emission.plan
    return Model(
        weight_bytes=sum(kernel.weights.nbytes for kernel in kernels.values()) + _CHANNEL_BYTES * channels,
        code_bytes=sum(map(code_bytes, {source for kernel in kernels.values() for source in kernel.sources})),
        arena_bytes=plan.arena_bytes if plan.input is None else max(plan.arena_bytes, plan.input.room),
        cycles=sum(kernel.cost.cycles for kernel in kernels.values()),
        macs=sum(op.macs for op in emission.graph.ops),
    )


@dataclass(frozen=True)
class Built:
    """A model whose firmware was built, the firmware, and the cycles expected for the whole inference."""

    model: Model
    build: Build
    cycles: int


def built(content: bytes, board: Board) -> Built:
    """Build the firmware of a `.tflite`, and see what it takes.

    Raises:
        BuildError, OverBudgetError, ToolMissingError: see `build`.
        DeviceError: the emulator that counts instructions fails.
    """
    with scratch_folder() as folder:
        bundle = write_bundle(content, folder / "bundle", name="fit", core=board.core_class)
        made = build(bundle, board, folder / "build", budget=Budget())
        expected, model = expected_cycles(bundle, made), _model(bundle.emission)
    return Built(model, made, model.cycles if expected is None else expected.cycles)


def around(last: Built, small: Built | None = None) -> Around:
    """What a firmware takes besides its model, as one firmware shows; cycles follow a smaller model's firmware too."""
    sizes, model = last.build.record.sizes, last.model
    known = {each.model.cycles: each.cycles for each in (small, last) if each is not None}
    buffer = sum(region.bytes for region in sizes.regions if region.name == _RING)
    return Around(
        flash=sizes.flash_total - model.weight_bytes - model.code_bytes,
        ram=sizes.ram_static - buffer - sizes.ram_arena,
        buffer=buffer,
        least_buffer=min(buffer, RING_BYTES_MIN),
        stack=sizes.stack_reserved,
        cycles=tuple(sorted(known.items())),
    )
