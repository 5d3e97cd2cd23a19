"""The question that section 4.1.1 leaves open: why the trivial k×k convolution gets worse as k grows.

It contains GCN exactly, so it could do at least as well. Either its many weights fit the training images too closely
(overfitting), or training does not find its good weights (optimisation). The trials tell the two apart.
"""

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from gcnlab import data
from gcnlab.evaluation.inference import score_segmentation
from gcnlab.evaluation.kernels import gcn_share, spectrum
from gcnlab.study import results
from gcnlab.study.experiment import pick_device
from gcnlab.study.margins import FAILS, HOLDS, decide, paired, points
from gcnlab.study.profiles import Profile
from gcnlab.study.run import Run, load_model, run_key
from gcnlab.study.variants import Variant, variants
from gcnlab.training import autocast, best_precision

FOLDER = "open-question"  # beside the profiles' folders: these runs fill no table of the paper
KS = (3, 5, 7, 9, 15)
FEW = {"shapes": 250, "smoke": 8}  # training images of the small set
LARGEST = KS[-1]


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
    *(Trial(head, k, few=True) for k in (3, 9, LARGEST) for head in ("gcn", "conv")),
    Trial("conv", LARGEST, scaled="rate"),
    Trial("conv", LARGEST, scaled="decay"),
)


def runs(profile: Profile, seeds: list[int]) -> list[Run]:
    """All trials, seed by seed."""
    return [trial.run(profile, seed) for seed in seeds for trial in TRIALS]


TRAINING_IMAGES = 250  # of a run's own training images, on which its fit is measured


