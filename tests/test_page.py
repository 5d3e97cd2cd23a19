"""The page and its files, from made-up records: alone, and every number leads to its records."""

import re
from dataclasses import replace
from html.parser import HTMLParser
from random import Random
from types import SimpleNamespace

import pandas as pd
import pytest
from made import made, save

from gcnlab import paper
from gcnlab.analysis import claims, curves, tables
from gcnlab.experiments import profiles, resources
from gcnlab.report import exports, html_tables, page, verdicts
from gcnlab.report.session import Session

PROFILE = profiles.get("quick")


ENVIRONMENT = {"device": "<CPU & co>", "commit": "c0ffee", "dirty": True, "seconds": 1.5,
               "versions": {"torch": "2.11"}, "finished": "2026-01-01"}  # fmt: skip


class MadeSession:
    """Three seeds of every variant but the narrow stacks, as the user's own run."""

    profile, label, data_root = PROFILE, "quick", None

    def __init__(self, out, seeds: int = 3):
        variants = [variant for variant in tables.all_variants() if not variant.m_ratio]
        configs = (variant.config(PROFILE, seed) for variant in variants for seed in range(seeds))
        runs = dict.fromkeys(link for run in configs if run for link in resources.chain(run))
        self.out, self.records = out, []
        for i, run in enumerate(runs):
            m = 0.5 + i / 2000 + Random(run.name).random() / 100
            self.records.append(made(run, m, m - 0.1, m + 0.2, 2 - m, environment=ENVIRONMENT))

    def labels(self):
        return {"local": "your run (quick)"}

    def frame(self, name):
        return tables.compare(name, PROFILE, {"local": self.records})

    def table(self, name):
        return tables.in_paper_form(self.frame(name), self.labels())

    def curves(self):
        return curves.learning_curves(PROFILE, self.records)

    def measured(self):
        return []

    ablations = boundary_sensitivity = measured

    def judge(self):
        return claims.judge(PROFILE, self.records)

    def has_examples(self, table):
        return False


class Html(HTMLParser):
    """Tags and text of a page; fails if the tags are not well nested."""

    def __init__(self, text: str):
        super().__init__()
        self.open, self.tags, self.text = [], [], ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in ("meta", "img", "br", "path"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] != "style":
            self.text += data

    def values(self, name: str) -> list[str]:
        return [attributes[name] for _, attributes in self.tags if name in attributes]


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    out = tmp_path_factory.mktemp("report")
    session = MadeSession(out)
    for record in session.records:
        save(record, out, "quick")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(verdicts, "studies", lambda: ([], []))
        path = page.write(session)
        first = contents(path.parent)
        page.write(session)
    text = path.read_text(encoding="utf-8")
    return SimpleNamespace(path=path, session=session, text=text, html=Html(text), first=first)


def contents(folder) -> dict[str, bytes]:
    names = [path for path in folder.rglob("*") if path.is_file()]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in names}


def test_writing_twice_gives_the_same_bytes(written):
    assert contents(written.path.parent) == written.first


def test_the_page_stands_alone(written):
    sources = written.html.values("src")
    assert sources and all(source.startswith("data:image/") for source in sources)
    tags = {tag for tag, _ in written.html.tags}
    assert not tags & {"script", "link", "iframe", "object"}
    assert not re.search(r"url\(|@import|https?://(?!www\.w3\.org)", written.text)
    assert len(written.text) < 3_000_000
    assert all(attributes.get("alt") for tag, attributes in written.html.tags if tag == "img")


def test_the_page_is_made_for_phones_night_paper_and_readers(written):
    for words in ('name="viewport"', "prefers-color-scheme: dark", "@media print", "<details>",
                  "position: sticky", 'aria-label="Fig. 2', "&lt;CPU &amp; co&gt;"):  # fmt: skip
        assert words in written.text


def test_the_page_says_what_a_reader_must_know(written):
    for words in ("profile quick", PROFILE.description, "not run", "95 % t interval", "c0ffee",
                  "(with local changes)", "not converged", "not submitted", "registered rules",
                  "By the rule of the first study",
                  *(assumption["question"] for assumption in paper.assumptions())):  # fmt: skip
        assert words in " ".join(written.html.text.split())


def test_every_claim_stands_with_word_statement_and_n(written):
    for verdict in verdicts.setting(written.session).verdicts:
        assert f"claim {verdict.id}: {verdicts.stated(verdict)}" in written.html.text
        assert verdict.statement.split("; ")[0] in written.html.text


