"""`few_shot`: how well a few labelled images do, over many draws of them."""

import tempfile
from collections.abc import Sequence
from typing import Any

import numpy as np

from keras_memvit.backbones.convert import convert
from keras_memvit.recipes.closed_form import nearest_mean_scores
from keras_memvit.recipes.closed_form import ridge_scores
from keras_memvit.recipes.episodes import draw_episode
from keras_memvit.recipes.few_shot_result import FewShotResult
from keras_memvit.recipes.few_shot_result import rows_of
from keras_memvit.recipes.few_shot_training import TRAINED
from keras_memvit.recipes.few_shot_training import EpisodeTrainer
from keras_memvit.recipes.mutual import FrozenReads
from keras_memvit.recipes.mutual import mutual_scores
from keras_memvit.states.precompute import precompute
from keras_memvit.states.store import StateStore

METHODS = ("mean", "ridge", "mutual", "memory", "side")
CLOSED_FORM = ("mean", "ridge")  # in all episodes


def few_shot(
    backbone: Any,
    source: Any,
    *,
    shots: Sequence[int] = (1, 5, 16),
    ways: int | None = None,
    episodes: int = 600,
    seed: int = 0,
    methods: Sequence[str] = METHODS,
    num_queries: int = 15,
    costly_episodes: int = 20,
    epochs: int = 60,
) -> FewShotResult:
    """Measures few-shot accuracy on frozen states, each method in the same episodes.

    An episode draws classes, of each class `shots` support images with labels, and
    queries to be classified by them. Methods:

    - `"mean"`: the nearest mean of unit-length frozen class tokens;
    - `"ridge"`: a ridge head on these in closed form, its strength chosen by leaving
      one support image out;
    - `"mutual"`: support and query exchange patches in the last layer: the class token
      of each reads the other's patches, and the two are compared with the class' mean
      by their cosines. Nothing is trained;
    - `"memory"`, `"side"`: tasks with that readout, trained on the support images with
      one fixed setting, side by side as tasks of one model.

    The first two run in all episodes, the others in the first `costly_episodes`.

    Args:
        backbone: what `build` takes; a store has not the weights of the last layer.
        source: a `StateStore` of it with the labels of one single-label task, or
            arrays `(images, labels)`. Images without a label (-1) are left out.
        shots: ints, support images a class.
        ways: int, classes an episode. Defaults to all.
        episodes: int. One-shot accuracy varies: take hundreds.
        seed: int. Decides the episodes and initial values.
        methods: some of the above.
        num_queries: int. Queries a class, or as many as it has besides the support.
        costly_episodes: int. Of `"mutual"`, `"memory"`, `"side"`.
        epochs: int. Passes over the support images, of `"memory"`, `"side"`.

    Returns:
        A `FewShotResult`.

    Raises:
        ValueError: if an argument is not as above, or a class has no image left to be
            a query.

    Example:

    ```python
    store = keras_memvit.precompute(backbone, (pictures, labels), "few_states")
    options = {"ways": 2, "episodes": 50, "methods": ["mean", "ridge"]}
    print(keras_memvit.recipes.few_shot(backbone, store, shots=(1, 5), **options))
    ```

    Reference:
        - [Zhu et al., 2024](https://arxiv.org/abs/2405.03109), `"mutual"`, frozen
        - [Snell et al., 2017](https://arxiv.org/abs/1703.05175), `"mean"`
    """
    methods, shots = _check(methods, shots, episodes, num_queries, costly_episodes)
    backbone, _ = convert(backbone)
    if "mutual" in methods and not backbone.use_class_token:
        raise ValueError(
            "`methods` must be without 'mutual' on a backbone without a class token, "
            f"which is what reads other images. Received: methods={methods}"
        )
    with tempfile.TemporaryDirectory() as folder:
        if not isinstance(source, StateStore):
            source = precompute(backbone, source, folder, verbose=0)
        source.check(backbone)
        labels = _labels_of(source)
        ways = _check_ways(labels, ways, max(shots))
        reads = FrozenReads(backbone, source)
        answer = {
            "mean": lambda episode: nearest_mean_scores(reads.features, episode),
            "ridge": lambda episode: ridge_scores(reads.features, episode),
            "mutual": lambda episode: mutual_scores(reads, episode),
        }
        trained = [method for method in methods if method in TRAINED]
        found = {(method, count): [] for count in shots for method in methods}
        for count in shots:
            trainer = None
            if trained:
                options = (ways, epochs, seed)
                trainer = EpisodeTrainer(backbone, source, trained, *options)
            for number in range(episodes):
                costly = number < costly_episodes
                if not costly and not set(methods) & set(CLOSED_FORM):
                    break
                episode = draw_episode(labels, count, ways, num_queries, seed, number)
                scores = trainer.scores(episode) if costly and trained else {}
                for method in methods:
                    if method in answer and (costly or method in CLOSED_FORM):
                        scores[method] = answer[method](episode)
                for method, values in scores.items():
                    right = values.argmax(-1) == episode.query_labels
                    found[method, count].append(np.mean(right))
    found = {key: np.asarray(values) for key, values in found.items()}
    of = f"backbone of {backbone.num_layers} layers, width {backbone.hidden_dim}, "
    of += f"{source.num_images} images, fingerprint {backbone.fingerprint()[:12]}"
    return FewShotResult(rows_of(found), found, ways, num_queries, of)


def _check(methods, shots, episodes, num_queries, costly_episodes):
    methods = [methods] if isinstance(methods, str) else list(methods)
    if not methods or set(methods) - set(METHODS) or len(set(methods)) < len(methods):
        raise ValueError(
            f"`methods` must be distinct ones of {list(METHODS)}. Received: {methods}"
        )
    shots = [shots] if isinstance(shots, int) else list(shots)
    counts = {
        "shots": shots or [0],
        "episodes": [episodes],
        "num_queries": [num_queries],
        "costly_episodes": [costly_episodes],
    }
    for argument, values in counts.items():
        if not all(isinstance(v, (int, np.integer)) and v >= 1 for v in values):
            raise ValueError(
                f"`{argument}` must be of ints of at least 1. Received: {values}"
            )
    return methods, list(dict.fromkeys(shots))


def _labels_of(store):
    """The labels of one task, ints `(n,)`."""
    labels = store.labels
    if isinstance(labels, dict) and len(labels) == 1:
        (labels,) = labels.values()
    if isinstance(labels, dict) or labels is None:
        raise ValueError(
            "`source` must have the labels of one task (see `StateStore.with_labels`). "
            f"Received those of {sorted(labels or ())}"
        )
    labels = np.asarray(labels)
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
        raise ValueError(
            "`source` must have one class an image, ints of the shape (n,). "
            f"Received: {labels.dtype} of the shape {labels.shape}"
        )
    return labels.astype("int64")


def _check_ways(labels, ways, shots):
    classes, counts = np.unique(labels[labels >= 0], return_counts=True)
    if ways is None:
        ways = len(classes)
    if not isinstance(ways, (int, np.integer)) or not 2 <= ways <= len(classes):
        raise ValueError(
            f"`ways` must be an int from 2 to {len(classes)}, the classes that have "
            f"labels. Received: ways={ways!r}"
        )
    if counts.min() <= shots:
        raise ValueError(
            f"`shots` of {shots} leave no query of class {classes[counts.argmin()]}, "
            f"which has {counts.min()} images"
        )
    return int(ways)
