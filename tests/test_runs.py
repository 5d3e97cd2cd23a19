"""Configs, keys, records and the runner: same key, same run, never trained twice, and complete only with a record."""

import dataclasses
import json
import os
import pickle
import re
import shutil
import time
from collections import namedtuple
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from functools import cache

import numpy as np
import pytest
import torch

from gcnlab import data
from gcnlab.data import DataSpec, catalog, voc
from gcnlab.errors import UserError
from gcnlab.evaluation.crf import Crf, Pairwise
from gcnlab.evaluation.inference import TestTime, score_segmentation
from gcnlab.study import experiment, profiles, results, runner, variants
from gcnlab.study import run as run_module
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


# --- configs and keys ----------------------------------------------------------------------------


@cache
def every_run():
    """All variants of all profiles with two seeds; shared, because building the paper's backbone takes a second."""
    names = list(variants.TABLES)
    runs = [run for profile in profiles.PROFILES.values() for run in variants.table_runs(names, profile, [0])]
    return list(dict.fromkeys(replace(run, seed=seed) for run in runs for seed in (0, 3)))  # twins share pre-training


def test_every_config_comes_back_from_json():
    runs = every_run()
    for run in runs:
        again = Run.from_config(json.loads(json.dumps(run.config())))
        assert again == run and hash(again) == hash(run)
        assert again.name == run.name


def test_names_tell_the_runs_of_a_profile_apart():
    for profile in profiles.PROFILES:
        names = [run.name for run in every_run() if run.profile == profile]
        assert len(set(names)) == len(names)


def test_every_run_has_its_own_key(layout):
    runs = [replace(run, data=replace(run.data, name="voc"), weights=None) for run in every_run()]
    assert len({run_key(run, layout) for run in runs}) == len(runs)


def test_keys_of_the_smoke_profile_are_stable_and_distinct():
    runs = variants.table_runs(list(variants.TABLES), SMOKE, [0, 1])
    keys = [run_key(run) for run in runs]
    assert len(set(keys)) == len(runs) == 82
    assert keys == [run_key(Run.from_config(run.config())) for run in runs]
    assert all(len(key) == 12 and set(key) <= set("0123456789abcdef") for key in keys)


@pytest.mark.parametrize("change", [
    {"seed": 1}, {"k": 5}, {"head": "conv"}, {"refine": True}, {"backbone": "resnet18"}, {"batch_norm": "frozen"},
    {"normalization": "caffe"}, {"boundary_distance": 5}, {"profile": "other"}, {"head": "stack", "m": 4},
    {"data": DataSpec("shapes-tiny", side=80)}, {"data": DataSpec("shapes-tiny", side=64, long_side=64)},
    {"data": DataSpec("shapes-tiny", side=64, classes=(0, 1))}, {"data": DataSpec("shapes-tiny", side=64, height=72)},
    {"data": DataSpec("shapes-tiny", side=64, crop=52)}, {"data": DataSpec("shapes-tiny", side=64, images=8)},
    {"study": "evaluation"}, {"label": "voc-stage-1"}, {"test_time": TestTime()}, {"test_time": TestTime(flip=True)},
    {"test_time": TestTime((0.75, 1.0))}, {"test_time": TestTime(crop=64, stride=32)}, {"crf": Crf("exact")},
    {"weights": SMOKE.template.weights}, {"weights": replace(SMOKE.template.weights, seed=1)},
    {"schedule": Schedule(5, 4, evaluations=2)}, {"schedule": Schedule(4, 5, evaluations=2)},
    {"schedule": Schedule(4, 4)}, {"schedule": Schedule(4, 4, evaluations=2, lr=2e-3)},
    {"schedule": Schedule(4, 4, evaluations=2, backbone_lr=1e-3)}, {"schedule": Schedule(4, 4, "sgd", evaluations=2)},
    {"schedule": Schedule(4, 4, evaluations=2, loss_reduction="sum")},
])  # fmt: skip
def test_a_change_changes_the_key(change):
    assert run_key(quick(**change)) != run_key(quick())


def test_a_change_within_a_crf_changes_the_key():
    kernels = (Pairwise(), Pairwise(bilateral_xy=30))
    crfs = [Crf("exact"), Crf("pydensecrf2"), Crf("exact", iterations=5), Crf("exact", kernels),
            Crf("exact", kernels[::-1]), Crf("exact", kernels[1:])]  # fmt: skip
    assert len({run_key(quick(crf=crf)) for crf in crfs}) == len(crfs)


