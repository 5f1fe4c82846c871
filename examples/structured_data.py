"""Generated pictures that ask where, how many and which way round.

    python examples/structured_data.py --output data/structured

makes three data sets for `python -m keras_memvit.experiments table2`, each a
folder `train` and a folder `test` of class folders: `orientation` (a heart turned
by any angle; 16 classes of angle), `location` (a shape anywhere; 16 classes of its
x) and `count` (1 to 8 shapes that do not touch; 8 classes). An image depends on
`--seed`, `--image-size`, its part and its number alone.
"""

import argparse
import colorsys
import pathlib

import numpy as np
from PIL import Image
from PIL import ImageDraw

from keras_memvit.files.leftovers import scratch_folder

PARTS = ("train", "test")
BINS = 16
MOST = 8  # shapes in an image
GAP = 0.03  # between two shapes at least, in image sizes
OVERSAMPLING = 4
SMALLEST = 32  # pixels an image


def circle_points(count=48):
    angle = 2 * np.pi * np.arange(count) / count
    return np.stack([np.cos(angle), np.sin(angle)], axis=1)


def heart():
    """A heart of radius 1 around its middle, tip down (y points down)."""
    t = 2 * np.pi * np.arange(96) / 96
    x = 16 * np.sin(t) ** 3
    y = -13 * np.cos(t) + 5 * np.cos(2 * t) + 2 * np.cos(3 * t) + np.cos(4 * t)
    points = np.stack([x, y - (y.min() + y.max()) / 2], axis=1)
    return points / np.linalg.norm(points, axis=1).max()


def star():
    return circle_points(10) * np.where(np.arange(10) % 2, 0.45, 1.0)[:, None]


SHAPES = {
    "heart": heart(),
    "circle": circle_points(),
    "ellipse": circle_points() * [1.0, 0.55],
    "triangle": circle_points(3),
    "square": circle_points(4),
    "star": star(),
}


def colour(rng, value):
    """A colour of any hue whose largest channel is `value`, RGB in [0, 255]."""
    return 255 * np.array(colorsys.hsv_to_rgb(rng.uniform(), rng.uniform(0, 1), value))


def background(rng, size):
    """A dim slope from one colour to another, `(size, size, 3)`."""
    first, last = (colour(rng, rng.uniform(0.05, 0.45)) for _ in range(2))
    angle = rng.uniform(0, 2 * np.pi)
    y, x = (np.mgrid[:size, :size] + 0.5) / size - 0.5
    slope = 0.5 + (x * np.cos(angle) + y * np.sin(angle)) / np.sqrt(2)
    return first + (last - first) * slope[..., None]


def draw(rng, size, shapes):
    """Bright shapes `(name, x, y, radius, angle)`, in image sizes, on a slope."""
    large = size * OVERSAMPLING
    image = Image.fromarray(background(rng, size).astype("uint8"))
    image = image.resize((large, large), Image.Resampling.BILINEAR)
    pen = ImageDraw.Draw(image)
    for name, x, y, radius, angle in shapes:
        turn = [[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]]
        points = large * (radius * SHAPES[name] @ turn + [x, y])
        fill = tuple(int(c) for c in colour(rng, rng.uniform(0.6, 1.0)))
        pen.polygon([tuple(point) for point in points], fill=fill)
    return image.reduce(OVERSAMPLING)


def any_shape(rng):
    return list(SHAPES)[rng.integers(len(SHAPES))], rng.uniform(0, 2 * np.pi)


def orientation(rng, label, size):
    """A heart, turned clockwise by `label` to `label + 1` sixteenths of a circle."""
    angle = 2 * np.pi * (label + rng.uniform()) / BINS
    radius = rng.uniform(0.14, 0.3)
    x, y = rng.uniform(radius, 1 - radius, 2)
    return draw(rng, size, [("heart", x, y, radius, angle)])


