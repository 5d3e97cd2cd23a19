"""Staged training (Tables 7 and 9, claim 12): which run starts from which, and when a step helps."""

import json
from dataclasses import replace
from itertools import pairwise
from math import sqrt

import numpy as np
import pytest
from scipy.stats import ttest_rel
from test_tables import made

from gcnlab.data import SOURCES
from gcnlab.evaluation.crf import Crf
from gcnlab.evaluation.inference import TestTime, crop_starts
from gcnlab.models.backbones import build_backbone
from gcnlab.study import claims, experiment, profiles, results, runner, variants
from gcnlab.study.claims import FAILS, HOLDS, NOT_RUN, UNDECIDED
from gcnlab.study.run import Run
from gcnlab.study.session import Session
from gcnlab.study.variants import Variant

SHAPES, PHOTOS, PAPER = (profiles.get(name) for name in ("shapes", "photos", "paper"))
PROTOCOL = {"7": "voc", "9": "street"}
STUDENT = {2: 4.3027, 6: 2.4469}  # degrees of freedom → 97.5 % quantile of Student's t, from a printed table
ROWS = [f"Stage-{row}" for row in ("1", "2", "3", "3-MS", "3-MS-CRF")]

staged_profiles = pytest.mark.parametrize(
    "profile", [profiles.get("smoke"), SHAPES, PHOTOS, PAPER], ids=lambda p: p.name
)


def rows_of(profile, table, seed=0, column="GCN + BR"):
    """The runs of one column, from the first row that the profile has to the last."""
    cells = variants.cells(table)
    runs = [Variant.of_cell(cell).run(profile, seed) for cell in cells[cells["column"] == column].itertuples()]
    return [run for run in runs if run is not None]


# --- which run starts from which -----------------------------------------------------------------


@staged_profiles
@pytest.mark.parametrize("table", ["7", "9"])
@pytest.mark.parametrize("column", ["Baseline", "GCN", "GCN + BR"])
def test_every_row_starts_from_the_row_before(profile, table, column):
    chain = rows_of(profile, table, seed=3, column=column)
    template = profile.protocols[PROTOCOL[table]].template
    for before, run in pairwise(chain):
        assert run.weights == before
    for run in chain:
        assert (run.profile, run.backbone, run.seed) == (profile.name, template.backbone, 3)
        assert (run.normalization, run.batch_norm) == (template.normalization, template.batch_norm)
    if chain:
        assert chain[0].weights == profile.template.weights, "as all other tables"
        assert len({(run.head, run.k, run.m, run.refine) for run in chain}) == 1, "one model from row to row"


@staged_profiles
@pytest.mark.parametrize("table", ["7", "9"])
def test_multi_scale_and_crf_train_nothing_and_follow_the_last_stage(profile, table):
    *_, last, multi_scale, crf = rows_of(profile, table)
    protocol = profile.protocols[PROTOCOL[table]]
    assert last.study == "segmentation" and last.data == protocol.stages[-1].data
    assert (multi_scale.study, multi_scale.test_time, multi_scale.crf) == ("evaluation", protocol.multi_scale, None)
    assert (crf.study, crf.weights, crf.crf) == ("evaluation", multi_scale, protocol.crf)
    assert multi_scale.test_time.flip and multi_scale.test_time.scales == (0.75, 1.0, 1.25)
    once = replace(multi_scale.test_time, flip=False, scales=(1.0,))
    assert once == (last.test_time or TestTime()), "and otherwise looks at images as the stages do"
    for run in (multi_scale, crf):
        assert (run.data, run.head, run.k, run.refine) == (last.data, last.head, last.k, last.refine)


@staged_profiles
@pytest.mark.parametrize(("table", "trained", "photos"), [("7", 9, 9), ("9", 4, 2)])
def test_a_seed_needs_no_training_twice(profile, table, trained, photos):
    """Nine and four trainings, and two evaluations; CamVid has no coarse stage."""
    runs = variants.table_runs([table], profile, [0, 1])
    assert len(set(runs)) == len(runs)
    expected = photos if profile == PHOTOS else trained
    for seed in (0, 1):
        mine = [run for run in runs if run.seed == seed]
        assert sum(run.study == "segmentation" for run in mine) == expected
        assert [run.crf is None for run in mine if run.study == "evaluation"] == [True, False]
    assert {run.weights for run in runs if isinstance(run.weights, Run)} - set(runs) <= {profile.template.weights}
    assert len({run.name for run in runs}) == len(runs)


