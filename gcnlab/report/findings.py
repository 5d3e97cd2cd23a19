"""The paper's questions with the claims that bear on each, and the answers as Markdown."""

from typing import NamedTuple

from gcnlab import paper
from gcnlab.analysis.claims import Verdict
from gcnlab.analysis.judging import NOT_RUN
from gcnlab.analysis.tables import SPECS
from gcnlab.report import verdicts
from gcnlab.report.verdicts import Setting
from gcnlab.report.words import listed


class Question(NamedTuple):
    """One question: where the paper asks it, and the claims that bear on it."""

    anchor: str
    short: str
    text: str
    source: str
    claims: tuple[int, ...] = ()
    shared: bool = False  # its claims have another table before


def questions() -> list[Question]:
    """All tables and Fig. 3. A claim stands at its first table, and at one that has no other."""
    tables = {claim["id"]: claim["tables"] for claim in paper.claims()}
    asked = []
    for name in (*SPECS, "11"):
        table = paper.published(name)
        own = tuple(c for c, on in tables.items() if on[:1] == [int(name)])
        claims = own or tuple(c for c, on in tables.items() if int(name) in on)
        claims = tuple(sorted(claims, key=lambda claim: claim != table.get("answer")))
        source = table["source"].split(", ")[-1]
        short = f"Table {name}: {table['title']}"
        asked.append(Question(f"table{name}", short, table["question"], source, claims, not own))
    about = "Does a large kernel see more, and is that why it helps?"
    free = tuple(claim for claim, on in tables.items() if not on)
    asked.append(Question("fields", "Fig. 3: what the networks see", about, "section 3.1", free))
    return asked


def heading(question: Question, settings: list[Setting]) -> str:
    """The finding: what became of the question's first claim that any study compared.

    The question itself, where its claims are told with another table.
    """
    if question.shared:
        return question.text
    compared = (c for c in question.claims if any(one.verdict(c).effects for one in settings))
    claim = next(compared, question.claims[0])
    return verdicts.finding([(one, one.verdict(claim)) for one in settings], question.text)


def markdown(settings: list[Setting], others: list[Setting]) -> str:
    """A section per question: the finding, then every claim with what each setting says of it.

    A claim of several tables is told once; of the ``others`` those speak that compared something.
    """
    lines = []
    for question in questions():
        lines += [f"## {heading(question, settings)}", ""]
        claims = listed([str(claim) for claim in question.claims])
        text = f"Judged as claim {claims}." if question.shared else question.text
        told = text * (text != heading(question, settings))  # it asks while nothing was run
        lines += [f"{question.short} ({question.source}). {told}".strip(), ""]
        for claim in question.claims * (not question.shared):
            judged = [(one, one.verdict(claim)) for one in settings]
            published = verdicts.published_text(claim)
            stated = verdicts.stated(judged[0][1])
            known = f" From the paper's tables: {published}." * (published != "–")
            lines += [f"**Claim {claim}: {stated}**{known}{changed(judged[0][1])}", ""]
            judged = judged[:1] if judged[0][1] in settings[0].counted else judged
            judged += [(one, v) for one in others if (v := one.verdict(claim)).effects]
            lines += [_line(one, v) for one, v in judged if v.verdict != NOT_RUN]
            not_run = [f"{one.title} ({v.statement})" for one, v in judged if v.verdict == NOT_RUN]
            line = f"- {verdicts.ICONS[NOT_RUN]} **not run** on {listed(not_run)}"
            lines += [line] * bool(not_run) + [""]
    return "\n".join(lines)


def changed(verdict: Verdict) -> str:
    """What became of the claim by an earlier rule, after a space, if its rule was changed."""
    claim = next((claim for claim in paper.claims() if claim["id"] == verdict.id), {})
    return f" {claim.get('earlier') or verdict.changed or ''}".rstrip()


def details(verdict: Verdict) -> str:
    """How many runs a verdict has, and what more would have told."""
    parts = [f"n = {verdict.n}"] if verdict.n else []
    effect = verdict.effects[0] if verdict.effects else None
    if effect and effect.boot_low is not None:
        bounds = (verdicts.signed(value) for value in (effect.boot_low, effect.boot_high))
        parts.append(f"over resampled images [{', '.join(bounds)}]")
    if verdict.detectable is not None:
        parts.append(f"smallest effect that would have been found {verdict.detectable:.1f}")
    if verdict.needed is not None and verdict.needed > (verdict.n or 0):
        parts.append(f"{verdict.needed} seeds would decide")
    if verdict.diverged:
        parts.append(f"diverged and not averaged: {verdict.diverged}")
    return "; ".join(parts)


def _line(one: Setting, verdict: Verdict) -> str:
    name, word = one.profile.name, verdicts.word_of(verdict)
    records = f"[records](results/{name}/tables/records.md#claim-{verdict.id})"
    more = [text for text in (details(verdict), records * bool(verdict.effects)) if text]
    icon = verdicts.ICONS[verdict.verdict]
    told = verdict.statement + verdicts.beside_text(verdict, stated=True)
    where = f" on {one.title}" * (verdict not in one.counted)
    return f"- {icon} **{word}**{where}: {told}" + f" ({', '.join(more)})" * bool(more)
