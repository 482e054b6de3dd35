"""Exchanges between pretended hosts with limited links: samples/s, bytes, and what train.overlap gives.

    python scripts/bench/exchange.py [--ranks 4] [--mbit 200] [--repeats 3] [--out exchange.json]      as root on Linux

FM, k = 16, Adagrad, global batch 8192, one rank on each host (scripts/pretended_hosts.py), `routed`.  The variants take
turns; medians of the second pass are printed, and bytes that all ranks together sent a sample.
"""

import argparse
import json
import statistics
import sys
import tempfile
from pathlib import Path

HERE, BIN = Path(__file__).parent, Path(sys.executable).parent
PROFILES = {"criteo": 98_304, "industrial": 49_152}  # rows
EXCHANGES = ("allreduce", "reduce_scatter", "rows")


def measure(hosts, profile, exchange, overlap, rows):
    """The worker's report of the second pass."""
    overrides = ["train.routing=routed", f"train.exchange={exchange}", f"train.overlap={overlap}", "compute.threads_per_rank=1"]
    job = {"rows": rows, "passes": 2, "profile": profile, "overrides": overrides}
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:  # JSON would have to pass several shells
        json.dump(job, file)
        file.flush()
        lines = hosts.mpiexec(1, [sys.executable, HERE / "step_worker.py", file.name], BIN / "mpiexec").splitlines()
    return json.loads(lines[-1])["passes"][1]


def main():
    sys.path.insert(0, str(HERE.parent))
    from pretended_hosts import PretendedHosts, missing

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ranks", type=int, default=4)
    parser.add_argument("--mbit", type=int, default=200)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    if missing():
        sys.exit(f"exchange: {missing()}")
    runs = {}
    with PretendedHosts(options.ranks, options.mbit) as hosts:
        for repeat in range(options.repeats + 1):  # the first compiles
            for profile, rows in PROFILES.items():
                for exchange in EXCHANGES:
                    for overlap in ("on", "off"):
                        report = measure(hosts, profile, exchange, overlap, rows if repeat else 8192)
                        if repeat:
                            runs.setdefault((profile, exchange, overlap), []).append(report)
    print(f"{options.ranks} hosts, links of {options.mbit} Mbit/s, medians of {options.repeats}")
    print(f"{'profile':<12}{'exchange':<16}{'bytes/sample':>13}{'samples/s':>11}{'overlap off':>12}{'ratio':>8}")
    for profile in PROFILES:
        for exchange in EXCHANGES:
            on, off = (
                statistics.median(run["samples_per_s"] for run in runs[profile, exchange, overlap]) for overlap in ("on", "off")
            )
            sent = runs[profile, exchange, "on"][0]["sent_bytes_per_sample"]
            print(f"{profile:<12}{exchange:<16}{sent:>13,.0f}{on:>11,.0f}{off:>12,.0f}{on / off:>8.2f}")
    if options.out:
        named = [{"profile": p, "exchange": e, "overlap": o, "runs": reports} for (p, e, o), reports in runs.items()]
        options.out.write_text(json.dumps(named, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
