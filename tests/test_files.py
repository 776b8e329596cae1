"""What a killed process leaves is swept away, what a living one works on is not; and a full disk is named."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from tritguard import api, files
from tritguard.emit import Bundle
from tritguard.errors import BadInputError, BuildError
from tritguard.files import full_place, scratch_folder, sweep, whole_folder, write_whole
from tritguard.host_compiler import _Cache, build_library

pytest_plugins = ("tests.support.device_fixtures",)

HOLDING = """
import os, sys, time
from pathlib import Path
from tritguard.files import scratch_folder, whole_folder
place = Path(sys.argv[1])
with whole_folder(place / "out", print, "build") as draft, scratch_folder(place) as project:
    (draft / "half").write_text("x")
    (project / "half").write_text("x")
    print("holds", flush=True)
    time.sleep(600)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX locks")
def test_what_a_killed_process_left_is_swept_at_the_next_start(tmp_path: Path) -> None:
    for name in ("tritguard-scratch-", "tritguard-scratch-12345678.txt", ".out.abcdefgh", "tritguard-mine"):
        (tmp_path / name).mkdir()  # not ours
    others = set(tmp_path.iterdir())
    processes = []
    for _ in range(2):
        process = subprocess.Popen([sys.executable, "-c", HOLDING, str(tmp_path)], stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None and process.stdout.readline() == "holds\n"
        processes.append(process)
    first = len(set(tmp_path.iterdir()) - others)
    assert first == 4
    processes[0].send_signal(signal.SIGKILL)
    processes[0].wait()
    sweep(tmp_path)
    assert len(set(tmp_path.iterdir()) - others) == 4, "younger than a minute"
    for path in tmp_path.iterdir():
        os.utime(path, (0, time.time() - 120))
    with whole_folder(tmp_path / "out", print, "build") as draft:
        (draft / "whole").write_text("x")
    left = set(tmp_path.iterdir()) - others - {tmp_path / "out"}
    assert len(left) == 2, "those of the process that lives"
    processes[1].kill()
    processes[1].wait()
    for path in left:
        os.utime(path, (0, time.time() - 120))
    sweep(tmp_path)
    assert set(tmp_path.iterdir()) == others | {tmp_path / "out"}


def test_a_link_with_such_a_name_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "file").write_text("x")
    place = tmp_path / "place"
    place.mkdir()
    (place / "tritguard-scratch-abcdefgh").symlink_to(tmp_path / "precious")
    os.utime(place / "tritguard-scratch-abcdefgh", (0, 0), follow_symlinks=False)
    sweep(place)
    assert (tmp_path / "precious" / "file").is_file() and list(place.iterdir())


def test_half_a_file_is_swept_too(tmp_path: Path) -> None:
    half = tmp_path / ".data.npz.tritguard-scratch-abcd_123"
    half.write_text("half")
    os.utime(half, (0, 0))
    write_whole(tmp_path / "data.npz", "whole")
    assert [path.name for path in tmp_path.iterdir()] == ["data.npz"]


def test_scratch_is_recognised_and_leaves_nothing(tmp_path: Path) -> None:
    with scratch_folder(tmp_path) as folder:
        assert files._SCRATCH_NAME.search(folder.name)
    with scratch_folder() as folder:
        assert folder.parent == Path(tempfile.gettempdir()).resolve()
    assert not list(tmp_path.iterdir())


def test_the_cache_keeps_what_was_used_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tritguard.host_compiler._CACHE_BYTES", 300)
    cache, now = _Cache(tmp_path / "cache", ".so"), time.time()

    def keep(key: str, age: float) -> Path:
        (tmp_path / "built").write_bytes(key.encode() * 100)
        kept = cache.keep(key, tmp_path / "built")
        os.utime(kept, (now - age, 0))
        return kept

    old, *used = (keep(key, age) for key, age in (("a", 3000), ("b", 2000), ("c", 1000)))
    assert cache.find("a") == old, "which is a use"
    newest = keep("d", 0)
    assert {path for path in (old, *used, newest) if path.exists()} == {old, used[1], newest}
    os.utime(old, (now - 91 * 86400, 0))
    assert keep("e", 0).exists() and not old.exists(), "not used for three months"


def test_a_cache_that_cannot_be_written_is_said_with_a_way_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(BuildError, match=r"the twin cannot be stored .*XDG_CACHE_HOME") as refused:
        build_library("the twin", (), {"one.c": b"int one;"}, cache="twin")
    assert str(tmp_path / "file") in str(refused.value)


def test_a_full_disk_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Usage:
        free = 0

    error = OSError(errno.ENOSPC, "No space left on device")
    monkeypatch.setattr(files.shutil, "disk_usage", lambda place: Usage)
    assert full_place(error) == str(Path.cwd())
    error.filename = str(tmp_path / "not" / "there")
    assert full_place(error) == str(tmp_path)
    assert full_place(OSError(errno.EACCES, "Permission denied")) is None
    Usage.free = 1 << 30
    assert full_place(error) is None


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux's /dev/full")
def test_writing_to_a_full_disk_is_one_line_that_names_the_file(tmp_path: Path) -> None:
    code = (
        "import os, sys\n"
        "from pathlib import Path\n"
        "import tritguard.cli as cli\n"
        "from tritguard import files\n"
        "class Usage: free = 0\n"
        "def failing(*_):\n"
        "    files.tempfile.mkstemp = lambda **_: (os.open('/dev/full', os.O_RDWR), sys.argv[1] + '.half')\n"
        "    files.shutil.disk_usage = lambda place: Usage\n"
        "    files.write_whole(Path(sys.argv[1]), 'x' * 100)\n"
        "cli.app = failing\n"
        "cli.main()\n"
    )
    target = tmp_path / "result.json"
    done = subprocess.run([sys.executable, "-c", code, target], capture_output=True, text=True, check=False)
    wanted = f"error: {target}: No space left on device; {tmp_path} is full: free some space there"
    assert (done.returncode, done.stderr) == (BadInputError.exit_code, f"{wanted}, or use another folder\n")


def test_convert_notices_where_it_cannot_write_before_it_reads_a_model(tmp_path: Path) -> None:
    """The model does not exist, which would be said only after minutes if it were a large one that does."""
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OSError, match="file"):
        api.convert(tmp_path / "no.tflite", tmp_path / "file" / "bundle")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("keep")
    with pytest.raises(BadInputError, match=r"mine: exists and is no bundle \(no manifest\.json here"):
        api.convert(tmp_path / "no.tflite", tmp_path / "mine")
    with pytest.raises(BadInputError, match=r"no\.tflite: cannot be read"):
        api.convert(tmp_path / "no.tflite", tmp_path / "new" / "bundle")
    assert not list((tmp_path / "new").iterdir())


def test_convert_tells_its_stages(small_bundle: Bundle, tmp_path: Path) -> None:
    told = []
    stages = lambda name: lambda done, total: told.append((name, done, total))  # noqa: E731
    api.convert(small_bundle.model_path, tmp_path / "bundle", stages=stages)
    names = ("Making the int8 model", "Writing the C and comparing it with the interpreter")
    assert told == [(name, done, 1) for name in names for done in (0, 1)]
