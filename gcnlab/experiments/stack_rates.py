"""Stacks at the best of three learning rates: are they worse, or only harder to train?

All variants share one schedule. Its rate was found with 1×1, GCN 15 and dense 9×9, so claim 5 might
tell of rates and not of stacks. The best rate is that of the highest mIoU on held-out training
images, mean over ``KS``, seed 0; no validation image is looked at. GCN's own rate was not searched:
a lead of GCN that remains is not explained by these rates, but a tie does not show that stacks
equal GCN at its best.
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
BEST = 4  # which of them: results/pilot/stack-rates.csv
BEST_STACKS = tuple(Variant("stack", k, lr_divisor=BEST) for k in KS)


def choice(profile: Profile) -> dict[tuple[int, int], Training]:
    """(divisor, k) → the training on four fifths of the training images that is compared."""
    stacks = {(d, k): Variant("stack", k, lr_divisor=d) for d in DIVISORS for k in KS}
    steps = profile.template.schedule.steps
    return {at: held_out(stack.config(profile, 0), steps) for at, stack in stacks.items()}


def configs(profile: Profile, seeds: Sequence[int]) -> list[Training]:
    """The trainings that are compared, and those at the chosen rate.

    ``UserError`` for a profile that the rate was not chosen for.
    """
    if profile.name not in PROFILES:
        raise UserError(f"the rate of stacks was chosen for profile {PROFILES[0]}: --profile that")
    best = (stack.config(profile, seed) for stack in BEST_STACKS for seed in seeds)
    return [*choice(profile).values(), *best]


def report(profile: Profile, store: Store) -> str:
    """Held-out mIoU (%) by divisor of the rate and k, as text."""
    records = {at: store.record(run) for at, run in choice(profile).items()}
    scores = {at: 100 * (r["metrics"].get("miou") or 0) for at, r in records.items() if r}
    if not scores:
        return "no rate of stacks was tried"
    table = pd.Series(scores).unstack()
    return f"held-out mIoU, learning rate / …\n{table.assign(mean=table.mean(axis=1)).round(1)}"
