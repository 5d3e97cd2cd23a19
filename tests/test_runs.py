"""A study from end to end: the expected records, scores that agree with each other, weights that give them again."""

import json
import re
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

from gcnlab import data
from gcnlab.data import DataSpec
from gcnlab.errors import UserError
from gcnlab.evaluation.inference import score_segmentation
from gcnlab.study import profiles, results, runner
from gcnlab.study.run import Run, build_model, load_model, run_key
from gcnlab.training import Schedule, autocast

SMOKE = profiles.get("smoke")
VARIANTS = ["conv1x1-s0", "gcn-k15-s0", "gcn-k15-br-s0"]


def quick(**changes):
    """A run on the embedded data that needs no pre-training, in two evaluated halves."""
    schedule = Schedule(4, 4, evaluations=2)
    run = Run("quick", DataSpec("shapes-tiny", side=64), "small", schedule, head="gcn", k=3, boundary_distance=3)
    return replace(run, **changes)


def record_of(run, out, data_root=None):
    path = results.record_path(out, run.profile, run.name, run_key(run, data_root))
    return json.loads(path.read_text(encoding="utf-8"))


def weights_of(run, out):
    return torch.load(results.weights_path(out, run.profile, run.name, run_key(run)), weights_only=True)


def same_weights(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def trained(log):
    """One line per run that was trained to its end: step n of n."""
    return [line for line in log if re.match(r"step +(\d+)/\1 ", line)]


def test_exactly_the_expected_records(smoke):
    assert smoke.failures == []
    folder = smoke.out / "smoke" / "runs"
    expected = {f"{run.name}-{run_key(run)}.json" for run in [*smoke.runs, SMOKE.template.weights]}
    assert len(expected) == 4
    assert {path.name for path in folder.iterdir()} == expected
    assert [run.name for run in smoke.runs] == VARIANTS
    assert not list((smoke.out / "smoke").glob("checkpoints/*.pt")), "a finished run needs no checkpoint"
    assert {path.stem for path in (smoke.out / "smoke" / "weights").iterdir()} == {name[:-5] for name in expected}


def test_a_second_call_trains_nothing(smoke, monkeypatch):
    monkeypatch.setattr(runner, "execute", lambda *_, **__: pytest.fail("trained again"))
    before = {path: path.stat().st_mtime_ns for path in smoke.out.rglob("*") if path.is_file()}
    log = []
    assert runner.run_all(smoke.runs, smoke.out, log=log.append) == []
    assert log == ["3 runs: 3 complete, 0 to train"]
    assert len(trained(smoke.log)) == 4
    assert {path: path.stat().st_mtime_ns for path in smoke.out.rglob("*") if path.is_file()} == before


def test_only_what_is_missing_is_trained(smoke, tmp_path):
    out, log = shutil.copytree(smoke.out, tmp_path / "out"), []
    lost = smoke.runs[1]
    before = record_of(lost, out)
    results.record_path(out, "smoke", lost.name, run_key(lost)).unlink()
    assert runner.run_all(smoke.runs, out, log=log.append) == []
    assert log[0] == "3 runs: 2 complete, 1 to train" and len(trained(log)) == 1
    again = record_of(lost, out)
    assert again["metrics"] == before["metrics"] and again["key"] == before["key"]


def test_records_say_what_was_measured(smoke):
    records = {record["name"]: record for record in results.read_records(smoke.out, "smoke")}
    assert set(records) == {*VARIANTS, "pretraining-small-s0"}
    for run in [*smoke.runs, SMOKE.template.weights]:
        record = records[run.name]
        assert Run.from_config(record["config"]) == run and record["key"] == run_key(run)
        assert record["data"]["fingerprint"] == data.fingerprint(run.data)
        assert record["metrics"]["counts"] == data.counts(run.data)
        assert record["seconds"] > 0 and record["peak_memory"] > 1e6
        assert record["precision"] in ("bf16", "float32") and record["device"].startswith("CPU")
        assert torch.__version__.startswith(record["versions"]["torch"])
        last = run.schedule.steps
        assert [point["step"] for point in record["history"]] == [*sorted(run.schedule.evaluate_after()), last]
    errors = records["pretraining-small-s0"]["metrics"]
    assert 0 <= errors["top5_error"] <= errors["top1_error"] <= 1


@pytest.mark.parametrize("name", VARIANTS)
def test_scores_agree_with_each_other(smoke, name):
    metrics = next(r for r in results.read_records(smoke.out, "smoke") if r["name"] == name)["metrics"]
    assert list(metrics["iou"]) == list(SMOKE.template.data.class_names)
    ious = [iou for iou in metrics["iou"].values() if iou is not None]
    assert metrics["miou"] == pytest.approx(np.mean(ious))
    scores = [metrics[key] for key in ("miou", "pixel_accuracy", "boundary_accuracy", "internal_accuracy")]
    assert all(0 <= score <= 1 for score in [*scores, *ious])
    assert list(metrics["boundary_sensitivity"]) == ["3", "5", "7", "9"]
    at_3 = metrics["boundary_sensitivity"]["3"]
    both = ("boundary_accuracy", "internal_accuracy")
    assert [at_3[name] for name in both] == [metrics[name] for name in both]
    shares = []
    for region in metrics["boundary_sensitivity"].values():
        share = region["boundary_share"]
        both = share * region["boundary_accuracy"] + (1 - share) * region["internal_accuracy"]
        assert both == pytest.approx(metrics["pixel_accuracy"])
        shares.append(share)
    assert shares == sorted(shares) and 0 < shares[0] < shares[-1] < 1
    assert metrics["pixels"] < 16 * 64 * 64, "void does not count"


def test_kept_weights_give_the_recorded_scores(smoke):
    run = smoke.runs[2]
    record = record_of(run, smoke.out)
    model = load_model(run, smoke.out)
    assert not model.training
    batches = data.load(run.data, "val").in_order(run.schedule.batch_size)
    context = autocast(torch.device("cpu"), record["precision"])
    confusion, _ = score_segmentation(model, batches, 8, (), context)
    assert confusion.miou() == record["metrics"]["miou"]


def test_weights_that_were_not_kept_are_a_user_error(smoke, caught):
    with pytest.raises(UserError) as info:
        load_model(replace(smoke.runs[0], seed=9), smoke.out)
    assert "conv1x1-s9" in caught(info)


def test_segmenters_start_from_the_pre_trained_backbone(smoke):
    before = weights_of(SMOKE.template.weights, smoke.out)
    path = results.weights_path(smoke.out, "smoke", SMOKE.template.weights.name, run_key(SMOKE.template.weights))
    model = build_model(smoke.runs[0], path)
    state = model.state_dict()
    assert all(torch.equal(state[name], before[name]) for name in before if name.startswith("backbone."))


def test_seeds_and_their_new_layers():
    def head(seed):
        return build_model(quick(seed=seed)).heads[0].left[0].weight

    assert torch.equal(head(0), head(0)) and not torch.equal(head(0), head(1))
