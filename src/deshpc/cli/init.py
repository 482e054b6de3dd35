"""`deshpc init`: a look at files of rows, and a configuration with a comment on every choice, which trains at once."""

import os
import re
from pathlib import Path

from deshpc.cli.toml import toml_value
from deshpc.config import load
from deshpc.errors import ConfigError, DataError, LaunchError
from deshpc.launch.launcher import launcher
from deshpc.storage.whole_file import write_text

_PARTS = (
    ("test", re.compile(r"(^|[^a-z])(test|tests|testing|eval|holdout|te)([^a-z]|$)")),
    ("valid", re.compile(r"(^|[^a-z])(valid|validation|val|dev|va)([^a-z]|$)")),
)
_MOST_ORDERED = 100  # files whose first rows are looked at, to put them in the order of their time
_LEAST_FOR_VALID = 5  # files of which one may be the validation part
_LOOKED_AT = 5  # files whose rows say what the columns are
_MOST_SHUFFLED = 4_000_000  # rows that are shuffled one by one: reading them so costs little


def init(names, out, label=None):
    """Write a configuration to the new file `out`; returns what was found, as text.

    names : of files, patterns or folders
    label : the column of the label, or None
    """
    from deshpc.formats.files import expand
    from deshpc.formats.guess import fields_of, label_of, missing_of
    from deshpc.formats.sample import sample_of, together

    if launcher().ranks > 1:
        raise LaunchError("deshpc init is a single process: start it without mpiexec or srun")
    if os.path.lexists(out):
        raise ConfigError(f"--out {out}: there is such a file; choose another name, or remove it")
    paths = expand(names)
    parts, by_name = _by_name(paths)
    first = parts["train"][0]
    sample = sample_of(first)
    found, missing, fields, unlabelled = None, [], [], []
    if sample.columns:
        found = label_of(sample, first, label)
        unlabelled = _without(parts, found.name, sample_of) if sample.header else []
        looked = {path: sample_of(path) for path in _spread(parts, first)}
        several = together(looked)
        found = label_of(several, first, found.name if label else None)
        missing = missing_of(several, found.name)
        fields = fields_of(several, found, missing, sample) + _of_paths(paths, sample)
        if not any(one.kind for one in fields):
            raise DataError(f"{first}: no column can be learnt from: " + "; ".join(f"{one.name!r}: {one.why}" for one in fields[:9]))
    elif label is not None:
        raise ConfigError(f"--label {label}: {first} is {sample.format} text, whose label is the first cell")
    else:
        several, looked = sample, [first]
    why = _in_time(parts, fields, sample_of, by_name)
    rows = _rows(parts["train"], sample)
    lines = _head(list(looked), several, out) + _data(parts, why, unlabelled, sample, found, missing, Path(out)) + _fields(fields)
    lines += _model(rows, bool(parts["valid"]))
    try:
        write_text(out, "\n".join(lines) + "\n")
    except OSError as error:
        raise DataError(f"{out}: cannot be written: {error.strerror}") from None
    load(out)
    return _summary(out, first, sample, found, fields, parts, rows)


def _by_name(paths):
    """({part: paths} of files whose names say so, whether they do); otherwise all are the training part."""
    parts = {"train": [], "valid": [], "test": []}
    for path in paths:
        stem = Path(path).name.lower()
        parts[next((part for part, pattern in _PARTS if pattern.search(stem)), "train")].append(path)
    if parts["train"] and len(parts["train"]) < len(paths):
        return parts, True
    return {"train": paths, "valid": [], "test": []}, False


