"""The settings that an output folder belongs to, and how tables call a backbone."""

import json
import pathlib

from keras_memvit.files.atomic import write_json
from keras_memvit.version import __version__


def check_settings(output, args, names):
    """Results of other settings must not be mixed with these.

    Args:
        output: the folder.
        args: the command's arguments.
        names: those of them that decide results.

    Raises:
        ValueError: if the folder holds results of other ones; names them.
    """
    settings = {"version": __version__}
    settings.update({name: str(getattr(args, name)) for name in names})
    path = output / "settings.json"
    if not path.exists():
        return write_json(path, settings)
    before = json.loads(path.read_text())
    differing = [k for k, v in settings.items() if before.get(k) != v]
    if differing:
        raise ValueError(
            f"`--output` holds results of other settings, which differ in {differing}: "
            f"choose an empty folder. Received: {output}"
        )


def backbone_name(args):
    """The backbone in words; of a local preset, its folder's name."""
    if args.smoke:
        return "random weights"
    folder = pathlib.Path(args.backbone)
    return folder.name if folder.is_dir() else args.backbone
