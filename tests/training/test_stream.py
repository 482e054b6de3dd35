"""Runs that follow a folder that grows, or standard input, against a list of the lines: which samples, in which order, once each."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import zlib

import numpy as np
import pytest
from learnt_samples import learnt, noted_samples

import deshpc
from deshpc.config.load import build
from deshpc.data.ahead import END, Ahead
from deshpc.data.block_reader import BlockReader
from deshpc.data.growing import Growing
from deshpc.data.input import open_input
from deshpc.data.pieces import piece_bytes
from deshpc.errors import ConfigError, DataError, Stopped

ROWS = {"a.csv": 130, "b.csv": 1, "c.csv": 95}
BATCH, WINDOW = 20, 40
WRITER = """
import os, sys, time
folder, files = sys.argv[1], sys.argv[2:]
for file in files:
    name, rows, first = file.split(":")
    with open(f"{folder}/{name}.part", "w") as out:
        out.write("click,id\\n")
        for i in range(int(rows)):
            out.write(f"{(int(first) + i) % 3 % 2},{int(first) + i}\\n")
            out.flush()
    time.sleep(0.3)
    os.rename(f"{folder}/{name}.part", f"{folder}/{name}")
open(f"{folder}/_END", "w").close()
"""


def first_of(name):
    return sum(rows for other, rows in ROWS.items() if other < name)


def writer(folder, names=tuple(ROWS)):
    """A process that writes the files one after the other; row i has the id i and the label i % 3 % 2."""
    return subprocess.Popen([sys.executable, "-c", WRITER, str(folder), *(f"{name}:{ROWS[name]}:{first_of(name)}" for name in names)])


def config(folder, run="", **sections):
    return build(
        {
            "data": {"train": [str(folder)], "follow": True, "label": "click", "fields": [{"name": "id"}], **sections.pop("data", {})},
            "model": {"name": "lr"},
            "train": {"global_batch_samples": BATCH, "shuffle_block_rows": WINDOW, "accumulate": "int64", **sections.pop("train", {})},
            "compute": {"threads_per_rank": 1},
            "checkpoint": {"every_steps": 3, "keep": 100},
            "run": {"directory": str(run), "report_interval_s": 1000.0},
        }
    )


@pytest.fixture
def seen(monkeypatch):
    """See `noted_samples`."""
    return noted_samples(monkeypatch)


def require_windows(order):
    """Every row once; each window of a file holds the file's own rows, and not in their order."""
    assert sorted(order) == list(range(sum(ROWS.values())))
    for name, rows in ROWS.items():
        for begin in range(0, rows, WINDOW):
            first, end = first_of(name) + begin, first_of(name) + min(begin + WINDOW, rows)
            window = order[first:end]
            assert sorted(window) == list(range(first, end))
            assert window != sorted(window) or len(window) < WINDOW  # few runs of eight may stay in their order


@pytest.mark.mpi
def test_a_folder_that_another_process_fills_is_learnt_once_and_goes_on_exactly(world, directory, seen):
    folder, whole, again = directory / "in", directory / "whole", directory / "again"
    if world.rank == 0:
        folder.mkdir()
        (folder / ".hidden.csv").write_text("no row\n", encoding="utf-8")
    world.Barrier()
    process = writer(folder) if world.rank == 0 else None
    result = deshpc.train(config(folder, whole), world)
    if process:
        assert process.wait() == 0
    steps = learnt(world, seen, sum(ROWS.values()))
    order = [one for _, ids in steps for one in ids]
    require_windows(order)
    assert [len(ids) for _, ids in steps] == [BATCH] * 11 + [6] and result.steps == 12 and result.rows == len(order)

    # As if it had been ended after 6 steps, by when a.csv was used up but for its last window; its files before that are gone.
    for cut in (6, 9, 12):
        if world.rank == 0:
            shutil.rmtree(again, ignore_errors=True)
            shutil.copytree(whole, again)
            shutil.rmtree(again / "model")
            for step in range(cut + 3, 13, 3):
                shutil.rmtree(again / f"checkpoints/step-{step:012d}")
            if cut == 9:
                (folder / "a.csv").unlink()
        world.Barrier()
        seen.clear()
        resumed = deshpc.train(config(folder, again), world, resume=True)
        assert resumed.resumed_from == cut and resumed.steps == 12
        assert learnt(world, seen, sum(ROWS.values())) == steps[cut:]
        if world.rank == 0:
            files = sorted(path.name for path in (whole / "model").iterdir() if path.name != "manifest.json")
            assert [(again / "model" / name).stat().st_size for name in files] == [(whole / "model" / name).stat().st_size for name in files]
            assert json.loads((again / "model/manifest.json").read_text())["rows"] == json.loads((whole / "model/manifest.json").read_text())["rows"]
        world.Barrier()


