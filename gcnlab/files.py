"""Files and folders that are whole or not there, whatever ends the process that writes them.

What a killed process leaves is beside them: ``<file>.part`` or ``.writing-<folder>``. The next one
to write the same file or folder takes it over.
"""

import errno
import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


def write(content: str | bytes | memoryview, path: Path) -> None:
    """Write ``content`` so that ``path`` is always a whole file, the old one or the new one.

    Of processes that write the same file, one waits for the other. ``OSError`` names ``path``; on a
    full disk it says how much it needs.
    """
    content = content.encode() if isinstance(content, str) else content
    written = 0
    path.parent.mkdir(parents=True, exist_ok=True)
    work = path.with_name(f"{path.name}.part")
    # A view that an error keeps alive crashes the garbage collector of Python 3.12.1 (gh-77894).
    with memoryview(content) as view, _alone(work) as file, naming(path, len(view)):
        try:
            file.truncate(0)  # of a process that was killed
            while written < len(view):
                written += file.write(view[written:])
            work.replace(path)
        except BaseException:
            work.unlink(missing_ok=True)
            raise


@contextmanager
def _alone(path: Path) -> Iterator[BinaryIO]:
    """``path``, open for this process alone."""
    while True:
        with open(path, "ab", buffering=0) as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            if _is_at(file, path):  # not moved away by the process that this one waited for
                yield file
                return


def _is_at(file: BinaryIO, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


@contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """An empty folder to fill, which then becomes ``folder``. Only one process at a time may."""
    work = folder.with_name(f".writing-{folder.name}")
    shutil.rmtree(work, ignore_errors=True)  # of a process that was killed
    work.mkdir(parents=True)
    try:
        with naming(folder):
            yield work
        shutil.rmtree(folder, ignore_errors=True)
        work.rename(folder)
    finally:
        shutil.rmtree(work, ignore_errors=True)


@contextmanager
def lock(path: Path) -> Iterator[None]:
    """Hold the lock file ``path``: a second process that wants it waits."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with _alone(path):  # the empty file stays
        yield


def is_locked(path: Path) -> bool:
    """Whether a living process holds the lock file ``path``."""
    try:
        with open(path, "rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def is_full(error: BaseException | None) -> bool:
    """Whether ``error`` says that the disk, or the user's share of it, is full."""
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)


@contextmanager
def naming(path: Path, size: int | None = None) -> Iterator[None]:
    """Let the error of a full disk name ``path``, its ``size`` in bytes and what is free."""
    try:
        yield
    except OSError as error:
        if not is_full(error):
            raise
        free = f"{shutil.disk_usage(path.parent).free / 1e6:.2f} MB are free"
        needs = free if size is None else f"it needs {size / 1e6:.2f} MB, {free}"
        raise OSError(error.errno, f"{os.strerror(error.errno)} ({needs})", str(path)) from None
