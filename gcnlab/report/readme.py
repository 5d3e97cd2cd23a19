"""Text between marks in Markdown files, generated: no number in prose is typed by hand.

A mark is a pair of comments, ``<!-- NAME -->`` and ``<!-- /NAME -->``; what stands between them is
replaced, whether a word in a sentence or a table of its own.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from gcnlab import files
from gcnlab.analysis import repeats
from gcnlab.data.readers import reading
from gcnlab.errors import UserError
from gcnlab.experiments import pilot, records
from gcnlab.experiments.profiles import PROFILES, Profile
from gcnlab.report import findings, verdicts

RUN_ALL = records.COMMITTED / "run_all.json"  # `./run_all.sh` in an empty folder, as measured
GENERATED = ("README.md", "FINDINGS.md")  # wholly or between marks
_MARK = re.compile(r"<!-- ([\w.-]+) -->(.*?)<!-- /\1 -->", re.DOTALL)


def markdown(frame: pd.DataFrame) -> str:
    """A frame as a Markdown table, its index as the first columns; numbers are aligned right."""
    flat = frame.reset_index()
    rule = ["---:" if pd.api.types.is_numeric_dtype(flat[name]) else "---" for name in flat]
    rows = [flat.columns, rule, *flat.itertuples(index=False)]
    cells = [[" ".join(str(cell).replace("|", "\\|").split()) for cell in row] for row in rows]
    return "".join(f"| {' | '.join(row)} |\n" for row in cells)


def values() -> dict[str, str]:
    """What can stand between marks, from the committed records of every kind of data.

    ``key``: what signs mean; ``settings``: what was trained; ``answer``: three sentences;
    ``decisive`` and ``claims``: the judged effects of five claims and of all; ``findings``: every
    question with its answer; ``hero``: the figure of all effects; ``lengths``: what the pilot says
    of the schedules; ``sensitivity``: claims in other settings of the same data; ``second-run``:
    where cells that were trained again ended; ``minutes``: what ``./run_all.sh`` took.
    """
    settings, others = verdicts.studies()
    link = "[{text}](results/{profile}/tables/records.md#claim-{claim})"
    kinds = ", ".join(one.kind for one in settings)
    path = f"results/{settings[0].profile.name}/figures/agreement.svg"
    return {
        "key": verdicts.KEY,
        "settings": verdicts.described(settings),
        "answer": " ".join(verdicts.answer(settings)),
        "decisive": markdown(verdicts.effects_table(settings, link, verdicts.DECISIVE)),
        "claims": markdown(verdicts.effects_table(settings, link)),
        "findings": findings.markdown(settings, others),
        "lengths": _lengths(),
        "sensitivity": _sensitivity(settings, others, link),
        "second-run": " ".join(_second_run(one.profile) for one in settings + others).strip(),
        "minutes": _minutes(),
        "hero": f"![The effect of each comparison: published, {kinds}]({path})",
    }


def _minutes() -> str:
    with reading(RUN_ALL, "a measurement of run_all.sh"):
        minutes = json.loads(RUN_ALL.read_text(encoding="utf-8"))["minutes"]
        return f"{minutes:.0f} minutes"


def _sensitivity(
    settings: list[verdicts.Setting], others: list[verdicts.Setting], link: str
) -> str:
    """Claims in other settings of the same data, for which these were run."""
    run = [v.id for v in settings[0].verdicts if any(one.verdict(v.id).effects for one in others)]
    if not run:
        return "Not run."
    shown = [one for one in settings if one.kind in {other.kind for other in others}] + others
    return f"{verdicts.described(shown)}\n\n{markdown(verdicts.effects_table(shown, link, run))}"


def _second_run(profile: Profile) -> str:
    folders = (records.COMMITTED, records.REPEATED)
    study, repeated = (records.read_all(folder, profile.name) for folder in folders)
    return repeats.sentence(profile, study, repeated) if repeated else ""


def _lengths() -> str:
    """Held-out scores over the length of training, and the shortest that has converged."""
    tables, told = {}, []
    for profile in (PROFILES[name] for name in pilot.STEPS if PROFILES[name].evidence):
        frame = pilot.committed(profile)
        first = frame[frame["seed"] == 0]
        tables[profile.title] = first.pivot(index="steps", columns="variant", values="miou")
        told.append(f"{profile.title}: {pilot.converged_steps(frame, profile) or 'none yet'}")
    table = pd.concat(tables, names=["data"])[[variant.title for variant in pilot.VARIANTS]]
    table["GCN 15 − 1×1"] = table["GCN 15"] - table["1×1"]
    shown = table.map(lambda value: f"{value:.1f}" if value == value else "–")
    rule = f"Least training whose double adds less than {pilot.LEAST_GAIN} points to each variant"
    return f"{markdown(shown)}\n{rule}: {'; '.join(told)}."


def update(path: Path, values: Mapping[str, str]) -> bool:
    """Generate the text between the marks of a file anew; returns whether it changed.

    What begins a line, or has several, gets lines of its own: Markdown takes a line that begins
    with a comment for HTML. ``UserError`` if the file has no marks, or one that nothing generates.
    """
    text = path.read_text(encoding="utf-8")
    marks = [match[1] for match in _MARK.finditer(text)]
    if not marks:
        raise UserError(f"{path} has no marks such as <!-- effects --> … <!-- /effects -->")
    if unknown := [name for name in marks if name not in values]:
        raise UserError(f"{path}: nothing generates {unknown[0]!r}; there are {', '.join(values)}")

    def replaced(match: re.Match) -> str:
        name, value = match[1], values[match[1]].strip("\n")
        begins_line = text[: match.start()].rpartition("\n")[2] == ""
        block = begins_line or "\n" in value
        inner = f"\n\n{value}\n\n" if block else value
        return f"<!-- {name} -->{inner}<!-- /{name} -->"

    filled = _MARK.sub(replaced, text)
    if filled != text:
        files.write(filled, path)
    return filled != text
