"""What runs need is found missing before any work: data, weights, room, a folder, a CRF."""

import shutil
from collections import namedtuple
from dataclasses import replace

import pytest
from made import ALONE
from test_config import CRF_RUN

from gcnlab import data
from gcnlab.analysis.tables import table_configs
from gcnlab.data import DataSpec
from gcnlab.data.split import MEMORY
from gcnlab.errors import UserError
from gcnlab.experiments import resources, scheduler
from gcnlab.experiments.config import Evaluation
from gcnlab.experiments.profiles import get
from gcnlab.experiments.resources import chain, check_ready, disk_needed, without_backend
from gcnlab.experiments.store import Store

GB = 10**9


@pytest.fixture
def refused(monkeypatch, caught):
    """``refused(runs, store)`` → the message, after checking that nothing was trained."""
    monkeypatch.setattr(scheduler, "execute", lambda *_, **__: pytest.fail("trained"))

    def message(runs, store):
        with pytest.raises(UserError) as info:
            scheduler.run_all(runs, store, log=lambda _: None)
        return caught(info)

    return message


def test_the_evaluation_of_cityscapes_needs_a_few_tens_of_gigabytes(tmp_path, monkeypatch):
    """500 images of 19 × 1024 × 2048 in two bytes: 40 GB, once, whatever the number of jobs."""
    official = lambda spec, root: spec.source.official_counts  # noqa: E731
    monkeypatch.setattr(resources.data, "counts", official)
    runs = table_configs(["9"], get("paper"), [0])
    (evaluation,) = (run for run in runs if isinstance(run, Evaluation))
    store = Store(tmp_path)
    assert 38 * GB < disk_needed([evaluation], store) < 45 * GB
    assert disk_needed([evaluation], store, jobs=8) == disk_needed([evaluation], store)
    assert disk_needed(runs, store, jobs=1) < 55 * GB


def test_a_training_needs_weights_and_two_checkpoints_of_those_at_work(tmp_path):
    store = Store(tmp_path)
    small, large = ALONE, replace(ALONE, backbone="resnet152")
    weights = 4 * 58.2e6
    assert disk_needed([large], store) == pytest.approx(7 * weights + resources.SPARE, rel=0.05)
    both = disk_needed([small, large], store, jobs=1)
    assert both == pytest.approx(disk_needed([large], store), rel=0.02)
    two = [large, replace(large, seed=1)]
    one_by_one, together = (disk_needed(two, store, jobs) for jobs in (1, 2))
    assert together - one_by_one == pytest.approx(6 * weights, rel=0.05)


def test_a_full_disk(tmp_path, monkeypatch, refused):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(resources.shutil, "disk_usage", lambda _: usage(GB, GB - 10**6, 10**6))
    message = refused([ALONE], Store(tmp_path))
    assert str(tmp_path) in message and "0.0 GB free" in message


def test_missing_data(tmp_path, refused):
    photos = table_configs(["5"], get("photos"), [0])
    assert str(tmp_path) in refused(photos, Store(tmp_path / "out", tmp_path))


def test_a_damaged_image(layout, tmp_path, refused):
    root = shutil.copytree(layout, tmp_path / "data")
    run = replace(ALONE, data=DataSpec("voc", side=64))
    image = data.samples(run.data, "val", root)[-1].image
    image.write_bytes(image.read_bytes()[:500])
    assert str(image) in refused([run], Store(tmp_path / "out", root))


def test_checking_keeps_no_image_in_the_parent(layout, tmp_path):
    """Every job has its own process; what the parent kept would be kept once more."""
    run = replace(ALONE, data=DataSpec("voc", side=96))
    data.load.cache_clear()
    before = MEMORY.reserved
    check_ready([run], Store(tmp_path, layout), jobs=2)
    assert MEMORY.reserved == before
    assert not any(data.load(run.data, split, layout)._kept for split in ("train", "val"))


def test_a_missing_crf_fails_its_own_run_only(monkeypatch):
    def missing(self):
        raise UserError("install it")

    monkeypatch.setattr(type(CRF_RUN.crf), "check_backend", missing)
    assert without_backend([ALONE, CRF_RUN.start, CRF_RUN]) == {CRF_RUN: "install it"}


def test_the_chain_of_a_run_ends_with_what_starts_from_nothing():
    kinds = [run.kind for run in chain(CRF_RUN)]
    assert kinds == ["crf", "evaluation", "training", "training", "training", "pre-training"]
