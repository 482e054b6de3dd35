"""The container against what was put into it: contents, every truncation, every kind of bit flip."""

import json
import zlib

import numpy as np
import pytest

from deshpc.errors import DataError
from deshpc.storage.container import Container, ContainerWriter

ARRAYS = {
    "keys": np.array([1, 2**64 - 1, 7], np.uint64),
    "numbers": np.arange(35, dtype=np.float32).reshape(5, 7),
    "nothing": np.empty((0, 3), np.float64),
    "one": np.array(-3, np.int64),
    "bytes": np.frombuffer(b"some text", np.uint8),
}


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "some.file"
    with ContainerWriter(path, "test", {"rows": 5}) as writer:
        for name, array in ARRAYS.items():
            writer.add(name, array)
        writer.about["late"] = "word"
        writer.finish()
    return path


def read_all(path):
    container = Container(path, "test")
    container.verify()
    return {name: container.read(name) for name in container.names}


def test_gives_back_what_was_put_in(path):
    container = Container(path, "test")
    assert container.names == list(ARRAYS)
    assert container.about == {"rows": 5, "late": "word"}
    for name, array in ARRAYS.items():
        read = container.read(name)
        assert read.dtype == array.dtype and read.shape == array.shape == container.shape(name)
        assert read.tobytes() == array.tobytes()
        assert not read.flags.writeable and read.ctypes.data % 64 == 0


def test_sections_lie_where_the_format_says(path):
    """An independent reader, by struct offsets of the module's text alone."""
    data = path.read_bytes()
    offset, length = (int.from_bytes(data[-32 + i : -24 + i], "little") for i in (0, 8))
    directory = json.loads(data[offset : offset + length])
    section = directory["sections"][1]
    begin = section["offset"]
    assert data[begin : begin + 140] == ARRAYS["numbers"].tobytes()
    assert section["crc32"] == zlib.crc32(data[begin : begin + 192])


def test_replaced_content_is_what_is_read(tmp_path):
    with ContainerWriter(tmp_path / "x", "test") as writer:
        writer.add("a", np.arange(10))
        writer.add("b", np.arange(3))
        writer.replace("a", writer.read("a")[::-1])
        with pytest.raises(ValueError):
            writer.replace("a", np.arange(9))
        writer.finish()
    read = read_all(tmp_path / "x")
    assert read["a"].tolist() == list(range(9, -1, -1)) and read["b"].tolist() == [0, 1, 2]


def test_an_unfinished_file_never_has_the_name(tmp_path):
    (tmp_path / "x").write_text("older")
    with pytest.raises(RuntimeError), ContainerWriter(tmp_path / "x", "test") as writer:
        writer.add("a", np.arange(10))
        raise RuntimeError
    assert [p.name for p in tmp_path.iterdir()] == ["x"] and (tmp_path / "x").read_text() == "older"


def test_every_truncation_is_found(path):
    data = path.read_bytes()
    for length in range(len(data)):
        path.write_bytes(data[:length])
        with pytest.raises(DataError, match="some.file"):
            read_all(path)


def test_every_single_bit_flip_is_found(path):
    data = np.frombuffer(path.read_bytes(), np.uint8)
    for bit in range(8 * len(data)):
        changed = data.copy()
        changed[bit // 8] ^= 1 << bit % 8
        path.write_bytes(changed.tobytes())
        with pytest.raises(DataError, match="some.file"):
            read_all(path)


def test_appended_bytes_are_found(path):
    path.write_bytes(path.read_bytes() + b"\0")
    with pytest.raises(DataError):
        read_all(path)


def test_only_the_section_that_is_read_has_to_be_sound(path):
    data = bytearray(path.read_bytes())
    data[64] ^= 1  # the first section's first byte
    path.write_bytes(data)
    container = Container(path, "test")
    assert container.read("numbers").sum() == ARRAYS["numbers"].sum()
    with pytest.raises(DataError, match="section 'keys': damaged"):
        container.read("keys")


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda d: d.update(format=2), "format 2; expected 1"),
        (lambda d: d.update(kind="other"), "holds 'other'; expected 'test'"),
        (lambda d: d.update(about=3), "directory"),
        (lambda d: d["sections"][0].update(dtype="|O"), "directory"),
        (lambda d: d["sections"][0].update(shape=[-1, -3]), "directory"),
        (lambda d: d["sections"][0].update(shape=[10**30]), "directory"),
        (lambda d: d["sections"][1].update(offset=0), "directory"),
        (lambda d: d["sections"].pop(), "directory"),
        (lambda d: d.pop("sections"), "directory"),
    ],
)
def test_a_directory_that_lies_is_an_error(path, change, complaint):
    """Checksums are right, as if another program had written the file."""
    data = path.read_bytes()
    offset, length = (int.from_bytes(data[-32 + i : -24 + i], "little") for i in (0, 8))
    directory = json.loads(data[offset : offset + length])
    change(directory)
    text = json.dumps(directory).encode()
    trailer = b"".join(n.to_bytes(8, "little") for n in (offset, len(text))) + zlib.crc32(text).to_bytes(4, "little")
    trailer += zlib.crc32(trailer).to_bytes(4, "little") + b"deshpc.\n"
    path.write_bytes(data[:offset] + text + trailer)
    with pytest.raises(DataError, match=complaint):
        read_all(path)


def test_errors_name_the_file(tmp_path):
    (tmp_path / "empty").touch()
    for name, complaint in (("absent", "no such file"), ("empty", "empty"), (".", "cannot be read")):
        with pytest.raises(DataError, match=complaint):
            Container(tmp_path / name, "test")
    (tmp_path / "folder").mkdir()
    with pytest.raises(DataError, match="no regular file"):
        ContainerWriter(tmp_path / "folder", "test")
    with pytest.raises(DataError, match="cannot be written"):
        ContainerWriter(tmp_path / "no folder" / "x", "test")


def test_wrong_version_and_unknown_section(path):
    container = Container(path, "test")
    with pytest.raises(DataError, match="version 1; expected 2"):
        container.read("keys", version=2)
    with pytest.raises(DataError, match="no section 'kyes'"):
        container.read("kyes")
