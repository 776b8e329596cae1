"""Compares the twin with the oracle."""

from __future__ import annotations

from tritguard.emit.bundle import Bundle
from tritguard.errors import MismatchError
from tritguard.oracle import oracle_available, predict_apart, probes
from tritguard.twin.library import Twin

SAMPLES = 32
_STREAMS = 2


def verify_against_oracle(bundle: Bundle, samples: int = SAMPLES) -> int:
    """Compare the twin with the oracle on random and on extreme inputs, in the device's order and as it is used.

    Returns:
        The number of inputs compared; 0 if no oracle is installed.

    Raises:
        MismatchError: a score byte differs.
        BadModelError: the oracle refuses the model.
    """
    if not oracle_available():
        return 0
    x = bundle.manifest.as_streams(probes(bundle.manifest.input_shape, samples, bundle.manifest.input_dtype), _STREAMS)
    theirs = predict_apart(bundle.model_path.read_bytes(), x)
    ways = [Twin(bundle, threads=1, in_order=in_order).predict(x).answered for in_order in (True, False)]
    different = max(int((ours != theirs).any(axis=-1).sum()) for ours in ways)
    if different:
        raise MismatchError(
            f"the generated C and TensorFlow Lite Micro differ on {different} of {samples} inputs",
            where=bundle.manifest.name,
            fix="this is a bug: please report it with the model",
        )
    return samples
