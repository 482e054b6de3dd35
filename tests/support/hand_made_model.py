"""An exported model whose rows are chosen by hand, for rows of every kind of field."""

import math

import numpy as np
from every_kind import FIELDS, make_rows, plain_key

from deshpc.config.load import build
from deshpc.data.transform import Buckets, Standardisation, Transforms
from deshpc.formats.schema import Schema
from deshpc.serve.exported import about_model, write_model

STANDARDISATIONS = Standardisation("age", 3.5, 0.4), Standardisation("income", 0.25, 6.0)
BUCKETS = Buckets("price", (0.2, 0.7, 1.5)), Buckets("level", (-1.5, 0.0, 2.0))
TRANSFORMS = Transforms(STANDARDISATIONS, BUCKETS)
ROWS = make_rows(0, 200)
NOT_LINEAR = "dcn", "dcnv2", "dlrm", "din", "autoint"
"""Models whose rows have no linear weight."""


def hand_made(path, name="fm", dim=3, fields=FIELDS, fields_of_model=(), **options):
    """Write a model of half of the values of ROWS; its rows {key: (w, v)} and dense parameters.

    fields_of_model, options : `[[model.fields]]`, and further options of `[model]`, for deep models
    """
    generator = np.random.default_rng(5)
    texts = {(name, text) for row in ROWS for name in ("site", "hour") for text in [row[name]]}
    texts |= {("tags", f"t{i}") for i in range(9)} | {("history", f"h{i}") for i in range(15)} | {("history", "plain")}
    texts |= {("recent", f"r{i}") for i in range(5)} | {(name, f"{i}") for name in ("price", "level") for i in range(4)}
    texts |= {("price", ""), ("level", "")}
    known = {field["name"] for field in fields}
    keys = sorted({plain_key(*text, fields) for text in sorted(texts) if text[0] in known})[::2]
    config = build(
        {"data": {"train": ["x"], "label": "click", "fields": fields}, "model": {"name": name, "dim": max(1, dim), "fields": list(fields_of_model), **options}}
    )
    schema = Schema.from_config(config.data)
    buckets = [field.name for field in schema.key_fields if field.kind == "bucket"]
    transforms = Transforms(STANDARDISATIONS if schema.dense_fields else (), BUCKETS if buckets else ())
    shapes = shapes_of(config.model, dim, len(schema.key_fields), len(schema.dense_fields))
    vectors = len(schema.key_fields) + len(schema.dense_fields) if name == "ffm" else 1
    weights = generator.normal(0, 0.5 / math.sqrt(vectors), (len(keys), 1 + vectors * dim)).astype(np.float32)
    weights[3:4] = 0
    dense = {one: _numbers(one, shape, generator) for one, shape in shapes.items()}
    scalars = int(name not in NOT_LINEAR and config.model.linear)
    weights[:, : 1 - scalars] = 0
    numbers = weights[:, 1 - scalars :]
    blocks = [(np.array(keys[i : i + 7], np.uint64), numbers[i : i + 7]) for i in range(0, len(keys), 7)]
    written = write_model(path, about_model(config, 9), schema, transforms, blocks, numbers[:0], dense, scalars)
    assert written == max(0, len(keys) - 1)  # the row of zeros is left out
    return dict(zip(keys, ((row[0], row[1:]) for row in weights), strict=True)), dense


def shapes_of(model, k, n_fields, n_dense):
    """{name: shape} of the dense parameters of a ModelConfig, as docs and papers have them."""
    inputs, shapes = n_fields * k + n_dense, {"bias": ()}

    def network(name, width, hidden):
        for i, units in enumerate(hidden):
            shapes[f"{name}.{i}.weights"] = width, units
            for part in {"none": ["bias"], "layer": ["gain", "shift"], "batch": ["gain", "shift", "mean", "variance"]}[model.normalisation]:
                shapes[f"{name}.{i}.{part}"] = (units,)
            width = units
        return width

    if model.name in ("lr", "fm", "ffm", "fwfm", "fmfm") and model.linear:
        shapes["fm.weights" if model.name == "fm" else "linear.weights"] = (n_dense,)
    if model.name == "ffm":
        shapes["ffm.factors"] = n_dense, (n_fields + n_dense) * k
    if model.name in ("fwfm", "fmfm"):
        shapes[f"{model.name}.factors"] = n_dense, k
    if model.name == "fwfm":
        shapes["fwfm.weights"] = n_fields + n_dense, n_fields + n_dense
    if model.name == "fmfm":
        shapes |= {f"fmfm.{f}.matrices": ((n_fields + n_dense - 1 - f) * k, k) for f in range(n_fields + n_dense - 1)}
    if model.name in ("fm", "deepfm", "nfm"):
        shapes["fm.factors"] = n_dense, k
    if model.name in ("wide_deep", "deepfm", "nfm", "xdeepfm"):
        shapes["wide.weights"] = n_dense, 1
    if model.name == "dcn":
        shapes |= {"cross.weights": (inputs, model.cross_layers + 1), "cross.bias": (model.cross_layers, inputs)}
    if model.name == "dcnv2":
        for i in range(model.cross_layers):
            if model.cross_rank:
                shapes |= {f"cross.{i}.narrow": (inputs, model.cross_rank), f"cross.{i}.wide": (model.cross_rank, inputs)}
            else:
                shapes[f"cross.{i}.weights"] = inputs, inputs
            shapes[f"cross.{i}.bias"] = (inputs,)
        shapes["cross.out.weights"] = inputs, 1
    if model.name == "xdeepfm":
        maps = n_fields
        for i, out in enumerate(model.cin_layers):
            shapes[f"cin.{i}.weights"], maps = (maps * n_fields, out), out
        shapes["cin.out.weights"] = sum(model.cin_layers), 1
    if model.name == "autoint":
        width, shapes["attention.factors"] = k, (n_dense, k)
        for i, out in enumerate(model.attention_layers):
            shapes |= {f"attention.{i}.{part}": (width, out) for part in ("queries", "keys", "values", "rest")}
            width = out
        shapes["attention.out.weights"] = (n_fields + n_dense) * width, 1
    if model.name == "din":
        for number in range(sum(bool(one.target) for one in model.fields)):
            width = 4 * k
            for i, out in enumerate(model.attention_hidden):
                shapes |= {f"attention.{number}.{i}.weights": (width, out), f"attention.{number}.{i}.bias": (out,)}
                width = out
            shapes[f"attention.{number}.out.weights"] = width, 1
            if model.attention_weights == "plain":
                shapes[f"attention.{number}.out.bias"] = (1,)
    if model.name == "dlrm":
        z = network("bottom", n_dense, (*model.bottom_hidden, k))
        shapes["top.out.weights"] = network("top", z + n_fields * (n_fields + 1) // 2, model.hidden), 1
    elif model.name not in ("lr", "fm", "ffm", "fwfm", "fmfm"):
        shapes["deep.out.weights"] = network("deep", k if model.name == "nfm" else inputs, model.hidden), 1
    return shapes


def _numbers(name, shape, generator):
    """Parameters at which no part of a model is much larger than the others."""
    numbers = generator.normal(0, 1, shape)
    if name.endswith(".variance"):
        numbers = 0.2 + numbers**2
    elif name.endswith(".gain"):
        numbers = 1 + 0.3 * numbers
    elif name.endswith("s") and len(shape) == 2:
        numbers = numbers / np.sqrt(max(2, shape[0]))
    else:
        numbers = 0.4 * numbers
    return numbers.astype(np.float32)
