"""One run → one record: the same bytes whatever the jobs, the threads and the interruptions."""

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from made import ALONE, SMOKE, silent

from gcnlab import data
from gcnlab.analysis.tables import table_configs
from gcnlab.data import DataSpec
from gcnlab.errors import UserError
from gcnlab.evaluation.crf import Crf, Pairwise
from gcnlab.evaluation.inference import TestTime
from gcnlab.experiments import probabilities, records, scheduler
from gcnlab.experiments.building import build_model, trained_model
from gcnlab.experiments.config import CrfEvaluation, Evaluation
from gcnlab.experiments.environment import peak_memory, pick_device
from gcnlab.experiments.execute import execute
from gcnlab.experiments.store import Store
from gcnlab.training import Diverged, Schedule


def content(store, run):
    """The bytes of a record but for its environment: metrics, counts, history, weights' digest."""
    record = store.record(run)
    return json.dumps({name: v for name, v in record.items() if name != "environment"})


def same(store, smoke):
    for run in (smoke.runs[0].start, *smoke.runs):
        assert content(store, run) == content(smoke.store, run), run.name
    assert not list(store.out.rglob("checkpoints/*.pt"))


def test_a_record_says_what_was_run_on_what_by_what(smoke):
    assert smoke.failures == []
    for run in smoke.runs:
        record, start = smoke.store.record(run), smoke.store.record(run.start)
        identity, environment = record["identity"], record["environment"]
        assert identity["start"] == start["weights"] != start["key"]
        assert (identity["threads"], identity["device"]) == (1, "cpu")
        assert identity["precision"] in ("bf16", "float32") and identity["data"]
        assert environment["versions"]["torch"] == str(torch.__version__)
        assert environment["seconds"] > 0 and "seconds" not in record
        assert [point["step"] for point in record["history"]] == [1, 2, 3]
        assert record["images"] == {"train": 48, "val": 16}


def test_metrics_follow_from_the_counts_of_the_record(smoke):
    for run in smoke.runs:
        record = smoke.store.record(run)
        rows = [list(map(int, row.split())) for row in record["counts"]["confusion"]]
        matrix, total = np.array(rows), np.zeros((8, 3), int)
        for line in record["counts"]["per_image"]:
            for c, *numbers in np.array(line.split(), int).reshape(-1, 4):
                total[c] += numbers
        assert np.array_equal(total, np.stack([np.diag(matrix), matrix.sum(0), matrix.sum(1)], 1))
        hits = np.diag(matrix)
        union = matrix.sum(0) + matrix.sum(1) - hits
        assert record["metrics"]["miou"] == pytest.approx(np.mean((hits / union)[union > 0]))
        assert record["counts"]["boundary"]["all"] == [hits.sum(), matrix.sum()]


@pytest.mark.parametrize("threads", [1, 2])
def test_every_run_computes_on_one_thread(threads, smoke, tmp_path):
    store, seen, run = Store(tmp_path), [], smoke.runs[0].start
    torch.set_num_threads(threads)
    try:
        execute(run, store, lambda line: seen.append(torch.get_num_threads()))
        assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(1)
    assert set(seen) == {1} and content(store, run) == content(smoke.store, run)


@pytest.mark.slow
def test_two_jobs_one_of_them_killed_give_the_same_bytes(smoke, tmp_path, monkeypatch):
    """The process of one run is killed in the middle; the second attempt goes on from there."""
    monkeypatch.setattr(scheduler, "_work", killed_once)
    store, log = Store(tmp_path), []
    assert scheduler.run_all(smoke.runs, store, jobs=2, log=log.append) == []
    assert log[0] == "3 runs: 0 complete, 4 to train (1 of them because others start from them)"
    assert len(list(tmp_path.glob("killed-*"))) == len(list(tmp_path.glob("resumed-*"))) == 1
    same(store, smoke)


def killed_once(run, store):
    def log(line):
        marker = store.out / f"killed-{run.name}"
        if "step     2/3" in line and run.name == "gcn-k15-s0" and not marker.exists():
            marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        if line.startswith("resuming at step 1 of 3"):
            (store.out / f"resumed-{run.name}").touch()

    execute(run, store, log)


