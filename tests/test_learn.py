"""`recipes.learn`: from images to the best task."""

import contextlib
import json

import numpy as np
import pytest
from conftest import make_backbone

import keras_memvit
from keras_memvit.recipes import Candidate
from keras_memvit.recipes import fixed
from keras_memvit.recipes import learn
from keras_memvit.recipes import trials
from keras_memvit.recipes.candidates import AUTO
from keras_memvit.recipes.curves import Judge
from keras_memvit.report.card import task_card

MEMORY = Candidate("class_token", 1, 1e-2)
SIDE = Candidate("side", 1, 6e-3, 0.1)
LORA = Candidate("class_token", 1, 1e-2, adapter="lora", adapter_rank=2)


def pictures(num=60, seed=0):
    """Three classes of coloured noise, uint8 `(num, 32, 48, 3)`."""
    rng = np.random.default_rng(seed)
    labels = np.arange(num) % 3
    images = rng.integers(0, 120, (num, 32, 48, 3))
    images[np.arange(num), :, :, labels] += 100
    return images.astype("uint8"), labels


@pytest.fixture
def quickly(tmp_path):
    """Arguments that make `learn` fast."""
    return {
        "candidates": [MEMORY],
        "epochs": 4,  # one round: compiling is what takes time
        "cache": tmp_path / "cache",
        "verbose": 0,
    }


def test_it_learns_saves_and_answers_as_it_says(tmp_path, quickly):
    backbone = make_backbone(num_layers=1)
    options = quickly | {"candidates": [MEMORY, SIDE], "epochs": 6}
    result = learn(
        pictures(), backbone, name="colour", output=tmp_path / "tasks", **options
    )
    assert [row["candidate"] for row in result.table].count("ridge head") == 1
    assert len(result.table) == 3
    accuracies = [row["val_accuracy"] for row in result.table]
    assert accuracies == sorted(accuracies, reverse=True)
    assert result.val_accuracy == accuracies[0] > 0.9
    assert result.base_difference == 0.0 and result.num_images == 60
    images, labels = pictures(seed=1)
    model = keras_memvit.load_task(backbone, result.path)
    logits = model.predict(images, verbose=0)["colour"]
    assert np.mean(logits.argmax(-1) == labels) > 0.9
    card = json.loads((tmp_path / "tasks" / "colour.json").read_text())
    assert card["table"] == result.table and card["class_names"] == ["0", "1", "2"]
    assert "ridge head" in str(result)
    assert "Base outputs differ by 0.0" in str(result)


@pytest.mark.backend_free
def test_what_was_done_is_not_done_again(quickly, monkeypatch):
    backbone = make_backbone(num_layers=1)
    first = learn(pictures(), backbone, **quickly)

    def refuse(*args, **kwargs):
        raise AssertionError("trained again")

    monkeypatch.setattr(trials, "held_out_logits", refuse)
    again = learn(pictures(), backbone, **quickly)
    assert again.table == first.table
    with pytest.raises(AssertionError, match="trained again"):
        learn(pictures(seed=2), backbone, **quickly)


@pytest.mark.backend_free
def test_after_an_interrupt_the_finished_candidates_are_kept(quickly, monkeypatch):
    backbone = make_backbone(num_layers=1)
    real, calls = trials.held_out_logits, []

    def interrupted(backbone, candidates, *args, **options):
        calls.append((candidates, options["epochs"]))
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(backbone, candidates, *args, **options)

    monkeypatch.setattr(trials, "held_out_logits", interrupted)
    options = quickly | {"candidates": [MEMORY, SIDE]}
    with pytest.raises(KeyboardInterrupt):
        learn(pictures(), backbone, **options)
    learn(pictures(), backbone, **options)
    assert calls[1] == calls[2] and calls.count(calls[0]) == 1


