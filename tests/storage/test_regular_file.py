"""Pipes, devices, folders and links: a line at once, and nobody waits.  A test that waits would not end."""

import os

import pytest

from deshpc.config import DataConfig, FieldConfig, load
from deshpc.errors import ConfigError, DataError
from deshpc.formats.files import expand
from deshpc.formats.open import open_format
from deshpc.storage.container import Container
from deshpc.storage.regular_file import open_regular, read_small


@pytest.fixture
def odd(tmp_path):
    """{kind: path} of what is no regular file."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    (tmp_path / "dangling").symlink_to(tmp_path / "nothing")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "zero").symlink_to("/dev/zero")
    return {name: str(tmp_path / name) for name in ("pipe", "folder", "dangling", "loop", "zero")} | {"device": "/dev/zero", "none": str(tmp_path / "x")}


WORDS = {
    "pipe": "it is a pipe", "folder": "it is a directory", "dangling": "a link to .*nothing, which is not there", "loop": "symbolic links",
    "zero": "it is a device", "device": "it is a device", "none": "no such file",
}  # fmt: skip


@pytest.mark.parametrize("kind", WORDS)
def test_what_is_no_file_is_refused_by_every_reader(odd, kind):
    path = odd[kind]
    for read in (open_regular, lambda path: read_small(path, 9), Container):
        with pytest.raises(DataError, match=f"^{path}: .*{WORDS[kind]}"):
            read(path)
    with pytest.raises(ConfigError, match=f"^{path}: "):
        load(path)
    if kind == "folder":
        return
    with pytest.raises(DataError, match=path):
        expand([path])
    for form in ("csv", "criteo", "libsvm", "parquet"):
        fields = (FieldConfig("a"),) if form in ("csv", "parquet") else ()
        reader = open_format(DataConfig(format=form, train=(path,), fields=fields))
        with pytest.raises(DataError, match=path):
            next(iter(reader.blocks([path], None)))


def test_small_files(tmp_path):
    (tmp_path / "a").write_bytes(b"12345")
    assert read_small(tmp_path / "a", 5) == b"12345"
    with pytest.raises(DataError, match="longer than 4 bytes"):
        read_small(tmp_path / "a", 4)
