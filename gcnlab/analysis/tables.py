"""The paper's tables: one specification each, and their cells beside what the runs gave."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from itertools import starmap

import pandas as pd

from gcnlab import paper
from gcnlab.analysis.costs import exact_parameters
from gcnlab.analysis.selection import by_variant, is_diverged, metric, seed_of
from gcnlab.errors import check_name
from gcnlab.experiments.config import Run
from gcnlab.experiments.profiles import Profile
from gcnlab.experiments.records import Record
from gcnlab.experiments.variants import Variant

METRIC_NAMES = {
    "miou": "mIoU",
    "boundary_accuracy": "boundary accuracy",
    "internal_accuracy": "internal accuracy",
    "top1_error": "top-1 error",
    "top5_error": "top-5 error",
    "parameters_k": "parameters",
}
_NUMBER = ["mean", "std", "n", "diverged", "keys", "scores"]


@dataclass(frozen=True)
class TableSpec:
    """All that the rest of the package knows of one table of the paper.

    Args:
        name: its number.
        chart: name of the function of ``report.charts`` that draws it.
        extra: cells that this study adds, made from the published ones.
        test_server: number of the published test-server table that belongs beside it, or None.
        note: profile → what a reader must know of the profile beside this table.
        examples: whether images of its models are shown.
    """

    name: str
    chart: str
    extra: Callable[[pd.DataFrame], pd.DataFrame] = lambda frame: frame
    test_server: str | None = None
    note: Callable[[Profile], str] = lambda profile: ""
    examples: bool = False

    @property
    def title(self) -> str:
        return paper.published(self.name)["title"]

    def cells(self) -> pd.DataFrame:
        """Published numbers as in :func:`gcnlab.paper.cells`, and those added, unpublished
        (nan)."""
        return self.extra(paper.cells(self.name).dropna(subset="value")).reset_index(drop=True)

    def variants(self) -> list[Variant]:
        """The distinct models of this table, in its order."""
        return list(dict.fromkeys(Variant.of_cell(row) for row in self.cells().itertuples()))


def _with_top1(frame: pd.DataFrame) -> pd.DataFrame:
    """Few classes make hardly a top-5 error: there the top-1 error tells classifiers apart."""
    errors = frame[frame["metric"] == "top5_error"]
    return pd.concat([errors.assign(metric="top1_error", value=float("nan")), frame])


def _with_baseline(frame: pd.DataFrame) -> pd.DataFrame:
    trained = frame[~frame["stage"].str.contains("MS")]
    baseline = trained.assign(
        column="Baseline", value=float("nan"), head="conv1x1", k=pd.NA, refine=False
    )
    return pd.concat([baseline, frame])


def _width_note(profile: Profile) -> str:
    top = profile.top_channels
    sizes = ", ".join(str(round(m * top / 2048)) for m in (2048, 1024, 210))
    return f"m is scaled to the {top} channels of the coarsest feature map: {sizes} were trained."


def _boundary_note(profile: Profile) -> str:
    template = profile.template
    return (
        f"Boundary region: within {template.boundary_distance:g} pixels of a boundary in an image "
        f"of {template.data.side} pixels, which is 7 of 512 to scale."
    )


def _pair_note(profile: Profile) -> str:
    data = profile.pair[0].start.data
    return (
        f"ResNet50 stands for {profile.pair_name}, ResNet50-GCN for its GCN form (Table 11); both "
        f"are trained as classifiers by one recipe (data set {data.name}, {data.side} px, "
        f"{len(data.class_names)} classes), then as segmenters like the other models."
    )


def _stages_note(protocol: str, profile: Profile) -> str:
    steps = profile.protocols.get(protocol)
    if steps is None:
        return "This profile has no such staged training."
    stages = "; ".join(
        f"{stage.name}: data set {stage.data.name}, "
        + (f"crops of {stage.data.crop}" if stage.data.crop else f"{stage.data.side}")
        + f" px, {stage.schedule.steps:,} steps"
        for stage in steps.stages
    )
    scales = ", ".join(f"{scale:g}" for scale in steps.multi_scale.scales)
    return (
        f"Each stage is initialised from the one before. {stages}. GCN with k = {steps.k}: as "
        f"in the paper it spans the top feature map. MS: scales {scales}, each also mirrored. "
        f"CRF: implementation {steps.crf.backend}, {steps.crf.iterations} iterations, kernels "
        "chosen on training images."
    )


SPECS = {
    spec.name: spec
    for spec in (
        TableSpec("1", "gain_over_k"),
        TableSpec("2", "heads_over_k"),
        TableSpec("3", "heads_over_k"),
        TableSpec("4", "gain_over_m", note=_width_note),
        TableSpec("5", "regions", note=_boundary_note, examples=True),
        TableSpec("6", "backbones", _with_top1, note=_pair_note),
        TableSpec("7", "stages", test_server="8", note=partial(_stages_note, "voc"),
                  examples=True),
        TableSpec("9", "stages", _with_baseline, "10", partial(_stages_note, "street"), True),
    )
}  # fmt: skip
PRETRAINING = "pretraining"  # names the classifiers of Table 6 alone


@cache
def all_variants() -> tuple[Variant, ...]:
    """The distinct models of all tables."""
    return tuple(dict.fromkeys(v for spec in SPECS.values() for v in spec.variants()))


def table_configs(tables: Sequence[str], profile: Profile, seeds: Sequence[int]) -> list[Run]:
    """The distinct runs that fill ``tables``, all seeds of one variant together.

    ``UserError`` for one that is no table that runs fill.
    """
    variants, known = [], (*SPECS, PRETRAINING)
    for name in dict.fromkeys(tables):
        check_name("table", name, known)
        if name == PRETRAINING:
            variants += [v for v in all_variants() if v.head is None]
        else:
            variants += SPECS[name].variants()
    runs = dict.fromkeys(v.config(profile, seed) for v in variants for seed in seeds)
    return [run for run in runs if run is not None]


def compare(table: str, profile: Profile, sources: Mapping[str, Sequence[Record]]) -> pd.DataFrame:
    """One paper table beside its reproduction, one row per number.

    Columns: those of :meth:`TableSpec.cells` with ``published`` for ``value``; ``counted`` (an
    exact number of parameters at the paper's size, in thousands); and for each name of ``sources``
    the mean, std (nan for one seed), n, ``diverged`` (runs left out of the mean because they
    diverged), ``keys`` of all records of the cell and ``scores`` (seed → score). Scores and errors
    in percent; what was not run has n = 0.
    """
    frame = SPECS[table].cells().rename(columns={"value": "published"})
    variants = [Variant.of_cell(row) for row in frame.itertuples()]
    frame["counted"] = [
        exact_parameters(v.head, v.k, v.m_ratio) / 1000 if name == "parameters_k" else float("nan")
        for v, name in zip(variants, frame["metric"], strict=True)
    ]
    for source, records in sources.items():
        groups = by_variant(profile, records, all_variants())
        cells = [
            _cell(groups.get(variant, []), name)
            for variant, name in zip(variants, frame["metric"], strict=True)
        ]
        columns = [f"{source}_{name}" for name in _NUMBER]
        frame[columns] = pd.DataFrame(cells, index=frame.index, columns=columns)
    return frame


def _cell(group: Sequence[Record], name: str) -> tuple:
    """The ``_NUMBER`` of one cell."""
    if name == "parameters_k":
        group = []
    counted = [record for record in group if not is_diverged(record)]
    scores = {seed_of(record): metric(record, name) for record in counted}
    values = pd.Series(scores, dtype=float)
    keys = [record["key"] for record in group]
    return values.mean(), values.std(), len(values), len(group) - len(counted), keys, scores


def score_text(mean: float, std: float, n: int, diverged: int = 0) -> str:
    """``63.4 ± 0.5 (n=3)``, ``63.4 (n=1)`` or ``not run``; diverged runs are counted beside it."""
    left_out = f", {diverged} diverged" if diverged else ""
    if n == 0:
        return f"{diverged} diverged" if diverged else "not run"
    spread = f" ± {std:.1f}" if n > 1 else ""
    return f"{mean:.1f}{spread} (n={n:.0f}{left_out})"


def in_paper_form(frame: pd.DataFrame, labels: Mapping[str, str]) -> pd.DataFrame:
    """A long comparison as the paper prints it: one line per model, metric and source.

    ``labels`` names the sources to show. Columns are the paper's settings, or its metrics.
    """
    across_metrics = frame["column"].str.contains("acc").any()
    measures = frame["metric"].where(~pd.Series(across_metrics, frame.index), "miou")
    lines: dict[tuple[str, str, str], dict[str, str]] = {}
    for (row, name), group in frame.groupby(["row", measures], sort=False):
        counted, texts = name == "parameters_k", {}
        if group["published"].notna().any():
            form = ("{:.0f}K" if counted else "{:.1f}").format
            published = group["published"].map(form, na_action="ignore")
            texts["published"] = published.fillna("not given")
        if counted:
            texts["counted"] = group["counted"].map("{:.1f}K".format)
        else:
            for source, label in labels.items():
                numbers = group[[f"{source}_{part}" for part in _NUMBER[:4]]]
                texts[label] = starmap(score_text, numbers.itertuples(index=False))
        for source, cells in texts.items():
            lines[row, METRIC_NAMES[name], source] = dict(zip(group["column"], cells, strict=True))
    index = pd.MultiIndex.from_tuples(lines, names=["model", "measure", "source"])
    columns = list(dict.fromkeys(frame["column"]))
    shown = pd.DataFrame(list(lines.values()), index, columns).fillna("")
    return shown.droplevel("measure") if across_metrics else shown
