"""The whole road on real parts: MLPerf Tiny's models on emulated boards, attacked through the command line."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from tests.support.device_support import Builder
from tests.support.kept import jobs, rows
from tests.support.schemas import assert_conforms
from tests.support.shared import shared_file
from tests.support.shortened import shortened
from tritguard import api
from tritguard.attack import Target
from tritguard.build import Build
from tritguard.campaign.runs import craft_all
from tritguard.campaign.store import Store
from tritguard.data import load_dataset, write_dataset
from tritguard.data.fashion_mnist import DEBIAN_DIR
from tritguard.emit import Bundle, write_bundle
from tritguard.evaluate.faults.result import FaultResult
from tritguard.evaluate.privacy.result import PrivacyResult
from tritguard.evaluate.robustness.plan import Plan
from tritguard.evaluate.robustness.result import read_result
from tritguard.evaluate.samples import draw_samples
from tritguard.evaluate.transfer.result import TransferResult
from tritguard.twin import Twin

pytest_plugins = ("tests.support.device_fixtures",)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("qemu-system-arm") is None, reason="qemu-system-arm is not installed"),
    pytest.mark.skipif(shutil.which("arm-none-eabi-gcc") is None, reason="arm-none-eabi-gcc is not installed"),
]
TRITGUARD = [sys.executable, "-m", "tritguard"]


@dataclass(frozen=True)
class Firmware:
    bundle: Bundle
    build: Build
    data: Path


@pytest.fixture(scope="module")
def keywords(firmware: Builder, tmp_path_factory: pytest.TempPathFactory) -> Firmware:
    """dscnn_int8 for mps2-an386 and EEMBC's 1,000 keyword samples as a data set file."""
    samples = np.load(shared_file("data/gsc_kws01.npz"))
    folder = tmp_path_factory.mktemp("kws")
    content = shared_file("models/dscnn_int8.tflite").read_bytes()
    bundle = write_bundle(content, folder / "bundle", name="dscnn_int8")
    data = folder / "gsc-kws01.npz"
    np.savez(data, x_test=samples["mfcc_int8"], y_test=samples["labels"], classes=samples["classes"])
    return Firmware(bundle, firmware(bundle, "mps2-an386"), data)


def attack_command(firmware: Firmware, out: Path, *options: str) -> list[str]:
    paths = [str(firmware.bundle.path), str(firmware.build.path), "--data", str(firmware.data), "--out", str(out)]
    return [*TRITGUARD, "attack", *paths, "--preset", "quick", *options]


def test_attack_on_the_keyword_spotter(keywords: Firmware, tmp_path: Path) -> None:
    out = tmp_path / "run"
    undefended = str(shared_file("models/dscnn_int8.tflite"))  # no defence here: the model is its own control
    command = attack_command(keywords, out, "-n", "12", "--eps", "4", "--control", undefended)
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert_conforms(out / "result.json", "robustness")
    assert_conforms(keywords.bundle.path / "manifest.json", "bundle")
    result = read_result(out / "result.json")
    assert result.confirmation.mismatched_inputs == 0
    assert result.confirmation.inputs >= 12 * 3
    robust = [result.clean.value, *(point.robust.value for point in result.curve)]
    assert robust == sorted(robust, reverse=True)
    assert robust[-1] <= 1 / 12
    assert {issue.code for issue in result.issues} == {"FEW_SAMPLES"}
    assert {"SCORE_PLATEAUS", "ZERO_GRADIENTS", "SOFTMAX_HEAD", "TOO_FEW_STEPS"} <= set(result.passed)
    assert result.control is not None and result.control.robust.value <= 1 / 12
    assert [row.eps_steps for row in result.attacks if row.attack == "Transfer"] == [4]
    assert result.preset == "quick" and set(result.budgets) == {
        "noise", "fgsm", "pgd", "apgd-ce", "square", "hopskipjump",
    }  # fmt: skip
    # exact: every inference of every run executes the same instructions for the same input
    assert result.latency.instructions is not None
    assert 3e6 < result.latency.instructions < 4e6  # as scripts/bench kernels counts: 3.68 million
    assert (out / "report.html").stat().st_size > 10_000


