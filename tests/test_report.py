"""Reports from invented records, and the committed study: nothing that is generated may differ from its records."""

import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from inspect import isfunction
from types import SimpleNamespace

import pandas as pd
import pytest
from test_tables import made

from gcnlab import paper
from gcnlab.errors import UserError
from gcnlab.study import diagrams, pictures, plots, profiles, report, results, step_plots, variants, views
from gcnlab.study.run import Run
from gcnlab.study.session import Session

COMMITTED = results.COMMITTED
README = COMMITTED.parent / "README.md"
SHAPES = profiles.get("shapes")
FIGURES = {
    *("figure1", "figure2", "figure4", "table1", "table1-gain", "table2", "table3", "table4", "table5"),
    *("figure5", "table6", "table7", "table9", "boundary-distance", "curves", "overview"),
}
MEASURED = ["fields", "fields-objects", "fields-sizes", "trials"]  # where trained networks were measured
PICTURES = ["examples", "table7-figure6", "table9-figure7", "fields-figure3"]  # of a profile's own images
TABLES = {f"table{i}.{kind}" for i in variants.TABLES for kind in ("csv", "md")} | {
    *("table8.md", "table10.md", "table11.md"),
    "claims.md",
    "runs.csv",
}


def some_records():
    """Two seeds of all variants but the narrow stacks; devices and versions with characters that HTML must escape."""
    runs = [run for run in variants.table_runs(list(variants.TABLES), SHAPES, [0, 1]) if run.m is None]
    records = {}
    for i, run in enumerate(runs):
        minute, second = divmod(i if run.head else 0, 60)
        finished = f"2026-01-01T00:{minute:02}:{second:02}+00:00"
        record = made(run, 0.5 + i / 200, device="<GPU & co>", finished=finished)
        if run.weights in records:  # a stage before, which has a time of its own
            record["weights"] = records[run.weights]["key"]
        records[run] = record
    return list(records.values())


