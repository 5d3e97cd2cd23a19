"""Many runs: their order, faults, interruptions, several processes. What is finished is never lost or repeated."""

import json
import multiprocessing
import os
import pickle
import shutil
import threading
import time
from collections import namedtuple
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import torch
from test_runs import VARIANTS, quick, record_of, same_weights, trained, weights_of

from gcnlab.data import DataSpec, catalog, voc
from gcnlab.errors import UserError
from gcnlab.study import experiment, profiles, results, runner, variants
from gcnlab.study import run as run_module
from gcnlab.study.run import load_model, run_key
from gcnlab.training import Schedule

SMOKE = profiles.get("smoke")


def test_pre_training_is_repeated_only_if_its_weights_are_needed(smoke, tmp_path):
    out, before = shutil.copytree(smoke.out, tmp_path / "out"), SMOKE.template.weights
    results.weights_path(out, "smoke", before.name, run_key(before)).unlink()
    assert runner.plan(smoke.runs, out) == []
    new = replace(smoke.runs[0], seed=1)
    assert runner.plan([*smoke.runs, new], out) == [before, new]


def test_no_run_is_planned_twice(tmp_path):
    run, before = SMOKE.template, SMOKE.template.weights
    run = replace(run, head="conv1x1")
    for wanted in ([run, run], [run, before], [before, run], [before, run, replace(run, seed=1)]):
        planned = runner.plan(wanted, tmp_path)
        assert sorted(r.name for r in planned) == sorted({r.name for r in [*wanted, before]})
        assert planned[0] == before


def test_a_run_is_handed_out_once_its_start_is_there_and_never_after_a_failure():
    """A small staged training beside a run that needs nothing: no thread waits without need, none starts too early."""
    first, alone = SMOKE.template.weights, replace(SMOKE.template, weights=None, head="conv1x1")
    stages = [replace(SMOKE.template, head="conv1x1")]
    for label in ("b", "c"):
        stages.append(replace(stages[-1], weights=stages[-1], label=label))
    log = []
    queue = runner._Queue([first, *stages, alone], log.append)
    assert queue.take() == first and queue.take() == alone
    taken = []
    other = threading.Thread(target=lambda: taken.append(queue.take()))
    other.start()
    other.join(0.2)
    assert other.is_alive() and taken == [], "nothing can start yet"
    queue.finished(first)
    other.join(10)
    assert taken == [stages[0]]
    queue.finished(stages[0], RuntimeError("out of luck"))
    assert queue.take() is None and queue.take_all() == []
    assert list(queue.failures) == stages and "needs" in queue.failures[stages[2]]
    assert [line.split()[0] for line in log] == [f"({i}/5)" for i in (1, 2, 3, 4)]


def test_the_record_is_written_last(tmp_path, monkeypatch):
    run, log = quick(), []
    write = results.write_record

    def fails(record, out):
        assert results.weights_path(out, run.profile, run.name, run_key(run)).is_file()
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(results, "write_record", fails)
    (failure,) = runner.run_all([run], tmp_path, log=log.append)
    assert failure.startswith("gcn-k3-s0") and "No space left" in failure
    assert not runner.is_complete(run, tmp_path) and results.read_records(tmp_path, "quick") == []
    monkeypatch.setattr(results, "write_record", write)
    assert runner.run_all([run], tmp_path, log=log.append) == []
    assert runner.is_complete(run, tmp_path)


@pytest.mark.parametrize("stage", ["write_text", "replace"])
def test_a_half_written_record_is_never_seen(stage, smoke, tmp_path, monkeypatch):
    record = record_of(smoke.runs[0], smoke.out)
    path = results.write_record(record, tmp_path)

    def fails(self, argument, **_):
        with open(self, "a") as file:
            file.write("half a rec")
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(type(path), stage, fails)
        with pytest.raises(OSError, match="No space"):
            results.write_record(record | {"metrics": {"miou": 0.5}}, tmp_path)
    assert results.read_records(tmp_path, "smoke") == [record]
    assert list(path.parent.iterdir()) == [path]


