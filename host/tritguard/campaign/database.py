"""The SQLite file that keeps a campaign: what it holds, how it is opened, and what its failures mean."""

from __future__ import annotations

import errno
import os
import re
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tritguard.errors import BadInputError, TritguardError

_VERSION = 1
_BUSY_SECONDS = 60.0  # how long to wait while another process writes
_FULL = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_WRITE, sqlite3.SQLITE_IOERR_FSYNC, sqlite3.SQLITE_IOERR_SHMSIZE)
_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
_SIDES = ("-journal", "-wal", "-shm")  # files that SQLite keeps beside an open one
_NAMES_ANOTHER = bytes.fromhex("d9d505f920a163d7")  # ends a journal that names a super-journal

# A job is one attack in one ball on a chunk of samples; its seal covers all that determines its outcome, and its
# counts. A result is what the job found for one of its samples. An answer is what a device said to one input, kept
# until the confirmation that it is part of is complete.
_TABLES = (
    """CREATE TABLE jobs (
    id INTEGER PRIMARY KEY,
    key BLOB NOT NULL UNIQUE,
    model TEXT NOT NULL,
    samples TEXT NOT NULL,
    first INTEGER NOT NULL,
    count INTEGER NOT NULL,
    attack TEXT NOT NULL,
    parameters TEXT NOT NULL,
    ball TEXT NOT NULL,
    access TEXT NOT NULL,
    goal TEXT NOT NULL,
    seed INTEGER NOT NULL,
    versions TEXT NOT NULL,
    worker TEXT NOT NULL,
    made TEXT NOT NULL,
    queries INTEGER NOT NULL,
    gradients INTEGER NOT NULL,
    seconds REAL NOT NULL,
    processor_seconds REAL NOT NULL,
    seal BLOB NOT NULL
) STRICT""",
    """CREATE TABLE results (
    job INTEGER NOT NULL REFERENCES jobs ON DELETE CASCADE,
    sample INTEGER NOT NULL,
    x BLOB NOT NULL,
    seal BLOB NOT NULL,
    PRIMARY KEY (job, sample)
) STRICT, WITHOUT ROWID""",
    """CREATE TABLE answers (
    device TEXT NOT NULL,
    input BLOB NOT NULL,
    scores BLOB NOT NULL,
    logits BLOB,
    ticks INTEGER,
    board TEXT NOT NULL,
    seal BLOB NOT NULL,
    PRIMARY KEY (device, input)
) STRICT, WITHOUT ROWID""",
)


class Database:
    """A campaign's SQLite file, in WAL mode: processes that read or write it do not wait for each other.

    What a block of `writing` has written is there after a kill -9 of any process. A file that SQLite finds damaged is
    put aside, with `.damaged` added to its name, and a new one begun.

    Args:
        path: the file. It and its folder are made when something is first written.

    Attributes:
        damaged: whether a damaged file was put aside.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.damaged = False
        self._lock = threading.RLock()  # the threads of a fleet share a connection
        self._connection: sqlite3.Connection | None = None

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection | None]:
        """Yield a connection to read with; None if nothing was written yet.

        A file that is found damaged when it is opened is put aside for a new one. Damage found inside the block leaves
        it as a `sqlite3.DatabaseError`.

        Raises:
            BadInputError: the file is no campaign of this version.
            OSError: it cannot be read.
            TritguardError: another process keeps it locked.
        """
        with self._lock:
            if self._connection is None and not self.path.exists():
                yield None
                return
            with self._named():
                yield self._opened()

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """Yield a connection to write with; all that the block writes is kept, or nothing if it raises.

        Raises:
            BadInputError: the file is no campaign of this version.
            OSError: it cannot be written, or the disk is full.
            TritguardError: another process keeps it locked.
        """
        with self._lock, self._named():
            connection = self._opened()
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                with suppress(sqlite3.Error):  # a full disk may have ended the transaction already
                    connection.execute("ROLLBACK")
                raise

    def write(self, change: Callable[[sqlite3.Connection], object]) -> None:
        """Let `change` write, as in a block of `writing`; if the file turns out to be damaged, to a new one.

        Raises:
            BadInputError, OSError, TritguardError: see `writing`.
        """
        try:
            with self.writing() as connection:
                change(connection)
        except sqlite3.DatabaseError as error:
            if not is_damage(error):
                raise
            self.put_aside()
            with self.writing() as connection:
                change(connection)

    def put_aside(self) -> None:
        """Put a damaged file out of the way; the next block begins a new one."""
        with self._lock:
            self.close()
            self.damaged = True
            for side in ("", *_SIDES):
                with suppress(FileNotFoundError):
                    source = Path(f"{self.path}{side}")
                    source.replace(f"{self.path}.damaged{side}")

    def close(self) -> None:
        """Close the file; the next block opens it again."""
        with self._lock:
            if self._connection is not None:
                with suppress(sqlite3.Error):  # what is committed is kept in any case
                    self._connection.close()
            self._connection = None

    def _opened(self) -> sqlite3.Connection:
        if self._connection is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            try:
                self._connection = _connect(self.path)
            except sqlite3.DatabaseError as error:
                if not is_damage(error):
                    raise
                self.put_aside()
                self._connection = _connect(self.path)
        return self._connection

    @contextmanager
    def _named(self) -> Iterator[None]:
        """Turn SQLite's errors, except those about damage, into errors of the system or ours, which name the file."""
        try:
            yield
        except sqlite3.DatabaseError as error:
            code = getattr(error, "sqlite_errorcode", 0)
            if code in _FULL:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.path)) from error
            if code & 0xFF == sqlite3.SQLITE_BUSY:  # while another process recovers the file, too
                fix = "wait for the other run, or name another file"
                raise TritguardError("another process keeps it locked", where=str(self.path), fix=fix) from error
            if is_damage(error):
                raise
            raise OSError(errno.EIO, f"SQLite: {error}", str(self.path)) from error


