"""Batches made ahead of their use, in order: in a thread, or in worker processes."""

import os
import shutil
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset

from gcnlab.errors import UserError
from gcnlab.processes import cores

AHEAD = 4  # batches of a thread; a process makes two
MOST_WORKERS = 8
SHARED = "/dev/shm"  # where workers leave batches; a container may have little of it

Make = Callable[[Any], tuple]  # numbers → images, labels, sizes


def workers_that_pay(size: int) -> int:
    """Worker processes for batches of ``size`` bytes: those cores that no GPU's run needs.

    0 where processes cannot be forked safely, or there is no room for what they hand over.
    """
    if sys.platform != "linux":
        return 0
    workers = max(0, min(MOST_WORKERS, cores() // max(1, torch.cuda.device_count()) - 1))
    room = os.path.isdir(SHARED) and shutil.disk_usage(SHARED).free >= 6 * workers * size
    return workers if room else 0


def in_a_thread(make: Make, numbers: Iterable) -> Iterator[tuple]:
    """``make`` of each of ``numbers``, up to ``AHEAD`` of them ahead."""
    coming: deque = deque()
    with ThreadPoolExecutor(1) as thread:
        try:
            for number in numbers:
                coming.append(thread.submit(make, number))
                if len(coming) > AHEAD:
                    yield _pinned(coming.popleft().result())
            while coming:
                yield _pinned(coming.popleft().result())
        finally:
            thread.shutdown(cancel_futures=True)


def in_processes(make: Make, numbers: Iterable, workers: int) -> Iterator[tuple]:
    """The same in ``workers`` forked processes, each two ahead. ``UserError`` is raised as such."""
    loader = DataLoader(
        _Made(make), batch_size=None, sampler=numbers, num_workers=workers,
        pin_memory=torch.cuda.is_initialized(), multiprocessing_context="fork",
        generator=torch.Generator(),  # its own seeds, so that the process's generator stays
    )  # fmt: skip
    for batch in loader:
        if isinstance(batch, UserError):
            raise batch
        yield batch


class _Made(Dataset):
    def __init__(self, make: Make):
        self._make = make

    def __getitem__(self, number: Any) -> tuple | UserError:
        try:
            return self._make(number)
        except UserError as error:  # the loader would put a traceback into its message
            return error


def _pinned(batch: tuple) -> tuple:
    """In memory from which a GPU copies by itself, if this process uses one."""
    if not torch.cuda.is_initialized():
        return batch
    images, labels, sizes = batch
    return images.pin_memory(), labels.pin_memory(), sizes
