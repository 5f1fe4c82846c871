"""Images much smaller or much longer than the others, and classes with few."""

import numpy as np

SMALL = 0.25  # of the usual shorter side
LONG = 2.5  # times the usual ratio of the sides, either way


def odd_sizes(sizes):
    """`(row, reason)` of sizes that are far from the median.

    Args:
        sizes: ints `(n, 2)`, height and width.

    >>> odd_sizes([(100, 100)] * 5 + [(10, 12), (100, 900)])
    [(5, 'usual is a side of 100'), (6, 'usual is a ratio of 1.00')]
    """
    sizes = np.asarray(sizes, float)
    shorter, ratio = sizes.min(1), sizes[:, 1] / sizes[:, 0]
    side, usual = np.median(shorter), np.median(ratio)
    found = []
    for row in range(len(sizes)):
        if shorter[row] < SMALL * side:
            found.append((row, f"usual is a side of {side:g}"))
        elif max(ratio[row] / usual, usual / ratio[row]) > LONG:
            found.append((row, f"usual is a ratio of {usual:.2f}"))
    return found
