"""What a run has computed, read from its folder: the losses of its steps, its metrics, its model, its scores.  Names, times and folders
are left out: of two runs with one configuration the rest has to be equal, to the bit.
"""

import json

import numpy as np

from deshpc.errors import DataError
from deshpc.storage.container import Container

_NOT_CONTENT = {"crc32", "files", "run", "deshpc", "config"}  # of a manifest: when, where and by which version it was written
_METRICS = ("rows", "positives", "auc", "log_loss", "normalized_entropy", "calibration", "best_auc")  # that all versions find
_RECORDED = {
    "progress": ("epoch", "samples", "loss", "auc"),
    "valid": ("epoch", "step", *_METRICS),
    "result": ("steps", "best_step", "samples", "rows", "rows_per_rank", "valid", "test"),
}
_MOST = 5
"""Differences that are named of one run."""


class OtherForm(Exception):
    """Two folders do not hold the same kinds of things: what is in them cannot be compared number by number."""


def differences(first, second):
    """[text]: in what two runs' folders differ; empty where they are equal to the bit.  OtherForm where the format is another one."""
    try:
        found = [*_models(first / "model", second / "model"), *_records(first, second), *_scores(first, second)]
    except DataError as error:
        raise OtherForm(str(error)) from None
    return found[:_MOST] + [f"and {len(found) - _MOST} more"] * (len(found) > _MOST)


def _models(first, second):
    """Yield the differences of two models' folders."""
    manifests = [json.loads((folder / "manifest.json").read_bytes()) for folder in (first, second)]
    formats = [manifest["format"] for manifest in manifests]
    if formats[0] != formats[1]:
        raise OtherForm(f"models are of format {formats[0]} and of format {formats[1]}")
    yield from _entries("manifest", *({name: one[name] for name in one.keys() - _NOT_CONTENT} for one in manifests))
    names = [sorted(path.name for path in folder.iterdir() if path.name != "manifest.json") for folder in (first, second)]
    _require_same("the files of a model", *names)
    for name in names[0]:
        yield from _containers(name, Container(first / name), Container(second / name))


def _containers(name, first, second):
    """Yield the differences of two files of numbers."""
    yield from _entries(f"{name}: about", *({key: file.about[key] for key in file.about.keys() - {"run"}} for file in (first, second)))
    _require_same(f"{name}: its kind", first.kind, second.kind)
    _require_same(f"{name}: its sections", *([section[:3] for section in file.sections()] for file in (first, second)))
    for section, version, *_ in first.sections():
        yield from _arrays(f"{name}: {section}", first.read(section, version), second.read(section, version))


def _arrays(name, first, second):
    """Yield in what two arrays of one type differ.  Bits are compared: -0 is not 0, and a NaN may be equal to another."""
    if first.shape != second.shape:
        yield f"{name}: shapes {first.shape} and {second.shape}"
        return
    at = np.flatnonzero(_bits(first) != _bits(second))
    if len(at):
        one, other = (array.reshape(-1)[at[0]].item() for array in (first, second))
        yield f"{name}: {len(at):,} of {first.size:,} numbers, the first at {at[0]}: {one!r} and {other!r}"


def _bits(array):
    return array.reshape(-1).view(f"u{array.dtype.itemsize}")


def _records(first, second):
    """Yield the differences of what two runs have recorded."""
    lines = [_recorded(folder) for folder in (first, second)]
    _require_same("record: the kinds of its lines", *([event for event, _ in ones] for ones in lines))
    for number, ((event, one), (_, other)) in enumerate(zip(*lines, strict=True)):
        yield from _entries(f"record: line {number}, {event}", one, other)


def _recorded(folder):
    """[(event, entries)] of the lines that hold results."""
    lines = map(json.loads, (folder / "record.jsonl").read_text(encoding="utf-8").splitlines())
    return [
        (line["event"], {name: _known(line[name]) for name in _RECORDED[line["event"]] if name in line})
        for line in lines
        if line["event"] in _RECORDED
    ]


def _known(thing):
    """Metrics without those that are younger than others."""
    return {name: thing[name] for name in _METRICS if name in thing} if isinstance(thing, dict) else thing


def _scores(first, second):
    """Yield the first difference of two files of scores."""
    lines = [(folder / "scores.csv").read_text(encoding="utf-8").splitlines() for folder in (first, second)]
    if len(lines[0]) != len(lines[1]):
        yield f"scores: {len(lines[0])} and {len(lines[1])} lines"
    for number, (one, other) in enumerate(zip(*lines, strict=False)):
        if one != other:
            yield f"scores: line {number}: {one} and {other}"
            return


def _entries(name, first, second):
    """Yield the differences of two dictionaries, which come from JSON: it gives every float64 back as it was."""
    _require_same(f"{name}: its entries", sorted(first), sorted(second))
    for entry in sorted(first):
        if first[entry] != second[entry]:
            yield f"{name}: {entry}: {_short(first[entry])} and {_short(second[entry])}"


def _require_same(what, first, second):
    if first != second:
        raise OtherForm(f"{what}: {_short(first)} and {_short(second)}")


def _short(thing):
    text = repr(thing)
    return text if len(text) <= 160 else text[:157] + "..."
