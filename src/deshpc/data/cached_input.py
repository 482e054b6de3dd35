"""The samples of caches: each rank maps the files itself, and the operating system holds them once a node."""

from dataclasses import replace

from deshpc.backend.cpu.checksum import crc32
from deshpc.data.cache_file import Cache
from deshpc.data.dataset import ChainedDataset
from deshpc.errors import DataError
from deshpc.formats import files
from deshpc.formats.bad_rows import BadRows
from deshpc.formats.label_kinds import LABELS
from deshpc.formats.schema import Schema

_WORDS = {"classes": "0 and 1", "counts": "numbers of 0 or more", "numbers": "any numbers"}
_FITTING = {"counts": ("numbers",)}
"""What else some labels may be taken for."""


class CacheInput:
    """Caches that `deshpc convert` has written: several of a part are one data set.

    schema, transforms : those of all caches, which have to agree; transforms is None where nothing was fitted
    bad_rows : {part: BadRows}: what was skipped when the part was converted
    """

    mapped, fitted = True, True

    def __init__(self, config, labels=None):
        """labels : what labels have to be, see `formats.label_kinds`; None: whatever the caches say.  DataError where they are something else"""
        self._config, self._caches, self.bad_rows = config, {}, {}
        first = self.caches(next(part for part in ("train", "valid", "test") if self.has(part)))[0]
        self.schema, self.transforms = first.schema, first.transforms
        self._require_labels(first.path, labels)
        self.n_fields, self.n_dense = len(self.schema.keyed_fields), len(self.schema.dense_fields)

    def _require_labels(self, path, labels):
        """DataError unless the caches have labels of these kinds, None for any, in as many columns as data.label names, if that is several."""
        named = self._config.label
        if labels is None:
            return
        if self.schema.tasks != (0 if isinstance(named, str) else len(named)) or self.schema.tasks and self.schema.label != named:
            own = self.schema.label if isinstance(self.schema.label, str) else list(self.schema.label or ())
            raise DataError(f"{path}: has the label {own!r}; set data.label to that, or convert the rows again")
        several = self.schema.tasks > 0
        for wanted, own in zip(labels, self.schema.labels, strict=True) if several else ((labels, self.schema.labels),):
            self._require_kind(path, wanted, own)

    def _require_kind(self, path, labels, own):
        if labels not in (own, *_FITTING.get(own, ())):
            loss = next(name for name, kind in LABELS.items() if kind == labels)
            raise DataError(
                f"{path}: its labels are {_WORDS[own]}; train.loss = {loss!r} learns {_WORDS[labels]}: convert the "
                f"rows again by a configuration with train.loss = {loss!r}"
            )

    def has(self, part):
        """Whether the configuration names files of this part."""
        return bool(getattr(self._config, part))

    def load(self, part):
        """The ChainedDataset of a part."""
        caches = self.caches(part)
        pieces = [(cache, number) for cache in caches for number in range(len(cache.counts))]
        return ChainedDataset(
            [count for cache in caches for count in cache.counts],
            lambda number, verify: pieces[number][0].piece(pieces[number][1], verify),
            lambda number, piece, rows: pieces[number][0].require_sound(pieces[number][1], piece, rows),
            lambda number: pieces[number][0].read_ahead(pieces[number][1]),
            sum(cache.nnz for cache in caches),
            self.n_dense,
            caches[0].value_width,
            all(cache.has_truth for cache in caches),
            self.schema.weight is not None,
        )

    def blocks(self, part):
        """Yield the rows of a part as (None, Dataset), piece by piece."""
        dataset = self.load(part)
        return ((None, dataset.piece(number)) for number in range(len(dataset.starts) - 1))

    def caches(self, part):
        """The part's files, each a Cache of the schema and transforms that all have."""
        if part not in self._caches:
            caches = [Cache(path, crc32) for path in files.expand(getattr(self._config, part))]
            for cache in caches:
                self._require_same(cache, next(iter(self._caches.values()), caches)[0])
            if not any(cache.rows for cache in caches):
                raise DataError(f"data.{part}: no rows in {', '.join(cache.path for cache in caches)}")
            examples = [example for cache in caches for example in cache.examples]
            self.bad_rows[part] = BadRows("skip", sum(cache.skipped for cache in caches), examples)
            self._caches[part] = caches
        return self._caches[part]

    def state(self):
        """Transforms and schema as plain JSON types."""
        return {**(self.transforms.to_json() if self.transforms else {}), "schema": self.schema.to_json()}

    def restore(self, state):
        """DataError unless a stored `state` is that of the caches."""
        own = self.state()
        schema = Schema.from_json(state["schema"]) if "schema" in state else self.schema
        if replace(schema, labels=self.schema.labels) != self.schema or any(state.get(name) != own.get(name) for name in ("dense", "buckets")):
            raise DataError(
                f"{next(iter(self._caches.values()))[0].path}: was made with other fields, another data.normalise_samples or other fitted transforms than "
                "the model; convert the rows together with the training rows of the model, or by deshpc convert --set train.from=RUN"
            )

    def _require_same(self, cache, first):
        of_samples = "kind of samples"
        for name, what in (("schema", "schema"), ("transforms", "fit"), ("has_truth", of_samples), ("value_width", of_samples)):
            if getattr(cache, name) != getattr(first, name):
                raise DataError(
                    f"{cache.path}: has another {what} than {first.path}; convert all parts by one configuration"
                )
