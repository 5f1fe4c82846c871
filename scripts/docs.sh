#!/usr/bin/env bash
# Builds the site of docs/ into build/site; any warning or broken link is an error.
# It makes its own small virtual environment, once: the pages are made from the
# sources, without the library's backends. `--serve` shows the site on localhost:8000.
set -euo pipefail
cd "$(dirname "$0")/.."
home=.cache/docs_environment
if [ ! -f $home/complete ]; then
    python3 -m venv $home
    # The extra `docs` of pyproject.toml, without the library's own dependencies.
    python3 -c 'import tomllib
extras = tomllib.load(open("pyproject.toml", "rb"))["project"]["optional-dependencies"]
print(*extras["docs"], sep="\n")' > $home/requirements.txt
    $home/bin/python -m pip install --quiet -r $home/requirements.txt
    touch $home/complete
fi
export NO_MKDOCS_2_WARNING=1
if [ "${1:-}" = --serve ]; then
    exec $home/bin/mkdocs serve --strict
fi
$home/bin/mkdocs build --strict --quiet
echo "build/site/index.html"