def test_fields_are_dealt_alike_when_a_stream_goes_on(tmp_path, monkeypatch):
    from deshpc.training import session

    dealt, build_model = [], session.build_model

    def built(*arguments, **named):
        if "field_keys" in named:
            dealt.append(named["field_keys"].tolist())
        return build_model(*arguments, **named)

    monkeypatch.setattr(session, "build_model", built)
    (tmp_path / "in").mkdir()
    rows = "".join(f"{i % 2},{i % 3},{'a|b|c' if i < WINDOW else 'a'}\n" for i in range(2 * WINDOW))
    (tmp_path / "in" / "a.csv").write_text(f"click,id,tags\n{rows}", encoding="utf-8")
    (tmp_path / "in" / "_END").touch()
    fields = [{"name": "id"}, {"name": "tags", "kind": "multi"}]
    made = config(tmp_path / "in", tmp_path / "run", data={"fields": fields}, train={"split": "field"})
    deshpc.train(made)
    shutil.rmtree(tmp_path / "run/model")
    shutil.rmtree(tmp_path / "run/checkpoints/step-000000000004", ignore_errors=True)
    assert deshpc.train(made, resume=True).resumed_from == 3
    assert dealt == [[1.0, 3.0]] * 2


def test_a_stop_is_heard_while_the_first_rows_are_waited_for_and_what_was_planned_stays(tmp_path, monkeypatch):
    """No checkpoint is there, and none is spoken of; the run that goes on begins, and a third one is split as it was."""
    from deshpc.training import planned_run

    def waiting(self, place):
        os.kill(os.getpid(), signal.SIGUSR1)
        return files_of(self, place)

    (tmp_path / "in").mkdir()
    made, fixed, plan = config(tmp_path / "in", tmp_path / "run", train={"split": "auto"}), [], planned_run.plan
    files_of = Growing._files
    monkeypatch.setattr(planned_run, "plan", lambda *arguments: fixed.append(arguments[5]) or plan(*arguments))
    with monkeypatch.context() as patch:
        patch.setattr(Growing, "_files", waiting)
        with pytest.raises(Stopped, match="stopped by SIGUSR1 before the first step of the run in .*; go on by resume=True") as stopped:
            deshpc.train(made)
    assert stopped.value.exit_code == 75 and stopped.value.steps == 0 and not (tmp_path / "run/checkpoints").exists()
    (tmp_path / "in" / "a.csv").write_text("click,id\n" + "".join(f"{i % 2},{i}\n" for i in range(4 * BATCH)), encoding="utf-8")
    (tmp_path / "in" / "_END").touch()
    assert deshpc.train(made, resume=True).steps == 4
    shutil.rmtree(tmp_path / "run/model")
    shutil.rmtree(tmp_path / "run/checkpoints/step-000000000004", ignore_errors=True)
    assert deshpc.train(made, resume=True).resumed_from == 3
    chosen = json.loads((tmp_path / "run/model/manifest.json").read_text(encoding="utf-8"))["config"]["train"]["split"]
    assert "split" not in fixed[0] and fixed[1]["split"] == chosen != "auto"


@pytest.mark.mpi
def test_a_bad_row_ends_all_ranks_with_file_and_line(world, directory):
    folder = directory / "in"
    if world.rank == 0:
        folder.mkdir()
        good = "".join(f"{i % 2},{i}\n" for i in range(60))
        (folder / "a.csv").write_text(f"click,id\n{good}", encoding="utf-8")
        (folder / "b.csv").write_text(f"click,id\n{good}maybe,7\n", encoding="utf-8")
        (folder / "_END").touch()
    world.Barrier()
    with pytest.raises(DataError, match=r"b\.csv, line 62, field 'click': 'maybe'"):
        deshpc.train(config(folder, directory / "run"), world)


