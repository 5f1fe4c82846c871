"""A store's labels for other tasks, and its refusal of another backbone."""

import numpy as np
import pytest
from conftest import make_backbone

import keras_memvit

LABELS = np.arange(8) % 2
WEIGHTS = np.linspace(0.5, 1.0, 8, dtype="float32")


def store_of(backbone, images, path, labels, *weights):
    data = (images, labels, *weights)
    return keras_memvit.precompute(backbone, data, path, verbose=0)


@pytest.mark.parametrize("by_task", [False, True])
def test_every_task_gets_the_labels_and_weights(by_task, backbone, images, tmp_path):
    labels = {"a": LABELS} if by_task else LABELS
    weights = {"a": WEIGHTS} if by_task else WEIGHTS
    store = store_of(backbone, images, tmp_path, labels, weights)
    before = dict(store.targets)
    other = store.labelled_for(["b", "c"])
    assert store.targets == before and other is not store
    assert sorted(other.targets) == ["labels/b", "labels/c", "sample_weight"]
    for name in ("labels/b", "labels/c"):
        np.testing.assert_array_equal(other.targets[name], LABELS)
    np.testing.assert_array_equal(other.targets["sample_weight"], WEIGHTS)
    inputs, labels, weights = other.batches(8)[0]
    expected = store.batches(8)[0][0]["states"]
    np.testing.assert_array_equal(inputs["states"], expected)
    assert sorted(labels) == ["b", "c"] and weights.shape == (8,)


def test_labels_of_several_tasks_or_none_are_refused(backbone, images, tmp_path):
    both = {"a": LABELS, "b": LABELS}
    store = store_of(backbone, images, tmp_path / "two", both)
    with pytest.raises(ValueError, match=r"one task. Received: \['labels/a', 'lab"):
        store.labelled_for(["c"])
    none = keras_memvit.precompute(backbone, (images,), tmp_path / "none", verbose=0)
    with pytest.raises(ValueError, match=r"Received: \[\]"):
        none.labelled_for(["c"])


def test_another_backbone_is_refused_with_both_fingerprints(backbone, images, tmp_path):
    store = store_of(backbone, images, tmp_path, LABELS)
    store.check(backbone)
    other = make_backbone(seed=1)
    expected = (
        f"The store at .* another backbone .*{backbone.fingerprint()[:12]} at image "
        rf"shape \[32, 48, 3\]. Received: a backbone {other.fingerprint()[:12]} at"
    )
    with pytest.raises(ValueError, match=expected):
        store.check(other)
