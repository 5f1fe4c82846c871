"""Gates on a task's parts: what they let pass, what they cost, which are kept."""

import keras
import numpy as np
import pytest
from conftest import make_backbone
from parts import CHOICE
from parts import DEEP
from parts import SIDE
from parts import C
from parts import D
from parts import L
from parts import M
from parts import answers
from parts import build
from parts import pruned_by_hand
from parts import task

import keras_memvit
from keras_memvit import TaskSpec
from keras_memvit.models.parts_policy import GatedSpec
from keras_memvit.models.parts_policy import PartsPolicy
from keras_memvit.recipes.prune import without

ADAPTERS = ["ia3", "lora", "grouped", "bottleneck"]


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
