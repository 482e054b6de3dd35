"""What substitution saves in theory: for every model, on three shapes of data, over the number of ranks.

Beside it two ways to move rows, by the same data and the same local batch of b samples, u b distinct keys in each, rows of w weights:

    parameter server      every worker pulls the rows of its distinct keys and pushes their gradients: 2 u b w numbers, all of them over
                          the network, and their keys twice, 16 u b bytes
    de-duplicated rows    `train.exchange = "rows"`: the same to owners among the ranks, (N - 1) / N of it, and the keys once

Substitution is the valid combination in which partials travel that sends the fewest bytes: of values alone, with keys that every rank
reads for itself; or of values and keys, which are routed to their owners.

A model that these data cannot train, or that has one of the two ways alone, is left out, with the reason.
"""

from dataclasses import dataclass, replace

from deshpc.config.load import build
from deshpc.config.schema import ModelConfig, choices
from deshpc.data.profiles import describe
from deshpc.errors import ConfigError
from deshpc.planner.plan import plan
from deshpc.planner.workload import Workload

PROFILES = {"one-hot": "criteo", "industrial": "industrial", "history": "history"}
MODELS = choices(ModelConfig, "name")
RANKS = (2, 4, 8, 16, 32, 64)
_KEY = 8  # bytes


@dataclass(frozen=True)
class Saving:
    """Bytes a rank sends for a sample of its own share, and what is saved, 1 - bytes / bytes by moving rows; below 0 it is a loss.

    with_keys : whether keys count, which are routed to their owners
    choice : of the substitution
    """

    model: str
    profile: str
    ranks: int
    with_keys: bool
    choice: str
    substitution: float
    rows: float
    server: float

    @property
    def over_rows(self):
        return 1 - self.substitution / self.rows

    @property
    def over_server(self):
        return 1 - self.substitution / self.server


@dataclass(frozen=True)
class Comparison:
    """savings : [Saving] of every model, profile and number of ranks
    left_out : {model: why it cannot be compared}
    """

    savings: list
    left_out: dict


def compare(share=1024, dim=16, hidden=(256, 128), models=MODELS, ranks=RANKS):
    """The Comparison of models, N up to `dim` where columns are split.

    share : b
    """
    workloads = {name: Workload.of_synthetic(describe(_config(profile).data.synthetic)) for name, profile in PROFILES.items()}
    found, left_out = [], {}
    for model in models:
        needs = {"name": model, "dim": dim, "hidden": list(hidden), "cross_rank": 32 if model == "dcnv2" else 0}
        try:
            for name, workload in workloads.items():
                for n in ranks:
                    config = _config(PROFILES[name], model=needs, train={"global_batch_samples": share * n})
                    found += _savings(replace(config, compute=replace(config.compute, threads_per_rank=1)), workload, name, n, share)
        except ConfigError as error:
            left_out[model] = str(error)
    left_out.update({model: "has one way alone" for model in models if model not in left_out and model not in {one.model for one in found}})
    found.sort(key=lambda one: list(PROFILES).index(one.profile))
    return Comparison(found, left_out)


def _config(profile, **sections):
    return build({"data": {"format": "synthetic", "synthetic": {"profile": profile}}, **sections})


def _savings(config, workload, profile, ranks, share):
    options = plan(config, workload, ranks).options
    for with_keys in (False, True):
        routing = "routed" if with_keys else "broadcast"
        of_routing = [one for one in options if one.choice.routing == routing]
        moving = [one for one in of_routing if one.need.run.moves_rows]
        substitutes = [one for one in of_routing if not one.need.run.moves_rows]
        if not moving or not substitutes:
            continue
        best = min(substitutes, key=lambda one: _sent(one, ranks, with_keys))
        run = moving[0].need.run
        u = workload.distinct(share) / share
        server = u * (run.row_sizes[0] + run.row_width * run.row_bytes) + 2 * _KEY * u * with_keys
        yield Saving(
            config.model.name, profile, ranks, with_keys, str(best.choice), _sent(best, ranks, with_keys),
            min(_sent(one, ranks, with_keys) for one in moving), server,
        )  # fmt: skip


def _sent(option, ranks, with_keys):
    """Bytes that a rank sends for a sample of its own share: of what rows and partials need, not of dense gradients, which are the same
    by moving rows."""
    kinds = option.bytes_per_sample()
    left_out = {"dense", "control", "statistics"} | (set() if with_keys else {"keys", "labels"})
    own_dense = kinds.get("dense", 0.0) if option.need.of_owners else 0.0  # gradients of what owners compute are substitution's own
    return ranks * (sum(count for kind, count in kinds.items() if kind not in left_out) + own_dense)
