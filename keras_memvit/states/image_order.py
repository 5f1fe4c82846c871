"""The passes of `precompute` must have the same image in the same place."""

import hashlib

import numpy as np

FOLLOWED = 10_000  # images at the start of a pass


class ImageOrder:
    """Refuses a later pass that gives the first one's images in another order.

    What augments at random gives other images, of which nothing is known; what
    augments some of them leaves the others in their places.
    """

    def __init__(self):
        self._digests = []  # of the first pass
        self._known = set()
        self._kept, self._moved = 0, 0

    def follow(self, view, start, images):
        """Takes the next images of a pass, the first of which is number `start`."""
        if start == 0:
            self._kept, self._moved = 0, 0
        digests = [_digest(image) for image in images[: max(FOLLOWED - start, 0)]]
        if view == 0:
            self._digests += digests
            self._known.update(digests)
            return
        for expected, digest in zip(self._digests[start:], digests):
            self._kept += digest == expected
            self._moved += digest != expected and digest in self._known
        # One alone may be a mirrored double.
        if self._moved > max(self._kept, 1):
            raise ValueError(
                "`dataset` must give the same images in the same order in each of its "
                "passes, since `views` pairs them: turn shuffling off. Received "
                f"{self._moved} of the first {start + len(digests)} images of view "
                f"{view} at other places than in view 0"
            )


def _digest(image):
    image = np.ascontiguousarray(image)
    return hashlib.blake2b(image.view("uint8"), digest_size=16).digest()