def test_an_interrupted_run_goes_on_where_it_was(tmp_path):
    def interrupt(line):
        if line.startswith("step     3/3"):
            raise KeyboardInterrupt

    whole, parts, log = Store(tmp_path / "whole"), Store(tmp_path / "parts"), []
    execute(ALONE, whole, silent)
    with pytest.raises(KeyboardInterrupt):
        scheduler.run_all([ALONE], parts, log=interrupt)
    assert parts.is_interrupted(ALONE) and parts.record(ALONE) is None
    assert scheduler.run_all([ALONE], parts, log=log.append) == []
    assert "resuming at step 2 of 3" in log and not any("step     2/3" in line for line in log)
    assert content(parts, ALONE) == content(whole, ALONE) and not parts.is_interrupted(ALONE)


def test_a_run_that_another_process_finishes_is_not_trained_again(tmp_path):
    store, log = Store(tmp_path), []
    kept = execute(ALONE, store, silent)
    path = store.record_path(ALONE)
    away = path.rename(tmp_path / "away.json")
    with ThreadPoolExecutor(1) as pool:
        with store.lock(ALONE):
            waiting = pool.submit(execute, ALONE, store, log.append)
            time.sleep(0.3)
            assert not waiting.done() and log == [], "the run is locked by somebody else"
            away.rename(path)
        assert waiting.result(60) == kept and log == []


def test_the_record_is_written_last(tmp_path, monkeypatch):
    store = Store(tmp_path)

    def fails(record, path):
        assert store.output(ALONE).is_file()
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(records, "write", fails)
        with pytest.raises(OSError, match="No space left"):  # which ends all runs
            scheduler.run_all([ALONE], store, log=silent)
    assert not store.is_complete(ALONE)
    assert scheduler.run_all([ALONE], store, log=silent) == [] and store.is_complete(ALONE)


def test_a_diverged_run_is_recorded_as_such(tmp_path):
    wild = Schedule(4, 8, "sgd", lr=1e30, warmup=0, evaluations=4)
    run, store = replace(ALONE, schedule=wild), Store(tmp_path)
    record = execute(run, store, silent)
    assert "lower the learning rate" in record["diverged"] and record["weights"] is None
    assert record["metrics"] == {} and scheduler.plan([run], store) == []
    # what it learned before: the loss of the first step is that of the untrained network
    assert [point["step"] for point in record["history"]] == [1]
    with pytest.raises(Exception, match="diverged|no weights"):
        trained_model(run, store)


def test_training_starts_from_the_weights_that_the_config_names(layout, tmp_path):
    root = shutil.copytree(layout, tmp_path / "data")
    torch.manual_seed(5)
    start = build_model(replace(ALONE, seed=5)).backbone.state_dict()
    np.savez(root / "start.npz", **{name: tensor.numpy() for name, tensor in start.items()})
    still = Schedule(1, 2, backbone_lr=0.0, weight_decay=0.0)
    spec = DataSpec("voc", side=64, classes=tuple(range(8)))
    run = replace(ALONE, data=spec, start="start.npz", batch_norm="frozen", schedule=still)
    store = Store(tmp_path / "out", root)
    assert scheduler.run_all([run], store, log=silent) == []
    after = trained_model(run, store).backbone.state_dict()
    assert all(torch.equal(after[name], start[name]) for name in start)
    assert store.record(run)["images"] == {"train": 9, "val": 3}


@pytest.mark.slow
def test_stages_start_from_each_other_and_what_follows_them_keeps_probabilities(tmp_path):
    store = Store(tmp_path)
    last = next(r for r in table_configs(["7"], SMOKE, [0]) if r.kind == "crf")
    assert scheduler.run_all([last], store, log=silent) == []
    evaluation, chain = last.start, [last.start.start]
    while chain[-1].start:
        chain.append(chain[-1].start)
    assert len(chain) == 4, "three stages and the pre-training"
    for run, start in pairwise(chain):
        assert store.record(run)["identity"]["start"] == store.record(start)["weights"]
    kept = sorted(store.output(evaluation).rglob("*.npy"))
    counts = store.record(evaluation)["images"]
    assert len(kept) == counts["val"] + min(counts["train"], 20)
    scores = np.load(kept[0]).astype(float)
    assert scores.shape[0] == 8 and scores.sum(0) == pytest.approx(1, abs=0.01)
    record = store.record(last)
    assert record["identity"]["start"] == store.record(evaluation)["key"]
    assert record["crf"]["chosen"] and record["crf"]["training_miou"] == []
    whole = Evaluation(evaluation.start, TestTime())
    execute(whole, store, silent)
    plain = store.record(evaluation.start)["metrics"]
    assert store.record(whole)["metrics"]["miou"] == pytest.approx(plain["miou"], abs=2e-3)


