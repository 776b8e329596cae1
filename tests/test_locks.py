"""Locks that processes hold against each other."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tritguard.device.line import SerialLine
from tritguard.device.locks import HeldError, Lock, is_held
from tritguard.errors import DeviceError

HOLDS = """
import sys
from tritguard.device.locks import Lock

with Lock("tests", sys.argv[1]):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_lock_is_held_once_and_its_holder_is_known() -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDS, "one"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None and process.stdout.readline() == "held\n"
    assert is_held("tests", "one") and not is_held("tests", "two") and not is_held("others", "one")
    with pytest.raises(HeldError) as error:
        Lock("tests", "one")
    assert error.value.args == (process.pid,)
    process.kill()  # without a chance to let go of it
    process.communicate()
    assert not is_held("tests", "one")
    with Lock("tests", "one"), pytest.raises(HeldError):
        Lock("tests", "one")
    Lock("tests", "one").release()


@pytest.fixture
def port() -> Iterator[str]:
    """A serial port without a board: the far end of a pseudo-terminal."""
    if not hasattr(os, "openpty"):
        pytest.skip("needs pseudo-terminals")
    near, far = os.openpty()
    yield os.ttyname(far)
    os.close(near)
    os.close(far)


OPENS = """
import sys
from tritguard.device.line import SerialLine

line = SerialLine(sys.argv[1], 115200)
print("open", flush=True)
sys.stdin.read()
"""


def test_a_port_has_one_user(port: str) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", OPENS, port], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None and process.stdout.readline() == "open\n"
    with pytest.raises(DeviceError, match=f"in use by process {process.pid}") as error:
        SerialLine(port, 115_200)
    assert error.value.exit_code == 4
    process.communicate()
    SerialLine(port, 115_200).close()
    SerialLine(port, 115_200).close()


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may open every port")
def test_a_port_without_permission_says_how_to_get_it(port: str) -> None:
    Path(port).chmod(0)
    with pytest.raises(DeviceError, match="usermod -aG dialout"):
        SerialLine(port, 115_200)
