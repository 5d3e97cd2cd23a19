"""The record store: whole files, damaged ones named, and a manifest that sees every change."""

import json
import shutil
from copy import deepcopy

import pytest
from made import SYNTHETIC, made, save

from gcnlab.analysis.rules import rules_digest
from gcnlab.errors import UserError
from gcnlab.experiments import records
from gcnlab.experiments.profiles import PROFILES
from gcnlab.experiments.variants import Variant

GCN = Variant("gcn", 15).config(SYNTHETIC, 0)


def written(out, record=None):
    return save(record or made(GCN), out)


def test_what_is_written_is_read(tmp_path):
    record = made(GCN)
    path = written(tmp_path, record)
    assert records.read(path) == record and records.read_all(tmp_path, "synthetic") == [record]
    assert records.read_all(tmp_path / "nowhere", "synthetic") == []


def kinds(value):
    """Names and types of a record, down to its metrics; numbers are one type, null fits all."""
    if isinstance(value, dict):
        return {name: kinds(v) for name, v in value.items() if v is not None}
    return "number" if isinstance(value, int | float) else type(value).__name__


def test_made_up_records_are_like_real_ones(smoke):
    """The other tests of tables, claims and selection stand on them."""
    for run in (smoke.runs[0], smoke.runs[0].start):
        real, ours = deepcopy(smoke.store.record(run)), made(run)
        for record in (real, ours):
            del record["environment"]["versions"], record["environment"]["device"]
        assert kinds(ours) == kinds(real)
        for name in ("confusion", "per_image"):
            assert all(map(str.isdigit, " ".join(real["counts"].get(name, ["0"])).split()))


def test_undefined_scores_are_null(tmp_path):
    record = made(GCN)
    record["metrics"] |= {"miou": float("nan"), "iou": {"a": [float("inf"), 1.0]}}
    text = written(tmp_path, record).read_text()
    metrics = json.loads(text, parse_constant=pytest.fail)["metrics"]
    assert metrics["miou"] is None and metrics["iou"] == {"a": [None, 1.0]}


# --- the manifest --------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path):
    for seed in range(3):
        written(tmp_path, made(Variant("gcn", 15).config(SYNTHETIC, seed)))
    assert records.extend_manifest(tmp_path / "synthetic") == 3
    return tmp_path / "synthetic"


def change(folder, path):
    path.write_text(path.read_text().replace("0.5", "0.6", 1))
    return f"{path.relative_to(folder)} was changed"


def remove(folder, path):
    path.unlink()
    return f"{path.relative_to(folder)} is missing"


def add(folder, path):
    (folder / "fields").mkdir()
    new = shutil.copy(path, folder / "fields" / path.name)
    return f"{new.relative_to(folder)} is not in the manifest"


@pytest.mark.parametrize("act", [change, remove, add])
def test_the_manifest_sees_every_change(act, folder, caught):
    assert records.check_manifest(folder) == []
    line = act(folder, sorted((folder / "runs").glob("*.json"))[1])
    assert records.check_manifest(folder) == [line]
    if act is add:
        assert records.extend_manifest(folder) == 1 and records.check_manifest(folder) == []
    else:
        before = (folder / records.MANIFEST).read_bytes()
        with pytest.raises(UserError) as info:
            records.extend_manifest(folder)
        assert line in caught(info)
        assert (folder / records.MANIFEST).read_bytes() == before


@pytest.mark.parametrize("profile", PROFILES)
def test_committed_records_are_those_of_their_manifest(profile):
    assert records.check_manifest(records.COMMITTED / profile) == []


@pytest.mark.parametrize("profile", PROFILES)
def test_committed_records_carry_the_registered_rules(profile):
    committed = [
        record
        for folder in records.FOLDERS
        for record in records.read_all(records.COMMITTED, profile, folder)
    ]
    assert {record["environment"]["rules"] for record in committed} <= {rules_digest()}
