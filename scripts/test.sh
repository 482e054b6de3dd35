#!/usr/bin/env bash
# The tests, after a look at the style: serially, then under mpiexec on 2, 3 and 4 ranks.  No root, no system MPI.
#   scripts/test.sh                each kind of case once, in minutes
#   scripts/test.sh --all          every test
#   scripts/test.sh tests/ops      all cases of some folders or files;  --since main: the quick ones that changes concern
#   RANKS, SERIAL, PIECES: see scripts/run_tests.py;  VENV, PYTHON, MPI, VERSIONS: see scripts/environment.sh
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
venv=${VENV:-.venv}
unset PYTHONDONTWRITEBYTECODE  # sources and tests are compiled once, not by each of hundreds of processes
scripts/environment.sh test
. scripts/mpi.sh
style=0
"$venv/bin/ruff" check src tests scripts examples || style=1
LAUNCH="${launch[*]}" "$venv/bin/python" scripts/run_tests.py "$@"
exit $style
