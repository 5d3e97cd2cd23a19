"""The pilot: which backbone and how many steps, chosen on held-out training images, never on val.

A fifth of the training images is held out (``DataSpec.holdout``). On it the question is first
whether a setting can show the paper's mechanism at all, then how long training must be:

- **Backbone.** Candidates differ in the receptive field of C5. Wanted is the widest with which the
  trained baseline still sees small objects whole and large ones not (section 3.1): by theory,
  wider than the median object and narrower than the largest quarter. Which claim comes out plays
  no part.
- **Steps.** The shortest schedule for which doubling adds less than ``LEAST_GAIN`` points to every
  one of ``VARIANTS``, mean of ``SEEDS``. Photographs, where a step costs four times as much: the
  first three variants, one seed.
"""

from collections.abc import Sequence
from dataclasses import replace

import pandas as pd

from gcnlab.experiments.config import PreTraining, Training
from gcnlab.experiments.profiles import Profile
from gcnlab.experiments.records import COMMITTED
from gcnlab.experiments.store import Store
from gcnlab.experiments.variants import Variant

LEAST_GAIN = 1.5  # points of mIoU that doubling the steps must add to be worth it
SEEDS = (0, 1)
VARIANTS = (Variant("conv1x1"), Variant("gcn", 15), Variant("conv", 9), Variant("gcn", 3),
            Variant("gcn", 9))  # fmt: skip
STEPS = dict.fromkeys(("synthetic", "synthetic-wide"), (2400, 4800, 9600))
STEPS |= {"photos": (1500, 3000, 6000), "smoke": (2, 4)}
_METRICS = ["miou", "training_miou"]
HELD_OUT = COMMITTED / "pilot" / "held-out.csv"  # what it gave, on other backbones and rates too


def variants(profile: Profile) -> tuple[Variant, ...]:
    """The variants whose scores must have settled."""
    return VARIANTS if isinstance(profile.template.start, PreTraining) else VARIANTS[:3]


def configs(profile: Profile, steps: Sequence[int] = ()) -> list[Training]:
    """The pilot's trainings: every length (those of ``STEPS`` by default), variant and seed."""
    compared = variants(profile)
    seeds = SEEDS if compared == VARIANTS else SEEDS[:1]
    return [
        held_out(variant.config(profile, seed), length)
        for length in steps or STEPS[profile.name]
        for variant in compared
        for seed in seeds
    ]


def held_out(run: Training, steps: int) -> Training:
    """``run`` on four fifths of its training images, measured on the others after ``steps``."""
    schedule = replace(run.schedule, steps=steps, evaluations=min(20, steps))
    data, label = replace(run.data, holdout=True), f"pilot-{run.backbone}-{steps}"
    label = "-".join(filter(None, [run.label, label]))
    return replace(run, data=data, schedule=schedule, label=label)


def scores(profile: Profile, store: Store) -> pd.DataFrame:
    """Held-out and training mIoU (%) of the finished runs, by variant, steps and seed."""
    rows = []
    for run in configs(profile):
        record = store.record(run)
        if record is not None and not record.get("diverged"):
            measured = (record["metrics"][name] for name in _METRICS)
            rows.append((Variant(run.head, run.k).title, run.schedule.steps, run.seed, *measured))
    frame = pd.DataFrame(rows, columns=["variant", "steps", "seed", *_METRICS])
    return frame.assign(**100 * frame[_METRICS].astype(float))


def committed(profile: Profile) -> pd.DataFrame:
    """The same of the committed pilot, and of lengths that it tried besides."""
    frame, schedule = pd.read_csv(HELD_OUT), profile.template.schedule
    of = {"backbone": profile.template.backbone, "batch_size": schedule.batch_size}
    of |= {"lr": schedule.lr, "backbone_lr": schedule.backbone_lr}
    frame = frame[(frame[list(of)] == pd.Series(of)).all(axis=1)]
    titles = [Variant(row.head, row.k).title for row in frame.itertuples()]
    frame = frame.assign(variant=titles, miou=frame["held_out_miou"])
    return frame[["variant", "steps", "seed", *_METRICS]]


def gaps(profile: Profile) -> pd.Series:
    """Points that GCN 15 is ahead of 1×1 in the committed pilot, seed 0, by steps; empty where
    there is none, as of an installation without a checkout."""
    if not HELD_OUT.is_file():
        return pd.Series(dtype=float)
    frame, (base, gcn) = committed(profile), [variant.title for variant in VARIANTS[:2]]
    table = frame[frame["seed"] == 0].pivot(index="steps", columns="variant", values="miou")
    table = table.reindex(columns=[base, gcn])
    return (table[gcn] - table[base]).dropna()


def gains(frame: pd.DataFrame, profile: Profile) -> pd.DataFrame:
    """Points that doubling the steps adds: steps × variant, mean of the seeds that have both.

    nan for a variant of which a length was not run.
    """
    table = frame.pivot(index=["variant", "seed"], columns="steps", values="miou")
    doubled = {n: table[2 * n] - table[n] for n in table if 2 * n in table}
    by_variant = pd.DataFrame(doubled, index=table.index).groupby("variant").mean()
    return by_variant.reindex([variant.title for variant in variants(profile)]).T


def converged_steps(frame: pd.DataFrame, profile: Profile) -> int | None:
    """The shortest length whose double adds less than ``LEAST_GAIN`` to every variant; None if
    none."""
    settled = gains(frame, profile).lt(LEAST_GAIN).all(axis=1)
    return int(settled.idxmax()) if settled.any() else None


def report(profile: Profile, store: Store) -> str:
    """What the pilot says of the profile's schedule, as text."""
    frame = scores(profile, store)
    if frame.empty:
        return "The pilot was not run."
    table = frame.groupby(["variant", "steps"])[_METRICS].mean().unstack("steps")
    chosen = converged_steps(frame, profile)
    return f"{table.round(1).to_string()}\nshortest converged schedule: {chosen or 'none of these'}"
