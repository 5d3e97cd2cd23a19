"""Stacks at the best of three learning rates: are they worse, or only harder to train?

All variants share one schedule, whose rate was found with other heads. So claim 5 might tell of
rates and not of stacks. The best rate is that of the highest mIoU on held-out training images, mean
over ``KS``, seed 0; no validation image is looked at (``results/pilot/stack-rates.csv``). GCN keeps
the shared rate, which favours the stacks.
"""

from collections.abc import Sequence

from gcnlab.experiments.config import Training
from gcnlab.experiments.pilot import held_out
from gcnlab.experiments.profiles import Profile
from gcnlab.experiments.variants import Variant

KS = (7, 9, 11)  # of claim 5
DIVISORS = (1, 4, 16)  # of the schedule's rate for heads
BEST = 4  # which of them
BEST_STACKS = tuple(Variant("stack", k, lr_divisor=BEST) for k in KS)


def configs(profile: Profile, seeds: Sequence[int]) -> list[Training]:
    """The trainings that the choice is made from, and those at the chosen rate."""
    variants = (Variant("stack", k, lr_divisor=divisor) for k in KS for divisor in DIVISORS)
    steps = profile.template.schedule.steps
    choice = [held_out(variant.config(profile, 0), steps) for variant in variants]
    return [*choice, *(stack.config(profile, seed) for stack in BEST_STACKS for seed in seeds)]
