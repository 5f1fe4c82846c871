# Sourced by the other scripts: makes the virtual environment .venv, once, with
# the package, all three backends and what the examples and tests need.
cd "$(dirname "${BASH_SOURCE[0]}")/.."
if [ ! -f .venv/complete ]; then
    python3 -m venv .venv
    # torch first and by version: where a CPU build of it is at hand, it is taken.
    .venv/bin/python -m pip install --quiet --upgrade pip
    .venv/bin/python -m pip install --quiet "torch==2.13.0"
    .venv/bin/python -m pip install --quiet -e ".[tensorflow,jax,torch,examples,test]"
    touch .venv/complete
fi
export TF_CPP_MIN_LOG_LEVEL=3
