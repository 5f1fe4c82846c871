"""Where `TaskEarlyStopping` stands, in the optimiser's part of a file."""

import json

import numpy as np

KEY = "early_stopping"


class StoppingState:
    """Kept by the optimiser, so that whatever saves a training saves this too.

    One `fit` may have several `TaskEarlyStopping`, each with a key of its own.

    Attributes:
        followed: dict from key to a dict with `epoch` (the last that was followed),
            `best`, `waited` and `finished` by task.
        weights: dict from key to one from task name to the arrays of its best epoch.
        logs: `(epoch, logs)` of the last epoch, which may not be followed yet when
            another callback saves the training.
        running: dict from key to one from task name to the epoch after which it was
            finished, in the `fit` that runs.
    """

    def __init__(self):
        self.followed = {}
        self.weights = {}
        self.logs = None
        self.running = {}

    # === What runs ===

    def begin(self, monitor, finished):
        """A key for one more that stops tasks, and whose `finished` is known here."""
        count = sum(key.split("#")[0] == monitor for key in self.running)
        key = f"{monitor}#{count}"
        self.running[key] = finished
        return key

    def finished(self, but=None):
        """Names of the tasks that are finished, optionally by others than one key."""
        own = (tasks for key, tasks in self.running.items() if key != but)
        return set().union(*own)

    def forget_others(self, epoch):
        """Drops what was followed in another training than one in this epoch."""
        for key, followed in list(self.followed.items()):
            if followed["epoch"] != epoch - 1:
                del self.followed[key], self.weights[key]

    # === Files ===

    @staticmethod
    def owns(name):
        """Whether an entry of a file is one of these."""
        return name.startswith(KEY)

    def arrays(self):
        """What to write: a dict of arrays."""
        if not self.followed:
            return {}
        epoch, logs = self.logs or (None, {})
        logs = {k: float(v) for k, v in logs.items() if np.ndim(v) == 0}
        text = json.dumps([list(self.followed.items()), (epoch, logs)])
        found = {KEY: np.frombuffer(text.encode(), "uint8")}
        for number, key in enumerate(self.followed):
            for task, values in self.weights[key].items():
                prefix = f"{KEY}.{number}.{task}"
                found.update({f"{prefix}.{i}": v for i, v in enumerate(values)})
        return found

    def read(self, store):
        """Takes what was written, if anything was."""
        self.followed, self.weights, self.logs = {}, {}, None
        names = list(store.keys())
        if KEY not in names:
            return
        text = np.array(store[KEY], "uint8").tobytes().decode()
        followed, logs = json.loads(text)
        if not isinstance(followed, list):  # of former versions
            return
        self.followed, self.logs = dict(followed), logs
        self.weights = {key: {} for key in self.followed}
        found = sorted(
            (int(number), task, int(i), name)
            for name in names
            if name.startswith(KEY + ".")
            for _, number, task, i in [name.split(".")]
        )
        keys = list(self.followed)
        for number, task, _, name in found:
            values = self.weights[keys[number]].setdefault(task, [])
            values.append(np.array(store[name]))
