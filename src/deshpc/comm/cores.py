"""How many cores a rank may use, from what the launcher, the kernel and Slurm say."""

import os
from collections import Counter
from fractions import Fraction


def own_cores():
    """Cores on which this process may run, sorted."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def cores_on_node(environment=os.environ):
    """Cores of this node: those that Slurm gave to the job, else all."""
    return _number(environment, "SLURM_CPUS_ON_NODE") or os.cpu_count() or 1


def allocated_cores(ranks_on_node, environment=os.environ):
    """Cores that Slurm gave to a rank of a node, or None outside a Slurm job.

    Needed where Slurm does not bind: then a rank may run on every core of the node, those of other jobs included.
    """
    of_rank, of_job = _number(environment, "SLURM_CPUS_PER_TASK"), _number(environment, "SLURM_CPUS_ON_NODE")
    limits = [of_rank, max(1, of_job // ranks_on_node) if of_job else 0]  # the first only if the job asked for it
    return min((limit for limit in limits if limit), default=None)


def cores_for(rank, cores_of_ranks, allocated=None):
    """Cores for `rank` of a node; at least 1, at most `allocated`.

    cores_of_ranks : for every rank of the node, the cores on which it may run.  A core that several may use counts
    for each of them by an equal part.
    """
    users = Counter(core for cores in cores_of_ranks for core in cores)
    share = int(sum(Fraction(1, users[core]) for core in cores_of_ranks[rank]))
    return max(1, min(share, allocated or share))


def _number(environment, name):
    text = environment.get(name, "")
    return int(text) if text.isdigit() else 0
