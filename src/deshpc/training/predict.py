"""`deshpc predict`: scores of rows, in their order, by the model of a run on any number of ranks."""

from itertools import chain

import numpy as np

from deshpc.backend.links import predictions
from deshpc.checkpoint.load import load_model
from deshpc.comm.ledger import Traffic
from deshpc.config.tasks import tasks_of
from deshpc.data.input import require
from deshpc.data.reader import Reader
from deshpc.errors import DataError, DeshpcError
from deshpc.formats.open import require_names
from deshpc.launch.agreement import agreed, run_facts
from deshpc.launch.console import say
from deshpc.launch.failure import fails_together
from deshpc.training.api import saved_run
from deshpc.training.row_stream import LoadedRows, StreamedRows
from deshpc.training.score_files import NoScores, open_scores, require_columns, require_suffix
from deshpc.training.scored_samples import reads_of
from deshpc.training.session import Session
from deshpc.training.step import scores

_LOGITS = Traffic("batch", "partials", "eval")


@fails_together
def predict(directory, out, comm, overrides=(), part="test", data=None, label=True, allow_import=(), keep=()):
    """Write what the model saved in `directory`, a run's or a checkpoint, predicts for rows, probabilities if by log-loss; returns 0.

    out : file.csv, file.csv.gz or file.parquet, see docs/serving.md: one line a row, in their order
    overrides : `section.key=value` texts
    part : of the run's data, or
    data : files to score instead, in the run's format
    label : whether the rows have a label
    allow_import : as in `train`
    keep : names of columns of the files, fields or not, that are carried along into the file of scores
    Files of rows are read, scored and written block by block.  Collective on `comm`; errors as in `train`.
    """
    folder, manifest, config = agreed(
        comm, lambda: _saved_run(directory, out, overrides, data, allow_import, keep), lambda saved: run_facts(f"predict to {out}", saved[2])
    )
    part = "test" if data else part
    with Session(config, comm) as session, session.watched():
        _predict(session, folder, manifest, out, part, label, tuple(dict.fromkeys(keep)))
    return 0


def _predict(session, folder, manifest, out, part, label, keep):
    """Write the scores of a part.  Collective."""
    group = session.group
    group.together(lambda: session.input.restore(manifest["source"]))
    group.together(lambda: require(session.input, part, f"scoring the {part} part"))
    streamed = session.config.data.format not in ("synthetic", "cache")
    rows = StreamedRows(session, part, label, keep) if streamed else LoadedRows(session, part)
    blocks = rows.blocks()
    opening = _until_samples(group, blocks, part)
    session.build(opening[-1].dataset)
    load_model(session.model, folder, manifest)
    tasks = [task.name for task in tasks_of(session.config)]
    writer = group.together(lambda: open_scores(out, rows.several_files, keep, _carried(opening), tasks) if group.rank == 0 else NoScores())
    written = 0
    with writer:
        for block in chain(opening, blocks):
            written += _write_block(session, block, writer)
        group.together(writer.finish)
    if group.rank == 0:
        say(f"deshpc: {written:,} scores in {out}\n")
    if group.rank == 0 and rows.skipped and rows.skipped.count:
        examples = "".join(f"\n  {example}" for example in rows.skipped.examples)
        say(f"deshpc: warning: {rows.skipped.count} rows have no score, such as:{examples}\n")


def _saved_run(directory, out, overrides, data, allow_import, keep):
    """What `saved_run` gives, with the files of `data` as test part."""
    require_suffix(out)
    saved = saved_run(directory, overrides, allow_import, data)
    require_columns(keep, [task.name for task in tasks_of(saved[2])])
    require_names(saved[2].data.format, keep)
    return saved


def _carried(blocks):
    """All that Blocks carry along."""
    return [one for block in blocks for one in block.carried]


def _until_samples(group, blocks, part):
    """The blocks up to the first one that has samples.  Collective; DataError where there is none."""
    opening = []
    for block in blocks:
        opening.append(block)
        if block.dataset is not None:
            return opening
    group.agree(DataError(f"data.{part}: has no row that can be read"))


def _write_block(session, block, writer):
    """Score a block and write it; returns its number of scores.  Collective."""
    group, begin = session.group, 0
    group.together(lambda: writer.carry(block.carried))
    for found in _predictions(session, block.dataset) if block.dataset is not None else ():
        rows = block.rows[begin : begin + len(found)]
        for at in np.flatnonzero(~np.isfinite(found.reshape(len(found), -1)).all(axis=1))[:1]:  # every rank has the same scores
            what = "not a number" if np.isnan(found[at]).any() else "infinite"
            text = f"{block.file}: the score of row {rows[at]} is {what}: a weight of the model, or a value, is not finite or too large"
            group.agree(DeshpcError(text))
        group.together(lambda rows=rows, scores=found: writer.write(block.file, rows, scores))
        begin += len(found)
    if block.end is not None:
        group.together(lambda: writer.end_file(block.file, block.end))
    return begin


def _predictions(session, dataset):
    """Yield (B) float64, or (B, T) of T tasks, of one batch after another, on every rank.  Collective.

    Sent, where each rank has the logits of its own samples: an all-gather of them.
    """
    model, group = session.model, session.group
    reader = Reader(dataset, session.config.train.global_batch_samples, reads_of(model), model.backend.host_buffers)
    for routed, logit in scores(model, reader.epoch(0)):
        logit = model.backend.host(logit)
        if not model.exchange.whole_top:
            logit = group.gather_samples(logit, np.empty((routed.samples, *logit.shape[1:]), logit.dtype), _LOGITS).wait()
        yield predictions(model.loss, logit.astype(np.float64))
