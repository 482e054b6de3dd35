#!/usr/bin/env bash
# From a fresh clone to a factorization machine trained on four ranks, with its result.  No root, no system MPI.
#   RANKS=4   number of ranks;  PYTHON, MPI: see scripts/environment.sh
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
begin=$(date +%s)
scripts/environment.sh
ranks=${RANKS:-4}
echo "training examples/quickstart.toml on $ranks ranks (the first run compiles the kernels)"
. scripts/mpi.sh
"${launch[@]}" -n "$ranks" "${VENV:-.venv}/bin/deshpc" train examples/quickstart.toml --overwrite
echo
echo "the run's record: runs/quickstart/record.jsonl; its model: ${VENV:-.venv}/bin/deshpc eval runs/quickstart"
echo "done in $(($(date +%s) - begin)) s"
