"""A user's view of one profile: what is trained, what it gave, the committed study beside it."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd
from torch import Tensor, nn

from gcnlab import data
from gcnlab.analysis import claims, curves, selection, tables
from gcnlab.analysis.claims import Verdict
from gcnlab.analysis.rules import own_variants, rules_digest
from gcnlab.analysis.tables import SPECS, all_variants
from gcnlab.errors import UserError
from gcnlab.evaluation.inference import predict
from gcnlab.experiments import profiles, receptive_fields, records, resources, scheduler
from gcnlab.experiments.ablations import ABLATIONS
from gcnlab.experiments.building import build_model, trained_model
from gcnlab.experiments.config import PreTraining, Run, Training
from gcnlab.experiments.environment import pick_device
from gcnlab.experiments.head_rates import AT_BEST
from gcnlab.experiments.measuring import inference_context
from gcnlab.experiments.records import COMMITTED, LOCAL, Record
from gcnlab.experiments.store import Store
from gcnlab.experiments.variants import Variant
from gcnlab.report import controls


class Session:
    """A user's view of one profile.

    Args:
        profile: name of the profile.
        seeds: seeds 0 … seeds − 1 are trained.
        jobs: runs at a time.
        data_root: folder of the real data, for profiles that need it.
        out: where own runs are kept; default ``results/local`` of the checkout. The checkout's
            ``results`` itself extends the committed study.

    ``UserError`` for an unknown profile, or numbers or folders that cannot be used.
    """

    def __init__(self, profile: str = "quick", seeds: int = 1, jobs: int = 1,
                 data_root: str | Path | None = None, out: str | Path | None = None):  # fmt: skip
        if seeds < 1 or jobs < 1:
            raise UserError(f"seeds and jobs must be at least 1, not {seeds} and {jobs}")
        self.profile = profiles.get(profile)
        self.seeds, self.jobs = list(range(seeds)), jobs
        self.data_root = None if data_root is None else _folder(data_root, "data root")
        if self.data_root is not None and not self.data_root.is_dir():
            raise UserError(f"data root {data_root} is no folder: name the one that holds the data")
        self.out = LOCAL if out is None else _folder(out, "folder of runs")
        if self.out.exists() and not self.out.is_dir():
            raise UserError(f"folder of runs {out} is a file: name a folder")
        self.store = Store(self.out, self.data_root, rules_digest())

    def configs(self, names: Sequence[str]) -> list[Run]:
        """The runs of these tables for the session's seeds."""
        return tables.table_configs(names, self.profile, self.seeds)

    def ablation_configs(self) -> list[Training]:
        """The runs of the ablations for the session's seeds."""
        return [a.config(self.profile, seed) for seed in self.seeds for a in ABLATIONS]

    def field_configs(self) -> list[Training]:
        """The runs whose receptive fields are measured, for the session's seeds."""
        ks = (3, 7, 15) if self.profile.evidence else (15,)
        variants = [Variant("conv1x1"), *(Variant("gcn", k) for k in ks)]
        return [v.config(self.profile, seed) for v in variants for seed in self.seeds]

    def own_configs(self) -> list[Run]:
        """The runs that claims beyond the paper's need, for the session's seeds."""
        runs = [v.config(self.profile, seed) for seed in self.seeds for v in own_variants()]
        return [run for run in runs if run is not None]

    def train(self, *names: str) -> None:
        """Train what is missing of these tables; ``RuntimeError`` lists the runs that failed."""
        self.run(self.configs(names))

    def train_ablations(self) -> None:
        """Train what is missing of the ablations of the trivial convolution, unless the profile
        leaves them to the command line."""
        if self.profile.batch_ablations:
            self.run(self.ablation_configs())

    def train_variant(self, head: str, k: int | None = None, refine: bool = False) -> Record:
        """Train one variant with seed 0 if it is missing, and return its record."""
        run = Variant(head, k, refine=refine).config(self.profile, 0)
        self.run([run])
        return self.store.record(run)

    def run(self, runs: Sequence[Run]) -> None:
        """Train what is missing of ``runs``; a missing CRF leaves out its own run only."""
        left_out = resources.without_backend(list(runs))
        for run, reason in left_out.items():
            print(f"{run.name} is left out: {reason}")
        runs = [run for run in runs if run not in left_out]
        self.adopt_pretraining(runs)
        with controls.bar(len(runs)) as log:
            failures = scheduler.run_all(runs, self.store, self.jobs, log)
        if failures:
            raise RuntimeError("; ".join(failures))

    def adopt_pretraining(self, runs: Sequence[Run]) -> None:
        """Copy what ``runs`` start from, where the committed study has its weights, and say so."""
        if not self.own:
            return
        for link in dict.fromkeys(link for run in runs for link in resources.chain(run)):
            if isinstance(link, PreTraining):
                resources.check_writable(self.out)
                if self.store.adopt(link, COMMITTED):
                    print(f"{link.name}: weights and record of the committed study", flush=True)

    def measure(self) -> list[Record]:
        """Receptive fields of :meth:`field_configs`, on a few objects of each size."""
        runs, per_bin = self.field_configs(), 4 if self.profile.evidence else 1
        with controls.bar(len(runs)) as log:
            return receptive_fields.measure_all(runs, self.store, per_bin, self.jobs, log)

    @property
    def drawn(self) -> bool:
        """Whether the images are drawn ones; photographs stay private and are never shown."""
        return self.profile.template.data.source.default_root is not None

    @property
    def own(self) -> bool:
        """Whether ``out`` is the user's folder, not the committed study."""
        return self.out != COMMITTED

    def _runs_of(self, variants: Sequence[Variant]) -> set[Run]:
        """All runs of ``variants`` that may have records: seeds that nobody asked for count too."""
        seeds = range(max(20, len(self.seeds)))
        return {v.config(self.profile, seed) for v in variants for seed in seeds} - {None}

    @cached_property
    def _counting(self) -> set[Run]:
        runs = self._runs_of([*all_variants(), *ABLATIONS, *AT_BEST, *own_variants()])
        return {link for run in runs for link in resources.chain(run)}

    def current(self, out: Path) -> list[Record]:
        """The records below ``out`` that count for this profile as it is today."""
        return selection.current(records.read_all(out, self.profile.name), self._counting)

    @property
    def study_records(self) -> list[Record]:
        """The committed records that count."""
        return self.current(COMMITTED)

    @property
    def local_records(self) -> list[Record]:
        """The user's records that count."""
        return self.current(self.out) if self.own else []

    def stale(self) -> list[str]:
        """Names of records in ``out`` that do not count: other schedule, data, code or machine.

        Those on held-out images are meant for other questions.
        """
        counted = {record["key"] for record in self.current(self.out)}
        everything = records.read_all(self.out, self.profile.name)
        others = (record for record in everything if record["key"] not in counted)
        return [r["name"] for r in others if not selection.run_of(r).data.holdout]

    @property
    def records(self) -> list[Record]:
        """The user's records if there are any, else the committed ones: what figures speak of."""
        return self.local_records or self.study_records

    def measured(self) -> list[Record]:
        """The receptive fields that were measured of :attr:`records`; none until the baseline and
        GCN 15, which are compared, have a seed in common."""
        own = self.local_records
        out, counted = (self.out, own) if own else (COMMITTED, self.study_records)
        everything = records.read_all(out, self.profile.name, "fields")
        measured = selection.field_records_of(everything, counted)
        runs = {(run.k or 1, run.seed) for run in map(selection.run_of, measured)}
        base, gcn = ({seed for k, seed in runs if k == size} for size in (1, 15))
        return measured if base & gcn else []

    def ablations(self) -> list[Record]:
        """:attr:`records` if any is of an ablation that is no variant of a table, else none."""
        changed = self._runs_of(ABLATIONS) - self._runs_of(all_variants())
        everything = self.records
        return everything if changed & set(map(selection.run_of, everything)) else []

    @property
    def label(self) -> str:
        """The profile in words, and whether its data are only a part of the official ones."""
        subset = ", subset" * any(map(selection.is_subset, self.records))
        return f"{self.profile.title} (profile {self.profile.name}{subset})"

    def labels(self) -> dict[str, str]:
        """The sources of a table in words."""
        own = {"local": f"your run ({self.profile.name})"} if self.local_records else {}
        return {"study": f"study ({self.profile.name})"} | own

    def frame(self, name: str) -> pd.DataFrame:
        """Table ``name`` in long form, see :func:`gcnlab.analysis.tables.compare`."""
        sources = {"study": self.study_records, "local": self.local_records}
        return tables.compare(name, self.profile, sources)

    def table(self, name: str) -> pd.DataFrame:
        """Table ``name`` in the paper's form: published, committed study, own run."""
        return tables.in_paper_form(self.frame(name), self.labels())

    def judge(self, *ids: int) -> list[Verdict]:
        """Verdicts on the paper's claims (all by default) from :attr:`records`."""
        return claims.judge(self.profile, self.records, self.measured(), *ids)

    def verdicts(self, *ids: int) -> pd.DataFrame:
        """The same for reading, see :func:`gcnlab.analysis.claims.verdict_frame`."""
        return claims.verdict_frame(self.judge(*ids))

    def curves(self) -> pd.DataFrame:
        """Loss and mIoU of Tables 1–5 at every point of every learning curve."""
        frame = curves.learning_curves(self.profile, self.records)
        return frame if not frame["diverged"].all() else frame[:0]

    def boundary_sensitivity(self) -> pd.DataFrame:
        """Accuracies (%) of Table 5's models over the boundary distance (pixels).

        Of seeds that did not diverge, and that more than one model has.
        Columns: model, distance, seed, boundary_accuracy, internal_accuracy.
        """
        spec, rows = SPECS["5"], []
        names = dict(zip(spec.variants(), dict.fromkeys(spec.cells()["row"]), strict=True))
        for variant, group in selection.by_variant(self.profile, self.records, names).items():
            for record in (record for record in group if not selection.is_diverged(record)):
                for distance in sorted(record["counts"]["boundary"].keys() - {"all"}):
                    accuracies = selection.boundary_accuracies(record, distance)
                    seed = selection.seed_of(record)
                    rows.append((names[variant], float(distance), seed, *accuracies))
        columns = ["model", "distance", "seed", "boundary_accuracy", "internal_accuracy"]
        frame = pd.DataFrame(rows, columns=columns)
        return frame[frame.groupby("seed")["model"].transform("nunique") > 1]

    def _shown(self, table: str) -> dict[str, Training | None]:
        """The models of which ``table`` gets images, by name: of stages those of the last."""
        variants = [v for v in SPECS[table].variants() if v.head and "MS" not in (v.stage or "")]
        last = max(v.stage or "" for v in variants)
        return {v.title: v.config(self.profile, 0) for v in variants if (v.stage or "") == last}

    def is_trained(self, run: Run) -> bool:
        """Whether the weights of ``run`` are below ``out``; the committed study has none."""
        weights = (self.out / run.profile / "weights").glob(f"{run.name}-*.pt")
        # Its key asks for the bytes of its data, which may have to be drawn first.
        return any(weights) and self.store.is_complete(run) and self.store.output(run).is_file()

    def model(self, run: Training) -> nn.Module:
        """The network of ``run``, in evaluation mode; with random weights if it is not trained."""
        model = trained_model(run, self.store) if self.is_trained(run) else build_model(run)
        return model.eval()

    def has_examples(self, table: str) -> bool:
        """Whether :meth:`examples` of ``table`` can, and may, be shown."""
        runs = self._shown(table).values()
        return self.drawn and None not in runs and all(map(self.is_trained, runs))

    def examples(self, count: int = 4, table: str = "5") -> dict[str, Any]:
        """Images, truths and predictions of the models of ``table``, for ``images.qualitative``.

        Chosen by a fixed rule among the validation images: :func:`gcnlab.report.images.choose`.
        ``UserError`` if the models are not trained below ``out``.
        """
        from gcnlab.report.images import choose  # matplotlib, which a run does not need

        models = self._shown(table)
        spec = next(iter(models.values())).data
        split = data.load(spec, "val", self.data_root)
        labels = [_unpadded(*split[i][1:]).numpy() for i in range(min(200, len(split)))]
        chosen = choose(labels, count)
        shown, device, context = [split[i] for i in chosen], pick_device(), inference_context()
        predictions = {}
        for name, run in models.items():
            model = trained_model(run, self.store).to(device)
            maps = [predict(model, image[None], context, run.test_time)[0] for image, *_ in shown]
            pairs = zip(maps, shown, strict=True)
            predictions[name] = [_unpadded(m.cpu(), size).numpy() for m, (*_, size) in pairs]
        pictures = [_unpadded(image, size).permute(1, 2, 0).numpy() for image, _, size in shown]
        return {"images": pictures, "truths": [labels[i] for i in chosen],
                "predictions": predictions, "class_names": spec.class_names}  # fmt: skip


def _unpadded(maps: Tensor, size: tuple[int, int]) -> Tensor:
    return maps[..., : size[0], : size[1]]


def _folder(text: str | Path, what: str) -> Path:
    if not str(text).strip():
        raise UserError(f"the {what} is an empty name: name a folder, such as .")
    try:
        return Path(text).expanduser().resolve()
    except (RuntimeError, OSError, ValueError) as error:
        raise UserError(f"{what} {text!r}: {error}") from None
