"""What attacks found, kept on disk so that an interrupted evaluation continues where it stopped."""

from __future__ import annotations

import hashlib
import json
import sqlite3
import zlib
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from tritguard import attack
from tritguard.attack import Crafted
from tritguard.campaign.database import Database
from tritguard.campaign.job import Done, Job, OutOfBallError, check_crafted
from tritguard.campaign.seal import holds, sealer
from tritguard.predictor import Int8
from tritguard.versions import versions

FILE = "campaign.db"


class Store:
    """The part of a campaign's file that is about one model: what each job found, kept once, and where it comes from.

    Runs of different plans can share a file, and with it all jobs that they have in common.

    Clean samples put into such a file would raise the robust accuracy. Each sample's result, and each job, is
    therefore sealed with the user's key (see `tritguard.campaign.seal`), and a job without valid seals is not used.

    Args:
        path: the file, made when something is first kept.
        identity: hash of the attacked model.

    Attributes:
        refused: the number of jobs found so far that could not be used: damaged, changed, or sealed by another user or
            on another machine. A whole file that is damaged counts as one.
    """

    def __init__(self, path: Path, identity: str) -> None:
        self._database = Database(path)
        self._identity = identity
        self._refused = 0

    @property
    def refused(self) -> int:
        """See the class."""
        return self._refused + self._database.damaged

    def load(self, job: Job) -> Done | None:
        """Read the outcome that an earlier run left; None if there is none, or if it cannot be used.

        Raises:
            BadInputError, OSError: see `Database`.
            TritguardError: see `seal`.
        """
        deciding = self._deciding(job)
        try:
            with self._database.reading() as connection:
                found = None if connection is None else _read(connection, deciding)
        except sqlite3.DatabaseError:
            self._database.put_aside()
            return None
        if found is None:
            return None
        try:
            done = _usable(job, deciding, found)
        except (TypeError, ValueError):  # a damaged file may hold values of other types than its tables say
            done = None
        if done is None:
            self._refused += 1
            self._database.write(lambda kept: kept.execute("DELETE FROM jobs WHERE key = ?", (deciding.key,)))
        return done

    def save(self, job: Job, done: Done) -> None:
        """Write the outcome, as a whole or not at all. If another process has written it already, that stays.

        Raises:
            BadInputError, OSError: see `Database`.
            TritguardError: see `seal`.
        """
        deciding, crafted, sealed = self._deciding(job), done.crafted, sealer()
        counted = (crafted.queries, crafted.gradients, done.seconds, done.processor_seconds)
        stated = deciding.columns | {
            "worker": done.worker,
            "made": datetime.now(UTC).isoformat(timespec="seconds"),
            **dict(zip(_COUNTED, counted, strict=True)),
            "seal": sealed(_sealed_job(deciding, len(crafted.x), done.worker, counted)),
        }
        rows = [
            (sample, zlib.compress(x.tobytes(), 1), sealed(_sealed_result(deciding, sample, x)))
            for sample, x in enumerate(crafted.x)
        ]
        self._database.write(lambda connection: _write(connection, stated, rows))

    def close(self) -> None:
        """Close the file; it is opened again when it is needed."""
        self._database.close()

    def _deciding(self, job: Job) -> _Deciding:
        """Collect all that decides the outcome of a job."""
        target, used = job.target, job.attack
        samples = hashlib.sha256(target.x.tobytes() + target.y.tobytes())
        samples.update(b"" if target.aim is None else target.aim.tobytes())
        samples.update(b"" if target.starts is None else b"starts" + target.starts.tobytes())
        columns = {
            "model": self._identity,
            "samples": samples.hexdigest(),
            "first": job.first,
            "count": len(target.x),
            "attack": used.name,
            "parameters": json.dumps(used.parameters, sort_keys=True),
            "ball": json.dumps(asdict(job.ball), sort_keys=True),
            "access": target.access,
            "goal": "untargeted" if target.aim is None else "targeted",
            "seed": str(target.seed),
            "versions": json.dumps(versions(), sort_keys=True),
        }
        rest = {
            "rivals": "" if target.rivals is None else target.rivals.tobytes().hex(),
            "temperature": 0.0 if target.view is None else target.view.temperature,
            "sources": sources(),  # an older attack's misses must not be taken for this one's results
        }
        text = json.dumps(columns | rest, sort_keys=True).encode()
        key = hashlib.sha256(text).digest()
        return _Deciding(text, key, columns | {"key": key, "seed": target.seed})


