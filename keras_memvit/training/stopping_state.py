"""Where `TaskEarlyStopping` stands, in the optimiser's part of a file."""

import json

import numpy as np

KEY = "early_stopping"


class StoppingState:
    """Kept by the optimiser, so that whatever saves a training saves this too.

    Attributes:
        followed: dict with `monitor`, `epoch` (the last that was followed), `best`,
            `waited` and `finished` by task; None where nobody stops tasks.
        weights: dict from task name to the arrays of its best epoch.
        logs: `(epoch, logs)` of the last epoch, which may not be followed yet when
            another callback saves the training.
    """

    def __init__(self):
        self.followed = None
        self.weights = {}
        self.logs = None

    @staticmethod
    def owns(name):
        """Whether an entry of a file is one of these."""
        return name.startswith(KEY)

    def arrays(self):
        """What to write: a dict of arrays."""
        if self.followed is None:
            return {}
        epoch, logs = self.logs or (None, {})
        logs = {k: float(v) for k, v in logs.items() if np.ndim(v) == 0}
        text = json.dumps([self.followed, (epoch, logs)])
        found = {KEY: np.frombuffer(text.encode(), "uint8")}
        for task, values in self.weights.items():
            found.update({f"{KEY}.{task}.{i}": v for i, v in enumerate(values)})
        return found

    def read(self, store):
        """Takes what was written, if anything was."""
        self.__init__()
        names = list(store.keys())
        if KEY not in names:
            return
        text = np.array(store[KEY], "uint8").tobytes().decode()
        self.followed, self.logs = json.loads(text)
        names = [name for name in names if name.startswith(KEY + ".")]
        for task in {name.split(".")[1] for name in names}:
            count = sum(name.split(".")[1] == task for name in names)
            keys = [f"{KEY}.{task}.{i}" for i in range(count)]
            self.weights[task] = [np.array(store[key]) for key in keys]
