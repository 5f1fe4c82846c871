"""Whether two pictures are one picture, cropped a little, brighter or recompressed."""

import numpy as np

MAX_SCALE = 0.15  # a crop may take so much of a side
MAX_SHIFT = 0.15
STEPS = 10
LOOK = 2  # after so many steps, pairs that are still far apart are given up
FAR = 0.35
BATCH = 256
FLAT = 4.0  # grey levels: contrast below which noise would decide
DARK, BRIGHT = 2, 253  # what is beyond may have been clipped
CLEAR = 0.1  # share of the picture that must not be
OVERLAP = 0.6  # share of the picture that must be compared


def aligned_distance(first, second):
    """How much of one picture's contrast the other does not explain.

    The first picture is moved, scaled (each side), made brighter and given more
    contrast so that it comes as near to the second as it can, by Gauss-Newton steps
    from where it is: `second(x, y) = gain first(a x + b, c y + d) + offset`. The
    distance is the root mean square of what is left, over the standard deviation of
    the second: 0 for one picture, near 1 for two that have nothing in common. It is
    that of the grey pictures, or half of the coloured ones' where that is more, since
    JPEG files keep colours coarsely. Beyond a change of 15 % of a side it is infinite.

    Args:
        first, second: arrays `(P, S, S, 3)`, small pictures in [0, 255].

    Returns:
        Floats `(P,)`.

    Reference:
        - Lucas and Kanade, An iterative image registration technique, 1981
    """
    found = np.full(len(first), np.inf)
    for i in range(0, len(first), BATCH):
        rows = slice(i, i + BATCH)
        found[rows] = _distances(
            np.asarray(first[rows], "float32"), np.asarray(second[rows], "float32")
        )
    return found


def _distances(first, second):
    side = first.shape[1]
    line = np.linspace(-1, 1, side, dtype="float32")
    grid = np.stack(np.meshgrid(line, line, indexing="ij")[::-1])  # x, y
    grey, wanted = first.mean(-1), second.mean(-1)
    down, across = np.gradient(grey, 2 / (side - 1), axis=(1, 2))
    layers = np.stack([grey, across, down], -1)
    rows = np.arange(len(first))  # of the pairs that are still looked at
    place = np.tile(np.float32([1, 0, 1, 0]), (len(first), 1))  # a, b, c, d
    nearest, best_place = np.full(len(first), np.inf), place.copy()
    for step in range(STEPS + 1):
        moved, inside = _sample(layers[rows], place[rows], grid)
        distance = _left(moved[..., :1], wanted[rows, ..., None], inside, place[rows])
        better = distance < nearest[rows]
        nearest[rows[better]] = distance[better]
        best_place[rows[better]] = place[rows[better]]
        place[rows] += _step(moved, wanted[rows], inside, grid)
        if step == LOOK:
            rows = rows[nearest[rows] < FAR]
            if not len(rows):
                break
    found = np.full(len(first), np.inf)
    moved, inside = _sample(first[rows], best_place[rows], grid)
    coloured = _left(moved, second[rows], inside, best_place[rows])
    found[rows] = np.maximum(nearest[rows], coloured / 2)
    return found


def _sample(pictures, place, grid):
    """Bilinear values `(P, S, S, C)` at the moved places, and which are inside.

    Rows and columns are moved apart, so that two products do it.
    """
    weights, inside = [], []
    for which, line in ((0, grid[0][0]), (2, grid[1][:, 0])):
        at = place[:, which, None] * line + place[:, which + 1, None]  # (P, S)
        inside.append(abs(at) <= 1.001)
        at = np.clip((at + 1) / 2, 0, 1) * (len(line) - 1)
        gap = abs(at[..., None] - np.arange(len(line), dtype="float32"))
        weights.append(np.maximum(1 - gap, 0))  # (P, S, S): from, to
    count, side, _, channels = pictures.shape
    lower = weights[1] @ pictures.reshape(count, side, side * channels)
    lower = lower.reshape(count, side, side, channels).swapaxes(1, 2)
    moved = weights[0] @ lower.reshape(count, side, side * channels)
    moved = moved.reshape(count, side, side, channels).swapaxes(1, 2)
    return moved, inside[1][:, :, None] & inside[0][:, None, :]


def _step(moved, wanted, inside, grid):
    """What to add to the places, by least squares with gain and offset."""
    count, pixels = len(moved), moved.shape[1] * moved.shape[2]
    grey, across, down = np.moveaxis(moved, -1, 0)
    columns = [across * grid[0], across, down * grid[1], down, grey, np.ones_like(grey)]
    matrix = np.stack(columns, -1) * inside[..., None]
    matrix = matrix.reshape(count, pixels, 6)
    # The gain is near 1, so that the change of place need not be divided by it.
    target = ((wanted - grey) * inside).reshape(count, pixels, 1)
    normal = matrix.transpose(0, 2, 1) @ matrix
    normal += (1e-6 * np.einsum("pii->p", normal) + 1e-6)[:, None, None] * np.eye(6)
    step = np.linalg.solve(normal, matrix.transpose(0, 2, 1) @ target)[:, :4, 0]
    return np.clip(step, -0.1, 0.1).astype("float32")


def _left(moved, wanted, inside, place):
    """What gain and offset leave of the difference, over the contrast."""
    mask = inside[..., None].astype("float32")
    count = inside.sum((1, 2))
    axes = {"axis": (1, 2, 3), "keepdims": True}
    size = np.maximum(count * moved.shape[-1], 1)[:, None, None, None]
    # What is black or white may have been clipped: it does not say how bright.
    clear = mask * ((wanted > DARK) & (wanted < BRIGHT))
    clear = np.where(clear.sum(**axes) > CLEAR * size, clear, mask)
    sure = np.maximum(clear.sum(**axes), 1)
    # Colours have one gain and one offset, so that they must agree.
    first = moved - (moved * clear).sum(**axes) / sure
    mean = (wanted * clear).sum(**axes) / sure
    gain = (first * (wanted - mean) * clear).sum(**axes)
    gain = np.clip(gain / ((first**2 * clear).sum(**axes) + 1e-6), 0.5, 2.0)
    rest = wanted - np.clip(gain * first + mean, 0, 255)
    contrast = (wanted - (wanted * mask).sum(**axes) / size) * mask
    found = np.sqrt(((rest * mask) ** 2).sum(**axes) / size)
    found /= np.maximum(np.sqrt((contrast**2).sum(**axes) / size), FLAT)
    outside = abs(place[:, [0, 2]] - 1).max(1) > MAX_SCALE
    outside |= abs(place[:, [1, 3]]).max(1) > MAX_SHIFT
    outside |= count < OVERLAP * inside.shape[1] * inside.shape[2]
    return np.where(outside, np.inf, found[:, 0, 0, 0])
