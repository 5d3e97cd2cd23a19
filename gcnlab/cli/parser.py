"""Which commands and options there are; light to import, so that help and typos take no time."""

import argparse
from pathlib import Path

from gcnlab import __version__
from gcnlab.cli import names
from gcnlab.errors import UserError, check_name
from gcnlab.experiments.records import LOCAL

MOST = 1000  # seeds or jobs that anyone can mean
# What a command that works leaves when it is interrupted.
GOES_ON = "what is finished is kept, and the same command goes on from there"
KEPT = dict.fromkeys(("run", "notebooks", "submit"), GOES_ON)
KEPT["predict"] = "finished pictures are kept; the same command with --force makes all of them anew"
COMMANDS = {
    "run": "train what is missing of the given tables",
    "plan": "what the runs of the given tables will cost: work, memory, disk, time",
    "notebooks": "execute the notebooks and write the report (what run_all.sh calls)",
    "status": "which runs are complete",
    "doctor": "whether this machine, its packages and folders will do, and what to do if not",
    "report": "write tables, figures and report.html from the records",
    "rules": "how each claim of the paper is decided: rule, planned n, power, false-alarm rate",
    "records": "check a profile's records against their manifest, or add new ones to it",
    "params": "exact parameters and multiply-adds beside Tables 2, 4 and 11",
    "data": "check a data set, or scale photographs as the study did",
    "bench": "time the engine beside plain code with equal outputs",
    "predict": "segment pictures of your own: class ids as palette PNGs, and overlays",
    "submit": "predict the test images of VOC or Cityscapes, and check and pack the files",
}
TABLES_HELP = (
    f"{', '.join(names.TABLES)}; {names.PRETRAINING} (the classifiers of Table 6 alone); "
    f"{names.FIELDS} (1×1 and GCN 3, 7, 15, and their fields on more objects than notebook 8); "
    f"{names.ABLATIONS} (of the trivial convolution, notebook 9); {names.RATES} (GCN and stacks, "
    f"each at the best of three learning rates, beside claim 5); {names.PILOT} (is the schedule "
    f"long enough? on held-out training images); {names.OWN} (claims that you added, "
    f"docs/extending.md); {names.REPEAT} (ten cells of the committed study with a new seed: do "
    "they land where it expects them?); none means all tables"
)
CLUSTER_HELP = (
    "one cluster job per run, through submitit: cluster=slurm (default) or cluster=local, and its "
    "parameters, such as slurm_partition=gpu gpus_per_node=1 timeout_min=600"
)

SCALE_HELP = "check: is it complete? scale: make the photographs of the study from the archives"
MEASURE_HELP = "time a step of every network on this machine, instead of the table of cards"
DRY_RUN_HELP = "each run in miniature: one step, made-up images of full size; nothing is kept"
JSON_HELP = "machine-readable instead"


def parse(arguments: list[str]) -> argparse.Namespace:
    """Options of one command; ``kept`` says what it leaves if it is interrupted.

    ``UserError`` for whatever is unknown or malformed.
    """
    if arguments and not arguments[0].startswith("-"):
        check_name("command", arguments[0], tuple(COMMANDS))
    options = build_parser().parse_args(arguments)
    if "profile" in options:
        check_name("profile", options.profile, names.PROFILES)
    for table in getattr(options, "tables", ()):
        check_name("table", table, names.RUNNABLE)
    return options


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> None:
        raise UserError(f"{message} (see {self.prog} --help)")


def build_parser() -> argparse.ArgumentParser:
    """The parser of all commands; it raises ``UserError`` for what it does not know."""
    description = "The study's engine, with or without Jupyter."
    parser = _Parser(prog="gcnlab", description=description, allow_abbrev=False)
    parser.add_argument("--version", action="version", version=f"gcnlab {__version__}")
    of = _commands(parser)

    def add(users: str, name: str, text: str | None = None, **options) -> None:
        for user in users.split():
            of[user].add_argument(name, help=text, **options)

    def folder(users: str, name: str, text: str, **options) -> None:
        add(users, name, text, type=_folder, metavar="DIR", **options)

    kept = "where runs are kept (default results/local)"
    add("run plan", "tables", TABLES_HELP, nargs="*", metavar="TABLE", default=names.TABLES)
    add("records", "action", choices=["check", "add"])
    add("data", "action", SCALE_HELP, choices=["check", "scale"])
    add("data", "name", "such as voc, cityscapes, camvid, imagenet or shapes", metavar="NAME")
    add("predict", "pictures", nargs="+", type=Path, metavar="IMAGE")
    profiles = f"{', '.join(names.PROFILES)} (default quick)"
    add("run plan notebooks status report records", "--profile", profiles, default="quick")
    folder("run notebooks status report records doctor bench", "--out", kept, default=LOCAL)
    real = "folder of the real data"
    folder("run plan notebooks status report data submit doctor", "--data-root", real)
    number = {"type": _count, "metavar": "N"}
    add("run plan notebooks status", "--seeds", "seeds 0 … N-1 (default 1)", default=1, **number)
    jobs = "runs at a time (default: one per GPU; on a CPU 2)"
    add("run notebooks", "--jobs", jobs, **number)
    add("plan", "--gpus", "cards at work at a time (default 1)", default=1, **number)
    add("plan", "--measure", MEASURE_HELP, action="store_true")
    add("run", "--dry-run", DRY_RUN_HELP, action="store_true")
    add("plan status report rules params data doctor", "--json", JSON_HELP, action="store_true")
    key = {"required": True, "metavar": "KEY"}
    add("predict submit", "--run", "key or name of a finished segmentation run", **key)
    folder("predict submit", "--runs", kept, default=LOCAL)
    folder("predict submit", "--out", "where the predictions go", required=True)
    folder("data", "--out", "scale: new folder for the photographs")
    add("run", "--cluster", CLUSTER_HELP, nargs="*", type=_setting, metavar="NAME=VALUE")
    add("notebooks", "--only", "numbers of notebooks, such as 01,02", metavar="NN,NN")
    renew = "also renew README.md and FINDINGS.md (from committed records)"
    add("report", "--readme", renew, action="store_true")
    pages = "also execute the notebooks on the records, without training, as pages (minutes)"
    add("report", "--notebooks", pages, action="store_true")
    anew = "simulate anew (minutes); a checkout keeps the result in gcnlab/analysis/registered.json"
    add("rules", "--simulate", anew, action="store_true")
    add("predict", "--force", "replace PNGs that are there", action="store_true")
    add("submit", "--check", "only check the files of an earlier call", action="store_true")
    return parser


def _commands(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    of = {}
    for name, text in COMMANDS.items():
        of[name] = commands.add_parser(name, help=text, description=text, allow_abbrev=False)
        of[name].set_defaults(kept=KEPT.get(name))
    return of


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