def test_a_step_is_evaluated_once_though_the_stream_ends_behind_it(tmp_path):
    (tmp_path / "in").mkdir()
    for path in (tmp_path / "in" / "a.csv", tmp_path / "valid.csv"):
        path.write_text("click,id\n" + "".join(f"{i % 2},{i % 3}\n" for i in range(2 * BATCH)), encoding="utf-8")
    (tmp_path / "in" / "_END").touch()
    run = tmp_path / "run"
    train = {"evaluate_every_steps": 1, "stop_metric": "log_loss", "stop_patience": 2, "stop_minimum_gain": 10.0}
    result = deshpc.train(config(tmp_path / "in", run, data={"valid": [str(tmp_path / "valid.csv")]}, train=train))
    lines = [json.loads(line) for line in (run / "record.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [line["step"] for line in lines if line["event"] == "valid"] == [1, 2] and result.stopped is None


@pytest.mark.parametrize(("data", "rows"), [({}, 2 * BATCH), ({"follow": False, "in_memory": "off"}, 10 * WINDOW)])
def test_no_thread_reads_on_when_a_run_ends_before_its_rows_do(tmp_path, data, rows):
    (tmp_path / "in").mkdir()
    for path in (tmp_path / "in" / "a.csv", tmp_path / "valid.csv"):
        path.write_text("click,id\n" + "".join(f"{i % 2},{i % 3}\n" for i in range(rows)), encoding="utf-8")
    train = {"evaluate_every_steps": 1, "stop_metric": "log_loss", "stop_patience": 1, "stop_minimum_gain": 10.0}
    made = config(tmp_path / "in", tmp_path / "run", data={**data, "valid": [str(tmp_path / "valid.csv")]}, train=train)
    assert deshpc.train(made).steps == 2
    deadline = time.monotonic() + 5
    while (left := [one for one in threading.enumerate() if one.name == "deshpc-ahead"]) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not left


@pytest.mark.mpi
@pytest.mark.parametrize("kind", ["tsv", "csv"])
def test_given_files_are_learnt_once_and_go_on_exactly(world, directory, seen, kind):
    """Lines of TSV are read in pieces by all ranks, CSV, whose cells may have several lines, by one."""
    folder, whole, again = directory / "in", directory / "whole", directory / "again"
    separator = "\t" if kind == "tsv" else ","
    if world.rank == 0:
        folder.mkdir()
        for name, rows in ROWS.items():
            lines = [f"{i % 3 % 2}{separator}{i}{separator}{i % 7}\n" for i in range(first_of(name), first_of(name) + rows)]
            lines.insert(0, f"click{separator}id{separator}x\n")
            lines.insert(len(lines) // 2, f"maybe{separator}7{separator}7\n")
            (folder / name.replace("csv", kind)).write_text("".join(lines), encoding="utf-8")
    world.Barrier()
    fields = [{"name": "id"}, {"name": "x", "kind": "dense"}]
    data = {"train": [str(folder / f"*.{kind}")], "format": kind, "fields": fields, "fit_rows": 50, "on_bad_row": "skip"}
    result = deshpc.train(config(folder, whole, data=data), world)
    steps = learnt(world, seen, sum(ROWS.values()))
    order = [one for _, ids in steps for one in ids]
    assert sorted(order) == list(range(226)) and result.samples == 226
    for begin, end in ((0, 130), (130, 131), (131, 226)):  # a file after the other, shuffled inside
        assert sorted(order[begin:end]) == list(range(begin, end))
    assert order[:130] != sorted(order[:130])
    manifest = json.loads((whole / "model/manifest.json").read_text())
    logs = np.log1p(np.arange(50) % 7).astype(np.float32).astype(np.float64)  # of the first rows, whatever is read in pieces
    assert np.allclose([manifest["source"]["dense"][0]["mean"]], [logs.mean()], rtol=1e-12)
    skipped = [json.loads(line)["parts"] for line in (whole / "record.jsonl").read_text().splitlines() if '"skipped"' in line]
    assert all(one["train"]["count"] == 3 for one in skipped)
    for cut in (6, 9):
        if world.rank == 0:
            shutil.rmtree(again, ignore_errors=True)
            shutil.copytree(whole, again)
            shutil.rmtree(again / "model")
            if cut == 6:
                shutil.rmtree(again / "checkpoints/step-000000000009")
                shutil.rmtree(again / "checkpoints/step-000000000012")
            else:  # the newest, behind whose place there are no rows, cannot be read
                (again / f"checkpoints/step-000000000012/rank-00000-of-{world.size:05d}.rows").write_bytes(b"")
        world.Barrier()
        seen.clear()
        assert deshpc.train(config(folder, again, data=data), world, resume=True).resumed_from == cut
        assert learnt(world, seen, sum(ROWS.values())) == steps[cut:]
    if kind == "tsv":
        if world.rank == 0:
            with open(folder / "a.tsv", "a", encoding="utf-8") as file:
                file.write("1\t7\t7\n")
            shutil.rmtree(again / "model")
        world.Barrier()
        with pytest.raises(DataError, match="c.tsv: the run goes on in it, but it, or files before it, have changed"):
            deshpc.train(config(folder, again, data=data), world, resume=True)


def test_pieces_have_as_many_rows_where_the_first_file_is_empty(tmp_path):
    (tmp_path / "a").touch()
    (tmp_path / "b").write_text("1 2:3\n" * 100, encoding="utf-8")
    assert piece_bytes([tmp_path / "a", tmp_path / "b"], 10) == 60 and piece_bytes([tmp_path / "a"], 10) is None


def test_silence_ends_a_stream_and_late_names_are_told(tmp_path, capsys):
    (tmp_path / "b.csv").write_text("click,id\n1,1\n0,2\n", encoding="utf-8")
    made = config(tmp_path, data={"follow_silence_s": 0.5})
    blocks = Growing(made.data, open_input(made.data), (), 10, True).blocks(BlockReader(None, None, 1, None, lambda: None, 0, False, 1, 1).place()[0])
    assert len(next(blocks)) == 2 and next(blocks).samples is None
    (tmp_path / "a.csv").write_text("click,id\n1,3\n", encoding="utf-8")
    begin = time.monotonic()
    assert list(blocks) == [] and time.monotonic() - begin >= 0.3
    deadline = time.monotonic() + 5
    text = ""
    while "came after 'b.csv'" not in text and time.monotonic() < deadline:
        text += capsys.readouterr().err
        time.sleep(0.01)
    assert "a.csv: is not read: it came after 'b.csv'" in text


def test_standard_input_is_learnt_as_it_comes(tmp_path):
    made = config("-", tmp_path / "run", train={"shuffle": False})
    lines = "click,id\n" + "".join(f"{i % 3 % 2},{i}\n" for i in range(70))
    (tmp_path / "config.json").write_text(json.dumps(deshpc.config.resolved(made)), encoding="utf-8")
    code = "import json, sys, deshpc; print(deshpc.train(json.load(open(sys.argv[1]))).steps)"
    done = subprocess.run([sys.executable, "-c", code, tmp_path / "config.json"], input=lines, capture_output=True, text=True, env=os.environ)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["4"]


def test_a_thread_reads_so_many_ahead_and_passes_errors_on():
    made = []

    def things():
        for i in range(5):
            made.append(i)
            yield i
        raise DataError("the end")

    ahead = Ahead(things(), most=2)
    deadline = time.monotonic() + 5
    while len(made) < 3 and time.monotonic() < deadline:
        time.sleep(0.001)
    time.sleep(0.02)
    assert made == [0, 1, 2]
    assert [ahead.take() for _ in range(5)] == list(range(5))
    with pytest.raises(DataError, match="the end"):
        ahead.take()
    other = Ahead(iter([1]))
    assert [other.take(), other.take(), other.take()] == [1, END, END]


@pytest.mark.parametrize(
    "change, match",
    [
        ({"data": {"train": ["-", "more"]}}, "standard input, '-', comes alone"),
        ({"data": {"train": ["-"], "format": "parquet"}}, "Parquet"),
        ({"data": {"follow": False, "train": ["-"]}}, "data.follow = true"),
        ({"train": {"epochs": 2}}, "rows come once"),
        ({"train": {"negative_sampling": 0.5}}, "negative_sampling"),
    ],
)
def test_what_needs_all_rows_is_refused(tmp_path, change, match):
    with pytest.raises(ConfigError, match=match):
        config(tmp_path, **change)


@pytest.mark.parametrize("compress", ["gzip", "zstandard"])
def test_compressed_standard_input_is_there_as_soon_as_it_comes(compress):
    """The writer has sent one row of more bytes than a reader would wait for if it waited for as much as it has room for, and sends no more."""
    code = (
        "from deshpc.config.load import build; from deshpc.formats.open import open_format; from deshpc.formats.bad_rows import BadRows\n"
        "from deshpc.formats.source import Standard\n"
        "data = build({'data': {'train': ['-'], 'follow': True, 'label': 'click', 'fields': [{'name': 'id'}]}}).data\n"
        "print(len(next(open_format(data).blocks([Standard()], BadRows('error')))), flush=True)"
    )
    text = b"click,id\n1,7\n0,8\n"
    if compress == "gzip":
        packer = zlib.compressobj(wbits=31)
        sent = packer.compress(text) + packer.flush(zlib.Z_SYNC_FLUSH)
    else:
        zstandard = pytest.importorskip("zstandard")
        packer = zstandard.ZstdCompressor().compressobj()
        sent = packer.compress(text) + packer.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK)
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        process.stdin.write(sent)
        process.stdin.flush()
        assert process.stdout.readline() == b"2\n"  # would wait for ever
        process.kill()


def test_a_first_block_without_weight_is_refused(tmp_path):
    (tmp_path / "a.csv").write_text("click,id,w\n1,1,0\n0,2,0\n", encoding="utf-8")
    with pytest.raises(DataError, match="the first 2 rows: no row has a weight above 0"):
        deshpc.train(config(tmp_path / "a.csv", tmp_path / "run", data={"weight": "w"}))


def test_fields_that_are_fitted_need_a_file_that_can_be_read_twice_or_rows_that_wait(tmp_path):
    fields = {"fields": [{"name": "id"}, {"name": "price", "kind": "dense"}]}
    with pytest.raises(ConfigError, match="standard input is read once"):
        deshpc.train(config("-", tmp_path / "run", data=fields))
    made = config("-", tmp_path / "piped", data={**fields, "fit_rows": 30})
    (tmp_path / "config.json").write_text(json.dumps(deshpc.config.resolved(made)), encoding="utf-8")
    code = "import json, sys, deshpc; print(deshpc.train(json.load(open(sys.argv[1]))).samples)"
    lines = "click,id,price\n" + "".join(f"{i % 3 % 2},{i},{i}\n" for i in range(70))
    done = subprocess.run([sys.executable, "-c", code, tmp_path / "config.json"], input=lines, capture_output=True, text=True, env=os.environ)
    assert done.returncode == 0, done.stderr
    (fitted,) = json.loads((tmp_path / "piped/model/manifest.json").read_text())["source"]["dense"]
    logs = np.log1p(np.arange(30.0)).astype(np.float32).astype(np.float64)
    assert done.stdout.split() == ["70"] and np.allclose([fitted["mean"], fitted["std"]], [logs.mean(), logs.std()], rtol=1e-12)
    folder = tmp_path / "in"
    folder.mkdir()
    prices = np.arange(50.0)
    for name in "ab":
        (folder / f"{name}.csv").write_text(
            "click,id,price\n" + "".join(f"{i % 2},{i},{p * (1 if name == 'a' else 9)}\n" for i, p in enumerate(prices)), encoding="utf-8"
        )
    (folder / "_END").touch()
    deshpc.train(config(folder, tmp_path / "run", data=fields))
    (fitted,) = json.loads((tmp_path / "run/model/manifest.json").read_text())["source"]["dense"]
    logs = np.log1p(prices).astype(np.float32).astype(np.float64)
    assert np.allclose([fitted["mean"], fitted["std"]], [logs.mean(), logs.std()], rtol=1e-12)
