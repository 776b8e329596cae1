"""Where a training stands, in one file that is whole or not there: what a killed one goes on from."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from tritguard.errors import BadInputError
from tritguard.files import write_whole

_STATE = "state"


@dataclass
class State:
    """A training's place and past.

    Attributes:
        step: steps done.
        seconds: they took, interrupted sessions together.
        sums: of this epoch so far, each term's sum over samples.
        history: of each epoch done, each term's mean over its samples.
    """

    step: int = 0
    seconds: float = 0.0
    sums: dict[str, float] = field(default_factory=dict)
    history: list[dict[str, float]] = field(default_factory=list)


def save(path: Path, identity: dict[str, Any], state: State, variables: list[Any]) -> None:
    """Write the state and the variables' values.

    Args:
        path: an `.npz`.
        identity: what the training is: JSON values. Only the same one may go on from here.
        state: where it stands.
        variables: Keras variables: weights, statistics, the optimizer's, the random generators'.
    """
    content = json.dumps({"identity": identity, **vars(state)})
    buffer = io.BytesIO()
    arrays = {f"v{index}": variable.numpy() for index, variable in enumerate(variables)}
    np.savez(buffer, allow_pickle=False, **{_STATE: np.array(content)}, **arrays)
    write_whole(path, buffer.getvalue())


def restore(path: Path, identity: dict[str, Any], variables: list[Any]) -> State:
    """Set the variables to a checkpoint's values; without a checkpoint leave them, and start at step 0.

    Raises:
        BadInputError: the file is broken, or of another training.
    """
    if not path.is_file():
        return State()
    fix = "remove it to train anew, or give another folder"
    try:
        with np.load(path, allow_pickle=False) as arrays:
            kept = json.loads(str(arrays[_STATE]))
            values = [arrays[f"v{index}"] for index in range(len(arrays.files) - 1)]
        same = kept.pop("identity") == identity
        state = State(**kept)
    except Exception as error:  # NumPy, zipfile and json raise many kinds on a broken file
        raise BadInputError(f"no checkpoint of a training ({error})", where=str(path), fix=fix) from error
    if not same or [value.shape for value in values] != [tuple(variable.shape) for variable in variables]:
        raise BadInputError(
            "a checkpoint of another training: its settings, data or versions differ", where=str(path), fix=fix
        )
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)
    return state
