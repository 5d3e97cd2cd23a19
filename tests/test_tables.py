"""Paper table ↔ runs ↔ records: every printed score has one run, every record its own cells."""

from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from made import PHOTOS, SYNTHETIC, made

from gcnlab import paper
from gcnlab.analysis import costs
from gcnlab.analysis.repeats import DRAWN, drawn, second_run, sentence, surprises
from gcnlab.analysis.tables import SPECS, compare, in_paper_form, score_text, table_configs
from gcnlab.errors import UserError
from gcnlab.experiments.profiles import PROFILES
from gcnlab.experiments.variants import BACKBONES, Variant

every_profile = pytest.mark.parametrize("profile", PROFILES.values(), ids=list(PROFILES))
every_table = pytest.mark.parametrize("table", SPECS)
GCN9 = Variant("gcn", 9)


def config_of(cell, profile):
    """The run behind one printed number by the rules of the paper's notation; None: no run."""
    names = ("head", "k", "m_ratio", "refine", "backbone", "protocol", "stage")
    values = {name: getattr(cell, name, None) for name in names}
    values = {name: None if pd.isna(value) else value for name, value in values.items()}
    head, k, m = values.get("head"), values.get("k"), values.get("m_ratio")
    if values.get("protocol"):
        stages = profile.protocols[values["protocol"]]
        return stages.config(values["stage"], head, values["refine"], 0)
    template = profile.template
    if values.get("backbone"):
        template = profile.pair[BACKBONES.index(values["backbone"])]
    if head is None:
        return template.start
    head = "conv" if (head, k) == ("stack", 3) else head
    m = round(m * profile.top_channels) if head == "stack" and m != 1 else None
    fields = {"head": head, "k": k, "m": m, "refine": bool(values["refine"])}
    return type(template)(**{**vars(template), **fields})


@every_profile
@every_table
def test_every_printed_score_has_its_run(profile, table):
    """Each run gets a score of its own; each cell must show that of its run."""
    runs = table_configs([table], profile, [0])
    score = {run: (i + 20) / 100 for i, run in enumerate(runs)}
    records = [made(run, s, s + 0.2, s + 0.4) for run, s in score.items()]
    frame, used = compare(table, profile, {"study": records, "local": []}), set()
    for cell in frame[frame["metric"] != "parameters_k"].itertuples():
        run = config_of(cell, profile)
        if run is None:
            assert cell.study_n == 0 and np.isnan(cell.study_mean)
            continue
        s = score[run]
        shown = {"miou": s, "boundary_accuracy": s + 0.2, "internal_accuracy": s + 0.4}
        shown |= {"top1_error": 1 - s, "top5_error": (1 - s) / 2}
        assert cell.study_mean == pytest.approx(100 * shown[cell.metric], abs=1e-3), cell
        (record,) = (record for record in records if record["name"] == run.name)
        assert (cell.study_n, cell.local_n, cell.study_keys) == (1, 0, [record["key"]])
        used.add(run)
    assert used == set(score), "every run of the table fills a cell"


def cell_of(frame, column="9", metric="miou"):
    return frame[(frame["column"] == column) & (frame["metric"] == metric)].iloc[0]


def scored(scores, variant=GCN9):
    return [made(variant.config(SYNTHETIC, seed), score) for seed, score in scores.items()]


def test_mean_deviation_and_number_of_seeds():
    sources = {"study": {0: 0.52, 3: 0.41, 1: 0.6, 7: 0.55}, "local": {0: 0.3, 5: 0.5}, "none": {}}
    frame = compare("1", SYNTHETIC, {name: scored(scores) for name, scores in sources.items()})
    cell = cell_of(frame)
    for name, scores in sources.items():
        values = 100 * np.array(list(scores.values()))
        assert cell[f"{name}_n"] == len(values) == len(cell[f"{name}_keys"])
        if len(values):
            assert cell[f"{name}_mean"] == pytest.approx(values.mean(), abs=1e-3)
            assert cell[f"{name}_std"] == pytest.approx(values.std(ddof=1), abs=1e-3)
        assert cell[f"{name}_scores"] == pytest.approx(
            {s: 100 * v for s, v in scores.items()}, abs=1e-3
        )
    assert cell["published"] == 73.4
    others = frame[frame["column"] != "9"]
    assert (others["study_n"] == 0).all() and others["study_mean"].isna().all()
    assert np.isnan(cell_of(compare("1", SYNTHETIC, {"study": scored({0: 0.5})}))["study_std"])


