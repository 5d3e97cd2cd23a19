"""What a user sees of runs: the score of each as it ends, tables and verdicts at the end."""

import argparse
import json
import re
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from gcnlab.analysis.judging import NOT_RUN
from gcnlab.analysis.selection import is_diverged, metric
from gcnlab.analysis.tables import METRIC_NAMES
from gcnlab.experiments.config import Run
from gcnlab.experiments.profiles import get
from gcnlab.experiments.records import Record
from gcnlab.experiments.resources import chain
from gcnlab.experiments.scheduler import default_jobs
from gcnlab.experiments.store import Store
from gcnlab.report.session import Session

say = partial(print, flush=True)  # a closed pipe is noticed at once, not at the end


def open_session(options: argparse.Namespace) -> Session:
    """The session that a command's options describe."""
    jobs = getattr(options, "jobs", 1)
    if jobs is None:  # a run that is no evidence takes less time than starting a process
        jobs = default_jobs() if get(options.profile).evidence else 1
    seeds = getattr(options, "seeds", 1)
    return Session(options.profile, seeds, jobs, options.data_root, options.out)


def print_json(value: Any) -> None:
    print(json.dumps(value, indent=1, ensure_ascii=False))


def progress(runs: Sequence[Run], store: Store) -> Callable[[str], None]:
    """Prints the scheduler's lines, with the score of each run that is complete."""
    by_name = {link.name: link for run in runs for link in chain(run)}

    def log(line: str) -> None:
        complete = re.fullmatch(r"\(\d+/\d+\) (\S+) complete", line)
        run = complete and by_name.get(complete[1])
        record = run and store.record(run)
        say(f"{line}: {score(record)}" if record else line)

    return log


def score(record: Record) -> str:
    """``mIoU 63.3`` or ``top-1 error 2.1``, in percent, and whether the run diverged."""
    scores = {name: metric(record, name) for name in ("miou", "top1_error")}
    words = [f"{METRIC_NAMES[n]} {value:.1f}" for n, value in scores.items() if value == value]
    if is_diverged(record):
        words.append(f"diverged ({record.get('diverged') or 'no better than chance'})")
    return ", ".join(words) or "its score is undefined"


def tables_text(session: Session, names: Sequence[str]) -> str:
    """The tables ``names`` in the paper's form."""
    return "\n".join(f"\nTable {name}\n{session.table(name).to_string()}" for name in names)


def verdicts_text(session: Session) -> str:
    """One line per claim that was judged."""
    judged = [verdict for verdict in session.judge() if verdict.verdict != NOT_RUN]
    return "\n".join(f"claim {v.id:>2}: {v.verdict:<15} {v.claim}" for v in judged)
