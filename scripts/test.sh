#!/usr/bin/env bash
# Every test: style, serial, then under mpiexec on 2, 3 and 4 ranks.   scripts/test.sh [pytest options]
#   RANKS="2 3 4"   the numbers of ranks;  SERIAL=no: only those;  VENV, PYTHON, MPI: see scripts/environment.sh
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
venv=${VENV:-.venv}
scripts/environment.sh test
"$venv/bin/ruff" check src tests scripts examples
if [ "${SERIAL:-yes}" != no ] && [ $# -eq 0 ]; then  # everything, in two halves, on a core each: those that only compute beside others
    computing=(tests/cuda tests/backend tests/examples tests/exchange tests/models tests/nn tests/ops tests/route tests/steps tests/table)
    log=$(mktemp)
    trap 'rm -f "$log"' EXIT
    "$venv/bin/python" -m pytest -q "${computing[@]}" > "$log" 2>&1 &
    beside=$!
    "$venv/bin/python" -m pytest "${computing[@]/#/--ignore=}" || { kill "$beside" 2>/dev/null; exit 1; }
    wait "$beside" || { cat "$log"; exit 1; }
    echo "== ${computing[*]}: $(tail -n 1 "$log")"
elif [ "${SERIAL:-yes}" != no ]; then
    "$venv/bin/python" -m pytest "$@"
fi
. scripts/mpi.sh
for ranks in ${RANKS:-2 3 4}; do
    echo "== $ranks ranks"
    "${launch[@]}" -n "$ranks" "$venv/bin/python" -m pytest -q "$@"
done