def test_a_diverged_run_is_shown_beside_the_mean_and_not_in_it():
    records = [*scored({0: 0.5, 1: 0.6}), *scored({2: 0.02})]
    cell = cell_of(compare("1", SYNTHETIC, {"study": records}))
    assert (cell["study_n"], cell["study_diverged"]) == (2, 1) and len(cell["study_keys"]) == 3
    assert cell["study_mean"] == pytest.approx(55, abs=1e-3)
    shown = in_paper_form(compare("1", SYNTHETIC, {"study": records}), {"study": "study"})
    assert shown.loc[("GCN", "mIoU", "study"), "9"] == "55.0 ± 7.1 (n=2, 1 diverged)"


def test_an_undefined_score_leaves_the_cell_undefined():
    (record,) = scored({0: 0.5})
    record["metrics"]["miou"] = None
    assert np.isnan(cell_of(compare("1", SYNTHETIC, {"study": [record]}))["study_mean"])


@pytest.mark.parametrize(
    ("numbers", "text"),
    [
        ((63.44, 0.52, 3), "63.4 ± 0.5 (n=3)"),
        ((63.44, np.nan, 1), "63.4 (n=1)"),
        ((np.nan, np.nan, 0), "not run"),
        ((np.nan, np.nan, 0, 2), "2 diverged"),
        ((63.44, 0.52, 3, 1), "63.4 ± 0.5 (n=3, 1 diverged)"),
    ],
)
def test_a_score_is_never_shown_without_its_n(numbers, text):
    assert score_text(*numbers) == text


@every_table
def test_the_paper_form_has_every_number_of_the_table(table):
    frame = compare(table, SYNTHETIC, {"study": []})
    shown = in_paper_form(frame, {"study": "study (n)"})
    cells = [text for row in shown.xs("published", level="source").to_numpy() for text in row]
    rows = frame.dropna(subset="published").itertuples()
    assert sorted(text for text in cells if text not in ("", "not given")) == sorted(
        f"{row.published:.0f}K" if row.metric == "parameters_k" else f"{row.published:.1f}"
        for row in rows
    )
    assert "not run" in shown.to_numpy().ravel() and SPECS[table].title


@every_profile
@every_table
def test_the_note_of_a_table_speaks_of_the_profile(profile, table):
    note = SPECS[table].note(profile)
    needs_one = table in ("4", "5", "6", "7", "9")
    assert bool(note) == needs_one and note == note.strip()


