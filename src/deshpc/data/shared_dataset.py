"""A data set in a node's shared memory, to which every worker of the node contributes consecutive samples.

Workers that know how many samples they have at most write them straight to their places (`Places`); otherwise blocks are held
until all are there (`assembled`).
"""

import numpy as np

from deshpc.data.dataset import ARRAYS, OF_OCCURRENCES, Dataset
from deshpc.errors import DataError

_MOVED_ROWS = 1 << 14


def assembled(workers, blocks):
    """The Dataset of all workers' blocks, of one row at least.  Collective.

    blocks : {worker: [Dataset]} of this rank's workers.  Its lists are emptied, one array after another, so that memory is that
    of the samples and of a copy of one array.
    """
    arrays = {worker: {name: [getattr(one, name) for one in some] for name in ARRAYS} for worker, some in blocks.items()}
    for some in blocks.values():
        some.clear()
    sizes, forms = zip(*workers.run(lambda worker: _size_and_form(arrays[worker])), strict=True)
    starts, joined, form_of = _starts(sizes), dict.fromkeys(ARRAYS), next(filter(None, forms))
    needed = sum(_nbytes(name, form, np.sum(sizes, axis=0)) for name, form in form_of.items())
    workers.run(lambda worker: workers.require(needed))
    for name, form in form_of.items():
        array = joined[name] = _shared(workers, name, form, np.sum(sizes, axis=0))

        def put(worker, name=name, array=array):
            row, occurrence = starts[worker]
            for block in arrays[worker].pop(name, ()):
                row, occurrence = _put(workers, array, name, block, row, occurrence)

        workers.run(put)
    return Dataset(**joined)


class Places:
    """Room for the samples of all workers, which each of them fills from its own place on.  Making one is collective.

    rooms : for each worker its most (rows, occurrences)
    n_dense, value_width : of the samples, which have no truth
    """

    def __init__(self, workers, rooms, n_dense, value_width):
        self._workers, self._starts = workers, _starts(rooms)
        forms = {
            "offsets": ((), np.int64), "keys": ((), np.uint64), "fields": ((), np.uint16), "dense": ((n_dense,), np.float32),
            "labels": ((), np.float32),
        }  # fmt: skip
        if value_width:
            forms["values"] = ((2,) if value_width == 2 else (), np.float32)
        self._arrays = {name: _shared(workers, name, form, np.sum(rooms, axis=0)) for name, form in forms.items()}
        self._ends = {worker: self._starts[worker] for worker in workers.own}
        self._limits = [tuple(one) for one in np.add(self._starts, rooms).tolist()]

    def put(self, worker, block):
        """Append a Dataset to the samples of a worker of this rank."""
        row, occurrence = self._ends[worker]
        end, last = row + len(block), occurrence + len(block.keys)
        if end > self._limits[worker][0] or last > self._limits[worker][1]:
            raise DataError("files have grown while they were read; they have to be complete before they are read")
        for name, array in self._arrays.items():
            _put(self._workers, array, name, getattr(block, name), row, occurrence)
        self._ends[worker] = end, last

    def dataset(self):
        """The Dataset of all samples, when all are there.  Collective."""
        ends = self._workers.run(lambda worker: self._ends[worker])
        sizes = np.subtract(ends, self._starts)
        starts = _starts(sizes)
        if starts != self._starts:
            self._workers.run(lambda worker: self._close_gaps(starts, ends) if worker == 0 else None)
        rows, occurrences = sizes.sum(axis=0)
        arrays = {name: array[: _length(name, rows, occurrences)] for name, array in self._arrays.items()}
        return Dataset(**{"values": None, **arrays})

    def _close_gaps(self, starts, ends):
        """Move the samples of every worker to where those of the one before end, a few at a time, since the two overlap."""
        for (row, occurrence), (begin, first), (end, _) in zip(starts, self._starts, ends, strict=True):
            while begin < end:
                stop = min(begin + _MOVED_ROWS, end)
                offsets = self._arrays["offsets"][begin : stop + 1] - first
                offsets[0] = 0  # nobody has written it, where there was a gap
                last = first + int(offsets[-1])
                for name, array in self._arrays.items():
                    of_rows = offsets if name == "offsets" else array[begin:stop]
                    _put(self._workers, array, name, array[first:last] if name in OF_OCCURRENCES else of_rows, row, occurrence)
                row, occurrence = row + stop - begin, occurrence + last - first
                begin, first = stop, last


def _size_and_form(arrays):
    """(rows, occurrences) and, unless there are none, {name: (shape of an element, type)} of lists of arrays."""
    size = sum(len(one) - 1 for one in arrays["offsets"]), sum(int(one[-1]) for one in arrays["offsets"])
    firsts = {name: some[0] for name, some in arrays.items() if some and some[0] is not None}
    return size, {name: (first.shape[1:], first.dtype.str) for name, first in firsts.items()}


def _starts(sizes):
    """[(row, occurrence)] at which each worker begins."""
    return [tuple(one) for one in (np.cumsum(sizes, axis=0) - sizes).tolist()]


def _length(name, rows, occurrences):
    return int(occurrences if name in OF_OCCURRENCES else rows + (name == "offsets"))


def _shared(workers, name, form, size):
    """A new array called `name` for (rows, occurrences).  Collective."""
    element, dtype = form
    array = workers.shared((_length(name, *size), *element), dtype)
    if name == "offsets":
        workers.run(lambda worker: workers.taken(array[:1]).fill(0) if worker == 0 else None)
    return array


def _nbytes(name, form, size):
    """Bytes of that array."""
    element, dtype = form
    return _length(name, *size) * int(np.prod(element, dtype=np.int64)) * np.dtype(dtype).itemsize


def _put(workers, array, name, block, row, occurrence):
    """Put a block's array called `name` where it belongs; where the one after it belongs, as far as that depends on it."""
    if name == "offsets":
        end = row + len(block) - 1
        np.add(block[1:], occurrence, out=workers.taken(array[row + 1 : end + 1]))
        return end, occurrence + int(block[-1])
    if name in OF_OCCURRENCES:
        workers.taken(array[occurrence : occurrence + len(block)])[...] = block
        return row, occurrence + len(block)
    workers.taken(array[row : row + len(block)])[...] = block
    return row + len(block), occurrence
