"""A run: everything that decides a result, frozen, and the key that names it."""

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch

from gcnlab import data
from gcnlab.data import DataSpec
from gcnlab.errors import UserError
from gcnlab.evaluation.crf import Crf, Pairwise
from gcnlab.evaluation.inference import TestTime
from gcnlab.models import build_classifier, build_segmenter
from gcnlab.study import results
from gcnlab.training import TRAINING_VERSION, Schedule

UNNAMED = ("resnet152", "squeezenet1_1", "small")  # the profiles' main backbones, which names of runs leave out


@dataclass(frozen=True)
class Run:
    """Everything that decides a result.

    Args:
        profile: name of the profile that the run belongs to; also its folder.
        seed: of weights that are new, of the data order and of the augmentation.
        study: ``segmentation``; ``pretraining`` (a classifier on ``backbone``; no head); or ``evaluation`` (nothing
            is trained: ``weights`` is the Run that is measured with ``test_time``, or whose saved probabilities
            are refined by ``crf``).
        head, k, m, refine: the variant (see :func:`gcnlab.models.build_segmenter`).
        weights: what training starts from: None (random), another Run (a classifier gives its backbone, a segmenter
            everything), a torchvision name, or a file below the data root.
        boundary_distance: of Table 5, in pixels of the prepared image.
        test_time: how images are looked at when the model is measured; None: once, whole, as they are.
        crf: refines the probabilities that the evaluation ``weights`` has saved.
        label: tells runs of one variant apart in their names, such as ``voc-stage-1``.
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
    test_time: TestTime | None = None
    crf: Crf | None = None
    label: str = ""

    @property
    def variant(self) -> str:
        """Short name, such as ``gcn-k15-br`` or ``conv1x1-on-small_gcn``."""
        if self.study == "pretraining":
            return f"pretraining-{self.backbone}"
        parts = [self.head, f"k{self.k}" if self.k else "", f"m{self.m}" if self.m else "", "br" * self.refine]
        parts.append(self.label)
        backbone = "" if self.backbone in UNNAMED else f"on-{self.backbone}"
        return "-".join(part for part in (*parts, backbone) if part)

    @property
    def name(self) -> str:
        """The variant and its seed, and that of the pre-training if it is not 0, such as ``gcn-k15-s2``."""
        start = self.weights.seed if self.starts_from_classifier else 0
        return f"{self.variant}-s{self.seed}" + (f"-p{start}" if start else "")

    @property
    def starts_from_classifier(self) -> bool:
        return isinstance(self.weights, Run) and self.weights.study == "pretraining"

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
            if config.get("test_time") is not None:
                how = config["test_time"]
                parts["test_time"] = TestTime(**{**how, "scales": tuple(how["scales"])})
            if config.get("crf") is not None:
                crf = config["crf"]
                parts["crf"] = Crf(**{**crf, "candidates": tuple(Pairwise(**c) for c in crf["candidates"])})
            return cls(**{**config, **parts})
        except (KeyError, TypeError) as error:
            raise UserError(f"a run's config is not one of this version of gcnlab: {error}") from None


def _deviations(value: Any) -> Any:
    """What of a config is not its default, so that a field added later leaves the keys of older runs alone.

    A default may therefore never change: a test pins them.
    """
    if isinstance(value, tuple):
        return [_deviations(item) for item in value]
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


def start_digest(run: Run, data_root: Path | None) -> str | None:
    """What the starting weights are: the key of a run, the digest of a file, or None (random or torchvision's)."""
    if isinstance(run.weights, Run):
        return run_key(run.weights, data_root)
    path = weights_file(run, data_root)
    return None if path is None else _file_digest(path)


def run_key(run: Run, data_root: Path | None = None) -> str:
    """12 hex digits from config, data fingerprint, starting weights and training version: same key, same run."""
    start = start_digest(run, data_root)
    identity = [_deviations(run), data.fingerprint(run.data, data_root), start, TRAINING_VERSION]
    text = json.dumps(identity, sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=6).hexdigest()


def artefact(run: Run, out: Path, data_root: Path | None = None) -> Path | None:
    """What a finished run leaves for those that build on it: the file of its weights, or, of an evaluation, the folder
    of its saved probabilities (None after a CRF)."""
    if run.crf is not None:
        return None
    path = results.scores_path if run.study == "evaluation" else results.weights_path
    return path(out, run.profile, run.name, run_key(run, data_root))


def build_model(run: Run, weights: Path | str | None = None) -> torch.nn.Module:
    """The untrained model of ``run``, new layers drawn from its seed; ``weights`` replaces ``run.weights``."""
    torch.manual_seed(run.seed)
    num_classes = len(run.data.class_names)
    if run.study == "pretraining":
        return build_classifier(run.backbone, num_classes, run.normalization)
    return build_segmenter(run.head, run.k, run.m, run.refine, run.backbone, num_classes, weights,
                           run.normalization, run.batch_norm)  # fmt: skip


def load_model(run: Run, out: Path, data_root: Path | None = None) -> torch.nn.Module:
    """The trained model of a finished run below ``out``; ``UserError`` if its weights are not there or damaged."""
    return load_weights(run, artefact(run, out, data_root))


def load_weights(run: Run, path: Path) -> torch.nn.Module:
    """The model of ``run`` with the weights of the file ``path``, in evaluation mode."""
    if not path.is_file():
        raise UserError(f"{path} is missing: train this run first (python -m gcnlab run); if its record is there, "
                        "as in the committed study, which has no weights, name another folder of runs")  # fmt: skip
    model = build_model(run)
    try:
        model.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    except Exception as error:  # torch raises many kinds for a damaged or foreign file
        reason = " ".join(repr(error).split())[:120]
        raise UserError(f"{path} is damaged ({reason}): delete it and train this run again") from None
    return model.eval()
