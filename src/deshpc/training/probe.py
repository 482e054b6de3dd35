"""`deshpc probe`: what this machine does in a second, with the ranks that are here: links, and the work of training's stages.

A few small models are trained on generated samples, and each stage's seconds are explained by its work (`planner.work`).
"""

import datetime
import platform

import numpy as np

from deshpc.config.load import build
from deshpc.data.profiles import describe
from deshpc.data.reader import Reader
from deshpc.doctor.probe import measure
from deshpc.launch.failure import fails_together
from deshpc.planner.fit import rates
from deshpc.planner.machine import Link, Machine
from deshpc.planner.planned import need_of
from deshpc.planner.work import STAGES, Work, work_of
from deshpc.planner.workload import Workload
from deshpc.training.scored_samples import reads_of
from deshpc.training.session import Session
from deshpc.training.step import steps

_PASSES = 3  # after the first, which inserts every row
_CASES = (  # profile, samples of a batch, batches, model, options of [train]
    ("criteo", 8192, 6, {"name": "lr"}, {"routing": "broadcast"}),
    ("criteo", 8192, 6, {"name": "lr"}, {"routing": "routed"}),
    ("criteo", 8192, 6, {"name": "fm"}, {"routing": "broadcast"}),
    ("criteo", 8192, 6, {"name": "fm"}, {"routing": "routed"}),
    ("criteo", 2048, 12, {"name": "fm"}, {"routing": "routed", "exchange": "reduce_scatter"}),
    ("criteo", 8192, 6, {"name": "fm"}, {"routing": "routed", "exchange": "rows"}),
    ("criteo", 8192, 6, {"name": "fm"}, {"routing": "broadcast", "exchange": "rows"}),
    ("industrial", 1024, 6, {"name": "fm"}, {"routing": "routed"}),
    ("industrial", 1024, 6, {"name": "fm"}, {"routing": "broadcast"}),
    ("industrial", 1024, 6, {"name": "fm"}, {"routing": "routed", "exchange": "rows"}),
    ("criteo", 4096, 6, {"name": "wide_deep", "hidden": [256, 128]}, {"routing": "routed", "exchange": "rows"}),
    ("criteo", 4096, 6, {"name": "wide_deep", "hidden": [64, 32]}, {"routing": "routed", "exchange": "rows"}),
    ("industrial", 1024, 6, {"name": "wide_deep", "hidden": [256, 128]}, {"routing": "broadcast", "split": "field", "exchange": "pooled"}),
    ("industrial", 1024, 6, {"name": "wide_deep", "hidden": [256, 128], "first_layer": "pushed_down"}, {"routing": "broadcast"}),
)  # fmt: skip
@fails_together
def probe(comm, name=None):
    """The Machine of the ranks of `comm`: with all of them side by side.  Collective; under a minute, where kernels are compiled.

    name : of the machine; None for that of rank 0's host
    """
    speeds, found = measure(comm), [_trained(comm, *case) for case in _CASES]
    nodes, threads = found[0]["nodes"], found[0]["threads"]
    between = speeds.between or speeds.inside
    date = datetime.datetime.now(datetime.timezone.utc).date().isoformat()
    return Machine(
        name or found[0]["host"], date, "measured by deshpc probe", comm.size, nodes, threads,
        Link(between.allreduce_s, between.ping_bytes_per_s) if between else Link(0.0, 1e12), _seconds_of_units(found),
    )  # fmt: skip


def _trained(comm, profile, batch, batches, model, train):
    """{"stages": {stage: seconds a step}, "work": its Work, "nodes", "host" of rank 0, "threads"} of one case.  Collective."""
    rows = batch * batches
    config = build(
        {
            "data": {"format": "synthetic", "synthetic": {"profile": profile, "train_rows": rows, "test_rows": 0}},
            "model": {"dim": 16, **model}, "train": {"global_batch_samples": batch, **train},
        }
    )  # fmt: skip
    with Session(config, comm) as session:
        dataset = session.load("train")
        built = session.build(dataset)
        reader = Reader(
            dataset, batch, reads_of(built), built.backend.host_buffers, config.train.seed, True, config.train.shuffle_block_rows,
            config.train.shuffle_run_rows,
        )  # fmt: skip
        passes = []
        for number in range(1 + _PASSES):
            session.group.sum(0.0)
            session.stage_times.begin("read")
            for _ in steps(built, reader.epoch(number, number * batches)):
                pass
            session.stage_times.end()
            taken = session.stage_times.take()
            if number:
                passes.append({stage: s / batches for stage, s in taken.items() if stage is not None})
        own = {stage: float(np.median([one.get(stage, 0.0) for one in passes])) for stage in passes[0]}
        of_ranks = session.group.gather(own)
        workload = Workload.of_synthetic(describe(config.data.synthetic))
        need, record_bytes = need_of(config, workload, session.group.nodes, built.backend)
        return {
            "stages": {stage: float(np.mean([one[stage] for one in of_ranks])) for stage in own},
            "work": work_of(need, workload, record_bytes, len(session.group.nodes.members), config.train.split == "column"),
            "nodes": len(session.group.nodes.members), "host": session.group.from_first(platform.node()), "threads": session.backend.threads,
        }  # fmt: skip


def _seconds_of_units(found):
    """{unit: seconds} that explain the seconds of all stages in all cases, each beside its case's whole step."""
    names = list(Work._fields)
    counted, spent, weights = [], [], []
    for one in found:
        step = sum(one["stages"].values())
        for stages, units in STAGES.items():
            row = [getattr(one["work"], name) if name in units else 0.0 for name in names]
            row[names.index("steps")] = 1 / len(STAGES)  # calls, of whichever stage
            counted.append(row)
            spent.append(sum(one["stages"].get(stage, 0.0) for stage in stages))
            weights.append(step)
    return dict(zip(names, rates(counted, spent, weights).tolist(), strict=True))
