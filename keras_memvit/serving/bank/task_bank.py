"""`TaskBank`: many tasks over one backbone, loaded and unloaded while it serves."""

import os
import pathlib
import threading
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

import numpy as np

from keras_memvit.backbones.convert import convert
from keras_memvit.backbones.same_backbone import require_same_backbone
from keras_memvit.files.hub import local_path
from keras_memvit.models.task_weights import task_shapes
from keras_memvit.serving.bank.answering import Answering
from keras_memvit.serving.bank.bank_export import export_bank
from keras_memvit.serving.bank.entry import Entry
from keras_memvit.tasks.counts import as_count
from keras_memvit.tasks.spec import TaskSpec
from keras_memvit.tasks.task_file import read_arrays
from keras_memvit.tasks.task_file import read_card


class TaskBank:
    """Thousands of tasks over one backbone, of which each call names those it wants.

    A `MemoryViT` is made for the tasks that it has; a bank takes tasks in and lets
    them go while it answers. The tensors of the tasks that are asked for are stacked
    and given to compiled functions as arguments, so neither loading nor unloading
    compiles anything, and no answer depends on which other tasks are there. The
    backbone runs once a batch, and then the tasks of each kind (readout and adapter)
    together, for all images or, where many are asked for, each image's own alone.
    Numbers of images, tasks, memory tokens and classes are rounded up to
    powers of two.

    Args:
        backbone: anything that `build` takes as one.
        capacity: int. How many tasks may be loaded. Defaults to `1024`.
        max_memory_tokens: int. Most memory tokens a layer of a task. Defaults to `10`.
        max_classes: int. Most classes of a task. Defaults to `100`.
        readouts: names of the readouts that tasks may have.
        image_shape: optional `(height, width, 3)`, as of `build`.

    Raises:
        ValueError: if an argument is not as above.

    Example:

    ```python
    bank = keras_memvit.TaskBank(backbone)
    bank.load("faces.safetensors")
    bank.predict(images, tasks=["faces"])  # {"faces": (B, 2)} logits
    bank.predict(images[:2], tasks=[["faces"], []])  # tasks by image
    bank.unload("faces")
    ```
    """

    def __init__(
        self,
        backbone: Any,
        *,
        capacity: int = 1024,
        max_memory_tokens: int = 10,
        max_classes: int = 100,
        readouts: Sequence[str] = ("class_token", "deep", "side"),
        image_shape: Sequence[int] | None = None,
    ) -> None:
        self.capacity = as_count(capacity, "`capacity`")
        self.max_memory_tokens = as_count(max_memory_tokens, "`max_memory_tokens`")
        self.max_classes = as_count(max_classes, "`max_classes`")
        if isinstance(readouts, str):
            raise ValueError(f"`readouts` must be names. Received: {readouts!r}")
        self.readouts = tuple(readouts)
        self.backbone, _ = convert(backbone, image_shape=image_shape)
        self._answering = Answering(self.backbone)
        self._entries: dict[str, Entry] = {}  # replaced, never changed
        self._writing = threading.Lock()

    @property
    def specs(self) -> Mapping[str, TaskSpec]:
        """The `TaskSpec` of each task that is loaded, by name."""
        return {name: entry.spec for name, entry in self._entries.items()}

    @property
    def entries(self) -> Mapping[str, Entry]:
        """What is loaded, by name; a later call finds other objects."""
        return dict(self._entries)

    @property
    def nbytes(self) -> int:
        """Bytes of all tasks that are loaded."""
        return sum(entry.nbytes for entry in self._entries.values())

    @property
    def num_compilations(self) -> int:
        """How often a pass of a new shape was made."""
        return self._answering.num_compilations

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def check(self, path: str | os.PathLike, *, tensors: bool = False) -> TaskSpec:
        """Whether the bank takes a task file, by its card.

        Args:
            path: as of `load`.
            tensors: bool. Whether the tensors are read and checked too.

        Returns:
            The task's `TaskSpec`.

        Raises:
            ValueError: as of `load`; the bank's other tasks are not looked at.
        """
        path = local_path(path)
        card = read_card(path)
        spec = card["task"]
        require_same_backbone(
            self.backbone, card["backbone"], card["image_shape"], path
        )
        if card["attention"] != "masked" or spec.sees:
            raise ValueError(
                f"{path} holds a task that sees others or has unmasked attention: load "
                "it with `load_task`. A bank takes tasks that stand alone"
            )
        limits = {
            "max_memory_tokens": (spec.num_memory_tokens, self.max_memory_tokens),
            "max_classes": (spec.num_classes, self.max_classes),
        }
        for argument, (found, most) in limits.items():
            if found > most:
                raise ValueError(
                    f"{path} holds a larger task than the bank takes: its "
                    f"`{argument}` is {most}. Received: {found}"
                )
        if spec.readout.needs_embedding:
            raise ValueError(
                f"{path} is of a task with `head_init='text'`, which takes its "
                "backbone's image embedding; a bank has none. `load_task` takes it"
            )
        if spec.readout.name not in self.readouts:
            raise ValueError(
                f"The bank takes the `readouts` {list(self.readouts)}. "
                f"Received: '{spec.readout.name}', of {path}"
            )
        if tensors:
            read_arrays(path, task_shapes(spec, self.backbone))
        return spec

    def load(self, path: str | os.PathLike, *, overwrite: bool = False) -> str:
        """Takes a task in, also while others are answered.

        Args:
            path: a task file, also as `"hf://user/name/file.safetensors"`.
            overwrite: bool. Whether a task of the same name is replaced.

        Returns:
            The task's name.

        Raises:
            ValueError: if the file is damaged or belongs to another backbone, if the
                task sees others or is larger than the bank allows, if its name is
                taken, or the bank is full. The bank is as before then.
        """
        path = local_path(path)
        spec = self.check(path)
        arrays = read_arrays(path, task_shapes(spec, self.backbone))
        entry = Entry.of(spec, arrays, self.backbone)
        with self._writing:
            taken = spec.name in self._entries
            if taken and not overwrite:
                raise ValueError(
                    f"{path} holds the task '{spec.name}', which is loaded already: "
                    "unload it, or pass `overwrite=True`"
                )
            if not taken and len(self._entries) >= self.capacity:
                raise ValueError(
                    f"The bank is full: its `capacity` is {self.capacity}. "
                    f"Received: {path}"
                )
            self._entries = {
                **self._entries,
                spec.name: entry,
            }
        return spec.name

    def unload(self, name: str) -> None:
        """Lets a task go; calls that are being answered end with it.

        Args:
            name: str. The task.

        Raises:
            ValueError: if it is not loaded.
        """
        with self._writing:
            self._entry(self._entries, name)
            self._entries = {k: v for k, v in self._entries.items() if k != name}
            self._answering.forget()

    def predict(
        self,
        images: Any,
        tasks: Sequence[str] | Sequence[Sequence[str]],
        *,
        batch_size: int = 32,
    ) -> dict[str, np.ndarray] | list[dict[str, np.ndarray]]:
        """Answers of some tasks, in one pass of the backbone a batch.

        Args:
            images: `(B, H, W, 3)` in [0, 255].
            tasks: names of tasks; or, for each image, the names of its own.
            batch_size: int. Images a pass.

        Returns:
            A dict by task of float32 logits `(B, num_classes)`, of a regression its
            values; or a list of such dicts, `(num_classes,)` each, one an image.

        Raises:
            ValueError: if a task is not loaded, or images are not as above.
        """
        images = self._checked(images)
        batch_size = as_count(batch_size, "`batch_size`")
        asked = list(tasks)
        by_image = not all(isinstance(name, str) for name in asked)
        if isinstance(tasks, str) or not asked and len(images):
            raise ValueError(f"`tasks` must be names of tasks. Received: {tasks!r}")
        if by_image and len(asked) != len(images):
            raise ValueError(
                "`tasks` must be names, or a list of names for each of the "
                f"{len(images)} images. Received: {len(asked)} lists"
            )
        rows = [list(names) for names in asked] if by_image else [asked] * len(images)
        entries = self._entries
        known = {
            name: self._entry(entries, name)
            for name in dict.fromkeys(name for row in rows for name in row)
        }
        answers = []
        for start in range(0, len(images), batch_size):
            part = slice(start, start + batch_size)
            answers += self._answering.answer(images[part], rows[part], known)
        if by_image:
            return answers
        return {
            name: np.stack([row[name] for row in answers])
            if answers
            else np.zeros((0, entries[name].spec.num_classes), "float32")
            for name in (rows[0] if rows else asked)
        }

    def export_saved_model(
        self,
        path: str | os.PathLike,
        *,
        image_bytes: bool = True,
        max_pixels: int = 50_000_000,
        overwrite: bool = False,
    ) -> pathlib.Path:
        """Exports the tasks that are loaded as one SavedModel for TensorFlow Serving.

        Its signature `serving_default` takes `images` `(B, H, W, 3)` and `task_names`
        `(B, N)`, strings, each image's own; `serving_default_bytes` takes `image_bytes`
        `(B,)` in their place. They give `logits`, of a regression its values, and
        `probabilities` `(B, N, C)`, which are 0 beyond a task's own classes, and
        `num_classes` `(B, N)`. An empty name asks for nothing; an unknown one is an
        error for that request. `assets/tasks.json` has the class names by task.

        Args:
            path: `<folder>/<version>`, or `<folder>` for the next version in it.
            image_bytes: bool. Whether to write the signature for encoded images.
            max_pixels: int. A request with an encoded image of more is an error.
            overwrite: bool. Whether an existing version may be replaced.

        Returns:
            The version's folder, a `pathlib.Path`.

        Raises:
            ValueError: if the bank is empty, or the version exists.
            ImportError: if TensorFlow is missing.
            RuntimeError: if the SavedModel answers otherwise than the bank.
        """
        return export_bank(self, path, image_bytes, max_pixels, overwrite)

    def _entry(self, entries, name):
        if name not in entries:
            raise ValueError(
                f"`tasks` must be loaded; {len(entries)} are, such as "
                f"{list(entries)[:5]}. Received: {name!r}"
            )
        return entries[name]

    def _checked(self, images):
        images = np.asarray(images)
        shape = self.backbone.image_shape
        if images.ndim != 4 or images.shape[1:] != tuple(shape):
            raise ValueError(
                f"`images` must have the shape {(None, *shape)}. "
                f"Received: {images.shape}"
            )
        return images if images.dtype == "uint8" else images.astype("float32")
