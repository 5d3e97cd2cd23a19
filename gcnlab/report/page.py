"""One self-contained page per profile: the answer, then a section per question, details folded."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

import jinja2
import pandas as pd

from gcnlab import __version__, files, paper
from gcnlab.analysis import dense_kernel, mechanism, power
from gcnlab.analysis.claims import Verdict
from gcnlab.analysis.tables import SPECS, TableSpec
from gcnlab.experiments.records import Record
from gcnlab.report import charts, exports, fields, findings, images, learning, views
from gcnlab.report import verdicts as judged
from gcnlab.report.agreement import agreement
from gcnlab.report.diagrams import NUMBERS, diagram
from gcnlab.report.findings import Question
from gcnlab.report.html_tables import Cell, RecordLink, Table, links, of_cells, of_frame
from gcnlab.report.style import Chart

if TYPE_CHECKING:
    from gcnlab.report.session import Session


@dataclass
class Section:
    """One question with its finding, its charts, and tables that are folded away."""

    asked: Question
    heading: str
    note: str = ""
    verdicts: list[Verdict] = field(default_factory=list)
    charts: list[Chart] = field(default_factory=list)
    diagrams: list[int] = field(default_factory=list)
    tables: list[tuple[str, Table]] = field(default_factory=list)


def write(session: "Session") -> Path:
    """Write tables, figures and ``report.html`` below ``<out>/<profile>``; returns its path."""
    folder = session.out / session.profile.name
    settings, known = judged.compared(session), links(folder, session.out)
    setting = settings[0]
    exports.write_tables(session, setting.verdicts, folder / "tables")
    sections = [*_sections(session, settings, known), *_beyond_the_paper(session)]
    effects = {one.title: one.effects for one in settings}
    hero = agreement(effects) if any(effects.values()) else None
    named = {f"{s.asked.anchor}-{i}": c for s in sections for i, c in enumerate(s.charts, start=1)}
    _write_figures(named | ({"agreement": hero} if hero else {}), folder / "figures")
    html = _template().render(
        profile=session.profile,
        answer=judged.answer(settings),
        tally=setting.tally(),
        decisive=[setting.verdict(claim) for claim in judged.DECISIVE],
        icons=judged.ICONS,
        word_of=judged.word_of,
        stated=judged.stated,
        key=judged.KEY.replace("*", ""),
        hero=hero,
        evidence=lambda verdict: _evidence(verdict, settings),
        details=findings.details,
        changed=findings.changed,
        effects=of_frame(judged.effects_table(settings)),
        sections=sections,
        diagrams={number: diagram(number) for number in NUMBERS},
        complexity=of_frame(exports.complexity()),
        rules=of_frame(power.table().set_index("claim")),
        assumptions=paper.assumptions(),
        runs=_runs(session, known),
        hours=exports.hours(session.profile, session.records),
        origin=_origin(session.records),
        version=__version__,
    )
    files.write(html, folder / "report.html")
    return folder / "report.html"


def _template() -> jinja2.Template:
    text = resources.files("gcnlab.report").joinpath("page.html.j2").read_text(encoding="utf-8")
    options = {"autoescape": True, "undefined": jinja2.StrictUndefined}
    return jinja2.Environment(trim_blocks=True, lstrip_blocks=True, **options).from_string(text)


def _write_figures(named: dict[str, Chart], folder: Path) -> None:
    """One file per chart; figures of an earlier report go."""
    paths = {folder / f"{name}.{chart.suffix}": chart for name, chart in named.items()}
    for path, chart in paths.items():
        files.write(chart.content, path)
    for old in {*folder.glob("*.svg"), *folder.glob("*.png")} - paths.keys():
        old.unlink()


def _evidence(verdict: Verdict, settings: list[judged.Setting]) -> list[str]:
    """What is compared, as published and on every kind of data that has it."""
    own = [(one.title, one.verdict(verdict.id)) for one in settings]
    ran = [(title, v) for title, v in own if v.effects]
    run = [f"{t} {judged.effect_text(v.effects[0])}{judged.beside_text(v)}" for t, v in ran]
    published = judged.published_text(verdict.id)
    return [f"{judged.short(verdict.id)}: published {published}", *run] if run else []


def _sections(
    session: "Session", settings: list[judged.Setting], known: dict[str, RecordLink]
) -> Iterator[Section]:
    fill = {"table11": _backbones, "fields": _fields}
    for asked in findings.questions():
        section = Section(asked, findings.heading(asked, settings))
        section.verdicts = [settings[0].verdict(claim) for claim in asked.claims]
        if spec := SPECS.get(asked.anchor.removeprefix("table")):
            _fill_table(section, session, spec, known)
        else:
            fill[asked.anchor](section, session)
        # Where its claims are told elsewhere, the finding is that of its own chart.
        section.heading = section.charts[0].title if asked.shared else section.heading
        yield section


def _backbones(section: Section, session: "Session") -> None:
    pair = f"The pair of profile {session.profile.name}: {session.profile.pair_name}"
    section.note = (
        "The same for every profile. The paper prints 3700 MFlops of convolutions for both "
        "networks; neither count gives that."
    )
    section.diagrams = [5]
    section.tables = [("Table 11, published and built", of_frame(exports.architecture())),
                      (pair, of_frame(exports.architecture(session)))]  # fmt: skip


def _fill_table(
    section: Section, session: "Session", spec: TableSpec, known: dict[str, RecordLink]
) -> None:
    frame, labels, profile = session.frame(spec.name), session.labels(), session.profile
    published = paper.published(spec.name)["split"]
    section.note = (
        f"Profile {profile.name}: {profile.description}. Published: {published}. "
        f"{spec.note(profile)}"
    )
    section.charts = [getattr(charts, spec.chart)(frame, labels)]
    levels = of_cells(session.table(spec.name), frame, labels, known)
    section.tables = [(f"Table {spec.name}: all scores (± standard deviation over seeds)", levels)]
    if spec.test_server:
        title = f"Table {spec.test_server}: {paper.published(spec.test_server)['title']}"
        section.tables.append((title, of_frame(exports.test_server(spec))))
    regions = session.boundary_sensitivity() if "boundary_accuracy" in set(frame["metric"]) else ()
    if len(regions):
        headline = profile.template.boundary_distance
        section.charts.append(charts.gain_over_distance(regions, session.label, headline))
    if spec.examples and session.has_examples(spec.name):
        section.charts.append(images.qualitative(**session.examples(table=spec.name)))


def _fields(section: Section, session: "Session") -> None:
    label = session.label
    section.note = (
        "Valid field: the smallest square around a point that holds 50 % or 95 % of the drop in "
        "its score when patches of the image are hidden. Claim 13 asks for 1.5 times the side of "
        "the baseline at both; claim 21 looks at the largest objects. Nothing beyond the image can "
        f"be hidden: its side of {session.profile.template.data.side} pixels bounds the field, and "
        "with it the ratio."
    )
    if measured := session.measured():
        sides, sizes = mechanism.field_frame(measured), mechanism.size_frame(measured)
        section.charts = [fields.field_over_k(sides, label), fields.field_by_size(sides, label),
                          fields.gain_by_size(sizes, label)]  # fmt: skip
        section.tables.append(("Is the gain larger on larger objects?", _size_table(measured)))
    if session.has_examples("1"):
        section.charts.append(views.draw(views.figure3(session)))


def _size_table(measured: list[Record]) -> Table:
    """What the paper's explanation predicts; no claim of its own, so it has no registered rule."""
    outcome = mechanism.gain_grows_with_size(measured)
    row = {"verdict": outcome.verdict, "statement": outcome.statement, "n": outcome.n}
    return of_frame(pd.DataFrame([row], index=pd.Index(["GCN 15 − 1×1"], name="gain")))


