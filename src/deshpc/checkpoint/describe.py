"""What a manifest says of a model in memory, and whether a model in memory fits a manifest."""

import deshpc
from deshpc.checkpoint.manifest import FORMAT
from deshpc.errors import ConfigError
from deshpc.hashing.key import HASH_ID

_OPTIONS = {
    "operator": "model.name", "scalars": "model.name", "dim": "model.dim", "dims": "model.fields", "vectors": "model.name", "precision": "train.precision",
    "optimizer": "optimizer.name", "dense_optimizer": "optimizer.dense_name", "scalar_state": "optimizer.name",
    "vector_state": "optimizer.name",
}  # fmt: skip


def describe(model, config, source, steps, progress=None, run=""):
    """A manifest but for rows, files and checksum.

    config : every option as nested dictionaries
    source : input state
    progress : where the run goes on, if it does
    run : the number of the run that writes
    """
    return {
        "format": FORMAT, "deshpc": deshpc.__version__, "run": run, "hash": HASH_ID, "steps": steps, "ranks": model.group.size,
        "model": _content(model), "dense": _dense(model), "random": {"seed": config["train"]["seed"], "step": steps},
        "progress": progress, "source": source, "config": config,
    }  # fmt: skip


def require_fit(model, manifest, folder):
    """ConfigError, naming the option and both values, unless rows and parameters of `folder` fit into `model`.

    How ranks share them out (`train.split`, `model.first_layer`, `train.exchange`) may be another way here.
    """
    saved, here = manifest["model"], _content(model)
    for name, option in _OPTIONS.items():
        if saved.get(name) != here.get(name):
            raise ConfigError(
                f"{option}: the model in {folder} has {name} = {saved.get(name)!r}, the configuration asks for {here.get(name)!r}"
            )
    saved, here = manifest["dense"], _dense(model)
    if saved != here:
        other, wanted = ([one for one in ones if one not in others] or ones for ones, others in ((saved, here), (here, saved)))
        raise ConfigError(
            f"data.fields, or layers of [model]: the model in {folder} has dense parameters {other}, "
            f"the configuration asks for {wanted}"
        )


def _content(model):
    layout = model.table.whole_layout
    return {
        "operator": model.name, **model.table.whole_rows, "precision": layout.precision,
        "optimizer": model.table.optimizer.config.name, "dense_optimizer": model.table.optimizer.dense.name,
        "scalar_state": layout.scalar_state, "vector_state": layout.vector_state,
    }  # fmt: skip


def _dense(model):
    return [[name, list(shape)] for name, shape in model.parameters.names()]
