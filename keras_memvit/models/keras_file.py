"""A `.keras` file checked before anything is made of it."""

import json
import math
import zipfile

CONFIG, WEIGHTS = "config.json", "model.weights.h5"
MAX_CONFIG_BYTES = 1 << 26
MAX_RATIO = 20  # of a file's content to the file: Keras does not compress


def check_keras_file(path):
    """Checks an archive's checksums and that it holds what it says it holds.

    Args:
        path: the file.

    Returns:
        The model's config, and how many numbers the weights' file holds.

    Raises:
        ValueError: says what is wrong.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            sizes = {info.filename: info.file_size for info in archive.infolist()}
            if sum(sizes.values()) > MAX_RATIO * path.stat().st_size + (1 << 20):
                raise ValueError("its content is much larger than the file")
            if {CONFIG, WEIGHTS} - set(sizes) or len(sizes) < len(archive.infolist()):
                raise ValueError(f"it must hold {CONFIG} and {WEIGHTS}, once")
            if sizes[CONFIG] > MAX_CONFIG_BYTES:
                raise ValueError(f"its {CONFIG} has {sizes[CONFIG]} bytes")
            if (damaged := archive.testzip()) is not None:
                raise ValueError(f"the checksum of its {damaged} does not hold")
            config = json.loads(archive.read(CONFIG))
            if not isinstance(config, dict):
                raise ValueError(f"its {CONFIG} is no JSON object")
            with archive.open(WEIGHTS) as file:
                return config, _count_values(file)
    except Exception as error:  # parsers of damaged files raise anything
        raise ValueError(f"{path} cannot be loaded as a model: {error}") from error


def _count_values(file):
    """How many numbers an HDF5 file holds, each of which is really in it."""
    import h5py

    count, pending = 0, []
    with h5py.File(file, "r") as root:
        pending.append(root)
        seen = set()
        while pending:
            group = pending.pop()
            for name in group:
                if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                    raise ValueError(f"its weights '{name}' are in another file")
                item = group[name]
                address = h5py.h5o.get_info(item.id).addr
                if address in seen:  # two names of one thing: no end to be met
                    raise ValueError(f"its weights '{name}' are there twice")
                seen.add(address)
                if isinstance(item, h5py.Group):
                    pending.append(item)
                else:
                    count += _size(item)
    return count


def _size(dataset):
    size = math.prod(dataset.shape)
    if dataset.is_virtual or dataset.external:
        raise ValueError(f"its weights '{dataset.name}' are in another file")
    if dataset.id.get_storage_size() < size * dataset.dtype.itemsize:
        raise ValueError(f"its weights '{dataset.name}' are not all in the file")
    return size
