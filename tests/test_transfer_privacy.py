"""Float models and what was deployed of them: attacks that carry over or must not, and members that are found.

One overfitted net serves both: it knows its training samples by heart, and whoever asks can tell."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from tests.support.device_support import inputs
from tests.support.known_models import ternary_model
from tests.support.schemas import assert_conforms
from tests.support.tflite_builder import ModelBuilder
from tritguard.attack import Ball, Target
from tritguard.attack.diva import Diva
from tritguard.attack.float_model import FloatModel, open_float
from tritguard.attack.membership import likelihood_ratio, loss_score, scaled_confidence
from tritguard.attack.view import GradientView
from tritguard.cli import app
from tritguard.data import Dataset, to_input_bytes
from tritguard.data.dataset import read_dataset, write_dataset
from tritguard.emit import open_bundle, write_bundle
from tritguard.errors import BadModelError
from tritguard.evaluate.privacy.indicator import security_rate
from tritguard.evaluate.privacy.result import FALSE_RATES, Leak, PrivacyResult
from tritguard.evaluate.privacy.roc import Estimate, advantage, auc, hits_at
from tritguard.evaluate.privacy.shadows import Pool
from tritguard.evaluate.privacy.study import _Drawn, _in_float, _leak
from tritguard.evaluate.transfer.result import TransferResult
from tritguard.evaluate.transfer.study import _deployed
from tritguard.graph import read_graph
from tritguard.report.privacy import _points, content
from tritguard.train import TrainConfig
from tritguard.train.config import Block, QuantizeConfig
from tritguard.twin import Twin

pytest.importorskip("art", reason="training and attacks need the extra 'attack'")
pytestmark = pytest.mark.slow

MEMBERS = 120


def config(data: Path, epochs: int, learning_rate: float) -> TrainConfig:
    return TrainConfig(
        data=str(data),
        stem=16,
        blocks=(Block(channels=32, stride=2), Block(channels=64)),
        samples=MEMBERS,
        batch_size=20,
        epochs=epochs,
        learning_rate=learning_rate,
        quantize=QuantizeConfig(weights="none"),
    )


@pytest.fixture(scope="module")
def noise(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures of noise with labels of chance: nothing can be learned of them but which they are."""
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 256, (2, MEMBERS, 12, 12, 1), dtype=np.uint8), rng.integers(0, 3, (2, MEMBERS))
    path = tmp_path_factory.mktemp("data") / "noise.npz"
    write_dataset(path, Dataset("noise", x[0], y[0], tuple("abc"), "pixel/255", "none", x[1], y[1]))
    return path


def studied(folder: Path, training: TrainConfig, *options: str) -> PrivacyResult:
    from tritguard.train.fit import train  # noqa: PLC0415 - imports TensorFlow

    train(training, read_dataset(Path(training.data)), folder / "net", all_forms=False)
    done = CliRunner().invoke(app, ["privacy", str(folder / "net"), "--out", str(folder / "out"), *options])
    assert done.exit_code == 0, done.output
    assert "<polyline" in (folder / "out" / "privacy.html").read_text()
    assert_conforms(folder / "out" / "privacy.json", "privacy")
    assert_conforms(folder / "net" / "train.json", "training")
    refused = CliRunner().invoke(app, ["privacy", str(folder / "net"), "--out", str(folder / "out"), "--seed", "77"])
    assert "seed: " in str(refused.exception) and "trainings" not in str(refused.exception)
    return PrivacyResult.model_validate_json((folder / "out" / "privacy.json").read_bytes())


def by_name(result: PrivacyResult) -> dict[tuple[str, str, str], Leak]:
    return {(leak.precision, leak.attack, leak.shown): leak for leak in result.models[0].leaks}


@pytest.fixture(scope="module")
def overfitted(noise: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, PrivacyResult]:
    """A training's folder, its bundle in `out/net/bundle` beside it, and the study that made the bundle."""
    folder = tmp_path_factory.mktemp("overfitted")
    return folder / "net", studied(folder, config(noise, epochs=25, learning_rate=0.01), "--shadows", "2")


def test_an_overfitted_net_leaks(overfitted: tuple[Path, PrivacyResult]) -> None:
    result = overfitted[1]
    leaks = by_name(result)
    assert set(leaks) == {
        ("float", "loss threshold", "logits"), ("float", "offline LiRA", "logits"),
        ("int8", "loss threshold", "logits"), ("int8", "offline LiRA", "logits"),
        ("int8", "loss threshold", "scores"), ("int8", "offline LiRA", "scores"),
        ("float", "label only", "labels"), ("int8", "label only", "labels"),
    }  # fmt: skip
    for leak in leaks.values():
        assert leak.auc.low > 0.6, leak
        assert leak.advantage.low > 0.2, leak
        assert leak.at_one_permille is None  # of 120 others
        assert leak.at_one_percent is not None
    assert leaks["int8", "loss threshold", "logits"].auc.value > 0.85
    (model,) = result.models
    assert model.fits[1].members.value > 0.9
    assert model.fits[1].others.value < 0.6
    assert model.control is not None
    assert model.control.low <= 0.5 <= model.control.high
    assert {issue.code for issue in result.issues} == {"FEW_SAMPLES", "FEW_SHADOWS", "NO_DEVICE"}