def test_undefined_scores_are_null(tmp_path):
    record = {"config": {"profile": "quick", "seed": 0}, "name": "run", "key": "0", "finished": "now",
              "metrics": {"miou": float("nan"), "iou": {"background": [float("inf"), 1.0]}}}  # fmt: skip
    text = results.write_record(record, tmp_path).read_text()
    assert json.loads(text, parse_constant=pytest.fail)["metrics"] == {"miou": None, "iou": {"background": [None, 1.0]}}


@pytest.mark.parametrize("error", [
    RuntimeError("CUDA out of memory"), UserError("bad file"), OSError(5, "Input/output error"), ValueError("shape"),
    pickle.UnpicklingError("damaged weights"), KeyError("step"), MemoryError(), ZeroDivisionError(),
])  # fmt: skip
def test_one_failing_run_stops_no_other(error, smoke, tmp_path, monkeypatch):
    out, log, done = tmp_path, [], []

    def execute(run, *_, **__):
        if run.k == 15 and not run.refine:
            raise error
        done.append(run.name)

    monkeypatch.setattr(runner, "execute", execute)
    failures = runner.run_all(smoke.runs, out, log=log.append)
    assert done == ["pretraining-small-s0", "conv1x1-s0", "gcn-k15-br-s0"]
    assert len(failures) == 1 and failures[0].startswith("gcn-k15-s0: ")
    assert any("gcn-k15-s0" in line and "complete" not in line for line in log if line.startswith("("))


def test_failed_pre_training_fails_what_needs_it_and_nothing_else(smoke, tmp_path, monkeypatch):
    done = []

    def execute(run, *_, **__):
        if run.study == "pretraining":
            raise RuntimeError("no")
        done.append(run.name)

    monkeypatch.setattr(runner, "execute", execute)
    failures = runner.run_all([*smoke.runs, quick()], tmp_path, log=lambda _: None)
    assert done == ["gcn-k3-s0"]
    assert [failure.split(":")[0] for failure in failures] == ["pretraining-small-s0", *VARIANTS]
    assert all("pretraining-small-s0" in failure for failure in failures)


