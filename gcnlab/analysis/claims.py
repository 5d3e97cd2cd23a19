"""The paper's claims beside what the runs say of them, by the registered rules."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import pandas as pd

from gcnlab import paper
from gcnlab.analysis import judging
from gcnlab.analysis.comparisons import Better, MoreIn
from gcnlab.analysis.counted import Counted
from gcnlab.analysis.curves import still_rising
from gcnlab.analysis.rules import BASE, OWN, RULES, STACK_KS, Rule, own_variants, rule_for
from gcnlab.analysis.scores import AllDiverged, NotRun, RecordedScores, Scores
from gcnlab.analysis.statistics import Effect
from gcnlab.experiments.head_rates import AT_BEST, PAIRS
from gcnlab.experiments.profiles import Profile
from gcnlab.experiments.records import Record
from gcnlab.experiments.variants import Variant

DECIDED = (judging.SUPPORTED, judging.CONTRADICTED, judging.INCONCLUSIVE)
NOT_THE_PAPERS = "not in the paper"
# Not judged, but without it the judged effect is easily misread: claim → (in words, comparison).
# Where a comparison is above zero it agrees with the claim.
BESIDE = {
    5: {"stack − 1×1 baseline": Better(tuple((Variant("stack", k), BASE) for k in STACK_KS)),
        "GCN − stack, each at the best of three learning rates": Better(PAIRS)},
    7: {"in points, inside": Better(rule_for(2).test.pairs, metric="internal_accuracy"),
        "near boundaries": Better(rule_for(2).test.pairs, metric="boundary_accuracy")},
    8: {"share of the errors, near boundaries − inside": MoreIn(
        rule_for(8).test.better, rule_for(8).test.worse, "boundary_accuracy", "internal_accuracy")},
    11: {"gain that remains with GCN and BR": Better((rule_for(11).test.small,))},
    17: {"GCN 7 − stack 7, each at the best of three learning rates": Better(PAIRS[:1])},
    20: {"stack − GCN, each at the best of three learning rates": Better(
        tuple((stack, gcn) for gcn, stack in PAIRS), "", "training_loss", "nats")},
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Verdict(judging.Outcome):
    """One claim judged.

    Args:
        registered, changed: of the rule.
        converged: False where the networks have not converged: what they say is provisional.
        diverged: runs of the variants concerned that diverged.
        beside: in words → what belongs beside the judged effect and was not judged.
    """

    id: int
    claim: str
    source: str
    registered: str
    changed: str | None
    converged: bool
    diverged: int
    beside: dict[str, Effect] = field(default_factory=dict)

    @property
    def provisional(self) -> str:
        """`` (not converged)`` where that is so, else empty."""
        return " (not converged)" * (self.verdict in DECIDED and not self.converged)


def judge(
    profile: Profile, records: Sequence[Record], fields: Sequence[Record] = (), *ids: int
) -> list[Verdict]:
    """A verdict on every claim of the paper, or on those of ``ids``, from records of one profile.

    ``fields``: measurements of receptive fields. A profile whose numbers are never evidence decides
    only what is counted.
    """
    scores = RecordedScores(profile, records, fields, (*own_variants(), *AT_BEST))
    claims = {claim["id"]: claim for claim in paper.claims()}
    claims |= {rule.claim: {"claim": rule.text, "source": NOT_THE_PAPERS} for rule in OWN}
    return [
        _verdict(rule, claims[rule.claim], scores, profile, records)
        for rule in ((*RULES, *OWN) if ids else RULES)
        if not ids or rule.claim in ids
    ]


def _verdict(
    rule: Rule, claim: dict, scores: RecordedScores, profile: Profile, records: Sequence[Record]
) -> Verdict:
    counted = isinstance(rule.test, Counted)
    try:
        outcome = rule.test.judge(scores)
    except NotRun as reason:
        word = judging.NOT_ENOUGH if isinstance(reason, AllDiverged) else judging.NOT_RUN
        outcome = judging.Outcome(word, str(reason))
    if not (profile.evidence or counted):
        outcome = judging.Outcome(judging.NOT_RUN, f"profile {profile.name} is never evidence")
    networks = {variant for variant, _ in rule.test.needs()} or getattr(rule.test, "networks", ())
    return Verdict(
        **vars(outcome),
        id=rule.claim,
        claim=claim["claim"],
        source=claim["source"],
        registered=rule.registered,
        changed=rule.changed,
        converged=counted or (profile.converged and not still_rising(profile, records, networks)),
        diverged=sum(scores.diverged.get(variant, 0) for variant in networks),
        beside=_beside(rule.claim, scores) if outcome.effects else {},
    )


def _beside(claim: int, scores: Scores) -> dict[str, Effect]:
    shown = {}
    for words, comparison in BESIDE.get(claim, {}).items():
        with suppress(NotRun):
            shown[words] = comparison.judge(scores).effects[0]
    return {words: effect for words, effect in shown.items() if effect.n}


def verdict_frame(verdicts: Sequence[Verdict]) -> pd.DataFrame:
    """Verdicts for reading: claim, as tested, verdict, statement, n, what was detectable."""
    tested = {claim["id"]: claim.get("tested") for claim in paper.claims()}
    rows = [
        {
            "claim": v.id,
            "as tested": tested.get(v.id) or v.claim,
            "verdict": v.verdict + v.provisional,
            "statement": v.statement,
            "n": v.n,
            "detectable": "" if v.detectable is None else f"{v.detectable:.1f}",
            "n that decides": "" if v.needed is None else v.needed,
        }
        for v in verdicts
    ]
    return pd.DataFrame(rows).set_index("claim")
