"""Many runs: what is complete is skipped, what was interrupted goes on, one failure stops no other run."""

import multiprocessing
import os
import shutil
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

import torch

from gcnlab import data
from gcnlab.errors import UserError
from gcnlab.evaluation import count_parameters
from gcnlab.study import results
from gcnlab.study.experiment import Run, build_model, execute, run_key, weights_file


def is_complete(run: Run, out: Path, data_root: Path | None = None, with_weights: bool = False) -> bool:
    """Whether the record of ``run`` (and its trained weights) is below ``out``."""
    place = (out, run.profile, run.name, run_key(run, data_root))
    return results.record_path(*place).is_file() and (not with_weights or results.weights_path(*place).is_file())


def is_interrupted(run: Run, out: Path, data_root: Path | None = None) -> bool:
    """Whether a checkpoint of ``run`` waits to be resumed."""
    return results.checkpoint_path(out, run.profile, run_key(run, data_root)).is_file()


def plan(runs: list[Run], out: Path, data_root: Path | None = None) -> list[list[Run]]:
    """The runs that remain, in waves: each wave needs only earlier ones. Runs that start from others' weights
    bring those along."""
    waves: list[list[Run]] = []
    wanted = [run for run in dict.fromkeys(runs) if not is_complete(run, out, data_root)]
    while wanted:
        waves.insert(0, wanted)
        before = [run.weights for run in wanted if isinstance(run.weights, Run)]
        wanted = [b for b in dict.fromkeys(before) if not is_complete(b, out, data_root, with_weights=True)]
    return waves


def check_ready(runs: list[Run], out: Path, data_root: Path | None = None) -> None:
    """Raise ``UserError`` before any work starts: data or weights missing, ``out`` not writable or too full."""
    for run in runs:
        weights_file(run, data_root)
    for spec in dict.fromkeys(run.data for run in runs):
        data.fingerprint(spec, data_root)  # reads every file
    try:
        out.mkdir(parents=True, exist_ok=True)
        probe = out / f".writable-{os.getpid()}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise UserError(f"--out {out} cannot be written ({error.strerror}): choose another folder") from None
    # Every run keeps its weights; one at a time also keeps a checkpoint with two moments per weight.
    with torch.device("meta"):
        sizes = [4 * count_parameters(build_model(run)) for run in runs]
    needed = sum(sizes) + 4 * max(sizes, default=0) + (64 << 20)
    free = shutil.disk_usage(out).free
    if free < needed:
        raise UserError(f"--out {out} has {free / 1e9:.1f} GB free and these runs need {needed / 1e9:.1f} GB: "
                        "free some space or choose another folder")  # fmt: skip


def _worker(run: Run, out: Path, data_root: Path | None, threads: int, gpu: int | None) -> None:
    if gpu is not None:
        os.environ["GCNLAB_DEVICE"] = f"cuda:{gpu}"
    torch.set_num_threads(threads)
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
    log(f"{len(runs)} runs: {sum(is_complete(r, out, data_root) for r in runs)} complete, {len(remaining)} to train")
    if not remaining:
        return []
    check_ready(remaining, out, data_root)
    failures: dict[Run, str] = {}
    done = 0

    def finished(run: Run, error: BaseException | None = None) -> None:
        nonlocal done
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
        else:
            _in_processes(ready, out, data_root, jobs, finished)
    if failures:
        log(f"{len(failures)} runs failed; the others are kept, and the same command goes on from here")
    return list(failures.values())


def _one_by_one(runs: list[Run], out: Path, data_root: Path | None, log: Callable, finished: Callable) -> None:
    for run in runs:
        log(f"{run.profile}/{run.name}")
        try:
            execute(run, out, data_root, log=log)
        except (UserError, RuntimeError, ValueError, OSError) as error:
            finished(run, error)
        else:
            finished(run)


def _in_processes(runs: list[Run], out: Path, data_root: Path | None, jobs: int, finished: Callable) -> None:
    threads, gpus = max(1, (os.cpu_count() or 1) // jobs), torch.cuda.device_count()
    # spawn: forked children of a process that has used OpenMP or CUDA hang
    with ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("spawn")) as pool:
        futures = {
            pool.submit(_worker, run, out, data_root, threads, i % gpus if gpus else None): run
            for i, run in enumerate(runs)
        }
        for future in as_completed(futures):
            finished(futures[future], future.exception())


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
