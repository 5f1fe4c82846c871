"""Specs, the "sees" relation, and Table 1."""

import numpy as np
import pytest

import keras_memvit
from keras_memvit import TaskSpec
from keras_memvit import attention_mask
from keras_memvit.tasks.sees import visible_tasks
from keras_memvit.tasks.spec import parse_tasks


def test_table_1_for_concatenation_and_extension():
    """Two base tokens; "b" does not see "a", "c" does. Written out by hand."""
    tasks = [TaskSpec("a", 2, 2), TaskSpec("b", 2, 1), TaskSpec("c", 2, 1, sees=["a"])]
    expected = [
        # X  X  Ca Cb Cc Ma Ma Mb Mc
        [1, 1, 0, 0, 0, 0, 0, 0, 0],  # class token
        [1, 1, 0, 0, 0, 0, 0, 0, 0],  # patch
        [1, 1, 1, 0, 0, 1, 1, 0, 0],  # C_a
        [1, 1, 0, 1, 0, 0, 0, 1, 0],  # C_b
        [1, 1, 1, 0, 1, 1, 1, 0, 1],  # C_c
    ]
    mask = attention_mask(tasks, num_patches=1)
    assert mask.dtype == bool
    np.testing.assert_array_equal(mask, np.array(expected, dtype=bool))


def test_sees_is_transitive_and_keeps_the_order_of_tasks():
    specs = [
        TaskSpec("d", 2, sees=["c"]),
        TaskSpec("a", 2),
        TaskSpec("b", 2),
        TaskSpec("c", 2, sees=["b", "a"]),
    ]
    assert visible_tasks(specs) == {
        "d": ["a", "b", "c"],
        "a": [],
        "b": [],
        "c": ["a", "b"],
    }


def test_a_thousand_tasks_in_a_chain_are_closed():
    specs = [TaskSpec("t0", 2)]
    specs += [TaskSpec(f"t{i}", 2, sees=[f"t{i - 1}"]) for i in range(1, 1000)]
    assert len(visible_tasks(specs)["t999"]) == 999


def test_tasks_come_as_a_dict_or_as_specs():
    assert parse_tasks({"a": 3}, 7) == [TaskSpec("a", 3, num_memory_tokens=7)]
    assert parse_tasks(TaskSpec("a", 3)) == [TaskSpec("a", 3)]


def test_spec_config_round_trip():
    spec = TaskSpec("a", 2, 3, sees=["b"], class_names=["x", "y"], memory_norm=False)
    assert TaskSpec.from_config(spec.get_config()) == spec
    deep = TaskSpec("a", 2, readout="deep", num_query_tokens=2)
    assert TaskSpec.from_config(deep.get_config()) == deep


@pytest.mark.parametrize(
    "make, message",
    [
        (
            lambda: TaskSpec("a", 0),
            r"`num_classes` of task 'a'.*at least 1.*num_classes=0",
        ),
        (lambda: TaskSpec("a", -2), "num_classes=-2"),
        (lambda: TaskSpec("a", 2.5), "num_classes=2.5"),
        (lambda: TaskSpec("a", True), "num_classes=True"),
        (lambda: TaskSpec("a", 2, 0), "num_memory_tokens=0"),
        (lambda: TaskSpec("a", 2, -1), "num_memory_tokens=-1"),
        (lambda: TaskSpec("base", 2), "reserved|belongs to the backbone"),
        (lambda: TaskSpec("a/b", 2), "name='a/b'"),
        (lambda: TaskSpec("", 2), "name=''"),
        (lambda: TaskSpec(3, 2), "name=3"),
        (lambda: TaskSpec("a", 2, sees="b"), "list of strings.*'b'"),
        (lambda: TaskSpec("a", 2, class_names=["x"]), "num_classes=2 names.*1 names"),
        (lambda: TaskSpec("a", 2, memory_norm=1), "memory_norm=1"),
        (lambda: TaskSpec("a", 2, readout="wide"), "'class_token', 'deep'.*'wide'"),
        (lambda: TaskSpec("a", 2, num_query_tokens=2), "needs readout='deep'"),
        (
            lambda: TaskSpec("a", 2, readout="deep", num_query_tokens=0),
            "num_query_tokens=0",
        ),
        (lambda: parse_tasks({}), "at least one task"),
        (lambda: parse_tasks("digits"), "tasks='digits'"),
        (lambda: parse_tasks([("a", 2)]), "list of TaskSpec"),
        (lambda: parse_tasks([TaskSpec("a", 2), TaskSpec("a", 3)]), r"unique.*\['a'\]"),
        (
            lambda: parse_tasks([TaskSpec("a", 2, sees=["b"])]),
            "`sees` of task 'a'.*'b'",
        ),
        (lambda: parse_tasks([TaskSpec("a", 2, sees=["a"])]), "cycle"),
        (
            lambda: parse_tasks(
                [TaskSpec("a", 2, sees=["b"]), TaskSpec("b", 2, sees=["a"])]
            ),
            r"cycle.*\['a', 'b'\]",
        ),
        (lambda: attention_mask({"a": 2}, 0), "num_patches=0"),
        (lambda: attention_mask({"a": 2}, 4, num_base_tokens=-1), "num_base_tokens=-1"),
    ],
)
def test_bad_specs_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_public_names_exist():
    for name in keras_memvit.__all__:
        assert hasattr(keras_memvit, name)