@pytest.mark.backend_free
def test_a_candidate_may_have_an_adapter(quickly):
    options = quickly | {"candidates": [LORA]}
    result = learn(pictures(), make_backbone(num_layers=1), **options)
    rows = {row["candidate"]: row for row in result.table}
    assert set(rows) == {"ridge head", "memory + lora of rank 2"}
    single = learn(
        pictures(), make_backbone(num_layers=1), **quickly | {"candidates": LORA}
    )
    layer = single.model.task_layers["task"]
    assert (layer.spec.adapter, layer.spec.adapter_rank) == ("lora", 2)
    assert layer.arrays()["adapter/value/up"].any()  # zeros at the start
    assert ("Adapter", "lora, rank 2") in task_card(single)
    assert rows["memory + lora of rank 2"]["bytes"] == 4 * layer.count_params()
    assert Candidate(adapter="lora") == Candidate(adapter="lora", adapter_rank=4)
    with pytest.raises(ValueError, match="`adapter` of task 'candidate' must be None"):
        Candidate(adapter="low-rank")


@pytest.mark.backend_free
def test_where_a_class_has_few_images_all_are_judged(quickly):
    result = learn(pictures(12), make_backbone(num_layers=1), **quickly)
    shares = {row["val_accuracy"] * 12 for row in result.table}
    assert all(abs(share - round(share)) < 1e-6 for share in shares)
    assert max(shares) >= 10


@pytest.mark.backend_free
def test_a_single_candidate_is_trained_on_every_image(tmp_path, quickly):
    backbone = make_backbone(num_layers=1)
    options = quickly | {"candidates": SIDE, "output": tmp_path / "tasks"}
    result = learn(pictures(), backbone, name="colour", **options)
    (row,) = result.table
    assert row.keys() == {"candidate", "learning_rate", "epochs", "bytes"}
    assert (row["candidate"], row["epochs"], result.num_images) == ("side", 4, 60)
    assert result.val_score is None and result.evidence is None
    assert "side, trained on all of them." in str(result)
    assert result.path.exists() and not (tmp_path / "tasks" / "report.html").exists()
    images, labels = pictures(seed=1)
    logits = result.model.predict(images, verbose=0)["colour"]
    assert np.mean(logits.argmax(-1) == labels) > 0.9
    closed_form = Candidate(learning_rate=None)  # memory tokens are not trained
    head = learn(pictures(), backbone, **quickly | {"candidates": closed_form})
    assert head.table[0]["candidate"] == "ridge head" and head.val_accuracy is None
    with pytest.raises(ValueError, match="`report=True` needs held-out images"):
        learn(pictures(), backbone, report=True, **options)


def test_the_fixed_recipe_is_one_that_learn_tries():
    assert fixed() in AUTO and fixed().learning_rate is not None


@pytest.mark.backend_free
def test_a_killed_round_goes_on_after_its_last_epoch(quickly, tmp_path, monkeypatch):
    candidates, backbone = [MEMORY, LORA], make_backbone(num_layers=1)

    def learned(cache, dies_after=None):
        real, begun = Judge.on_epoch_end, []

        def on_epoch_end(self, epoch, logs=None):
            begun.append(epoch)
            if epoch == dies_after:
                raise KeyboardInterrupt
            real(self, epoch, logs)

        options = quickly | {"candidates": candidates, "cache": tmp_path / cache}
        with monkeypatch.context() as patched:
            patched.setattr(Judge, "on_epoch_end", on_epoch_end)
            result = None
            with contextlib.suppress(KeyboardInterrupt):
                result = learn(pictures(120), backbone, **options)
        return result, begun

    whole, _ = learned("whole")
    nothing, _ = learned("killed", dies_after=2)
    again, begun = learned("killed")
    assert nothing is None and begun == [2, 3]  # 0 and 1 were kept
    for part in ("candidate", "val_accuracy"):
        assert [row[part] for row in again.table] == [row[part] for row in whole.table]
    for curve in again.evidence.curves:
        for name in ("loss", "val_loss", "val_accuracy"):
            assert np.isnan(curve[name]).tolist() == [True, True, False, False]
    losses = [row["val_loss"] for row in whole.table]
    assert [row["val_loss"] for row in again.table] == pytest.approx(losses, rel=1e-3)
    assert not list((tmp_path / "killed").rglob("*.resume"))


