"""What runs long: kills, soaks and fuzzing, each in any amount, with its rate and the time of the whole goal."""

from __future__ import annotations

import itertools
import os
import random
import re
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock

import numpy as np
import serial

from tests.support import fuzz
from tests.support.device_support import inputs
from tests.support.host_firmware import host_firmware
from tests.support.kills import Victim, campaign, without_times
from tests.support.process_tree import descendants
from tritguard.build import Build
from tritguard.device import EmulatedBoard, emulate
from tritguard.device.emulators.qemu import TRANSLATED_MIB
from tritguard.device.protocol import ANSWER, Frame, Receiver, Request, encode
from tritguard.emit import Bundle
from tritguard.predictor import Int8, Outputs
from tritguard.twin import Twin

_CAMPAIGNS = 2  # side by side
_KILLS = 4  # in one campaign, at most: after more, nearly all would hit what comes when all is crafted
_GROWTH = 2.0  # MiB; what the allocator of C and Python's own keep back moves less
_DISTINCT = 1000  # inputs that a soak repeats
_AFTER = 0.1  # of a soak, from where on nothing may grow
# Inferences over the bulk line that fill QEMU's cache of translated code, which is then emptied: each leaves 400 bytes.
_FILLED = TRANSLATED_MIB * 3000


@dataclass(frozen=True)
class Row:
    """What came of a run.

    Attributes:
        name: what was done.
        count: how often it was done.
        goal: how often it has to be done in all.
        seconds: the time it took.
        failure: what was wrong; empty if nothing was.
        note: what else is to be said.
        killed: how many processes of each kind were killed at each place.
    """

    name: str
    count: int
    goal: int
    seconds: float
    failure: str = ""
    note: str = ""
    killed: Mapping[tuple[Victim, str], int] = field(default_factory=dict)


def kills(bundle: Bundle, build: Build, folder: Path, count: int) -> Row:
    """Kill processes of campaigns on three emulated boards at random places; each ends as one that was left alone.

    Two campaigns run side by side, as one uses no more than a core for most of its time.
    """
    attack = campaign(bundle, build, folder, samples=110, queries=400)
    start = time.perf_counter()
    clean, left, lock, equal, broken = attack.finish(folder / "alone"), [count], Lock(), list[int](), list[int]()
    numbers = itertools.count()

    def run_campaigns() -> None:
        while not broken:
            with lock:
                number, share = next(numbers), min(left[0], _KILLS)
                left[0] -= share
            if not share:
                return
            out = folder / f"killed-{number}"
            killed = attack.survive(out, clean, share)
            with lock:
                left[0] += share - killed
            (equal if without_times(out) == clean.result else broken).append(number)

    with ThreadPoolExecutor(_CAMPAIGNS) as pool:
        for ended in [pool.submit(run_campaigns) for _ in range(_CAMPAIGNS)]:
            ended.result()
    failure = f"{len(broken)} campaigns ended otherwise than the one that was left alone" if broken else ""
    note = f"{len(equal)} campaigns, each equal to the one left alone; {attack.starts} starts"
    seconds, done = time.perf_counter() - start, attack.killed.total()
    return Row("kills of a campaign on three boards", done, 100, seconds, failure, note, attack.killed)


def soak_twin(bundle: Bundle, count: int) -> Row:
    """Ask the twin again and again for the same inputs."""
    twin, x = Twin(bundle), inputs(bundle, _DISTINCT)
    return _soak("inferences on the twin", twin.predict, [os.getpid()], x, count, 1_000_000)


def soak_board(bundle: Bundle, build: Build, count: int) -> Row:
    """Ask an emulated board over its bulk line again and again for the same inputs; its answers are the twin's.

    Memory may not grow once QEMU's cache of translated code is full. A soak that is too short for that may grow by the
    size of the cache, and says so.
    """
    with emulate(bundle, build) as device:
        emulators = [pid for pid, (name, _) in descendants(os.getpid()).items() if "qemu" in name]
        x, pids = inputs(bundle, _DISTINCT), [os.getpid(), *emulators]
        right, name = Twin(bundle).predict(x), "inferences on an emulated board"
        return _soak(name, device.predict, pids, x, count, 100_000, right, (_FILLED, TRANSLATED_MIB))