def test_an_interrupted_run_goes_on_where_it_was(tmp_path):
    run, log = quick(), []
    runner.run_all([run], tmp_path / "whole", log=log.append)
    assert len(trained(log)) == 1 and any(line.startswith("step     2/4") for line in log)

    def interrupt(line):
        if line.startswith("step     4/4"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        runner.run_all([run], tmp_path / "parts", log=interrupt)
    assert not runner.is_complete(run, tmp_path / "parts")
    log.clear()
    assert runner.run_all([run], tmp_path / "parts", log=log.append) == []
    assert "resuming at step 2 of 4" in log and not any(line.startswith("step     2/4") for line in log)
    whole, parts = (record_of(run, tmp_path / name) for name in ("whole", "parts"))
    assert parts["metrics"] == whole["metrics"] and parts["history"] == whole["history"]
    assert [point["step"] for point in whole["history"]] == [2, 4]
    assert same_weights(weights_of(run, tmp_path / "whole"), weights_of(run, tmp_path / "parts"))
    assert not list((tmp_path / "parts").rglob("checkpoints/*.pt"))


def test_a_damaged_checkpoint_fails_its_run_and_names_the_file(tmp_path):
    run = quick()
    path = results.checkpoint_path(tmp_path, run.profile, run_key(run))
    path.parent.mkdir(parents=True)
    path.write_bytes(b"half a checkpoint")
    (failure,) = runner.run_all([run], tmp_path, log=lambda _: None)
    assert str(path) in failure and "\n" not in failure
    path.unlink()
    assert runner.run_all([run], tmp_path, log=lambda _: None) == []


@pytest.mark.parametrize("content", ["", "{", "[]", "null", '{"config": {"seed": 0}}', '{"config": 3}'])
def test_an_unreadable_record_is_named(content, smoke, tmp_path, caught):
    out = shutil.copytree(smoke.out, tmp_path / "out")
    path = next((out / "smoke" / "runs").glob("gcn-k15-br*.json"))
    path.write_text(content)
    with pytest.raises(UserError) as info:
        results.read_records(out, "smoke")
    assert str(path) in caught(info) and "delete" in caught(info)


def test_no_records_are_no_error(tmp_path):
    assert results.read_records(tmp_path / "nowhere", "smoke") == []


def nothing_is_trained(monkeypatch):
    monkeypatch.setattr(runner, "execute", lambda *_, **__: pytest.fail("trained"))


def test_a_full_disk_is_found_before_training(tmp_path, monkeypatch, caught):
    nothing_is_trained(monkeypatch)
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(runner.shutil, "disk_usage", lambda _: usage(10**9, 10**9 - 10**6, 10**6))
    with pytest.raises(UserError) as info:
        runner.run_all([quick()], tmp_path, log=lambda _: None)
    assert str(tmp_path) in caught(info) and "free" in caught(info)
    needed = {}
    for run in (quick(), quick(backbone="resnet152")):
        with pytest.raises(UserError) as info:
            runner.check_ready([run], tmp_path)
        needed[run.backbone] = float(str(info.value).split("need ")[1].split(" GB")[0])
    assert needed["resnet152"] > 5 * 4 * 58e6 / 1e9 > 10 * needed["small"], "weights, gradients and both moments"


@pytest.mark.parametrize("out", ["file", "file/below"])
def test_an_out_that_cannot_be_written(out, tmp_path, monkeypatch, caught):
    nothing_is_trained(monkeypatch)
    (tmp_path / "file").touch()
    with pytest.raises(UserError) as info:
        runner.run_all([quick()], tmp_path / out, log=lambda _: None)
    assert str(tmp_path / out) in caught(info) and "--out" in caught(info)


def test_missing_data_are_found_before_training(tmp_path, monkeypatch, caught):
    nothing_is_trained(monkeypatch)
    photos = variants.table_runs(["5"], profiles.get("photos"), [0])
    for root, named in ((None, "--data-root"), (tmp_path, str(tmp_path))):
        with pytest.raises(UserError) as info:
            runner.run_all(photos, tmp_path / "out", root, log=lambda _: None)
        assert named in caught(info)


def test_missing_weights_are_found_before_training(layout, tmp_path, monkeypatch, caught):
    nothing_is_trained(monkeypatch)
    photos = variants.table_runs(["5"], profiles.get("photos"), [0])
    with pytest.raises(UserError) as info:
        runner.run_all(photos, tmp_path, layout, log=lambda _: None)
    assert str(layout / "weights" / "squeezenet1_1_imagenet.npz") in caught(info)


@pytest.mark.parametrize("in_memory", [True, False])
def test_a_damaged_image_is_found_before_training(in_memory, layout, tmp_path, monkeypatch, caught):
    nothing_is_trained(monkeypatch)
    if not in_memory:
        monkeypatch.setattr(catalog, "MEMORY_LIMIT", 0)
    root = shutil.copytree(layout, tmp_path / "data")
    image = voc.voc_samples(root, "val")[-1].image
    image.write_bytes(image.read_bytes()[:500])
    run = quick(data=DataSpec("voc", side=64))
    with pytest.raises(UserError) as info:
        runner.run_all([run], tmp_path / "out", root, log=lambda _: None)
    assert str(image) in caught(info)


def test_run_on_a_data_root_with_weights(layout, tmp_path):
    root = shutil.copytree(layout, tmp_path / "data")
    torch.manual_seed(5)
    start = run_module.build_segmenter("gcn", 3, backbone="small").backbone
    np.savez(root / "start.npz", **{name: tensor.numpy() for name, tensor in start.state_dict().items()})
    spec = DataSpec("voc", side=64, classes=tuple(range(8)))
    still = Schedule(1, 2, backbone_lr=0.0, weight_decay=0.0)
    run = quick(data=spec, weights="start.npz", batch_norm="frozen", schedule=still)
    assert runner.run_all([run], tmp_path / "out", root, log=lambda _: None) == []
    record = record_of(run, tmp_path / "out", root)
    assert variants.is_subset(record) and record["metrics"]["counts"] == {"train": 9, "val": 3}
    after = load_model(run, tmp_path / "out", root).backbone.state_dict()
    assert same_weights(after, start.state_dict()), "the backbone starts from the file and is not trained"


def test_a_run_that_another_process_finishes_is_not_trained_again(tmp_path):
    run, log = quick(), []
    runner.run_all([run], tmp_path, log=lambda _: None)
    kept = record_of(run, tmp_path)
    path = results.record_path(tmp_path, run.profile, run.name, run_key(run))
    away = path.rename(tmp_path / "away.json")
    with ThreadPoolExecutor(1) as pool:
        with results.lock(tmp_path, run.profile, run_key(run)):
            waiting = pool.submit(experiment.execute, run, tmp_path, log=log.append)
            time.sleep(0.3)
            assert not waiting.done() and log == [], "the run is locked by somebody else"
            away.rename(path)
        assert waiting.result(60) == kept and log == []


@pytest.mark.slow
def test_two_processes_give_the_same_numbers(smoke, tmp_path, monkeypatch):
    # one thread each, as in the other runs
    monkeypatch.setattr(runner, "_cores", lambda: 1)
    log = []
    assert runner.run_all(smoke.runs, tmp_path, jobs=2, log=log.append) == []
    assert log[0] == "3 runs: 0 complete, 4 to train (1 of them because others start from them)"
    for run in smoke.runs:
        assert record_of(run, tmp_path)["metrics"] == record_of(run, smoke.out)["metrics"]
        assert same_weights(weights_of(run, tmp_path), weights_of(run, smoke.out))


@pytest.mark.slow
def test_a_process_that_is_killed_while_it_waits_costs_no_run(tmp_path, monkeypatch):
    """As by the kernel, which takes the largest process, when others need memory."""
    monkeypatch.setattr(runner, "_worker", touching_worker)
    first, *others = (quick(seed=seed) for seed in range(3))
    queue = runner._Queue([first, *others], lambda _: None)

    def finished(run, error=None, whole=queue.finished):
        if run == first:
            for child in multiprocessing.active_children():
                child.kill()
                child.join()
        whole(run, error)

    monkeypatch.setattr(queue, "finished", finished)
    runner._in_processes(queue, tmp_path, None, 1)
    assert queue.failures == {} and len(list(tmp_path.glob("gcn*"))) == 3


@pytest.mark.slow
def test_an_interruption_ends_the_runs_at_work(tmp_path, monkeypatch):
    """Ctrl-C reaches every process; the one at work on seed 1 ends by it, the others are ended."""
    monkeypatch.setattr(runner, "_worker", interrupted_worker)
    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        runner.run_all([quick(seed=seed) for seed in range(4)], tmp_path, jobs=2, log=lambda _: None)
    assert time.monotonic() - started < 200 and len(list(tmp_path.glob("gcn*"))) == 2, "nobody waited for their end"


def touching_worker(run, out, data_root):
    (out / run.name).touch()


def interrupted_worker(run, out, data_root):
    (out / run.name).touch()
    if run.seed == 1:
        while len(list(out.glob("gcn*"))) < 2:
            time.sleep(0.05)
        raise KeyboardInterrupt
    time.sleep(300)


def deadly_worker(run, out, data_root):
    """Stands in for the runner's worker in another process: seed 0 is killed, seed 1 fails."""
    if run.seed == 0:
        os._exit(9)
    if run.seed == 1:
        raise RuntimeError("failed")
    (out / run.name).touch()


@pytest.mark.slow
def test_a_killed_process_costs_only_its_run(tmp_path, monkeypatch):
    monkeypatch.setattr(runner, "_worker", deadly_worker)
    runs, log = [quick(seed=seed) for seed in range(6)], []
    failures = runner.run_all(runs, tmp_path, jobs=2, log=log.append)
    assert sorted(failure.split(":")[0] for failure in failures) == ["gcn-k3-s0", "gcn-k3-s1"]
    assert sorted(path.name for path in tmp_path.glob("gcn*")) == [f"gcn-k3-s{seed}" for seed in range(2, 6)]
