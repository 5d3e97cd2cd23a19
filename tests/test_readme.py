"""Generated text in Markdown: only what stands between marks changes, and nothing is made up."""

import re
from pathlib import Path
from types import SimpleNamespace

import mistune
import pandas as pd
import pytest
from made import PHOTOS, SYNTHETIC, study

from gcnlab import paper
from gcnlab.analysis import claims
from gcnlab.analysis.claims import Verdict
from gcnlab.analysis.judging import CONTRADICTED, INCONCLUSIVE, NOT_RUN, SUPPORTED
from gcnlab.analysis.statistics import Effect
from gcnlab.data import photographs
from gcnlab.errors import UserError
from gcnlab.experiments import profiles
from gcnlab.experiments.head_rates import PAIRS
from gcnlab.experiments.variants import Variant
from gcnlab.report import readme, verdicts
from gcnlab.report.agreement import agreement

ROOT = Path(__file__).resolve().parents[1]


def verdict(number: int, word: str = SUPPORTED, effects: tuple = (), converged: bool = True):
    claim = {"id": number, "claim": f"Claim {number}.", "source": "Section 4"}
    outcome = {"verdict": word, "statement": "a; b", "effects": effects}
    return Verdict(**claim, **outcome, n=effects[0].n if effects else 0, registered="2026-01-01",
                   changed=None, converged=converged, diverged=0)  # fmt: skip


GAIN = Effect("GCN 15 − 1×1", 5.5, 7.0, 5.8, 8.2, 6)
SETTINGS = [
    verdicts.Setting(profiles.get(name), judged)
    for name, judged in (
        ("synthetic", [verdict(1, CONTRADICTED), verdict(2, SUPPORTED, (GAIN,))]),
        ("photos", [verdict(1, NOT_RUN), verdict(2, converged=False)]),
    )
]


def test_only_what_stands_between_marks_is_replaced(tmp_path):
    path = tmp_path / "README.md"
    path.write_text("Gains <!-- a -->old<!-- /a --> points.\n<!-- t -->\n<!-- /t -->\nEnd | .\n")
    assert readme.update(path, {"a": "+5.5", "t": "| x |\n| y |\n", "unused": "z"})
    table = "<!-- t -->\n\n| x |\n| y |\n\n<!-- /t -->"
    assert path.read_text() == f"Gains <!-- a -->+5.5<!-- /a --> points.\n{table}\nEnd | .\n"
    assert not readme.update(path, {"a": "+5.5", "t": "| x |\n| y |"}), "nothing changes twice"


@pytest.mark.parametrize("name", readme.GENERATED)
def test_what_is_generated_is_read_as_markdown(name):
    """A line that begins with a comment would be HTML to Markdown: a figure shown as its code."""
    html = mistune.html((ROOT / name).read_text(encoding="utf-8"))
    assert "![" not in html and "](" not in html
    assert html.count("<img") == (2 if name == "README.md" else 0)


@pytest.mark.parametrize(("text", "words"), [
    ("no marks here", "has no marks"),
    ("<!-- a -->1<!-- /a --> <!-- b -->2<!-- /b -->", "nothing generates 'b'"),
])  # fmt: skip
def test_a_file_without_marks_or_with_unknown_ones_is_refused(tmp_path, text, words):
    path = tmp_path / "README.md"
    path.write_text(text)
    with pytest.raises(UserError, match=words) as info:
        readme.update(path, {"a": "1"})
    assert str(path) in str(info.value) and "\n" not in str(info.value) and path.read_text() == text


def test_markdown_escapes_bars_and_repeats_every_level():
    index = pd.MultiIndex.from_tuples([("GCN", "m|n")], names=["model", "measure"])
    lines = readme.markdown(pd.DataFrame({"3": ["70\n.1"], "n": [5]}, index=index)).splitlines()
    assert lines[0] == "| model | measure | 3 | n |" and lines[1] == "| --- | --- | --- | ---: |"
    assert lines[2] == "| GCN | m\\|n | 70 .1 | 5 |"


