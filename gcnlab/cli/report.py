"""``report``: tables, figures and the page from the records, or the same as JSON."""

import argparse
import json

from gcnlab.cli.ending import tell
from gcnlab.cli.names import TABLES
from gcnlab.cli.showing import open_session, print_json
from gcnlab.errors import UserError
from gcnlab.experiments.records import COMMITTED
from gcnlab.experiments.resources import check_writable
from gcnlab.report.session import Session


def act(options: argparse.Namespace) -> None:
    session = open_session(options)
    missing = _missing(session)
    if options.json:
        if missing:
            tell(f"gcnlab: {missing}")
        return _print_json(session)
    # they draw, which --json needs no library for
    from gcnlab.report import notebooks, page, readme

    if options.readme:
        generated = readme.values()
        for path in (COMMITTED.parent / name for name in readme.GENERATED):
            print(f"{path}: {'renewed' if readme.update(path, generated) else 'as it was'}")
    if missing and not options.readme:
        raise UserError(missing)
    if not missing:
        check_writable(session.out)
        print(page.write(session))
        if options.notebooks:
            print(notebooks.publish(session))


def _missing(session: Session) -> str | None:
    """One line if there is nothing to report on; the committed study is not taken instead."""
    if session.local_records if session.own else session.study_records:
        return None
    name = session.profile.name
    return (
        f"no finished runs of profile {name} below {session.out}: make some first (gcnlab run "
        f"--profile {name}), or name the folder that has them (--out DIR)"
    )


def _print_json(session: Session) -> None:
    """Every cell with the keys of its records, and every verdict."""
    tables = {name: json.loads(session.frame(name).to_json(orient="records")) for name in TABLES}
    verdicts = json.loads(session.verdicts().reset_index().to_json(orient="records"))
    print_json({"profile": session.profile.name, "tables": tables, "verdicts": verdicts})