def location(rng, label, size):
    """A shape whose middle is in the `label`-th of 16 columns inside a margin."""
    radius = rng.uniform(0.08, 0.14)
    x = 0.14 + 0.72 * (label + rng.uniform()) / BINS
    y = rng.uniform(radius, 1 - radius)
    name, angle = any_shape(rng)
    return draw(rng, size, [(name, x, y, radius, angle)])


def count(rng, label, size):
    """`label + 1` shapes that do not touch."""
    placed = None
    while placed is None:
        placed = place(rng, label + 1)
    shapes = []
    for x, y, radius in rng.permutation(placed):
        name, angle = any_shape(rng)
        shapes.append((name, x, y, radius, angle))
    return draw(rng, size, shapes)


def place(rng, number, tries=50):
    """`number` circles `(x, y, radius)` apart from each other, or None."""
    placed = np.empty((0, 3))
    for radius in sorted(rng.uniform(0.05, 0.11, number), reverse=True):
        for _ in range(tries):
            x, y = rng.uniform(radius, 1 - radius, 2)
            apart = np.hypot(placed[:, 0] - x, placed[:, 1] - y)
            if np.all(apart > placed[:, 2] + radius + GAP):
                placed = np.concatenate([placed, [[x, y, radius]]])
                break
        else:
            return None
    return placed


KINDS = {  # what draws an image, and class names that sort in class order
    "orientation": (orientation, [f"{k:02d}" for k in range(BINS)]),
    "location": (location, [f"{k:02d}" for k in range(BINS)]),
    "count": (count, [str(k + 1) for k in range(MOST)]),
}


def write_kind(folder, kind, numbers, image_size, seed):
    """One data set: `{part: number of images}`, classes in turn."""
    generate, names = KINDS[kind]
    for part, number in numbers.items():
        for name in names:
            (folder / part / name).mkdir(parents=True)
        for i in range(number):
            stream = [seed, list(KINDS).index(kind), PARTS.index(part), i]
            label = i % len(names)
            image = generate(np.random.default_rng(stream), label, image_size)
            image.save(folder / part / names[label] / f"{i:05d}.png")


def make(output, num_train=1000, num_test=1000, image_size=98, seed=0):
    """Writes the three data sets into the folder `output`, all or nothing.

    Args:
        output: a folder that does not exist yet, or an empty one.
        num_train, num_test: int. Images of a data set, spread evenly over classes.
        image_size: int. Pixels of an image's side.
        seed: int. At least 0.

    Returns:
        `output` as a `pathlib.Path`.

    Raises:
        ValueError: if an argument is not as above.
    """
    output = pathlib.Path(output)
    if output.exists() and not (output.is_dir() and not any(output.iterdir())):
        raise ValueError(f"`output` must be new or an empty folder. Received: {output}")
    if min(num_train, num_test) < BINS or image_size < SMALLEST or seed < 0:
        raise ValueError(
            f"`num_train` and `num_test` must be at least {BINS}, `image_size` at "
            f"least {SMALLEST} and `seed` at least 0. Received: num_train={num_train}, "
            f"num_test={num_test}, image_size={image_size}, seed={seed}"
        )
    output.parent.mkdir(parents=True, exist_ok=True)
    with scratch_folder(output.parent) as temporary:
        staged = temporary / "structured"
        for kind in KINDS:
            numbers = dict(zip(PARTS, (num_train, num_test)))
            write_kind(staged / kind, kind, numbers, image_size, seed)
        if output.exists():
            output.rmdir()
        staged.rename(output)
    return output


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output", type=pathlib.Path, default="data/structured")
    parser.add_argument("--num-train", type=int, default=1000)
    parser.add_argument("--num-test", type=int, default=1000)
    parser.add_argument("--image-size", type=int, default=98)
    parser.add_argument("--seed", type=int, default=0)
    print(make(**vars(parser.parse_args())))


if __name__ == "__main__":
    main()
