"""A backbone is not quantised in place: others rely on its weights."""


class NotQuantized:
    """In front of a `keras.Model` that is, or holds, a shared backbone."""

    def quantize(self, *args, **kwargs):
        """Refused: it would change the weights under every task trained on them.

        Raises:
            ValueError: always, with what to use instead.
        """
        raise ValueError(
            "`quantize` would change a backbone in place, for all models that share "
            "it, and task files trained on it would be refused; Keras could not load "
            "the saved result. To compute in half precision use "
            "`keras_memvit.build(backbone, tasks, dtype='mixed_bfloat16')`"
        )
