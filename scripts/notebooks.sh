#!/usr/bin/env bash
# Runs examples/notebooks/*.py as notebooks, and keeps them, with what they printed and
# drew, in build/notebooks. Any error ends it. Arguments: some of these files.
set -euo pipefail
source "$(dirname "$0")/environment.sh"
.venv/bin/python -m pip install --quiet -e ".[notebooks]"
export KERAS_BACKEND=${KERAS_BACKEND:-torch}
mkdir -p build/notebooks
[ $# -gt 0 ] || set -- examples/notebooks/*.py
for file in "$@"; do
    notebook=build/notebooks/$(basename "$file" .py).ipynb
    .venv/bin/jupytext --quiet --set-kernel python3 --to ipynb --output "$notebook" "$file"
    .venv/bin/jupytext --quiet --execute --run-path "$PWD/examples/notebooks" "$notebook"
    echo "$notebook"
done
