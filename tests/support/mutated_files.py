"""Reads damaged files of each kind that tritguard takes, and tells which did not end in a plain message.

Each case follows from its kind and number alone. Cases run in child processes with limits, so a crash, a hang and
a hunger for memory are told too.
"""

from __future__ import annotations

import multiprocessing
import random
import resource
import signal
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

from tests.support.mutations import odd_archive, odd_json, odd_npz, odd_tflite, odd_toml
from tritguard import api
from tritguard.boards import load_board
from tritguard.data.dataset import read_dataset
from tritguard.emit import open_bundle
from tritguard.emit.golden import golden_of
from tritguard.emit.tflm.arena import cmsis_scratch
from tritguard.emit.tflm.compress import compressible
from tritguard.emit.tflm.edges import all_edges, samples
from tritguard.emit.tflm.ops import ops_of
from tritguard.errors import BadModelError, TritguardError
from tritguard.evaluate.registry import read_study
from tritguard.graph import read_graph
from tritguard.graph.emission import emission_of
from tritguard.graph.flatbuffer import parse
from tritguard.records import from_json

SECONDS = 20  # the most that a case may take by the processor
MEMORY = 6 << 30  # bytes of address space, of which the libraries take half
_BATCH = 100


@dataclass(frozen=True)
class FileKind:
    """A kind of file.

    Attributes:
        name: the name that the file gets.
        mutate: makes a damaged file of a sound one.
        read: reads it; what it raises besides TritguardError is a fault.
    """

    name: str
    mutate: Callable[[bytes, random.Random], bytes]
    read: Callable[[Path], object]


@dataclass(frozen=True)
class Verdict:
    """What became of a case: `taken`, `refused`, or the fault. `seed` gives the file again."""

    kind: str
    seed: int
    outcome: str


def _tflite(path: Path) -> None:
    """What `convert` does before it compiles, and what `tflm` does without the interpreter."""
    content, refusals = path.read_bytes(), []
    for read in _OF_TFLITE:
        try:
            read(content)
        except TritguardError as error:  # on what one of them refuses the next may fail
            refusals.append(error)
    if len(refusals) == len(_OF_TFLITE):
        raise refusals[0]


def _converted(content: bytes) -> object:
    return emission_of(read_graph(golden_of(content).content), "m4")


def _as_arrays(content: bytes) -> None:
    raw = parse(content)
    assert ops_of(raw)
    all_edges(content)
    samples(content, 2, None)
    cmsis_scratch(raw)
    compressible(content)


_OF_TFLITE: tuple[Callable[[bytes], object], ...] = (read_graph, _converted, _as_arrays)


def _keras(path: Path) -> None:
    """What the reading process does, without its imports of Keras; see `tritguard.foreign.worker`.

    That module asks for Keras 2 when it is imported, which is for the child's process alone.
    """
    from tritguard.foreign.configuration import describe  # noqa: PLC0415
    from tritguard.foreign.description import FAILURE, Failure  # noqa: PLC0415
    from tritguard.foreign.guard import failures_in  # noqa: PLC0415
    from tritguard.foreign.worker import _open  # noqa: PLC0415

    with failures_in(path.parent):
        describe(*_open(path))
    failure = path.parent / FAILURE
    if failure.is_file():
        what = from_json(Failure, failure).what
        failure.unlink()
        raise BadModelError(what)


def _bundle(path: Path) -> None:
    folder = path.parent
    opened = open_bundle(folder)
    opened.manifest.check_single()
    for layer in opened.manifest.layers:
        opened.manifest.arena_in_use(layer.index)
    assert opened.manifest.label_rule and opened.emission


KINDS = {
    "tflite": FileKind("model.tflite", odd_tflite, _tflite),
    "keras": FileKind("model.keras", odd_archive, _keras),
    "npz": FileKind("data.npz", odd_npz, read_dataset),
    "board": FileKind("board.toml", odd_toml, lambda path: load_board(str(path))),
    "run": FileKind("run.toml", odd_toml, api.read_run_config),
    "manifest": FileKind("manifest.json", odd_json, _bundle),
    "result": FileKind("result.json", odd_json, read_study),
}


def case(kind: str, sound: Sequence[bytes], seed: int) -> bytes:
    """The damaged file of a case; below 0, the sound files as they are, from the last."""
    if seed < 0:
        return sound[seed]
    rng = random.Random(f"{kind} {seed}")
    return KINDS[kind].mutate(rng.choice(sound), rng)


def try_all(kind: str, sound: Sequence[bytes], seeds: range, folder: Path) -> Iterator[Verdict]:
    """Read the cases, each in `folder`, which holds what else the file needs beside it; see `KINDS`.

    Args:
        kind: a key of `KINDS`.
        sound: files that are read without a fault.
        seeds: the cases' numbers.
        folder: is written to.
    """
    context = multiprocessing.get_context("fork")
    left = list(seeds)
    while left:
        batch, left = left[:_BATCH], left[_BATCH:]
        ours, theirs = context.Pipe(duplex=False)
        child = context.Process(target=_run, args=(kind, sound, batch, folder, theirs))
        child.start()
        theirs.close()
        for at, seed in enumerate(batch):
            try:
                outcome = ours.recv()
            except EOFError:  # the process died over this case: go on behind it
                child.join()
                outcome = f"the process ended with {child.exitcode}"
                left = batch[at + 1 :] + left
                yield Verdict(kind, seed, outcome)
                break
            yield Verdict(kind, seed, outcome)
        child.join()


def _run(kind: str, sound: Sequence[bytes], seeds: list[int], folder: Path, told: Connection) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGVTALRM, _hangs)
    path = folder / KINDS[kind].name
    for seed in seeds:
        path.write_bytes(case(kind, sound, seed))
        signal.setitimer(signal.ITIMER_VIRTUAL, SECONDS)
        told.send(_outcome(KINDS[kind].read, path))
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)


def _hangs(*_: object) -> None:
    raise TimeoutError(f"takes more than {SECONDS} s")


def _outcome(read: Callable[[Path], object], path: Path) -> str:
    try:
        read(path)
    except TritguardError as error:
        return "refused" if str(error) else "refused without a word"
    except BaseException as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        return f"{type(error).__name__} at {Path(where.filename).name}:{where.lineno}: {error}"[:300]
    return "taken"