def _beyond_the_paper(session: "Session") -> Iterator[Section]:
    """What the paper leaves open."""
    if ablations := session.ablations():
        question = "Why does the trivial convolution get worse?"
        asked = Question("dense-kernel", "Trivial convolution", question, "open in section 4.1.1")
        frame = dense_kernel.frame(session.profile, ablations)
        fit = learning.fit_over_k(frame, session.label)
        table = of_frame(dense_kernel.findings(session.profile, ablations))
        yield Section(asked, fit.title, charts=[fit], tables=[("Every ablation", table)])
    curves = session.curves()
    if curves.loc[~curves["diverged"].astype(bool), "step"].nunique() > 1:
        question, scores = "Who learns faster, and who ends higher?", ("miou", "loss")
        asked = Question("learning", "Learning curves", question, "not in the paper")
        shown = [learning.learning_curves(curves, session.label, score) for score in scores]
        yield Section(asked, shown[0].title, charts=shown)


def _runs(session: "Session", known: dict[str, RecordLink]) -> Table:
    """The list of runs, each linked to its record."""
    frame = exports.runs(session.records)
    if frame.empty:
        return Table(["name"], [])
    columns = ["name", "key", "miou", "top1_error", "seconds", "device"]
    shown = frame[columns].map(lambda v: f"{v:.2f}" if isinstance(v, float) else v)
    table = of_frame(shown.fillna("").replace("nan", "").set_index("name"))
    for row in table.rows:
        if row[1].text in known:
            row[1] = Cell(row[1].text, (known[row[1].text],))
    return table


def _origin(records: list[dict]) -> dict[str, str]:
    """Where the records come from: devices, precision, versions, commits, states of the data."""
    frame = exports.runs(records)
    if frame.empty:
        return {}
    changed = frame["dirty"].map({True: " (with local changes)"}).fillna("")
    frame = frame.assign(commit=frame["commit"].fillna("unknown").str[:12] + changed)
    names = ("device", "precision", "torch", "commit", "data")
    return {name: ", ".join(sorted(set(map(str, frame[name])))) for name in names}
