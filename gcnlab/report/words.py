"""Numbers as a reader sees them; needs no drawing."""

from collections.abc import Iterable, Sequence
from math import isfinite


def listed(words: Sequence[str]) -> str:
    """``a``, ``a and b`` or ``a, b and c``."""
    return " and ".join(filter(None, [", ".join(words[:-1]), *words[-1:]]))


def signed(value: float, digits: int = 1) -> str:
    """``+5.5`` or ``−0.3``, with a real minus sign."""
    return f"{value:+.{digits}f}".replace("-", "−") if isfinite(value) else "–"


def seeds_text(numbers: Iterable[float]) -> str:
    """``n = 3–5 seeds`` for numbers of runs, which no line breaks, or ``not run``."""
    present = sorted({int(n) for n in numbers if n > 0})
    if not present:
        return "not run"
    text = "–".join(map(str, sorted({present[0], present[-1]})))
    return f"n = {text} seed{'s' * (text != '1')}".replace(" ", "\u00a0")
