"""What attacks found, kept on disk so that an interrupted evaluation continues where it stopped."""

from __future__ import annotations

import hashlib
import io
import json
from dataclasses import asdict
from functools import cache
from pathlib import Path

import numpy as np

from tritguard import attack
from tritguard.attack import Crafted
from tritguard.evaluate.crafting.job import Done, Job
from tritguard.evaluate.study import versions
from tritguard.files import write_whole


class Store:
    """A folder with one `.npz` file per job.

    Args:
        folder: the folder, made when the first file is written.
        identity: hash of the attacked model. A hash of all else that decides the outcome is part of each file's name.
    """

    def __init__(self, folder: Path, identity: str) -> None:
        self._folder = folder
        self._identity = identity

    def load(self, job: Job) -> Done | None:
        """The outcome that an earlier run left; None if there is none, or it is damaged or does not fit."""
        try:
            with np.load(self._path(job), allow_pickle=False) as stored:
                x, counts = stored["x"], stored["counts"]
                seconds, processor_seconds = stored["seconds"].tolist()
        except Exception:  # NumPy, zipfile and zlib raise many kinds on a damaged file
            return None
        if x.dtype != np.int8 or x.shape != job.target.x.shape:
            return None
        return Done(Crafted(x, int(counts[0]), int(counts[1])), seconds, processor_seconds)

    def save(self, job: Job, done: Done) -> None:
        """Write the outcome, as a whole or not at all."""
        buffer, crafted = io.BytesIO(), done.crafted
        counts = [crafted.queries, crafted.gradients]
        seconds = [done.seconds, done.processor_seconds]
        np.savez_compressed(buffer, x=crafted.x, counts=counts, seconds=seconds)
        write_whole(self._path(job), buffer.getvalue())

    def _path(self, job: Job) -> Path:
        target, used = job.target, job.attack
        samples = hashlib.sha256(target.x.tobytes() + target.y.tobytes())
        samples.update(b"" if target.aim is None else target.aim.tobytes())
        key = [
            self._identity,
            samples.hexdigest(),
            used.name,
            used.parameters,
            asdict(job.ball),
            target.access,
            target.seed,
            0.0 if target.view is None else target.view.temperature,
            versions(),
            sources(),  # an older attack's misses must not be taken for this one's results
        ]
        digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:12]
        name = used.name.lower().replace(" ", "-")
        return self._folder / f"{name}-{job.ball.norm.lower()}-{job.ball.eps}-{job.first}-{digest}.npz"


@cache
def sources() -> str:
    """Hash of the code of all attacks, because a release's version does not change with every commit."""
    digest = hashlib.sha256()
    for path in sorted(Path(attack.__file__).parent.rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()
