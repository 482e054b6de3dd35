"""`deshpc probe`: what this machine does in a second, with the ranks that are here: links, and the work of training's stages.

A few small models are trained on generated samples, and each stage's seconds are explained by its work (`planner.work`).
"""

import datetime
import platform
from dataclasses import replace
from itertools import islice

import numpy as np

from deshpc.config.load import build
from deshpc.data.profiles import describe
from deshpc.data.reader import Reader
from deshpc.doctor.probe import measure
from deshpc.launch.failure import fails_together
from deshpc.planner.fit import rates
from deshpc.planner.likeness import Measured
from deshpc.planner.machine import Link, Machine
from deshpc.planner.planned import need_of
from deshpc.planner.work import NUMBERED_S, STAGES, SharesAhead, Work, share_ahead, shares_of, uneven_link, work_of
from deshpc.planner.workload import Workload
from deshpc.training.scored_samples import reads_of
from deshpc.training.session import Session
from deshpc.training.step import steps

_AHEAD = ("read", "look up")  # stages of the next batch
_WHOLE = 3.0  # an error of a whole step counts so many times one of a stage
_PASS_S, _FEWEST = 0.4, 3  # a pass takes about so long, after the first, which inserts every row; steps of one
_LONG_S, _PASSES = 0.1, (9, 3)  # passes of steps that are shorter than this, and of longer ones
_BATCHES = {"criteo": 12, "industrial": 6, "history": 3}  # of a profile
_DEEP = {"name": "wide_deep", "hidden": [256, 128]}
_CASES = (  # profile, samples of a rank's share, model, options of [train]
    ("criteo", 1024, {"name": "lr"}, {"routing": "broadcast", "exchange": "reduce_scatter"}),
    ("criteo", 256, {"name": "lr"}, {"routing": "broadcast", "exchange": "rows"}),
    ("criteo", 1024, {"name": "lr"}, {"routing": "routed", "exchange": "reduce_scatter"}),
    ("criteo", 1024, {"name": "lr"}, {"routing": "broadcast", "exchange": "rows"}),
    ("criteo", 512, {"name": "lr"}, {"routing": "routed", "exchange": "rows"}),
    ("criteo", 1024, {"name": "fm"}, {"routing": "broadcast", "exchange": "allreduce"}),
    ("criteo", 1024, {"name": "fm"}, {"routing": "routed", "exchange": "reduce_scatter"}),
    ("criteo", 256, {"name": "fm"}, {"routing": "routed", "exchange": "rows"}),
    ("criteo", 1024, {"name": "fm"}, {"routing": "broadcast", "exchange": "rows"}),
    ("criteo", 1024, {"name": "fm"}, {"routing": "broadcast", "split": "column"}),
    ("industrial", 1024, {"name": "fm"}, {"routing": "broadcast", "exchange": "reduce_scatter"}),
    ("industrial", 1024, {"name": "fm"}, {"routing": "routed", "exchange": "reduce_scatter"}),
    ("industrial", 256, {"name": "fm"}, {"routing": "broadcast", "exchange": "rows"}),
    ("industrial", 256, {"name": "fm"}, {"routing": "routed", "exchange": "rows"}),
    ("industrial", 1024, {"name": "fm"}, {"routing": "broadcast", "split": "column"}),
    ("criteo", 512, _DEEP, {"routing": "routed", "exchange": "rows"}),
    ("criteo", 1024, {"name": "wide_deep", "hidden": [64, 32]}, {"routing": "broadcast", "exchange": "rows"}),
    ("criteo", 512, _DEEP, {"routing": "broadcast", "split": "field", "exchange": "pooled"}),
    ("industrial", 256, _DEEP, {"routing": "routed", "split": "field", "exchange": "pooled"}),
    ("industrial", 256, {**_DEEP, "first_layer": "pushed_down"}, {"routing": "broadcast", "exchange": "allreduce"}),
    ("history", 256, {**_DEEP, "first_layer": "pushed_down"}, {"routing": "routed", "split": "field", "exchange": "reduce_scatter"}),
    ("history", 256, _DEEP, {"routing": "broadcast", "split": "field", "exchange": "pooled"}),
)  # fmt: skip


@fails_together
def probe(comm, name=None, threads=None):
    """The Machine of the ranks of `comm`: with all of them side by side.  Collective; under a minute, where kernels are compiled.

    name : of the machine; None for that of rank 0's host
    threads : of a rank, `compute.threads_per_rank` of the runs that are to be planned; None as there
    """
    speeds = measure(comm)
    _trained(comm, threads, *_CASES[0])  # connections are set up, and processors wake up
    found = [_trained(comm, threads, *case) for case in _CASES]
    nodes, threads = found[0]["nodes"], found[0]["threads"]
    between = speeds.between or speeds.inside
    link = Link(between.allreduce_s, between.ping_bytes_per_s) if between else Link(0.0, 1e12)
    date = datetime.datetime.now(datetime.timezone.utc).date().isoformat()
    machine = Machine(
        name or found[0]["host"], date, "measured by deshpc probe", comm.size, nodes, threads,
        link, _seconds_of_units(found, link.bytes_per_s),
    )  # fmt: skip
    return replace(machine, measured=[_measured(machine, one) for one in found])


