"""The paper's claims on several kinds of data at once, and what they sum up to."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import pandas as pd

from gcnlab import paper
from gcnlab.analysis.claims import DECIDED, Verdict
from gcnlab.analysis.judging import CONTRADICTED, INCONCLUSIVE, NOT_ENOUGH, NOT_RUN, SUPPORTED
from gcnlab.analysis.rules import RULES, rule_for
from gcnlab.analysis.scores import NotRun, Scores, published_scores
from gcnlab.analysis.statistics import LEAST_SEEDS, Effect
from gcnlab.experiments import pilot
from gcnlab.experiments.profiles import PROFILES, Profile
from gcnlab.experiments.records import COMMITTED
from gcnlab.report.words import listed, signed

if TYPE_CHECKING:
    from gcnlab.report.session import Session

# A sign for every verdict, so that none is told by its colour alone.
ICONS = {SUPPORTED: "✓", CONTRADICTED: "✗", INCONCLUSIVE: "≈", NOT_ENOUGH: "…", NOT_RUN: "–"}
HEADLINE = 2  # the claim of the second sentence: the global kernel against the 1×1 baseline
DECISIVE = (HEADLINE, 3, 5, 7, 8)  # GCN against each other head, and the two reasons given for it
_PLANNED = sorted(rule.planned_n for rule in RULES if rule.planned_n)
KEY = (
    f"n: seeds ({LEAST_SEEDS} decide, {_PLANNED[0]} to {_PLANNED[-1]} are planned), on synthetic "
    "data with pre-trainings of their own. [a, b]: 95 % t interval of the n differences within "
    "seeds. Paper: computed from its tables, one run per cell. Near boundaries: within 7 of 512 "
    "pixels, to scale. ✓ supported, ✗ contradicted, ≈ inconclusive, … fewer seeds, – not run. *Not "
    "converged*: provisional, as longer training may change it."
)
QUESTION = (
    "The paper argues that a segmentation network should classify each pixel from a large part of "
    "the feature map; GCN does so cheaply, by pairs of k×1 and 1×k convolutions."
)


@dataclass(frozen=True)
class Setting:
    """A profile with the verdicts from its records."""

    profile: Profile
    verdicts: list[Verdict]

    @property
    def kind(self) -> str:
        """The kind of data, which several profiles share: ``synthetic data``, ``photographs``."""
        return self.profile.title.partition(",")[0]

    @property
    def title(self) -> str:
        """What a reader calls it: ``synthetic data``, ``synthetic data (quick)``."""
        kind, _, which = self.profile.title.partition(", ")
        return f"{kind} ({which})" if which else kind

    @property
    def effects(self) -> dict[str, Effect]:
        """What is compared in short → the judged effect, of every claim that was run."""
        return {short(v.id): v.effects[0] for v in self.verdicts if v.effects and v.effects[0].n}

    def verdict(self, claim: int) -> Verdict:
        return next(verdict for verdict in self.verdicts if verdict.id == claim)

    @property
    def counted(self) -> list[Verdict]:
        """Claims that parameters and multiply-adds decide, without any run."""
        return [v for v in self.verdicts if v.verdict in DECIDED and not v.n]

    def tally(self) -> dict[str, int]:
        """How many of the other claims have which verdict, in the order of ``ICONS``."""
        words = [verdict.verdict for verdict in self.verdicts if verdict not in self.counted]
        return {word: words.count(word) for word in ICONS if word in words}

    def tally_text(self) -> str:
        return ", ".join(f"{number} {word}" for word, number in self.tally().items())


def short(claim: int) -> str:
    """What a claim compares, in a few words."""
    return next(c["short"] for c in paper.claims() if c["id"] == claim)


def stated(verdict: Verdict, whole: bool = True) -> str:
    """What was judged; where that is less than the paper says, ``whole`` adds its own words."""
    less = next((c.get("tested") for c in paper.claims() if c["id"] == verdict.id), None)
    return (less + f" (The paper: {verdict.claim})" * whole) if less else verdict.claim


def described(settings: Iterable[Setting]) -> str:
    """What each study trained, and what that stands for."""
    each = [f"*{one.title}* (`{one.profile.name}`): {one.profile.description}, "
            f"{one.profile.template.schedule.steps:,} steps" for one in settings]  # fmt: skip
    return f"{'. '.join(each)}. These small networks stand for ResNet-50 and ResNet-152."


def setting(session: "Session") -> Setting:
    """The session's profile, judged by the records that it speaks of."""
    return Setting(session.profile, session.judge())


