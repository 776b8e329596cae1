"""Loading `.keras` files of unknown origin.

Keras rebuilds the classes and functions a file names. Its safe mode refuses lambdas, but has been got around more
than once (CVE-2025-1550 and its successors), so the configuration is checked first against what may be in it.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tritguard.errors import BadInputError, BadModelError
from tritguard.train import layers as ternary
from tritguard.train.backend import keras

_CONFIG = "config.json"
_MAX_CONFIG_BYTES = 16 << 20
_SAVE_FIX = "save it with Keras 3's model.save('model.keras')"

MODEL_CLASSES = {"Functional", "Sequential"}
_MODEL_MODULES = {"keras", "keras.models", "keras.src.models.functional", "keras.src.models.sequential"}
TERNARY_LAYERS = {f"tritguard>{cls.__name__}" for cls in ternary.LAYERS}
# Layers that become ops the engine may have; which of them it has is the graph reader's to say.
PLAIN_LAYERS = {
    "Activation",
    "Add",
    "AveragePooling2D",
    "BatchNormalization",
    "Conv2D",
    "Dense",
    "DepthwiseConv2D",
    "Dropout",
    "Flatten",
    "GlobalAveragePooling2D",
    "InputLayer",
    "MaxPooling2D",
    "ReLU",
    "Reshape",
    "Softmax",
    "ZeroPadding2D",
}
# What is not a layer but may stand in a layer's configuration.
_VALUE_MODULES = {"keras.initializers", "keras.regularizers", "keras.constraints"}
_VALUE_MARKS = {"__keras_tensor__", "__tuple__"}


def load_model(path: Path) -> Any:
    """Load a `.keras` file of standard and tritguard's ternary layers, in inference form.

    Returns:
        keras.Model: functional, one input and one output, not compiled.

    Raises:
        BadInputError: missing or unreadable.
        BadModelError: no `.keras` file, or one that holds anything but the layers above.
    """
    _check_layers(_read_config(path), path)
    try:
        model = keras.saving.load_model(path, compile=False, safe_mode=True)
        inputs, outputs = model.inputs, model.outputs
    except Exception as error:  # Keras raises many kinds on weights or options that do not fit
        first_line = str(error).strip().partition("\n")[0]
        raise BadModelError(f"Keras cannot load it ({first_line})", where=str(path), fix=_SAVE_FIX) from error
    if len(inputs or ()) != 1 or len(outputs or ()) != 1:
        raise BadModelError("not one input and one output", where=str(path))
    return keras.Model(inputs[0], outputs[0], name=model.name)


def _read_config(path: Path) -> dict[str, Any]:
    if path.is_dir():
        raise BadModelError("a SavedModel or other folder, not a .keras file", where=str(path), fix=_SAVE_FIX)
    try:
        with zipfile.ZipFile(path) as archive, archive.open(_CONFIG) as file:
            text = file.read(_MAX_CONFIG_BYTES + 1)
        config = json.loads(text) if len(text) <= _MAX_CONFIG_BYTES else None
    except OSError as error:
        raise BadInputError(f"cannot be read ({error.strerror or error})", where=str(path)) from error
    except Exception as error:  # HDF5, a pickle, a broken zip, no JSON
        raise BadModelError(
            "not a .keras file (HDF5 and pickles are refused)", where=str(path), fix=_SAVE_FIX
        ) from error
    if not isinstance(config, dict):
        raise BadModelError("not a .keras file: no configuration of a model in it", where=str(path), fix=_SAVE_FIX)
    return config


def _check_layers(config: dict[str, Any], path: Path) -> None:
    if config.get("class_name") not in MODEL_CLASSES or config.get("module") not in _MODEL_MODULES:
        raise BadModelError(
            f"a {config.get('class_name')} model", where=str(path), fix="only functional and sequential ones are taken"
        )
    for entry in _named_objects(config.get("config")):
        if not _is_allowed(entry):
            named = entry.get("registered_name") or entry.get("class_name")
            raise BadModelError(
                f"holds a {named}, which is not taken",
                where=str(path),
                fix=f"use {', '.join(sorted(PLAIN_LAYERS))} or tritguard's ternary layers",
            )


def _named_objects(value: Any) -> Iterator[dict[str, Any]]:
    """Every object at any depth that Keras would look up by name."""
    if isinstance(value, dict):
        if "class_name" in value or "registered_name" in value:
            yield value
        for part in value.values():
            yield from _named_objects(part)
    elif isinstance(value, list):
        for part in value:
            yield from _named_objects(part)


def _is_allowed(entry: dict[str, Any]) -> bool:
    name, module, registered = entry.get("class_name"), entry.get("module"), entry.get("registered_name")
    if registered in TERNARY_LAYERS:
        return name == str(registered).partition(">")[2] and str(module).startswith("tritguard.train")
    if name in _VALUE_MARKS:
        return module is None
    if registered not in (None, name):
        return False
    if module == "keras.layers":
        return name in PLAIN_LAYERS
    if module == "keras":
        return name == "DTypePolicy"
    return module in _VALUE_MODULES and name != "function"
