"""Runs one measurement, `python -m tests.bench NAME [options]`; what it lacks is said in one line."""

from __future__ import annotations

import runpy
import sys

import pytest

from tritguard.errors import BadInputError, TritguardError


def main() -> None:
    name = sys.argv.pop(1)
    try:
        runpy.run_module(f"tests.bench.{name}", run_name="__main__", alter_sys=True)
    except pytest.skip.Exception as lacking:  # what `shared_file` does where a file is not there
        sys.exit(_fail(str(lacking.msg), BadInputError.exit_code))
    except TritguardError as error:
        sys.exit(_fail(str(error), error.exit_code))


def _fail(line: str, code: int) -> int:
    print(f"error: {line}", file=sys.stderr)
    return code


if __name__ == "__main__":
    main()
