"""The question that section 4.1.1 leaves open: why the trivial k×k convolution gets worse as k grows.

It contains GCN exactly, so it could do at least as well. Either its many weights fit the training images too closely
(overfitting), or training does not find its good weights (optimisation). The trials tell the two apart.
"""

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from gcnlab import data
from gcnlab.errors import UserError
from gcnlab.evaluation.inference import score_segmentation
from gcnlab.evaluation.kernels import gcn_share, spectrum
from gcnlab.study import results
from gcnlab.study.experiment import pick_device
from gcnlab.study.margins import HOLDS, UNDECIDED, decide, paired, points
from gcnlab.study.profiles import Profile
from gcnlab.study.run import Run, load_model, run_key
from gcnlab.study.variants import Variant, variants
from gcnlab.training import autocast, best_precision

FOLDER = "open-question"  # beside the profiles' folders: these runs fill no table of the paper
KS = (3, 5, 7, 9, 15)
FEW = {"shapes": 250, "smoke": 8}  # training images of the small set
LARGEST = KS[-1]
FEW_KS = (3, 9, LARGEST)  # on few images


@dataclass(frozen=True)
class Trial:
    """One training.

    Args:
        head, k: as in a variant.
        few: train on the small set.
        start: ``gcn`` or ``conv``: begin with all weights of that head's finished run with the same k and seed, and
            train as long again. A convolution that begins with GCN's weights computes exactly what that GCN does.
        scaled: ``rate`` (learning rate of the heads divided by k² / 9) or ``decay`` (weight decay times k² / 9): what
            a 3×3 convolution has, for the fan-in of a k×k one.
    """

    head: str
    k: int
    few: bool = False
    start: str | None = None
    scaled: str | None = None

    def run(self, profile: Profile, seed: int) -> Run:
        """This trial on the data of ``profile``; on all of them with nothing changed, a run of the paper's tables."""
        if profile.name not in FEW:
            raise UserError(f"profile {profile.name!r} has no trials of the open question; choose {' or '.join(FEW)}")
        plain = replace(profile.template, head=self.head, k=self.k, seed=seed)
        own = "" if profile.name == "shapes" else profile.name
        if self == Trial(self.head, self.k):
            return plain if Variant(self.head, self.k) in variants() else replace(plain, profile=FOLDER, label=own)
        schedule, grown = plain.schedule, self.k**2 / 9
        if self.scaled == "rate":
            schedule = replace(schedule, lr=schedule.lr / grown, backbone_lr=schedule.backbone_lr or schedule.lr)
        elif self.scaled == "decay":
            schedule = replace(schedule, weight_decay=schedule.weight_decay * grown)
        return replace(
            plain,
            profile=FOLDER,
            data=replace(plain.data, images=FEW[profile.name]) if self.few else plain.data,
            schedule=schedule,
            weights=plain.weights if self.start is None else Trial(self.start, self.k).run(profile, seed),
            label="-".join(filter(None, (
                f"{FEW[profile.name]}-images" * self.few,
                f"from-{self.start}" if self.start else "",
                f"scaled-{self.scaled}" if self.scaled else "",
                own,
            ))),
        )  # fmt: skip


TRIALS = (
    *(Trial(head, k) for k in KS for head in ("gcn", "conv")),
    Trial("conv", LARGEST, start="gcn"),
    Trial("gcn", LARGEST, start="gcn"),
    Trial("conv", LARGEST, start="conv"),
    *(Trial(head, k, few=True) for k in FEW_KS for head in ("gcn", "conv")),
    Trial("conv", LARGEST, scaled="rate"),
    Trial("conv", LARGEST, scaled="decay"),
)


def runs(profile: Profile, seeds: list[int]) -> list[Run]:
    """All trials, seed by seed."""
    return [trial.run(profile, seed) for seed in seeds for trial in TRIALS]


VERSION = 1  # of what is measured
TRAINING_IMAGES = 250  # of a run's own training images, on which its fit is measured


