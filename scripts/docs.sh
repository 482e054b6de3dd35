#!/usr/bin/env bash
# Build the documentation's site: build/docs/index.html.  A warning is an error.   scripts/docs.sh [options of sphinx-build]
#   VENV=.venv: the environment, which scripts/environment.sh docs makes
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-0} "${VENV:-.venv}/bin/python" -m sphinx -W --keep-going --quiet -b html -c docs -d build/doctrees . build/docs "$@"
echo "build/docs/index.html"
