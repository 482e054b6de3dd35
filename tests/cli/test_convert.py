"""`deshpc convert`: the command as a process, what it leaves behind, and that training goes on from it."""

import signal
import subprocess
import sys
import time

import pytest

from deshpc.cli.main import main
from deshpc.config import load
from deshpc.data.cache_file import Cache
from deshpc.errors import DataError

CONFIG = """
[data]
format = "csv"
train = "train.csv"
test = "test.csv"
[[data.fields]]
name = "a"
[[data.fields]]
name = "x"
kind = "dense"
[model]
name = "lr"
[run]
directory = "{run}"
"""


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "run.toml"
    path.write_text(CONFIG.format(run=tmp_path / "run"))
    for part, rows in (("train", 90), ("test", 40)):
        lines = (f"{i % 2},{i % 7},{i * 0.5}" for i in range(rows))
        (tmp_path / f"{part}.csv").write_text("\n".join(["label,a,x", *lines]))
    return path


def files(folder):
    return sorted(one.name for one in folder.iterdir())


def test_caches_and_a_configuration_that_trains_on_them(config, tmp_path, capsys):
    out = tmp_path / "new" / "caches"
    assert main(["convert", str(config), "--out", str(out), "--set", "train.epochs=3"]) == 0
    assert files(out) == ["config.toml", "test.cache", "train.cache"]
    text = capsys.readouterr().out
    assert "90 rows" in text and "40 rows" in text and f"{(out / 'train.cache').stat().st_size:,} bytes" in text
    moved = out.rename(tmp_path / "elsewhere")
    made = load(moved / "config.toml")
    assert (made.data.format, made.data.train, made.data.valid) == ("cache", (str(moved / "train.cache"),), ())
    assert (made.model, made.train.epochs) == (load(config).model, 3)
    assert main(["train", str(moved / "config.toml")]) == 0
    assert main(["eval", str(tmp_path / "run")]) == 0
    from_cache = capsys.readouterr().out.splitlines()[-7:]
    assert main(["train", str(config), "--set", "train.epochs=3", "--overwrite"]) == 0
    assert main(["eval", str(tmp_path / "run")]) == 0
    assert capsys.readouterr().out.splitlines()[-7:] == from_cache


def test_an_error_leaves_the_old_cache_and_no_partial_file(config, tmp_path, capsys):
    out = tmp_path / "caches"
    assert main(["convert", str(config), "--out", str(out)]) == 0
    before = {name: (out / name).read_bytes() for name in files(out)}
    with open(tmp_path / "train.csv", "a") as file:
        file.write("\n7,8,9\n")
    assert main(["convert", str(config), "--out", str(out)]) == 3
    assert "line 92, field 'label'" in capsys.readouterr().err
    assert {name: (out / name).read_bytes() for name in files(out)} == before
    assert main(["convert", str(config), "--out", str(out), "--set", "data.on_bad_row=skip"]) == 0
    assert "1 rows skipped" in capsys.readouterr().out and Cache(out / "train.cache").skipped == 1


def test_what_cannot_be_converted(config, tmp_path, capsys, monkeypatch):
    out = tmp_path / "caches"
    assert main(["convert", str(config), "--out", str(out), "--set", "data.train=[]"]) == 2
    assert "data.train is needed" in capsys.readouterr().err and files(out) == []
    taken = tmp_path / "file"
    taken.touch()
    assert main(["convert", str(config), "--out", str(taken)]) == 3
    assert f"{taken}: cannot be made" in capsys.readouterr().err
    assert main(["convert", str(config), "--out", str(out)]) == 0
    assert main(["convert", str(out / "config.toml"), "--out", str(tmp_path / "again")]) == 2
    assert "converted already" in capsys.readouterr().err
    own = config.rename(tmp_path / "config.toml")
    assert main(["convert", str(own), "--out", str(tmp_path)]) == 2
    assert "config.toml would be replaced" in capsys.readouterr().err and own.read_text().startswith("\n[data]")
    monkeypatch.setenv("PMI_SIZE", "2")
    assert main(["convert", str(own), "--out", str(out)]) == 4
    assert "without mpiexec" in capsys.readouterr().err


def test_a_part_without_anything_to_fit_needs_no_training_rows(config, tmp_path):
    text = CONFIG.replace('train = "train.csv"\n', "").replace(
        'kind = "dense"', 'kind = "bucket"\nboundaries = [1.0, 9.5]'
    )
    config.write_text(text.format(run=tmp_path / "run"))
    assert main(["convert", str(config), "--out", str(tmp_path / "caches")]) == 0
    assert files(tmp_path / "caches") == ["config.toml", "test.cache"]


def test_a_killed_conversion_leaves_nothing_under_a_final_name(tmp_path):
    config, out = tmp_path / "big.toml", tmp_path / "caches"
    config.write_text('[data]\nformat = "synthetic"\n[data.synthetic]\nprofile = "criteo"\ntrain_rows = 50_000_000\n')
    command = [sys.executable, "-m", "deshpc", "convert", str(config), "--out", str(out)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    try:
        while not any(path.stat().st_size > 1_000_000 for path in out.glob("train.cache.*.partial")):
            assert process.poll() is None, process.stderr.read()
            time.sleep(0.02)
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate()
    (partial,) = out.glob("train.cache.*.partial")
    assert files(out) == ["lock", partial.name]
    with pytest.raises(DataError, match="cut off or damaged"):
        Cache(partial)
    config.write_text(config.read_text().replace("50_000_000", "1000") + "test_rows = 0\n")
    assert main(["convert", str(config), "--out", str(out)]) == 0
    assert files(out) == ["config.toml", "train.cache"] and Cache(out / "train.cache").rows == 1000
