"""Jobs of a real Slurm on this machine: killed and queued again, they end as if undisturbed."""

import os
import platform
import shutil
import socket
import subprocess
import threading
import time
from dataclasses import replace

import pytest

from gcnlab.experiments import scheduler
from gcnlab.experiments.execute import execute
from gcnlab.experiments.profiles import get
from gcnlab.experiments.scheduler import run_all
from gcnlab.experiments.store import Store
from gcnlab.training import Schedule

TEMPLATE = get("smoke").template
RUN = replace(TEMPLATE, start=None, schedule=Schedule(160, 8, evaluations=80))  # saved every time
CONF = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/none
AuthInfo=cred_expire=1
CredType=cred/none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
StateSaveLocation={folder}
SlurmdSpoolDir={folder}
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
KillWait=1
NodeName={host} NodeAddr=127.0.0.1 CPUs=2 State=UNKNOWN
PartitionName=all Nodes={host} Default=YES State=UP
"""


def until(holds, seconds=300):
    end = time.monotonic() + seconds
    while not (value := holds()):
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.2)
    return value


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    """A cluster of this one machine, for as long as the test takes."""
    if not (shutil.which("slurmctld") and shutil.which("slurmd")):
        pytest.skip("no Slurm here: apt-get install slurm-wlm")
    if os.geteuid() != 0:
        pytest.skip("only root can start Slurm's daemons")
    ports = []
    for _ in range(2):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            ports.append(free.getsockname()[1])
    folder, conf = tmp_path / "slurm", tmp_path / "slurm.conf"
    folder.mkdir()
    host = platform.node().split(".")[0]
    conf.write_text(CONF.format(host=host, ports=ports, folder=folder))
    monkeypatch.setenv("SLURM_CONF", str(conf))
    daemons = []
    try:
        for command in (["slurmctld", "-D", "-c"], ["slurmd", "-D"]):
            quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
            daemons.append(subprocess.Popen(command, **quiet))
            time.sleep(2)
        if any(daemon.poll() is not None for daemon in daemons):
            pytest.skip("Slurm's daemons do not start here")
        until(lambda: "idle" in subprocess.run(["sinfo"], capture_output=True, text=True).stdout)
        yield
    finally:
        subprocess.run(["scancel", "-u", "root"], check=False)
        for daemon in reversed(daemons):
            daemon.terminate()
            daemon.wait()


@pytest.mark.slow
def test_a_job_killed_and_queued_again_ends_with_the_same_record(slurm, tmp_path, monkeypatch):
    pytest.importorskip("submitit")
    monkeypatch.setattr(scheduler, "POLL", 0.2)
    store, failures = Store(tmp_path / "out"), []
    cluster = {"cluster": "slurm", "timeout_min": "20"}
    options = {"log": lambda _: None, "cluster": cluster}
    study = threading.Thread(target=lambda: failures.extend(run_all([RUN], store, **options)))
    study.start()
    until(lambda: store.is_interrupted(RUN))
    assert store.is_running(RUN), "seen from its folder"
    command = ["squeue", "--noheader", "--format", "%i"]
    job = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[0]
    subprocess.run(["scontrol", "requeue", job], check=True)
    assert store.record(RUN) is None, "it was not finished when it was killed"
    study.join(600)
    assert failures == [] and not study.is_alive()
    logs = " ".join(path.read_text() for path in (store.out / "cluster").glob("*.out"))
    assert "resuming at step" in logs
    record, undisturbed = store.record(RUN), execute(RUN, Store(tmp_path / "alone"))
    for part in ("weights", "metrics", "counts", "history", "key"):
        assert record[part] == undisturbed[part], part


def test_a_job_that_reaches_its_time_limit_is_queued_again():
    pytest.importorskip("submitit")
    again = scheduler._Job().checkpoint("run", "store")
    assert isinstance(again.function, scheduler._Job) and again.args == ("run", "store")


def test_the_state_of_a_run_is_seen_from_its_folder(tmp_path, monkeypatch):
    store, notes = Store(tmp_path), {}

    def look(*_):
        notes.update(Store(tmp_path).notes(RUN.profile), running=Store(tmp_path).is_running(RUN))
        raise RuntimeError("the disk has gone")

    monkeypatch.setattr("gcnlab.experiments.execute._train", look)
    assert not store.is_running(RUN), "nothing is there yet"
    with pytest.raises(RuntimeError):
        execute(RUN, store)
    assert notes == {RUN.name: "starts", "running": True}
    assert not store.is_running(RUN), "its lock went with it"
    assert store.notes(RUN.profile)[RUN.name] == "failed: the disk has gone"