def test_trainings_have_names_that_tell_them_apart(overfitted: tuple[Path, PrivacyResult], tmp_path: Path) -> None:
    net = overfitted[0]
    refused = CliRunner().invoke(app, ["privacy", str(net), str(net), "--out", str(tmp_path / "out")])
    assert "two of the trainings are called 'net'" in str(refused.exception)
    assert not (tmp_path / "out" / "privacy.json").exists()


def test_the_report_draws_measured_curves_and_says_in_words_what_guessing_is(
    overfitted: tuple[Path, PrivacyResult],
) -> None:
    page = content(overfitted[1])
    (drawn,) = [section.chart for section in page.sections if section.chart]
    assert [line.name.partition(":")[0] for line in drawn.lines] == ["net, float", "net, int8"]
    assert not any("labels" in line.name for line in drawn.lines), "labels alone have no curve"
    assert any("0.5" in section.note and "guessing" in section.note for section in page.sections), "in terminals too"


def test_a_rate_of_zero_is_not_drawn_as_the_least_of_the_axis() -> None:
    guessed, none = Estimate(value=0.5, low=0.4, high=0.6), (0.0,) * 3
    curve = (*none, 0.02, 0.03, *(rate for rate in FALSE_RATES[5:]))
    leak = Leak(
        precision="int8", attack="loss threshold", shown="scores", auc=guessed, advantage=guessed, at_one_permille=None,
        at_one_percent=None, curve=curve,
    )  # fmt: skip
    assert [point.x for point in _points(leak, 1000)] == list(FALSE_RATES[3:])
    assert [point.x for point in _points(leak, 50)] == list(FALSE_RATES[4:]), "of 50 others one is 2 %"


def test_a_net_that_learned_nothing_does_not(noise: Path, tmp_path: Path) -> None:
    result = studied(tmp_path, config(noise, epochs=1, learning_rate=1e-6), "--shadows", "0", "--indicator", "3")
    for leak in result.models[0].leaks:
        assert leak.auc.low <= 0.5 <= leak.auc.high, leak
        assert leak.advantage.low <= 0 <= leak.advantage.high, leak
    assert "NO_SHADOWS" in {issue.code for issue in result.issues}
    assert [entry.bits for entry in result.models[0].quantizers] == [8, 4, 2]
    assert "post-training quantizers (experimental)" in (tmp_path / "out" / "privacy.html").read_text()


def test_measures_of_separation() -> None:
    rng = np.random.default_rng(1)
    values = []
    for _ in range(200):
        members, others = rng.normal(size=100), rng.normal(size=100)
        values.append((auc(members, others), advantage(members, others)))
    assert np.mean([area.low <= 0.5 <= area.high for area, _ in values]) > 0.9
    assert abs(np.mean([best.value for _, best in values])) < 0.02  # chosen where measured it would be 0.1
    apart = auc(rng.normal(1, 1, 20_000), rng.normal(0, 1, 20_000))
    assert apart.low < 0.7602 < apart.high  # the normal distribution function at 1 / sqrt(2)
    assert hits_at(np.array([1.0, 2, 3]), np.array([0.0, 1, 2]), 0.0).k == 1
    assert hits_at(np.array([1.0, 2, 3]), np.array([0.0, 1, 2]), 0.34).k == 2
    assert hits_at(np.ones(3), np.ones(3), 0.5).k == 0  # ties tell nothing apart


def test_the_likelihood_ratio_knows_what_is_hard() -> None:
    """Samples differ far more than membership does: only the ratio sees it."""
    rng, n = np.random.default_rng(2), 2000
    hardness, member = rng.normal(0, 5, n), np.arange(n) < n // 2
    shadows = hardness + rng.normal(0, 1, (8, n))
    seen = rng.random((8, n)) < 0.5
    target = hardness + rng.normal(0, 1, n) + 1.5 * member
    score = likelihood_ratio(target, shadows + 1.5 * seen, seen)
    known = ~np.isnan(score)
    assert known.mean() > 0.98
    assert auc(score[known & member], score[known & ~member]).value > 0.8
    assert auc(target[member], target[~member]).value < 0.65