def test_contents_lead_to_sections(written):
    anchors = written.html.values("id")
    internal = [href[1:] for href in written.html.values("href") if href.startswith("#")]
    assert set(internal) <= set(anchors) and len(anchors) == len(set(anchors))
    assert {f"table{name}" for name in tables.SPECS} <= set(internal)


def test_every_number_leads_to_its_records_in_one_step(written):
    frame = written.session.frame("1")
    keys = frame.set_index("column").loc["15", "local_keys"]
    assert len(keys) == 3
    for key in keys:
        (address,) = {h for h in written.html.values("href") if key in h and "gcn-k15-s" in h}
        assert (written.path.parent / address).is_file()


def test_no_path_of_this_machine_is_in_any_file(written):
    for name, content in written.first.items():
        assert str(written.session.out).encode() not in content, name


def test_figures_and_tables_are_files_too(written):
    figures = {name for name in written.first if name.startswith("figures/")}
    assert {"figures/agreement.svg", "figures/table1-1.svg", "figures/learning-1.svg"} <= figures
    names = {f"table{n}.{kind}" for n in tables.SPECS for kind in ("csv", "md")}
    names |= {"table8.md", "table10.md", "table11.md", "claims.md", "rules.md", "runs.csv"}
    assert {f"tables/{name}" for name in names} <= written.first.keys()
    long = pd.read_csv(pd.io.common.BytesIO(written.first["tables/table4.csv"]))
    stacks = long[(long["metric"] == "miou") & (long["row"] == "Stack")]
    assert list(stacks["local_n"]) == [3, 0, 0] and set(long["profile"]) == {"quick"}
    assert stacks["local_scores"].iloc[0].startswith("0:")
    runs = pd.read_csv(pd.io.common.BytesIO(written.first["tables/runs.csv"]))
    assert set(runs["key"]) == {record["key"] for record in written.session.records}


def test_a_study_without_records_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(verdicts, "studies", lambda: ([], []))
    session = MadeSession(tmp_path, seeds=0)
    text = Html(page.write(session).read_text(encoding="utf-8")).text
    assert "No comparison was run yet." in text and "The main comparison was not run yet." in text
    assert "Supported: GCN rises" not in text and "0 supported" not in text


@pytest.mark.parametrize(
    ("profile", "shown"), [("quick", True), ("photos", False), ("paper", False)]
)
def test_photographs_never_stand_on_a_page(profile, shown, monkeypatch):
    monkeypatch.setattr(Session, "is_trained", lambda *_: True)
    assert Session(profile).has_examples("5") == shown


def test_cells_without_a_file_have_no_link(tmp_path):
    session = MadeSession(tmp_path)
    table = html_tables.of_cells(session.table("1"), session.frame("1"), session.labels(), {})
    assert all(cell.records == () for row in table.rows for cell in row)
    assert table.right == [False] * 3 + [True] * 8, "numbers at the right, headings at the left"


def test_hours_by_table_count_every_run_once():
    first, second = tables.table_configs(["1"], PROFILE, [0, 1])[:2]
    in_table_2 = tables.table_configs(["2"], PROFILE, [0])[-1]
    times = {first: 3600, second: 3600, first.start: 900, in_table_2: 360,
             replace(PROFILE.template, label="own"): 720}  # fmt: skip
    records = [made(run, 0.5, environment={"seconds": times[run]}) for run in times]
    found = exports.hours(PROFILE, records)
    assert found == pytest.approx({"Table 1": 2.25, "Table 2": 0.1, "other": 0.2})
    assert exports.hours(PROFILE, []) == {}


@pytest.mark.parametrize(("name", "methods"), [("7", 13), ("9", 9)])
def test_a_test_servers_table_claims_no_score_of_ours(name, methods):
    frame = exports.test_server(tables.SPECS[name])
    published = paper.cells(tables.SPECS[name].test_server)["value"]
    assert [float(value) for value in frame.iloc[:-1, 0]] == list(published)
    assert len(published) == methods and frame.iloc[-1].item() == "not submitted"


def test_every_judged_number_leads_to_its_records(written):
    folder = written.path.parent / "tables"
    text = (folder / "records.md").read_text(encoding="utf-8")
    links = re.findall(r"\]\((\.\./runs/[^)]+)\)", text)
    assert links and all((folder / link).is_file() for link in links)
    verdict = verdicts.setting(written.session).verdict(2)
    section = text.partition("## Claim 2\n")[2].partition("## Claim 3\n")[0]
    assert verdict.effects[0].keys and all(key in section for key in verdict.effects[0].keys)
