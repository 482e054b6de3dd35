"""The synthetic Criteo-shaped rows of quality.py in forms that PyTorch and xLearn read, and the weights that deshpc starts with."""

import numpy as np
from mpi4py import MPI

from deshpc.backend.open import open_backend
from deshpc.comm.group import Group
from deshpc.config import SyntheticConfig, override
from deshpc.config.load import build
from deshpc.data.dataset import Dataset
from deshpc.data.reader import Reader
from deshpc.data.synthetic import describe, generate
from deshpc.model.build import build_model

N_DENSE = 13


def write_arrays(folder, seed, train_rows, test_rows, dim):
    """train.npz and test.npz: ids, dense, labels; start.npz: the weights with which deshpc begins.

    ids (n, 26) int32: 1 + place of the key among those of the training rows in increasing order, 0 for any other
    """
    config = SyntheticConfig(profile="criteo", seed=seed, train_rows=train_rows, test_rows=test_rows)
    parts = {"train": generate(config, "train", 0, train_rows), "test": generate(config, "test", 0, test_rows)}
    held, first = np.unique(parts["train"].keys, return_index=True)
    for name, part in parts.items():
        place = np.minimum(np.searchsorted(held, part.keys), len(held) - 1)
        ids = np.where(held[place] == part.keys, place + 1, 0).astype(np.int32)
        np.savez(folder / f"{name}.npz", ids=ids.reshape(len(part), -1), dense=part.dense, labels=part.labels)
    embeddings, factors = _first_weights(held, parts["train"].fields[first], seed, dim, len(describe(config).field_names))
    np.savez(folder / "start.npz", embeddings=embeddings, factors=factors)


def _first_weights(keys, fields, seed, dim, n_fields):
    """(embeddings (keys, dim), dense factors (13, dim)) of a deshpc FM that has seen these keys and not learnt anything."""
    config = override(
        build({"data": {"format": "synthetic"}}), f"train.seed={seed}", f"model.dim={dim}", "optimizer.name=sgd"
    )
    backend, group = open_backend("cpu", 1), Group(MPI.COMM_SELF)
    model = build_model(config, backend, group, n_fields, N_DENSE)
    one = Dataset(
        np.array([0, len(keys)]), keys, fields, None, np.zeros((1, N_DENSE), np.float32), np.zeros(1, np.float32)
    )
    batch = next(Reader(one, 1, lambda total: (0, total), backend.host_buffers).epoch(0))
    model.look_up(model.route(batch, True)().wait(), True)
    rows = model.table.export()
    return rows.numbers[:, 1 : 1 + dim].copy(), model.parameters["fm.factors"].copy()


def write_libsvm(folder, train_counts):
    """test.libsvm, and train-N.libsvm of the first N rows for each N of `train_counts`."""
    _write(folder / "test.npz", {folder / "test.libsvm": None})
    _write(folder / "train.npz", {folder / f"train-{count}.libsvm": count for count in train_counts})


def _write(source, targets):
    with np.load(source) as arrays:
        labels, dense, ids = arrays["labels"].astype(int).tolist(), arrays["dense"].tolist(), arrays["ids"].tolist()
    lines = []
    for label, numbers, row in zip(labels, dense, ids, strict=True):
        first = " ".join(f"{i}:{x:.6g}" for i, x in enumerate(numbers))
        lines.append(f"{label} {first} " + " ".join(f"{N_DENSE + i}:1" for i in row) + "\n")
    for path, count in targets.items():
        with open(path, "w", encoding="ascii") as file:
            file.writelines(lines[:count])
