"""The shapes of synthetic data: which fields, how many values each has, how many of them a sample holds.

Nothing here draws a number; `docs/synthetic.md` has the profiles in words and their measured figures.
"""

from dataclasses import dataclass

PARTS = ("train", "valid", "test")

# Distinct values of the 26 categorical columns of the Criteo Kaggle Display Advertising Challenge (33.8 M in all),
# as DLRM's scripts for that data set list them.
CRITEO_CARDINALITIES = (
    1460, 583, 10131227, 2202608, 305, 24, 12517, 633, 3, 93145, 5683, 8351593, 3194, 27, 14992, 5461306, 10, 5652,
    2173, 4, 7046547, 18, 15, 286181, 105, 142572,
)  # fmt: skip
CRITEO_NUMERIC = 13
CRITEO_BUCKETS = 32


@dataclass(frozen=True)
class Description:
    """What a synthetic sample looks like.

    A one-hot field holds one value a sample; a multi-hot field a bag of them, whose size is geometric, cut to
    bag_low .. bag_high, with mean bag_mean.  Position j of a bag (0 = newest) has weight recency^j.
    """

    field_names: tuple[str, ...]
    cardinalities: tuple[int, ...]
    multi_hot: tuple[bool, ...]
    dense_names: tuple[str, ...]
    train_rows: int
    valid_rows: int
    test_rows: int
    interaction: float
    """Size of the hidden model's pairwise part relative to its linear part (`hidden_model`)."""
    bag_low: int = 1
    bag_high: int = 1
    bag_mean: float = 1.0
    recency: float = 1.0

    @property
    def weighted(self):
        """Whether occurrences have weights other than 1."""
        return self.recency != 1.0

    @property
    def keys_per_sample(self):
        """m, expected."""
        bags = sum(self.multi_hot)
        return len(self.multi_hot) - bags + bags * self.bag_mean

    def rows(self, part):
        """Number of samples of `part`, one of PARTS."""
        return {"train": self.train_rows, "valid": self.valid_rows, "test": self.test_rows}[part]


def describe(config):
    """The Description of a `SyntheticConfig`."""
    shape = _SHAPES[config.profile](config.numeric)
    cardinalities = shape.pop("cardinalities")
    buckets = shape.pop("buckets", 0)
    dense = shape.pop("dense", 0)
    names = [f"c{i}" for i in range(len(cardinalities))] + [f"i{i}" for i in range(buckets)]
    return Description(
        field_names=tuple(names),
        cardinalities=cardinalities + (CRITEO_BUCKETS,) * buckets,
        multi_hot=shape.pop("multi_hot", (False,) * len(names)),
        dense_names=tuple(f"i{i}" for i in range(dense)),
        train_rows=config.train_rows,
        valid_rows=config.valid_rows,
        test_rows=config.test_rows,
        **shape,
    )


def _small(numeric):
    return {"cardinalities": _log_spaced(5, 3000, 12), "dense": 2, "interaction": 1.0}


def _criteo(numeric):
    return {
        "cardinalities": CRITEO_CARDINALITIES,
        "dense": CRITEO_NUMERIC if numeric == "dense" else 0,
        "buckets": CRITEO_NUMERIC if numeric == "bucket" else 0,
        "interaction": 0.3,
    }


def _industrial(numeric):
    return {
        "cardinalities": (10**6,) * 20 + _log_spaced(10, 10**5, 100),
        "multi_hot": (True,) * 120,
        "bag_low": 1,
        "bag_high": 20,
        "bag_mean": 3.6,
        "interaction": 0.1,
    }


def _history(numeric):
    return {
        "cardinalities": _log_spaced(10, 10**6, 8) + (10**6,) * 12,
        "multi_hot": (False,) * 8 + (True,) * 12,
        "bag_low": 0,
        "bag_high": 200,
        "bag_mean": 83.0,
        "recency": 0.97,
        "interaction": 0.1,
    }


_SHAPES = {"small": _small, "criteo": _criteo, "industrial": _industrial, "history": _history}


def _log_spaced(first, last, count):
    ratio = last / first
    return tuple(round(first * ratio ** (i / (count - 1))) for i in range(count))
