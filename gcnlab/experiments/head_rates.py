"""GCN and stacks, each at the best of three learning rates: are stacks worse, or harder to train?

All variants share one schedule. Its rate was found with 1×1, GCN 15 and dense 9×9, so claim 5 might
tell of rates and not of heads. The best rate of a head is that of the highest mIoU on held-out
training images, mean over ``KS``, seed 0; no validation image is looked at.
"""

from collections.abc import Sequence

import pandas as pd

from gcnlab.errors import UserError
from gcnlab.experiments.config import Training
from gcnlab.experiments.pilot import held_out
from gcnlab.experiments.profiles import Profile
from gcnlab.experiments.store import Store
from gcnlab.experiments.variants import Variant

PROFILES = ("synthetic", "smoke")  # what the choice was made for, and what shows that it runs
KS = (7, 9, 11)  # of claim 5
DIVISORS = (1, 4, 16)  # of the schedule's rate for heads
BEST = {"gcn": 1, "stack": 4}  # which of them: results/pilot/head-rates.csv
PAIRS = tuple(tuple(Variant(head, k, lr_divisor=BEST[head]) for head in BEST) for k in KS)
AT_BEST = tuple(variant for pair in PAIRS for variant in pair)


def choice(profile: Profile) -> dict[tuple[str, int, int], Training]:
    """(head, divisor, k) → the training on four fifths of the images that is compared."""
    each = ((head, divisor, k) for head in BEST for divisor in DIVISORS for k in KS)
    runs = {(h, d, k): Variant(h, k, lr_divisor=d).config(profile, 0) for h, d, k in each}
    return {of: held_out(run, run.schedule.steps) for of, run in runs.items()}


def configs(profile: Profile, seeds: Sequence[int]) -> list[Training]:
    """The trainings that are compared, and those at the chosen rates.

    ``UserError`` for a profile that the rates were not chosen for.
    """
    if profile.name not in PROFILES:
        raise UserError(f"rates were chosen for profile {PROFILES[0]} alone: --profile that")
    best = (variant.config(profile, seed) for variant in AT_BEST for seed in seeds)
    return [*choice(profile).values(), *best]


def report(profile: Profile, store: Store) -> str:
    """Held-out mIoU (%) by head, divisor of the rate, and k, as text."""
    records = {of: store.record(run) for of, run in choice(profile).items()}
    scores = {of: 100 * (r["metrics"].get("miou") or 0) for of, r in records.items() if r}
    if not scores:
        return "no learning rate of a head was tried"
    table = pd.Series(scores).unstack()
    return f"held-out mIoU, learning rate / …\n{table.assign(mean=table.mean(axis=1)).round(1)}"
