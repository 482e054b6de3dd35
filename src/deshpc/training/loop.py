"""The training loop: epochs of steps, reports on the way, evaluations, early stopping, checkpoints."""

import math
import time
from dataclasses import asdict, dataclass
from functools import partial
from itertools import islice

from deshpc.checkpoint.finite import DIVERGED
from deshpc.data.reader import Reader
from deshpc.errors import DataError, DeshpcError
from deshpc.metrics.results import Metrics
from deshpc.training.cursor import Cursor
from deshpc.training.early_stopping import EarlyStopping
from deshpc.training.evaluation import in_words, measured
from deshpc.training.gathering import gathered_ahead
from deshpc.training.large_part import LargePart
from deshpc.training.meetings import Meetings
from deshpc.training.progress import Progress
from deshpc.training.scored_samples import reads_of
from deshpc.training.step import steps
from deshpc.training.wishes import end_by, why_to_end

_SEGMENT = 1000
"""Most batches of a stream without a look at what else there is to do."""


@dataclass(frozen=True)
class Trained:
    """What the loop has done, and why it ended.

    steps : that made the model, those before a checkpoint, or of the model that it started from, included
    samples : that the run has made, those before a checkpoint included
    new_steps, new_samples : of this loop
    seconds : of training, evaluations not counted
    valid : metrics of the model as it is now, None without a validation part or an evaluation of it
    best_step : steps after which the best model was kept, None where none was
    stopped : why it ended before the last epoch did, None where it did not
    """

    steps: int
    samples: int
    new_steps: int
    new_samples: int
    seconds: float
    valid: Metrics | None
    best_step: int | None
    stopped: str | None


def train_epochs(
    session, part, valid_set, reports, watchdog, keep, checkpoint, wishes, start=None, of_epoch=lambda epoch, loss: None, stream=None
):
    """Train the session's model; returns a Trained.  `Stopped` on every rank, behind a checkpoint, where one wants an end.  Collective.

    part : TrainingPart
    reports : `Reports`, which is told of progress and evaluations
    watchdog : a `Watchdog`, which is told of every step
    keep : function of the number of steps that stores the model: called at every best evaluation if train.stop_metric
    is set.  The model is then whatever training ended with; `Trained.best_step` says which one was kept.
    checkpoint : object whose write(cursor) makes a checkpoint, called every checkpoint.every_steps steps and where ranks
    agree on one, whose check() raises what has gone wrong with the last one, and whose finish() waits for it
    wishes : `Wishes` of this rank: for a checkpoint, or an end
    start : Cursor of the checkpoint that the model is that of, or of a beginning at another step than 0
    stream : Stream whose samples are learnt instead of those of `part`, as they come, once
    of_epoch : function that is told the number of each epoch at its end, and the mean loss of its rows, by weight, before they were learnt from
    """
    return _Loop(session, part, valid_set, reports, watchdog, keep, checkpoint, wishes, start or Cursor(), of_epoch, stream).run()


