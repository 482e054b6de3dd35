"""Known ways in which a launch or a machine goes wrong, and the one-line remedy of each.

Nothing here looks at the machine: what was found comes in.
"""

from collections import defaultdict
from dataclasses import dataclass

from deshpc.doctor.devices import NO_DRIVER

OK, NOTE, WRONG = "ok", "note", "wrong"

_ROOM = 512 << 20  # bytes of /dev/shm
_MOST_NAMES = 3


@dataclass(frozen=True)
class Trap:
    """What was looked at, and how it stands.

    level : "ok"; "note": runs are right, but slow, or not everything can go well; "wrong": runs cannot be right
    text : what was found and what to do about it
    """

    name: str
    level: str
    text: str


def find_traps(start, facts, kill_on_bad_exit=None):
    """[Trap, ...] of a launch.Start and the Facts of all its ranks.

    facts : of this process alone where the ranks are not joined
    kill_on_bad_exit : whether srun ends a step when one task fails, None where that cannot be seen
    """
    nodes = defaultdict(list)
    for one in facts:
        nodes[one.node].append(one)
    nodes, under_srun = list(nodes.values()), start.launcher.name.startswith("srun")
    found = [("launcher fits MPI", WRONG, start.problem)]
    if not start.problem:
        found += [
            ("equal versions", WRONG, _versions(facts)),
            ("versions go together", WRONG, _unmet([one.unmet for one in facts])),
            ("versions of the device backend", NOTE, _unmet([one.unmet_device for one in facts])),
            ("all nodes used", NOTE, _unused_nodes(facts, nodes)),
            ("failed ranks end the job", NOTE, _kill(kill_on_bad_exit) if under_srun else None),
            ("a core for each rank", NOTE, _crowded(nodes)),
            ("all cores used", NOTE, _idle(nodes)),
            ("a device for each rank", NOTE, _devices(nodes)),
        ]
    found += [
        ("threads sleep", NOTE, _spinning(facts)),
        ("room in /dev/shm", NOTE, _room(nodes)),
        ("no leftovers in /dev/shm", NOTE, _leftovers(nodes)),
        ("kernel cache", NOTE, _kernel_cache(facts)),
    ]
    return [Trap(name, level if text else OK, text or "") for name, level, text in found]


def _versions(facts):
    kinds = {}
    for rank, one in enumerate(facts):
        kinds.setdefault(one.versions, rank)
    if len(kinds) > 1:
        found = "; ".join(f"rank {rank}: {versions}" for versions, rank in kinds.items())
        return f"{found}: give all nodes the same environment"


def _unmet(problems):
    for rank, problem in enumerate(problems):
        if problem:
            return f"rank {rank}: {problem}"


def _unused_nodes(facts, nodes):
    given = facts[0].variables.get("SLURM_JOB_NUM_NODES", "")
    if given.isdigit() and len(nodes) < int(given):
        return f"the job has {given} nodes, its ranks are on {len(nodes)}: srun -N {given} --ntasks-per-node=..."


def _kill(kill_on_bad_exit):
    if not kill_on_bad_exit:
        return "cannot be seen, so unless srun has -K: export SLURM_KILL_BAD_EXIT=1 in the job script"


def _crowded(nodes):
    for ranks in nodes:
        cores = len({core for one in ranks for core in one.cores})
        cores = min(cores, ranks[0].node_cores)
        if len(ranks) > cores:
            return f"{len(ranks)} ranks share {cores} cores of {ranks[0].host}: right, but slow; start {cores} there"


def _idle(nodes):
    for ranks in nodes:
        used, cores = sum(one.threads for one in ranks), ranks[0].node_cores
        if used <= cores // 2:
            each = cores // len(ranks)
            return (
                f"{len(ranks)} ranks use {used} of {cores} cores of {ranks[0].host}: more ranks, or {each} cores each "
                f"(srun -c {each}; Open MPI: --map-by slot:PE={each}; MPICH: -bind-to none)"
            )


def _devices(nodes):
    for ranks in nodes:
        taken = [one.device.identity for one in ranks if one.device]
        if taken and ranks[0].device.name == NO_DRIVER:
            return f"{ranks[0].host} grants CUDA devices, but libcuda.so.1 is not there: ask your site"
        if len(set(taken)) < len(taken):
            return f"{len(ranks)} ranks share {len(set(taken))} devices of {ranks[0].host}: one rank for each device"


def _spinning(facts):
    for rank, one in enumerate(facts):
        if one.variables.get("OMP_WAIT_POLICY", "").lower() == "active":
            return f"rank {rank} has OMP_WAIT_POLICY=active, so idle threads take cores: unset it"
        for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
            threads = one.variables.get(name, "")
            if threads.isdigit() and int(threads) > one.threads:
                return f"rank {rank} has {name}={threads} and {one.threads} cores: unset it, or set it to {one.threads}"


def _room(nodes):
    for ranks in nodes:
        room = ranks[0].shared_memory
        if room is not None and room < _ROOM:
            return (
                f"{room / 2**20:.0f} MiB free on {ranks[0].host}, and data sets are held there: clean up, or make it "
                "larger (containers: --shm-size=8g)"
            )


def _leftovers(nodes):
    for ranks in nodes:
        files = ranks[0].leftovers
        if files:
            names = " ".join(files) if len(files) <= _MOST_NAMES else "/dev/shm/{mpich_shm_,sm_segment.}*"
            return f"{len(files)} of killed jobs on {ranks[0].host}; if you have no other job there: rm -f {names}"


def _kernel_cache(facts):
    for rank, one in enumerate(facts):
        if one.kernel_cache:
            return f"rank {rank}: {one.kernel_cache}: set XDG_CACHE_HOME to a folder that can be written"
