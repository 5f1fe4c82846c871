"""Every public docstring says what goes in, comes out and is refused, and shows it."""

import ast
import dataclasses
import inspect
import re
import textwrap
import types

import keras
import numpy as np
import pytest
from conftest import make_backbone
from PIL import Image
from public_names import public_objects
from reader import as_torchrun
from reader import what_a_reader_has

import keras_memvit
from keras_memvit.recipes import candidates
from keras_memvit.tasks import readout_names

pytestmark = pytest.mark.backend_free

PUBLIC = public_objects()
BLOCKS = {  # examples of `>>>` run in test_package.py
    name: found.group(1)
    for name, value in PUBLIC.items()
    if (found := re.search(r"```python\n(.*?)```", inspect.getdoc(value) or "", re.S))
}
# tests/test_ray.py runs these, in a process of their own.
BULK = ("keras_memvit.data.predict_folder", "keras_memvit.data.precompute_folder")
EXPORTS = ("keras_memvit.export_onnx", "keras_memvit.export_saved_model")
HEADINGS = "Args|Call arguments|Returns|Raises|Attributes|Example|Reference"


def sections(value):
    """A docstring's parts by heading; what stands before the first is `""`."""
    text = inspect.cleandoc(value.__doc__ or "")
    parts = re.split(rf"^({HEADINGS}):", text, flags=re.M)
    return dict(zip(["", *parts[1::2]], parts[::2]))


def trees_of(value):
    """The syntax of a function, or of the methods that make an instance of a class."""
    made_by = ("__init__", "__post_init__") if inspect.isclass(value) else ()
    for function in [vars(value).get(name) for name in made_by] or [value]:
        # What `dataclass` writes has no source.
        if function and function.__code__.co_filename != "<string>":
            source = inspect.getsource(function)
            yield ast.parse(textwrap.dedent(source)), function.__globals__


def says(tree, kind, wanted):
    return any(isinstance(node, kind) and wanted(node) for node in ast.walk(tree))


def raises_value_error(value, seen=()):
    """Whether it says `raise ValueError`, or calls what does beside it in its file."""
    for tree, scope in trees_of(value):
        if says(
            tree, ast.Raise, lambda node: "ValueError" in ast.unparse(node.exc or node)
        ):
            return True
        calls = {node.func.id for node in ast.walk(tree) if is_plain_call(node)}
        for name in calls - set(seen):
            called = scope.get(name)
            beside = isinstance(called, types.FunctionType) and (
                called.__globals__ is scope
            )
            if beside and raises_value_error(called, (*seen, name)):
                return True
    return False


def is_plain_call(node):
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name)


def answers(value):
    """Whether calling it gives something: a function's `return`, a layer's tensor."""
    if inspect.isclass(value):
        return issubclass(value, keras.layers.Layer)
    (tree, _), *_ = trees_of(value)
    own = tree.body[0]
    inner = {
        node
        for function in ast.walk(own)
        if isinstance(function, (ast.FunctionDef, ast.Lambda)) and function is not own
        for node in ast.walk(function)
    }
    return any(
        isinstance(node, ast.Return) and node.value and node not in inner
        for node in ast.walk(own)
    )


def parameters(value):
    kinds = inspect.Parameter
    return [
        p.name
        for p in inspect.signature(value).parameters.values()
        if p.kind not in (kinds.VAR_KEYWORD, kinds.VAR_POSITIONAL)
    ]


@pytest.mark.parametrize("name", PUBLIC)
def test_no_part_is_missing(name):
    value = PUBLIC[name]
    parts = sections(value)
    missing = [] if parts[""].strip() else ["a first sentence"]
    # What the library makes and hands out, a record, has attributes in place of args.
    said = parts.get("Args", "") + parts.get("Attributes", "")
    head = "\n".join(re.findall(r"^ {4}(\S.*?):(?:\s|$)", said, re.M))
    missing += [f"Args: {p}" for p in parameters(value) if not names(p, head)]
    if answers(value) and not parts.get("Returns", "").strip():
        missing.append("Returns")
    if raises_value_error(value) and "ValueError" not in parts.get("Raises", ""):
        missing.append("Raises: ValueError")
    if not re.search(r">>>|```python", parts.get("Example", "")):
        missing.append("Example")
    assert not missing, f"{name} lacks {', '.join(missing)}"


