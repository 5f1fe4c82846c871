#!/usr/bin/env bash
# Builds the source distribution and the wheel into dist/, checks both, installs the wheel in a
# clean virtual environment and uses it there. Nothing is uploaded. Needs a clean checkout.
set -euo pipefail
cd "$(dirname "$0")/.."
if [ -n "$(git status --porcelain --untracked-files=no)" ]; then
    echo "release.sh: commit or put away what is changed first" >&2
    exit 1
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
git archive HEAD --prefix=source/ | tar -x -C "$work"  # what is committed, and nothing else
python3 -m venv "$work/tools"
"$work/tools/bin/python" -m pip install --quiet build twine
rm -rf dist
"$work/tools/bin/python" -m build --outdir dist "$work/source" > "$work/build.log" \
    || { tail -40 "$work/build.log" >&2; exit 1; }
"$work/tools/bin/python" -m twine check --strict dist/*

python3 -m venv "$work/clean"
wheel=$(echo "$PWD"/dist/*.whl)
"$work/clean/bin/python" -m pip install --quiet "keras_memvit[jax] @ file://$wheel"
cd "$work"  # where no checkout is imported in its place
KERAS_BACKEND=jax clean/bin/python - <<'EOF'
import importlib.metadata
import importlib.resources

import keras
import keras_memvit

version = importlib.metadata.version("keras_memvit")
if keras_memvit.__version__ != version:
    raise SystemExit(f"{keras_memvit.__version__} is called {version}")
for name in ("py.typed", "report/page.html.j2"):
    if not importlib.resources.files(keras_memvit).joinpath(name).is_file():
        raise SystemExit(f"{name} is not in the wheel")
backbone = keras_memvit.ViTBackbone(
    image_shape=(32, 32, 3), patch_size=16, num_layers=2, num_heads=2, hidden_dim=32,
    mlp_dim=64)
model = keras_memvit.build(backbone, {"digits": 10})
keras_memvit.save_task(model, "digits", "digits.safetensors")
model = keras_memvit.load_task(backbone, "digits.safetensors")
shape = tuple(model(keras.ops.zeros((1, 32, 32, 3)))["digits"].shape)
if shape != (1, 10):
    raise SystemExit(f"digits is of shape {shape}")
print(f"keras_memvit {version}: installed, imported, one task saved, loaded, asked")
EOF
