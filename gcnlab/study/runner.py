"""Many runs: what is complete is skipped, what was interrupted goes on, one failure stops no other run."""

import multiprocessing
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_EXCEPTION, ProcessPoolExecutor, ThreadPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import torch

from gcnlab import data
from gcnlab.errors import UserError
from gcnlab.evaluation import count_parameters
from gcnlab.study import results
from gcnlab.study.experiment import execute, is_complete
from gcnlab.study.run import Run, build_model, run_key, weights_file

POLL = 2  # seconds between looks at the jobs of a cluster


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def usual_jobs() -> int:
    """Runs at a time that pay on this machine: one per GPU; on a CPU two, for which each core works alone.

    Small networks leave cores idle: on two cores two runs at a time take a fifth less time than one after the other.
    """
    return torch.cuda.device_count() or min(2, _cores())


def is_interrupted(run: Run, out: Path, data_root: Path | None = None) -> bool:
    """Whether a checkpoint of ``run`` waits to be resumed."""
    return results.checkpoint_path(out, run.profile, run_key(run, data_root)).is_file()


def plan(runs: list[Run], out: Path, data_root: Path | None = None) -> list[Run]:
    """The runs that remain, and those that they start from: each after its start, and first what most others wait for,
    so that no core is idle in the end."""
    waiting_for: dict[Run, int] = {}  # the longest chain of runs that start from this one
    wanted = [run for run in dict.fromkeys(runs) if not is_complete(run, out, data_root)]
    length = 0
    while wanted:
        waiting_for |= dict.fromkeys(wanted, length)
        before = [run.weights for run in wanted if isinstance(run.weights, Run)]
        wanted = [b for b in dict.fromkeys(before) if not is_complete(b, out, data_root, with_artefact=True)]
        length += 1
    return sorted(waiting_for, key=waiting_for.get, reverse=True)


