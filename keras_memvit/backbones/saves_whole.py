"""Models whose files are whole or not there at all."""

import os
import pathlib

from keras_memvit.files.atomic import sync_file
from keras_memvit.files.atomic import sync_folder
from keras_memvit.files.exchange import put_folder
from keras_memvit.files.leftovers import scratch_folder


class SavesWhole:
    """In front of a `keras.Model`, whose `save` replaces a file in one step.

    Keras writes in place, so a process killed while it saves leaves neither the old
    file nor the new one.
    """

    def save(self, filepath, overwrite=True, zipped=None, **kwargs):
        """Saves the model as `keras.Model.save` does, whole or not at all.

        Written under another name and renamed: killed at any moment, the old file or
        the new one is there.

        Args:
            filepath: the file, `<name>.keras`.
            overwrite: bool. Whether an existing file is replaced; else Keras asks,
                and writes in place. Defaults to `True`.
            zipped: bool. `False` saves a folder.
            **kwargs: as Keras has them.
        """

        def save(path):
            super(SavesWhole, self).save(path, overwrite, zipped, **kwargs)

        _save_whole(save, filepath, overwrite)

    def save_weights(self, filepath, overwrite=True, max_shard_size=None):
        """Saves the weights as `keras.Model.save_weights` does, whole or not at all.

        Args:
            filepath: the file, `<name>.weights.h5`.
            overwrite: bool. Whether an existing file is replaced; else Keras asks,
                and writes in place. Defaults to `True`.
            max_shard_size: float. Gigabytes a file; several files cannot be replaced
                in one step, and are written in place.
        """

        def save(path):
            super(SavesWhole, self).save_weights(path, overwrite, max_shard_size)

        if max_shard_size is not None:
            return save(filepath)
        _save_whole(save, filepath, overwrite)


def _save_whole(save, path, overwrite):
    """Calls `save` on a path of the same name in a scratch folder, and moves it."""
    is_path = isinstance(path, (str, os.PathLike)) and "://" not in str(path)
    kept = is_path and os.path.exists(path) and not overwrite
    if not is_path or kept or not pathlib.Path(path).parent.is_dir():
        return save(path)
    path = pathlib.Path(path)
    with scratch_folder(path.parent) as scratch:
        written = scratch / path.name
        save(str(written))
        if written.is_dir():
            put_folder(written, path)
        else:
            sync_file(written)
            os.replace(written, path)
            sync_folder(path.parent)