def test_a_live_attack_asks_the_device_and_finds_what_the_twin_does(keywords: Firmware, tmp_path: Path) -> None:
    command = attack_command(keywords, tmp_path, "-n", "4", "--eps", "8", "--attacks", "noise,square", "--live")
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ | {"COLUMNS": "200"})
    assert done.returncode == 0, done.stderr
    # 10 and 300 queries for each of four samples in two balls: said before the first is made.
    assert "live: Noise, Square; at most 2,480 queries of " in done.stdout
    assert "LIVE" in done.stdout and "Live:" in (tmp_path / "report.html").read_text()
    live = read_result(tmp_path / "result.json")
    assert live.live and "no gradients" in live.threat_model.knowledge
    assert "NO_GRADIENTS" in {issue.code for issue in live.issues}
    # What is kept is apart from what attacks on the twin keep.
    assert jobs(tmp_path / "live" / "campaign.db") and not jobs(tmp_path / "campaign.db")

    plan = Plan(samples=4, eps=(8,), preset="quick", attacks=("noise", "square"))
    samples = draw_samples(keywords.bundle, load_dataset(str(keywords.data)), plan.samples, plan.seed)
    target = Target(Twin(keywords.bundle), None, samples.x, samples.y, plan.seed)
    runs, throughput = craft_all(target, plan.balls, plan.suite(12), Store(tmp_path / "twin", ""), lambda *_: None)
    assert live.throughput is not None and live.throughput.queries == throughput.queries > 80
    for row, run in zip(live.attacks, runs, strict=True):
        held = int((target.predictor.predict(run.x).labels == target.y).sum())
        assert (row.attack, 4 * row.queries_per_sample, row.robust.k) == (run.attack.name, run.queries, held)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--attacks", "pgd,two-step"], "no attack of the plan runs on a device: PGD, Two-step"),
        (["--control", "x"], "--control"),
    ],
)
def test_live_refuses_what_it_cannot_do(options: list[str], message: str, keywords: Firmware, tmp_path: Path) -> None:
    command = attack_command(keywords, tmp_path, "--live", "-n", "2", "--eps", "8", *options)
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert message in done.stderr
    assert not (tmp_path / "result.json").exists()


CONFIG = """
name = "tiny"
board = "netduinoplus2"

[train]
data = "{data}"
samples = 3000
epochs = 5
batch_size = 64
stem = 12
blocks = [{{ channels = 32, stride = 2 }}]

[attack]
samples = 20
eps = [4, 16]
preset = "quick"
settings = {{ square = {{ queries = 50 }} }}
"""


STUDIES = """
[faults]
samples = 50
flips = [1, 8]
draws = 2
greedy = 1
attacker_samples = 16
device_samples = 2

[transfer]
samples = 20
eps = [16]
steps = 5
trigger_samples = 0

[privacy]
samples = 100
shadows = 0
label_tries = 1
device_samples = 2
"""


