"""A campaign on three emulated boards whose processes are killed ends as one that was left alone.

`scripts/bench reliability --rows kills` kills a hundred at random times.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from pathlib import Path

from tests.support.kept import jobs, rows
from tests.support.kills import DONE, campaign, gone, without_times
from tests.support.process_tree import descendants
from tritguard.build import Build
from tritguard.campaign.runs import CHUNK
from tritguard.emit import Bundle
from tritguard.evaluate.robustness.result import read_result

pytest_plugins = ["tests.support.device_fixtures"]


def test_killed_at_three_places_it_ends_as_if_it_had_been_left_alone(
    small_bundle: Bundle, small_build: Build, tmp_path: Path
) -> None:
    """SIGKILL, which nothing can handle: no process is left behind, and what was found is not done again."""
    attack, out = campaign(small_bundle, small_build, tmp_path, 2 * CHUNK + 10, 200), tmp_path / "killed"
    file = out / "campaign.db"
    process = attack.start(out)
    until(lambda: len(jobs(file)) >= 2)
    started = descendants(process.pid)
    names = [name for name, _ in started.values()]
    assert any("qemu" in name for name in names) and sum("python" in name for name in names) >= 2
    assert attack.kill(process, out, "host")
    assert process.wait() == -signal.SIGKILL and gone(started)
    kept = jobs(file)
    assert 2 <= len(kept) < 12
    process = attack.start(out)
    until(lambda: len(jobs(file)) > len(kept))
    assert attack.kill(process, out, "worker")
    _, said = process.communicate()
    assert process.returncode == 1 and "a process that crafted died" in said and "Traceback" not in said
    process = attack.start(out)
    until(lambda: len(rows(file, "SELECT * FROM answers")) > 0)
    assert attack.kill(process, out, "emulator", number=1)  # the first is there from the start, and measured at the end
    _, said = process.communicate()
    assert process.returncode in DONE, said
    result, confirmation = without_times(out), read_result(out / "result.json").confirmation
    assert [one.board for one in confirmation.quarantined] == ["emulated mps2-an386"]
    assert kept.items() <= jobs(file).items() and len(jobs(file)) == 12
    found = read_result(out / "result.json").throughput
    assert found is not None and found.jobs == 12 and found.reused >= len(kept)
    assert rows(file, "SELECT * FROM answers") == []
    assert result == attack.finish(tmp_path / "alone").result
    places = {"host": "crafting", "worker": "crafting", "emulator": "confirming"}
    assert attack.killed == dict.fromkeys(places.items(), 1)


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)
