"""Real data for `python -m keras_memvit.experiments table2` from Debian packages.

    apt-get install dataset-fashion-mnist openclipart-png
    python examples/table2_data.py --output data

makes `data/fashion_mnist` (a part of its official training and test images),
`data/openclipart` (folders of the package with at least 95 images, by top
folder) and `data/digits` (scikit-learn's), each a folder of class folders.
`--root` says where the packages' `share` folder is.
"""

import argparse
import gzip
import pathlib

import numpy as np
from PIL import Image

FASHION = "datasets/fashion-mnist"
CLASSES = [
    "T-shirt",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
]
# Fashion-MNIST images a class that are written, of 6,000 and 1,000.
PER_CLASS = {"train": 400, "test": 200}
NO_TASK = ("special", "unsorted")
FEWEST = 95


def read_idx(path, header):
    """The bytes of an IDX file behind its header."""
    return np.frombuffer(gzip.decompress(path.read_bytes()), "uint8", offset=header)


def write_images(folder, images, labels, names):
    """Gray images (n, h, w) as PNG files in class folders."""
    for i, (image, label) in enumerate(zip(images, labels)):
        path = folder / names[label] / f"{i:05d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path)


def fashion_mnist(root, output):
    for part, file in (("train", "train"), ("test", "t10k")):
        images = read_idx(root / FASHION / f"{file}-images-idx3-ubyte.gz", 16)
        labels = read_idx(root / FASHION / f"{file}-labels-idx1-ubyte.gz", 8)
        images = images.reshape(-1, 28, 28)
        count = PER_CLASS[part]
        kept = [np.flatnonzero(labels == k)[:count] for k in range(len(CLASSES))]
        kept = np.sort(np.concatenate(kept))
        folder = output / "fashion_mnist" / part
        write_images(folder, images[kept], labels[kept], CLASSES)


def openclipart(root, output):
    folder = output / "openclipart"
    folder.mkdir(parents=True, exist_ok=True)
    for source in sorted((root / "openclipart/png").iterdir()):
        many = sum(1 for _ in source.rglob("*.png")) >= FEWEST
        if many and source.name not in NO_TASK and not (folder / source.name).exists():
            (folder / source.name).symlink_to(source.resolve())


def digits(output):
    from sklearn.datasets import load_digits

    data = load_digits()
    images = (data.images * 255 / 16).astype("uint8")
    write_images(output / "digits", images, data.target, [str(k) for k in range(10)])


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--root", type=pathlib.Path, default="/usr/share")
    parser.add_argument("--output", type=pathlib.Path, default="data")
    args = parser.parse_args()
    digits(args.output)
    fashion_mnist(args.root, args.output)
    openclipart(args.root, args.output)
    print(f"{args.output}: {', '.join(sorted(p.name for p in args.output.iterdir()))}")


if __name__ == "__main__":
    main()
