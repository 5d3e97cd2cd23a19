"""The models that the paper compares, whatever the profile: variant → run, and records → variant."""

from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import pandas as pd

from gcnlab import data, paper
from gcnlab.errors import UserError
from gcnlab.study.profiles import Profile
from gcnlab.study.run import Run

TABLES = ("1", "2", "3", "4", "5", "6", "7", "9")  # those that runs fill
PRETRAINING = "pretraining"  # names the classifiers of Table 6 alone
BACKBONES = ("ResNet50", "ResNet50-GCN")  # the columns of Table 6, in the order of ``Profile.pair``


@dataclass(frozen=True)
class Variant:
    """One model of the paper's tables.

    Args:
        head, k, refine: as :func:`gcnlab.models.build_segmenter` takes them; head None is a backbone's pre-training
            as a classifier (Table 6).
        m_ratio: m of a stack as a share of the top channels (of 2048 in Table 4); None: all of them.
        backbone: a column of Table 6, or None for the profile's main backbone.
        protocol, stage: a staged training (``voc`` of Table 7, ``street`` of Table 9) and its row, such as ``Stage-2``
            or ``Stage-2-MS``.

    A stack with k = 3 is one 3×3 convolution, the same network as the trivial convolution: it becomes that.
    """

    head: str | None = None
    k: int | None = None
    m_ratio: float | None = None
    refine: bool = False
    backbone: str | None = None
    protocol: str | None = None
    stage: str | None = None

    def __post_init__(self):
        if self.head == "stack" and self.k == 3:
            object.__setattr__(self, "head", "conv")
        if self.head != "stack" or self.m_ratio == 1:
            object.__setattr__(self, "m_ratio", None)

    @classmethod
    def of_cell(cls, row: Any) -> "Variant":
        """The variant of one row of :func:`gcnlab.paper.cells`."""
        values = {name: getattr(row, name, None) for name in cls.__dataclass_fields__}
        values = {name: None if pd.isna(value) else value for name, value in values.items()}
        return cls(**values | {"k": values["k"] and int(values["k"]), "refine": bool(values["refine"])})

    @property
    def title(self) -> str:
        """What a reader calls it, such as ``GCN 15`` or ``stack 7, m/2``."""
        names = {None: "classifier", "conv1x1": "1×1", "gcn": "GCN", "conv": f"{self.k}×{self.k}", "stack": "stack"}
        parts = names[self.head] + (f" {self.k}" if self.head in ("gcn", "stack") else "") + " + BR" * self.refine
        return parts + (f", m/{1 / self.m_ratio:.0f}" if self.m_ratio else "")

    def run(self, profile: Profile, seed: int) -> Run | None:
        """This variant in ``profile``, or None if the profile has no such stage. In Table 6 the pre-training has the
        same seed as what starts from it; in all other tables every seed starts from the same weights."""
        if self.protocol is not None:
            protocol = profile.protocols.get(self.protocol)
            return protocol and protocol.run(self.stage, self.head, self.refine, seed)
        template = profile.template
        if self.backbone is not None:
            template = profile.pair[BACKBONES.index(self.backbone)]
            template = replace(template, weights=replace(template.weights, seed=seed))
        if self.head is None:
            return template.weights
        m = None if self.m_ratio is None else round(self.m_ratio * profile.top_channels)
        return replace(template, head=self.head, k=self.k, m=m, refine=self.refine, seed=seed)


def check_tables(names: list[str], *also: str) -> list[str]:
    """``names`` without duplicates; ``UserError`` for one that is no table of this study, ``pretraining``, or
    ``also`` known."""
    known = (*TABLES, PRETRAINING, *also)
    for name in names:
        if name not in known:
            raise UserError(f"unknown table {name!r}; choose one of {', '.join(known)}")
    return list(dict.fromkeys(names))


@cache
def variants(tables: tuple[str, ...] = TABLES) -> list[Variant]:
    """The distinct variants of ``tables``, in the tables' order."""
    return list(dict.fromkeys(Variant.of_cell(row) for table in tables for row in cells(table).itertuples()))


