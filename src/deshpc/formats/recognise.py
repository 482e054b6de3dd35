"""What a file is by its first bytes, where it is not what was expected: the error says what to do."""

import shlex

from deshpc.errors import DataError
from deshpc.formats.steady import open_steady
from deshpc.storage.container import MAGIC as CONTAINER

START_BYTES = 16

_GZIP, _ZSTD, _PARQUET = b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"PAR1"
_THRIFT = b"\x15"  # what follows in Parquet; PAR1 alone might be the name of a column
_UTF_32, _UTF_16 = (b"\xff\xfe\0\0", b"\0\0\xfe\xff"), (b"\xff\xfe", b"\xfe\xff")
_PACKED = {  # first bytes: (name, command that unpacks to its output)
    b"BZh": ("bzip2", "bzcat"),
    b"\xfd7zXZ\0": ("xz", "xzcat"),
    b"PK\x03\x04": ("zip", "unzip -p"),
    b"7z\xbc\xaf\x27\x1c": ("7-Zip", "7z e -so"),
    b"\x04\x22\x4d\x18": ("LZ4", "lz4cat"),
}
_BZIP2_BLOCKS = (b"1AY&SY", b"\x17rE8P\x90")  # BZh alone might be a text


def is_parquet(path):
    """Whether a file begins as Parquet does."""
    with open_steady(path) as file:
        return file.read(START_BYTES).startswith(_PARQUET + _THRIFT)


def require_text(path, start):
    """DataError where a file that begins with `start`, of START_BYTES, is no text, and known by them."""
    if start[:1] == b"B" and start[4:10] not in _BZIP2_BLOCKS:
        return
    for magic, (name, command) in _PACKED.items():
        if start.startswith(magic):
            raise DataError(
                f"{path}: is packed by {name}, which is not read; gzip and Zstandard are: {command} {shlex.quote(str(path))} | gzip > rows.gz"
            )
    if start.startswith(_PARQUET + _THRIFT):
        raise DataError(f"{path}: is a Parquet file; set data.format = 'parquet'")
    if start.startswith(CONTAINER):
        raise DataError(f"{path}: is a cache or a model of deshpc; a cache is read by data.format = 'cache'")
    for marks, name in ((_UTF_32, "UTF-32"), (_UTF_16, "UTF-16")):
        if start.startswith(marks):
            raise DataError(
                f"{path}: is {name} text; expected UTF-8, or another code in which delimiters and line ends are those of ASCII: "
                f"iconv -f {name} -t UTF-8 {shlex.quote(str(path))} > rows.txt"
            )


def why_not_parquet(path):
    """Why a file that does not end as Parquet is none, as the end of a message."""
    with open_steady(path) as file:
        start = file.read(4096)
    if not start:
        return "it is empty"
    if start.startswith(_PARQUET):
        return "it begins as one, but does not end as one: it has been cut off, or is still being written"
    if start.startswith((_GZIP, _ZSTD)):
        return "it is compressed as a whole; unpack it, Parquet is compressed inside; if it is text, set data.format = 'csv' or 'tsv'"
    if start.startswith(CONTAINER):
        return "it is a cache or a model of deshpc; a cache is read by data.format = 'cache'"
    if _is_text(start):
        return f"it is text; set data.format = {'tsv' if start.count(bytes([9])) > start.count(b',') else 'csv'!r}"
    return "it does not end as one"


def _is_text(start):
    try:
        return start[: start.rfind(b"\n") + 1 or None].decode().replace("\n", "").replace("\r", "").replace("\t", "").isprintable()
    except UnicodeDecodeError:
        return False