def studies() -> tuple[list[Setting], list[Setting]]:
    """The committed studies: one for every kind of data, and those in other settings.

    The one is that which trained longest among those that judge the headline; of equals the one
    that judges most. The others have another schedule or another backbone.
    """
    from gcnlab.report.session import Session

    sessions = [Session(p.name, out=COMMITTED) for p in PROFILES.values() if p.evidence]
    kinds: dict[str, list[Setting]] = {}
    for one in (setting(session) for session in sessions if session.study_records):
        kinds.setdefault(one.kind, []).append(one)
    groups = [sorted(group, key=_weight, reverse=True) for group in kinds.values()]
    return [one for one, *_ in groups], [other for _, *others in groups for other in others]


def compared(session: "Session") -> list[Setting]:
    """The session's profile, and the studies of every kind of data that stand beside it."""
    main, _ = studies()
    return [setting(session), *(one for one in main if one.profile != session.profile)]


def _weight(one: Setting) -> tuple[bool, int, int]:
    judged = [v.id for v in one.verdicts if v.verdict not in (NOT_RUN, NOT_ENOUGH)]
    return HEADLINE in judged, one.profile.template.schedule.steps, len(judged)


def word_of(verdict: Verdict) -> str:
    """The verdict in words; marked where networks have not converged, or none was needed."""
    counted = " (counted)" * (verdict.verdict in DECIDED and not verdict.n)
    return verdict.verdict + (verdict.provisional or counted)


def effect_text(effect: Effect | None, n: bool = True) -> str:
    """``+5.5 [+3.2, +7.8] (n = 5)`` with the 95 % interval, or ``not run``; ``n`` False leaves n
    out."""
    if effect is None or effect.n == 0:
        return "not run"
    digits = 3 if effect.unit == "nats" else 1
    mean, *bounds = (signed(v, digits) for v in (effect.mean, effect.low, effect.high))
    between = f" [{', '.join(bounds)}]" if effect.low == effect.low else ""
    unit = "" if effect.unit == "points" else f" {effect.unit}"
    return f"{mean}{unit}{between}" + f" (n = {effect.n})" * n


def _beside(verdict: Verdict, effects: Iterable[str]) -> list[str]:
    numbers = ((words, verdict.beside[words]) for words in effects)
    return [f"{words} {effect_text(effect, n=effect.n != verdict.n)}" for words, effect in numbers]


def beside_text(verdict: Verdict, stated: bool = False) -> str:
    """`` (…)`` with what belongs beside the judged effect; empty for most claims. Where the
    statement is ``stated`` before it, what that has already is left out."""
    told = {effect.mean for effect in verdict.effects if stated}
    shown = _beside(verdict, (w for w, effect in verdict.beside.items() if effect.mean not in told))
    return f" ({'; '.join(shown)})" * bool(shown)


def _but(verdict: Verdict) -> str:
    """`` (but …)`` with what stands beside a supported verdict and is not above zero too."""
    against = _beside(verdict, (w for w, effect in verdict.beside.items() if effect.low <= 0))
    return f" (but {listed(against)})" * (verdict.verdict == SUPPORTED and bool(against))


def verdict_line(verdict: Verdict) -> str:
    """A verdict with its claim and its numbers, as Markdown."""
    told = f"{stated(verdict)} *{verdict.statement}{beside_text(verdict, stated=True)}*"
    return f"{ICONS[verdict.verdict]} **{word_of(verdict)}**: {told}"


@cache
def published_text(claim: int) -> str:
    """The effect that the paper's own tables give, with its unit; – where they give none."""
    rule, known = rule_for(claim), published_scores()
    scores = {need: {0: known[need]} for need in rule.test.needs() if need in known}
    try:
        effects = rule.test.judge(Scores(scores)).effects
    except NotRun:
        return "–"
    return f"{signed(effects[0].published)} {effects[0].unit}" if effects else "–"