def test_the_key_does_not_depend_on_how_a_run_is_written_down():
    run = quick()
    explicit = Run(**{field: getattr(run, field) for field in asdict(run)} | {"normalization": "rgb", "m": None})
    assert run_key(explicit) == run_key(run)
    written = Schedule(steps=4, batch_size=4, optimizer="adamw", lr=1e-3, decay="cosine", warmup=0, evaluations=2)
    assert run_key(quick(schedule=written)) == run_key(run)
    config = run.config()
    del config["normalization"], config["schedule"]["warmup"], config["data"]["classes"]
    for later in ("test_time", "crf", "label"):
        del config[later]
    for later in ("height", "crop", "images"):
        del config["data"][later]
    assert run_key(Run.from_config(config)) == run_key(run), "a record of a version that did not have these fields"
    assert quick(boundary_distance=3.0) == run
    assert run_key(quick(boundary_distance=3.0)) == run_key(run), "equal runs have equal keys"


def test_the_key_follows_data_weights_and_version(layout, tmp_path, monkeypatch):
    def copy(name):
        return shutil.copytree(layout, tmp_path / name)

    run = quick(data=DataSpec("voc", side=64), weights="start.npz")
    roots = [copy(name) for name in ("one", "same", "other_weights", "other_data")]
    for root in roots:
        np.savez(root / "start.npz", a=np.arange(3 if root.name != "other_weights" else 4))
    label = roots[3] / "VOCdevkit/VOC2012/SegmentationClass/2007_000000.png"
    label.write_bytes(label.read_bytes() + b"\n")
    keys = [run_key(run, root) for root in roots]
    assert keys[0] == keys[1]
    assert len({*keys}) == 3
    monkeypatch.setattr(run_module, "TRAINING_VERSION", run_module.TRAINING_VERSION + 1)
    assert run_key(run, roots[0]) not in keys


@pytest.mark.parametrize("change", [
    lambda c: c.update(colour="red"), lambda c: c["schedule"].update(gamma=1), lambda c: c["data"].update(zoom=3),
    lambda c: c["weights"].update(gpu=1), lambda c: c.pop("schedule"), lambda c: c["data"].pop("name"),
    lambda c: c["test_time"].update(zoom=2), lambda c: c["test_time"].pop("scales"), lambda c: c["crf"].update(k=1),
    lambda c: c["crf"].pop("candidates"), lambda c: c["crf"]["candidates"][0].update(sigma=1),
])  # fmt: skip
def test_a_config_of_another_version_is_refused(change, caught):
    config = quick(weights=SMOKE.template.weights, test_time=TestTime(), crf=Crf("exact")).config()
    assert Run.from_config(config).config() == config
    change(config)
    with pytest.raises(UserError) as info:
        Run.from_config(config)
    assert "config" in caught(info)


def test_unknown_names_are_refused(caught):
    for act, named in ((lambda: profiles.get("tiny"), "'tiny'.*smoke, shapes, photos, paper"),
                       (lambda: variants.table_runs(["5", "12"], SMOKE, [0]), "'12'.*1, 2, .*6, 7, 9")):  # fmt: skip
        with pytest.raises(UserError, match=named) as info:
            act()
        caught(info)


# --- tables and runs -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (["1"], 8),
        (["2"], 8),
        (["3"], 10),
        (["4"], 4),
        (["5"], 3),
        (["5", "5"], 3),
        (["1", "5"], 9),
        (["2", "3"], 13),
        (["6"], 6),
        (["pretraining"], 2),
        (["7"], 11),
        (["9"], 6),
        (["5", "7", "9"], 20),
    ],
)
def test_tables_share_their_runs(wanted, expected):
    assert len(variants.table_runs(wanted, SMOKE, [0])) == expected
    assert len(variants.table_runs(wanted, SMOKE, [0, 1, 2])) == 3 * expected


def test_m_is_relative_to_the_profiles_own_features():
    def widths(profile):
        return {run.m for run in every_run() if run.profile == profile and run.head == "stack"}

    assert widths("paper") == {None, 1024, 210}
    assert widths("shapes") == {None, 64, round(128 * 210 / 2048)}


# --- a study from end to end ---------------------------------------------------------------------


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


def test_pre_training_is_repeated_only_if_its_weights_are_needed(smoke, tmp_path):
    out, before = shutil.copytree(smoke.out, tmp_path / "out"), SMOKE.template.weights
    results.weights_path(out, "smoke", before.name, run_key(before)).unlink()
    assert runner.plan(smoke.runs, out) == []
    new = replace(smoke.runs[0], seed=1)
    assert runner.plan([*smoke.runs, new], out) == [[before], [new]]


