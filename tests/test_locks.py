"""Locks that processes hold against each other."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tritguard.device.locks import HeldError, Lock, is_held

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
