"""Configs and keys: what decides a result is in the key, and nothing else; which runs fill a table."""

import dataclasses
import json
import shutil
from dataclasses import asdict, replace
from functools import cache

import numpy as np
import pytest
from test_runs import quick

from gcnlab.data import DataSpec
from gcnlab.errors import UserError
from gcnlab.evaluation.crf import Crf, Pairwise
from gcnlab.evaluation.inference import TestTime
from gcnlab.study import profiles, variants
from gcnlab.study import run as run_module
from gcnlab.study.run import Run, run_key
from gcnlab.training import Schedule

SMOKE = profiles.get("smoke")


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
