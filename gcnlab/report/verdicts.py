"""The paper's claims on several settings at once, and what they sum up to."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pandas as pd

from gcnlab.analysis.claims import DECIDED, NOT_CONVERGED, Verdict
from gcnlab.analysis.judging import CONTRADICTED, INCONCLUSIVE, NOT_ENOUGH, NOT_RUN, SUPPORTED
from gcnlab.analysis.statistics import Effect
from gcnlab.experiments.profiles import PROFILES, Profile
from gcnlab.report.words import signed

if TYPE_CHECKING:
    from gcnlab.report.session import Session

# A sign for every verdict, so that none is told by its colour alone.
ICONS = {SUPPORTED: "✓", CONTRADICTED: "✗", INCONCLUSIVE: "≈", NOT_ENOUGH: "…", NOT_RUN: "–"}
HEADLINE = 2  # the claim of the first sentence: the global kernel against the 1×1 baseline
QUESTION = (
    "The paper says that a segmentation network should classify every pixel from a large part of "
    "the feature map, and builds such kernels from pairs of k×1 and 1×k convolutions (GCN)."
)


@dataclass(frozen=True)
class Setting:
    """A profile with the verdicts from its records."""

    profile: Profile
    verdicts: list[Verdict]

    @property
    def title(self) -> str:
        """What a reader calls it, with the profile's name."""
        return f"{self.profile.title} ({self.profile.name})"

    @property
    def effects(self) -> list[Effect]:
        """The judged effect of every claim that has one."""
        return [verdict.effects[0] for verdict in self.verdicts if verdict.effects]

    def verdict(self, claim: int) -> Verdict:
        return next(verdict for verdict in self.verdicts if verdict.id == claim)

    def tally(self) -> dict[str, int]:
        """How many claims have which verdict, in the order of ``ICONS``."""
        words = [verdict.verdict for verdict in self.verdicts]
        return {word: words.count(word) for word in ICONS if word in words}

    def tally_text(self) -> str:
        return ", ".join(f"{number} {word}" for word, number in self.tally().items())


def setting(session: "Session") -> Setting:
    """The session's profile, judged by the records that it speaks of."""
    return Setting(session.profile, session.judge())


def others(session: "Session") -> list[Setting]:
    """The other profiles that are evidence and have committed records."""
    from gcnlab.report.session import Session

    names = [profile.name for profile in PROFILES.values() if profile.evidence]
    sessions = [Session(name) for name in names if name != session.profile.name]
    return [setting(other) for other in sessions if other.records]


def word_of(verdict: Verdict) -> str:
    """The verdict in words; marked where the networks have not converged."""
    provisional = verdict.verdict in DECIDED and not verdict.converged
    return verdict.verdict + NOT_CONVERGED * provisional


def effect_text(effect: Effect | None) -> str:
    """``+5.5 [+3.2, +7.8] (n = 5)`` with the 95 % interval, or ``not run``."""
    if effect is None or effect.n == 0:
        return "not run"
    bounds = f" [{signed(effect.low)}, {signed(effect.high)}]" if effect.low == effect.low else ""
    return f"{signed(effect.mean)}{bounds} (n = {effect.n})"


def answer(settings: list[Setting]) -> list[str]:
    """Three sentences: what was asked, what came out, and what was not shown."""
    judged = [(one.title, one.verdict(HEADLINE).effects) for one in settings]
    gains = "; ".join(
        f"{effect_text(effects[0])} on {title}" for title, effects in judged if effects
    )
    came_out = f"Over the 1×1 baseline the global kernel gains, in points of mIoU: {gains}."
    first = settings[0]
    rest = f"Of its {len(first.verdicts)} claims on {first.title}: {first.tally_text()}"
    if not first.profile.evidence:
        rest += "; this profile shows that the code runs and is never evidence"
    if all(one.profile.name != "paper" for one in settings):
        rest += "; the paper's own scale is implemented and was not run"
    return [QUESTION, came_out if gains else "The main comparison was not run yet.", f"{rest}."]


def effects_table(settings: list[Setting], link: str = "{text}") -> pd.DataFrame:
    """The judged effect of every claim: published, and per setting.

    ``link``: how numbers are written, with the fields ``text``, ``profile`` and ``claim``.
    """
    rows = {}
    for first in settings[0].verdicts:
        judged = [(one, one.verdict(first.id)) for one in settings]
        effect = next((v.effects[0] for _, v in judged if v.effects), None)
        published = effect and effect.published
        row = {"published": "–" if published is None else f"{signed(published)} {effect.unit}"}
        for one, verdict in judged:
            row[one.title] = f"{ICONS[verdict.verdict]} {word_of(verdict)}"
            if verdict.effects:
                text = effect_text(verdict.effects[0])
                filled = link.format(text=text, profile=one.profile.name, claim=verdict.id)
                row[one.title] += f" {filled}"
        rows[first.claim] = row
    return pd.DataFrame.from_dict(rows, "index").rename_axis("the paper says")
