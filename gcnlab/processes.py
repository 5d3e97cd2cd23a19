"""Processes: how many pay, and how they end when the one that started them ends."""

import os
import threading
import time


def cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def follow(parent: int, **environment: str) -> None:
    """In a new process: set ``environment``, and end within a second of the process ``parent``.

    Light to import, so that a process whose parent is killed need not import torch before it ends.
    """
    os.environ |= environment

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
