"""The benchmark's own parts, on a small net; the figures themselves are for scripts/bench."""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.bench import attacks, certify, field, robustness, two_step
from tests.bench.__main__ import main as run_bench
from tests.bench.cmsis import cmsis_nn, count_cmsis
from tests.bench.footprint import flash_bytes, ram_bytes
from tests.bench.kernels import Figure, read_figures
from tests.bench.models import MODELS, TERNARY, autoencoder, ternarised
from tests.bench.reliability import by_place
from tests.support.device_support import inputs
from tests.support.endurance import grown
from tests.support.known_models import ternary_model
from tests.support.shared import ROOT
from tests.support.tflite_builder import ModelBuilder
from tests.support.tflite_tables import Table
from tests.support.times import help_time, line_seconds
from tritguard.attack import Noise, Square, TwoStep
from tritguard.boards import load_board
from tritguard.build import Build
from tritguard.campaign.runs import Run, Throughput
from tritguard.emit import Bundle
from tritguard.evaluate.certify.result import CertifyPoint, CertifyResult
from tritguard.evaluate.study import Rate
from tritguard.graph import read_graph
from tritguard.graph.model import Weighted
from tritguard.oracle import Oracle, oracle_available
from tritguard.records import from_json, read_toml
from tritguard.train import TrainConfig, TrainRecord

pytest_plugins = ("tests.support.device_fixtures",)


def test_every_figure_names_a_model_and_a_board() -> None:
    for figure in read_figures():
        model, _, place = figure.case.partition("/")
        assert model in MODELS
        assert place == "twin" or load_board(place).emulator
        assert figure.limit is None or figure.why


@pytest.mark.parametrize(
    ("measure", "measured", "verdict"),
    [("kB RAM", 9, "goal"), ("kB RAM", 10, "goal"), ("kB RAM", 11, "limit"), ("kB RAM", 13, "MISSED"),
     ("x interpreter", 11, "goal"), ("x interpreter", 9, "MISSED")],
)  # fmt: skip
def test_a_figure_reaches_its_goal_its_limit_or_nothing(measure: str, measured: float, verdict: str) -> None:
    figure = Figure.model_validate({"case": "kws/twin", "measure": measure, "goal": 10, "limit": 12, "why": "physics"})
    assert figure.verdict(measured) == verdict
    assert figure.model_copy(update={"goal": None}).verdict(measured) == ""


