"""`recipes.prune`: a task within its bytes, made of the parts that it keeps."""

import keras
import numpy as np
import pytest
from conftest import make_backbone
from conftest import randomize

import keras_memvit
from keras_memvit import TaskSpec
from keras_memvit.models.parts_policy import GatedSpec
from keras_memvit.models.parts_policy import PartsPolicy
from keras_memvit.recipes import prune
from keras_memvit.recipes.prune import without
from keras_memvit.tasks.packed import pack
from keras_memvit.tasks.packed import unpack
from keras_memvit.tasks.task_file import read_shapes

L, D, C, M = 2, 32, 3, 4
DEEP = keras_memvit.readouts.Deep(2)
SIDE = keras_memvit.readouts.Side(4)
# Which parts stay: memory tokens, rows of queries (layer, query), layers of the others.
CHOICE = {
    "memory": [1, 3],
    "queries": [1, 2],
    "side": [1],
    "adapter": [0],
    "feature_norm": [1],
}
ADAPTERS = ["ia3", "lora", "grouped", "bottleneck"]


def task(name="a", readout=DEEP, **options):
    return TaskSpec(name, C, M, readout=readout, **options)


def build(*specs, backbone=None):
    model = keras_memvit.build(backbone or make_backbone(), list(specs))
    for i, layer in enumerate(model.task_layers.values()):
        randomize(layer, 10 + i)
    return model


def size(spec, backbone):
    model = keras_memvit.build(backbone, [spec])
    return 4 * model.task_layers[spec.name].count_params()


def answers(model, images, name="a"):
    return model.predict(images, verbose=0)[name]


def choice_of(model):
    policy = PartsPolicy(GatedSpec.of(model.specs[0], 1), model.backbone)
    return {group.name: np.array(CHOICE[group.name]) for group in policy.groups}


def pruned_by_hand(model):
    return without(model, "a", choice_of(model))


