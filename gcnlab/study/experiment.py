"""One run: a frozen config in, one result record out."""

import dataclasses
import os
import platform
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gcnlab import data
from gcnlab.evaluation import BoundaryAccuracy, ConfusionMatrix
from gcnlab.evaluation.crf import Pairwise, dense_crf
from gcnlab.evaluation.inference import TestTime, probabilities, score_predictions, score_segmentation, topk_errors
from gcnlab.study import results
from gcnlab.study.run import Run, artefact, build_model, load_model, run_key, start_digest, weights_file
from gcnlab.training import TRAINING_VERSION, autocast, best_precision, make_step, save_atomically, train

SENSITIVITY = (3, 5, 7, 9)  # boundary distances in pixels that every segmentation record reports
TUNING_IMAGES = 20  # training images on which the parameters of a CRF are chosen


@cache
def provenance() -> dict[str, Any]:
    """Commit and versions of this process, read once, before the code on disk can change under it."""
    package = Path(__file__).resolve().parent.parent

    def git(*arguments: str) -> str | None:
        command = ["git", "-C", str(package), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        return done.stdout.strip() if done.returncode == 0 else None

    commit, changes = None, None
    try:
        top = git("rev-parse", "--show-toplevel")
        if top is not None and Path(top).resolve() == package.parent:  # and not a repository around an installation
            commit, changes = git("rev-parse", "HEAD"), git("status", "--porcelain", "--", ".")
    except OSError:
        pass  # no git on this machine
    libraries = ("torchvision", "numpy", "scipy", "pillow")
    # torch's own string tells a CPU from a CUDA build
    versions = {"python": platform.python_version(), "gcnlab": version("gcnlab"), "torch": str(torch.__version__)}
    return {
        "commit": commit,
        "dirty": None if changes is None else bool(changes),
        "versions": versions | {name: version(name) for name in libraries},
    }


def _device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"CPU ({platform.machine()}, {torch.get_num_threads()} threads)"


def _peak_memory(device: torch.device) -> int:
    """Bytes: of the GPU's allocator, or of this process so far (an upper bound if it has run others before)."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def pick_device() -> torch.device:
    """``$GCNLAB_DEVICE``, else the first GPU, else the CPU."""
    return torch.device(os.environ.get("GCNLAB_DEVICE") or ("cuda" if torch.cuda.is_available() else "cpu"))


def execute(run: Run, out: Path, data_root: Path | None = None, log: Callable[[str], None] = print) -> dict[str, Any]:
    """Train and measure ``run`` and write its record below ``out``; resumes an interrupted attempt.

    A run whose ``weights`` are another Run needs that one finished (the runner sees to it). The record is written
    last and atomically: nothing else says that a run is complete. If another process is at the same run, this one
    waits for it and returns its record.
    """
    key = run_key(run, data_root)
    with results.lock(out, run.profile, key):
        if is_complete(run, out, data_root, with_artefact=True):
            return results.read_record(out, run.profile, run.name, key)
        origin, device = provenance(), pick_device()
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        work = _train if run.study != "evaluation" else _evaluate if run.crf is None else _refine
        record = {
            "key": key,
            "name": run.name,
            "config": run.config(),
            **work(run, out, data_root, device, log),
            "data": {"fingerprint": data.fingerprint(run.data, data_root)},
            "weights": start_digest(run, data_root),
            "peak_memory": _peak_memory(device),
            "device": _device_name(device),
            "precision": best_precision(device),
            "training_version": TRAINING_VERSION,
            "finished": datetime.now(UTC).isoformat(timespec="seconds"),
            **origin,
        }
        record["metrics"]["counts"] = data.counts(run.data, data_root)
        results.write_record(record, out)
        results.checkpoint_path(out, run.profile, key).unlink(missing_ok=True)
        return record


def is_complete(run: Run, out: Path, data_root: Path | None = None, with_artefact: bool = False) -> bool:
    """Whether the record of ``run`` (and what it leaves for others, see :func:`artefact`) is below ``out``."""
    record = results.record_path(out, run.profile, run.name, run_key(run, data_root))
    left = artefact(run, out, data_root) if with_artefact else None
    return record.is_file() and (left is None or left.exists())


def _train(run: Run, out: Path, data_root: Path | None, device: torch.device, log: Callable) -> dict[str, Any]:
    start: Path | str | None = weights_file(run, data_root)
    if isinstance(run.weights, Run):
        start = artefact(run.weights, out, data_root)
    elif start is None:
        start = run.weights
    model = build_model(run, start)
    training, validation = (data.load(run.data, split, data_root) for split in ("train", "val"))
    num_classes, schedule, precision = len(run.data.class_names), run.schedule, best_precision(device)
    context = autocast(device, precision)

    def in_order():
        return validation.in_order(schedule.batch_size)

    if run.study == "pretraining":

        def brief(model):
            top1, top5 = topk_errors(model, in_order(), (1, 5), context)
            return {"top1_error": top1, "top5_error": top5}
    else:

        def brief(model):
            scores = score_segmentation(model, in_order(), num_classes, (), context, run.test_time)
            return {"miou": scores[0].miou()}

    step = make_step(model, num_classes, schedule, device, precision)
    progress = train(
        step,
        lambda first, last: training.shuffled(schedule.batch_size, run.seed, first, last),
        brief,
        results.checkpoint_path(out, run.profile, run_key(run, data_root)),
        log=log,
    )
    if run.study == "pretraining":
        metrics: dict[str, Any] = brief(model)
    else:
        scores = score_segmentation(model, in_order(), num_classes, _distances(run), context, run.test_time)
        metrics = _metrics(run, *scores)
    last = {name: value for name, value in metrics.items() if name in ("miou", "top1_error", "top5_error")}
    save_atomically(model.state_dict(), artefact(run, out, data_root))
    history = [*progress["history"], {"step": schedule.steps, **last}]
    return {"metrics": metrics, "history": history, "seconds": round(progress["seconds"], 1)}


def _distances(run: Run) -> list[float]:
    return sorted({*SENSITIVITY, run.boundary_distance})


def _metrics(run: Run, confusion: ConfusionMatrix, boundary: BoundaryAccuracy) -> dict[str, Any]:
    """What a record says of a segmenter: scores in [0, 1]."""
    return {
        "miou": confusion.miou(),
        "iou": dict(zip(run.data.class_names, confusion.iou().tolist(), strict=True)),
        "pixel_accuracy": confusion.pixel_accuracy(),
        "boundary_accuracy": boundary.boundary(run.boundary_distance),
        "internal_accuracy": boundary.internal(run.boundary_distance),
        "boundary_sensitivity": {
            f"{d:g}": {
                "boundary_accuracy": boundary.boundary(d),
                "internal_accuracy": boundary.internal(d),
                "boundary_share": boundary.boundary_pixels(d) / max(1, boundary.pixels()),
            }
            for d in _distances(run)
        },
        "pixels": boundary.pixels(),
    }


def _evaluate(run: Run, out: Path, data_root: Path | None, device: torch.device, log: Callable) -> dict[str, Any]:
    """Measure a trained model with ``run.test_time``; keep the probabilities of val, and of some training images."""
    started = time.monotonic()
    model = load_model(run.weights, out, data_root).to(device, memory_format=torch.channels_last)
    context = autocast(device, best_precision(device))
    folder = artefact(run, out, data_root)
    work = folder.with_name(f".writing-{folder.name}")
    shutil.rmtree(work, ignore_errors=True)  # of a process that was killed; the lock keeps others away
    work.mkdir(parents=True)
    how = run.test_time or TestTime()

    def pairs(split: str, numbers: Sequence[int]) -> Iterator[tuple[Any, Any]]:
        """Predictions and labels, saving the probabilities on the way."""
        (work / split).mkdir()
        loaded = data.load(run.data, split, data_root)
        size = run.schedule.batch_size
        batches = loaded.batches(iter([numbers[i : i + size] for i in range(0, len(numbers), size)]),
                                 loaded.__getitem__)  # fmt: skip
        done = 0
        for images, labels, sizes in batches:
            found = probabilities(model, images, how, context)
            for scores, label, (height, width) in zip(found, labels, sizes, strict=True):
                scores = scores[:, :height, :width].numpy().astype(np.float16)
                np.save(work / split / f"{numbers[done]}.npy", scores)
                done += 1
                yield scores.argmax(0), label[:height, :width]

    try:
        validation = range(len(data.load(run.data, "val", data_root)))
        log(f"{run.name}: {len(validation)} images at scales {', '.join(f'{s:g}' for s in how.scales)}")
        metrics = _metrics(
            run, *score_predictions(pairs("val", validation), len(run.data.class_names), _distances(run))
        )
        for _ in pairs("train", _tuning_images(run, data_root)):
            pass
        shutil.rmtree(folder, ignore_errors=True)
        work.rename(folder)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return _measured(metrics, started)


def _measured(metrics: dict[str, Any], started: float, **more: Any) -> dict[str, Any]:
    history = [{"step": 0, "miou": metrics["miou"]}]
    return {"metrics": metrics, "history": history, "seconds": round(time.monotonic() - started, 1), **more}


def _tuning_images(run: Run, data_root: Path | None) -> list[int]:
    """The training images on which CRF parameters are chosen: evenly spaced over the list."""
    count = len(data.samples(run.data, "train", data_root))
    return sorted({int(i) for i in np.linspace(0, count - 1, min(TUNING_IMAGES, count))})


def _refine(run: Run, out: Path, data_root: Path | None, device: torch.device, log: Callable) -> dict[str, Any]:
    """Apply the CRF to saved probabilities, with the kernels that score best on the training images."""
    started = time.monotonic()
    run.crf.check_backend()
    folder = artefact(run.weights, out, data_root)
    num_classes = len(run.data.class_names)

    def pairs(split: str, numbers: Sequence[int], kernels: Pairwise) -> Iterator[tuple[Any, Any]]:
        loaded = data.load(run.data, split, data_root)

        def one(number: int) -> tuple[Any, Any]:
            image, label, (height, width) = loaded[number]
            pixels = image[:, :height, :width].permute(1, 2, 0).numpy()
            scores = np.load(folder / split / f"{number}.npy", allow_pickle=False).astype(np.float32)
            refined = dense_crf(scores, pixels, kernels, run.crf.backend, run.crf.iterations)
            return refined.argmax(0), label[:height, :width]

        return map(one, numbers)

    tuned, images = [], _tuning_images(run, data_root)
    for kernels in run.crf.candidates if len(run.crf.candidates) > 1 else ():
        confusion, _ = score_predictions(pairs("train", images, kernels), num_classes)
        tuned.append(confusion.miou())
        log(f"{run.name}: mIoU {tuned[-1]:.4f} on {len(images)} training images with {kernels}")
    chosen = run.crf.candidates[int(np.argmax(tuned)) if tuned else 0]
    validation = range(len(data.load(run.data, "val", data_root)))
    scores = score_predictions(pairs("val", validation, chosen), num_classes, _distances(run))
    crf = {
        "backend": run.crf.backend,
        "version": run.crf.version(),
        "chosen": dataclasses.asdict(chosen),
        "training_miou": tuned,
    }
    return _measured(_metrics(run, *scores), started, crf=crf)
