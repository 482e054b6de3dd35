"""Compare the byte ledger with the formula and with the kernel's own counters, between pretended hosts.

    python scripts/check_wire_bytes.py [--ranks 2 3 4]        as root on Linux; see pretended_hosts.py

Each rank trains on a host of its own, over TCP.  The bytes that its network interface sent during the steps
(/proc/net/dev) are set against the ledger's sum over all kinds, and the ledger's partials against 2 (N - 1) b s
numbers a step.  Exit code 1 if the wire differs by more than 5 % or the formula at all.
"""

import argparse
import json
import sys
import time
from pathlib import Path

HERE, BIN = Path(__file__).resolve().parent, Path(sys.executable).parent
SAMPLES, STEPS, DIM, LIMIT = 16_384, 20, 16, 0.05


def sent_bytes():
    """Bytes that eth0 of this host has sent."""
    for line in Path("/proc/net/dev").read_text(encoding="ascii").splitlines():
        name, _, counters = line.partition(":")
        if name.strip() == "eth0":
            return int(counters.split()[8])
    raise RuntimeError("no eth0 on this host")


def worker(model_name, routing):
    """Train on COMM_WORLD; rank 0 prints what each rank sent, by the ledger and on the wire."""
    from mpi4py import MPI

    from deshpc.config.load import build
    from deshpc.data.reader import Reader
    from deshpc.training.evaluation import reads_of
    from deshpc.training.session import Session
    from deshpc.training.step import step

    comm = MPI.COMM_WORLD
    config = build({
        "data": {"format": "synthetic", "synthetic": {"profile": "criteo", "train_rows": SAMPLES * STEPS}},
        "model": {"name": model_name, "dim": DIM},
        "train": {"routing": routing, "global_batch_samples": SAMPLES},
    })  # fmt: skip
    session = Session(config, comm)
    model = session.build(dataset := session.load("train"))
    reader = Reader(dataset, SAMPLES, reads_of(model), model.backend.buffers)
    ledger = session.group.ledger
    comm.Barrier()
    time.sleep(0.2)  # let the barrier's last packets leave
    wire, counted, partials = sent_bytes(), ledger.of(), ledger.of(kind="partials")
    for batch in reader.epoch(0):
        step(model, batch)
    time.sleep(0.2)
    mine = (sent_bytes() - wire, ledger.of() - counted, ledger.of(kind="partials") - partials, model.width)
    everyone = comm.gather(mine)
    if comm.rank == 0:
        print(json.dumps(everyone))
    session.close()


def main():
    sys.path.insert(0, str(HERE))
    from pretended_hosts import PretendedHosts, missing

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ranks", type=int, nargs="+", default=[2, 3, 4])
    options = parser.parse_args()
    if missing():
        sys.exit(f"check_wire_bytes: {missing()}")
    print(f"{'model':<6}{'routing':<11}{'ranks':>5}{'formula':>12}{'partials':>12}{'ledger':>12}{'wire':>12}{'wire/ledger':>13}")
    good = True
    for ranks in options.ranks:
        with PretendedHosts(ranks) as hosts:
            for model_name in ("lr", "fm"):
                for routing in ("broadcast", "routed"):
                    command = [sys.executable, HERE / "check_wire_bytes.py", "--worker", model_name, routing]
                    everyone = json.loads(hosts.mpiexec(1, command, BIN / "mpiexec").splitlines()[-1])
                    wire, ledger, partials = (sum(rank[i] for rank in everyone) for i in range(3))
                    formula = STEPS * 2 * (ranks - 1) * SAMPLES * everyone[0][3] * 4
                    ratio = wire / ledger
                    good &= partials == formula and abs(ratio - 1) <= LIMIT
                    print(f"{model_name:<6}{routing:<11}{ranks:>5}{formula:>12,}{partials:>12,}{ledger:>12,}{wire:>12,}{ratio:>13.4f}")
    print("bytes of all ranks; " + ("the ledger equals the formula and agrees with the wire" if good else "MISMATCH"))
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--worker"]:
        worker(*sys.argv[2:])
    else:
        main()
