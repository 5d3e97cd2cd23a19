"""The command line: what it prints, how it ends, and one clear line for what the user can mend."""

import json
import os
import re
import runpy
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
from made import made

from gcnlab import files, paper
from gcnlab.analysis import power, rules, tables
from gcnlab.analysis.comparisons import Better
from gcnlab.cli import names
from gcnlab.cli.parser import COMMANDS
from gcnlab.cli.progress import Progress, duration, score
from gcnlab.errors import UserError
from gcnlab.experiments import head_rates, pilot, profiles, receptive_fields, records, scheduler
from gcnlab.experiments.config import to_json
from gcnlab.experiments.store import Store
from gcnlab.experiments.variants import Variant
from gcnlab.report import notebooks, page, readme, session

ROOT = Path(__file__).resolve().parents[1]
SMOKE = ("--profile", "smoke")


@pytest.fixture
def places(tmp_path, monkeypatch):
    """The committed study, empty."""
    for module in (records, session):
        monkeypatch.setattr(module, "COMMITTED", tmp_path / "results")
    return tmp_path


@pytest.fixture
def copied(smoke, tmp_path):
    """A copy of the smoke study that may be changed, and the record of its GCN 15."""
    out = shutil.copytree(smoke.out, tmp_path / "out")
    return out, next((out / "smoke" / "runs").glob("gcn-k15-s0-*"))


