"""Forged files: what a container or a manifest says, or holds, is changed, and all its checksums are right again.

`container_forgeries` and `manifest_forgeries` yield Forgery objects of a sound file; `forge` writes one of them.  Everything is
generic: a new kind of container needs no line here.
"""

import json
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from deshpc.checkpoint.manifest import NAME, identity
from deshpc.storage.container import MAGIC, Container

DEEP = "deep"
"""Stands for a value that JSON text nests ten thousand times."""

VALUES = (
    None, True, -1, 0, 1, 7, 2**31, 2**62, 2**64 - 1, 10**30, 1.5, -0.5, float("nan"), float("inf"), 1e300, "", "x", "x" * 100_000, "\ud800",
    "../../etc/passwd", [], [[]], [0] * 5, {}, {"x": 1}, DEEP,
)  # fmt: skip


@dataclass(frozen=True)
class Forgery:
    """what : of the file is changed, by a path of names;  value : to what, or None where `how` says it"""

    what: tuple
    how: str
    value: Any = None

    def __str__(self):
        value = repr(self.value)
        return f"{'.'.join(map(str, self.what))}: {self.how}" + (f" {value[:40]}" if self.how == "set" else "")


class Held:
    """A container's directory, and the arrays of its sections, as they can be changed."""

    def __init__(self, path):
        container = Container(path)
        data = Path(path).read_bytes()
        offset, length = struct.unpack("<QQ", data[-32:-16])
        self.directory = json.loads(data[offset : offset + length])
        self.arrays = {name: np.array(container.read(name, version)) for name, version, _, _ in container.sections()}

    def write(self, path, sections=None):
        """Write the file as its writer does; sections : {index: {name: value}} to be changed in the directory afterwards."""
        out, entries, end = bytearray(MAGIC.ljust(64, b"\0")), [], 64
        versions = {one["name"]: one["version"] for one in self.directory["sections"]}
        for name, array in self.arrays.items():
            content = np.ascontiguousarray(array).tobytes()
            content += bytes(-len(content) % 64)
            entries.append(
                {"name": name, "version": versions.get(name, 1), "dtype": array.dtype.str, "shape": list(array.shape), "offset": end,
                 "crc32": zlib.crc32(content)}
            )  # fmt: skip
            out += content
            end += len(content)
        tree = {**self.directory, "sections": entries}
        for change in sections or ():
            change(tree)
        text = _text(tree)
        trailer = struct.pack("<QQI", end, len(text), zlib.crc32(text))
        Path(path).write_bytes(bytes(out) + text + trailer + struct.pack("<I", zlib.crc32(trailer)) + b"deshpc.\n")


