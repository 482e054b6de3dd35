"""The record's lines against JSON: begun anew, and gone on with after a kill that cut the last line off."""

import json

import pytest

from deshpc.training.record import Record


def events(path):
    return [json.loads(line)["event"] for line in path.read_text(encoding="utf-8").splitlines()]


def write(folder, event, append):
    record = Record(folder, append=append)
    record.write(event, step=3)
    record.close()


@pytest.mark.parametrize("torn", [b"", b"{", b'{"event": "valid", "time_s": 1.0', b"\xc3"])
def test_going_on_keeps_whole_lines(tmp_path, torn):
    path = tmp_path / "record.jsonl"
    write(tmp_path, "start", append=True)  # there is no file yet
    write(tmp_path, "valid", append=True)
    path.write_bytes(path.read_bytes() + torn)
    write(tmp_path, "resume", append=True)
    assert events(path) == ["start", "valid", "resume"]


def test_beginning_anew_forgets(tmp_path):
    for event in ("start", "again"):
        write(tmp_path, event, append=False)
    assert events(tmp_path / "record.jsonl") == ["again"]