@pytest.mark.skipif(sys.platform != "linux", reason="the peak is read from /proc")
def test_the_peak_of_memory_is_that_of_this_process_not_of_the_one_that_started_it():
    program = "from gcnlab.experiments.environment import peak_memory; print(peak_memory())"
    large = np.ones(150_000_000)  # 1.2 GB, which the system's own count hands on
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert 50_000_000 < int(done.stdout) < large.nbytes < peak_memory()


def test_a_run_trains_on_train_in_the_order_of_its_seed(tmp_path, monkeypatch):
    def first_batch(step, batches, *_, **__):
        seen.append(next(batches(0, 1))[0])
        return {"seconds": 0.0, "history": []}

    seen, split, runs = [], data.load(ALONE.data, "train"), [replace(ALONE, seed=s) for s in (0, 1)]
    monkeypatch.setattr("gcnlab.experiments.execute.train", first_batch)
    weights = [execute(run, Store(tmp_path), silent)["weights"] for run in runs]
    expected = [next(split.shuffled(8, run.seed, 0, 1))[0] for run in runs]
    assert all(map(torch.equal, seen, expected)) and not torch.equal(*seen)
    assert weights[0] != weights[1], "the initial weights are the seed's too"


def test_the_crf_is_the_best_on_training_images(tmp_path, monkeypatch):
    def refined(run, store, split, numbers, kernels):
        seen.append(split)
        yield np.where(kernels.smooth_weight == 2, label, 1 - label), label

    seen, label = [], np.array([[0, 0, 1, 1]])
    monkeypatch.setattr(probabilities, "_refined", refined)
    crf = Crf("exact", tuple(Pairwise(smooth_weight=weight) for weight in (1, 2, 3)))
    run = CrfEvaluation(Evaluation(ALONE, TestTime()), crf)
    result = probabilities.refine(run, Store(tmp_path), silent)["crf"]
    assert (result["chosen"]["smooth_weight"], result["training_miou"]) == (2, [0, 1, 0])
    assert seen == ["train"] * 3 + ["val"]


@pytest.mark.parametrize("diverged", [True, False])
def test_a_start_that_diverged_is_not_trained_again_and_is_named(diverged, tmp_path, monkeypatch):
    start = replace(ALONE, label="first")
    lost = Diverged("the loss is nan", [{"step": 1, "loss": 1.0}])

    def trained(*_, **__):
        starts.append("trained")
        if diverged:
            raise lost
        return {"seconds": 0.0, "history": []}

    starts, store = [], Store(tmp_path)
    monkeypatch.setattr("gcnlab.experiments.execute.train", trained)
    failures = scheduler.run_all([start, replace(ALONE, start=start)], store, log=silent)
    again = scheduler.run_all([start, replace(ALONE, start=start)], store, log=silent)
    assert failures == again and bool(failures) == diverged == store.has_diverged(start)
    assert starts == ["trained"] * (1 if diverged else 2)
    assert not diverged or "starts from gcn-k3-first-s0, which diverged" in failures[0]


def test_a_full_disk_is_noticed_while_probabilities_are_saved(tmp_path, monkeypatch):
    """numpy's own writing to a file leaves out the last page of a full disk without an error."""

    def on_a_full_disk(self, content):
        raise OSError(errno.ENOSPC, "No space left on device")

    store = Store(tmp_path)
    execute(ALONE, store, silent)
    monkeypatch.setattr("pathlib.Path.write_bytes", on_a_full_disk)
    with pytest.raises(OSError, match="No space left"):
        scheduler.run_all([Evaluation(ALONE, TestTime())], store, log=silent)


@pytest.mark.parametrize("name", ["warp", "mps", "meta", "cuda:7"])
def test_a_device_that_is_none_is_refused(name, monkeypatch):
    monkeypatch.setenv("GCNLAB_DEVICE", name)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(UserError, match=f"GCNLAB_DEVICE={name}"):
        pick_device()
