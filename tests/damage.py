"""Damaging files at random, and what may come of reading them."""

import resource
import time

import numpy as np

REFUSED = (ValueError, OSError)


def mutate(content, rng):
    """A copy of `content`, bytes, with bits, bytes or blocks changed."""
    content = bytearray(content)
    kind = rng.integers(7)
    size = len(content)
    at = int(rng.integers(size))
    length = int(rng.integers(1, min(64, size) + 1))
    if kind == 0:
        content[at] ^= 1 << int(rng.integers(8))
    elif kind == 1:
        for _ in range(int(rng.integers(2, 9))):
            content[int(rng.integers(size))] ^= 1 << int(rng.integers(8))
    elif kind == 2:
        content[at] = int(rng.integers(256))
    elif kind == 3:
        del content[at:]
    elif kind == 4:
        del content[at : at + length]
    elif kind == 5:
        content[at:at] = rng.integers(0, 256, length, "uint8").tobytes()
    else:  # two blocks change places, early ones more often: headers are there
        other = int(rng.integers(min(size, 2048)))
        length = min(length, size - max(at, other))
        first, second = content[at : at + length], content[other : other + length]
        content[at : at + length], content[other : other + length] = second, first
    return bytes(content)


class Outcomes:
    """Counts what came of reading damaged files, and what it cost."""

    def __init__(self):
        self.refused, self.equal, self.wrong = 0, 0, []
        self.seconds = 0.0
        self.megabytes = _peak_megabytes()

    def read(self, what, read, equals):
        """Reads one; `equals` says whether the result is the original's."""
        start = time.perf_counter()
        try:
            result = read()
        except REFUSED:
            self.refused += 1
        except Exception as error:  # noqa: BLE001 (that is what is looked for)
            self.wrong.append((what, repr(error)))
        else:
            if equals(result):
                self.equal += 1
            else:
                self.wrong.append((what, "accepted, with other values"))
        self.seconds = max(self.seconds, time.perf_counter() - start)

    def check(self):
        """Nothing but refusals and the original's values, quickly, in little memory."""
        grown = _peak_megabytes() - self.megabytes
        print(
            f"{self.refused} refused, {self.equal} with the original's values, "
            f"{len(self.wrong)} wrong; at most {self.seconds:.2f} s, {grown:.0f} MB"
        )
        assert not self.wrong, self.wrong[:5]
        assert self.refused
        assert self.seconds < 2.0
        assert grown < 200


def same(found, expected):
    """Whether two dicts of arrays are equal to the bit."""
    return found.keys() == expected.keys() and all(
        np.array_equal(found[name], expected[name]) for name in expected
    )


def _peak_megabytes():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
