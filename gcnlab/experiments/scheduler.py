"""Many runs: complete ones are skipped, interrupted ones resume, a failure stops no other."""

import multiprocessing
import os
import time
from collections.abc import Callable
from concurrent.futures import FIRST_EXCEPTION, ProcessPoolExecutor, ThreadPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from pathlib import Path

import torch

from gcnlab import files
from gcnlab.errors import UserError
from gcnlab.experiments.config import PreTraining, Run, Training
from gcnlab.experiments.environment import pick_device
from gcnlab.experiments.execute import execute
from gcnlab.experiments.queue import RunQueue
from gcnlab.experiments.resources import chain, check_ready, without_backend
from gcnlab.experiments.store import Store
from gcnlab.processes import cores, follow
from gcnlab.training import distributed

POLL = 2  # seconds between looks at the jobs of a cluster
Log = Callable[[str], None]


def default_jobs() -> int:
    """Runs at a time that pay on this machine: one per GPU, else one per core up to two; on a GPU
    that ``GCNLAB_DEVICE`` names, one.

    Every run computes on one thread, so that its numbers do not depend on this.
    """
    if pick_device().type == "cpu":
        return min(2, cores())
    return 1 if os.environ.get("GCNLAB_DEVICE") else torch.cuda.device_count()


def plan(runs: list[Run], store: Store) -> list[Run]:
    """The runs that remain, and those that they start from: first what most others wait for."""
    waiting_for: dict[Run, int] = {}  # the longest chain of runs that start from this one
    level = [run for run in dict.fromkeys(runs) if not store.is_complete(run)]
    length = 0
    while level:
        waiting_for |= dict.fromkeys(level, length)
        starts = dict.fromkeys(run.start for run in level if isinstance(run.start, Run))
        level = [start for start in starts if not store.is_complete(start, with_output=True)]
        length += 1
    return sorted(waiting_for, key=waiting_for.get, reverse=True)


def run_all(runs: list[Run], store: Store, jobs: int = 1, log: Log = print,
            cluster: dict[str, str] | None = None) -> list[str]:  # fmt: skip
    """Train what is missing of ``runs``, ``jobs`` at a time; GPUs are dealt out in turn.

    With ``cluster`` every run is one job of submitit: ``{"cluster": "slurm" or "local"}`` and
    parameters of its ``AutoExecutor``, such as ``slurm_partition`` or ``timeout_min``; the store's
    folder must then be one that all machines share.

    Returns:
        One line per failed run, empty if all went well. What was finished stays finished.

    Raises:
        UserError: something is missing that no run can do without.
        OSError: the disk is full, which ends all runs.
    """
    remaining = plan(runs, store)
    if remaining:
        check_ready(remaining, store, jobs)
    complete, extra = sum(map(store.is_complete, runs)), len(set(remaining) - set(runs))
    others = f" ({extra} of them because others start from them)" * bool(extra)
    log(f"{len(runs)} runs: {complete} complete, {len(remaining)} to train{others}")
    for link in {link for run in runs for link in chain(run)}.difference(remaining):
        if store.is_complete(link, with_output=True):  # a process was killed just before this
            store.checkpoint(link).unlink(missing_ok=True)
            store.note(link).unlink(missing_ok=True)
    if not remaining:
        return []
    steps = sum(run.schedule.steps for run in remaining if isinstance(run, PreTraining | Training))
    log(f"{steps:,} training steps in all (python -m gcnlab plan says what they take)")
    for run, reason in without_backend(remaining).items():
        log(f"{run.name} will fail, the others not: {reason}")
    queue = RunQueue(remaining, log)
    if cluster is not None:
        _on_cluster(queue, store, cluster, log)
    elif jobs == 1 or distributed.part()[1] > 1:
        _one_by_one(queue, store, log)
    else:
        _in_processes(queue, store, min(jobs, len(remaining)))
    if queue.failures:
        log(f"{len(queue.failures)} runs failed; the same command goes on from here")
    return list(queue.failures.values())


def _one_by_one(queue: RunQueue, store: Store, log: Log) -> None:
    while (run := queue.take()) is not None:
        try:
            execute(run, store, log)
        except Exception as error:  # whatever ended a run ends only that run
            if files.is_full(error) or distributed.part()[1] > 1:
                raise  # of several processes the others are in the middle of it
            queue.finished(run, error)
        else:
            queue.finished(run)


# --- several processes --------------------------------------------------------------------------


def _work(run: Run, store: Store) -> None:
    execute(run, store, log=lambda line: None)  # the store's note tells how far it is