def _soak(
    name: str,
    ask: Callable[[Int8], Outputs],
    pids: list[int],
    x: Int8,
    count: int,
    goal: int,
    right: Outputs | None = None,
    warm: tuple[int, float] = (0, 0.0),
) -> Row:
    """Ask for the same inputs until all is done; `warm` is after how many memory has grown by so many MiB, for good."""
    begin, done, memory = time.perf_counter(), 0, dict[int, float]()
    while done < count:
        answers = ask(x[: min(len(x), count - done)])
        right = answers if right is None else right
        done += len(answers.scores)
        if differs(answers, right.chosen(slice(len(answers.scores)))):
            return Row(name, done, goal, time.perf_counter() - begin, f"an answer changed after {done:,}")
        memory[done] = _resident(pids)
    failure, note = grown(memory, *warm)
    return Row(name, done, goal, time.perf_counter() - begin, failure, note)


def grown(memory: dict[int, float], filled: int, cache: float) -> tuple[str, str]:
    """Judge how memory grew.

    Args:
        memory: MiB, by how much was done until then.
        filled: after how much a cache is full for certain.
        cache: the most that it takes, in MiB.

    Returns:
        What is wrong, empty if nothing is, and the growth in words.
    """
    done = max(memory)
    settled = next(one for one in memory if one >= _AFTER * done)
    is_full = done >= 2 * filled
    if is_full:
        settled = next(one for one in memory if one >= max(filled, _AFTER * done))
    growth = memory[done] - memory[settled]
    failure = f"memory grew by {growth:.1f} MiB" if growth > _GROWTH + (0 if is_full else cache) else ""
    at = sorted({next(one for one in memory if one >= share * done) for share in (0.05, 0.1, 0.2, 0.4, 0.8, 1)})
    curve = ", ".join(f"{memory[one]:.1f} at {one:,}" for one in at)
    filling = "" if is_full else f", while a cache of {cache:g} MiB fills"
    return failure, f"memory {growth:+.1f} MiB after {settled:,}{filling}; MiB: {curve}"


def differs(ours: Outputs, theirs: Outputs) -> bool:
    """Whether scores, logits or, where both have them, ticks differ."""
    pairs = ((ours.scores, theirs.scores), (ours.logits, theirs.logits), (ours.ticks, theirs.ticks))
    return any(a is not None and b is not None and not np.array_equal(a, b) for a, b in pairs)


def _resident(pids: list[int]) -> float:
    """The memory of processes, in MiB."""
    texts = [Path(f"/proc/{pid}/status").read_text() for pid in pids]
    return sum(int(found[1]) for text in texts if (found := re.search(r"VmRSS:\s+(\d+) kB", text))) / 1024


def fuzz_host(bundle: Bundle, folder: Path, count: int, keep: Path | None) -> Row:
    """Fuzz the firmware's protocol and engine under the sanitizers, led by coverage."""
    program, start = host_firmware(bundle, folder, "fuzz_port.c", traced=True), time.perf_counter()
    name, goal = "fuzzed blocks, host build with sanitizers", 10_000_000
    try:
        found = fuzz.fuzz(program, count, random.randrange(1 << 30), [*fuzz.seeds(), *fuzz.corpus()])
    except AssertionError as error:
        return Row(name, 0, goal, time.perf_counter() - start, str(error)[:200])
    if keep is not None:
        keep.write_text("".join(f"{block.hex()}\n" for block in dict.fromkeys(found.kept)))
    note = f"{found.edges} edges, {len(set(found.kept))} blocks kept"
    return Row(name, found.blocks, goal, time.perf_counter() - start, note=note)


def fuzz_board(build: Build, count: int) -> Row:
    """Send damaged blocks of the corpus to an emulated board's UART; every hundredth time it has to echo."""
    rng, known = random.Random(random.randrange(1 << 30)), [*fuzz.seeds(), *fuzz.corpus()]
    known = [block for block in known if len(block) <= 300]
    name, goal, start, failure, done = "fuzzed blocks at an emulated board", 100_000, time.perf_counter(), "", 0
    with EmulatedBoard(build.record.board, build.elf) as board, serial.serial_for_url(board.url, timeout=0.05) as line:
        receiver = Receiver()
        while done < count and not failure:
            for _ in range(min(100, count - done)):
                block = bytearray(rng.choice(known))
                for _ in range(rng.randrange(3)):
                    block[rng.randrange(len(block))] ^= 1 << rng.randrange(8)
                line.write(bytes(block))
                done += 1
            echo = Frame(Request.ECHO, done, rng.randbytes(32))
            line.write(b"\0" + encode(echo))
            if not _echoed(line, receiver, echo):
                failure = f"no echo after {done:,} blocks"
    return Row(name, done, goal, time.perf_counter() - start, failure)


def _echoed(line: serial.SerialBase, receiver: Receiver, echo: Frame) -> bool:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        for item in receiver.take(line.read(4096)):
            if isinstance(item, Frame) and (item.type, item.sequence) == (Request.ECHO + ANSWER, echo.sequence):
                return item.payload == echo.payload
    return False
