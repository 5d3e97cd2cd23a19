"""Paper table ↔ runs ↔ records: every printed score has one run, and every record lands in its own cells."""

from dataclasses import asdict, replace
from hashlib import blake2b
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest

from gcnlab import paper
from gcnlab.errors import UserError
from gcnlab.study import profiles, results, tables, variants
from gcnlab.study.run import Run

SHAPES = profiles.get("shapes")
TOPS = {"small": 128, "squeezenet1_1": 512, "resnet152": 2048}  # channels of the coarsest map
NARROW = {"small": (64, 13), "squeezenet1_1": (256, 52), "resnet152": (1024, 210)}  # m of Table 4: a half, a tenth
PAIRS = {  # main backbone → the two of Table 6
    "small": {"ResNet50": "small", "ResNet50-GCN": "small_gcn"},
    "squeezenet1_1": {"ResNet50": "medium", "ResNet50-GCN": "medium_gcn"},
    "resnet152": {"ResNet50": "resnet50_v1", "ResNet50-GCN": "resnet50_gcn"},
}
MAIN = ["1", "2", "3", "4", "5"]  # the tables of one backbone
STAGE_KS = {"small": {"voc": 15, "street": 13}, "squeezenet1_1": {"voc": 15, "street": 17}}  # else the paper's

every_profile = pytest.mark.parametrize("profile", profiles.PROFILES.values(), ids=list(profiles.PROFILES))
every_table = pytest.mark.parametrize("table", variants.TABLES)


def key_of(run, finished):
    return blake2b(repr((run, finished)).encode(), digest_size=6).hexdigest()


