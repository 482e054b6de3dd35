"""Fitted transforms of numeric columns, applied with NumPy alone: a saved model needs no compiler.

A dense feature becomes (z - mean) / std, or 0, the mean of the training rows, where it is missing.  z is the transformed number,
sign(x) log(1 + |x|) unless the field says otherwise.  It is rounded to float32, so that whoever has kept it as such gets the same bits.
A bucket field becomes the key of its bucket's number, or of the empty value where it is missing.
"""

from dataclasses import dataclass

import numpy as np

from deshpc.errors import DataError
from deshpc.hashing.key import key
from deshpc.storage.json_form import require

_FORM = {
    "dense": [{"name": str, "mean": float, "std": float}], "buckets": [{"name": str, "boundaries": [float]}],
}  # fmt: skip


@dataclass(frozen=True)
class Standardisation:
    """Mean and standard deviation of a dense field's transformed number over the training rows that have it."""

    name: str
    mean: float
    std: float

    def standardise(self, z):
        """(n) float32 transformed numbers to (n) float32 dense features."""
        x = (z.astype(np.float64) - self.mean) / self.std
        x[np.isnan(x)] = 0.0
        return x.astype(np.float32)


@dataclass(frozen=True)
class Buckets:
    """Boundaries of a bucket field: bucket i holds the numbers that i boundaries do not exceed."""

    name: str
    boundaries: tuple[float, ...]

    def keys(self, field, numbers):
        """(n) float64 numbers to (n) uint64 keys of field number `field`."""
        buckets = np.searchsorted(self.boundaries, numbers, side="right")
        return self.bucket_keys(field)[np.where(np.isnan(numbers), -1, buckets)]

    def bucket_keys(self, field):
        """The keys of all buckets in field number `field`, and last that of a missing number: (boundaries + 2) uint64."""
        texts = [*map(str, range(len(self.boundaries) + 1)), ""]
        return np.array([key(field, self.name, text) for text in texts], np.uint64)


@dataclass(frozen=True)
class Transforms:
    """What was fitted: a Standardisation for each dense field and Buckets for each bucket field, in schema order."""

    dense: tuple[Standardisation, ...]
    buckets: tuple[Buckets, ...]

    def to_json(self) -> dict:
        """As plain dictionaries, lists, strings and floats; JSON keeps every float exactly."""
        return {
            "dense": [{"name": one.name, "mean": one.mean, "std": one.std} for one in self.dense],
            "buckets": [{"name": one.name, "boundaries": list(one.boundaries)} for one in self.buckets],
        }

    @classmethod
    def from_json(cls, tree: dict) -> "Transforms":
        """The inverse of `to_json`, whatever else is in `tree`.  DataError for what nobody has fitted."""
        try:
            require(tree, dict, "transforms")
            require({name: tree.get(name) for name in _FORM}, _FORM, "transforms")
        except ValueError as error:
            raise DataError(f"damaged: {error}") from None
        for one in tree["dense"]:
            if not one["std"] > 0:
                raise DataError(f"damaged: the standard deviation of field {one['name']!r} is {one['std']}")
        for one in tree["buckets"]:
            if not all(a < b for a, b in zip(one["boundaries"], one["boundaries"][1:], strict=False)):
                raise DataError(f"damaged: the boundaries of field {one['name']!r} do not increase")
        return cls(
            dense=tuple(Standardisation(one["name"], one["mean"], one["std"]) for one in tree["dense"]),
            buckets=tuple(Buckets(one["name"], tuple(one["boundaries"])) for one in tree["buckets"]),
        )

    def require_of(self, schema):
        """DataError unless these are the transforms of a Schema's fields, in their order."""
        fields = *schema.dense_fields, *(field for field in schema.key_fields if field.kind == "bucket")
        names = [one.name for one in (*self.dense, *self.buckets)]
        if names != [field.name for field in fields]:
            raise DataError(f"the stored transforms are of the fields {', '.join(names)}, not of those in data.fields")
        for one, field in zip(self.buckets, fields[len(self.dense) :], strict=True):
            if len(one.boundaries) > max(field.buckets - 1, len(field.boundaries)):
                raise DataError(f"damaged: field {one.name!r} has {len(one.boundaries)} boundaries of {field.buckets} buckets")


def transformed(field, numbers):
    """(n) float64 numbers of a dense field to (n) float32, NaN where they are: clipped, then as `transform` says.

    What is beyond float32 is its largest number.
    """
    if field.clip:
        numbers = np.clip(numbers, *field.clip)
    return _TRANSFORMS[field.transform](numbers)


def signed_log(x):
    """sign(x) log(1 + |x|) as float32, NaN where x is."""
    return np.copysign(np.log1p(np.abs(x)), x).astype(np.float32)


def _log(x):
    return np.log1p(np.maximum(x, 0.0)).astype(np.float32)


def _square_root(x):
    return np.copysign(np.sqrt(np.abs(x)), x).astype(np.float32)


def _as_it_is(x):
    most = float(np.finfo(np.float32).max)
    return np.clip(x, -most, most).astype(np.float32)


_TRANSFORMS = {"signed_log": signed_log, "log": _log, "square_root": _square_root, "none": _as_it_is}
