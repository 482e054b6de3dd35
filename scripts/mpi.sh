# Sourced: sets `launch` to the mpiexec of the environment, or the site's, and what Open MPI needs on a laptop or as root.
launch=("${VENV:-.venv}/bin/mpiexec")
[ -x "${launch[0]}" ] || launch=(mpiexec)
if "${launch[0]}" --version 2>&1 | grep -qi 'open *mpi\|openrte\|prrte'; then
    export PRTE_MCA_rmaps_default_mapping_policy=:oversubscribe
    [ "$(id -u)" != 0 ] || export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
fi
# MPICH passes the machine's topology to its ranks by a file in /tmp, and leaves it there where a job is aborted: each rank looks for itself.
export HWLOC_XMLFILE=${HWLOC_XMLFILE-}
