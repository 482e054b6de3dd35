#!/usr/bin/env bash
# Every test: style, serial, then under mpiexec on 2, 3 and 4 ranks; says how long each took.   scripts/test.sh [pytest options]
#   RANKS="2 3 4"   the numbers of ranks;  SERIAL=no: only those;  VENV, PYTHON, MPI: see scripts/environment.sh
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
venv=${VENV:-.venv}
unset PYTHONDONTWRITEBYTECODE  # sources and tests are compiled once, not by each of hundreds of processes
scripts/environment.sh test
"$venv/bin/ruff" check src tests scripts examples
if [ "${SERIAL:-yes}" != no ] && [ $# -eq 0 ]; then  # everything, two pieces at a time, on a core each: the longest first, the rest in turn
    computing=(
        "tests/cuda/test_[a-e]*.py" tests/steps "tests/cuda/test_[f-z]*.py" "tests/ops tests/table" "tests/models tests/backend"
        "tests/nn tests/examples tests/exchange tests/route" "tests/data tests/formats tests/hashing tests/metrics tests/config"
    )
    piece() {  # arguments of pytest; xargs takes no further piece behind an exit code of 255
        local log begin=$SECONDS
        log=$(mktemp)
        "$venv/bin/python" -m pytest -q "$@" > "$log" 2>&1 || { cat "$log"; exit 255; }
        echo "== ${*%% --*}: $((SECONDS - begin)) s: $(tail -n 1 "$log")"
        rm "$log"
    }
    export -f piece
    export venv
    {  # first whatever starts jobs of its own: everything that does not only compute
        echo "tests$(printf -- ' --ignore=%s' ${computing[*]})"  # no blank at the end: xargs would join the next line
        printf '%s\n' "${computing[@]}"
    } | xargs -P 2 -L 1 bash -c 'piece $*' piece
elif [ "${SERIAL:-yes}" != no ]; then
    "$venv/bin/python" -m pytest "$@"
fi
. scripts/mpi.sh
for ranks in ${RANKS:-2 3 4}; do
    begin=$SECONDS
    "${launch[@]}" -n "$ranks" "$venv/bin/python" -m pytest -q "$@"
    echo "== $ranks ranks: $((SECONDS - begin)) s"
done
