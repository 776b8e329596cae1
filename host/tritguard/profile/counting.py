"""Counts the instructions of a firmware on an emulated board exactly."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tritguard.boards import Board
from tritguard.build import Build, build
from tritguard.device import Counting, emulate
from tritguard.emit.bundle import Bundle
from tritguard.errors import DeviceError
from tritguard.files import scratch_folder
from tritguard.predictor import Int8, Outputs
from tritguard.profile.cycles import has_model, instruction_costs
from tritguard.profile.symbols import CodeMap, read_code_map

# Bucket 0 is not counted; bucket 1 is the part of tg_model_run outside all layers.
_IDLE, _FRAME, _FIRST_LAYER = 0, 1, 2
# These interrupt the model but do not belong to it.
_HANDLERS = frozenset({"systick_entry", "systick_interrupt", "uart_entry", "uart_interrupt"})


@dataclass(frozen=True)
class FunctionCount:
    """What one function took. `cycles` is an estimate, or None if the core has no cycle model."""

    name: str
    instructions: int
    cycles: int | None


@dataclass(frozen=True)
class LayerCount:
    """What ran between a layer's first instruction and that of the next layer.

    Attributes:
        layer: the layer's index in the bundle. None for the model's own code before the first layer, and for all code
            of an engine that does not tell its layers apart.
        functions: most instructions first.
    """

    layer: int | None
    functions: tuple[FunctionCount, ...]

    @property
    def instructions(self) -> int:
        """The instructions of all its functions."""
        return sum(function.instructions for function in self.functions)

    @property
    def cycles(self) -> int | None:
        """The estimated cycles of all its functions, or None if the core has no cycle model."""
        return _sum(function.cycles for function in self.functions)


@dataclass(frozen=True)
class ModelCount:
    """What several inferences took together. The layers are in order of execution and add up to the whole."""

    inferences: int
    outputs: Outputs
    layers: tuple[LayerCount, ...]

    @property
    def instructions(self) -> int:
        """The instructions of all layers."""
        return sum(layer.instructions for layer in self.layers)

    @property
    def cycles(self) -> int | None:
        """The estimated cycles of all layers, or None if the core has no cycle model."""
        return _sum(layer.cycles for layer in self.layers)

    @property
    def functions(self) -> tuple[FunctionCount, ...]:
        """The functions of all layers together, most instructions first."""
        return _merged(function for layer in self.layers for function in layer.functions)


def count_model(bundle: Bundle, board: Board, x: Int8) -> ModelCount:
    """Build a temporary firmware and count its instructions; see `count`.

    To count for another core on the same machine, pass `board.model_copy(update={"core": ...})` and a bundle for that
    core's class.
    """
    with scratch_folder() as folder:
        return count(bundle, build(bundle, board, folder / "build"), x)


def count(bundle: Bundle, built: Build, x: Int8) -> ModelCount:
    """Count every instruction the model runs on an emulated board, exactly and repeatably.

    Args:
        bundle: the model.
        built: its firmware, exactly as it ships.
        x: int8[n, *input_shape].

    Returns:
        The counts of the n inferences together, and their outputs.

    Raises:
        BadInputError: the board has no emulator; see also `connect` and `Device.predict`.
        ToolMissingError: the emulator is missing, or a C compiler to build QEMU's plugin with.
        DeviceError: the emulator does not start, does not count, or answers too slowly.
    """
    code = read_code_map(built.elf)
    with scratch_folder() as folder:
        counts = folder / "counts"
        layout = folder / "layout"
        layers = _write_layout(layout, code)
        with emulate(bundle, built, counting=Counting(layout, counts)) as device:
            outputs = device.predict(x)
            resent = device.resent_frames
        if not counts.is_file():
            raise DeviceError("the emulator ran the model but wrote no counts", where=built.record.board.id)
        if resent:
            raise DeviceError(
                f"{resent} requests were sent again, so that more than {len(x)} inferences were counted",
                where=built.record.board.id,
                fix="count again, on a machine that is less busy",
            )
        pieces = list(_read_pieces(counts))
    return ModelCount(len(x), outputs, _layer_counts(pieces, layers, code, built))


def _write_layout(path: Path, code: CodeMap) -> tuple[int, ...]:
    """Write the layout file; return the layer of each bucket from `_FIRST_LAYER` on."""
    order = tuple(dict.fromkeys(layer for _, layer in code.layers))
    buckets = {code.run: _FRAME, code.done: _IDLE}
    buckets |= {address: _FIRST_LAYER + order.index(layer) for address, layer in code.layers}
    path.write_text("".join(f"{address:x} {bucket}\n" for address, bucket in buckets.items()))
    return order


@dataclass(frozen=True)
class _Piece:
    """A straight piece of code with the emulator's counts for it."""

    bucket: int
    runs: int
    taken: int
    addresses: tuple[int, ...]


def _read_pieces(path: Path) -> Iterator[_Piece]:
    for line in path.read_text().splitlines():
        bucket, runs, taken, first, sizes = line.split()
        addresses = [int(first, 16)]
        for size in sizes[:-1]:
            addresses.append(addresses[-1] + int(size))
        yield _Piece(int(bucket), int(runs), int(taken), tuple(addresses))


def _layer_counts(
    pieces: Iterable[_Piece], layers: tuple[int, ...], code: CodeMap, built: Build
) -> tuple[LayerCount, ...]:
    core = built.record.board.core
    costs = instruction_costs(built.elf, core) if has_model(core) else None
    found: dict[int, list[FunctionCount]] = defaultdict(list)
    for piece in pieces:
        name = code.function(piece.addresses[0])
        if name in _HANDLERS:
            continue
        cycles = None
        if costs is not None:
            cycles = piece.runs * sum(costs[address].run for address in piece.addresses)
            cycles += piece.taken * costs[piece.addresses[-1]].taken
        found[piece.bucket].append(FunctionCount(name, piece.runs * len(piece.addresses), cycles))
    return tuple(
        LayerCount(None if bucket == _FRAME else layers[bucket - _FIRST_LAYER], _merged(found[bucket]))
        for bucket in sorted(found)
    )


def _merged(functions: Iterable[FunctionCount]) -> tuple[FunctionCount, ...]:
    """Merge the counts of each function name into one entry, most instructions first."""
    same: dict[str, list[FunctionCount]] = defaultdict(list)
    for function in functions:
        same[function.name].append(function)
    merged = (
        FunctionCount(name, sum(part.instructions for part in parts), _sum(part.cycles for part in parts))
        for name, parts in same.items()
    )
    return tuple(sorted(merged, key=lambda function: (-function.instructions, function.name)))


def _sum(cycles: Iterable[int | None]) -> int | None:
    known = list(cycles)
    return None if None in known else sum(part for part in known if part is not None)
