#!/usr/bin/env bash
# Runs examples/notebooks/*.py as notebooks, and keeps them, with what they printed and
# drew, in build/notebooks. Any error ends it. Arguments: some of these files.
set -euo pipefail
source "$(dirname "$0")/environment.sh"
.venv/bin/python -m pip install --quiet -e ".[notebooks]"
mkdir -p build/notebooks
for file in "${@:-examples/notebooks/*.py}"; do
    for notebook in $file; do
        KERAS_BACKEND=${KERAS_BACKEND:-torch} .venv/bin/jupytext --quiet --to ipynb --execute \
            --run-path examples/notebooks --output "build/notebooks/$(basename "$notebook" .py).ipynb" \
            "$notebook"
    done
done
