"""Controls that redraw a chart in Jupyter, and a bar for what takes long there."""

import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any


def in_jupyter() -> bool:
    """Whether a browser answers; to a kernel that executes a notebook in batch none does."""
    return "JPY_SESSION_NAME" in os.environ


def live(show: Callable, **choices: tuple[Sequence, Any]):
    """``show(**values)`` with a slider per name in Jupyter, drawn anew when one moves.

    ``choices``: name → (its values, the one to begin with). In batch it is drawn once, with these.
    """
    if not in_jupyter():
        return show(**{name: first for name, (_, first) in choices.items()})
    from ipywidgets import SelectionSlider, interactive

    sliders = {
        name: SelectionSlider(options=list(values), value=first, continuous_update=False)
        for name, (values, first) in choices.items()
    }
    # or Jupyter shows the controls without a picture
    return interactive(show, {"manual": False, "auto_display": True}, **sliders)


@contextmanager
def bar(total: int) -> Iterator[Callable[[str], None]]:
    """Takes the scheduler's lines: a bar with the time left in Jupyter, in batch plain lines."""
    if not in_jupyter():
        yield print
        return
    from tqdm.auto import tqdm

    with tqdm(total=total, unit="run") as shown:

        def log(line: str) -> None:
            if complete := re.match(r"\((\d+)/(\d+)\) ", line):
                shown.n, shown.total = map(int, complete.groups())
            elif step := re.match(r"step +(\d+)/(\d+)", line):  # a part of the run at work
                shown.n = round(int(shown.n) + int(step[1]) / int(step[2]), 2)
            shown.set_postfix_str(line[:60])

        yield log
