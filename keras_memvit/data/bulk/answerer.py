"""A worker of `predict_folder`: it has the model, and answers units of pictures."""

import importlib
import json
import pathlib

import keras
import numpy as np

from keras_memvit.data.answers import error_rows
from keras_memvit.data.answers import rows_of
from keras_memvit.data.answers import write_parquet
from keras_memvit.data.bulk.read_ahead import read_ahead
from keras_memvit.data.bulk.unit_pictures import pictures_of
from keras_memvit.data.bulk.units import name_of
from keras_memvit.models.load_model import load_model
from keras_memvit.tasks.resizing import common_resizing


class Answerer:
    """What Ray Data makes once a worker and calls for batches of units.

    Args:
        model: path of the `.keras` file.
        output: folder of the files of answers, one a unit.
        top, batch_size, threads: ints.
        columns: names of the columns of images and of keys, or None.
        modules: names of the modules that register the readouts of the model's tasks.
    """

    def __init__(self, model, output, top, batch_size, threads, columns, modules):
        for module in modules:
            importlib.import_module(module)
        self.model = load_model(model, compile=False)
        self.specs = {spec.name: spec for spec in self.model.specs}
        self.output = pathlib.Path(output)
        self.top = top
        self.batch_size = batch_size
        self.threads = threads
        self.columns = columns

    def __call__(self, batch):
        for text in batch["unit"]:
            unit = json.loads(text)
            path = self.output / f"{name_of(unit)}.parquet"
            if not path.exists():  # a worker that died may have come so far
                write_parquet(path, self._rows(unit))
        return {"unit": batch["unit"]}

    def _rows(self, unit):
        rows = []
        pictures = pictures_of(unit, *self.columns)
        how = (self.model.backbone.image_shape[:2], common_resizing(self.model.specs))
        for batch in read_ahead(pictures, *how, self.batch_size, self.threads):
            rows += error_rows((name, why) for name, _, why in batch if why)
            names = [name for name, _, why in batch if not why]
            if names:
                pixels = [pixels for _, pixels, why in batch if not why]
                rows += rows_of(names, self._predict(pixels), self.specs, self.top)
        return rows

    def _predict(self, pixels):
        """Answers of up to `batch_size` images, in a pass of always one shape."""
        images = np.zeros((self.batch_size, *pixels[0].shape), pixels[0].dtype)
        images[: len(pixels)] = pixels
        found = self.model.predict_on_batch(images)
        return keras.tree.map_structure(
            lambda values: np.asarray(values)[: len(pixels)], found
        )