class _Loop:
    def __init__(self, session, part, valid_set, reports, watchdog, keep, checkpoint, wishes, start, of_epoch, stream):
        self._session, self._config, self._model = session, session.config.train, session.model
        self._valid_set, self._reports = valid_set, reports
        self._watchdog, self._keep, self._checkpoint, self._start, self._of_epoch = watchdog, keep, checkpoint, start, of_epoch
        config = self._config
        self._stream, self._follows = stream, stream is not None
        reads, buffers, valid = reads_of(self._model), self._model.backend.host_buffers, 3 + self._model.backend.batches_ahead
        if self._follows:
            self._reader = stream.reader(start, reads, buffers, valid)
        elif isinstance(part, LargePart):
            self._reader = part.reader(session, reads, buffers, valid)
        else:
            self._reader = Reader(
                part.dataset, config.global_batch_samples, reads, buffers, config.seed, config.shuffle, config.shuffle_block_rows,
                config.shuffle_run_rows, valid, part.kept,
            )  # fmt: skip
        self._by_files = isinstance(part, LargePart) and not part.divided.even and config.shuffle
        self._require_same_order()
        self._checkpoint_every, self._checkpoint_step = session.config.checkpoint.every_steps, start.steps
        self._wishes, self._meetings = wishes, Meetings(session.group, wishes)
        self._stopping = None
        if config.stop_metric != "none":
            self._stopping = EarlyStopping(config.stop_metric, config.stop_patience, config.stop_minimum_gain)
            if start.stopping:
                self._stopping.restore(start.stopping)
        self._steps, self._samples, self._seconds = start.steps, start.samples, 0.0
        self._reached = start.steps  # as `_steps`, but in the middle of a segment, too
        self._valid, self._best_step, self._stopped, self._evaluated_step = None, start.best_step, None, None

    def run(self):
        try:
            cursor = self._follow() if self._follows else self._epochs()
            if not self._stopped and self._steps != self._checkpoint_step:  # else nothing is lost by going on
                self._grant(self._meetings.last(), cursor)
        except DeshpcError as error:
            if error.agreed == self._session.group.size:  # all ranks are in the same meeting
                self._meetings.close()
            raise
        self._meetings.close()
        return Trained(
            self._steps, self._samples, self._steps - self._start.steps, self._samples - self._start.samples,
            self._seconds, self._valid, self._best_step, self._stopped,
        )  # fmt: skip

    def _require_same_order(self):
        """DataError where this run has not the order of the epoch that a checkpoint is in the middle of.  Collective."""
        start, error = self._start, None
        if start.batch and start.by_files != self._by_files:
            before = "off" if start.by_files else "on"
            error = DataError(
                f"data.in_memory: the checkpoint of step {start.steps:,} is in the middle of an epoch, whose rows have another order here than where "
                f"it was made: go on with data.in_memory = {before!r}"
            )
        self._session.group.agree(error)

    def _epochs(self):
        """Train by the epochs of the configuration; returns function() -> Cursor of their end."""
        first_batch = self._start.batch
        for epoch in range(self._start.epoch, self._config.epochs):
            self._epoch(epoch, first_batch)
            first_batch = 0
            if self._stopped:
                break
        return partial(self._cursor, max(self._config.epochs, self._start.epoch), 0)

    def _epoch(self, epoch, done):
        """Train by the batches of an epoch from number `done` on."""
        position = done * self._config.global_batch_samples
        progress = self._progress(epoch, position)
        batches, total = self._reader.epoch(epoch, self._steps - done, done), self._reader.batches
        while done < total and not self._stopped:
            made = self._segment(islice(batches, self._until_next_event(done, total)), progress)
            done += made
            self._steps += made
            over = done == total
            if made and over:
                progress.finish()
                self._of_epoch(epoch, progress.mean_loss)
            place = (epoch + 1, 0) if over else (epoch, done)
            self._events(epoch, done, made, over, progress, self._meetings.agreed, partial(self._cursor, *place))
        if done < total:
            progress.finish()

    def _follow(self):
        """Train by the batches of a stream as they come, until it ends; returns function() -> Cursor of where it ended."""
        progress, done, over = self._progress(0, self._start.position), self._start.batch, False
        while not over and not self._stopped:
            made = self._segment(islice(self._reader.arrived(self._steps), self._until_next_event(done)), progress)
            done += made
            self._steps += made
            over = self._reader.ended
            if over:
                progress.finish()
            wish = self._meetings.agreed if made else self._meetings.last()  # while a stream is waited for no batches lead to a meeting
            self._events(0, done, made or over, over, progress, wish, self._cursor_of_stream)
        if not over:
            progress.finish()
        return self._cursor_of_stream

    def _events(self, epoch, done, made, over, progress, wish, cursor):
        """Evaluate, and write a checkpoint, if it is time, and do what ranks have agreed on: `Stopped` where that is an end.  Collective.

        done : batches of the epoch so far
        made : whether there are new ones, or the epoch is over
        over : whether the epoch is
        cursor : function() -> Cursor of here
        """
        due = over or _due(done, self._config.evaluate_every_steps)
        new = made and self._evaluated_step != self._steps  # a stream may end long after its last batch
        if new and due and self._valid_set is not None:
            self._evaluate(epoch, progress)
        if self._stopped:
            return
        self._checkpoint.check()
        if made and _due(self._steps, self._checkpoint_every):
            self._write(cursor())
        if not over and why_to_end(wish):
            progress.finish()
        self._grant(wish, cursor)

    def _grant(self, wish, cursor):
        """Do what ranks have agreed on, here; Stopped where that is an end.  Collective."""
        if wish:
            self._write(cursor())
        if why_to_end(wish):
            self._checkpoint.finish()
            end_by(wish, self._session, self._reports, self._steps, self._steps != self._start.steps or self._checkpoint.resumed)

    def _write(self, cursor):
        """Write a checkpoint, unless there is one of this step, and tell how long training has waited.  Collective."""
        if self._steps == self._checkpoint_step:
            return
        self._checkpoint_step = self._steps
        self._reports.checkpoint(step=self._steps, **self._checkpoint.write(cursor))
        self._wishes.written()

    def _until_next_event(self, done, total=None):
        """Batches until an evaluation, a checkpoint, or the end of the epoch; of a stream, which has none, some."""
        left = [_SEGMENT if total is None else total - done]
        for every, count in ((self._config.evaluate_every_steps, done), (self._checkpoint_every, self._steps)):
            if every:
                left.append(every - count % every)
        return min(left)

    def _cursor(self, epoch, batch):
        position = batch * self._config.global_batch_samples
        return Cursor(
            epoch, batch, position, *self._reader.place(epoch, batch), self._steps, self._samples, self._reader.samples,
            self._best_step, stopping=self._stopping.state() if self._stopping else None, first_step=self._start.first_step, by_files=self._by_files,
        )  # fmt: skip

    def _cursor_of_stream(self):
        place, taken = self._reader.place()
        return Cursor(
            0, self._steps - self._start.first_step, self._samples, place.number, taken, self._steps, self._samples, 0, self._best_step,
            stopping=self._stopping.state() if self._stopping else None, first_step=self._start.first_step,
            stream={
                "file": place.file, "row": place.row, "done": place.done, "mean_weight": self._stream.mean_weight,
                "field_keys": self._stream.field_keys.tolist(), "piece_bytes": self._stream.piece_bytes,
                "bytes": self._stream.bytes_before(place.number),
            },
        )  # fmt: skip

    def _segment(self, batches, progress):
        """Train on some batches, or fewer where ranks agree on a wish; returns how many.

        No batch is under way at its end: rows, steps and epoch fit together.
        """
        begin, stages, made = time.perf_counter(), self._session.stage_times, 0
        progress.resume()
        stages.begin("read")
        for batch, loss, weight, report in steps(self._model, gathered_ahead(self._model.backend, self._meetings.before_each(batches)), progress.due):
            if not math.isfinite(loss):  # every rank has the same loss, so every rank comes here
                self._session.group.agree(DeshpcError(f"the loss is not finite at step {batch.step}: {DIVERGED}"))
            self._reached = batch.step + 1
            self._watchdog.begin_step(self._reached)
            self._samples += batch.samples
            made += 1
            progress.advance(batch.samples, loss, weight, report)
        stages.end()
        progress.pause()
        self._session.group.sum(0.0)  # the slowest rank's time counts
        self._seconds += time.perf_counter() - begin if made else 0.0  # a stream was waited for
        return made

    def _progress(self, epoch, done):
        session, run = self._session, self._session.config.run

        def report(**entries):
            look = self._model.eviction and self._model.eviction.last_look
            table = {"table": look} if look else {}
            self._reports.progress(epoch=epoch, step=self._reached, **entries, **table, stage_s=session.stage_times.take())

        title, samples = f"epoch {epoch + 1}/{self._config.epochs}", None if self._follows else self._reader.samples
        return Progress(
            "stream" if self._follows else title, samples, run.report_interval_s, report, done=done,
            take_auc=self._model.take_auc, shows=session.group.rank == 0,
        )  # fmt: skip

    def _evaluate(self, epoch, progress):
        self._evaluated_step = self._steps
        self._valid = measured(self._session, "valid", self._valid_set, self._steps, complete=False)
        verdict = self._stopping.observe(self._valid) if self._stopping else None
        progress.tell(in_words("valid", self._steps, self._valid) + ("  best so far" if verdict == "best" else ""))
        self._reports.evaluation(epoch=epoch, step=self._steps, **asdict(self._valid))
        if verdict == "best":
            self._best_step = self._steps
            self._model.enter("save")
            self._keep(self._steps)
        if verdict == "stop":
            self._stopped = self._stopping.why
            kept = "the last" if self._best_step is None else f"that of step {self._best_step:,}"
            progress.tell(f"stopped early: {self._stopped}; the model is {kept}")
            self._reports.stopped(step=self._steps, best_step=self._best_step, why=self._stopped)


def _due(count, every):
    return bool(every) and count % every == 0