def is_damage(error: sqlite3.DatabaseError) -> bool:
    """Whether SQLite found that a file is damaged, or that it is not a SQLite file."""
    return (getattr(error, "sqlite_errorcode", 0) & 0xFF) in _DAMAGED


def _connect(path: Path) -> sqlite3.Connection:
    _check_files(path)
    connection = sqlite3.connect(path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False)
    try:
        # A file may come from anybody: nothing that its schema names is run, and the sizes that its cells state are
        # checked.
        for pragma in ("trusted_schema = OFF", "cell_size_check = ON", "foreign_keys = ON", "synchronous = NORMAL"):
            connection.execute(f"PRAGMA {pragma}")
        connection.text_factory = lambda raw: raw.decode(errors="replace")
        _check_schema(connection, path)  # a file that is not ours is not changed, not even to WAL mode
        connection.execute("PRAGMA journal_mode = WAL")
        _begin(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def _check_files(path: Path) -> None:
    """Refuse files that would have SQLite write or remove another one.

    SQLite follows links. It also removes the file that a journal names at its end as the super-journal of a transaction
    over several files, which a campaign never has (https://www.sqlite.org/fileformat2.html#the_rollback_journal).

    Raises:
        BadInputError: the file or one beside it is a link, or the journal names a file.
    """
    for side in ("", *_SIDES):
        if (file := Path(f"{path}{side}")).is_symlink():
            raise BadInputError("is a link to another file", where=str(file), fix="remove it")
    journal = Path(f"{os.path.realpath(path)}-journal")
    if not journal.is_file():
        return
    with suppress(FileNotFoundError), journal.open("rb") as opened:  # another process may just have finished with it
        opened.seek(max(0, opened.seek(0, os.SEEK_END) - len(_NAMES_ANOTHER)))
        if opened.read() == _NAMES_ANOTHER:
            what = "names another file that SQLite would remove"
            raise BadInputError(what, where=str(journal), fix="remove it")


def _check_schema(connection: sqlite3.Connection, path: Path) -> None:
    """Refuse what is neither a campaign of this version nor empty.

    Raises:
        BadInputError: it is neither.
    """
    found = [sql for (sql,) in connection.execute("SELECT sql FROM sqlite_master")]
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    tables = {_plain(sql) for sql in found if sql is not None}  # SQLite's own indices have no SQL
    if (found or version) and (version != _VERSION or tables != {_plain(sql) for sql in _TABLES}):
        fix = "name another file, or remove this one"
        raise BadInputError(f"is no campaign of version {_VERSION}", where=str(path), fix=fix)


def _begin(connection: sqlite3.Connection) -> None:
    """Make the tables in a new file, unless another process is faster."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        if connection.execute("SELECT count(*) FROM sqlite_master").fetchone() == (0,):
            for sql in _TABLES:
                connection.execute(sql)
            connection.execute(f"PRAGMA user_version = {_VERSION}")
        connection.execute("COMMIT")
    except BaseException:
        with suppress(sqlite3.Error):
            connection.execute("ROLLBACK")
        raise


def _plain(sql: object) -> str:
    return re.sub(r"\s+", " ", str(sql))
