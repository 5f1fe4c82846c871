"""Images and task names to answers, whatever protocol asks."""

import asyncio

from keras_memvit.serving.server.answers import outputs_of
from keras_memvit.serving.server.errors import RequestError
from keras_memvit.serving.server.errors import busy
from keras_memvit.tasks.resizing import common_resizing

VERSION = "1"  # of every task's model; a changed file takes its place
ALL = "tasks"  # the model that answers several tasks, named in the request


class Service:
    """What all protocols share.

    Args:
        tasks: a `TaskFolder`.
        batcher: a `Batcher`.
        settings: a `Settings`.
    """

    def __init__(self, tasks, batcher, settings):
        self.tasks = tasks
        self.batcher = batcher
        self.settings = settings
        self.image_shape = tasks.bank.backbone.image_shape

    def spec(self, name):
        """A task's `TaskSpec`.

        Raises:
            RequestError: 404, if there is none.
        """
        spec = self.tasks.spec(name)
        if spec is None:
            raise RequestError(404, f"there is no task {name!r}")
        return spec

    def require(self, *names):
        """Raises a `RequestError` unless all these tasks are there."""
        for name in names:
            self.spec(name)

    def resizing(self, names):
        """How an image is resized that these tasks answer together.

        Raises:
            RequestError: 400, if they have several ways.
        """
        try:
            return common_resizing(map(self.spec, names))
        except ValueError as error:
            raise RequestError(400, str(error)) from None

    async def decode(self, decoder, values):
        """Runs a decoder over what a request carries, beside the event loop.

        Args:
            decoder: function `(value, what)` to pixels.
            values: list.
        """
        if len(values) > self.settings.max_images:
            raise RequestError(
                413,
                f"{len(values)} images in one request; at most "
                f"{self.settings.max_images} are taken",
            )

        def run():
            return [decoder(value, f"image {i}") for i, value in enumerate(values)]

        return await asyncio.get_running_loop().run_in_executor(None, run)

    async def answer(self, pixels, names):
        """Answers of images.

        Args:
            pixels: list of arrays `(H, W, 3)`.
            names: list of lists of task names, one an image.

        Returns:
            A list of dicts by task of dicts of arrays, see `outputs_of`.

        Raises:
            RequestError: if a task is not there, too many images wait, or it takes
                too long.
        """
        distinct = {name for own in names for name in own}
        self.require(*distinct)
        most = self.tasks.bank.capacity
        if len(distinct) > most:
            raise RequestError(
                413, f"{len(distinct)} tasks in one request; at most {most} are taken"
            )
        futures = []
        try:
            for image, own in zip(pixels, names):
                futures.append(self.batcher.submit(image, own))
            waiting = asyncio.gather(*map(asyncio.wrap_future, futures))
            found = await asyncio.wait_for(waiting, self.settings.timeout)
        except TimeoutError:
            raise busy(f"no answer within {self.settings.timeout:g} s") from None
        finally:
            for future in futures:
                future.cancel()  # what nobody waits for is not computed
        return [
            {name: outputs_of(*found_for) for name, found_for in row.items()}
            for row in found
        ]
