"""The diagonal of the Fisher information, by an optimiser that changes nothing."""

import keras
import numpy as np
from keras import ops


class SquaredGradients(keras.optimizers.Optimizer):
    """Adds up the squares of the gradients it is given, one variable each."""

    def __init__(self):
        super().__init__(learning_rate=0.0)

    def build(self, variables):
        if not self.built:
            super().build(variables)
            self.sums = self.add_optimizer_variables(variables, "sum")

    def update_step(self, gradient, variable, learning_rate):
        total = self.sums[self._get_variable_index(variable)]
        self.assign_add(total, ops.cast(ops.square(gradient), total.dtype))


def fisher(model, images, labels, kind="empirical"):
    """The mean over examples of squared gradients of `log p(label)`.

    `E[(d log p(y | x) / dw)^2]`: with the labels as they are it is the empirical
    Fisher information; the expected one is the mean over the model's own `p(y | x)`,
    a sum over all classes. Each example is a step of its own, since the square of a
    batch's gradient is something else.

    Args:
        model: a `keras.Model` to logits `(B, C)`; it is compiled anew.
        images, labels: `(n, H, W, 3)` and `(n,)` ints.
        kind: `"empirical"` or `"expected"`.

    Returns:
        A list of arrays of the shapes of `model.trainable_variables`.
    """
    optimizer = SquaredGradients()
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer, loss, auto_scale_loss=False)
    options = {"batch_size": 1, "shuffle": False, "verbose": 0}
    if kind == "empirical":
        model.fit(images, labels, **options)
    else:
        logits = ops.convert_to_tensor(model.predict(images, verbose=0))
        # A loss times sqrt(p) has a squared gradient times p.
        roots = np.sqrt(ops.convert_to_numpy(ops.softmax(logits)))
        for label in range(roots.shape[1]):
            of_class = np.full(len(images), label)
            model.fit(images, of_class, sample_weight=roots[:, label], **options)
    return [
        ops.convert_to_numpy(optimizer.sums[optimizer._get_variable_index(v)])
        / len(images)
        for v in model.trainable_variables
    ]
