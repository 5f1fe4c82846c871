"""The signatures of a servable: what they take, what they answer."""

import functools

import tensorflow as tf

from keras_memvit.models.unified.answer import ALL
from keras_memvit.models.unified.answer import UNKNOWN
from keras_memvit.serving.images import decode_images
from keras_memvit.tasks.resizing import by_resizing
from keras_memvit.tasks.resizing import common_resizing
from keras_memvit.tasks.spec import BASE

TOP_K = 5
CLASSIFY_METHOD = "tensorflow/serving/classify"


def build_signatures(servable, wanted, labels, max_pixels):
    """Concrete functions by signature name.

    Args:
        servable: a `Servable`.
        wanted: dict from signature name to `(kind, task names)`, the kind
            `"images"`, `"bytes"` or `"classify"`.
        labels: bool. Whether class names are among the outputs.
        max_pixels: int. Encoded images of more are refused.

    Returns:
        A dict from signature name to concrete function.
    """
    shape = servable.backbone.image_shape
    decode = functools.partial(decode_images, image_shape=shape, max_pixels=max_pixels)
    decode = tf.function(decode, autograph=False)  # traced once for all signatures
    builders = {
        "images": _from_images,
        "bytes": functools.partial(_from_bytes, decode),
        "classify": functools.partial(_classify, decode),
    }
    return {
        name: builders[kind](servable, tasks, labels)
        for name, (kind, tasks) in wanted.items()
    }


def class_names(spec):
    """A task's class names, or else its class numbers, as strings."""
    return list(spec.class_names or map(str, range(spec.num_classes)))


def names_of(servable, output):
    """The class names of a task, or of the answer over all, as `task/class`."""
    if output == ALL:
        return ["/".join(pair) for pair in servable.classes]
    return class_names(servable.specs[output])


def answers(servable, images, tasks, labels):
    """What is answered for each task, by `<task>/<what>`, batch first.

    `logits`, `probabilities` and `classes`, of a regression `values`.
    """
    states, x = servable.base_states(images)
    own = [task for task in tasks if task not in (ALL, BASE)]
    logits = servable.logits(states, x, own) if own else {}
    if BASE in tasks:
        logits[BASE] = servable.base_logits(states, x)
    outputs = {}
    if ALL in tasks:
        found = servable.unified(states, x)
        logits[ALL] = found[ALL]
        if UNKNOWN in found:
            outputs[f"{UNKNOWN}/scores"] = found[UNKNOWN]
    for name, value in logits.items():
        kind = servable.kinds.get(name)
        if kind == "regression":
            outputs[f"{name}/values"] = value
            continue
        outputs[f"{name}/logits"] = value
        outputs[f"{name}/probabilities"] = _probabilities(value, kind)
        if labels and name != BASE:
            names = names_of(servable, name)
            best = tf.math.top_k(value, min(TOP_K, len(names))).indices
            outputs[f"{name}/classes"] = tf.gather(tf.constant(names), best)
    return outputs


def logits_of(name, kinds):
    """The output that equals what the model answers for a task."""
    return f"{name}/{'values' if kinds.get(name) == 'regression' else 'logits'}"


def _probabilities(logits, kind):
    return tf.sigmoid(logits) if kind == "multi_label" else tf.nn.softmax(logits)


def _from_images(servable, tasks, labels):
    @tf.function(autograph=False)
    def predict(images):
        return answers(servable, images, tasks, labels)

    shape = (None, *servable.backbone.image_shape)
    return predict.get_concrete_function(tf.TensorSpec(shape, name="images"))


def _from_bytes(decode, servable, tasks, labels):
    specs = servable.specs
    if ALL in tasks:  # which asks every task
        common_resizing(specs.values())
    ways = by_resizing(specs[task] for task in tasks if task in specs)
    # What is no task's takes the images of one, and no pass of its own.
    resizing = next(iter(ways or by_resizing(specs.values())))
    ways.setdefault(resizing, []).extend(task for task in tasks if task not in specs)

    @tf.function(autograph=False)
    def predict(image_bytes):
        found = {}
        for resizing, own in ways.items():
            images = decode(image_bytes, resizing=resizing)
            found |= answers(servable, images, own, labels)
        return found

    return predict.get_concrete_function(
        tf.TensorSpec((None,), tf.string, name="image_bytes")
    )


def _classify(decode, servable, tasks, labels):
    """What `:classify` wants: serialised `tf.Example`s with `image_bytes`."""
    (task,) = tasks
    resizing = servable.specs[task].resizing

    @tf.function(autograph=False)
    def classify(inputs):
        feature = {"image_bytes": tf.io.FixedLenFeature((), tf.string)}
        image_bytes = tf.io.parse_example(inputs, feature)["image_bytes"]
        images = decode(image_bytes, resizing=resizing)
        states, x = servable.base_states(images)
        logits = servable.logits(states, x, [task])[task]
        scores = _probabilities(logits, servable.kinds[task])
        if not labels:
            return {"scores": scores}
        names = tf.constant(class_names(servable.specs[task]))
        names = tf.repeat(names[None], tf.shape(scores)[0], axis=0)
        return {"classes": names, "scores": scores}

    return classify.get_concrete_function(
        tf.TensorSpec((None,), tf.string, name="inputs")
    )


def set_classify_methods(folder, names):
    """Marks signatures as Classify calls, which `tf.saved_model.save` cannot."""
    if not names:
        return
    updater = tf.compat.v1.saved_model.signature_def_utils.MethodNameUpdater(folder)
    for name in names:
        updater.replace_method_name(name, CLASSIFY_METHOD, tags="serve")
    updater.save()
