#!/usr/bin/env bash
# Checks tests/typed/consumer.py, which uses the public API, with mypy, in a small virtual
# environment of its own: Keras and the backends, which have no types, are taken as unknown.
set -euo pipefail
cd "$(dirname "$0")/.."
home=.cache/types_environment
if [ ! -f $home/complete ]; then
    python3 -m venv $home
    $home/bin/python -m pip install --quiet "mypy>=1.11" "numpy>=1.26"
    touch $home/complete
fi
exec $home/bin/mypy --cache-dir .cache/mypy tests/typed/consumer.py