_COUNTED = ("queries", "gradients", "seconds", "processor_seconds")


@dataclass(frozen=True)
class _Deciding:
    """All that decides the outcome of a job.

    Attributes:
        text: all of it as JSON.
        key: the hash of `text`, by which the job is found.
        columns: the parts of it that have columns of their own in the file.
    """

    text: bytes
    key: bytes
    columns: dict[str, Any]


def _write(connection: sqlite3.Connection, stated: dict[str, Any], rows: list[tuple[int, bytes, bytes]]) -> None:
    names = ", ".join(stated)
    marks = ", ".join(f":{name}" for name in stated)
    made = connection.execute(f"INSERT INTO jobs ({names}) VALUES ({marks}) ON CONFLICT DO NOTHING", stated)
    if made.rowcount == 1:
        kept = ((made.lastrowid, *row) for row in rows)  # a damaged file may hold results of no job there
        connection.executemany("INSERT OR REPLACE INTO results (job, sample, x, seal) VALUES (?, ?, ?, ?)", kept)


def _read(connection: sqlite3.Connection, deciding: _Deciding) -> tuple[Any, list[Any]] | None:
    """Read a job's row and those of its results; None if there is none."""
    wanted = f"SELECT id, worker, {', '.join(_COUNTED)}, seal FROM jobs WHERE key = ?"
    job = connection.execute(wanted, (deciding.key,)).fetchone()
    if job is None:
        return None
    results = connection.execute("SELECT sample, x, seal FROM results WHERE job = ? ORDER BY sample", (job[0],))
    return job, results.fetchall()


def _usable(job: Job, deciding: _Deciding, found: tuple[Any, list[Any]]) -> Done | None:
    """The outcome if it is what `save` wrote for this job: the seals first, then what an attack has to keep to."""
    (_, worker, *counted, sealed), results = found
    clean = job.target.x
    if not holds(sealed, _sealed_job(deciding, len(clean), worker, tuple(counted))) or len(results) != len(clean):
        return None
    x = np.empty_like(clean)
    for place, (sample, packed, stated) in enumerate(results):
        content = _unpacked(packed, clean[place].nbytes)
        if sample != place or content is None:
            return None
        x[place] = np.frombuffer(content, np.int8).reshape(clean.shape[1:])
        if not holds(stated, _sealed_result(deciding, place, x[place])):
            return None
    try:
        check_crafted(job, x)
    except OutOfBallError:
        return None
    queries, gradients, seconds, processor_seconds = counted
    return Done(Crafted(x, queries, gradients), seconds, processor_seconds, worker)


def _unpacked(packed: bytes, size: int) -> bytes | None:
    """Unpack content that has to have this size, at most one byte beyond it; None if it has another size."""
    opened = zlib.decompressobj()
    try:
        content = opened.decompress(packed, size + 1)
    except zlib.error:
        return None
    return content if len(content) == size else None


def _sealed_job(deciding: _Deciding, samples: int, worker: str, counted: tuple[Any, ...]) -> list[bytes]:
    return [b"job", deciding.text, json.dumps([samples, worker, *counted]).encode()]


def _sealed_result(deciding: _Deciding, sample: int, x: Int8) -> list[bytes]:
    return [b"result", deciding.key, f"{sample} {x.dtype.str} {x.shape}".encode(), x.tobytes()]


@cache
def sources() -> str:
    """Hash the code of all attacks, because a release's version does not change with every commit."""
    digest = hashlib.sha256()
    for path in sorted(Path(attack.__file__).parent.rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()
