"""Rows of files, or of standard input, as blocks of a stated size: what is read at a time where nobody holds all of them."""

from dataclasses import dataclass

from deshpc.comm.workers import OneWorker
from deshpc.data.class_weights import weighted_by_class
from deshpc.data.dataset import Dataset, concatenate
from deshpc.data.samples import samples_of


@dataclass(frozen=True)
class Block:
    """Consecutive samples of a file.

    samples : Dataset; None: there are no more of the file
    number : of the block, by which its samples are shuffled
    file : whose samples they are
    row : number of the first of them among the file's good rows
    """

    samples: Dataset | None
    number: int
    file: str = ""
    row: int = 0

    def __len__(self):
        return len(self.samples) if self.samples is not None else 0


class Sampler:
    """Makes samples of Columns as a training part has them.

    class_weights : `train.class_weights`
    """

    def __init__(self, schema, transforms, class_weights=()):
        self._schema, self._transforms, self._class_weights = schema, transforms, class_weights

    def __call__(self, columns):
        """The Dataset of some Columns."""
        samples = samples_of(columns, self._schema, self._transforms)
        return weighted_by_class(samples, *self._class_weights, OneWorker()) if self._class_weights else samples


def blocks_of(columns, sampler, block_rows, skip=0, whole=True):
    """Yield (row, Dataset) of consecutive blocks of `block_rows` samples, the last of which may be smaller.

    columns : Columns, some rows at a time
    skip : rows that are passed over; `row` counts them
    whole : False: a block is whatever the Columns are, so that nobody waits for more
    """
    parts, held, row = [], 0, skip
    for some in columns:
        passed, skip = min(skip, len(some)), max(0, skip - len(some))
        if passed == len(some):
            continue
        samples = sampler(some).slice(passed, len(some))
        begin = 0
        while begin < len(samples):
            end = min(len(samples), begin + block_rows - held) if whole else len(samples)
            parts.append(samples.slice(begin, end))
            held, begin = held + end - begin, end
            if held == block_rows or not whole:
                yield row, _one(parts)
                parts, row, held = [], row + held, 0
    if held:
        yield row, _one(parts)


def _one(parts):
    return parts[0] if len(parts) == 1 else concatenate(parts)
