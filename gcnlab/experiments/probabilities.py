"""Runs that train nothing: test-time augmentation, and a CRF on the probabilities that it keeps."""

import dataclasses
import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gcnlab import data, files
from gcnlab.evaluation.crf import Pairwise, dense_crf
from gcnlab.evaluation.inference import probabilities, score_predictions
from gcnlab.experiments.building import trained_model
from gcnlab.experiments.config import CrfEvaluation, Evaluation
from gcnlab.experiments.environment import pick_device
from gcnlab.experiments.measuring import (
    batches_of,
    distances,
    evenly_spaced,
    from_counts,
    inference_context,
)
from gcnlab.experiments.store import Store

TUNING_IMAGES = 20  # training images on which the parameters of a CRF are chosen

Pairs = Iterator[tuple[np.ndarray, np.ndarray]]


def evaluate(run: Evaluation, store: Store, log: Callable[[str], None]) -> dict[str, Any]:
    """Measure a trained model with ``run.test_time``; keep its probabilities on val and tuning
    images."""
    total = len(data.samples(run.data, "val", store.data_root))
    scales = ", ".join(f"{scale:g}" for scale in run.test_time.scales)
    log(f"{run.name}: {total} images at scales {scales}")
    with files.whole_folder(store.output(run)) as work:  # others are kept away by the run's lock
        scored = score_predictions(
            _predicted(run, store, "val", None, work),
            len(run.data.class_names),
            distances(run.training),
        )
        for _ in _predicted(run, store, "train", TUNING_IMAGES, work):
            pass
    return {"weights": None, "history": [], **from_counts(scored, run.training)}


def _predicted(run: Evaluation, store: Store, split: str, most: int | None, work: Path) -> Pairs:
    """Predictions and labels of ``most`` images; saves the probabilities on the way."""
    model = trained_model(run.start, store).to(pick_device(), memory_format=torch.channels_last)
    context = inference_context()
    (work / split).mkdir(parents=True)
    numbers = iter(evenly_spaced(most, len(data.samples(run.data, split, store.data_root))))
    for images, labels, sizes in batches_of(run.data, split, store, most):
        batch = probabilities(model, images, run.test_time, context)
        for scores, label, (height, width) in zip(batch, labels, sizes, strict=True):
            scores = scores[:, :height, :width].numpy().astype(np.float16)
            content = io.BytesIO()  # on a full disk, numpy's own writing to a file does not say so
            np.save(content, scores)
            (work / split / f"{next(numbers)}.npy").write_bytes(content.getvalue())
            yield scores.argmax(0), label[:height, :width]


def refine(run: CrfEvaluation, store: Store, log: Callable[[str], None]) -> dict[str, Any]:
    """Apply the CRF to kept probabilities, with the kernels that score best on the tuning
    images."""
    run.crf.check_backend()
    classes, candidates, tuned = len(run.data.class_names), run.crf.candidates, []
    for kernels in candidates if len(candidates) > 1 else ():
        scored = score_predictions(_refined(run, store, "train", TUNING_IMAGES, kernels), classes)
        tuned.append(scored.confusion.miou())
        images = f"{len(scored.images)} training images"
        log(f"{run.name}: mIoU {tuned[-1]:.4f} on {images} with {kernels}")
    chosen = candidates[int(np.argmax(tuned)) if tuned else 0]
    refined = _refined(run, store, "val", None, chosen)
    scored = score_predictions(refined, classes, distances(run.training))
    crf = {
        "backend": run.crf.backend,
        "version": run.crf.version(),
        "chosen": dataclasses.asdict(chosen),
        "training_miou": tuned,
    }
    return {"weights": None, "history": [], **from_counts(scored, run.training), "crf": crf}


def _refined(
    run: CrfEvaluation, store: Store, split: str, most: int | None, kernels: Pairwise
) -> Pairs:
    folder, loaded = store.output(run.start) / split, data.load(run.data, split, store.data_root)
    for number in evenly_spaced(most, len(loaded)):
        image, label, (height, width) = loaded[number]
        pixels = image[:, :height, :width].permute(1, 2, 0).numpy()
        scores = np.load(folder / f"{number}.npy", allow_pickle=False).astype(np.float32)
        refined = dense_crf(scores, pixels, kernels, run.crf.backend, run.crf.iterations)
        yield refined.argmax(0), label[:height, :width]
