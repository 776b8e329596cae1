"""The processes that a process started, by Linux's /proc."""

from __future__ import annotations

import os
from pathlib import Path


def descendants(ancestor: int, *, everyone: bool = False) -> dict[int, tuple[str, str]]:
    """Name and start of each living process that one started, and that those started; of all processes if asked."""
    found, parents = {}, {}
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            name, fields = status.read_text().split("(", 1)[1].rsplit(")", 1)
        except OSError:
            continue
        state, parent, *rest = fields.split()
        if state != "Z":
            pid = int(status.parent.name)
            found[pid], parents[pid] = (name, rest[17]), int(parent)

    def below(pid: int) -> bool:
        return pid in parents and (parents[pid] == ancestor or below(parents[pid]))

    return {pid: known for pid, known in found.items() if everyone or below(pid)}


def processor_seconds(pid: int) -> float:
    """Processor time of a process, without those it started; 0 if it is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
