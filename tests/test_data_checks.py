"""Wrong data, each kind with its code, and honest data with none; what the label of any shape of output is."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.shared import ROOT, shared_file
from tests.support.tflite_builder import ModelBuilder
from tritguard.convert.compare import compare
from tritguard.data import Dataset, load_dataset
from tritguard.data.dataset import PIXEL_UNIT
from tritguard.data.fashion_mnist import DEBIAN_DIR
from tritguard.emit import Bundle, open_bundle, write_bundle
from tritguard.emit.bundle import EdgeTensor, Manifest, label_rule
from tritguard.errors import BadInputError
from tritguard.evaluate.data_checks import CHECKS, Checked, check_data
from tritguard.evaluate.faults.result import FaultPlan
from tritguard.evaluate.faults.study import study_faults
from tritguard.evaluate.robustness.assemble import Subject
from tritguard.evaluate.robustness.plan import Plan
from tritguard.evaluate.robustness.study import study_robustness
from tritguard.evaluate.samples import draw_samples
from tritguard.evaluate.transfer.result import TransferPlan
from tritguard.evaluate.transfer.study import study_transfer
from tritguard.oracle import oracle_available
from tritguard.predictor import LabelRule, Outputs
from tritguard.progress import silent
from tritguard.twin import Twin

needs_oracle = pytest.mark.skipif(not oracle_available(), reason="no tflite-micro for this platform")
NAMES = ("cat", "dog", "owl", "fox")
RNG = np.random.default_rng(3)
PICTURES = RNG.uniform(0, 1, (200, 6, 6, 1)).astype(np.float32)
PIXELS = RNG.integers(0, 256, (200, 6, 6, 1), dtype=np.uint8)


def pictures(**changes: Any) -> Dataset:
    """Honest data for `manifest`, with changes."""
    rng = np.random.default_rng(0)
    honest = Dataset("pictures", PICTURES, rng.integers(0, 4, 200), NAMES, PIXEL_UNIT, "none")
    return replace(honest, **changes)


def manifest(folder: Path, scale: float = 1 / 255, zero_point: int = -128) -> Manifest:
    builder = ModelBuilder((6, 6, 1), scale, zero_point)
    flat = builder.reshape(builder.input, (36,))
    weights = np.random.default_rng(1).integers(-127, 128, (4, 36), dtype=np.int8)
    content = builder.build(builder.dense(flat, weights, [0.01], None, (0.1, 0)))
    return write_bundle(content, folder / "bundle", name="net", classes=NAMES).manifest


def test_data_unlike_the_calibration_has_its_code(tmp_path: Path) -> None:
    """Brighter pictures, and inverted ones: in range, and not what the model was made for."""
    unknown = manifest(tmp_path)
    dark = (PICTURES * 0.3).astype(np.float32)
    bundle = write_bundle(
        (tmp_path / "bundle" / "model.tflite").read_bytes(), tmp_path / "known", name="net", classes=NAMES,
        calibration=dark,
    )  # fmt: skip
    known = open_bundle(bundle.path).manifest
    assert known.calibration is not None and known.calibration.samples == len(dark) and unknown.calibration is None
    for x, severity in ((dark, None), (dark + 0.06, "warn"), (1 - dark, "invalid")):
        checked = check_data(known, dataset=pictures(x_test=x.astype(np.float32)))
        assert found(checked).get("INPUTS_OFF_CALIBRATION") == severity
        assert ("INPUTS_OFF_CALIBRATION" in checked.passed) == (severity is None)
    assert dict(check_data(unknown, dataset=pictures()).shares)["INPUTS_OFF_CALIBRATION"] is None


def found(checked: Checked) -> dict[str, str]:
    return {issue.code: issue.severity for issue in checked.issues}


def spoiled(share: float, change: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """The honest samples, of which a share is changed."""
    x, count = PICTURES.copy(), round(share * len(PICTURES))
    x[:count] = change(x[:count])
    return x


def labels(*shares: float) -> np.ndarray:
    return np.repeat(np.arange(len(shares)), np.round(np.array(shares) * 200).astype(int))


COPIES = np.concatenate([PICTURES[:100], PICTURES[:100]])
SAME = np.tile(np.arange(100) % 4, 2)

WRONG: dict[str, tuple[dict[str, Any], dict[str, str]]] = {
    "pixels 0 to 255 for 0 to 1": (
        {"x_test": PICTURES * 255},
        {"INPUTS_CLIPPED": "invalid", "INPUTS_EXCEED_RANGE": "invalid", "CONSTANT_INPUTS": "invalid"},
    ),
    "-1 to 1 for 0 to 1": (
        {"x_test": PICTURES * 2 - 1},
        {"INPUTS_CLIPPED": "invalid", "INPUTS_EXCEED_RANGE": "warn"},
    ),
    "a mean outside the range": (
        {"x_test": PICTURES + 5},
        {"INPUTS_CLIPPED": "invalid", "INPUTS_EXCEED_RANGE": "invalid", "INPUT_RANGE_UNUSED": "invalid",
         "CONSTANT_INPUTS": "invalid"},
    ),
    "some samples in another unit": (
        {"x_test": spoiled(0.05, lambda x: 0.6 - x)},
        {"INPUTS_CLIPPED": "warn"},
    ),
    "few values, far out": (
        {"x_test": np.where(np.arange(36).reshape(6, 6, 1) % 25 == 7, PICTURES * 255, 0).astype(np.float32)},
        {"INPUTS_CLIPPED": "warn", "INPUTS_EXCEED_RANGE": "invalid"},
    ),
    "0 to 1 for 0 to 255": ({"x_test": PICTURES / 255}, {"INPUT_RANGE_UNUSED": "invalid"}),
    "half of the range": ({"x_test": PICTURES / 2}, {"INPUT_RANGE_UNUSED": "warn"}),
    "int8 that were clipped": (
        {"x_test": np.clip(PIXELS.astype(int) * 2 - 256, -128, 127).astype(np.int8)},
        {"INPUTS_SATURATED": "warn"},
    ),
    "a dead sensor": ({"x_test": spoiled(0.1, lambda x: x[:, :1, :1] + 0 * x)}, {"CONSTANT_INPUTS": "warn"}),
    "a sensor dead most of the time": (
        {"x_test": spoiled(0.6, lambda x: x[:, :1, :1] + 0 * x)},
        {"CONSTANT_INPUTS": "invalid"},
    ),
    "copies in the test set": (
        {"x_test": np.concatenate([PICTURES[:190], PICTURES[:10]]), "y_test": np.r_[np.arange(190), np.arange(10)] % 4},
        {"DUPLICATE_INPUTS": "warn"},
    ),
    "nothing but copies": (
        {"x_test": np.concatenate([COPIES[:50]] * 4), "y_test": np.tile(np.arange(50) % 4, 4)},
        {"DUPLICATE_INPUTS": "invalid"},
    ),
    "copies with other labels": (
        {"x_test": COPIES, "y_test": np.r_[SAME[:100], (SAME[:100] + 1) % 4]},
        {"DUPLICATE_INPUTS": "warn", "CONFLICTING_LABELS": "invalid"},
    ),
    "test samples in training": (
        {"x_train": np.concatenate([PICTURES[:10], PICTURES * 0.9]), "y_train": np.zeros(210, np.int64)},
        {"TEST_IN_TRAINING": "warn"},
    ),
    "the training set for a test set": (
        {"x_train": PICTURES, "y_train": np.zeros(200, np.int64)},
        {"TEST_IN_TRAINING": "invalid"},
    ),
    "95 to 5": ({"y_test": labels(0.95, 0.02, 0.02, 0.01)}, {"CLASS_IMBALANCE": "warn"}),
    "one class": ({"y_test": labels(0.0, 1.0)}, {"CLASS_IMBALANCE": "invalid", "CLASSES_MISSING": "warn"}),
    "classes in another order": ({"classes": ("dog", "cat", "owl", "fox")}, {"CLASS_ORDER": "warn"}),
}  # fmt: skip


@pytest.mark.parametrize("kind", WRONG)
def test_each_kind_of_wrong_data_has_its_codes(kind: str, tmp_path: Path) -> None:
    changes, codes = WRONG[kind]
    checked = check_data(manifest(tmp_path), dataset=pictures(**changes))
    assert found(checked) == codes
    assert not set(checked.passed) & set(codes)


def test_a_model_most_of_whose_classes_are_missing(tmp_path: Path) -> None:
    net = manifest(tmp_path).model_copy(update={"label": LabelRule(kind="argmax", classes=10), "classes": None})
    assert found(check_data(net, dataset=pictures())) == {"CLASSES_MISSING": "warn"}


def test_every_code_is_seen_above() -> None:
    seen = {code for _, codes in WRONG.values() for code in codes}
    assert len(seen) >= 10 and seen | {"INPUTS_OFF_CALIBRATION"} == {check.code for check in CHECKS}


def test_a_message_says_what_was_seen_and_what_to_give(tmp_path: Path) -> None:
    checked = check_data(manifest(tmp_path), dataset=pictures(x_test=PICTURES * 255))
    assert re.fullmatch(
        r"99\.\d% of the input values are clipped: the data goes from 0\.\d+ to 25\d\.\d, the model takes 0 to 1: "
        "give samples in the model's input unit",
        checked.issues[0].message,
    )


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"x_test": PIXELS},
        {"x_test": PIXELS, "x_train": PIXELS[::-1] ^ 1, "y_train": np.zeros(200, np.int64)},
        {"x_test": (PIXELS.astype(np.int16) - 128).astype(np.int8)},
        {"y_test": labels(0.9, 0.05, 0.05)},
        {"classes": ("0", "1", "2", "3")},
    ],
)
def test_honest_data_raises_nothing(changes: dict[str, Any], tmp_path: Path) -> None:
    checked = check_data(manifest(tmp_path), dataset=pictures(**changes))
    assert checked.issues == ()
    assert {"INPUT_RANGE_UNUSED", "DUPLICATE_INPUTS", "CLASS_IMBALANCE"} <= set(checked.passed)


def test_real_data_raises_nothing(tmp_path: Path) -> None:
    net = manifest(tmp_path)
    known = []
    if DEBIAN_DIR.is_dir():
        known.append((1 / 255, -128, load_dataset("fashion-mnist")))
    cifar = np.load(shared_file("data/cifar10_lossless_subset.npz"))
    parts = (cifar[f"{part}_{what}"] for part in ("test", "train") for what in ("images", "labels"))
    x_test, y_test, x_train, y_train = parts
    known.append((1.0, -128, Dataset("cifar", x_test, y_test.astype(np.int64), tuple("0123456789"), PIXEL_UNIT, "",
                                     x_train, y_train.astype(np.int64))))  # fmt: skip
    words = np.load(shared_file("data/gsc_kws01.npz"))
    y_test = words["labels"].astype(np.int64)
    known.append((0.5847, 83, Dataset("words", words["mfcc_int8"], y_test, tuple(words["classes"]), "MFCC", "")))
    for scale, zero_point, dataset in known:
        grid = net.input.model_copy(
            update={"scale": scale, "zero_point": zero_point, "shape": dataset.x_test.shape[1:]}
        )
        rule = LabelRule(kind="argmax", classes=len(dataset.classes))
        fitting = net.model_copy(update={"input": grid, "label": rule, "classes": dataset.classes})
        assert check_data(fitting, dataset=dataset).issues == (), dataset.name


def test_two_models_on_the_same_data_share_what_both_found(tmp_path: Path) -> None:
    right, wrong = manifest(tmp_path / "a"), manifest(tmp_path / "b", 1.0)
    once = check_data(wrong, wrong, dataset=pictures())
    assert once == check_data(wrong, dataset=pictures())
    both = check_data(right, wrong, dataset=pictures())
    assert both.issues == once.issues and "INPUT_RANGE_UNUSED" not in both.passed


def test_the_bounds_are_documented() -> None:
    rows = re.findall(
        r"^\| `(\w+)` \| ([\d.]+) % \| (?:([\d.]+) %|(all)|never) \|",
        (ROOT / "docs" / "results.md").read_text(),
        re.MULTILINE,
    )
    for check, (code, doubtful, meaningless, whole) in zip(CHECKS, rows, strict=True):
        assert (check.code, 100 * check.doubtful) == (code, pytest.approx(float(doubtful)))
        assert 100 * check.meaningless == pytest.approx(float(meaningless) if meaningless else 100)
        assert (check.meaningless < 1) == bool(meaningless or whole)


# --- the label ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shape", "scale", "zero_point", "rule"),
    [
        ((10,), 0.1, 3, LabelRule(kind="argmax", classes=10)),
        ((1, 1, 10), 0.1, 3, LabelRule(kind="argmax", classes=10)),
        ((1, 10, 1, 1), 0.1, 3, LabelRule(kind="argmax", classes=10)),
        ((1,), 1 / 256, -128, LabelRule(kind="threshold", classes=2, threshold=0.5, threshold_steps=0)),
        ((1, 1, 1), 1 / 256, -128, LabelRule(kind="threshold", classes=2, threshold=0.5, threshold_steps=0)),
        ((1,), 0.5, -128, LabelRule(kind="threshold", classes=2, threshold=0, threshold_steps=-128)),
        ((1,), 0.1, 7, LabelRule(kind="threshold", classes=2, threshold=0, threshold_steps=7)),
        ((4, 10), 0.1, 3, LabelRule(kind="none", classes=0)),
    ],
)
def test_the_rule_for_the_label(shape: tuple[int, ...], scale: float, zero_point: int, rule: LabelRule) -> None:
    assert LabelRule.of(shape, scale, zero_point) == rule


def test_one_score_without_a_threshold_has_no_label() -> None:
    scores = np.array([[-3], [0], [5]], np.int8)
    assert Outputs(scores, threshold=0).labels.tolist() == [0, 0, 1]
    with pytest.raises(BadInputError, match="one output"):
        _ = Outputs(scores).labels


def one_output(*, sigmoid: bool, bias: int = 0) -> bytes:
    """Whether the first of four inputs exceeds the second, in one output."""
    builder = ModelBuilder((4,), 1 / 255, -128)
    weights = np.array([[127, -127, 0, 0]], np.int8)
    logit = builder.dense(builder.input, weights, [20 / 127], np.array([bias], np.int32), (40 / 255, 0))
    return builder.build(builder.unary("LOGISTIC", logit, (1 / 256, -128)) if sigmoid else logit)


def larger_first() -> Dataset:
    x = np.random.default_rng(0).uniform(0, 1, (400, 4)).astype(np.float32)
    x = x[np.abs(x[:, 0] - x[:, 1]) > 0.1]
    return Dataset("larger", x, (x[:, 0] > x[:, 1]).astype(np.int64), ("second", "first"), PIXEL_UNIT, "none")


def bundle_of(content: bytes, folder: Path, classes: tuple[str, ...] | None = None) -> Bundle:
    return write_bundle(content, folder / "bundle", name="one", classes=classes)


@pytest.mark.parametrize("sigmoid", [True, False])
def test_one_output_tells_two_classes_apart(sigmoid: bool, tmp_path: Path) -> None:
    bundle, data = bundle_of(one_output(sigmoid=sigmoid), tmp_path, ("second", "first")), larger_first()
    written = Manifest.model_validate_json((bundle.path / "manifest.json").read_text())
    assert written.label == LabelRule(kind="threshold", classes=2, threshold=0.5 if sigmoid else 0, threshold_steps=0)
    samples = draw_samples(bundle, data, len(data.x_test), 0)
    assert (Twin(bundle).predict(samples.x).labels == samples.y).all()
    older = written.model_copy(update={"label": None})  # as versions without the field wrote it
    assert older.label_rule == written.label


@needs_oracle
@pytest.mark.parametrize("sigmoid", [True, False])
def test_the_comparison_of_one_output_is_by_its_threshold(sigmoid: bool) -> None:
    data = larger_first()
    x, y = data.x_test[:100], data.y_test[:100]
    logits = 20 * (x[:, :1] - x[:, 1:2])
    answers = 1 / (1 + np.exp(-logits)) if sigmoid else logits
    good = compare(answers, one_output(sigmoid=sigmoid), x, y)
    assert good is not None and (good.same, good.float_right, good.int8_right) == (100, 100, 100)
    broken = compare(answers, one_output(sigmoid=sigmoid, bias=1 << 20), x, y)  # always class 1
    assert broken is not None and (broken.same, broken.float_right, broken.int8_right) == (y.sum(), 100, y.sum())
    assert 30 < y.sum() < 70
    with pytest.raises(BadInputError, match="label 2, but the model has 2 classes"):
        compare(answers, one_output(sigmoid=sigmoid), x, y + 1)


def deep_output(shape: tuple[int, ...]) -> bytes:
    """Scores for 10 classes of 12 inputs, in an output of this shape."""
    builder = ModelBuilder((12,), 1 / 255, -128)
    weights = np.random.default_rng(0).integers(-127, 128, (10, 12), dtype=np.int8)
    return builder.build(builder.reshape(builder.dense(builder.input, weights, [0.01], None, (0.05, 0)), shape))


@needs_oracle
def test_an_output_of_rank_4_has_accuracy_and_agreement(tmp_path: Path) -> None:
    x = np.random.default_rng(0).uniform(0, 1, (64, 12)).astype(np.float32)
    weights = np.random.default_rng(0).integers(-127, 128, (10, 12), dtype=np.int8)
    answers = (x @ weights.T * np.float32(0.01))[:, None, None, :]
    y = answers.reshape(64, 10).argmax(axis=1)
    compared = compare(answers, deep_output((1, 1, 10)), x, y)
    assert compared is not None and compared.float_right == 64 and compared.same == compared.int8_right
    assert compared.same >= 60
    bundle = bundle_of(deep_output((1, 1, 10)), tmp_path)
    samples = draw_samples(bundle, Dataset("deep", x, y, tuple("0123456789"), PIXEL_UNIT, "none"), 64, 0)
    assert int((Twin(bundle).predict(samples.x).labels == samples.y).sum()) == compared.int8_right


def test_outputs_without_a_class_are_refused(tmp_path: Path) -> None:
    bundle = bundle_of(deep_output((2, 5)), tmp_path)
    assert bundle.manifest.label_rule.kind == "none"
    data = Dataset("deep", np.zeros((8, 12), np.float32), np.zeros(8, np.int64), ("0",), PIXEL_UNIT, "none")
    with pytest.raises(BadInputError, match=r"output of shape \[2, 5\] is not a vector of scores"):
        draw_samples(bundle, data, 4, 0)


def test_attacks_refuse_a_single_output_and_random_flips_do_not(tmp_path: Path) -> None:
    bundle, data = bundle_of(one_output(sigmoid=True), tmp_path), larger_first()
    nothing: Any = None
    refused: list[Callable[[], object]] = [
        lambda: study_robustness(Subject(bundle, nothing), data, Plan(), nothing, tmp_path, silent),
        lambda: study_transfer([bundle], [], data, TransferPlan(), silent),
        lambda: study_faults([(bundle, None)], data, FaultPlan(), silent),
    ]
    for study in refused:
        with pytest.raises(BadInputError, match="one output is not attacked yet"):
            study()
    plan = FaultPlan(samples=100, flips=(1,), draws=2, greedy=0)
    result = study_faults([(bundle, None)], data, plan, silent)
    assert (result.classes, result.models[0].clean.value) == (2, 1.0)


def test_a_study_lists_what_is_wrong_with_its_data(tmp_path: Path) -> None:
    bundle = bundle_of(one_output(sigmoid=True), tmp_path)
    wrong = replace(larger_first(), x_test=larger_first().x_test * 255)
    plan = FaultPlan(samples=100, flips=(1,), draws=2, greedy=0)
    result = study_faults([(bundle, None)], wrong, plan, silent)
    assert result.status == "invalid"
    assert {"INPUTS_CLIPPED", "INPUTS_EXCEED_RANGE"} <= {issue.code for issue in result.issues}


def test_labels_beyond_the_outputs_are_refused(tmp_path: Path) -> None:
    bundle = bundle_of(one_output(sigmoid=True), tmp_path)
    data = replace(larger_first(), y_test=larger_first().y_test + 1)
    with pytest.raises(BadInputError, match="larger: has label 2, but the model has 2 classes"):
        draw_samples(bundle, data, 4, 0)


def test_names_of_the_two_classes(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="1 class names for a model with one output, which tells two classes apart"):
        bundle_of(one_output(sigmoid=True), tmp_path, ("first",))


def test_several_outputs_have_no_label() -> None:
    edge = EdgeTensor(name="x", shape=(4,), scale=1.0, zero_point=0)
    assert label_rule(edge, edge).kind == "none"
