"""A task's own scale and shift on the norms that its tokens pass."""

import math

import keras
import numpy as np
import pytest
import reference
from conftest import make_backbone
from conftest import randomize
from conftest import snapshot

import keras_memvit
from keras_memvit import TaskSpec

D, L = 32, 2
READOUTS = ["class_token", "deep", "side", "synthesised"]


def task(name, feature_norm=True, **options):
    return TaskSpec(name, 3, 2, feature_norm=feature_norm, **options)


def build(backbone, *specs, seed=10):
    model = keras_memvit.build(backbone, list(specs))
    for i, layer in enumerate(model.task_layers.values()):
        randomize(layer, seed + i)
    return model


def answers(model, images):
    return model.predict(images, verbose=0)


def forward(model, images):
    """Logits of tasks with the readout "class_token" in NumPy, task after task."""
    backbone, logits = model.backbone, {}
    x, position = reference._embed(backbone, images.astype("float64"))
    layers = model.task_layers
    seen = {name: (name, *layers[name].spec.sees) for name in layers}
    tokens = {}
    for name, layer in layers.items():
        token = reference._np(layer.class_token) + position
        tokens[name] = np.broadcast_to(token, (len(x), 1, D))
    for i, block in enumerate(backbone.blocks):

        def own(name, place, y, i=i):
            layer = layers[name]
            if not layer.spec.feature_norm:
                return y
            scale, shift = (
                reference._np(layer.variables_by_name[f"feature_norm/{part}"])
                for part in ("scale", "shift")
            )
            return y * (1 + scale[i, place]) + shift[i, place]

        base, normed, memory = reference._norm(block.norm1, x), {}, {}
        for name, layer in layers.items():
            normed[name] = own(name, 0, reference._norm(block.norm1, tokens[name]))
            m = reference._np(layer.memory.memory)[i]
            if layer.spec.memory_norm:
                m = own(name, 0, reference._norm(block.norm1, m))
            memory[name] = np.broadcast_to(m, (len(x), *m.shape))
        after = {}
        for name in layers:
            keys = [part[n] for n in seen[name] for part in (normed, memory)]
            keys = np.concatenate([base, *keys], axis=1)
            patches = slice(base.shape[1] - backbone.num_patches, base.shape[1])
            attended = reference._attention(
                block.attention, normed[name], keys, True, patches
            )
            y = tokens[name] + attended
            hidden = own(name, 1, reference._norm(block.norm2, y))
            after[name] = y + reference._mlp(block.mlp, hidden)
        attended = reference._attention(block.attention, base, base, True, patches)
        x, tokens = reference._residual(block, x, attended), after
    for name, layer in layers.items():
        found = reference._norm(backbone.norm, tokens[name])[:, 0]
        logits[name] = reference._head(layer, found)
    return logits


def test_it_is_what_numpy_says(images):
    specs = [task("a"), task("plain", False), task("raw", memory_norm=False)]
    model = build(make_backbone(), *specs, task("on", sees=["a"]))
    found = answers(model, images)
    for name, expected in forward(model, images).items():
        np.testing.assert_allclose(found[name], expected, atol=3e-4, rtol=1e-3)


def test_it_starts_as_no_change(images):
    """To the bit, beside any readout, an adapter, and tasks that have none."""
    backbone = make_backbone("registers")
    options = [{"readout": name} for name in READOUTS] + [{"adapter": "bottleneck"}]

    def specs(feature_norm):
        named = {f"t{i}": own for i, own in enumerate(options)}
        return [task("none", False)] + [
            task(name, feature_norm, **own) for name, own in named.items()
        ]

    plain = build(backbone, *specs(False))
    model = keras_memvit.build(backbone, specs(True))
    for name, layer in model.task_layers.items():
        layer.assign_arrays({**layer.arrays(), **plain.task_layers[name].arrays()})
    batch = keras.ops.convert_to_tensor(images)
    found, expected = (m(batch, training=False) for m in (model, plain))
    for name in expected:
        a, b = (keras.ops.convert_to_numpy(x[name]) for x in (found, expected))
        np.testing.assert_array_equal(a, b)


def test_it_changes_its_task_alone(images):
    specs = [task(name, readout=name) for name in READOUTS]
    model = build(make_backbone(), *specs, task("none", False))
    last = answers(model, images)
    for own in READOUTS:
        for part in ("scale", "shift"):
            variables = model.task_layers[own].variables_by_name
            weight = variables[f"feature_norm/{part}"]
            value = keras.ops.convert_to_numpy(weight)
            for layer, place in np.ndindex(value.shape[:2]):  # each of them counts
                value = value.copy()
                value[layer, place] += np.random.default_rng(0).normal(size=D)
                weight.assign(value)
                after = answers(model, images)
                for other in last:
                    if other != own:
                        np.testing.assert_array_equal(after[other], last[other])
                assert np.abs(after[own] - last[own]).max() > 1e-6, (own, part, layer)
                last = after
            weight.assign(np.full(value.shape, np.nan, "float32"))
            wild = answers(model, images)
            weight.assign(value)
            assert np.isnan(wild[own]).all()
            for other in last:
                if other != own:
                    np.testing.assert_array_equal(wild[other], last[other])
    assert model.verify_unchanged(images)["base"] == 0.0