def test_the_last_row_brings_all_that_it_needs_in_its_order(tmp_path):
    smoke = profiles.get("smoke")
    chain = rows_of(smoke, "7")
    assert runner.plan([chain[-1]], tmp_path) == [smoke.template.weights, *chain]
    wanted = variants.table_runs(["7", "9"], smoke, [0, 1])
    planned = runner.plan(wanted, tmp_path)
    assert sorted(run.name for run in planned) == sorted(run.name for run in {*wanted, smoke.template.weights})
    assert all(planned.index(run.weights) < planned.index(run) for run in wanted)


def test_rows_that_a_protocol_does_not_have_are_no_run():
    protocol = SHAPES.protocols["street"]
    for row in ("Stage-3", "Stage-3-MS", "Stage-3-MS-CRF", "Stage", ""):
        assert protocol.run(row, "gcn", True, 0) is None
    assert PHOTOS.protocols["street"].run("Stage-1", "gcn", True, 0) is None
    assert variants.table_runs(["7", "9"], profiles.get("shapes-long"), [0]) == []


# --- sizes ---------------------------------------------------------------------------------------


def test_the_paper_profile_has_the_papers_sizes():
    voc, street = PAPER.protocols["voc"], PAPER.protocols["street"]
    assert [(stage.data.name, stage.data.canvas) for stage in voc.stages] == [
        ("coco+voc", (640, 640)), ("voc", (512, 512)), ("voc-alone", (512, 512))]  # fmt: skip
    assert [SOURCES[stage.data.name].official_counts["train"] for stage in voc.stages] == [109_892, 10_582, 1_464]
    assert [(stage.data.canvas, stage.data.crop) for stage in street.stages] == [((1024, 2048), 800)] * 2
    counts = [SOURCES[stage.data.name].official_counts for stage in street.stages]
    assert [(count["train"], count["val"]) for count in counts] == [(22_973, 500), (2_975, 500)]
    assert {SOURCES[stage.data.name].official_counts["val"] for stage in voc.stages} == {1449}
    assert (voc.k, street.k) == (15, 25) and voc.template.test_time is None
    how = street.template.test_time
    views = len(crop_starts(1024, how.crop, how.stride)) * len(crop_starts(2048, how.crop, how.stride))
    assert (how.crop, views) == (1024, 4)


@staged_profiles
def test_k_spans_the_top_map_of_a_training_image(profile):
    """Of the benchmark's own stage: in Stage-1 the paper too keeps k = 15 for images of 640 pixels."""
    stride = build_backbone(profile.template.backbone).strides[-1]
    for protocol in profile.protocols.values():
        (stage,) = (stage for stage in protocol.stages if stage.name == "Stage-2")
        side = (stage.data.crop or stage.data.side) // stride
        assert protocol.k == side - (side % 2 == 0), "the largest odd number that fits"
        assert {run.k for run in rows_of(profile, {"voc": "7", "street": "9"}[protocol.name])} == {protocol.k}


# --- configs and records -------------------------------------------------------------------------


@staged_profiles
def test_a_chain_comes_back_from_json(profile):
    for run in (rows_of(profile, "7")[-1], rows_of(profile, "9")[-1]):
        again = Run.from_config(json.loads(json.dumps(run.config())))
        assert again == run and hash(again) == hash(run)
        assert isinstance(again.crf.candidates, tuple) and again.crf.candidates == run.crf.candidates
        assert isinstance(again.test_time.scales, tuple) and again.weights.weights == run.weights.weights


