"""Pictures read by threads while the batch before them is computed."""

import collections
import concurrent.futures
import itertools

from keras_memvit.data.crops import resize
from keras_memvit.data.pictures import UnreadableImage
from keras_memvit.data.pictures import read_image


def read_ahead(pictures, image_size, resizing, batch_size, threads):
    """Batches of what was read, the next two always in work.

    Args:
        pictures: iterable of `(name, read)`, see `pictures_of`.
        image_size: `(height, width)`.
        resizing: str, as of `data.load`.
        batch_size, threads: ints.

    Yields:
        Lists of `(name, pixels or None, reason or None)`.
    """
    with concurrent.futures.ThreadPoolExecutor(threads) as pool:
        ahead, pictures = collections.deque(), iter(pictures)
        while batch := list(itertools.islice(pictures, batch_size)):
            how = (image_size, resizing)
            ahead.append([pool.submit(_read, *one, *how) for one in batch])
            if len(ahead) > 2:
                yield [one.result() for one in ahead.popleft()]
        for batch in ahead:
            yield [one.result() for one in batch]


def _read(name, read, image_size, resizing):
    try:
        return name, resize(read_image(read()), image_size, resizing), None
    except UnreadableImage as error:
        return name, None, str(error)
