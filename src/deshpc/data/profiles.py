"""The shapes of synthetic data: which fields, how many values each has, how many of them a sample holds.

Nothing here draws a number; `docs/synthetic.md` has the profiles in words and their measured figures.
"""

from dataclasses import dataclass, replace

from deshpc.config import FieldConfig
from deshpc.formats.schema import Schema

PARTS = ("train", "valid", "test")


@dataclass(frozen=True)
class Bag:
    """How many values a multi-hot field holds: geometric, cut to low .. high, with this mean.

    The value at position j of the bag (0 = newest) has weight recency^j.
    """

    low: int
    high: int
    mean: float
    recency: float = 1.0


@dataclass(frozen=True)
class Profile:
    """Cardinalities of the one-hot fields and, after them, of the multi-hot fields; number of dense features."""

    one_hot: tuple[int, ...] = ()
    multi_hot: tuple[int, ...] = ()
    bag: Bag | None = None
    n_dense: int = 0


@dataclass(frozen=True)
class Description:
    """What the samples of a configuration look like; field and dense names are in the order of their indices."""

    profile: Profile
    train_rows: int
    valid_rows: int
    test_rows: int

    @property
    def field_names(self):
        return tuple(f"c{i}" for i in range(len(self.cardinalities)))

    @property
    def dense_names(self):
        return tuple(f"d{i}" for i in range(self.profile.n_dense))

    @property
    def cardinalities(self):
        """Number of distinct values of each field."""
        return self.profile.one_hot + self.profile.multi_hot

    @property
    def keys_per_sample(self):
        """m, in expectation."""
        bag = self.profile.bag
        return len(self.profile.one_hot) + (len(self.profile.multi_hot) * bag.mean if bag else 0)

    @property
    def schema(self):
        """The Schema that rows of the same samples would have; the raw value of a key is the value's number in text."""
        single, bag = len(self.profile.one_hot), self.profile.bag
        weight = ":" if bag and bag.recency != 1 else ""
        names = self.field_names
        fields = [FieldConfig(name) for name in names[:single]]
        fields += [FieldConfig(name, "multi", weight_separator=weight) for name in names[single:]]
        return Schema.of_fields([*fields, *(FieldConfig(name, "dense") for name in self.dense_names)], "label")

    def rows(self, part):
        """Number of samples of `part`, one of PARTS."""
        return {"train": self.train_rows, "valid": self.valid_rows, "test": self.test_rows}[part]


def describe(config):
    """The Description of a `SyntheticConfig`."""
    profile = _PROFILES[config.profile]
    if config.profile == "criteo" and config.numeric == "bucket":
        profile = replace(profile, one_hot=profile.one_hot + (_BUCKETS,) * profile.n_dense, n_dense=0)
    return Description(profile, config.train_rows, config.valid_rows, config.test_rows)


def _log_spaced(first, last, count):
    ratio = last / first
    return tuple(round(first * ratio ** (i / (count - 1))) for i in range(count))


# Distinct values of the 26 categorical columns of the Criteo Kaggle Display Advertising Challenge (33.8 M in all),
# as published with DLRM's settings for that data set.
_CRITEO = (
    1460, 583, 10131227, 2202608, 305, 24, 12517, 633, 3, 93145, 5683, 8351593, 3194, 27, 14992, 5461306, 10, 5652,
    2173, 4, 7046547, 18, 15, 286181, 105, 142572,
)  # fmt: skip
_BUCKETS = 32  # of a numeric feature, the default of `data.fields.buckets`

_PROFILES = {
    "small": Profile(one_hot=(5, 8, 12, 20, 30, 50, 80, 120, 200, 400, 1000, 3000), n_dense=2),
    "criteo": Profile(one_hot=_CRITEO, n_dense=13),
    "industrial": Profile(multi_hot=(10**6,) * 20 + _log_spaced(10, 10**5, 100), bag=Bag(low=1, high=20, mean=3.6)),
    "history": Profile(
        one_hot=_log_spaced(10, 10**6, 8),
        multi_hot=(10**6,) * 12,
        bag=Bag(low=0, high=200, mean=83.0, recency=0.97),
    ),
}
