"""Ending the study's processes at chosen moments, and what must hold afterwards.

Two ways: a process that is forked with everything imported, at its n-th write (an audit hook sees
every write that Python makes) or at some moment; and a program with all that it has started.
"""

import fcntl
import json
import multiprocessing
import os
import pty
import select
import shutil
import signal
import subprocess
import sys
import termios
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from gcnlab.analysis.tables import table_configs
from gcnlab.cli import main
from gcnlab.data import DataSpec
from gcnlab.data.synthetic import voc
from gcnlab.evaluation.crf import Crf, Pairwise
from gcnlab.evaluation.inference import TestTime
from gcnlab.experiments import receptive_fields, scheduler
from gcnlab.experiments.config import CrfEvaluation, Evaluation
from gcnlab.experiments.profiles import get
from gcnlab.experiments.store import Store
from gcnlab.training import Schedule

ROOT = Path(__file__).resolve().parents[1]
LEFT_OVER = ("*.part", "*.tmp", ".writing-*", "checkpoints/*.pt")
IMPORTED_ONCE = ["gcnlab.cli.report", "gcnlab.report.page", "gcnlab.experiments.submission"]
EVERY = -1  # instead of the number of a write
PATIENCE = 60  # seconds until everything that a killed program has started is gone


def tree(folder):
    """Every file below ``folder``: its bytes, of a record those of all but its environment."""

    def content(path):
        if path.suffix == ".json" and path.parent.name in ("runs", "fields"):
            return json.dumps({n: v for n, v in json.loads(path.read_text()).items()
                               if n != "environment"})  # fmt: skip
        return path.read_bytes()

    paths = [p for p in Path(folder).rglob("*") if p.is_file() and p.suffix != ".lock"]
    return {path.relative_to(folder).as_posix(): content(path) for path in sorted(paths)}


def left_over(folder):
    """What a finished study must not have: work files, folders that are not whole, checkpoints."""
    return [str(path) for pattern in LEFT_OVER for path in Path(folder).rglob(pattern)]


# --- forked processes ----------------------------------------------------------------------------

_DATA = DataSpec("voc", side=64, classes=tuple(range(8)))
_RUN = replace(
    get("smoke").template, data=_DATA, start=None, schedule=Schedule(2, 2, evaluations=2)
)


def study(folder, layout):
    """A training, its evaluation, a CRF on that: weights, checkpoints, probabilities, records."""
    crf = Crf("exact", (Pairwise(), Pairwise(smooth_weight=0)), iterations=1)
    runs = [CrfEvaluation(Evaluation(_RUN, TestTime()), crf)]
    assert scheduler.run_all(runs, Store(folder, layout), log=lambda _: None) == []


def drawing(folder):
    """A small synthetic data set."""
    os.environ["GCNLAB_CACHE"] = str(folder)
    voc.root(voc.Sizes(1, 1, 1, 1, 1))


def fields(folder):
    """The receptive fields of the first model of Table 1, which was trained in ``folder``."""
    run = table_configs(["1"], get("smoke"), [0])[0]
    receptive_fields.measure(run, Store(folder), 1, log=lambda _: None)


def report(folder):
    """The report on the records in ``folder``."""
    main(["report", "--profile", "smoke", "--out", str(folder)])


def _path_written(event, arguments):
    """The path that is about to be changed, or None."""
    if event == "open":
        path, mode, flags = arguments
        writes = set(mode or "") & set("wax+") or flags & (os.O_WRONLY | os.O_RDWR)
        return path if writes and isinstance(path, str | Path) else None
    if event not in ("os.rename", "os.remove", "os.mkdir", "os.rmdir"):
        return None
    path, directory = os.fspath(arguments[0]), arguments[-1]
    if directory >= 0 and not os.path.isabs(path):  # as shutil.rmtree does
        path = os.path.join(os.readlink(f"/proc/self/fd/{directory}"), path)
    return path


def _attempt(work, folder, fatal, log):
    """``work(folder)``, killed at write ``fatal`` below ``folder``; each one is logged before.

    A file that is being opened to be written is torn when its process is killed. With ``EVERY`` it
    is not killed: what a kill at write n would leave is copied to ``state(folder, n)``.
    """
    count, counting = 0, True

    def hook(event, arguments):
        nonlocal count, counting
        path = _path_written(event, arguments) if counting else None
        if path is None or not str(path).startswith(f"{folder}/"):
            return
        counting, count = False, count + 1  # what follows is no write of the work
        with open(log, "a") as file:
            file.write(f"{event} {Path(path).relative_to(folder)}\n")
        if fatal in (count, EVERY):
            left = shutil.copytree(folder, state(folder, count)) if fatal == EVERY else folder
            if event == "open" and not os.path.isdir(path):
                (left / Path(path).relative_to(folder)).write_bytes(b'{"torn": [1, ')
            if fatal != EVERY:
                os.kill(os.getpid(), signal.SIGKILL)
        counting = True

    sys.addaudithook(hook)
    work(folder)


