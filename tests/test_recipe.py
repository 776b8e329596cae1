"""The parts of a training's recipe: fast layers and optimizer against plain ones, losses against their formulas,
averaged weights, the watch for catastrophic overfitting, and a teacher."""

from __future__ import annotations

import functools
import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from tritguard.data import Dataset
from tritguard.errors import BadInputError
from tritguard.train import TrainConfig
from tritguard.train.backend import compiled, keras, tf
from tritguard.train.config import (
    CHECKPOINT,
    MODEL,
    AdversarialConfig,
    Block,
    JacobianConfig,
    QuantizeConfig,
    Stage,
    TeacherConfig,
)
from tritguard.train.fit import train
from tritguard.train.inputs import InputGrid, TrainingSet, cut_out, input_units, training_set
from tritguard.train.loop import Loop
from tritguard.train.losses import cross_entropy, distillation, divergences, mart, trades
from tritguard.train.nets import build_net
from tritguard.train.objective import Objective
from tritguard.train.optimizer import learning_rates, make_optimizer
from tritguard.train.quantize import plain, quantize
from tritguard.train.quick import quick
from tritguard.train.recalibrate import norm_layers
from tritguard.train.teacher import load_teacher
from tritguard.train.watch import FGSM, PGD, overfitting

pytestmark = pytest.mark.slow
SHAPE, CLASSES = (12, 12, 1), 3
PIXELS = InputGrid(0.0, 1.0, 1 / 255)
FLOAT, FIXED = QuantizeConfig(weights="none"), QuantizeConfig(weights="ternary")
TINY = TrainConfig(
    stem=4, blocks=(Block(channels=6, stride=2),), epochs=8, batch_size=32, learning_rate=0.02, seed=3, calibration=40
)
PENALTY = {"output": 0.3, "layers": 0.3}
RESIDUAL = TINY.model_copy(update={"net": "residual", "stages": (Stage(channels=5, stride=2, blocks=1),)})


def stripes(**changes: Any) -> Dataset:
    """Noisy stripes, across, upright or aslant: 480 to train on and 90 to test with."""
    rng = np.random.default_rng(0)
    i, j = np.mgrid[:12, :12]
    patterns = np.stack([i % 4 < 2, j % 4 < 2, (i + j) % 4 < 2]) * 200.0
    y = rng.integers(0, CLASSES, 570)
    x = np.clip(patterns[y] + rng.normal(scale=25, size=(570, 12, 12)), 0, 255)[..., None].astype(np.uint8)
    fields: dict[str, Any] = {
        "name": "stripes", "x_test": x[480:], "y_test": y[480:], "classes": ("across", "upright", "aslant"),
        "input_unit": "pixel/255", "licence": "CC0", "x_train": x[:480], "y_train": y[:480],
    }  # fmt: skip
    return Dataset(**(fields | changes))


def batch(n: int = 16) -> tuple[Any, Any]:
    rng = np.random.default_rng(0)
    return tf.constant(rng.random((n, *SHAPE), np.float32)), tf.constant(rng.integers(0, CLASSES, n))


def net(config: TrainConfig, rule: QuantizeConfig = FIXED) -> Any:
    keras.utils.set_random_seed(1)
    return quantize(build_net(config, SHAPE, CLASSES), rule)


def gradients(model: Any, config: TrainConfig) -> list[np.ndarray]:
    """Those of a joint loss with a Jacobian penalty, so second derivatives too, on the samples that an attack finds."""
    objective, (x, y) = Objective(model, config, PIXELS, 10), batch()

    def taken() -> Any:
        step = tf.constant(0)
        adversarial = objective.samples(x, y, step)
        with tf.GradientTape() as tape:
            loss = objective.terms(x, adversarial, y, step)["loss"]
        return [loss, adversarial, *tape.gradient(loss, [variable.value for variable in model.trainable_variables])]

    return [np.asarray(each) for each in compiled(taken)()]


def exactly_normalised(norm: Any, inputs: Any, **options: Any) -> Any:
    """A batch norm by its formula. Keras's has no second derivatives of the variance by way of the mean."""
    axes = list(range(len(inputs.shape) - 1))
    mean = tf.reduce_mean(inputs, axes)
    variance = tf.reduce_mean(tf.square(inputs - mean), axes)
    return norm.gamma * (inputs - mean) * tf.math.rsqrt(variance + norm.epsilon) + norm.beta


