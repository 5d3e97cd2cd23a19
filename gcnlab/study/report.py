"""Tables (CSV, Markdown), figures (PNG) and one self-contained HTML page, all generated from records."""

import base64
import html
from collections.abc import Iterator
from io import BytesIO
from itertools import permutations
from pathlib import Path
from typing import Any

import pandas as pd

from gcnlab import __version__, paper
from gcnlab.errors import UserError
from gcnlab.study import measurements, open_question, results, tables, variants
from gcnlab.study.profiles import Profile
from gcnlab.study.session import Session, score_text

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #222; max-width: 1080px; margin: 2em auto; padding: 0 1em }
h1, h2 { line-height: 1.2 } h2 { margin-top: 2em; border-bottom: 1px solid #ccc }
table { border-collapse: collapse; font-size: 13px; margin: 1em 0 }
th, td { padding: 4px 9px; border-bottom: 1px solid #ddd; text-align: left; vertical-align: top }
thead th { border-bottom: 2px solid #888 } img { max-width: 100% }
.note { color: #555; font-size: 13px } .wide { overflow-x: auto }
"""


def write_tables(session: Session, folder: Path) -> list[Path]:
    """``tableN.csv`` (long form) and ``tableN.md`` (the paper's form) for every table, claims and runs."""
    written = []

    def write(name: str, text: str) -> None:
        results.write_atomically(text, folder / name)
        written.append(folder / name)

    for name in variants.TABLES:
        frame = session.frame(name).assign(profile=session.profile.name, reproduced_on=session.profile.description)
        write(f"table{name}.csv", frame.to_csv(index=False, float_format="%.4f", lineterminator="\n"))
        heading = f"Table {name}. {paper.published(name)['title']}. {setting(session, name)}\n\n"
        write(f"table{name}.md", heading + markdown(session.table(name)))
    for name in TEST_SERVERS.values():
        heading = f"Table {name}. {paper.published(name)['title']}. As published.\n\n"
        write(f"table{name}.md", heading + markdown(test_server(name)))
    heading = f"Table 11. {paper.published('11')['title']}. Read off the built modules; no training, no profile.\n\n"
    write("table11.md", heading + markdown(architecture_table()))
    write("claims.md", markdown(session.verdicts()))
    runs = results.frame(session.records)
    write("runs.csv", runs.to_csv(index=False, float_format="%.5g", lineterminator="\n"))
    return written


def setting(session: Session, table: str) -> str:
    """What a reader must know of the profile beside this table."""
    template = session.profile.template
    text = f"Profile {session.profile.name}: {session.profile.description}."
    if table == "6":
        data = session.profile.pair[0].weights.data
        name = {"imagenet": "ImageNet", "tiny-imagenet": "Tiny-ImageNet"}.get(data.name, "single shapes")
        text = (
            f"Profile {session.profile.name}. In this table ResNet50 stands for {session.profile.pair_name} and "
            f"ResNet50-GCN for its GCN form (Table 11), both trained as classifiers on {name} ({data.side} px, "
            f"{len(data.class_names)} classes) by one recipe and then as segmenters like the other tables' models. "
            "Published: ResNet50 and ResNet50-GCN on ImageNet and VOC 2012 val."
        )
    if table == "4":
        top = session.profile.top_channels
        sizes = ", ".join(f"{round(m * top / 2048)}" for m in (2048, 1024, 210))
        text += f" m is scaled to the {top} channels of the coarsest map: {sizes} were trained."
    if table in TEST_SERVERS:
        text = f"Profile {session.profile.name}. {_stages_text(session.profile, table)}"
    if table == "5":
        text += f" Boundary: distance ≤ {template.boundary_distance:g} pixels of a {template.data.side}-pixel image."
    return text


TEST_SERVERS = {"7": "8", "9": "10"}  # table of our stages → the published test-server table beside it


def _stages_text(profile: Profile, table: str) -> str:
    protocol = profile.protocols.get({"7": "voc", "9": "street"}[table])
    if protocol is None:
        return "It has no staged training."
    stages = "; ".join(
        f"{stage.name}: {stage.data.name}"
        + (f", crops of {stage.data.crop}" if stage.data.crop else f", {stage.data.side}")
        + f" px, {stage.schedule.steps:,} steps"
        for stage in protocol.stages
    )
    how, text = protocol.multi_scale, f"Each stage starts from the one before. {stages}. GCN with k = {protocol.k}."
    if how.crop:
        text += f" Tested on crops of {how.crop} px, at most {how.stride} px apart, probabilities fused."
    text += f" MS: scales {', '.join(f'{s:g}' for s in how.scales)}, each also mirrored."
    text += f" CRF: {protocol.crf.backend}, {protocol.crf.iterations} iterations, kernels chosen on training images."
    if table == "9":
        text += " Published: Cityscapes val, k = 25; the paper gives no baseline there, the study adds one."
    return text


def test_server(table: str) -> pd.DataFrame:
    """Table 8 or 10: the published field, and our line, for which nothing was sent to a test server."""
    rows = [(row.row, f"{row.value:.1f}") for row in paper.cells(table).itertuples()]
    frame = pd.DataFrame([*rows, ("this study", "not submitted")], columns=["method", "mean IoU (%)"])
    return frame.set_index("method")


def markdown(frame: pd.DataFrame) -> str:
    """A frame as a Markdown table, its index as the first columns."""
    flat = frame.reset_index()
    rows = [flat.columns, ["---"] * len(flat.columns), *flat.itertuples(index=False)]
    return "".join("| " + " | ".join(str(cell).replace("|", "\\|") for cell in row) + " |\n" for row in rows)


def figures(session: Session) -> Iterator[tuple[str, str, Any]]:
    """(file name, caption, matplotlib figure) of every figure that the records allow."""
    # needs matplotlib, which the training core does without
    from gcnlab.study import diagrams, field_plots, pictures, plots, step_plots, views

    label = session.label(session.records)
    yield "figure1", "Fig. 1 redrawn: classification, segmentation, and GCN between them.", diagrams.figure1()
    yield "figure2", "Fig. 2 redrawn: the framework, the GCN block and boundary refinement.", diagrams.figure2()
    yield "figure4", "Fig. 4 redrawn: the four heads that the paper compares.", diagrams.figure4()
    yield "figure5", "Fig. 5 redrawn: a residual block of ResNet-50 and of ResNet50-GCN.", diagrams.figure5()
    frames = {name: session.frame(name) for name in variants.TABLES}
    yield "table1", "Table 1: mIoU over the kernel size.", plots.score_over_k(frames["1"], label)
    yield "table1-gain", "Table 1 as gain over the 1×1 baseline.", plots.gain_over_baseline(frames["1"], label)
    yield "table2", "Table 2: GCN against the k×k convolution.", plots.score_over_k(frames["2"], label)
    yield "table3", "Table 3: GCN against stacks of 3×3 convolutions.", plots.score_over_k(frames["3"], label)
    yield "table4", "Table 4: narrower stacks.", plots.score_over_m(frames["4"], label)
    yield "table5", "Table 5: near boundaries and inside.", step_plots.boundary_internal(frames["5"], label)
    caption = "Table 6: a ResNet and its GCN form, as classifiers and as backbones."
    yield "table6", caption, step_plots.backbone_pair(frames["6"], label)
    for name, where in (("7", "VOC"), ("9", "Cityscapes")):
        yield f"table{name}", f"Table {name}: stage by stage on {where}.", step_plots.stages(frames[name], label)
    fields = session.measured()
    if fields:
        sides = measurements.field_frame(fields)
        caption = "Fig. 3 in numbers: how large the receptive fields are over the kernel size."
        yield "fields", caption, field_plots.field_over_k(sides, label)
        yield "fields-objects", "The same at small and at large objects.", field_plots.field_by_size(sides, label)
        caption = "mIoU of object pixels by the size of the object, and the gain over the 1×1 baseline."
        yield "fields-sizes", caption, field_plots.score_by_size(measurements.size_frame(fields), label)
    if trials := session.trials():
        caption = "Fit and validation of GCN and of the trivial convolution."
        yield "trials", caption, field_plots.fit_over_k(open_question.frame(trials), label)
    sensitivity = session.boundary_sensitivity()
    if len(sensitivity):
        distance = session.profile.template.boundary_distance
        caption = f"Table 5 over the boundary distance (the table uses {distance:g} pixels)."
        yield "boundary-distance", caption, plots.boundary_sensitivity(sensitivity, label, headline=distance)
    curves = session.curves()
    if len(curves) and curves.groupby("name")["step"].nunique().max() > 1:
        caption = "Validation mIoU during training; the last point counts, no other is selected."
        yield "curves", caption, plots.learning_curves(curves, label)
    overview = pd.concat([frame.assign(table=name) for name, frame in frames.items()])
    caption = "Every mIoU of Tables 1–5: published against reproduced."
    yield "overview", caption, plots.published_against_reproduced(overview[overview["metric"] == "miou"], label)
    # Pictures of real photographs may not be published: they are shown in the user's own notebooks only.
    if session.profile.template.data.source.default_root is not None:
        evenly = "validation images, evenly spaced over the list"
        for name, table, caption in (
            ("examples", "5", f"Table 5: {evenly}."),
            ("table7-figure6", "7", f"Fig. 6 reproduced, after the last stage: {evenly}."),
            ("table9-figure7", "9", f"Fig. 7 reproduced, after the last stage: {evenly}."),
        ):
            if session.has_examples(table):  # records alone have no predictions
                yield name, caption, pictures.qualitative(**session.examples(table=table))
        if session.has_examples("1"):
            caption = "Fig. 3 redrawn: what the score at one point depends on, on one validation image."
            yield "fields-figure3", caption, views.draw(views.figure3(session))


def write(session: Session) -> Path:
    """Write everything below ``<out>/<profile>`` and return the path of ``report.html``."""
    folder = session.out / session.profile.name
    write_tables(session, folder / "tables")
    parts: dict[str, list[str]] = {}
    for name, caption, figure in figures(session):
        png = BytesIO()
        figure.savefig(png, dpi=120, bbox_inches="tight", metadata={"Software": None})
        place = folder / "figures" / f"{name}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(png.getvalue())
        code = base64.b64encode(png.getvalue()).decode()
        section = name.split("-")[0]
        parts.setdefault(section, []).append(
            f'<p><img alt="{html.escape(caption)}" src="data:image/png;base64,{code}"></p>'
            f'<p class="note">{html.escape(caption)}</p>'
        )
    path = folder / "report.html"
    results.write_atomically(_page(session, parts), path)
    return path


def _page(session: Session, figures: dict[str, list[str]]) -> str:
    profile = session.profile
    records = session.records
    runs = "your own" if session.local_records else "the committed study"
    body = [
        f"<h1>Large Kernel Matters, reproduced: profile {profile.name}</h1>",
        f"<p>{html.escape(profile.description)}. {len(records)} runs ({runs}). ",
        "Published numbers are VOC 2012 val with a ResNet-152 (Table 6: ResNet-50, and ImageNet): levels of another ",
        "profile do not compare with them, directions and orders do. ",
        "Every score is a mean ± standard deviation over n seeds; what was not run says so.</p>",
        "<h2>Verdicts</h2>",
        _table(session.verdicts()),
        "".join(figures.get("overview", [])),
    ]
    for name in variants.TABLES:
        published = paper.published(name)
        body += [
            f"<h2>Table {name}. {html.escape(published['title'])}</h2>",
            f"<p>{html.escape(published['question'])} ",
            f"<span class='note'>({html.escape(published['source'])})</span></p>",
            f"<p class='note'>{html.escape(setting(session, name))}</p>",
            _table(session.table(name)),
            *figures.get(f"table{name}", []),
        ]
        if name == "5":
            body += figures.get("boundary", [])
        if name in TEST_SERVERS:
            other = paper.published(TEST_SERVERS[name])
            body += [
                f"<h2>Table {TEST_SERVERS[name]}. {html.escape(other['title'])}</h2>",
                "<p class='note'>As published. A submission is written and checked by <code>python -m gcnlab submit",
                "</code>; this study has not sent one.</p>",
                _table(test_server(TEST_SERVERS[name])),
            ]
    published = paper.published("11")
    body += [
        f"<h2>Table 11. {html.escape(published['title'])}</h2>",
        f"<p>{html.escape(published['question'])} <span class='note'>({html.escape(published['source'])})</span></p>",
        "<p class='note'>Read off the built modules; the same for every profile. The paper prints 3700 MFlops of ",
        "convolutions for both networks; neither count gives that.</p>",
        _table(architecture_table()),
        *figures.get("figure5", []),
        f"<h3>The pair that profile {profile.name} trains: {profile.pair_name} and its GCN form</h3>",
        _table(architecture_table(profile)),
    ]
    mechanism = session.mechanism()
    if len(mechanism):
        body += [
            "<h2>What the network sees (Fig. 3), and whether that is why GCN helps</h2>",
            *figures.get("fields", []),
            _table(mechanism),
        ]
    trials = session.trials()
    if trials:
        findings = pd.DataFrame(open_question.findings(trials)).set_index("question")
        body += [
            "<h2>Why does the trivial convolution get worse? (section 4.1.1)</h2>",
            f"<p>{html.escape(open_question.answer(trials))}</p>",
            _table(findings),
            *figures.get("trials", []),
        ]
    pictures = [*figures.get("examples", []), *figures.get("curves", [])]
    body += ["<h2>Examples and training</h2>", *pictures] if pictures else []
    convergence = session.convergence()
    if convergence is not None:
        order = _order_kept(convergence, session.margin())
        body += [f"<h3>Would more steps change the order?</h3><p>{html.escape(order)}</p>", _table(convergence)]
    body += ["<h2>What is compared</h2>", *(f for n in ("figure1", "figure2", "figure4") for f in figures.get(n, []))]
    body += ["<h3>Parameters and multiply-adds of the heads (2048 → 21, 16×16 map)</h3>", _table(complexity_table())]
    assumptions = pd.DataFrame(paper.assumptions())[["question", "choice", "reason", "source"]]
    body += ["<h2>What the paper leaves open, and what we chose</h2>", _table(assumptions.set_index("question"))]
    if records:
        shown = results.frame(records)
        shown["mIoU"], shown["top-5 error"] = (
            [f"{100 * v:.2f}" if pd.notna(v) else "" for v in shown.get(name, [None] * len(shown))]
            for name in ("miou", "top5_error")
        )
        body += [
            "<h2>Runs</h2>",
            _table(shown[["name", "key", "mIoU", "top-5 error", "seconds"]].set_index("name")),
            _origin(records),
        ]
    return (
        f"<!doctype html><html lang='en'><head><meta charset='utf-8'><title>gcnlab: {profile.name}</title>"
        f"<style>{STYLE}</style></head><body>{''.join(body)}</body></html>\n"
    )


def _order_kept(convergence: pd.DataFrame, margin: float | None) -> str:
    """Which pairs of variants that differ clearly after the profile's steps stand the other way round after more?"""
    before, after = convergence.iloc[:, 0], convergence.iloc[:, 1]
    text = (
        f"mIoU (%) of {len(convergence)} variants at two lengths of training: "
        f"rank correlation {before.corr(after, method='spearman'):.2f}."
    )
    if margin is None:
        return text
    clear = [(a, b) for a, b in permutations(convergence.index, 2) if before[a] - before[b] > margin]
    turned = [f"{a} over {b} (then {after[a] - after[b]:+.1f})" for a, b in clear if after[a] <= after[b]]
    text += (
        f" {len(clear)} pairs differ by more than the margin of two single runs (±{margin:.1f}) at the shorter length; "
    )
    return text + (
        f"turned round at the longer one: {', '.join(turned)}." if turned else "the longer one turns none round."
    )


def _table(frame: pd.DataFrame) -> str:
    with pd.option_context("display.max_colwidth", None):  # or long sentences are cut
        return f"<div class='wide'>{frame.to_html(border=0, na_rep='')}</div>"


def _origin(records: list[dict[str, Any]]) -> str:
    """Where the records come from: devices, precision, versions, commits."""
    seen = {
        "device": {r["device"] for r in records},
        "precision": {r["precision"] for r in records},
        "torch": {r["versions"]["torch"] for r in records},
        "commit": {f"{r['commit']}{' (with local changes)' if r['dirty'] else ''}" for r in records},
        "data": {f"{r['data']['fingerprint']}{' (subset)' * variants.is_subset(r)}" for r in records},
    }
    text = "; ".join(f"{name}: {', '.join(sorted(map(str, values)))}" for name, values in seen.items())
    return f"<p class='note'>gcnlab {__version__}; {html.escape(text)}</p>"


def architecture_table(profile: Profile | None = None) -> pd.DataFrame:
    """Table 11 for reading: the published layers beside the built ones; or the pair that ``profile`` trains.

    The published total is that of the convolutions alone; in ours, batch norm counts with the convolution before it.
    """
    if profile is None:
        built = tables.architecture()
    else:
        pair, data = tuple(run.backbone for run in profile.pair), profile.pair[0].weights.data
        built = tables.architecture(pair, data.side, len(data.class_names))
    shown = pd.DataFrame(index=built.index)
    rows = paper.published("11")["rows"]
    shown["output size"] = built[variants.BACKBONES[0]]["output size"]  # the same for both
    for title, key in zip(variants.BACKBONES, ("resnet50", "resnet50_gcn"), strict=True):
        part = built[title]
        if profile is not None:
            title = title.replace("50", "")
        else:
            total = next(c["value"] for c in paper.published("11")["cells"] if c["column"] == title)
            shown[f"{title}, published"] = [row[key] for row in rows] + [f"{total:g} MFlops", ""]
        shown[f"{title}, built"] = part["layers"]
        shown[f"{title}, parameters"] = [f"{n:,}" for n in part["parameters"]]
        shown[f"{title}, multiply-adds"] = [f"{n / 1e6:,.1f}M" for n in part["multiply-adds"]]
    return shown


def complexity_table() -> pd.DataFrame:
    """Exact parameters and multiply-adds of the heads beside the published counts, for reading."""
    frame = tables.complexity()
    shown = pd.DataFrame({"head": frame["variant"], "parameters": [f"{n:,}" for n in frame["parameters"]]})
    shown["published"] = [f"{n:.0f}K" if pd.notna(n) else "" for n in frame["published_k"]]
    shown["multiply-adds"] = [f"{n / 1e6:,.0f}M" for n in frame["multiply_adds"]]
    return shown.set_index("head")


README_MARKS = ("<!-- results: generated by python -m gcnlab report --readme -->", "<!-- end of results -->")


def readme_block(profile_names: tuple[str, ...] = ("shapes", "photos")) -> str:
    """The README's result tables, from the committed records alone."""
    parts = []
    for name in profile_names:
        session = Session(name, out=results.COMMITTED)
        where = session.label(session.study_records)
        parts.append(f"**Profile `{where}`**: {session.profile.description}.\n\n")
        rows = []
        for table in ("1", "5"):
            frame = session.frame(table)
            for cell in frame[frame["metric"] == "miou"].itertuples():
                label = cell.row if table == "5" else ("1×1 baseline" if cell.column == "base" else f"GCN k = {cell.k}")
                if table == "1" or cell.refine:
                    rows.append(
                        (label, f"{cell.published:.1f}", score_text(cell.study_mean, cell.study_std, cell.study_n))
                    )
        for table, label in (("2", "k×k convolution"), ("3", "stack of 3×3")):
            frame = session.frame(table)
            for cell in frame[(frame["metric"] == "miou") & (frame["row"] != "GCN")].itertuples():
                score = score_text(cell.study_mean, cell.study_std, cell.study_n)
                rows.append((f"{label}, k = {cell.k}", f"{cell.published:.1f}", score))
        columns = ["model", "published (VOC 2012 val)", f"reproduced ({where})"]
        parts.append(markdown(pd.DataFrame(rows, columns=columns).set_index("model")) + "\n")
        for table in ("6", "7", "9"):
            heading = f"Table {table}. {paper.published(table)['title']}. {setting(session, table)}"
            parts.append(f"{heading}\n\n{markdown(session.table(table))}\n")
        verdicts = session.verdicts()
        verdict = verdicts.columns[1]
        parts.append(markdown(verdicts[verdicts[verdict] != "not run"]) + "\n")
        missing = ", ".join(str(number) for number in verdicts.index[verdicts[verdict] == "not run"])
        parts.append(f"Not run yet: claims {missing}.\n\n" if missing else "")
    return "".join(parts)


def update_readme(path: Path) -> None:
    """Replace the text between the marks; ``UserError`` if they are not there."""
    text = path.read_text(encoding="utf-8")
    start, end = README_MARKS
    if start not in text or end not in text:
        raise UserError(f"{path} lacks the lines {start!r} and {end!r}: put them where the results belong")
    before, after = text.split(start)[0], text.split(end)[1]
    results.write_atomically(f"{before}{start}\n\n{readme_block()}{end}{after}", path)
