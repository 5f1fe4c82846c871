"""A bound on what several threads decode at one time."""

import contextlib
import threading


class PixelRoom:
    """Room for so many pixels; who finds none waits.

    Args:
        size: int. What is larger than it waits until nothing else is in it.
    """

    def __init__(self, size):
        self.size = size
        self.used = 0
        self.changed = threading.Condition()

    @contextlib.contextmanager
    def taken(self, pixels):
        """A context in which that many pixels are taken."""
        pixels = min(pixels, self.size)
        with self.changed:
            self.changed.wait_for(lambda: self.used + pixels <= self.size)
            self.used += pixels
        try:
            yield
        finally:
            with self.changed:
                self.used -= pixels
                self.changed.notify_all()
