"""The bundle: a folder with the golden model, the C generated from it, and a manifest of both."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from functools import cached_property
from math import prod
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, NonNegativeFloat, PositiveInt

from tritguard.boards import CoreClass
from tritguard.data import SampleArray, to_input_bytes
from tritguard.errors import BadInputError
from tritguard.graph import Graph, read_graph
from tritguard.graph.emission import Emission, emission_of
from tritguard.graph.formats.registry import WeightFormat
from tritguard.predictor import LabelRule
from tritguard.records import Record, from_json

MANIFEST = "manifest.json"
MODEL = "model.tflite"
C_DIR = "c"


class EdgeTensor(Record):
    """An input or output of the model, with real value = scale * (q - zero_point) and a shape without the batch.

    `type` is the type of the steps q, which the C takes or gives. `golden_type` is the type that the golden model has
    there; if the two differ, the host converts.
    """

    name: str
    shape: tuple[int, ...]
    scale: float
    zero_point: int
    golden_type: Literal["int8", "int16", "uint8", "float32"] = "int8"
    type: Literal["int8", "int16"] = "int8"

    @property
    def dtype(self) -> np.dtype[Any]:
        """NumPy's type of the steps, little endian as on the line."""
        return np.dtype("<i2" if self.type == "int16" else "int8")

    @property
    def bytes(self) -> int:
        """The size of the tensor of steps in bytes."""
        return prod(self.shape) * self.dtype.itemsize

    def steps_of(self, x: SampleArray) -> NDArray[np.int8]:
        """Samples [n, ...] on this grid; see `to_input_bytes`."""
        return to_input_bytes(x, self.scale, self.zero_point, self.dtype)


def label_rule(*outputs: EdgeTensor) -> LabelRule:
    """How the predicted class follows from these outputs; for several outputs it is not known."""
    if len(outputs) > 1:
        return LabelRule(kind="none", classes=0)
    return LabelRule.of(outputs[0].shape, outputs[0].scale, outputs[0].zero_point, bits=8 * outputs[0].dtype.itemsize)


class Logits(Record):
    """The last layer's int32 accumulators.

    `scale[c] * accumulator[c]` is the real-valued logit of class c. The accumulator, requantised with
    `multiplier[c]`, `shift[c]`, then `zero_point`, then clamped to [act_min, act_max], is the layer's int8 output.
    """

    layer: int
    scale: tuple[float, ...]
    multiplier: tuple[int, ...]
    shift: tuple[int, ...]
    zero_point: int
    act_min: int
    act_max: int


class Removed(Record):
    """What the golden model has and the emitted code does without.

    These are channels that are the same for every input or that nothing reads, their MACs and the bytes of their int8
    weights.
    """

    channels: int
    macs: int
    weight_bytes: int


class Offer(Record):
    """A format that a ternary layer can have, and what its kernel is expected to take (graph/formats)."""

    weight_format: WeightFormat
    weight_bytes: int
    scratch_bytes: int
    instructions: int
    cycles: int


class Ternary(Record):
    """What is known about a ternary layer: its share of zero weights, its size in int8, its formats, the best first."""

    zeros: float
    int8_bytes: int
    offers: tuple[Offer, ...]


class Layer(Record):
    """One op of the emitted graph. The C symbols of all its constants start with `symbol` + '_'."""

    index: int
    op: str
    name: str
    symbol: str
    output_shape: tuple[int, ...]
    macs: int
    weight_format: WeightFormat | Literal["none"]
    weight_bytes: int
    ternary: Ternary | None = None
    removed: Removed


class Overlap(Record):
    """An output that overlaps an input which dies in the same layer.

    The output starts `distance` bytes before the input. The kernel's order of reading and writing requires `lead`
    bytes, so that no byte of the input is overwritten before it has been read for the last time.
    """

    input: str
    lead: int
    distance: int


class ArenaSlot(Record):
    """The place of a tensor, or of a kernel's working memory ("scratch"), in the arena, from a first to a last layer.

    For a tensor between striped layers it holds a few rows only.
    """

    tensor: str
    offset: int
    bytes: int
    first_layer: int
    last_layer: int
    overlaps: tuple[Overlap, ...]


class Striped(Record):
    """Layers that run in `count` stripes, each of `rows` rows of the last layer's output.

    `excess_macs` are spent on tiles of pixels that the end of a stripe cuts short.
    """

    first_layer: int
    last_layer: int
    rows: int
    count: int
    excess_macs: int


class Calibration(Record):
    """The inputs that a float model got its int8 ranges from, as the deployed model sees them.

    Attributes:
        samples: their number.
        mean: the mean of all values, in steps of the input.
        deviation: the standard deviation of all values, in steps of the input.
    """

    samples: PositiveInt
    mean: float
    deviation: NonNegativeFloat

    @classmethod
    def of(cls, x: SampleArray, grid: EdgeTensor) -> Self:
        """Describe x, [n, *input_shape]; see `EdgeTensor.steps_of`."""
        steps = grid.steps_of(x)
        return cls(samples=len(x), mean=float(steps.mean()), deviation=float(steps.std()))


