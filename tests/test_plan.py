"""What runs will cost: against closed forms, in the order that decides, and priced on N cards."""

import json
from dataclasses import replace

import pytest

from gcnlab.analysis.priority import decisive_first
from gcnlab.analysis.tables import table_configs
from gcnlab.data import DataSpec
from gcnlab.experiments import durations, pilot, plan
from gcnlab.experiments.config import CrfEvaluation, Evaluation, PreTraining, Training
from gcnlab.experiments.plan import makespan, measured_step, need
from gcnlab.experiments.profiles import get
from gcnlab.experiments.resources import chain
from gcnlab.experiments.variants import BACKBONES, Variant
from gcnlab.training import Schedule

PAPER, SMOKE = get("paper"), get("smoke")


def test_a_network_is_counted_as_its_closed_form_says():
    """Three 3×3 … of a head on C2 … C5 add what they cost on maps of 128 … 16 cells a side."""
    base, conv = (need(Variant(h, k).config(PAPER, 0)) for h, k in (("conv1x1", None), ("conv", 3)))
    sides = zip((256, 512, 1024, 2048), (128, 64, 32, 16), strict=True)
    extra = sum(8 * 21 * channels * side**2 for channels, side in sides)
    assert conv.network.multiply_adds - base.network.multiply_adds == extra
    assert conv.network.parameters - base.network.parameters == 8 * 21 * 3840
    assert base.network.multiply_adds == pytest.approx(60e9, rel=0.03), "counted independently"
    assert (base.steps, base.images) == (300_000, 300_000)
    assert base.epochs == pytest.approx(300_000 / 10_582)
    assert base.disk == 4 * base.network.parameters
    assert base.memory == 3 * base.disk + base.network.activations
    assert 0.3e9 < base.network.activations < 3e9


def test_a_pilot_looks_at_four_fifths_of_the_training_images():
    run, *_ = pilot.configs(get("photos"))
    of, whole = need(run), need(replace(run, data=replace(run.data, holdout=False)))
    assert of.epochs == pytest.approx(of.images / 8465), "10,582 less every fifth"
    assert whole.epochs == pytest.approx(of.images / 10_582)


def test_a_classifier_is_that_of_table_11_and_looks_at_its_batches():
    of = need(Variant(backbone=BACKBONES[0]).config(PAPER, 0))
    assert isinstance(of.run, PreTraining)
    assert of.network.multiply_adds == pytest.approx(3_856e6, rel=0.001)
    assert of.images == 256 * of.steps and of.epochs == pytest.approx(of.images / 1_281_167)
    assert of.forward == 20 * 200 + 50_000


def test_test_time_counts_every_view():
    """Four crops of 1024² of each image in crops of 800²; at three scales, mirrored, 3 + 4 + 12."""
    crf = Variant("gcn", 25, refine=True, protocol="street", stage="Stage-2-MS-CRF")
    run = crf.config(PAPER, 0)
    stage, scored = need(run.training), need(run.start)
    assert isinstance(run.start, Evaluation) and isinstance(run, CrfEvaluation)
    images = 20 * 200 + 500 + 250
    assert stage.forward == pytest.approx(images * 4 * 1024**2 / 800**2)
    pixels = 3 * 768 * 1024 + 4 * 1024**2 + 12 * 1024**2
    assert scored.forward == pytest.approx(520 * 2 * pixels / 800**2)
    assert scored.disk == 2 * 520 * 19 * 2048 * 1024
    assert need(run).forward == need(run).disk == 0 == scored.steps


@pytest.mark.parametrize("card", plan.CARDS)
def test_hours_lie_between_low_and_high_and_above_the_least_step(card):
    small, large = (need(replace(p.template, start=None)) for p in (SMOKE, PAPER))
    for of in (small, large):
        low, high = of.hours(card)
        assert 0 < low <= high and low * 3600 >= of.steps * plan.CARDS[card]["least_step"]
    assert large.hours(card)[0] > 1000 * small.hours(card)[1]


