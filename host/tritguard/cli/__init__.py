"""The command line: one thin file a verb. Only this package prints."""

from __future__ import annotations

import signal
import sys
from typing import Annotated, NoReturn

import typer

from tritguard.cli.lazy import EXIT_CODES, VERBS, LazyVerbs
from tritguard.cli.terminal import errors
from tritguard.errors import BadInputError, TritguardError
from tritguard.files import full_place
from tritguard.printable import printable

# What Ctrl-C leaves, where it is not nothing.
_LEAVES = dict.fromkeys(("run", "data", "train", "attack", "privacy"), "start the same command again to go on") | {
    "flash": "the board may hold half a firmware, flash it again"
}
_INTERRUPTED, _ENDED = 128 + signal.SIGINT, 128 + signal.SIGTERM
_WAITING = ("flash", "monitor", "serve", "worker")  # which last until they are ended, and leave nothing by it
_VERBOSE = ("--verbose", "-v")

app = typer.Typer(
    cls=LazyVerbs,
    help="Int8 and ternary networks on microcontrollers, attacked and measured on the chip itself.",
    epilog=EXIT_CODES,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
_verbose = False


def _show_version(wanted: bool) -> None:
    if wanted:
        from tritguard import __version__  # noqa: PLC0415 - reads the installed package's metadata

        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def _options(
    verbose: Annotated[bool, typer.Option(*_VERBOSE, help="Show the whole trace of an error.")] = False,
    _version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    global _verbose  # noqa: PLW0603 - set once, before any verb runs
    _verbose = verbose


def main() -> None:
    """Run the command line: an expected failure becomes one line on stderr and its exit code."""
    # As Ctrl-C does: through the blocks that end an emulator and remove half-written folders.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(_ENDED))
    try:
        app(sorted(sys.argv[1:], key=lambda argument: argument not in _VERBOSE))  # it may stand behind the verb
    except SystemExit as end:
        verb = next((argument for argument in sys.argv[1:] if argument in VERBS), "")
        if end.code == _INTERRUPTED or (end.code == _ENDED and verb not in _WAITING):
            how = "interrupted" if end.code == _INTERRUPTED else "ended"
            errors.print(f"{how}; {_LEAVES.get(verb, 'nothing was written')}")
        raise
    except TritguardError as error:
        if _verbose:
            errors.print_exception()
        _fail(str(error), error.exit_code)
    except OSError as error:  # a folder that cannot be written, a full disk
        if _verbose:
            errors.print_exception()
        place = f"{error.filename}: " if error.filename else ""
        full = full_place(error)
        fix = f"; {full} is full: free some space there, or use another folder" if full else ""
        _fail(f"{place}{error.strerror or error}{fix}", BadInputError.exit_code)


def _fail(line: str, exit_code: int) -> NoReturn:
    errors.print("error:", style="bold red", end=" ")
    errors.print(printable(line))
    sys.exit(exit_code)
