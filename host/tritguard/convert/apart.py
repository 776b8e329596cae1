"""Runs separate processes for files of unknown origin, without the user's environment and with a time limit."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tritguard.errors import BadInputError, BadModelError, ToolMissingError, TritguardError
from tritguard.foreign.description import FAILURE, Failure
from tritguard.foreign.guard import MAX_FILE_BYTES
from tritguard.processes import Limits, run_python
from tritguard.records import from_json

_LIMITS = Limits(seconds=600, cpu_seconds=300, memory_bytes=8 << 30, file_bytes=MAX_FILE_BYTES)
_ERRORS: dict[str, type[TritguardError]] = {
    "model": BadModelError,
    "input": BadInputError,
    "missing": ToolMissingError,
}


def run_apart(module: str, model: Path, folder: Path) -> None:
    """Run `python -m MODULE MODEL FOLDER`, which writes its results or a `Failure` to the folder.

    Raises:
        BadModelError: the process refuses the model, ends early, or takes longer than 600 s.
        BadInputError, ToolMissingError: the process reports one.
    """
    arguments = (str(model.resolve()), str(folder))
    try:
        run = run_python(module, *arguments, folder=folder, limits=_LIMITS, environment={"CUDA_VISIBLE_DEVICES": ""})
    except subprocess.TimeoutExpired as error:
        raise BadModelError(f"not read within {_LIMITS.seconds} s", where=str(model)) from error
    if (folder / FAILURE).is_file():
        failure = from_json(Failure, folder / FAILURE)
        where = f"{model}: {failure.where}" if failure.where else str(model)
        raise _ERRORS[failure.kind](failure.what, where=where, fix=failure.fix)
    if run.returncode != 0:
        last = run.stderr.decode(errors="replace").strip().splitlines()[-1:]
        what = f"the process that reads it ended with {run.returncode} ({' '.join(last)[:200]})"
        raise BadModelError(what, where=str(model))