def test_the_answer_is_three_sentences_with_n_interval_and_profile():
    asked, came_out, missing = verdicts.answer(SETTINGS)
    assert "k×1 and 1×k" in asked
    assert "+7.0 [+5.8, +8.2] (n = 6) on synthetic data" in came_out
    assert "1 are counted (1 contradicted); of the others, on syn" in missing
    assert "data 1 supported; on photo" in missing and "paper's own scale" in missing
    smoke = [verdicts.Setting(profiles.get("smoke"), SETTINGS[0].verdicts)]
    assert "never evidence" in verdicts.answer(smoke)[2]


def test_effects_stand_side_by_side_with_words_and_signs():
    shown = [
        "GCN 15 − 1×1 baseline",
        "+5.5 points",
        "✓ supported +7.0 [+5.8, +8.2] (n = 6)",
        "✓ supported (not converged)",
    ]
    assert list(verdicts.effects_table(SETTINGS).loc["Claim 2."]) == shown


@pytest.mark.parametrize(("effect", "words"), [
    (None, "not run"), (GAIN, "+7.0 [+5.8, +8.2] (n = 6)"),
    (Effect("a", None, -0.34, float("nan"), float("nan"), 1), "−0.3 (n = 1)"),
])  # fmt: skip
def test_effect_text(effect, words):
    assert verdicts.effect_text(effect) == words


def test_of_every_kind_of_data_the_longest_study_that_judges_the_headline_is_shown(monkeypatch):
    by_name = {one.profile.name: one for one in SETTINGS}
    by_name["quick"] = verdicts.Setting(profiles.get("quick"), SETTINGS[0].verdicts)
    stub = lambda name, out: SimpleNamespace(name=name, study_records=name in by_name)  # noqa: E731
    monkeypatch.setattr("gcnlab.report.session.Session", stub)
    monkeypatch.setattr(verdicts, "setting", lambda session: by_name[session.name])
    names = lambda: [[one.profile.name for one in part] for part in verdicts.studies()]  # noqa: E731
    assert names() == [["synthetic", "photos"], ["quick"]], "the longest"
    wide = profiles.get("synthetic-wide")
    by_name["synthetic-wide"] = verdicts.Setting(wide, [*SETTINGS[0].verdicts, verdict(8)])
    assert names()[0][0] == "synthetic-wide", "of equals the one that judges most"
    del by_name["synthetic-wide"]
    others = [verdict(claim) for claim in range(3, 9)]
    by_name["synthetic"] = verdicts.Setting(SYNTHETIC, [verdict(2, NOT_RUN), *others])
    assert names() == [["quick", "photos"], ["synthetic"]]


def test_another_setting_of_the_same_data_stands_beside_the_study(monkeypatch):
    base, gcn = Variant("conv1x1"), Variant("gcn", 15)
    wide = profiles.get("synthetic-wide")
    records = study({base: (80, 60, 85), gcn: (83, 61, 86)}, range(3), wide)
    monkeypatch.setattr(verdicts, "studies", lambda: (two_studies(), []))
    assert readme.values()["sensitivity"] == "Not run."
    other = verdicts.Setting(wide, claims.judge(wide, records))
    monkeypatch.setattr(verdicts, "studies", lambda: (two_studies(), [other]))
    said, _, head, _, *rows = readme.values()["sensitivity"].splitlines()
    assert "(`synthetic-wide`): the same drawn scenes" in said and "photographs" not in said + head
    assert head.endswith("| synthetic data | synthetic data (wide field) |")
    assert len(rows) == 2 and "+3.0 [" in rows[0] and "synthetic-wide/tables" in rows[0]
    told = re.findall(r"on synthetic data \(wide field\): (.*?) \+", readme.values()["findings"])
    assert told == [
        "GCN 15 − 1×1",
        "share of the error removed, internal accuracy − boundary accuracy",
    ]


LOST = Effect("GCN 15 − 1×1", 5.5, -7.0, -8.0, -6.0, 6)


