"""One line for all that `learn` trains: how much is done, and how long it will take."""

import sys
import time

import keras

WIDTH = 24  # characters of the bar


class Progress:
    """A bar over training steps of several `fit` calls, with the time left.

    Args:
        verbose: int. 0 = silent. 1 = lines of text, and the bar below them where it
            can be drawn: in a terminal or notebook, not in a log file.
    """

    def __init__(self, verbose):
        self.verbose = verbose
        self.drawn = bool(verbose) and (
            sys.stdout.isatty() or "ipykernel" in sys.modules
        )
        self.done = self.left = 0.0
        self.begun = self.shown = None

    def say(self, text):
        """Prints a line, above the bar."""
        if self.verbose:
            self.close()
            print(text, flush=True)

    def plan(self, left):
        """What is left to do, in steps of one task."""
        self.left = left

    def callback(self, cost):
        """A callback for one `fit`, whose steps each cost that much."""
        return keras.callbacks.LambdaCallback(
            on_train_batch_end=lambda batch, logs: self._advance(cost)
        )

    def _advance(self, cost):
        now = time.monotonic()
        if self.begun is None:  # the first step compiles
            self.begun = now
            return
        self.done += cost
        self.left = max(self.left - cost, 0)
        if self.drawn and (self.shown is None or now - self.shown > 0.2):
            self.shown = now
            self._draw(now - self.begun)

    def _draw(self, seconds):
        share = self.done / (self.done + self.left)
        bar = "━" * round(WIDTH * share)
        minutes, seconds = divmod(round(seconds * self.left / self.done), 60)
        text = f"\r{bar:╌<{WIDTH}} {share:4.0%}, {minutes}:{seconds:02d} left "
        print(text, end="", flush=True)

    def close(self):
        """Takes the bar away."""
        if self.shown is not None:
            print("\r" + " " * (WIDTH + 24) + "\r", end="", flush=True)
            self.shown = None