def test_no_run_is_planned_twice(tmp_path):
    run, before = SMOKE.template, SMOKE.template.weights
    run = replace(run, head="conv1x1")
    for wanted in ([run, run], [run, before], [before, run], [before, run, replace(run, seed=1)]):
        planned = [run for wave in runner.plan(wanted, tmp_path) for run in wave]
        assert sorted(r.name for r in planned) == sorted({r.name for r in [*wanted, before]})
        assert planned[0] == before


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


# --- faults --------------------------------------------------------------------------------------


def test_the_record_is_written_last(tmp_path, monkeypatch):
    run, log = quick(), []
    write = results.write_record

    def fails(record, out):
        assert results.weights_path(out, run.profile, run.name, run_key(run)).is_file()
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(results, "write_record", fails)
    (failure,) = runner.run_all([run], tmp_path, log=log.append)
    assert failure.startswith("gcn-k3-s0") and "No space left" in failure
    assert not runner.is_complete(run, tmp_path) and results.read_records(tmp_path, "quick") == []
    monkeypatch.setattr(results, "write_record", write)
    assert runner.run_all([run], tmp_path, log=log.append) == []
    assert runner.is_complete(run, tmp_path)


@pytest.mark.parametrize("stage", ["write_text", "replace"])
def test_a_half_written_record_is_never_seen(stage, smoke, tmp_path, monkeypatch):
    record = record_of(smoke.runs[0], smoke.out)
    path = results.write_record(record, tmp_path)

    def fails(self, argument, **_):
        with open(self, "a") as file:
            file.write("half a rec")
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(type(path), stage, fails)
        with pytest.raises(OSError, match="No space"):
            results.write_record(record | {"metrics": {"miou": 0.5}}, tmp_path)
    assert results.read_records(tmp_path, "smoke") == [record]
    assert list(path.parent.iterdir()) == [path]


def test_undefined_scores_are_null(tmp_path):
    record = {"config": {"profile": "quick", "seed": 0}, "name": "run", "key": "0", "finished": "now",
              "metrics": {"miou": float("nan"), "iou": {"background": [float("inf"), 1.0]}}}  # fmt: skip
    text = results.write_record(record, tmp_path).read_text()
    assert json.loads(text, parse_constant=pytest.fail)["metrics"] == {"miou": None, "iou": {"background": [None, 1.0]}}


@pytest.mark.parametrize("error", [
    RuntimeError("CUDA out of memory"), UserError("bad file"), OSError(5, "Input/output error"), ValueError("shape"),
    pickle.UnpicklingError("damaged weights"), KeyError("step"), MemoryError(), ZeroDivisionError(),
])  # fmt: skip
def test_one_failing_run_stops_no_other(error, smoke, tmp_path, monkeypatch):
    out, log, done = tmp_path, [], []

    def execute(run, *_, **__):
        if run.k == 15 and not run.refine:
            raise error
        done.append(run.name)

    monkeypatch.setattr(runner, "execute", execute)
    failures = runner.run_all(smoke.runs, out, log=log.append)
    assert done == ["pretraining-small-s0", "conv1x1-s0", "gcn-k15-br-s0"]
    assert len(failures) == 1 and failures[0].startswith("gcn-k15-s0: ")
    assert any("gcn-k15-s0" in line and "complete" not in line for line in log if line.startswith("("))


def test_failed_pre_training_fails_what_needs_it_and_nothing_else(smoke, tmp_path, monkeypatch):
    done = []

    def execute(run, *_, **__):
        if run.study == "pretraining":
            raise RuntimeError("no")
        done.append(run.name)

    monkeypatch.setattr(runner, "execute", execute)
    failures = runner.run_all([*smoke.runs, quick()], tmp_path, log=lambda _: None)
    assert done == ["gcn-k3-s0"]
    assert [failure.split(":")[0] for failure in failures] == ["pretraining-small-s0", *VARIANTS]
    assert all("pretraining-small-s0" in failure for failure in failures)


