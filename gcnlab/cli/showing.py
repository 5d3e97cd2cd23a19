"""What a user sees of finished runs: tables, the tally of verdicts, what differs from the study."""

import argparse
import json
from functools import partial
from typing import Any

from gcnlab.analysis.repeats import surprises
from gcnlab.cli.names import TABLES
from gcnlab.cli.progress import duration
from gcnlab.experiments.profiles import get
from gcnlab.experiments.scheduler import default_jobs
from gcnlab.report import verdicts
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


def closing_text(session: Session, seconds: float) -> str:
    """How a batch ends: the tally of verdicts, the time, and what differs from the study."""
    tally = verdicts.setting(session).tally_text()
    lines = [f"verdicts on the paper's claims: {tally}", f"time: {duration(seconds)}"]
    if session.local_records and session.study_records:
        by_table = [surprises(session.frame(name)) for name in TABLES]
        differ = [cell for cells, _ in by_table for cell in cells]
        alone = sum(count for _, count in by_table)
        few = f" ({alone} more cells have one seed in the study, which tells no spread)"
        lines.append(
            f"outside the 95 % prediction interval of the committed study: {len(differ)} cells"
            f"{few * bool(alone)}"
        )
        lines += [f"  {cell}" for cell in differ]
    return "\n".join(lines)
