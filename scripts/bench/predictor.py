"""Latency of one row and rate of batches of `deshpc.Predictor`, without training: a model of random weights.

    python scripts/bench/predictor.py [--rows 1000000] [--batch 100000] [--json predictor.json]

A sample has Criteo's shape: 26 categorical values of 8 characters, of which the model knows all, and 13 dense features.
FM, k = 16, float32, `--rows` rows.  Prints the median and 99th percentile of 1,000 single rows, and rows/s of a batch.
"""

import argparse
import json
import platform
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np

import deshpc
from deshpc.config.load import build
from deshpc.data.transform import Standardisation, Transforms
from deshpc.formats.schema import Schema
from deshpc.hashing.key import key
from deshpc.serve.exported import about_model, write_model

VALUES, SINGLE_ROWS, DIM = 2_000, 1_000, 16


def make_model(path, rows, generator):
    """Write a model; the values of each categorical field that it knows."""
    config = build({"data": {"format": "criteo", "train": ["x"]}, "model": {"dim": DIM}})
    schema = Schema.from_config(config.data)
    values = [[f"{x:08x}" for x in generator.integers(0, 2**32, VALUES)] for _ in schema.key_fields]
    known = [key(i, field.name, text) for i, field in enumerate(schema.key_fields) for text in values[i]]
    others = generator.integers(1, 2**64 - 1, max(0, rows - len(known)), np.uint64)
    keys = np.unique(np.concatenate([np.array(known, np.uint64), others]))
    weights = generator.normal(0, 0.05, (len(keys), 1 + DIM)).astype(np.float32)
    transforms = Transforms(tuple(Standardisation(field.name, 2.0, 1.5) for field in schema.dense_fields), ())
    slopes, factors = generator.normal(0, 0.1, 13), generator.normal(0, 0.1, (13, DIM))
    dense = {"bias": np.float32(-1), "fm.weights": slopes, "fm.factors": factors}
    write_model(path, about_model(config, 1), schema, transforms, [(keys, weights)], weights[:0], dense)
    return values


def make_rows(count, values, generator):
    """Dictionaries of raw values."""
    numbers = generator.integers(0, 1000, (count, 13)).tolist()
    chosen = generator.integers(0, VALUES, (count, len(values))).tolist()
    return [
        {f"I{i + 1}": x for i, x in enumerate(some)} | {f"C{i + 1}": values[i][x] for i, x in enumerate(picks)}
        for some, picks in zip(numbers, chosen, strict=True)
    ]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--batch", type=int, default=100_000)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    generator = np.random.default_rng(1)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "bench.model"
        values = make_model(path, options.rows, generator)
        begin = time.perf_counter()
        predictor = deshpc.Predictor(path)
        opened = time.perf_counter() - begin
        rows = make_rows(SINGLE_ROWS, values, generator)
        times = []
        for row in rows:
            begin = time.perf_counter()
            predictor.predict_one(row)
            times.append(time.perf_counter() - begin)
        rows = make_rows(options.batch, values, generator)
        columns = {name: [row[name] for row in rows] for name in rows[0]}
        rates = {}
        for name, shape in (("dictionaries", rows), ("columns", columns)):
            begin = time.perf_counter()
            predictor.predict(shape)
            rates[name] = options.batch / (time.perf_counter() - begin)
    result = {
        "machine": platform.machine(), "python": platform.python_version(), "numpy": np.__version__,
        "model_rows": options.rows, "open_ms": 1e3 * opened, "one_row_median_us": 1e6 * statistics.median(times),
        "one_row_p99_us": 1e6 * float(np.quantile(times, 0.99)), "batch_rows_per_s": rates,
    }  # fmt: skip
    print(f"model of {options.rows:,} rows opened in {result['open_ms']:.0f} ms")
    print(f"one row: median {result['one_row_median_us']:.0f} us, 99 % {result['one_row_p99_us']:.0f} us")
    print(", ".join(f"{options.batch:,} rows as {name}: {rate:,.0f} rows/s" for name, rate in rates.items()))
    if options.json:
        options.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
