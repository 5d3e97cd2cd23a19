"""``status``: which runs are complete, table by table, whatever is missing or damaged."""

import argparse
from collections import Counter
from collections.abc import Collection
from textwrap import fill

from gcnlab.analysis.selection import run_of
from gcnlab.cli.ending import BAD_INPUT, DONE, tell
from gcnlab.cli.names import ABLATIONS, TABLES
from gcnlab.cli.showing import open_session, print_json
from gcnlab.errors import UserError
from gcnlab.experiments import records
from gcnlab.experiments.config import Run
from gcnlab.experiments.store import Store
from gcnlab.report.session import Session

COMPLETE = "complete"


def act(options: argparse.Namespace) -> int:
    session = open_session(options)
    recorded, problems = _recorded(session)
    groups = {f"Table {name}": session.configs([name]) for name in TABLES}
    groups[ABLATIONS] = session.ablation_configs()
    runs = dict.fromkeys(run for group in groups.values() for run in group)
    states = {run: _state(run, session.store, recorded, problems) for run in runs}
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
            _print_group(name, {run: states[run] for run in group})
        complete, folder = list(states.values()).count(COMPLETE), session.out / session.profile.name
        print(f"{complete} of {len(states)} runs complete below {folder}")
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


def _state(run: Run, store: Store, recorded: Collection[Run], problems: Collection[str]) -> str:
    try:
        if store.key(run) is None:  # it has none until its start is finished
            return "waiting for its start"
        if store.is_complete(run):
            return COMPLETE
        if store.outdated(run):
            return "to be measured again"
        return "interrupted" if store.is_interrupted(run) else "not run"
    except UserError as error:
        if str(error) in problems:
            return "damaged"
        return "recorded, but its data are missing" if run in recorded else "data missing"


def _print_group(name: str, states: dict[Run, str]) -> None:
    """A line of counts, then the names of the runs by state."""
    counts = Counter(states.values())
    print(f"{name}: {', '.join(f'{n} {state}' for state, n in counts.items()) or 'none'}")
    for state in counts:
        names = ", ".join(run.name for run, other in states.items() if other == state)
        indented = {"initial_indent": "  ", "subsequent_indent": "    "}
        print(fill(f"{state}: {names}", 100, break_on_hyphens=False, **indented))
