"""Paths, patterns and folders into files: against the list written down here."""

import os

import pytest

from deshpc.config import DataConfig, FieldConfig
from deshpc.errors import ConfigError, DataError
from deshpc.formats.files import expand
from deshpc.formats.open import open_format


@pytest.fixture
def folder(tmp_path):
    for name in ["day_2.gz", "day_10.gz", "day_1.gz", ".hidden.gz", "_SUCCESS", "sub/day_3.gz", "sub/deep/day_4.gz",
                 "sub/_x", "odd[1]*/a.csv", "odd[1]*/b.csv", "only/.hidden"]:  # fmt: skip
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


@pytest.mark.parametrize(
    "patterns, expected",
    [
        (["day_2.gz"], ["day_2.gz"]),
        (["day_2.gz", "day_1.gz", "day_2.gz"], ["day_2.gz", "day_1.gz", "day_2.gz"]),
        (["day_*.gz"], ["day_1.gz", "day_10.gz", "day_2.gz"]),
        (["day_?.gz", "sub/*.gz"], ["day_1.gz", "day_2.gz", "sub/day_3.gz"]),
        (["*.gz"], ["day_1.gz", "day_10.gz", "day_2.gz"]),
        (["day_[12].gz"], ["day_1.gz", "day_2.gz"]),
        (["**/*.gz"], ["day_1.gz", "day_10.gz", "day_2.gz", "sub/day_3.gz", "sub/deep/day_4.gz"]),
        (["."], ["day_1.gz", "day_10.gz", "day_2.gz"]),
        (["sub"], ["sub/day_3.gz"]),
        (["su*"], ["sub/day_3.gz"]),
        ([".hidden.gz", "_SUCCESS"], [".hidden.gz", "_SUCCESS"]),
        (["odd[1]*"], ["odd[1]*/a.csv", "odd[1]*/b.csv"]),
        (["odd[1]*/b.csv"], ["odd[1]*/b.csv"]),
        (["odd[1]*/?.csv"], ["odd[1]*/a.csv", "odd[1]*/b.csv"]),
        ([], []),
    ],
)
@pytest.mark.parametrize("relative", [False, True])
def test_what_patterns_stand_for(folder, patterns, expected, relative, monkeypatch):
    monkeypatch.chdir(folder)
    base = "" if relative else str(folder)
    found = expand([os.path.join(base, pattern) for pattern in patterns])
    assert [os.path.relpath(path, folder) for path in found] == expected


def test_a_path_object_will_do(folder):
    assert expand([folder / "day_*0.gz"]) == [str(folder / "day_10.gz")]


@pytest.mark.parametrize(
    "pattern, why",
    [
        ("absent.gz", "no such file"),
        ("absent/day_*.gz", "no file matches the pattern"),
        ("day_x*.gz", "no file matches the pattern"),
        ("only", "the folder has no files"),
        ("onl?", "no file matches the pattern"),
    ],
)
def test_nothing_found(folder, pattern, why):
    with pytest.raises(DataError) as raised:
        expand([str(folder / "day_1.gz"), str(folder / pattern)])
    assert str(raised.value).startswith(f"{folder / pattern}: {why}")
    assert "give paths of files, patterns such as day_*.gz, or folders" in str(raised.value)


def test_a_format_without_rows_is_refused():
    with pytest.raises(ConfigError, match="data.format: 'synthetic' .*expected one of criteo, csv"):
        open_format(DataConfig(format="synthetic", fields=(FieldConfig("c"),)))
