"""Write the machines of examples/machines: links that others have measured, with what `deshpc probe` has measured of a processor.

    mpiexec -n 2 deshpc probe --out machine.json
    python scripts/example_machines.py machine.json [FOLDER]      FOLDER: examples/machines

machine.json : of one node, on which the ranks were side by side
"""

import json
import sys
from dataclasses import replace
from pathlib import Path

from deshpc.planner.machine import Link, Machine

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "scripts/bench"))
from peers.machine import machine  # noqa: E402  beside this folder

LINKS = {  # name: (Link, what it is, where its numbers come from)
    "ethernet-1g": (
        Link(24.6e-6, 116.19e6), "1 Gbit/s Ethernet, TCP",
        "OSU benchmarks with MPICH over TCP, latency of 4 bytes and bandwidth of 32 KiB: gist.github.com/jfgrimm/3af692a5475bdd4ed836b5a18197a209",
    ),
    "cloud-10g": (
        Link(48e-6, 0.95 * 1.25e9), "10 Gbit/s Ethernet in a cloud (AWS c3.8xlarge, enhanced networking, one placement group), TCP",
        "half of a round trip of 92 to 100 us, and over 95 % of 10 Gbit/s by one thread: "
        "blogs.scalablelogic.com/2014/01/enhanced-networking-in-aws-cloud-part-2.html",
    ),
    "ethernet-40g": (
        Link(1.93e-6, 37.23e9 / 8), "40 Gbit/s Ethernet (Cisco VIC 1285, usNIC)",
        "NetPIPE 3.7.1 with Open MPI 1.8.1, half a round trip and bandwidth: blogs.cisco.com/performance/mpi-over-40gb-ethernet",
    ),
    "infiniband-200g": (
        Link(1.62e-6, 23_477e6), "200 Gbit/s InfiniBand HDR (Azure HBv2), HPC-X",
        "osu_latency of 4 bytes and osu_mbw_mr of 8 MiB, OSU benchmarks 5.6.2: "
        "techcommunity.microsoft.com/t5/azure-high-performance-computing/hpc-performance-and-scalability-results-with-azure-hbv2-vms/ba-p/1012813",
    ),
}  # fmt: skip


def main(path, target):
    probed = Machine.from_file(path)
    if probed.nodes != 1:
        sys.exit(f"{path}: was measured on {probed.nodes} nodes; a probe of one is needed, so that the link is the written one")
    target.mkdir(parents=True, exist_ok=True)
    for name, (link, what, where) in LINKS.items():
        source = (
            f"between: {what}: {where}. latency_s is between two nodes; a collective of more takes longer. "
            f"seconds: deshpc probe, {probed.ranks} ranks of {probed.threads_per_rank} thread side by side on {machine()['processor']}, {probed.date}"
        )
        tree = replace(probed, name=name, source=source, between=link).to_json()
        (target / f"{name}.json").write_text(json.dumps(tree, indent=1) + "\n", encoding="utf-8")
        print(target / f"{name}.json")


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    main(Path(sys.argv[1]), Path(sys.argv[2]) if len(sys.argv) == 3 else ROOT / "examples/machines")