def test_an_interrupted_run_goes_on_where_it_was(tmp_path):
    run, log = quick(), []
    runner.run_all([run], tmp_path / "whole", log=log.append)
    assert len(trained(log)) == 1 and any(line.startswith("step     2/4") for line in log)

    def interrupt(line):
        if line.startswith("step     4/4"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        runner.run_all([run], tmp_path / "parts", log=interrupt)
    assert not runner.is_complete(run, tmp_path / "parts")
    log.clear()
    assert runner.run_all([run], tmp_path / "parts", log=log.append) == []
    assert "resuming at step 2 of 4" in log and not any(line.startswith("step     2/4") for line in log)
    whole, parts = (record_of(run, tmp_path / name) for name in ("whole", "parts"))
    assert parts["metrics"] == whole["metrics"] and parts["history"] == whole["history"]
    assert [point["step"] for point in whole["history"]] == [2, 4]
    assert same_weights(weights_of(run, tmp_path / "whole"), weights_of(run, tmp_path / "parts"))
    assert not list((tmp_path / "parts").rglob("checkpoints/*.pt"))


def test_a_damaged_checkpoint_fails_its_run_and_names_the_file(tmp_path):
    run = quick()
    path = results.checkpoint_path(tmp_path, run.profile, run_key(run))
    path.parent.mkdir(parents=True)
    path.write_bytes(b"half a checkpoint")
    (failure,) = runner.run_all([run], tmp_path, log=lambda _: None)
    assert str(path) in failure and "\n" not in failure
    path.unlink()
    assert runner.run_all([run], tmp_path, log=lambda _: None) == []


@pytest.mark.parametrize("content", ["", "{", "[]", "null", '{"config": {"seed": 0}}', '{"config": 3}'])
def test_an_unreadable_record_is_named(content, smoke, tmp_path, caught):
    out = shutil.copytree(smoke.out, tmp_path / "out")
    path = next((out / "smoke" / "runs").glob("gcn-k15-br*.json"))
    path.write_text(content)
    with pytest.raises(UserError) as info:
        results.read_records(out, "smoke")
    assert str(path) in caught(info) and "delete" in caught(info)


def test_no_records_are_no_error(tmp_path):
    assert results.read_records(tmp_path / "nowhere", "smoke") == []


def nothing_is_trained(monkeypatch):
    monkeypatch.setattr(runner, "execute", lambda *_, **__: pytest.fail("trained"))


def test_a_full_disk_is_found_before_training(tmp_path, monkeypatch, caught):
    nothing_is_trained(monkeypatch)
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(runner.shutil, "disk_usage", lambda _: usage(10**9, 10**9 - 10**6, 10**6))
    with pytest.raises(UserError) as info:
        runner.run_all([quick()], tmp_path, log=lambda _: None)
    assert str(tmp_path) in caught(info) and "free" in caught(info)
    needed = {}
    for run in (quick(), quick(backbone="resnet152")):
        with pytest.raises(UserError) as info:
            runner.check_ready([run], tmp_path)
        needed[run.backbone] = float(str(info.value).split("need ")[1].split(" GB")[0])
    assert needed["resnet152"] > 5 * 4 * 58e6 / 1e9 > 10 * needed["small"], "weights, gradients and both moments"


@pytest.mark.parametrize("out", ["file", "file/below"])
def test_an_out_that_cannot_be_written(out, tmp_path, monkeypatch, caught):
    nothing_is_trained(monkeypatch)
    (tmp_path / "file").touch()
    with pytest.raises(UserError) as info:
        runner.run_all([quick()], tmp_path / out, log=lambda _: None)
    assert str(tmp_path / out) in caught(info) and "--out" in caught(info)


def test_missing_data_are_found_before_training(tmp_path, monkeypatch, caught):
    nothing_is_trained(monkeypatch)
    photos = variants.table_runs(["5"], profiles.get("photos"), [0])
    for root, named in ((None, "--data-root"), (tmp_path, str(tmp_path))):
        with pytest.raises(UserError) as info:
            runner.run_all(photos, tmp_path / "out", root, log=lambda _: None)
        assert named in caught(info)


def test_missing_weights_are_found_before_training(layout, tmp_path, monkeypatch, caught):
    nothing_is_trained(monkeypatch)
    photos = variants.table_runs(["5"], profiles.get("photos"), [0])
    with pytest.raises(UserError) as info:
        runner.run_all(photos, tmp_path, layout, log=lambda _: None)
    assert str(layout / "weights" / "squeezenet1_1_imagenet.npz") in caught(info)


@pytest.mark.parametrize("in_memory", [True, False])
def test_a_damaged_image_is_found_before_training(in_memory, layout, tmp_path, monkeypatch, caught):
    nothing_is_trained(monkeypatch)
    if not in_memory:
        monkeypatch.setattr(catalog, "MEMORY_LIMIT", 0)
    root = shutil.copytree(layout, tmp_path / "data")
    image = voc.voc_samples(root, "val")[-1].image
    image.write_bytes(image.read_bytes()[:500])
    run = quick(data=DataSpec("voc", side=64))
    with pytest.raises(UserError) as info:
        runner.run_all([run], tmp_path / "out", root, log=lambda _: None)
    assert str(image) in caught(info)


def test_run_on_a_data_root_with_weights(layout, tmp_path):
    root = shutil.copytree(layout, tmp_path / "data")
    torch.manual_seed(5)
    start = run_module.build_segmenter("gcn", 3, backbone="small").backbone
    np.savez(root / "start.npz", **{name: tensor.numpy() for name, tensor in start.state_dict().items()})
    spec = DataSpec("voc", side=64, classes=tuple(range(8)))
    still = Schedule(1, 2, backbone_lr=0.0, weight_decay=0.0)
    run = quick(data=spec, weights="start.npz", batch_norm="frozen", schedule=still)
    assert runner.run_all([run], tmp_path / "out", root, log=lambda _: None) == []
    record = record_of(run, tmp_path / "out", root)
    assert record["data"]["subset"] is True and record["metrics"]["counts"] == {"train": 9, "val": 3}
    after = load_model(run, tmp_path / "out", root).backbone.state_dict()
    assert same_weights(after, start.state_dict()), "the backbone starts from the file and is not trained"


def test_a_run_that_another_process_finishes_is_not_trained_again(tmp_path):
    run, log = quick(), []
    runner.run_all([run], tmp_path, log=lambda _: None)
    kept = record_of(run, tmp_path)
    path = results.record_path(tmp_path, run.profile, run.name, run_key(run))
    away = path.rename(tmp_path / "away.json")
    with ThreadPoolExecutor(1) as pool:
        with results.lock(tmp_path, run.profile, run_key(run)):
            waiting = pool.submit(experiment.execute, run, tmp_path, log=log.append)
            time.sleep(0.3)
            assert not waiting.done() and log == [], "the run is locked by somebody else"
            away.rename(path)
        assert waiting.result(60) == kept and log == []


@pytest.mark.slow
def test_two_processes_give_the_same_numbers(smoke, tmp_path, monkeypatch):
    # one thread each, as in the other runs
    monkeypatch.setattr(runner, "_cores", lambda: 1)
    log = []
    assert runner.run_all(smoke.runs, tmp_path, jobs=2, log=log.append) == []
    assert log[0] == "3 runs: 0 complete, 4 to train (1 of them pre-training)"
    for run in smoke.runs:
        assert record_of(run, tmp_path)["metrics"] == record_of(run, smoke.out)["metrics"]
        assert same_weights(weights_of(run, tmp_path), weights_of(run, smoke.out))


def deadly_worker(run, out, data_root):
    """Stands in for the runner's worker in another process: seed 0 is killed, seed 1 fails."""
    if run.seed == 0:
        os._exit(9)
    if run.seed == 1:
        raise RuntimeError("failed")
    (out / run.name).touch()


@pytest.mark.slow
def test_a_killed_process_costs_only_its_run(tmp_path, monkeypatch):
    monkeypatch.setattr(runner, "_worker", deadly_worker)
    runs, log = [quick(seed=seed) for seed in range(6)], []
    failures = runner.run_all(runs, tmp_path, jobs=2, log=log.append)
    assert sorted(failure.split(":")[0] for failure in failures) == ["gcn-k3-s0", "gcn-k3-s1"]
    assert sorted(path.name for path in tmp_path.glob("gcn*")) == [f"gcn-k3-s{seed}" for seed in range(2, 6)]


def test_defaults_never_change():
    """Keys leave defaults out, so a changed default would give two experiments one key: add a field instead."""

    def defaults(cls):
        fields = dataclasses.fields(cls)
        return {field.name: field.default for field in fields if field.default is not dataclasses.MISSING}

    assert defaults(DataSpec) == {
        "long_side": None,
        "classes": None,
        "resize": None,
        "crop_area": None,
        "height": None,
        "crop": None,
        "images": None,
    }
    assert defaults(TestTime) == {"scales": (1.0,), "flip": False, "crop": None, "stride": None}
    assert defaults(Crf) == {"candidates": (Pairwise(),), "iterations": 10}
    assert defaults(Pairwise) == {
        "bilateral_weight": 4,
        "bilateral_xy": 67,
        "bilateral_rgb": 3,
        "smooth_weight": 3,
        "smooth_xy": 1,
    }
    assert defaults(Schedule) == {
        "optimizer": "adamw",
        "lr": 1e-3,
        "backbone_lr": None,
        "decay": "cosine",
        "warmup": 0,
        "momentum": 0.9,
        "weight_decay": 1e-4,
        "loss_reduction": "mean",
        "evaluations": 1,
    }
    assert defaults(Run) == {
        "seed": 0,
        "study": "segmentation",
        "head": None,
        "k": None,
        "m": None,
        "refine": False,
        "weights": None,
        "normalization": "rgb",
        "batch_norm": "train",
        "boundary_distance": 7,
        "test_time": None,
        "crf": None,
        "label": "",
    }
