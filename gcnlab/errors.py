"""The exceptions for input that the user can mend, and the check of a name."""

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """Bad input: the message is one line that names the file or option and the remedy.

    The command line prints the message without a traceback and exits with code 2.
    """


class NoSuchModel(UserError, ValueError):
    """Numbers and names, of a rule or a config, that describe no model."""


def check_name(
    kind: str, name: str, known: Iterable[str], error: type[UserError] = UserError
) -> None:
    """``error`` for a ``name`` that is not ``known``, with the one that was perhaps meant."""
    if name not in known:
        close = difflib.get_close_matches(name, [other for other in known if len(other) > 1], 1)
        meant = f"did you mean {close[0]!r}? There are" if close else "choose one of"
        raise error(f"unknown {kind} {name!r}; {meant} {', '.join(known)}")
