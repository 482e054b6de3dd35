"""A cache: samples that need no more parsing, in a container (`storage.container`) that is mapped into memory.

Rows lie in pieces of PIECE_ROWS, the last one shorter.  Piece i has sections of its own, the arrays of a `Dataset`:
"offsets/i", from 0, "keys/i", "fields/i", "labels/i" and, where there are such, "values/i", "dense/i", "truth/i", "weights/i",
these where the schema has a weight.  A piece is verified when a row of it is first asked for, by one rank of the node (`ChainedDataset`).
"""

import numpy as np

from deshpc.backend.cpu.checksum import crc32
from deshpc.data.cache_file import KIND, VERSION
from deshpc.data.dataset import ARRAYS, concatenate
from deshpc.data.norms import normalise
from deshpc.data.samples import finish_dense, finish_keys
from deshpc.hashing.key import HASH_ID
from deshpc.storage.container import ContainerWriter

PIECE_ROWS = 1 << 16


class CacheWriter:
    """Writes the samples of `schema` to the cache `path`, which appears when it is whole.  A context manager."""

    def __init__(self, path, schema):
        self._file, self._schema = ContainerWriter(path, KIND, crc32=crc32), schema
        self._pending, self._pending_rows = [], 0
        self._pieces = self.rows = 0

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self._file.__exit__(*exception)

    def add(self, dataset):
        """Append a Dataset of any number of rows, `samples.unfinished` or finished."""
        self._pending.append(dataset)
        self._pending_rows += len(dataset)
        if self._pending_rows >= PIECE_ROWS:
            self._write_pieces(last=False)

    def finish(self, transforms, unfinished, bad_rows, numbers):
        """Write the end.

        transforms : the Transforms of all samples; None where they have none
        unfinished : whether they are still to be applied
        bad_rows   : BadRows, those that were skipped
        numbers    : {name: statistics of a dense field's raw numbers}
        """
        self._write_pieces(last=True)
        if unfinished:
            self._finish_pieces(transforms)
        self._file.about.update(
            version=VERSION, hash=HASH_ID, rows=self.rows, piece_rows=PIECE_ROWS, schema=self._schema.to_json(),
            transforms=transforms and transforms.to_json(), value_width=self._width, truth=self._truth,
            skipped=bad_rows.count, examples=bad_rows.examples, numbers=numbers,
        )  # fmt: skip
        self._file.finish()

    def _write_pieces(self, last):
        joined = concatenate(self._pending)
        self._width, self._truth = joined.value_width, joined.has_truth
        begin = 0
        while len(joined) - begin >= (1 if last else PIECE_ROWS):
            end = min(begin + PIECE_ROWS, len(joined))
            piece = joined.slice(begin, end)
            for name in ARRAYS:
                array = getattr(piece, name)
                if array is not None and (name != "dense" or piece.n_dense):
                    self._file.add(f"{name}/{self._pieces}", array)
            self._pieces += 1
            self.rows += end - begin
            begin = end
        self._pending_rows = len(joined) - begin
        self._pending.append(joined.slice(begin, len(joined)))

    def _finish_pieces(self, transforms):
        for piece in range(self._pieces):
            if transforms.dense:
                dense = self._file.read(f"dense/{piece}")
                finish_dense(dense, transforms)
                self._file.replace(f"dense/{piece}", dense)
            if transforms.buckets or self._schema.crosses:
                keys = self._file.read(f"keys/{piece}")
                finish_keys(self._file.read(f"offsets/{piece}"), keys, self._file.read(f"fields/{piece}"), self._schema, transforms)
                self._file.replace(f"keys/{piece}", keys)
            if self._schema.normalise_samples:
                self._normalise(piece)

    def _normalise(self, piece):
        offsets, values = self._file.read(f"offsets/{piece}"), self._file.read(f"values/{piece}")
        dense = self._file.read(f"dense/{piece}") if self._schema.dense_fields else np.zeros((len(offsets) - 1, 0), np.float32)
        normalise(offsets, values, dense)
        self._file.replace(f"values/{piece}", values)
        if dense.size:
            self._file.replace(f"dense/{piece}", dense)
