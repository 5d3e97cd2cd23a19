"""Runs in order, each handed out once what it starts from is there; for several threads."""

import threading
from collections.abc import Callable

from gcnlab.errors import UserError
from gcnlab.experiments.config import Run


class RunQueue:
    """``runs`` in order, of which ``waiting`` were not handed out; ``failures`` has a line for each
    that failed, or whose start did."""

    def __init__(self, runs: list[Run], log: Callable[[str], None]):
        self.failures: dict[Run, str] = {}
        self.stopped = False
        self.waiting, self._open, self._count = list(runs), set(runs), len(runs)
        self._log, self._changed = log, threading.Condition()

    def take(self) -> Run | None:
        """The next run; waits until one can start. None when none is left."""
        with self._changed:
            while not (ready := self._ready()) and self.waiting:
                self._changed.wait()
            if not ready:
                return None
            self.waiting.remove(ready[0])
            return ready[0]

    def take_all(self) -> list[Run]:
        """All runs that can start now."""
        with self._changed:
            ready = self._ready()
            self.waiting = [run for run in self.waiting if run not in ready]
        return ready

    def _ready(self) -> list[Run]:
        for run in list(self.waiting):
            if run.start in self.failures:  # in order, so that all later stages fail too
                self.waiting.remove(run)
                self.finished(run, UserError(f"needs {run.start.name}, which failed"))
        return [run for run in self.waiting if run.start not in self._open]

    def finished(
        self, run: Run, error: BaseException | None = None, text: str = "complete"
    ) -> None:
        """Count ``run`` as done, with a ``text`` for the log, or as failed with ``error``."""
        with self._changed:
            self._open.remove(run)
            if error is not None:
                self.failures[run] = f"{run.name}: {' '.join(str(error).split()) or repr(error)}"
            done = self._count - len(self._open)
            self._log(f"({done}/{self._count}) {self.failures.get(run, f'{run.name} {text}')}")
            self._changed.notify_all()

    def stop(self) -> None:
        """Hand out no more."""
        with self._changed:
            self.stopped = True
            self.waiting.clear()
            self._changed.notify_all()
