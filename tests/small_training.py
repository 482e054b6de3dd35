"""Train a small model on any communicator, as `deshpc train` does, and read everything out that training changed."""

from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from synthetic_batches import N_FIELDS, share_of

from deshpc.backend.open import open_backend
from deshpc.comm.group import Group
from deshpc.config.load import build
from deshpc.model.build import build_model
from deshpc.table.shard import Rows
from deshpc.training.step import step

DIM, INIT_STD = 5, 0.3  # embeddings so large that the pairwise terms of an FM matter as much as the linear ones


@dataclass(frozen=True)
class Trained:
    """losses (steps) float64; rows of all ranks in key order; dense parameters, flat; this rank's ledger entries."""

    losses: np.ndarray
    rows: Rows
    parameters: np.ndarray
    ledger: list


def small_config(name="fm", optimizer="adagrad", rate=0.05, precision="float64", **train):
    """A Config; `rule`: further options of [optimizer], and `reduction` of it; others are those of [train]."""
    rule = {"name": optimizer, "learning_rate": rate, "reduction": train.pop("reduction", "auto"), **train.pop("rule", {})}
    return build(
        {
            "data": {"format": "synthetic"},
            "model": {"name": name, "dim": DIM, "init_std": INIT_STD},
            "optimizer": rule,
            "train": {"precision": precision, **train},
        }
    )


@contextmanager
def small_model(comm, config, threads=1, n_dense=2):
    """A model on `comm`.  Collective; after an error nothing is freed, since other ranks may wait elsewhere."""
    group, backend = Group(comm), open_backend("cpu", threads)
    yield build_model(config, backend, group, N_FIELDS, n_dense)
    backend.close()
    group.free()


def reads(model, batch):
    """What this rank reads of a global batch."""
    return share_of(batch, model.group.rank, model.group.size, model.routing.reads_whole_batch)


def all_rows(model):
    """The rows of all ranks in key order, on every rank.  Collective."""
    return Rows.concatenate(model.group.gather(model.table.export()))


def train_on(comm, batches, config, threads=1):
    """Train a new model by global batches; returns a Trained.  Collective on `comm`."""
    with small_model(comm, config, threads, batches[0].dense.shape[1]) as model:
        losses = np.array([step(model, reads(model, batch)) for batch in batches])
        return Trained(losses, all_rows(model), model.parameters.values.copy(), model.group.ledger.entries())
