#!/usr/bin/env bash
# Every test: style, serial, then under mpiexec on 2, 3 and 4 ranks.   scripts/test.sh [pytest options]
#   RANKS="2 3 4"   the numbers of ranks;  SERIAL=no: only those;  VENV, PYTHON, MPI: see scripts/environment.sh
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
venv=${VENV:-.venv}
scripts/environment.sh test
"$venv/bin/ruff" check src tests scripts examples
[ "${SERIAL:-yes}" = no ] || "$venv/bin/python" -m pytest "$@"
. scripts/mpi.sh
for ranks in ${RANKS:-2 3 4}; do
    echo "== $ranks ranks"
    "${launch[@]}" -n "$ranks" "$venv/bin/python" -m pytest -q "$@"
done
