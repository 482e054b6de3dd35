"""What data look like to a planner: how many keys a sample has, how many of a batch's are distinct, how uneven they are.

Inside its field the key of rank i has a chance in proportion to i^-a (Zipf).  n draws from D keys then have

    sum over i = 1 .. D of 1 - (1 - p_i)^n

distinct ones in expectation.  Where distinct keys of batches have been counted, the sum is scaled to them, and in between by
interpolation over the logarithm of the batch.
"""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

_EXPONENT = 1.05  # of synthetic data; of a field of too few keys to tell
_EXACT, _BINS = 1024, 400  # ranks that count one by one; bins of the others, equally wide in their logarithm
_HOT = 64  # most frequent keys of a field that can make an owner busier than others
_DRAWS = 8  # ways to deal them out


@dataclass(frozen=True)
class FieldWorkload:
    """keys : distinct ones;  keys_per_sample;  exponent a of their frequencies

    distinct_values : numbers that stand beside them, None where they are many or not known.  A message that has several fields is taken
    to have as many as the field with the most
    """

    name: str
    keys: int
    keys_per_sample: float
    exponent: float
    distinct_values: int | None = None

    @cached_property
    def _bins(self):
        """(chances of a key, keys of such a chance)"""
        begins = np.arange(1, min(self.keys, _EXACT) + 1, dtype=np.float64)
        if self.keys > _EXACT:
            edges = np.unique(np.geomspace(_EXACT + 1, self.keys + 1, _BINS).astype(np.int64))
            begins = np.concatenate([begins[:-1], [_EXACT], edges[:-1]]).astype(np.float64)
            ends = np.concatenate([begins[1:], [self.keys + 1]])
        else:
            ends = begins + 1
        counts = ends - begins
        weights = ((begins + ends - 1) / 2) ** -self.exponent
        return weights / (weights @ counts), counts

    def distinct(self, samples):
        """Distinct keys of so many samples, in expectation."""
        chances, counts = self._bins
        return float(counts @ -np.expm1(samples * self.keys_per_sample * np.log1p(-np.minimum(chances, 1 - 1e-12))))

    def hottest(self):
        """Key occurrences a sample of each of the most frequent keys, (<= 64)."""
        return self._bins[0][:_HOT] * self.keys_per_sample


def _together(fields, key_fields):
    """FieldWorkloads, in which a field that shares rows has none, and the one whose keys they are has those of both."""
    found = {one.name: one for one in fields}
    for config in key_fields:
        if config.share:
            one, other = found[config.name], found[config.share]
            values = None if None in (one.distinct_values, other.distinct_values) else max(one.distinct_values, other.distinct_values)
            occurrences = one.keys_per_sample + other.keys_per_sample
            found[other.name] = replace(other, keys=max(one.keys, other.keys), keys_per_sample=occurrences, distinct_values=values)
            found[one.name] = replace(one, keys=1, keys_per_sample=0.0)
    return tuple(found[one.name] for one in fields)


@dataclass(frozen=True)
class Workload:
    """A part of data.

    rows : its samples
    fields : FieldWorkloads of those that become keys
    n_dense : dense features
    value_width : numbers beside each key, 0 to 2
    counted : {samples: distinct keys of a batch of so many, divided by them}
    key_fields : FieldConfigs of the fields, where these are known; those that share rows are counted with the field whose keys they have
    """

    rows: int
    fields: tuple
    n_dense: int
    value_width: int
    counted: dict
    key_fields: tuple = ()

    @classmethod
    def from_profile(cls, profile, value_width, key_fields=()):
        """Of what `deshpc profile --json` prints."""
        fields = tuple(
            FieldWorkload(one["name"], max(1, one["distinct_keys"]), one["keys_per_sample"] or 0.0, one["zipf_exponent"] or _EXPONENT, one.get("distinct_values"))
            for one in profile["fields"]
        )
        counted = {int(samples): u for samples, u in profile["distinct_per_sample"].items() if u}
        return cls(profile["rows"], _together(fields, key_fields), len(profile["dense"]), value_width, counted, key_fields)

    @classmethod
    def of_synthetic(cls, description):
        """Of a `data.profiles.Description`: from its rules alone, nothing is generated."""
        bag, single = description.profile.bag, len(description.profile.one_hot)
        fields = tuple(
            FieldWorkload(name, keys, 1.0 if i < single else bag.mean, _EXPONENT, 1 if i < single or bag.recency == 1 else bag.high)
            for i, (name, keys) in enumerate(zip(description.field_names, description.cardinalities, strict=True))
        )
        return cls(description.train_rows, fields, description.profile.n_dense, description.schema.value_width, {})

    @property
    def keys_per_sample(self):
        """m."""
        return sum(field.keys_per_sample for field in self.fields)

    @property
    def field_names(self):
        return tuple(field.name for field in self.fields)

    def distinct(self, samples):
        """Distinct keys of so many samples."""
        if samples <= 0:
            return 0.0
        return self._expected(samples) * self._correction(samples)

    def distinct_of(self, field, samples):
        """Distinct keys of a field, by its number, in so many samples."""
        return self.fields[field].distinct(samples) * self._correction(samples)

    def busiest(self, owners):
        """Key occurrences of the busiest of so many owners over the mean: what hashing leaves uneven, since a key is one owner's.

        The most frequent keys are dealt out at random, from fixed seeds; all others are even.
        """
        if owners == 1:
            return 1.0
        hot = np.concatenate([field.hottest() for field in self.fields])
        rest = max(0.0, self.keys_per_sample - hot.sum()) / owners
        found = []
        for seed in range(_DRAWS):
            dealt = np.random.default_rng(seed).integers(owners, size=len(hot))
            found.append(rest + np.bincount(dealt, hot, owners).max())
        return float(np.mean(found)) * owners / self.keys_per_sample

    def _expected(self, samples):
        return sum(field.distinct(samples) for field in self.fields)

    def _correction(self, samples):
        """What was counted over what is expected."""
        if not self.counted:
            return 1.0
        sizes = sorted(self.counted)
        ratios = [self.counted[size] * size / self._expected(size) for size in sizes]
        return float(np.interp(np.log(samples), np.log(sizes), ratios))