@pytest.mark.parametrize(("judged", "words"), [
    ((verdict(2, NOT_RUN), verdict(2, NOT_RUN)), "Does it?"),
    ((verdict(2, SUPPORTED, (GAIN,)), verdict(2, NOT_RUN)),
     "Claim 2: +7.0 [+5.8, +8.2] (n = 6) on synthetic data"),
    ((verdict(2, INCONCLUSIVE, (GAIN,), False), verdict(2, NOT_RUN)),
     "Inconclusive: GCN 15 − 1×1 baseline: +7.0 [+5.8, +8.2] (n = 6) on synthetic data "
     "(not converged)"),
    ((verdict(2, SUPPORTED, (GAIN,)), verdict(2, CONTRADICTED, (LOST,))),
     "Supported on synthetic data, contradicted on photographs: Claim 2: +7.0 [+5.8, +8.2] "
     "(n = 6) on synthetic data, −7.0 [−8.0, −6.0] (n = 6) on photographs"),
    ((verdict(15, SUPPORTED), verdict(15, SUPPORTED)), "Claim 15"),  # counted: nothing to converge
])  # fmt: skip
def test_a_finding_says_what_became_of_a_claim_on_every_kind_of_data(judged, words):
    settings = [one.profile for one in SETTINGS]
    pairs = [(verdicts.Setting(p, []), v) for p, v in zip(settings, judged, strict=True)]
    assert verdicts.finding(pairs, "Does it?") == words


def two_studies():
    """Made-up studies on synthetic data and on photographs, of the models of Table 5."""
    base, gcn, refined = Variant("conv1x1"), Variant("gcn", 15), Variant("gcn", 15, refine=True)
    scores = {base: (50, 60, 85), gcn: (56, 61, 92), refined: (57, 65, 92)}
    fewer = {base: (60, 60, 85), gcn: (58, 61, 80)}
    return [verdicts.Setting(profile, claims.judge(profile, study(means, range(n), profile)))
            for profile, means, n in ((SYNTHETIC, scores, 6), (PHOTOS, fewer, 3))]  # fmt: skip


def test_a_second_study_gets_its_column_its_lines_and_its_panel(monkeypatch):
    settings = two_studies()
    monkeypatch.setattr(verdicts, "studies", lambda: (settings, []))
    values = readme.values()
    head, _, first, *_ = values["decisive"].splitlines()
    assert head.endswith("| paper | synthetic data | photographs |")
    assert re.search(
        r"\| \+5\.5 points \| ✓ supported .*\(n = 6\).* \| ✗ contradicted .*\(n = 3\)", first
    )
    assert len(values["decisive"].splitlines()) == 2 + len(verdicts.DECISIVE)
    assert "on synthetic data and −" in values["answer"]
    assert "results/synthetic/figures/agreement.svg" in values["hero"]
    heading = "## Supported on synthetic data, contradicted on photographs: The global"
    assert heading in values["findings"], "claim 1 was not run, claim 2 was"
    for claim in paper.claims():
        told = values["findings"].count(f"**Claim {claim['id']}: ")
        assert told == 1 and claim["claim"] in values["findings"], "once, in the paper's words too"
    assert "(section 4.3). Judged as claim 12." in values["findings"]
    assert "near boundaries +1.0 [" in values["claims"], "points beside the shares of claim 7"
    assert "in points, inside" not in values["findings"], "its statement has them"
    assert values["findings"].count("By the rule of the first study it did not hold on either") == 1
    missing = "**not run** on synthetic data (receptive fields were not measured) and photographs ("
    assert missing in values["findings"]
    chart = agreement({one.title: one.effects for one in settings})
    assert {"published (one run", "photographs"} <= {
        text for ax in chart.figure.axes for text in ax.get_title(loc="left").splitlines()[:1]
        for text in (text, text.split(",")[0])}  # fmt: skip


