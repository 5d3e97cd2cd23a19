"""Made-up records: as ``execute`` writes them, with scores that follow from their counts."""

from dataclasses import replace
from hashlib import blake2b

import numpy as np

from gcnlab.experiments import records
from gcnlab.experiments.config import CrfEvaluation, Evaluation, PreTraining, Run, to_json
from gcnlab.experiments.profiles import get
from gcnlab.experiments.records import FORMAT
from gcnlab.experiments.store import EVALUATION_VERSION
from gcnlab.training import TRAINING_VERSION

SYNTHETIC, PHOTOS, SMOKE = get("synthetic"), get("photos"), get("smoke")
ALONE = replace(SMOKE.template, head="gcn", k=3, start=None)  # a run that starts from no other
DAY = "2026-12-01T00:00:00+00:00"
PIXELS, IMAGES = 250_000, 4  # of each class on each image


def silent(_):
    """A log that nobody reads."""


class Stripes:
    """Stands in for a Predictor: every class in turn; counts its calls, and may stop after some."""

    def __init__(self, run, last=None):
        self.run, self.calls, self.last = run, 0, last

    def __call__(self, image):
        if self.calls == self.last:
            raise KeyboardInterrupt
        self.calls += 1
        red, count = np.array(image)[..., 0], len(self.run.data.source.classes)
        ids = 7 * (np.indices(red.shape).sum(0) // 3 + red // 128) % count
        return ids.astype(np.uint8 if count <= 256 else np.uint16)


def key_of(run, *what, size=6):
    return blake2b(repr((run, what)).encode(), digest_size=size).hexdigest()


def weights_of(run):
    return key_of(run, "weights", size=16)


def _start(run):
    if not isinstance(run.start, Run):
        return run.start
    return key_of(run.start) if isinstance(run.start, Evaluation) else weights_of(run.start)


def _segmentation(run, miou, boundary, internal):
    """Metrics and counts: of each class some pixels are right, the others taken for the next."""
    names = run.data.class_names
    share = 2 * miou / (1 + miou)  # hits = share · pixels gives IoU = share / (2 − share)
    hits = [round(PIXELS * min(1, share * (1 + e))) for e in (-0.01, 0.01, -0.005, 0.005)]
    n, total = len(names), PIXELS * IMAGES
    rows = [[0] * n for _ in names]
    for i in range(n):
        rows[i][(i + 1) % n] = total - sum(hits)
        rows[i][i] += sum(hits)
    iou = sum(hits) / (2 * total - sum(hits))
    region = {f"{d:g}": round(20_000 * d) for d in {3, 5, 7, 9, run.training.boundary_distance}}
    counts = {d: [round(boundary * pixels), pixels] for d, pixels in region.items()}
    near, near_all = counts[f"{run.training.boundary_distance:g}"]
    right, inside = round(internal * 800_000), 800_000
    return {
        "metrics": {
            "miou": iou,
            "iou": dict.fromkeys(names, iou),
            "pixel_accuracy": sum(hits) / total,
            "boundary_accuracy": near / near_all,
            "internal_accuracy": right / inside,
        },
        "counts": {
            "confusion": [" ".join(map(str, row)) for row in rows],
            "boundary": {"all": [near + right, near_all + inside]} | counts,
            "per_image": [" ".join(f"{i} {h} {PIXELS} {PIXELS}" for i in range(n)) for h in hits],
        },
    }


def made(
    run, miou=0.5, boundary=0.6, internal=0.9, loss=1.0, finished=DAY, identity=None, **changes
):
    """A record of ``run`` with scores in [0, 1]; a classifier has the top-1 error 1 − ``miou``.

    ``identity`` is merged into the record's own, ``changes`` replace whole entries.
    """
    own = {"data": key_of(run.data, size=8), "start": _start(run), "device": "cpu",
           "precision": "float32", "threads": 1, "training_version": TRAINING_VERSION}  # fmt: skip
    images = {split: run.data.source.official_counts[split] for split in ("train", "val")}
    environment = {"device": "CPU (x86_64)", "commit": "0" * 40, "dirty": False, "versions": {},
                   "finished": finished, "seconds": 1.5, "peak_memory": 10**9}  # fmt: skip
    record = {"format": FORMAT, "kind": run.kind, "key": key_of(run, finished), "name": run.name,
              "config": to_json(run), "identity": own | (identity or {}),
              "evaluation_version": EVALUATION_VERSION, "images": images,
              "environment": environment, "weights": weights_of(run)}  # fmt: skip
    if isinstance(run, Evaluation):
        record["key"] = key_of(run)  # what a CRF names as its start
    if isinstance(run, PreTraining):
        wrong = {"top1_wrong": round(1e6 * (1 - miou)), "top5_wrong": round(5e5 * (1 - miou))}
        errors = {f"top{n}_error": wrong[f"top{n}_wrong"] / 1e6 for n in (1, 5)}
        record |= {"metrics": errors, "counts": wrong | {"images": 10**6}}
        record["history"] = [{"step": run.schedule.steps, "loss": loss, "top1_error": 1 - miou}]
    else:
        record |= _segmentation(run, miou, boundary, internal)
        steps = [run.training.schedule.steps * i // 10 for i in range(1, 11)]
        record["history"] = [{"step": s, "loss": loss, "miou": miou} for s in steps]
        record["metrics"]["training_miou"] = min(1.0, miou + 0.1)
        record["counts"]["training_confusion"] = record["counts"]["confusion"]
        record["kernel"] = None
    if isinstance(run, Evaluation | CrfEvaluation):
        record["metrics"].pop("training_miou")
        record["counts"].pop("training_confusion")
        record.pop("kernel")
        record |= {"history": [], "weights": None}
    if isinstance(run, CrfEvaluation):
        record["crf"] = {
            "backend": run.crf.backend,
            "version": None,
            "chosen": {},
            "training_miou": [],
        }
    return record | changes


def study(scores, seeds=range(6), profile=SYNTHETIC, own=0.3, shared=2.0):
    """Records of every variant of ``scores`` for ``seeds``.

    ``scores``: variant → mIoU or (mIoU, boundary, internal accuracy), in percent. A seed moves all
    variants together by up to ``shared`` points, and each by up to ``own`` points of its own.
    """
    made_up = []
    for number, (variant, values) in enumerate(scores.items()):
        values = values if isinstance(values, tuple) else (values, 70, 90)
        for seed in seeds:
            luck = shared * ((seed * 3) % 7 - 3) / 3
            shifts = [own * ((seed * 5 + 2 * number + i) % 7 - 3) / 3 for i in range(3)]
            shifts[0] += luck
            shifted = [(value + shift) / 100 for value, shift in zip(values, shifts, strict=True)]
            made_up.append(made(variant.config(profile, seed), *shifted))
    return made_up


def save(record, out, profile="synthetic"):
    """Write a made-up record where a study below ``out`` has it; returns its path."""
    path = out / profile / "runs" / f"{record['name']}-{record['key']}.json"
    records.write(record, path)
    return path
