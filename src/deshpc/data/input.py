"""The samples that a configuration names, as data sets: generated, read from files of rows, or mapped from caches."""

import sys
from contextlib import suppress
from dataclasses import replace

from deshpc.backend.room import require_room
from deshpc.comm.workers import OneWorker
from deshpc.data.fitting import Fitting, fit
from deshpc.data.loading import finish_shared, load_unfinished
from deshpc.data.samples import unfinished
from deshpc.data.shared_dataset import assembled
from deshpc.data.transform import Transforms
from deshpc.errors import ConfigError, DataError, DeshpcError
from deshpc.formats import files
from deshpc.formats.bad_rows import BadRows
from deshpc.formats.open import open_format
from deshpc.formats.schema import Schema

_SYNTHETIC_BLOCK_ROWS = 1 << 16
_KEY_BYTES = 10  # of a key and its field
_ALONE = OneWorker()


class SyntheticInput:
    """Generated samples with a known truth."""

    mapped = False  # loaded into memory, once a node
    transforms, fitted = None, True

    def __init__(self, config):
        from deshpc.data.profiles import describe

        self._config, self._description = config.synthetic, describe(config.synthetic)
        self.n_fields = len(self._description.field_names)
        self.n_dense = len(self._description.dense_names)
        self.schema = self._description.schema  # but for its dense features, which are not transformed
        self.bad_rows = {}

    def has(self, part):
        """Whether there is a part "train", "valid" or "test" of at least one row."""
        return self._rows(part) > 0

    def load(self, part, workers=_ALONE):
        """The Dataset of a part, of which each of the Workers generates its share.  Collective."""
        from deshpc.data.synthetic import generate

        nbytes = int(self._rows(part) * (self._description.keys_per_sample * _KEY_BYTES + self.n_dense * 4 + 16))
        workers.run(lambda worker: require_room(nbytes, f"data.synthetic.{part}_rows = {self._rows(part):,}"))

        def share(worker):
            begin, end = (self._rows(part) * one // workers.size for one in (worker, worker + 1))
            blocks[worker] = [generate(self._config, part, begin, end)]

        blocks = {}
        workers.run(share)
        return assembled(workers, blocks)

    def compile(self, part):
        """Have the kernels compiled that `load` needs."""
        from deshpc.data.synthetic import generate

        generate(self._config, part, 0, 1)

    def blocks(self, part):
        """Yield the rows of a part as (None, Dataset): there is nothing to transform."""
        from deshpc.data.synthetic import generate

        self.bad_rows[part] = BadRows("error")
        for start in range(0, self._rows(part), _SYNTHETIC_BLOCK_ROWS):
            yield None, generate(self._config, part, start, min(start + _SYNTHETIC_BLOCK_ROWS, self._rows(part)))

    def state(self):
        """What has to be stored to read the same samples again: nothing, the configuration says it all."""
        return {}

    def restore(self, state):
        """Take a stored `state`."""

    def _rows(self, part):
        return getattr(self._config, f"{part}_rows")


class RowInput:
    """Files of rows: text or Parquet.  The transforms are fitted by reading the training part, or restored.

    bad_rows : {part: BadRows} of the parts that were read
    """

    mapped = False  # loaded into memory, once a node

    def __init__(self, config, labels="classes"):
        self._config, self._labels, self.schema = config, labels, Schema.from_config(config, labels=labels)
        self.n_fields, self.n_dense = len(self.schema.keyed_fields), len(self.schema.dense_fields)
        fitting = Fitting(self.schema)
        self._transforms = None if fitting.needs_rows else fitting.finish()
        self.bad_rows = {}

    def has(self, part):
        """Whether the configuration names files of this part."""
        return bool(getattr(self._config, part))

    def paths(self, part):
        """The files of a part, as the format's reader takes them."""
        return files.expand(getattr(self._config, part))

    def load(self, part, workers=_ALONE):
        """The Dataset of a part, of which each of the Workers reads its share; "train" comes first: it fits the transforms.

        Neither the samples nor the transforms depend on the number of workers.  Collective.
        """
        if part != "train":
            workers.run(lambda worker: self.transforms)  # they have to be known
        dataset, self.bad_rows[part] = self._unfinished(part, workers)
        workers.run(lambda worker: self.require_rows(part, len(dataset or ())))
        if not self.fitted:
            self._transforms = fit(dataset, self.schema, workers)
        finish_shared(dataset, self.schema, self.transforms, workers)
        return dataset

    def compile(self, part):
        """Have the kernels compiled that `load` needs, by reading some rows; whatever is wrong with them, `load` will say."""
        with suppress(DeshpcError):
            columns = next(self._columns(part, BadRows("skip")), None)
            if columns is not None:
                unfinished(columns, self.schema)

    def blocks(self, part):
        """Yield the rows of a part as (Columns, the `samples.unfinished` Dataset of them), block by block.

        The end of "train" fits the transforms unless they are known.  DataError where there is no row.
        """
        bad_rows = self.begin_reading(part)
        fitting = Fitting(self.schema) if part == "train" and not self.fitted else None
        rows = 0
        for columns in self._columns(part, bad_rows):
            block = unfinished(columns, self.schema)
            if fitting:
                fitting.add(columns, block.dense)
            rows += len(columns)
            yield columns, block
        self.require_rows(part, rows)
        if fitting:
            self._transforms = fitting.finish()

    def begin_reading(self, part):
        """A new BadRows, as that of a part from now on."""
        self.bad_rows[part] = BadRows(self._config.on_bad_row)
        return self.bad_rows[part]

    def take_bad_rows(self, part, bad_rows):
        """These BadRows were found while a part was read."""
        self.bad_rows[part] = bad_rows

    def quiet_rows(self):
        """A BadRows of rows that somebody has been told of before."""
        return BadRows(self._config.on_bad_row)

    def take_fit(self, transforms):
        """Use these Transforms."""
        self._transforms = transforms

    def columns(self, paths, bad_rows):
        """The Columns of some files, as the format's reader takes them, block by block."""
        return open_format(self._config, labels=self._labels).blocks(paths, bad_rows)

    def fit_to(self, paths, rows=0):
        """Fit the transforms to the rows of some files, or to so many of their first ones."""
        columns = self.columns(paths, BadRows(self._config.on_bad_row))
        for _ in self.fitted_to_first(columns, rows or sys.maxsize, holds=False):
            break

    def fitted_to_first(self, columns, rows, holds=True):
        """The same Columns, block by block, after the transforms have been fitted to the first `rows` rows of them, which are held meanwhile,
        unless `holds` is false."""
        fitting, held, left = Fitting(self.schema), [], rows
        for some in columns:
            fitting.add(some, unfinished(some, self.schema).dense, min(left, len(some)))
            if holds:
                held.append(some)
            left -= min(left, len(some))
            if not left:
                break
        self._transforms = fitting.finish()
        held.reverse()
        while held:
            yield held.pop()
        yield from columns

    def require_rows(self, part, rows):
        """DataError unless a part that has been read has rows."""
        if rows == 0:
            bad_rows = self.bad_rows[part]
            skipped = f"; {bad_rows.count} were skipped, first: {bad_rows.examples[0]}" if bad_rows.count else ""
            raise DataError(f"data.{part}: no rows in {', '.join(map(str, self.paths(part)))}{skipped}")

    def _unfinished(self, part, workers):
        """What `load_unfinished` gives of a part.  Collective."""
        return load_unfinished(open_format(self._config, labels=self._labels), getattr(self._config, part), self._config.on_bad_row, workers)

    def _columns(self, part, bad_rows):
        """The Columns of a part, block by block."""
        return self.columns(self.paths(part), bad_rows)

    def fit(self):
        """Read the training part to know the transforms; ConfigError where there is none."""
        if self.has("train"):
            for _ in self.blocks("train"):
                pass
        return self.transforms

    @property
    def fitted(self):
        """Whether the transforms are known."""
        return self._transforms is not None

    @property
    def transforms(self):
        """The fitted Transforms; ConfigError where they are not known yet."""
        if not self.fitted:
            raise ConfigError("data.train is needed: dense and bucket fields are fitted on the training rows")
        return self._transforms

    def state(self):
        """Fitted transforms and schema as plain JSON types."""
        return {**self.transforms.to_json(), "schema": self.schema.to_json()}

    def restore(self, state):
        """Take a stored `state` instead of fitting transforms.  DataError unless it is of these fields."""
        transforms = Transforms.from_json(state)
        transforms.require_of(self.schema)
        stored = Schema.from_json(state["schema"]) if "schema" in state else self.schema
        if stored != replace(self.schema, label=stored.label, weight=stored.weight, labels=stored.labels):
            raise DataError("the stored transforms are of other data.fields, data.crosses or data.normalise_samples than those here")
        self._transforms = transforms


def open_input(config, labels="classes", tables=None):
    """The input of a DataConfig.

    labels : what labels are, see `formats.label_kinds`; None: whatever a cache says
    tables : {part: pyarrow.Table}, where rows come from the caller
    """
    if config.format == "synthetic":
        return SyntheticInput(config)
    if config.format == "cache":
        from deshpc.data.cached_input import CacheInput

        return CacheInput(config, labels)
    if config.format == "table":
        from deshpc.data.table_input import TableInput

        return TableInput(config, labels, tables)
    return RowInput(config, labels)


def require(source, part, why):
    """ConfigError unless `source` has the part."""
    if not source.has(part):
        raise ConfigError(f"{why} needs data.{part} files (or data.synthetic.{part}_rows above 0)")
