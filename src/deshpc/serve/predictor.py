"""Score raw values by an exported model: NumPy only, no MPI, no compiler, no GPU."""

import os
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from deshpc.backend.links import predictions
from deshpc.errors import DataError
from deshpc.serve.delta import DELTA, read_with_deltas, with_delta
from deshpc.serve.encoder import Encoder
from deshpc.serve.exported import ExportedModel, read_model
from deshpc.serve.exports_folder import newest_chain
from deshpc.serve.forward.sample_rows import SampleRows
from deshpc.serve.rows import Rows
from deshpc.storage.container import Container

_BLOCK_ROWS, _BLOCK_NUMBERS = 4096, 1 << 22  # of a block, at most: what rows are pooled to, float64, stays in tens of MB


class Predictor:
    """A model that `deshpc export` or `Classifier.save` has written.  Threads may share one; `apply` and `follow` alone change it.

    Rows are a list of dictionaries of raw values by field name; a dictionary of columns; or a table with `.columns`
    (pandas, polars, pyarrow).  docs/serving.md says what a field's value may be.  A value that training has not seen
    contributes nothing.  DataError names row and field of what cannot be read.
    """

    def __init__(self, path: str | os.PathLike[str], copy: bool = False, forward: type | None = None) -> None:
        """path : of the exported model, which is verified; DataError where it is damaged, or not what it declares.  Or a folder of
        exports (`[export] deltas`): the newest model there.

        copy : it is read into memory, and the file may be written to; otherwise it is mapped, must not be, and every call looks
        whether it was: DataError.  Another file that is renamed to `path` makes no difference.
        forward : class of the formula of a model of your own, docs/own-model.md
        """
        self._copy, self._forward = copy, forward
        chain = newest_chain(path) if Path(path).is_dir() else [path]
        if not chain:
            raise DataError(f"{path}: no exported model there; give one, or a folder of exports that has one")
        self._version = _Version.of(read_with_deltas(*chain, copy=copy, forward=forward))
        self._applying = threading.RLock()

    def apply(self, path: str | os.PathLike[str]) -> None:
        """Go on with a later model: a delta of the present one, or a whole exported model.

        Threads may go on scoring: a call that runs ends with the model with which it began, one that begins later has the new one.
        The new model is made beside the present one, then one reference is changed.  Rows that deltas have changed are kept in memory.
        path : of what `deshpc export` has written
        DataError where it is damaged, or a delta of another model; everything stays as it was then.  A delta that was applied last makes
        no difference.
        """
        with self._applying:
            present = self._version.model
            model = with_delta(present, path) if Container(path).kind == DELTA else read_model(path, self._copy, self._forward)
            if model is not present:
                self._version = _Version.of(model)

    def follow(self, folder: str | os.PathLike[str]) -> int:
        """Apply what is new in a folder of exports, which a run writes by `[export] deltas`; returns how many files that were.

        To be called again and again, for instance every second.  It is the newest model afterwards, whichever it was before: deltas are
        applied one after another, or first the newest whole model, where they do not go over the present one.
        DataError as of `apply`; what was applied before stays.
        """
        with self._applying:  # another thread that follows begins where this one has ended
            chain = newest_chain(folder)
            new = next((i for i in reversed(range(len(chain))) if _identity(chain[i]) == self.identity), -1) + 1
            for path in chain[new:]:
                self.apply(path)
            return len(chain) - new

    def __getstate__(self) -> dict[str, Any]:
        """A pickled or copied Predictor has the model in memory of its own."""
        version = self._version
        return {"_copy": self._copy, "_forward": self._forward, "_version": version._replace(model=version.model.copied())}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._applying = threading.RLock()

    @property
    def model(self) -> Any:
        """The present model, an `ExportedModel`."""
        return self._version.model

    @property
    def identity(self) -> str:
        """64 digits that name the present model: those of its whole export, however it came here."""
        return self._version.model.identity

    @property
    def fields(self) -> list[str]:
        """Names of the fields of a row."""
        return [field.name for field in self._version.encoder.fields]

    @property
    def tasks(self) -> list[str]:
        """Names of the tasks, by column of `predict`; empty where the model has one label."""
        schema = self._version.model.schema
        return [name for name, _ in schema.label_columns] if schema.tasks else []

    def __len__(self) -> int:
        """Number of the model's rows."""
        return len(self._version.model)

    def predict(self, rows: Any, ignore_extra: bool = False) -> NDArray[np.float64]:
        """Predictions, (n) float64: probabilities of a click where the model was trained by log-loss; (n, T) of T tasks.

        ignore_extra : names that the model does not know are no error
        """
        version = self._version
        return version.of_blocks(rows, ignore_extra, lambda pooled: {"p": predictions(version.model.loss, version.forward.logit(**pooled))})["p"]

    def predict_one(self, row: Mapping[str, Any], ignore_extra: bool = False) -> float | Any:
        """Prediction for one row, a dictionary: a float, or an array (T) of T tasks."""
        found = self.predict([row], ignore_extra)[0]
        return found if self.tasks else float(found)

    def pooled(self, rows: Any, ignore_extra: bool = False) -> dict[str, NDArray[np.float32]]:
        """{name: float32 array (n, ...)}: the inputs of the ONNX graph that `deshpc export --onnx` writes."""
        pooled = self._version.of_blocks(rows, ignore_extra, lambda pooled: pooled)
        return {name: array.astype(np.float32) for name, array in pooled.items() if 0 not in array.shape[1:]}


