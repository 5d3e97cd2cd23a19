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
from gcnlab.analysis.judging import NOT_RUN
from gcnlab.analysis.scores import NotRun
from gcnlab.analysis.tables import SPECS, TableSpec
from gcnlab.experiments.records import Record
from gcnlab.report import charts, exports, fields, images, learning, views
from gcnlab.report import verdicts as judged
from gcnlab.report.agreement import agreement
from gcnlab.report.diagrams import NUMBERS, diagram
from gcnlab.report.html_tables import Cell, RecordLink, Table, links, of_cells, of_frame
from gcnlab.report.style import Chart
from gcnlab.report.words import signed

if TYPE_CHECKING:
    from gcnlab.report.session import Session


@dataclass
class Section:
    """One question: the claims that bear on it, its charts, and tables that are folded away."""

    anchor: str
    short: str
    question: str
    source: str = ""
    note: str = ""
    verdicts: list[Verdict] = field(default_factory=list)
    charts: list[Chart] = field(default_factory=list)
    diagrams: list[int] = field(default_factory=list)
    tables: list[tuple[str, Table]] = field(default_factory=list)

    @property
    def heading(self) -> str:
        """The finding: the first claim with its verdict; the question while nothing was run."""
        first = self.verdicts[0] if self.verdicts else None
        if first is None or first.verdict == NOT_RUN:
            return self.question
        return f"{judged.word_of(first).capitalize()}: {first.claim}"


