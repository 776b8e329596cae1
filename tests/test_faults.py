"""Bit flips: the same bit in flash and in the twin, what it changes, and what is made of it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from tests.support.device_support import inputs
from tests.support.known_models import ternary_model
from tests.support.schemas import assert_conforms
from tests.support.tflite_builder import ModelBuilder
from tritguard.attack.faults import (
    Flip,
    ProgressiveSearch,
    draw_flips,
    every_bit,
    flip,
    flipped_image,
)
from tritguard.attack.faults.greedy import mean_loss
from tritguard.attack.faults.view import FaultView
from tritguard.boards import CoreClass
from tritguard.build import Build
from tritguard.cli import app
from tritguard.data import Dataset
from tritguard.data.dataset import write_dataset
from tritguard.emit import Bundle, write_bundle
from tritguard.emit.weights import find_weights
from tritguard.evaluate.faults.firmware import FaultyFirmware
from tritguard.evaluate.faults.interpreter import FaultyInterpreter
from tritguard.evaluate.faults.result import FaultDraw, FaultPlan, FaultPoint, FaultResult, from_few
from tritguard.evaluate.faults.study import _accuracy, _case, _on_device, study_faults
from tritguard.evaluate.study import Rate, wilson
from tritguard.graph.formats.bits import PADDING
from tritguard.graph.formats.kernel import bits_of
from tritguard.graph.formats.registry import WeightFormat
from tritguard.graph.model import Weighted
from tritguard.records import from_json
from tritguard.report.faults import content
from tritguard.twin import OpenTwin, Twin

pytest_plugins = ["tests.support.device_fixtures"]
pytest.importorskip("tensorflow", reason="gradients need the extra 'attack'")

SEVERAL_FORMATS: dict[int, WeightFormat] = {0: "dual2", 1: "taps2"}
OTHER_FORMATS: dict[int, WeightFormat] = {0: "ternary2", 1: "ternary2"}
LANES: dict[int, WeightFormat] = {0: "lanes2", 1: "taps2"}
INT8: dict[int, WeightFormat] = {0: "int8", 1: "int8"}
LISTS: dict[int, WeightFormat] = {0: "sparse"}


def bundle_of(folder: Path, formats: dict[int, WeightFormat]) -> Bundle:
    core: CoreClass = "m55" if "lanes2" in formats.values() else "m4"
    return write_bundle(ternary_model(), folder / "bundle", name="small", core=core, formats=formats)


def labelled(bundle: Bundle, count: int) -> Dataset:
    """Inputs labelled as the bundle without faults labels them."""
    x = inputs(bundle, count)
    y = Twin(bundle).predict(x).labels
    return Dataset("noise", x, y, tuple("abcde"), "steps", "none")


@pytest.mark.parametrize("zero_point", [0, -128])
def test_tflm_sees_the_same_flips_and_the_sums_that_ours_folds(zero_point: int, tmp_path: Path) -> None:
    """Where no zero point is folded, both answer the same bytes with the same flips; elsewhere they do not."""
    builder = ModelBuilder((6, 6, 1), 0.02, zero_point)
    rng = np.random.default_rng(0)
    tensor = builder.conv(
        builder.input, rng.integers(-127, 128, (4, 3, 3, 1), dtype=np.int8), [0.01] * 4, None, (0.2, zero_point)
    )
    tensor = builder.reshape(tensor, (144,))
    tensor = builder.dense(tensor, rng.integers(-127, 128, (3, 144), dtype=np.int8), [0.01], None, (0.5, 0))
    bundle = write_bundle(builder.build(tensor), tmp_path / "bundle", name="net")
    twin, x = OpenTwin(bundle), inputs(bundle, 40)
    interpreter = FaultyInterpreter(bundle, twin, x)
    flips = [each for each in draw_flips(twin.weights, 60, 1) if defined(bundle, each)]
    content = interpreter.flipped(flips, 1)
    assert content is not None and content != interpreter.flipped((), 1) == bundle.model_path.read_bytes()
    before = twin.predict(x).scores
    flip(twin.weights, flips)
    after = twin.predict(x).scores
    assert (after != before).any()
    assert np.array_equal(interpreter.answers(content, x).scores, after) == (zero_point == 0)


def defined(bundle: Bundle, each: Flip) -> bool:
    """Whether the flip is in a weight, and not in padding."""
    for at, op in enumerate(bundle.emission.graph.ops):
        if isinstance(op, Weighted) and f"tg_l{op.index}_" in each.symbol:
            bits = bits_of(op, bundle.emission.kernels[at].weights)
            return bits is not None and bits.weight[each.byte, each.bit] != PADDING
    return False


def test_flips_in_base_3_are_other_trits(tmp_path: Path) -> None:
    bundle = bundle_of(tmp_path, {0: "base3"})
    twin, x = OpenTwin(bundle), inputs(bundle, 16)
    before = twin.predict(x).scores
    flips = [Flip("tg_l0_packed", byte, 6) for byte in range(0, len(twin.weights["tg_l0_packed"]), 3)]
    flip(twin.weights, flips)
    assert (twin.predict(x).scores != before).any()
    flip(twin.weights, flips)
    assert (twin.predict(x).scores == before).all()


@pytest.mark.parametrize(
    "formats", [SEVERAL_FORMATS, OTHER_FORMATS, LANES, INT8], ids=["packed", "two bits", "lanes", "int8"]
)
def test_every_bit_changes_the_weight_it_stands_for(tmp_path: Path, formats: dict[int, WeightFormat]) -> None:
    bundle = bundle_of(tmp_path, formats)
    twin, rng = OpenTwin(bundle), np.random.default_rng(0)
    graph, kernels = bundle.emission.graph, bundle.emission.kernels
    view, x = FaultView(bundle.emission), inputs(bundle, 32)
    clean = twin.predict(x).logits
    assert clean is not None
    assert np.array_equal(view.logits(x.astype(np.float32)), clean.astype(np.float32))
    for position, kernel in kernels.items():
        op = graph.ops[position]
        assert isinstance(op, Weighted)
        memory, bits = twin.weights[twin.symbol(op.index)], bits_of(op, kernel.weights)
        assert bits is not None
        assert set(bits.weight.ravel()) - {PADDING} == set(range(op.weights.size))
        changes, chosen = bits.changes(memory), {}
        for byte, bit in zip(rng.integers(len(memory), size=40), rng.integers(8, size=40), strict=True):
            if bits.weight[byte, bit] != PADDING:
                chosen[int(bits.weight[byte, bit])] = (int(byte), int(bit))
        flips = [Flip(twin.symbol(op.index), *place) for place in chosen.values()]
        flip(twin.weights, flips)
        faulty = twin.predict(x).logits
        flip(twin.weights, flips)
        for weight, place in chosen.items():
            view.change(position, weight, int(changes[place]))
        ours = view.logits(x.astype(np.float32))
        for weight, place in chosen.items():
            view.change(position, weight, -int(changes[place]))
        assert faulty is not None
        assert (faulty != clean).any()
        assert np.array_equal(ours, faulty.astype(np.float32))
    again = twin.predict(x).logits
    assert again is not None
    assert (again == clean).all()


def test_flips_are_of_one_twin_alone_and_taken_back(small_bundle: Bundle) -> None:
    open_twin, other, x = OpenTwin(small_bundle), Twin(small_bundle), inputs(small_bundle, 16)
    before = other.predict(x).scores
    flips = draw_flips(open_twin.weights, 200, seed=1)
    assert len(set(flips)) == 200 <= every_bit(open_twin.weights)
    assert draw_flips(open_twin.weights, 20, seed=1) == flips[:20]
    flip(open_twin.weights, flips)
    assert (open_twin.predict(x).scores != before).any()
    assert (other.predict(x).scores == before).all()
    flip(open_twin.weights, flips)
    assert (open_twin.predict(x).scores == before).all()


def test_an_image_differs_in_the_flipped_bits_alone(small_bundle: Bundle, small_build: Build) -> None:
    twin, content = OpenTwin(small_bundle), small_build.elf.read_bytes()
    arrays = find_weights(small_build.elf, small_bundle.manifest)
    flips = draw_flips(twin.weights, 9, seed=3)
    image = flipped_image(content, arrays, flips)
    changed = np.frombuffer(content, np.uint8) ^ np.frombuffer(image, np.uint8)
    assert np.unpackbits(changed).sum() == 9
    flip(twin.weights, flips)
    for array in arrays:
        assert array.read(image) == twin.weights[array.symbol].tobytes()


def test_faults_that_lead_elsewhere_are_not_run_on_the_host(tmp_path: Path) -> None:
    bundle = bundle_of(tmp_path, LISTS)
    graph, kernels = bundle.emission.graph, bundle.emission.kernels
    op, kernel, lists = graph.ops[0], kernels[0], OpenTwin(bundle).weights["tg_l0_lists"]
    assert isinstance(op, Weighted)
    far, long, backwards = lists.copy(), lists.copy(), lists.copy()
    far[2] = 255
    long[0] ^= 128
    at = 2 + int(np.argmax(lists[2 : 2 + int(lists[0])]))
    backwards[at] -= 1
    assert [kernel.weights.is_defined(op, each, lists) for each in (lists, far, long, backwards)] == [
        True,
        False,
        False,
        True,
    ]


@pytest.mark.parametrize("formats", [SEVERAL_FORMATS, INT8], ids=["packed", "int8"])
def test_faults_in_padding_are_not_run_on_the_host(tmp_path: Path, formats: dict[int, WeightFormat]) -> None:
    """27 weights a channel are padded to 32, or to 28: what they meet there differs between device and host."""
    bundle = bundle_of(tmp_path, formats)
    graph, kernels = bundle.emission.graph, bundle.emission.kernels
    op, kernel, twin = graph.ops[0], kernels[0], OpenTwin(bundle)
    assert isinstance(op, Weighted)
    clean, bits = twin.weights[twin.symbol(0)], bits_of(op, kernel.weights)
    assert bits is not None
    for wanted, places in ((False, bits.weight == PADDING), (True, bits.weight != PADDING)):
        byte, bit = np.argwhere(places)[7]
        faulty = clean.copy()
        faulty[byte] ^= 1 << bit
        assert kernel.weights.is_defined(op, faulty, clean) is wanted


def test_flips_of_trits_in_lanes_are_the_same_on_both(tmp_path: Path, firmware: object) -> None:
    """The fourth code and padding among them, in a block of 64 positions, in words and behind the last of 70."""
    builder, rng = ModelBuilder((4, 5, 70), 0.5, 3), np.random.default_rng(2)
    trits = (rng.integers(-1, 2, (9, 1, 1, 70)) * 127).astype(np.int8)
    tensor = builder.conv(builder.input, trits, [0.01], None, (3.0, 0))
    tensor = builder.reshape(tensor, (180,))
    tensor = builder.dense(tensor, rng.integers(-127, 128, (3, 180), dtype=np.int8), [0.01], None, (20.0, 0))
    bundle = write_bundle(builder.build(tensor), tmp_path / "b", name="lanes", core="m55", formats={0: "lanes2"})
    twin, x = OpenTwin(bundle), inputs(bundle, 4)
    device = FaultyFirmware(bundle, firmware(bundle, "mps3-an547"))  # type: ignore[operator]
    before, (op, kernel) = twin.predict(x), (bundle.emission.graph.ops[0], bundle.emission.kernels[0])
    assert isinstance(op, Weighted)
    clean = twin.weights["tg_l0_trits"].copy()
    flips = draw_flips({"tg_l0_trits": clean}, 100, seed=1)
    flip(twin.weights, flips)
    memory, bits = twin.weights["tg_l0_trits"], bits_of(op, kernel.weights)
    assert bits is not None and not bits.leaves_padding(memory, clean)
    assert kernel.weights.is_defined(op, memory, clean)
    ours, theirs = twin.predict(x), device.answers(device.image(flips, twin.weights), x)
    assert theirs is not None and ours.logits is not None and theirs.logits is not None
    assert np.array_equal(theirs.logits, ours.logits) and (ours.logits != before.logits).any()


def test_a_model_with_fewer_bits_than_flips_has_points_for_those_that_it_has(tmp_path: Path) -> None:
    builder = ModelBuilder((4,), 0.5, 0)
    weights = np.array([[127, -127, 0, 127], [0, 127, 127, -127]], np.int8)
    tensor = builder.dense(builder.input, weights, [0.01], None, (2.0, 0))
    bundle = write_bundle(builder.build(tensor), tmp_path / "bundle", name="tiny")
    plan = FaultPlan(samples=20, flips=(1, 2, 10_000), draws=2, greedy=0, attacker_samples=4, tflm_samples=0)
    result = study_faults([(bundle, None)], labelled(bundle, 24), plan, lambda _what: lambda _done, _total: None)
    (model,) = result.models
    assert {point.flips for point in model.points} == {1, 2} and model.weight_bits < 10_000
    assert "FEWER_BITS" in {issue.code for issue in result.issues}
    (tmp_path / "faults.json").write_text(result.model_dump_json())
    assert from_json(FaultResult, tmp_path / "faults.json") == result
    with pytest.raises(ValueError, match="10000 flips of"):
        draw_flips(OpenTwin(bundle).weights, 10_000, 0)


def test_chosen_flips_hurt_more_than_random_ones(small_bundle: Bundle) -> None:
    twin, data = OpenTwin(small_bundle), labelled(small_bundle, 64)
    search = ProgressiveSearch()
    chosen = search.search(twin, small_bundle.emission, data.x_test, data.y_test, 5, lambda _done, _total: None)
    assert len(set(chosen)) == 5

    def loss(flips: tuple[Flip, ...]) -> float:
        flip(twin.weights, flips)
        found = mean_loss(twin.predict(data.x_test), data.y_test, 1)
        flip(twin.weights, flips)
        return found

    assert loss(chosen) > max(loss(draw_flips(twin.weights, 5, seed)) for seed in range(20))
    assert loss(()) == mean_loss(Twin(small_bundle).predict(data.x_test), data.y_test, 1)


def test_the_verb_boots_faulty_firmware(small_bundle: Bundle, small_build: Build, tmp_path: Path) -> None:
    write_dataset(tmp_path / "data.npz", labelled(small_bundle, 150))
    (tmp_path / "plan.toml").write_text("[faults]\ndraws = 5\ngreedy = 2\nattacker_samples = 32\ndevice_samples = 8\n")
    command = ["faults", small_bundle.path, "--build", small_build.path, "--data", tmp_path / "data.npz"]
    command += ["--out", tmp_path / "out", "--config", tmp_path / "plan.toml", "--samples", 100, "--flips", "1,8,64"]
    done = CliRunner().invoke(app, list(map(str, command)))
    assert done.exit_code == 0, done.output
    assert_conforms(tmp_path / "out" / "faults.json", "faults")
    result = FaultResult.model_validate_json((tmp_path / "out" / "faults.json").read_bytes())
    assert {issue.code for issue in result.issues} == {
        "CLASSES_MISSING",
        "CLASS_IMBALANCE",
    }  # of the data, which is noise
    (model,) = result.models
    assert model.clean.value == 1
    assert [(point.search, point.flips) for point in model.points] == [
        ("random", 1), ("random", 8), ("random", 64), ("greedy", 1), ("greedy", 2),
    ]  # fmt: skip
    assert model.points[2].mean < model.points[0].mean
    assert [(point.search, point.flips) for point in model.tflm] == [
        (point.search, point.flips) for point in model.points
    ]
    assert {draw.ran_on for point in model.tflm for draw in point.draws} == {"tflm"}
    assert model.tflm[2].mean < 1 and "random, TFLM" in str(content(result))
    assert model.replay is not None
    assert model.replay.images >= 4  # without faults, each chosen set, and drawn ones that the twin can follow
    assert (model.replay.inputs, model.replay.mismatched_inputs) == (8 * model.replay.images, 0)
    page = (tmp_path / "out" / "faults.html").read_text()
    assert "<polyline" in page
    assert model.chosen[0].symbol in page
    shown = CliRunner().invoke(app, ["report", str(tmp_path / "out" / "faults.json"), "--json"])
    assert json.loads(shown.stdout)["kind"] == "faults"


def test_lists_led_astray_are_measured_on_the_device_or_left_out(tmp_path: Path, firmware: object) -> None:
    bundle = bundle_of(tmp_path, LISTS)
    plan = FaultPlan(samples=20, flips=(64,), draws=2, greedy=0, attacker_samples=1, device_samples=4)
    data = labelled(bundle, 40)
    alone = study_faults([(bundle, None)], data, plan, lambda _what: lambda _done, _total: None)
    assert {"UNDEFINED_FAULTS", "NO_DEVICE"} <= {issue.code for issue in alone.issues}
    assert alone.models[0].undefined == 2
    build = firmware(bundle, "mps2-an386")  # type: ignore[operator]
    booted = study_faults([(bundle, build)], data, plan, lambda _what: lambda _done, _total: None)
    (point,) = booted.models[0].points
    assert [draw.ran_on for draw in point.draws] == ["device", "device"]
    assert [draw.accuracy.n for draw in point.draws] == [4, 4]
    assert booted.models[0].undefined == 0
    assert "2 of 2 draws depend on the device's memory" in str(content(booted).sections)

    # The model is right on the first samples alone: what the few are does not tell in a draw that changes nothing.
    half = replace(data, y_test=np.where(np.arange(40) < 20, data.y_test, (data.y_test + 1) % 5))
    case = _case(bundle, build, half, plan)
    clean = _accuracy(case.twin.predict(case.measured.x), case.measured).value
    assert 0.25 < clean < 0.75
    draw = _on_device(case, case.firmware, (), seed=0)  # type: ignore[arg-type]
    assert draw.accuracy.value == 1
    assert draw.value == pytest.approx(clean)


def test_a_few_samples_stand_for_all() -> None:
    """A network that has 86.5 % right, and 19 of a few 20."""
    before = np.arange(20) < 19
    assert from_few(0.865, before, before) == pytest.approx(0.865)
    assert from_few(0.865, before, np.zeros(20, bool)) == 0
    assert from_few(0.865, before, np.ones(20, bool)) == 1
    assert from_few(0.865, before, np.arange(20) < 9) == pytest.approx(0.865 * 9 / 19)
    assert from_few(0.865, np.ones(20, bool), np.ones(20, bool)) == pytest.approx(0.865)
    seen, few = FaultDraw(seed=0, accuracy=Rate.of(173, 200)), Rate.of(19, 20)
    alone = FaultDraw(seed=1, accuracy=few, ran_on="device", estimate=from_few(0.865, before, before))
    chosen = FaultPoint.of("greedy", 1, (alone,))  # 19 of the 20 are right, and fewer of all
    assert (chosen.low, chosen.high) == pytest.approx(wilson(0.865 * 20, 20)) and chosen.low < chosen.mean < chosen.high
    point = FaultPoint.of("random", 1, (seen, alone, seen, alone))
    assert (point.mean, point.low, point.high) == pytest.approx((0.865,) * 3)


def test_estimates_from_few_samples_are_right_in_the_mean() -> None:
    """A thousand choices of 20 of 200 samples; each says more than the plain share right among them."""
    rng = np.random.default_rng(0)
    before = rng.random(200) < 0.8
    after = np.where(before, rng.random(200) < 0.6, rng.random(200) < 0.2)
    fews = [rng.permutation(200)[:20] for _ in range(1000)]
    found = np.array([from_few(float(before.mean()), before[few], after[few]) for few in fews])
    plain = np.array([after[few].mean() for few in fews])
    assert abs(found.mean() - after.mean()) < 0.01
    assert found.std() < plain.std()