def measure(trial: Trial, profile: Profile, seed: int, out: Path, data_root: Path | None) -> dict[str, Any]:
    """Fit and kernel of a finished trial, or what was measured of it before.

    Returns a record: the trial and its seed; ``miou`` on the validation and ``training_miou`` on evenly spaced training
    images (in [0, 1]); of the head on the coarsest map ``spectrum`` and, of a trivial convolution, ``gcn_share``, with
    ``chance_share``, that of noise of its shape (see :mod:`gcnlab.evaluation.kernels`).
    """
    run = trial.run(profile, seed)
    key = run_key(run, data_root)
    path = results.trials_path(out, FOLDER, run.name, key)
    if path.is_file() and (known := _read(path))["version"] == VERSION:
        return known
    device = pick_device()
    model = load_model(run, out, data_root).to(device)
    split, size = data.load(run.data, "train", data_root), run.schedule.batch_size
    count = min(TRAINING_IMAGES, len(split))
    picked = [i * len(split) // count for i in range(count)]
    batches = split.batches(iter([picked[i : i + size] for i in range(0, len(picked), size)]), split.__getitem__)
    context = autocast(device, best_precision(device))
    fit, _ = score_segmentation(model, batches, len(run.data.class_names), (), context)
    trivial, head = run.head == "conv", model.heads[-1].cpu()
    dense = (head.weight if trivial else head.kernel()).detach()
    noise = torch.randn(dense.shape, generator=torch.Generator().manual_seed(0))
    found = results.read_record(out, run.profile, run.name, key)
    record = {
        "version": VERSION,
        "key": key,
        "config": run.config(),
        "finished": found["finished"],
        "profile": profile.name,
        "trial": asdict(trial),
        "seed": seed,
        "miou": found["metrics"]["miou"],
        "training_miou": fit.miou(),
        "gcn_share": gcn_share(dense) if trivial else None,
        "chance_share": gcn_share(noise) if trivial else None,
        "spectrum": [round(float(v), 5) for v in spectrum(dense)[:40]],
    }
    results.write_json(record, path)
    return record


_CONTENT = {"version", "key", "config", "finished", "profile", "trial", "seed", "miou", "training_miou", "gcn_share",
            "chance_share", "spectrum"}  # fmt: skip


def _read(path: Path) -> dict[str, Any]:
    def lacks(record: dict[str, Any]) -> set[str]:
        return _CONTENT - record.keys() or Trial.__dataclass_fields__.keys() - record["trial"].keys()

    return results.read_json(path, lacks)


def read(out: Path, profile: Profile) -> list[dict[str, Any]]:
    """What was measured of the trials of ``profile`` below ``out``, as they are today, one record per trial and seed.

    Raises ``UserError`` naming a file that is none.
    """

    def counts(record: dict[str, Any]) -> bool:
        if (record["version"], record["profile"]) != (VERSION, profile.name):
            return False
        trial = Trial(**record["trial"])
        return trial in TRIALS and record["config"] == trial.run(profile, record["seed"]).config()

    found = map(_read, sorted(results.trials_path(out, FOLDER, "", "").parent.glob("*.json")))
    current = sorted(filter(counts, found), key=lambda record: record["finished"])
    return list({(Trial(**record["trial"]), record["seed"]): record for record in current}.values())


def frame(records: list[dict[str, Any]]) -> pd.DataFrame:
    """One row per trial and seed: those of :class:`Trial`, seed, shares, and scores in percent."""
    shares = ["gcn_share", "chance_share"]
    rows = [
        record["trial"] | {"seed": record["seed"]} | {name: record[name] for name in shares}
        | {name: 100 * record[name] for name in ("miou", "training_miou")}
        for record in records
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=[*Trial.__dataclass_fields__, "seed", *shares, "miou", "training_miou"])


@dataclass(frozen=True)
class Finding:
    """One trial against another, within seeds: differences in points of mIoU with their margins, and what they say.

    ``gap`` is what validation changes beyond the fit to training images: generalisation.
    """

    question: str
    verdict: str
    validation: str
    training: str
    gap: str
    n: int

    @property
    def worse(self) -> bool:
        return self.verdict.startswith("worse")


CAUSES = ("fit (optimisation)", "generalisation (overfitting)")
BEGUN = "begun with GCN's kernel, "
NOT_RUN, ONE_SEED, ALIKE = "not run", "not decided: no spread", "no clear difference"


def compare(records: list[dict[str, Any]], question: str, one: Trial, other: Trial) -> Finding:
    """``one`` minus ``other`` over the seeds that both have.

    A clear difference in validation (beyond its 95 % margin) comes from the fit to the training images (optimisation),
    from generalisation (overfitting) or from both: from what differs clearly in the same direction.
    """

    def scores(trial: Trial) -> dict[int, np.ndarray]:
        found = (r for r in records if Trial(**r["trial"]) == trial)
        return {r["seed"]: 100 * np.array([r["miou"], r["training_miou"]]) for r in found}

    a, b = scores(one), scores(other)
    each = np.array([a[seed] - b[seed] for seed in sorted(a.keys() & b.keys())])
    if not len(each):
        return Finding(question, NOT_RUN, "", "", "", 0)
    validation, training, gap = (paired(values) for values in (*each.T, each[:, 0] - each[:, 1]))
    direction = decide(*validation)
    if validation[1] is None:
        verdict = ONE_SEED
    elif direction == UNDECIDED:
        verdict = ALIKE
    else:
        causes = dict(zip(CAUSES, (training, gap), strict=True))
        named = [name for name, change in causes.items() if decide(*change) == direction]
        verdict = ("better" if direction == HOLDS else "worse") + f": {' and '.join(named) or 'cause not decided'}"
    return Finding(question, verdict, points(*validation), points(*training), points(*gap), len(each))


def findings(records: list[dict[str, Any]]) -> list[Finding]:
    """All comparisons: where the trivial convolution gets worse or falls behind GCN, and what changes that."""
    conv, gcn = Trial("conv", LARGEST), Trial("gcn", LARGEST)
    begun, few = replace(conv, start="gcn"), [replace(Trial("conv", k), few=True) for k in FEW_KS]
    asked = [(f"k = {k} against 5, all images", Trial("conv", k), Trial("conv", 5)) for k in KS if k > 5]
    asked += [(f"k = {trial.k} against {FEW_KS[0]}, few images", trial, few[0]) for trial in few[1:]]
    asked += [
        (f"against GCN, k = {LARGEST}, all images", conv, gcn),
        (f"against GCN, k = {LARGEST}, few images", few[-1], replace(gcn, few=True)),
        (f"{BEGUN}against that GCN", begun, gcn),
        (f"{BEGUN}against GCN trained as long", begun, replace(gcn, start="gcn")),
        (f"{BEGUN}against itself trained as long", begun, replace(conv, start="conv")),
        ("rate of the heads divided by the fan-in's growth, against plain", replace(conv, scaled="rate"), conv),
        ("weight decay times the fan-in's growth, against plain", replace(conv, scaled="decay"), conv),
    ]
    return [compare(records, *question) for question in asked]


def answer(records: list[dict[str, Any]]) -> str:
    """The answer in one sentence, from :func:`findings`."""
    listed = findings(records)
    found = {finding.question: finding for finding in listed}
    regimes, begun = listed[:-5], listed[-5:-2]
    undecided = [f.question for f in regimes + begun if f.verdict in (NOT_RUN, ONE_SEED)]
    if undecided:
        verdict = found[undecided[0]].verdict.removeprefix("not decided: ")
        return f"Not decided: {undecided[0]}: {verdict}. Every comparison needs two seeds."
    seeds = min(f.n for f in regimes + begun)
    lost = [f for f in regimes if f.worse]
    if not lost:
        looked_at = "; ".join(f"{f.question}: {f.validation}" for f in regimes)
        return f"No regime was found in which a large trivial convolution is clearly worse (n = {seeds}; {looked_at})."
    causes = [cause for cause in CAUSES if any(cause in f.verdict for f in lost)]
    told = "; ".join(f"{f.question}: {f.validation}, {f.verdict.removeprefix('worse: ')}" for f in lost)
    kept = "; ".join(f"{f.question.removeprefix(BEGUN)} {f.validation}" for f in begun)
    return (
        f"It gets worse by {' and by '.join(causes) or 'a cause that is not decided'} (n = {seeds}; {told}); {BEGUN}it "
        f"changes {kept}."
    )
