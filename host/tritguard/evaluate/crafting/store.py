"""What attacks found, kept on disk so that an interrupted evaluation continues where it stopped."""

from __future__ import annotations

import hashlib
import io
import json
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tritguard import attack
from tritguard.attack import Crafted
from tritguard.evaluate.crafting.job import Done, Job, OutOfBallError, check_crafted
from tritguard.evaluate.crafting.seal import holds, seal
from tritguard.evaluate.study import versions
from tritguard.files import write_whole


class Store:
    """A folder with one `.npz` file per job.

    Clean samples put into such a file would raise the robust accuracy. Each file is therefore sealed with the user's
    key (see `tritguard.evaluate.crafting.seal`), and a file without a valid seal is not used.

    Args:
        folder: the folder, made when the first file is written.
        identity: hash of the attacked model. A hash of all else that decides the outcome is part of each file's name.

    Attributes:
        refused: the number of files found so far that could not be used: damaged, changed, or sealed by another user
            or on another machine.
    """

    def __init__(self, folder: Path, identity: str) -> None:
        self._folder = folder
        self._identity = identity
        self.refused = 0

    def load(self, job: Job) -> Done | None:
        """Read the outcome that an earlier run left; None if there is none, or if it cannot be used.

        Raises:
            TritguardError: see `seal`.
        """
        path = self._path(job)
        if not path.exists():
            return None
        arrays = _read(path)
        if arrays is None or not self._usable(job, arrays):
            self.refused += 1
            return None
        counts, (seconds, processor_seconds) = arrays["counts"].tolist(), arrays["seconds"].tolist()
        return Done(Crafted(arrays["x"], *counts), seconds, processor_seconds)

    def save(self, job: Job, done: Done) -> None:
        """Write the outcome, as a whole or not at all.

        Raises:
            TritguardError: see `seal`.
        """
        buffer, crafted = io.BytesIO(), done.crafted
        arrays: dict[str, NDArray[Any]] = {
            "x": crafted.x,
            "counts": np.array([crafted.queries, crafted.gradients], np.int64),
            "seconds": np.array([done.seconds, done.processor_seconds], np.float64),
        }
        sealed = np.frombuffer(seal(self._sealed(job, arrays)), np.uint8)
        np.savez_compressed(buffer, x=arrays["x"], counts=arrays["counts"], seconds=arrays["seconds"], seal=sealed)
        write_whole(self._path(job), buffer.getvalue())

    def _usable(self, job: Job, arrays: dict[str, NDArray[Any]]) -> bool:
        """Say whether arrays are what `save` wrote for this job: the seal first, then what an attack has to keep to."""
        try:
            if not holds(arrays["seal"].tobytes(), self._sealed(job, arrays)):
                return False
            check_crafted(job, arrays["x"])
        except (KeyError, OutOfBallError):
            return False
        return True

    def _sealed(self, job: Job, arrays: dict[str, NDArray[Any]]) -> list[bytes]:
        """List what a seal covers: all that decides the outcome, and the outcome."""
        parts = [self._deciding(job)]
        for name in ("x", "counts", "seconds"):
            array = arrays[name]
            parts += [f"{name} {array.dtype.str} {array.shape}".encode(), array.tobytes()]
        return parts

    def _path(self, job: Job) -> Path:
        digest = hashlib.sha256(self._deciding(job)).hexdigest()[:12]
        name = job.attack.name.lower().replace(" ", "-")
        return self._folder / f"{name}-{job.ball.norm.lower()}-{job.ball.eps}-{job.first}-{digest}.npz"

    def _deciding(self, job: Job) -> bytes:
        """Write down all that decides the outcome of a job."""
        target, used = job.target, job.attack
        samples = hashlib.sha256(target.x.tobytes() + target.y.tobytes())
        samples.update(b"" if target.aim is None else target.aim.tobytes())
        samples.update(b"" if target.starts is None else b"starts" + target.starts.tobytes())
        key = [
            self._identity,
            job.first,
            samples.hexdigest(),
            used.name,
            used.parameters,
            asdict(job.ball),
            target.access,
            target.seed,
            "" if target.rivals is None else target.rivals.tobytes().hex(),
            0.0 if target.view is None else target.view.temperature,
            versions(),
            sources(),  # an older attack's misses must not be taken for this one's results
        ]
        return json.dumps(key, sort_keys=True).encode()


def _read(path: Path) -> dict[str, NDArray[Any]] | None:
    try:
        with np.load(path, allow_pickle=False) as stored:
            return dict(stored)
    except Exception:  # NumPy, zipfile and zlib raise many kinds on a damaged file
        return None


@cache
def sources() -> str:
    """Hash the code of all attacks, because a release's version does not change with every commit."""
    digest = hashlib.sha256()
    for path in sorted(Path(attack.__file__).parent.rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()
