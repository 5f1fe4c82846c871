"""A servable's tasks as one signature that takes their names, for a SavedModel."""

import functools
import json
import pathlib

import tensorflow as tf

from keras_memvit.models.task_weights import HEAD
from keras_memvit.serving.images import decode_images
from keras_memvit.serving.signatures import class_names
from keras_memvit.tasks.resizing import common_resizing

NAMES = "tasks.json"  # in `assets`: class names by task


def write_saved_bank(servable, request, probe):
    """Writes the folder and loads it again.

    Args:
        servable: a `Servable`.
        request: a `Request`.
        probe: images `(B, H, W, 3)`.

    Returns:
        A dict from task to a list of its logits for `probe`.
    """
    answers = BankAnswers(servable)
    signatures = {
        name: answers.signature(name.endswith("_bytes"), request.max_pixels)
        for name in request.signatures
    }
    folder = pathlib.Path(request.path)
    tf.saved_model.save(servable.module, str(folder), signatures=signatures)
    (folder / "assets").mkdir(exist_ok=True)
    names = {name: class_names(spec) for name, spec in servable.specs.items()}
    (folder / "assets" / NAMES).write_text(json.dumps(names) + "\n")
    loaded = tf.saved_model.load(str(folder))
    found = {}
    for name, spec in servable.specs.items():
        logits = loaded.signatures["serving_default"](
            images=tf.constant(probe, "float32"),
            task_names=tf.fill((len(probe), 1), name),
        )["logits"]
        found[name] = [logits.numpy()[:, 0, : spec.num_classes]]
    return found


class BankAnswers:
    """Logits of the tasks that a request names; their tensors are gathered by row.

    Tasks of one kind (readout, adapter, number of memory tokens) are stacked in
    tensors, which take the place of the servable's own in what is saved.

    Args:
        servable: a `Servable`.
    """

    def __init__(self, servable):
        self.servable = servable
        specs = list(servable.specs.values())
        self.width = max(spec.num_classes for spec in specs)
        groups = {}
        for spec in specs:
            groups.setdefault(_kind(spec), []).append(spec)
        self.kinds = [
            (own[0], self._stacked([servable.tasks[s.name] for s in own]))
            for own in groups.values()
        ]
        place = {
            spec.name: (kind, row)
            for kind, own in enumerate(groups.values())
            for row, spec in enumerate(own)
        }
        names = [spec.name for spec in specs]
        self.kind_of = tf.constant([place[name][0] for name in names], "int32")
        self.row_of = tf.constant([place[name][1] for name in names], "int32")
        self.sizes = tf.constant([spec.num_classes for spec in specs], "int32")
        self.label_kinds = tf.constant([spec.kind for spec in specs])
        self.table = tf.lookup.StaticHashTable(
            tf.lookup.KeyValueTensorInitializer(
                tf.constant(names), tf.range(len(names), dtype="int32")
            ),
            default_value=-1,
        )
        servable.module.tasks_stored = [tensors for _, tensors in self.kinds]
        servable.module.table = self.table

    def signature(self, encoded, max_pixels):
        """A concrete function of images, or encoded ones, and names `(B, N)`."""
        shape = self.servable.backbone.image_shape
        names = tf.TensorSpec((None, None), tf.string, name="task_names")
        if not encoded:
            images = tf.TensorSpec((None, *shape), name="images")
            return tf.function(self.answer).get_concrete_function(images, names)
        decode = functools.partial(
            decode_images,
            image_shape=shape,
            max_pixels=max_pixels,
            resizing=common_resizing(self.servable.specs.values()),
        )

        def from_bytes(image_bytes, task_names):
            return self.answer(decode(image_bytes), task_names)

        image_bytes = tf.TensorSpec((None,), tf.string, name="image_bytes")
        return tf.function(from_bytes).get_concrete_function(image_bytes, names)

    def answer(self, images, task_names):
        """What is answered of each image's tasks; where a name is empty, zeros.

        `logits` (of a regression its values) and `probabilities` `(B, N, C)`, zeros
        beyond a task's own classes, and `num_classes` `(B, N)`.
        """
        index = self.table.lookup(task_names)
        lost = tf.boolean_mask(task_names, (index < 0) & (task_names != ""))
        message = "`task_names` must be tasks of this bank. Received:"
        with tf.control_dependencies(
            [tf.debugging.Assert(tf.size(lost) == 0, [message, lost], summarize=5)]
        ):
            distinct, place = tf.unique(tf.reshape(tf.identity(index), (-1,)))
        states, x = self.servable.base_states(images)
        spec = tf.TensorSpec((None, self.width), tf.float32)

        def of_task(i):
            return self._logits(states, x, i)

        found = tf.map_fn(of_task, distinct, fn_output_signature=spec)  # (U, B, C)
        place = tf.reshape(place, tf.shape(index))  # (B, N)
        image = tf.range(tf.shape(index)[0])[:, None] + tf.zeros_like(place)
        logits = tf.gather_nd(found, tf.stack([place, image], axis=-1))
        known = tf.maximum(index, 0)
        sizes = tf.where(index < 0, 0, tf.gather(self.sizes, known))
        inside = tf.range(self.width) < sizes[..., None]
        labels = tf.gather(self.label_kinds, known)[..., None]
        exponents = tf.where(inside, logits, -float("inf"))
        chances = tf.where(
            labels == "multi_label", tf.sigmoid(logits), tf.nn.softmax(exponents)
        )
        shown = inside & (labels != "regression")
        return {
            "logits": logits,
            "probabilities": tf.where(shown, chances, 0.0),
            "num_classes": sizes,
        }

    def _logits(self, states, x, i):
        """One task's logits `(B, C)`, zeros beyond its classes and where `i < 0`."""

        def of_kind(spec, tensors):
            def logits():
                row = self.row_of[i]
                weights = {
                    n: tf.cast(tf.gather(t, row), "float32") for n, t in tensors.items()
                }
                (found,) = self.servable.stream([spec], (0,))(states, x, [weights])
                return found

            return logits

        def nothing():
            return tf.zeros((tf.shape(states[0][0])[0], self.width))

        branches = [nothing, *(of_kind(*kind) for kind in self.kinds)]
        kind = tf.where(i < 0, 0, 1 + self.kind_of[tf.maximum(i, 0)])
        return tf.switch_case(kind, branches)

    def _stacked(self, tasks):
        """Tensors of tasks of one kind as one variable each, `(K, ...)`."""

        def padded(name, value):
            missing = self.width - value.shape[-1] if name in HEAD else 0
            return tf.pad(value, [*[(0, 0)] * (len(value.shape) - 1), (0, missing)])

        return {
            name: tf.Variable(
                tf.stack([padded(name, task[name]) for task in tasks]), trainable=False
            )
            for name in tasks[0]
        }


def _kind(spec):
    own = (spec.readout, spec.adapter, spec.adapter_rank, spec.feature_norm)
    return (*own, spec.num_memory_tokens, spec.head_inputs, spec.kind == "regression")
