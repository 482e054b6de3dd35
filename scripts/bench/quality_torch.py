"""LR and FM in PyTorch, as quality.py compares them with deshpc; run by the peers' Python.

    python scripts/bench/quality_torch.py FOLDER '[{"model": "fm", "optimizer": "adagrad", ...}, ...]'

FOLDER has what quality_data.py writes.  Prints a JSON line a run: AUC on test after one pass in the order of the rows.  One
table holds [w, v] of every value, so that a step makes one sparse gradient; dense features have weights and factors of their
own, as in deshpc.  "start": "same": embeddings and factors begin as those of deshpc; a number: the seed of other ones, which
are uniform with the same standard deviation.
"""

import json
import sys
import time
from pathlib import Path

import numpy as np
import torch
from sklearn.metrics import roc_auc_score


def load(path):
    """(ids, dense, labels) tensors."""
    with np.load(path) as arrays:
        return tuple(torch.from_numpy(arrays[name]) for name in ("ids", "dense", "labels"))


def first_weights(folder, run):
    """(embeddings (values, dim), factors (n_dense, dim)); the row of values that are not in train is zero and stays so."""
    with np.load(folder / "start.npz") as start:
        arrays = [start["embeddings"], start["factors"]]
    if run["start"] != "same":
        random, width = np.random.default_rng(run["start"]), 3**0.5 * run["init_std"]
        arrays = [random.uniform(-width, width, one.shape).astype(np.float32) for one in arrays]
    return np.concatenate([np.zeros_like(arrays[0][:1]), arrays[0]]), arrays[1]


class Factorization(torch.nn.Module):
    """Logits of LR, or of FM: table (values, 1 + dim), dense weights and factors (n_dense, 1 + dim), bias."""

    def __init__(self, embeddings, factors):
        super().__init__()
        self.table, self.dense = (
            torch.nn.Parameter(torch.cat([torch.zeros(len(one), 1), torch.from_numpy(one)], 1)) for one in (embeddings, factors)
        )
        self.bias = torch.nn.Parameter(torch.zeros(()))

    def forward(self, ids, dense):
        rows = torch.nn.functional.embedding(ids, self.table, sparse=True)
        logit = rows[:, :, 0].sum(1) + dense @ self.dense[:, 0] + self.bias
        if rows.shape[2] > 1:
            v, factors = rows[:, :, 1:], self.dense[:, 1:]
            total = v.sum(1) + dense @ factors
            squares = (v * v).sum((1, 2)) + (dense * dense) @ (factors * factors).sum(1)
            logit = logit + 0.5 * ((total * total).sum(1) - squares)
        return logit


def optimizers(model, run):
    """Optimizers of the table and of the dense parameters."""
    rate, dense = run["rate"], [model.dense, model.bias]
    if run["optimizer"] == "sgd":
        return [torch.optim.SGD([model.table, *dense], lr=rate)]
    if run["optimizer"] == "adagrad":
        start = run["initial_accumulator"]
        return [torch.optim.Adagrad([model.table, *dense], lr=rate, initial_accumulator_value=start, eps=1e-8)]
    return [torch.optim.SparseAdam([model.table], lr=rate), torch.optim.Adam(dense, lr=rate)]


def train(run, train_set, test_set, weights):
    """(AUC on test after one pass, seconds of training)."""
    ids, dense, labels = train_set
    model = Factorization(*weights)
    rules, batch = optimizers(model, run), run["batch"]
    begin = time.perf_counter()
    for at in range(0, len(labels), batch):
        part = slice(at, at + batch)
        for rule in rules:
            rule.zero_grad()
        logit = model(ids[part], dense[part])
        loss = torch.nn.functional.binary_cross_entropy_with_logits(logit, labels[part], reduction=run["reduction"])
        loss.backward()
        for rule in rules:
            rule.step()
    seconds = time.perf_counter() - begin
    ids, dense, labels = test_set
    with torch.no_grad():
        scores = torch.cat([model(ids[at : at + 8192], dense[at : at + 8192]) for at in range(0, len(labels), 8192)])
    return roc_auc_score(labels.numpy(), scores.numpy()), seconds


def main(folder, runs):
    torch.set_num_threads(2)
    train_set, test_set = load(folder / "train.npz"), load(folder / "test.npz")
    for run in runs:
        weights = first_weights(folder, run)
        if run["model"] == "lr":
            weights = [one[:, :0] for one in weights]
        auc, seconds = train(run, train_set, test_set, weights)
        print(json.dumps({**run, "auc": auc, "seconds": seconds}), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), json.loads(sys.argv[2]))
