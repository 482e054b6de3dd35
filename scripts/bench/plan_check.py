"""Does a plan choose what is fastest, and how near are its seconds?  On pretended hosts with limited links, as root on Linux.

    python scripts/bench/plan_check.py [--hosts 4] [--ranks-per-host 1] [--mbit 50 100 200 500 0] [--repeats 3] [--cases ...]
                                        [--out plan_check.json]

For each cap (0: none) the hosts are probed (`deshpc probe`), every case is planned, and some ways of it are run: the plan's first ones, and by
either routing the best way that moves rows, and the best that does not.  Ways take turns; medians of passes after the first.  Printed: predicted and
measured milliseconds a step of every way, and how much of its link it uses; how far the choice is from the fastest; how many times faster
substitution is than moving rows, by either routing; and the share of ways whose prediction is within 20 %.
"""

import argparse
import json
import statistics
import sys
import tempfile
from itertools import product
from pathlib import Path

HERE, BIN = Path(__file__).parent, Path(sys.executable).parent
BATCH, WAYS, THREADS = 1024, 2, 1  # samples of a rank, ways of a case, threads of a rank
EPOCHS = 4  # that a plan is told: keys of later ones are mostly known
PASS_S = 0.6  # a pass takes about so long
ROUTINGS = ("broadcast", "routed")
CASES = {
    "FM, criteo": ("criteo", 12, ["model.name=fm"]),
    "FM, industrial": ("industrial", 6, ["model.name=fm"]),
    "LR, criteo": ("criteo", 12, ["model.name=lr"]),
    "Wide & Deep 256-128, history": ("history", 5, ["model.name=wide_deep", "model.hidden=[256, 128]"]),
}  # name: (profile, steps of a pass, overrides)


def options_of(case, ranks, more=()):
    profile, steps, overrides = CASES[case]
    batch = BATCH * ranks
    return profile, batch * steps, [*overrides, f"train.global_batch_samples={batch}", f"train.epochs={EPOCHS}", f"compute.threads_per_rank={THREADS}", "model.dim=16", *more]


def planned(case, hosts, per_host, machine, more=()):
    """[(Choice, predicted seconds, moves rows, bytes that a host sends in a step)] of a case, the fastest first."""
    from deshpc.config import override
    from deshpc.config.load import build
    from deshpc.data.profiles import describe
    from deshpc.planner.plan import plan
    from deshpc.planner.workload import Workload

    profile, rows, overrides = options_of(case, hosts * per_host, more)
    config = override(build({"data": {"format": "synthetic", "synthetic": {"profile": profile, "train_rows": rows}}}), *overrides)
    found = plan(config, Workload.of_synthetic(describe(config.data.synthetic)), hosts * per_host, hosts, machine)
    return [(one.choice, one.step_s, one.need.run.moves_rows, crossing(one) / hosts) for one in found.options]


def crossing(option):
    """Bytes of a step between hosts."""
    return sum((one.low + one.high) / 2 for one in option.need.sent if one.level != "inside")


def some_of(ways):
    """The first ways, and by either routing the best of those that move rows and of those that do not."""
    chosen = ways[:WAYS]
    for routing, moves in product(ROUTINGS, (True, False)):
        chosen += [one for one in ways if one[0].routing == routing and one[2] == moves][:1]
    return list(dict.fromkeys(chosen))


def timed(hosts, per_host, case, choices, turns, more=()):
    """[{"seconds", "stages", "sent"}] of each Choice: see plan_check_worker.py."""
    profile, rows, overrides = options_of(case, hosts.count * per_host, more)
    names = {"split": "train.split", "first_layer": "model.first_layer", "exchange": "train.exchange", "routing": "train.routing", "levels": "train.levels"}
    ways = [[f"{names[name]}={value}" for name, value in choice._asdict().items()] for choice in choices]
    job = {"profile": profile, "rows": rows, "overrides": overrides, "ways": ways, "turns": turns, "seconds": PASS_S}
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:  # JSON would have to pass several shells
        json.dump(job, file)
        file.flush()
        lines = hosts.mpiexec(per_host, [sys.executable, HERE / "plan_check_worker.py", file.name], BIN / "mpiexec", timeout_s=1800)
    return json.loads(lines.splitlines()[-1])


