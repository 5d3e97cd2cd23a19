"""The one store of records: JSON files, one per finished run or measurement, and their manifest.

``<out>/<profile>/runs/<name>-<key>.json`` holds what a run gave, ``…/fields/<name>-<key>.json`` the
receptive fields that were measured of it. A file is whole or not there; its presence is what says
that a run is complete. ``record.schema.json`` says what it holds.
"""

import hashlib
import json
import math
from functools import lru_cache
from pathlib import Path
from typing import Any

import fastjsonschema

from gcnlab import files
from gcnlab.errors import UserError

FORMAT = 2
COMMITTED = Path(__file__).resolve().parents[2] / "results"
LOCAL = COMMITTED / "local"
REPEATED = COMMITTED / "repeat"  # a second run of some cells
FOLDERS = ("runs", "fields")
MANIFEST = "manifest.json"

Record = dict[str, Any]
_SCHEMA = Path(__file__).with_name("record.schema.json")
_check = fastjsonschema.compile(json.loads(_SCHEMA.read_text(encoding="utf-8")))


def write(record: Record, path: Path) -> None:
    """Write ``record`` atomically; undefined numbers (nan) become null."""
    files.write(json.dumps(_without_nan(record), indent=1, ensure_ascii=False) + "\n", path)


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_nan(v) for name, v in value.items()}
    if isinstance(value, list):
        return [_without_nan(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def read(path: Path) -> Record:
    """The record in ``path``; ``UserError`` naming the file if it is missing, damaged or none."""
    try:
        if path.exists() and not path.is_file():  # reading a pipe would wait for ever
            raise ValueError("no regular file")
        return _read(path, path.stat().st_mtime_ns)
    except (ValueError, KeyError, TypeError, RecursionError, OSError) as error:
        reason = " ".join(repr(error).split())[:200]
        remedy = "delete it, and the same command makes it again"
        raise UserError(f"{path} is no readable record ({reason}): {remedy}") from None


@lru_cache(maxsize=4096)
def _read(path: Path, _: int) -> Record:
    record = json.loads(path.read_text(encoding="utf-8"))
    if record["format"] != FORMAT:
        raise ValueError(f"format {record['format']}, not {FORMAT}")
    _check(record)
    if path.name != f"{record['name']}-{record['key']}.json":
        raise ValueError("its name and key are not those of the file")
    return record


def read_all(out: Path, profile: str, folder: str = "runs") -> list[Record]:
    """All records in ``folder`` of ``profile``, sorted by file name; ``UserError`` for a damaged
    one."""
    return [read(path) for path in sorted((out / profile / folder).glob("*.json"))]


# --- the manifest -------------------------------------------------------------------------------


def digests(folder: Path) -> dict[str, str]:
    """SHA-256 of every record of a profile's ``folder``, by its path below that."""
    paths = sorted(path for name in FOLDERS for path in (folder / name).glob("*.json"))
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in paths
        if path.is_file()  # reading a pipe would wait for ever
    }


def _manifest(path: Path) -> dict[str, str]:
    try:
        known = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        if not all(isinstance(digest, str) for digest in known.values()):
            raise ValueError("its digests are no texts")
        return known
    except (ValueError, AttributeError, RecursionError, OSError) as error:
        raise UserError(f"{path} is no manifest ({error!r:.200}): restore it") from None


def check_manifest(folder: Path) -> list[str]:
    """What differs between the records of a profile's ``folder`` and its manifest, a line each."""
    known, present = _manifest(folder / MANIFEST), digests(folder)
    new = [f"{name} is not in the manifest" for name in present.keys() - known.keys()]
    return sorted(new + _broken(known, present))


def _broken(known: dict[str, str], present: dict[str, str]) -> list[str]:
    """The records of a manifest that are missing or other ones, a line each."""
    lost = [f"{name} is missing" for name in known.keys() - present.keys()]
    both = known.keys() & present.keys()
    return sorted(lost + [f"{name} was changed" for name in both if known[name] != present[name]])


def extend_manifest(folder: Path) -> int:
    """Add new records to the manifest of a profile's ``folder``; returns how many.

    ``UserError`` if a record that is in it was changed or is missing: a manifest only grows.
    """
    known, present = _manifest(folder / MANIFEST), digests(folder)
    if wrong := _broken(known, present):
        raise UserError(
            f"{folder}: {len(wrong)} records differ from the manifest, first: {wrong[0]}; restore "
            "them (git checkout)"
        )
    files.write(json.dumps(present, indent=1) + "\n", folder / MANIFEST)
    return len(present) - len(known)
