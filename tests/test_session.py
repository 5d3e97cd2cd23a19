"""One profile's published, committed and own results together, as notebooks, reports and the command line see them."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from test_tables import made, variant

from gcnlab.errors import UserError
from gcnlab.study import profiles, results, runner, variants
from gcnlab.study.session import Session, in_paper_form, score_text

SHAPES = profiles.get("shapes")
PUBLISHED, STUDY, MINE = "published (VOC)", "study (shapes)", "your run (shapes)"


@pytest.fixture
def places(tmp_path, monkeypatch):
    """The committed study and the user's own folder, both empty and in a temporary folder."""
    committed = tmp_path / "results"
    monkeypatch.setattr(results, "COMMITTED", committed)
    monkeypatch.setattr(results, "LOCAL", committed / "local")
    return committed, committed / "local"


def keep(out, *records):
    for record in records:
        results.write_record(record, out)


def score(head, k, miou, seed=0, refine=False, **changes):
    return made(variant(SHAPES, head, k, refine=refine, seed=seed), miou / 100, **changes)


# --- one score -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("mean", "std", "n", "text"), [
    (63.44, 0.46, 3, "63.4 ± 0.5 (n=3)"), (63.46, float("nan"), 1, "63.5 (n=1)"), (63.4, 0, 2, "63.4 ± 0.0 (n=2)"),
    (float("nan"), float("nan"), 0, "not run"), (0.0, float("nan"), 1, "0.0 (n=1)"),
    (100.0, 0.04, 12, "100.0 ± 0.0 (n=12)"),
])  # fmt: skip
def test_a_score_is_never_shown_without_n_and_spread(mean, std, n, text):
    assert score_text(mean, std, n) == text


# --- tables in the paper's form ------------------------------------------------------------------


def test_published_study_and_own_run_stand_below_each_other(places):
    committed, local = places
    keep(committed, *(score("gcn", 3, value, seed) for seed, value in enumerate((60, 61, 62))))
    keep(committed, score("gcn", 5, 64))
    keep(local, score("gcn", 5, 65.25), score("conv1x1", None, 58))
    table = Session("shapes").table("1")
    assert list(table.columns) == ["base", "3", "5", "7", "9", "11", "13", "15"]
    sources = [PUBLISHED, STUDY, MINE, "your run − published (other data)"]
    assert list(table.index) == [("GCN", "mIoU", source) for source in sources]
    published, study, mine, difference = (list(table.loc["GCN", "mIoU"].loc[source]) for source in sources)
    assert published == ["69.0", "70.1", "71.1", "72.8", "73.4", "73.7", "74.0", "74.5"]
    assert study == ["not run", "61.0 ± 1.0 (n=3)", "64.0 (n=1)"] + ["not run"] * 5
    assert mine == ["58.0 (n=1)", "not run", "65.2 (n=1)"] + ["not run"] * 5
    assert difference == ["-11.0", "", "-5.8"] + [""] * 5, "of one source only"


def test_the_committed_study_shows_no_own_run(places):
    committed, local = places
    keep(committed, score("gcn", 3, 60))
    keep(local, score("gcn", 3, 50))
    session = Session("shapes", out=committed)
    assert not session.own and session.local_records == [] and len(session.records) == 1
    table = session.table("1")
    assert list(table.index.get_level_values("source")) == [PUBLISHED, STUDY, "study − published (other data)"]
    assert table.loc[("GCN", "mIoU", "study − published (other data)"), "3"] == "-10.1"
    assert Session("shapes", out=committed / "local").own


def test_table_5_has_one_column_per_measure(places):
    committed, _ = places
    keep(committed, score("conv1x1", None, 55, boundary=0.61, internal=0.91))
    keep(committed, score("gcn", 15, 56, refine=True, boundary=0.625, internal=0.92))
    table = Session("shapes", out=committed).table("5")
    assert list(table.columns) == ["Boundary (acc.)", "Internal (acc.)", "Overall (IoU)"]
    assert table.index.names == ["model", "source"]
    assert list(dict.fromkeys(table.index.get_level_values("model"))) == ["Baseline", "GCN", "GCN + BR"]
    rows = {model: list(table.loc[(model, STUDY)]) for model in ("Baseline", "GCN", "GCN + BR")}
    assert rows == {
        "Baseline": ["61.0 (n=1)", "91.0 (n=1)", "55.0 (n=1)"],
        "GCN": ["not run"] * 3,
        "GCN + BR": ["62.5 (n=1)", "92.0 (n=1)", "56.0 (n=1)"],
    }
    assert list(table.loc[("Baseline", PUBLISHED)]) == ["71.3", "93.9", "69.0"]
    assert list(table.loc[("Baseline", "study − published (other data)")]) == ["-10.3", "-2.9", "-14.0"]
    assert ("GCN", "study − published (other data)") not in table.index, "there is nothing to compare"


