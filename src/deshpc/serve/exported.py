"""An exported model on disk: one container (`storage.container`, kind "model") that NumPy alone can read.

    keys       (n) uint64, increasing       weights (n), embeddings (n, k): row i is that of key i
               k = 0 for lr, the largest of all where fields have dimensions of their own; weights (n, 0) of models whose rows have no linear weight
    dense/NAME each dense parameter, such as dense/bias
    about      model, loss and hash, schema, transforms or null, missing, steps, and how it was trained: `about_model`
    training/  what a Classifier needs to go on, `estimator/saved_learner.py`, which a predictor does not read

Weights have the type in which they were trained.  There is no optimizer state, and no row whose weights are all 0, which
predicts as an unseen key does.
"""

import tempfile
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import numpy as np

from deshpc.backend.links import LINKS
from deshpc.config import resolved
from deshpc.config.tasks import losses_of
from deshpc.data.transform import Transforms
from deshpc.errors import ConfigError, DataError
from deshpc.formats.schema import Schema
from deshpc.hashing.key import HASH_ID
from deshpc.serve.changes import END, Changes, ModelRows, among
from deshpc.serve.forward import forward_of
from deshpc.serve.sound import declared, require_sound
from deshpc.serve.top import Top
from deshpc.storage.container import Container, ContainerWriter
from deshpc.storage.json_form import require

KIND = "model"
_DENSE = "dense/"
_BLOCK_ROWS = 1 << 16  # of `ExportedModel.blocks`


@dataclass(frozen=True)
class ExportedModel:
    """A model without its training.

    name : `model.name`
    options : of `[model]`
    schema : of the raw values
    transforms : Transforms, None where dense features are taken as they are
    rows : ModelRows of the file
    dense : {name: array}, the dense parameters
    missing : cells that count as missing, see `data.missing`
    loss : `train.loss`, by which a prediction follows from the model's sum; of several tasks a tuple of theirs
    file : the Container into which the arrays map, None where they are memory of their own
    about : the JSON object of its file
    identity : of the whole model, `Container.identity` of a file that has it
    forward : class of its formula, see `serve.forward`
    changes : Changes of `rows` that deltas have made, None where there are none
    """

    name: str
    options: dict
    schema: Schema
    transforms: Transforms | None
    rows: ModelRows
    dense: dict
    missing: tuple[str, ...]
    loss: str | tuple[str, ...]
    file: Container | None
    about: dict
    identity: str
    forward: type
    changes: Changes | None = None

    def __len__(self):
        """Number of rows."""
        if self.changes is None:
            return len(self.rows.keys)
        new = ~among(self.changes.rows.keys, self.rows.keys)
        return len(self.rows.keys) + int(new.sum()) - len(self.changes.gone)

    @property
    def steps(self):
        """Steps that it was trained for, 0 where the file does not say."""
        return self.about.get("steps", 0)

    @property
    def top(self):
        """The Top."""
        return Top.of(self.options, self.dense, self.schema)

    def find(self, wanted):
        """(weights, embeddings of those of `wanted` (n) uint64 that have a row, float64;  (n) bool, which ones have)."""
        return self.rows.find(wanted) if self.changes is None else self.changes.find(self.rows, wanted)

    def between(self, begin, end):
        """ModelRows of the keys begin .. end - 1."""
        rows = self.rows.between(begin, end)
        return rows if self.changes is None else self.changes.of(rows, begin, end)

    def blocks(self):
        """ModelRows of all rows in key order, one block after another."""
        keys = self.rows.keys
        edges = [0, *(int(key) for key in keys[_BLOCK_ROWS::_BLOCK_ROWS]), END]
        for begin, end in pairwise(edges):
            yield self.between(begin, end)

    def require_unchanged(self):
        """DataError where the file was written to since it was verified."""
        if self.file is not None:
            self.file.require_unchanged()

    def copied(self):
        """The same model in memory of its own."""
        rows = ModelRows(*(array.copy() for array in self.rows))
        dense = {name: array.copy() for name, array in self.dense.items()}
        self.require_unchanged()
        return replace(self, rows=rows, dense=dense, file=None)


