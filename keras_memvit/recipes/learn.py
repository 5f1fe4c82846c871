"""`learn`: from labelled images to the best task that the library knows to make."""

import os
import pathlib
import time
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from keras_memvit.backbones.convert import convert
from keras_memvit.data.found import LABEL
from keras_memvit.data.label_columns import check_kind
from keras_memvit.data.load import LabelledImages
from keras_memvit.data.load import load
from keras_memvit.files.atomic import write_json
from keras_memvit.models.sharing import save_task
from keras_memvit.recipes.budget import parse_budget
from keras_memvit.recipes.candidates import RIDGE
from keras_memvit.recipes.candidates import Candidate
from keras_memvit.recipes.candidates import file_bytes
from keras_memvit.recipes.candidates import parse_candidates
from keras_memvit.recipes.choice import batch_size_of
from keras_memvit.recipes.choice import choose
from keras_memvit.recipes.choice import epochs_of
from keras_memvit.recipes.choice import take
from keras_memvit.recipes.digest import digest
from keras_memvit.recipes.folds import choose_folds
from keras_memvit.recipes.learn_result import LearnResult
from keras_memvit.recipes.learned_task import all_examples
from keras_memvit.recipes.learned_task import choose_task
from keras_memvit.recipes.learned_task import only_task
from keras_memvit.recipes.progress import Progress
from keras_memvit.recipes.reporting import can_report
from keras_memvit.recipes.reporting import wants_report
from keras_memvit.recipes.reporting import write_report
from keras_memvit.recipes.ridge_head import RidgeHead
from keras_memvit.recipes.task_name import task_name
from keras_memvit.recipes.trials import Trials
from keras_memvit.recipes.trials import train
from keras_memvit.states.precompute import precompute

BATCH_SIZE = 32  # of images that are read