def test_a_finding_says_what_speaks_against_a_supported_claim():
    """GCN may lead over stacks that only learn at another rate; one seed of it says nothing yet."""
    pairs = {Variant(head, k): score for k in (7, 9, 11)
             for head, score in (("gcn", 65), ("stack", 59))}  # fmt: skip
    more = {Variant("conv1x1"): 55} | {stack: 65 for _, stack in PAIRS}
    one_seed = study({stack: 64 for _, stack in PAIRS}, range(1))
    told = []
    for records in (study(pairs | more, range(3)), study(pairs, range(3)) + one_seed):
        (verdict,) = claims.judge(SYNTHETIC, records, (), 5)
        told.append(verdicts.finding([(verdicts.Setting(SYNTHETIC, [verdict]), verdict)], "?"))
    against = r"\+6\.0 .* \(but GCN − stack, each at .* rates [+−]0\.\d \[−.*\]\)$"
    assert re.search(against, told[0])
    assert "stack − 1×1" not in told[0], "that is above zero too"
    assert "(but" not in told[1] and "(n = 1)" in verdicts.beside_text(verdict)


@pytest.mark.parametrize("name", readme.GENERATED)
def test_the_readme_is_what_the_committed_records_say(name, tmp_path):
    copy = tmp_path / name
    copy.write_text((ROOT / name).read_text(encoding="utf-8"), encoding="utf-8")
    assert not readme.update(copy, readme.values()), "python -m gcnlab report --readme renews it"


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_bytes()) <= 8_000


def sizes():
    """Sides and classes of the profiles' data: what a document may say of them."""
    for profile in profiles.PROFILES.values():
        spec = profile.template.data
        yield from (
            rf"{spec.side} (px|pixels)",
            rf"{spec.side}-pixel",
            rf"{len(spec.class_names)} classes",
        )
        yield from (rf"{len(run.start.data.class_names):,} classes" for run in profile.pair
                    if not isinstance(run.start, str))  # fmt: skip
    yield rf"{len(photographs.listed('VOC', 'SBD')):,} images"
    yield from (rf"{photographs.LONG_SIDE} pixels", rf"quality {photographs.QUALITY}")


# What is no result: names, parts of the paper, versions, sizes of data and of an installation
NO_RESULTS = (
    r"CVPR 2017", r"arXiv 1703\.02719", r"VOC 2012", r"[k\d]+×[k\d]+", r"ResNet-\d+", r"C[2-5]\b",
    r"(Tables?|Figs?\.|notebook) \d+(, \d+)*( and \d+)?", r"[sS]ections? \d(\.\d)*", r"GCN \d+",
    r"Python (3\.11–3\.13|up to 3\.12)", r"5 GB", r"95 %", r"k = 3 … 15", r"0 … 255", r"float32",
    r"SqueezeNet 1\.1", r"pydensecrf2", r"(640|512) (px|pixels)", r"\b(200|1,000) classes",
    r"exit code \d", r"ends with 1\b", r"30 seconds", r"25 times", r"x86-64", r"Debian 12",
    r"3\.1[123](\.\d+)?",
)  # fmt: skip


@pytest.mark.parametrize("path", ["README.md", "FINDINGS.md", "docs/data.md", "docs/usage.md"])
def test_every_number_of_a_document_is_generated_or_no_result(path):
    text = " ".join((ROOT / path).read_text(encoding="utf-8").split())
    generated = r"<!-- ([\w.-]+) -->.*?<!-- /\1 -->"
    for pattern in (generated, r"```.*?```", r"`[^`]*`", r"\]\([^)]*\)", *sizes(), *NO_RESULTS):
        text = re.sub(pattern, "", text)
    assert re.findall(r".{0,30}\d.{0,20}", text) == []


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"minutes": "18"}', '{"minutes": null}'])
def test_a_damaged_measurement_of_run_all_is_named(content, tmp_path, monkeypatch, caught):
    monkeypatch.setattr(readme, "RUN_ALL", tmp_path / "run_all.json")
    (tmp_path / "run_all.json").write_text(content)
    with pytest.raises(UserError) as info:
        readme._minutes()
    assert "run_all.json cannot be read" in caught(info)
