"""What has changed from one exported model to a later one: a container of kind "model delta", which NumPy alone can read.

    keys, weights, embeddings   rows that are new, or of which a bit has changed, as `serve/exported.py` has them
    gone                        (m) uint64, increasing: keys that have no row any more
    dense/NAME                  each dense parameter of the later model: they are always whole
    about                       base, result   `Container.identity` of both models' whole exports
                                base_steps, rows   steps of the one, rows of the other
                                model   `about` of the later model: its transforms and options may be others

The models are told apart by what they hold, not by their files.  So a delta is put over its base alone, and what comes out is, bit for
bit, what `deshpc export` writes of the later model.
"""

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from deshpc.errors import DataError
from deshpc.serve.changes import END, Changes, ModelRows, among, positions
from deshpc.serve.exported import KIND, ExportedModel, Spool, SpooledRows, add_dense, model_in, read_model, write_rows
from deshpc.storage.container import Container, ContainerWriter, SectionSum, identity_of
from deshpc.storage.json_form import COUNT, require

DELTA = "model delta"
_FORM = {"base": str, "base_steps": COUNT, "result": str, "rows": COUNT, "model": dict}
_SHOWN = 12  # digits of an identity


def write_delta(path, old, about, blocks, like, dense):
    """Write what has changed since the ExportedModel `old`; returns a line of text.

    about, blocks, like, dense : of the later model, as `write_rows` is given
    Rows are compared block by block.  DataError where rows of the two have different types or widths, and where it cannot be written.
    """
    if not goes_over(like, old):
        raise DataError(
            f"{path}: rows of the base have {_form(old.rows)}, those of the model {_form(like)}: a delta is between models of one form"
        )
    folder = Path(path).parent
    sums = [SectionSum(name, one) for name, one in zip(ModelRows._fields, like, strict=True)]
    try:
        with ContainerWriter(path, DELTA) as writer, SpooledRows(folder, like) as changed, Spool(folder, like.keys) as gone:
            begin = rows = 0
            for block in blocks:
                if not len(block.keys):
                    continue
                end = int(block.keys[-1]) + 1
                before = old.between(begin, end)
                changed.append(block.take(_differs(block, before)))
                gone.append(before.keys[~among(before.keys, block.keys)])
                for total, array in zip(sums, block, strict=True):
                    total.add(array)
                begin, rows = end, rows + len(block.keys)
            gone.append(old.between(begin, END).keys)
            changed.add_to(writer)
            writer.add("gone", gone.array())
            entries = add_dense(writer, dense)
            result = identity_of(KIND, about, [*(total.section() for total in sums), *entries])
            base = {"base": old.identity, "base_steps": old.steps}
            writer.about.update({**base, "result": result, "rows": rows, "model": about})
            old.require_unchanged()
            writer.finish()
            return f"{rows:,} rows: {len(changed):,} new or changed and {gone.rows:,} gone since {old.steps} steps"
    except OSError as error:
        raise DataError(f"{path}: cannot be written: {error.strerror}") from None


def goes_over(like, old):
    """Whether a model whose rows are like these ModelRows can be a delta of the ExportedModel `old`: rows have one type and width."""
    return _form(like) == _form(old.rows)


def _differs(rows, before):
    """(n) bool: which ModelRows are not, bit for bit, among those before."""
    at, known = positions(before.keys, rows.keys)
    differs = ~known
    for old, new in zip(before.take(at)[1:], rows.take(known)[1:], strict=True):
        differs[known] |= (_bits(old) != _bits(new)).any(axis=1)
    return differs


def _bits(array):
    """(n, bytes) of an array (n, ...)."""
    return np.ascontiguousarray(array).reshape(len(array), int(np.prod(array.shape[1:]))).view(np.uint8)


def _form(rows):
    """Type and widths of ModelRows, in words."""
    return f"{rows.embeddings.dtype} {rows.weights.shape[1:] or 'and a linear weight'} and {rows.embeddings.shape[1]} numbers of an embedding"


class Delta(NamedTuple):
    """base, base_steps : identity and steps of the model over which it goes
    rows : number of the later model's rows
    later : ExportedModel of the later model's identity, with everything but rows that are as they were
    gone : as in the file
    """

    base: str
    base_steps: int
    rows: int
    later: ExportedModel
    gone: np.ndarray


def read_delta(path, forward=None):
    """The Delta of a file, in memory, of which every byte is verified.  DataError names what is damaged.  forward : see `forward_of`"""
    container = Container(path, DELTA, copy=True)
    about = container.about
    try:
        require(about, _FORM, "about")
    except ValueError as error:
        raise DataError(f"{path}: not a delta of this version: {error}") from None
    later, gone = model_in(container, False, about["model"], about["result"], forward), container.read("gone")
    if gone.dtype != np.uint64 or gone.ndim != 1 or not (gone[1:] > gone[:-1]).all() or among(gone, later.rows.keys).any():
        raise DataError(f"{path}: damaged: section 'gone' is no list of increasing keys that have no row")
    return Delta(about["base"], about["base_steps"], about["rows"], later, gone)


def with_delta(model, path):
    """The ExportedModel that a delta makes of `model`, which stays as it is, and shares its rows.

    The rows that deltas have changed lie over those of the file, in memory of their own.  Where they are more than the file's, all are put
    together in memory, and the file is let go.  A delta whose result is the model itself makes no difference.
    DataError, naming the file, where it is damaged or a delta of another model.
    """
    base, base_steps, n_rows, later, gone = read_delta(path, model.forward if ":" in model.name else None)
    if later.identity == model.identity:
        return model
    if base != model.identity:
        raise DataError(
            f"{path}: is a delta of the model {base[:_SHOWN]!r}, after {base_steps} steps; it was to be put over the model "
            f"{model.identity[:_SHOWN]!r}, after {model.steps} steps: deltas go over their base, each in its turn"
        )
    if _form(later.rows) != _form(model.rows):
        raise DataError(f"{path}: damaged: its rows have {_form(later.rows)}, those of its base {_form(model.rows)}")
    model.require_unchanged()
    before = Changes(later.rows.take(slice(0)), gone[:0]) if model.changes is None else model.changes
    changes = before.then(Changes(later.rows, gone), model.rows.keys)
    if len(changes) > len(model.rows.keys):
        new = replace(later, rows=changes.of(model.rows))
    else:
        new = replace(later, rows=model.rows, file=model.file, changes=changes)
    model.require_unchanged()
    if len(new) != n_rows:
        raise DataError(f"{path}: damaged: with it the model has {len(new):,} rows; expected {n_rows:,}")
    return new


def read_with_deltas(path, *deltas, copy=False, forward=None):
    """The ExportedModel of a file, with deltas put over it in their order.  copy, forward : as of `read_model`"""
    model = read_model(path, copy, forward)
    for delta in deltas:
        model = with_delta(model, delta)
    return model


def fold(path: str | os.PathLike[str], deltas: Sequence[str | os.PathLike[str]], out: str | os.PathLike[str]) -> str:
    """Write the exported model that a model and deltas, in their order, are together, to the file `out`; returns a line of text.

    path : of an exported model
    deltas : of it, which `deshpc export --delta-from` has written
    DataError where one is damaged, or not a delta of what those before it make.  The file is, bit for bit, the one that `deshpc export` writes of the last delta's model.  Memory is that of the rows of the deltas.
    """
    model = read_with_deltas(path, *deltas)
    rows = write_rows(out, model.about, model.blocks(), model.rows.take(slice(0)), model.dense, identity=model.identity)
    return f"{out}: {model.name} model of {model.steps} steps, {rows:,} rows"
