"""One profile's published, committed and own results together: what notebooks, report and command line share."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from gcnlab import data, paper
from gcnlab.errors import UserError
from gcnlab.evaluation.inference import predict
from gcnlab.study import (
    claims,
    field_verdicts,
    measurements,
    open_question,
    profiles,
    results,
    runner,
    tables,
    variants,
)
from gcnlab.study.experiment import is_complete, pick_device
from gcnlab.study.run import Run, artefact, load_model, run_key
from gcnlab.training import autocast, best_precision

METRIC_NAMES = {
    "miou": "mIoU",
    "boundary_accuracy": "boundary accuracy",
    "internal_accuracy": "internal accuracy",
    "parameters_k": "parameters",
    "top1_error": "top-1 error",
    "top5_error": "top-5 error",
}


_TABLE5 = dict(zip(("Baseline", "GCN", "GCN + BR"), variants.variants(("5",)), strict=True))


class Session:
    """A user's view of one profile.

    Args:
        profile: name of the profile.
        seeds: seeds 0 … seeds − 1 are trained.
        jobs: runs at a time.
        data_root: folder of the real data, for profiles that need it.
        out: where own runs are kept; default ``results/local`` of the checkout. Giving the checkout's ``results``
            itself extends the committed study.

    Raises:
        UserError: unknown profile, or numbers that are not positive.
    """

    def __init__(self, profile: str = "smoke", seeds: int = 1, jobs: int = 1,
                 data_root: str | Path | None = None, out: str | Path | None = None):  # fmt: skip
        if seeds < 1 or jobs < 1:
            raise UserError(f"seeds and jobs must be at least 1, not {seeds} and {jobs}")
        self.profile = profiles.get(profile)
        self.seeds, self.jobs = seeds, jobs
        self.data_root = None if data_root is None else Path(data_root).expanduser().resolve()
        if self.data_root is not None and not self.data_root.is_dir():
            raise UserError(
                f"--data-root {data_root} is no folder: name the one that holds the data (README, Real data)"
            )
        self.out = (Path(out).expanduser() if out else results.LOCAL).resolve()
        if self.out.exists() and not self.out.is_dir():
            raise UserError(f"--out {out} is a file: name a folder")

    @property
    def own(self) -> bool:
        """Whether ``out`` is the user's folder, not the committed study."""
        return self.out != results.COMMITTED

    def _current(self, out: Path) -> list[dict[str, Any]]:
        return variants.current_records(self.profile, results.read_records(out, self.profile.name))

    @property
    def study_records(self) -> list[dict[str, Any]]:
        """The committed records that count, as they are on disk now."""
        return self._current(results.COMMITTED)

    @property
    def local_records(self) -> list[dict[str, Any]]:
        """The user's records that count, as they are on disk now."""
        return self._current(self.out) if self.own else []

    def stale(self) -> list[str]:
        """Names of records in ``out`` that do not count: another schedule, other data, or another code version."""
        counted = {record["key"] for record in self._current(self.out)}
        found = results.read_records(self.out, self.profile.name)
        return [record["name"] for record in found if record["key"] not in counted]

    @property
    def records(self) -> list[dict[str, Any]]:
        """The user's records if there are any, else the committed ones: what figures and verdicts speak of."""
        return self.local_records or self.study_records

    def train(self, *names: str) -> None:
        """Train what is missing of these tables; ``RuntimeError`` lists the runs that failed."""
        self._train(variants.table_runs(list(names), self.profile, list(range(self.seeds))))

    def measure(self, per_bin: int = 4, ks: Sequence[int] = (3, 7, 15)) -> list[dict[str, Any]]:
        """Receptive fields and scores by object size of the baseline and of GCN at every k of ``ks``, for all seeds.

        ``per_bin``: objects of each size whose fields are measured. The runs of Table 1 must be trained. Returns the
        measurements as :func:`gcnlab.study.measurements.measure` makes them. Where numbers are never evidence, only
        the baseline and the largest k are measured, on one object of each size.
        """
        runs = variants.table_runs(["1"], self.profile, list(range(self.seeds)))
        runs = [run for run in runs if run.k is None or run.k in ks]
        if not self.profile.evidence:
            runs, per_bin = [run for run in runs if run.k in (None, max(ks))], 1
        return [measurements.measure(run, self.out, self.data_root, per_bin, print) for run in runs]

    def fields(self, out: Path, records: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """The measurements below ``out`` of the runs that ``records`` are of."""
        counted = {record["key"] for record in records}
        return [found for found in measurements.read(out, self.profile.name) if found["key"] in counted]

    def measured(self) -> list[dict[str, Any]]:
        """The measurements of :attr:`records`: the user's, or the committed ones."""
        own = self.local_records
        return self.fields(self.out, own) if own else self.fields(results.COMMITTED, self.study_records)

    def mechanism(self) -> pd.DataFrame:
        """Does GCN's gain grow with object size? Verdict and evidence from the committed study and the user's run."""
        sources = {"study": (results.COMMITTED, self.study_records), "your run": (self.out, self.local_records)}
        rows = {}
        for name, (out, records) in sources.items():
            judged = field_verdicts.mechanism(self.fields(out, records))
            if judged is not None:
                rows[f"{name} ({self.label(records)})"] = judged
        return pd.DataFrame.from_dict(rows, orient="index", columns=["the gain grows with size", "evidence"])

    def train_open_question(self) -> None:
        """Train what is missing of the trials of :mod:`gcnlab.study.open_question`, and measure all."""
        self._train(open_question.runs(self.profile, list(range(self.seeds))))
        self.measure_trials()

    def measure_trials(self) -> None:
        """Measure those trials of all seeds that are finished."""
        for seed in range(self.seeds):
            for trial in open_question.TRIALS:
                if is_complete(trial.run(self.profile, seed), self.out, self.data_root):
                    open_question.measure(trial, self.profile, seed, self.out, self.data_root)

    def trials(self) -> list[dict[str, Any]]:
        """What was measured of those trials: the user's, or the committed study's if there are none."""
        own = open_question.read(self.out, self.profile) if self.own else []
        return own or open_question.read(results.COMMITTED, self.profile)

    def train_variant(self, head: str, k: int | None = None, refine: bool = False) -> dict[str, Any]:
        """Train one variant with seed 0 if it is missing, and return its record."""
        run = variants.Variant(head, k, refine=refine).run(self.profile, seed=0)
        self._train([run])
        return results.read_record(self.out, run.profile, run.name, run_key(run, self.data_root))

    def _train(self, runs: list[Run]) -> None:
        for run, reason in (left_out := runner.without_backend(runs)).items():
            print(f"{run.name} is left out: {reason}")
        runs = [run for run in runs if run not in left_out]
        failures = runner.run_all(runs, self.out, self.data_root, self.jobs)
        if failures:
            raise RuntimeError("; ".join(failures))

    def frame(self, name: str) -> pd.DataFrame:
        """Table ``name`` in long form, see :func:`gcnlab.study.tables.compare`."""
        return tables.compare(name, self.profile, self.study_records, self.local_records)

    def table(self, name: str) -> pd.DataFrame:
        """Table ``name`` in the paper's form: published, committed study, own run, and their difference."""

        def label(records: list[dict[str, Any]]) -> str:
            found = variants.variant_records(self.profile, records)
            return self.label([record for v in variants.variants((name,)) for record in found.get(v, [])])

        labels = {"study": f"study ({label(self.study_records)})"}
        if self.own:
            labels["local"] = f"your run ({label(self.local_records)})"
        return in_paper_form(self.frame(name), labels)

    def label(self, records: list[dict[str, Any]]) -> str:
        """The profile's name, and whether its data are only a part of the official ones."""
        return self.profile.name + ", subset" * any(map(variants.is_subset, records))

    def verdicts(self, *ids: int) -> pd.DataFrame:
        """Verdicts on the paper's claims (all by default) from the committed study and from the user's own run.

        Columns: the paper says, then verdict and evidence of each. A single own run is judged with the committed
        study's spread.
        """
        study, local = self.study_records, self.local_records
        sources = {f"study ({self.label(study)})": study} if study or not local else {}
        if local:
            sources[f"your run ({self.label(local)})"] = local
        frame = pd.DataFrame({"claim": [c["id"] for c in paper.claims() if not ids or c["id"] in ids]})
        frame["the paper says"] = [c["claim"] for c in paper.claims() if not ids or c["id"] in ids]
        for source, records in sources.items():
            fields = self.fields(self.out if records is local else results.COMMITTED, records)
            judged = claims.judge(self.profile, records, list(ids) or None, study, fields)
            frame[source] = [verdict.verdict for verdict in judged]
            frame[f"evidence, {source}"] = [verdict.evidence for verdict in judged]
        return frame.set_index("claim")

    def curves(self) -> pd.DataFrame:
        """mIoU (%) of Tables 1–5 at every evaluation: columns name, seed, step, miou."""
        rows = []
        for name, records in self._of_main_backbone(self.records).items():
            for record in records:
                seed = record["config"]["seed"]
                rows += [(name, seed, point["step"], 100 * point["miou"]) for point in record["history"]]
        return pd.DataFrame(rows, columns=["name", "seed", "step", "miou"])

    def _of_main_backbone(self, records: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
        """Records of Tables 1–5 by the name of their variant."""
        found = variants.variant_records(self.profile, records).items()
        return {
            v.run(self.profile, 0).variant: group for v, group in found if v.backbone is None and v.protocol is None
        }

    def convergence(self) -> pd.DataFrame | None:
        """mIoU (%) after the profile's steps and after those of its longer twin, for the variants that have both.

        None if the profile has no longer twin or nothing was run with it. Columns: one per number of steps, change.
        """
        if self.profile.longer is None:
            return None
        twin = Session(self.profile.longer, out=self.out)
        both = self.local_records and twin.local_records  # the same source for the two
        scores = {}
        for session in (self, twin):
            found = session._of_main_backbone(session.local_records if both else session.study_records)
            scores[f"{session.profile.template.schedule.steps} steps"] = {
                name: 100 * np.mean([record["metrics"]["miou"] for record in records])
                for name, records in found.items()
            }
        frame = pd.DataFrame(scores).dropna()
        if frame.empty:
            return None
        frame["change"] = frame.iloc[:, 1] - frame.iloc[:, 0]
        return frame.sort_values(frame.columns[0]).rename_axis("variant").round(1)

    def margin(self) -> float | None:
        """Points of mIoU by which two single runs of Tables 1–5 must differ to differ clearly (see ``claims``)."""
        return claims.Scores(self.profile, self.records, self.study_records).margin()

    def boundary_sensitivity(self) -> pd.DataFrame:
        """Boundary and internal accuracy (%) of the three models of Table 5 over the boundary distance (pixels)."""
        found = variants.variant_records(self.profile, self.records)
        rows = []
        for name, variant in _TABLE5.items():
            for record in found.get(variant, []):
                for distance, scores in record["metrics"]["boundary_sensitivity"].items():
                    accuracies = (100 * scores["boundary_accuracy"], 100 * scores["internal_accuracy"])
                    rows.append((name, float(distance), record["config"]["seed"], *accuracies))
        return pd.DataFrame(rows, columns=["model", "distance", "seed", "boundary_accuracy", "internal_accuracy"])

    def is_trained(self, run: Run) -> bool:
        """Whether the weights of ``run`` are below ``out``. Of the committed study only the records are kept."""
        return artefact(run, self.out, self.data_root).exists()

    def has_examples(self, table: str) -> bool:
        """Whether :meth:`examples` of ``table`` can show predictions."""
        models = [v.run(self.profile, 0) for v in _shown(table).values()]
        return None not in models and all(map(self.is_trained, models))

    def examples(self, count: int = 5, trained: bool = True, table: str = "5") -> dict[str, Any]:
        """Images, truths and predictions of the models of ``table``, as :func:`pictures.qualitative` takes them.

        Of Tables 7 and 9 it is the last stage, and nothing if the profile has no staged training. The examples are
        evenly spaced over the validation list, not chosen by eye. With ``trained`` false there are no predictions.
        ``UserError`` when the weights of these runs are not below ``out``.
        """
        models = {name: v.run(self.profile, 0) for name, v in _shown(table).items()}
        if None in models.values():
            return {"images": [], "truths": [], "predictions": {}, "class_names": ()}
        spec = next(iter(models.values())).data
        split = data.load(spec, "val", self.data_root)
        picked = [split[int(i)] for i in np.linspace(0, len(split) - 1, count)]
        device = pick_device()
        context = autocast(device, best_precision(device))  # as when they were scored
        predictions = {}
        for name, run in models.items() if trained else ():
            model = load_model(run, self.out, self.data_root).to(device)
            predictions[name] = [
                predict(model, image[None], context, run.test_time)[0, :height, :width].cpu().numpy()
                for image, _, (height, width) in picked
            ]
        return {
            "images": [image[:, :height, :width].permute(1, 2, 0).numpy() for image, _, (height, width) in picked],
            "truths": [label[:height, :width].numpy() for _, label, (height, width) in picked],
            "predictions": predictions,
            "class_names": spec.class_names,
        }


def _shown(table: str) -> dict[str, variants.Variant]:
    """The models of which ``table`` gets pictures, by name."""
    if table == "5":
        return _TABLE5
    if table not in ("7", "9"):
        return {v.title: v for v in variants.variants((table,)) if v.head}
    cells = variants.cells(table)
    last = cells[~cells["stage"].str.contains("MS")]["stage"].max()
    return {row.column: variants.Variant.of_cell(row) for row in cells[cells["stage"] == last].itertuples()}


def score_text(mean: float, std: float, n: int) -> str:
    """``63.4 ± 0.5 (n=3)``, ``63.4 (n=1)`` or ``not run``."""
    if n == 0:
        return "not run"
    return f"{mean:.1f} (n=1)" if n == 1 else f"{mean:.1f} ± {std:.1f} (n={n:.0f})"


def in_paper_form(frame: pd.DataFrame, labels: dict[str, str]) -> pd.DataFrame:
    """A long comparison as the paper prints it: one line per model, metric and source, one column per setting.

    ``labels`` names the sources to show, ``study`` and maybe ``local``. The difference is that of the last source
    that has any score in this line.
    """

    def line(row: str, metric: str, source: str, cells: Sequence[str]) -> None:
        lines.append(dict(zip(columns, cells, strict=True)))
        index.append((row, METRIC_NAMES[metric], source))

    lines: list[dict[str, str]] = []
    index: list[tuple[str, str, str]] = []
    # Table 5 prints one metric per column; the others one setting per column.
    settings = "metric" if frame["column"].str.contains("acc").any() else "column"
    columns = list(dict.fromkeys(frame["column"]))
    groups = frame.groupby("row" if settings == "metric" else ["row", "metric"], sort=False)
    for _, group in groups:
        row, metric = group["row"].iloc[0], group["metric"].iloc[0]
        metric = "miou" if settings == "metric" else metric
        by_column = group.set_index("column").reindex(columns)
        present = by_column["row"].notna()

        def texts(make, by_column=by_column, present=present) -> list[str]:
            return [make(r) if p else "" for r, p in zip(by_column.itertuples(), present, strict=True)]

        if metric == "parameters_k":
            line(row, metric, "published", texts(lambda r: f"{r.published:.0f}K"))
            line(row, metric, "counted", texts(lambda r: f"{r.study_mean:.1f}K"))
            continue
        given = by_column["published"].notna().any()
        if given:
            street = "protocol" in group and (group["protocol"] == "street").any()
            where = "ImageNet" if metric == "top5_error" else "Cityscapes" if street else "VOC"
            cells = texts(lambda r: f"{r.published:.1f}" if pd.notna(r.published) else "not given")
            line(row, metric, f"published ({where})", cells)
        shown = None
        for source, label in labels.items():
            scores = by_column[[f"{source}_mean", f"{source}_std", f"{source}_n"]]
            cells = [score_text(*cell) if p else "" for cell, p in zip(scores.to_numpy(), present, strict=True)]
            line(row, metric, label, cells)
            shown = source if scores.iloc[:, 2].gt(0).any() else shown
        if given and shown is not None and metric != "top5_error":  # of other images and classes: no difference
            change = by_column[f"{shown}_mean"] - by_column["published"]
            name = {"study": "study", "local": "your run"}[shown]
            other = "" if "(paper)" in labels["study"] else " (other data)"
            line(row, metric, f"{name} − published{other}", [f"{c:+.1f}" if pd.notna(c) else "" for c in change])
    names = ["model", "measure", "source"]
    out = pd.DataFrame(lines, columns=columns, index=pd.MultiIndex.from_tuples(index, names=names))
    return out.droplevel("measure") if settings == "metric" else out
