"""The names that help and the answer to a typo need, without importing what they name.

Importing torch takes seconds. A test compares these names with those of the other rooms.
"""

import difflib
from collections.abc import Iterable

from gcnlab.errors import UserError

PROFILES = ("smoke", "quick", "synthetic", "synthetic-wide", "photos", "paper")
TABLES = ("1", "2", "3", "4", "5", "6", "7", "9")
PRETRAINING, FIELDS, ABLATIONS, PILOT = "pretraining", "fields", "ablations", "pilot"
OWN, REPEAT = "own", "repeat"
RUNNABLE = (*TABLES, PRETRAINING, FIELDS, ABLATIONS, PILOT, OWN, REPEAT)


def check(kind: str, name: str, known: Iterable[str]) -> None:
    """``UserError`` for a ``name`` that is not ``known``, with the one that was perhaps meant."""
    if name not in known:
        close = difflib.get_close_matches(name, [other for other in known if len(other) > 1], 1)
        meant = f"did you mean {close[0]!r}? There are" if close else "choose one of"
        raise UserError(f"unknown {kind} {name!r}; {meant} {', '.join(known)}")