def test_a_subset_of_the_data_is_called_one(places):
    committed, local = places
    part = score("gcn", 3, 60)
    part["metrics"]["counts"]["train"] -= 1
    keep(committed, part)
    keep(local, score("gcn", 3, 61))
    session = Session("shapes")
    assert {"study (shapes, subset)", MINE} <= set(session.table("1").index.get_level_values("source"))
    assert {"study (shapes, subset)", "evidence, study (shapes, subset)", MINE} <= set(session.verdicts().columns)


def test_counts_need_no_run(places):
    table = Session("shapes").table("4")
    shown = {source: list(table.loc[("Stack", "parameters", source)]) for source in ("published", "counted")}
    assert shown["published"] == ["75885K", "28505K", "4307K", ""]
    assert shown["counted"] == ["75884.5K", "28505.1K", "4307.3K", ""], "GCN has no place in the row of the stack"
    assert list(table.loc[("GCN", "mIoU", STUDY)]) == ["", "", "", "not run"]
    assert "not run" not in set(table.xs("parameters", level="measure").to_numpy().ravel())


@pytest.mark.parametrize("name", variants.TABLES)
def test_every_printed_number_is_shown_once(places, name):
    frame = Session("shapes").frame(name)
    shown = in_paper_form(frame, {"study": STUDY, "local": MINE})
    lines = shown[shown.index.get_level_values("source").str.startswith("published")]
    texts = [text.removesuffix("K") for text in lines.to_numpy().ravel() if text]
    missing = texts.count("not given")
    assert sorted(float(text) for text in texts if text != "not given") == sorted(frame["published"].dropna())
    assert missing == {"9": 2}.get(name, 0), "the baselines that the study adds, and nothing else that is printed"


def test_stages_stand_below_each_other_with_the_set_that_was_published(places):
    committed, _ = places
    runs = variants.table_runs(["7", "9"], SHAPES, [0])
    keep(committed, *(made(run, 0.6 + i / 1000) for i, run in enumerate(runs)))
    session = Session("shapes", out=committed)
    voc, street = session.table("7"), session.table("9")
    assert list(voc.columns) == ["Baseline", "GCN", "GCN + BR"] and list(street.columns) == ["Baseline", "GCN + BR"]
    rows = [f"Stage-{row}" for row in ("1", "2", "3", "3-MS", "3-MS-CRF")]
    assert list(dict.fromkeys(voc.index.get_level_values("model"))) == rows
    assert list(voc.loc[("Stage-3-MS", "mIoU", STUDY)]) == ["", "", "60.9 (n=1)"]
    first = street.loc[("Stage-1", "mIoU")]
    assert list(first.loc["published (Cityscapes)"]) == ["not given", "73.0"]
    assert list(first.loc["study − published (other data)"]) == ["", "-11.7"]
    assert PUBLISHED in voc.index.get_level_values("source")
    assert PUBLISHED not in street.index.get_level_values("source")


@pytest.mark.parametrize("table", ["7", "9"])
def test_pictures_of_stages_are_those_of_the_last_training(places, table, caught):
    """And none where a profile has no staged training."""
    with pytest.raises(UserError) as info:
        Session("shapes").examples(table=table)
    assert {"7": "conv1x1-voc-stage-3-s0", "9": "conv1x1-street-stage-2-s0"}[table] in caught(info)
    assert Session("shapes-long").examples(table=table)["images"] == []
    examples = Session("smoke").examples(3, trained=False, table=table)
    assert {image.shape for image in examples["images"]} == {"7": {(64, 64, 3)}, "9": {(64, 128, 3)}}[table]
    assert len(examples["truths"]) == 3 and examples["predictions"] == {}


# --- whose records -------------------------------------------------------------------------------


@pytest.mark.parametrize(("seeds", "jobs"), [(0, 1), (-1, 1), (1, 0)])
def test_numbers_must_be_positive(seeds, jobs, caught):
    with pytest.raises(UserError) as info:
        Session("smoke", seeds=seeds, jobs=jobs)
    assert str(min(seeds, jobs)) in caught(info)


def test_an_unknown_profile_is_refused(caught):
    with pytest.raises(UserError) as info:
        Session("nonsense")
    assert "'nonsense'" in caught(info) and "smoke, shapes, photos, paper" in caught(info)


