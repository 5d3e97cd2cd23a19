"""In which order runs decide most claims first, so that a stop leaves the most useful study."""

from collections.abc import Callable, Sequence

from gcnlab.analysis.rules import RULES
from gcnlab.experiments.config import Run
from gcnlab.experiments.profiles import Profile
from gcnlab.experiments.resources import chain


def decisive_first(
    profile: Profile, runs: Sequence[Run], seeds: Sequence[int], cost: Callable[[Run], float]
) -> dict[Run, list[int]]:
    """``runs`` and what they start from, in order, and the claims that each completes.

    A claim needs all ``seeds`` of its variants; runs of no claim come last. Next is always the
    claim whose runs cost least; a run comes after what it starts from.
    """
    links = dict.fromkeys(link for run in runs for link in reversed(list(chain(run))))
    wanted_by: dict[int, set[Run]] = {}
    for rule in RULES:
        variants = dict.fromkeys(variant for variant, _ in rule.test.needs())
        needed = {v.config(profile, seed) for v in variants for seed in seeds} - {None}
        needed = {link for run in needed for link in chain(run)}
        if needed and needed <= links.keys():
            wanted_by[rule.claim] = needed
    order: dict[Run, list[int]] = {}
    while wanted_by:
        costs = {c: sum(map(cost, needed - order.keys())) for c, needed in wanted_by.items()}
        claim = min(costs, key=lambda c: (costs[c], c))
        needed = wanted_by.pop(claim)
        order |= {run: [] for run in links if run in needed and run not in order}
        order[list(order)[-1]].append(claim)
    return order | {run: [] for run in links if run not in order}
