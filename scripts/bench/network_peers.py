"""deshpc beside torchrec over gloo, on the same pretended hosts with the same limited links, as root on Linux.

    python scripts/bench/network_peers.py [--hosts 2 4] [--mbit 100 0] [--turns 2] [--cases CASE ...] [--peers FOLDER] [--out network_peers.json]

A process of one thread on each host, 1,024 samples of it in a batch, k = 16, row-wise Adagrad; the same generated rows, in memory before the
clock starts.  torchrec's tables have the rows that occur, made before (peers/torchrec_network_worker.py says how it is set up);
deshpc's grow, so its first pass, which inserts every row, does not count.  Contestants take turns; medians of all their passes.

    routed      keys travel to the owners, as torchrec's do
    broadcast   every rank reads the whole global batch, so that no key travels

FOLDER (by default one in the user's cache) gets the peers' environment from PyPI, once: that of compare.py, or torchrec's part of it.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
from pathlib import Path

import numpy as np
from peers.environment import with_modules
from peers.machine import machine, versions

HERE, BIN = Path(__file__).parent, Path(sys.executable).parent
BATCH, PASSES, PORT = 1024, 2, 29_577
PEER, LIMIT_S = "torchrec", 300
COMMON = ["model.dim=16", "optimizer.name=rowwise_adagrad", "optimizer.initial_accumulator=0.1", "compute.threads_per_rank=1"]
WIDE_DEEP = ["model.name=wide_deep", "model.hidden=[256,128]", "optimizer.dense_learning_rate=0.01"]
BY_FIELD = ["train.split=field", "train.exchange=pooled"]
CASES = {  # name: (profile, steps of a pass, the peer's job, {our name: overrides})
    "FM, industrial": (
        "industrial", 4, {"model": "fm"},
        {"routed": ["model.name=fm", "train.routing=routed"], "broadcast": ["model.name=fm", "train.routing=broadcast"]},
    ),
    "Wide & Deep 256-128, history": (
        "history", 4, {"model": "wide_deep", "hidden": [256, 128]},
        {
            "routed": [*WIDE_DEEP, *BY_FIELD, "train.routing=routed"],
            "broadcast": [*WIDE_DEEP, *BY_FIELD, "train.routing=broadcast"],
        },
    ),
}  # fmt: skip


def write_rows(folder, profile, count):
    """Write generated rows for static tables: offsets (n + 1), fields and rows (nnz) numbered inside their field, labels, values."""
    from deshpc.config.load import build
    from deshpc.data.profiles import describe
    from deshpc.data.synthetic import generate

    config = build({"data": {"format": "synthetic", "synthetic": {"profile": profile, "train_rows": count}}}).data.synthetic
    samples = generate(config, "train", 0, count)
    rows, sizes = np.empty(len(samples.keys), np.int32), []
    for field in range(len(describe(config).field_names)):
        own = samples.fields == field
        known, rows[own] = np.unique(samples.keys[own], return_inverse=True)
        sizes.append(len(known))
    arrays = {"offsets": samples.offsets, "rows": rows, "fields": samples.fields, "labels": samples.labels, "values": samples.values}
    for name, array in arrays.items():
        if array is not None:
            np.save(folder / f"{name}.npy", array)
    (folder / "sizes.json").write_text(json.dumps(sizes), encoding="utf-8")


def written_job(folder, job):
    """The path of a job, which as JSON would have to pass several shells."""
    path = folder / "job.json"
    path.write_text(json.dumps(job), encoding="utf-8")
    return path


def of_peer(hosts, folder, python, job):
    """Samples/s of torchrec's passes."""
    path = written_job(folder, {**job, "data": str(folder), "batch": BATCH, "passes": PASSES, "address": f"{hosts.address}:{PORT}"})
    program = ["env", "-u", "PYTHONPATH", "TORCH_CPP_LOG_LEVEL=ERROR", python, "-W", "ignore", HERE / "peers/torchrec_network_worker.py", path]
    report = json.loads(hosts.mpiexec(1, program, BIN / "mpiexec", LIMIT_S).splitlines()[-1])
    return [report["samples"] / seconds for seconds in report["seconds"]]


def of_deshpc(hosts, folder, case, overrides):
    """Samples/s of deshpc's passes but the first."""
    profile, steps, *_ = CASES[case]
    batch = BATCH * hosts.count
    job = {
        "rows": batch * steps, "passes": 1 + PASSES, "profile": profile,
        "overrides": [*COMMON, *overrides, f"train.global_batch_samples={batch}"],
    }  # fmt: skip
    output = hosts.mpiexec(1, [sys.executable, HERE / "step_worker.py", written_job(folder, job)], BIN / "mpiexec", LIMIT_S)
    return [one["samples_per_s"] for one in json.loads(output.splitlines()[-1])["passes"][1:]]


def raced(hosts, case, turns, python):
    """{contestant: [samples/s of each pass]}."""
    profile, steps, job, ours = CASES[case]
    found = {PEER: [], **{name: [] for name in ours}}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_rows(folder, profile, BATCH * hosts.count * steps)
        for _ in range(turns):
            found[PEER] += of_peer(hosts, folder, python, job)
            for way, overrides in ours.items():
                found[way] += of_deshpc(hosts, folder, case, overrides)
    return found


def main():
    sys.path.insert(0, str(HERE.parent))
    from pretended_hosts import PretendedHosts, missing

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hosts", type=int, nargs="+", default=[2, 4])
    parser.add_argument("--mbit", type=int, nargs="+", default=[100, 0], help="caps of the links; 0: none")
    parser.add_argument("--turns", type=int, default=2)
    parser.add_argument("--cases", nargs="+", default=list(CASES), choices=list(CASES))
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    parser.add_argument("--peers", type=Path, default=cache / "deshpc-peers")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    if missing():
        sys.exit(f"network_peers: {missing()}")
    python = with_modules(options.peers, ("torch", "fbgemm_gpu", "torchrec"))
    rows = []
    print(f"{'samples/s':<32}{'hosts':>6}{'Mbit/s':>8}{PEER:>12}{'routed':>12}{'':>8}{'broadcast':>12}", flush=True)
    for count in options.hosts:
        for mbit in options.mbit:
            with PretendedHosts(count, mbit or None) as hosts:
                for case in options.cases:
                    found = raced(hosts, case, options.turns, python)
                    medians = {name: statistics.median(rates) for name, rates in found.items()}
                    cells = "".join(f"{medians[way]:>12,.0f}{medians[way] / medians[PEER]:>6.1f} x" for way in found if way != PEER)
                    print(f"{case:<32}{count:>6}{mbit or 'none':>8}{medians[PEER]:>12,.0f}{cells}", flush=True)
                    rows.append({"case": case, "hosts": count, "mbit": mbit, "median": medians, "passes": found})
    if options.out:
        known = {"machine": machine(), "versions": versions(), "batch": BATCH, "rows": rows}
        options.out.write_text(json.dumps(known, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