def test_invented_records_of_evaluations_are_like_real_ones(smoke, tmp_path, monkeypatch):
    monkeypatch.setattr(experiment, "TUNING_IMAGES", 1)
    monkeypatch.setattr(experiment, "train", lambda *_: pytest.fail("trained"))
    seen = replace(smoke.runs[0], study="evaluation", weights=smoke.runs[0], test_time=TestTime(), label="ms")
    refined = replace(seen, weights=seen, crf=Crf("exact", iterations=1), label="ms-crf")
    (tmp_path / "smoke").mkdir()
    for folder in ("runs", "weights"):
        (tmp_path / "smoke" / folder).symlink_to(smoke.out / "smoke" / folder)
    monkeypatch.setattr(results, "write_record", lambda *_: None)  # the study is shared
    for run in (seen, refined):
        real, ours = experiment.execute(run, tmp_path, log=lambda _: None), made(run)
        assert real.keys() == ours.keys() and real["metrics"].keys() == ours["metrics"].keys()
        assert [set(point) for point in real["history"]] == [set(point) for point in ours["history"]]
        assert real.get("crf", {}).keys() == ours.get("crf", {}).keys()


def counted(runs_or_records, out, table, column="GCN + BR"):
    """Row → number of records that count; those of the same day name as their start what they start from."""
    for one in runs_or_records:
        results.write_record(made(one) if isinstance(one, Run) else one, out)
    frame = Session("shapes", out=out).frame(table)
    return dict(frame[frame["column"] == column].set_index("row")["local_n"])


def test_records_of_stages_count_in_their_own_rows(tmp_path):
    runs = [run for seed in (0, 1) for run in rows_of(SHAPES, "7", seed)]
    assert counted(runs, tmp_path, "7") == dict.fromkeys(ROWS, 2)
    assert set(counted([], tmp_path, "7", "GCN").values()) == {0}
    session = Session("shapes", out=tmp_path)
    assert session.stale() == [] and set(session.frame("1")["local_n"]) == {0}
    assert session.curves().empty, "those of Tables 1 to 5 only"


@pytest.mark.parametrize("retrained", range(4))
def test_all_rows_after_a_retrained_one_become_stale(tmp_path, retrained):
    """On other data, the pre-training (0) or a stage: those that start from it directly and through rows between."""
    chain = [SHAPES.template.weights, *rows_of(SHAPES, "7")]
    other = {"data": {"fingerprint": "f" * 16}, "finished": "2026-02-01T00:00:00+00:00"}
    found = counted([*chain, made(chain[retrained], **other)], tmp_path, "7")
    assert found == {row: int(row in ROWS[:retrained]) for row in ROWS}


# --- claim 12 ------------------------------------------------------------------------------------


def stairs(profile=SHAPES, seeds=3, noise=0.2, tables=("7", "9"), **gains):
    """Records in which every row gains a point over the row before, or that of ``gains``: ``s2``, ``ms``, ``crf`` …

    What a seed has in common from row to row is large, its own part in a row has the deviation ``noise``.
    """
    random, luck = np.random.default_rng(0), 10 * np.arange(seeds)
    found = []
    for table in tables:
        for column in dict.fromkeys(variants.cells(table)["column"]):
            level = 50.0
            for i, row in enumerate(zip(*(rows_of(profile, table, s, column) for s in range(seeds)), strict=True)):
                name = row[0].label.split("-")[-1]
                level += gains.get(name if name.isalpha() else f"s{name}", 1.0) if i else 0
                own = random.permutation(np.linspace(-noise, noise, seeds)) if seeds > 1 else [0]
                found += [made(run, (level + a + b) / 100) for run, a, b in zip(row, luck, own, strict=True)]
    return found


def judged(records, profile=SHAPES, **options):
    (verdict,) = claims.judge(profile, records, [12], **options)
    return verdict.verdict, verdict.evidence


@pytest.mark.parametrize(("expected", "gains"), [
    (HOLDS, {}), (HOLDS, {"ms": 0.05}), (FAILS, {"s2": -2}), (FAILS, {"crf": -2}), (UNDECIDED, {"ms": -0.1}),
    (UNDECIDED, {"s2": 0.05, "s3": 0.05, "ms": 0.05, "crf": 0.05}),
])  # fmt: skip
def test_verdict_on_claim_12(expected, gains):
    verdict, evidence = judged(stairs(seeds=5, **gains))
    assert verdict == expected, evidence
    assert all(f"Table {t}, {c}: " in evidence for t, c in (("7", "Baseline"), ("7", "GCN"), ("9", "GCN + BR")))


