"""What no machine has, or no run does, is refused in a line before memory is asked for or a step is made."""

from dataclasses import replace

import pytest

from deshpc.backend.room import memory
from deshpc.config.load import build
from deshpc.data.input import open_input
from deshpc.errors import ConfigError, DataError
from deshpc.nn.first_values import FirstValues
from deshpc.training.cursor import Cursor

HUGE = 10**9


@pytest.mark.parametrize(
    ("section", "name", "value"),
    [
        ("model", "dim", HUGE), ("model", "cross_layers", HUGE), ("model", "hidden", [4] * 1001), ("model", "fields", [{"name": "c0", "dim": HUGE}]),
        ("compute", "threads_per_rank", HUGE), ("train", "global_batch_samples", 2**40),
    ],
)  # fmt: skip
def test_options_that_no_run_has(section, name, value):
    with pytest.raises(ConfigError, match=rf"{section}.{name}.* (is too large: at most|at most)"):
        build({"data": {"format": "synthetic"}, section: {name: value}})


def test_buckets_that_no_field_has():
    fields = [{"name": "x", "kind": "bucket", "buckets": HUGE}]
    with pytest.raises(ConfigError, match="buckets = 1000000000 is too large: at most 1048576"):
        build({"data": {"train": ["a.csv"], "fields": fields}})


def test_parameters_that_no_machine_has():
    """The second of two that would fit alone is refused, by its name, with the bytes of both."""
    values, most = FirstValues(1), memory() // 8
    values.zeros("one", 1000)
    with pytest.raises(ConfigError, match=rf"up to 'two', .* would take {8 * (most - 999 + 1000):,} bytes; this machine has {memory():,}"):
        values.uniform("two", 1.0, most - 999)
    assert list(values.shapes) == ["one"]


def test_samples_that_no_machine_has():
    config = build({"data": {"format": "synthetic", "synthetic": {"train_rows": 10**12}}})
    with pytest.raises(ConfigError, match="data.synthetic.train_rows = 1,000,000,000,000 would take [0-9,]+ bytes"):
        open_input(config.data).load("train")


def test_a_place_that_no_run_comes_to():
    """103 rows in batches of 10: 11 steps an epoch."""
    place = Cursor(epoch=2, batch=3, position=30, steps=25, samples=236, train_rows=103)
    place.require_place(10, "x")
    Cursor(epoch=2, batch=0, position=0, steps=22, samples=206, train_rows=103).require_place(10, "x")
    for name, number in {"epoch": 10**15, "batch": 4, "position": 31, "steps": 24, "samples": 237}.items():
        with pytest.raises(DataError, match="^x: damaged: batch"):
            replace(place, **{name: number}).require_place(10, "x")
    with pytest.raises(DataError):
        Cursor(epoch=0, batch=11, position=110, steps=11, samples=110, train_rows=103).require_place(10, "x")
