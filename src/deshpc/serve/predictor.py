"""Score raw values by an exported model: NumPy only, no MPI, no compiler, no GPU."""

import os
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deshpc.backend.links import LINKS
from deshpc.serve.encoder import Encoder
from deshpc.serve.exported import read_model
from deshpc.serve.forward import FORWARDS
from deshpc.serve.forward.sample_rows import SampleRows
from deshpc.serve.rows import Rows

_BLOCK_ROWS = 4096  # their embeddings, (rows x keys, k) float64, stay in tens of MB


class Predictor:
    """A model that `deshpc export` or `Classifier.save` has written.  Calls do not change it: threads may share one.

    Rows are a list of dictionaries of raw values by field name; a dictionary of columns; or a table with `.columns`
    (pandas, polars, pyarrow).  docs/serving.md says what a field's value may be.  A value that training has not seen
    contributes nothing.  DataError names row and field of what cannot be read.
    """

    def __init__(self, path: str | os.PathLike[str], copy: bool = False) -> None:
        """path : of the exported model, which is verified; DataError where it is damaged, or not what it declares

        copy : it is read into memory, and the file may be written to; otherwise it is mapped, must not be, and every call looks
        whether it was: DataError.  Another file that is renamed to `path` makes no difference.
        """
        self.model = read_model(path, copy)
        dense = {name: array.astype(np.float64) for name, array in self.model.dense.items()}
        self._forward = FORWARDS[self.model.name](self.model.top._replace(parameters=dense))
        self._encoder = Encoder(self.model.schema, self.model.transforms, self.model.missing)

    def __getstate__(self) -> dict[str, Any]:
        """A pickled or copied Predictor has the model in memory of its own."""
        return {**vars(self), "model": self.model.copied()}

    @property
    def fields(self) -> list[str]:
        """Names of the fields of a row."""
        return [field.name for field in self._encoder.fields]

    def __len__(self) -> int:
        """Number of the model's rows."""
        return len(self.model.keys)

    def predict(self, rows: Any, ignore_extra: bool = False) -> NDArray[np.float64]:
        """Predictions, (n) float64: probabilities of a click where the model was trained by log-loss.  ignore_extra : names that the model does not know are no error."""
        link = LINKS[self.model.loss]
        return self._of_blocks(rows, ignore_extra, lambda pooled: {"p": link(self._forward.logit(**pooled))})["p"]

    def predict_one(self, row: Mapping[str, Any], ignore_extra: bool = False) -> float:
        """Prediction for one row, a dictionary."""
        return float(self.predict([row], ignore_extra)[0])

    def pooled(self, rows: Any, ignore_extra: bool = False) -> dict[str, NDArray[np.float32]]:
        """{name: float32 array (n, ...)}: the inputs of the ONNX graph that `deshpc export --onnx` writes."""
        pooled = self._of_blocks(rows, ignore_extra, lambda pooled: pooled)
        return {name: array.astype(np.float32) for name, array in pooled.items() if 0 not in array.shape[1:]}

    def _of_blocks(self, rows, ignore_extra, work):
        """The arrays that work(pooled) gives for blocks of rows, put together."""
        rows = Rows(rows, self._encoder.fields, (self.model.schema.label, self.model.schema.weight), ignore_extra)
        results = []
        for begin in range(0, max(1, len(rows)), _BLOCK_ROWS):
            self.model.require_unchanged()  # a file that was cut would end the process
            results.append(work(self._pool(begin, rows.cells(begin, min(begin + _BLOCK_ROWS, len(rows))), len(rows))))
        self.model.require_unchanged()
        return {name: np.concatenate([one[name] for one in results]) for name in results[0]}

    def _pool(self, begin, cells, rows):
        """What a block of rows is pooled to, with its dense features."""
        samples = self._encoder.encode(min(_BLOCK_ROWS, rows - begin), cells, begin)
        model, (at, seen) = self.model, _find(self.model.keys, samples.keys)
        offsets = np.concatenate([[0], np.cumsum(seen)])[samples.offsets]
        rows = SampleRows(
            offsets, samples.fields[seen], model.weights[at].astype(np.float64), model.embeddings[at].astype(np.float64),
            samples.x[seen], samples.xl[seen],
        )  # fmt: skip
        return {**self._forward.pool(rows), "dense": samples.dense}


def _find(keys, wanted):
    """(positions of those of `wanted` (n) that are among `keys`, ascending;  (n) bool, which ones they are)."""
    order = np.argsort(wanted)  # neighbours are then found in the same part of memory: six times as fast
    at = np.empty(len(wanted), np.int64)
    at[order] = np.searchsorted(keys, wanted[order])
    at[at == len(keys)] = 0
    seen = keys[at] == wanted if len(keys) else np.zeros(len(at), bool)
    return at[seen], seen
