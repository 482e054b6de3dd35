"""What data looks like: keys per sample, distinct keys, skew, missing values; block by block, exactly.

Memory is that of the distinct keys, 16 bytes each, twice while counts are merged.
"""

import numpy as np

from deshpc.backend.exact_sum import value, whole
from deshpc.backend.values import FEW_VALUES
from deshpc.data.cached_input import CacheInput
from deshpc.data.numbers import NumberStatistics, merged
from deshpc.data.samples import finish
from deshpc.hashing.key import key

BATCH_SIZES = (512, 2048, 8192)
_BATCHES = 20
_RANKED_KEYS, _FEWEST_RANKED = 1000, 10
_VALUES = 4096  # that are looked at together


def profile_of(source, part):
    """Statistics of a part of an Input, as plain JSON types.

    rows, skipped
    positive_share, or mean_label where labels are numbers; of several labels a list, labels, with these, name and missing_share of each
    keys_per_sample, most_keys : mean and largest number of key occurrences of a sample
    distinct_keys       : of all fields
    distinct_per_sample : {batch size: distinct keys of a batch, divided by its samples}: mean of the first 20 full
                          batches in file order, None where there is none
    fields : for each key field its name, kind, distinct_keys, keys_per_sample, most_keys; distinct_values, numbers beside its keys, None
             where there are more than FEW_VALUES; missing_share of the samples,
             which have no key in it, or that of the empty value; top_share of the occurrences that are the most frequent
             key's; zipf_exponent, see `zipf_exponent`
    dense  : for each dense field its name, missing_share, min, max, mean of the raw numbers, None where they are not known

    Text is read twice where keys or values depend on transforms that have yet to be fitted.
    """
    schema = source.schema
    later = schema.crosses or schema.normalise_samples or any(field.kind == "bucket" for field in schema.key_fields)  # what transforms make
    if later and not source.fitted:
        source.fit()
    samples, numbers = SampleStatistics(schema), NumberStatistics(schema)
    for columns, block in source.blocks(part):
        if columns is not None:
            numbers.add(columns)
            if later:
                finish(block, schema, source.transforms)
        samples.add(block)
    raw = numbers.to_json()
    if isinstance(source, CacheInput):
        raw = merged([one.numbers for one in source.caches(part)])
    return {
        **samples.to_json(),
        "skipped": source.bad_rows[part].count,
        "dense": [_dense(*item) for item in raw.items()],
    }


class SampleStatistics:
    """Takes Datasets of a schema, one after another."""

    def __init__(self, schema):
        self._schema = schema
        self._rows, self._most_keys = 0, 0
        self._labels = [_LabelStatistics(kind) for _, kind in schema.label_columns]
        self._fields = [_FieldStatistics(number, schema.keyed_fields[number].name) for number in schema.numbers_of_keys]
        self._batches = {size: _DistinctPerBatch(size) for size in BATCH_SIZES}

    def add(self, dataset):
        """Take a Dataset; its dense features do not matter."""
        counts = np.diff(dataset.offsets)
        self._rows += len(dataset)
        for label, column in zip(self._labels, dataset.labels.T if self._schema.tasks else [dataset.labels], strict=False):
            label.add(column.astype(np.float64))
        self._most_keys = max(self._most_keys, int(counts.max(initial=0)))
        samples = np.repeat(np.arange(len(dataset)), counts)
        order = np.argsort(dataset.fields, kind="stable")  # a field's occurrences side by side, samples in order
        edges = np.searchsorted(dataset.fields[order], np.arange(len(self._fields) + 1))
        for field, begin, end in zip(self._fields, edges, edges[1:], strict=False):
            if end > begin:
                own = order[begin:end]
                field.add(dataset.keys[own], samples[own], None if dataset.values is None else dataset.values[own])
        for batches in self._batches.values():
            batches.add(dataset)

    def to_json(self):
        """What `profile_of` says, but for what samples do not have."""
        fields = [
            one.to_json(field, self._rows) for one, field in zip(self._fields, self._schema.keyed_fields, strict=True)
        ]
        occurrences = sum(one.occurrences for one in self._fields)
        together = [[] for _ in self._fields]  # by the field whose keys they have
        for number, one in zip(self._schema.numbers_of_keys, self._fields, strict=True):
            together[number].append(one.keys())
        return {
            "rows": self._rows,
            **self._of_labels(),
            "keys_per_sample": _share(occurrences, self._rows),
            "most_keys": self._most_keys,
            "distinct_keys": sum(len(keys[0] if len(keys) == 1 else np.unique(np.concatenate(keys))) for keys in together if keys),
            "distinct_per_sample": {str(size): batches.mean() for size, batches in self._batches.items()},
            "fields": fields,
        }


    def _of_labels(self):
        if not self._schema.tasks:
            return {name: number for label in self._labels for name, number in label.to_json().items() if name != "missing_share"}
        return {"labels": [{"name": name, **label.to_json()} for (name, _), label in zip(self._schema.label_columns, self._labels, strict=True)]}