def test_the_whole_road_from_a_configuration(tmp_path: Path) -> None:
    """Train a tiny ternary network, convert, build for the other board, attack it there, report."""
    pytest.importorskip("tensorflow", reason="training needs the extra 'train'")
    if not DEBIAN_DIR.is_dir():
        pytest.skip("needs Debian's package dataset-fashion-mnist")
    data = shortened(load_dataset("fashion-mnist"), tests=1000)
    assert data.x_train is not None and data.y_train is not None
    few = replace(data, x_train=data.x_train[:4000], y_train=data.y_train[:4000])
    write_dataset(tmp_path / "clothes.npz", few)
    config = CONFIG.format(data=tmp_path / "clothes.npz")
    (tmp_path / "run.toml").write_text(config)
    command = [*TRITGUARD, "run", str(tmp_path / "run.toml"), "--out", str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    result = read_result(tmp_path / "out" / "result.json")
    assert result.status == "degraded"
    assert [issue.code for issue in result.issues] == ["FEW_SAMPLES"]
    # The same net without ternary weights, trained along, falls to the same attacks.
    assert result.control is not None and result.control.model_sha256 != result.provenance.model_sha256
    assert result.control.clean.value > 0.5 and result.control.robust.value <= 1 / 10
    assert result.confirmation.mismatched_inputs == 0
    assert result.ternary_layers == result.weight_layers == 4
    assert result.clean_full is not None
    assert result.clean_full.value > 0.5
    robust = [result.clean.value, *(point.robust.value for point in result.curve)]
    assert robust == sorted(robust, reverse=True)
    assert robust[-1] <= 1 / 10
    # QEMU gives this chip no clock control: the firmware says that it fell back to the reset clock.
    assert (result.firmware.board, result.firmware.clock_hz) == ("netduinoplus2", 16_000_000)
    # Again, and with all that a run can study: what is there is taken.
    (tmp_path / "run.toml").write_text(config + STUDIES)
    again = subprocess.run(command, capture_output=True, text=True, check=False)
    assert again.returncode == 0, again.stderr
    assert "trained before, with the same settings" in again.stdout
    repeated = read_result(tmp_path / "out" / "result.json")  # of what the first run found
    assert (repeated.curve, repeated.attacks, repeated.latency) == (result.curve, result.attacks, result.latency)
    assert result.provenance.configuration == config  # the data is named in it, so that evidence needs no --data
    api.evidence(tmp_path / "out", tmp_path / "filed", pdf=False)
    assert not api.verify(tmp_path / "filed")[1]
    studied(tmp_path / "out")


def studied(out: Path) -> None:
    """The studies of a run: of its own model, their results beside its own, their figures in its report."""
    model = read_result(out / "result.json").provenance.model_sha256
    faults = FaultResult.model_validate_json((out / "faults.json").read_bytes())
    transfer = TransferResult.model_validate_json((out / "transfer.json").read_bytes())
    privacy = PrivacyResult.model_validate_json((out / "privacy.json").read_bytes())
    assert [each.model.model_sha256 for each in (*faults.models, *privacy.models)] == [model, model]
    assert faults.models[0].replay is not None and faults.models[0].replay.mismatched_inputs == 0
    names = [(party.name, party.form) for party in transfer.parties]
    assert names == [("tiny", "float"), ("control", "float"), ("tiny", "ternary"), ("control", "int8")]
    assert (privacy.models[0].model.name, privacy.members, privacy.others) == ("tiny", 100, 100)
    shown = (out / "report.html").read_text()
    assert all(f">{title}</h2>" in shown for title in ("Bit flips in tiny", "Membership inference"))
    assert ">Transfer between tiny (float), control (float), " in shown
    done = subprocess.run([*TRITGUARD, "report", str(out)], capture_output=True, text=True, check=False)
    assert done.returncode == 0 and (out / "report.html").read_text() == shown
    (out / "faults.json").write_text((out / "faults.json").read_text().replace(model, "0" * 64))
    subprocess.run([*TRITGUARD, "report", str(out)], capture_output=True, check=True)
    assert "Bit flips" not in (out / "report.html").read_text()  # of another model, left here by an earlier run


@pytest.mark.parametrize(
    ("tables", "message"),
    [("[privacy]\n", "[privacy] needs a [train] table"), ("[transfer]\n", "[transfer] needs a float_model")],
)
def test_a_study_without_its_model_stops_at_once(tables: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "run.toml").write_text(f'name = "x"\nmodel = "m.tflite"\ndata = "fashion-mnist"\n{tables}')
    command = [*TRITGUARD, "run", str(tmp_path / "run.toml"), "--out", str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert message in done.stderr
    assert not (tmp_path / "out").exists()


def test_a_run_without_its_model_stops_at_once(tmp_path: Path) -> None:
    (tmp_path / "run.toml").write_text('name = "x"\nmodel = "nowhere.tflite"\ndata = "fashion-mnist"\n')
    command = [*TRITGUARD, "run", str(tmp_path / "run.toml"), "--out", str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr == "error: nowhere.tflite: no such model; paths start at the working directory\n"
    assert not (tmp_path / "out").exists()


def emulators_of(parent: int) -> list[int]:
    """Process numbers of the emulators a process started."""
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            name, rest = status.read_text().rsplit(")", 1)
        except OSError:
            continue
        if "qemu-system" in name and int(rest.split()[1]) == parent:
            found.append(int(status.parent.name))
    return found


def test_unplugging_in_the_middle(keywords: Firmware, tmp_path: Path) -> None:
    """The emulator dies while inputs are being confirmed: one clear line, exit code 4, no result, no orphan."""
    out = tmp_path / "run"
    out.mkdir()
    (out / "result.json").write_text('{"stale": true}')
    # Noise is found at once, and confirming it on the device takes long enough to be interrupted.
    options = ("-n", "200", "--eps", "8", "--attacks", "noise", "--workers", "1", "--replace")
    command = attack_command(keywords, out, *options)
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 240
    # The last crafted file there: confirmation on the device begins.
    last = "SELECT id FROM jobs WHERE attack = 'Noise' AND json_extract(ball, '$.eps') = 64"
    while len(rows(out / "campaign.db", last)) < 4 and time.monotonic() < deadline:
        assert process.poll() is None, process.stderr.read() if process.stderr else ""
        time.sleep(0.1)
    time.sleep(3)
    while len(emulators := emulators_of(process.pid)) != 1 and time.monotonic() < deadline:
        assert process.poll() is None
        time.sleep(0.1)
    assert len(emulators) == 1
    os.kill(emulators[0], signal.SIGKILL)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 4, errors
    assert errors.startswith("error: ")
    assert len(errors.strip().splitlines()) == 1
    assert not (out / "result.json").exists()
    assert not (out / "report.html").exists()
    assert (out / "earlier-result.json").read_text() == '{"stale": true}'


@pytest.mark.parametrize("damage", ["truncated", "flipped", "foreign", "empty", "missing"])
def test_a_broken_model_is_one_line_and_exit_code_2(damage: str, tmp_path: Path) -> None:
    content = bytearray(shared_file("models/dscnn_int8.tflite").read_bytes())
    if damage == "truncated":
        content = content[: len(content) // 2]
    elif damage == "flipped":
        content[1] ^= 0x40  # the offset of the root table
    elif damage == "foreign":
        content = bytearray(b"\x89PNG\r\n\x1a\n" + bytes(1000))
    elif damage == "empty":
        content = bytearray()
    model = tmp_path / "model.tflite"
    if damage != "missing":
        model.write_bytes(content)
    command = [*TRITGUARD, "convert", str(model), "-o", str(tmp_path / "bundle")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: {model}: ")
    assert len(done.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "bundle").exists()
