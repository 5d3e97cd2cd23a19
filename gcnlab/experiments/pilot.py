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
from gcnlab.experiments.store import Store
from gcnlab.experiments.variants import Variant

LEAST_GAIN = 1.5  # points of mIoU that doubling the steps must add to be worth it
SEEDS = (0, 1)
VARIANTS = (Variant("conv1x1"), Variant("gcn", 15), Variant("conv", 9), Variant("gcn", 3),
            Variant("gcn", 9))  # fmt: skip
STEPS = {"synthetic": (2400, 4800, 9600), "photos": (1500, 3000, 6000), "smoke": (2, 4)}
BACKBONES = ("bottleneck19", "bottleneck27", "bottleneck35", "small")


def configs(
    profile: Profile, backbones: Sequence[str] | None = None, steps: Sequence[int] | None = None
) -> list[Training]:
    """The pilot's trainings: every variant, seed and length on the profile's backbone, or on
    others."""
    template = profile.template
    names = (template.backbone,) if backbones is None else backbones
    lengths = STEPS[profile.name] if steps is None else steps
    drawn = isinstance(template.start, PreTraining)
    seeds, variants = (SEEDS, VARIANTS) if drawn else (SEEDS[:1], VARIANTS[:3])
    return [
        _config(profile, variant, name, length, seed)
        for name in names
        for length in lengths
        for variant in variants
        for seed in seeds
    ]


def _config(profile: Profile, variant: Variant, backbone: str, steps: int, seed: int) -> Training:
    run = variant.config(profile, seed)
    start = run.start
    if isinstance(start, PreTraining):
        start = replace(start, backbone=backbone)
    schedule = replace(run.schedule, steps=steps, evaluations=min(20, steps))
    return replace(
        run,
        backbone=backbone,
        data=replace(run.data, holdout=True),
        schedule=schedule,
        start=start,
        label=f"pilot-{backbone}-{steps}",
    )


def scores(profile: Profile, store: Store, runs: Sequence[Training]) -> pd.DataFrame:
    """Held-out and training mIoU (%) of the finished ``runs``: variant, backbone, steps, seed, …"""
    rows = []
    for run in runs:
        record = store.record(run)
        if record is None or record.get("diverged"):
            continue
        title = Variant(run.head, run.k).title
        what = (run.backbone, title, run.schedule.steps, run.seed)
        metrics = (record["metrics"][name] for name in ("miou", "training_miou"))
        rows.append((*what, *(float("nan") if value is None else 100 * value for value in metrics)))
    columns = ["backbone", "variant", "steps", "seed", "miou", "training_miou"]
    return pd.DataFrame(rows, columns=columns)


def converged_steps(frame: pd.DataFrame) -> int | None:
    """The shortest length whose double adds less than ``LEAST_GAIN`` to every variant; None if
    none."""
    table = frame.groupby(["variant", "steps"])["miou"].mean().unstack("steps")
    for steps in table.columns[:-1]:
        if 2 * steps in table and (table[2 * steps] - table[steps]).lt(LEAST_GAIN).all():
            return int(steps)
    return None


def report(profile: Profile, store: Store) -> str:
    """What the pilot says of the profile's schedule, as text."""
    frame = scores(profile, store, configs(profile))
    if frame.empty:
        return "The pilot was not run."
    table = frame.groupby(["variant", "steps"])[["miou", "training_miou"]].mean().unstack("steps")
    chosen = converged_steps(frame)
    return f"{table.round(1).to_string()}\nshortest converged schedule: {chosen or 'none of these'}"
