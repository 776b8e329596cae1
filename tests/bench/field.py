"""Every `.tflite` of a folder through the engine: scripts/bench field FOLDER [--json FILE [--resume]] [--count].

Each model is read, its C compiled for this machine and compared with TensorFlow Lite Micro's interpreter, in a process
of its own. The table says what was taken, what was refused with which words and whether the interpreter takes it, on
how many inputs every byte was the interpreter's, both arenas, and whether `convert --to tflm` takes the file; with
--count also the instructions of one inference on an emulated Cortex-M4. The exit status is 1 where a byte differs, an
arena is larger than TFLM's, or TFLM takes a file that `convert --to tflm` refuses.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Literal

from rich.console import Console
from rich.table import Table

from tritguard.boards import load_board
from tritguard.cli.progress import bar
from tritguard.emit import Manifest, write_bundle
from tritguard.emit.golden import golden_of
from tritguard.emit.tflm import write_arrays
from tritguard.errors import TritguardError, first_line
from tritguard.interpreter import Interpreter
from tritguard.oracle import measure_apart, oracle_available, probes
from tritguard.profile import count_model
from tritguard.records import Record, from_json
from tritguard.twin import Twin

INPUTS = 32  # to a model, by default
STREAMS = 2  # that the inputs are to a model with state
BOARD = "mps2-an386"
_SECONDS = 1800


class Entry(Record):
    """One model.

    Attributes:
        name: its path below the folder.
        sha256: of the file.
        verdict: "taken", "refused" (with the reason), or "failed", which is a bug.
        reason: the words with which it was refused or failed.
        tflm_takes: whether TFLM's interpreter takes a model that was refused.
        notes: what of it was left to the host or computed ahead.
        inputs: on how many inputs it was compared.
        differing: on how many of them a byte differed.
        arena: the engine's, in bytes, with the input and what outlives an inference, as TFLM's has them.
        tflm_arena: the smallest in which the interpreter runs it, in bytes, with a 64-bit host's structures.
        tflm_activations: the part of that which holds activations and scratch.
        instructions: of one inference on the Cortex-M4, where counted.
        uncounted: why they were not.
        arrays: the bytes of the array that `convert --to tflm` writes of the file; 0 if it refuses it.
        arrays_refused: the words with which it does so.
    """

    name: str
    sha256: str
    verdict: Literal["taken", "refused", "failed"]
    reason: str = ""
    tflm_takes: bool = False
    notes: tuple[str, ...] = ()
    inputs: int = 0
    differing: int = 0
    arena: int = 0
    tflm_arena: int = 0
    tflm_activations: int = 0
    instructions: int | None = None
    uncounted: str = ""
    arrays: int = 0
    arrays_refused: str = ""

    @property
    def faulty(self) -> bool:
        """Whether this is a fault of ours."""
        lacking = not self.arrays and (self.tflm_takes or self.verdict == "taken")
        return self.verdict == "failed" or self.differing > 0 or self.arena > self.tflm_arena or lacking

    def row(self) -> tuple[str, ...]:
        """The model as the table shows it."""
        if self.verdict != "taken":
            theirs = "; TensorFlow Lite Micro takes it" if self.tflm_takes else ""
            reason = self.reason.partition("; supported are")[0] + theirs
            return (self.name, self.verdict, reason, "", "", self._array(), "")
        same = f"{self.inputs - self.differing} of {self.inputs}"
        arenas = f"{self.arena:,} / {self.tflm_activations:,} / {self.tflm_arena:,}"
        count = f"{self.instructions / 1e6:.2f}" if self.instructions is not None else self.uncounted
        return (self.name, "taken", "; ".join(self.notes), same, arenas, self._array(), count)

    def _array(self) -> str:
        """What `convert --to tflm` makes of it; TFLM's own refusals are in the row already."""
        theirs = self.verdict == "refused" and not self.tflm_takes
        return f"{self.arrays:,} B" if self.arrays else "" if theirs else f"refused: {self.arrays_refused}"


class Field(Record):
    """All of them."""

    entries: tuple[Entry, ...]


def _arena(manifest: Manifest) -> int:
    """The arena with the input in it or, where there are several, beside it."""
    beside = sum(edge.bytes for edge in (manifest.input, *manifest.further_inputs))
    return manifest.arena_with_input or manifest.arena_bytes + beside


def _tflm_takes(content: bytes) -> bool:
    """Whether TFLM's interpreter takes a model. Tried in a fork, as it aborts on some."""
    if not oracle_available():
        return False
    child = os.fork()
    if child == 0:
        try:
            Interpreter(content)
        except Exception:  # whatever a reader of schemas raises on such a file
            os._exit(1)
        os._exit(0)
    return os.waitpid(child, 0)[1] == 0


