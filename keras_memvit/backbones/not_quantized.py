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
            "it. Make one of fewer bytes a weight with "
            "`keras_memvit.build(backbone, tasks, quantize='int8')`, or compute in "
            "half precision with `dtype='mixed_bfloat16'`"
        )
