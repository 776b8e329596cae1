"""A campaign's file, read and changed behind tritguard's back."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any


def jobs(path: Path) -> dict[int, tuple[Any, ...]]:
    """All jobs that a campaign's file keeps, by their number; none if there is no file yet."""
    return {row[0]: row for row in rows(path, "SELECT * FROM jobs")}


def rows(path: Path, query: str, *values: Any) -> list[tuple[Any, ...]]:
    """What a query finds."""
    if not path.exists():
        return []
    with closing(sqlite3.connect(path)) as connection:
        try:
            return connection.execute(query, values).fetchall()
        except sqlite3.OperationalError:  # another process is about to make the tables
            return []


def retype(path: Path, command: str, *values: Any) -> None:
    """Change a campaign's file as if its tables took values of any type, as only a damaged or hostile file does."""
    with closing(sqlite3.connect(path)) as connection, connection:
        schema = connection.execute("SELECT sql, name FROM sqlite_master WHERE sql IS NOT NULL").fetchall()
    set_sql = "UPDATE sqlite_master SET sql = ? WHERE name = ?"
    loose = [(sql.replace("STRICT, WITHOUT", "WITHOUT").replace(") STRICT", ")"), name) for sql, name in schema]
    for tables in (loose, schema):
        with closing(sqlite3.connect(path)) as connection, connection:
            connection.execute("PRAGMA writable_schema = ON")
            connection.executemany(set_sql, tables)
        if tables is loose:
            change(path, command, *values)


def change(path: Path, command: str, *values: Any) -> None:
    """Change a campaign's file."""
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute(command, values)
