"""Rows with a field of every kind, as text: data to train on, and the score that such a row has by definition."""

import math
import random
import re

import numpy as np
import xxhash

FIELDS = [
    {"name": "site"},
    {"name": "tags", "kind": "multi", "pooling": "mean", "linear_pooling": "sum"},
    {"name": "history", "kind": "multi", "separator": " ", "weight_separator": ":"},
    {"name": "recent", "kind": "multi", "weight_separator": ":", "pooling": "mean"},
    {"name": "age", "kind": "dense"},
    {"name": "price", "kind": "bucket", "buckets": 5},
    {"name": "income", "kind": "dense"},
    {"name": "level", "kind": "bucket", "boundaries": [-1.5, 0.0, 2.0]},
    {"name": "hour"},
    {"name": "visits", "kind": "sequence", "separator": " ", "share": "hour", "length": 2, "recency": 0.5},
]
NAMES = [field["name"] for field in FIELDS]
ODD_SITES = ["", 'a,"b"', "two\nlines", "Ü|ñ", "x" * 40, "0", "None"]


def make_rows(seed, count):
    """Dictionaries of cells as text, with "click"; sites of seed 0 are a part of those of other seeds."""
    chance = random.Random(seed)
    return [_row(chance, 20 + 10 * (seed > 0)) for _ in range(count)]


def _row(chance, sites):
    site = chance.choice(ODD_SITES) if chance.random() < 0.1 else f"s{chance.randrange(sites)}"
    weighted = [f"h{chance.randrange(15)}:{chance.random() * 2:.3f}" for _ in range(chance.randrange(4))]
    return {
        "site": site,
        "click": str(int(chance.random() < (0.7 if site[-1:] in ("1", "4", "7") else 0.2))),
        "tags": "|".join(f"t{chance.randrange(9)}" for _ in range(chance.randrange(4))),
        "history": " ".join(weighted + ["plain"] * (chance.random() < 0.3)),
        "recent": "|".join(f"r{chance.randrange(9)}:{chance.gauss(0, 1):.2f}" for _ in range(chance.randrange(3))),
        "age": "" if chance.random() < 0.1 else f"{chance.gauss(40, 15):.1f}",
        "price": "" if chance.random() < 0.1 else f"{chance.expovariate(1):.3f}",
        "income": "" if chance.random() < 0.1 else f"{chance.gauss(0, 3000):.0f}",
        "level": "" if chance.random() < 0.1 else str(chance.choice([-2, -1.5, 0, 1, 2, "1e3"])),
        "hour": str(chance.randrange(24)),
        "visits": " ".join(str(chance.randrange(24)) for _ in range(chance.randrange(5))),
    }


def write_csv(path, rows, names=None):
    """A CSV file of rows, with a header."""
    names = names or list(rows[0])
    lines = [names, *([row.get(name, "") for name in names] for row in rows)]
    with open(path, "w", newline="", encoding="utf-8") as file:
        file.writelines(",".join(map(_quoted, line)) + "\r\n" for line in lines)


def _quoted(cell):
    """A cell as RFC 4180 has it.  Python 3.10's csv writes no zero byte."""
    text = str(cell)
    return '"' + text.replace('"', '""') + '"' if re.search('[",\r\n]', text) else text


def tree(folder, name="fm", train_rows=400, test_rows=150, **sections):
    """Write train.csv and test.csv into a folder; nested dictionaries of a configuration that trains on them."""
    write_csv(folder / "train.csv", make_rows(0, train_rows))
    write_csv(folder / "test.csv", make_rows(1, test_rows))
    data = {"train": [str(folder / "train.csv")], "test": [str(folder / "test.csv")], "label": "click", "fields": FIELDS}
    return {
        "data": {**data, **sections.pop("data", {})},
        "model": {"name": name, "dim": 5, "init_std": 0.1},
        "optimizer": {"name": "adagrad", "learning_rate": 0.1, **sections.pop("optimizer", {})},
        "train": {"epochs": 2, "global_batch_samples": 64, **sections.pop("train", {})},
        "compute": {"threads_per_rank": 1},
        "run": {"directory": str(folder / "run")},
    }


def plain_key(field, text, fields=FIELDS):
    """The key of a value, by the xxhash package: four hexadecimal digits of the hash, four of the field's number, eight of the hash."""
    field = next(one for one in fields if one["name"] == field).get("share", field)
    number = [one["name"] for one in fields if one.get("kind") != "dense"].index(field)
    digits = f"{xxhash.xxh64_intdigest(text.encode(), xxhash.xxh64_intdigest(field.encode(), 0)):016x}"
    return int(f"{digits[:4]}{number:04x}{digits[8:]}", 16)


def plain_probability(row, rows, dense, transforms, fields=None):
    """P(click) of a row of text by definition, in Python's float64, from FM's or LR's weights.

    rows : {key: (w, v (k))};  dense : {"bias", "weights" (n), "factors" (n, k)};  transforms : as a model stores them
    """
    features, n_dense = [], 0  # (w, v, x of the linear weight, x of the embedding)
    standardisations = {one["name"]: one for one in transforms["dense"]}
    boundaries = {one["name"]: one["boundaries"] for one in transforms["buckets"]}
    for field in fields or FIELDS:
        name, kind, cell = field["name"], field.get("kind", "categorical"), row[field["name"]]
        if kind == "dense":
            x = 0.0
            if cell:
                number, one = float(cell), standardisations[name]
                x = (math.copysign(math.log1p(abs(number)), number) - one["mean"]) / one["std"]
            features.append((dense["weights"][n_dense], dense["factors"][n_dense], x, x))
            n_dense += 1
            continue
        if kind == "bucket":
            number = sum(edge <= float(cell) for edge in boundaries[name]) if cell else ""
            values = [(str(number), 1.0, 1.0)]
        elif kind == "multi":
            values = plain_values(field, cell)
        elif kind == "sequence":
            values = plain_sequence(field, cell)
        else:
            values = [(cell, 1.0, 1.0)]
        for text, xl, x in values:
            if (key := plain_key(name, text, fields or FIELDS)) in rows:
                features.append((*rows[key], xl, x))
    logit = float(dense["bias"]) + sum(float(w) * xl for w, _, xl, _ in features)
    for i, (_, v, _, x) in enumerate(features):
        logit += sum(float(np.dot(v.astype(float), u.astype(float))) * x * z for _, u, _, z in features[:i])
    return 1 / (1 + math.exp(-logit))


def plain_sequence(field, cell):
    """[(text, x of the linear weight, x of the embedding)] of a sequence's cell, whose last value is the newest, pooled by its sum."""
    newest_first = [part for part in cell.split(field["separator"]) if part][::-1][: field["length"]]
    return [(text, field["recency"] ** age, field["recency"] ** age) for age, text in enumerate(newest_first)][::-1]


def plain_values(field, cell):
    """[(text, x of the linear weight, x of the embedding)] of a multi field's cell."""
    parts = [part for part in cell.split(field.get("separator", "|")) if part]
    pairs = [(part, 1.0) for part in parts]
    if field.get("weight_separator"):
        pairs = [(part.rsplit(":", 1)[0], float(part.rsplit(":", 1)[1])) if ":" in part else (part, 1.0) for part in parts]
    pooling = field.get("pooling", "sum")
    linear = field.get("linear_pooling") or pooling
    n = len(pairs)
    return [(text, x / n if linear == "mean" else x, x / n if pooling == "mean" else x) for text, x in pairs]
