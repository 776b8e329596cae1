"""A zoo of networks that hide how weak they are, each with the best attack known on it.

Most are small classifiers of a drawn task of 64 values, as in `honest`. A mask keeps what the network answers, or makes
it so that little can be seen of how to change it. What is known of the mask tells how to attack it: mostly by attacking
the same network without its mask (`Masked.open`), and trying what breaks that one.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tests.support.masks import branches, fronts, gates, outputs, traps
from tests.support.masks.task import Masked, case
from tests.support.resnet8_masked import with_dead_branch
from tests.support.shared import shared_file


def _resnet8_with_a_dead_branch() -> Masked:
    content = shared_file("models/resnet8_int8.tflite").read_bytes()
    pictures = np.load(shared_file("data/cifar10_lossless_subset.npz"))
    x = (pictures["test_images"][:100].astype(np.int16) - 128).astype(np.int8)
    return Masked(with_dead_branch(content), content, x, pictures["test_labels"][:100].astype(np.int64), (3,))


ZOO: dict[str, Callable[[], Masked]] = {
    "dead branch added": branches.dead(800.0),
    "dead branch as strong as the network": branches.dead(800.0, 0.003),
    "dead branch at the logits": branches.dead_at_the_logits,
    "dead by a tiny product": branches.dead_by_a_product,
    "dead input of the head": branches.dead_input_of_the_head,
    "outputs given twice": outputs.copied(2, 0.0),
    "outputs given three times, lower": outputs.copied(3, 0.3),
    "folds, 8 pieces": fronts.folds(3, (6, 9), 3.0),
    "folds, 32 pieces": fronts.folds(5, (2, 3), 0.5),
    "folds behind a mixing layer": fronts.folds_of_sums,
    "ripple added": fronts.behind(fronts.ripple, fronts.ripple_table),
    "steep TANH front": fronts.behind(fronts.tanh_front, fronts.tanh_table),
    "ReLU6 plateaus in front": fronts.behind(fronts.plateau_front, fronts.plateau_table),
    "stairs in front": fronts.behind(fronts.stairs_front, fronts.stairs_table, 40, 24.0, eps=(12, 24)),
    "thermometer code": fronts.behind(fronts.code_front, fronts.code_table),
    "checkers": outputs.checkers,
    "maximum maze": outputs.maze,
    "logits that move together": traps.common_mode,
    "a unit that sleeps": traps.asleep(traps.by_relu),
    "a maximum that sleeps": traps.asleep(traps.by_maximum),
    "a PRELU that sleeps": traps.asleep(traps.by_prelu),
    "a max pool that sleeps": traps.asleep(traps.by_pool),
    "a unit that sleeps behind another": traps.asleep(traps.by_another),
    "a product that sleeps": traps.asleep(traps.by_product),
    "a unit that sleeps and says little": traps.asleep(traps.by_relu, loud=3.0),
    "softmax inside": gates.softmax_inside,
    "one-hot answers": gates.one_hot_answers,
    "ripples inside": gates.ripples_inside,
    "branches that cancel": gates.cancelling,
    "folds past a dead branch": gates.folds_and_a_branch(live=False),
    "folds past a live branch": gates.folds_and_a_branch(live=True),
    "saturated logits": lambda: case(outputs.saturated(logits=1e4)),
    "staircase activations": lambda: case(outputs.saturated(hidden=60.0)),
    "clamped activations": lambda: case(outputs.saturated(hidden=0.02)),
    "tiny output scale": lambda: case(outputs.saturated(output=1e-3, lowered=3.0), access="scores"),
    "coarse output scale": lambda: case(outputs.saturated(output=20.0), access="scores"),
    "MLPerf Tiny's ResNet8 with a dead branch": _resnet8_with_a_dead_branch,
}