def write(session: "Session") -> Path:
    """Write tables, figures and ``report.html`` below ``<out>/<profile>``; returns its path."""
    folder = session.out / session.profile.name
    setting, known = judged.setting(session), links(folder, session.out)
    exports.write_tables(session, setting.verdicts, folder / "tables")
    settings = [setting, *judged.others(session)]
    sections = list(_sections(session, setting, known))
    effects = {one.title: [e for e in one.effects if e.n] for one in settings}
    hero = agreement(effects) if any(effects.values()) else None
    named = {f"{s.anchor}-{i}": c for s in sections for i, c in enumerate(s.charts, start=1)}
    _write_figures(named | ({"agreement": hero} if hero else {}), folder / "figures")
    html = _template().render(
        profile=session.profile,
        answer=judged.answer(settings),
        tally=setting.tally(),
        icons=judged.ICONS,
        word_of=judged.word_of,
        signed=signed,
        hero=hero,
        effects=of_frame(judged.effects_table(settings)),
        sections=sections,
        diagrams={number: diagram(number) for number in NUMBERS},
        complexity=of_frame(exports.complexity()),
        rules=of_frame(power.table().set_index("claim")),
        assumptions=paper.assumptions(),
        runs=_runs(session, known),
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


def _sections(
    session: "Session", setting: judged.Setting, known: dict[str, RecordLink]
) -> Iterator[Section]:
    bearing = {claim["id"]: claim["tables"] for claim in paper.claims()}
    for spec in SPECS.values():
        section = _table_section(session, spec, known)
        section.verdicts = [v for v in setting.verdicts if int(spec.name) in bearing[v.id]]
        yield section
    published, pair = paper.published("11"), f"The pair of profile {session.profile.name}"
    yield Section(
        "table11", "Table 11: the two backbones", published["question"], published["source"],
        "The same for every profile. The paper prints 3700 MFlops of convolutions for both "
        "networks; neither count gives that.",
        [v for v in setting.verdicts if 11 in bearing[v.id]],
        diagrams=[5],
        tables=[("Table 11, published and built", of_frame(exports.architecture())),
                (f"{pair}: {session.profile.pair_name}", of_frame(exports.architecture(session)))],
    )  # fmt: skip
    yield _fields(session, [v for v in setting.verdicts if not bearing[v.id]])
    yield from _beyond_the_paper(session)


def _table_section(session: "Session", spec: TableSpec, known: dict[str, RecordLink]) -> Section:
    frame, labels, profile = session.frame(spec.name), session.labels(), session.profile
    name = f"Table {spec.name}"
    section = Section(
        f"table{spec.name}", f"{name}: {spec.title}", spec.question, spec.source.split(", ")[-1],
        f"Profile {profile.name}: {profile.description}. Published: {spec.data}. "
        f"{spec.note(profile)}",
        charts=[getattr(charts, spec.chart)(frame, labels)],
        tables=[(f"{name}, levels", of_cells(session.table(spec.name), frame, labels, known))],
    )  # fmt: skip
    if spec.test_server:
        title = f"Table {spec.test_server}: {paper.published(spec.test_server)['title']}"
        section.tables.append((title, of_frame(exports.test_server(spec))))
    regions = session.boundary_sensitivity() if "boundary_accuracy" in set(frame["metric"]) else ()
    if len(regions):
        headline = profile.template.boundary_distance
        section.charts.append(charts.gain_over_distance(regions, session.label, headline))
    if spec.examples and _may_show(session, spec.name):
        section.charts.append(images.qualitative(**session.examples(table=spec.name)))
    return section


def _may_show(session: "Session", table: str) -> bool:
    """Whether images of the models of ``table`` can, and may, stand on the page.

    Photographs may not be published: they are shown in the user's own notebooks only.
    """
    drawn = session.profile.template.data.source.default_root is not None
    return drawn and session.has_examples(table)


def _fields(session: "Session", verdicts: list[Verdict]) -> Section:
    """Fig. 3, and the claims that belong to no table."""
    question = "Does a large kernel see more, and is that why it helps?"
    section = Section("fields", "Fig. 3: what the networks see", question, "Section 3.1, Fig. 3")
    section.verdicts, label = verdicts, session.label
    if measured := session.measured():
        sides, sizes = mechanism.field_frame(measured), mechanism.size_frame(measured)
        section.charts = [fields.field_over_k(sides, label), fields.field_by_size(sides, label),
                          fields.gain_by_size(sizes, label)]  # fmt: skip
        section.tables.append(("Is the gain larger on larger objects?", _size_table(measured)))
    if _may_show(session, "1"):
        section.charts.append(views.draw(views.figure3(session)))
    return section


def _size_table(measured: list[Record]) -> Table:
    """What the paper's explanation predicts; no claim of its own, so it has no registered rule."""
    try:
        outcome = mechanism.gain_grows_with_size(measured)
        row = {"verdict": outcome.verdict, "statement": outcome.statement, "n": outcome.n}
    except NotRun as reason:
        row = {"verdict": NOT_RUN, "statement": str(reason), "n": 0}
    return of_frame(pd.DataFrame([row], index=pd.Index(["GCN 15 − 1×1"], name="gain")))


def _beyond_the_paper(session: "Session") -> Iterator[Section]:
    """What the paper leaves open."""
    if ablations := session.ablations():
        question = "Why does the trivial convolution get worse?"
        source = "Section 4.1.1 leaves it open"
        frame = dense_kernel.frame(session.profile, ablations)
        fit = learning.fit_over_k(frame, session.label)
        table = of_frame(dense_kernel.findings(session.profile, ablations))
        yield Section("dense-kernel", question, question, source, charts=[fit],
                      tables=[("Every ablation", table)])  # fmt: skip
    curves = session.curves()
    if curves.loc[~curves["diverged"].astype(bool), "step"].nunique() > 1:
        question, scores = "Who learns faster, and who ends higher?", ("miou", "loss")
        shown = [learning.learning_curves(curves, session.label, score) for score in scores]
        yield Section("learning", "Learning curves", question, "not in the paper", charts=shown)


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
    frame = frame.assign(commit=frame["commit"].fillna("unknown") + changed)
    names = ("device", "precision", "torch", "commit", "data")
    return {name: ", ".join(sorted(set(map(str, frame[name])))) for name in names}
