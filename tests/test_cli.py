"""The command line and run_all.sh: what they print, how they end, and one clear line for what the user can mend."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from gcnlab.cli import main
from gcnlab.errors import UserError
from gcnlab.study import notebooks, profiles, report, results, runner, variants
from gcnlab.study.run import run_key

ROOT = Path(__file__).resolve().parents[1]
RUN_ALL = ROOT / "run_all.sh"
JUPYTER = ("matplotlib", "seaborn", "papermill", "nbclient", "nbconvert", "IPython", "ipykernel", "submitit")


@pytest.fixture
def places(tmp_path, monkeypatch):
    """The committed study and the default ``--out``, both empty."""
    monkeypatch.setattr(results, "COMMITTED", tmp_path / "results")
    monkeypatch.setattr(results, "LOCAL", tmp_path / "results" / "local")
    return tmp_path


def python(*arguments, **options):
    command = [sys.executable, *map(str, arguments)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment, check=False, **options)


# --- bad input -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("arguments", "named"), [
    (["run", "12"], "unknown table '12'; choose one of 1, 2, 3, 4, 5, 6, 7, 9, pretraining"),
    (["run", "8"], "unknown table '8'; choose one of 1, 2, 3, 4, 5, 6, 7, 9"),
    (["run", "1", "--profile", "tiny"], "unknown profile 'tiny'; choose one of smoke, shapes, photos, paper"),
    (["status", "--profile", "tiny"], "unknown profile 'tiny'"),
    (["report", "--profile", "tiny"], "unknown profile 'tiny'"),
    (["notebooks", "--profile", "tiny"], "unknown profile 'tiny'"),
    (["notebooks", "--only", "99", "--profile", "smoke"], "--only 99: there is no notebook '99'; there are 00, 01"),
    (["data", "check", "nothing"], "unknown data set 'nothing'; choose one of voc"),
    (["data", "check", "imagenet"], "data set 'imagenet' needs --data-root DIR, the folder that holds imagenet/"),
    (["data", "check", "voc"], "needs --data-root DIR"),
    (["run", "1", "--profile", "photos"], "needs --data-root DIR"),
    (["notebooks", "--profile", "photos"], "needs --data-root DIR"),
    (["status", "--profile", "photos"], "needs --data-root DIR"),
])  # fmt: skip
def test_names_that_are_not_there(arguments, named, call, places, monkeypatch):
    """Found before any work starts; nothing is written, and no traceback is shown."""
    monkeypatch.setattr(runner, "execute", lambda *_, **__: pytest.fail("trained"))
    monkeypatch.setattr(notebooks, "execute", lambda *_, **__: pytest.fail("executed"))
    code, out, err = call(*arguments)
    assert code == 2 and err.startswith("gcnlab: ") and named in err
    if arguments[:2] != ["data", "check"]:
        assert len(err.splitlines()) == 1 and out == ""
    assert [path for path in places.rglob("*") if path.is_file()] == []


@pytest.mark.parametrize(("arguments", "named"), [
    (["run", "--seeds", "0"], "--seeds: '0' is not a whole number of at least 1"),
    (["run", "--seeds", "-1"], "--seeds"),
    (["run", "--jobs", "1.5"], "--jobs: '1.5' is not a whole number"),
    (["status", "--seeds", "three"], "--seeds: 'three' is not a whole number"),
    (["run", "-p", "smoke"], "-p"),
    (["run", "--prof", "smoke"], "--prof"),
    (["status", "--jobs", "2"], "--jobs"),
    (["run", "--cluster", "slurm"], "'slurm' is not NAME=VALUE"),
    (["run", "--cluster", "timeout_min="], "'timeout_min=' is not NAME=VALUE"),
    (["train", "1"], "'train'"),
    (["data", "fetch", "voc"], "'fetch'"),
    ([], "COMMAND"),
])  # fmt: skip
def test_options_that_are_not_there(arguments, named, call, places):
    code, out, err = call(*arguments)
    assert code == 2 and out == "" and list(places.iterdir()) == []
    assert err.startswith("usage: gcnlab") and named in err.splitlines()[-1] and ": error: " in err.splitlines()[-1]


def test_an_out_that_is_a_file(call, tmp_path):
    (tmp_path / "file").touch()
    code, _, err = call("run", "5", "--profile", "smoke", "--out", tmp_path / "file")
    assert code == 2 and len(err.splitlines()) == 1 and f"--out {tmp_path / 'file'} is a file: name a folder" in err


@pytest.mark.parametrize("command", [["status"], ["status", "--json"], ["report"], ["report", "--json"]])
def test_a_broken_record_is_named(command, call, smoke, tmp_path):
    out = shutil.copytree(smoke.out, tmp_path / "out")
    broken = next((out / "smoke" / "runs").glob("gcn-k15-s0*"))
    broken.write_text(broken.read_text(encoding="utf-8")[:200], encoding="utf-8")
    code, _, err = call(*command, "--profile", "smoke", "--out", out)
    assert code == 2 and len(err.splitlines()) == 1 and str(broken) in err and "delete it" in err


def test_a_record_of_another_version_is_named(call, smoke, tmp_path):
    """Valid JSON, but with a setting that this version does not know: which file?"""
    out = shutil.copytree(smoke.out, tmp_path / "out")
    path = next((out / "smoke" / "runs").glob("gcn-k15-s0*"))
    record = json.loads(path.read_text(encoding="utf-8"))
    record["config"]["colour"] = "red"
    path.write_text(json.dumps(record), encoding="utf-8")
    code, _, err = call("status", "--profile", "smoke", "--out", out)
    assert code == 2 and len(err.splitlines()) == 1 and "colour" in err
    assert path.stem in err, "the message names the file that is to blame"


# --- params --------------------------------------------------------------------------------------


def test_params_as_json_are_the_published_counts(call):
    code, out, err = call("params", "--json")
    assert code == 0 and err == ""
    *rows, resnet, resnet_gcn = json.loads(out)
    assert len(rows) == 18
    published = [row for row in rows if row["published_k"] is not None]
    assert len(published) == 11
    for row in published:
        assert abs(row["parameters"] / 1000 - row["published_k"]) < 1, row
    assert all(row["multiply_adds"] == 256 * row["parameters"] for row in rows)
    (gcn,) = (row for row in rows if (row["head"], row["k"]) == ("gcn", 7))
    assert (gcn["parameters"], gcn["published_k"], gcn["m"]) == (608286, 608, None)
    counts = [(row["variant"], row["parameters"], row["multiply_adds"]) for row in (resnet, resnet_gcn)]
    assert counts == [("ResNet50", 25557032, 3855925248), ("ResNet50-GCN", 22545780, 3589458544)]


def test_params_for_reading(call):
    code, out, _ = call("params")
    (line,) = (line for line in out.splitlines() if line.split()[:2] == ["gcn", "k=7"])
    assert code == 0 and line.split() == ["gcn", "k=7", "608,286", "608K", "156M"]
    assert "no bias" in out
    assert out.index("ResNet50\n") < out.index("25557032") < out.index("ResNet50-GCN\n") < out.index("22545780")


# --- run and status ------------------------------------------------------------------------------


def test_status_of_an_empty_folder(call, tmp_path):
    code, out, err = call("status", "--json", "--profile", "smoke", "--out", tmp_path / "none", "--seeds", "2")
    assert code == 0 and err == ""
    status = json.loads(out)
    runs = variants.table_runs(list(variants.TABLES), profiles.get("smoke"), [0, 1])
    assert status["runs"] == {run.name: "not run" for run in runs} and len(status["runs"]) == 82
    assert (status["profile"], status["out"], status["stale"]) == ("smoke", str(tmp_path / "none"), [])
    assert not (tmp_path / "none").exists(), "looking writes nothing"


def test_status_tells_complete_interrupted_and_missing_runs_apart(call, smoke, tmp_path):
    out = shutil.copytree(smoke.out, tmp_path / "out")
    run = variants.Variant("gcn", 3).run(profiles.get("smoke"), 0)
    checkpoint = results.checkpoint_path(out, "smoke", run_key(run))
    checkpoint.parent.mkdir(exist_ok=True)
    checkpoint.touch()
    code, printed, _ = call("status", "--json", "--profile", "smoke", "--out", out)
    state = json.loads(printed)["runs"]
    assert code == 0 and state.pop("gcn-k3-s0") == "interrupted"
    complete = {run.name for run in smoke.runs} | {"pretraining-small-s0"}
    assert {name for name, word in state.items() if word == "complete"} == complete
    assert sorted(set(state.values())) == ["complete", "not run"]
    code, printed, _ = call("status", "--profile", "smoke", "--out", out)
    assert code == 0 and len(printed.splitlines()) == 41
    assert printed.splitlines()[-1] == f"4 of 40 runs complete below {out / 'smoke'}"


def test_status_names_stale_records(call, smoke, tmp_path):
    out = shutil.copytree(smoke.out, tmp_path / "out")
    path = next((out / "smoke" / "runs").glob("gcn-k15-s0*"))
    record = json.loads(path.read_text(encoding="utf-8"))
    record["config"]["schedule"]["batch_size"] = 4
    path.write_text(json.dumps(record), encoding="utf-8")
    code, printed, _ = call("status", "--profile", "smoke", "--out", out, "--json")
    assert code == 0 and json.loads(printed)["stale"] == ["gcn-k15-s0"]
    assert "gcn-k15-s0" in call("status", "--profile", "smoke", "--out", out)[1].splitlines()[-1]


def test_a_second_run_trains_nothing(call, smoke, monkeypatch):
    monkeypatch.setattr(runner, "execute", lambda *_, **__: pytest.fail("trained again"))
    code, out, err = call("run", "5", "--profile", "smoke", "--out", smoke.out)
    assert (code, err) == (0, "") and out.splitlines() == ["3 runs: 3 complete, 0 to train"]


def test_failed_runs_are_named_and_the_others_go_on(call, tmp_path, monkeypatch):
    def execute(run, *_, **__):
        if run.head == "gcn" and not run.refine:
            raise RuntimeError("no memory")

    monkeypatch.setattr(runner, "execute", execute)
    code, out, err = call("run", "5", "--profile", "smoke", "--out", tmp_path)
    assert code == 1 and err == "failed: gcn-k15-s0: no memory\n"
    assert "gcn-k15-br-s0 complete" in out


def test_no_table_means_all(call, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(runner, "run_all", lambda runs, *place, **options: asked.append((runs, place, options)) or [])
    options = ["--profile", "smoke", "--out", tmp_path, "--seeds", "2", "--jobs", "3"]
    assert call("run", *options)[0] == 0
    assert call("run", "4", "1", *options, "--cluster", "cluster=local", "timeout_min=5")[0] == 0
    (everything, place, first), (some, _, second) = asked
    assert everything == variants.table_runs(list(variants.TABLES), profiles.get("smoke"), [0, 1])
    assert some == variants.table_runs(["4", "1"], profiles.get("smoke"), [0, 1])
    assert place == (tmp_path, None, 3)
    assert (first, second) == ({"cluster": None}, {"cluster": {"cluster": "local", "timeout_min": "5"}})


def test_an_interruption_says_how_to_go_on(call, tmp_path, monkeypatch):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(runner, "run_all", interrupt)
    code, _, err = call("run", "5", "--profile", "smoke", "--out", tmp_path)
    assert code == 130 and "same command goes on" in err and "Traceback" not in err


@pytest.mark.slow
def test_notebooks_that_lack_their_data_are_not_begun(call, tmp_path, layout, monkeypatch):
    """Profile photos with VOC and weights but without Tiny-ImageNet: notebook 05 cannot run, the first four can."""
    begun = []
    monkeypatch.setattr(notebooks, "execute", lambda notebook, *_: begun.append(notebook.stem[:2]))
    monkeypatch.setattr(runner, "run_all", lambda runs, *_: [])
    root = shutil.copytree(layout, tmp_path / "data")
    (root / "weights").mkdir()
    (root / "weights/squeezenet1_1_imagenet.npz").touch()
    arguments = ("notebooks", "--profile", "photos", "--data-root", root, "--out", tmp_path / "out")
    code, _, err = call(*arguments)
    assert code == 2 and begun == []
    assert "tiny-imagenet/train is missing" in err and "nothing was started; --only leaves notebooks out" in err
    code, _, _ = call(*arguments, "--only", "01,04")
    assert code == 0 and begun == ["01", "04"]
    code, out, _ = call("status", *arguments[1:])
    words = {line.split()[0]: line.split(maxsplit=1)[1] for line in out.splitlines()[:-1]}
    assert code == 0 and words["gcn-k15-s0"] == "not run" and words["gcn-k15-br-on-medium_gcn-s0"] == "data missing"


def test_runs_train_without_jupyter(call, tmp_path):
    """From an empty folder to a complete Table 5, with everything that only notebooks and figures need made absent."""
    program = (
        f"import sys; sys.modules.update(dict.fromkeys({JUPYTER})); "
        "from gcnlab.cli import main; sys.exit(main(sys.argv[1:]))"
    )
    done = python("-c", program, "run", "5", "--profile", "smoke", "--out", tmp_path)
    assert done.returncode == 0 and done.stderr == "", done.stderr
    assert done.stdout.splitlines()[0] == "3 runs: 0 complete, 4 to train (1 of them because others start from them)"
    assert len(list((tmp_path / "smoke" / "runs").glob("*.json"))) == 4
    code, out, _ = call("status", "--profile", "smoke", "--out", tmp_path)
    assert code == 0 and out.splitlines()[-1].startswith("4 of 40 runs complete")


# --- report and notebooks ------------------------------------------------------------------------


def test_report_as_json(call, smoke):
    before = sorted(smoke.out.rglob("*"))
    code, out, err = call("report", "--json", "--profile", "smoke", "--out", smoke.out)
    assert code == 0 and err == "" and sorted(smoke.out.rglob("*")) == before
    found = json.loads(out)
    assert (found["profile"], list(found["tables"])) == ("smoke", list(variants.TABLES))
    ran = {(c["row"], c["metric"]) for c in found["tables"]["5"] if c["local_n"] == 1 and 0 <= c["local_mean"] <= 100}
    assert len(ran) == 9 and len(found["tables"]["5"]) == 9
    missing = [c for c in found["tables"]["1"] if c["local_n"] == 0]
    assert len(missing) == 6 and all(c["local_mean"] is None and c["study_mean"] is None for c in missing)
    words = {v["claim"]: v["your run (smoke)"] for v in found["verdicts"]}
    assert words == {number: "holds" if number in (14, 15, 16) else "undecided" for number in range(1, 17)}
    assert len(found["verdicts"]) == 16


def test_report_prints_its_page_and_renews_the_readme_only_if_asked(call, places, monkeypatch):
    renewed = []
    monkeypatch.setattr(report, "write", lambda session: session.out / session.profile.name / "report.html")
    monkeypatch.setattr(report, "update_readme", renewed.append)
    code, out, _ = call("report", "--profile", "smoke", "--out", places / "out")
    assert (code, out.strip(), renewed) == (0, str(places / "out" / "smoke" / "report.html"), [])
    assert call("report", "--readme")[0] == 0
    assert renewed == [places / "README.md"], "the one beside the committed results"


def test_notebooks_are_executed_in_order_with_all_parameters(call, places, monkeypatch):
    done, trained = [], []
    monkeypatch.setattr(runner, "run_all", lambda runs, *_: trained.append(runs) or [])
    monkeypatch.setattr(notebooks, "execute", lambda *arguments: done.append(arguments))
    monkeypatch.setattr(report, "write", lambda session: done.append("report") or session.out / "report.html")
    out = places / "out"
    code, printed, err = call("notebooks", "--only", "02,01", "--profile", "smoke", "--seeds", "2", "--out", out)
    assert code == 0 and err == ""
    assert trained == [variants.table_runs(["1", "2"], profiles.get("smoke"), [0, 1])], "all before the first notebook"
    *executed, last = done
    assert [path.name[:2] for path, *_ in executed] == ["01", "02"] and last == "report"
    for path, folder, parameters in executed:
        assert folder == out / "smoke" / "notebooks"
        assert parameters == {"profile": "smoke", "seeds": 2, "jobs": 1, "data_root": None, "out": str(out)}
        notebooks.check_parameters(path, parameters)
    assert printed.splitlines()[0] == "== notebook 1 of 2: 01_kernel_size.ipynb"
    assert printed.splitlines()[-1].endswith(str(out / "report.html"))
    assert "never evidence" in printed and re.search(r"Table 1: GCN, 15 +74.5 +not run +not run", printed)
    assert re.search(r"claim 14, study \(smoke\): holds +GCN needs fewer parameters", printed)


@pytest.mark.parametrize(("error", "expected"), [
    (UserError("profile 'photos' starts from these weights"), 2),
    (notebooks.NotebookFailed("01_kernel_size.ipynb: RuntimeError: gcn-k3-s0: no memory"), 1),
])  # fmt: skip
def test_a_failing_notebook_ends_the_command(error, expected, call, places, monkeypatch):
    def fail(*_):
        raise error

    monkeypatch.setattr(report, "write", lambda _: pytest.fail("reported"))
    monkeypatch.setattr(notebooks, "execute", fail)
    code, out, err = call("notebooks", "--only", "01", "--profile", "smoke", "--out", places / "out")
    assert (code, err) == (expected, f"gcnlab: {error}\n") and out.count("== notebook") == 1


# --- data check ----------------------------------------------------------------------------------


def test_check_of_the_embedded_data(call):
    code, out, err = call("data", "check", "shapes-tiny", "--json")
    found = json.loads(out)
    assert code == 0 and err == "" and found["complete"] is True and found["overlap"] == []
    images = {split: entry["images"] for split, entry in found["splits"].items()}
    assert (images["VOC train"], images["train"], images["val"]) == (16, 48, 16)
    assert set(map(int, found["labels"])) == {*range(8), 255} and found["largest"] == 64
    assert found["root"].startswith(os.environ["GCNLAB_CACHE"]), "in the cache of the tests"
    code, out, _ = call("data", "check", "shapes-tiny")
    assert code == 0 and found["fingerprint"] in out and out.count(": complete") == len(images)


def test_check_of_a_subset(call, layout):
    code, out, _ = call("data", "check", "voc", "--data-root", layout)
    assert code == 0
    assert re.search(r"VOC train +4 images of 1464 official: a subset", out)
    assert re.search(r"val +3 images of 1449 official: a subset", out)
    assert re.search(r"train +9 images of 10582 official: a subset", out)
    assert "overlap of train and val: none" in out and "tvmonitor" in out, "classes without a pixel are named"


@pytest.mark.parametrize("lost", ["VOCdevkit", "VOCdevkit/VOC2012/ImageSets/Segmentation/val.txt",
                                  "benchmark_RELEASE/dataset/train.txt",
                                  "VOCdevkit/VOC2012/JPEGImages/2007_000000.jpg"])  # fmt: skip
def test_check_says_what_is_missing_and_shows_the_layout(lost, call, layout, tmp_path):
    root = shutil.copytree(layout, tmp_path / "data")
    path = root / lost
    assert path.exists()
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    code, out, err = call("data", "check", "voc", "--data-root", root)
    assert code == 2 and out == ""
    first, *rest = err.splitlines()
    assert first.startswith(f"gcnlab: {path}") and "is missing" in first
    assert rest[0].startswith("expected below the data root") and "ImageSets/Segmentation/{train,val}.txt" in err


def test_check_of_a_folder_that_holds_nothing(call, tmp_path):
    code, _, err = call("data", "check", "voc", "--data-root", tmp_path)
    assert code == 2 and str(tmp_path / "VOCdevkit" / "VOC2012") in err and "--data-root" in err
    assert "benchmark_RELEASE/dataset" in err


def test_check_refuses_splits_that_overlap(call, layout, tmp_path):
    root = shutil.copytree(layout, tmp_path / "data")
    lists = root / "VOCdevkit/VOC2012/ImageSets/Segmentation"
    leaked = (lists / "val.txt").read_text(encoding="utf-8").split()[0]
    with (lists / "train.txt").open("a", encoding="utf-8") as file:
        file.write(f"{leaked}\n")
    code, out, err = call("data", "check", "voc", "--data-root", root)
    assert code == 2 and leaked in out + err and {"train", "val"} <= set(re.findall(r"\w+", err))


# --- the program and run_all.sh ------------------------------------------------------------------


def test_help_lists_every_command(call):
    code, out, _ = call("--help")
    assert code == 0
    for name in ("run", "notebooks", "status", "report", "params", "data"):
        assert re.search(rf"^    {name}\s+\w", out, re.M), name
        assert call(name, "--help")[0] == 0
    assert all(profile in call("run", "--help")[1] for profile in profiles.PROFILES)


def test_the_module_is_a_program_that_loads_no_jupyter():
    """``python -m gcnlab`` and ``import gcnlab.cli``: the training core is all that is needed."""
    code = (
        "import runpy, sys\nsys.argv = ['gcnlab', '--help']\n"
        "try:\n    runpy.run_module('gcnlab', run_name='__main__')\n"
        f"finally:\n    print('loaded:', *sorted(set({JUPYTER}) & set(sys.modules)))\n"
    )
    done = python("-c", code)
    assert done.returncode == 0 and done.stdout.startswith("usage: gcnlab"), done.stderr
    assert done.stdout.splitlines()[-1].split() == ["loaded:"]


def script(*arguments, **environment):
    kept = {n: v for n, v in os.environ.items() if n not in ("VIRTUAL_ENV", "CONDA_PREFIX", "PYTHON")}
    command = ["bash", str(RUN_ALL), *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=kept | environment, timeout=60, check=False)


def test_run_all_is_a_valid_program():
    assert subprocess.run(["bash", "-n", str(RUN_ALL)], capture_output=True, check=False).returncode == 0
    assert os.access(RUN_ALL, os.X_OK)


@pytest.mark.parametrize("option", ["--help", "-h"])
def test_run_all_explains_itself_without_making_an_environment(option, tmp_path):
    done = script(option, GCNLAB_VENV=str(tmp_path / "venv"))
    assert done.returncode == 0 and done.stderr == "" and not (tmp_path / "venv").exists()
    for words in ("./run_all.sh test", "--profile", "--only", "--data-root", "GCNLAB_VENV", "TORCH_INDEX_URL"):
        assert words in done.stdout, words
    assert "pipefail" not in done.stdout and not any(line.startswith("#") for line in done.stdout.splitlines())


@pytest.mark.parametrize("arguments", [[], ["test"]])
def test_run_all_without_a_python_says_so(arguments, tmp_path):
    surroundings = {"GCNLAB_VENV": str(tmp_path / "venv"), "PYTHON": "/nonexistent", "TORCH_INDEX_URL": "unused"}
    done = script(*arguments, **surroundings)
    assert done.returncode == 2 and done.stdout == "" and not (tmp_path / "venv").exists()
    assert len(done.stderr.splitlines()) == 1 and done.stderr.startswith("run_all.sh: no Python 3.11")


def test_run_all_never_empties_a_folder_that_is_no_environment(tmp_path):
    """``venv --clear`` deletes what is in the folder: with GCNLAB_VENV set by mistake, somebody's files."""
    stub = tmp_path / "python"
    stub.write_text(f'#!/bin/sh\necho "$@" >>"{tmp_path}/calls"\n[ "$1" != -m ]\n', encoding="utf-8")
    stub.chmod(0o755)
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.tex").touch()
    done = script(GCNLAB_VENV=str(mine), PYTHON=str(stub), TORCH_INDEX_URL="unused")
    assert done.returncode == 2 and str(mine) in done.stderr
    calls = (tmp_path / "calls").read_text(encoding="utf-8") if (tmp_path / "calls").exists() else ""
    assert "--clear" not in calls, calls


