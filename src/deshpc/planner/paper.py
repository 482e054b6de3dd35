"""What substitution saves in theory: for every model, on three shapes of data, over the number of ranks.

Beside it two ways to move rows, by the same data and the same local batch of b samples, u b distinct keys in each, rows of w weights:

    parameter server      every worker pulls the rows of its distinct keys and pushes their gradients: 2 u b w numbers, all of them over
                          the network, and their keys twice, 16 u b bytes
    de-duplicated rows    `train.exchange = "rows"`: the same to owners among the ranks, (N - 1) / N of it, and the keys once

Substitution is the valid combination in which partials travel that sends the fewest bytes: of values alone, with keys that every rank
reads for itself; or of values and keys, which are routed to their owners.
"""

from dataclasses import dataclass, replace

from deshpc.config.load import build
from deshpc.config.schema import ModelConfig, choices
from deshpc.data.profiles import describe
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


def savings(share=1024, dim=16, hidden=(256, 128), models=MODELS, ranks=RANKS):
    """Yield the Savings of every model, profile and number of ranks, N up to `dim` where columns are split.

    share : b
    """
    for profile, name in PROFILES.items():
        workload = Workload.of_synthetic(describe(build({"data": {"format": "synthetic", "synthetic": {"profile": name}}}).data.synthetic))
        for model in models:
            for n in ranks:
                config = build(
                    {
                        "data": {"format": "synthetic", "synthetic": {"profile": name}}, "train": {"global_batch_samples": share * n},
                        "model": {"name": model, "dim": dim, "hidden": list(hidden), "cross_rank": 32 if model == "dcnv2" else 0},
                    }
                )  # fmt: skip
                yield from _of(replace(config, compute=replace(config.compute, threads_per_rank=1)), workload, profile, n, share)


def _of(config, workload, profile, ranks, share):
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
