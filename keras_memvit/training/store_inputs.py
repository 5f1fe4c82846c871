"""A `StateStore` where images are expected."""

from keras_memvit.states.store import StateStore


def is_store(data):
    """Whether this is a `StateStore`."""
    return isinstance(data, StateStore)


def store_batches(store, model, batch_size, shuffle=False):
    """The store's batches for a model, `({"states": states}, labels[, weights])`.

    A model tells them from images by their structure, on which its compiled functions
    trace anew: training, validation and prediction may each take either.

    Args:
        store: a `StateStore`.
        model: the model that takes them.
        batch_size: int, or None for 32.
        shuffle: bool.

    Raises:
        ValueError: if the model changes base tokens, or has another backbone.
    """
    if getattr(model, "attention", None) != "masked":
        raise ValueError(
            "A StateStore serves masked attention: an unmasked task changes the base "
            "tokens. Received a model with attention='unmasked'"
        )
    store.check(model.backbone)
    return store.batches(batch_size or 32, shuffle=shuffle)


def refuse_labels(y):
    """A store has labels of its own."""
    if y is not None:
        raise ValueError("`y` must be None where `x` is a StateStore, which has it")
