"""Damaged files: bytes that changed, and values of JSON, TOML and arrays that nobody would write. All by a seed."""

from __future__ import annotations

import io
import json
import random
import zipfile
from collections.abc import Callable
from typing import Any

import flatbuffers
import numpy as np
import tflite

_ODD_BYTES = (0, 1, 0x7F, 0x80, 0xFF)
_ODD_SIZES = (0, 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
_ODD_VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 2**31, 2**63, 2**64, -(2**63), 10**40, 0.0, -0.0, 1e308, -1e308, 1e-320),
    *(float("nan"), float("inf"), "", "a" * 5000, "\0", "\x1b[2J", "../../etc/passwd", "%s%n{}{0}", "\ud800"),
    *([], {}, [[[[]]]], [0] * 1000, {"a": {"a": {}}}),
)
_LISTS_OF_TENSORS = (6, 8)  # the fields with the inputs and outputs, of ops and of graphs
_DTYPES = ("int8", "uint8", "int64", "uint64", "float16", "float32", "float64", "bool", "S4", "U4", "complex64")


def damaged(content: bytes, rng: random.Random) -> bytes:
    """Change some bytes: flips, odd values, odd sizes, cuts, repetitions, parts of the file in another place."""
    data = bytearray(content)
    for _ in range(rng.choice((1, 1, 1, 2, 4, 16))):
        if not data:
            return bytes(data)
        at = rng.randrange(len(data))
        what = rng.randrange(7)
        if what == 0:
            data[at] ^= 1 << rng.randrange(8)
        elif what == 1:
            data[at] = rng.choice(_ODD_BYTES)
        elif what == 2:
            at -= at % 4  # where a FlatBuffer keeps offsets and sizes
            data[at : at + 4] = rng.choice(_ODD_SIZES).to_bytes(4, "little")
        elif what == 3:
            del data[at : at + rng.choice((1, 4, 64, len(data)))]
        elif what == 4:
            data[at:at] = data[at : at + rng.choice((1, 4, 64))] * rng.choice((1, 2, 100))
        elif what == 5:
            other = rng.randrange(len(data))
            data[at : at + 8] = data[other : other + 8]
        else:
            data[at : at + 4] = rng.randbytes(4)
    return bytes(data)


def odd_tflite(content: bytes, rng: random.Random) -> bytes:
    """Change some lists of tensors that an op or a graph names, or bytes anywhere."""
    if rng.random() < 0.5:
        return damaged(content, rng)
    data = bytearray(content)
    model: Any = tflite.Model.GetRootAs(data, 0)
    graph = model.Subgraphs(rng.randrange(model.SubgraphsLength()))
    owners = [graph, *(graph.Operators(i) for i in range(graph.OperatorsLength()))]
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        _odd_list(data, rng.choice(owners)._tab, rng.choice(_LISTS_OF_TENSORS), graph.TensorsLength(), rng)
    return bytes(data)


def _odd_list(data: bytearray, table: Any, field: int, tensors: int, rng: random.Random) -> None:
    """Make a table's list absent or shorter, or change the tensor that it names at one place, mostly to none."""
    place = table.Offset(field)
    if not place:
        return
    start, length, what = table.Vector(place), table.VectorLen(place), rng.random()
    if what < 0.1:  # all tables of this form lose theirs
        at = table.Pos - table.Get(flatbuffers.number_types.SOffsetTFlags, table.Pos) + field
        data[at : at + 2] = bytes(2)
    elif what < 0.4 or not length:
        data[start - 4 : start] = rng.randrange(max(length, 1)).to_bytes(4, "little")
    else:
        at = start + 4 * rng.randrange(length)
        data[at : at + 4] = rng.choice((-1, -1, rng.randrange(tensors))).to_bytes(4, "little", signed=True)


def odd_json(content: bytes, rng: random.Random) -> bytes:
    """Change a few values or keys somewhere in JSON; now and then bytes."""
    if rng.random() < 0.2:
        return damaged(content, rng)
    value = json.loads(content)
    for _ in range(rng.choice((1, 1, 2, 3))):
        value = _odd(value, rng)
    return json.dumps(value).encode(errors="surrogatepass")