def _tried_arrays(entry: Entry, content: bytes) -> Entry:
    """What is known of a model, with what `convert --to tflm` makes of its file."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            written = write_arrays(content, Path(folder) / "arrays", name="field")
        except TritguardError as error:
            return entry.model_copy(update={"arrays_refused": first_line(error)})
    return entry.model_copy(update={"arrays": written.manifest.array_bytes})


def try_model(path: Path, name: str, *, inputs: int, counted: bool) -> Entry:
    """Take one model through the engine, and its file through `convert --to tflm`, in this process."""
    content = path.read_bytes()
    known = Entry(name=name, sha256=hashlib.sha256(content).hexdigest(), verdict="refused")
    return _tried_arrays(_tried(known, content, inputs=inputs, counted=counted), content)


def _tried(known: Entry, content: bytes, *, inputs: int, counted: bool) -> Entry:
    """What is known of a model, with what the engine makes of it."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            made = golden_of(content)
            bundle = write_bundle(made.content, Path(folder) / "bundle", name="field")
            manifest = bundle.manifest
            x = manifest.as_streams(probes(manifest.input_shape, inputs, manifest.input_dtype), STREAMS)
            theirs, use = measure_apart(made.content, x)
        except TritguardError as error:
            return known.model_copy(update={"reason": first_line(error), "tflm_takes": _tflm_takes(content)})
        ours = Twin(bundle).predict(x).answered
        taken = {
            "verdict": "taken",
            "notes": made.notes,
            "inputs": inputs,
            "differing": int((ours != theirs).any(axis=-1).sum()),
            "arena": _arena(manifest) + manifest.state_bytes,
            "tflm_arena": use.least,
            "tflm_activations": use.activations,
        }
        if counted:
            try:
                one = x[-1:, :1] if manifest.state_bytes else x[-1:]
                taken["instructions"] = count_model(bundle, load_board(BOARD), one).instructions
            except TritguardError as error:
                taken["uncounted"] = first_line(error)
        return known.model_copy(update=taken)


def tried_apart(path: Path, folder: Path, *, inputs: int, counted: bool) -> Entry:
    """Try a model in a process of its own, as TFLM aborts on some."""
    name = str(path.relative_to(folder))
    asked = ["--inputs", str(inputs), *(["--count"] if counted else [])]
    command = [sys.executable, "-m", "tests.bench.field", str(folder), "--one", name, *asked]
    broken = Entry(name=name, sha256=hashlib.sha256(path.read_bytes()).hexdigest(), verdict="failed")
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_SECONDS)
    except subprocess.TimeoutExpired:
        return broken.model_copy(update={"reason": f"not within {_SECONDS} s"})
    lines = done.stdout.splitlines()
    if done.returncode != 0 or not lines:
        last = next((line for line in reversed(done.stderr.splitlines()) if line.strip()), f"exit {done.returncode}")
        return broken.model_copy(update={"reason": last})
    return Entry.model_validate_json(lines[-1])


def _known(json: Path) -> dict[tuple[str, str], Entry]:
    """What an earlier run says of each file, by its name and hash, without what failed."""
    entries = from_json(Field, json).entries if json.is_file() else ()
    return {(entry.name, entry.sha256): entry for entry in entries if entry.verdict != "failed"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="any folder with .tflite files, at any depth")
    parser.add_argument("--json", type=Path, help="write all of it there, too")
    parser.add_argument(
        "--inputs", type=int, default=INPUTS, help=f"to each model, at least {STREAMS}; {INPUTS} by default"
    )
    parser.add_argument("--count", action="store_true", help="count instructions, which takes minutes")
    parser.add_argument("--resume", action="store_true", help="keep what the --json of an earlier run says of a file")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.one:
        print(
            try_model(
                chosen.folder / chosen.one, chosen.one, inputs=chosen.inputs, counted=chosen.count
            ).model_dump_json()
        )
        return
    if chosen.inputs < STREAMS or chosen.inputs % STREAMS:
        parser.error(f"--inputs must be a multiple of {STREAMS}, as they are {STREAMS} streams to a model with state")
    files = sorted(chosen.folder.rglob("*.tflite"))
    if not files:
        parser.error(f"no .tflite below {chosen.folder}")
    if chosen.resume and not chosen.json:
        parser.error("--resume needs --json")
    known = _known(chosen.json) if chosen.resume else {}
    entries = []
    with bar("models") as progress:
        for done, path in enumerate(files):
            progress(done, len(files))
            key = (str(path.relative_to(chosen.folder)), hashlib.sha256(path.read_bytes()).hexdigest())
            entries.append(
                known.get(key) or tried_apart(path, chosen.folder, inputs=chosen.inputs, counted=chosen.count)
            )
            if chosen.json:  # after each, so that what was tried is kept where a run is stopped
                chosen.json.write_text(Field(entries=tuple(entries)).model_dump_json(indent=2) + "\n")
    arenas = "arena / TFLM's activations / all, B"
    table = Table("model", "", "what", "same bytes", arenas, "tflm arrays", "M instructions")
    for entry in entries:
        table.add_row(*entry.row(), style="red" if entry.faulty else None)
    console = Console(width=None if sys.stdout.isatty() else 200)
    console.print(table)
    taken = sum(entry.verdict == "taken" for entry in entries)
    larger = sum(entry.arena > entry.tflm_arena for entry in entries)
    lacking = sum(entry.tflm_takes for entry in entries)
    console.print(f"{taken} of {len(entries)} taken, {sum(e.differing > 0 for e in entries)} with other bytes, "
                  f"{larger} with a larger arena than TFLM's, {lacking} refused that TFLM takes; "
                  f"{sum(entry.arrays > 0 for entry in entries)} as arrays for TFLM")  # fmt: skip
    sys.exit(any(entry.faulty for entry in entries))


if __name__ == "__main__":
    main()
