"""Runs in a process of its own, with TF_USE_LEGACY_KERAS=1: QKeras' quantizers on tensors of a file.

In: arrays x0, x1, ... Out, for each x and each case: its output, its gradient of sum(output * weight), and the uniform
numbers it drew, all as QKeras 0.9.0 gives them. No test, hence no test_ in its name.
"""

from __future__ import annotations

import sys

import numpy as np

from tritguard.heavy_imports import heavy_imports

TEMPERATURE = 12.0
DETERMINISTIC = {"auto": "auto", "auto_po2": "auto_po2", "none": None, "number": 0.7}
STOCHASTIC = ("auto", "auto_po2")


def main(source: str, target: str) -> None:
    with heavy_imports():
        import tensorflow as tf  # noqa: PLC0415 - in the child alone
        from qkeras import quantizers, stochastic_ternary, ternary  # noqa: PLC0415
        from tensorflow.keras import backend  # noqa: PLC0415

    drawn: list[np.ndarray] = []
    random = quantizers.tf.random  # an alias of TensorFlow of its own
    uniform = random.uniform

    def recorded(*args: object, **kwargs: object) -> object:
        values = uniform(*args, **kwargs)
        drawn.append(values.numpy())
        return values

    random.uniform = recorded
    out: dict[str, np.ndarray] = {}

    def record(name: str, quantizer: object, x: np.ndarray, weight: np.ndarray) -> None:
        drawn.clear()
        variable = tf.Variable(x)
        with tf.GradientTape() as tape:
            quantized = quantizer(variable)
            loss = tf.reduce_sum(quantized * weight)
        out[f"{name}_output"] = quantized.numpy()
        out[f"{name}_gradient"] = tape.gradient(loss, variable).numpy()
        if drawn:
            out[f"{name}_uniform"] = np.stack(drawn)

    arrays = np.load(source)
    for index in range(len(arrays.files) // 2):
        x, weight = arrays[f"x{index}"], arrays[f"weight{index}"]
        for phase in (0, 1):
            backend.set_learning_phase(phase)
            for case, alpha in DETERMINISTIC.items():
                record(f"ternary_{case}_{phase}_{index}", ternary(alpha=alpha), x, weight)
            for alpha in STOCHASTIC:
                quantizer = stochastic_ternary(alpha=alpha, temperature=TEMPERATURE)
                record(f"stochastic_{alpha}_{phase}_{index}", quantizer, x, weight)
    np.savez(target, **out)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