def probed(hosts, per_host):
    """The Machine of the hosts."""
    from deshpc.planner.machine import Machine

    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "machine.json"
        hosts.mpiexec(per_host, [BIN / "deshpc", "probe", "--out", out, "--threads", str(THREADS)], BIN / "mpiexec")
        return Machine.from_file(out)


def main():
    sys.path.insert(0, str(HERE.parent))
    from pretended_hosts import PretendedHosts, missing

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hosts", type=int, default=4)
    parser.add_argument("--ranks-per-host", type=int, default=1)
    parser.add_argument("--mbit", type=int, nargs="+", default=[50, 100, 200, 500, 0])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES), metavar="CASE", help="; ".join(CASES))
    parser.add_argument("--set", dest="overrides", action="append", default=[], metavar="OPTION=VALUE", help="of all runs, such as train.wire=bfloat16")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    if missing():
        sys.exit(f"plan_check: {missing()}")
    rows = []
    for mbit in options.mbit:
        with PretendedHosts(options.hosts, mbit or None) as hosts:
            machine = probed(hosts, options.ranks_per_host)
            print(f"link: {8e-6 * machine.between.bytes_per_s:,.0f} Mbit/s, {1e6 * machine.between.latency_s:,.0f} us", flush=True)
            for case in options.cases:
                rows += measured(hosts, options, machine, case, mbit)
    near = [row for row in rows if abs(row["predicted_s"] / row["measured_s"] - 1) <= 0.2]
    print(f"\nwithin 20 %: {len(near)} of {len(rows)} ways")
    if options.out:
        options.out.write_text(json.dumps(rows, indent=1), encoding="utf-8")


def measured(hosts, options, machine, case, mbit):
    """[{"case", "mbit", "choice", "predicted_s", "measured_s", ...}] of some ways of a case, the planned one first; printed."""
    ways = some_of(planned(case, options.hosts, options.ranks_per_host, machine, options.overrides))
    times = timed(hosts, options.ranks_per_host, case, [choice for choice, *_ in ways], options.repeats, options.overrides)
    medians = {way[0]: statistics.median(one["seconds"]) for way, one in zip(ways, times, strict=True)}
    fastest = min(medians.values())
    print(f"\n{case}, {mbit or 'no'} Mbit/s: the choice takes {medians[ways[0][0]] / fastest:.2f} of the fastest")
    for (choice, predicted, *_), one in zip(ways, times, strict=True):
        taken = medians[choice]
        used = f"{100 * 8e-6 * one['sent'] / taken / mbit:5.0f} % of the link" if mbit else ""
        print(f"    {choice!s:<48}{1e3 * predicted:10.1f} ms predicted {1e3 * taken:10.1f} measured {predicted / taken:6.2f} {used}", flush=True)
    for routing in ROUTINGS:
        best = [min((medians[c] for c, _, moves, _ in ways if c.routing == routing and moves == wanted), default=None) for wanted in (True, False)]
        if None not in best:
            print(f"    {routing}: substitution is {best[0] / best[1]:.2f} times as fast as rows")
    return [
        {
            "case": case, "hosts": options.hosts, "ranks_per_host": options.ranks_per_host, "mbit": mbit, "set": options.overrides, "choice": choice._asdict(),
            "moves_rows": moves, "predicted_s": predicted, "measured_s": medians[choice], "planned_sent": sent, **one,
        }
        for (choice, predicted, moves, sent), one in zip(ways, times, strict=True)
    ]  # fmt: skip


if __name__ == "__main__":
    main()
