"""Downloads over a line that breaks: what is kept, what is continued, what is refused."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from tritguard.data.download import fetch
from tritguard.errors import BadInputError

if TYPE_CHECKING:
    from tests.support.broken_server import BrokenServer

pytest_plugins = ("tests.support.broken_server",)

CONTENT = np.random.default_rng(0).bytes(3_000_000)


@pytest.fixture
def big(server: BrokenServer) -> BrokenServer:
    server.contents["big.bin"] = CONTENT
    return server


def test_a_broken_transfer_goes_on_where_it_broke(tmp_path: Path, big: BrokenServer) -> None:
    big.cut_after = [1_000_000, 500_000, 0, 700_000]
    seen: list[tuple[int, int]] = []
    fetch([big.source("big.bin")], tmp_path, lambda *args: seen.append(args), pause_s=0.01)
    assert (tmp_path / "big.bin").read_bytes() == CONTENT
    assert big.asked == [None, *(f"bytes={n}-" for n in (1_000_000, 1_500_000, 1_500_000, 2_200_000))]
    assert seen == sorted(seen) and seen[-1] == (len(CONTENT), len(CONTENT))
    assert [path.name for path in tmp_path.iterdir()] == ["big.bin"]


def test_a_server_without_ranges_sends_all_again(tmp_path: Path, big: BrokenServer) -> None:
    big.cut_after, big.ranges = [1_000_000, 200_000], False
    fetch([big.source("big.bin")], tmp_path, pause_s=0.01)
    assert (tmp_path / "big.bin").read_bytes() == CONTENT


def test_what_arrived_is_kept_for_the_next_call(tmp_path: Path, big: BrokenServer) -> None:
    big.cut_after = [1_000_000] + [0] * 10
    with pytest.raises(BadInputError, match=r"continues after 1,000,000 of 3,000,000 bytes; or ask a friend"):
        fetch([big.source("big.bin")], tmp_path, pause_s=0.001)
    assert not (tmp_path / "big.bin").exists()
    big.cut_after, big.asked = [], []
    fetch([big.source("big.bin")], tmp_path)
    assert big.asked == ["bytes=1000000-"]
    assert (tmp_path / "big.bin").read_bytes() == CONTENT


def test_a_killed_download_goes_on(tmp_path: Path, big: BrokenServer) -> None:
    source = big.source("big.bin")
    code = (
        "import sys, time; from pathlib import Path; from tritguard.data.download import RemoteFile, fetch; "
        "fetch([RemoteFile(sys.argv[1], int(sys.argv[2]), sys.argv[3], '')], Path(sys.argv[4]), "
        "lambda done, total: time.sleep(0.2))"
    )
    arguments = [source.url, str(source.bytes), source.sha256, str(tmp_path)]
    process = subprocess.Popen([sys.executable, "-c", code, *arguments])
    part = tmp_path / "big.bin.part"
    deadline = time.monotonic() + 30
    while not (part.is_file() and part.stat().st_size) and time.monotonic() < deadline:
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    kept = part.stat().st_size
    assert 0 < kept < len(CONTENT)
    big.asked.clear()
    fetch([source], tmp_path)
    assert big.asked == [f"bytes={kept}-"]
    assert (tmp_path / "big.bin").read_bytes() == CONTENT


def test_wrong_content_is_refused_and_not_kept(tmp_path: Path, big: BrokenServer) -> None:
    source = big.source("big.bin")
    big.contents["big.bin"] = CONTENT[:-1] + b"?"
    with pytest.raises(BadInputError, match="checksum failure"):
        fetch([source], tmp_path)
    assert not list(tmp_path.iterdir())


def test_more_than_was_published_is_not_taken(tmp_path: Path, big: BrokenServer) -> None:
    source = replace(big.source("big.bin"), bytes=1000)
    with pytest.raises(BadInputError, match="checksum failure"):
        fetch([source], tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_server_that_stumbles_is_asked_again(tmp_path: Path, big: BrokenServer) -> None:
    big.statuses = [503, 429, 408, 200]
    fetch([big.source("big.bin")], tmp_path, pause_s=0.001)
    assert len(big.asked) == 4


def test_a_file_that_is_gone_is_not_asked_for_again(tmp_path: Path, big: BrokenServer) -> None:
    source = big.source("big.bin")
    del big.contents["big.bin"]
    with pytest.raises(BadInputError, match=r"cannot be downloaded.*404.*ask a friend"):
        fetch([source], tmp_path)
    assert len(big.asked) == 1


def test_only_what_is_missing_is_fetched(tmp_path: Path, big: BrokenServer) -> None:
    big.contents["small.bin"] = b"small"
    (tmp_path / "small.bin").write_bytes(b"small")
    fetch([big.source("small.bin"), big.source("big.bin")], tmp_path)
    assert len(big.asked) == 1


def test_a_damaged_beginning_is_thrown_away(tmp_path: Path, big: BrokenServer) -> None:
    source = big.source("big.bin")
    (tmp_path / "big.bin.part").write_bytes(b"?" + CONTENT[1:1000])
    with pytest.raises(BadInputError, match=r"checksum failure.*start again"):
        fetch([source], tmp_path)
    assert big.asked == ["bytes=1000-"] and not list(tmp_path.iterdir())
    (tmp_path / "big.bin.part").write_bytes(CONTENT + b"more than there is")
    with pytest.raises(BadInputError, match="checksum failure"):
        fetch([source], tmp_path)
    fetch([source], tmp_path)
    assert (tmp_path / "big.bin").read_bytes() == CONTENT


def test_a_beginning_the_server_cannot_continue_is_thrown_away(tmp_path: Path, big: BrokenServer) -> None:
    (tmp_path / "big.bin.part").write_bytes(CONTENT[:1000])
    big.statuses = [416]
    with pytest.raises(BadInputError, match="416"):
        fetch([big.source("big.bin")], tmp_path)
    assert not list(tmp_path.iterdir())
    fetch([big.source("big.bin")], tmp_path)
    assert (tmp_path / "big.bin").read_bytes() == CONTENT


def test_another_range_than_was_asked_for_is_not_taken(tmp_path: Path, big: BrokenServer) -> None:
    (tmp_path / "big.bin.part").write_bytes(CONTENT[:1000])
    big.shift = 7
    with pytest.raises(BadInputError, match="another range"):
        fetch([big.source("big.bin")], tmp_path, pause_s=0.001)
    assert (tmp_path / "big.bin.part").read_bytes() == CONTENT[:1000]