class _LabelStatistics:
    def __init__(self, kind):
        self._name = "positive_share" if kind == "classes" else "mean_label"
        self._rows, self._known, self._sum = 0, 0, 0

    def add(self, labels):
        known = labels[~np.isnan(labels)]
        self._rows, self._known, self._sum = self._rows + len(labels), self._known + len(known), self._sum + whole(known)

    def to_json(self):
        return {self._name: _share(value(self._sum), self._known), "missing_share": _share(self._rows - self._known, self._rows)}


class _FieldStatistics:
    def __init__(self, field, name):
        """field, name : of the field whose keys they are"""
        self._empty = np.uint64(key(field, name, ""))
        self._counts, self._present, self._most, self.occurrences = _KeyCounts(), 0, 0, 0
        self._values = set()  # bits of them; None where they are many

    def add(self, keys, samples, values):
        """Take a block's occurrences of the field: keys, samples and values (n), samples in order; values None where all are 1."""
        self.occurrences += len(keys)
        self._add_values(values)
        first = np.flatnonzero(np.diff(samples, prepend=-1))
        self._most = max(self._most, int(np.diff(first, append=len(samples)).max()))
        self._present += _changes(samples[keys != self._empty])
        self._counts.add(keys)

    def keys(self):
        """(distinct) uint64"""
        return self._counts.keys()

    def _add_values(self, values):
        for begin in range(0, 0 if values is None else len(values), _VALUES):  # most that are many are so soon
            if self._values is None:
                return
            part = np.ascontiguousarray(values[begin : begin + _VALUES], np.float32)
            self._values.update(np.unique(part.view(f"u{part[:1].nbytes}")).tolist())
            if len(self._values) > FEW_VALUES:
                self._values = None

    def to_json(self, field, rows):
        counts = self._counts.counts()
        return {
            "name": field.name, "kind": field.kind, "distinct_keys": len(counts),
            "keys_per_sample": _share(self.occurrences, rows), "most_keys": self._most,
            "distinct_values": self._values if self._values is None else max(1, len(self._values)),
            "missing_share": _share(rows - self._present, rows),
            "top_share": _share(int(counts.max(initial=0)), self.occurrences), "zipf_exponent": zipf_exponent(counts),
        }  # fmt: skip


class _KeyCounts:
    """How often each key was met: sorted runs, each at least twice as long as the next, so that merging stays cheap."""

    def __init__(self):
        self._runs = []

    def add(self, keys):
        self._runs.append(np.unique(keys, return_counts=True))
        while len(self._runs) > 1 and len(self._runs[-2][0]) < 2 * len(self._runs[-1][0]):
            self._merge()

    def keys(self):
        """(distinct keys) uint64, ascending"""
        return self._joined()[0]

    def counts(self):
        """(distinct keys) int64"""
        return self._joined()[1]

    def _joined(self):
        while len(self._runs) > 1:
            self._merge()
        return self._runs[0] if self._runs else (np.zeros(0, np.uint64), np.zeros(0, np.int64))

    def _merge(self):
        keys, counts = (np.concatenate(pair) for pair in zip(self._runs.pop(), self._runs.pop(), strict=True))
        order = np.argsort(keys, kind="stable")
        keys = keys[order]
        first = np.flatnonzero(np.concatenate([[True], keys[1:] != keys[:-1]]))
        self._runs.append((keys[first], np.add.reduceat(counts[order], first)))


class _DistinctPerBatch:
    """Distinct keys of the first batches of `size` samples."""

    def __init__(self, size):
        self._size, self._held, self._rows, self._found = size, [], 0, []

    def add(self, dataset):
        begin = 0
        while begin < len(dataset) and len(self._found) < _BATCHES:
            end = min(begin + self._size - self._rows, len(dataset))
            self._held.append(dataset.keys[dataset.offsets[begin] : dataset.offsets[end]])
            self._rows += end - begin
            begin = end
            if self._rows == self._size:
                self._found.append(_changes(np.sort(np.concatenate(self._held))))
                self._held, self._rows = [], 0

    def mean(self):
        return sum(self._found) / len(self._found) / self._size if self._found else None


def _changes(ordered):
    """Number of distinct elements of an ordered array."""
    return min(1, len(ordered)) + int(np.count_nonzero(ordered[1:] != ordered[:-1]))


def zipf_exponent(counts):
    """a of count ~ rank^-a: the slope of log count over log rank, by least squares over the 1,000 most frequent keys.

    counts : (n) int64, in any order  ->  float, None for fewer than 10 keys
    """
    ranked = (
        np.sort(np.partition(counts, max(0, len(counts) - _RANKED_KEYS))[-_RANKED_KEYS:])[::-1]
        if len(counts)
        else counts
    )
    if len(ranked) < _FEWEST_RANKED:
        return None
    x, y = np.log(np.arange(1, len(ranked) + 1)), np.log(ranked)
    x -= x.mean()
    return float(-(x @ y) / (x @ x))


def _dense(name, numbers):
    rows = numbers["missing"] + numbers["present"]
    return {
        "name": name,
        "missing_share": _share(numbers["missing"], rows),
        **{one: numbers[one] for one in ("min", "max", "mean")},
    }


def _share(part, whole):
    return part / whole if whole else None
