"""The command line: one module per command, imported when its options are known to be good."""

import io
import sys

from gcnlab.cli import ending
from gcnlab.cli.parser import parse
from gcnlab.errors import UserError


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns the exit code (see :mod:`gcnlab.cli.ending`)."""
    if isinstance(sys.stdout, io.TextIOWrapper):  # a terminal that has no × or − prints a ?
        sys.stdout.reconfigure(errors="replace")
    try:
        options = parse(sys.argv[1:] if arguments is None else arguments)
    except UserError as error:
        ending.tell(f"gcnlab: {error}")
        return ending.BAD_INPUT
    return ending.exit_code(options)
