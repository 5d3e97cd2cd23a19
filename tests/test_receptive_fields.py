"""Receptive fields as records: measured once, of named objects, stale when weights change."""

import json
import os
import shutil

import numpy as np
import pytest
import torch

from gcnlab import data, processes
from gcnlab.analysis import mechanism
from gcnlab.data.readers import Sample
from gcnlab.errors import UserError
from gcnlab.experiments import receptive_fields, records
from gcnlab.experiments.ablations import ABLATIONS
from gcnlab.experiments.execute import execute
from gcnlab.experiments.profiles import get
from gcnlab.experiments.receptive_fields import (
    edges,
    instances,
    measure,
    measure_all,
    objects_to_measure,
    theoretical_side,
)
from gcnlab.experiments.store import Store

SMOKE = get("smoke")


@pytest.fixture(scope="module")
def measured(smoke, tmp_path_factory):
    """A store with the baseline and GCN 15 of profile smoke measured, and their records."""
    store = Store(shutil.copytree(smoke.out, tmp_path_factory.mktemp("fields") / "out"))
    return store, [measure(run, store, 1, lambda _: None) for run in smoke.runs[:2]]


@pytest.mark.slow
def test_a_measurement_names_its_weights_its_code_and_its_objects(measured, smoke):
    store, fields = measured
    for run, record in zip(smoke.runs, fields, strict=False):
        trained = store.record(run)
        assert record["identity"] == trained["identity"] | {"weights": trained["weights"]}
        assert record["environment"]["commit"] == trained["environment"]["commit"]
        names = {sample.name for sample in data.samples(run.data, "val")}
        assert record["objects"] and {o["image"] for o in record["objects"]} <= names
        assert all(o["instance"] > 0 for o in record["objects"])
        assert record["settings"]["objects_from"] == "SegmentationObject"
    assert [o["instance"] for o in fields[0]["objects"]] == [
        o["instance"] for o in fields[1]["objects"]
    ]


@pytest.mark.slow
def test_fields_lie_within_each_other(measured):
    frame = mechanism.field_frame(measured[1])
    for kind in ("valid", "effective"):
        assert (frame[f"{kind}50"] <= frame[f"{kind}95"]).all()
    theory = frame.groupby("k")["theoretical"].first()
    assert theory[1] < theory[15] and set(frame["k"]) == {1, 15}


@pytest.mark.slow
def test_every_object_of_the_validation_images_is_in_one_bin(measured, smoke):
    run, count = smoke.runs[0], 0
    split = data.load(run.data, "val")
    for index in range(len(split)):
        label = split[index][1].numpy()
        objects, origin = instances(run, index, label, measured[0])
        assert origin == "SegmentationObject"
        count += len(np.setdiff1d(np.unique(objects[label != 255]), [0]))
    frame = mechanism.size_frame(measured[1])
    assert frame[frame["k"] == 1]["objects"].sum() == count


@pytest.mark.slow
def test_what_was_measured_is_read_until_metrics_or_wishes_change(measured, smoke, monkeypatch):
    store, fields = measured
    with monkeypatch.context() as patch:
        patch.setattr(receptive_fields, "trained_model", lambda *a: pytest.fail("measured again"))
        assert measure(smoke.runs[0], store, 1) == fields[0]
        with pytest.raises(BaseException, match="measured again"):
            measure(smoke.runs[0], store, 2)
        patch.setattr(receptive_fields, "EVALUATION_VERSION", 99)
        with pytest.raises(BaseException, match="measured again"):
            measure(smoke.runs[0], store, 1)


@pytest.mark.slow
def test_two_at_a_time_give_the_same(measured, smoke, tmp_path, monkeypatch):
    out = shutil.copytree(
        measured[0].out, tmp_path / "out", ignore=shutil.ignore_patterns("fields")
    )
    lines, runs = [], smoke.runs[:2]
    anew = measure_all(runs, Store(out), 1, 2, lines.append)
    assert lines == [f"({i}/2) {run.name} measured" for i, run in enumerate(runs, 1)]
    for record, known in zip(anew, measured[1], strict=True):
        assert record | {"environment": 0} == known | {"environment": 0}
    assert measure_all(runs, Store(out), 1, 2, lines.append) == anew and len(lines) == 2
    with pytest.raises(UserError, match="was not trained below"):
        measure_all(runs, Store(tmp_path / "empty"), 1, 2)
    shutil.rmtree(out / "smoke" / "fields")
    monkeypatch.setattr(processes, "partial", lambda *_, **__: os._exit)  # as if killed
    with pytest.raises(UserError, match="perhaps for lack of memory"):
        measure_all(runs, Store(out), 1, 2)


