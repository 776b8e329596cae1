"""What QKeras' activations give, and what is read of them.

Run by keras_2.py, which gets ranges.json: of each of ACTIVATIONS how far QKeras is from the saturation read, in steps
of its grid; refused.json: which of REFUSED are; model.h5, a net whose activations saturate; x.npy and answers.npy, its
inputs and outputs.
"""

import json
from pathlib import Path

import numpy as np

from tritguard.errors import BadModelError
from tritguard.foreign.expressions import parse
from tritguard.foreign.quantizers import Saturation, activation
from tritguard.heavy_imports import heavy_imports

with heavy_imports():
    import tf_keras as keras
    from qkeras import QActivation, quantizers

ACTIVATIONS = {  # with the step of each one's grid
    "quantized_relu(4,2)": 1 / 4,
    "quantized_relu(4,2,is_quantized_clip=False)": 1 / 4,
    "quantized_relu(4,2,relu_upper_bound=1.5,is_quantized_clip=False)": 1 / 4,
    "quantized_relu(4,2,relu_upper_bound=1.5)": 1 / 4,
    "quantized_relu(4,1,relu_upper_bound=9,is_quantized_clip=False)": 1 / 8,
    "quantized_bits(4,0,1)": 1 / 8,
    "quantized_bits(4,0)": 1 / 8,
    "quantized_bits(4,1,keep_negative=False)": 1 / 8,
    "quantized_bits(1,1,keep_negative=False)": 1.0,
    "quantized_bits(8,2,alpha=1)": 1 / 32,
}
REFUSED = ("quantized_bits(1,0,1)", "quantized_bits(4,0,1,alpha='auto')", "quantized_relu(8,2,qnoise_factor=0.5)")


def main(folder: Path) -> None:
    """Compare the activations, and save the net."""
    ramp = np.linspace(-6, 6, 2401, dtype=np.float32)
    distances = {}
    for text, step in ACTIVATIONS.items():
        read = _read(text)
        given = np.asarray(quantizers.get_quantizer(text)(ramp))
        distances[text] = float(np.abs(given - np.clip(ramp, read.low, read.high)).max() / step)
    (folder / "ranges.json").write_text(json.dumps(distances))
    (folder / "refused.json").write_text(json.dumps([text for text in REFUSED if _is_refused(text)]))
    _save_net(folder)


def _read(text: str) -> Saturation:
    call = parse(text, "here")
    assert call is not None
    return activation(call, "here")


def _is_refused(text: str) -> bool:
    try:
        _read(text)
    except BadModelError:
        return True
    return False


def _save_net(folder: Path) -> None:
    keras.utils.set_random_seed(0)
    x = inputs = keras.Input((6,))
    for text in (
        "quantized_bits(8,0,1)",
        "quantized_relu(8,1,is_quantized_clip=False)",
        "quantized_bits(8,1,keep_negative=False)",
        "quantized_relu(8,2,relu_upper_bound=1.5,is_quantized_clip=False)",
    ):
        x = keras.layers.Dense(16, kernel_initializer=keras.initializers.RandomNormal(stddev=0.7))(x)
        x = QActivation(text)(x)
    model = keras.Model(inputs, keras.layers.Dense(4)(x))
    samples = np.random.default_rng(0).normal(size=(400, 6)).astype(np.float32)
    np.save(folder / "x.npy", samples)
    np.save(folder / "answers.npy", model.predict(samples, verbose=0))
    model.save(folder / "model.h5")
