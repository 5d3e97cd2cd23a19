"""Where drawn data sets live, how they are written whole or not at all, and on how many cores."""

import os
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import current_process, get_context
from pathlib import Path
from typing import Any

from gcnlab import files
from gcnlab.errors import UserError
from gcnlab.processes import cores, follow

WORTH_A_POOL = 500  # images: fewer are drawn faster than processes start


def cache_folder() -> Path:
    """``$GCNLAB_CACHE`` or ``~/.cache/gcnlab``."""
    return Path(os.environ.get("GCNLAB_CACHE") or Path.home() / ".cache" / "gcnlab")


def generated(name: str, write: Callable[[Path], None]) -> Path:
    """The folder ``name`` of the cache, filled by ``write(folder)`` on first use.

    It is whole or not there, also if processes are killed or run beside each other. Raises
    ``UserError`` if it cannot be written.
    """
    folder = cache_folder() / name
    if folder.is_dir():
        return folder
    try:
        with files.lock(folder.with_name(f".{name}.lock")):
            if not folder.is_dir():  # another process may have been faster
                with files.whole_folder(folder) as work:
                    write(work)
    except OSError as error:
        problem = f"cannot write the synthetic data to {folder} ({error.strerror})"
        remedy = "free some disk space or set GCNLAB_CACHE to another folder"
        raise UserError(f"{problem}: {remedy}") from None
    return folder


def draw_all(draw: Callable[[Any], Any], items: Sequence, processes: int | None = None) -> list:
    """``draw(item)`` of all ``items``, in order, on ``processes`` cores (default: all available).

    Each image has its own seed, so the number of processes changes nothing. Of few items the
    default is to use none beside this one.
    """
    if processes is None:
        processes = cores() if len(items) >= WORTH_A_POOL else 1
    if processes == 1 or current_process().daemon:  # which may have no children
        return list(map(draw, items))
    # Forked processes need not import everything again, and work in scripts without a main guard.
    context = get_context("fork" if sys.platform == "linux" else None)
    with ProcessPoolExecutor(processes, context, follow, (os.getpid(),)) as pool:
        return list(pool.map(draw, items, chunksize=64))