@pytest.mark.parametrize(
    ("config", "penalty"),
    [
        (RESIDUAL, {}),  # whose layers are those of the others too, but for the depthwise one
        *((each, PENALTY) for each in (TINY, RESIDUAL, TINY.model_copy(update={"net": "small-conv"}))),
    ],
    ids=["loss", "depthwise", "residual", "small-conv"],
)
def test_quick_layers_compute_what_plain_ones_do(config: TrainConfig, penalty: dict[str, float]) -> None:
    """The loss's gradient, or with a penalty second derivatives too."""
    config = config.model_copy(update={"jacobian": JacobianConfig(**penalty)})
    model = net(config)
    before = [set(vars(layer)) for layer in model.layers]
    with quick(model):
        fast = gradients(model, config)
        graph = tf.function(lambda x: model(x, training=True)).get_concrete_function(tf.TensorSpec((4, *SHAPE))).graph
    assert "FusedBatchNormV3" in {op.type for op in graph.get_operations()}
    assert [set(vars(layer)) for layer in model.layers] == before
    for norm in norm_layers(model) if penalty else ():
        norm.call = functools.partial(exactly_normalised, norm)
    for one, other in zip(fast, gradients(model, config), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-3 * np.abs(other).max() + 1e-6)


def test_products_in_bfloat16_are_those_of_float32_up_to_its_rounding() -> None:
    model, (x, _) = net(RESIDUAL), batch()
    with quick(model):
        whole = np.asarray(model(x, training=True))
    with quick(model, "bfloat16"):
        rounded = model(x, training=True)
    assert rounded.dtype == tf.float32
    assert 0 < np.abs(rounded - whole).max() < 0.05 * np.abs(whole).max()  # eight bits, over four layers
    assert {variable.dtype for variable in model.trainable_variables} == {"float32"}


def test_the_optimizer_moves_weights_as_keras_adam_does() -> None:
    config, rng = TINY.model_copy(update={"weight_decay": 0.1}), np.random.default_rng(0)
    moved = []
    for make in (make_optimizer, _keras_adam):
        variables = [keras.Variable(np.ones((4, 3), np.float32)), keras.Variable(np.ones(3, np.float32))]
        optimizer, rng = make(config, 20, variables), np.random.default_rng(0)
        for _ in range(10):
            optimizer.apply([tf.constant(rng.normal(size=each.shape), tf.float32) for each in variables], variables)
        moved.append([variable.numpy() for variable in variables])
    for one, other in zip(*moved, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5)


def _keras_adam(config: TrainConfig, steps: int, variables: list[Any]) -> Any:
    optimizer = keras.optimizers.Adam(learning_rates(config, steps), weight_decay=config.weight_decay)
    optimizer.exclude_from_weight_decay([variable for variable in variables if len(variable.shape) < 2])
    optimizer.build(variables)
    return optimizer


def test_one_cycle_rises_in_a_quarter_and_falls_to_zero() -> None:
    rates = learning_rates(TINY.model_copy(update={"schedule": "one-cycle"}), 400)
    course = [float(rates(step)) for step in range(401)]
    assert course[0] == pytest.approx(0.02 / 25)
    assert np.argmax(course) == 100
    assert course[100] == pytest.approx(0.02)
    assert course[400] == pytest.approx(0, abs=1e-6)
    cosine = learning_rates(TINY, 400)
    assert [float(cosine(step)) for step in (0, 200, 400)] == pytest.approx([0.02, 0.01, 0], abs=1e-6)


def softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def test_losses_are_their_formulas() -> None:
    rng = np.random.default_rng(0)
    clean, adversarial = rng.normal(size=(2, 20, 5)).astype(np.float32)
    y, rows = rng.integers(0, 5, 20), np.arange(20)
    p, q = softmax(clean), softmax(adversarial)
    targets = 0.9 * np.eye(5)[y] + 0.1 / 5
    smoothed = cross_entropy(tf.constant(y), adversarial, smoothing=0.1)
    np.testing.assert_allclose(smoothed, -(targets * np.log(q)).sum(axis=1).mean(), rtol=1e-5)
    soft = cross_entropy(tf.constant(p, tf.float32), adversarial)
    np.testing.assert_allclose(soft, -(p * np.log(q)).sum(axis=1).mean(), rtol=1e-5)
    kl = (p * np.log(p / q)).sum(axis=1)
    np.testing.assert_allclose(divergences(clean, adversarial), kl, rtol=1e-4)
    np.testing.assert_allclose(trades(clean, adversarial), kl.mean(), rtol=1e-4)
    boosted, unsure = mart(y, tf.constant(clean), tf.constant(adversarial))
    wrong = np.where(np.eye(5)[y] > 0, 0, q).max(axis=1)
    np.testing.assert_allclose(boosted, (-np.log(q[rows, y]) - np.log(1 - wrong)).mean(), rtol=1e-5)
    np.testing.assert_allclose(unsure, (kl * (1 - p[rows, y])).mean(), rtol=1e-4)
    p, q = softmax(clean / 3), softmax(adversarial / 3)
    np.testing.assert_allclose(distillation(clean, adversarial, 3.0), 9 * (p * np.log(p / q)).sum(1).mean(), rtol=1e-4)


