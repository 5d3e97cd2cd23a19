"""One run: a frozen config in, one result record out."""

import dataclasses
import hashlib
import json
import os
import platform
import resource
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from gcnlab import data
from gcnlab.data import DataSpec
from gcnlab.errors import UserError
from gcnlab.evaluation.inference import score_segmentation, topk_errors
from gcnlab.models import build_classifier, build_segmenter
from gcnlab.study import results
from gcnlab.training import (
    TRAINING_VERSION,
    Schedule,
    autocast,
    best_precision,
    make_step,
    save_atomically,
    train,
)

SENSITIVITY = (3, 5, 7, 9)  # boundary distances in pixels that every segmentation record reports
UNNAMED = ("resnet152", "squeezenet1_1", "small")  # the profiles' main backbones, which names of runs leave out


@dataclass(frozen=True)
class Run:
    """Everything that decides a result.

    Args:
        profile: name of the profile that the run belongs to; also its folder.
        seed: of weights that are new, of the data order and of the augmentation.
        study: ``segmentation``, or ``pretraining`` (a classifier on ``backbone``; no head).
        head, k, m, refine: the variant (see :func:`gcnlab.models.build_segmenter`).
        weights: what the backbone starts from: None (random), another Run, a torchvision name, or a file below
            the data root.
        boundary_distance: of Table 5, in pixels of the prepared image.
    """

    profile: str
    data: DataSpec
    backbone: str
    schedule: Schedule
    seed: int = 0
    study: str = "segmentation"
    head: str | None = None
    k: int | None = None
    m: int | None = None
    refine: bool = False
    weights: "Run | str | None" = None
    normalization: str = "rgb"
    batch_norm: str = "train"
    boundary_distance: float = 7

    @property
    def variant(self) -> str:
        """Short name, such as ``gcn-k15-br`` or ``conv1x1-on-small_gcn``."""
        if self.study == "pretraining":
            return f"pretraining-{self.backbone}"
        parts = [self.head, f"k{self.k}" if self.k else "", f"m{self.m}" if self.m else "", "br" * self.refine]
        backbone = "" if self.backbone in UNNAMED else f"on-{self.backbone}"
        return "-".join(part for part in (*parts, backbone) if part)

    @property
    def name(self) -> str:
        """The variant and its seed, and that of the pre-training if it is not 0, such as ``gcn-k15-s2``."""
        start = self.weights.seed if isinstance(self.weights, Run) else 0
        return f"{self.variant}-s{self.seed}" + (f"-p{start}" if start else "")

    def config(self) -> dict[str, Any]:
        """The run as JSON values, defaults included."""
        return json.loads(json.dumps(dataclasses.asdict(self)))

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Run":
        """The run of a record's config; a field that a later version added has its default. ``UserError`` for an
        unknown field."""
        try:
            spec = dict(config["data"])
            if spec.get("classes") is not None:
                spec["classes"] = tuple(spec["classes"])
            weights = config.get("weights")
            if isinstance(weights, dict):
                weights = cls.from_config(weights)
            parts = {"data": DataSpec(**spec), "schedule": Schedule(**config["schedule"]), "weights": weights}
            return cls(**{**config, **parts})
        except (KeyError, TypeError) as error:
            raise UserError(f"a run's config is not one of this version of gcnlab: {error}") from None


def _deviations(value: Any) -> Any:
    """What of a config is not its default, so that a field added later leaves the keys of older runs alone.

    A default may therefore never change: a test pins them.
    """
    if not dataclasses.is_dataclass(value):
        return int(value) if isinstance(value, float) and value.is_integer() else value  # 3 and 3.0 are one value
    fields = {field.name: (getattr(value, field.name), field.default) for field in dataclasses.fields(value)}
    return {name: _deviations(own) for name, (own, default) in fields.items() if own != default}


@cache
def _file_digest(path: Path) -> str:
    return hashlib.blake2b(path.read_bytes(), digest_size=8).hexdigest()


def weights_file(run: Run, data_root: Path | None) -> Path | None:
    """The local file that ``run.weights`` names, if it names one; ``UserError`` if it is not there."""
    if not isinstance(run.weights, str) or Path(run.weights).suffix not in (".npz", ".pt", ".pth"):
        return None
    path = run.data.root(data_root) / run.weights
    if not path.is_file():
        raise UserError(f"{path} is missing: profile {run.profile!r} starts from these weights; put them there "
                        "(README, section Weights)")  # fmt: skip
    return path