def zeroed(model):
    """The whole task with zeros where `CHOICE` has nothing, and fewer memory tokens."""
    (spec,), arrays = model.specs, model.task_layers["a"].arrays()
    arrays["memory"] = arrays["memory"][:, CHOICE["memory"]]
    for name in arrays:
        group = name.split("/")[0]
        if group in ("side", "adapter", "feature_norm") and name != "side/pooling":
            dropped = [i for i in range(L) if i not in CHOICE[group]]
            arrays[name][dropped] = 0
    if spec.readout == DEEP:  # head inputs: class token, then (layer, query)
        for row in set(range(2 * L)) - set(CHOICE["queries"]):
            arrays["head/kernel"][D * (1 + row) : D * (2 + row)] = 0
            arrays["queries"][row // 2, row % 2] = 100.0
    options = {"adapter": spec.adapter, "feature_norm": spec.feature_norm}
    whole = TaskSpec("a", C, len(CHOICE["memory"]), readout=spec.readout, **options)
    other = keras_memvit.build(model.backbone, [whole])
    other.task_layers["a"].assign_arrays(arrays)
    return other


@pytest.mark.parametrize(
    "spec",
    [
        task(),
        task(readout=SIDE, feature_norm=True),
        *(task(readout="class_token", adapter=adapter) for adapter in ADAPTERS),
    ],
    ids=["deep", "side", *ADAPTERS],
)
def test_what_is_dropped_is_as_gated_to_zero(images, spec):
    """By the policy's gates, and as zeros that are put in by hand."""
    model = build(spec)
    small = pruned_by_hand(model)
    found = answers(small, images)
    np.testing.assert_allclose(found, answers(zeroed(model), images), atol=1e-5)
    assert np.abs(found - answers(model, images)).max() > 1e-3
    gated = keras_memvit.MemoryViT(
        model.backbone,
        [GatedSpec.of(spec, 1)],
        values={"a": model.task_layers["a"].arrays()},
    )
    policy, logits = gated.task_layers["a"].policy, []
    for group in policy.groups:
        stay = np.isin(np.arange(len(group.rows)), CHOICE[group.name])
        logits.append(np.where(stay, 1000.0, -1000.0))
    policy.logits.assign(np.concatenate(logits))
    np.testing.assert_allclose(answers(gated, images), found, atol=1e-6, rtol=1e-6)
    dropped = sum(
        group.numbers[i]
        for group in policy.groups
        for i in range(len(group.rows))
        if i not in CHOICE[group.name]
    )
    before, after = (m.task_layers["a"].count_params() for m in (model, small))
    assert before - after == dropped


def test_gates_are_float32_in_mixed_precision(images):
    """Where bfloat16 would make one of 0.4999 a half."""
    backbone = make_backbone(num_layers=1, dtype="mixed_bfloat16")
    spec = GatedSpec.of(task(adapter="ia3"), 1)
    gated = keras_memvit.MemoryViT(backbone, [spec])
    policy, found = gated.task_layers["a"].policy, []
    policy.logits.assign(np.full(len(policy.numbers), -0.002))
    gates = policy.gates

    def spy():
        found.append(gates())
        return found[-1]

    policy.gates = spy
    gated(images)
    for group in ("memory", "adapter", "queries"):
        for own in found:
            value = keras.ops.convert_to_numpy(own[group])
            np.testing.assert_allclose(value, 0.4999, rtol=1e-6)


def test_a_gate_of_memory_is_a_share_of_the_softmax(images):
    """Half a gate on one of two equal tokens is a token and a half."""
    model = build(TaskSpec("a", C, 2))
    arrays = model.task_layers["a"].arrays()
    arrays["memory"][:, 1] = arrays["memory"][:, 0]
    gated = keras_memvit.MemoryViT(
        model.backbone, [GatedSpec.of(model.specs[0], 1)], values={"a": arrays}
    )
    policy = gated.task_layers["a"].policy
    found = []
    for logits in ([-1000.0, 0.0], [0.0, -1000.0], [1000.0, 0.0], [0.0, 1000.0]):
        policy.logits.assign(np.array(logits, "float32"))
        found.append(answers(gated, images))
    np.testing.assert_allclose(found[0], found[1], atol=1e-5)
    np.testing.assert_allclose(found[2], found[3], atol=1e-5)
    assert np.abs(found[0] - found[2]).max() > 1e-4


def test_the_size_term_is_of_the_gates_alone():
    model = build(task())
    spec = GatedSpec.of(model.specs[0], 250)
    gated = keras_memvit.MemoryViT(model.backbone, [spec])
    policy = gated.task_layers["a"].policy
    numbers = np.array([L * D] * M + [D * (1 + C)] * (2 * L))
    np.testing.assert_array_equal(policy.numbers, numbers)
    logits = np.linspace(-3, 3, len(numbers)).astype("float32")
    policy.logits.assign(logits)
    for temperature in (5.0, 0.5):
        policy.temperature.assign(temperature)
        expected = (numbers / (1 + np.exp(-logits / temperature))).sum() / 250 - 1
        (loss,) = map(keras.ops.convert_to_numpy, gated.losses)
        np.testing.assert_allclose(loss, expected, rtol=1e-5)
    policy.logits.assign(np.full(len(numbers), -9.0))
    assert list(map(keras.ops.convert_to_numpy, gated.losses)) == [0.0]


@pytest.mark.backend_free
def test_more_room_keeps_a_superset():
    """The best of each kind, then by rank to the first that does not fit."""
    backbone, spec = make_backbone(), task(adapter="lora")
    sizes = [L * D] * M + [4 * 4 * D] * L + [D * (1 + C)] * (2 * L)
    logits = np.random.default_rng(3).normal(size=len(sizes))
    logits[1] = logits[3] = 5.0  # equal ones: the first
    kinds = np.repeat([0, 1, 2], [M, L, 2 * L])
    first = [max(np.flatnonzero(kinds == k), key=lambda i: logits[i]) for k in range(3)]
    rest = sorted(set(range(len(sizes))) - set(first), key=lambda i: -logits[i])
    least, before = sum(sizes[i] for i in first), set()
    for room in range(least, sum(sizes) + 50, 50):
        policy = PartsPolicy(GatedSpec.of(spec, room), backbone)
        policy.build()
        policy.logits.assign(logits)
        starts = {"memory": 0, "adapter": M, "queries": M + L}
        kept = {
            int(starts[name] + i) for name, own in policy.choice().items() for i in own
        }
        expected, taken = set(), 0
        for i in [*first, *rest]:
            taken += sizes[i]
            if taken > room:
                break
            expected.add(int(i))
        assert kept == expected and kept >= before
        before = kept
    assert len(before) == len(sizes)


@pytest.mark.parametrize("readout", [DEEP, SIDE], ids=["deep", "side"])
def test_the_file_is_within_the_budget(images, tmp_path, readout):
    """From a store, the same on each run, and other tasks stay."""
    backbone = make_backbone()
    spec = task(readout=readout, adapter="ia3")
    model = build(spec, task("b"), backbone=backbone)
    labels = {"a": np.arange(8) % C, "b": np.arange(8) % C}
    store = keras_memvit.precompute(
        model, (images, labels), tmp_path / "store", dtype="float32", verbose=0
    )
    budget, expected = int(0.6 * size(spec, backbone)), answers(model, images, "b")
    first, again = (prune(model, "a", budget, store, epochs=3) for _ in range(2))
    path = tmp_path / "a.safetensors"
    keras_memvit.save_task(first, "a", path)
    held = sum(4 * int(np.prod(shape)) for shape in read_shapes(path).values())
    assert 0 < held <= budget
    assert first.specs == again.specs and type(first.specs[0]) is TaskSpec
    for name, value in first.task_layers["a"].arrays().items():
        np.testing.assert_array_equal(value, again.task_layers["a"].arrays()[name])
    np.testing.assert_allclose(answers(first, images, "b"), expected, atol=1e-5)
    assert first.verify_unchanged(images)["base"] == 0.0
    assert model.specs[0] == spec  # the given model is as it was
    loaded = keras_memvit.load_task(backbone, path)
    found = answers(loaded, images)
    np.testing.assert_allclose(found, answers(first, images), atol=1e-5)


@pytest.mark.backend_free
def test_from_arrays_and_twice(images):
    """A pruned task is pruned further, and what learns goes on learning."""
    model, data = build(task(head_inputs=range(10, 140))), (images, np.arange(8) % C)
    first = prune(model, "a", 2400, data, epochs=2)
    second = prune(first, "a", 1300, data, epochs=2)
    for one, other in ((model, first), (first, second)):
        kept, fewer = (set(m.specs[0].head_inputs) for m in (one, other))
        assert fewer < kept and fewer >= set(range(10, D))  # the class token's
    rows = [unpack(dict(m.specs[0].kept)["queries"], 1) for m in (first, second)]
    assert (rows[0] >= rows[1]).all() and rows[0].sum() > rows[1].sum()
    for small, budget in ((first, 2400), (second, 1300)):
        assert 4 * small.task_layers["a"].count_params() <= budget
    before = second.task_layers["a"].arrays()
    second.compile(keras.optimizers.SGD(0.1))
    second.fit(*data, verbose=0)
    for name, value in second.task_layers["a"].arrays().items():
        assert np.abs(value - before[name]).max() > 0, name


@pytest.mark.backend_free
def test_a_task_that_chooses_what_it_reads_fixes_it(images, tmp_path):
    model = build(task("b"), task(sees=["b"], sees_budget=0.5))
    small = prune(model, "a", 2200, (images, np.arange(8) % C), epochs=1)
    assert small.specs[0] == model.specs[0] and small.specs[1].reads is not None
    for name in ("b", "a"):
        keras_memvit.save_task(small, name, tmp_path / f"{name}.safetensors")
    loaded = keras_memvit.load_task(model.backbone, tmp_path)
    found, expected = answers(loaded, images), answers(small, images)
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.backend_free
def test_queries_that_the_head_takes_nothing_of_go_first(images):
    """Also where the head takes nothing but one query's."""
    model = build(task(head_inputs=[D + 8, D + 9]))
    spec = GatedSpec.of(model.specs[0], 2 * L * D + D + 2 * C)
    gated = keras_memvit.MemoryViT(model.backbone, [spec])
    policy = gated.task_layers["a"].policy
    policy.logits.assign([0.0, 1.0, 2.0, 3.0, -5.0, 4.0, 5.0, 6.0])
    choice = policy.choice()
    assert {name: list(own) for name, own in choice.items()} == {
        "memory": [2, 3],
        "queries": [0],
    }
    assert without(model, "a", choice).specs[0].head_inputs == (D + 8, D + 9)


def test_within_its_budget_a_task_is_left_as_it_is(images):
    model = build(task())
    same = prune(model, "a", "1MB", None)
    assert same.specs == model.specs
    np.testing.assert_array_equal(answers(same, images), answers(model, images))


@pytest.mark.parametrize(
    "readout",
    [DEEP, pytest.param(SIDE, marks=pytest.mark.backend_free)],
    ids=["deep", "side"],
)
def test_it_goes_wherever_a_task_goes(images, tmp_path, readout):
    backbone = make_backbone()
    model = build(task(readout=readout, adapter="bottleneck"), backbone=backbone)
    small = pruned_by_hand(model)
    expected = answers(small, images)
    small.save(tmp_path / "small.keras")
    path = tmp_path / "a.safetensors"
    keras_memvit.save_task(small, "a", path)
    other = build(task("b", readout, adapter="bottleneck"), backbone=backbone)
    extended = keras_memvit.extend(small, {"new": 2}, sees=["a"])
    keras_memvit.save_task(extended, "new", tmp_path / "new.safetensors")
    for loaded in (
        keras_memvit.load_model(tmp_path / "small.keras"),
        keras_memvit.load_task(backbone, path),
        keras_memvit.load_task(other, path),
        keras_memvit.concatenate([other, small]),
        keras_memvit.select(extended, "a"),
        extended,
    ):
        np.testing.assert_allclose(answers(loaded, images), expected, atol=1e-5)
    keras_memvit.load_task(small, tmp_path / "new.safetensors")
    bank = keras_memvit.TaskBank(backbone)
    bank.load(path)
    np.testing.assert_allclose(bank.predict(images, ["a"])["a"], expected, atol=1e-4)
    spec = small.specs[0]
    assert TaskSpec.from_config(spec.get_config()) == spec
    lines = []
    keras_memvit.inspect(path, print_fn=lines.append)
    assert "kept of adapter: 1" in lines[0]
    assert "kept" not in task().get_config()


@pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="the artefact is TensorFlow's"
)
def test_exports_have_it(images, tmp_path):
    """They compare every signature's answers with the model's, and fail otherwise."""
    backbone = make_backbone()
    deep = pruned_by_hand(build(task(adapter="lora"), backbone=backbone))
    whole = build(task("b", adapter="lora"), backbone=backbone)
    both = keras_memvit.concatenate([deep, whole])
    path = tmp_path / "people/1"
    keras_memvit.export_saved_model(both, path, warmup=False, image_bytes=False)
    keras_memvit.export_onnx(both, tmp_path / "people.onnx")