def _odd(value: Any, rng: random.Random) -> Any:
    """The value with one change at a random depth."""
    keys = list(value) if isinstance(value, dict) else list(range(len(value))) if isinstance(value, list) else []
    if not keys or rng.random() < 0.15:
        return rng.choice((*_ODD_VALUES, _near(value, rng)))
    changed = dict(value) if isinstance(value, dict) else list(value)
    key, what = rng.choice(keys), rng.random()
    if what < 0.08:
        del changed[key]
    elif what < 0.12 and isinstance(changed, dict):
        changed[rng.choice(("", "extra", "__class__", str(key) + " "))] = changed.pop(key)
    elif what < 0.16 and isinstance(changed, list):
        changed.insert(key, changed[rng.choice(keys)])
    else:
        changed[key] = _odd(changed[key], rng)
    return changed


def _near(value: Any, rng: random.Random) -> Any:
    if isinstance(value, bool) or value is None:
        return not value
    if isinstance(value, int):
        return value + rng.choice((-1, 1, 7))
    if isinstance(value, float):
        return value * rng.choice((-1.0, 1.0001, 1e9))
    return str(value)[::-1]


def odd_toml(content: bytes, rng: random.Random) -> bytes:
    """Change the value of a line to an odd one, or the lines' order; now and then bytes."""
    if rng.random() < 0.3:
        return damaged(content, rng)
    lines = content.decode().splitlines()
    places = [place for place, line in enumerate(lines) if "=" in line and not line.startswith("#")]
    for place in rng.sample(places, min(len(places), rng.choice((1, 1, 2)))):
        key = lines[place].split("=")[0].strip()
        value = rng.choice([value for value in _ODD_VALUES if value is not None])
        try:
            written = json.dumps(value).replace("Infinity", "inf").replace("NaN", "nan")
            if isinstance(value, dict):
                written = "{}"
            lines[place] = f"{key} = {written}"
        except ValueError:
            continue
    if rng.random() < 0.2:
        rng.shuffle(lines)
    return "\n".join(lines).encode(errors="surrogatepass")


def odd_npz(content: bytes, rng: random.Random) -> bytes:
    """Change an array's type, shape, values or name; now and then bytes of the archive or of an array's header."""
    if rng.random() < 0.3:
        return damaged(content, rng)
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    name = rng.choice(sorted(members))
    if rng.random() < 0.3:
        members[name] = damaged(members[name][:256], rng) + members[name][256:]
    else:
        array = _odd_array(np.lib.format.read_array(io.BytesIO(members[name])), rng)
        target = io.BytesIO()
        np.lib.format.write_array(target, array, allow_pickle=False)
        members[name] = target.getvalue()
    return _zipped(members, rng)


def _odd_array(array: Any, rng: random.Random) -> Any:
    changes: tuple[Callable[[], Any], ...] = (
        lambda: array[: rng.randrange(3)],
        lambda: array.reshape(-1),
        lambda: array[None],
        lambda: array.reshape(-1)[0],
        lambda: array.astype(rng.choice(_DTYPES)),
        lambda: np.full_like(array, array.dtype.type(0)),
        lambda: np.full(array.shape, rng.choice((np.nan, np.inf, -np.inf, 1e308, -1.0, 2.0**40))),
        lambda: np.full(array.shape, rng.choice((2**63, 2**32 - 1, 2**64 - 1)), dtype=np.uint64),
        lambda: np.empty((0, *array.shape[1:]), array.dtype),
        lambda: np.asfortranarray(array)[..., ::-1],
    )
    try:
        return rng.choice(changes)()
    except (ValueError, IndexError):
        return array[:0]


def odd_archive(content: bytes, rng: random.Random) -> bytes:
    """Change a member of a zip archive: JSON by its values, others by their bytes; now and then the archive itself."""
    if rng.random() < 0.3:
        return damaged(content, rng)
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    name = rng.choice(sorted(members))
    members[name] = odd_json(members[name], rng) if name.endswith(".json") else damaged(members[name], rng)
    return _zipped(members, rng)


def _zipped(members: dict[str, bytes], rng: random.Random) -> bytes:
    if rng.random() < 0.1:
        members.pop(rng.choice(sorted(members)))
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return target.getvalue()
