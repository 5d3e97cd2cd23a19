"""Generated text in Markdown: only what stands between marks changes, and nothing is made up."""

from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest

from gcnlab.analysis.claims import Verdict
from gcnlab.analysis.judging import CONTRADICTED, NOT_RUN, SUPPORTED
from gcnlab.analysis.statistics import Effect
from gcnlab.errors import UserError
from gcnlab.experiments import profiles
from gcnlab.report import readme, verdicts


def verdict(number: int, word: str = SUPPORTED, effects: tuple = (), converged: bool = True):
    n = effects[0].n if effects else 0
    claim = (number, f"Claim {number}.", "Section 4", "", word, "a; b")
    return Verdict(*claim, effects, n, None, None, "2026-01-01", None, converged, 0)


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
    assert "+7.0 [+5.8, +8.2] (n = 6) on synthetic data (synthetic)" in came_out
    assert "1 supported, 1 contradicted" in missing and "paper's own scale" in missing
    smoke = [verdicts.Setting(profiles.get("smoke"), SETTINGS[0].verdicts)]
    assert "never evidence" in verdicts.answer(smoke)[2]


def test_effects_stand_side_by_side_with_words_and_signs():
    shown = ["+5.5 points", "✓ supported +7.0 [+5.8, +8.2] (n = 6)", "✓ supported (not converged)"]
    assert list(verdicts.effects_table(SETTINGS).loc["Claim 2."]) == shown


@pytest.mark.parametrize(("effect", "words"), [
    (None, "not run"), (GAIN, "+7.0 [+5.8, +8.2] (n = 6)"),
    (Effect("a", None, -0.34, float("nan"), float("nan"), 1), "−0.3 (n = 1)"),
])  # fmt: skip
def test_effect_text(effect, words):
    assert verdicts.effect_text(effect) == words


def test_every_claim_of_every_profile_can_be_quoted(monkeypatch):
    by_name = {one.profile.name: one for one in SETTINGS}
    stub = lambda name: SimpleNamespace(name=name, study_records=name in by_name)  # noqa: E731
    monkeypatch.setattr("gcnlab.report.session.Session", stub)
    monkeypatch.setattr(verdicts, "setting", lambda session: by_name[session.name])
    values = readme.values()
    assert values["effect.synthetic.2"] == verdicts.effect_text(GAIN)
    assert values["verdict.synthetic.1"] == CONTRADICTED
    assert values["tally.synthetic"] == "1 supported, 1 contradicted"
    assert "Claim 2." in values["effects"] and "Claim 1." in values["claims.synthetic"]


def test_the_readme_is_what_the_committed_records_say(tmp_path):
    original = Path(__file__).resolve().parents[1] / "README.md"
    copy = tmp_path / "README.md"
    copy.write_text(original.read_text(encoding="utf-8"), encoding="utf-8")
    assert not readme.update(copy, readme.values()), "python -m gcnlab report --readme renews it"
