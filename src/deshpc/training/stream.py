"""The training part of a run that learns rows as they come, from a folder, standard input or files: rank 0 reads it for all, while they train.

Nothing is known of rows that have not come.  So what other runs find in all rows is found in the first block: the constant at which the bias
starts, and a plan.  Transforms are those of `train.from`, of the checkpoint, of the first file or, by `data.fit_rows`, of its first rows.
"""

from contextlib import suppress

import numpy as np

from deshpc.checkpoint.manifest import read_manifest
from deshpc.config.load import STANDARD_INPUT
from deshpc.config.tasks import losses_of
from deshpc.data.ahead import END, Ahead
from deshpc.data.block_reader import BlockReader
from deshpc.data.delivery import Delivery
from deshpc.data.growing import Growing, Place, is_given
from deshpc.data.in_turns import InRounds
from deshpc.data.pieces import blocks_of_pieces, bytes_of, piece_bytes, pieces_of
from deshpc.data.samples import no_samples
from deshpc.errors import ConfigError, DataError
from deshpc.formats.bad_rows import BadRows, merged
from deshpc.formats.label_kinds import kinds_of
from deshpc.formats.open import open_format
from deshpc.training.best_constant import constant_of
from deshpc.training.cursor import Cursor
from deshpc.training.session import keys_of_fields
from deshpc.training.training_part import TrainingPart, problem

_WAIT_S = 1.0  # for a block, until the ranks look at what else there is to do


