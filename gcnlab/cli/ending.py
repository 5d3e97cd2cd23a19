"""How a command ends: its exit code, one line for what the user can mend, signals, a closed pipe.

0 done; 1 some runs failed, or nobody was left to read what was not finished; 2 bad input; 130
interrupted, whether by Ctrl-C, SIGTERM or a closed terminal.
"""

import argparse
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import import_module

from gcnlab import files
from gcnlab.errors import UserError
from gcnlab.report.notebooks import NotebookFailed

DONE, FAILED, BAD_INPUT, INTERRUPTED = 0, 1, 2, 130


@contextmanager
def _signals() -> Iterator[None]:
    """Other signals end the program as Ctrl-C does."""

    def end(number: int, _: object) -> None:
        raise KeyboardInterrupt(f"ended by {signal.Signals(number).name}")

    in_main = threading.current_thread() is threading.main_thread()
    numbers = (signal.SIGTERM, signal.SIGHUP) if in_main else ()
    # SIGHUP is ignored under nohup, and stays so
    before = {n: signal.signal(n, end) for n in numbers if signal.getsignal(n) == signal.SIG_DFL}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def tell(text: str) -> None:
    """One line on standard error, if that is still there."""
    with suppress(OSError):
        print(text, file=sys.stderr, flush=True)


def exit_code(options: argparse.Namespace) -> int:
    """What ``act(options)`` of the command's module gives, or the exit code of what ended it.

    The end is told in one line. An ``act`` that gives None is done. ``options.kept`` says what an
    interrupted command leaves; it is None for one that only looks.
    """
    try:
        with _signals():
            code = import_module(f"gcnlab.cli.{options.command}").act(options) or DONE
            sys.stdout.flush()
            return code
    except UserError as error:
        # Lower layers know a data root, but no option.
        unnamed = "data root" in str(error) and getattr(options, "data_root", ...) is None
        return _told(BAD_INPUT, f"{error}" + " (--data-root DIR)" * unnamed)
    except NotebookFailed as error:
        return _told(FAILED, str(error))
    except KeyboardInterrupt as error:
        tell("")
        return _told(
            INTERRUPTED, ": ".join(filter(None, (str(error) or "interrupted", options.kept)))
        )
    except BrokenPipeError:  # the reader (head, less) has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if options.kept is None:
            return DONE
        return _told(FAILED, f"ended because nobody reads its output any more: {options.kept}")
    except OSError as error:
        reason = f"{error.filename or 'a file'}: {error.strerror or error}"
        remedy = "check the disk and the folders of the command"
        if files.is_full(error):
            remedy = f"free some space; {options.kept or 'then give the same command again'}"
        return _told(BAD_INPUT, f"{reason}: {remedy}")


def _told(code: int, text: str) -> int:
    tell(f"gcnlab: {text}")
    return code
