"""A run as data: JSON and back for every run, refusals, and defaults that never change."""

import json
from dataclasses import MISSING, fields, replace

import pytest

from gcnlab.analysis.tables import SPECS, table_configs
from gcnlab.data import DataSpec
from gcnlab.errors import UserError
from gcnlab.evaluation.crf import Crf, Pairwise
from gcnlab.evaluation.inference import TestTime
from gcnlab.experiments.ablations import ABLATIONS
from gcnlab.experiments.config import (
    CrfEvaluation,
    Evaluation,
    PreTraining,
    Training,
    deviations,
    from_json,
    to_json,
)
from gcnlab.experiments.profiles import PROFILES, get

SMOKE = get("smoke")
CRF_RUN = next(r for r in table_configs(["7"], SMOKE, [0]) if isinstance(r, CrfEvaluation))


def every_run(profile, seeds=(0, 1)):
    runs = table_configs([*SPECS, "pretraining"], profile, seeds)
    return list(dict.fromkeys([*runs, *(a.config(profile, s) for a in ABLATIONS for s in seeds)]))


@pytest.mark.parametrize("profile", PROFILES.values(), ids=list(PROFILES))
def test_json_and_back_for_every_run(profile):
    runs = every_run(profile)
    for run in runs:
        assert from_json(json.loads(json.dumps(to_json(run)))) == run
        json.dumps(deviations(run))
    assert {type(run) for run in runs} == {PreTraining, Training, Evaluation, CrfEvaluation}
    assert len({run.name for run in runs}) == len(runs), "no two runs share a name"


def test_a_config_of_an_earlier_version_has_the_defaults_of_later_fields():
    run = SMOKE.template
    config = to_json(run)
    for name in ("label", "test_time", "batch_norm"):
        del config[name]
    del config["data"]["holdout"], config["schedule"]["evaluations"]
    assert from_json(config) == replace(run, schedule=replace(run.schedule, evaluations=1))


def at(config, *path):
    for name in path:
        config = config[name]
    return config


@pytest.mark.parametrize(("path", "change"), [
    ((), {"colour": "red"}), (("start", "start", "schedule"), {"gamma": 1}), ((), {"kind": "x"}),
    (("start", "start", "data"), {"zoom": 3}),
    (("crf",), {"k": 1}), (("crf", "candidates", 0), {"sigma": 1}), (("start",), {"gpu": 1}),
    (("start", "test_time"), {"zoom": 2}), (("start", "start", "data"), {"name": "x"}),
    (("start", "start", "start", "schedule"), {"optimizer": "adam"}), (("crf",), {"candidates": 3}),
])  # fmt: skip
def test_an_unknown_field_kind_or_value_is_refused(path, change, caught):
    config = to_json(CRF_RUN)
    assert from_json(config) == CRF_RUN
    at(config, *path).update(change)
    with pytest.raises(UserError) as info:
        from_json(config)
    caught(info)


@pytest.mark.parametrize("path", [
    ("kind",), ("start",), ("crf", "backend"), ("start", "start", "schedule"),
    ("start", "start", "data", "name"),
])  # fmt: skip
def test_a_missing_field_without_default_is_refused(path, caught):
    config = to_json(CRF_RUN)
    del at(config, *path[:-1])[path[-1]]
    with pytest.raises(UserError) as info:
        from_json(config)
    assert "config" in caught(info)


@pytest.mark.parametrize("config", [None, [], "gcn", 3, {}, {"kind": None}, {"kind": []}])
def test_what_is_no_config_is_refused(config, caught):
    with pytest.raises(UserError) as info:
        from_json(config)
    caught(info)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (DataSpec, {"long_side": None, "classes": None, "resize": None, "crop_area": None,
                    "height": None, "crop": None, "images": None, "holdout": False,
                    "val_side": None}),
        (TestTime, {"scales": (1.0,), "flip": False, "crop": None, "stride": None}),
        (Crf, {"candidates": (Pairwise(),), "iterations": 10}),
        (Pairwise, {"bilateral_weight": 4, "bilateral_xy": 67, "bilateral_rgb": 3,
                    "smooth_weight": 3, "smooth_xy": 1}),
        (type(SMOKE.template.schedule), {
            "optimizer": "adamw", "lr": 1e-3, "backbone_lr": None, "decay": "cosine", "warmup": 0,
            "momentum": 0.9, "weight_decay": 1e-4, "loss_reduction": "mean", "evaluations": 1,
            "caffe_biases": False}),
        (PreTraining, {"seed": 0, "normalization": "rgb"}),
        (Training, {"k": None, "m": None, "refine": False, "seed": 0, "start": None,
                    "normalization": "rgb", "batch_norm": "train", "boundary_distance": 7,
                    "test_time": None, "label": "", "quiet": False}),
        (Evaluation, {"label": "ms"}),
        (CrfEvaluation, {"label": "crf"}),
    ],
)  # fmt: skip
def test_defaults_never_change(kind, expected):
    """Keys leave defaults out: a changed one gives two experiments one key. Add a field."""
    found = {f.name: f.default for f in fields(kind) if f.default is not MISSING}
    assert found == expected


def test_names_say_what_a_run_is():
    names = {run.variant for run in every_run(SMOKE)}
    assert {"conv1x1", "gcn-k15-br", "stack-k7-m64", "pretraining-bottleneck27",
            "conv1x1-on-bottleneck27_gcn", "gcn-k15-br-voc-stage-3-ms-crf",
            "conv-k15-from-gcn", "conv-k3-16-images", "conv-k15-scaled-rate"} <= names  # fmt: skip
    assert CRF_RUN.name == f"{CRF_RUN.start.start.name[:-3]}-ms-crf-s0"
    assert (CRF_RUN.profile, CRF_RUN.seed, CRF_RUN.training) == ("smoke", 0, CRF_RUN.start.start)
