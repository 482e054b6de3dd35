"""The training loop: epochs of steps, reports on the way, evaluations, early stopping."""

import math
import time
from dataclasses import asdict, dataclass
from itertools import islice

from deshpc.data.reader import Reader
from deshpc.errors import DeshpcError
from deshpc.training.early_stopping import EarlyStopping
from deshpc.training.evaluation import evaluate_model, reads_of
from deshpc.training.metrics import Metrics
from deshpc.training.progress import NoProgress, Progress
from deshpc.training.step import steps

_DIVERGED = "the loss is not finite at step {step}: training diverged; lower optimizer.learning_rate"


@dataclass(frozen=True)
class Trained:
    """What the loop has done: steps, samples, seconds of training (evaluations not counted), and why it ended.

    valid : metrics of the model as it is now, None without a validation part or an evaluation of it
    best_step : steps after which the best model was kept, None where none was;  stopped : before the last epoch's end
    """

    steps: int
    samples: int
    seconds: float
    valid: Metrics | None
    best_step: int | None
    stopped: bool


def train_epochs(session, train_set, valid_set, record, watchdog, keep):
    """Train the session's model; returns a Trained.  Collective.

    watchdog : a `Watchdog`, which is told of every step
    keep : function of the number of steps that stores the model: called at every best evaluation if train.stop_metric
    is set.  The model is then whatever training ended with; `Trained.best_step` says which one was kept.
    """
    return _Loop(session, train_set, valid_set, record, watchdog, keep).run()


class _Loop:
    def __init__(self, session, train_set, valid_set, record, watchdog, keep):
        self._session, self._config, self._model = session, session.config.train, session.model
        self._train_set, self._valid_set, self._record = train_set, valid_set, record
        self._watchdog, self._keep = watchdog, keep
        config = self._config
        self._reader = Reader(
            train_set, config.global_batch_samples, reads_of(self._model), self._model.backend.buffers,
            config.seed, config.shuffle, config.shuffle_block_rows,
        )  # fmt: skip
        self._stopping = None
        if config.stop_metric != "none":
            self._stopping = EarlyStopping(config.stop_metric, config.stop_patience, config.stop_minimum_gain)
        self._steps, self._samples, self._seconds = 0, 0, 0.0
        self._valid, self._best_step, self._stopped = None, None, False

    def run(self):
        for epoch in range(self._config.epochs):
            self._epoch(epoch)
            if self._stopped:
                break
        return Trained(self._steps, self._samples, self._seconds, self._valid, self._best_step, self._stopped)

    def _epoch(self, epoch):
        progress = _progress(self._session, epoch, len(self._train_set), self._record)
        batches, left = self._reader.epoch(epoch, self._steps), self._reader.batches
        while left and not self._stopped:
            length = min(self._config.evaluate_every_steps or left, left)
            self._segment(islice(batches, length), progress)
            left -= length
            self._steps += length
            if not left:
                progress.finish()
            if self._valid_set is not None:
                self._evaluate(epoch)
        if left:
            progress.finish()

    def _segment(self, batches, progress):
        """Train on some batches.  No batch is under way at its end, so an evaluation disturbs none."""
        begin = time.perf_counter()
        for batch, loss in steps(self._model, batches):
            if not math.isfinite(loss):  # every rank has the same loss, so every rank comes here
                self._session.group.agree(DeshpcError(_DIVERGED.format(step=batch.step)))
            self._watchdog.step = batch.step + 1
            self._samples += batch.samples
            progress.advance(batch.samples, loss)
        self._session.group.sum(0.0)  # the slowest rank's time counts
        self._seconds += time.perf_counter() - begin

    def _evaluate(self, epoch):
        self._model.enter("evaluate")
        self._valid = evaluate_model(self._model, self._valid_set, self._config.global_batch_samples)
        verdict = self._stopping.observe(self._valid) if self._stopping else None
        self._record.write("valid", epoch=epoch, step=self._steps, **asdict(self._valid))
        if verdict == "best":
            self._best_step = self._steps
            self._model.enter("save")
            self._keep(self._steps)
        self._stopped = verdict == "stop"


def _progress(session, epoch, rows, record):
    if session.group.rank != 0:
        return NoProgress()
    run, epochs = session.config.run, session.config.train.epochs
    return Progress(
        f"epoch {epoch + 1}/{epochs}", rows, run.report_interval_s,
        lambda **entries: record.write("progress", epoch=epoch, **entries),
    )  # fmt: skip
