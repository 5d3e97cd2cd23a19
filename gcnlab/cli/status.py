"""``status``: which runs are complete, table by table, whatever is missing or damaged."""

import argparse
import re
from collections import Counter
from collections.abc import Collection
from textwrap import fill

from gcnlab.analysis.selection import run_of
from gcnlab.cli.ending import BAD_INPUT, DONE, tell
from gcnlab.cli.names import ABLATIONS, TABLES
from gcnlab.cli.progress import STEP, duration
from gcnlab.cli.showing import open_session, print_json
from gcnlab.errors import UserError
from gcnlab.experiments import records
from gcnlab.experiments.config import Run
from gcnlab.experiments.durations import expected
from gcnlab.experiments.store import Store
from gcnlab.report.session import Session

COMPLETE, FAILED, BAR = "complete", "failed", 10


def act(options: argparse.Namespace) -> int:
    session = open_session(options)
    recorded, problems = _recorded(session)
    groups = {f"Table {name}": session.configs([name]) for name in TABLES}
    groups[ABLATIONS] = session.ablation_configs()
    runs = dict.fromkeys(run for group in groups.values() for run in group)
    notes = session.store.notes(session.profile.name)
    states = {run: _state(run, session.store, recorded, problems, notes) for run in runs}
    stale = [] if problems else session.stale()
    if options.json:
        print_json({
            "profile": session.profile.name,
            "out": str(session.out),
            "runs": {run.name: state for run, state in states.items()},
            "groups": {n: dict(Counter(states[r] for r in group)) for n, group in groups.items()},
            "stale": stale,
            "problems": problems,
        })  # fmt: skip
    else:
        for name, group in groups.items():
            print(_group_line(name, {run: states[run] for run in group}, notes))
        for run, state in states.items():
            if state == FAILED:
                print(f"{run.name} {notes[run.name]}")
        print(f"{_total(session, states, problems)} below {session.out / session.profile.name}")
        if session.own and not problems and (study := session.study_records):
            print(f"the committed study has {len(study)} finished runs of this profile")
        if stale:
            why = "records of other schedules, data, machines or code versions do not count"
            print(fill(f"{len(stale)} {why}: {', '.join(stale)}", 100, break_on_hyphens=False))
    for problem in problems:
        tell(f"gcnlab: {problem}")
    return BAD_INPUT if problems else DONE


def _recorded(session: Session) -> tuple[set[Run], list[str]]:
    """The runs that have a record, whatever the data are now; what is wrong with other records."""
    runs, problems = set(), []
    for path in sorted((session.out / session.profile.name / "runs").glob("*.json")):
        try:
            runs.add(run_of(records.read(path)))
        except UserError as error:
            problems.append(str(error))
    return runs, problems


def _state(run: Run, store: Store, recorded: Collection[Run], problems: Collection[str],
           notes: dict[str, str]) -> str:  # fmt: skip
    try:
        if store.key(run) is None:  # it has none until its start is finished
            return "waiting for its start"
        if store.is_complete(run):
            return COMPLETE
        if store.outdated(run):
            return "to be measured again"
        if store.is_running(run):
            return "running"
        if (word := re.match(f"queued|{FAILED}", notes.get(run.name, ""))) is not None:
            return word[0]
        return "interrupted" if store.is_interrupted(run) else "not run"
    except UserError as error:
        if str(error) in problems:
            return "damaged"
        return "recorded, but its data are missing" if run in recorded else "data missing"


def _group_line(name: str, states: dict[Run, str], notes: dict[str, str]) -> str:
    """A table as a bar and counts, with the step of what was begun, and its time left."""
    counts = Counter(states.values())
    complete, count = counts.pop(COMPLETE, 0), len(states)
    bar = "".join("█" if i * count < BAR * complete else "·" for i in range(BAR))
    begun = []
    for run, state in states.items():
        line = notes.get(run.name, "")
        if state != COMPLETE and (step := STEP.match(line)):
            left = re.search(r"[\d:]+ left$", line) if state == "running" else None
            begun.append(f"{run.name} {step[0]}{f', {left[0]}' if left else ''}")
    rest = [f"{number} {state}" for state, number in counts.items()]
    return f"{name:<9} {bar} " + " · ".join([f"{complete}/{count} complete", *rest, *begun])


def _total(session: Session, states: dict[Run, str], problems: Collection[str]) -> str:
    """How many runs are complete, and how long the others take by the times of equal runs."""
    missing = [run for run, state in states.items() if state != COMPLETE]
    text = f"{len(states) - len(missing)} of {len(states)} runs complete"
    took = [] if problems else session.local_records or session.study_records
    if not (missing and took):
        return text
    return f"{text}, about {duration(sum(expected(missing, took).values()))} of work left"
