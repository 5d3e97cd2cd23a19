"""The registered rules: which test decides each claim, fixed before the runs that it judges.

Rules are data. Their digest stands in ``registered.json`` beside their power and false-alarm rates
by simulation (:mod:`gcnlab.analysis.power`); a test compares the two, so that no rule changes
unnoticed.
"""

import hashlib
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from gcnlab.analysis import judging, statistics
from gcnlab.analysis.comparisons import (
    Better,
    Each,
    MoreIn,
    OnlyIn,
    Peak,
    Rises,
    SmallerGain,
    Within,
)
from gcnlab.analysis.counted import FewerParameters, LinearCost, SimilarCost
from gcnlab.analysis.mechanism import CoversLargeObjects, LargerField
from gcnlab.experiments.variants import BACKBONES, Variant

REGISTERED = "2026-11-26"  # before any run of the study


@dataclass(frozen=True)
class Rule:
    """How one claim is decided.

    Args:
        claim: its number in ``paper/claims.json``.
        test: a dataclass of ``comparisons``, ``counted`` or ``mechanism``.
        planned_n: seeds of each variant in the synthetic study.
        registered: the day on which the rule was fixed.
        changed: said with the verdict where a rule was changed after scores of its kind had been
            seen.
    """

    claim: int
    test: Any
    planned_n: int = 0
    registered: str = REGISTERED
    changed: str | None = None


def _gcn(k: int, refine: bool = False) -> Variant:
    return Variant("gcn", k, refine=refine)


def _on(backbone: str, head: str, k: int | None = None, refine: bool = False) -> Variant:
    return Variant(head, k, refine=refine, backbone=backbone)


def _stage(head: str, stage: str, refine: bool = False) -> Variant:
    k = None if head == "conv1x1" else 15
    return Variant(head, k, refine=refine, protocol="voc", stage=stage)


BASE = Variant("conv1x1")
RESNET, RESNET_GCN = BACKBONES
KS = (3, 5, 7, 9, 11, 13, 15)
# The caption of Table 3 says k > 7, the text "any large"; the table has GCN ahead from k = 7.
STACK_KS = (7, 9, 11)
WIDTHS = (210 / 2048, 0.5, 1.0)
STAGES = ("Stage-1", "Stage-2", "Stage-3")
OTHER_HEADS = (*(("conv", k) for k in (7, 9)), *(("stack", k) for k in STACK_KS))


def _steps() -> tuple[tuple[Variant, Variant], ...]:
    """(later, earlier) row of every column of Tables 7 and 9."""
    voc, post = list(STAGES), ["Stage-3", "Stage-3-MS", "Stage-3-MS-CRF"]
    columns = [[_stage("conv1x1", s) for s in voc], [_stage("gcn", s) for s in voc]]
    columns.append([_stage("gcn", s, True) for s in [*voc, *post[1:]]])
    rows = ("Stage-1", "Stage-2", "Stage-2-MS", "Stage-2-MS-CRF")
    columns.append([Variant("gcn", 25, refine=True, protocol="street", stage=s) for s in rows])
    return tuple((later, earlier) for column in columns for earlier, later in pairwise(column))


_FIRST_STUDY = "the first study, whose networks had not converged, was judged by another rule"

RULES = (
    Rule(1, Rises(tuple(map(_gcn, KS))), 6),
    Rule(2, Better(((_gcn(15), BASE),)), 6),
    Rule(3, Better(tuple((_gcn(k), Variant("conv", k)) for k in (3, 5, 7, 9)),
                   "GCN − trivial convolution, mean over k"), 6),
    Rule(4, Peak(*(Variant("conv", k) for k in (3, 5, 9))), 12),
    Rule(5, Better(tuple((_gcn(k), Variant("stack", k)) for k in STACK_KS),
                   "GCN − stack, mean over k"), 6),
    Rule(6, Rises(tuple(Variant("stack", 7, m) for m in WIDTHS)), 6),
    Rule(7, MoreIn(_gcn(15), BASE, "internal_accuracy", "boundary_accuracy"), 6,
         changed=_FIRST_STUDY),
    # 0.5: half of the smallest change inside objects that the paper calls a gain (1.1)
    Rule(8, OnlyIn(_gcn(15, True), _gcn(15), "boundary_accuracy", "internal_accuracy", 0.5), 6),
    Rule(9, Within(Variant(backbone=RESNET_GCN), Variant(backbone=RESNET), 1.0, "top5_error"), 6,
         changed=_FIRST_STUDY),
    Rule(10, Better(((_on(RESNET_GCN, "conv1x1"), _on(RESNET, "conv1x1")),)), 6),
    Rule(11, SmallerGain((_on(RESNET_GCN, "gcn", 15, True), _on(RESNET, "gcn", 15, True)),
                         (_on(RESNET_GCN, "conv1x1"), _on(RESNET, "conv1x1"))), 6),
    Rule(12, Better(_steps(), "mean over all steps"), 6),
    Rule(13, LargerField(1.5), 6),
    Rule(14, FewerParameters()),
    Rule(15, SimilarCost(0.15)),
    Rule(16, LinearCost()),
    Rule(17, Better(tuple((_gcn(7), Variant("stack", 7, m)) for m in WIDTHS),
                    "GCN 7 − stack 7, mean over m"), 6),
    Rule(18, Each((
        Better(tuple((_stage("gcn", s, True), _stage("gcn", s)) for s in STAGES),
               "GCN + BR − GCN, mean over stages"),
        Better(tuple((_stage("gcn", s, True), _stage("conv1x1", s)) for s in STAGES),
               "GCN + BR − 1×1, mean over stages"))), 7),
    Rule(19, Better(((_gcn(15, True), _gcn(15)),
                     *((_stage("gcn", s, True), _stage("gcn", s)) for s in STAGES)),
                    "BR, mean over Table 5 and the stages"), 8),
    Rule(20, Better(tuple((Variant(head, k), _gcn(k)) for head, k in OTHER_HEADS),
                    "final training loss − that of GCN, mean over heads", "training_loss", "nats"),
         6),
    Rule(21, CoversLargeObjects(), 6),
)  # fmt: skip


@dataclass(frozen=True)
class OwnRule(Rule):
    """How a claim that the paper does not make, ``text``, is decided; its number is above 100."""

    text: str = ""

    def __post_init__(self):
        if self.claim <= 100 or self.claim in {rule.claim for rule in OWN}:
            raise ValueError(f"claim {self.claim}: the number is above 100, and no other claim's")


OWN: list[OwnRule] = []  # each added by a file of its own (docs/extending.md); not in the digest


def own_variants() -> dict[Variant, None]:
    """The models that claims beyond the paper's need."""
    return dict.fromkeys(variant for rule in OWN for variant, _ in rule.test.needs())


def rules_digest() -> str:
    """A digest of the rules for the paper's claims: any change of a test, a variant, a limit, a
    level or a planned n changes it."""
    levels = (judging.ALPHA, judging.PART_ALPHA, statistics.LEVEL, statistics.LEAST_SEEDS)
    return hashlib.blake2b(repr((RULES, levels)).encode(), digest_size=8).hexdigest()


def rule_for(claim: int) -> Rule:
    """The rule of one claim."""
    return next(rule for rule in (*RULES, *OWN) if rule.claim == claim)
