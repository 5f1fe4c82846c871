"""TensorFlow Datasets by name, with random access."""

import difflib
import functools
import io
import pathlib

from keras_memvit.data.found import single_label
from keras_memvit.data.pictures import read_image


def from_tfds(source, not_there):
    """`Found` of a set; its validation part, else its test part, is held out.

    Args:
        source: str, or a builder.
        not_there: function from a name to what an error says of it.
    """
    try:
        import tensorflow_datasets as tfds
    except ImportError as error:
        raise ImportError(
            f"`source` {source!r} is no folder; as a TensorFlow Datasets name it "
            "needs tensorflow-datasets: pip install tensorflow-datasets"
        ) from error
    builder = source
    if isinstance(source, str):  # a format with random access
        try:
            builder = tfds.builder(source, file_format="array_record")
        except tfds.core.DatasetNotFoundError as error:
            close = difflib.get_close_matches(source, tfds.list_builders())
            raise ValueError(
                "`source` must be a folder or the name of a TensorFlow Datasets set"
                f"{f' (such as {close})' if close else ''}. "
                + not_there(source, pathlib.Path(source))
            ) from error
    builder.download_and_prepare()
    encoded = {"image": tfds.decode.SkipDecoding()}

    def examples(split):
        records = builder.as_data_source(split, decoders=encoded)

        def image(i):
            return read_image(io.BytesIO(records[i]["image"]))

        return [
            (functools.partial(image, i), int(record["label"]))
            for i, record in enumerate(records)
        ]

    held_out = [n for n in ("validation", "test") if n in builder.info.splits]
    names = list(builder.info.features["label"].names)
    validation = examples(held_out[0]) if held_out else None
    return single_label(examples("train"), validation, names)
