"""Compare the byte ledger with the formula and with the kernel's own counters, between pretended hosts.

    python scripts/check_wire_bytes.py [--ranks 2 3 4] [--short]     as root on Linux; see pretended_hosts.py

Each rank trains on a host of its own, over TCP, by every exchange and routing.  The bytes that the network interfaces
sent during the steps (/proc/net/dev) are set against the ledger, and every entry of the ledger against the formula of
deshpc.plan.cost.  On 4 ranks, the bytes of values (partials, rows, gradients) are compared between the exchanges
allreduce and rows on the industrial profile.  All bytes are those of all ranks.

Exit code 1 if the wire differs by more than 5 %, the formula at all, or allreduce saves less than 83 % of the values.
"""

import argparse
import json
import subprocess
import sys
import time
from itertools import product
from pathlib import Path

HERE, BIN = Path(__file__).resolve().parent, Path(sys.executable).parent
DIM, WIRE_LIMIT, LEAST_SAVING = 16, 0.05, 0.83
VALUES = ("partials", "rows", "gradients")
CRITEO = {"profile": "criteo", "samples": 16_384, "steps": 10}
INDUSTRIAL = {"profile": "industrial", "samples": 8192, "steps": 3}


def cases(ranks, short):
    """[(data, [(model, exchange, routing)])] to be measured on so many ranks."""
    exchanges = ("allreduce", "reduce_scatter", "rows")
    models, routings = ("fm",) if short else ("lr", "fm"), ("routed",) if short else ("broadcast", "routed")
    wanted = [(CRITEO, list(product(models, exchanges, routings)))]
    if ranks == 4:
        wanted.append((INDUSTRIAL, [("fm", "allreduce", "routed"), ("fm", "rows", "routed")]))
    return wanted


def configuration(data, model, exchange, routing):
    """The Config of one measurement."""
    from deshpc.config.load import build

    return build({
        "data": {
            "format": "synthetic",
            "synthetic": {"profile": data["profile"], "train_rows": data["samples"] * data["steps"]},
        },
        "model": {"name": model, "dim": DIM},
        "train": {"exchange": exchange, "routing": routing, "global_batch_samples": data["samples"]},
        "compute": {"threads_per_rank": 1},
    })  # fmt: skip


def worker(ranks, short):
    """Train every case on COMM_WORLD; rank 0 prints a line of JSON for each.  One rank alone only compiles."""
    from mpi4py import MPI

    from deshpc.training.session import Session

    comm = MPI.COMM_WORLD
    for data, combinations in cases(ranks, short):
        source = Session(configuration(data, *combinations[0]), comm)
        dataset = source.load("train")
        for combination in combinations:
            session = Session(configuration(data, *combination), comm)
            session.build(dataset)
            if comm.size > 1:
                measured = measure(session, dataset)
                if comm.rank == 0:
                    print(json.dumps({"data": data, "case": combination, **measured}), flush=True)
            session.close()
        source.close()


def measure(session, dataset):
    """What an epoch of steps has sent, by formula, ledger and network interface.  Collective."""
    from deshpc.data.reader import Reader
    from deshpc.training.scored_samples import reads_of
    from deshpc.training.step import steps
    from deshpc.training.traffic import training_traffic

    group, model = session.group, session.model
    reader = Reader(dataset, session.config.train.global_batch_samples, reads_of(model), model.backend.host_buffers)
    group.sum(0)
    time.sleep(0.2)  # let the last packets leave
    wire = sent_bytes()
    for _ in steps(model, reader.epoch(0)):
        pass
    time.sleep(0.2)
    wire = sent_bytes() - wire
    traffic, keys = training_traffic(session, dataset, reader.batches, len(dataset))
    return {
        "low": sum(row.low_bytes for row in traffic), "high": sum(row.high_bytes for row in traffic),
        "ledger": sum(row.sent_bytes for row in traffic), "wire": int(group.sum(wire)[0]),
        "agrees": all(row.agrees for row in traffic), "u": keys.u, "m": keys.m,
        "values": sum(row.sent_bytes for row in traffic if row.kind in VALUES),
    }  # fmt: skip


def sent_bytes():
    """Bytes that eth0 of this host has sent."""
    for line in Path("/proc/net/dev").read_text(encoding="ascii").splitlines():
        name, _, counters = line.partition(":")
        if name.strip() == "eth0":
            return int(counters.split()[8])
    raise RuntimeError("no eth0 on this host")


def report(ranks, measured):
    """Print what so many ranks have measured; returns whether every bound holds."""
    good = True
    for one in measured:
        ratio = one["wire"] / one["ledger"]
        fits = one["agrees"] and abs(ratio - 1) <= WIRE_LIMIT
        formula = f"{one['low']:,}" + (f" + {one['high'] - one['low']:,}" if one["high"] > one["low"] else "")
        model, exchange, routing = one["case"]
        print(
            f"{one['data']['profile']:<12}{model:<4}{exchange:<16}{routing:<11}{ranks:>5}{formula:>24}{one['ledger']:>14,}"
            f"{one['wire']:>14,}{ratio:>8.4f}{'' if fits else '  WRONG'}",
            flush=True,
        )
        good &= fits
    industrial = {one["case"][1]: one for one in measured if one["data"]["profile"] == INDUSTRIAL["profile"]}
    return good and (not industrial or saves_enough(ranks, industrial["allreduce"], industrial["rows"]))


def saves_enough(ranks, allreduce, rows):
    """Print by how much allreduce sends fewer bytes of values than rows; returns whether it is enough."""
    saving, samples = 1 - allreduce["values"] / rows["values"], INDUSTRIAL["samples"]
    print(
        f"industrial, {ranks} ranks, b = {samples // ranks:,}, FM with k = {DIM}, m = {rows['m']:.0f}, u = {rows['u']:.1f}: "
        f"values {allreduce['values']:,} by allreduce, {rows['values']:,} by rows: {100 * saving:.1f} % fewer"
        f"{'' if saving >= LEAST_SAVING else '  WRONG'}"
    )
    return saving >= LEAST_SAVING


def main():
    sys.path.insert(0, str(HERE))
    from pretended_hosts import PretendedHosts, missing

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ranks", type=int, nargs="+", default=[2, 3, 4])
    parser.add_argument("--short", action="store_true", help="FM with routed keys only")
    parser.add_argument("--worker", type=int, metavar="RANKS", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        return worker(options.worker, options.short)
    if missing():
        sys.exit(f"check_wire_bytes: {missing()}")
    short = ["--short"] * options.short
    command = [sys.executable, HERE / "check_wire_bytes.py", *short, "--worker"]
    subprocess.run([*command, str(max(options.ranks))], check=True)  # compiles once; the hosts load from the cache
    print(f"{'profile':<12}{'':<4}{'exchange':<16}{'routing':<11}{'ranks':>5}{'formula':>24}{'ledger':>14}{'wire':>14}{'ratio':>8}")
    good = True
    for ranks in options.ranks:
        with PretendedHosts(ranks) as hosts:
            lines = hosts.mpiexec(1, [*command, ranks], BIN / "mpiexec").splitlines()
            good &= report(ranks, [json.loads(line) for line in lines if line.startswith("{")])
    print("the ledger equals the formula and agrees with the wire" if good else "MISMATCH")
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