@pytest.mark.parametrize("loss", ["trades", "mart"])
def test_the_objective_has_the_losses_of_its_attack(loss: str) -> None:
    attack = AdversarialConfig(attack="fgsm", loss=loss, beta=3)
    model, (x, y), step = net(TINY), batch(), tf.constant(0)
    objective = Objective(model, TINY.model_copy(update={"adversarial": attack}), PIXELS, 10)
    adversarial = objective.samples(x, y, step)
    terms = {name: float(value) for name, value in objective.terms(x, adversarial, y, step).items()}
    clean, attacked = model(x, training=True), model(adversarial, training=True)
    if loss == "trades":
        wanted = float(cross_entropy(y, clean) + 3 * trades(clean, attacked))
        noise = tf.clip_by_value(x + tf.random.uniform(x.shape, -8 / 255, 8 / 255, seed=1), 0.0, 1.0)
        assert float(trades(clean, attacked)) > 2 * float(trades(clean, model(noise, training=True)))
    else:
        boosted, divergence = mart(y, clean, attacked)
        wanted = float(boosted + 3 * divergence)
    assert terms["loss"] == pytest.approx(wanted, rel=1e-4)


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"loss": "trades"}, "needs an attack"), ({"loss": "mart", "attack": "pgd", "weight": 0.5}, "mart has beta")],
)
def test_a_loss_that_its_attack_does_not_fit_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        AdversarialConfig(**settings)


def test_cut_out_squares() -> None:
    x = np.ones((500, 8, 10, 2), np.float32)
    hidden = cut_out(x, 3, np.random.default_rng(0)) == 0
    assert (hidden[..., 0] == hidden[..., 1]).all()
    rows, columns = hidden[..., 0].any(axis=2), hidden[..., 0].any(axis=1)
    np.testing.assert_array_equal(hidden[..., 0], rows[:, :, None] & columns[:, None, :])  # a rectangle in each
    assert set(rows.sum(axis=1)) == set(columns.sum(axis=1)) == {2, 3}  # 2: one row lies outside
    assert (hidden.any(axis=0).all(), x.min()) == (True, 1)
    config = TINY.model_copy(update={"cutout": 3})
    seen, _ = next(training_set(config, stripes(x_train=np.full((480, *SHAPE), 255, np.uint8))).batches(config, 0))
    assert 0.02 < np.mean(seen == 0) < 9 / 144


def trained(model: Any, config: TrainConfig, samples: TrainingSet, path: Path, stop: int | None = None) -> list[Any]:
    """The weights after each step; those of the model itself are then as the loop left them."""
    weights: list[Any] = []

    def stepped(done: int) -> None:
        weights.append([variable.numpy() for variable in model.trainable_variables])
        if done == stop:
            raise InterruptedError

    Loop(model, config, samples, {}, path).run(stepped, lambda history: None, 0, lambda loss: None)
    return weights


def test_averaged_weights_are_those_of_all_steps_and_checkpoints_keep_them(tmp_path: Path) -> None:
    config = TINY.model_copy(update={"average": 0.8, "epochs": 1, "batch_size": 60})
    samples, model = training_set(config, stripes()), net(config)
    course = trained(model, config, samples, tmp_path / CHECKPOINT)
    average = course[1]
    for weights in course[2:]:
        average = [0.8 * one + 0.2 * other for one, other in zip(average, weights, strict=True)]
    final = [variable.numpy() for variable in model.trainable_variables]
    for one, other in zip(final, average, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)
    assert not np.allclose(final[0], course[-1][0], atol=1e-4)
    again, path = net(config), tmp_path / "stopped.npz"
    with pytest.raises(InterruptedError):
        trained(again, config, samples, path, stop=5)
    trained(again, config, samples, path)
    for variable, values in zip(again.trainable_variables, final, strict=True):
        np.testing.assert_array_equal(variable.numpy(), values)


