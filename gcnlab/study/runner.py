"""Many runs: what is complete is skipped, what was interrupted goes on, one failure stops no other run."""

import multiprocessing
import os
import shutil
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import torch

from gcnlab import data
from gcnlab.errors import UserError
from gcnlab.evaluation import count_parameters
from gcnlab.study import results
from gcnlab.study.experiment import execute, is_complete
from gcnlab.study.run import Run, build_model, run_key, weights_file


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


def plan(runs: list[Run], out: Path, data_root: Path | None = None) -> list[list[Run]]:
    """The runs that remain, in waves: each wave needs only earlier ones. Runs that start from others' weights
    bring those along."""
    waves: list[list[Run]] = []
    wanted = [run for run in dict.fromkeys(runs) if not is_complete(run, out, data_root)]
    while wanted:
        waves = [wanted, *([run for run in wave if run not in wanted] for wave in waves)]
        before = [run.weights for run in wanted if isinstance(run.weights, Run)]
        wanted = [b for b in dict.fromkeys(before) if not is_complete(b, out, data_root, with_artefact=True)]
    return [wave for wave in waves if wave]


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
        if needed.crf is not None:
            needed.crf.check_backend()
        for split in ("train", "val"):
            data.samples(needed.data, split, data_root)


def check_ready(runs: list[Run], out: Path, data_root: Path | None = None, jobs: int = 1) -> None:
    """Raise ``UserError`` before any work starts: data or weights missing or damaged, ``out`` not writable or full."""
    check_writable(out)
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
    for run in runs:
        weights_file(run, data_root)
        if run.crf is not None:
            run.crf.check_backend()
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
    waves = plan(runs, out, data_root)
    remaining = [run for wave in waves for run in wave]
    before = len(set(remaining) - set(runs))
    log(f"{len(runs)} runs: {sum(is_complete(r, out, data_root) for r in runs)} complete, {len(remaining)} to train"
        + f" ({before} of them pre-training)" * bool(before))  # fmt: skip
    if not remaining:
        return []
    check_ready(remaining, out, data_root, jobs)
    failures: dict[Run, str] = {}
    done = 0

    guard = threading.Lock()

    def finished(run: Run, error: BaseException | None = None) -> None:
        nonlocal done
        with guard:
            done += 1
            if error is not None:
                failures[run] = f"{run.name}: {error}"
            log(f"({done}/{len(remaining)}) {failures.get(run, f'{run.name} complete')}")

    for wave in waves:
        ready = [run for run in wave if run.weights not in failures]
        for run in wave:
            if run not in ready:
                finished(run, UserError(f"needs {run.weights.name}, which failed"))
        if cluster is not None:
            _on_cluster(ready, out, data_root, cluster, log, finished)
        elif jobs == 1:
            _one_by_one(ready, out, data_root, log, finished)
        elif ready:
            _in_processes(ready, out, data_root, min(jobs, len(ready)), finished)
    if failures:
        log(f"{len(failures)} runs failed; the others are kept, and the same command goes on from here")
    return list(failures.values())


def _one_by_one(runs: list[Run], out: Path, data_root: Path | None, log: Callable, finished: Callable) -> None:
    for run in runs:
        log(f"{run.profile}/{run.name}")
        try:
            execute(run, out, data_root, log=log)
        except Exception as error:  # whatever ended a run ends only that run
            finished(run, error)
        else:
            finished(run)


def _in_processes(runs: list[Run], out: Path, data_root: Path | None, jobs: int, finished: Callable) -> None:
    """``jobs`` slots, each with a process and a GPU of its own; a process that is killed costs only its run."""
    cores = _cores()
    gpus = 0 if os.environ.get("GCNLAB_DEVICE") else torch.cuda.device_count()
    waiting = deque(runs)

    def slot(number: int) -> None:
        start = (max(1, cores // jobs), number % gpus if gpus else None)
        pool = None
        try:
            while True:
                try:
                    run = waiting.popleft()
                except IndexError:
                    return
                if pool is None:
                    # spawn: forked children of a process that has used OpenMP or CUDA hang
                    context = multiprocessing.get_context("spawn")
                    pool = ProcessPoolExecutor(1, context, initializer=_start_worker, initargs=start)
                error = pool.submit(_worker, run, out, data_root).exception()
                if isinstance(error, KeyboardInterrupt):
                    waiting.clear()
                    raise error
                if isinstance(error, BrokenProcessPool):
                    pool, error = None, RuntimeError("its process was killed, perhaps for lack of memory")
                finished(run, error)
        finally:
            if pool is not None:
                pool.shutdown(wait=False, cancel_futures=True)

    with ThreadPoolExecutor(jobs) as slots:
        try:
            for done in [slots.submit(slot, number) for number in range(jobs)]:
                done.result()
        except BaseException:  # Ctrl-C ends the runs at work, which go on from their checkpoints next time
            waiting.clear()
            raise


def _on_cluster(
    runs: list[Run], out: Path, data_root: Path | None, cluster: dict[str, str], log: Callable, finished: Callable
) -> None:
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
    with executor.batch():
        submitted = [executor.submit(execute, run, out, data_root) for run in runs]
    log(f"{len(submitted)} jobs submitted; their logs are in {logs}")
    for run, job in zip(runs, submitted, strict=True):
        finished(run, job.exception())
