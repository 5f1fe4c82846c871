#!/usr/bin/env bash
# Sets up .venv and runs the tests on each backend. Arguments go to pytest;
# `-m large` runs the tests on the real ViT-S/14, which the quickstart fetches.
# `--coverage`, as the first, prints which lines ran on any of the backends.
set -euo pipefail
source "$(dirname "$0")/environment.sh"
export OMP_NUM_THREADS=1  # one test process a core
# What one test compiled on JAX is there for the others.
JAX_COMPILATION_CACHE_DIR=$(mktemp -d)
export JAX_COMPILATION_CACHE_DIR
trap 'rm -rf "$JAX_COMPILATION_CACHE_DIR"' EXIT
export JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS=0 JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES=-1
# Test models are small: XLA compiles longer than they run, and with these flags a quarter
# as long. A jaxlib that does not know one of them refuses all.
flags="--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"
flags="$flags --xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1"
if XLA_FLAGS=$flags .venv/bin/python -c "import jax; jax.devices()" 2> /dev/null; then
    export XLA_FLAGS="$flags ${XLA_FLAGS:-}"
else
    echo "this jaxlib does not know $flags: JAX compiles longer"
fi
coverage=()
if [ "${1:-}" = --coverage ]; then
    shift
    .venv/bin/python -m pip install --quiet "pytest-cov>=6"
    .venv/bin/python -m coverage erase
    coverage=(--cov --cov-append --cov-report=)
fi
.venv/bin/ruff check --quiet .
for backend in ${BACKENDS:-tensorflow jax torch}; do
    echo "=== $backend"
    KERAS_BACKEND=$backend .venv/bin/python -m pytest -q -n auto --maxprocesses 4 --dist worksteal \
        -m "not large" "${coverage[@]}" "$@"
done
if [ ${#coverage[@]} -gt 0 ]; then
    .venv/bin/python -m coverage report
fi