def contents(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A report on ``some_records``, written twice; the committed study is empty, and no weights are kept."""

    def no_weights(self, *_, **__):
        raise UserError("no weights")

    folder = tmp_path_factory.mktemp("report")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(results, "COMMITTED", folder / "results")
        patch.setattr(Session, "examples", no_weights)
        for record in some_records():
            results.write_record(record, folder / "out")
        page = report.write(Session("shapes", out=folder / "out"))
        first = contents(folder / "out" / "shapes")
        report.write(Session("shapes", out=folder / "out"))
        return SimpleNamespace(page=page, first=first, second=contents(folder / "out" / "shapes"))


class Page(HTMLParser):
    """Tags, addresses and text of a page; fails if its tags are not well nested."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.addresses, self.text = [], [], [], ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.addresses += [value for name, value in attributes if name in ("src", "href", "srcset", "data")]
        if tag not in ("meta", "img", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] != "style":
            self.text += data


# --- a report ------------------------------------------------------------------------------------


@pytest.mark.slow
def test_every_table_and_figure_is_written(written):
    names = {name for name in written.first if not name.startswith("runs/")}
    assert names == {f"tables/{n}" for n in TABLES} | {f"figures/{n}.png" for n in FIGURES} | {"report.html"}
    for name in names:
        assert len(written.first[name]) > 200, name
        assert not name.endswith(".png") or written.first[name].startswith(b"\x89PNG\r\n")


@pytest.mark.slow
def test_writing_twice_gives_the_same_bytes(written):
    assert written.first.keys() == written.second.keys()
    assert [name for name, content in written.first.items() if content != written.second[name]] == []


@pytest.mark.slow
def test_the_page_stands_alone(written):
    assert written.page.name == "report.html" and written.page.parent.name == "shapes"
    page = Page(written.first["report.html"].decode())
    assert page.tags.count("img") == len(page.addresses) == len(FIGURES)
    assert all(address.startswith("data:image/png;base64,") for address in page.addresses)
    assert not {"script", "link", "iframe", "object"} & set(page.tags)
    assert "url(" not in report.STYLE and "@import" not in report.STYLE


@pytest.mark.slow
def test_the_page_tells_profile_spread_verdicts_and_origin(written, monkeypatch):
    monkeypatch.setattr(results, "COMMITTED", written.page.parents[2] / "results")
    text = Page(written.first["report.html"].decode()).text
    for words in ("profile shapes", SHAPES.description, "(n=2)", "not run", "own", "<GPU & co>", "0123456789abcdef"):
        assert words in text, words
    for table in (*variants.TABLES, "8", "10"):
        assert f"Table {table}. " in text
    assert text.count("not submitted") == 2, "nothing was sent to a test server"
    for cells in Session("shapes", out=written.page.parents[1]).verdicts().itertuples(index=False):
        assert all(cell in text for cell in cells)
    assert "<GPU" not in written.first["report.html"].decode(), "escaped"


@pytest.mark.slow
def test_files_name_what_was_not_run(written):
    lines = written.first["tables/table4.md"].decode().splitlines()
    title = "Table 4. The stack at k = 7 with fewer intermediate channels m."
    setting = f"Profile shapes: {SHAPES.description}. m is scaled to the 128 channels of the coarsest map: 128, 64, 13"
    assert lines[0] == f"{title} {setting} were trained."
    mine = next(line for line in lines if "your run (shapes)" in line and "Stack" in line)
    assert mine.count("not run") == 2 and mine.count("(n=2)") == 1
    long = pd.read_csv(pd.io.common.BytesIO(written.first["tables/table4.csv"]))
    scores = long[(long["metric"] == "miou") & (long["row"] == "Stack")]
    assert list(scores["local_n"]) == [2, 0, 0] and list(scores["local_mean"].isna()) == [False, True, True]
    assert list(scores["study_n"]) == [0, 0, 0]
    assert set(long["profile"]) == {"shapes"} and set(long["reproduced_on"]) == {SHAPES.description}


@pytest.mark.slow
def test_the_list_of_runs_is_complete(written):
    runs = pd.read_csv(pd.io.common.BytesIO(written.first["tables/runs.csv"]))
    expected = {(record["name"], record["key"]) for record in some_records()}
    assert set(runs[["name", "key"]].itertuples(index=False, name=None)) == expected and len(runs) == len(expected)
    assert runs["miou"].dropna().between(0, 1).all() and set(runs["seed"]) == {0, 1}


def test_a_study_without_any_record_has_tables(tmp_path, monkeypatch):
    monkeypatch.setattr(results, "COMMITTED", tmp_path / "results")
    written = report.write_tables(Session("shapes", out=tmp_path / "out"), tmp_path / "tables")
    assert {path.name for path in written} == TABLES
    assert (tmp_path / "tables" / "table1.md").read_text(encoding="utf-8").count("not run") == 16


@pytest.mark.parametrize(("table", "methods"), [("8", 13), ("10", 9)])
def test_a_test_servers_table_claims_no_score_of_ours(table, methods):
    frame = report.test_server(table)
    assert len(frame) == methods + 1 and frame.iloc[-1].item() == "not submitted"
    assert [float(value) for value in frame.iloc[:-1, 0]] == list(paper.cells(table)["value"])


@pytest.mark.parametrize("profile", profiles.PROFILES)
@pytest.mark.parametrize("table", ["7", "9"])
def test_the_setting_of_stages_is_told_with_their_own_kernel(profile, table):
    text = report.setting(Session(profile), table)
    k = {"7": 15, "9": {"photos": 17, "paper": 25}.get(profile, 13)}[table]
    if profile == "shapes-long":
        assert text.endswith("It has no staged training.")
        return
    assert f"GCN with k = {k}." in text and "MS: scales 0.75, 1, 1.25, each also mirrored." in text
    assert ("the paper gives no baseline there" in text) == (table == "9")


def test_photographs_are_never_drawn_into_a_report(monkeypatch, tmp_path):
    """Real photographs may not be published: the report does not even ask for them."""

    def drawn(profile):
        return [name for name, _, _ in report.figures(Session(profile, out=tmp_path))]

    for module in (diagrams, pictures, plots, step_plots, views):
        for name, member in vars(module).items():
            if isfunction(member) and member.__module__ == module.__name__:
                monkeypatch.setattr(module, name, lambda *_, **__: None)
    monkeypatch.setattr(results, "COMMITTED", tmp_path / "results")
    monkeypatch.setattr(Session, "examples", lambda *_, **__: pytest.fail("photographs in a report"))
    assert set(drawn("photos")) == FIGURES - {"curves", "boundary-distance"}, "these need records"
    monkeypatch.setattr(Session, "examples", lambda *_, **__: {})
    assert not set(drawn("smoke")) & set(PICTURES), "without weights there are no predictions"
    monkeypatch.setattr(Session, "has_examples", lambda *_: True)
    assert drawn("smoke")[-len(PICTURES) :] == PICTURES


# --- Markdown ------------------------------------------------------------------------------------


def test_markdown_escapes_bars():
    frame = pd.DataFrame({"a|b": ["x | y", 3]}, index=pd.Index(["i", "|"], name="name"))
    assert report.markdown(frame) == "| name | a\\|b |\n| --- | --- |\n| i | x \\| y |\n| \\| | 3 |\n"


def test_markdown_repeats_every_level_of_the_index():
    index = pd.MultiIndex.from_tuples([("GCN", "mIoU"), ("GCN", "n")], names=["model", "measure"])
    lines = report.markdown(pd.DataFrame({"3": ["70.1", "1"]}, index=index)).splitlines()
    assert lines == ["| model | measure | 3 |", "| --- | --- | --- |", "| GCN | mIoU | 70.1 |", "| GCN | n | 1 |"]


# --- the README's block --------------------------------------------------------------------------


@pytest.fixture
def readme(tmp_path, monkeypatch):
    monkeypatch.setattr(results, "COMMITTED", tmp_path / "results")
    monkeypatch.setattr(results, "LOCAL", tmp_path / "results" / "local")
    start, end = report.README_MARKS
    path = tmp_path / "README.md"
    path.write_text(f"# Before\n\n{start}\nold numbers\n{end}\n\nAfter | all.\n", encoding="utf-8")
    return path


def test_only_the_text_between_the_marks_is_replaced(readme):
    start, end = report.README_MARKS
    report.update_readme(readme)
    text = readme.read_text(encoding="utf-8")
    assert text.startswith(f"# Before\n\n{start}\n") and text.endswith(f"{end}\n\nAfter | all.\n")
    assert "old numbers" not in text and text.count(start) == text.count(end) == 1
    assert text[text.index(start) + len(start) : text.index(end)].strip() == report.readme_block().strip()
    report.update_readme(readme)
    assert readme.read_text(encoding="utf-8") == text, "nothing changes the second time"


def test_the_readme_shows_committed_records_with_n(readme):
    block = report.readme_block()
    # per profile: Table 1 with 8 cells, GCN + BR, and 4 and 5 cells of the other heads; Tables 6, 7, 9 with 8, 11, 6
    assert block.count("not run") == 2 * (8 + 1 + 4 + 5 + 8 + 11 + 6) and "shapes" in block and "photos" in block
    for record in some_records():
        results.write_record(record, results.COMMITTED)
    block = report.readme_block(("shapes",))
    assert block.count("(n=2)") == 43 and "| GCN k = 15 | 74.5 |" in block and "not run" not in block
    results.write_record(some_records()[0] | {"metrics": some_records()[-2]["metrics"]}, results.LOCAL)
    assert report.readme_block(("shapes",)) == block, "a user's own records do not get in"


@pytest.mark.parametrize("lost", report.README_MARKS)
def test_a_readme_without_marks_is_refused(readme, lost, caught):
    readme.write_text(readme.read_text(encoding="utf-8").replace(lost, ""), encoding="utf-8")
    before = readme.read_bytes()
    with pytest.raises(UserError) as info:
        report.update_readme(readme)
    assert str(readme) in caught(info) and lost in caught(info)
    assert readme.read_bytes() == before


# --- the committed study -------------------------------------------------------------------------

STUDIES = [name for name in profiles.PROFILES if list((COMMITTED / name / "runs").glob("*.json"))]
none_yet = pytest.mark.skipif(not STUDIES, reason=f"no records are committed below {COMMITTED} yet")
each_study = pytest.mark.parametrize("name", STUDIES or [pytest.param("none", marks=none_yet)])


def tracked():
    """What git would commit below results/, or all files but the ignored folders where there is no git."""
    command = ["git", "-C", str(COMMITTED), "ls-files", "--cached", "--others", "--exclude-standard", "-z", "."]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        found = [COMMITTED / name for name in done.stdout.split("\0") if name]
    except (OSError, subprocess.CalledProcessError):
        found = [path for path in COMMITTED.rglob("*") if path.is_file()]
    ignored = {"local", "weights", "checkpoints", "data"}
    return [path for path in found if path.exists() and not ignored & set(path.relative_to(COMMITTED).parts)]


def records_of(name):
    return {path: json.loads(path.read_text(encoding="utf-8")) for path in (COMMITTED / name / "runs").glob("*.json")}


@each_study
def test_committed_tables_are_those_of_the_records(name, tmp_path):
    report.write_tables(Session(name, out=COMMITTED), tmp_path)
    ours, theirs = contents(tmp_path), contents(COMMITTED / name / "tables")
    assert ours.keys() == theirs.keys()
    differ = [file for file in ours if ours[file] != theirs[file]]
    assert differ == [], f"run python -m gcnlab report --profile {name} --out results"


@each_study
def test_the_committed_page_is_that_of_the_records(name, tmp_path, monkeypatch):
    """All but its figures, whose bytes depend on the libraries that draw them."""
    committed = (COMMITTED / name / "report.html").read_text(encoding="utf-8")
    for study in (*STUDIES, "open-question"):
        for kind in ("runs", "fields", "trials"):
            if (COMMITTED / study / kind).is_dir():
                shutil.copytree(COMMITTED / study / kind, tmp_path / study / kind)
    monkeypatch.setattr(results, "COMMITTED", tmp_path)
    monkeypatch.setattr(report, "figures", lambda session: [])
    ours = report.write(Session(name, out=tmp_path)).read_text(encoding="utf-8")
    section = "<h2>Examples and training</h2>"
    figure = re.compile(r'<p><img [^>]*></p><p class="note">.*?</p>')
    assert figure.sub("", committed).replace(section, "") == ours.replace(section, "")


@none_yet
def test_the_readmes_results_are_those_of_the_records():
    start, end = report.README_MARKS
    text = README.read_text(encoding="utf-8")
    assert text.split(start)[1].split(end)[0].strip() == report.readme_block().strip(), (
        "run python -m gcnlab report --readme"
    )


def test_committed_files_are_evidence_tables_and_figures_only():
    """No photograph, label image or weight file may be published, and no notebook that shows photographs."""
    kinds = {
        "runs": [".json"],
        "fields": [".json"],
        "trials": [".json"],
        "tables": [".csv", ".md"],
        "figures": [".png"],
        "notebooks": [".ipynb", ".html"],
    }
    for path in tracked():
        parts = path.relative_to(COMMITTED).parts
        if parts in (("photos", "images-train.txt"), ("photos", "images-val.txt")):
            continue  # names, not images
        if len(parts) < 3:
            assert parts == ("README.md",) or (parts[0] in profiles.PROFILES and parts[1:] == ("report.html",)), path
        else:
            assert len(parts) == 3 and path.suffix in kinds.get(parts[1], []), path
            assert parts[0] in (*profiles.PROFILES, "open-question"), path
        if path.suffix == ".png":
            assert path.stem in {*FIGURES, *MEASURED, *PICTURES}, path
        if parts[0] in profiles.PROFILES and profiles.get(parts[0]).template.data.source.default_root is None:
            assert parts[1] != "notebooks" and path.stem not in PICTURES, path
            assert path.suffix != ".html" or "validation images" not in path.read_text(encoding="utf-8").lower(), path


@each_study
def test_committed_records_are_clean_evidence(name):
    records, states = records_of(name), {}
    for path, record in records.items():
        run = Run.from_config(record["config"])
        assert path.name == f"{record['name']}-{record['key']}.json"
        assert (run.name, run.profile) == (record["name"], name), path
        assert record["dirty"] is False and re.fullmatch("[0-9a-f]{40}", record["commit"]), path
        trained = 0 if run.study == "evaluation" else run.schedule.steps
        assert record["history"][-1]["step"] == trained and record["seconds"] > 0, path
        official = {split: run.data.source.official_counts[split] for split in ("train", "val")}
        if run.data.source.default_root is not None:
            assert record["metrics"]["counts"] == official and not variants.is_subset(record), path
        else:
            incomplete = record["metrics"]["counts"] != official
            assert variants.is_subset(record) is (incomplete or run.data.classes is not None), path
        states.setdefault(run.data.name, set()).add(record["data"]["fingerprint"])
    assert {name for name, found in states.items() if len(found) > 1} == set(), "all runs of a data set saw the same"
    assert len({record["training_version"] for record in records.values()}) == 1
    assert Session(name, out=COMMITTED).stale() == []
    names = [record["name"] for record in records.values()]
    assert len(names) == len(set(names)), "one record per run"


@each_study
def test_committed_scores_agree_with_each_other(name):
    for path, record in records_of(name).items():
        metrics = record["metrics"]
        if record["config"]["study"] == "pretraining":
            assert 0 <= metrics["top5_error"] <= metrics["top1_error"] <= 1
            continue
        known = [iou for iou in metrics["iou"].values() if iou is not None]
        scores = [metrics[n] for n in ("miou", "pixel_accuracy", "boundary_accuracy", "internal_accuracy")]
        assert all(0 <= score <= 1 for score in scores + known), path
        assert metrics["miou"] == pytest.approx(sum(known) / len(known), abs=1e-9), path
        assert metrics["miou"] == record["history"][-1]["miou"], path
        distance = f"{record['config']['boundary_distance']:g}"
        shares = []
        for region in metrics["boundary_sensitivity"].values():
            share, boundary = region["boundary_share"], region["boundary_accuracy"]
            overall = share * boundary + (1 - share) * region["internal_accuracy"]
            assert overall == pytest.approx(metrics["pixel_accuracy"], abs=1e-6), path
            shares.append(share)
        assert shares == sorted(shares) and len(shares) >= 4, "a wider region has more pixels"
        for region in ("boundary_accuracy", "internal_accuracy"):
            assert metrics["boundary_sensitivity"][distance][region] == metrics[region], path


def test_variants_that_clearly_change_their_order_with_more_steps_are_named():
    frame = pd.DataFrame({"800 steps": [50.0, 60.0, 61.0, 70.0], "1600 steps": [66.0, 65.0, 64.0, 80.0]}, list("abcd"))
    text = report._order_kept(frame, 2.0)
    assert "of 4 variants" in text and "rank correlation 0.20" in text and "5 pairs" in text and "(±2.0)" in text
    assert "turned round at the longer one: b over a (then -1.0), c over a (then -2.0)." in text, (
        "b and c do not differ clearly at first"
    )
    assert report._order_kept(frame, 30.0).endswith("the longer one turns none round.")
    assert "pairs" not in report._order_kept(frame, None), "one seed has no margin"
