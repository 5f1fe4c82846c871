"""Which of a bank's tasks are computed for which images, and how."""

import numpy as np
from keras import ops

from keras_memvit.serving.bank.bank_pass import BankPass
from keras_memvit.serving.bank.entry import power_of_two
from keras_memvit.serving.bank.entry import stack

KEPT_STACKS = 4  # sets of tasks whose stacked tensors stay, for requests alike
# Tasks that are computed for all images of a batch, over those an image asks for.
SPARE = 2


class Answering:
    """One pass of the backbone a batch, and the tasks of each kind together.

    Args:
        backbone: a `ViTBackbone`.
    """

    def __init__(self, backbone):
        self._pass = BankPass(backbone)
        self._stacks = {}

    @property
    def num_compilations(self):
        """How often a pass of a new shape was made."""
        return self._pass.num_compilations

    def forget(self):
        """Lets go of tensors that are kept for requests alike."""
        self._stacks = {}

    def answer(self, images, rows, known):
        """Logits of each image's tasks, from one pass of the backbone.

        Args:
            images: array `(B, H, W, 3)` in [0, 255].
            rows: a list of task names for each image.
            known: dict from all these names to `Entry`.

        Returns:
            A list of dicts by task of `(num_classes,)`.
        """
        names = sorted({name for row in rows for name in row})
        if not names:
            return [{} for _ in rows]
        by_kind: dict = {}
        for name in names:
            by_kind.setdefault(known[name].kind, []).append(name)
        padded = np.zeros((power_of_two(len(images)), *images.shape[1:]), images.dtype)
        padded[: len(images)] = images
        states = self._pass.states(padded)
        answers: list[dict[str, np.ndarray]] = [{} for _ in rows]
        for kind, own in by_kind.items():
            here = set(own)
            asked = [[name for name in row if name in here] for row in rows]
            most = power_of_two(max(map(len, asked)))
            find = self._of_all if len(own) <= SPARE * most else self._of_each
            for i, name, logits in find(states, kind, own, asked, known):
                answers[i][name] = logits[: known[name].spec.num_classes]
        return [{n: found[n] for n in row} for row, found in zip(rows, answers)]

    def _of_all(self, states, kind, names, asked, known):
        """Tasks of one kind for all images, and of these what was asked for."""
        weights = self._stacked(tuple(known[name] for name in names))
        logits = self._pass.logits(states, kind, weights)
        place = {name: k for k, name in enumerate(names)}
        for i, own in enumerate(asked):
            yield from ((i, name, logits[place[name], i]) for name in own)

    def _of_each(self, states, kind, names, asked, known):
        """Each image's own tasks of one kind alone."""
        batch, most = states[0][0].shape[0], power_of_two(max(map(len, asked)))
        spare = known[names[0]]
        entries = [spare] * (batch * most)
        for i, own in enumerate(asked):
            for k, name in enumerate(own):
                entries[i * most + k] = known[name]
        weights = {
            name: ops.convert_to_tensor(value.reshape(batch, most, *value.shape[1:]))
            for name, value in stack(entries).items()
        }
        logits = self._pass.own_logits(states, kind, weights)
        for i, own in enumerate(asked):
            yield from ((i, name, logits[i, k]) for k, name in enumerate(own))

    def _stacked(self, entries):
        """Tensors of entries of one kind; of the last sets they are kept."""
        stacks = self._stacks
        if entries not in stacks:
            arrays = stack(entries)
            tensors = {n: ops.convert_to_tensor(a) for n, a in arrays.items()}
            kept = list(stacks.items())[1 - KEPT_STACKS :]
            self._stacks = stacks = {**dict(kept), entries: tensors}
        return stacks[entries]
