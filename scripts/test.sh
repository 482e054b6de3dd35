#!/usr/bin/env bash
# Every test: style, serial, then under mpiexec on 2, 3 and 4 ranks.   scripts/test.sh [pytest options]
#   RANKS="2 3 4"   the numbers of ranks;  SERIAL=no: only those;  VENV, PYTHON, MPI: see scripts/environment.sh
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
venv=${VENV:-.venv}
scripts/environment.sh test
"$venv/bin/ruff" check src tests scripts examples
if [ "${SERIAL:-yes}" != no ] && [ $# -eq 0 ]; then  # everything: tests of the kernels beside the others, on a core each
    kernels=$(mktemp)
    trap 'rm -f "$kernels"' EXIT
    "$venv/bin/python" -m pytest -q tests/cuda > "$kernels" 2>&1 &
    beside=$!
    "$venv/bin/python" -m pytest --ignore=tests/cuda || { kill "$beside" 2>/dev/null; exit 1; }
    wait "$beside" || { cat "$kernels"; exit 1; }
    echo "== tests/cuda: $(tail -n 1 "$kernels")"
elif [ "${SERIAL:-yes}" != no ]; then
    "$venv/bin/python" -m pytest "$@"
fi
. scripts/mpi.sh
for ranks in ${RANKS:-2 3 4}; do
    echo "== $ranks ranks"
    "${launch[@]}" -n "$ranks" "$venv/bin/python" -m pytest -q "$@"
done
