"""What started this process: read from the variables that launchers set, before and without MPI."""

import os
from dataclasses import dataclass


@dataclass(frozen=True)
class Launcher:
    """A launcher and this process's place in its job, by the launcher's own numbers.

    name : as a user would call it
    ranks : processes of the job
    rank, local_rank : this one's, in job and on node
    ranks_on_node : of the job on this node, 0 where the launcher does not tell
    wireup : the protocols through which an MPI library can find the other ranks, of "pmi" (PMI-1 and PMI-2) and "pmix"
    """

    name: str
    ranks: int
    rank: int
    local_rank: int
    wireup: tuple = ()
    ranks_on_node: int = 0


ALONE = Launcher("no launcher", 1, 0, 0)


def launcher(environment=os.environ):
    """The Launcher of this process; ALONE where there is none.

    A launcher inside another (mpiexec in a Slurm job) hides the outer one.  A job script that simply calls Python is
    alone: only srun sets Slurm's variables of a *step*.
    """

    def number(name, otherwise=0):
        text = environment.get(name, "")
        return int(text) if text.isdigit() else otherwise

    protocols = (("pmi", number("PMI_SIZE") > 0), ("pmix", "PMIX_NAMESPACE" in environment))
    wireup = tuple(name for name, there in protocols if there)
    if ranks := number("OMPI_COMM_WORLD_SIZE"):
        rank, local_rank = number("OMPI_COMM_WORLD_RANK"), number("OMPI_COMM_WORLD_LOCAL_RANK")
        return Launcher("Open MPI's mpiexec", ranks, rank, local_rank, wireup)
    if on_node := number("MPI_LOCALNRANKS"):
        local_rank = number("MPI_LOCALRANKID")
        rank = number("PMI_RANK", number("PMIX_RANK", local_rank))
        return Launcher("the mpiexec of MPICH or Intel MPI", number("PMI_SIZE", on_node), rank, local_rank, wireup, on_node)
    if ranks := number("SLURM_STEP_NUM_TASKS"):
        name = f"srun --mpi={environment.get('SLURM_MPI_TYPE', 'none')}"
        return Launcher(name, ranks, number("SLURM_PROCID"), number("SLURM_LOCALID"), wireup)
    if ranks := number("PMI_SIZE"):
        return Launcher("a PMI launcher", ranks, number("PMI_RANK"), number("PMI_LOCAL_RANK"), wireup)
    return ALONE
