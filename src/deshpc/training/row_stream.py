"""Rows to be scored, block by block: files are read once a node, and no more than a block of them is in memory."""

from dataclasses import dataclass

import numpy as np

from deshpc.comm.node import Node
from deshpc.config.tasks import losses_of
from deshpc.data.dataset import ARRAYS, Dataset, concatenate
from deshpc.data.samples import samples_of
from deshpc.errors import DeshpcError
from deshpc.formats import files
from deshpc.formats.bad_rows import BadRows
from deshpc.formats.label_kinds import kinds_of
from deshpc.formats.open import open_format
from deshpc.formats.schema import Schema

_BLOCK_ROWS = 65_536  # or a reader's block, where that is larger


@dataclass(frozen=True)
class Block:
    """Some rows of a file, in order.

    file    : its path
    rows    : (n) int64, their numbers in the file, in which rows that cannot be read count
    dataset : Dataset of n samples, valid until the next Block is asked for; None where no row could be read
    end     : number of rows of the file, if these are its last ones
    carried : [Carried] of the file's rows, those that cannot be read among them, at the ranks that read it; empty elsewhere
    """

    file: str
    rows: np.ndarray
    dataset: Dataset | None
    end: int | None
    carried: tuple = ()


class LoadedRows:
    """A part that is no file of rows, a cache or generated samples, as one Block.  Making one is collective."""

    skipped, several_files = None, False

    def __init__(self, session, part):
        self._dataset, self._part = session.load(part), part

    def blocks(self):
        """Yield the Block."""
        rows = len(self._dataset)
        yield Block(self._part, np.arange(rows), self._dataset, rows)


class StreamedRows:
    """The files of a part, as Blocks that each node's first rank reads.  Making one is collective.

    label : whether rows have a label; weights are not read
    keep : names of columns whose cells are carried along
    skipped : BadRows
    """

    def __init__(self, session, part, label, keep=()):
        data, labels = session.config.data, kinds_of(losses_of(session.config))
        self._session = session
        self._paths = session.group.together(lambda: files.expand(getattr(data, part)))
        self.skipped, self.several_files = BadRows(data.on_bad_row), len(self._paths) > 1
        self._reader = session.group.together(lambda: open_format(data, label, weight=False, labels=labels, keep=keep))
        self._schema = Schema.from_config(data, label, weight=False, labels=labels)

    def blocks(self):
        """Yield the Blocks, on all ranks.  Collective; an error of any reader is raised on all ranks."""
        group, node = self._session.group, self._session.node
        source = self._read() if node.rank == 0 else None
        while True:
            block, error = None, None
            if node.rank == 0:
                try:
                    block = self._session.working("read", lambda: next(source, None))
                except (DeshpcError, MemoryError) as problem:
                    error = problem
            node.sleep_until_all_are_here()
            group.agree(error)
            arrays = vars(block.dataset) if block and block.dataset else dict.fromkeys(ARRAYS)
            here = [name for name in ARRAYS if arrays[name] is not None]
            facts = node.from_first((block.file, block.rows, block.end, here) if block else None)
            if facts is None:
                return
            file, rows, end, here = facts
            shared = Node(group.comm)  # the block's memory
            arrays = {name: shared.share(arrays[name]) if name in here else None for name in ARRAYS}
            yield Block(file, rows, Dataset(**arrays) if here else None, end, block.carried if block else ())
            shared.free()

    def _read(self):
        """Yield the Blocks of this process."""
        transforms = self._session.input.transforms
        for path in self._paths:
            skipped, kept, rows, parts, carried = self.skipped.count, 0, [np.zeros(0, np.int64)], [], []
            for columns in self._reader.blocks([path], self.skipped):
                if len(columns):
                    rows.append(columns.rows)
                    parts.append(samples_of(columns, self._schema, transforms))
                if columns.carried:
                    carried.append(columns.carried)
                kept += len(columns)
                if max(sum(map(len, rows)), sum(map(len, carried))) >= _BLOCK_ROWS:
                    yield Block(path, np.concatenate(rows), concatenate(parts) if parts else None, None, tuple(carried))
                    rows, parts, carried = [np.zeros(0, np.int64)], [], []
            dataset = concatenate(parts) if parts else None
            yield Block(path, np.concatenate(rows), dataset, kept + self.skipped.count - skipped, tuple(carried))