@pytest.mark.backend_free
def test_wrong_arguments_are_named(images):
    model, data = build(task(), task("on", sees=["a"])), (images, np.arange(8) % C)
    one = keras_memvit.select(model, "a")
    fixed = D + C + D * C  # class token, the head on it
    least = 4 * (fixed + L * D + D * (1 + C))
    for budget in ("100B", least - 1):
        with pytest.raises(ValueError, match=f"`budget` must be at least {least:,} by"):
            prune(one, "a", budget, data)
    for budget in (0, -5, True, 0.5, None, "much"):
        with pytest.raises(ValueError, match="`budget`.*Received: budget="):
            prune(one, "a", budget, data)
    with pytest.raises(ValueError, match="`name` must be a task of the model"):
        prune(one, "c", 2000, data)
    with pytest.raises(ValueError, match="`epochs` must be an int of at least 1"):
        prune(one, "a", 2000, data, epochs=0)
    with pytest.raises(ValueError, match=r"no other sees.*\['on'\] see"):
        prune(model, "a", 2000, data)
    with pytest.raises(ValueError, match="`data` must have labels of the task 'a'"):
        prune(one, "a", 2000, (images, {"b": data[1]}))
    many = {"queries": pack(np.ones((1 << 16) + 1), 1)}
    for kept in ({}, {"queries": "AA=="}, {"queries": 3}, "*", many):
        with pytest.raises(ValueError, match="`kept` of task 'a' must be a dict"):
            TaskSpec("a", C, kept=kept)
    for kept, reason in (
        ({"queries": "/w=="}, "a bit for each of the 4 rows"),
        ({"queries": "AQAA"}, "a bit for each of the 4 rows"),
        ({"side": "AQ=="}, "must be of groups in parts"),
    ):
        with pytest.raises(ValueError, match=f"`kept` of task 'a' .*{reason}"):
            build(task(kept=kept))
    with pytest.raises(ValueError, match="takes no task with `kept`"):
        spec = TaskSpec("a", C, kept={"queries": "AQ=="})
        keras_memvit.build(model.backbone, [spec], attention="unmasked")
