"""The training loop: epochs of steps, reports on the way, metrics after each epoch and at the end."""

import math
import time
from dataclasses import asdict

from deshpc.comm.ledger import Ledger
from deshpc.data.reader import Reader
from deshpc.errors import DeshpcError
from deshpc.training.evaluation import evaluate_model, reads_of
from deshpc.training.progress import NoProgress, Progress
from deshpc.training.step import steps

_DIVERGED = "the loss is not finite at step {step}: training diverged; lower optimizer.learning_rate"


def train_epochs(session, train_set, valid_set, record):
    """Train the session's model; returns (steps, samples, seconds of training).  Collective."""
    config, model = session.config.train, session.model
    reader = Reader(
        train_set, config.global_batch_samples, reads_of(model), model.backend.buffers,
        config.seed, config.shuffle, config.shuffle_block_rows,
    )  # fmt: skip
    first, seconds = 0, 0.0
    for epoch in range(config.epochs):
        progress = _progress(session, epoch, len(train_set), record)
        begin = time.perf_counter()
        for batch, loss in steps(model, reader.epoch(epoch, first)):
            if not math.isfinite(loss):  # every rank has the same loss, so every rank comes here
                session.group.agree(DeshpcError(_DIVERGED.format(step=batch.step)))
            progress.advance(batch.samples, loss)
        session.group.sum(0.0)  # the slowest rank's time counts
        seconds += time.perf_counter() - begin
        first += reader.batches
        progress.finish()
        if valid_set is not None:
            metrics = evaluate_model(model, valid_set, config.global_batch_samples)
            record.write("valid", epoch=epoch, **asdict(metrics))
    return first, len(train_set) * config.epochs, seconds


def bytes_per_sample(ledger: Ledger, samples):
    """{kind: bytes sent by this rank in training steps, per sample of the whole run}."""
    parts = [ledger.by_kind(direction=direction) for direction in ("forward", "backward")]
    kinds = {kind for part in parts for kind in part}
    return {kind: sum(part.get(kind, 0) for part in parts) / max(1, samples) for kind in sorted(kinds)}


def _progress(session, epoch, rows, record):
    if session.group.rank != 0:
        return NoProgress()
    run, epochs = session.config.run, session.config.train.epochs
    return Progress(
        f"epoch {epoch + 1}/{epochs}", rows, run.report_interval_s,
        lambda **entries: record.write("progress", epoch=epoch, **entries),
    )  # fmt: skip
