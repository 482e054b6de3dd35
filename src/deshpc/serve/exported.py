"""An exported model on disk: one container (`storage.container`, kind "model") that NumPy alone can read.

    keys       (n) uint64, increasing       weights (n), embeddings (n, k): row i is that of key i
               k = 0 for lr, the largest of all where fields have dimensions of their own; weights (n, 0) of models whose rows have no linear weight
    dense/NAME each dense parameter, such as dense/bias
    about      model, loss and hash, schema, transforms or null, missing, steps, and how it was trained: `about_model`
    training/  what a Classifier needs to go on, `serve/saved_learner.py`, which a predictor does not read

Weights have the type in which they were trained.  There is no optimizer state, and no row whose weights are all 0, which
predicts as an unseen key does.
"""

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from deshpc.backend.links import LINKS
from deshpc.config import resolved
from deshpc.data.transform import Transforms
from deshpc.errors import ConfigError, DataError
from deshpc.formats.schema import Schema
from deshpc.hashing.key import HASH_ID
from deshpc.serve.forward import FORWARDS
from deshpc.serve.sound import declared, require_sound
from deshpc.serve.top import Top
from deshpc.storage.container import Container, ContainerWriter
from deshpc.storage.json_form import require

KIND = "model"
_DENSE = "dense/"


@dataclass(frozen=True)
class ExportedModel:
    """A model without its training.

    name : `model.name`
    options : of `[model]`
    schema : of the raw values
    transforms : Transforms, None where dense features are taken as they are
    keys : (n) uint64, increasing
    weights : (n), or (n, 0) where there are none
    embeddings : (n, k), k = 0 where there are none
    dense : {name: array}, the dense parameters
    missing : cells that count as missing, see `data.missing`
    loss : `train.loss`, by which a prediction follows from the model's sum
    file : the Container into which the arrays map, None where they are memory of their own
    """

    name: str
    options: dict
    schema: Schema
    transforms: Transforms | None
    keys: np.ndarray
    weights: np.ndarray
    embeddings: np.ndarray
    dense: dict
    missing: tuple[str, ...] = ()
    loss: str = "log"
    file: Container | None = None

    @property
    def top(self):
        """The Top."""
        return Top.of(self.options, self.dense, self.schema)

    def require_unchanged(self):
        """DataError where the file was written to since it was verified."""
        if self.file is not None:
            self.file.require_unchanged()

    def copied(self):
        """The same model in memory of its own."""
        arrays = {name: getattr(self, name).copy() for name in ("keys", "weights", "embeddings")}
        dense = {name: array.copy() for name, array in self.dense.items()}
        self.require_unchanged()
        return replace(self, **arrays, dense=dense, file=None)


def about_model(config, steps):
    """What `write_model` is told of the model of a Config: no paths, nothing of the machine."""
    tree = resolved(config)
    return {
        "model": tree["model"], "loss": config.train.loss, "missing": tree["data"]["missing"], "steps": steps,
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
    name = about["model"]["name"]
    if name not in FORWARDS:
        raise ConfigError(f"{path}: a model {name!r} cannot be exported: the predictor scores {', '.join(FORWARDS)}")
    linear, embedding = (0 if scalars else slice(0)), slice(scalars, None)
    stored = None if transforms is None else transforms.to_json()
    about = {**about, "hash": HASH_ID, "schema": schema.to_json(), "transforms": stored}
    folder = Path(path).parent
    try:
        with (
            ContainerWriter(path, KIND, about) as writer,
            _Spool(folder, np.empty(0, np.uint64)) as keys,
            _Spool(folder, numbers[:, linear]) as weights,
            _Spool(folder, numbers[:, embedding]) as embeddings,
        ):
            for block_keys, block in _in_key_order(blocks, path):
                _require_finite(path, block, lambda i, keys=block_keys: f"a weight of key {keys[i]}")
                used = block.any(axis=1)
                keys.append(block_keys[used])
                weights.append(block[used, linear])
                embeddings.append(block[used, embedding])
            writer.add("keys", keys.array())
            writer.add("weights", weights.array())
            writer.add("embeddings", embeddings.array())
            for name, array in dense.items():
                _require_finite(path, array, lambda _, name=name: f"the dense parameter {name}")
                writer.add(_DENSE + name, array)
            for name, array in others:
                writer.add(name, array)
            writer.finish()
            return keys.rows
    except OSError as error:
        raise DataError(f"{path}: cannot be written: {error.strerror}") from None


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


def read_model(path, copy=False):
    """The ExportedModel of a file, mapped into memory, or read into it (`copy`), of which every byte is verified.

    DataError names file and part: what is damaged, what was not written by this version, and what a model of its options has not.
    """
    container = Container(path, KIND, copy=copy, watch=not copy)
    about = container.about
    try:
        if about["hash"] != HASH_ID:
            raise DataError(f"{path}: keys were hashed by {about['hash']!r}, this version hashes by {HASH_ID!r}")
        options, schema = declared(about["model"], about["schema"], path)
        missing = tuple(about.get("missing", ()))  # which earlier versions have not written
        require(list(missing), [str], "missing")
        loss = about.get("loss", "log")  # a file that does not say is older than other losses
        if loss not in LINKS:
            raise DataError(f"{path}: a model of the loss {str(loss)[:20]!r}; this version knows {', '.join(LINKS)}")
        transforms = None if about["transforms"] is None else Transforms.from_json(about["transforms"])
    except ConfigError as error:
        raise DataError(str(error)) from None
    except DataError as error:
        raise error if str(path) in str(error) else DataError(f"{path}: {error}") from None
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise DataError(f"{path}: not an exported model of this version: {error!r}") from None
    keys, weights, embeddings = (container.read(part) for part in ("keys", "weights", "embeddings"))
    dense = {one[len(_DENSE) :]: container.read(one) for one in container.names if one.startswith(_DENSE)}
    own_file = None if copy else container
    model = ExportedModel(options["name"], options, schema, transforms, keys, weights, embeddings, dense, missing, loss, own_file)
    require_sound(model, path)
    model.require_unchanged()
    return model


class _Spool:
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
