"""Many runs: their order, faults and interruptions. What is finished is never lost or repeated."""

import pickle
import shutil
import threading
import time
from concurrent.futures import process
from dataclasses import replace

import pytest
from made import ALONE, SMOKE, silent

from gcnlab.errors import UserError
from gcnlab.experiments import scheduler
from gcnlab.experiments.queue import RunQueue
from gcnlab.experiments.scheduler import plan, run_all
from gcnlab.experiments.store import Store

START = SMOKE.template.start
BASE = SMOKE.template


def test_what_is_complete_is_not_planned(smoke, tmp_path):
    store = Store(shutil.copytree(smoke.out, tmp_path / "out"))
    assert plan(smoke.runs, store) == [] and run_all(smoke.runs, store, log=silent) == []
    new = replace(smoke.runs[0], seed=1)
    assert plan([*smoke.runs, new], store) == [new], "its start is there"
    store.output(START).unlink()
    assert plan(smoke.runs, store) == [], "nobody needs its weights"
    assert plan([*smoke.runs, new], store) == [START, new]


def test_no_run_is_planned_twice_and_starts_come_first(tmp_path):
    chain = [START, BASE, replace(BASE, start=BASE, label="b")]
    for wanted in (
        [BASE, BASE],
        [BASE, START],
        chain,
        chain[::-1],
        [*chain, replace(BASE, seed=1)],
    ):
        planned = plan(wanted, Store(tmp_path))
        assert len(planned) == len({*wanted, START}) and planned[0] == START
        assert all(planned.index(run.start) < i for i, run in enumerate(planned) if run.start)


def test_a_run_is_handed_out_once_its_start_is_there_and_never_after_a_failure():
    """A staged training beside a run that needs nothing: none waits in vain or starts early."""
    stages = [BASE]
    for label in ("b", "c"):
        stages.append(replace(stages[-1], start=stages[-1], label=label))
    log = []
    queue = RunQueue([START, *stages, ALONE], log.append)
    assert queue.take() == START and queue.take() == ALONE
    taken = []
    other = threading.Thread(target=lambda: taken.append(queue.take()))
    other.start()
    other.join(0.2)
    assert other.is_alive() and taken == [], "nothing can start yet"
    queue.finished(START)
    other.join(10)
    assert taken == [stages[0]]
    queue.finished(stages[0], RuntimeError("out of luck"))
    assert queue.take() is None and queue.take_all() == []
    assert list(queue.failures) == stages and "needs" in queue.failures[stages[2]]
    assert [line.split()[0] for line in log] == [f"({i}/5)" for i in (1, 2, 3, 4)]


@pytest.mark.parametrize("error", [
    RuntimeError("CUDA out of memory"), UserError("bad file"), OSError(5, "Input/output error"),
    pickle.UnpicklingError("damaged weights"), KeyError("step"), MemoryError(),
    RuntimeError("of several\nlines"),
])  # fmt: skip
@pytest.mark.parametrize("failing", ["gcn-k15-s0", "pretraining-bottleneck27-s0"])
def test_a_failure_stops_only_what_starts_from_it(error, failing, smoke, tmp_path, monkeypatch):
    done = []

    def execute(run, *_, **__):
        if run.name == failing:
            raise error
        done.append(run.name)

    monkeypatch.setattr(scheduler, "execute", execute)
    log = []
    failures = run_all([*smoke.runs, ALONE], Store(tmp_path), log=log.append)
    everything = {"pretraining-bottleneck27-s0", "conv1x1-s0", "gcn-k15-s0", "gcn-k15-br-s0"}
    lost = {failing} if failing == "gcn-k15-s0" else everything
    assert {line.split(":")[0] for line in failures} == lost and all(failing in f for f in failures)
    assert not any("\n" in line or line.endswith(": ") for line in failures)
    assert set(done) == (everything | {"gcn-k3-s0"}) - lost
    assert any(failing in line and "complete" not in line for line in log if line.startswith("("))


