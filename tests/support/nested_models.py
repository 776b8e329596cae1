"""Keras models of models, and of layers that are called several times, for either Keras.

keras_2.py gets those of Keras 2 in every one of FORMS, and their answers on X as NAME.npy.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np


def _block(keras: Any, name: str, channels: int = 4) -> Any:
    x = inputs = keras.Input((6, 6, channels))
    for layer in (keras.layers.Conv2D(4, 3, padding="same", name="conv"), keras.layers.BatchNormalization(name="norm")):
        x = layer(x)
    return keras.Model(inputs, keras.layers.ReLU(name="relu")(x), name=name)


def deep(keras: Any) -> Any:
    """A model in a model in a model, layers of one name at several depths, a block and a layer called twice."""
    layers = keras.layers
    name = "conv" if hasattr(keras, "ops") else "point"  # Keras 2 cannot save an .h5 with two of this name in one model
    point = layers.Conv2D(4, 1, name=name, activation="relu")
    inner = keras.Sequential([keras.Input((6, 6, 4)), point, _block(keras, "deep")], name="inner")
    inputs = keras.Input((6, 6, 2))
    block, twice = _block(keras, "block"), layers.Conv2D(4, 1, name="twice")
    first = layers.Conv2D(4, 3, padding="same", name="conv")(inputs)
    x = block(inner(block(first)))
    x = twice(layers.Add()([twice(x), first]))
    return keras.Model(inputs, layers.Dense(3, name="head")(layers.Flatten()(x)))


def backbone(keras: Any) -> Any:
    """A sequential model whose first layer is a model."""
    return keras.Sequential([_block(keras, "block", 2), keras.layers.Flatten(), keras.layers.Dense(3)])


def recalled(keras: Any) -> Any:
    """A block whose calls are listed before what they read, and whose last call is the output."""
    inputs = keras.Input((6, 6, 2))
    dense = keras.layers.Conv2D(2, 3, padding="same", name="between")
    x = block_inputs = keras.Input((6, 6, 2))
    block = keras.Model(block_inputs, keras.layers.Conv2D(2, 1, name="conv", activation="relu")(x), name="block")
    sequence = keras.Sequential([keras.Input((6, 6, 2)), keras.layers.Conv2D(2, 1, name="conv")], name="sequence")
    return keras.Model(inputs, block(sequence(dense(sequence(block(inputs))))))


def two_ended(keras: Any) -> Any:
    """A block of two inputs and two outputs, called with them crossed."""
    layers = keras.layers
    a, b = keras.Input((6, 6, 2)), keras.Input((6, 6, 2))
    ends = [layers.Add(name="sum")([a, layers.Conv2D(2, 1, name="conv")(b)]), layers.ReLU(name="relu")(b)]
    block = keras.Model([a, b], ends, name="block")
    inputs = keras.Input((6, 6, 2))
    x, y = block([inputs, layers.Conv2D(2, 1)(inputs)])
    return keras.Model(inputs, layers.Add()(block([y, x])))


def all_in_one(keras: Any) -> Any:
    """All of the above in one model, and so each of them one deeper."""
    layers = keras.layers
    inputs = keras.Input((6, 6, 2))
    models = [make(keras) for make in (deep, backbone, recalled, two_ended)]
    ends = [layers.Dense(3)(layers.Flatten()(model(inputs))) for model in models]
    return keras.Model(inputs, layers.Add()(ends))


MODELS: dict[str, Callable[[Any], Any]] = {make.__name__: make for make in (deep, backbone, recalled, two_ended)}
MODELS[all_in_one.__name__] = all_in_one
FORMS = {  # by which each is saved by Keras 2; a process that reads a SavedModel has to start TensorFlow
    name: (f"{name}.keras", f"{name}.h5") for name in MODELS if name != all_in_one.__name__
} | {all_in_one.__name__: (f"{all_in_one.__name__}.keras", all_in_one.__name__)}  # no .h5: names twice in one model
X = np.random.default_rng(0).normal(size=(9, 6, 6, 2)).astype(np.float32)


def _signs(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return rng.choice([-1, 1], shape) if len(shape) > 1 else np.ones(shape)


def made(keras: Any, name: str) -> Any:
    """One of MODELS with random weights; vectors, some of which are variances, are positive."""
    model, rng = MODELS[name](keras), np.random.default_rng(1)
    model.set_weights([rng.uniform(0.1, 0.5, w.shape) * _signs(rng, w.shape) for w in model.get_weights()])
    return model


def main(folder: Path) -> None:
    """Save all of Keras 2."""
    import tf_keras  # noqa: PLC0415 - it is there in that process alone

    for name, forms in FORMS.items():
        model = made(tf_keras, name)
        np.save(folder / f"{name}.npy", np.asarray(model(X)))
        for form in forms:
            # A SavedModel's functions are not read, and take long to trace.
            model.save(folder / form, **({} if "." in form else {"save_traces": False}))
