"""A user's view of one profile: what counts, what is shown, what is refused."""

import json

import pytest
from made import SMOKE, save

from gcnlab.errors import UserError
from gcnlab.experiments.config import to_json
from gcnlab.experiments.scheduler import plan
from gcnlab.experiments.store import Store
from gcnlab.experiments.variants import Variant
from gcnlab.report import session as room
from gcnlab.report.session import Session


@pytest.fixture(autouse=True)
def no_study(monkeypatch, tmp_path_factory):
    """No committed study, whatever lies below ``results``."""
    monkeypatch.setattr(room, "COMMITTED", tmp_path_factory.mktemp("committed"))


@pytest.fixture
def session(smoke):
    return Session("smoke", out=smoke.out)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"profile": "nothing"}, ["unknown profile 'nothing'", "smoke"]),
        ({"seeds": 0}, ["seeds", "at least 1"]),
        ({"jobs": 0}, ["jobs", "at least 1"]),
        ({"data_root": "{tmp}/nowhere"}, ["nowhere", "no folder"]),
        ({"out": ""}, ["empty name"]),
        ({"out": "~nouser/x"}, ["nouser"]),
        ({"out": "{tmp}/file"}, ["is a file"]),
    ],
)
def test_what_cannot_be_used_is_refused_in_a_line(options, words, tmp_path, caught):
    (tmp_path / "file").write_text("")
    given = {n: v.format(tmp=tmp_path) if isinstance(v, str) else v for n, v in options.items()}
    with pytest.raises(UserError) as info:
        Session(**({"profile": "smoke"} | given))
    assert all(word in caught(info) for word in words)


def test_records_are_those_of_the_profile_as_it_is_today(session, smoke):
    names = {record["name"] for record in session.records}
    assert {run.name for run in smoke.runs} < names and session.stale() == []
    assert session.own and session.study_records == []


def test_a_record_of_other_code_is_stale(smoke, tmp_path):
    run = smoke.runs[0]
    record = json.loads(smoke.store.record_path(run).read_text())
    record["identity"]["training_version"] -= 1
    save(record, tmp_path, "smoke")
    session = Session("smoke", out=tmp_path)
    assert session.records == [] and session.stale() == [run.name]


def test_runs_begin_with_the_pre_trainings_of_the_committed_study(smoke, tmp_path, monkeypatch):
    monkeypatch.setattr(room, "COMMITTED", smoke.out)
    session, start = Session("smoke", out=tmp_path / "out"), smoke.runs[0].start
    session.adopt_pretraining(smoke.runs)
    store = session.store
    assert plan(smoke.runs, store) == smoke.runs  # nothing is left to pre-train
    for path in (Store.output, Store.record_path):
        assert path(store, start).read_bytes() == path(smoke.store, start).read_bytes()
    assert {path.name for path in session.out.rglob("*.*")} == {
        store.output(start).name, store.record_path(start).name
    }  # fmt: skip
    store.output(start).unlink()  # as after a kill between the two
    assert store.adopt(start, smoke.out) and not store.adopt(start, smoke.out)


def test_tables_show_the_users_run_and_what_was_not_run(session):
    shown = session.table("5")
    sources = set(shown.index.get_level_values("source"))
    assert sources == {"published", "study (smoke)", "your run (smoke)"}
    assert set(shown.xs("study (smoke)", level="source").to_numpy().ravel()) == {"not run"}
    own = shown.xs("your run (smoke)", level="source").to_numpy().ravel()
    assert all(cell.endswith("(n=1)") for cell in own)
    keys = session.frame("5")["local_keys"].explode()
    assert set(keys) <= {record["key"] for record in session.records}


def test_without_own_runs_tables_name_only_the_study(tmp_path):
    session = Session("smoke", out=tmp_path)
    assert session.labels() == {"study": "study (smoke)"}
    assert not session.has_examples("5") and session.measured() == session.ablations() == []


@pytest.mark.parametrize(("networks", "shown"), [
    ([(1, 0), (3, 0)], False), ([(1, 0), (3, 0), (15, 1)], False), ([(1, 0), (15, 0)], True),
])  # fmt: skip
def test_fields_are_shown_once_baseline_and_gcn_15_share_a_seed(networks, shown, monkeypatch):
    variants = [(Variant("conv1x1") if k == 1 else Variant("gcn", k), seed) for k, seed in networks]
    fields = [{"config": to_json(v.config(SMOKE, seed))} for v, seed in variants]
    monkeypatch.setattr(room.selection, "field_records_of", lambda *_: fields)
    assert Session("smoke").measured() == fields * shown


def test_boundary_sensitivity_covers_every_distance_of_the_records(session):
    frame = session.boundary_sensitivity()
    assert set(frame["model"]) == {"Baseline", "GCN", "GCN + BR"}
    assert set(frame["distance"]) == {0.875, 3, 5, 7, 9}
    assert frame["boundary_accuracy"].between(0, 100).all()


def test_examples_are_images_with_the_prediction_of_every_model(session):
    assert session.has_examples("5")
    shown = session.examples(2)
    assert set(shown["predictions"]) == {"1×1", "GCN 15", "GCN 15 + BR"}
    for image, truth, *maps in zip(shown["images"], shown["truths"],
                                   *shown["predictions"].values(), strict=True):  # fmt: skip
        assert image.shape == (*truth.shape, 3) and {m.shape for m in maps} == {truth.shape}


def test_a_profile_that_is_never_evidence_decides_only_what_is_counted(session):
    words = session.verdicts()["verdict"]
    assert set(words[[14, 15, 16]]) == {"supported"} and set(words.drop([14, 15, 16])) == {
        "not run"
    }


def test_a_diverged_run_is_left_out_of_the_sensitivity(session, monkeypatch):
    lost = {"diverged": "the loss is nan", "metrics": {}, "counts": {}}
    own = [r | lost if r["name"] == "gcn-k15-s0" else r for r in session.records]
    monkeypatch.setattr(Session, "records", property(lambda _: own))
    assert set(session.boundary_sensitivity()["model"]) == {"Baseline", "GCN + BR"}