def learn(
    source: Any,
    backbone: Any,
    *,
    name: str | None = None,
    output: str | os.PathLike | None = None,
    candidates: str | Candidate | Sequence[Candidate] = "auto",
    kind: str = "auto",
    budget: Any = None,
    seed: int = 0,
    image_size: int | tuple[int, int] | None = None,
    epochs: int | None = None,
    cache: str | os.PathLike | None = None,
    report: bool | None = None,
    verbose: int = 1,
) -> LearnResult:
    """Learns a task as well as the library can, from labelled images.

    One pass of the frozen backbone over the images is kept in a store. A ridge head
    in closed form, then every other candidate (readout, adapter, learning rate) is
    trained from it as parallel tasks of one model; of many that differ in their rates
    only the better ones to the end. The best on held-out images is trained on every
    image, its head divided by one temperature, and compared with the bare backbone. It
    is never worse on the held-out images than the ridge head, which is a candidate too.

    Where a class has fewer than five held-out images, every image is held out in turn
    (up to five folds), also side by side in one model. Where `candidates` is one
    `Candidate` and no list, as of `recipes.fixed()`, nothing is held out or compared.

    Stopped at any moment, the next call with the same arguments finds the store and
    the candidates that were done, and goes on after the last epoch of what was not,
    where learning curves begin then.

    A multi-label task is chosen by mean average precision, a regression by R2.

    Args:
        source: what `data.load` takes, or a `LabelledImages`; of several tasks the
            one called `name`. Images are resized as the backbone's preset does it,
            those of a `LabelledImages` as that was loaded.
        backbone: what `build` takes.
        name: str, the task's name. Defaults to that of a manifest's column of labels,
            the source folder's or file's, else `"task"`.
        output: optional folder: gets `<name>.safetensors`, `<name>.json`, the
            table, and `report.html`.
        candidates: `"auto"`, or a list of `Candidate`, beside which the ridge head is
            always tried; or a single `Candidate`, which is trained on every image.
        kind: `"auto"`, as `data.load` finds it, or a kind of `TaskSpec`.
        budget: None; a number of seconds after which no further candidate is begun,
            so that they are trained one after the other; a string such as `"200kB"`,
            the most that the task's tensors may take; or a dict with some of
            `"seconds"`, `"candidates"`, `"bytes"`.
        seed: int. Decides hold-out, order and initial values.
        image_size: int or `(height, width)`. Defaults to the backbone's.
        epochs: int, over the store, by 64 images (by 32 of fewer than 640). Defaults
            to as many as show about 19,200 images, but at least 8 and at most 30.
        cache: folder of stores and finished candidates; by default
            `$KERAS_MEMVIT_CACHE`, else `~/.cache/keras_memvit`.
        report: whether to check the images (`data.check`) and to write
            `output/report.html`, a page for people; of single-label tasks. None:
            where the packages of `keras_memvit[report]` are installed.
        verbose: int. 0 = silent, 1 = progress bars.

    Returns:
        A `LearnResult`.

    Raises:
        ValueError: if an argument is not as above, or the source holds fewer than two
            classes, or one image of a class.

    Example:

    ```python
    birds = keras_memvit.recipes.learn("photos/birds", backbone, output="tasks")
    print(birds)
    model = keras_memvit.load_task(backbone, "tasks/birds.safetensors")
    ```
    """
    begun = time.monotonic()
    check_kind(kind)
    if epochs is not None and (type(epochs) is not int or epochs < 1):
        raise ValueError(
            f"`epochs` must be None or an int of at least 1. Received: {epochs!r}"
        )
    budget = parse_budget(budget)
    wanted = wants_report(report, output)
    shape = _image_shape(image_size)
    handle = os.fspath(backbone) if isinstance(backbone, (str, os.PathLike)) else None
    backbone, _ = convert(backbone, image_shape=shape)
    found = _load(source, backbone, seed, kind)
    task = choose_task(found, name, kind)
    if name is None and task.name != LABEL:  # a manifest's column
        name = task.name
    name = task_name(name, source)
    num_classes, kind = task.num_classes, task.kind
    alone, asked = isinstance(candidates, Candidate), candidates != "auto"
    wanted = wanted and can_report(report, kind, held_out=not alone)
    candidates = parse_candidates(candidates, backbone, num_classes, budget, kind)
    spec_of = {
        "num_classes": num_classes,
        "class_names": task.class_names,
        "kind": kind,
        "resizing": found.train.resizing,
    }
    RIDGE.spec(name, **spec_of)  # refuses a bad name before anything is computed
    if output is not None:
        pathlib.Path(output).mkdir(parents=True, exist_ok=True)

    progress = Progress(verbose)
    found = only_task(found, task)
    images, labels, held_out = all_examples(found)
    epochs, batch_size = epochs or epochs_of(len(labels)), batch_size_of(len(labels))
    cache = _cache(cache)
    key = digest(backbone.fingerprint(), images)
    store = precompute(
        backbone, images.ordered(), cache / "stores" / key, verbose=verbose
    )
    options = {"seed": seed, "batch_size": batch_size, "progress": progress}
    folds = choose_folds(labels, held_out, seed, kind)
    made_of = (key, labels, folds.fold, seed, batch_size, keras.backend.backend())
    made_of += () if kind == "single_label" else (kind,)
    folder = cache / "learn" / digest(*made_of)
    trials = Trials(
        backbone, store, labels, folds, num_classes, folder, kind, **options
    )
    ridge = RidgeHead(backbone, store, seed)
    if alone:
        choice = take(candidates[0], epochs)
    else:
        trials.add(RIDGE, ridge.held_out(labels, folds, num_classes, kind))
        judges = f"{len(folds.judged)} held-out images"
        progress.say(f"{len(candidates)} candidates, judged by {judges}")
        deadline = begun + budget.get("seconds", float("inf"))
        examples = images.examples
        choice = choose(trials, candidates, epochs, deadline, examples, progress, asked)

    best = choice.candidate
    progress.say(f"{best.words}: on all {len(labels)} images")
    spec = best.spec(name, **spec_of)
    if best.learning_rate is None:
        model = ridge.model(backbone, spec, labels)
    else:
        targets, length = {name: labels}, choice.epochs
        progress.plan(trials.cost(1, length))
        options["unfinished"] = folder / f"{digest(repr(best), name, length)}.resume"
        model = train(backbone, [spec], [best], store, targets, length, **options)
        progress.close()
    if kind != "regression":
        _divide_head(model.task_layers[name], choice.temperature)
    sizes = [file_bytes(c, backbone, num_classes, kind) for c in choice.ordered]
    result = LearnResult(
        name=name,
        model=model,
        candidate=best,
        table=[row | {"bytes": size} for row, size in zip(choice.table, sizes)],
        val_accuracy=choice.table[0].get("val_accuracy"),
        temperature=choice.temperature,
        class_names=list(task.class_names or ()),
        num_images=len(labels),
        skipped=found.skipped,
        backbone=handle,
        base_difference=model.verify_unchanged(images[0][0])["base"],
        evidence=choice.evidence,
        kind=kind,
    )
    if output is not None:
        result.path = pathlib.Path(output) / f"{name}.safetensors"
        save_task(model, name, result.path)
        write_json(result.path.with_suffix(".json"), result.card())
    if wanted:
        progress.say("checking the images and writing the report")
        write_report(result, found, ridge.features)
    return result


def _divide_head(layer, temperature):
    arrays = layer.arrays()
    for part in ("head/kernel", "head/bias"):
        arrays[part] = arrays[part] / np.float32(temperature)
    layer.assign_arrays(arrays)


def _image_shape(image_size):
    if image_size is None:
        return None
    size = (image_size, image_size) if isinstance(image_size, int) else image_size
    return (*size, 3)


def _load(source, backbone, seed, kind):
    size = backbone.image_shape[:2]
    if isinstance(source, LabelledImages):
        if tuple(source.train.image_size) != tuple(size):
            raise ValueError(
                f"`source` must have images of the backbone's size {tuple(size)}. "
                f"Received: {tuple(source.train.image_size)}"
            )
        return source
    options = {"image_size": size, "batch_size": BATCH_SIZE, "seed": seed}
    options["resizing"] = backbone.resizing
    return load(source, augment=None, validation_split=0.15, kind=kind, **options)


def _cache(folder):
    if folder is None:
        folder = os.environ.get("KERAS_MEMVIT_CACHE", "~/.cache/keras_memvit")
    return pathlib.Path(folder).expanduser()