def test_the_bench_fails_where_a_figure_is_missed() -> None:
    command = [sys.executable, "-m", "tests.bench.kernels", "--no-anchor", "--only"]
    done = subprocess.run([*command, "ad-ternary/mps2-an386"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert "ad-ternary/mps2-an386" in done.stdout, done.stderr
    assert done.returncode == ("MISSED" in done.stdout)
    assert subprocess.run([*command, "nothing"], cwd=ROOT, capture_output=True, check=False).returncode == 2


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "lacking"),
    [(["attacks", "--only", "dscnn_int8", "--workers", "1"], "gsc_kws01.npz"), (["robustness", "digits"], "fsdd.npz")],
)
def test_a_bench_says_in_a_line_what_it_lacks(
    arguments: list[str],
    lacking: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    pytest.importorskip("tensorflow", reason="attacks need the extra 'attack'")
    monkeypatch.setenv("TRITGUARD_SHARED", str(tmp_path))
    monkeypatch.setattr(sys, "argv", ["tests.bench", *arguments, "--out", str(tmp_path / "out")])
    with pytest.raises(SystemExit) as ended:
        run_bench()
    assert ended.value.code == 2
    assert re.fullmatch(rf"error: .*{re.escape(lacking)}.*TRITGUARD_SHARED.*\n", capsys.readouterr().err)


def test_the_table_of_attacks_names_the_goals_it_misses() -> None:
    x, right = np.zeros((4, 2), np.int8), np.ones(4, bool)
    case = attacks.Case(b"", lambda _scale, _zero_point: x, np.zeros(4, np.int64), (1, 2), {1: 0.5, 2: 0.0})
    suite, left = (Noise(3), Square(5), TwoStep(10, 20)), {1: (4, 3, 2), 2: (4, 1, 2)}
    runs = tuple(Run(attack, eps, x, 8, 0, 1.0, 0.5) for eps in left for attack in suite)
    holds = [np.arange(4) < count for counts in left.values() for count in counts]
    throughput = Throughput(workers=1, jobs=6, reused=2, seconds=3.0, queries=48, gradients=0)
    outcome = attacks.Outcome("net", case, right, runs, holds, throughput)
    assert outcome.worst == {1: 0.5, 2: 0.25}
    assert list(outcome.missed()) == [
        "the worst case at eps 2 is 25.0%, goal 0%",
        "Square leaves less than the two-step attack at eps 2",
    ]
    assert [column.header for column in outcome.table().columns][:3] == ["attack", "eps 1", "eps 2"]
    rising = attacks.Outcome("net", case, right, runs, [*holds[3:], *holds[:3]], throughput)
    assert next(rising.missed()) == "the worst case rises with eps"
    nothing = attacks.Outcome("net", case, right, runs, [*holds[:4], np.zeros(4, bool), holds[5]], throughput)
    assert list(nothing.missed()) == []  # two samples left where a single attack leaves none: not judged


def test_the_nets_for_proofs_have_valid_settings_and_are_judged_by_their_goals() -> None:
    settings = read_toml(certify.SETTINGS)
    assert len(settings["nets"]) == 2
    for stage in (stage for net in settings["nets"].values() for stage in net.values()):
        assert TrainConfig.model_validate(stage).certified.eps > 0

    def result(clean: int, proved: tuple[int, ...], broken: int, each: int = 10) -> CertifyResult:
        n = 100 * each
        points = tuple(
            CertifyPoint.model_construct(
                eps_steps=eps, proved=Rate.of(k * each, n), unbroken=Rate.of(n - broken * each, n)
            )
            for eps, k in zip(certify.EPS, proved, strict=True)
        )
        return CertifyResult.model_construct(clean=Rate.of(clean * each, n), points=points)

    assert list(certify.missed(result(85, (80, 75, 65), 15))) == []
    assert list(certify.missed(result(84, (79, 74, 64), 10, each=1))) == []  # too few samples to judge
    assert list(certify.missed(result(84, (79, 74, 64), 10))) == [
        "clean 84.0%, goal 85%",
        "proved 79.0% at eps 1, goal 80%",
        "proved 74.0% at eps 2, goal 75%",
        "the bracket is 16.0% wide at eps 2, goal 15%",
        "proved 64.0% at eps 4, goal 65%",
    ]


def test_pairs_that_differ_by_chance_do_not_count() -> None:
    assert two_step._sign_test(3, 3) == two_step._sign_test(0, 0) == 1.0
    assert two_step._sign_test(9, 1) == two_step._sign_test(1, 9) == pytest.approx(22 / 1024)


def test_ternarised_models_are_ternary_and_keep_their_shape() -> None:
    content = autoencoder()
    before, after = read_graph(content), read_graph(ternarised(content))
    assert before.macs == after.macs == 264_192
    for old, new in zip(before.ops, after.ops, strict=True):
        assert isinstance(old, Weighted) and isinstance(new, Weighted)
        assert set(np.unique(new.weights)) == {-TERNARY, 0, TERNARY}
        assert 0.45 < np.mean(new.weights == 0) < 0.55
        assert (np.sign(old.weights) * TERNARY == new.weights)[new.weights != 0].all()
        assert (old.bias == new.bias).all()


def test_the_autoencoder_uses_its_range() -> None:
    if not oracle_available():
        pytest.skip("needs tflite-micro")
    x = np.random.default_rng(0).integers(-128, 128, (4, 640), dtype=np.int8)
    scores = Oracle(autoencoder()).predict(x).scores
    assert len(np.unique(scores)) > 30
    assert (scores[0] != scores[1]).any()


def test_the_least_program_is_smaller_than_the_firmware(
    small_bundle: Bundle, small_build: Build, tmp_path: Path
) -> None:
    sizes = small_build.record.sizes
    flash = flash_bytes(small_bundle, small_build.record.board, tmp_path)
    assert sizes.flash_groups["weights and parameters"] < flash < sizes.flash_total
    ram = ram_bytes(small_bundle, small_build, inputs(small_bundle, 1))
    assert sizes.ram_arena + 5 < ram < sizes.ram_static + sizes.stack_reserved


def test_cmsis_nn_gives_the_oracles_bytes(small_bundle: Bundle, small_build: Build, tmp_path: Path) -> None:
    if cmsis_nn() is None:
        pytest.skip("needs bakenn, for CMSIS-NN's sources: pip install 'tritguard[bench]'")
    counted = count_cmsis(small_bundle, small_build.record.board, tmp_path)
    kinds = {op.index: op.kind for op in read_graph(ternary_model()).ops}
    found = {kinds[layer.layer] for layer in counted.layers if layer.layer is not None}
    assert {"CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "AVERAGE_POOL_2D", "MAX_POOL_2D"} <= found


def test_every_training_of_the_robustness_tables_has_valid_settings() -> None:
    settings = read_toml(robustness.SETTINGS)
    options = argparse.Namespace(epochs=None, samples=None, seeds=[0, 1], only="", out=Path("out"))
    for name, table in settings["tables"].items():
        cases = list(robustness._cases(table, options))
        assert len(cases) == len({case.name for case in cases}) == 2 * len(table["nets"]) * len(table["trainings"])
        for case in cases:
            config = robustness._config(case, table, settings, options)
            start = robustness._start(case, table)
            assert start is None or cases.index(start) < cases.index(case), name
            assert config.start == ("" if start is None else str(options.out / start.name))
            assert (config.adversarial.attack == "none") == ("at" not in case.defence), name
            assert (config.jacobian.output > 0) == ("jr" in case.defence)


def test_memory_that_grows_after_the_cache_is_full_fails_a_soak() -> None:
    times = range(1000, 100_001, 1000)
    leak = {done: 100 + done / 2000 for done in times}
    cache = {done: 100 + min(done, 20_000) / 2500 for done in times}
    assert grown(cache, 24_000, 8) == (
        "", "memory +0.0 MiB after 24,000; MiB: 102.0 at 5,000, 104.0 at 10,000, 108.0 at 20,000, 108.0 at 40,000, "
        "108.0 at 80,000, 108.0 at 100,000",
    )  # fmt: skip
    assert grown(cache, 0, 0)[0] == "memory grew by 4.0 MiB"
    assert grown(leak, 24_000, 8)[0] == "memory grew by 38.0 MiB"
    short = {done: size for done, size in leak.items() if done <= 40_000}
    assert grown(short, 24_000, 8)[0] == "memory grew by 18.0 MiB"
    brief = {done: size for done, size in cache.items() if done <= 10_000}
    assert grown(brief, 24_000, 8)[0] == "" and "while a cache of 8 MiB fills" in grown(brief, 24_000, 8)[1]


def test_help_is_there_at_once() -> None:
    assert help_time().is_met


def test_the_bulk_line_takes_a_fraction_of_the_uarts_time(small_bundle: Bundle, small_build: Build) -> None:
    uart, bulk = line_seconds(small_bundle, small_build, inputs(small_bundle, 200))  # processor time has steps of 10 ms
    assert 0 < 3 * bulk < uart


def test_kills_are_counted_by_kind_and_place() -> None:
    table = by_place({("host", "starting"): 2, ("worker", "crafting"): 3, ("host", "crafting"): 1})
    rows = list(zip(*(list(column.cells) for column in table.columns), strict=True))
    assert rows == [
        ("host", "2", "0", "1", "0", "0", "3"),
        ("worker", "0", "0", "3", "0", "0", "3"),
        ("emulator", "0", "0", "0", "0", "0", "0"),
        ("in all", "2", "0", "4", "0", "0", "6"),
    ]


def test_rows_of_other_settings_are_measured_anew() -> None:
    record = from_json(TrainRecord, ROOT / "examples" / "cifar10-stq-image" / "train.json")
    table = read_toml(robustness.SETTINGS)["tables"]["cifar10"]
    other = record.model_copy(update={"config": record.config.model_copy(update={"epochs": 1})})
    elsewhere = record.model_copy(update={"config": record.config.model_copy(update={"start": "elsewhere"})})
    digests = [
        robustness._digest(each, table | change, argparse.Namespace(attacked=attacked))
        for each, change, attacked in (
            (record, {}, 200), (other, {}, 200), (record, {"queries": 1}, 200), (record, {}, 20), (elsewhere, {}, 200),
        )
    ]  # fmt: skip
    assert len(set(digests)) == 4
    assert digests[0] == digests[4]  # where the first stage lies does not matter


def test_the_robustness_table_takes_the_mean_over_seeds() -> None:
    common = {"net": "n", "defence": "jr", "deployed": "int8", "epochs": 3, "train_samples": 9, "attacked_samples": 5}
    rows = [
        robustness.Row.model_validate(
            common
            | {"seed": seed, "clean": clean, "robust": {"PGD 8": 0.25}, "weights_bytes": 1500, "flash_bytes": 9000}
            | {"train_seconds": 1800, "machine": "m", "settings": ""}
        )
        for seed, clean in ((0, 0.5), (1, 0.7))
    ]
    table = robustness.as_markdown(rows)
    assert "| n | jr | int8 | 60.0 ± 14.1 | 25.0 ± 0.0 | 1.5 | 9.0 | 3 | 0.50 | 2 |" in table


@pytest.mark.skipif(not oracle_available(), reason="the tflite-micro oracle has no wheel for this platform")
def test_a_folder_of_models_is_tried_one_by_one(tmp_path: Path) -> None:
    builder = ModelBuilder((4,), 0.5, 0)
    lacking = builder.op("GELU", [builder.input], builder.activation((4,), 0.5, 0))
    (tmp_path / "deeper").mkdir()
    (tmp_path / "deeper" / "taken.tflite").write_bytes(ternary_model())
    (tmp_path / "refused.tflite").write_bytes(builder.build(lacking))
    command = [sys.executable, "-m", "tests.bench.field", str(tmp_path), "--json", str(tmp_path / "field.json")]
    command += ["--inputs", "4"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "1 of 2 taken, 0 with other bytes, 0 with a larger arena" in done.stdout
    taken, refused = from_json(field.Field, tmp_path / "field.json").entries
    assert (taken.name, taken.verdict, taken.inputs, taken.differing) == ("deeper/taken.tflite", "taken", 4, 0)
    assert 0 < taken.arena <= taken.tflm_activations < taken.tflm_arena
    assert refused.verdict == "refused"
    assert refused.reason.startswith("op 0 (GELU): TensorFlow Lite Micro has no such op")
    assert taken.model_copy(update={"differing": 1}).faulty and not refused.faulty
    assert not refused.tflm_takes and taken.arrays > 0 and refused.arrays == 0
    assert taken.model_copy(update={"arrays": 0}).faulty

    builder.op("DEQUANTIZE", [builder.input], real := builder.tensor([1, 4], "FLOAT32"), Table("DequantizeOptions"))
    builder.operators.pop(0)  # what is lacking
    curved = builder.op("TANH", [real], builder.tensor([1, 4], "FLOAT32"))
    back = builder.op("QUANTIZE", [curved], builder.activation((4,), 0.5, 0), Table("QuantizeOptions"))
    (tmp_path / "with_floats.tflite").write_bytes(builder.build(builder.unary("TANH", back, (1 / 128, 0))))
    (tmp_path / "field.json").write_text(
        field.Field(entries=(taken, refused.model_copy(update={"reason": "kept"}))).model_dump_json()
    )
    done = subprocess.run([*command, "--resume"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert "1 of 3 taken, 0 with other bytes, 0 with a larger arena than TFLM's, 1 refused that TFLM takes" in (
        " ".join(done.stdout.split())
    )
    again, kept, lacking = from_json(field.Field, tmp_path / "field.json").entries
    assert (again, kept.reason, lacking.tflm_takes, lacking.arrays > 0) == (taken, "kept", True, True)


def test_a_model_that_breaks_its_process_is_a_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "any.tflite").write_bytes(b"")
    monkeypatch.setattr(field.sys, "executable", "/bin/false")
    entry = field.tried_apart(tmp_path / "any.tflite", tmp_path, inputs=4, counted=False)
    assert entry.verdict == "failed" and entry.reason == "exit 1" and entry.faulty