def measure(trial: Trial, profile: Profile, seed: int, out: Path, data_root: Path | None) -> dict[str, Any]:
    """Fit and kernel of a finished trial, or what was measured of it before.

    Returns the trial, its seed, ``miou`` on the validation and ``training_miou`` on evenly spaced training images (in
    [0, 1]), and of the head on the coarsest map ``gcn_share`` and ``spectrum`` (see :mod:`gcnlab.evaluation.kernels`;
    None for a GCN, which has rank 2 × classes by construction).
    """
    run = trial.run(profile, seed)
    key = run_key(run, data_root)
    path = results.trials_path(out, FOLDER, run.name, key)
    if path.is_file():
        return _read(path)
    device = pick_device()
    model = load_model(run, out, data_root).to(device)
    split, size = data.load(run.data, "train", data_root), run.schedule.batch_size
    count = min(TRAINING_IMAGES, len(split))
    picked = [i * len(split) // count for i in range(count)]
    batches = split.batches(iter([picked[i : i + size] for i in range(0, len(picked), size)]), split.__getitem__)
    context = autocast(device, best_precision(device))
    fit, _ = score_segmentation(model, batches, len(run.data.class_names), (), context)
    dense = model.heads[-1].weight.cpu() if run.head == "conv" else None
    record = {
        "key": key,
        "profile": profile.name,
        "trial": asdict(trial),
        "seed": seed,
        "miou": results.read_record(out, run.profile, run.name, key)["metrics"]["miou"],
        "training_miou": fit.miou(),
        "gcn_share": None if dense is None else gcn_share(dense),
        "spectrum": None if dense is None else [round(float(v), 5) for v in spectrum(dense)[:40]],
    }
    results.write_json(record, path)
    return record


_CONTENT = {"key", "profile", "trial", "seed", "miou", "training_miou", "gcn_share", "spectrum"}


def _read(path: Path) -> dict[str, Any]:
    def lacks(record: dict[str, Any]) -> set[str]:
        return _CONTENT - record.keys() or Trial.__dataclass_fields__.keys() - record["trial"].keys()

    return results.read_json(path, lacks)


def read(out: Path, profile: Profile) -> list[dict[str, Any]]:
    """What was measured of the trials of ``profile`` below ``out``; ``UserError`` names a file that is none."""
    found = map(_read, sorted(results.trials_path(out, FOLDER, "", "").parent.glob("*.json")))
    return [record for record in found if record["profile"] == profile.name and Trial(**record["trial"]) in TRIALS]


def frame(records: list[dict[str, Any]]) -> pd.DataFrame:
    """One row per trial and seed: those of :class:`Trial`, seed, and scores in percent."""
    rows = [
        record["trial"] | {"seed": record["seed"], "gcn_share": record["gcn_share"]}
        | {name: 100 * record[name] for name in ("miou", "training_miou")}
        for record in records
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=[*Trial.__dataclass_fields__, "seed", "gcn_share", "miou", "training_miou"])


def difference(records: list[dict[str, Any]], one: Trial, other: Trial, score: str = "miou") -> np.ndarray:
    """Points of ``one`` minus ``other``, one value per seed that both have."""

    def scores(trial: Trial) -> dict[int, float]:
        return {r["seed"]: 100 * r[score] for r in records if Trial(**r["trial"]) == trial}

    a, b = scores(one), scores(other)
    return np.array([a[seed] - b[seed] for seed in sorted(a.keys() & b.keys())])


@dataclass(frozen=True)
class Finding:
    """One comparison within seeds: what is asked, the mean difference with its margin in words, and the seeds."""

    question: str
    answer: str
    difference: str
    n: int


def _finding(records, question: str, one: Trial, other: Trial, words: tuple[str, str, str], score="miou") -> Finding:
    """``words`` for: clearly more, clearly less, no clear difference."""
    values = difference(records, one, other, score)
    if not len(values):
        return Finding(question, "not run", "", 0)
    gain = paired(values)
    decided = decide(*gain)
    return Finding(question, words[0 if decided == HOLDS else 1 if decided == FAILS else 2], points(*gain), len(values))


def findings(records: list[dict[str, Any]]) -> list[Finding]:
    """The comparisons that decide between overfitting and optimisation, by rules fixed before a trial was looked at.

    A trivial convolution that overfits fits the training images at least as well as GCN and validates worse, most of
    all on few images, and leaves GCN's solution when it is trained on from there. One that is badly optimised fits the
    training images worse than GCN, keeps GCN's solution when it starts there, and gains from a rate for its fan-in.
    """
    conv, gcn = Trial("conv", LARGEST), Trial("gcn", LARGEST)
    drop = ("it rises", "it drops", "no clear change")
    less = ("better than GCN", "worse than GCN", "like GCN")

    def few(trial: Trial) -> Trial:
        return replace(trial, few=True)

    def begun(trial: Trial, start: str) -> Trial:
        return replace(trial, start=start)

    ask = [
        (f"trivial convolution, k = {LARGEST} against 5, all images", conv, Trial("conv", 5), drop, "miou"),
        (f"trivial convolution, k = {LARGEST} against 3, few images", few(conv), few(Trial("conv", 3)), drop, "miou"),
        (f"against GCN, k = {LARGEST}, all images, validation", conv, gcn, less, "miou"),
        (f"against GCN, k = {LARGEST}, all images, training", conv, gcn, less, "training_miou"),
        (f"against GCN, k = {LARGEST}, few images, validation", few(conv), few(gcn), less, "miou"),
        (f"against GCN, k = {LARGEST}, few images, training", few(conv), few(gcn), less, "training_miou"),
        ("begun with GCN's kernel and trained on, against GCN trained on", begun(conv, "gcn"), begun(gcn, "gcn"),
         ("it gets better", "it leaves GCN's solution: overfitting", "it stays: optimisation, if it is worse alone"),
         "miou"),
        ("begun with GCN's kernel, against its own and as long a training", begun(conv, "gcn"), begun(conv, "conv"),
         ("GCN's is the better start: optimisation", "its own is the better start", "no clear difference"), "miou"),
        ("rate of the heads divided by the fan-in's growth", replace(conv, scaled="rate"), conv,
         ("it helps: optimisation", "it hurts", "no clear change"), "miou"),
        ("weight decay times the fan-in's growth", replace(conv, scaled="decay"), conv,
         ("it helps: overfitting", "it hurts", "no clear change"), "miou"),
    ]  # fmt: skip
    return [_finding(records, *question) for question in ask]


def answer(records: list[dict[str, Any]]) -> str:
    """The answer in one sentence, from :func:`findings`."""
    found = {finding.question: finding for finding in findings(records)}
    listed = list(found.values())
    if any(finding.n == 0 for finding in listed[:7]):
        return "Not decided: some trials were not run."
    drops = [finding for finding in listed[:2] if finding.answer == "it drops"]
    behind = [finding for finding in (listed[2], listed[4]) if finding.answer == "worse than GCN"]
    if not drops and not behind:
        return (
            f"No regime was found in which a large trivial convolution gets worse or falls behind GCN "
            f"(all images: {listed[0].difference} from k = 5 to {LARGEST}; few: {listed[1].difference} from k = 3), so "
            f"there is nothing here to explain; begun with GCN's kernel it changes by {listed[6].difference} against "
            "GCN trained on."
        )
    fits = [listed[i].answer for i in (3, 5)]
    stays, leaves = "optimisation" in listed[6].answer and bool(behind), "overfitting" in listed[6].answer
    signs = {
        "overfitting": sum(fit == "better than GCN" for fit in fits) + leaves,
        "optimisation": sum(fit == "worse than GCN" for fit in fits) + stays,
    }
    likely = max(signs, key=signs.get) if signs["overfitting"] != signs["optimisation"] else "neither alone"
    where = "; ".join(f"{finding.question}: {finding.difference}" for finding in drops + behind)
    return (
        f"The large trivial convolution falls behind ({where}); the evidence is for {likely} "
        f"({signs['overfitting']} signs of overfitting, {signs['optimisation']} of optimisation: training fit "
        f"{listed[3].difference} on all and {listed[5].difference} on few images against GCN, and begun with GCN's "
        f"kernel {listed[6].difference} against GCN trained on)."
    )