@pytest.mark.slow
def test_a_damaged_measurement_and_an_untrained_run_are_named(measured, smoke, tmp_path, caught):
    store = Store(shutil.copytree(measured[0].out, tmp_path / "out"))
    path = store.record_path(smoke.runs[0], "fields")
    path.write_text("{")
    with pytest.raises(UserError) as info:
        measure(smoke.runs[0], store, 1)
    assert str(path) in caught(info)
    with pytest.raises(UserError, match="was not trained below"):
        measure(smoke.runs[0], Store(tmp_path / "empty"), 1)


def test_bins_begin_where_the_baselines_field_ends():
    run = SMOKE.template
    bounds = edges(run)
    assert bounds == sorted(bounds) and bounds[0] == 4 and theoretical_side(run) in bounds
    assert bounds[-1] == max(run.data.side, bounds[-2]) + 1


def test_objects_are_the_first_of_every_size():
    run, store = SMOKE.template, Store(records.LOCAL)
    few, more = (list(objects_to_measure(run, n, store)) for n in (1, 3))
    assert [o for o in more if o in few] == few and len({o.size_bin for o in few}) == len(few)
    for one in more:
        low, high = edges(run)[one.size_bin : one.size_bin + 2]
        assert low <= one.size < high
        _, label, _ = data.load(run.data, "val")[one.image]
        objects, _ = instances(run, one.image, label.numpy(), store)
        assert objects[one.point] == one.instance


def test_without_object_maps_connected_regions_count(tmp_path, layout, monkeypatch):
    run = SMOKE.template
    label = np.zeros((8, 8), np.uint8)
    label[1:3, 1:3] = label[5:7, 5:7] = 2
    sample = Sample("a", tmp_path / "a.jpg", tmp_path / "labels" / "a.png")
    monkeypatch.setattr(receptive_fields.data, "samples", lambda *_: [sample])
    objects, origin = instances(run, 0, label, Store(tmp_path))
    assert origin == "connected components" and set(np.unique(objects)) == {0, 1, 2}


@pytest.mark.slow
def test_an_ablation_leaves_a_record_like_every_other_run(smoke, tmp_path):
    """In the first study ablations had neither training version nor data fingerprint nor commit."""
    store = Store(shutil.copytree(smoke.out, tmp_path / "out"))
    low = next(a for a in ABLATIONS if a.low_data and a.head == "conv").config(SMOKE, 0)
    record, plain = execute(low, store, lambda _: None), store.record(smoke.runs[1])
    assert (
        record["identity"].keys() == plain["identity"].keys()
        and None not in record["identity"].values()
    )
    assert record["identity"]["data"] != plain["identity"]["data"]
    assert record["images"]["train"] == low.data.images
    assert record["environment"]["commit"] == plain["environment"]["commit"]
    assert 0 < record["kernel"]["gcn_share"] <= 1 and record["counts"]["training_confusion"]


def test_a_field_is_that_of_the_true_class_and_of_drops_alone(tmp_path, monkeypatch):
    def occluded(model, image, point, window, stride, class_id, log):
        asked.append((window, stride, class_id))
        drops = torch.zeros(image.shape[-2:])
        drops[point], drops[0, 0] = 1, -9
        return drops

    def gradient(model, image, point, class_id):
        asked.append(class_id)
        return torch.ones(64, 64)

    run, store, asked = SMOKE.template, Store(tmp_path), []
    monkeypatch.setattr(receptive_fields, "occlusion_map", occluded)
    monkeypatch.setattr(receptive_fields, "gradient_map", gradient)
    one = next(objects_to_measure(run, 1, store))
    class_id = int(data.load(run.data, "val")[one.image][1][one.point])
    assert receptive_fields._fields(None, run, one, store)["valid95"] == 1
    assert asked == [(7, 3, class_id), class_id]


@pytest.mark.slow
def test_a_run_that_diverged_has_no_field_and_keeps_none_from_others(measured, smoke, tmp_path):
    store = Store(shutil.copytree(measured[0].out, tmp_path / "out"))
    path = store.record_path(smoke.runs[0])
    record = json.loads(path.read_text()) | {"diverged": "nan", "weights": None}
    path.write_text(json.dumps(record))
    assert [r["name"] for r in measure_all(smoke.runs[:2], store, 1, 1)] == [smoke.runs[1].name]


@pytest.mark.slow
def test_a_field_of_other_weights_is_measured_again(measured, smoke, tmp_path, monkeypatch):
    store = Store(shutil.copytree(measured[0].out, tmp_path / "out"))
    path = store.record_path(smoke.runs[0], "fields")
    record = json.loads(path.read_text())
    record["identity"]["weights"] = "0" * 32
    path.write_text(json.dumps(record))
    monkeypatch.setattr(receptive_fields, "trained_model", lambda *a: pytest.fail("measured again"))
    with pytest.raises(BaseException, match="measured again"):
        measure(smoke.runs[0], store, 1)
