"""Processes: how many pay, and how they end when the one that started them ends."""

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from typing import Any

from gcnlab.errors import UserError


def cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def follow(parent: int, **environment: str) -> None:
    """In a new process: set ``environment``, and end within a second of the process ``parent``.

    Light to import, so that a process whose parent is killed need not import torch before it ends.
    """
    os.environ |= environment
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends Ctrl-C to all: its parent acts

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def in_parallel(
    work: Callable[[Any], Any], items: Sequence, jobs: int, done: Callable[[int, Any], None]
) -> None:
    """``work`` on every item, ``jobs`` at a time in processes of their own, one job in this one.

    ``done(number, item)`` is called in order, from 1. What ends this process, Ctrl-C too, ends
    those at work; ``UserError`` if one of them was killed.
    """
    if (jobs := min(jobs, len(items))) <= 1:
        for number, item in enumerate(items, 1):
            work(item)
            done(number, item)
        return
    context, threads = multiprocessing.get_context("spawn"), os.environ.get("OMP_NUM_THREADS", "1")
    start = partial(follow, OMP_NUM_THREADS=threads)  # more than one each, and they disturb others
    with ProcessPoolExecutor(jobs, context, start, (os.getpid(),)) as pool:
        try:
            for number, (item, _) in enumerate(zip(items, pool.map(work, items), strict=True), 1):
                done(number, item)
        except BrokenProcessPool:
            reason = "a process was killed, perhaps for lack of memory; run the same command again"
            raise UserError(reason) from None
        except BaseException:
            for process in list((pool._processes or {}).values()):
                process.terminate()
            raise
