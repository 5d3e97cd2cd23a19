"""The command line: the study's engine without Jupyter.

Exit codes: 0 done, 1 some runs failed, 2 bad input (one line on stderr says what and how to mend it), 130 interrupted.
"""

import argparse
import sys
from pathlib import Path

from gcnlab.errors import UserError
from gcnlab.study import profiles, results, runner, tables


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not at least 1")
    return value


def _study_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--profile", default="shapes", help="smoke, shapes (default), photos or paper")
    parser.add_argument("--seeds", type=_positive, default=1, metavar="N", help="seeds 0 … N-1 (default 1)")
    parser.add_argument("--data-root", type=Path, metavar="DIR", help="folder of the real data")
    parser.add_argument("--out", type=Path, default=results.LOCAL, metavar="DIR",
                        help="where records go (default: results/local)")  # fmt: skip


def _run(options: argparse.Namespace) -> int:
    profile = profiles.get(options.profile)
    wanted = tables.table_runs(options.tables or list(tables.TABLES), profile, list(range(options.seeds)))
    failures = runner.run_all(wanted, options.out, options.data_root, options.jobs)
    for failure in failures:
        print(f"failed: {failure}", file=sys.stderr)
    return 1 if failures else 0


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="gcnlab", description=__doc__.splitlines()[0], allow_abbrev=False)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    run = commands.add_parser("run", help="train what is missing of the given tables")
    run.add_argument("tables", nargs="*", metavar="TABLE", help="1 … 5; none means all")
    run.add_argument("--jobs", type=_positive, default=1, metavar="N", help="runs at a time (default 1)")
    _study_options(run)
    run.set_defaults(act=_run)
    return parser


def main(arguments: list[str] | None = None) -> int:
    options = build_parser().parse_args(arguments)
    try:
        return options.act(options)
    except UserError as error:
        print(f"gcnlab: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted; the same command goes on from here", file=sys.stderr)
        return 130