class _Slot:
    """One process that works on one run after the other; if it is killed, that costs only its
    run."""

    def __init__(self, number: int, gpus: int):
        gpu = {"GCNLAB_DEVICE": f"cuda:{number % gpus}"} if gpus else {}
        self._start = partial(follow, os.getpid(), **gpu)
        self._pool: ProcessPoolExecutor | None = None

    def work_on(self, queue: RunQueue, store: Store) -> None:
        try:
            while (run := queue.take()) is not None:
                error = self._attempt(run, store)
                if isinstance(error, BrokenProcessPool) and not queue.stopped:
                    error = self._attempt(run, store)  # it may have been idle, or too many at work
                if isinstance(error, KeyboardInterrupt) or files.is_full(error):
                    raise error
                if queue.stopped:
                    return
                if isinstance(error, BrokenProcessPool):
                    error = RuntimeError("its process was killed twice, perhaps for lack of memory")
                queue.finished(run, error)
        except BaseException:
            queue.stop()
            raise
        finally:
            self._close()

    def _attempt(self, run: Run, store: Store) -> BaseException | None:
        if self._pool is None:
            # spawn: forked children of a process that has used OpenMP or CUDA hang
            context = multiprocessing.get_context("spawn")
            self._pool = ProcessPoolExecutor(1, context, self._start)
        try:
            error = self._pool.submit(_work, run, store).exception()
        except BrokenProcessPool as broken:
            error = broken
        if isinstance(error, BrokenProcessPool):
            self._close()
        return error

    def _close(self) -> None:
        """Wait for the pool's thread: Python's exit would wake one that closes its pipe just then,
        which ends in a traceback."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
            self._pool = None

    def terminate(self) -> None:
        processes = getattr(self._pool, "_processes", None)  # its thread may set the pool to None
        for process in list((processes or {}).values()):
            process.terminate()


def _in_processes(queue: RunQueue, store: Store, jobs: int) -> None:
    gpus = 0 if os.environ.get("GCNLAB_DEVICE") else torch.cuda.device_count()
    slots = [_Slot(number, gpus) for number in range(jobs)]
    with ThreadPoolExecutor(jobs) as threads:
        futures = [threads.submit(slot.work_on, queue, store) for slot in slots]
        try:
            done, _ = wait(futures, return_when=FIRST_EXCEPTION)
            for ended in done:
                ended.result()
        except BaseException:  # Ctrl-C ends the runs at work, which go on from their checkpoints
            queue.stop()
            remaining = set(futures)
            while remaining:  # again: a process may be starting just now
                for slot in slots:
                    slot.terminate()
                _, remaining = wait(remaining, timeout=0.2)
            raise


# --- a cluster ----------------------------------------------------------------------------------


def _on_cluster(queue: RunQueue, store: Store, cluster: dict[str, str], log: Log) -> None:
    executor = _executor(store.out / "cluster", cluster)
    jobs: dict[Run, object] = {}
    while (runs := queue.take_all()) or jobs:
        if runs:
            with executor.batch():
                submitted = [executor.submit(_Job(), run, store) for run in runs]
            jobs |= zip(runs, submitted, strict=True)
            for run, job in zip(runs, submitted, strict=True):
                files.write(f"{run.name} queued as job {job.job_id}", store.note(run))
            log(f"{len(submitted)} jobs submitted; their logs are in {store.out / 'cluster'}")
        ended = [run for run, job in jobs.items() if job.done()]
        for run in ended:
            queue.finished(run, jobs.pop(run).exception())
        if not ended:
            time.sleep(POLL)


class _Job:
    """What a job of a cluster does; killed and queued again, it goes on from its checkpoint."""

    def __call__(self, run: Run, store: Store) -> None:
        import submitit

        if submitit.JobEnvironment().num_tasks > 1:  # tasks_per_node: one run on all of them
            submitit.helpers.TorchDistributedEnvironment().export(set_cuda_visible_devices=False)
        with distributed.process_group():
            execute(run, store)

    def checkpoint(self, *arguments: object):
        """What submitit queues after the time limit: the same again."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self, *arguments)


def _executor(logs: Path, cluster: dict[str, str]):
    try:
        import submitit
    except ImportError:
        raise UserError("a cluster needs submitit: pip install -e '.[cluster]'") from None
    options = {name: int(text) if text.isdecimal() else text for name, text in cluster.items()}
    try:
        executor = submitit.AutoExecutor(folder=logs, cluster=options.pop("cluster", "slurm"))
        executor.update_parameters(**options)
    except (NameError, RuntimeError, ValueError, TypeError) as error:
        raise UserError(f"cluster options: {' '.join(str(error).split())}") from None
    return executor
