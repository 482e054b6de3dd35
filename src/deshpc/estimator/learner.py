"""A model that one process trains and asks: the same session, model and steps as in `deshpc train`, on COMM_SELF."""

import math
import weakref
from dataclasses import dataclass, replace

import numpy as np

from deshpc.checkpoint.describe import describe
from deshpc.checkpoint.finite import require_finite
from deshpc.config import Config, resolved
from deshpc.data.class_weights import weighted_by_class
from deshpc.data.dataset import Dataset, concatenate
from deshpc.data.fitting import Fitting
from deshpc.data.reader import Reader
from deshpc.data.transform import Transforms, transformed
from deshpc.errors import DataError, DeshpcError, LaunchError
from deshpc.formats.columns import Bucket, Columns
from deshpc.formats.schema import Schema
from deshpc.launch.start import start
from deshpc.serve.cells import MissingCells, number_of
from deshpc.serve.encoder import Encoder, converted
from deshpc.serve.rows import Rows
from deshpc.table.shard import Rows as TableRows
from deshpc.training.best_constant import begin_at
from deshpc.training.evaluation import measured
from deshpc.training.scored_samples import reads_of
from deshpc.training.session import Session
from deshpc.training.step import scores, steps
from deshpc.training.training_part import training_part

_BLOCK_ROWS = 16_384  # rows that are encoded at a time
_SAMPLE_ROWS = 64  # by which kernels are compiled


@dataclass(frozen=True)
class Knowledge:
    """All that a Learner has, in host memory: it can be pickled, and another Learner goes on from it.

    config : Config
    transforms : Transforms of its fields
    planned_steps : for a learning rate that falls until their end
    mean_weight : of the samples of the first epoch
    steps, epochs : that were made
    rows : of the table, with their optimizer state; None before the first step
    parameters : {"values", "state"} of dense parameters; None before the first step
    """

    config: Config
    transforms: Transforms
    planned_steps: int
    mean_weight: float = 1.0
    steps: int = 0
    epochs: int = 0
    rows: TableRows | None = None
    parameters: dict | None = None

    @property
    def schema(self):
        """The Schema of the columns."""
        return _schema_of(self.config)


