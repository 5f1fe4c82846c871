"""Whether a folder holds classes, or parts to train and to validate of classes."""

from keras_memvit.data.image_files import SUFFIXES
from keras_memvit.data.image_files import list_folder
from keras_memvit.data.image_files import printable

ROLES = {
    "train": ("train", "training", "trn"),
    "validation": ("val", "valid", "validation", "dev", "eval"),
    "test": ("test", "testing", "tst"),
}


def find_parts(folder):
    """`(class folders or None, train, validation, left out)`.

    Args:
        folder: a `pathlib.Path`.

    Returns:
        The folder itself, None, None where it holds class folders; None, the
        part to train and the part to validate where it holds parts; and
        `(path, reason)` of what is not looked into.

    Raises:
        ValueError: if it could be either.
    """
    folders, files, left_out = list_folder(folder)
    left_out += [(str(file), "in no class folder") for file in files]
    named = {path: role for path in folders if (role := _role(path))}
    holding = [path for path in named if list_folder(path)[0]]  # class folders
    if not holding:
        _refuse_flat_parts(folder, folders, set(named.values()))
        _refuse_parts_in_classes(folder, folders)
        return folder, None, None, left_out
    roles = list(named.values())
    other = [path for path in folders if path not in named]
    strange = [path for path in other if _holds_images(path)]
    parts = {role: path for path, role in named.items()}
    held_out = parts.get("validation", parts.get("test"))
    whole = len(roles) == len(set(roles)) == len(holding)
    if strange or not whole or "train" not in parts or held_out is None:
        _refuse(
            folder,
            folders,
            "parts need one folder of class folders to train, one to validate "
            "('val') or to test, and no class beside them; classes need other names "
            "than parts. For one part alone give its own path",
        )
    left_out += [(str(path), "no image in it") for path in other]
    if "validation" in parts and "test" in parts:
        reason = f"{held_out.name!r} is there to validate; the test part is not read"
        left_out.append((str(parts["test"]), reason))
    return None, parts["train"], held_out, left_out


def _role(path):
    name = path.name.casefold()
    return next((role for role, names in ROLES.items() if name in names), None)


def _refuse_flat_parts(folder, folders, roles):
    """`train` and `test` that hold images: classes of that name, or no classes."""
    if "train" in roles and len(roles) > 1:
        _refuse(
            folder,
            folders,
            "they are named as parts and hold no class folders. If they are parts, put "
            "the images into class folders in each; if they are classes, rename one",
        )


def _refuse_parts_in_classes(folder, folders):
    """`cats/train`, `cats/val`: read as one class, images to validate train."""
    for path in folders:
        inner = list_folder(path)[0]
        roles = {_role(part) for part in inner} - {None}
        if "train" in roles and len(roles) > 1:
            _refuse(
                path,
                inner,
                f"parts to train and to validate in {printable(path.name)!r}, which "
                "would be a class: turn the layout round, parts outside",
            )


def _holds_images(folder):
    pending = [folder]
    seen = 0
    while pending and seen < 1000:  # a link may lead in a circle
        folders, files, _ = list_folder(pending.pop())
        pending += folders
        seen += 1
        if any(file.suffix.lower() in SUFFIXES for file in files):
            return True
    return False


def _refuse(folder, folders, reason):
    names = [printable(path.name) for path in folders[:20]]
    raise ValueError(
        f"`source` could mean two things: {reason}. Received the folders {names} in "
        f"{printable(folder)}"
    )
