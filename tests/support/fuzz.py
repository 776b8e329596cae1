"""The firmware's protocol and engine under a fuzzer that is led by coverage (tests/fuzz_port.c), and its corpus."""

from __future__ import annotations

import os
import re
import struct
import subprocess
import zlib
from dataclasses import dataclass
from pathlib import Path

from tests.support.shared import ROOT
from tritguard.device.protocol import Frame, Request, encode

CORPUS = ROOT / "tests" / "corpus" / "protocol.txt"
"""What a fuzzing of ten million blocks kept on the small ternary model: a block a line, in hexadecimal digits."""
INPUT_BYTES = 192  # of that model
_PART = 64


def corpus() -> list[bytes]:
    """The blocks that are kept in the repository."""
    return [bytes.fromhex(line) for line in CORPUS.read_text().split()]


def seeds() -> list[bytes]:
    """Requests that random bytes do not make: with an input in parts, its checksum, and the rates there are."""
    parts = [encode(Frame(Request.PART, 3, bytes(_PART), mark=place // 32)) for place in range(0, INPUT_BYTES, _PART)]
    run = encode(Frame(Request.RUN, 3, struct.pack("<IHH", zlib.crc32(bytes(INPUT_BYTES)), 0, 33)))
    rates = [encode(Frame(Request.RATE, 1, rate.to_bytes(4, "little"))) for rate in (921_600, 3_000_000, 1)]
    plain = [encode(Frame(request, 1)) for request in Request]
    return [b"".join([*parts, run]), run, *parts, *rates, *plain, encode(Frame(Request.INFER, 1, bytes(INPUT_BYTES)))]


@dataclass(frozen=True)
class Fuzzed:
    """What came of a fuzzing.

    Attributes:
        blocks: how many blocks were tried.
        edges: how many edges of the firmware's control flow they reached.
        kept: the blocks that reached an edge first.
    """

    blocks: int
    edges: int
    kept: tuple[bytes, ...]


def fuzz(program: Path, blocks: int, seed: int, known: list[bytes]) -> Fuzzed:
    """Fuzz a firmware made with `host_firmware(..., "fuzz_port.c", traced=True)`.

    Every 256 blocks a whole request has to be answered as it was at first.

    Raises:
        AssertionError: a sanitizer found something, or an answer was another; it holds what the program said.
    """
    variables = os.environ | {"FUZZ_BLOCKS": str(blocks), "FUZZ_SEED": str(seed)}
    text = "".join(f"{block.hex()}\n" for block in known)
    done = subprocess.run([program], input=text, capture_output=True, text=True, check=False, env=variables)
    assert done.returncode == 0, done.stderr
    found = re.search(r"(\d+) blocks, (\d+) edges", done.stderr)
    assert found is not None, done.stderr
    return Fuzzed(int(found[1]), int(found[2]), tuple(bytes.fromhex(line) for line in done.stdout.split()))
