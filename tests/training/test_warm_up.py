"""What compiles kernels before a run runs on one rank, whatever the exchange: it takes the place of that which one rank needs."""

from itertools import product

import numpy as np
import pytest

from deshpc.backend.open import open_backend
from deshpc.config.load import build
from deshpc.data.input import open_input
from deshpc.training.session import warm_up

WAYS = [
    *product(("key",), ("allreduce", "reduce_scatter", "rows")),
    *product(("field",), ("pooled", "rows")),
]


@pytest.mark.parametrize("replicated", [(), ("c0", "c7")])
@pytest.mark.parametrize(("split", "exchange"), WAYS)
def test_every_exchange_of_deep_models_is_warmed_up(split, exchange, replicated):
    config = build(
        {
            "data": {"format": "synthetic", "synthetic": {"train_rows": 64}},
            "model": {
                "name": "deepfm", "dim": 4, "hidden": [3],
                "fields": [{"name": name, "replicated": True} for name in replicated],
            },
            "train": {"split": split, "exchange": exchange, "routing": "broadcast"},
        }
    )  # fmt: skip
    backend, source = open_backend("cpu", 2), open_input(config.data)
    sample = source.load("train")
    labels = np.array(sample.labels)
    warm_up(config, sample, backend, source)
    assert np.array_equal(sample.labels, labels)
    backend.close()