def test_runs_that_fail_end_the_command_before_the_notebooks(call, places, monkeypatch):
    monkeypatch.setattr(runner, "run_all", lambda runs, *_: ["gcn-k3-s0: no memory"])
    monkeypatch.setattr(notebooks, "execute", lambda *_: pytest.fail("begun"))
    code, _, err = call("notebooks", "--only", "01", "--profile", "smoke", "--out", places / "out")
    assert code == 1 and "gcn-k3-s0: no memory" in err and len(err.splitlines()) == 1


@pytest.mark.parametrize(("gpus", "cores", "jobs"), [(0, 1, 1), (0, 2, 2), (0, 16, 2), (4, 16, 4)])
def test_as_many_runs_at_a_time_as_pay(gpus, cores, jobs, monkeypatch, tmp_path):
    """One per GPU, else two; one for the smoke profile, whose runs take less time than starting a process."""
    monkeypatch.setattr(runner.torch.cuda, "device_count", lambda: gpus)
    monkeypatch.setattr(runner, "_cores", lambda: cores)
    seen = []
    monkeypatch.setattr(runner, "run_all", lambda runs, out, root, jobs, **_: seen.append(jobs) or [])
    for options in ([], ["--profile", "smoke"], ["--jobs", "3"]):
        assert main(["run", "1", "--out", str(tmp_path), *options]) == 0
    assert seen == [jobs, 1, 3]