@pytest.mark.backend_free
def test_where_the_head_is_always_right_nothing_else_is_tried(quickly):
    black_or_white = np.repeat([0, 255], 15).astype("uint8")
    images = np.broadcast_to(black_or_white[:, None, None, None], (30, 32, 48, 3))
    source, backbone = (images, black_or_white // 255), make_backbone(num_layers=1)
    result = learn(source, backbone, **quickly | {"candidates": "auto"})
    assert [row["candidate"] for row in result.table] == ["ridge head"]
    assert result.val_accuracy == 1.0 and result.table[0]["val_loss"] < 0.01
    asked = learn(source, backbone, **quickly)  # for memory
    assert len(asked.table) == 2


@pytest.mark.backend_free
def test_a_budget_bounds_bytes_candidates_and_seconds(quickly):
    backbone = make_backbone(num_layers=1)
    options = quickly | {"candidates": [MEMORY, SIDE]}
    small = learn(pictures(), backbone, budget="1kB", **options)
    assert all(row["bytes"] <= 1000 for row in small.table)
    one = learn(pictures(), backbone, budget={"candidates": 1}, **options)
    assert len(one.table) == 1
    at_once = learn(pictures(), backbone, budget=1e-9, **options)
    assert [row["candidate"] for row in at_once.table] == ["ridge head"]
    assert at_once.model.task_layers["task"].spec.num_memory_tokens == 1


@pytest.mark.backend_free
def test_what_is_too_large_is_pruned(quickly):
    backbone = make_backbone(num_layers=1)
    large, budget = Candidate("class_token", 4, 1e-2), 4 * (32 + 2 * 32 + 33 * 3)
    options = quickly | {"candidates": [large], "budget": f"{budget + 8}B"}
    result = learn(pictures(), backbone, **options)
    rows = {row["candidate"]: row for row in result.table}
    assert set(rows) == {"ridge head", "memory, pruned"}
    assert rows["memory, pruned"]["bytes"] <= budget + 8
    assert rows["memory, pruned"]["val_accuracy"] > 0.9
    alone = learn(pictures(), backbone, **options | {"candidates": large})
    layer = alone.model.task_layers["task"]
    assert layer.spec.num_memory_tokens == 2 and layer.count_params() * 4 == budget


@pytest.mark.parametrize(
    "wrong, message",
    [
        ({"kind": "ranking"}, "`kind`"),
        ({"budget": "much"}, "`budget`"),
        ({"budget": "1B"}, "has room for no candidate"),
        ({"candidates": [Candidate("side", budget=9)]}, "`budget` of the candidate"),
        ({"candidates": "many"}, "`candidates`"),
        ({"epochs": 0}, "`epochs`"),
        ({"epochs": True}, "`epochs`"),
        ({"name": "base"}, "'base'"),
    ],
)
def test_bad_arguments_are_refused_before_anything_is_computed(quickly, wrong, message):
    with pytest.raises(ValueError, match=message):
        learn(pictures(), make_backbone(num_layers=1), **(quickly | wrong))
    assert not quickly["cache"].exists()


def test_a_store_takes_other_labels_and_rows(tmp_path):
    backbone = make_backbone(num_layers=1)
    images, labels = pictures(9)
    store = keras_memvit.precompute(backbone, (images, labels), tmp_path, verbose=0)
    rows = np.array([7, 2, 5])
    few = store.subset(rows).with_labels({"a": np.array([0, 1, -1])})
    inputs, found = few.batches()[0]
    np.testing.assert_array_equal(inputs["states"], store.rows(rows))
    np.testing.assert_array_equal(found["a"], [0, 1, -1])
    nested = store.subset(rows).subset([2, 0])
    np.testing.assert_array_equal(nested.rows(np.arange(2)), store.rows([5, 7]))
    assert len(store) == 9 and nested.num_images == 2
    with pytest.raises(ValueError, match="3 rows"):
        few.with_labels({"a": np.zeros(4)})
