"""How far many runs are: one line that updates on a terminal, and a line a minute in a log."""

import re
import shutil
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress

from gcnlab.analysis.selection import is_diverged, metric
from gcnlab.analysis.tables import METRIC_NAMES
from gcnlab.experiments import durations, scheduler
from gcnlab.experiments.config import Run
from gcnlab.experiments.records import Record
from gcnlab.experiments.resources import chain
from gcnlab.experiments.store import Store

STEP = re.compile(r"step (\d+)/(\d+)")
MOST = 2  # runs at work that the line names


class Progress:
    """``17/40 · 43 % · 14 min left · gcn-k9-s0 step 320/800``, while its context is open.

    It is the scheduler's log: its other lines, such as failures, stand above that line. Behind it
    are the scores of runs that ended since the line before.

    Args:
        records: finished runs of the profile, whose times tell unequal runs apart.
        jobs: runs at a time.
    """

    def __init__(self, runs: Sequence[Run], store: Store, records: Sequence[Record], jobs: int):
        planned = scheduler.plan(list(runs), store)
        self._seconds = durations.expected(dict.fromkeys(planned), records)
        self._open = {run.name: run for run in planned}
        self._all = {link.name: link for run in runs for link in chain(run)}
        self._store, self._jobs, self._ended = store, jobs, []
        self._terminal, self._stop = sys.stdout.isatty(), threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._error: OSError | None = None
        self._begun, self._clock = time.time(), time.monotonic()
        self._profile = runs[0].profile if runs else None
        self._before = sum(self._left())

    def __enter__(self) -> "Progress":
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_) -> None:
        self._stop.set()
        self._thread.join()
        with suppress(*([OSError] if kind else [])):  # what ends the command is told, not this
            if self._ended:
                self._show()
            if self._terminal:
                print(flush=True)

    def __call__(self, line: str) -> None:
        """A line of the scheduler, or of a run that works in this process."""
        if self._error:
            raise self._error
        ended = re.fullmatch(r"\(\d+/\d+\) ([^\s:]+)( complete|: .*)", line)
        if ended:
            self._open.pop(ended[1], None)
        if ended and ended[2] == " complete":
            record = ended[1] in self._all and self._store.record(self._all[ended[1]])
            self._ended.append(f"{ended[1]}: {score(record)}" if record else ended[1])
        elif not line.startswith("step"):
            print("\r\x1b[2K" * self._terminal + line, flush=True)

    def line(self) -> str:
        """The line as it is now."""
        total, left = sum(self._seconds.values()) or 1, self._left()
        speed = (self._before - sum(left)) / (time.monotonic() - self._clock + 1e-9)
        count = len(self._seconds)
        parts = [f"{count - len(left)}/{count}", f"{100 * (1 - sum(left) / total):.0f} %"]
        if left and speed > 0:  # at the end one job alone has the longest run
            parts.append(f"{duration(max(sum(left), self._jobs * max(left)) / speed)} left")
        notes = self._store.notes(self._profile, self._begun) if left else {}
        shown = [f"{name} {(STEP.match(text) or [text])[0]}" for name, text in notes.items()]
        more = [f"{len(shown) - MOST} more"] * (len(shown) > MOST)
        return " · ".join([*parts, *shown[:MOST], *more])

    def _left(self) -> list[float]:
        """Expected seconds that are left of every run that has not ended."""
        notes = self._store.notes(self._profile) if self._open else {}
        steps = {name: STEP.match(text) for name, text in notes.items()}
        done = {name: int(step[1]) / int(step[2]) for name, step in steps.items() if step}
        return [self._seconds[r] * (1 - done.get(r.name, 0)) for r in list(self._open.values())]

    def _watch(self) -> None:
        try:
            while not self._stop.wait(2 if self._terminal else 60):
                self._show()
        except OSError as error:  # nobody reads any more: the next call ends the command
            self._error = error

    def _show(self) -> None:
        ended, self._ended = self._ended, []
        text = " · ".join([self.line(), *([", ".join(ended)] if ended else [])])
        if self._terminal:
            width = shutil.get_terminal_size().columns - 1
            print(f"\r\x1b[2K{text[:width]}", end="", flush=True)
        else:
            print(text, flush=True)


def duration(seconds: float) -> str:
    """``40 s``, ``14 min`` or ``2.5 h``."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def score(record: Record) -> str:
    """``mIoU 63.3`` or ``top-1 error 2.1``, in percent, and whether the run diverged."""
    scores = {name: metric(record, name) for name in ("miou", "top1_error")}
    words = [f"{METRIC_NAMES[n]} {value:.1f}" for n, value in scores.items() if value == value]
    if is_diverged(record):
        words.append(f"diverged ({record.get('diverged') or 'no better than chance'})")
    return ", ".join(words) or "its score is undefined"
