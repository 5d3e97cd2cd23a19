"""Text between marks in Markdown files, generated: no number in prose is typed by hand.

A mark is a pair of comments, ``<!-- NAME -->`` and ``<!-- /NAME -->``; what stands between them is
replaced, whether a word in a sentence or a table of its own.
"""

import re
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from gcnlab import files
from gcnlab.analysis import claims
from gcnlab.errors import UserError
from gcnlab.experiments.profiles import PROFILES
from gcnlab.report import verdicts

_MARK = re.compile(r"<!-- ([\w.-]+) -->(.*?)<!-- /\1 -->", re.DOTALL)


def markdown(frame: pd.DataFrame) -> str:
    """A frame as a Markdown table, its index as the first columns; numbers are aligned right."""
    flat = frame.reset_index()
    rule = ["---:" if pd.api.types.is_numeric_dtype(flat[name]) else "---" for name in flat]
    rows = [flat.columns, rule, *flat.itertuples(index=False)]
    cells = [[" ".join(str(cell).replace("|", "\\|").split()) for cell in row] for row in rows]
    return "".join(f"| {' | '.join(row)} |\n" for row in cells)


def values() -> dict[str, str]:
    """What can stand between marks, from the committed records of every profile that is evidence.

    ``effects`` (the judged effects as a table), ``answer``; for a profile P ``tally.P`` and
    ``claims.P``; and for its claim N ``effect.P.N`` and ``verdict.P.N``.
    """
    from gcnlab.report.session import Session

    sessions = [Session(profile.name) for profile in PROFILES.values() if profile.evidence]
    with_records = [session for session in sessions if session.study_records] or sessions[:1]
    settings = [verdicts.setting(session) for session in with_records]
    link = "[{text}](results/{profile}/tables/records.md#claim-{claim})"
    table = markdown(verdicts.effects_table(settings, link))
    texts = {"effects": table, "answer": " ".join(verdicts.answer(settings))}
    for one in settings:
        name = one.profile.name
        texts[f"tally.{name}"] = one.tally_text()
        texts[f"claims.{name}"] = markdown(claims.verdict_frame(one.verdicts))
        for verdict in one.verdicts:
            first = verdict.effects[0] if verdict.effects else None
            texts[f"verdict.{name}.{verdict.id}"] = verdicts.word_of(verdict)
            texts[f"effect.{name}.{verdict.id}"] = verdicts.effect_text(first)
    return texts


def update(path: Path, values: Mapping[str, str]) -> bool:
    """Generate the text between the marks of a file anew; returns whether it changed.

    Values of several lines get lines of their own. ``UserError`` if the file has no marks, or one
    that nothing generates.
    """
    text = path.read_text(encoding="utf-8")
    marks = [match[1] for match in _MARK.finditer(text)]
    if not marks:
        raise UserError(f"{path} has no marks such as <!-- effects --> … <!-- /effects -->")
    if unknown := [name for name in marks if name not in values]:
        raise UserError(f"{path}: nothing generates {unknown[0]!r}; there are {', '.join(values)}")

    def replaced(match: re.Match) -> str:
        name, value = match[1], values[match[1]].strip("\n")
        inner = f"\n\n{value}\n\n" if "\n" in value else value
        return f"<!-- {name} -->{inner}<!-- /{name} -->"

    filled = _MARK.sub(replaced, text)
    if filled != text:
        files.write(filled, path)
    return filled != text
