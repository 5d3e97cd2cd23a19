"""The key: what changes a run's numbers changes it, nothing else; weights go by content."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from made import ALONE
from test_config import CRF_RUN

from gcnlab.data import DataSpec
from gcnlab.errors import UserError
from gcnlab.experiments import environment, records, store
from gcnlab.experiments.building import trained_model
from gcnlab.experiments.execute import execute
from gcnlab.experiments.scheduler import plan
from gcnlab.experiments.store import Store, weights_digest, weights_file


def faster(run, **changes):
    return replace(run, schedule=replace(run.schedule, **changes))


def test_names_do_not_change_the_key(tmp_path):
    key = Store(tmp_path).key(ALONE)
    assert len(key) == 12 and int(key, 16)
    assert Store(tmp_path / "elsewhere").key(replace(ALONE, profile="quick", label="mine")) == key
    assert Store(tmp_path).key(replace(ALONE, boundary_distance=7.0)) == Store(tmp_path).key(
        replace(ALONE, boundary_distance=7)
    )


@pytest.mark.parametrize("change", [
    {"seed": 1}, {"k": 5}, {"head": "conv"}, {"refine": True}, {"backbone": "small"},
    {"normalization": "caffe"}, {"batch_norm": "frozen"}, {"boundary_distance": 3},
    {"schedule": replace(ALONE.schedule, steps=4)}, {"schedule": replace(ALONE.schedule, lr=2e-3)},
    {"data": replace(ALONE.data, images=16)}, {"data": replace(ALONE.data, side=80)},
    {"data": DataSpec("voc-alone:shapes-tiny", side=64)},
])  # fmt: skip
def test_every_part_of_a_config_changes_the_key(change, tmp_path):
    keys = Store(tmp_path)
    assert keys.key(replace(ALONE, **change)) != keys.key(ALONE)


@pytest.mark.parametrize(("module", "name", "value"), [
    (environment, "THREADS", 2), (store, "TRAINING_VERSION", 99),
    (environment, "best_precision", lambda device: "another"),
])  # fmt: skip
def test_arithmetic_and_training_version_change_the_key(module, name, value, tmp_path, monkeypatch):
    before = Store(tmp_path).key(ALONE)
    monkeypatch.setattr(module, name, value)
    assert Store(tmp_path).key(ALONE) != before


def test_a_version_of_the_metrics_does_not_change_the_key(tmp_path, monkeypatch):
    before = Store(tmp_path).key(ALONE)
    monkeypatch.setattr(store, "EVALUATION_VERSION", 99)
    assert Store(tmp_path).key(ALONE) == before


def test_the_key_follows_the_bytes_of_data_and_starting_weights(layout, tmp_path):
    run = replace(ALONE, data=DataSpec("voc", side=64), start="start.npz")
    roots = {
        name: shutil.copytree(layout, tmp_path / name) for name in ("a", "same", "weights", "data")
    }
    for name, root in roots.items():
        np.savez(root / "start.npz", a=np.arange(4 if name == "weights" else 3))
    label = roots["data"] / "VOCdevkit/VOC2012/SegmentationClass/2007_000000.png"
    label.write_bytes(label.read_bytes() + b"\n")
    keys = {name: Store(tmp_path, root).key(run) for name, root in roots.items()}
    assert keys["a"] == keys["same"] and len(set(keys.values())) == 3
    missing = replace(run, start="other.npz")
    with pytest.raises(UserError, match=r"other\.npz is missing"):
        weights_file(missing, roots["a"])


def test_published_weights_are_named_by_their_file_which_ends_with_its_digest(tmp_path):
    resnet = replace(ALONE, backbone="resnet50", start="IMAGENET1K_V1")
    assert Store(tmp_path).start_digest(resnet) == "resnet50-0676ba61"
    latest, second = (replace(resnet, start=name) for name in ("DEFAULT", "IMAGENET1K_V2"))
    assert Store(tmp_path).start_digest(latest) == Store(tmp_path).start_digest(second)


def test_a_run_is_named_by_the_weights_that_it_starts_from_not_by_their_config(smoke, tmp_path):
    out = shutil.copytree(smoke.out, tmp_path / "out")
    run, before = smoke.runs[0], smoke.runs[0].start
    assert Store(tmp_path / "empty").key(run) is None, "known when the pre-training is finished"
    path, key = Store(out).record_path(before), Store(out).key(run)
    changed = records.read(path) | {"weights": "f" * 32}
    records.write(changed, path)
    assert Store(out).key(run) != key and Store(out).record(run) is None
    with pytest.raises(UserError, match="starts from pretraining-.* not finished"):
        Store(tmp_path / "empty").checkpoint(run)


def test_the_digest_is_of_names_shapes_types_and_values():
    state = {"a": torch.arange(6.0), "b": torch.zeros(2, dtype=torch.int64)}
    changes = ({"a": state["a"].view(2, 3)}, {"c": state["a"]}, {"a": state["a"] + 1e-6},
               {"b": state["b"].int()})  # fmt: skip
    others = [state | change for change in changes]
    digests = {weights_digest(one) for one in (state, *others)}
    assert len(digests) == 5
    image = torch.rand(1, 2, 3, 4)
    arranged = image.contiguous(memory_format=torch.channels_last)
    assert weights_digest({"a": image}) == weights_digest({"a": arranged})
    assert weights_digest(dict(reversed(state.items()))) == weights_digest(state)


@pytest.mark.parametrize("damage", ["other weights", "gone"])
def test_weights_that_their_record_does_not_name_are_refused(damage, smoke, tmp_path, caught):
    out = shutil.copytree(smoke.out, tmp_path / "out")
    damaged, run = Store(out), smoke.runs[0]
    path = damaged.output(run.start)
    if damage == "other weights":
        state = torch.load(path, weights_only=True)
        next(iter(state.values()))[0, 0, 0, 0] += 1e-4
        torch.save(state, path)
    else:
        path.unlink()
    with pytest.raises(UserError) as info:
        trained_model(run.start, damaged)
    assert damage == "gone" or (str(path) in caught(info) and "delete" in caught(info))
    if damage != "gone":
        new = replace(run, seed=9)
        with pytest.raises(UserError, match="damaged|other weights"):
            execute(new, damaged, log=lambda _: None)


def test_the_trained_model_is_that_of_its_record(smoke):
    for run in (*smoke.runs, smoke.runs[0].start):
        state = trained_model(run, smoke.store).state_dict()
        assert weights_digest(state) == smoke.store.record(run)["weights"]


def test_other_metrics_measure_again_and_never_train_again(smoke, tmp_path, monkeypatch):
    again = Store(shutil.copytree(smoke.out, tmp_path / "out"))
    monkeypatch.setattr(store, "EVALUATION_VERSION", 2)
    monkeypatch.setattr("gcnlab.experiments.measuring.DISTANCES", (4,))
    monkeypatch.setattr("gcnlab.experiments.execute.train", lambda *a, **k: pytest.fail("trained"))
    assert plan(smoke.runs, again)[0] == smoke.runs[0].start
    for run in (smoke.runs[0].start, *smoke.runs):
        lines = []
        new = execute(run, again, lines.append)
        assert new["evaluation_version"] == 2 and "measuring again" in lines[0]
        before = smoke_record(smoke, run)
        for name in ("key", "weights", "history", "metrics", "identity"):
            assert new[name] == before[name], name
        assert new["environment"]["seconds"] == before["environment"]["seconds"], "of training"
        boundary = new["counts"].pop("boundary", {}).keys()
        assert boundary in ({"all", "0.875", "4"}, set())
        assert new["counts"] == {n: v for n, v in before["counts"].items() if n != "boundary"}
    assert plan(smoke.runs, again) == []


def smoke_record(smoke, run):
    (path,) = (smoke.out / "smoke" / "runs").glob(f"{run.name}-*.json")
    return records.read(path)


def test_only_finished_runs_have_a_key_after_them(smoke):
    assert smoke.store.key(CRF_RUN) is None and smoke.store.record(CRF_RUN) is None
    assert smoke.store.is_complete(smoke.runs[0], with_output=True)
    assert not smoke.store.is_interrupted(smoke.runs[0])