@pytest.mark.parametrize("name", PUBLIC)
def test_every_argument_has_a_type(name):
    signature, nothing = inspect.signature(PUBLIC[name]), inspect.Parameter.empty
    untyped = [p.name for p in signature.parameters.values() if p.annotation is nothing]
    if inspect.isfunction(PUBLIC[name]) and signature.return_annotation is nothing:
        untyped.append("what it returns")
    # Without an `__init__` of its own a class takes nothing.
    assert not untyped or untyped == ["args", "kwargs"]


def names(parameter, text):
    return re.search(rf"(?<!\w){parameter}(?!\w)", text)


@pytest.fixture(scope="module")
def desk(tmp_path_factory):
    """A folder with the files that examples name, and the names that they take."""
    folder = tmp_path_factory.mktemp("desk")
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (8, 32, 48, 3), dtype="uint8")
    _, scope = what_a_reader_has(make_backbone(), images)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        draw_classes(folder / "photos" / "birds", rng)
        save_clip("clip")
        (folder / "birds").mkdir()
        for path in ("birds/birds.safetensors", "faces.safetensors"):
            keras_memvit.save_task(scope["both"], "faces", path)
        scope["both"].save("people.keras")
        pictures, labels = scope["pictures"], scope["digit_labels"]
        few = scope["train_images"], scope["train_labels"]
        store, val_store, digit_store = (
            keras_memvit.precompute(scope["digits"], data, path, verbose=0)
            for path, data in {
                "states": few,
                "val_states": few,
                "digit_states": (pictures, labels),
            }.items()
        )
        batches = keras_memvit.data.mix({"digits": (pictures, labels)}, batch_size=8)
        yield (
            folder,
            scope
            | {
                "dataclasses": dataclasses,
                "images": pictures,
                "model": scope["digits"],
                "train": batches,
                "val": batches,
                "store": store,
                "val_store": val_store,
                "digit_store": digit_store,
            },
        )


def draw_classes(folder, rng):
    for kind in ("jay", "kite"):
        (folder / kind).mkdir(parents=True)
        for i in range(10):
            pixels = rng.integers(0, 256, (32, 48, 3), dtype="uint8")
            Image.fromarray(pixels).save(folder / kind / f"{i}.png")


def save_clip(path):
    """A small CLIP with a tokenizer of letters, as a preset's folder."""
    import keras_hub
    from families import clip

    clip(image_shape=(48, 48, 3)).save_to_preset(path)
    letters = "aphotfcdg."
    words = [*letters, *(letter + "</w>" for letter in letters)]
    words += ["ca", "cat</w>", "<|startoftext|>", "<|endoftext|>"]
    tokenizer = keras_hub.models.CLIPTokenizer(
        {word: i for i, word in enumerate(words)}, ["c a", "ca t</w>"]
    )
    keras_hub.models.CLIPPreprocessor(tokenizer, sequence_length=8).save_to_preset(path)


@pytest.mark.parametrize("name", sorted(set(BLOCKS) - set(BULK)))
def test_the_example_runs(name, desk, monkeypatch, tmp_path, request):
    folder, scope = desk
    scope = dict(scope)
    if name in EXPORTS:
        pytest.importorskip("tensorflow_serving")
        pytest.importorskip("tf2onnx")
    if name == "keras_memvit.push_task":
        request.getfixturevalue("hub")
        monkeypatch.setenv("HF_TOKEN", "t")
    code = BLOCKS[name]
    if name == "keras_memvit.text_head":  # KerasHub's own needs the network
        code = code.replace("clip_vit_base_patch32", "./clip")
        scope["images"] = np.zeros((2, 48, 48, 3), "uint8")
    monkeypatch.chdir(folder)
    monkeypatch.setenv("KERAS_MEMVIT_CACHE", str(folder / "cache"))
    # A reader's `learn` and `sweep` try more; what takes time here is compiling.
    monkeypatch.setattr(candidates, "AUTO", candidates.AUTO[:1])
    monkeypatch.setattr(readout_names, "_READOUTS", readout_names.known_readouts())
    with as_torchrun():
        exec(compile(code, name, "exec"), scope)
