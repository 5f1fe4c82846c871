"""Says once that images are not in [0, 255], whatever they came in."""

import itertools

import keras

from keras_memvit.layers.image_scale import float_images
from keras_memvit.layers.image_scale import looks_scaled
from keras_memvit.layers.image_scale import scaled_array
from keras_memvit.layers.image_scale import scaled_batch
from keras_memvit.layers.image_scale import warn_of_scale


class LooksAtScale:
    """In front of a `keras.Model`, with a counter `_scaled_images`."""

    def warn_of_scaled_images(self):
        """Says once that images were not in [0, 255], of what steps have seen."""
        if float(self._scaled_images.result()):
            self._warn_of_scale(stacklevel=3)

    def make_predict_function(self, force=False):
        before = self.predict_function
        super().make_predict_function(force)
        if self.predict_function is not before:
            self.predict_function = _looking(self, self.predict_function)

    def _look_at_scale(self, x):
        if not vars(self).get("_warned_of_scale") and scaled_array(x):
            self._warn_of_scale(stacklevel=4)

    def _look_at_next_batch(self):
        """Of a data set only the steps see the images."""
        vars(self)["_next_batch_counts"] = not vars(self).get("_warned_of_scale")

    def _warn_of_scale(self, stacklevel):
        if not vars(self).get("_warned_of_scale"):
            vars(self)["_warned_of_scale"] = True
            warn_of_scale(stacklevel)

    def _count_scaled(self, x):
        images = float_images(x)
        if images is not None:
            scaled = looks_scaled(keras.ops.convert_to_tensor(images))
            self._scaled_images.update_state(keras.ops.cast(scaled, "float32"))


def _looking(model, function):
    """A predict function that looks at the first batch where it is asked to."""

    def look(*arguments):
        if vars(model).pop("_next_batch_counts", False):
            # A list of batches; on JAX, behind the state, an iterator.
            *state, batches = arguments
            batches = iter(batches)
            first = list(itertools.islice(batches, 1))
            for batch in first:
                x, _, _ = keras.utils.unpack_x_y_sample_weight(batch)
                if scaled_batch(x):
                    model._warn_of_scale(stacklevel=4)
            rest = itertools.chain(first, batches)
            arguments = (*state, rest if state else list(rest))
        return function(*arguments)

    return look