class Manifest(Record):
    """What a bundle holds. Sizes are in bytes, shapes are without the batch."""

    schema_version: Literal[1] = 1
    tritguard: str
    name: str
    core: CoreClass
    formats_asked: dict[int, WeightFormat] = Field(default_factory=dict)  # by layer; the cost model chose the others
    stripes_allowed: bool = True  # `stripes` says where they paid
    model_sha256: str
    input: EdgeTensor
    output: EdgeTensor
    further_inputs: tuple[EdgeTensor, ...] = ()
    further_outputs: tuple[EdgeTensor, ...] = ()
    logits: Logits | None
    label: LabelRule | None = None  # how the class follows from the output; None in bundles of versions without it
    classes: tuple[str, ...] | None
    calibration: Calibration | None = None  # not known for a model that came as int8
    layers: Annotated[tuple[Layer, ...], Field(min_length=1)]
    macs: int
    removed: Removed
    activation_bits: Literal[8, 16] = 8  # the width of the widest activation, edges included
    state_bytes: int = 0  # kept from one inference to the next, outside the arena
    arena_bytes: int
    arena_lower_bound: int  # the most that one layer or chain needs at once; no plan with these kernels takes less
    arena_whole_layers: int  # without stripes
    # with room to receive the input in it, as a firmware does; None for several inputs, or in bundles of old versions
    arena_with_input: int | None = None
    stripes: tuple[Striped, ...]
    arena: tuple[ArenaSlot, ...]
    verified_against_oracle: int  # random inputs on which twin and oracle gave the same bytes; 0 without an oracle
    files: dict[str, str]  # path in the bundle -> SHA-256

    def arena_in_use(self, layer: int) -> int:
        """The bytes of the arena that hold a tensor while a layer runs; bytes that tensors share count once."""
        alive = sorted(
            (slot.offset, slot.offset + slot.bytes)
            for slot in self.arena
            if slot.first_layer <= layer <= slot.last_layer
        )
        used, reached = 0, 0
        for start, end in alive:
            used += max(0, end - max(start, reached))
            reached = max(reached, end)
        return used

    @property
    def label_rule(self) -> LabelRule:
        """How the predicted class follows from the outputs."""
        return self.label or label_rule(self.output, *self.further_outputs)

    @property
    def input_dtype(self) -> np.dtype[Any]:
        """The type of the steps that a Predictor takes."""
        return self.input.dtype

    @property
    def input_shape(self) -> tuple[int, ...]:
        """The shape that a Predictor takes: that of the input, or the steps of several inputs in one row."""
        if not self.further_inputs:
            return self.input.shape
        return (sum(prod(edge.shape) for edge in (self.input, *self.further_inputs)),)

    @property
    def output_dtype(self) -> np.dtype[Any]:
        """The type of the steps that a Predictor gives."""
        return self.output.dtype

    @property
    def output_size(self) -> int:
        """The steps of all outputs, which a Predictor gives in one row."""
        return sum(prod(edge.shape) for edge in (self.output, *self.further_outputs))

    @property
    def output_bytes(self) -> int:
        """The bytes of all outputs."""
        return self.output_size * self.output_dtype.itemsize

    def as_streams(self, frames: NDArray[np.int8], count: int = 1) -> NDArray[np.int8]:
        """Frames, int8[n, *input_shape], as a Predictor takes them: as `count` streams if the model keeps state."""
        return frames.reshape(count, -1, *self.input_shape) if self.state_bytes else frames

    def as_samples(self, x: NDArray[np.int8]) -> NDArray[np.int8]:
        """Samples, int8[n, ...], as a Predictor takes them: to a model with state, single frames are streams of one."""
        return x[:, None] if self.state_bytes and x.shape[1:] == self.input_shape else x

    def takes(self, shape: tuple[int, ...]) -> bool:
        """Whether a sample has the right shape: that of the input or, for a model with state, one or more frames."""
        if not self.state_bytes:
            return shape == self.input_shape
        return len(shape) > 0 and shape[0] > 0 and shape[1:] == self.input_shape

    @property
    def sample_shape(self) -> str:
        """The shape of a sample, for messages."""
        return f"[{', '.join(map(str, (*['frames'] * (self.state_bytes > 0), *self.input_shape)))}]"

    def check_inputs(self, x: NDArray[Any]) -> None:
        """Raise BadInputError unless x is what a Predictor takes: steps[n, *input_shape], or streams of such frames."""
        if x.dtype != self.input_dtype or not self.takes(x.shape[1:]):
            taken = f"{self.input.type}[n, {self.sample_shape.strip('[]')}]"
            raise BadInputError(f"the model takes {taken}, not {x.dtype}{list(x.shape)}")

    def check_stateless(self) -> None:
        """Raise BadInputError if the model keeps state, for callers that do not handle streams."""
        if self.state_bytes:
            raise BadInputError(
                f"keeps {self.state_bytes} bytes of state between inferences, which this study does not take",
                where=self.name,
            )

    def check_narrow(self) -> None:
        """Raise BadInputError if an activation has 16 bits, for callers that handle the 256 values of int8 only."""
        if self.activation_bits > 8:
            raise BadInputError(
                "has activations of 16 bits, and this study is of int8 networks",
                where=self.name,
                fix="convert, build, profile and evaluate take it as it is; quantize it to int8 for this",
            )

    def check_single(self) -> None:
        """Raise BadInputError unless the model has one input and one output, which firmware and attacks need."""
        if self.further_inputs or self.further_outputs:
            raise BadInputError(
                f"{1 + len(self.further_inputs)} inputs and {1 + len(self.further_outputs)} outputs, one of each is "
                "supported on a device",
                where=self.name,
                fix="use the bundle's C in a project of your own (tritguard export)",
            )


