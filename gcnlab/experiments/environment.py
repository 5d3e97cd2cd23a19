"""Where a run takes place: device, precision, threads, commit and versions."""

import ctypes
import os
import platform
import re
import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from gcnlab.errors import UserError
from gcnlab.training import best_precision, distributed

THREADS = 1  # of every run, whatever the number of jobs: sums in another order give other weights
_LIBRARIES = ("torchvision", "numpy", "scipy", "pillow")


def pick_device() -> torch.device:
    """``$GCNLAB_DEVICE``, else the first GPU, else the CPU; ``UserError`` for one that is none."""
    gpus = torch.cuda.device_count()
    name = os.environ.get("GCNLAB_DEVICE") or ("cuda" if gpus else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    known = {"cpu": 1, "cuda": gpus}
    if device is None or (device.index or 0) >= known.get(device.type, 0):
        raise UserError(f"GCNLAB_DEVICE={name}: this machine has no such device; unset it, or cpu")
    return device


def arithmetic() -> dict[str, Any]:
    """What of this machine decides the numbers of a run: kind of device, precision and threads."""
    device = pick_device()
    return {"device": device.type, "precision": best_precision(device), "threads": THREADS}


@contextmanager
def fixed_threads() -> Iterator[None]:
    """Compute with ``THREADS`` threads."""
    keep_pages()
    before = torch.get_num_threads()
    torch.set_num_threads(THREADS)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@cache
def keep_pages() -> None:
    """Let glibc keep freed memory: else every step gets its large maps as new pages, zeroed."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        for option, size in ((-3, 32 << 20), (-1, 1 << 30)):  # M_MMAP_, M_TRIM_THRESHOLD
            mallopt(option, size)


@cache
def provenance() -> dict[str, Any]:
    """Commit and versions, read once, before the code on disk can change under this process."""
    package = Path(__file__).resolve().parent.parent

    def git(*arguments: str) -> str | None:
        command = ["git", "-C", str(package), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        return done.stdout.strip() if done.returncode == 0 else None

    commit, changes = None, None
    with suppress(OSError):  # no git on this machine
        if git("rev-parse", "--show-prefix") == "gcnlab/":  # not one around an installation
            commit, changes = git("rev-parse", "HEAD"), git("status", "--porcelain", "--", ".")
    # torch's own string tells a CPU from a CUDA build
    versions = {"python": platform.python_version(), "torch": str(torch.__version__)}
    versions |= {name: version(name) for name in _LIBRARIES}
    return {
        "commit": commit,
        "dirty": None if changes is None else bool(changes),
        "versions": versions,
    }


def device_name() -> str:
    """The device in words, such as ``NVIDIA H100 80GB HBM3`` or ``CPU (x86_64)``."""
    device = pick_device()
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"CPU ({platform.machine()})"


def reset_peak_memory() -> None:
    """Forget the peaks of earlier runs of this process, where the system can (CUDA, Linux)."""
    if pick_device().type == "cuda":
        torch.cuda.reset_peak_memory_stats(pick_device())
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def peak_memory() -> int:
    """Bytes since :func:`reset_peak_memory`: of the GPU's allocator, or of this process."""
    device = pick_device()
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    # The system's own count is also of the process that started this one.
    with suppress(OSError, TypeError):
        status = Path("/proc/self/status").read_text(encoding="ascii")
        return 1024 * int(re.search(r"VmHWM:\s+(\d+)", status)[1])
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def environment(seconds: float) -> dict[str, Any]:
    """What a record says of the machine, the code and the time that it took."""
    return {
        "device": device_name(),
        **provenance(),
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "seconds": round(seconds, 1),
        "peak_memory": peak_memory(),
        **({"processes": distributed.part()[1]} if distributed.part()[1] > 1 else {}),
    }
