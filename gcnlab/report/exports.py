"""A report's tables as files: CSV in long form, Markdown in the paper's form."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from gcnlab import files, paper
from gcnlab.analysis import claims, costs, power
from gcnlab.analysis.claims import Verdict
from gcnlab.analysis.rules import rule_for
from gcnlab.analysis.selection import metric, run_of
from gcnlab.analysis.tables import SPECS, TableSpec, table_configs
from gcnlab.experiments.profiles import Profile
from gcnlab.experiments.records import Record
from gcnlab.experiments.resources import chain
from gcnlab.experiments.variants import BACKBONES
from gcnlab.report.readme import markdown

if TYPE_CHECKING:
    from gcnlab.report.session import Session


def write_tables(session: "Session", verdicts: list[Verdict], folder: Path) -> None:
    """Write ``tableN.csv`` and ``tableN.md`` for every table, ``claims``, ``rules``, ``runs``."""
    profile = session.profile
    texts = {
        "table11.md": f"Table 11. {paper.published('11')['title']}. Read off the built modules.\n\n"
        + markdown(architecture()),
        "claims.md": markdown(claims.verdict_frame(verdicts)),
        "rules.md": markdown(power.table().astype(object).fillna("")),
        "records.md": record_links(verdicts, session.records),
        "runs.csv": csv(runs(session.records)),
    }
    for name, spec in SPECS.items():
        texts[f"table{name}.csv"] = csv(session.frame(name).assign(profile=profile.name))
        title = f"Table {name}. {spec.title}. Profile {profile.name}: {profile.description}."
        heading = f"{title} ±: standard deviation over seeds. {spec.note(profile)}".strip()
        texts[f"table{name}.md"] = f"{heading}\n\n{markdown(session.table(name))}"
        if number := spec.test_server:
            heading = f"Table {number}. {paper.published(number)['title']}. As published."
            texts[f"table{number}.md"] = f"{heading}\n\n{markdown(test_server(spec))}"
    for name, text in texts.items():
        files.write(text, folder / name)


def hours(profile: Profile, records: list[Record]) -> dict[str, float]:
    """Table → hours of its runs, and of those that they start from, not counted with an earlier
    table; ``other`` for the rest.

    A run computes on one thread or one GPU: these are core-hours or card-hours.
    """
    seconds = {run_of(record): record["environment"]["seconds"] for record in records}
    seeds, taken = sorted({run.seed for run in seconds}), {}
    for name in SPECS:
        links = {link for run in table_configs([name], profile, seeds) for link in chain(run)}
        taken[f"Table {name}"] = sum(seconds.pop(run, 0) for run in links)
    taken["other"] = sum(seconds.values())
    return {name: total / 3600 for name, total in taken.items() if total}


def record_links(verdicts: list[Verdict], records: list[Record]) -> str:
    """Per claim its comparisons, each with its intervals and links to the records behind it."""
    names = {record["key"]: f"{record['name']}-{record['key']}.json" for record in records}
    lines = ["# From a number to its records", "", "Intervals of 95 %; unpaired: Welch's; over "
             "images: over resampled validation images.", ""]  # fmt: skip
    for verdict in verdicts:
        lines += [f"## Claim {verdict.id}", "", f"{verdict.claim} {verdict.statement}", ""]
        folder = "runs" if rule_for(verdict.id).test.needs() else "fields"
        named = [(effect.name, effect) for effect in verdict.effects]
        for title, effect in (*named, *verdict.beside.items()):
            links = (f"[{names[key]}](../{folder}/{names[key]})" for key in effect.keys)
            bounds = {"within seeds": (effect.low, effect.high), "unpaired": effect.welch,
                      "over images": (effect.boot_low, effect.boot_high)}  # fmt: skip
            told = [f"{name} [{pair[0]:.2f}, {pair[1]:.2f}]" for name, pair in bounds.items()
                    if pair and pair[0] is not None and pair[0] == pair[0]]  # fmt: skip
            lines.append(f"- {title}: {', '.join([*told, *links])}")
        lines.append("")
    return "\n".join(lines)


def csv(frame: pd.DataFrame) -> str:
    """Comma-separated text; lists become words, scores by seed ``0:61.05 1:60.33``."""

    def plain(value):
        if isinstance(value, dict):
            return " ".join(f"{seed}:{score:.2f}" for seed, score in value.items())
        return " ".join(map(str, value)) if isinstance(value, list | tuple) else value

    nested = {c: frame[c].map(plain) for c in frame if frame[c].dtype == object}
    return frame.assign(**nested).to_csv(index=False, float_format="%.4f", lineterminator="\n")


def test_server(spec: TableSpec) -> pd.DataFrame:
    """The published table of a test server, and our line: nothing was sent there."""
    rows = [(row.row, f"{row.value:.1f}") for row in paper.cells(spec.test_server).itertuples()]
    rows.append(("this study", "not submitted"))
    return pd.DataFrame(rows, columns=["method", "mean IoU (%)"]).set_index("method")


def runs(records: list[Record]) -> pd.DataFrame:
    """One row per record: name, key, kind, scores (%), seconds, device, code, data, precision."""
    names = ("seconds", "device", "commit", "dirty", "finished")
    return pd.DataFrame(
        {name: record[name] for name in ("name", "key", "kind")}
        | {name: metric(record, name) for name in ("miou", "top1_error")}
        | {name: record["environment"][name] for name in names}
        | {"torch": record["environment"]["versions"]["torch"]}
        | {name: record["identity"][name] for name in ("data", "precision")}
        for record in records
    )


def complexity() -> pd.DataFrame:
    """Exact parameters and multiply-adds of the heads beside the published counts, for reading."""
    frame = costs.complexity()
    frame.index = pd.Index([_head(row) for row in frame.itertuples()], name="head")
    published = frame["published_k"].map("{:,.0f}K".format, na_action="ignore").fillna("")
    adds = (frame["multiply_adds"] / 1e6).map("{:,.0f}M".format)
    shown = {"parameters": frame["parameters"].map("{:,}".format), "published": published}
    return pd.DataFrame(shown | {"multiply-adds": adds})


def _head(row: Any) -> str:
    """A head as a reader calls it, with its kernel size."""
    names = {"conv1x1": "1×1", "gcn": f"GCN {row.k}", "conv": f"dense {row.k}×{row.k}"}
    return names.get(row.head, f"stack of 3×3, k = {row.k}, m = {row.m}")


def architecture(session: "Session | None" = None) -> pd.DataFrame:
    """Table 11 for reading: published layers beside built ones, or the pair of a profile.

    The published total is that of the convolutions alone; in ours, batch norm counts with the
    convolution before it.
    """
    built, published = costs.architecture(), paper.published("11")
    if session is not None:
        pair, data = session.profile.pair, session.profile.pair[0].start.data
        names = tuple(run.backbone for run in pair)
        built = costs.architecture(names, data.side, len(data.class_names))
    shown = pd.DataFrame(index=built.index)
    shown["output size"] = built[BACKBONES[0]]["output size"]  # the same for both
    for title, layers in zip(BACKBONES, ("resnet50", "resnet50_gcn"), strict=True):
        part, name = built[title], title if session is None else title.replace("50", "")
        if session is None:
            total = next(c["value"] for c in published["cells"] if c["column"] == title)
            totals = [f"{total:g} MFlops", ""]
            shown[f"{title}, published"] = [row[layers] for row in published["rows"]] + totals
        shown[f"{name}, built"] = part["layers"]
        shown[f"{name}, parameters"] = part["parameters"].map("{:,}".format)
        shown[f"{name}, multiply-adds"] = (part["multiply-adds"] / 1e6).map("{:,.1f}M".format)
    return shown
