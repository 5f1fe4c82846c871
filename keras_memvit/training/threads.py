"""What `fit` and `evaluate` need where several threads use models."""

import contextlib
import threading
import warnings


@contextlib.contextmanager
def alone(model, method):
    """Refuses to train or evaluate a model that another thread trains or evaluates.

    Both count in the model's metrics, which would mix; `predict` does not.

    Raises:
        RuntimeError: if another thread is in `fit` or `evaluate` of this model.
    """
    lock = vars(model).setdefault("_fit_lock", threading.RLock())
    if not lock.acquire(blocking=False):
        raise RuntimeError(
            f"`{method}` was called while another thread is in `fit` or `evaluate` of "
            f"the same model, '{model.name}'. Wait for it, call `{method}` in a "
            "callback of that `fit`, or give this thread a model of its own, over the "
            "same backbone: `keras_memvit.select(model, names)` before the training"
        )
    try:
        yield
    finally:
        lock.release()


class _Ignored:
    """A filter of warnings from the first of several threads to the last.

    `warnings.catch_warnings` by itself sets filters for all threads: the one that
    ends first would take the filter from the others.
    """

    def __init__(self, message):
        self.message = message
        self.lock = threading.Lock()
        self.count = 0

    def __enter__(self):
        with self.lock:
            if self.count == 0:
                self.context = warnings.catch_warnings()
                self.context.__enter__()
                warnings.filterwarnings("ignore", self.message, UserWarning)
            self.count += 1

    def __exit__(self, *error):
        with self.lock:
            self.count -= 1
            if self.count == 0:
                self.context.__exit__(*error)


# A task without labels in a batch has no gradients, and that is meant.
missing_gradients_ignored = _Ignored("Gradients do not exist")
