"""Which commands and options there are; light to import, so that help and typos take no time."""

import argparse
from pathlib import Path

from gcnlab import __version__
from gcnlab.cli import names
from gcnlab.errors import UserError
from gcnlab.experiments.records import LOCAL

MOST = 1000  # seeds or jobs that anyone can mean
# What a command that works leaves when it is interrupted.
GOES_ON = "what is finished is kept, and the same command goes on from there"
KEPT = dict.fromkeys(("run", "notebooks", "submit"), GOES_ON)
KEPT["predict"] = "finished pictures are kept; the same command with --force makes all of them anew"
COMMANDS = {
    "run": "train what is missing of the given tables",
    "notebooks": "execute the notebooks and write the report (what run_all.sh calls)",
    "status": "which runs are complete",
    "report": "write tables, figures and report.html from the records",
    "rules": "how each claim of the paper is decided: rule, planned n, power, false-alarm rate",
    "records": "check a profile's records against their manifest, or add new ones to it",
    "params": "exact parameters and multiply-adds beside Tables 2, 4 and 11",
    "data": "check a data set",
    "predict": "segment pictures of your own: class ids as palette PNGs, and overlays",
    "submit": "predict the test images of VOC or Cityscapes, and check and pack the files",
}


def parse(arguments: list[str]) -> argparse.Namespace:
    """Options of one command; ``kept`` says what it leaves if it is interrupted.

    ``UserError`` for whatever is unknown or malformed.
    """
    if arguments and not arguments[0].startswith("-"):
        names.check("command", arguments[0], tuple(COMMANDS))
    options = build_parser().parse_args(arguments)
    for option, kind, known in (
        ("profile", "profile", names.PROFILES),
        ("name", "data set", names.DATA_SETS),
    ):
        if option in options:
            names.check(kind, getattr(options, option), known)
    for table in getattr(options, "tables", ()):
        names.check("table", table, names.RUNNABLE)
    return options


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> None:
        raise UserError(f"{message} (see {self.prog} --help)")


# fmt: off
def build_parser() -> argparse.ArgumentParser:
    """The parser of all commands; it raises ``UserError`` for what it does not know."""
    description = "The study's engine, with or without Jupyter."
    parser = _Parser(prog="gcnlab", description=description, allow_abbrev=False)
    parser.add_argument("--version", action="version", version=f"gcnlab {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    of = {name: commands.add_parser(name, help=text, description=text, allow_abbrev=False)
          for name, text in COMMANDS.items()}
    for name, sub in of.items():
        sub.set_defaults(kept=KEPT.get(name))
    _add_words(of)
    for name in ("run", "notebooks", "status", "report", "records"):
        known = ", ".join(names.PROFILES)
        of[name].add_argument("--profile", default="quick", help=f"{known} (default quick)")
        of[name].add_argument("--out", type=_folder, default=LOCAL, metavar="DIR",
                              help="where runs are kept (default results/local)")
    for name in ("run", "notebooks", "status", "report", "data", "submit"):
        of[name].add_argument("--data-root", type=_folder, metavar="DIR",
                              help="folder of the real data")
    for name in ("run", "notebooks", "status"):
        of[name].add_argument("--seeds", type=_count, default=1, metavar="N",
                              help="seeds 0 … N-1 (default 1)")
    for name in ("run", "notebooks"):
        of[name].add_argument("--jobs", type=_count, metavar="N",
                              help="runs at a time (default: one per GPU; on a CPU 2)")
    for name in ("status", "report", "rules", "params", "data"):
        of[name].add_argument("--json", action="store_true", help="machine-readable instead")
    for name in ("predict", "submit"):
        of[name].add_argument("--run", required=True, metavar="KEY",
                              help="key or name of a finished segmentation run")
        of[name].add_argument("--runs", type=_folder, default=LOCAL, metavar="DIR",
                              help="where runs are kept (default results/local)")
        of[name].add_argument("--out", type=_folder, required=True, metavar="DIR",
                              help="where the predictions go")
    return parser


def _add_words(of: dict[str, argparse.ArgumentParser]) -> None:
    """What only one command has."""
    of["run"].add_argument(
        "tables", nargs="*", metavar="TABLE",
        help=f"{', '.join(names.TABLES)}; {names.PRETRAINING} (the classifiers of Table 6 alone); "
        f"{names.FIELDS} (Table 1 and its receptive fields, on more objects than notebook 8); "
        f"{names.ABLATIONS} (of the trivial convolution, notebook 9); {names.PILOT} (is the "
        "schedule long enough? on held-out training images); none means all tables")
    of["run"].add_argument(
        "--cluster", nargs="*", type=_setting, metavar="NAME=VALUE",
        help="one cluster job per run, through submitit: cluster=slurm (default) or cluster=local, "
        "and its parameters, such as slurm_partition=gpu gpus_per_node=1 timeout_min=600")
    of["notebooks"].add_argument("--only", metavar="NN,NN",
                                 help="numbers of notebooks, such as 01,02")
    of["report"].add_argument("--readme", action="store_true",
                              help="also renew the README's numbers (from committed records)")
    of["rules"].add_argument("--simulate", action="store_true", help="simulate anew (minutes); a "
                             "checkout keeps the result in gcnlab/analysis/registered.json")
    of["records"].add_argument("action", choices=["check", "add"])
    of["data"].add_argument("action", choices=["check"])
    of["data"].add_argument("name", metavar="NAME", help=", ".join(names.DATA_SETS))
    of["predict"].add_argument("pictures", nargs="+", type=Path, metavar="IMAGE")
    of["predict"].add_argument("--force", action="store_true", help="replace PNGs that are there")
    of["submit"].add_argument("--check", action="store_true",
                              help="only check the files of an earlier call")
# fmt: on


def _count(text: str) -> int:
    if not (text.isdecimal() and len(text) <= len(str(MOST)) and 1 <= int(text) <= MOST):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 to {MOST}")
    return int(text)


def _folder(text: str) -> Path:
    if not text.strip():
        raise argparse.ArgumentTypeError("an empty name is no folder: name one, such as .")
    try:
        path = Path(text).expanduser().resolve()
        is_file = path.exists() and not path.is_dir()
    except (RuntimeError, OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error).rstrip(".")
        raise argparse.ArgumentTypeError(f"{text!r} ({reason}): name another folder") from None
    if is_file:
        raise argparse.ArgumentTypeError(f"{text!r} is a file: name a folder")
    return path


def _setting(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not (name and equals and value):
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=VALUE")
    return name, value