def _identity(path):
    """Of the model that a file of an export, whole or a delta, makes, as it says; nothing is verified."""
    container = Container(path)
    return container.about.get("result") if container.kind == DELTA else container.identity


class _Version(NamedTuple):
    """A model, and what is made of it: nothing of it changes.

    model : ExportedModel
    forward : of its dense parameters, in float64
    encoder : Encoder of its fields
    """

    model: ExportedModel
    forward: Any
    encoder: Encoder

    @classmethod
    def of(cls, model):
        """The version of an ExportedModel."""
        dense = {name: array.astype(np.float64) for name, array in model.dense.items()}
        forward = model.forward(model.top._replace(parameters=dense))
        return cls(model, forward, Encoder(model.schema, model.transforms, model.missing))

    def of_blocks(self, rows, ignore_extra, work):
        """The arrays that work(pooled) gives for blocks of rows, put together."""
        rows = Rows(rows, self.encoder.fields, (*dict(self.model.schema.label_columns), self.model.schema.weight), ignore_extra)
        results, size = [], self._block_rows()
        for begin in range(0, max(1, len(rows)), size):
            self.model.require_unchanged()  # a file that was cut would end the process
            end = min(begin + size, len(rows))
            results.append(work(self._pool(begin, rows.cells(begin, end), end - begin)))
        self.model.require_unchanged()
        return {name: np.concatenate([one[name] for one in results]) for name in results[0]}

    def _block_rows(self):
        top = self.model.top
        numbers = sum(top.row_dims) + top.dim * sum(one.length for one in top.attended)
        return max(1, min(_BLOCK_ROWS, _BLOCK_NUMBERS // max(1, numbers)))

    def _pool(self, begin, cells, rows):
        """What so many rows, from number `begin` on, are pooled to, with their dense features."""
        samples = self.encoder.encode(rows, cells, begin)
        weights, embeddings, seen = self.model.find(samples.keys)
        offsets = np.concatenate([[0], np.cumsum(seen)])[samples.offsets]
        n, n_fields = len(offsets) - 1, self.model.top.n_fields
        places = np.repeat(np.arange(n) * n_fields, np.diff(samples.offsets)) + samples.fields
        values = np.bincount(places, minlength=n * n_fields).reshape(n, n_fields)
        rows = SampleRows(offsets, samples.fields[seen], weights, embeddings, samples.x[seen], samples.xl[seen], values)
        return {**self.forward.pool(rows), "dense": samples.dense}
