"""What the data check found, as the report shows it."""

import os
import pathlib

from keras_memvit.data.class_folders import ImageFile
from keras_memvit.data.image_files import printable
from keras_memvit.data.pictures import UnreadableImage
from keras_memvit.report.pictures import data_uri

MOST = 50  # findings of a kind
PICTURES = 12


def shortener(names):
    """A function that leaves out what the paths of all files begin with.

    A report that is passed on does not say where its maker keeps pictures.

    >>> short = shortener(["/home/ann/birds/crow/1.jpg", "/home/ann/birds/gull/2.jpg"])
    >>> short("/home/ann/birds/crow/7.jpg: damaged")
    'crow/7.jpg: damaged'
    """
    parents = [os.path.dirname(name) for name in names if os.path.isabs(name)]
    root = os.path.commonpath(parents) if parents else ""
    if root in {*parents}:  # one folder: its own name says something
        root = os.path.dirname(root)
    root = printable(root)
    start = root.rstrip(os.sep) + os.sep
    return lambda text: (
        printable(text).replace(start, "") if len(start) > 1 else printable(text)
    )


def files_of(check):
    """The names of all files that a `DataCheck`, or None, has findings of."""
    if check is None:
        return []
    every = [finding for found in check.findings.values() for finding in found]
    names = [
        getattr(finding, "files", [getattr(finding, "file", "")]) for finding in every
    ]
    return [name for some in names for name in some]


def check_view(check, short):
    """A dict of what a `DataCheck` found: `counts`, `kinds`, `pictures`.

    Args:
        check: a `DataCheck`.
        short: function from a text to what is shown of it.
    """
    kinds = []
    for words, found in check.findings.items():
        items = [short(str(finding)) for finding in found[:MOST]]
        kinds.append({"words": words, "count": len(found), "items": items})
    return {
        "num_images": check.num_images,
        "parts": [(part, sum(names.values())) for part, names in check.counts.items()],
        "kinds": kinds,
        "pictures": _suspects(check.wrong_labels or [], short),
        "with_backbone": check.wrong_labels is not None,
    }


def _suspects(wrong_labels, short):
    """Pictures whose label is suspected, where they are files."""
    found = []
    for wrong in wrong_labels:
        if len(found) == PICTURES or not os.path.isfile(wrong.file):
            break
        try:
            picture = data_uri(ImageFile(pathlib.Path(wrong.file))())
        except UnreadableImage:
            continue
        found.append(
            {
                "file": short(wrong.file),
                "picture": picture,
                "label": wrong.label,
                "suggested": wrong.suggested,
                "probability": wrong.probability,
            }
        )
    return found