def about_model(config, steps):
    """What `write_model` is told of the model of a Config: no paths, nothing of the machine."""
    tree = resolved(config)
    return {
        "model": tree["model"], "loss": losses_of(config), "missing": tree["data"]["missing"], "steps": steps,
        "training": {part: tree[part] for part in ("optimizer", "train")},
    }  # fmt: skip


def write_model(path, about, schema, transforms, blocks, numbers, dense, scalars=1, others=()):
    """Write an exported model; returns its number of rows.

    about   : of `about_model`
    transforms : None where dense features are taken as they are
    dense : {name: array}
    blocks  : (keys (m) uint64, weights (m, scalars + k)) of rows in key order, asked for one after another: one is held at a time
    numbers : (0, scalars + k), empty, of the weights' type
    scalars : linear weights of a row, 0 or 1, in front of the embedding
    others : (name, array) of further sections, which a predictor does not read
    """
    about = stored_about(path, about, schema, transforms)
    return write_rows(path, about, used_rows(blocks, path, scalars), like_rows(numbers, scalars), dense, others)


def stored_about(path, about, schema, transforms):
    """What a file of a model says of it.  about : of `about_model`"""
    stored = None if transforms is None else transforms.to_json()
    return {**about, "hash": HASH_ID, "schema": schema.to_json(), "transforms": stored}


def like_rows(numbers, scalars):
    """ModelRows without rows of the type and width of numbers (0, scalars + k)."""
    return _split(np.empty(0, np.uint64), numbers, scalars)


def used_rows(blocks, path, scalars):
    """ModelRows of blocks as `write_model` is given, without rows of zeros, of which each begins above the end of the one before."""
    for keys, block in _in_key_order(blocks, path):
        _require_finite(path, block, lambda i, keys=keys: f"a weight of key {keys[i]}")
        used = block.any(axis=1)
        yield _split(keys[used], block[used], scalars)


def write_rows(path, about, blocks, like, dense, others=(), identity=None):
    """Write a file of a model; returns its number of rows.

    about  : of `stored_about`
    blocks : ModelRows in key order
    like   : ModelRows without rows, of their type and width
    dense, others : as `write_model` has them
    identity : DataError, and no file, where that of the file would be another
    """
    try:
        with ContainerWriter(path, KIND, about) as writer, SpooledRows(Path(path).parent, like) as rows:
            for block in blocks:
                rows.append(block)
            rows.add_to(writer)
            add_dense(writer, dense)
            for name, array in others:
                writer.add(name, array)
            if identity not in (None, writer.identity):
                raise DataError(f"{path}: cannot be written: the rows and parameters are not those of the model {identity[:12]}")
            writer.finish()
            return len(rows)
    except OSError as error:
        raise DataError(f"{path}: cannot be written: {error.strerror}") from None


def add_dense(writer, dense):
    """Add {name: array}, the dense parameters, as sections; returns their entries.  DataError where a number is not finite."""
    for name, array in dense.items():
        _require_finite(writer.path, array, lambda _, name=name: f"the dense parameter {name}")
    return [writer.add(_DENSE + name, array) for name, array in dense.items()]


def _split(keys, numbers, scalars):
    """ModelRows of numbers (m, scalars + k)."""
    return ModelRows(keys, numbers[:, 0 if scalars else slice(0)], numbers[:, scalars:])


def _require_finite(path, numbers, what):
    """DataError unless all numbers (n, ...) are finite.  what : function of the number of an element's row, that says what it is"""
    if not (finite := np.isfinite(numbers)).all():
        first = tuple(np.argwhere(~finite)[0])
        raise DataError(f"{path}: cannot be written: {what(first[0] if first else 0)} is {numbers[first]}: training diverged")


