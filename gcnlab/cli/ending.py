"""How a command ends: its exit code, one line for what the user can mend, signals, a closed pipe.

0 done; 1 some runs failed, or nobody was left to read what was not finished; 2 bad input; 130
interrupted, whether by Ctrl-C, SIGTERM or a closed terminal.
"""

import argparse
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from gcnlab.errors import UserError
from gcnlab.report.notebooks import NotebookFailed

DONE, FAILED, BAD_INPUT, INTERRUPTED = 0, 1, 2, 130


class _Ended(KeyboardInterrupt):
    """Another signal that ends the program as Ctrl-C does."""


@contextmanager
def _signals() -> Iterator[None]:
    def end(number: int, _: object) -> None:
        raise _Ended(f"ended by {signal.Signals(number).name}")

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


def exit_code(act: Callable[[argparse.Namespace], int], options: argparse.Namespace) -> int:
    """``act(options)``, or the exit code of what ended it, which is told in one line.

    ``options.kept`` says what an interrupted command leaves; it is None for one that only looks.
    """
    try:
        with _signals():
            code = act(options)
            sys.stdout.flush()
            return code
    except UserError as error:
        # Lower layers know a data root, but no option.
        unnamed = "data root" in str(error) and getattr(options, "data_root", ...) is None
        tell(f"gcnlab: {error}" + " (--data-root DIR)" * unnamed)
        return BAD_INPUT
    except NotebookFailed as error:
        tell(f"gcnlab: {error}")
        return FAILED
    except KeyboardInterrupt as error:
        tell("\ngcnlab: " + ": ".join(filter(None, (str(error) or "interrupted", options.kept))))
        return INTERRUPTED
    except BrokenPipeError:  # the reader (head, less) has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if options.kept is None:
            return DONE
        tell(f"gcnlab: ended because nobody reads its output any more: {options.kept}")
        return FAILED
    except OSError as error:
        reason = f"{error.filename or 'a file'}: {error.strerror or error}"
        tell(f"gcnlab: {reason}: check the disk and the folders of the command")
        return BAD_INPUT