def test_own_records_come_before_committed_ones(places):
    committed, local = places
    session = Session("shapes")
    assert session.out == local and session.own
    assert session.records == []
    keep(committed, score("conv1x1", None, 60), score("gcn", 15, 66))
    assert session.records == session.study_records and len(session.records) == 2, "seen without a new session"
    keep(local, score("gcn", 15, 70))
    assert session.records == session.local_records and len(session.records) == 1


def test_verdicts_never_mix_sources(places):
    committed, local = places
    session = Session("shapes")
    assert list(session.verdicts(2).columns) == ["the paper says", STUDY, f"evidence, {STUDY}"]
    keep(local, score("gcn", 15, 70))
    assert list(session.verdicts(2).columns) == ["the paper says", MINE, f"evidence, {MINE}"]
    for seed in (0, 1):
        keep(committed, score("conv1x1", None, 60 + seed / 10, seed), score("gcn", 15, 66 + seed / 10, seed))
    verdict = session.verdicts(2).loc[2]
    assert (verdict[STUDY], verdict[MINE]) == ("holds", "not run")
    assert verdict[f"evidence, {MINE}"] == "conv1x1 was not run"
    keep(local, score("conv1x1", None, 74))
    assert session.verdicts(2).loc[2, MINE] == "does not hold", "a single run is judged with the study's spread"
    assert "-4.0 points" in session.verdicts(2).loc[2, f"evidence, {MINE}"]


