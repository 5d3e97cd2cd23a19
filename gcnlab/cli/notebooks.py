"""``notebooks``: train what they need, execute them, and write the report."""

import argparse

from gcnlab.cli.names import TABLES
from gcnlab.cli.showing import open_session, progress, say, tables_text, verdicts_text
from gcnlab.errors import UserError
from gcnlab.experiments import resources, scheduler
from gcnlab.report import notebooks, page
from gcnlab.report.session import Session


def act(options: argparse.Namespace) -> None:
    session = open_session(options)
    try:
        chosen = notebooks.pick(options.only)
    except UserError as error:
        raise UserError(f"--only: {error}") from None
    tables = [table for path in chosen for table in notebooks.trained_tables(path)]
    _train(session, tables)
    data_root = None if session.data_root is None else str(session.data_root)
    parameters = {"profile": session.profile.name, "train": True, "seeds": options.seeds}
    parameters |= {"jobs": session.jobs, "data_root": data_root, "out": str(session.out)}
    folder = session.out / session.profile.name
    for number, notebook in enumerate(chosen, 1):
        say(f"== notebook {number} of {len(chosen)}: {notebook.name}")
        notebooks.execute(notebook, folder / "notebooks", parameters)
    written = page.write(session)
    say(f"\n{session.profile.name}: {session.profile.description}")
    trained = [name for name in TABLES if name in tables]
    say(f"{tables_text(session, trained)}\n\n{verdicts_text(session)}")
    say(f"\nexecuted notebooks: {folder / 'notebooks'}\ntables:             {folder / 'tables'}")
    say(f"open this:          {written}")


def _train(session: Session, tables: list[str]) -> None:
    """Train all that the notebooks will ask for, together, which fills every core."""
    runs, store = session.configs(tables), session.store
    try:
        resources.check_present(runs, store)
    except UserError as error:
        raise UserError(f"{error} (nothing was started; --only leaves notebooks out)") from None
    resources.check_writable(store.out)
    left_out = resources.without_backend(runs)  # their notebook says so
    runs = [run for run in runs if run not in left_out]
    if failures := scheduler.run_all(runs, store, session.jobs, progress(runs, store)):
        raise notebooks.NotebookFailed("; ".join(failures))
