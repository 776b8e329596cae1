"""The recipes for labgrid and Jumpstarter, as the guide has them: each switches a relay when a board hangs."""

from __future__ import annotations

import http.server
import os
import re
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.device_support import inputs
from tests.support.pty_board import PtyBoard
from tests.support.shared import ROOT
from tritguard.build import Build
from tritguard.device import Bench, open_device
from tritguard.emit import Bundle
from tritguard.twin import Twin

pytest_plugins = ("tests.support.device_fixtures",)

RELAY = "http://relay.local"


def need(program: str, install: str) -> None:
    if shutil.which(program) is None:
        pytest.skip(f"needs {program}: {install}, in an environment of its own on the PATH")


def from_the_guide(word: str) -> str:
    """The guide's YAML block that holds this word."""
    guide = (ROOT / "docs" / "real-boards.md").read_text()
    return next(block for block in re.findall(r"```yaml\n(.*?)```", guide, re.DOTALL) if word in block)


@contextmanager
def relay(switched: Callable[[str], None]) -> Iterator[str]:
    """Serve a relay that is switched by /0/0 and /0/1; gives its URL."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            switched(self.path)
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"1")

        def log_message(self, *_: object) -> None: ...

    server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()


def hang_and_go_on(
    bundle: Bundle, build: Build, folder: Path, bench_of: Callable[[str], Bench], monkeypatch: pytest.MonkeyPatch
) -> list[str]:
    """Ask a board that hangs for more than it answers; returns what the relay was asked for."""
    monkeypatch.setattr("tritguard.device.inferences.ANSWER_SECONDS", 0.05)
    x, asked = inputs(bundle, 4), list[str]()
    with PtyBoard(folder, bundle, build, "tty0", hangs_after=2) as board:

        def switched(path: str) -> None:
            asked.append(path)
            if path == "/0/1":
                board.power_cycle("tty0")

        with relay(switched) as url, open_device(bundle, build, board.port, bench_of(url)) as device:
            found = device.predict(x)
            assert device.power_cycles == board.power_cycles == 1
    assert (found.scores == Twin(bundle).predict(x).scores).all()
    return asked


def test_jumpstarter_switches_the_power(
    small_bundle: Bundle, small_build: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    need("jmp", "pipx install jumpstarter-cli")

    def bench(url: str) -> Bench:
        (tmp_path / "exporter.yaml").write_text(from_the_guide("HttpPower").replace(RELAY, url))
        guide = (ROOT / "docs" / "real-boards.md").read_text()
        command = re.search(r'power_cycle = "(jmp [^"]+)"', guide)
        assert command is not None
        return Bench(power_cycle=command[1].replace("exporter.yaml", str(tmp_path / "exporter.yaml")))

    assert hang_and_go_on(small_bundle, small_build, tmp_path, bench, monkeypatch) == ["/0/0", "/0/1"]


def test_labgrid_leases_the_board_and_switches_its_power(
    small_bundle: Bundle, small_build: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    need("labgrid-client", "pipx install labgrid")
    with socket.create_server(("127.0.0.1", 0)) as free:
        place = f"127.0.0.1:{free.getsockname()[1]}"
    monkeypatch.setenv("LG_COORDINATOR", place)
    started: list[subprocess.Popen[bytes]] = []

    def start(*command: str) -> None:
        with (tmp_path / f"{command[0]}.log").open("wb") as log:
            started.append(subprocess.Popen(command, cwd=tmp_path, stdout=log, stderr=subprocess.STDOUT))

    def client(*arguments: str) -> str:
        done = subprocess.run(["labgrid-client", *arguments], capture_output=True, text=True, check=False, timeout=60)
        return done.stdout + done.stderr

    def wait(word: str, *arguments: str) -> None:
        end = time.monotonic() + 60
        while word not in client(*arguments):
            assert time.monotonic() < end, [path.read_text() for path in tmp_path.glob("*.log")]
            time.sleep(0.5)

    def bench(url: str) -> Bench:
        (tmp_path / "exporter.yaml").write_text(from_the_guide("simplerest").replace(RELAY, url))
        start("labgrid-coordinator", "-l", place)
        time.sleep(2)
        start("labgrid-exporter", "-c", place, "-n", "lab", "exporter.yaml")
        wait("lab/bench/NetworkPowerPort", "resources")
        client("-p", "nucleo", "create")
        client("-p", "nucleo", "add-match", "*/bench/*")
        return Bench(
            acquire="labgrid-client -p nucleo acquire",
            release="labgrid-client -p nucleo release",
            power_cycle="labgrid-client -p nucleo power cycle",
        )

    monkeypatch.setenv("USER", os.environ.get("USER", "nobody"))  # labgrid names who leases
    try:
        assert hang_and_go_on(small_bundle, small_build, tmp_path, bench, monkeypatch) == ["/0/0", "/0/1"]
        assert "acquired: None" in client("-p", "nucleo", "show")
    finally:
        for process in reversed(started):
            process.terminate()
            process.wait(timeout=30)