@dataclass(frozen=True)
class Bundle:
    """An opened bundle folder.

    Attributes:
        path: the folder.
        manifest: its manifest.
        written_from: the emission, if this process wrote the bundle; read it through `emission`.
        trusted: whether its C is compiled as it is; otherwise it is compared with what its model gives
            (`trusted_sources`).
    """

    path: Path
    manifest: Manifest
    written_from: Emission | None = field(default=None, repr=False, compare=False)
    trusted: bool = field(default=False, compare=False)

    @cached_property
    def golden(self) -> Graph:
        """The golden model's graph, read once."""
        return read_graph(self.model_path.read_bytes()) if self.written_from is None else self.written_from.golden

    @cached_property
    def emission(self) -> Emission:
        """What the C was written from, made once more from the golden model and the manifest if need be.

        Raises:
            BadInputError: this version of tritguard would emit other C for the model than the bundle holds.
        """
        if self.written_from is not None:
            return self.written_from
        asked, stripes = self.manifest.formats_asked, self.manifest.stripes_allowed
        made = emission_of(self.golden, self.manifest.core, asked, stripes=stripes)
        if not _is_written(made, self.manifest):
            raise BadInputError(
                "holds C that this version of tritguard would not emit for its model",
                where=str(self.path),
                fix="convert the model again",
            )
        return made

    @property
    def c_dir(self) -> Path:
        """The folder of C sources."""
        return self.path / C_DIR

    @property
    def model_path(self) -> Path:
        """The golden int8 `.tflite`."""
        return self.path / MODEL

    @property
    def sha256(self) -> str:
        """The SHA-256 of the manifest, which holds the hashes of all other files, in hex."""
        return hash_file(self.path / MANIFEST)


def _is_written(emission: Emission, manifest: Manifest) -> bool:
    """Whether a manifest describes this emission: the same formats and sizes of weights, the same arena."""
    ops, kernels = emission.graph.ops, emission.kernels
    made = {ops[at].index: (kernel.weight_format, kernel.weights.nbytes) for at, kernel in kernels.items()}
    written = {layer.index: (layer.weight_format, layer.weight_bytes) for layer in manifest.layers}
    slots = [(slot.offset, slot.size) for slot in emission.plan.slots]
    return made.items() <= written.items() and slots == [(slot.offset, slot.bytes) for slot in manifest.arena]


def hash_file(path: Path) -> str:
    """The SHA-256 of a file, in hex."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def open_bundle(path: Path, *, trust: bool = False) -> Bundle:
    """Open a bundle and check every file against the manifest.

    Args:
        path: its folder.
        trust: compile its C even if it is not what this version of tritguard generates from the model. Such C can do
            whatever you can.

    Raises:
        BadInputError: the folder is not a bundle, or a file is missing or was changed since it was written.
    """
    manifest_path = path / MANIFEST
    if not manifest_path.is_file():
        raise BadInputError(f"no {MANIFEST} here", where=str(path), fix="give a folder written by 'tritguard convert'")
    manifest = from_json(Manifest, manifest_path, fix="convert the model again")
    check_files(path, manifest.files)
    return Bundle(path, manifest, trusted=trust)


def _hash_inside(folder: Path, name: str) -> str | None:
    """The SHA-256 of a file in a folder, in hex; None if there is no such file, or its name leads elsewhere."""
    if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
        return None
    try:
        return hash_file(folder / name) if (folder / name).is_file() else None
    except (OSError, ValueError):  # names that no file can have
        return None


def check_files(path: Path, files: dict[str, str], *, fix: str = "convert the model again") -> None:
    """Check a folder against its manifest's SHA-256 of each file; the manifest itself is not among them.

    Raises:
        BadInputError: a file is missing, was changed, or is not in the manifest.
    """
    for name, digest in files.items():
        found = _hash_inside(path, name)
        if found != digest:
            state = "is missing" if found is None else "was changed"
            raise BadInputError(f"{name} {state} since it was written", where=str(path), fix=fix)
    present = {file.relative_to(path).as_posix() for file in path.rglob("*") if file.is_file()}
    if extra := sorted(present - {MANIFEST, *files}):
        raise BadInputError(f"{extra[0]} does not belong here", where=str(path), fix="remove it")