def program(*arguments):
    return subprocess.Popen(
        [sys.executable, *map(str, arguments)], text=True, cwd=ROOT, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip


HEAVY = {"torch", "numpy", "pandas", "scipy", "PIL"}
DRAWING = {"matplotlib", "seaborn", "IPython", "nbconvert", "papermill"}


def test_the_names_are_those_of_the_other_rooms():
    assert tuple(profiles.PROFILES) == names.PROFILES
    assert tuple(tables.SPECS) == names.TABLES
    assert names.PRETRAINING == tables.PRETRAINING


@pytest.mark.parametrize(
    "words", ["--help", "--version", "rnu", "run --seeds x", "run -h", "status -h"]
)
def test_help_and_typos_import_nothing_heavy(words):
    """Answered in a fraction of a second: torch alone takes seconds to import."""
    code = (
        "import sys\nfrom gcnlab.cli import main\ntry:\n    main(sys.argv[1:])\nfinally:\n"
        f"    print('heavy:', *{HEAVY | DRAWING} & set(sys.modules))\n"
    )
    out, _ = program("-c", code, *words.split()).communicate(timeout=300)
    assert out.splitlines()[-1].split() == ["heavy:"]


def test_only_what_draws_imports_what_draws():
    modules = ", ".join(f"gcnlab.cli.{name}" for name in ("status", "rules", "plan", "run", "data"))
    code = f"import sys, {modules}\nprint(*{DRAWING} & set(sys.modules))"
    out, err = program("-c", code).communicate(timeout=600)
    assert out.split() == [], err


def test_help_lists_every_command(call):
    text = call("--help")[1]
    for name in COMMANDS:
        assert re.search(rf"^    {name}\b", text, re.M) and call(name, "--help")[0] == 0
    assert all(profile in call("run", "--help")[1] for profile in profiles.PROFILES)
    assert "imagenet:shapes" not in call("data", "--help")[1], "names that nobody types"


@pytest.mark.parametrize(("error", "code", "words"), [
    (UserError("x.png is missing: copy it"), 2, "gcnlab: x.png is missing: copy it"),
    (KeyboardInterrupt(), 130, "the same command goes on from there"),
    (notebooks.NotebookFailed("01: no memory"), 1, "gcnlab: 01: no memory"),
    (OSError(28, "No space left on device", "out/a.pt"), 2, "out/a.pt: No space left on device"),
])  # fmt: skip
def test_what_ends_a_command_is_told_in_one_line(error, code, words, call, tmp_path, monkeypatch):
    def fail(*_):
        raise error

    monkeypatch.setattr(scheduler, "run_all", fail)
    given, out, err = call("run", "5", *SMOKE, "--out", tmp_path)
    assert (given, out) == (code, "") and words in err and len(err.split("\n")) <= 3


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_signals_end_a_command_as_ctrl_c_does(number, call, tmp_path, monkeypatch):
    before = signal.getsignal(number)
    if before == signal.SIG_IGN:
        pytest.skip("these tests were started with this signal ignored, as nohup does")
    monkeypatch.setattr(scheduler, "run_all", lambda *_: os.kill(os.getpid(), number))
    code, _, err = call("run", "5", *SMOKE, "--out", tmp_path)
    assert code == 130 and f"ended by {number.name}: what is finished is kept" in err
    assert signal.getsignal(number) == before


@pytest.mark.parametrize("early", [True, False])
def test_ctrl_c_during_an_import_is_one_line(early, monkeypatch, capsys):
    def interrupted(*_):
        raise KeyboardInterrupt

    if early:  # the command line itself; else what a command needs
        package = ModuleType("gcnlab.cli")
        package.__getattr__ = interrupted
        monkeypatch.setitem(sys.modules, "gcnlab.cli", package)
    else:
        monkeypatch.setattr("gcnlab.cli.ending.import_module", interrupted)
    monkeypatch.setattr(sys, "argv", ["gcnlab", "status"])
    with pytest.raises(SystemExit) as end:
        runpy.run_module("gcnlab", run_name="__main__")
    out, err = capsys.readouterr()
    assert (end.value.code, out, err) == (130, "", "\ngcnlab: interrupted\n")


def test_a_run_shows_the_scores_and_what_is_complete(call, smoke):
    code, out, err = call("run", "5", *SMOKE, "--out", smoke.out)
    first, *_, last = out.splitlines()
    assert (code, err, first) == (0, "", "3 runs: 3 complete, 0 to train")
    assert "Table 5" in out and re.search(r"Baseline +published +71.3 +93.9 +69.0", out)
    assert last == f"3 of 3 runs complete below {smoke.out / 'smoke'}, 0 failed"


def test_each_run_ends_with_its_score_and_a_log_has_few_lines(call, tmp_path, monkeypatch):
    monkeypatch.setattr("gcnlab.cli.progress.Progress._watch", lambda self: None)  # once a minute
    lines = call("run", "5", *SMOKE, "--out", tmp_path)[1].splitlines()
    first, *progress = lines[: lines.index("")]
    assert first.startswith("3 runs: 0 complete, 4 to train") and len(progress) <= 2
    assert progress[-1].startswith("4/4 · 100 % · ")
    assert re.search(r"conv1x1-s0: mIoU \d+\.\d", " ".join(progress))
    assert not list(tmp_path.rglob("*.txt")), "no note of a run at work stays"


def test_progress_tells_shares_and_time_of_unequal_runs(tmp_path, monkeypatch, capsys):
    """A training of 800 steps that took 30 s stands half way, one of 90 s waits: 15 of 120."""
    short, long = (Variant("gcn", k).config(profiles.get("smoke"), 0) for k in (3, 5))
    short, long = replace(short, start=None), replace(long, start=None)
    took = [{"config": to_json(run), "environment": {"seconds": seconds}}
            for run, seconds in ((short, 30), (long, 90))]  # fmt: skip
    now = [100.0]
    monkeypatch.setattr("gcnlab.cli.progress.time.monotonic", lambda: now[0])
    store = Store(tmp_path)
    progress = Progress([short, long], store, took, 1)
    assert progress.line() == "0/2 · 0 %", "nothing is known of the speed yet"
    note = store.note(short)
    note.parent.mkdir(parents=True)
    note.write_text(f"{short.name} step   400/800  loss   1.0  00:10 left", encoding="utf-8")
    now[0] += 30  # half as fast as in the study
    assert progress.line() == "0/2 · 12 % · 4 min left · gcn-k3-s0 step 400/800"
    note.unlink()
    progress("(1/2) gcn-k3-s0: no memory")
    assert capsys.readouterr().out == "(1/2) gcn-k3-s0: no memory\n", "failures are told"
    assert progress.line() == "1/2 · 25 % · 90 s left"
    both = Progress([short, long], store, took, 2)
    note.write_text(f"{short.name} step 800/800", encoding="utf-8")
    now[0] += 30
    assert " · 3 min left" in both.line(), "one job alone has the last run: 90 s at half the speed"


@pytest.mark.parametrize(("seconds", "text"), [(41, "41 s"), (840, "14 min"), (9000, "2.5 h")])
def test_durations(seconds, text):
    assert duration(seconds) == text


@pytest.mark.parametrize(("metrics", "diverged", "words"), [
    ({"miou": 0.25}, None, "mIoU 25.0"), ({"miou": None}, None, "its score is undefined"),
    ({"top1_error": 0.5, "top5_error": 0.1}, None, "top-1 error 50.0"),
    ({}, "loss 1e9 at step 7", "diverged (loss 1e9 at step 7)"),
])  # fmt: skip
def test_the_score_of_a_record(metrics, diverged, words):
    assert score({"metrics": metrics, "counts": {}, "diverged": diverged}) == words


def test_failed_runs_are_named_and_the_others_go_on(call, tmp_path, monkeypatch):
    def execute(run, *_, **__):
        if run.variant == "gcn-k15":
            raise RuntimeError("no memory")

    monkeypatch.setattr(scheduler, "execute", execute)
    code, out, err = call("run", "5", *SMOKE, "--out", tmp_path)
    assert code == 1 and err == "failed: gcn-k15-s0: no memory\n"
    assert (
        "4/4 · 100 % · " in out
        and "conv1x1-s0, gcn-k15-br-s0" in out
        and out.splitlines()[-1].endswith("1 failed")
    )


@pytest.mark.parametrize(("words", "asked"), [
    ([], names.TABLES), (["4", "1", "4"], ("4", "1")), (["pretraining"],) * 2,
])  # fmt: skip
def test_what_is_trained(words, asked, call, tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr(scheduler, "run_all", lambda *given: calls.append(given) or [])
    options = (*SMOKE, "--out", tmp_path, "--seeds", "2", "--jobs", "3")
    assert call("run", *words, *options, "--cluster", "cluster=local", "timeout_min=5")[0] == 0
    ((runs, store, jobs, _, cluster),) = calls
    assert sorted(runs, key=str) == sorted(
        tables.table_configs(asked, profiles.get("smoke"), [0, 1]), key=str
    )
    assert (store.out, jobs) == (tmp_path, 3)
    assert cluster == {"cluster": "local", "timeout_min": "5"}


@pytest.mark.parametrize(("profile", "variants", "objects"), [
    ("smoke", ["conv1x1", "gcn-k15"], 1),
    ("quick", ["conv1x1", "gcn-k3", "gcn-k7", "gcn-k15"], receptive_fields.THOROUGH),
])  # fmt: skip
def test_fields_train_and_measure_their_own_networks_alone(
    profile, variants, objects, call, tmp_path, monkeypatch
):
    trained, measured = [], []
    monkeypatch.setattr(scheduler, "run_all", lambda runs, *_: trained.extend(runs) or [])
    monkeypatch.setattr(receptive_fields, "measure_all", lambda *given: measured.append(given))
    options = ("--profile", profile, "--seeds", "2", "--out", tmp_path)
    assert call("run", "fields", *options)[0] == 0
    names = [f"{v}-s{seed}" for v in variants for seed in (0, 1)]
    assert sorted(run.name for run in trained) == sorted(names)
    ((runs, _, per_size, *_),) = measured
    assert [run.name for run in runs] == names and per_size == objects


def test_ablations_rates_and_the_pilot_are_trained_too(call, tmp_path, monkeypatch):
    runs, smoke = [], profiles.get("smoke")
    monkeypatch.setattr(scheduler, "run_all", lambda given, *_: runs.extend(given) or [])
    code, out, _ = call("run", "ablations", "rates", "pilot", *SMOKE, "--out", tmp_path)
    assert code == 0 and {*pilot.configs(smoke), *head_rates.configs(smoke, [0])} < set(runs)
    assert "conv-k15-from-gcn" in {run.variant for run in runs}
    assert "no learning rate of a head was tried" in out and "pilot was not run" in out


def test_rates_of_heads_are_compared_on_held_out_images():
    smoke = profiles.get("smoke")
    divisors = {run: divisor for (_, divisor, _), run in head_rates.choice(smoke).items()}
    store = SimpleNamespace(record=lambda run: made(run, (run.k + divisors[run]) / 100))
    last = head_rates.report(smoke, store).splitlines()[-1]
    assert last.split() == ["16", "23.0", "25.0", "27.0", "25.0"], "k = 7, 9, 11 and their mean"


def status(call, out, *options):
    code, printed, err = call("status", "--json", "--out", out, *options)
    return code, json.loads(printed), err


def test_status_of_an_empty_folder(call, tmp_path):
    code, found, err = status(call, tmp_path / "none", *SMOKE, "--seeds", "2")
    assert (code, err) == (0, "") and not (tmp_path / "none").exists(), "looking writes nothing"
    everything = tables.table_configs(names.TABLES, profiles.get("smoke"), [0, 1])
    assert {run.name for run in everything} <= found["runs"].keys()
    states = [found["runs"][name] for name in ("gcn-k3-s1", "pretraining-bottleneck27-s0")]
    assert states == ["waiting for its start", "not run"]
    assert (found["stale"], found["problems"]) == ([], [])
    _, found, err = status(call, tmp_path, "--profile", "photos")
    assert err == "" and set(found["runs"].values()) == {"data missing"}, "it needs no data"


def test_status_tells_runs_apart_and_counts_them_by_table(call, copied):
    out, _ = copied
    checkpoint = Store(out).checkpoint(Variant("gcn", 3).config(profiles.get("smoke"), 0))
    checkpoint.parent.mkdir(exist_ok=True)
    checkpoint.touch()
    checkpoint.with_suffix(".txt").write_text(
        "gcn-k3-s0 step     3/8  loss   1.0", encoding="utf-8"
    )
    _, found, _ = status(call, out, *SMOKE)
    states = {name: found["runs"][f"{name}-s0"] for name in ("gcn-k15", "gcn-k3", "gcn-k5")}
    assert states == {"gcn-k15": "complete", "gcn-k3": "interrupted", "gcn-k5": "not run"}
    assert found["groups"]["Table 1"] == {"complete": 2, "interrupted": 1, "not run": 5}
    code, text, _ = call("status", *SMOKE, "--out", out)
    line = "Table 1   ███······· 2/8 complete · 1 interrupted · 5 not run · gcn-k3-s0 step 3/8\n"
    assert code == 0 and line in text and len(text.splitlines()) <= 12
    assert re.search(r"^4 of \d+ runs complete, about .* of work left below ", text, re.M)


def test_status_tells_what_is_queued_runs_and_has_failed(call, copied):
    out, _ = copied
    store, begun = Store(out), {"3": "step 3/8  loss 1.0  02:10 left", "5": "queued as job 7",
                                "7": "failed: the disk has gone"}  # fmt: skip
    runs = {k: Variant("gcn", int(k)).config(profiles.get("smoke"), 0) for k in begun}
    for k, line in begun.items():
        files.write(f"{runs[k].name} {line}", store.note(runs[k]))
    with store.lock(runs["3"]):
        _, found, _ = status(call, out, *SMOKE)
        _, text, _ = call("status", *SMOKE, "--out", out)
    states = [found["runs"][run.name] for run in runs.values()]
    assert states == ["running", "queued", "failed"]
    assert "gcn-k3-s0 step 3/8, 02:10 left" in text
    assert "gcn-k7-s0 failed: the disk has gone\n" in text
    _, found, _ = status(call, out, *SMOKE)
    assert found["runs"][runs["3"].name] == "not run", "no process is at it, and nothing is kept"


@pytest.mark.parametrize("damage", [
    lambda text: text[:200],
    lambda text: text.replace('"k": 15', '"k": 15, "colour": "red"'),  # of another version
    lambda text: text.replace('"metrics": {', '"metrics": null, "old": {'),
    lambda _: "[" * 100_000,
])  # fmt: skip
def test_status_names_a_damaged_record_and_shows_the_others(damage, call, copied):
    out, path = copied
    path.write_text(damage(path.read_text(encoding="utf-8")), encoding="utf-8")
    code, found, err = status(call, out, *SMOKE)
    assert code == 2 and len(err.splitlines()) == 1 and path.name in err and "delete it" in err
    assert found["runs"]["conv1x1-s0"] == "complete" and found["problems"]
    code, text, err = call("status", *SMOKE, "--out", out)
    assert code == 2 and "runs complete below" in text.splitlines()[-1] and path.name in err


def test_report_as_json_names_the_records_of_every_cell(call, smoke, places):
    before = sorted(smoke.out.rglob("*"))
    code, out, err = call("report", "--json", *SMOKE, "--out", smoke.out)
    assert (code, err) == (0, "") and sorted(smoke.out.rglob("*")) == before
    found = json.loads(out)
    assert (found["profile"], tuple(found["tables"])) == ("smoke", names.TABLES)
    by_row = {cell["row"]: cell for cell in found["tables"]["5"] if cell["metric"] == "miou"}
    for run, row in zip(smoke.runs, ("Baseline", "GCN", "GCN + BR"), strict=True):
        keys = [by_row[row][f"{source}_keys"] for source in ("local", "study")]
        assert keys == [[smoke.store.key(run)], []]
    assert {v["claim"]: v["verdict"] for v in found["verdicts"]}[14] == "supported", "is counted"


def test_a_report_without_own_runs_says_so(call, places):
    code, out, err = call("report", *SMOKE, "--out", places / "mine")
    assert (code, out) == (2, "") and "no finished runs of profile smoke" in err
    code, out, err = call("report", "--json", *SMOKE, "--out", places / "mine")
    assert code == 0 and json.loads(out)["tables"] and "no finished runs" in err
    assert not (places / "mine").exists()


def test_the_readme_is_renewed_only_if_asked(call, smoke, places, monkeypatch):
    renewed = []
    monkeypatch.setattr(sys.modules["gcnlab.cli.report"], "COMMITTED", places / "results")
    monkeypatch.setattr(page, "write", lambda session: session.out / "report.html")
    monkeypatch.setattr(readme, "update", lambda path, _: renewed.append(path))
    monkeypatch.setattr(readme, "values", dict)
    code, out, _ = call("report", *SMOKE, "--out", smoke.out)
    assert (code, out, renewed) == (0, f"{smoke.out / 'report.html'}\n", [])
    assert call("report", *SMOKE, "--out", places / "none", "--readme")[0] == 0
    beside = [places / name for name in readme.GENERATED]
    assert sorted(renewed) == sorted(beside), "those beside the committed results"


def test_notebooks_are_executed_in_order_with_all_parameters(call, places, monkeypatch):
    trained, done, out = [], [], places / "out"
    monkeypatch.setattr(scheduler, "run_all", lambda runs, *_: trained.append(runs) or [])
    monkeypatch.setattr(notebooks, "execute", lambda path, **given: done.append((path, given)))
    monkeypatch.setattr(page, "write", lambda session: done.append("report") or "report.html")
    options = (*SMOKE, "--seeds", "2", "--out", out)
    code, printed, err = call("notebooks", "--only", "02,01", *options)
    assert (code, err) == (0, "")
    assert trained == [tables.table_configs(["1", "2"], profiles.get("smoke"), [0, 1])]
    *executed, last = done
    assert [path.name[:2] for path, *_ in executed] == ["01", "02"] and last == "report"
    given = {"profile": "smoke", "train": True, "seeds": 2, "jobs": 1, "data_root": None}
    given["out"] = str(out)
    given = {"parameters": given, "folder": out / "smoke" / "notebooks"}
    origin = executed[0][1]["origin"]
    assert [what for _, what in executed] == [given | {"origin": origin}] * 2
    assert printed.splitlines()[:2] == [
        "2 notebooks: 2 to execute, the others are as they were",
        "(1/2) 01_kernel_size.ipynb executed",
    ]
    assert "never evidence" in printed and "claims: 18 not run\ntime: " in printed


def test_a_notebook_is_executed_again_only_if_what_it_shows_has_changed(call, places, monkeypatch):
    def execute(notebook, folder, parameters, origin):
        done.append(notebook.name)
        files.write(f'<meta content="{origin}">', (folder / notebook.name).with_suffix(".html"))

    done, out = [], places / "out"
    monkeypatch.setattr(scheduler, "run_all", lambda *_: [])
    monkeypatch.setattr(notebooks, "execute", execute)
    monkeypatch.setattr(page, "write", lambda session: "report.html")
    again = ("notebooks", "--only", "01", *SMOKE, "--out", out)
    assert call(*again)[0] == call(*again)[0] == 0 and len(done) == 1
    assert "1 notebooks: 0 to execute" in call(*again)[1]
    files.write("{}", out / "smoke" / "fields" / "new.json")
    assert call(*again)[0] == 0 and len(done) == 2, "a new record"
    assert call(*again, "--seeds", "2")[0] == 0 and len(done) == 3, "other parameters"


def test_runs_that_fail_end_the_command_before_the_notebooks(call, places, monkeypatch):
    monkeypatch.setattr(scheduler, "run_all", lambda *_: ["gcn-k3-s0: no memory"])
    monkeypatch.setattr(notebooks, "execute", lambda *_: pytest.fail("executed"))
    code, _, err = call("notebooks", "--only", "01", *SMOKE, "--out", places / "out")
    assert (code, err) == (1, "gcnlab: gcn-k3-s0: no memory\n")


def test_params_are_the_published_counts(call):
    *rows, resnet, resnet_gcn = json.loads(call("params", "--json")[1])
    for row in rows:
        assert row["published_k"] is None or abs(row["parameters"] / 1000 - row["published_k"]) < 1
        assert row["multiply_adds"] == 256 * row["parameters"]
    counts = [(net["variant"], net["parameters"]) for net in (resnet, resnet_gcn)]
    assert counts == [("ResNet50", 25557032), ("ResNet50-GCN", 22545780)]
    text = call("params")[1]
    assert (
        re.search(r"GCN 7 +608,286 +608K +156M", text)
        and "25,557,032" in text
        and "25557032" not in text
    )


def test_rules_are_printed_with_their_power(call):
    code, text, _ = call("rules")
    listed = json.loads(call("rules", "--json")[1])
    numbers = [*(claim["id"] for claim in paper.claims()), *(rule.claim for rule in rules.OWN)]
    assert code == 0 and [row["claim"] for row in listed] == numbers
    for claim in paper.claims():
        assert f"claim {claim['id']}: {claim['claim'][:40]}" in text
    for name in ("rule", "planned n", "power, if seeds spread by 1 point", "power at three seeds"):
        assert text.count(f"\n  {name}: ") == len(listed)
    assert "where: pairs: GCN 15 − 1×1;" in text, "what the rule compares"


@pytest.mark.parametrize("command", ["run", "plan"])
def test_a_claim_on_a_head_that_is_not_there_is_one_line(command, call, tmp_path, monkeypatch):
    test = Better(((Variant("strip", 7), Variant("gcn", 7)),))
    monkeypatch.setattr(rules, "OWN", [rules.OwnRule(999, test, 3, text="Strips do.")])
    monkeypatch.setattr("gcnlab.cli.rules.OWN", rules.OWN)
    assert "\nclaim 999: Strips do.\n" in call("rules")[1]
    where = ("--out", tmp_path / "out") if command == "run" else ()
    code, _, err = call(command, "own", *SMOKE, *where)
    assert code == 2 and len(err.splitlines()) == 1
    assert "unknown head 'strip'; choose one of conv1x1, gcn" in err


def test_a_simulation_is_kept_in_a_checkout_and_printed_elsewhere(call, tmp_path, monkeypatch):
    monkeypatch.setattr(power, "simulate_all", lambda: {"rules": "new"})
    monkeypatch.setattr("gcnlab.cli.rules.COMMITTED", tmp_path / "results")
    assert json.loads(call("rules", "--simulate")[1]) == {"rules": "new"}
    (tmp_path / "pyproject.toml").touch()
    path = tmp_path / "gcnlab" / "analysis" / "registered.json"
    assert call("rules", "--simulate")[1] == f"{path}\n"
    assert json.loads(path.read_text(encoding="utf-8")) == {"rules": "new"}


def test_a_manifest_notices_a_changed_record(call, copied):
    out, path = copied
    arguments = (*SMOKE, "--out", out)
    assert call("records", "check", *arguments)[0] == 1, "there is no manifest yet"
    assert "4 records added" in call("records", "add", *arguments)[1]
    assert call("records", "check", *arguments)[0] == 0
    path.write_text(path.read_text(encoding="utf-8").replace("0.", "1.", 1), encoding="utf-8")
    code, text, _ = call("records", "check", *arguments)
    assert code == 1 and f"runs/{path.name} was changed" in text
    assert call("records", "add", *arguments)[0] == 2, "a manifest only grows"


def test_data_are_checked(call, layout):
    found = json.loads(call("data", "check", "shapes-tiny", "--json")[1])
    assert found["complete"] is True
    assert found["fingerprint"] in call("data", "check", "shapes-tiny")[1]
    code, out, _ = call("data", "check", "voc", "--data-root", layout)
    assert code == 0 and re.search(r"val +3 images of 1449 official: a subset", out)