def test_seeds_of_a_variant_stay_together_and_tables_share_runs():
    runs = table_configs(["5", "1"], SYNTHETIC, [0, 1, 2])
    assert [run.seed for run in runs] == [0, 1, 2] * (len(runs) // 3)
    parts = [set(table_configs([name], PHOTOS, [0])) for name in ("1", "5")]
    both = table_configs(["1", "5", "1"], PHOTOS, [0])
    assert set(both) == set.union(*parts) and len(both) == len(set(both)) < sum(map(len, parts))


@pytest.mark.parametrize("name", ["0", "8", "10", "11", "", "one", "1,2"])
def test_an_unknown_table_is_refused(name, caught):
    with pytest.raises(UserError) as info:
        table_configs(["1", name], SYNTHETIC, [0])
    assert repr(name) in caught(info) and "1, 2, 3, 4, 5, 6, 7, 9, pretraining" in caught(info)


# --- parameters and multiply-adds ----------------------------------------------------------------


def weights(head, k, m):
    """Closed form of a bias-free head, 2048 → 21 (Section 3.1, Fig. 4)."""
    if head == "gcn":
        return 2 * k * (2048 * 21 + 21 * 21)
    if head != "stack":
        return 2048 * 21 * (k or 1) ** 2
    return sum(9 * a * b for a, b in pairwise([2048, *[m] * ((k - 3) // 2), 21]))


def test_complexity_follows_the_closed_forms():
    frame = costs.complexity()
    assert frame["variant"].is_unique and set(frame["head"]) == {"conv1x1", "gcn", "conv", "stack"}
    for row in frame.itertuples():
        k, m = (None if pd.isna(v) else int(v) for v in (row.k, row.m))
        assert row.parameters == weights(row.head, k, m), row.variant
        assert row.multiply_adds == 16 * 16 * row.parameters, "a weight at each of 256 positions"
    published = frame.dropna(subset="published_k")
    assert ((published["parameters"] / 1000 - published["published_k"]).abs() < 1).all()
    printed = pd.concat([paper.cells(t) for t in ("2", "4")]).query("metric == 'parameters_k'")
    assert set(published["published_k"]) == set(printed["value"])


@pytest.mark.parametrize("table", ["2", "4"])
def test_parameters_are_those_printed_whatever_was_run(table):
    frame = compare(table, SYNTHETIC, {"study": []}).query("metric == 'parameters_k'")
    assert len(frame) and ((frame["counted"] - frame["published"]).abs() < 1).all()


def test_the_architecture_is_that_of_table_11():
    built = costs.architecture()
    assert built.index[-1] == "whole network"
    for title in ("ResNet50", "ResNet50-GCN"):
        total = built[title].loc["whole network"]
        parts = built[title].drop(["convolutions", "whole network"])
        assert parts["parameters"].sum() == total["parameters"]
    same = built["ResNet50", "layers"] == built["ResNet50-GCN", "layers"]
    assert set(same[~same].index) == {"res-4", "res-5"}


@pytest.mark.parametrize(("own", "differ", "alone"), [
    ((50.0, 52.0), [], 0),  # of the study: 50, 51, 52
    ((51.0,), [], 0), ((60.0,), ["GCN 9, mIoU: 60.0, expected 46.0 … 56.0"], 0), ((), [], 0),
])  # fmt: skip
def test_surprises_are_cells_outside_the_prediction_interval(own, differ, alone):
    """t(0.975, 2) = 4.303; standard deviation 1; one further run: 51 ± 4.303 · √(4/3)."""
    records = [
        [made(GCN9.config(SYNTHETIC, seed), score / 100) for seed, score in enumerate(scores)]
        for scores in ((50, 51, 52), own)
    ]
    frame = compare("1", SYNTHETIC, dict(zip(("study", "local"), records, strict=True)))
    assert surprises(frame) == (differ, alone)
    frame = compare("1", SYNTHETIC, {"study": records[0][:1], "local": records[0]})
    assert surprises(frame) == ([], 1), "one seed of the study tells no spread"


def made_runs(variants, seeds, score):
    configs = [variant.config(SYNTHETIC, seed) for variant in variants for seed in seeds]
    return [made(run, score(run.k or 1, run.seed) / 100) for run in configs]


def test_a_second_run_draws_cells_of_three_seeds_and_gives_them_a_new_one():
    study = made_runs([GCN9, Variant("conv1x1")], range(3), lambda k, seed: 50 + seed)
    study += made_runs([Variant("gcn", 5)], range(2), lambda k, seed: 50 + seed)
    found = drawn(SYNTHETIC, study)
    assert sorted(run.name for run in found) == ["conv1x1-s3", "gcn-k9-s3"]
    runs = table_configs(["1", "2", "3"], SYNTHETIC, range(3))
    study = [made(run, 0.5) for run in runs]
    assert len({run.name for run in drawn(SYNTHETIC, study)}) == DRAWN < len(runs) / 3
    with pytest.raises(UserError, match="no cell of profile synthetic has 3 seeds"):
        drawn(SYNTHETIC, study[:2])


def test_a_second_run_says_where_the_study_expected_it():
    """As above, t(0.975, 2) = 4.303; scores 50, 51, 52: 46.0 … 56.0."""
    study = made_runs([GCN9, Variant("gcn", 5)], range(3), lambda k, seed: 50 + seed)
    again = made_runs([GCN9, Variant("gcn", 5)], [3], lambda k, seed: 46.5 + (k == 5) * 10)
    frame = second_run(SYNTHETIC, study, again)
    assert frame.loc["GCN 9"].tolist() == [3, "46.0 … 56.0", "46.5", "yes"]
    assert frame.loc["GCN 5", ["second run", "inside"]].tolist() == ["56.5", "no"]
    text = sentence(SYNTHETIC, study, again)
    assert "2 cells of profile synthetic" in text and "1 are inside" in text
    assert text.endswith("outside is GCN 5: 56.5, expected 46.0 … 56.0.")
    assert sentence(SYNTHETIC, study, again[:1]).endswith("study's own seeds.")
    lost = made_runs([GCN9, Variant("gcn", 7)], [4], lambda k, seed: 2)  # no better than chance
    text = sentence(SYNTHETIC, study, lost)
    assert "1 cells" in text and "0 are inside" in text and "GCN 9: 2.0, expected" in text