def _spread(parts, first):
    """Up to _LOOKED_AT files of all parts, the first one at the beginning."""
    others = [path for part in parts.values() for path in part if path != first]
    count = min(_LOOKED_AT - 1, len(others))
    return [first, *(others[(i + 1) * len(others) // count - 1] for i in range(count))]


def _in_time(parts, fields, sample_of, by_name):
    """Take files of the training part for the parts that have none; returns {part: why it has its files}.

    The last tenth of the files is the test part, and the tenth before it the validation part, by the time of their first rows, or
    by their names.
    """
    why = dict.fromkeys((part for part, paths in parts.items() if paths), "by the files' names") if by_name else {}
    wanted = [part for part in ("test", "valid") if not parts[part]]
    paths, time = parts["train"], next((one.name for one in fields if one.is_time), None)
    if len(paths) < _LEAST_FOR_VALID or not wanted:
        wanted = [part for part in wanted if part == "test" and not by_name and len(paths) > 1]
    if not wanted:
        return why
    how = ", in the order of their names"
    if time is not None and len(paths) <= _MOST_ORDERED:
        starts = {path: next((cell for cell in sample_of(path).columns.get(time, []) if cell), "") for path in paths}
        paths = sorted(paths, key=lambda path: (_as_number(starts[path]), starts[path]))
        how = f" by {time!r}"
    tenth = max(1, len(paths) // 10)
    for part in wanted:
        paths, parts[part] = paths[:-tenth], paths[-tenth:]
        purpose = "a model is asked about days to come" if part == "test" else "how long to train"
        why[part] = f"the last files{' before those' if part == 'valid' and 'test' in wanted else ''}{how}: {purpose}"
    parts["train"] = paths
    return why


def _as_number(text):
    try:
        return float(text)
    except ValueError:
        return 0.0


def _of_paths(paths, sample):
    """Fields of the folders `name=value`, where their values differ."""
    from deshpc.formats.guess import field_of
    from deshpc.formats.path_values import path_values

    found = {}
    for path in paths:
        for name, value in path_values(path).items():
            found.setdefault(name, []).append(value.decode(errors="backslashreplace"))
    return [field_of(name, cells, len(cells)) for name, cells in found.items() if name not in sample.columns and len(set(cells)) > 1]


def _without(parts, label, sample_of):
    """Files of the validation and test parts that have no label; they are taken out."""
    found = [path for part in ("valid", "test") for path in parts[part] if label not in sample_of(path).columns]
    for part in ("valid", "test"):
        parts[part] = [path for path in parts[part] if path not in found]
    return found


def _rows(paths, sample):
    """About how many rows the files have."""
    packed = 4 if any(str(path).endswith((".gz", ".zst")) for path in paths) else 1
    return int(sum(os.path.getsize(path) for path in paths) * packed / sample.row_bytes)


def _head(looked, sample, out):
    rows = max(map(len, sample.columns.values()), default=200)
    files = _comment(looked[0]) + (f" and of {len(looked) - 1} more files" if len(looked) > 1 else "")
    return [
        f"# Made by deshpc init, which has looked at the first {rows:,} rows of {files}.",
        "# What stands behind a # is its reason, or another possibility. docs/data.md has all of [data]; so has: deshpc info --options",
        "#",
        f"#     deshpc train {_comment(out)}                  on 4 processes: mpiexec -n 4 deshpc train {_comment(out)}",
        "",
    ]


def _data(parts, why, unlabelled, sample, label, missing, out):
    lines = ["[data]", f"format = {toml_value(sample.format)}"]
    if sample.delimiter:
        lines.append(f"delimiter = {toml_value(sample.delimiter)}")
    if not sample.header:
        lines += ["header = false  # the first line looks like a row", f"columns = {toml_value(list(sample.columns))}"]
    if sample.format == "libffm":
        lines.append(f"libffm_fields = {sample.libffm_fields}  # the largest one that was seen, and 1")
        lines.append("normalise_samples = false  # true: each sample's values are divided by their norm, as libffm and xLearn do; docs/models.md")
    for part in ("train", "valid", "test"):
        if parts[part]:
            own = [_relative(path, out) for path in parts[part]]
            text = toml_value(own) if len(own) < 4 else "[\n" + "".join(f"    {toml_value(one)},\n" for one in own) + "]"
            lines.append(f"{part} = {text}" + (f"  # {_comment(why[part])}" if part != "train" else ""))
    if not parts["test"] and not parts["valid"] and not unlabelled:
        lines += [
            "# There is one file, and all of it trains: the AUC that is told on the way is of rows before they were learnt from.",
            "# To measure the model on rows of their own, put the last tenth (by time) into another file, with the same header:",
            '# test = "test.csv"' if sample.format != "parquet" else '# test = "test.parquet"',
        ]
    for path in unlabelled:
        lines.append(f"# {_comment(path)} has no column {_comment(label.name)!r}: deshpc predict RUN --no-label --data FILE scores it")
    if label is not None:
        lines.append(f"label = {toml_value(label.name)}  # {_comment(label.why)}")
        if label.positive:
            lines.append(f"positive = {toml_value(label.positive)}  # the label of a positive")
    if missing:
        lines.append(f"missing = {toml_value(missing)}  # cells that count as empty")
    return [*lines, 'on_bad_row = "error"  # "skip": rows that cannot be read are left out and counted']


def _fields(fields):
    if not fields:
        return []
    lines = ["fields = ["]
    for one in fields:
        items = {"name": one.name, **({"kind": one.kind} if one.kind else {}), **one.options}
        table = ", ".join(f"{name} = {toml_value(value)}" for name, value in items.items())
        lines.append(f"    {'' if one.kind else '# '}{{ {table} }},  # {_comment(one.why)}")
    return [*lines, "]"]


def _model(rows, stops):
    from deshpc.formats.guess import batch_of

    batch = batch_of(rows)
    lines = [
        "",
        "[model]",
        'name = "fm"  # lr, fm, ffm, fwfm, fmfm, or a deep one: wide_deep, deepfm, nfm, dcn, dcnv2, dlrm, xdeepfm',
        "dim = 16",
        "",
        "[optimizer]",
        'name = "adagrad"',
        "learning_rate = 0.03",
        "initial_accumulator = 0.1",
        "l2 = 0.3  # more of it where the training loss falls and the validation loss does not",
        "",
        "[train]",
    ]
    if stops:
        lines += [
            "epochs = 100  # at most:",
            'stop_metric = "log_loss"  # of the validation part: the best model is kept',
            "stop_patience = 3",
        ]
    else:
        lines.append("epochs = 4  # a guess: with a validation part, train.stop_metric finds the right number")
    lines.append(f"global_batch_samples = {batch}" + (f"  # of a step; there are about {rows:,} rows" if rows else ""))
    if 0 < rows <= _MOST_SHUFFLED:
        lines += [f"shuffle_block_rows = {_MOST_SHUFFLED}  # all rows, whatever the order of the files", "shuffle_run_rows = 1"]
    return lines


def _relative(path, out):
    """A path as the configuration names it: relative to its folder, where it is in there."""
    folder, path = os.path.abspath(out.parent), os.path.abspath(path)
    return os.path.relpath(path, folder) if path.startswith(folder + os.sep) else path


def _comment(text):
    """A text that cannot end a comment."""
    return "".join(one if one.isprintable() else " " for one in str(text))


def _summary(out, first, sample, label, fields, parts, rows):
    kinds = [one.kind for one in fields if one.kind]
    counted = ", ".join(f"{kinds.count(kind)} {kind}" for kind in dict.fromkeys(kinds)) or f"those of {sample.format}"
    left = [one.name for one in fields if not one.kind]
    lines = [
        ("files", ", ".join(f"{len(files)} {part}" for part, files in parts.items() if files) + f", about {rows:,} rows to train on"),
        ("format", sample.format + (f", cells between {sample.delimiter!r}" if sample.delimiter else "")),
        ("label", f"{label.name} ({label.why})" if label else "the first cell"),
        ("fields", counted),
    ]
    if left:
        lines.append(("left out", f"{', '.join(left[:8])}{', ...' if left[8:] else ''}; {out} has the reasons"))
    return "\n".join([*(f"{name:10}{_comment(text)}" for name, text in lines), "", f"next: deshpc train {out}"])