def _start_digest(run: Run, data_root: Path | None) -> str | None:
    """What the starting weights are: the key of a run, the digest of a file, or None (random or torchvision's)."""
    if isinstance(run.weights, Run):
        return run_key(run.weights, data_root)
    path = weights_file(run, data_root)
    return None if path is None else _file_digest(path)


def run_key(run: Run, data_root: Path | None = None) -> str:
    """12 hex digits from config, data fingerprint, starting weights and training version: same key, same run."""
    start = _start_digest(run, data_root)
    identity = [_deviations(run), data.fingerprint(run.data, data_root), start, TRAINING_VERSION]
    text = json.dumps(identity, sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=6).hexdigest()


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


def build_model(run: Run, weights: Path | str | None = None) -> torch.nn.Module:
    """The untrained model of ``run``, new layers drawn from its seed; ``weights`` replaces ``run.weights``."""
    torch.manual_seed(run.seed)
    num_classes = len(run.data.class_names)
    if run.study == "pretraining":
        return build_classifier(run.backbone, num_classes, run.normalization)
    return build_segmenter(run.head, run.k, run.m, run.refine, run.backbone, num_classes, weights,
                           run.normalization, run.batch_norm)  # fmt: skip


def load_model(run: Run, out: Path, data_root: Path | None = None) -> torch.nn.Module:
    """The trained model of a finished run below ``out``; ``UserError`` if its weights are not there."""
    path = results.weights_path(out, run.profile, run.name, run_key(run, data_root))
    if not path.is_file():
        raise UserError(f"{path} is missing: train this run first (python -m gcnlab run)")
    model = build_model(run)
    model.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    return model.eval()


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
        if is_complete(run, out, data_root, with_weights=True):
            return results.read_record(out, run.profile, run.name, key)
        return _execute(run, key, out, data_root, log)


def is_complete(run: Run, out: Path, data_root: Path | None = None, with_weights: bool = False) -> bool:
    """Whether the record of ``run`` (and its trained weights) is below ``out``."""
    place = (out, run.profile, run.name, run_key(run, data_root))
    return results.record_path(*place).is_file() and (not with_weights or results.weights_path(*place).is_file())


def _execute(run: Run, key: str, out: Path, data_root: Path | None, log: Callable[[str], None]) -> dict[str, Any]:
    origin, device = provenance(), pick_device()
    precision = best_precision(device)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    start: Path | str | None = weights_file(run, data_root)
    if isinstance(run.weights, Run):
        before = run.weights
        start = results.weights_path(out, before.profile, before.name, run_key(before, data_root))
    elif start is None:
        start = run.weights
    model = build_model(run, start)
    training, validation = (data.load(run.data, split, data_root) for split in ("train", "val"))
    num_classes, schedule = len(run.data.class_names), run.schedule
    context = autocast(device, precision)

    def in_order():
        return validation.in_order(schedule.batch_size)

    if run.study == "pretraining":

        def brief(model):
            top1, top5 = topk_errors(model, in_order(), (1, 5), context)
            return {"top1_error": top1, "top5_error": top5}
    else:

        def brief(model):
            return {"miou": score_segmentation(model, in_order(), num_classes, (), context)[0].miou()}

    step = make_step(model, num_classes, schedule, device, precision)
    checkpoint = results.checkpoint_path(out, run.profile, key)
    progress = train(
        step,
        lambda first, last: training.shuffled(schedule.batch_size, run.seed, first, last),
        brief,
        checkpoint,
        log=log,
    )
    if run.study == "pretraining":
        metrics: dict[str, Any] = brief(model)
    else:
        distances = sorted({*SENSITIVITY, run.boundary_distance})
        confusion, boundary = score_segmentation(model, in_order(), num_classes, distances, context)
        metrics = {
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
                for d in distances
            },
            "pixels": boundary.pixels(),
        }
    last = {name: value for name, value in metrics.items() if name in ("miou", "top1_error", "top5_error")}
    metrics["counts"] = data.counts(run.data, data_root)
    save_atomically(model.state_dict(), results.weights_path(out, run.profile, run.name, key))
    record = {
        "key": key,
        "name": run.name,
        "config": run.config(),
        "metrics": metrics,
        "history": [*progress["history"], {"step": schedule.steps, **last}],
        "data": {
            "fingerprint": data.fingerprint(run.data, data_root),
            "subset": data.is_subset(run.data, data_root),
        },
        "weights": _start_digest(run, data_root),
        "seconds": round(progress["seconds"], 1),
        "peak_memory": _peak_memory(device),
        "device": _device_name(device),
        "precision": precision,
        "training_version": TRAINING_VERSION,
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        **origin,
    }
    results.write_record(record, out)
    checkpoint.unlink(missing_ok=True)
    return record
