"""``run``: train what is missing of tables, fields, ablations, rates, pilot; show the scores."""

import argparse
import os
from contextlib import ExitStack, redirect_stdout
from pathlib import Path
from tempfile import TemporaryDirectory

from gcnlab.analysis import dense_kernel, repeats, rules
from gcnlab.analysis.priority import decisive_first
from gcnlab.cli.ending import DONE, FAILED, tell
from gcnlab.cli.names import ABLATIONS, FIELDS, OWN, PILOT, PRETRAINING, RATES, REPEAT, TABLES
from gcnlab.cli.progress import Progress
from gcnlab.cli.showing import open_session, say
from gcnlab.errors import UserError
from gcnlab.experiments import dry_run, durations, head_rates, pilot, receptive_fields, scheduler
from gcnlab.experiments.config import Run
from gcnlab.report.session import Session
from gcnlab.training import distributed


def act(options: argparse.Namespace) -> int:
    if options.dry_run:
        return _dry_run(options)
    with distributed.process_group(), ExitStack() as stack:
        if not distributed.is_first():  # of torchrun's processes one speaks
            quiet = stack.enter_context(open(os.devnull, "w"))
            stack.enter_context(redirect_stdout(quiet))
        return _act(options)


def _act(options: argparse.Namespace) -> int:
    session = open_session(options)
    study = session.study_records  # now: with --out results the runs become a part of it
    names = list(dict.fromkeys(options.tables))
    runs, store = configs(names, session), session.store
    if PRETRAINING not in names:  # who asks for it by name wants it trained
        session.adopt_pretraining(runs)
    cluster = None if options.cluster is None else dict(options.cluster)
    left = {run: durations.work(run) * (not store.record(run)) for run in runs}
    order = decisive_first(session.profile, runs, session.seeds, lambda run: left.get(run, 0))
    runs = [run for run in order if run in left]
    with Progress(runs, store, study, session.jobs) as progress:
        failures = scheduler.run_all(runs, store, session.jobs, progress, cluster)
    if FIELDS in names and not failures and distributed.is_first():
        objects = receptive_fields.THOROUGH if session.profile.evidence else 1
        receptive_fields.measure_all(session.field_configs(), store, objects, session.jobs, say)
    for name in (name for name in names if name in TABLES):
        say(f"\nTable {name}\n{session.table(name).to_string()}")
    if ABLATIONS in names:
        say(dense_kernel.findings(session.profile, session.ablations()).to_string())
    if OWN in names:
        say(session.verdicts(*(rule.claim for rule in rules.OWN)).to_string())
    if REPEAT in names:
        drawn = repeats.drawn(session.profile, study)
        again = [record for run in drawn if (record := store.record(run))]
        say(repeats.second_run(session.profile, study, again).to_string())
    if RATES in names:
        say(head_rates.report(session.profile, store))
    if PILOT in names:
        say(pilot.report(session.profile, store))
    complete, folder = sum(map(store.is_complete, runs)), session.out / session.profile.name
    say(f"{complete} of {len(runs)} runs complete below {folder}, {len(failures)} failed")
    return _code(failures)


def _dry_run(options: argparse.Namespace) -> int:
    """All runs in miniature, below a folder that is removed."""
    with TemporaryDirectory(prefix="gcnlab-dry-run-") as folder:
        options.out, options.data_root = Path(folder) / "out", Path(folder)
        session = open_session(options)
        runs = configs(options.tables, session)
        return _code(dry_run.perform(runs, Path(folder), say))


def _code(failures: list[str]) -> int:
    for failure in failures:
        tell(f"failed: {failure}")
    return FAILED if failures else DONE


def configs(names: list[str], session: Session) -> list[Run]:
    """All runs that ``names`` name; ``UserError`` if a profile has no pilot, or no such choice."""
    others = (FIELDS, ABLATIONS, RATES, OWN, PILOT, REPEAT)
    runs = session.configs([name for name in names if name not in others])
    if FIELDS in names:
        runs = [*runs, *session.field_configs()]
    if ABLATIONS in names:
        runs = [*runs, *session.ablation_configs()]
    if RATES in names:
        runs = [*runs, *head_rates.configs(session.profile, session.seeds)]
    if OWN in names:
        if not rules.OWN:
            raise UserError("no claim besides the paper's is registered: see docs/extending.md")
        runs = [*runs, *session.own_configs()]
    if REPEAT in names:
        runs = [*runs, *repeats.drawn(session.profile, session.study_records)]
    if PILOT in names:
        name, known = session.profile.name, ", ".join(pilot.STEPS)
        if name not in pilot.STEPS:
            raise UserError(f"profile {name} has no pilot: choose one of {known} (--profile)")
        runs = [*runs, *pilot.configs(session.profile)]
    return list(dict.fromkeys(runs))
