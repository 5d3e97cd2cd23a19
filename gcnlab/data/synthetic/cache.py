"""Where drawn data sets live, how they are written whole or not at all, and on how many cores.

The fingerprints of the sets behind the committed records are known (``fingerprints.json``; the
tests compare them with those records, and with what is drawn here). NumPy's instruction sets change
no byte, but another JPEG or zlib library, or another platform's sine, may legitimately do so. A
folder therefore notes the digest of what was drawn in it: one that is neither as committed nor as
noted was altered, and is refused before any work; one that is only as noted is used, and its
records, whose keys have its fingerprint, share no table with the committed ones.
"""

import hashlib
import json
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
NOTE = "drawn.txt"  # in a folder: the digest of its other files when they were drawn
COMMITTED: dict[str, str] = json.loads(
    Path(__file__).with_name("fingerprints.json").read_text(encoding="utf-8")
)
_used: set[Path] = set()


def cache_folder() -> Path:
    """``$GCNLAB_CACHE`` or ``~/.cache/gcnlab``."""
    return Path(os.environ.get("GCNLAB_CACHE") or Path.home() / ".cache" / "gcnlab")


def generated(name: str, sizes: Sequence[int], write: Callable[[Path, Any], None]) -> Path:
    """The folder of data set ``name`` of these ``sizes`` in the cache, filled by ``write(folder,
    sizes)`` on first use.

    It is whole or not there, also if processes are killed or run beside each other. Raises
    ``UserError`` if it cannot be written.
    """
    folder = cache_folder() / "-".join([name, *map(str, sizes)])
    if not folder.is_dir():
        _fill(folder, lambda work: write(work, sizes))
    _used.add(folder)
    return folder


def _fill(folder: Path, write: Callable[[Path], None]) -> None:
    try:
        with files.lock(folder.with_name(f".{folder.name}.lock")):
            if not folder.is_dir():  # another process may have been faster
                with files.whole_folder(folder) as work:
                    write(work)
                    (work / NOTE).write_text(_digest(work), encoding="utf-8")
    except OSError as error:
        problem = f"cannot write the synthetic data to {folder} ({error.strerror})"
        remedy = "free some disk space or set GCNLAB_CACHE to another folder"
        raise UserError(f"{problem}: {remedy}") from None


def _digest(folder: Path) -> str:
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != NOTE)
    digest = hashlib.blake2b(digest_size=16)
    for path in paths:
        content = path.read_bytes()
        digest.update(f"{path.relative_to(folder).as_posix()} {len(content)}\n".encode())
        digest.update(content)
    return digest.hexdigest()


def check_drawn() -> None:
    """``UserError`` if a drawn folder that this process has used is not as when it was drawn."""
    for folder in sorted(_used):
        note = folder / NOTE
        if not note.is_file() or note.read_text(encoding="utf-8") != _digest(folder):
            remedy = "delete that folder, and the same command draws it again"
            raise UserError(f"the drawn data in {folder} were altered: {remedy}")


def draw_all(draw: Callable[[Any], Any], items: Sequence) -> list:
    """``draw(item)`` of all ``items``, in order; of many on all cores.

    Each image has its own seed, so the number of processes changes nothing.
    """
    processes = cores() if len(items) >= WORTH_A_POOL else 1
    if processes == 1 or current_process().daemon:  # which may have no children
        return list(map(draw, items))
    # Forked processes need not import everything again, and work in scripts without a main guard.
    context = get_context("fork" if sys.platform == "linux" else None)
    with ProcessPoolExecutor(processes, context, follow, (os.getpid(),)) as pool:
        return list(pool.map(draw, items, chunksize=64))
