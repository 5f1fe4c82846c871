"""`python -m keras_memvit.experiments table2 --data SOURCE --backbone PRESET`.

Accuracy by regime and number of memory tokens ("cells"): the learning rate of
each is chosen on a validation split, then several seeds are trained and tested.
Killed, it goes on where it was; results are in `--output`.
"""

import argparse
import pathlib

from keras_memvit.experiments import table2
from keras_memvit.experiments.regimes import OPTIMIZERS
from keras_memvit.experiments.regimes import REGIMES
from keras_memvit.experiments.regimes import WITH_CELLS


def regime_and_cells(text):
    """`"masked"` -> `("masked", None)`, `"masked:1,5"` -> `("masked", [1, 5])`."""
    name, _, cells = text.partition(":")
    if name not in REGIMES or cells and name not in WITH_CELLS:
        raise argparse.ArgumentTypeError(
            f"{text!r} is none of {', '.join(REGIMES)}; with cells, as in "
            f"masked:1,5, {', '.join(WITH_CELLS)}"
        )
    return name, [int(count) for count in cells.split(",")] if cells else None


def parse(argv=None):
    """The command line's arguments."""
    parser = argparse.ArgumentParser(
        prog="python -m keras_memvit.experiments",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("experiment", choices=["table2"])
    parser.add_argument("--data", help="folder of class folders, or a TFDS name")
    parser.add_argument("--name", help="how tables call the data")
    parser.add_argument("--backbone", help="preset name, folder or hf:// handle")
    parser.add_argument("--output", default="table2_output")
    parser.add_argument("--image-size", type=int, default=224)
    parser.add_argument(
        "--regimes",
        nargs="+",
        type=regime_and_cells,
        metavar="REGIME[:CELLS]",
        default=[(name, None) for name in REGIMES],
        help=f"{', '.join(REGIMES)}; masked:1,5 has cells of its own",
    )
    parser.add_argument("--cells", nargs="+", type=int, default=[1, 5, 10, 20])
    parser.add_argument(
        "--optimizer",
        choices=OPTIMIZERS,
        default="adamw",
        help="sgd is the paper's; a head alone takes sgd in any case",
    )
    parser.add_argument("--learning-rates", nargs="+", type=float)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument(
        "--image-seeds", type=int, help="of regimes that train from images; slow ones"
    )
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument(
        "--image-epochs", type=int, help="of regimes that train from images"
    )
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--max-per-class", type=int)
    parser.add_argument(
        "--augment", choices=["none", "inception", "pad"], default="none"
    )
    parser.add_argument("--views", type=int, default=1, help="crops stored an image")
    parser.add_argument("--dtype", help="of regimes that train from images")
    parser.add_argument(
        "--smoke",
        action="store_true",
        help="all of it, small: coloured noise, a tiny random backbone",
    )
    args = parser.parse_args(argv)
    if args.smoke:
        args.data, args.backbone, args.image_size = "coloured noise", None, 32
        args.cells, args.learning_rates = [1, 2], [0.03, 0.1]
        args.seeds, args.image_seeds, args.epochs = 2, 1, 8
    elif not args.data or not args.backbone:
        parser.error("--data and --backbone are required, or --smoke")
    args.regimes = [
        (name, (cells or args.cells) if name in WITH_CELLS else [0])
        for name, cells in args.regimes
    ]
    args.image_seeds = args.image_seeds or args.seeds
    args.image_epochs = args.image_epochs or args.epochs
    args.name = args.name or pathlib.Path(args.data).name
    return args


if __name__ == "__main__":
    table2.run(parse())