def _in_key_order(blocks, path):
    """The blocks, of which each begins above the end of the one before: look-ups rely on it."""
    last = -1
    for keys, block in blocks:
        if len(keys):
            if int(keys[0]) <= last or not (keys[1:] > keys[:-1]).all():
                raise DataError(f"{path}: cannot be written: the rows of the saved model are not in key order")
            last = int(keys[-1])
        yield keys, block


def read_model(path, copy=False, forward=None):
    """The ExportedModel of a file, mapped into memory, or read into it (`copy`), of which every byte is verified.

    forward : see `forward_of`
    DataError names file and part: what is damaged, what was not written by this version, and what a model of its options has not.
    """
    return model_in(Container(path, KIND, copy=copy, watch=not copy), not copy, forward=forward)


def model_in(container, mapped, about=None, identity=None, forward=None):
    """The ExportedModel of the sections of a Container, which is read, or, if `mapped`, goes on being mapped.

    about, identity : where they are not those of the container
    """
    path, about = container.path, container.about if about is None else about
    try:
        if about["hash"] != HASH_ID:
            raise DataError(f"{path}: keys were hashed by {about['hash']!r}, this version hashes by {HASH_ID!r}")
        options, schema = declared(about["model"], about["schema"], path)
        missing = tuple(about.get("missing", ()))  # which earlier versions have not written
        require(list(missing), [str], "missing")
        loss = about.get("loss", "log")  # a file that does not say is older than other losses
        loss = tuple(loss) if isinstance(loss, list) else loss
        losses = loss if isinstance(loss, tuple) else (loss,)
        if not losses or not set(losses) <= LINKS.keys() or schema.tasks != (len(losses) if isinstance(loss, tuple) else 0):
            raise DataError(f"{path}: a model of the loss {str(loss)[:40]!r}; this version knows {', '.join(LINKS)}, one for each label")
        transforms = None if about["transforms"] is None else Transforms.from_json(about["transforms"])
    except ConfigError as error:
        raise DataError(str(error)) from None
    except DataError as error:
        raise error if str(path) in str(error) else DataError(f"{path}: {error}") from None
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise DataError(f"{path}: not an exported model of this version: {error!r}") from None
    rows = ModelRows(*(container.read(part) for part in ModelRows._fields))
    dense = {one[len(_DENSE) :]: container.read(one) for one in container.names if one.startswith(_DENSE)}
    model = ExportedModel(
        options["name"], options, schema, transforms, rows, dense, missing, loss, container if mapped else None, about,
        identity or container.identity, forward_of(options["name"], forward, path),
    )  # fmt: skip
    require_sound(model, path)
    model.require_unchanged()
    return model


class SpooledRows:
    """ModelRows that grow by blocks, in nameless files.

    folder : of the files
    like : ModelRows without rows, of the type and width of those to come
    """

    def __init__(self, folder, like):
        self._files = ExitStack()
        self._spools = [self._files.enter_context(Spool(folder, one)) for one in like]

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self._files.close()

    def __len__(self):
        return self._spools[0].rows

    def append(self, rows):
        """Add ModelRows."""
        for spool, array in zip(self._spools, rows, strict=True):
            spool.append(array)

    def add_to(self, writer):
        """Add all rows to a ContainerWriter, as sections."""
        for name, spool in zip(ModelRows._fields, self._spools, strict=True):
            writer.add(name, spool.array())


class Spool:
    """An array that grows by blocks, in a nameless file.

    like : an empty array of the type and width of the rows to come
    rows : so far
    """

    def __init__(self, folder, like):
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115  closed by __exit__
        self._like, self.rows = like, 0

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self._file.close()

    def append(self, block):
        """Add rows."""
        self._file.write(block.astype(self._like.dtype).tobytes())
        self.rows += len(block)

    def array(self):
        """All rows, mapped."""
        self._file.flush()
        shape = (self.rows, *self._like.shape[1:])
        return (
            np.memmap(self._file, self._like.dtype, "r", shape=shape)
            if 0 not in shape
            else np.empty(shape, self._like.dtype)
        )
