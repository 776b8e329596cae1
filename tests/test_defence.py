"""Adversarial training and Jacobian regularization: their parts against exact values."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tests.support.shortened import shortened
from tritguard.data import load_dataset
from tritguard.data.fashion_mnist import DEBIAN_DIR
from tritguard.train import TrainConfig, TrainRecord
from tritguard.train.adversarial import cross_entropy, perturbed
from tritguard.train.backend import keras, tf
from tritguard.train.config import AdversarialConfig, JacobianConfig, QuantizeConfig
from tritguard.train.fit import train
from tritguard.train.inputs import InputGrid, TrainingSet, augmented, input_grid
from tritguard.train.jacobian import probe, squared_norms
from tritguard.train.nets.separable import separable
from tritguard.train.objective import Objective
from tritguard.train.quantize import quantize

PIXELS = InputGrid(0.0, 1.0, 1 / 255)
CLASSES = 4


def small_net(weights: str = "none") -> Any:
    keras.utils.set_random_seed(1)
    net = separable((8, 8, 1), CLASSES, stem=4, blocks=TrainConfig().blocks[:1])
    return quantize(net, QuantizeConfig(weights=weights))


def batch(n: int = 16) -> tuple[Any, Any]:
    rng = np.random.default_rng(0)
    return tf.constant(rng.random((n, 8, 8, 1), np.float32)), tf.constant(rng.integers(0, CLASSES, n))


@pytest.mark.parametrize("weights", ["none", "ternary"])
def test_the_estimate_is_the_jacobians_norm(weights: str) -> None:
    """At 40,000 projections a sample the standard error is 0.5 % at most: where its Jacobian has rank 1."""
    model = small_net(weights)
    net, (x, _) = probe(model), batch(4)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(x)
        logits, *hidden = net(x, training=False)
    assert len(hidden) == 3  # inputs of the depthwise, the pointwise and the dense layer
    exact = [
        float(tf.reduce_sum(tf.square(tape.batch_jacobian(logits, point, experimental_use_pfor=False)))) / len(x)
        for point in (x, *hidden)
    ]
    repeated = tf.repeat(x, 400, axis=0)  # directions differ between samples too
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(repeated)
        logits, *hidden = net(repeated, training=False)
    estimates = squared_norms(tape, logits, [repeated, *hidden], projections=100, seed=tf.constant([1, 2]))
    np.testing.assert_allclose([float(e) for e in estimates], exact, rtol=0.02)


def test_perturbed_samples_stay_in_the_ball_and_raise_the_loss() -> None:
    model, (x, y) = small_net(), batch()

    def loss(samples: Any) -> float:
        return float(cross_entropy(y, model(samples)))

    def attacked(steps: int, step_size: float) -> Any:
        seed = tf.constant([0, 7])
        return perturbed(model, x, y, PIXELS, eps=0.1, step_size=step_size, steps=steps, seed=seed)

    start, fgsm, pgd = attacked(0, 0.0), attacked(1, 0.125), attacked(20, 0.0125)
    for samples in (start, fgsm, pgd):
        change = np.asarray(samples - x)
        assert 0.09 < np.abs(change).max() <= 0.1 + 1e-6
        assert float(tf.reduce_min(samples)) >= 0 and float(tf.reduce_max(samples)) <= 1
    assert loss(pgd) > loss(fgsm) > loss(x)
    assert loss(fgsm) > loss(start)


def test_objective_is_the_sum_of_its_parts_and_ramps_them() -> None:
    model, (x, y) = small_net(), batch()
    config = TrainConfig(
        adversarial=AdversarialConfig(attack="pgd", eps=8, steps=3, weight=0.75, ramp=(0, 0.5)),
        jacobian=JacobianConfig(output=0.5, layers=0.25, projections=2, ramp=(0.2, 0.6)),
    )
    objective = Objective(model, config, PIXELS, steps=100)
    for step, eps, strength in ((0, 0.0, 0.0), (25, 4.0, 0.125), (60, 8.0, 1.0), (99, 8.0, 1.0)):
        adversarial = objective.samples(x, y, tf.constant(step))
        assert np.abs(np.asarray(adversarial - x)).max() * 255 == pytest.approx(eps, abs=1e-3)
        terms = {name: float(value) for name, value in objective.terms(x, adversarial, y, tf.constant(step)).items()}
        cross_entropies = 0.75 * terms["cross_entropy"] + 0.25 * terms["clean_cross_entropy"]
        penalty = 0.5 * terms["jacobian_output"] + 0.25 * terms["jacobian_layers"]
        assert terms["jacobian_output"] > 0 and terms["jacobian_layers"] > 0
        assert terms["loss"] == pytest.approx(cross_entropies + strength / 2 * penalty, rel=1e-5)


def test_a_lazy_penalty_has_the_same_mean_gradient() -> None:
    """k-fold at each k-th step, and at the others neither penalty nor gradient."""
    model, (x, y) = small_net(), batch(4)
    weights = [variable.value for variable in model.trainable_variables]

    def penalty_gradient(every: int) -> Callable[[int], list[Any]]:
        jacobian = JacobianConfig(output=0.5, layers=0.25, every=every)
        objective = Objective(model, TrainConfig(jacobian=jacobian), PIXELS, steps=8)

        @tf.function(input_signature=[tf.TensorSpec((), tf.int32)], jit_compile=False)
        def compiled(step: Any) -> list[Any]:
            with tf.GradientTape() as tape:
                terms = objective.terms(x, x, y, step)
                penalty = terms["loss"] - terms["cross_entropy"]
            return [penalty, *tape.gradient(penalty, weights, unconnected_gradients="zero")]

        return lambda step: [np.asarray(value) for value in compiled(tf.constant(step))]

    lazy, always = penalty_gradient(4), penalty_gradient(1)
    for step in (0, 4):
        for a, b in zip(lazy(step), always(step), strict=True):
            np.testing.assert_allclose(a, 4 * b, rtol=1e-3, atol=1e-4)
    for step in (1, 2, 3):
        assert not any(value.any() for value in lazy(step))
        assert np.abs(always(step)[1]).max() > 0


def test_fgsms_step_is_wongs() -> None:
    attack = AdversarialConfig(attack="fgsm", eps=8)
    assert (attack.steps_in_effect, attack.step_size_in_effect) == (1, 10)
    assert AdversarialConfig(attack="pgd", eps=8, steps=10).step_size_in_effect == 2


def test_grid_of_float_samples_has_255_steps_and_holds_zero() -> None:
    assert input_grid(np.array([[1.0, 5.1]], np.float32)).step == pytest.approx(0.02)
    assert input_grid(np.array([[-1.0, 4.1]], np.float32)).low == -1
    assert input_grid(np.zeros((1, 2), np.uint8)) == PIXELS


def test_augmented_pictures_are_moved_and_mirrored() -> None:
    x = np.zeros((200, 9, 9, 1), np.float32)
    x[:, 4, 4] = 1
    x[:, 4, 5] = 0.5  # to the right of it: to the left in a mirrored picture
    moved = augmented(x, flip=True, rng=np.random.default_rng(0))
    places = [np.unravel_index(picture.argmax(), (9, 9)) for picture in moved]
    assert {int(row) for row, _ in places} == set(range(9))
    right = sum(
        picture[row, min(column + 1, 8), 0] == 0.5 for picture, (row, column) in zip(moved, places, strict=True)
    )
    assert 60 < right < 130
    only_moved = augmented(x, flip=False, rng=np.random.default_rng(0))
    assert all(picture.ravel()[picture.argmax() + 1] == 0.5 for picture in only_moved if picture[:, :8].max() == 1)


def test_an_epochs_batches_cover_it_and_go_on_in_the_middle() -> None:
    x = np.arange(50, dtype=np.uint8).reshape(50, 1, 1, 1)
    samples = TrainingSet(x, np.arange(50), PIXELS)
    config = TrainConfig(batch_size=8, augment="shift")
    whole = list(samples.batches(config, epoch=3))
    assert sorted(np.concatenate([y for _, y in whole]).tolist()) == list(range(50))
    rest = list(samples.batches(config, epoch=3, first=4))
    for (x_a, y_a), (x_b, y_b) in zip(whole[4:], rest, strict=True):
        np.testing.assert_array_equal(x_a, x_b)
        np.testing.assert_array_equal(y_a, y_b)
    assert [y.tolist() for _, y in samples.batches(config, epoch=4)] != [y.tolist() for _, y in whole]


@pytest.fixture(scope="module")
def duel(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Any, TrainRecord]]:
    """The demo's data, a smaller net: trained with cross-entropy alone, and with the joint loss. Models and records."""
    if not DEBIAN_DIR.is_dir():
        pytest.skip("needs Debian's package dataset-fashion-mnist")
    base = TrainConfig(stem=8, blocks=TrainConfig().blocks[:2], samples=2500, epochs=3, batch_size=50)
    joint = base.model_copy(
        update={
            "adversarial": AdversarialConfig(attack="fgsm", eps=16, ramp=(0, 0.3)),
            "jacobian": JacobianConfig(output=0.01, layers=0.001),
        }
    )
    control = base.model_copy(update={"adversarial": AdversarialConfig(eps=16)})  # no attack: the quick PGD's eps
    data, trained = shortened(load_dataset("fashion-mnist"), tests=500), {}
    for name, config in (("control", control), ("joint", joint)):
        out = tmp_path_factory.mktemp(name)
        record = train(config, data, out, all_forms=False)
        trained[name] = keras.saving.load_model(out / "model.keras"), record
    return trained


@pytest.mark.slow
def test_the_joint_loss_lowers_the_norm_and_raises_accuracy_under_pgd(duel: Any) -> None:
    x = tf.constant(load_dataset("fashion-mnist").x_test[:200] / np.float32(255))
    norms = {}
    for name, (model, _) in duel.items():
        with tf.GradientTape(persistent=True) as tape:
            tape.watch(x)
            logits = model(x, training=False)
        (norm,) = squared_norms(tape, logits, [x], projections=20, seed=tf.constant([0, 0]))
        norms[name] = float(norm)
    (_, control), (_, joint) = duel["control"], duel["joint"]
    assert norms["joint"] < norms["control"] / 2
    assert joint.evaluation["ternary"].pgd > control.evaluation["ternary"].pgd + 0.2
    assert joint.accuracy > 0.6