def container_forgeries(path):
    """Yield Forgeries of a container: of every entry of its directory, of what it says about itself, and of its arrays."""
    held = Held(path)
    tree = {**held.directory, "sections": held.directory["sections"]}
    for what in _paths({name: tree[name] for name in ("format", "kind", "about")}):
        yield from _of_json(what)
    for index in sorted({0, 1, len(tree["sections"]) // 2, len(tree["sections"]) - 1} & set(range(len(tree["sections"])))):
        for name in tree["sections"][index]:
            yield from _of_json(("sections", index, name))
    yield from _of_json(("sections",))
    for name, array in held.arrays.items():
        for how in _of_array(array):
            yield Forgery((name,), how)


def forge(path, forgery):
    """Write a container with a Forgery of it in its place."""
    held = Held(path)
    if forgery.how not in ("set", "remove", "add"):
        _change_array(held.arrays, forgery.what[0], forgery.how)
        held.write(path)
        return
    held.write(path, [lambda tree: _change(tree, forgery)])


def manifest_forgeries(folder):
    """Yield Forgeries of a model's manifest."""
    tree = json.loads((Path(folder) / NAME).read_text())
    for what in _paths(tree):
        if what[0] not in ("crc32",):
            yield from _of_json(what)


def forge_manifest(folder, forgery=None):
    """Write a folder's manifest with a Forgery of it; without one it is signed anew for the files beside it, as they are."""
    path = Path(folder) / NAME
    tree = json.loads(path.read_text())
    del tree["crc32"]
    if forgery is None:
        for name in tree["files"]:
            tree["files"][name] = identity(Path(folder) / name)
    else:
        _change(tree, forgery)
    crc32 = zlib.crc32(_text(tree, indent=1) + b"\n")
    path.write_bytes(_text({**tree, "crc32": crc32}, indent=1) + b"\n")


def _text(tree, indent=None):
    text = json.dumps(tree, indent=indent)
    return text.replace(json.dumps(DEEP), "[" * 10_000 + "]" * 10_000).encode()


def _paths(tree, path=()):
    """Every path to a value in nested dictionaries and lists; of long lists the first, the last and one between."""
    for name, one in tree.items() if isinstance(tree, dict) else [(i, tree[i]) for i in sorted({0, len(tree) // 2, len(tree) - 1})]:
        yield (*path, name)
        if isinstance(one, (dict, list)) and one:
            yield from _paths(one, (*path, name))


def _of_json(what):
    for value in VALUES:
        yield Forgery(what, "set", value)
    yield Forgery(what, "remove")
    yield Forgery(what, "add")


def _change(tree, forgery):
    for name in forgery.what[:-1]:
        tree = tree[name]
    last = forgery.what[-1]
    if forgery.how == "set":
        tree[last] = forgery.value
    elif forgery.how == "remove":
        del tree[last]
    elif isinstance(tree, dict):
        tree[f"{last}_"] = tree[last]
    else:
        tree.insert(last, tree[last])


_SHAPES = ("drop", "rename", "shorter", "longer", "empty", "flat", "deeper", "scalar")
_TYPES = ("u1", "i4", "i8", "u8", "f4", "f8")


def _of_array(array):
    yield from _SHAPES
    yield from (f"as {kind}" for kind in _TYPES if array.dtype != np.dtype(kind))
    if array.size:
        yield from ("first: largest", "last: largest", "first: zero", "first: smallest")
        if array.dtype.kind == "f":
            yield from ("first: nan", "last: inf", "all: -inf", "first: 7", "first: -1")
    if len(array.reshape(-1)) > 1:
        yield from ("reversed", "first again", "sorted", "all: largest")


def _change_array(arrays, name, how):
    array = arrays[name]
    kind = array.dtype
    largest, smallest = (np.finfo(kind).max, np.finfo(kind).min) if kind.kind == "f" else (np.iinfo(kind).max, np.iinfo(kind).min)
    numbers = {"largest": largest, "smallest": smallest, "zero": 0, "nan": np.nan, "inf": np.inf, "-inf": -np.inf, "7": 7, "-1": -1}
    place, _, word = how.partition(": ")
    if word:
        array = array.copy()
        array.reshape(-1)[{"first": slice(1), "last": slice(-1, None), "all": slice(None)}[place]] = numbers[word]
    elif how.startswith("as "):
        with np.errstate(all="ignore"):
            array = array.astype(how[3:])
    elif how == "drop":
        del arrays[name]
        return
    elif how == "rename":
        arrays[name + "x"] = arrays.pop(name)
        return
    else:
        rows = array.reshape(-1) if array.ndim == 0 else array
        array = {
            "shorter": lambda: rows[:-1], "longer": lambda: np.concatenate([rows, rows[:1]]), "empty": lambda: rows[:0],
            "flat": lambda: np.stack([rows, rows]), "deeper": lambda: array[..., None], "scalar": lambda: array.reshape(-1)[:1].sum(),
            "reversed": lambda: rows[::-1], "first again": lambda: np.concatenate([rows[:1], rows[:-1]]),
            "sorted": lambda: np.sort(rows, axis=0)[::-1],
        }[how]()  # fmt: skip
        array = np.array(array, kind)
    arrays[name] = array
