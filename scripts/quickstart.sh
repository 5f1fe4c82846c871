#!/usr/bin/env bash
# Sets up .venv and runs the quickstart. Arguments go to examples/quickstart.py.
set -euo pipefail
source "$(dirname "$0")/environment.sh"
KERAS_BACKEND=${KERAS_BACKEND:-torch} .venv/bin/python examples/quickstart.py "$@"
