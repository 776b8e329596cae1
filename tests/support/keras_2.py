"""Run in a process of its own, with TF_USE_LEGACY_KERAS=1: all that tests need of Keras 2 and QKeras.

python -m tests.support.keras_2 FOLDER fills a folder in it for each of the modules below that can run here. They share
a process because importing TensorFlow, Keras 2 and QKeras takes longer than most of what they do. TensorFlow does not
rewrite the source of the two, which have no Python's `if` on a tensor: that would take longer than all the rest.
"""

from __future__ import annotations

import importlib
import sys
from importlib.util import find_spec
from pathlib import Path

from tritguard.heavy_imports import heavy_imports

MODULES = {  # with what each needs
    "nested_models": ("tf_keras",),
    "qkeras_weights": ("tf_keras", "qkeras"),
    "qkeras_activations": ("tf_keras", "qkeras"),
    "qkeras_model": ("tf_keras", "qkeras"),
}


def main(folder: Path) -> None:
    """Run each module on its folder; the last one only where its samples lie there."""
    for name, needs in MODULES.items():
        own = folder / name
        if not all(map(find_spec, needs)) or (name == "qkeras_model" and not (own / "data.npz").exists()):
            continue
        own.mkdir(exist_ok=True)
        with heavy_imports():
            import tf_keras  # noqa: PLC0415 - in this process alone
            from tensorflow.python.autograph.core import config  # noqa: PLC0415 - as above

            module = importlib.import_module(f"tests.support.{name}")
        config.CONVERSION_RULES = (*map(config.DoNotConvert, ("qkeras", "tf_keras")), *config.CONVERSION_RULES)
        tf_keras.backend.clear_session()  # names of layers are numbered from the start again
        module.main(own)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