def test_one_seed_needs_the_spread_of_the_committed_study():
    verdict, evidence = judged(stairs(seeds=1))
    assert verdict == UNDECIDED and "no spread" in evidence
    assert judged(stairs(seeds=1), spread_records=stairs(seeds=5))[0] == HOLDS
    assert judged(stairs(seeds=1, crf=-2), spread_records=stairs(seeds=5))[0] == FAILS


def test_a_row_that_was_not_run_is_named():
    every = stairs()
    for lost in ("gcn-k15-voc-stage-2", "gcn-k13-br-street-stage-2-ms", "conv1x1-street-stage-1"):
        rest = [record for record in every if record["name"].rsplit("-", 1)[0] != lost]
        assert len(rest) == len(every) - 3 and judged(rest) == (NOT_RUN, f"{lost} was not run")
    assert judged([])[0] == NOT_RUN


def test_profiles_with_fewer_stages_are_judged_on_what_they_have():
    verdict, evidence = judged(stairs(PHOTOS, seeds=5), PHOTOS)
    assert verdict == HOLDS and "Table 9, GCN + BR: Stage-2-MS +1.0, Stage-2-MS-CRF +1.0" in evidence
    assert "Table 9, Baseline" not in evidence, "one row is no step"
    assert judged(stairs(PHOTOS, seeds=5, tables=["9"]), PHOTOS)[0] == NOT_RUN
    long = profiles.get("shapes-long")
    assert judged([], long) == (NOT_RUN, "staged training was not run")
    assert judged(stairs(), profiles.get("smoke")) == (UNDECIDED, "profile smoke is never evidence")


def test_the_margin_of_one_step_is_that_of_the_paired_t_test():
    scores = np.array([[60.0, 64.0, 55.0, 58.0], [61.5, 64.5, 57.5, 58.25]])
    step = [Variant("gcn", 15, protocol="voc", stage=stage) for stage in ("Stage-1", "Stage-2")]
    records = [made(v.run(SHAPES, s), x / 100) for v, row in zip(step, scores, strict=True) for s, x in enumerate(row)]
    alone = made(step[1].run(SHAPES, 9), 0.01)  # a seed that only one of the two has
    ((gain, margin),) = claims.Scores(SHAPES, [*records, alone]).step_gains([tuple(step)])
    low, high = ttest_rel(scores[1], scores[0]).confidence_interval(0.95)
    assert (gain - margin, gain + margin) == (pytest.approx(low), pytest.approx(high))


def test_several_steps_pool_the_spread_of_their_differences():
    rows = [Variant("gcn", 15, protocol="voc", stage=stage) for stage in ROWS[:3]]
    scores = [(60, 70, 80, 90), (61, 71, 82, 92), (62, 75, 83, 92)]
    records = [made(v.run(SHAPES, s), x / 100) for v, row in zip(rows, scores, strict=True) for s, x in enumerate(row)]
    gains = claims.Scores(SHAPES, records).step_gains(list(pairwise(rows)))
    # differences 1, 1, 2, 2 and 1, 4, 1, 0: squared deviations 1 and 9, degrees of freedom 3 + 3
    margin = STUDENT[6] * sqrt(10 / 6) / sqrt(4)
    assert gains == [(pytest.approx(1.5), pytest.approx(margin, rel=1e-4))] * 2


def test_a_column_of_two_rows_is_judged_by_one_difference_a_seed():
    """The baseline of Table 9 with three seeds: a gain of two points, ± 2.5 by the paired t test, is undecided."""
    steady = [record for record in stairs() if not record["name"].startswith("conv1x1-street")]
    first, second = rows_of(SHAPES, "9", column="Baseline")
    base = [made(replace(first, seed=s), 0.5) for s in range(3)]
    base += [made(replace(second, seed=s, weights=replace(first, seed=s)), 0.51 + s / 100) for s in range(3)]
    verdict, evidence = judged(steady + base)
    assert f"Table 9, Baseline: Stage-2 +2.0 (margin of a step ±{STUDENT[2] / sqrt(3):.1f})" in evidence
    assert verdict == UNDECIDED