def state(folder, number):
    """Where ``attempt(…, EVERY)`` keeps what a kill at write ``number`` would leave."""
    return folder.with_name(f"{folder.name}-{number}")


def attempt(work, folder, fatal=0):
    """``work(folder)`` in a process of its own; its writes, and whether it was killed."""
    log = folder.with_name(f"{folder.name}.log")
    log.unlink(missing_ok=True)
    process = _forked(_attempt, work, folder, fatal, log)
    process.join()
    assert process.exitcode in (0, -signal.SIGKILL), process.exitcode
    return log.read_text().splitlines() if log.exists() else [], process.exitcode != 0


def _forked(work, *arguments):
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(IMPORTED_ONCE)
    process = context.Process(target=work, args=arguments)
    process.start()
    return process


def _command(folder, arguments):
    folder.mkdir(parents=True, exist_ok=True)
    os.environ["GCNLAB_CACHE"] = str(folder / "cache")
    with open(folder / "out.txt", "w") as file:
        os.dup2(file.fileno(), 1)
    sys.exit(main([*arguments, "--profile", "smoke", "--out", str(folder / "out")]))


def begin(folder, *arguments):
    """The process of a command of the study below ``folder``, at work."""
    return _forked(_command, folder, arguments)


def finish(folder, *arguments):
    """The exit code of a command that is left in peace."""
    process = begin(folder, *arguments)
    process.join()
    return process.exitcode


# --- whole programs ------------------------------------------------------------------------------


class Program:
    """``python -m gcnlab …`` below ``folder``, and all that it starts."""

    def __init__(self, folder, *arguments, output="file"):
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self._cache = folder, str(folder / "cache")
        self._ours, theirs = pty.openpty() if output == "terminal" else os.pipe()
        line = [sys.executable, "-m", "gcnlab", *arguments, "--profile", "smoke"]
        with open(folder / "out.txt", "w") as out, open(folder / "err.txt", "w") as err:
            self._main = subprocess.Popen(
                [*line, "--out", str(folder / "out")], cwd=ROOT, start_new_session=True,
                env=os.environ | {"GCNLAB_CACHE": self._cache}, stderr=err,
                stdin=theirs if output == "terminal" else subprocess.DEVNULL,
                stdout=out if output == "file" else theirs,
                preexec_fn=_own_terminal if output == "terminal" else None,
            )  # fmt: skip
        os.close(theirs)

    def wait(self, seconds=600):
        """Its exit code, or None after ``seconds``."""
        with suppress(subprocess.TimeoutExpired):
            self._main.wait(seconds)
        return self._main.returncode

    def wait_for(self, words):
        """Wait until ``words`` are in its output."""
        text = ""
        while words not in text:
            assert self.wait(0.05) is None, text + self.errors()
            if (out := self.folder / "out.txt").stat().st_size:
                text = out.read_text()
            elif select.select([self._ours], [], [], 0)[0]:
                text += os.read(self._ours, 1000).decode()

    def hang_up(self):
        """Close the pipe or the terminal that it writes to."""
        os.close(self._ours)

    def errors(self):
        """What it wrote to standard error."""
        return (self.folder / "err.txt").read_text()

    def send(self, number, to_group):
        """A signal to the main process alone, or to all of its group, as a terminal does."""
        (os.killpg if to_group else os.kill)(self._main.pid, number)

    def processes(self):
        """The ids of all its processes that live."""
        living = []
        for path in Path("/proc").glob("[0-9]*/environ"):
            with suppress(OSError):  # ended, or not ours
                if f"GCNLAB_CACHE={self._cache}".encode() in path.read_bytes().split(b"\0"):
                    living.append(int(path.parent.name))
        return living

    def check_gone(self):
        """No process is left after ``PATIENCE``, no lock is held; returns the seconds it took."""
        ended = time.monotonic()
        while self.processes() and time.monotonic() < ended + PATIENCE:
            time.sleep(0.1)
        assert [_line(pid) for pid in self.processes()] == [], "orphans"
        for path in self.folder.rglob("*.lock"):
            with open(path) as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return time.monotonic() - ended


def _own_terminal():
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


def _line(pid):
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()[-200:]
    return "has just ended"
