"""Train a small model on any communicator, as `deshpc train` does, and read everything out that training changed."""

import hashlib
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from synthetic_batches import FIELD_NAMES, N_FIELDS, share_of

from deshpc.backend.open import open_backend
from deshpc.comm.group import Group
from deshpc.config.load import build
from deshpc.launch.place import nowhere
from deshpc.model.build import build_model
from deshpc.model.combinations import levels_name
from deshpc.table.columns import joined
from deshpc.table.shard import Rows
from deshpc.training.step import scores, step

DIM, INIT_STD = 5, 0.3  # embeddings so large that the pairwise terms of an FM matter as much as the linear ones

EXCHANGES, ROUTINGS = ("allreduce", "reduce_scatter", "rows"), ("broadcast", "routed")

FIELD_KEYS = np.array([9.0, 1, 1, 9, 1, 9])
"""By which fields are dealt to ranks: those of a rank are no neighbours."""

# Options of [optimizer] that make runs comparable: rates at which weights move by about their own size, and starts that
# do not blow rounding up.  A step of g / (sqrt(s) + epsilon) with s near g^2 is sign(g): where g is a rounding error (FM's
# gradient of the only feature of a sample is a difference of equal numbers) so is the sign, and equivalence ends
# there whatever the number of ranks.  So adam gets an epsilon far above rounding and below gradients; the sums of
# squares of the others start at 0.1, ftrl's beta is 1: no gradient near rounding moves anything by more than itself.
RULES = {
    "sgd": {"name": "sgd", "learning_rate": 0.3},
    "sgd, clipped": {"name": "sgd", "learning_rate": 0.3, "l2": 0.02, "clip_norm": 0.1, "warmup_steps": 30},
    "adagrad": {"name": "adagrad", "learning_rate": 0.05},
    "adagrad, clipped": {"name": "adagrad", "learning_rate": 0.05, "l2": 0.05, "clip_norm": 3.0, "warmup_steps": 6},
    "rowwise_adagrad": {"name": "rowwise_adagrad", "learning_rate": 0.05, "l2": 0.05, "warmup_steps": 6},
    "adam": {"name": "adam", "learning_rate": 0.02, "epsilon": 1e-3, "l2": 0.01, "clip_norm": 0.1},
    "ftrl": {"name": "ftrl", "learning_rate": 0.1, "l1": 0.5, "l2": 0.2, "clip_norm": 3.0},
}


@dataclass(frozen=True)
class Trained:
    """losses (steps) float64; rows of all ranks in key order; dense parameters, flat; this rank's ledger entries."""

    losses: np.ndarray
    rows: Rows
    parameters: np.ndarray
    ledger: list

    def digest(self, dense=True):
        """SHA-256 of rows and, unless not wanted, dense parameters."""
        rows, digest = self.rows, hashlib.sha256()
        for array in (rows.keys, rows.fields, rows.counts, rows.steps, rows.numbers, self.parameters[: None if dense else 0]):
            digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()


def small_config(name="fm", optimizer="adagrad", rate=0.05, precision="float64", **train):
    """A Config; `rule`: further options of [optimizer], and `reduction` of it; `transport` of a device's arrays; others are those of [train]."""
    transport = train.pop("transport", None)
    rule = {"name": optimizer, "learning_rate": rate, "reduction": train.pop("reduction", "auto"), **train.pop("rule", {})}
    return build(
        {
            "data": {"format": "synthetic"},
            "model": {"name": name, "dim": DIM, "init_std": INIT_STD},
            "optimizer": rule,
            "train": {"precision": precision, **train},
            **({"compute": {"backend": "cuda", "transport": transport}} if transport else {}),
        }
    )


@contextmanager
def small_model(comm, config, threads=1, n_dense=2, several_nodes=False, backend=None, enter=nowhere, mean_weight=1.0, key_fields=()):
    """A model on `comm`, on a CPU backend unless another is given.  key_fields : see `build_model`

    Collective; after an error nothing is freed, since other ranks may wait elsewhere.
    """
    group, backend = Group(comm, levels_name(config), config.train.wire), backend or open_backend("cpu", threads)
    group.take_arrays_of(backend, config.compute.transport)
    yield build_model(
        config, backend, group, N_FIELDS, n_dense, several_nodes=several_nodes, field_names=FIELD_NAMES, enter=enter,
        mean_weight=mean_weight, field_keys=FIELD_KEYS, key_fields=key_fields,
    )  # fmt: skip
    backend.close()
    group.free()


def reads(model, batch):
    """What this rank reads of a global batch."""
    return share_of(batch, model.group.rank, model.group.size, model.routing.reads_whole_batch)


def all_samples(model, array):
    """An array (n, ...) over the samples of this rank's top, over all samples of the batch on every rank.  Collective."""
    array = model.backend.host(array)
    return array if model.exchange.whole_top else np.concatenate(model.group.gather(array))


def all_rows(model):
    """The rows of all ranks in key order, on every rank; where ranks have columns of them, whole ones.  Collective."""
    parts, whole = model.group.gather(model.table.export()), model.table.whole_rows
    if whole["split"] == "column":
        return next(joined([[part] for part in parts], whole))
    return Rows.concatenate(parts)


def train_on(comm, batches, config, threads=1, backend=None, mean_weight=1.0):
    """Train a new model by global batches; returns a Trained.  Collective on `comm`."""
    with small_model(comm, config, threads, batches[0].dense.shape[1], backend=backend, mean_weight=mean_weight) as model:
        losses = np.array([step(model, reads(model, batch)) for batch in batches])
        return Trained(losses, all_rows(model), model.parameters.arrays()["values"], model.group.ledger.entries())


def insert(model, batch):
    """Insert the keys of a batch, of which `batch` is what this rank reads.  Collective."""
    model.look_up(model.route(batch, True)().wait(), True)


def score(model, batch):
    """Logits of the samples of this rank's top; nothing is inserted.  Collective."""
    return next(scores(model, [batch]))[1]


def complete(model, batch, train):
    """(Found, Partials) of a batch, before the top.  Collective."""
    found = model.look_up(model.route(batch, train)().wait(), train)
    return found, model.start(found).wait()


def learn(model, batch):
    """Learnt of a batch from which no update is made.  Collective."""
    return model.top.learn(*complete(model, batch, train=True))