def _measured(machine, one):
    """The `Measured` of a case."""
    shares, explained_s = shares_of(*one["work"].explained(machine, one["ahead"], machine.ranks / machine.nodes))
    return Measured(shares, explained_s, sum(one["stages"].values()) / explained_s)


def _trained(comm, threads, profile, share, model, train):
    """{"stages": {stage: seconds a step}, "work", "ahead", "nodes", "host" of rank 0, "threads"} of one case.  Collective.

    work : its Work, with the bytes that were sent
    ahead : as of `Work.seconds`
    """
    batch = share * comm.size
    most = _BATCHES[profile]
    rows = batch * most
    config = build(
        {
            "data": {"format": "synthetic", "synthetic": {"profile": profile, "train_rows": rows, "test_rows": 0}},
            "model": {"dim": 16, **model}, "train": {"global_batch_samples": batch, **train}, "compute": {"threads_per_rank": threads or 0},
        }
    )  # fmt: skip
    with Session(config, comm) as session:
        dataset = session.load("train")
        built = session.build(dataset)
        reader = Reader(
            dataset, batch, reads_of(built), built.backend.host_buffers, config.train.seed, True, config.train.shuffle_block_rows,
            config.train.shuffle_run_rows,
        )  # fmt: skip
        passes, batches, number, wanted = [], most, 0, 1 + min(_PASSES)
        while number < wanted:
            session.group.sum(0.0)
            before = _sent(session.group.ledger)
            session.stage_times.begin("read")
            for _ in steps(built, islice(reader.epoch(number, number * most), batches)):
                pass
            session.stage_times.end()
            sent = (_sent(session.group.ledger) - before) / batches
            passes.append({stage: s / batches for stage, s in session.stage_times.take().items() if stage is not None})
            step_s = float(session.group.sum(sum(passes[-1].values()))[0]) / comm.size
            batches = int(np.clip(_PASS_S / step_s, _FEWEST, most))
            number += 1
            wanted = 1 + _PASSES[step_s > _LONG_S]
        own = {stage: float(np.median([one.get(stage, 0.0) for one in passes[1:]])) for stage in passes[0]}
        of_ranks = session.group.gather(own)
        workload = Workload.of_synthetic(describe(config.data.synthetic))
        need, record_bytes = need_of(config, workload, session.group.nodes, built.backend)
        nodes = len(session.group.nodes.members)
        work = work_of(need, workload, record_bytes, nodes, config.train.split == "column")
        return {
            "stages": {stage: float(np.mean([one[stage] for one in of_ranks])) for stage in own},
            "work": work.with_sent(*session.group.sum(sent), comm.size, nodes, uneven_link(need)),
            "ahead": share_ahead(need) if built.overlaps else SharesAhead(),
            "nodes": nodes, "host": session.group.from_first(platform.node()), "threads": session.backend.threads,
        }  # fmt: skip


def _sent(ledger):
    """(bytes that this rank has sent inside its node, as far as they are told apart, and all others)"""
    inside = ledger.of(level="inside")
    return np.array([inside, ledger.of() - inside], np.float64)


def _seconds_of_units(found, link_bytes_per_s):
    """{unit: seconds} that explain the seconds of whole steps best, and of their stages, each error counted by its share of the step.

    link_bytes_per_s : of one large message between nodes: no byte crosses faster
    What is done for the next batch while partials travel counts as if it were done behind them: `Work.seconds` hides it.
    """
    names, link_s = [name for name in Work._fields if name != "numbered"], 1 / link_bytes_per_s
    counted, spent, weights, known = [], [], [], []
    for one in found:
        work, step = one["work"], sum(one["stages"].values())
        link, ahead = work.crossed * link_s, one["ahead"]
        hidden = min(sum(one["stages"].get(stage, 0.0) for stage in _AHEAD), ahead.forward * link)
        hidden += min(ahead.keys * link, max(0.0, step - (1 - ahead.keys) * link))
        for stages, units in STAGES.items():
            row = [getattr(work, name) if name in units else 0.0 for name in names]
            row[names.index("steps")] = 1 / len(STAGES)  # calls, of whichever stage
            crosses = "crossed" in units
            counted.append(row)
            spent.append(sum(one["stages"].get(stage, 0.0) for stage in stages) + crosses * hidden)
            weights.append(step)
            known.append(crosses * (work.crossed * link_s + work.numbered * NUMBERED_S))
        counted.append([getattr(work, name) for name in names])
        spent.append(step + hidden)
        weights.append(step / _WHOLE)
        known.append(work.crossed * link_s + work.numbered * NUMBERED_S)
    seconds = dict(zip(names, rates(counted, spent, weights, known).tolist(), strict=True))
    return {**seconds, "crossed": seconds["crossed"] + link_s}