def answer(settings: list[Setting]) -> list[str]:
    """Three sentences: what was asked, what came out, and the tally of all claims."""
    headlines = [(one.title, one.verdict(HEADLINE)) for one in settings]
    run = [(title, verdict) for title, verdict in headlines if verdict.effects]
    gains = listed([f"{_gain_text(v.effects[0])} on {title}" for title, v in run])
    came_out = (
        f"Over the 1×1 baseline GCN with k = 15 gains, in points of mIoU with 95 % intervals, "
        f"{gains}, where the paper gains {published_text(HEADLINE).split()[0]}"
    )
    if rising := listed([title for title, verdict in run if not verdict.converged]):
        came_out += f"; the networks on {rising} have not converged"
        if shrunk := "; ".join(filter(None, map(_longer, {s.kind: s for s in settings}.values()))):
            came_out += f". In a pilot (one seed) longer training shrank the gain: {shrunk}"
    claims, counted = settings[0].verdicts, settings[0].counted
    rest = "; ".join(f"on {one.title} {one.tally_text()}" for one in settings)
    if counted:
        words = [verdict.verdict for verdict in counted]
        of = ", ".join(f"{words.count(word)} {word}" for word in ICONS if word in words)
        rest = f"{len(counted)} are counted ({of}); of the others, {rest}"
    if not settings[0].profile.evidence:
        rest += "; this profile shows that the code runs and is never evidence"
    if all(one.profile.name != "paper" for one in settings):
        rest += "; the paper's own scale is implemented and was not run"
    came_out = came_out if run else "The main comparison was not run yet"
    return [QUESTION, f"{came_out}.", f"Of {len(claims)} claims drawn from the paper, {rest}."]


def _gain_text(effect: Effect) -> str:
    """An effect, and its interval over validation images where that is the wider one."""
    text = effect_text(effect)
    if effect.boot_low is None or effect.boot_high - effect.boot_low < effect.high - effect.low:
        return text
    return f"{text} (over images [{signed(effect.boot_low)}, {signed(effect.boot_high)}])"


def _longer(one: Setting) -> str:
    """What the pilot's longest training made of the headline's gain on this kind of data."""
    gaps = pilot.gaps(one.profile)
    if len(gaps) < 2:
        return ""
    times, (first, *_, last) = gaps.index[-1] / gaps.index[0], gaps
    return f"{first:.1f} → {last:.1f} with {times:.0f} times the steps on {one.kind}"


def finding(judged: list[tuple[Setting, Verdict]], question: str) -> str:
    """What became of a claim, in one line with its effects; the question while nothing was run."""
    words: dict[str, list[str]] = {}
    for one, verdict in judged:
        if verdict.verdict != NOT_RUN:
            words.setdefault(verdict.verdict, []).append(one.title)
    if not words:
        return question
    compared = [(one, v) for one, v in judged if v.effects and v.effects[0].n]
    numbers = ", ".join(f"{effect_text(v.effects[0])} on {one.title}{v.provisional}{_but(v)}"
                        for one, v in compared)  # fmt: skip
    name, claim = short(judged[0][1].id), stated(judged[0][1], False).rstrip(".")
    if words.keys() == {INCONCLUSIVE}:  # beside what is undecided a number may have the other sign
        claim = name
    elif any(v.effects[0].unit != "points" for _, v in compared):  # points need no words
        numbers = f"{name} {numbers}"
    told = ", ".join(f"{word} on {listed(titles)}" for word, titles in words.items())
    told = (told if len(words) > 1 else next(iter(words))).capitalize()
    lead = "" if words.keys() == {SUPPORTED} else f"{told}: "
    return f"{lead}{claim}{': ' * bool(numbers)}{numbers}"


def effects_table(
    settings: list[Setting], link: str = "{text}", claims: Iterable[int] = ()
) -> pd.DataFrame:
    """The judged effect of ``claims`` (of all by default): published, and per setting.

    ``link``: how numbers are written, with the fields ``text``, ``profile`` and ``claim``.
    """
    rows = {}
    for claim in claims or [verdict.id for verdict in settings[0].verdicts]:
        judged = [(one, one.verdict(claim)) for one in settings]
        row = {"measured as": short(claim), "paper": published_text(claim)}
        for one, verdict in judged:
            row[one.title] = f"{ICONS[verdict.verdict]} {word_of(verdict)}"
            if verdict.effects:
                text = effect_text(verdict.effects[0])
                filled = link.format(text=text, profile=one.profile.name, claim=verdict.id)
                row[one.title] += f" {filled}{beside_text(verdict)}"
        rows[stated(judged[0][1])] = row
    return pd.DataFrame.from_dict(rows, "index").rename_axis("claim, as tested")