def cells(table: str) -> pd.DataFrame:
    """The numbers of one table as in :func:`gcnlab.paper.cells`, and those that this study adds, unpublished (NaN).

    Table 6 also has the top-1 error: it tells classifiers of few classes apart, which hardly make a top-5 error.
    Table 9 also has the 1×1 baseline. Cells that the paper leaves empty are left out.
    """
    frame = paper.cells(table).dropna(subset="value")
    if table == "6":
        errors = frame[frame["metric"] == "top5_error"].assign(metric="top1_error", value=float("nan"))
        return pd.concat([errors, frame], ignore_index=True)
    if table == "9":
        trained = frame[~frame["stage"].str.contains("MS")]
        base = trained.assign(column="Baseline", value=float("nan"), head="conv1x1", k=pd.NA, refine=False)
        return pd.concat([base, frame], ignore_index=True)
    return frame


def table_runs(tables: list[str], profile: Profile, seeds: list[int]) -> list[Run]:
    """The distinct runs that fill ``tables``, all seeds of one variant together, in the tables' order.

    The name ``pretraining`` stands for the classifiers of Table 6 alone.
    """
    wanted: list[Variant] = []
    for name in check_tables(tables):
        wanted += [v for v in variants(("6",)) if v.head is None] if name == PRETRAINING else variants((name,))
    runs = dict.fromkeys(variant.run(profile, seed) for variant in wanted for seed in seeds)
    return [run for run in runs if run is not None]


def _run_of(record: dict[str, Any]) -> Run:
    try:
        return Run.from_config(record["config"])
    except (UserError, ValueError) as error:
        raise UserError(f"record {record['name']}-{record['key']}.json: {error}; delete it, or use the version of "
                        "gcnlab that wrote it") from None  # fmt: skip


def is_subset(record: dict[str, Any]) -> bool:
    """Whether ``record`` is of a part of the official data only."""
    return data.is_subset(_run_of(record).data, record["metrics"]["counts"])


def current_records(profile: Profile, records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The records that belong to a table as ``profile`` runs today, of one state of data, code and starting weights.

    Records of another schedule are stale; if there are several versions of one data set (fingerprints), of the code
    or of what runs start from, only those of the newest record count, so that no cell averages over different
    experiments.
    """

    def state(record: dict[str, Any]) -> tuple[str, int]:
        return record["data"]["fingerprint"], record["training_version"]

    runs = [_run_of(record) for record in records]
    wanted = {variant.run(profile, seed) for variant in variants() for seed in {run.seed for run in runs}}
    fitting = sorted(((r, s) for r, s in zip(runs, records, strict=True) if r in wanted), key=_finished)
    newest = {run.data: state(record) for run, record in fitting}
    fitting = [(run, record) for run, record in fitting if state(record) == newest[run.data]]
    starts = {run.weights: record["weights"] for run, record in fitting if "weights" in record}

    def has_current_start(run: Run, record: dict[str, Any], keys: set[str]) -> bool:
        if "weights" not in record:  # as the first records
            return True
        if isinstance(run.weights, Run) and run.weights.data in newest:
            return record["weights"] in keys  # a pre-training that counts
        return record["weights"] == starts[run.weights]

    before = 0
    while len(fitting) != before:  # a stage without a start that counts takes those after it along
        before, keys = len(fitting), {record["key"] for _, record in fitting}
        fitting = [(run, record) for run, record in fitting if has_current_start(run, record, keys)]
    counted = {id(record) for _, record in fitting}
    return [record for record in records if id(record) in counted]


def _finished(pair: tuple[Run, dict[str, Any]]) -> str:
    return pair[1]["finished"]


def variant_records(profile: Profile, records: list[dict[str, Any]]) -> dict[Variant, list[dict[str, Any]]]:
    """Records by variant, one per seed in order of seeds; variants without any are left out."""
    found = dict(sorted(((_run_of(record), record) for record in records), key=_finished))
    seeds = sorted({run.seed for run in found})
    groups = {v: [found[run] for s in seeds if (run := v.run(profile, s)) in found] for v in variants()}
    return {variant: group for variant, group in groups.items() if group}
