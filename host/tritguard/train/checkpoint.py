"""Saves the state of a training in one file, written atomically, from which a killed training continues."""

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
    """How far a training has come, and its history.

    Attributes:
        step: the number of steps done.
        seconds: the time they took, over all sessions of an interrupted training.
        sums: each term of the loss, summed over the samples of the current epoch so far.
        history: for each finished epoch, the mean of each term over its samples.
    """

    step: int = 0
    seconds: float = 0.0
    sums: dict[str, float] = field(default_factory=dict)
    history: list[dict[str, float]] = field(default_factory=list)


def save(path: Path, identity: dict[str, Any], state: State, variables: list[Any]) -> None:
    """Write the state and the variables' values.

    Args:
        path: the `.npz` file to write.
        identity: JSON values that identify the training. Only a training with the same identity may continue from here.
        state: how far it has come.
        variables: Keras variables: weights, statistics, and those of the optimizer and the random generators.
    """
    content = json.dumps({"identity": identity, **vars(state)})
    buffer = io.BytesIO()
    arrays = {f"v{index}": variable.numpy() for index, variable in enumerate(variables)}
    np.savez(buffer, allow_pickle=False, **{_STATE: np.array(content)}, **arrays)
    write_whole(path, buffer.getvalue())


def restore(path: Path, identity: dict[str, Any], variables: list[Any]) -> State:
    """Set the variables to the values in a checkpoint. Without a checkpoint they stay, and the state is that of step 0.

    Raises:
        BadInputError: the file is broken, or belongs to another training.
    """
    if not path.is_file():
        return State()
    fix = "remove it to start the training anew, or give another folder"
    try:
        with np.load(path, allow_pickle=False) as arrays:
            kept = json.loads(str(arrays[_STATE]))
            values = [arrays[f"v{index}"] for index in range(len(arrays.files) - 1)]
        same = kept.pop("identity") == identity
        state = State(**kept)
    except Exception as error:  # NumPy, zipfile and json raise many kinds of errors on a broken file
        raise BadInputError(f"not a checkpoint of a training ({error})", where=str(path), fix=fix) from error
    if not same or [value.shape for value in values] != [tuple(variable.shape) for variable in variables]:
        raise BadInputError(
            "a checkpoint of another training: its settings, data or versions differ", where=str(path), fix=fix
        )
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)
    return state