def test_an_overfitted_training_is_found() -> None:
    def course(*shares: tuple[float, float]) -> list[dict[str, float]]:
        return [{"loss": 1.0, FGSM: fgsm, PGD: pgd} for fgsm, pgd in shares]

    said = overfitting(course((0.4, 0.35), (0.45, 0.4), (0.7, 0.02), (0.8, 0.0)))
    assert len(said) == 1
    assert "overfitting in epoch 3: accuracy under PGD fell from 40% to 2%, under FGSM it is 70%" in said[0]
    assert overfitting(course((0.4, 0.35), (0.45, 0.3), (0.44, 0.36))) == []
    assert overfitting(course((0.4, 0.35), (0.1, 0.1))) == []  # a bad epoch, not that one
    assert overfitting([{"loss": 1.0}]) == []


def test_batch_norms_keep_the_statistics_of_what_was_trained_on(tmp_path: Path) -> None:
    """The stored statistics are those of adversarial samples; of clean ones they would be others."""
    attack = AdversarialConfig(attack="fgsm", eps=40)
    config = TINY.model_copy(update={"adversarial": attack, "epochs": 2, "quantize": FIXED})
    train(config, stripes(), tmp_path, all_forms=False)
    stored = keras.saving.load_model(tmp_path / MODEL)
    samples = training_set(config, stripes())
    layer, first = stored.layers[1], norm_layers(stored)[0]
    x, kept = input_units(samples.x), float(np.mean(first.moving_variance))
    of_clean = float(np.mean(np.var(layer(x), axis=(0, 1, 2))))
    assert abs(kept - of_clean) > 0.02 * of_clean
    loop = Loop(quantize(plain(stored), FIXED), config, samples, {}, tmp_path / CHECKPOINT)
    of_attacked = float(np.mean(np.var(layer(loop.trained_on(480)), axis=(0, 1, 2))))
    assert abs(kept - of_attacked) < 0.02 * of_attacked
    both = config.model_copy(update={"adversarial": attack.model_copy(update={"weight": 0.5})})
    seen = Loop(quantize(plain(stored), FIXED), both, samples, {}, tmp_path / CHECKPOINT).trained_on(100)
    np.testing.assert_array_equal(seen[::2], x[:100:2])
    assert (seen[1::2] != x[1:100:2]).any(axis=(1, 2, 3)).all()


def test_a_training_against_fgsm_is_watched(tmp_path: Path) -> None:
    attack = AdversarialConfig(attack="fgsm", eps=4)
    config = TINY.model_copy(update={"adversarial": attack, "epochs": 4, "label_smoothing": 0.1})
    record = train(config, stripes(), tmp_path, all_forms=False)
    assert all(0 <= epoch[PGD] <= epoch[FGSM] + 0.05 for epoch in record.history)
    assert record.history[-1][PGD] > 0.7
    assert record.findings == () or "overfitting" not in record.findings[0]
    assert "pgd accuracy" in (tmp_path / "curve.svg").read_text()


def digest_of(folder: Path) -> str:
    return hashlib.sha256((folder / MODEL).read_bytes()).hexdigest()


def test_a_teacher_teaches_what_the_labels_do_not(tmp_path: Path) -> None:
    """The student's labels are drawn, so that it knows only what the teacher, another net, tells."""
    train(TINY, stripes(), tmp_path / "teacher", all_forms=False)
    noisy = stripes(y_train=np.random.default_rng(5).integers(0, CLASSES, 480))
    teacher = TeacherConfig(model=str(tmp_path / "teacher"), weight=1.0)
    config = RESIDUAL.model_copy(update={"teacher": teacher})
    record = train(config, noisy, tmp_path / "student", all_forms=False)
    assert record.accuracy > 0.9
    assert record.teacher_sha256 is not None
    assert record.history[-1]["distillation"] < record.history[0]["distillation"]
    card = (tmp_path / "student" / "card.md").read_text()
    assert f"Its teacher was `{teacher.model}` (SHA-256 `{digest_of(tmp_path / 'teacher')}`)" in card
    assert "divergence from the teacher" in card

    loaded, digest = load_teacher(teacher.model, SHAPE, CLASSES, PIXELS)
    assert digest == record.teacher_sha256
    x, _ = batch()
    stored = keras.saving.load_model(tmp_path / "teacher" / MODEL)
    np.testing.assert_allclose(loaded(x, training=False), stored(x, training=False), atol=1e-4)
    (tmp_path / "teacher" / "train.json").unlink()
    with pytest.raises(BadInputError, match="a teacher's settings are not there"):
        train(config, noisy, tmp_path / "other")
