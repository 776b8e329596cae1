"""What a step of training takes, as a share of a plain matrix product, and against Keras's layers and optimizer as they
come: scripts/bench training [NET ...] [--threads N] [--rounds N].

The forms of a net are timed in turns, so that what else the machine does falls on all of them. Of each, the best and
the median by the clock are printed, and the best of processor time, which other work disturbs least; the share of a
product is by processor time.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tritguard.train import TrainConfig
from tritguard.train.backend import keras, tf
from tritguard.train.config import AdversarialConfig, QuantizeConfig
from tritguard.train.inputs import InputGrid, TrainingSet
from tritguard.train.layer_graph import weighted_layers
from tritguard.train.loop import Loop
from tritguard.train.nets import build_net
from tritguard.train.quantize import quantize
from tritguard.train.quick import quick

FLOAT = QuantizeConfig(weights="none")
NETS = {
    "demo": ((28, 28, 1), TrainConfig(), 10),
    "stq-image": ((32, 32, 3), TrainConfig(net="stq-image", quantize=FLOAT), 2),
    "residual": ((32, 32, 3), TrainConfig(net="residual", quantize=FLOAT), 2),
}  # with the steps of a turn
CLASSES = 10
SIDE = 1024  # of the matrices


@dataclass(frozen=True)
class Times:
    """Seconds of a turn, by the clock and of the processor."""

    wall: float
    processor: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("nets", nargs="*", choices=[*NETS, []], help="all without one")
    parser.add_argument("--threads", type=int, default=0, help="of TensorFlow; as many as there are cores without it")
    parser.add_argument("--rounds", type=int, default=20)
    options = parser.parse_args()
    tf.config.threading.set_intra_op_parallelism_threads(options.threads)
    tf.config.threading.set_inter_op_parallelism_threads(options.threads)
    print("net        attack form           ms  median  CPU ms  ratio    CPU of product")
    for name in options.nets or NETS:
        for attack in ("none", "fgsm"):
            _print(name, attack, options.rounds)


def _print(name: str, attack: str, rounds: int) -> None:
    shape, config, steps = NETS[name]
    config = config.model_copy(update={"adversarial": AdversarialConfig(attack=attack)})
    forms = {"Keras": _Step(config, shape, steps, plainly=True), "here": _Step(config, shape, steps)}
    forms["bfloat16"] = _Step(config.model_copy(update={"precision": "bfloat16"}), shape, steps)
    turns: dict[str, Callable[[], None]] = {"product": _product(), **forms}
    times: dict[str, list[Times]] = {form: [] for form in turns}
    for _ in range(rounds):
        for form, turn in turns.items():
            times[form].append(_timed(turn))
    rate = 2 * SIDE**3 / min(each.processor for each in times.pop("product"))
    base: Times | None = None
    for form, taken in times.items():
        best = Times(min(each.wall for each in taken) / steps, min(each.processor for each in taken) / steps)
        median = float(np.median([each.wall for each in taken])) / steps
        base = base or best
        share = forms[form].operations / best.processor / rate
        print(
            f"{name:10} {attack:6} {form:9} {1e3 * best.wall:7.1f} {1e3 * median:7.1f} {1e3 * best.processor:7.1f} "
            f"{best.wall / base.wall:6.2f} {best.processor / base.processor:6.2f} {share:10.0%}",
            flush=True,
        )


class _Step:
    """Some steps of a training on drawn samples; `operations` are those of a step's products and convolutions."""

    def __init__(self, config: TrainConfig, shape: tuple[int, ...], steps: int, *, plainly: bool = False) -> None:
        rng = np.random.default_rng(0)
        x = rng.integers(0, 256, (steps * config.batch_size, *shape)).astype(np.uint8)
        samples = TrainingSet(x, rng.integers(0, CLASSES, len(x)), InputGrid(0.0, 1.0, 1 / 255))
        keras.utils.set_random_seed(0)
        model = quantize(build_net(config, shape, CLASSES), config.quantize, (0.0, 1.0))
        loop = Loop(model, config, samples, {}, Path("none"))
        if plainly:
            loop._optimizer = keras.optimizers.Adam(config.learning_rate)
            loop._optimizer.build(model.trainable_variables)
        self._batches = list(samples.batches(config, 0))
        _, self._step = loop._compiled_step()
        with nullcontext() if plainly else quick(model, config.precision):
            self()
        passes = 3 if config.adversarial.attack == "none" else 5  # forward, to the weights, to the activations
        self.operations = 2 * passes * config.batch_size * sum(_products(layer) for layer in weighted_layers(model))

    def __call__(self) -> None:
        for number, (x, y) in enumerate(self._batches):
            self._step(x, y, number).numpy()


def _products(layer: Any) -> int:
    """Multiplications of a layer for one sample."""
    return int(np.prod(layer.kernel.shape) * np.prod(layer.output.shape[1:-1]))


def _product() -> Callable[[], None]:
    one, other = tf.random.normal((2, SIDE, SIDE))

    def multiply() -> None:
        tf.matmul(one, other).numpy()

    return multiply


def _timed(turn: Callable[[], None]) -> Times:
    wall, processor = time.perf_counter(), time.process_time()
    turn()
    return Times(time.perf_counter() - wall, time.process_time() - processor)


if __name__ == "__main__":
    main()
