"""A board that lies about itself or about an inference: each lie ends in one DeviceError, at once."""

from __future__ import annotations

import struct
import subprocess
import sys
import time
from dataclasses import replace

import pytest

from tests.support.device_support import inputs
from tests.support.pretended_board import PretendedBoard, hello_payload
from tritguard.build import Build
from tritguard.device import connect
from tritguard.device.protocol import Inference, LayerTicks, ProtocolError, Request
from tritguard.emit import Bundle
from tritguard.errors import DeviceError

pytest_plugins = ("tests.support.device_fixtures",)

TRITGUARD = (sys.executable, "-c", "from tritguard.cli import main; main()")
MANY = (1 << 32) - 1


def inference(ticks: int, outputs: int = 5, logits: int = 5) -> bytes:
    return struct.pack("<Q", ticks) + bytes(4 * logits + outputs)


@pytest.mark.parametrize(
    ("lie", "words"),
    [
        ({"clock_hz": 0}, "0 Hz of its clock"),
        ({"clock_hz": 1}, "1 Hz of its clock"),
        ({"clock_hz": MANY}, "4,294,967,295 Hz of its clock"),
        ({"outputs": MANY}, "4,294,967,295 outputs"),
        ({"outputs": 0}, "0 outputs"),
        ({"outputs": 6}, "6 outputs"),
        ({"inputs": 191}, "191 inputs"),
        ({"inputs": MANY}, "4,294,967,295 inputs"),
        ({"logits": 1}, "1 logits"),
        ({"logits": MANY}, "4,294,967,295 logits"),
        ({"engine": "\x1b[2J"}, "not printable ASCII"),
        ({"board": "mps2\u00e9"}, "not printable ASCII"),
    ],
)
def test_what_a_board_tells_of_itself_is_held_against_the_build(
    lie: dict[str, int | str], words: str, small_bundle: Bundle, small_build: Build
) -> None:
    start = time.monotonic()
    with (
        PretendedBoard({Request.HELLO: hello_payload(small_bundle, small_build, **lie)}) as board,
        pytest.raises(DeviceError, match=words),
    ):
        connect(board.url, small_bundle, small_build)
    assert time.monotonic() - start < 5


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (inference(0), "an inference of 0 ticks"),
        (inference(1 << 63), "an inference of 9,223,372,036,854,775,808 ticks"),
        (inference((1 << 64) - 1), "an inference of 18,446,744,073,709,551,615 ticks"),
        (inference(1, outputs=4), "does not fit 5 outputs and 5 logits"),
        (inference(1, logits=6), "does not fit 5 outputs and 5 logits"),
        (b"", "does not fit 5 outputs and 5 logits"),
    ],
)
def test_an_inference_that_cannot_be(answer: bytes, words: str, small_bundle: Bundle, small_build: Build) -> None:
    answers = {Request.HELLO: hello_payload(small_bundle, small_build), Request.INFER: answer}
    with PretendedBoard(answers) as board, connect(board.url, small_bundle, small_build) as device:
        with pytest.raises(DeviceError, match=words):
            device.predict(inputs(small_bundle, 1))
        assert board.asked.count(Request.INFER) == 1


def test_the_truth_is_believed(small_bundle: Bundle, small_build: Build) -> None:
    largest = (1 << 63) - 1
    answers = {Request.HELLO: hello_payload(small_bundle, small_build), Request.INFER: inference(largest)}
    with PretendedBoard(answers) as board, connect(board.url, small_bundle, small_build) as device:
        ticks = device.predict(inputs(small_bundle, 1)).ticks
        assert ticks is not None and ticks.tolist() == [largest]
    assert Inference.parse(inference(1), 5, 5).ticks == 1


@pytest.mark.parametrize("answer", [b"", bytes(8 * 3), struct.pack("<2Q", 1, 1), struct.pack("<3Q", 1, 1 << 63, 0)])
def test_a_profile_that_cannot_be(answer: bytes) -> None:
    with pytest.raises(ProtocolError):
        LayerTicks.parse(answer, layers=2)
    assert LayerTicks.parse(struct.pack("<3Q", 0, 7, 0), layers=2).layers.tolist() == [7, 0]


def test_no_board_is_waited_for_without_end(small_bundle: Bundle, small_build: Build) -> None:
    with PretendedBoard({Request.HELLO: hello_payload(small_bundle, small_build)}) as board:
        device = connect(board.url, small_bundle, small_build)
    waits = []
    for slowest in (0.0, 1.0, 1e9):
        device._inferences._slowest = slowest
        waits.append(device._inferences.patience().seconds)
    device.bundle = replace(small_bundle, manifest=small_bundle.manifest.model_copy(update={"macs": 1 << 60}))
    device._inferences._slowest = 0.0
    waits.append(device._inferences.patience().seconds)
    assert waits[0] < waits[1] < waits[2] == waits[3] == 600


def test_a_lie_is_one_line_and_exit_code_4(small_bundle: Bundle, small_build: Build) -> None:
    hello = hello_payload(small_bundle, small_build, engine="\x1b]0;owned\x07")
    with PretendedBoard({Request.HELLO: hello}) as board:
        words = ["profile", str(small_bundle.path), str(small_build.path), "--port", board.url]
        done = subprocess.run([*TRITGUARD, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 4, done.stderr
    assert len(done.stderr.splitlines()) == 1 and "not printable ASCII" in done.stderr


@pytest.mark.parametrize(
    "port", ["hwgrep://[", "socket://host", "socket://", "socket://127.0.0.1:x", "rfc2217://[", "nothing://x", ""]
)
def test_a_port_that_is_none_is_one_line(port: str, small_bundle: Bundle, small_build: Build) -> None:
    with pytest.raises(DeviceError, match="the port cannot be opened"):
        connect(port, small_bundle, small_build)