def test_a_folder_may_be_given_as_text_with_a_tilde(places, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    keep(tmp_path / "mine", score("gcn", 15, 70))
    assert len(Session("shapes", out="~/mine").local_records) == 1
    with pytest.raises(UserError, match="--data-root ~/data is no folder"):
        Session("photos", data_root="~/data")
    (tmp_path / "data").mkdir()
    assert Session("photos", data_root="~/data").data_root == tmp_path / "data"


def test_all_verdicts_or_some(places):
    session = Session("shapes")
    assert list(session.verdicts().index) == list(range(1, 17))
    assert list(session.verdicts(14, 16).index) == [14, 16]
    assert session.verdicts().loc[14, STUDY] == "holds"


# --- training ------------------------------------------------------------------------------------


def test_training_fills_the_committed_study_if_it_is_told_to(places, monkeypatch):
    committed, _ = places
    session = Session("shapes", seeds=2, out=committed)
    assert session.study_records == []
    monkeypatch.setattr(runner, "run_all", lambda runs, out, *_: keep(out, *map(made, runs)))
    session.train("5")
    assert [r["name"] for r in session.study_records] == sorted(
        f"{name}-s{seed}" for name in ("conv1x1", "gcn-k15", "gcn-k15-br") for seed in (0, 1)
    ), "the session sees what it has trained"
    assert set(session.frame("5")["study_n"]) == {2}


def test_failed_runs_are_an_error_with_their_names(places, monkeypatch):
    monkeypatch.setattr(runner, "run_all", lambda *_: ["gcn-k3-s0: no memory", "gcn-k5-s0: no memory"])
    with pytest.raises(RuntimeError, match=r"gcn-k3-s0: no memory; gcn-k5-s0: no memory"):
        Session("shapes").train("1")


def test_one_variant_that_is_trained_already(smoke):
    record = Session("smoke", out=smoke.out).train_variant("gcn", k=15)
    assert record["name"] == "gcn-k15-s0" and record["key"] in str(list((smoke.out / "smoke" / "runs").iterdir()))


# --- what figures are drawn from -----------------------------------------------------------------


def test_curves_are_the_recorded_evaluations(smoke):
    curves = Session("smoke", out=smoke.out).curves()
    assert set(curves["name"]) == {"conv1x1", "gcn-k15", "gcn-k15-br"}, "pre-training has no mIoU"
    scored = [
        (record["name"], point["step"], 100 * point["miou"])
        for record in results.read_records(smoke.out, "smoke")
        for point in record["history"]
        if "miou" in point
    ]
    shown = [(f"{c.name}-s{c.seed}", c.step, c.miou) for c in curves.itertuples(index=False)]
    assert sorted(shown) == sorted(scored)


def test_the_boundary_distances_of_table_5(smoke):
    frame = Session("smoke", out=smoke.out).boundary_sensitivity()
    assert set(frame["model"]) == {"Baseline", "GCN", "GCN + BR"}
    assert len(frame) == 3 * 4 and set(frame["distance"]) == {3, 5, 7, 9}
    gcn = next(r for r in results.read_records(smoke.out, "smoke") if r["name"] == "gcn-k15-s0")
    row = frame[(frame["model"] == "GCN") & (frame["distance"] == 9)].iloc[0]
    expected = gcn["metrics"]["boundary_sensitivity"]["9"]
    for name in ("boundary_accuracy", "internal_accuracy"):
        assert row[name] == pytest.approx(100 * expected[name])


def test_models_keep_the_order_of_table_5_whichever_finished_first(places):
    committed, _ = places
    variants = [("gcn", 15, True), ("conv1x1", None, False), ("gcn", 15, False)]
    for day, (head, k, refine) in enumerate(variants, 1):
        keep(committed, score(head, k, 60, refine=refine, finished=f"2026-01-0{day}T00:00:00+00:00"))
    assert list(Session("shapes").boundary_sensitivity()["model"].unique()) == ["Baseline", "GCN", "GCN + BR"]


def test_examples_are_evenly_spaced_and_unpadded(smoke):
    examples = Session("smoke", out=smoke.out).examples(3)
    assert len(examples["images"]) == len(examples["truths"]) == 3
    assert list(examples["predictions"]) == ["Baseline", "GCN", "GCN + BR"]
    for i, (image, truth) in enumerate(zip(examples["images"], examples["truths"], strict=True)):
        assert image.shape == (64, 64, 3) and image.dtype == np.uint8
        for prediction in examples["predictions"].values():
            assert prediction[i].shape == truth.shape == (64, 64) and prediction[i].max() < 8
    alone = Session("smoke", out=smoke.out).examples(16, trained=False)
    assert alone["predictions"] == {}
    for i, place in enumerate((0, 7, 15)):
        assert np.array_equal(alone["images"][place], examples["images"][i])


def test_examples_need_weights(tmp_path, caught):
    with pytest.raises(UserError) as info:
        Session("smoke", out=tmp_path).examples(1)
    assert "conv1x1-s0" in caught(info)


def test_the_longer_twin(places):
    committed, local = places
    long = profiles.get("shapes-long")
    session = Session("shapes")
    assert session.convergence() is None and Session("smoke").convergence() is None
    keep(committed, *(score("gcn", 15, value, seed) for seed, value in enumerate((60, 62))))
    keep(committed, score("conv1x1", None, 55), score("gcn", 3, 58))
    assert session.convergence() is None, "nothing was run for longer"
    keep(committed, made(variant(long, "gcn", 15), 0.65), made(variant(long, "conv1x1"), 0.54))
    frame = Session("shapes").convergence()
    steps = SHAPES.template.schedule.steps
    assert list(frame.columns) == [f"{steps} steps", f"{2 * steps} steps", "change"]
    expected = pd.DataFrame({"conv1x1": (55.0, 54.0, -1.0), "gcn-k15": (61.0, 65.0, 4.0)}, index=frame.columns).T
    pd.testing.assert_frame_equal(frame, expected, check_names=False)
    keep(local, score("gcn", 15, 70))
    pd.testing.assert_frame_equal(Session("shapes").convergence(), frame)  # own runs of one length only
    keep(local, made(variant(long, "gcn", 15), 0.75))
    assert list(Session("shapes").convergence()["change"]) == [5.0]
    twin = long.template
    assert (twin.weights, twin.data, twin.backbone) == (
        SHAPES.template.weights,
        SHAPES.template.data,
        SHAPES.template.backbone,
    )


@pytest.mark.parametrize("what", ["curves", "convergence", "boundary_sensitivity", "verdicts", "records"])
def test_records_of_an_earlier_schedule_count_nowhere(places, what):
    """Tables leave them out, so must everything else; ``status`` says so."""

    def found():
        session = Session("shapes")
        value = getattr(session, what)
        return session.stale(), str(value() if callable(value) else value)

    committed, local = places
    for out in (committed, local):
        keep(out, score("gcn", 15, 60), score("gcn", 15, 61, seed=1), score("conv1x1", None, 55))
        keep(out, made(variant(profiles.get("shapes-long"), "gcn", 15), 0.65), made(SHAPES.template.weights))
    nothing, before = found()
    assert nothing == []
    now = variant(SHAPES, "gcn", 15)
    earlier = replace(now, schedule=replace(now.schedule, steps=100))
    for out in (committed, local):
        keep(out, *(made(replace(earlier, seed=i), 0.1 + i / 10, finished="2026-03-01T00:00:00+00:00") for i in (0, 3)))
    assert found() == (["gcn-k15-s0", "gcn-k15-s3"], before)