def first_knowledge(config, columns, epochs):
    """The Knowledge of a model that has learnt nothing but the transforms.

    config : Config, whose data.fields are those of the columns
    columns : {name: list of n cells} that fit transforms
    epochs : over as many rows that are planned
    """
    schema = _schema_of(config)
    rows = Rows(columns, (*schema.key_fields, *schema.dense_fields))
    planned = epochs * -(-len(rows) // config.train.global_batch_samples)
    return Knowledge(config, _fitted(schema, rows, MissingCells(config.data.missing)), planned)


class Learner:
    """A model that goes on from some Knowledge.  Threads, tables and MPI begin when they are needed first."""

    def __init__(self, knowledge):
        self._knowledge, self._session, self._model, self._close = knowledge, None, None, None
        self._schema = knowledge.schema
        self._fields = (*self._schema.key_fields, *self._schema.dense_fields)
        self._encoder = Encoder(self._schema, knowledge.transforms, knowledge.config.data.missing)
        self._steps, self._epochs = knowledge.steps, knowledge.epochs

    def __getstate__(self):
        """A pickled or copied Learner has its own copy of all it knows."""
        return {"knowledge": self.knowledge()}

    def __setstate__(self, state):
        self.__init__(state["knowledge"])

    @property
    def fields(self):
        """The FieldConfigs of the columns."""
        return self._fields

    @property
    def epochs(self):
        """Epochs that it has learnt."""
        return self._epochs

    def knowledge(self):
        """The Knowledge of now."""
        if self._model is None:
            return self._knowledge
        parameters = self._model.dense_sums.whole_arrays()
        return replace(
            self._knowledge, steps=self._steps, epochs=self._epochs, rows=self._model.table.export(), parameters=parameters
        )

    def return_to(self, knowledge):
        """Be what some Knowledge of this Learner was."""
        self._steps, self._epochs = knowledge.steps, knowledge.epochs
        self._opened().table.clear()
        self._take(knowledge)

    def dataset(self, columns, labels=None, weights=None):
        """The Dataset of columns of raw values.

        labels : (n) float32, 0 or 1; None: all 0
        weights : (n) float32, what each row counts; None: 1
        """
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
        dataset = concatenate(blocks)
        return dataset if weights is None else replace(dataset, weights=weights)

    def part(self, dataset):
        """The TrainingPart that a Dataset is to be learnt as.  DataError where no row counts."""
        session = self._begun()
        return training_part(session, self._weighted(dataset))

    def learn(self, part):
        """Train one epoch by a TrainingPart, the first one from the rate of its own positives; DeshpcError where the loss is not finite."""
        model, config = self._opened(part), self._session.config
        if not self._steps and config.model.initial_bias == "base_rate":
            begin_at(model, part.whole)
        train = config.train
        reader = Reader(
            part.dataset, train.global_batch_samples, reads_of(model), model.backend.host_buffers,
            train.seed, train.shuffle, train.shuffle_block_rows, train.shuffle_run_rows, kept=part.kept,
        )  # fmt: skip
        for step in steps(model, reader.epoch(self._epochs, self._steps)):
            if not math.isfinite(step.loss):
                raise DeshpcError("the loss is not finite: training diverged; lower learning_rate")
        self._steps += reader.batches
        self._epochs += 1

    def require_finite(self):
        """DeshpcError where a weight is not finite, which the last step may have made so: one pass over all rows."""
        require_finite(self._opened(), self.described())

    def described(self):
        """The manifest that a saved model would have, but for rows and files."""
        return describe(self._opened(), resolved(self._session.config), {}, self._steps)

    def metrics(self, dataset):
        """The Metrics of the model on a Dataset with labels; DeshpcError where one is not finite."""
        self._opened()
        return measured(self._session, "valid", self._weighted(dataset), self._steps, complete=False)

    def logits(self, dataset):
        """(n) float64; DeshpcError where one is not finite."""
        model = self._opened()
        reader = Reader(dataset, self._session.config.train.global_batch_samples, reads_of(model), model.backend.host_buffers)
        parts = [model.backend.host(logit).astype(np.float64) for _, logit in scores(model, reader.epoch(0))]
        logits = np.concatenate(parts) if parts else np.zeros(0)
        if not np.isfinite(logits).all():
            row = int(np.argmin(np.isfinite(logits)))
            raise DeshpcError(f"row {row}: the score is {logits[row]}: training diverged; lower learning_rate")
        return logits

    def exported(self):
        """(blocks, numbers, dense, scalars) of `serve.exported.write_model`."""
        table, parameters = self._opened().table, self._model.parameters
        layout = table.whole_layout
        blocks = ((block.keys, block.numbers[:, : layout.weights]) for block in table.blocks())
        dense = {name: parameters.host(name) for name, _ in parameters.names()}
        return blocks, np.empty((0, layout.weights), layout.number.dtype), dense, layout.scalars

    def close(self):
        """Give back threads and communicators; what it knows is lost."""
        if self._close is not None:
            self._close()
        self._session = self._model = None

    def _begun(self):
        """The Session."""
        if self._session is None:
            session = Session(self._knowledge.config, _own_rank())
            self._close = weakref.finalize(self, session.close)
            session.input.restore(self._knowledge.transforms.to_json())
            self._session = session
        return self._session

    def _opened(self, part=None):
        """The Model.  part : TrainingPart of the first epoch, by whose samples kernels are compiled ahead"""
        if self._model is None:
            session, sample = self._begun(), self.dataset({field.name: [] for field in self._fields})
            if part is not None:
                sample = part.dataset.head(_SAMPLE_ROWS)
                if self._knowledge.rows is None:
                    self._knowledge = replace(self._knowledge, mean_weight=part.learnt.mean_weight)
            self._model = session.build(sample, self._knowledge.planned_steps, self._knowledge.mean_weight)
            self._take(self._knowledge)
        return self._model

    def _weighted(self, dataset):
        """A Dataset with weights times those of its classes."""
        weights = self._knowledge.config.train.class_weights
        return weighted_by_class(dataset, *weights, self._begun().workers()) if weights else dataset

    def _take(self, knowledge):
        """Have the numbers of some Knowledge; the model has no rows yet."""
        if knowledge.rows is not None:
            self._model.table.load(knowledge.rows)
            self._model.parameters.load(knowledge.parameters)


def _schema_of(config):
    """The Schema of the columns of a Config, without a label."""
    return Schema.from_config(config.data, label=False, weight=False)


def _fitted(schema, rows, missing):
    """Transforms fitted to Rows, as those of a training part are.  missing : MissingCells"""
    fitting, fields = Fitting(schema), (*schema.key_fields, *schema.dense_fields)
    for begin in range(0, len(rows), _BLOCK_ROWS):
        end = min(begin + _BLOCK_ROWS, len(rows))
        numbers = {
            field.name: np.array(converted(number_of, field, missing.emptied(cells, True), begin), np.float64)
            for field, cells in zip(fields, rows.cells(begin, end), strict=True)
            if field.kind in ("dense", "bucket")
        }
        buckets = tuple(Bucket(numbers[f.name]) if f.kind == "bucket" else None for f in schema.key_fields)
        dense = tuple(numbers[field.name] for field in schema.dense_fields)
        numbers = [transformed(field, one) for field, one in zip(schema.dense_fields, dense, strict=True)]
        numbers = np.array(numbers, np.float32).reshape(len(dense), end - begin).T
        fitting.add(Columns(buckets, dense, None, np.arange(begin, end)), numbers)
    return fitting.finish()


def _own_rank():
    """COMM_SELF.  LaunchError where MPI cannot start."""
    started = start()
    if started.comm is None:
        raise LaunchError(started.problem)
    from mpi4py import MPI

    return MPI.COMM_SELF
