"""Micro-batches: images of many requests, one pass of the backbone for all."""

import concurrent.futures
import dataclasses
import logging
import queue
import threading
import time

import numpy as np

from keras_memvit.serving.server.errors import RequestError
from keras_memvit.serving.server.errors import busy

LOG = logging.getLogger("keras_memvit.serve")


@dataclasses.dataclass
class _Item:
    pixels: np.ndarray
    tasks: list
    answer: concurrent.futures.Future


class Batcher:
    """Collects images for a short while and answers them together.

    Args:
        tasks: a `TaskFolder`.
        max_batch: int. Images a pass.
        max_delay: float. Seconds that an image waits for others.
        max_queue: int. Images that may wait; more are refused.
        observe: a function of the number of images and the seconds of a pass.
    """

    def __init__(self, tasks, max_batch, max_delay, max_queue, observe=None):
        self.tasks = tasks
        self.max_batch = max_batch
        self.max_delay = max_delay
        self.queue = queue.Queue(max_queue)
        self.observe = observe or (lambda images, seconds: None)
        self._open = True
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    @property
    def accepts(self):
        """Whether images may still be put in line."""
        return self._open

    def submit(self, pixels, tasks):
        """Puts an image in line.

        Args:
            pixels: `(H, W, 3)`, uint8 or float32.
            tasks: list of names.

        Returns:
            A future of a dict by task of its `TaskSpec` and logits `(num_classes,)`.

        Raises:
            RequestError: if too many wait, or the server is stopping.
        """
        item = _Item(pixels, list(tasks), concurrent.futures.Future())
        if not self._open:
            raise busy("the server is stopping")
        try:
            self.queue.put_nowait(item)
        except queue.Full:
            raise busy(f"{self.queue.maxsize} images wait already") from None
        return item.answer

    def stop(self):
        """Answers what waits, then ends."""
        self._open = False
        self.queue.put(None)
        self._thread.join()

    def _run(self):
        going = True
        while going:
            items = []
            item = self.queue.get()
            until = time.monotonic() + self.max_delay
            while True:
                if item is None:
                    going = False
                    break
                items.append(item)
                if len(items) >= self.max_batch:
                    break
                try:
                    wait = until - time.monotonic()
                    item = self.queue.get(timeout=wait) if wait > 0 else self._next()
                except queue.Empty:
                    break
            items = [i for i in items if i.answer.set_running_or_notify_cancel()]
            if items:
                self._answer(items)

    def _next(self):
        return self.queue.get_nowait()

    def _answer(self, items):
        """Answers items; who asked for what cannot be served alone hears of it."""
        try:
            names = list(dict.fromkeys(name for item in items for name in item.tasks))
            with self.tasks.steady:
                lost = self.tasks.ensure(names)
                right = []
                for item in items:
                    reasons = [lost[name] for name in item.tasks if name in lost]
                    if reasons:
                        item.answer.set_exception(reasons[0])
                    else:
                        right.append(item)
                if right:
                    self._predict(right)
        except Exception as error:
            LOG.exception("a batch of %d images failed", len(items))
            for item in items:
                if not item.answer.done():
                    reason = f"the pass failed: {type(error).__name__}"
                    item.answer.set_exception(RequestError(500, reason))

    def _predict(self, items):
        start = time.perf_counter()
        found = self.tasks.bank.predict(
            _stacked([item.pixels for item in items]),
            tasks=[item.tasks for item in items],
            batch_size=self.max_batch,
        )
        self.observe(len(items), time.perf_counter() - start)
        specs = self.tasks.bank.specs
        for item, answer in zip(items, found):
            item.answer.set_result(
                {name: (specs[name], logits) for name, logits in answer.items()}
            )


def _stacked(pixels):
    """One array of them: of floats if one is."""
    if len({one.dtype for one in pixels}) > 1:
        pixels = [one.astype("float32") for one in pixels]
    return np.stack(pixels)