@pytest.mark.parametrize(("gpus", "cores", "device", "jobs"), [
    (0, 1, "", 1), (0, 2, "", 2), (0, 64, "", 2), (4, 64, "", 4), (1, 2, "", 1),
    (4, 64, "cuda:1", 1), (4, 64, "cpu", 2),
])  # fmt: skip
def test_the_default_number_of_jobs(gpus, cores, device, jobs, monkeypatch):
    monkeypatch.setenv("GCNLAB_DEVICE", device)
    monkeypatch.setattr(scheduler, "cores", lambda: cores)
    monkeypatch.setattr(scheduler.torch.cuda, "device_count", lambda: gpus)
    assert scheduler.default_jobs() == jobs


@pytest.mark.slow
def test_an_interruption_ends_the_runs_at_work(tmp_path, monkeypatch):
    """Ctrl-C reaches every process; the one at work on seed 1 ends by it, the others are ended.

    No pool is still closing then: Python's exit would trip over it (OSError: Bad file descriptor).
    """
    monkeypatch.setattr(scheduler, "_work", interrupted_work)
    closing = process._ExecutorManagerThread.join_executor_internals
    slowly = lambda thread, *given: time.sleep(1) or closing(thread, *given)  # noqa: E731
    monkeypatch.setattr(process._ExecutorManagerThread, "join_executor_internals", slowly)
    with pytest.raises(KeyboardInterrupt):
        run_all([replace(ALONE, seed=s) for s in range(4)], Store(tmp_path), jobs=2, log=silent)
    threads = [type(thread) for thread in threading.enumerate()]
    assert process._ExecutorManagerThread not in threads
    assert not list(tmp_path.glob("ended-*")), "nobody waited for their end"
    assert len(list(tmp_path.glob("gcn*"))) == 2


def interrupted_work(run, store):
    (store.out / run.name).touch()
    if run.seed == 1:
        while len(list(store.out.glob("gcn*"))) < 2:
            time.sleep(0.05)
        raise KeyboardInterrupt
    time.sleep(300)
    (store.out / f"ended-{run.name}").touch()


@pytest.mark.slow
@pytest.mark.parametrize("jobs", [1, 2])
def test_a_full_disk_ends_all_runs(jobs, tmp_path, monkeypatch):
    monkeypatch.setattr(scheduler, "execute", on_a_full_disk)
    monkeypatch.setattr(scheduler, "_work", on_a_full_disk)
    with pytest.raises(OSError, match="run.pt"):
        run_all([replace(ALONE, seed=s) for s in range(3)], Store(tmp_path), jobs, silent)
    assert len(list(tmp_path.glob("gcn*"))) <= jobs


def on_a_full_disk(run, store, _=None):
    (store.out / run.name).touch()
    raise OSError(28, "No space left on device (it needs 3 MB)", "run.pt")


@pytest.mark.slow
def test_a_cluster_gets_every_run_as_a_job(smoke, tmp_path, monkeypatch):
    """submitit's local executor computes the same bytes."""
    pytest.importorskip("submitit")
    monkeypatch.setattr(scheduler, "POLL", 0.2)
    store, log = Store(tmp_path), []
    assert (
        run_all([START], store, log=log.append, cluster={"cluster": "local", "timeout_min": "5"})
        == []
    )
    assert any("1 jobs submitted" in line for line in log)
    assert store.record(START)["weights"] == smoke.store.record(START)["weights"]


@pytest.mark.parametrize("options", [{"cluster": "moon"}, {"cluster": "local", "nodes_of": "3"}])
def test_wrong_options_of_a_cluster_are_named(options, tmp_path, caught):
    pytest.importorskip("submitit")
    with pytest.raises(UserError) as info:
        run_all([ALONE], Store(tmp_path), log=silent, cluster=options)
    assert "cluster options" in caught(info)
