"""``notebooks``: train what they need, execute them, and write the report."""

import argparse
import time
from functools import partial

from gcnlab.cli.progress import Progress
from gcnlab.cli.showing import closing_text, open_session, say
from gcnlab.errors import UserError
from gcnlab.experiments import resources, scheduler
from gcnlab.experiments.config import Run
from gcnlab.processes import in_parallel
from gcnlab.report import notebooks, page
from gcnlab.report.session import Session


def act(options: argparse.Namespace) -> None:
    session, started = open_session(options), time.monotonic()
    try:
        chosen = notebooks.pick(options.only)
    except UserError as error:
        raise UserError(f"--only: {error}") from None
    runs = session.configs([t for path in chosen for t in notebooks.trained_tables(path)])
    asked = any("train_ablations" in path.read_text(encoding="utf-8") for path in chosen)
    if asked and session.profile.batch_ablations:
        runs = list(dict.fromkeys([*runs, *session.ablation_configs()]))
    _train(session, runs)
    data_root = None if session.data_root is None else str(session.data_root)
    parameters = {"profile": session.profile.name, "train": True, "seeds": options.seeds}
    parameters |= {"jobs": session.jobs, "data_root": data_root, "out": str(session.out)}
    folder = session.out / session.profile.name / "notebooks"
    if any("session.measure()" in path.read_text(encoding="utf-8") for path in chosen):
        session.measure()
    origin = notebooks.state_of(session, parameters)
    outdated = [path for path in chosen if not notebooks.is_current(path, folder, origin)]
    say(f"{len(chosen)} notebooks: {len(outdated)} to execute, the others are as they were")
    execute = partial(notebooks.execute, folder=folder, parameters=parameters, origin=origin)
    in_parallel(execute, outdated, session.jobs, lambda number, path: say(
        f"({number}/{len(outdated)}) {path.name} executed"))  # fmt: skip
    written = page.write(session)
    say(f"\n{session.profile.name}: {session.profile.description}")
    say(closing_text(session, time.monotonic() - started))
    say(f"\nexecuted notebooks: {folder}\ntables:             {folder.parent / 'tables'}")
    say(f"open this:          {written}")


def _train(session: Session, runs: list[Run]) -> None:
    """Train all that the notebooks will ask for, together, which fills every core."""
    store = session.store
    try:
        resources.check_present(runs, store)
    except UserError as error:
        raise UserError(f"{error} (nothing was started; --only leaves notebooks out)") from None
    resources.check_writable(store.out)
    left_out = resources.without_backend(runs)  # their notebook says so
    runs = [run for run in runs if run not in left_out]
    session.adopt_pretraining(runs)
    with Progress(runs, store, session.study_records, session.jobs) as progress:
        failures = scheduler.run_all(runs, store, session.jobs, progress)
    if failures:
        raise notebooks.NotebookFailed("; ".join(failures))
