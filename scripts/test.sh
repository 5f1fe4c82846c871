#!/usr/bin/env bash
# Sets up .venv and runs the tests on each backend. Arguments go to pytest.
set -euo pipefail
source "$(dirname "$0")/environment.sh"
.venv/bin/ruff check keras_memvit tests examples benchmarks
for backend in ${BACKENDS:-tensorflow jax torch}; do
    echo "=== $backend"
    KERAS_BACKEND=$backend .venv/bin/python -m pytest -q "$@"
done