def test_cards_at_work_together_wait_for_what_a_run_starts_from():
    run = Variant("conv1x1", protocol="voc", stage="Stage-3").config(SMOKE, 0)
    stages = [need(link) for link in reversed(list(chain(run)))]
    others = [need(replace(SMOKE.template, seed=s, start=None)) for s in range(1, 5)]
    one = lambda _: 1.0  # noqa: E731
    assert makespan(stages, one, 8) == len(stages) == 4
    assert makespan(others, one, 1) == 4 and makespan(others, one, 2) == 2
    assert makespan([*stages, *others], one, 2) == 4 and makespan([], one, 2) == 0


def test_a_step_is_measured():
    assert 0 < measured_step(SMOKE.pair[0].start, 1) < 60
    assert 0 < measured_step(replace(SMOKE.template, start=None), 1) < 60


def test_plan_says_what_decides_first_without_data(call, tmp_path, monkeypatch):
    monkeypatch.setenv("GCNLAB_CACHE", str(tmp_path / "cache"))
    code, out, err = call("plan", "1", "5", "--profile", "smoke", "--gpus", "2", "--json")
    rows = json.loads(out)
    assert (code, err) == (0, "") and rows["gpus"] == 2
    names = [row["run"] for row in rows["runs"]]
    assert names[0].startswith("pretraining") and set(rows["hours"]) == set(plan.CARDS)
    done = {claim: i for i, row in enumerate(rows["runs"]) for claim in row["completes"]}
    assert set(done) == {1, 2, 7, 8}
    assert done[2] < done[1], "two networks decide claim 2, seven claim 1"
    assert names.index("conv1x1-s0") < done[2] and len(names) == len(set(names))
    text = call("plan", "5", "--profile", "smoke", "--gpus", "2")[1]
    assert "2 at a time are done" in text and "not measured" in text
    measured = call("plan", "5", "--profile", "smoke", "--measure")[1]
    assert "this machine (CPU" in measured and "NVIDIA" not in measured
    assert not (tmp_path / "cache").exists(), "no data set was drawn"


def test_what_decides_a_claim_for_least_comes_first_and_finished_runs_cost_nothing():
    runs = table_configs(["1", "2", "5"], get("photos"), [0, 1, 2])
    order = decisive_first(get("photos"), runs[::-1], range(3), lambda run: 1)
    assert sorted(order, key=str) == sorted(runs, key=str), "weights from a file are no run"
    completes = {claim: i for i, claims in enumerate(order.values()) for claim in claims}
    assert completes[2] < completes[8] < completes[4] < completes[3] < completes[1]
    kept = {run for run in runs if run.head == "conv" and run.k != 7}
    order = decisive_first(get("photos"), runs, range(3), lambda run: run not in kept)
    assert set(list(order)[: len(kept)]) == kept and 4 in list(order.values())[len(kept) - 1]
    others = table_configs(["5"], get("photos"), [7])  # as of a second run
    order = list(decisive_first(get("photos"), others + runs, range(3), lambda run: 1))
    assert order[-len(others) :] == others and order[0].seed != 7
    staged = table_configs(["7"], SMOKE, [0])
    order = list(decisive_first(SMOKE, staged, [0], lambda run: 1))
    assert all(order.index(link) <= order.index(run) for run in order for link in chain(run))


def test_profile_paper_is_fcns_solver_on_caffes_network():
    run = PAPER.template
    schedule = Schedule(300_000, 1, "sgd", lr=1e-10, decay="constant", momentum=0.99,
                        weight_decay=5e-4, loss_reduction="sum", caffe_biases=True,
                        evaluations=20)  # fmt: skip
    plain = Training("paper", DataSpec("voc", side=512), "resnet152_v1", schedule, "conv1x1")
    start = {"start": "weights/resnet152_caffe.npz", "normalization": "caffe"}
    assert run == replace(plain, **start, batch_norm="frozen", quiet=True)


def test_the_synthetic_studys_schedule_is_the_registered_one():
    schedule = get("synthetic").template.schedule
    assert schedule == Schedule(3000, 16, lr=4e-3, backbone_lr=2e-3, warmup=40, evaluations=20)
    assert get("synthetic").template.start.schedule.steps == 2400


def test_expected_durations_follow_the_pixels_that_a_training_sees():
    run = SMOKE.protocols["street"].config("Stage-1", "gcn", True, 0)
    pixels = run.schedule.steps * run.schedule.batch_size * run.data.crop**2
    assert run.data.crop < run.data.side and durations.work(run) == pixels
