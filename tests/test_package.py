"""Imports point one way, are light, and every docstring's example runs."""

import ast
import doctest
import importlib
import pathlib
import pkgutil
import subprocess
import sys

import keras
import pytest

import keras_memvit

ROOT = pathlib.Path(keras_memvit.__file__).parent

# Low to high: a room imports only from itself and from what stands before it. A
# model trains itself and takes stores, so `training` and `states` stand below `models`.
ROOMS = [
    "_command",
    "version",
    "files",
    "tasks",
    "layers",
    "backbones",
    "readouts",
    "states",
    "training",
    "models",
    "data",
    "rivals",
    "plot",
    "serving",
    "report",
    "recipes",
    "report",
    "experiments",
    "cli",
    "__init__",
    "__main__",
]
MODULES = [name for _, name, _ in pkgutil.walk_packages([str(ROOT)], "keras_memvit.")]


def imports_of(path):
    """Names of our modules that a file imports, at any depth of the file."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(
            "keras_memvit"
        ):
            inner = node.module.split(".")[1:]
            yield from [inner[0]] if inner else [alias.name for alias in node.names]


@pytest.mark.parametrize("path", sorted(ROOT.rglob("*.py")), ids=lambda p: p.stem)
def test_imports_point_down(path):
    own = path.relative_to(ROOT).parts[0].removesuffix(".py")
    rank = ROOMS.index(own)
    for name in imports_of(path):
        assert ROOMS.index(name) < rank or name == own, f"{own} imports {name}"


@pytest.mark.parametrize("room", [r for r in ROOMS if (ROOT / r).is_dir()])
def test_a_room_says_what_lives_there_and_what_it_may_import(room):
    doc = ast.get_docstring(ast.parse((ROOT / room / "__init__.py").read_text()))
    assert "Imports" in doc


def test_import_is_light():
    """`import keras_memvit` brings in Keras and NumPy, and no optional package."""
    code = """
import sys, keras
before = set(sys.modules)
import keras_memvit
heavy = {"keras_hub", "keras_cv", "tensorflow_datasets", "matplotlib", "PIL", "sklearn",
         "tensorflow", "jax", "torch", "safetensors", "onnx", "jinja2",
         "ray", "fastapi", "typer"}
print(sorted({name.split(".")[0] for name in set(sys.modules) - before} & heavy))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stdout + done.stderr


@pytest.mark.parametrize("name", MODULES)
def test_examples_in_docstrings_run(name):
    module = importlib.import_module(name)
    scope = {"keras_memvit": keras_memvit, "keras": keras}
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    failures = []
    for test in doctest.DocTestFinder(recurse=True).find(module, extraglobs=scope):
        runner = doctest.DocTestRunner(optionflags=flags, verbose=False)
        runner.run(test, out=failures.append)
    assert not failures, "\n".join(failures)


def test_public_names_have_an_example():
    for name in set(keras_memvit.__all__) - {
        "layers",
        "recipes",
        "data",
        "inspect",
        "plot",
        "report",
    }:
        doc = getattr(keras_memvit, name).__doc__
        assert ">>>" in doc or "```python" in doc, name
