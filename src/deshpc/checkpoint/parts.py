"""The files of a model besides its manifest: their names, and whether they were written together.

Every part says which run wrote it and after how many steps; rows, of which rank.  A run is one call of `train`: its number
is random, and stands in its record, too.
"""

import reprlib

from deshpc.errors import DataError

BASE, DENSE = "base", "dense"


def rows_name(rank, ranks):
    """File name of a rank's rows."""
    return f"rank-{rank:05d}-of-{ranks:05d}.rows"


def part_names(ranks):
    """Yield the names of the files of a model that so many ranks wrote: dense parameters, then the rows of each rank."""
    yield DENSE
    for rank in range(ranks):
        yield rows_name(rank, ranks)


def require_written_together(path, about, manifest, rank=None):
    """DataError, saying in what it differs, unless a part belongs to the write that its manifest names.

    about : of the part's container
    rank : of its rows
    """
    expected = {"run": manifest["run"], "steps": manifest["steps"]}
    if rank is not None:
        expected |= {"rank": rank, "ranks": manifest["ranks"]}
    for name, value in expected.items():
        if about.get(name) != value:
            raise DataError(f"{path}: a part of another model: its {name} is {reprlib.repr(about.get(name))}; the manifest says {value!r}")