def test_it_has_exactly_its_parameters(backbone):
    pairs = [
        build(backbone, *(task(n, own, readout=n) for n in READOUTS))
        for own in (False, True)
    ]
    for name in READOUTS:
        without, layer = (model.task_layers[name] for model in pairs)
        assert layer.count_params() - without.count_params() == 4 * L * D
        own = layer.parameter_groups["feature_norm"]
        assert sum(math.prod(v.shape) for v in own) == 4 * L * D


def test_side_by_side_they_answer_as_apart(images):
    backbone = make_backbone()
    specs = [task("a"), task("b", readout="deep"), task("c", False)]
    models = [build(backbone, spec, seed=i) for i, spec in enumerate(specs)]
    together = keras_memvit.concatenate(models)
    more = keras_memvit.extend(together, [task("on", adapter="lora")], sees=["a"])
    found = answers(more, images)
    for model in models:
        for name, value in answers(model, images).items():
            np.testing.assert_allclose(found[name], value, atol=1e-5)


def test_images_and_stores_train_all_of_it_alike(images, tmp_path):
    names = ["class_token", "side"]
    specs = [task(name, readout=name) for name in names]
    labels = {name: np.arange(8) % 3 for name in names}
    model, other = (build(make_backbone(num_layers=1), *specs) for _ in "ab")
    store = keras_memvit.precompute(
        model, (images, labels), tmp_path, dtype="float32", verbose=0
    )
    before = snapshot(model.trainable_variables)
    frozen = snapshot(model.backbone.weights)
    for trained, data in ((model, (store,)), (other, (images, labels))):
        trained.compile(keras.optimizers.SGD(0.1))
        trained.fit(*data, batch_size=8, epochs=2, shuffle=False, verbose=0)
    for name, layer in model.task_layers.items():
        expected = other.task_layers[name].arrays()
        for key, value in layer.arrays().items():
            np.testing.assert_allclose(value, expected[key], atol=1e-4)
    for path, value in snapshot(model.trainable_variables).items():
        assert np.abs(value - before[path]).max() > 0, path
    for path, value in snapshot(model.backbone.weights).items():
        np.testing.assert_array_equal(value, frozen[path])


def test_files_hold_it_and_say_so(images, tmp_path):
    backbone = make_backbone()
    specs = [task("a", adapter="ia3"), task("b", readout="deep"), task("c", False)]
    model = build(backbone, *specs, task("on", sees=["a"]))
    expected = answers(model, images)
    model.save(tmp_path / "model.keras")
    for name in model.task_layers:
        keras_memvit.save_task(model, name, tmp_path / f"{name}.safetensors")
    loaded = keras_memvit.load_model(tmp_path / "model.keras")
    for other in (loaded, keras_memvit.load_task(backbone, tmp_path)):
        found = answers(other, images)
        for name in expected:
            np.testing.assert_allclose(found[name], expected[name], atol=1e-5)
    lines = []
    keras_memvit.inspect(tmp_path / "b.safetensors", print_fn=lines.append)
    assert "feature norm: own" in lines[0]
    model.task_summary(lines.append)
    assert "deep + feature_norm" in lines[1]
    plain = task("a", False).get_config()
    assert "feature_norm" not in plain
    assert TaskSpec.from_config(task("a").get_config()) == task("a")
    shift = model.task_layers["a"].variables_by_name["feature_norm/shift"]
    shift.assign(shift + 1.0)  # what "on" was trained to see is another now
    keras_memvit.save_task(model, "a", tmp_path / "a.safetensors")
    with pytest.raises(ValueError, match="other versions of the tasks \\['a'\\]"):
        keras_memvit.load_task(backbone, tmp_path)


@pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="the artefact is TensorFlow's"
)
def test_both_exports_have_it(tmp_path):
    """Both compare every signature's answers with the model's, and fail otherwise."""
    specs = [task(name, readout=name) for name in READOUTS]
    specs += [task("plain", False), task("raw", memory_norm=False, sees=["deep"])]
    model = build(make_backbone(), *specs)
    path = tmp_path / "people/1"
    keras_memvit.export_saved_model(model, path, warmup=False, image_bytes=False)
    keras_memvit.export_onnx(model, tmp_path / "people.onnx")


def test_wrong_arguments_are_named(backbone):
    with pytest.raises(ValueError, match="`feature_norm` of task 'a' must be a bool"):
        TaskSpec("a", 2, feature_norm=1)
    with pytest.raises(ValueError, match="takes no task with `feature_norm`"):
        keras_memvit.build(backbone, [task("a")], attention="unmasked")
