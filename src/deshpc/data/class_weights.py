"""What a sample counts, times what its class counts."""

import numpy as np

from deshpc.errors import DataError


def weighted_by_class(dataset, negative, positive, workers):
    """The samples of a data set with their weights times that of their class.  The weights are held once a node.

    negative, positive : weights of the two classes
    workers : Workers, of which each makes those of a share of the rows
    DataError where a product is too large for float32.  Collective.
    """
    rows = len(dataset)
    workers.run(lambda worker: workers.require(rows * np.dtype(np.float32).itemsize))
    weights = workers.shared((rows,), np.float32)

    def fill(worker):
        begin, end = (rows * one // workers.size for one in (worker, worker + 1))
        for first, labels, own in dataset.targets(begin, end):
            place = workers.taken(weights[first : first + len(labels)])
            with np.errstate(over="ignore"):
                place[...] = np.where(labels >= 0.5, positive, negative)
                if own is not None:
                    place *= own
            if np.isinf(place).any():
                row = int(np.argmax(np.isinf(place)))
                raise DataError(f"row {first + row} (from 0) of the data: its weight {own[row]} times that of its class is too large for float32")

    workers.run(fill)
    return dataset.with_weights(weights)
