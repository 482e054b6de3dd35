"""Small deep models of every kind: their configurations, weights that leave no term out, batches of several blocks.

Options are too many for all their combinations: `pairwise` gives some in which any two values of two options meet.
"""

from itertools import combinations, product

import numpy as np
from small_training import DIM, INIT_STD, all_rows
from synthetic_batches import plain_batch

from deshpc.config.load import build
from deshpc.table.shard import Rows

MODELS = {  # options of [model]
    "fwfm": {"name": "fwfm"},
    "fmfm": {"name": "fmfm"},
    "wide_deep": {"name": "wide_deep", "hidden": [9, 4]},
    "deepfm": {"name": "deepfm", "hidden": [9, 4]},
    "nfm": {"name": "nfm", "hidden": [9]},
    "dcn": {"name": "dcn", "hidden": [7, 3], "cross_layers": 3},
    "dcnv2": {"name": "dcnv2", "hidden": [7], "cross_layers": 2},
    "dcnv2 of low rank": {"name": "dcnv2", "hidden": [7], "cross_layers": 3, "cross_rank": 3},
    "dlrm": {"name": "dlrm", "bottom_hidden": [6], "hidden": [9, 4]},
    "xdeepfm": {"name": "xdeepfm", "hidden": [7], "cin_layers": [4, 3]},
}
ATTENTION = {  # those of which processors alone have the kernels, and that take time to compile: `models/test_attention.py`
    "autoint": {"name": "autoint", "hidden": [7], "attention_layers": [6, 4], "attention_heads": 2},
    "din": {"name": "din", "hidden": [9, 4], "attention_hidden": [6], "fields": [{"name": "zeta", "target": "alpha"}, {"name": "beta", "target": "gamma"}]},
    "din, softmax": {
        "name": "din", "hidden": [9], "attention_hidden": [6, 3], "attention_weights": "softmax",
        "fields": [{"name": "beta", "target": "gamma"}],
    },
}  # fmt: skip
ACTIVATIONS, NORMALISATIONS = ("relu", "tanh", "sigmoid"), ("none", "layer", "batch")


def deep_config(kind, precision="float64", rule=(), model=(), **train):
    """A Config.  rule, model : further options of [optimizer] and [model]; others are those of [train]."""
    return build(
        {
            "data": {"format": "synthetic"},
            "model": {"dim": DIM, "init_std": INIT_STD, **{**MODELS, **ATTENTION}[kind], **dict(model)},
            "optimizer": {"name": "adagrad", "learning_rate": 0.05, **dict(rule)},
            "train": {"precision": precision, **train},
        }
    )


def joined(batches, step=None):
    """One batch of all samples of several, side by side."""
    counts = np.concatenate([batch.ends - batch.begins for batch in batches])
    values = None if batches[0].values is None else np.concatenate([batch.values for batch in batches])
    keys, fields, dense, labels = (
        np.concatenate([getattr(batch, name) for batch in batches]) for name in ("keys", "fields", "dense", "labels")
    )
    return plain_batch(batches[0].step if step is None else step, counts, keys, fields, values, dense, labels)


def randomise(model, seed=1):
    """Give all rows linear weights, which start at zero, and all dense parameters and statistics random numbers.  Collective."""
    rows, rng = all_rows(model), np.random.default_rng(seed)
    linear = 0.3 * rng.standard_normal(len(rows))
    if model.table.whole_rows["scalars"]:
        rows.numbers[:, 0] = linear
        model.table.load(rows)
    for name, shape in model.parameters.names():
        number = rng.standard_normal(shape) / np.sqrt(shape[0] if len(shape) == 2 and shape[0] else 4)
        if name.endswith(("gain", "variance")):
            number = np.exp(number)
        model.parameters.set(name, number)


def plain_rows(model, rows):
    """{key: (w, v)} of Rows of a model's table."""
    linear = model.table.layout.scalars
    return {
        int(key): (numbers[0] if linear else 0.0, numbers[linear : linear + DIM])
        for key, numbers in zip(rows.keys, rows.numbers, strict=True)
    }


def dense_parameters(model):
    """{name: array} of all dense parameters and statistics."""
    return {name: model.parameters.host(name) for name, _ in model.parameters.names()}


def some_of(rows, chosen):
    """The Rows at these places."""
    return Rows(*(getattr(rows, name)[chosen] for name in ("keys", "fields", "counts", "steps", "numbers")))


def all_pairs(options):
    """The pairs of values of any two options of {option: values}."""
    return [((a, x), (b, y)) for a, b in combinations(options, 2) for x, y in product(options[a], options[b])]


def pairs_of(one):
    """The pairs of values of a combination {option: value}."""
    return set(combinations(one.items(), 2))


def pairwise(options, goes=lambda one: True):
    """Combinations {option: value} of {option: values} in which any two values of two options meet; greedy, always the same.

    goes(one) : whether the values of a part of a combination go together
    """
    missing, found = dict.fromkeys(pair for pair in all_pairs(options) if goes(dict(pair))), []  # a set in order
    while missing:
        one = dict(next(iter(missing)))
        for option in [option for option in options if option not in one]:

            def gained(value, option=option, one=one):
                trial = {**one, option: value}
                return sum(pair in missing for pair in pairs_of({name: trial[name] for name in options if name in trial}))

            turn = len(found) % len(options[option])
            possible = [value for value in options[option][turn:] + options[option][:turn] if goes({**one, option: value})]
            one[option] = max(possible, key=gained)
        found.append({option: one[option] for option in options})
        for pair in pairs_of(found[-1]):
            missing.pop(pair, None)
    return found


def named(one):
    """A combination's name."""
    return "-".join(str(value) for value in one.values())