class Stream:
    """The stream of a session, from a Cursor on.  Making one is collective, and waits for the first rows.

    part : TrainingPart of the first block
    piece_bytes : of the pieces of files that are read in turns; 0 where one process reads for all
    mean_weight : of its samples, or those of the first block of all
    field_keys : (F) float64, keys a sample of each field, in the same samples: ranks have the same fields when the run goes on
    DataError where there is no row at all.
    """

    def __init__(self, session, cursor=None, between=lambda: None):
        """between : collective function that is called while the first rows are waited for, and may raise an error on all ranks"""
        self._session, self._cursor, self._growing, self._ahead = session, cursor or Cursor(), None, None
        self.piece_bytes = 0
        data, train = session.config.data, session.config.train
        if data.train == (STANDARD_INPUT,) and not session.input.fitted and not data.fit_rows:
            session.group.agree(ConfigError(
                "data.train = ['-']: dense and bucket fields are fitted to training rows, and standard input is read once: say to how many of the "
                "first rows (data.fit_rows), start from a model that has them fitted (train.from), or give boundaries of bucket fields"
            ))  # fmt: skip
        working = lambda task: session.working("wait for rows", task)  # noqa: E731
        self._delivery = Delivery(session.group, session.node, train.global_batch_samples, working)
        session.at_end(self._stop)
        self._open(between)
        head = next((block.samples for block in self._first if block is not END and len(block)), None)
        session.group.agree(self._no_rows() if head is None and cursor is None else None)
        self._take_transforms()
        head = no_samples(session.input.schema, bool(train.class_weights)) if head is None else head
        constant = constant_of(session.config, session.group, head)
        session.group.agree(problem(constant, f"the first {constant.rows:,} rows: ") if cursor is None else None)
        self.part = TrainingPart(head, None, constant, constant)
        before = self._cursor.stream
        self.mean_weight = before["mean_weight"] if before else constant.mean_weight
        self.field_keys = np.array(before["field_keys"]) if before else keys_of_fields(head, session.input.n_fields)

    def reader(self, start, share, buffers, valid):
        """The BlockReader of the batches from a Cursor on; share, buffers, valid : as of a Reader.  Collective."""
        if start.stream != self._cursor.stream or start.row != self._cursor.row:
            self._reopen(start)
        train = self._session.config.train
        return BlockReader(
            self._take, self._delivery.release, train.global_batch_samples, share, buffers, train.seed, train.shuffle,
            train.shuffle_run_rows, valid, _place_of(start), start.position - start.row, start.row,
        )  # fmt: skip

    def bytes_before(self, number):
        """Bytes of the pieces of files before this one; 0 where one process reads for all."""
        return bytes_of(self._pieces[:number]) if self._pieces is not None else 0

    def close(self):
        """Read no more.  Tells what was skipped.  Collective."""
        self._stop()
        if self._pieces is not None:
            found = [one for several in self._session.group.gather([self._bad_rows[reader] for reader in sorted(self._bad_rows)]) for one in several]
            self._session.input.take_bad_rows("train", self._session.group.together(lambda: merged(found)))
        self._session.count_skipped("train")

    def _stop(self):
        """End the thread that reads; a reading that is under way ends by itself."""
        if self._growing:
            self._growing.close()
        if self._ahead:
            self._ahead.close()

    def _open(self, between=lambda: None):
        """Begin to read at the cursor, and wait for a block with rows."""
        self._pieces = self._pieces_to_read()
        if self._pieces is not None:
            self._turn = self._cursor.block if self._cursor.stream else 0
            self._ahead = self._in_turns()
        elif self._session.group.rank == 0:
            data, train = self._session.config.data, self._session.config.train
            self._growing = Growing(data, self._session.input, train.class_weights, train.shuffle_block_rows, train.shuffle)
            self._ahead = Ahead(self._growing.blocks(_place_of(self._cursor)))
        self._first, block = [], None
        while block is None or (block is not END and not len(block)):
            block = self._delivered()
            if block is None:
                between()
            else:
                self._first.append(block if block is END or not len(block) else self._delivery.keep(block))

    def _reopen(self, cursor):
        """Read on from another checkpoint than the newest, which could not be read."""
        if self._session.config.data.train == (STANDARD_INPUT,):
            self._session.group.agree(DataError("standard input has been read beyond the checkpoint that could be read: start again with it from its begin"))
        self._stop()
        for block in self._first:
            if block is not END:
                self._delivery.release(block)
        self._cursor = cursor
        self._open()

    def _take(self):
        return self._first.pop(0) if self._first else self._delivered()

    def _delivered(self):
        if self._pieces is not None:
            if self._turn == len(self._pieces):
                return END
            self._turn += 1
            return self._ahead.take((self._turn - 1) % self._ahead.readers)
        return self._delivery.take(0, lambda: self._ahead.take(_WAIT_S))

    def _pieces_to_read(self):
        """The Pieces of files whose lines all ranks read in turns; None where one process reads for all.  The transforms are fitted then.  Collective."""
        session, before = self._session, self._cursor.stream
        data, train = session.config.data, session.config.train

        def look():
            reader = open_format(data, labels=kinds_of(losses_of(self._session.config)))
            size = before.get("piece_bytes", 0) if before else 0
            if before is None and is_given(data) and reader.rows_are_lines:
                size = piece_bytes(session.input.paths("train"), train.shuffle_block_rows)
            if not size:
                return None, 0
            pieces, number = pieces_of(session.input.paths("train"), size), self._cursor.block
            if before and before["file"] not in {piece.path for piece in pieces[max(0, number - 1) : number + 1]}:
                raise DataError(f"{before['file']}: the run goes on in it, but it is not where it was among the files of data.train: name them as before")
            bytes_now = bytes_of(pieces[:number])
            if before and before.get("bytes", bytes_now) != bytes_now:
                raise DataError(f"{before['file']}: the run goes on in it, but it, or files before it, have changed: files have to be complete before they are read")
            if not session.input.fitted:
                session.input.fit_to([piece.path for piece in pieces[:1]], data.fit_rows)
            return pieces, size

        pieces, self.piece_bytes = session.group.from_first(session.group.together(look if session.group.rank == 0 else lambda: None))
        if pieces is not None:
            self._take_transforms()
        return pieces

    def _in_turns(self):
        """The readers of all ranks: as many threads of each as compute."""
        session, data, train = self._session, self._session.config.data, self._session.config.train
        readers = session.group.size * session.backend.threads
        self._bad_rows = {}

        def blocks(reader):
            bad_rows = self._bad_rows[reader] = BadRows(data.on_bad_row)
            turns = range(self._turn, len(self._pieces))
            numbers = [number for number in turns if number % readers == reader]
            return blocks_of_pieces(self._pieces, numbers, session.input, train.class_weights, train.shuffle_block_rows, bad_rows)

        return InRounds(self._delivery, session.group.rank, session.group.size, session.backend.threads, blocks, session.reads_on_threads)

    def _take_transforms(self):
        """Those of rank 0 on all ranks."""
        state, source = self._session.input_state(), self._session.input
        self._session.group.together(lambda: None if source.fitted else source.restore(state))

    def _no_rows(self):
        where = "standard input" if self._session.config.data.train == (STANDARD_INPUT,) else ", ".join(self._session.config.data.train)
        return DataError(f"data.train: no rows in {where}, and it has ended")


def cursor_of(session, checkpoints):
    """The Cursor of the newest of a run's checkpoints whose manifest can be read, whose fitted transforms the session's input then has;
    None without one.  Collective."""
    for folder in checkpoints:
        with suppress(DataError):
            manifest = session.group.together(lambda folder=folder: read_manifest(folder))
            session.group.together(lambda manifest=manifest: session.input.restore(manifest["source"]))
            return Cursor.from_manifest(manifest, folder)
    return None


def _place_of(cursor):
    stream = cursor.stream
    return Place(stream["file"], stream["row"], stream["done"], cursor.block) if stream else Place()