def test_a_sample_without_a_score_is_not_taken_for_a_member() -> None:
    """And does not make the others fewer, of which so many may be mistaken."""
    score = np.r_[np.full(500, np.nan), np.linspace(1, 2, 500), np.full(3, np.nan), 3.0, np.linspace(-1, 0, 996)]
    drawn = _Drawn(Pool(np.zeros(0), np.zeros(0, np.int64), np.zeros(2000, np.int64)), 1000)
    leak = _leak("float", "offline LiRA", "logits", score, drawn)
    assert leak.at_one_permille is not None
    assert (leak.at_one_permille.k, leak.at_one_permille.n) == (500, 1000)  # one of 1,000 others is above them all


def test_confidence_does_not_saturate() -> None:
    logits, y = np.array([[900.0, 0, 0], [0, 900, 0], [1, 1, 1]]), np.array([0, 0, 2])
    assert scaled_confidence(logits, y) == pytest.approx([900 - np.log(2), -900, -np.log(2)])
    assert loss_score(logits, y) == pytest.approx([0, -900, -np.log(3)])


def test_the_indicator_is_the_rate_at_which_the_next_best_network_is_ruled_out() -> None:
    rng, n = np.random.default_rng(3), 20_000
    best = rng.exponential(size=n)
    near, far = best + rng.normal(0.3, 1, n), best + rng.normal(1, 1, n)
    found = security_rate(np.array([far, best, near]), seed=0)
    assert found is not None
    assert found.low < 0.3**2 / 2 < found.high
    assert found.value == pytest.approx(0.3**2 / 2, rel=0.1)
    apart = security_rate(np.array([best, far]), seed=0)
    assert apart is not None
    assert apart.low > found.high
    same = security_rate(np.array([best, best, far]), seed=0)
    assert same is not None
    assert same.value == 0  # either may be chosen, by a single sample
    assert security_rate(best[None], seed=0) is None
    assert _in_float(QuantizeConfig(weights="none"))
    assert not _in_float(QuantizeConfig(weights="none", activations="int8"))


def test_zeros_of_either_sign_are_one_weight() -> None:
    from tritguard.train.quanos import rounded  # noqa: PLC0415 - imports TensorFlow

    scale = np.full((1, 1), 0.2, np.float32)
    assert rounded(np.array([[0.01]], np.float32), scale, 2).tobytes() == np.zeros((1, 1), np.float32).tobytes()
    assert rounded(np.array([[-0.01]], np.float32), scale, 2).tobytes() == np.zeros((1, 1), np.float32).tobytes()


def test_candidates_are_the_trained_network_and_what_further_steps_make_of_it(
    overfitted: tuple[Path, PrivacyResult], noise: Path
) -> None:
    from tritguard.train.backend import keras, tf  # noqa: PLC0415
    from tritguard.train.candidates import candidate_losses  # noqa: PLC0415
    from tritguard.train.layer_graph import kernel_axes, weighted_layers  # noqa: PLC0415
    from tritguard.train.quanos import on_grid  # noqa: PLC0415

    data = read_dataset(noise)
    x, y = data.x_test.astype(np.float32) / 255, data.y_test.astype(np.int64)
    model, quantized = (keras.models.load_model(overfitted[0] / "model.keras") for _ in range(2))
    kernels = [layer.kernel.numpy() for layer in weighted_layers(model)]
    settings = config(noise, epochs=1, learning_rate=0.01)
    losses = candidate_losses(
        model, (x, y), (x, y), settings, widths=(8, 4, 2), count=3, seed=0, progress=lambda done, count: None
    )
    for bits, rows in losses.items():
        assert rows.shape == (3, len(x))
        for layer, kernel in zip(weighted_layers(quantized), kernels, strict=True):
            layer.kernel.assign(on_grid(kernel, bits, kernel_axes(layer)))
        expected = tf.nn.sparse_softmax_cross_entropy_with_logits(y, quantized(x, training=False))
        assert rows[0] == pytest.approx(np.asarray(expected), abs=1e-4)
    assert losses[8][2].mean() < losses[8][0].mean()  # it was trained on these
    one = candidate_losses(model, (x, y), (x, y), settings, widths=(2,), count=1, seed=0, progress=lambda *_: None)
    assert one[2].shape == (1, len(x))


