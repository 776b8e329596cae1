"""Runs separate processes for files of unknown origin, without the user's environment and with a time limit."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import tritguard
from tritguard.errors import BadInputError, BadModelError, ToolMissingError, TritguardError
from tritguard.foreign.description import FAILURE, Failure
from tritguard.records import from_json

_TIMEOUT_S = 600
_KEPT = ("PATH", "LD_LIBRARY_PATH", "SYSTEMROOT")  # the environment variables that Python itself may need
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
    package = Path(tritguard.__file__).parents[1]
    environment = {key: os.environ[key] for key in _KEPT if key in os.environ}
    environment |= {name: str(folder) for name in ("HOME", "TMPDIR", "TEMP", "TMP")}
    environment |= {"PYTHONPATH": str(package), "PYTHONSAFEPATH": "1", "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, "-m", module, str(model.resolve()), str(folder)]
    try:
        run = subprocess.run(command, cwd=folder, env=environment, capture_output=True, timeout=_TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired as error:
        raise BadModelError(f"not read within {_TIMEOUT_S} s", where=str(model)) from error
    if (folder / FAILURE).is_file():
        failure = from_json(Failure, folder / FAILURE)
        where = f"{model}: {failure.where}" if failure.where else str(model)
        raise _ERRORS[failure.kind](failure.what, where=where, fix=failure.fix)
    if run.returncode != 0:
        last = run.stderr.decode(errors="replace").strip().splitlines()[-1:]
        what = f"the process that reads it ended with {run.returncode} ({' '.join(last)[:200]})"
        raise BadModelError(what, where=str(model))
