"""Task files in a folder: which there are now, and the bank's copies of them."""

import collections
import logging
import pathlib
import threading

from keras_memvit.serving.server.errors import RequestError
from keras_memvit.serving.server.errors import busy
from keras_memvit.tasks.task_file import SUFFIX

LOG = logging.getLogger("keras_memvit.serve")


class TaskFolder:
    """A folder of task files, served by a bank.

    Every file's card is read when it is seen first, its tensors when it is asked for;
    beyond the bank's capacity the task that was asked for least recently leaves memory
    and comes back on demand. What is damaged or of another backbone is logged and left
    out, until the file changes.

    Args:
        folder: the path.
        bank: a `TaskBank`.

    Attributes:
        steady: a lock; the bank's tasks stay as they are while it is held.
    """

    def __init__(self, folder, bank):
        self.folder = pathlib.Path(folder)
        self.bank = bank
        self.steady = threading.RLock()
        self._stamps = {}  # file -> what tells whether it has changed
        self._files = {}  # task -> (file, spec); replaced, never changed
        self._stale = set()  # tasks of which the bank has a former file
        self._used = collections.OrderedDict()  # loaded tasks, least recent first
        self._looking = threading.Lock()
        if not self.folder.is_dir():
            raise ValueError(f"DIR must be a folder of task files. Received: {folder}")
        self.refresh()

    @property
    def specs(self):
        """The `TaskSpec` of every task there is, by name."""
        return {name: spec for name, (_, spec) in self._files.items()}

    def spec(self, name):
        """A task's `TaskSpec`, or None."""
        return self._files.get(name, (None, None))[1]

    def refresh(self):
        """Looks at the folder: takes in what is new, lets go what is not there."""
        with self._looking:  # who watches, and who has put a file there
            self._refresh()

    def _refresh(self):
        stamps = {}
        for file in sorted(self.folder.glob(f"*{SUFFIX}")):
            try:
                found = file.stat()
            except OSError:  # gone since it was listed
                continue
            stamps[file] = (found.st_mtime_ns, found.st_size, found.st_ino)
        before, self._stamps = self._stamps, stamps
        changed = {
            file: self._card(file)
            for file, stamp in stamps.items()
            if before.get(file) != stamp
        }
        if not changed and before.keys() <= stamps.keys():
            return
        files = {
            name: (file, spec)
            for name, (file, spec) in self._files.items()
            if file in stamps and file not in changed
        }
        for file, spec in changed.items():
            if spec is None:
                continue
            if spec.name in files:
                other = files[spec.name][0].name
                LOG.warning("%s is left out: %s has its task", file.name, other)
                continue
            files[spec.name] = (file, spec)
            LOG.info("%s: %r is served", file.name, spec.name)
        with self.steady:
            gone = [name for name in self._files if name not in files]
            self._files = files
            self._stale |= {n for n, (file, _) in files.items() if file in changed}
            for name in gone:
                LOG.info("%r is served no more", name)
                self._unload(name)

    def ensure(self, names):
        """Loads the tasks that the bank does not have; call it with `steady` held.

        Args:
            names: those of one batch, which do not push one another out.

        Returns:
            A dict from the names that cannot be served to a `RequestError`.
        """
        lost = {}
        if len(names) > self.bank.capacity:
            names, late = names[: self.bank.capacity], names[self.bank.capacity :]
            lost = dict.fromkeys(late, busy("more tasks are asked for than fit"))
        for name in names:
            if name in self._used:
                self._used.move_to_end(name)
        for name in names:
            if name in self._used and name not in self._stale:
                continue
            if name not in self._files:
                lost[name] = RequestError(404, f"there is no task {name!r}")
                continue
            file = self._files[name][0]
            try:
                self._make_room(name, names)
                self.bank.load(file, overwrite=True)
            except (ValueError, OSError) as error:
                LOG.warning("%s is left out: %s", file.name, error)
                self._files = {k: v for k, v in self._files.items() if k != name}
                self._unload(name)
                reason = f"the file of the task {name!r} cannot be read"
                lost[name] = RequestError(404, reason)
            else:
                self._stale.discard(name)
                self._used[name] = None
                self._used.move_to_end(name)
        return lost

    def _card(self, file):
        """A file's spec; None of what the bank cannot take, which is logged."""
        try:
            return self.bank.check(file)
        except (ValueError, OSError) as error:
            LOG.warning("%s is left out: %s", file.name, error)
            return None

    def _unload(self, name):
        self._stale.discard(name)
        self._used.pop(name, None)
        if name in self.bank:
            self.bank.unload(name)

    def _make_room(self, name, kept):
        """Unloads tasks that were asked for least recently, none of a batch."""
        free = self.bank.capacity - len(self.bank) + (name in self.bank)
        for old in list(self._used):
            if free > 0:
                return
            if old not in kept:
                self._unload(old)
                free += 1