@pytest.fixture(scope="module")
def known(noise: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The samples the overfitted net gets right, as a test set."""
    data = read_dataset(noise)
    assert data.x_train is not None and data.y_train is not None
    path = tmp_path_factory.mktemp("known") / "known.npz"
    write_dataset(path, Dataset("known", data.x_train, data.y_train, data.classes, data.input_unit, data.licence))
    return path


def test_the_matrix_and_inputs_that_fool_the_deployed_model_alone(
    overfitted: tuple[Path, PrivacyResult], known: Path, tmp_path: Path
) -> None:
    net = overfitted[0]
    command = ["transfer", net.parent / "out" / "net" / "bundle", "--float", net / "model.keras", "--data", known]
    command += ["--out", tmp_path, "--samples", 100, "--eps", "1,16"]
    done = CliRunner().invoke(app, list(map(str, command)))
    assert done.exit_code == 0, done.output
    assert_conforms(tmp_path / "transfer.json", "transfer")
    result = TransferResult.model_validate_json((tmp_path / "transfer.json").read_bytes())
    assert result.status == "valid", result.issues
    assert [party.form for party in result.parties] == ["float", "int8"]
    left = {(cell.eps_steps, cell.source, cell.target): cell.accuracy.value for cell in result.cells}
    assert len(left) == 8
    for source in (0, 1):
        for target in (0, 1):
            assert left[16, source, target] < 0.5 < left[1, source, target]
    small, large = result.apart
    assert small.fooled.value <= large.fooled.value
    assert large.fooled.value > large.crafted_alone.value
    assert "<polyline" in (tmp_path / "transfer.html").read_text()


def test_what_fools_the_deployed_model_alone_is_in_the_ball(
    overfitted: tuple[Path, PrivacyResult], known: Path
) -> None:
    net, data = overfitted[0], read_dataset(known)
    bundle = open_bundle(net.parent / "out" / "net" / "bundle")
    edge = bundle.manifest.input
    x = to_input_bytes(data.x_test, edge.scale, edge.zero_point)
    keeper, twin = FloatModel(net / "model.keras", edge), Twin(bundle)
    both = (keeper.predict(x).labels == data.y_test) & (twin.predict(x).labels == data.y_test)
    view = GradientView(read_graph(bundle.model_path.read_bytes()))
    target, ball = Target(twin, view, x[both], data.y_test[both], seed=0), Ball("Linf", 12)
    crafted = Diva(keeper, steps=20).craft(target, ball)
    assert ball.distances(crafted.x, target.x).max() <= 12
    assert crafted.queries > 0 < crafted.gradients
    alone = (twin.predict(crafted.x).labels != target.y) & (keeper.predict(crafted.x).labels == target.y)
    assert alone.any()


def without_logits() -> bytes:
    """A network whose last layer is no sum."""
    rng, builder = np.random.default_rng(0), ModelBuilder((20,), 0.05, 0)
    weights = rng.integers(-127, 128, (5, 20)).astype(np.int8)
    dense = builder.dense(builder.input, weights, [0.002] * 5, None, (0.05, 0))
    return builder.build(builder.unary("TANH", dense, (1 / 128, 0)))


@pytest.mark.parametrize("content", [ternary_model(), without_logits()], ids=["logits", "scores"])
def test_the_views_of_all_models_have_the_same_median_margin(content: bytes, tmp_path: Path) -> None:
    bundle = write_bundle(content, tmp_path / "bundle", name="small")
    x = inputs(bundle, 32)
    view = _deployed(bundle, bundle.manifest.input, x).view
    assert isinstance(view, GradientView)
    top = np.sort(view.logits(x.astype(np.float32)), axis=1)[:, -2:]
    assert np.median(top[:, 1] - top[:, 0]) == pytest.approx(4, rel=1e-3)


def test_a_float_tflite_answers_as_its_keras_model(
    overfitted: tuple[Path, PrivacyResult], known: Path, tmp_path: Path
) -> None:
    from tritguard.train.backend import keras, tf  # noqa: PLC0415

    net = overfitted[0]
    edge = open_bundle(net.parent / "out" / "net" / "bundle").manifest.input
    (tmp_path / "model.tflite").write_bytes(
        tf.lite.TFLiteConverter.from_keras_model(keras.models.load_model(net / "model.keras")).convert()
    )
    x = to_input_bytes(read_dataset(known).x_test[:20], edge.scale, edge.zero_point)
    ours, theirs = (open_float(path, edge).predict(x) for path in (tmp_path / "model.tflite", net / "model.keras"))
    assert ours.logits is not None
    assert theirs.logits is not None
    assert np.abs(ours.logits - theirs.logits).max() < 1e-3
    assert (ours.labels == theirs.labels).all()
    with pytest.raises(BadModelError, match="samples are"):
        open_float(net / "model.keras", edge.model_copy(update={"shape": (*edge.shape, 1)}))
    (tmp_path / "broken.tflite").write_bytes(b"nothing")
    with pytest.raises(BadModelError):
        open_float(tmp_path / "broken.tflite", edge)
