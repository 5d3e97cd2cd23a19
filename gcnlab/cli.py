"""The command line: the study's engine, with or without Jupyter.

Exit codes: 0 done, 1 some runs failed, 2 bad input (one line on stderr says what and how to mend it),
130 interrupted.
"""

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any

import pandas as pd

from gcnlab.data.catalog import SOURCES
from gcnlab.data.check import check, describe
from gcnlab.errors import UserError
from gcnlab.study import measurements, notebooks, open_question, profiles, results, runner, tables, variants
from gcnlab.study.run import Run
from gcnlab.study.session import Session, score_text

# What ``run`` knows besides tables: receptive fields and scores by object size, and the trials of notebook 9.
_FIELDS, _OPEN_QUESTION = "fields", open_question.FOLDER


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return int(text)


def _setting(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not (name and equals and value):
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=VALUE")
    return name, value


def _session(options: argparse.Namespace) -> Session:
    jobs = getattr(options, "jobs", 1)
    if jobs is None:  # where numbers are no evidence, runs take less time than starting a process
        jobs = runner.usual_jobs() if profiles.get(options.profile).evidence else 1
    return Session(options.profile, getattr(options, "seeds", 1), jobs, options.data_root, options.out)


def _print_json(value: Any) -> None:
    print(json.dumps(value, indent=1, ensure_ascii=False))


def _run(options: argparse.Namespace) -> int:
    session, seeds = _session(options), list(range(options.seeds))
    names = variants.check_tables(options.tables, _FIELDS, _OPEN_QUESTION) or list(variants.TABLES)
    asked = ["1" if name == _FIELDS else name for name in names if name != _OPEN_QUESTION]
    wanted = variants.table_runs(asked, session.profile, seeds)
    if _OPEN_QUESTION in names:
        wanted = list(dict.fromkeys(wanted + open_question.runs(session.profile, seeds)))
    cluster = None if options.cluster is None else dict(options.cluster)
    failures = runner.run_all(wanted, session.out, session.data_root, session.jobs, cluster=cluster)
    for failure in failures:
        print(f"failed: {failure}", file=sys.stderr)
    if _FIELDS in names and not failures:
        session.measure(*measurements.THOROUGH)
    if _OPEN_QUESTION in names:
        session.measure_trials()
        print(open_question.answer(session.trials()))
    return 1 if failures else 0


def _notebooks(options: argparse.Namespace) -> int:
    from gcnlab.study import report

    session = _session(options)
    wanted = notebooks.pick(options.only)
    runner.check_writable(session.out)
    trained = [table for notebook in wanted for table in notebooks.trained_tables(notebook)]
    runs = variants.table_runs(trained, session.profile, list(range(session.seeds)))
    try:
        runner.check_present(runs, session.data_root)
    except UserError as error:
        raise UserError(f"{error} (nothing was started; --only leaves notebooks out)") from None
    # All together, which fills every core; the notebooks then find their runs complete.
    runs = [run for run in runs if run not in runner.without_backend(runs)]  # their notebook says so
    failures = runner.run_all(runs, session.out, session.data_root, session.jobs)
    if failures:
        raise notebooks.NotebookFailed("; ".join(failures))
    parameters = {
        "profile": session.profile.name,
        "seeds": session.seeds,
        "jobs": session.jobs,
        "data_root": None if session.data_root is None else str(session.data_root),
        "out": str(session.out),
    }
    folder = session.out / session.profile.name
    for number, notebook in enumerate(wanted, 1):
        print(f"== notebook {number} of {len(wanted)}: {notebook.name}", flush=True)
        notebooks.execute(notebook, folder / "notebooks", parameters)
    page = report.write(session)
    print(f"\n{session.profile.name}: {session.profile.description}\n")
    print(_summary(session))
    print(f"\nexecuted notebooks: {folder / 'notebooks'}\ntables:             {folder / 'tables'}")
    print(f"open this:          {page}")
    return 0


def _summary(session: Session) -> str:
    """One line per mIoU and top-5 error of the tables, then the verdicts."""
    rows = {}
    for name in variants.TABLES:
        frame = session.frame(name)
        for cell in frame[frame["metric"].isin(["miou", "top5_error"])].itertuples():
            where = f"Table {name}: {cell.row}" + ("" if name == "5" else f", {cell.column}")
            row = {"published": f"{cell.published:.1f}" if pd.notna(cell.published) else "not given"}
            row["study"] = score_text(cell.study_mean, cell.study_std, cell.study_n)
            if session.own:
                row["your run"] = score_text(cell.local_mean, cell.local_std, cell.local_n)
            rows[where] = row
    lines = [pd.DataFrame(rows).T.to_string(), ""]
    verdicts = session.verdicts()
    source = next(column for column in reversed(verdicts.columns) if not column.startswith("evidence"))
    lines += [f"claim {i:>2}, {source}: {row[source]:<14} {row['the paper says']}" for i, row in verdicts.iterrows()]
    return "\n".join(line for line in lines if ": not run" not in line)


def _status(options: argparse.Namespace) -> int:
    session = _session(options)
    wanted = variants.table_runs(list(variants.TABLES), session.profile, list(range(session.seeds)))
    session.profile.template.data.root(session.data_root)

    def state_of(run: Run) -> str:
        try:
            if runner.is_complete(run, session.out, session.data_root):
                return "complete"
            return "interrupted" if runner.is_interrupted(run, session.out, session.data_root) else "not run"
        except UserError:  # its key needs its data: Table 6 has others than the rest
            return "data missing"

    state = {run.name: state_of(run) for run in wanted}
    stale = session.stale()
    if options.json:
        _print_json({"profile": session.profile.name, "out": str(session.out), "runs": state, "stale": stale})
        return 0
    for name, word in state.items():
        print(f"{name:<22} {word}")
    complete = sum(word == "complete" for word in state.values())
    print(f"{complete} of {len(state)} runs complete below {session.out / session.profile.name}")
    if stale:
        print(f"{len(stale)} records of other schedules, data or code versions do not count: {', '.join(stale)}")
    return 0


def _report(options: argparse.Namespace) -> int:
    from gcnlab.study import report

    session = _session(options)
    if options.json:
        verdicts = session.verdicts().reset_index().to_dict("records")
        cells = {name: json.loads(session.frame(name).to_json(orient="records")) for name in variants.TABLES}
        _print_json({"profile": session.profile.name, "tables": cells, "verdicts": verdicts})
        return 0
    runner.check_writable(session.out)
    if options.readme:
        report.update_readme(results.COMMITTED.parent / "README.md")
    print(report.write(session))
    return 0


def _params(options: argparse.Namespace) -> int:
    from gcnlab.study import report

    frame = tables.complexity()
    if options.json:
        networks = [
            dict.fromkeys(frame) | {"variant": name, "parameters": parameters, "multiply_adds": multiply_adds}
            for name, (parameters, multiply_adds) in zip(variants.BACKBONES, tables.backbone_costs(), strict=True)
        ]
        _print_json(json.loads(frame.to_json(orient="records")) + networks)
        return 0
    print("Heads after res-5 (2048 → 21 classes, no bias), multiply-adds on a 16×16 map; published: Tables 2 and 4.\n")
    print(report.complexity_table().reset_index().to_string(index=False))
    print("\nTable 11, read off the built networks (224×224; the paper prints 3700 MFlops of convolutions for both):")
    built = tables.architecture()
    for title in variants.BACKBONES:
        print(f"\n{title}\n{built[title].to_string()}")
    return 0


def _data(options: argparse.Namespace) -> int:
    try:
        found = check(options.name, options.data_root)
    except UserError as error:
        layout = SOURCES[options.name].layout if options.name in SOURCES else ""
        raise UserError(f"{error}\n{layout}" if layout else str(error)) from None
    if options.json:
        _print_json(found)
    else:
        print(describe(found))
    return 0


def _predictor(options: argparse.Namespace):
    from gcnlab.study import prediction

    predictor = prediction.Predictor(prediction.find_record(options.run, options.runs), options.runs)
    runner.check_writable(options.out)
    return predictor


def _predict(options: argparse.Namespace) -> int:
    from gcnlab.study import prediction

    for line in prediction.predict(options.pictures, _predictor(options), options.out):
        print(line, flush=True)
    return 0


def _submit(options: argparse.Namespace) -> int:
    from gcnlab.study import prediction

    if not options.check:
        print(f"checked, ready to upload: {prediction.submit(_predictor(options), options.out, options.data_root)}")
        return 0
    record = prediction.find_record(options.run, options.runs)
    run, folder = Run.from_config(record["config"]), prediction.submission_folder(options.out, record["key"])
    images = prediction.test_images(run, options.data_root)
    count = prediction.check_submission(folder, images, prediction.is_street(run), len(run.data.source.classes))
    print(f"{folder}: {count} predictions, as the server wants them")
    return 0


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="gcnlab", description=__doc__.splitlines()[0], allow_abbrev=False)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name: str, act, text: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=text, description=text, allow_abbrev=False)
        sub.set_defaults(act=act)
        return sub

    def place(sub: argparse.ArgumentParser) -> None:
        known = ", ".join(profiles.PROFILES)
        sub.add_argument("--profile", default="shapes", help=f"{known} (default shapes)")
        sub.add_argument("--data-root", type=Path, metavar="DIR", help="folder of the real data")
        sub.add_argument("--out", type=Path, default=results.LOCAL, metavar="DIR",
                         help="where runs are kept (default results/local)")  # fmt: skip

    def amount(sub: argparse.ArgumentParser, jobs: bool = True) -> None:
        sub.add_argument("--seeds", type=_positive, default=1, metavar="N", help="seeds 0 … N-1 (default 1)")
        if jobs:
            sub.add_argument("--jobs", type=_positive, metavar="N",
                             help="runs at a time (default: one per GPU; on a CPU 2)")  # fmt: skip

    run = command("run", _run, "train what is missing of the given tables")
    run.add_argument(
        "tables",
        nargs="*",
        metavar="TABLE",
        help=f"{', '.join(variants.TABLES)}; {variants.PRETRAINING} (of Table 6 alone); {_FIELDS} (Table 1, and its "
        f"receptive fields, on more objects than notebook 8); {_OPEN_QUESTION} (the trials of notebook 9); none means "
        "all tables",
    )
    place(run)
    amount(run)
    run.add_argument("--cluster", nargs="*", type=_setting, metavar="NAME=VALUE",
                     help="one cluster job per run, through submitit: cluster=slurm (default) or cluster=local, and "
                     "its parameters, such as slurm_partition=gpu gpus_per_node=1 timeout_min=600")  # fmt: skip

    batch = command("notebooks", _notebooks, "execute the notebooks and write the report (what run_all.sh calls)")
    batch.add_argument("--only", metavar="NN,NN", help="numbers of notebooks, such as 01,02")
    place(batch)
    amount(batch)

    status = command("status", _status, "which runs are complete")
    place(status)
    amount(status, jobs=False)
    status.add_argument("--json", action="store_true", help="machine-readable")

    report = command("report", _report, "write tables, figures and report.html from the records")
    place(report)
    report.add_argument("--json", action="store_true", help="print tables and verdicts instead, machine-readable")
    report.add_argument("--readme", action="store_true", help="also renew the README's results (committed records)")

    params = command("params", _params, "exact parameters and multiply-adds beside Tables 2, 4 and 11")
    params.add_argument("--json", action="store_true", help="machine-readable")

    def trained(sub: argparse.ArgumentParser, place_text: str) -> None:
        sub.add_argument("--run", required=True, metavar="KEY", help="key or name of a finished segmentation run")
        sub.add_argument("--runs", type=Path, default=results.LOCAL, metavar="DIR",
                         help="where runs are kept (default results/local)")  # fmt: skip
        sub.add_argument("--out", type=Path, required=True, metavar="DIR", help=place_text)

    predict = command("predict", _predict, "segment pictures of your own: class ids as palette PNGs, and overlays")
    predict.add_argument("pictures", nargs="+", type=Path, metavar="IMAGE")
    trained(predict, "where the PNGs go")

    submit = command("submit", _submit, "predict the test images of VOC or Cityscapes, and check and pack the files")
    trained(submit, "where the folder of predictions and the archive go")
    submit.add_argument("--data-root", type=Path, metavar="DIR", help="folder of the real data")
    submit.add_argument("--check", action="store_true", help="only check the files of an earlier call")

    data = command("data", _data, "check a data set")
    data.add_argument("action", choices=["check"])
    data.add_argument("name", metavar="NAME", help=", ".join(SOURCES))
    data.add_argument("--data-root", type=Path, metavar="DIR", help="folder of the real data")
    data.add_argument("--json", action="store_true", help="machine-readable")
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    options = build_parser().parse_args(arguments)
    try:
        return options.act(options)
    except UserError as error:
        print(f"gcnlab: {error}", file=sys.stderr)
        return 2
    except notebooks.NotebookFailed as error:
        print(f"gcnlab: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\ninterrupted; the same command goes on from here", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader (head, less) has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        print(
            f"gcnlab: {error.filename or 'a file'}: {error.strerror or error}: check the disk and --out",
            file=sys.stderr,
        )
        return 2
