"""A run as data: one frozen config per kind of run, as JSON and back."""

from dataclasses import MISSING, dataclass, fields, is_dataclass
from functools import cache, partial
from types import UnionType
from typing import Any, ClassVar, Union, get_args, get_origin, get_type_hints

from gcnlab.data import DataSpec
from gcnlab.errors import UserError
from gcnlab.evaluation.crf import Crf, Pairwise
from gcnlab.evaluation.inference import TestTime
from gcnlab.training import Schedule


class _Named:
    """``name`` says which run of a profile it is: its variant and its seed."""

    @property
    def name(self) -> str:
        return f"{self.variant}-s{self.seed}"


@dataclass(frozen=True)
class PreTraining(_Named):
    """A classifier is trained, whose backbone segmenters start from (Table 6).

    Args:
        profile: the profile that the run belongs to; also its folder.
        seed: of the initial weights, the order of the data and the augmentation.
    """

    kind: ClassVar[str] = "pre-training"
    start: ClassVar[None] = None

    profile: str
    data: DataSpec
    backbone: str
    schedule: Schedule
    seed: int = 0
    normalization: str = "rgb"

    @property
    def variant(self) -> str:
        return f"pretraining-{self.backbone}"


@dataclass(frozen=True)
class Training(_Named):
    """A segmenter is trained and measured.

    Args:
        profile: the profile that the run belongs to; also its folder.
        head, k, m, refine: the variant (see :func:`gcnlab.models.build_segmenter`).
        seed: of weights that are new, the order of the data and the augmentation.
        start: what it is initialised from: None (random); a pre-training (its backbone); another
            training (everything); a torchvision name; or a file below the data root.
        boundary_distance: of Table 5, in pixels of the prepared image.
        test_time: how images are looked at when the model is measured; None: once, whole.
        label: tells runs of one variant apart in their names, such as ``voc-stage-1``.
        quiet: the scores start at zero, so that the loss starts low on every backbone.
    """

    kind: ClassVar[str] = "training"

    profile: str
    data: DataSpec
    backbone: str
    schedule: Schedule
    head: str
    k: int | None = None
    m: int | None = None
    refine: bool = False
    seed: int = 0
    start: "PreTraining | Training | str | None" = None
    normalization: str = "rgb"
    batch_norm: str = "train"
    boundary_distance: float = 7
    test_time: TestTime | None = None
    label: str = ""
    quiet: bool = False

    @property
    def variant(self) -> str:
        """Short name, such as ``gcn-k15-br`` or ``conv1x1-on-small_gcn``."""
        parts = [self.head, f"k{self.k}" * bool(self.k), f"m{self.m}" * bool(self.m)]
        return "-".join(part for part in (*parts, "br" * self.refine, self.label) if part)

    @property
    def training(self) -> "Training":
        """The training whose model this run measures: itself."""
        return self


class _OfTraining(_Named):
    """What a run that trains nothing takes over from the training that it starts from."""

    start: Any
    label: str

    @property
    def training(self) -> Training:
        return self.start.training

    @property
    def profile(self) -> str:
        return self.training.profile

    @property
    def data(self) -> DataSpec:
        return self.training.data

    @property
    def seed(self) -> int:
        return self.training.seed

    @property
    def variant(self) -> str:
        return f"{self.start.variant}-{self.label}"


@dataclass(frozen=True)
class Evaluation(_OfTraining):
    """A trained segmenter is measured with ``test_time``; its probabilities are kept."""

    kind: ClassVar[str] = "evaluation"

    start: Training
    test_time: TestTime
    label: str = "ms"


@dataclass(frozen=True)
class CrfEvaluation(_OfTraining):
    """The probabilities that an evaluation has kept are refined by a CRF, and measured."""

    kind: ClassVar[str] = "crf"

    start: Evaluation
    crf: Crf
    label: str = "crf"


Run = PreTraining | Training | Evaluation | CrfEvaluation
_KINDS = {kind.kind: kind for kind in (PreTraining, Training, Evaluation, CrfEvaluation)}
_NAMES_ONLY = {"profile", "label", "start"}  # what does not change its numbers by itself


def input_size(run: Run) -> tuple[int, int]:
    """(height, width) of a training image."""
    return (run.data.crop,) * 2 if run.data.crop else run.data.canvas


def to_json(value: Any) -> Any:
    """A run, or a part of one, as JSON values, defaults included; ``kind`` says which type."""
    if is_dataclass(value):
        kind = {"kind": value.kind} if isinstance(value, Run) else {}
        return kind | {field.name: to_json(getattr(value, field.name)) for field in fields(value)}
    return [to_json(item) for item in value] if isinstance(value, tuple) else value


def from_json(config: dict[str, Any]) -> Run:
    """The run of a record's config; a field that a later version added has its default.

    ``UserError`` for an unknown kind or field, or a value of the wrong type.
    """
    try:
        values = dict(config)
        kind = _KINDS[values.pop("kind")]
        for name, build in _PARTS.items():
            if isinstance(values.get(name), dict):
                values[name] = build(values[name])
        return _built(kind, values)
    except (LookupError, TypeError, ValueError, AttributeError, RecursionError) as error:
        reason = " ".join(repr(error).split())[:200]
        raise UserError(f"a run's config is not one of this version of gcnlab: {reason}") from None


@cache
def _types(kind: type) -> dict[str, tuple[type, ...]]:
    """The types that each field of ``kind`` may have, whatever the entries of a tuple are."""
    unions = (Union, UnionType)
    hints = {n: get_args(h) if get_origin(h) in unions else (h,)
             for n, h in get_type_hints(kind).items()}  # fmt: skip
    return {n: tuple(get_origin(h) or h for h in (*hs, *[int] * (float in hs)))
            for n, hs in hints.items()}  # fmt: skip


def _built(kind: type, values: dict[str, Any]) -> Any:
    """``kind(**values)``, lists as tuples; ``TypeError`` for a value that is not of its type."""
    values = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
    for name, value in values.items():
        if not isinstance(value, _types(kind).get(name, object)):
            raise TypeError(f"{name} is {value!r:.40}")
    built = kind(**values)
    hash(built)  # TypeError for a list in a tuple
    return built


def _crf(values: dict[str, Any]) -> Crf:
    candidates = tuple(_built(Pairwise, candidate) for candidate in values["candidates"])
    return _built(Crf, values | {"candidates": candidates})


_PARTS = {
    "data": partial(_built, DataSpec),
    "schedule": partial(_built, Schedule),
    "test_time": partial(_built, TestTime),
    "crf": _crf,
    "start": from_json,
}


def deviations(run: Run) -> dict[str, Any]:
    """What of a config changes its numbers and is not the default, its start left out.

    A field that is added later leaves the keys of older runs alone; a default may therefore never
    change (a test pins them).
    """
    own = {field.name: field.default for field in fields(run) if field.name not in _NAMES_ONLY}
    return {"kind": run.kind} | _deviating(run, own)


def _deviating(value: Any, defaults: dict[str, Any]) -> dict[str, Any]:
    values = {name: getattr(value, name) for name in defaults}
    return {n: _compact(v) for n, v in values.items() if defaults[n] is MISSING or v != defaults[n]}


def _compact(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_compact(item) for item in value]
    if is_dataclass(value):
        return _deviating(value, {field.name: field.default for field in fields(value)})
    return int(value) if isinstance(value, float) and value.is_integer() else value  # 3.0 is 3
