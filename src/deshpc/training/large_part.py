"""A training part that is read block by block in every epoch: whether it is, and what a run has to know of it."""

import os
from contextlib import suppress
from dataclasses import dataclass

from deshpc.backend.room import available_bytes
from deshpc.config.tasks import losses_of
from deshpc.data.block import Sampler
from deshpc.data.delivery import Delivery
from deshpc.data.divided import Divided, divide
from deshpc.data.input import RowInput
from deshpc.data.large_reader import LargeReader
from deshpc.errors import ConfigError, DataError
from deshpc.formats.label_kinds import kinds_of
from deshpc.formats.open import open_format
from deshpc.formats.source import is_plain
from deshpc.launch.console import say
from deshpc.training.best_constant import constant_of
from deshpc.training.training_part import TrainingPart, problem

_TIMES_TEXT, _TIMES_PACKED = 2, 8  # of a file's bytes: about those of its samples in memory
_SHARE = 0.5  # of the memory that is free


def is_large(session, score_first=False):
    """Whether a session's training part is read block by block, by `data.in_memory`.  ConfigError where it cannot be.  Collective."""
    config, group = session.config, session.group
    why = None
    if type(session.input) is not RowInput:
        why = f"data.format = {config.data.format!r} is not read from files of rows"
    elif config.train.negative_sampling < 1:
        why = "train.negative_sampling chooses among all rows: convert them to a cache, which need not be in memory either (deshpc convert)"
    elif score_first:
        why = "a day that is scored before it is learnt is read twice"
    if config.data.in_memory == "off" and why:
        group.agree(ConfigError(f"data.in_memory = 'off': {why}"))
    if config.data.in_memory != "auto" or why:
        return config.data.in_memory == "off"
    return group.from_first(_exceeds_memory(session) if group.rank == 0 else None)


def _exceeds_memory(session):
    """Whether samples would take too much memory; says so.  What is wrong with files, whoever reads them will say."""
    plain, free, needed = session.config.data.format != "parquet", available_bytes(), 0
    with suppress(DataError, OSError):
        files = session.input.paths("train")
        needed = sum(os.path.getsize(path) * (_TIMES_TEXT if plain and is_plain(path) else _TIMES_PACKED) for path in files)
    if free is None or needed <= _SHARE * free:
        return False
    say(
        f"deshpc: note: data.train would take about {needed / 2**30:,.1f} GiB, and {free / 2**30:,.1f} GiB are free: it is read block by block in "
        "every epoch (data.in_memory)\n"
    )
    return True


@dataclass(frozen=True)
class LargePart(TrainingPart):
    """A TrainingPart whose `dataset` is its first block alone.  divided : all of it"""

    divided: Divided

    def reader(self, session, share, buffers, valid):
        """The LargeReader of a session's batches; share, buffers, valid : as of a Reader."""
        train, group = session.config.train, session.group
        delivery = Delivery(group, session.node, train.global_batch_samples, lambda task: session.working("read", task))
        readers = group.rank, group.size, session.backend.threads, session.reads_on_threads
        reader = LargeReader(self.divided, session.input, delivery, *readers, share, buffers, train, valid)
        session.at_end(reader.close)
        return reader


def large_part(session):
    """The LargePart of a session, which rank 0 reads once.  Collective; errors are raised on all ranks."""
    group, config, source = session.group, session.config, session.input
    train, labels = config.train, kinds_of(losses_of(config))
    delivery = Delivery(group, session.node, 0, lambda task: session.working("read", task))

    def read():
        divided, targets = divide(source, open_format(config.data, labels=labels), train.class_weights, train.shuffle_block_rows)
        return divided, constant_of(config, _Alone(), targets)

    def head():
        sampler = Sampler(source.schema, source.transforms, train.class_weights)
        return next(map(sampler, source.columns(source.paths("train"), source.quiet_rows())))

    divided, constant = delivery.take(0, read)
    state = session.input_state()
    group.together(lambda: None if source.fitted else source.restore(state))
    group.agree(problem(constant))
    first = group.together(head)
    session.count_skipped("train")
    return LargePart(first, None, constant, constant, divided)


class _Alone:
    """One rank, as a Group of it."""

    size, rank = 1, 0

    def gather(self, thing):
        return [thing]
