"""A model that one process trains and asks: the same session, model and steps as in `deshpc train`, on COMM_SELF."""

import math

import numpy as np

from deshpc.checkpoint.describe import describe
from deshpc.checkpoint.finite import require_finite
from deshpc.config import resolved
from deshpc.data.dataset import Dataset, concatenate
from deshpc.data.fitting import Fitting
from deshpc.data.reader import Reader
from deshpc.data.transform import signed_log
from deshpc.errors import DataError, DeshpcError, LaunchError
from deshpc.formats.columns import Bucket, Columns
from deshpc.formats.schema import Schema
from deshpc.launch.start import start
from deshpc.serve.cells import number_of
from deshpc.serve.encoder import Encoder, converted
from deshpc.serve.exported import about_model, write_model
from deshpc.serve.rows import Rows
from deshpc.training.best_constant import begin_at, best_constant
from deshpc.training.scored_samples import reads_of
from deshpc.training.session import Session
from deshpc.training.step import scores, steps

_BLOCK_ROWS = 16_384  # rows that are encoded at a time
_SAMPLE_ROWS = 64  # by which kernels are compiled


class Learner:
    """A model that starts empty and learns from columns of raw values."""

    def __init__(self, config, columns, epochs):
        """config : Config, whose data.fields are those of the columns
        columns : {name: list of n cells} that fit transforms

        epochs : over as many rows that are planned, for a learning rate that falls until their end
        """
        self._schema = Schema.of_fields(config.data.fields, None)
        self._fields = (*self._schema.key_fields, *self._schema.dense_fields)
        rows = Rows(columns, self._fields)
        self._transforms = _fitted(self._schema, self._fields, rows)
        self._encoder = Encoder(self._schema, self._transforms)
        sample = self.dataset({name: cells[:_SAMPLE_ROWS] for name, cells in columns.items()})
        self._session = Session(config, _own_rank())
        self._model = self._session.build(sample, epochs * -(-len(rows) // config.train.global_batch_samples))
        self._steps = self._epochs = 0

    def dataset(self, columns, labels=None):
        """The Dataset of columns of raw values.  labels : (n) float32, 0 or 1; None: all 0"""
        rows = Rows(columns, self._fields)
        labels = np.zeros(len(rows), np.float32) if labels is None else labels
        if len(labels) != len(rows):
            raise DataError(f"X has {len(rows)} rows and y has {len(labels)} labels; expected as many")
        blocks = []
        for begin in range(0, max(1, len(rows)), _BLOCK_ROWS):
            end = min(begin + _BLOCK_ROWS, len(rows))
            one = self._encoder.encode(end - begin, rows.cells(begin, end), begin)
            values = (None, one.x, np.stack([one.x, one.xl], axis=1))[self._schema.value_width]
            values = None if values is None else values.astype(np.float32)
            dense = one.dense.astype(np.float32)
            blocks.append(Dataset(one.offsets, one.keys, one.fields, values, dense, labels[begin:end]))
        return concatenate(blocks)

    def learn(self, dataset):
        """Train one epoch, the first one from the rate of its own positives; DeshpcError where the loss is not finite."""
        train = self._session.config.train
        if not self._steps and self._session.config.model.initial_bias == "base_rate":
            begin_at(self._model, best_constant(train.loss, self._session.group, dataset))
        reader = Reader(
            dataset, train.global_batch_samples, reads_of(self._model), self._model.backend.host_buffers,
            train.seed, train.shuffle, train.shuffle_block_rows, train.shuffle_run_rows,
        )  # fmt: skip
        for step in steps(self._model, reader.epoch(self._epochs, self._steps)):
            if not math.isfinite(step.loss):
                raise DeshpcError("the loss is not finite: training diverged; lower learning_rate")
        self._steps += reader.batches
        self._epochs += 1

    def require_finite(self):
        """DeshpcError where a weight is not finite, which the last step may have made so: one pass over all rows."""
        require_finite(self._model, describe(self._model, resolved(self._session.config), {}, self._steps))

    def logits(self, dataset):
        """(n) float64; DeshpcError where one is not finite."""
        batch = self._session.config.train.global_batch_samples
        reader = Reader(dataset, batch, reads_of(self._model), self._model.backend.host_buffers)
        backend = self._model.backend
        parts = [backend.host(logit).astype(np.float64) for _, logit in scores(self._model, reader.epoch(0))]
        logits = np.concatenate(parts) if parts else np.zeros(0)
        if not np.isfinite(logits).all():
            row = int(np.argmin(np.isfinite(logits)))
            raise DeshpcError(f"row {row}: the score is {logits[row]}: training diverged; lower learning_rate")
        return logits

    def save(self, path):
        """Write the model for `deshpc.Predictor`."""
        table, parameters = self._model.table, self._model.parameters
        layout = table.whole_layout
        write_model(
            path, about_model(self._session.config, self._steps), self._schema, self._transforms,
            ((block.keys, block.numbers[:, : layout.weights]) for block in table.blocks()),
            np.empty((0, layout.weights), layout.precision), {name: parameters.host(name) for name, _ in parameters.names()},
            layout.scalars,
        )  # fmt: skip

    def close(self):
        """Give back threads and communicators."""
        self._session.close()


def _fitted(schema, fields, rows):
    """Transforms fitted to rows, as those of a training part are."""
    fitting = Fitting(schema)
    for begin in range(0, len(rows), _BLOCK_ROWS):
        end = min(begin + _BLOCK_ROWS, len(rows))
        numbers = {
            field.name: np.array(converted(number_of, field, cells, begin), np.float64)
            for field, cells in zip(fields, rows.cells(begin, end), strict=True)
            if field.kind in ("dense", "bucket")
        }
        buckets = tuple(Bucket(numbers[f.name]) if f.kind == "bucket" else None for f in schema.key_fields)
        dense = tuple(numbers[field.name] for field in schema.dense_fields)
        logs = np.array([signed_log(one) for one in dense], np.float32).reshape(len(dense), end - begin).T
        fitting.add(Columns(buckets, dense, None, np.arange(begin, end)), logs)
    return fitting.finish()


def _own_rank():
    """COMM_SELF.  LaunchError where MPI cannot start."""
    started = start()
    if started.comm is None:
        raise LaunchError(started.problem)
    from mpi4py import MPI

    return MPI.COMM_SELF