def made(run, miou=0.5, boundary=0.6, internal=0.9, finished="2026-01-01T00:00:00+00:00", **changes):
    """A record of ``run`` as ``experiment.execute`` writes it, with invented scores in [0, 1].

    A classifier has the top-1 error 1 − ``miou``, and half of it as top-5 error.
    """
    accuracies = {"boundary_accuracy": boundary, "internal_accuracy": internal}
    sensitivity = {f"{d}": accuracies | {"boundary_share": d / 20} for d in (3, 5, 7, 9)}
    share = sensitivity[f"{run.boundary_distance:g}"]["boundary_share"]
    steps = run.schedule.steps
    errors = {"top1_error": 1 - miou, "top5_error": (1 - miou) / 2}
    record = {
        "key": key_of(run, finished),
        "name": run.name,
        "config": run.config(),
        "metrics": {
            "miou": miou,
            "iou": dict.fromkeys(run.data.class_names, miou),
            "pixel_accuracy": share * boundary + (1 - share) * internal,
            **accuracies,
            "boundary_sensitivity": sensitivity,
            "pixels": 1000,
            "counts": {split: run.data.source.official_counts[split] for split in ("train", "val")},
        },
        "history": [{"step": steps // 2, "loss": 1.0, "miou": miou / 2}, {"step": steps, "miou": miou}],
        "data": {"fingerprint": "0123456789abcdef"},
        "weights": key_of(run.weights, "2026-01-01T00:00:00+00:00"),
        "seconds": 1.5,
        "peak_memory": 10**9,
        "device": "CPU (x86_64, 1 threads)",
        "precision": "float32",
        "training_version": 1,
        "finished": finished,
        "commit": "0" * 40,
        "dirty": False,
        "versions": {"python": "3.12.0", "torch": "2.15.0"},
    }
    if run.study == "evaluation":
        record["history"] = [{"step": 0, "miou": miou}]
    if run.crf is not None:
        chosen = asdict(run.crf.candidates[0])
        record["crf"] = {
            "version": None,
            "backend": run.crf.backend,
            "chosen": chosen,
            "training_miou": [miou] * len(run.crf.candidates),
        }
    if run.study == "pretraining":
        counts = record["metrics"]["counts"]
        record |= {"metrics": errors | {"counts": counts}, "history": [{"step": steps, **errors}], "weights": None}
    return record | changes


def variant(profile, head, k=None, m_ratio=None, refine=False, seed=0):
    return variants.Variant(head, k, m_ratio, refine).run(profile, seed)


def expected_run(profile, cell):
    """head, k, m, refine, backbone, label of the run behind one number, by the rules of the README; None: no run."""
    main = profile.template.backbone
    head, k = (None if pd.isna(value) else value for value in (cell.head, cell.k))
    if hasattr(cell, "protocol"):
        if profile.name == "shapes-long" or (profile.name, cell.protocol, cell.row) == ("photos", "street", "Stage-1"):
            return None
        k = None if head == "conv1x1" else STAGE_KS.get(main, {}).get(cell.protocol, k)
        return head, k, None, cell.refine, main, f"{cell.protocol}-{cell.row.lower()}"
    m = None
    if head == "stack" and k == 3:
        head = "conv"
    elif head == "stack" and cell.m_ratio < 1:
        m = NARROW[main][0 if cell.m_ratio == 0.5 else 1]
    return head, k, m, cell.refine, PAIRS[main][cell.backbone] if hasattr(cell, "backbone") else main, ""


def parts(run):
    return run.head, run.k, run.m, run.refine, run.backbone, run.label


# --- table → runs --------------------------------------------------------------------------------


@every_profile
def test_tables_1_to_5_need_nineteen_variants(profile):
    runs = variants.table_runs(MAIN, profile, [0])
    assert len(runs) == len({parts(run) for run in runs}) == 19
    assert {(run.profile, run.study, run.seed) for run in runs} == {(profile.name, "segmentation", 0)}
    shared = replace(profile.template, head=None)
    assert all(replace(run, head=None, k=None, m=None, refine=False) == shared for run in runs)


@every_profile
def test_table_6_needs_two_classifiers_and_four_segmenters_that_start_from_them(profile):
    """Only where the pair's ResNet is the main backbone, with seed 0, are two of them those of Table 5."""
    pair = list(PAIRS[profile.template.backbone].values())
    for seed in (0, 3):
        runs = variants.table_runs(["6"], profile, [seed])
        classifiers = [run for run in runs if run.study == "pretraining"]
        segmenters = [run for run in runs if run.study == "segmentation"]
        assert [run.backbone for run in classifiers] == pair
        assert classifiers[0] == replace(classifiers[1], backbone=pair[0]), "one recipe"
        assert [(r.variant.split("-on-")[0], r.backbone, r.weights, r.seed) for r in segmenters] == [
            (name, c.backbone, c, seed) for name in ("conv1x1", "gcn-k15-br") for c in classifiers
        ]
        shared = set(segmenters) & set(variants.table_runs(["5"], profile, [seed]))
        assert len(shared) == (2 if pair[0] == "small" and seed == 0 else 0)
    assert len({run.name for run in variants.table_runs(list(variants.TABLES), profile, [0, 1])}) == len(
        variants.table_runs(list(variants.TABLES), profile, [0, 1])
    ), "no two runs share a name"


@every_profile
@every_table
def test_every_printed_score_has_its_run(profile, table):
    """Each run gets a score of its own; each cell must show the score of the run that it stands for."""
    runs = variants.table_runs([table], profile, [0])
    score = {parts(run): (i + 1) / 100 for i, run in enumerate(runs)}
    records = [made(run, s, boundary=s + 0.2, internal=s + 0.4) for run, s in zip(runs, score.values(), strict=True)]
    frame = tables.compare(table, profile, records, [])
    used = set()
    for cell in frame[frame["metric"] != "parameters_k"].itertuples():
        expected = expected_run(profile, cell)
        if expected is None:
            assert cell.study_n == 0 and np.isnan(cell.study_mean)
            continue
        s = score[expected]
        shown = {"miou": s, "boundary_accuracy": s + 0.2, "internal_accuracy": s + 0.4}
        shown |= {"top1_error": 1 - s, "top5_error": (1 - s) / 2}
        assert cell.study_n == 1 and cell.local_n == 0
        assert cell.study_mean == pytest.approx(100 * shown[cell.metric]), cell
        used.add(expected)
    assert used == set(score), "every run of the table fills a cell"


@every_profile
def test_m_of_table_4_is_a_share_of_the_profiles_own_channels(profile):
    backbone = profile.template.backbone
    assert profile.top_channels == TOPS[backbone]
    stacks = [run for run in variants.table_runs(["4"], profile, [0]) if run.head == "stack"]
    assert [run.m for run in stacks] == [None, *NARROW[backbone]]


@every_profile
def test_a_stack_of_one_convolution_is_the_trivial_convolution(profile):
    assert variant(profile, "stack", 3, 1.0) == variant(profile, "conv", 3)
    together = variants.table_runs(["2", "3"], profile, [0])
    assert sum(run.k == 3 and run.head in ("conv", "stack") for run in together) == 1
    record = made(variant(profile, "conv", 3), 0.31)
    for table, row in (("2", "Conv"), ("3", "Stack")):
        frame = tables.compare(table, profile, [record], [])
        shown = frame[(frame["metric"] == "miou") & (frame["study_n"] > 0)]
        assert [(r.row, r.column) for r in shown.itertuples()] == [(row, "3")]


def test_seeds_of_a_variant_stay_together():
    runs = variants.table_runs(["5", "1"], SHAPES, [0, 1, 2])
    assert [run.seed for run in runs] == [0, 1, 2] * (len(runs) // 3)
    assert [run.variant for run in runs[:9:3]] == ["conv1x1", "gcn-k15", "gcn-k15-br"]


@pytest.mark.parametrize("name", ["0", "8", "10", "11", "", "one", "1,2"])
def test_an_unknown_table_is_refused(name, caught):
    with pytest.raises(UserError) as info:
        variants.check_tables(["1", name])
    assert repr(name) in caught(info) and "1, 2, 3, 4, 5, 6, 7, 9, pretraining" in caught(info)
    with pytest.raises(UserError):
        variants.table_runs([name], SHAPES, [0])


# --- records → cells -----------------------------------------------------------------------------


def cell_of(frame, column, metric="miou"):
    return frame[(frame["column"] == column) & (frame["metric"] == metric)].iloc[0]


def test_invented_records_are_like_real_ones(smoke):
    """The other tests of tables, claims and reports stand on ``made``."""

    def kinds(value):
        return {name: kinds(v) for name, v in value.items()} if isinstance(value, dict) else type(value)

    for run in (smoke.runs[1], smoke.runs[1].weights):
        real = next(r for r in results.read_records(smoke.out, "smoke") if r["name"] == run.name)
        ours = made(run)
        assert {p for point in real["history"] for p in point} == {p for point in ours["history"] for p in point}
        for record in (real, ours):
            record.pop("versions")
        assert kinds(ours) == kinds(real)


def test_mean_spread_and_number_of_seeds():
    random = np.random.default_rng(3)
    scores = {"study": random.uniform(0.4, 0.6, 5), "local": random.uniform(0.4, 0.6, 2)}
    records = {
        name: [made(variant(SHAPES, "gcn", 9, seed=seed), score) for seed, score in enumerate(values)]
        for name, values in scores.items()
    }
    cell = cell_of(tables.compare("1", SHAPES, **records), "9")
    for name, values in scores.items():
        assert cell[f"{name}_mean"] == pytest.approx(100 * np.mean(values), rel=1e-12)
        assert cell[f"{name}_std"] == pytest.approx(100 * np.std(values, ddof=1), rel=1e-12)
        assert cell[f"{name}_n"] == len(values)
    assert cell["published"] == 73.4


def test_one_seed_has_no_spread_and_none_has_no_score():
    frame = tables.compare("1", SHAPES, [made(variant(SHAPES, "gcn", 9), 0.456)], [])
    one = cell_of(frame, "9")
    assert (one["study_mean"], one["study_n"]) == (pytest.approx(45.6), 1) and np.isnan(one["study_std"])
    others = frame[frame["column"] != "9"]
    assert len(others) == 7 and (others["study_n"] == 0).all()
    assert others[["study_mean", "study_std", "local_mean", "local_std"]].isna().all(axis=None)
    assert frame["published"].notna().all() and frame["study_n"].dtype == int


@pytest.mark.parametrize("reverse", [False, True])
def test_the_newest_record_of_a_seed_counts(reverse):
    run = variant(SHAPES, "gcn", 9)
    days = [("2026-01-31", 0.3), ("2026-02-01", 0.4), ("2025-12-31", 0.5)]
    records = [made(run, score, finished=f"{day}T12:00:00+00:00") for day, score in days]
    records.append(made(replace(run, seed=1), 0.2, finished="2020-01-01T00:00:00+00:00"))
    cell = cell_of(tables.compare("1", SHAPES, records[::-1] if reverse else records, []), "9")
    assert (cell["study_n"], cell["study_mean"]) == (2, pytest.approx(30)), "0.4 of seed 0 and 0.2 of seed 1"


def test_a_record_of_another_schedule_is_stale_and_does_not_count():
    now = variant(SHAPES, "gcn", 9)
    longer = replace(now, schedule=replace(now.schedule, steps=now.schedule.steps + 1))
    other_start = replace(now, weights=replace(now.weights, schedule=longer.schedule))
    records = [made(now, 0.5), made(replace(longer, seed=1), 0.7), made(replace(other_start, seed=2), 0.9)]
    assert variants.current_records(SHAPES, records) == records[:1]
    cell = cell_of(tables.compare("1", SHAPES, records, []), "9")
    assert (cell["study_n"], cell["study_mean"]) == (1, pytest.approx(50))


def test_records_of_the_tables_are_current():
    runs = variants.table_runs(list(variants.TABLES), SHAPES, [0, 1])
    records = [made(run) for run in runs]
    other = replace(SHAPES.template.weights, backbone="medium")
    assert variants.current_records(SHAPES, [made(other), *records]) == records
    assert variants.current_records(profiles.get("smoke"), records) == []


@pytest.mark.parametrize("change", [{"training_version": 2}, {"data": {"fingerprint": "f" * 16}}])
@pytest.mark.parametrize("reverse", [False, True])
def test_no_cell_mixes_two_states_of_data_or_code(change, reverse):
    """The state of the newest record counts, for all variants."""
    old = [made(variant(SHAPES, "gcn", k, seed=seed), 0.5) for k in (7, 9) for seed in (0, 1)]
    new = [made(variant(SHAPES, "gcn", 9), 0.7, finished="2026-02-01T00:00:00+00:00", **change)]
    records = (old + new)[::-1] if reverse else old + new
    assert variants.current_records(SHAPES, records) == new
    assert variants.current_records(SHAPES, [r for r in records if r not in new]) == [r for r in records if r in old]


@pytest.mark.parametrize("reverse", [False, True])
def test_no_cell_mixes_two_states_of_what_runs_start_from(reverse):
    """Pre-training again, on more images: what started from the old one no longer counts, in no cell."""
    old_data, day = {"fingerprint": "f" * 16}, "2026-02-01T00:00:00+00:00"
    records = []
    for seed in (0, 1, 2):
        segmenter = variants.Variant("conv1x1", backbone="ResNet50-GCN").run(SHAPES, seed)
        before = made(segmenter.weights, 0.9, data=old_data)
        records += [before, made(segmenter, 0.5, weights=before["key"])]
    segmenter = variants.Variant("conv1x1", backbone="ResNet50-GCN").run(SHAPES, 0)
    again = made(segmenter.weights, 0.95, finished=day)
    new = [again, made(segmenter, 0.7, weights=again["key"], finished=day)]
    both = (records + new)[::-1] if reverse else records + new
    current = variants.current_records(SHAPES, both)
    frame = tables.compare("6", SHAPES, current, []).set_index(["row", "column", "metric"])
    cell = frame.loc[("Seg. Score (Baseline)", "ResNet50-GCN", "miou")]
    assert (cell["study_n"], cell["study_mean"]) == (1, pytest.approx(70))
    assert {record["key"] for record in current} == {record["key"] for record in new}
    assert variants.current_records(SHAPES, records) == records, "without the new ones the old ones are one state"


def test_a_record_of_another_version_is_named(caught):
    record = made(variant(SHAPES, "gcn", 9))
    for config in ({**record["config"], "colour": "red"}, {**record["config"], "schedule": {"steps": 0}}):
        for act in (variants.variant_records, variants.current_records):
            with pytest.raises(UserError) as info:
                act(SHAPES, [record | {"config": config}])
            assert f"gcn-k9-s0-{record['key']}.json" in caught(info)


def test_records_come_back_by_variant():
    run = variant(SHAPES, "stack", 7, 0.5)
    records = [made(replace(run, seed=seed)) for seed in (2, 0, 1)]
    found = variants.variant_records(SHAPES, records)
    half = variants.Variant("stack", 7, 0.5)
    assert list(found) == [half] and [r["config"]["seed"] for r in found[half]] == [0, 1, 2]
    assert variants.variant_records(SHAPES, []) == {}
    config = Run.from_config(records[0]["config"])
    assert config.variant == "stack-k7-m64" and config.seed == 2


def test_titles_tell_the_variants_of_a_table_apart():
    """Of one backbone (Table 6) and of one row (Tables 7 and 9)."""
    titles = {table: [v.title for v in variants.variants((table,)) if v.head] for table in variants.TABLES}
    assert titles["1"][:2] == ["1×1", "GCN 3"] and titles["5"] == ["1×1", "GCN 15", "GCN 15 + BR"]
    assert titles["2"][-1] == "9×9" and titles["4"] == ["stack 7", "stack 7, m/2", "stack 7, m/10", "GCN 7"]
    assert titles["7"][:3] == ["1×1", "GCN 15", "GCN 15 + BR"] and set(titles["9"]) == {"1×1", "GCN 25 + BR"}
    for table in variants.TABLES:
        found = [(v.title, v.backbone, v.stage) for v in variants.variants((table,))]
        assert len(set(found)) == len(found), table


# --- parameters and multiply-adds ----------------------------------------------------------------


@every_profile
@pytest.mark.parametrize(("table", "cells"), [("2", 8), ("4", 4)])
def test_parameters_are_those_printed_whatever_was_run(profile, table, cells):
    frame = tables.compare(table, profile, [], [])
    counted = frame[frame["metric"] == "parameters_k"]
    assert len(counted) == cells and (counted[["study_n", "local_n"]] == 0).all(axis=None)
    assert ((counted["study_mean"] - counted["published"]).abs() < 1).all()
    assert (counted["study_mean"] == counted["local_mean"]).all()


def weights(head, k, m):
    """Closed form of a bias-free head, 2048 → 21 (Section 3.1, Fig. 4)."""
    if head == "gcn":
        return 2 * k * (2048 * 21 + 21 * 21)
    if head != "stack":
        return 2048 * 21 * (k or 1) ** 2
    return sum(9 * a * b for a, b in pairwise([2048, *[m] * ((k - 3) // 2), 21]))


def test_complexity_follows_the_closed_forms():
    frame = tables.complexity()
    assert len(frame) == 18 and frame["variant"].is_unique
    assert frame["head"].value_counts().to_dict() == {"conv1x1": 1, "gcn": 7, "conv": 4, "stack": 6}
    for row in frame.itertuples():
        k, m = (None if pd.isna(v) else int(v) for v in (row.k, row.m))
        assert row.parameters == weights(row.head, k, m), row.variant
        assert row.multiply_adds == 16 * 16 * row.parameters, "every weight is used once at each of 256 positions"
    published = frame.dropna(subset="published_k")
    assert ((published["parameters"] / 1000 - published["published_k"]).abs() < 1).all()
    printed = pd.concat([paper.cells(t) for t in ("2", "4")]).query("metric == 'parameters_k'")
    assert sorted(published["published_k"]) == sorted(set(printed["value"]))


def test_complexity_keeps_a_published_count_whichever_table_comes_last(monkeypatch):
    """GCN at k = 7 has its count in Tables 2 and 4, and none in 1 and 3."""
    expected = tables.complexity().set_index("variant")["published_k"]
    monkeypatch.setattr(tables, "TABLES", variants.TABLES[::-1])
    again = tables.complexity().set_index("variant")["published_k"]
    pd.testing.assert_series_equal(again[expected.index], expected)