def check_writable(out: Path) -> None:
    """Make the folder ``out``; ``UserError`` if that, or writing into it, is not possible."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        probe = out / f".writable-{os.getpid()}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise UserError(f"--out {out} cannot be written ({error.strerror}): choose another folder") from None


def _chain(run: Run) -> Iterator[Run]:
    """``run`` and all that it starts from."""
    yield run
    if isinstance(run.weights, Run):
        yield from _chain(run.weights)


def check_present(runs: list[Run], data_root: Path | None = None) -> None:
    """Raise ``UserError`` if data or weights that ``runs``, and those they start from, need are not there at all."""
    for needed in dict.fromkeys(link for run in runs for link in _chain(run)):
        weights_file(needed, data_root)
        for split in ("train", "val"):
            data.samples(needed.data, split, data_root)


def without_backend(runs: list[Run]) -> dict[Run, str]:
    """Those of ``runs`` whose CRF is not installed, and what to do. No other run needs them."""
    found = {}
    for run in runs:
        try:
            if run.crf is not None:
                run.crf.check_backend()
        except UserError as error:
            found[run] = str(error)
    return found


def check_ready(runs: list[Run], out: Path, data_root: Path | None = None, jobs: int = 1) -> None:
    """Raise ``UserError`` before any work starts: data or weights missing or damaged, ``out`` not writable or full."""
    check_writable(out)
    check_present(runs, data_root)
    # Every run keeps its weights; those at work also keep a checkpoint, the old one and the new one for a moment.
    with torch.device("meta"):
        sizes = [4 * count_parameters(build_model(run)) for run in runs if run.study != "evaluation"]
    for run in runs:  # an evaluation keeps probabilities in float16
        if run.study == "evaluation" and run.crf is None:
            height, width = run.data.canvas
            sizes.append(2 * data.counts(run.data, data_root)["val"] * len(run.data.class_names) * height * width)
    needed = sum(sizes) + 6 * jobs * max(sizes, default=0) + (64 << 20)
    free = shutil.disk_usage(out).free
    if free < needed:
        raise UserError(f"--out {out} has {free / 1e9:.1f} GB free and these runs need {needed / 1e9:.1f} GB: "
                        "free some space or choose another folder")  # fmt: skip
    for spec in dict.fromkeys(run.data for run in runs):
        for split in ("train", "val"):
            data.load(spec, split, data_root).check()


def _start_worker(threads: int, gpu: int | None) -> None:
    """In a new process: its share of the machine, and an end when the parent ends."""
    torch.set_num_threads(threads)
    if gpu is not None:
        os.environ["GCNLAB_DEVICE"] = f"cuda:{gpu}"
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(2)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _worker(run: Run, out: Path, data_root: Path | None) -> None:
    execute(run, out, data_root, log=lambda line: print(f"[{run.name}] {line}", flush=True))


def run_all(
    runs: list[Run],
    out: Path,
    data_root: Path | None = None,
    jobs: int = 1,
    log: Callable[[str], None] = print,
    cluster: dict[str, str] | None = None,
) -> list[str]:
    """Train what is missing of ``runs`` below ``out``, ``jobs`` at a time.

    With several jobs, CPU cores are divided between the processes, and GPUs are dealt out in turn. With ``cluster``
    every run is one job of submitit: ``{"cluster": "slurm" or "local"}`` and parameters of its ``AutoExecutor``, such
    as ``slurm_partition`` or ``timeout_min``; ``out`` must then be a folder that all machines share.

    Returns:
        One line per failed run, empty if all went well. What was finished stays finished.

    Raises:
        UserError: something is missing that no run can do without.
    """
    remaining = plan(runs, out, data_root)
    before = len(set(remaining) - set(runs))
    log(f"{len(runs)} runs: {sum(is_complete(r, out, data_root) for r in runs)} complete, {len(remaining)} to train"
        + f" ({before} of them because others start from them)" * bool(before))  # fmt: skip
    if not remaining:
        return []
    check_ready(remaining, out, data_root, jobs)
    for run, reason in without_backend(remaining).items():
        log(f"{run.name} will fail, the others not: {reason}")
    queue = _Queue(remaining, log)
    if cluster is not None:
        _on_cluster(queue, out, data_root, cluster, log)
    elif jobs == 1:
        _one_by_one(queue, out, data_root, log)
    else:
        _in_processes(queue, out, data_root, min(jobs, len(remaining)))
    if queue.failures:
        log(f"{len(queue.failures)} runs failed; the others are kept, and the same command goes on from here")
    return list(queue.failures.values())


class _Queue:
    """Runs in order, each handed out once what it starts from is there; for several threads."""

    def __init__(self, runs: list[Run], log: Callable[[str], None]):
        self.failures: dict[Run, str] = {}
        self._waiting, self._open, self._count = list(runs), set(runs), len(runs)
        self._log, self._changed, self.stopped = log, threading.Condition(), False

    def take(self) -> Run | None:
        """The next run; waits until one can start. None when none is left."""
        with self._changed:
            while not (ready := self._ready()) and self._waiting:
                self._changed.wait()
            if not ready:
                return None
            self._waiting.remove(ready[0])
            return ready[0]

    def take_all(self) -> list[Run]:
        """All runs that can start now."""
        with self._changed:
            ready = self._ready()
            self._waiting = [run for run in self._waiting if run not in ready]
        return ready

    def _ready(self) -> list[Run]:
        for run in list(self._waiting):
            if run.weights in self.failures:  # in order, so that all later stages fail too
                self._waiting.remove(run)
                self.finished(run, UserError(f"needs {run.weights.name}, which failed"))
        return [run for run in self._waiting if run.weights not in self._open]

    def finished(self, run: Run, error: BaseException | None = None) -> None:
        with self._changed:
            self._open.remove(run)
            if error is not None:
                self.failures[run] = f"{run.name}: {error}"
            done = self._count - len(self._open)
            self._log(f"({done}/{self._count}) {self.failures.get(run, f'{run.name} complete')}")
            self._changed.notify_all()

    def stop(self) -> None:
        """Hand out no more."""
        with self._changed:
            self.stopped = True
            self._waiting.clear()
            self._changed.notify_all()


def _one_by_one(queue: _Queue, out: Path, data_root: Path | None, log: Callable) -> None:
    while (run := queue.take()) is not None:
        log(f"{run.profile}/{run.name}")
        try:
            execute(run, out, data_root, log=log)
        except Exception as error:  # whatever ended a run ends only that run
            queue.finished(run, error)
        else:
            queue.finished(run)


def _in_processes(queue: _Queue, out: Path, data_root: Path | None, jobs: int) -> None:
    """``jobs`` slots, each with a process and a GPU of its own; a process that is killed costs only its run."""
    cores = _cores()
    gpus = 0 if os.environ.get("GCNLAB_DEVICE") else torch.cuda.device_count()

    pools: dict[int, ProcessPoolExecutor] = {}

    def slot(number: int) -> None:
        start = (max(1, cores // jobs), number % gpus if gpus else None)
        pool = None
        try:
            while (run := queue.take()) is not None:
                for _ in range(2):  # once more if the process was killed: it may have been idle, or too many at work
                    if pool is None:
                        # spawn: forked children of a process that has used OpenMP or CUDA hang
                        context = multiprocessing.get_context("spawn")
                        pool = ProcessPoolExecutor(1, context, initializer=_start_worker, initargs=start)
                        pools[number] = pool
                    try:
                        error = pool.submit(_worker, run, out, data_root).exception()
                    except BrokenProcessPool as broken:
                        error = broken
                    if isinstance(error, KeyboardInterrupt):
                        raise error
                    if queue.stopped or not isinstance(error, BrokenProcessPool):
                        break
                    pool, error = None, RuntimeError("its process was killed twice, perhaps for lack of memory")
                queue.finished(run, error)
        except BaseException:
            queue.stop()
            raise
        finally:
            if pool is not None:
                pool.shutdown(wait=False, cancel_futures=True)

    with ThreadPoolExecutor(jobs) as slots:
        try:
            done, _ = wait([slots.submit(slot, number) for number in range(jobs)], return_when=FIRST_EXCEPTION)
            for ended in done:
                ended.result()
        except BaseException:  # Ctrl-C ends the runs at work, which go on from their checkpoints next time
            queue.stop()
            for pool in pools.values():
                for process in list((pool._processes or {}).values()):
                    process.terminate()
            raise


def _on_cluster(queue: _Queue, out: Path, data_root: Path | None, cluster: dict[str, str], log: Callable) -> None:
    try:
        import submitit
    except ImportError:
        raise UserError("--cluster needs submitit: pip install -e '.[cluster]'") from None
    logs = out / "cluster"
    options = {name: int(value) if value.isdecimal() else value for name, value in cluster.items()}
    try:
        executor = submitit.AutoExecutor(folder=logs, cluster=options.pop("cluster", "slurm"))
        executor.update_parameters(**options)
    except (NameError, RuntimeError, ValueError, TypeError) as error:
        raise UserError(f"--cluster: {' '.join(str(error).split())}") from None
    at_work: dict[Run, submitit.Job] = {}
    while (runs := queue.take_all()) or at_work:
        if runs:
            with executor.batch():
                submitted = [executor.submit(execute, run, out, data_root) for run in runs]
            at_work |= zip(runs, submitted, strict=True)
            log(f"{len(submitted)} jobs submitted; their logs are in {logs}")
        ended = [run for run, job in at_work.items() if job.done()]
        for run in ended:
            queue.finished(run, at_work.pop(run).exception())
        if not ended:
            time.sleep(POLL)
