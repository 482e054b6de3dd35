"""Rows that have some columns of whole ones: where these are in a whole row that is read out.

    whole row   w | v_1 .. v_k | state of w | state of v, plane after plane of k numbers each (of one, for row-wise rules)
"""

from dataclasses import replace

import numpy as np

from deshpc.comm.shares import slice_of


def own_places(scalars, dim, planes, begin, end, row_wise=False, vectors=1):
    """(n) int64: places in a whole row of the numbers of a row that has columns begin .. end of each vector, in their order.

    With column 0 goes w, where there is one (`scalars` = 1).
    planes : numbers that the rule keeps for a weight
    vectors : of which v consists, of as many columns each
    row_wise : for w, and for all of v together
    """
    columns = (dim // vectors * np.arange(vectors)[:, None] + np.arange(begin, end)).ravel()
    has_scalar = scalars and begin == 0
    of_w = scalars + dim + np.arange(planes * scalars)
    of_plane, width = (np.arange(1), 1) if row_wise else (columns, dim)
    of_v = scalars + dim + planes * scalars + (width * np.arange(planes)[:, None] + of_plane).ravel()
    parts = [np.arange(scalars) if has_scalar else [], scalars + columns, of_w if has_scalar else [], of_v]
    return np.concatenate(parts).astype(np.int64)


def places_of(model, ranks, rank):
    """(n) int64: `own_places` of one of so many ranks.  model : {"scalars", "dim", "planes", "vectors"} of the whole rows"""
    dim, vectors = model["dim"], model.get("vectors", 1)
    return own_places(model["scalars"], dim, model["planes"], *slice_of(dim // vectors, ranks, rank), vectors=vectors)


def widened(rows, places, width):
    """`Rows` whose numbers are at `places` of rows of so many numbers, which are 0 elsewhere."""
    numbers = np.zeros((len(rows), width), rows.numbers.dtype)
    numbers[:, places] = rows.numbers
    return replace(rows, numbers=numbers)


def _same(one, other):
    """Whether two arrays are equal, or both absent."""
    return one is other or (one is not None and other is not None and np.array_equal(one, other))


def joined(streams, model):
    """Yield whole Rows from streams of blocks of the same rows, of which each has a rank's columns, in rank order.

    model : as of `places_of`
    """
    streams = list(streams)
    scalars, dim, planes = model["scalars"], model["dim"], model["planes"]
    places = [places_of(model, len(streams), rank) for rank in range(len(streams))]
    for blocks in zip(*streams, strict=True):
        for name in ("keys", "fields", "counts", "steps", "decayed"):
            if not all(_same(getattr(block, name), getattr(blocks[0], name)) for block in blocks):
                raise ValueError(f"the {name} of rows are others in the files of other columns")
        numbers = np.empty((len(blocks[0]), (scalars + dim) * (1 + planes)), blocks[0].numbers.dtype)
        for block, place in zip(blocks, places, strict=True):
            numbers[:, place] = block.numbers
        yield replace(blocks[0], numbers=numbers)
