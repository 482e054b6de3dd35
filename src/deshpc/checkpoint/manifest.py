"""The manifest of a model's folder: what the model is and which files belong to it.  Written last; plain Python.

    manifest.json               this module
    dense                       dense parameters and their optimizer state, `dense_file`
    rank-00002-of-00004.rows    the rows of one of the ranks that wrote the model, `rows_file`
    base/                       in a checkpoint of what has changed: the whole one over which it goes, as links, `changed_rows`
    best/                       in a checkpoint of a run that stops early: the best model so far, a folder like this

Entries, all there:

    format, deshpc   of this layout; version of the program       hash   names how keys were hashed
    steps            updates that made the model                  ranks  that wrote it
    run              that wrote it, as each of its files says: `parts`
    config           every option, resolved                       source input state: fitted transforms
    model            operator, scalars, dim, precision, optimizer, scalar_state, vector_state: what a row consists of
                     dense_optimizer: rule of the dense parameters
                     split, planes: how the ranks' files make whole rows, `load.row_blocks`
                     dims of the fields' embeddings, where they differ: rows have the largest, with 0 beyond their own
    dense            [[name, shape]] of the dense parameters      rows   of each rank, by column those of all
    files            {name: {bytes, end}}: size and last 32 bytes, where a container has the checksum of its directory,
                     so a file of another checkpoint, or of another step, is found
    progress         null, or where a run goes on, `training.cursor`
    random           {seed, step}: every random number is a function of counters, so these two are all the state there is
    base             only of what has changed, and then `format` is 4: {run, steps, crc32} of the manifest in base/; rows are then those of
                     both together
    crc32            of the text without this entry

`manifest_form` says what each has to be.  The text is rendered in one way only, and a manifest that differs from its own rendering
is refused: every changed bit is found.
"""

import reprlib
import zlib
from pathlib import Path

from deshpc.checkpoint.manifest_form import require_form
from deshpc.checkpoint.parts import part_names
from deshpc.errors import DataError
from deshpc.hashing.key import HASH_ID
from deshpc.storage.json_form import parse
from deshpc.storage.regular_file import open_regular, read_small
from deshpc.storage.strict_json import json_text
from deshpc.storage.whole_file import write_text

FORMAT, CHANGE_FORMAT = 3, 4
NAME = "manifest.json"
_END_BYTES = 32
_MOST_BYTES = 64 << 20


def write_manifest(folder, manifest):
    """Write `manifest` (all entries but crc32) into a folder; it is whole or absent, and durable."""
    write_text(Path(folder) / NAME, _render({**manifest, "crc32": zlib.crc32(_render(manifest).encode())}))


def read_manifest(folder):
    """The manifest of a model's folder as a dictionary.  DataError if it is missing, damaged or not ours."""
    path = Path(folder) / NAME
    try:
        data = read_small(path, _MOST_BYTES)
        manifest = parse(data)
    except ValueError as error:
        raise DataError(f"{path}: damaged: {error}") from None
    if not isinstance(manifest, dict) or "format" not in manifest:
        raise DataError(f"{path}: not the manifest of a model")
    if manifest["format"] != (CHANGE_FORMAT if "base" in manifest else FORMAT):
        raise DataError(
            f"{path}: a model of format {reprlib.repr(manifest['format'])}; this version reads format {FORMAT}, and {CHANGE_FORMAT} of what has changed"
        )
    content = {name: value for name, value in manifest.items() if name != "crc32"}
    if manifest.get("crc32") != zlib.crc32(_render(content).encode()) or data != _render(manifest).encode():
        raise DataError(f"{path}: damaged: its checksum differs from its content")
    try:
        require_form(manifest, part_names)
    except ValueError as error:
        raise DataError(f"{path}: damaged: {error}") from None
    if manifest["hash"] != HASH_ID:
        raise DataError(f"{path}: keys were hashed by {manifest['hash']!r}, this version hashes by {HASH_ID!r}")
    return manifest


def identity(path):
    """What a manifest says of a container: size and last bytes, hexadecimal.  DataError where it cannot be read."""
    try:
        with open_regular(path) as file:
            size = file.seek(0, 2)
            file.seek(max(0, size - _END_BYTES))
            return {"bytes": size, "end": file.read().hex()}
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from None


def require_identity(folder, manifest, name):
    """Path of the file `name` of a model; DataError unless it is the one that the manifest means."""
    path = Path(folder) / name
    found, expected = identity(path), manifest["files"][name]
    if found != expected:
        what = f"{found['bytes']:,} bytes; expected {expected['bytes']:,}" if found["bytes"] != expected["bytes"] else "another end"
        raise DataError(f"{path}: damaged, or a file of another model: {what}")
    return path


def _render(manifest):
    return json_text(manifest, indent=1) + "\n"
