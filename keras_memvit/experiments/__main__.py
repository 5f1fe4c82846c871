"""`python -m keras_memvit.experiments table2 --data SOURCE --backbone PRESET`.

`table2`: accuracy by regime and number of memory tokens ("cells"): the learning rate
of each is chosen on a validation split, then several seeds are trained and tested.
`incremental`: classes arrive in tasks, one after the other; who answers over all of
them. Killed, both go on where they were; results are in `--output`.
"""

import argparse
import pathlib

from keras_memvit.experiments import incremental
from keras_memvit.experiments import table2
from keras_memvit.experiments.learners import METHODS
from keras_memvit.experiments.regimes import OPTIMIZERS
from keras_memvit.experiments.regimes import REGIMES
from keras_memvit.experiments.regimes import WITH_CELLS
from keras_memvit.experiments.stream import READOUTS

RUN = {"table2": table2.run, "incremental": incremental.run}


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
    commands = parser.add_subparsers(dest="experiment", required=True)
    _table2(commands.add_parser("table2", help="the paper's Table 2"))
    _incremental(commands.add_parser("incremental", help="tasks arrive in turn"))
    args = parser.parse_args(argv)
    if args.smoke:
        args.data, args.backbone, args.image_size = "coloured noise", None, 32
    elif not args.data or not args.backbone:
        parser.error("--data and --backbone are required, or --smoke")
    args.output = args.output or f"{args.experiment}_output"
    args.name = args.name or pathlib.Path(args.data).name
    args.finish(args)
    del args.finish
    return args


def _common(parser, epochs):
    parser.add_argument("--data", help="folder of class folders, or a TFDS name")
    parser.add_argument("--name", help="how tables call the data")
    parser.add_argument("--backbone", help="preset name, folder or hf:// handle")
    parser.add_argument("--output", help="by default table2_output and the like")
    parser.add_argument("--image-size", type=int, default=224)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=epochs)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--max-per-class", type=int)
    parser.add_argument(
        "--smoke",
        action="store_true",
        help="all of it, small: coloured noise, a tiny random backbone",
    )


def _table2(parser):
    _common(parser, epochs=None)
    parser.set_defaults(finish=_finish_table2)
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
    parser.add_argument(
        "--image-seeds", type=int, help="of regimes that train from images; slow ones"
    )
    parser.add_argument(
        "--image-epochs", type=int, help="of regimes that train from images"
    )
    parser.add_argument(
        "--augment", choices=["none", "inception", "pad"], default="none"
    )
    parser.add_argument("--views", type=int, default=1, help="crops stored an image")
    parser.add_argument("--dtype", help="of regimes that train from images")


def _finish_table2(args):
    if args.smoke:
        args.cells, args.learning_rates = [1, 2], [0.03, 0.1]
        args.seeds, args.image_seeds, args.epochs = 2, 1, 8
    args.learn_epochs = args.epochs  # None: as many as `learn` finds right
    args.epochs = args.epochs or 12
    args.regimes = [
        (name, (cells or args.cells) if name in WITH_CELLS else [0])
        for name, cells in args.regimes
    ]
    args.image_seeds = args.image_seeds or args.seeds
    args.image_epochs = args.image_epochs or args.epochs


def _incremental(parser):
    _common(parser, epochs=20)
    parser.set_defaults(finish=_finish_incremental)
    parser.add_argument(
        "--tasks", type=int, default=5, help="into how many the classes are split"
    )
    parser.add_argument(
        "--readout",
        choices=READOUTS,
        default="side",
        help="what tasks are trained with; ridge is a head in closed form",
    )
    parser.add_argument("--learning-rate", type=float, help="by default the readout's")
    parser.add_argument(
        "--random-features", type=int, default=2048, help="of unify's ridge"
    )
    parser.add_argument(
        "--methods",
        nargs="+",
        choices=METHODS,
        metavar="METHOD",
        default=list(METHODS),
        help=", ".join(METHODS),
    )


def _finish_incremental(args):
    if args.smoke:
        args.tasks, args.seeds, args.epochs, args.random_features = 3, 2, 8, 128


if __name__ == "__main__":
    found = parse()
    RUN[found.experiment](found)
