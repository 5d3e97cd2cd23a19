"""What trained networks see, and the verdicts on it: measurements, claim 13, the mechanism, the open question."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.stats import t as student_t
from scipy.stats import ttest_rel

from gcnlab.errors import UserError
from gcnlab.evaluation.kernels import gcn_share, spectrum
from gcnlab.models.heads import GCNHead, dense_kernel
from gcnlab.study import (
    field_plots,
    field_verdicts,
    measurements,
    open_question,
    profiles,
    results,
    runner,
    variants,
    views,
)
from gcnlab.study.margins import FAILS, HOLDS, UNDECIDED, paired
from gcnlab.study.open_question import LARGEST, TRIALS, Trial
from gcnlab.study.run import run_key
from gcnlab.study.session import Session

SMOKE = profiles.get("smoke")


# --- margins and kernels ----------------------------------------------------------------------------


def test_the_margin_of_paired_differences_is_that_of_the_t_test():
    a, b = np.array([3.0, 4.5, 5.0, 4.0]), np.array([1.0, 2.5, 4.5, 3.0])
    mean, margin = paired(a - b)
    low, high = ttest_rel(a, b).confidence_interval(0.95)
    assert mean - margin == pytest.approx(low) and mean + margin == pytest.approx(high)
    assert paired(np.array([1.0]))[1] is None, "one seed has no spread"


def dense(head):
    branches = ([getattr(head, side)[i].weight for i in (0, 1)] for side in ("left", "right"))
    return sum(dense_kernel(*branch) for branch in branches)


@pytest.mark.parametrize("k", [3, 7])
def test_the_kernel_of_a_gcn_is_wholly_of_its_form_and_noise_is_not(k):
    torch.manual_seed(0)
    kernel = dense(GCNHead(12, 2, k))
    assert gcn_share(kernel, rounds=200) > 0.999
    noise = gcn_share(torch.randn(2, 12, k, k))
    assert noise < 0.95
    assert gcn_share(kernel + 0.1 * kernel.std() * torch.randn_like(kernel), rounds=200) > noise
    # one branch can hold no less than its own best low-rank part
    matrix = torch.randn(2, 12, k, k)
    values = torch.linalg.svdvals(matrix.permute(1, 2, 0, 3).reshape(12 * k, 2 * k).double())
    assert gcn_share(matrix) >= float(values[:2].square().sum() / values.square().sum())


def test_a_branch_has_as_many_singular_values_as_inner_channels():
    head = GCNHead(6, 2, 5)
    left = dense_kernel(head.left[0].weight, head.left[1].weight)
    values = spectrum(left)
    assert values[0] == 1 and values[1] > 1e-6 and (values[2:] < 1e-6).all()


# --- measuring ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """A session of the smoke profile with Table 1 trained and measured."""
    session = Session("smoke", out=tmp_path_factory.mktemp("fields"))
    session.train("1")
    session.measure()
    return session


@pytest.mark.slow
def test_fields_are_measured_once_and_lie_within_the_theoretical_one(measured, monkeypatch):
    records = measured.fields(measured.out, measured.local_records)
    assert [r["config"]["head"] for r in records] == ["conv1x1", "gcn"]
    frame = measurements.field_frame(records)
    assert set(frame["bin"]) <= set(range(5)) and len(frame) >= 8
    for kind in ("valid", "effective"):
        assert (frame[f"{kind}50"] <= frame[f"{kind}95"]).all()
    assert frame.groupby("k")["theoretical"].first().tolist() == sorted(frame.groupby("k")["theoretical"].first())
    monkeypatch.setattr(measurements, "load_model", lambda *a: pytest.fail("measured again"))
    assert measured.measure() == records


@pytest.mark.slow
def test_every_object_of_the_validation_images_is_in_one_bin(measured):
    frame = measurements.size_frame(measured.fields(measured.out, measured.local_records))
    run, root = SMOKE.template, None
    split, count = measurements.data.load(run.data, "val", root), 0
    for index in range(len(split)):
        label = split[index][1].numpy()
        found, origin = measurements.instances(run, index, label, root)
        assert origin == "SegmentationObject"
        count += len(np.setdiff1d(np.unique(found[label != 255]), [0]))
    assert frame[frame["k"] == 1]["objects"].sum() == count
    assert (frame[["miou", "accuracy"]].dropna() <= 100).all().all()


@pytest.mark.slow
def test_without_object_maps_connected_regions_count(measured, monkeypatch):
    monkeypatch.setattr(measurements.Image, "open", lambda path: pytest.fail("there is no such file"))
    run = SMOKE.template
    sample = measurements.data.samples(run.data, "val")[0]
    moved = replace(sample, label=sample.label.parent / "nowhere" / sample.label.name)
    monkeypatch.setattr(measurements.data, "samples", lambda *a: [moved])
    label = np.zeros((8, 8), np.uint8)
    label[1:3, 1:3] = label[5:7, 5:7] = 2
    found, origin = measurements.instances(run, 0, label, None)
    assert origin == "connected components" and set(np.unique(found)) == {0, 1, 2}


@pytest.mark.slow
def test_a_damaged_measurement_is_named_and_an_untrained_run_too(measured, tmp_path, caught):
    folder = tmp_path / "smoke" / "fields"
    folder.mkdir(parents=True)
    for content in ("{", "[]", '{"version": 1}'):
        (folder / "gcn.json").write_text(content)
        with pytest.raises(UserError) as error:
            measurements.read(tmp_path, "smoke")
        assert "gcn.json" in caught(error) and "delete it" in str(error.value)
    run = SMOKE.template
    (folder / f"{run.name}-{run_key(run)}.json").write_text("{")
    with pytest.raises(UserError, match=f"{run.name}-{run_key(run)}.json"):
        measurements.measure(run, tmp_path, None, 1, print)
    with pytest.raises(UserError, match="train this run first"):
        Session("smoke", out=tmp_path / "empty").measure()


@pytest.mark.slow
def test_figure_3_shows_one_object_three_times(measured, tmp_path, caught):
    a, b, c = views.figure3(measured)
    assert a.image.shape == b.image.shape == c.image.shape == (3, 64, 64)
    assert "1×1" in a.title and "1×1" in b.title and "GCN" in c.title
    assert b.target.sum() > 2 * a.target.sum() and np.array_equal(b.target, c.target)
    assert a.target[a.point] and c.target[c.point]
    assert len(views.draw([a, b, c]).axes) == 3
    from PIL import Image

    Image.fromarray(np.zeros((30, 50, 3), np.uint8)).save(tmp_path / "mine.png")
    own = views.figure3(measured, tmp_path / "mine.png", point=(29, 0))
    assert own[0].target is None and own[0].image.shape == (3, 38, 64) and own[0].point == (36, 0)
    with pytest.raises(UserError) as error:
        views.figure3(measured, tmp_path / "mine.png", point=(30, 0))
    assert "30 rows and 50 columns" in caught(error)


@pytest.mark.slow
def test_the_view_to_explore_is_static_in_batch_and_moves_in_jupyter(measured, monkeypatch):
    monkeypatch.delenv("JPY_SESSION_NAME", raising=False)
    assert hasattr(views.explore(measured), "savefig")
    monkeypatch.setenv("JPY_SESSION_NAME", "here.ipynb")
    view = views.explore(measured)
    names = [child.description for child in view.children if getattr(child, "description", "")]
    assert names == ["image", "row", "column", "k", "window"]
    assert hasattr(view.f(0, 99, 0, 1, 9), "savefig"), "a point beyond the edge is moved onto it"


# --- verdicts -----------------------------------------------------------------------------------------


def invented(k, seed, sides=(10, 40), gains=(0, 0, 0, 0, 0)):
    """A measurement of base (k = 1) or GCN with these sides, and scores 0.5 plus gains in the five size bins."""
    run = (variants.Variant("conv1x1") if k == 1 else variants.Variant("gcn", k)).run(SMOKE, seed)
    row = {"bin": 0, "size": 9, "valid50": sides[0], "valid95": sides[1], "effective50": 1, "effective95": 2}
    scores = [0.5 + gain for gain in gains]
    return {
        "config": run.config(), "theoretical": 45, "fields": [row], "settings": {"edges": [0, 12, 20, 30, 41, 65]},
        "by_size": {"objects": [20] * 5, "miou": scores, "accuracy": scores, "internal_accuracy": scores,
                    "centre_accuracy": scores},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("sides", "expected"),
    [([(20, 60), (21, 62), (20, 61)], HOLDS), ([(11, 41), (12, 42), (11, 40)], FAILS),
     ([(20, 59), (10, 64), (21, 40)], UNDECIDED)],
)  # fmt: skip
def test_claim_13_wants_one_and_a_half_times_the_side_at_both_shares(sides, expected):
    records = [invented(1, seed, (10, 38)) for seed in range(3)]
    records += [invented(15, seed, side) for seed, side in enumerate(sides)]
    verdict, text = field_verdicts.larger_field(records)
    assert verdict == expected
    assert "10.0 →" in text and "n = 3" in text


def test_one_seed_decides_nothing_and_a_missing_model_is_not_run():
    assert field_verdicts.larger_field([invented(1, 0), invented(15, 0, (90, 90))])[0] == UNDECIDED
    assert field_verdicts.larger_field([invented(1, 0)]) is None and field_verdicts.mechanism([]) is None


@pytest.mark.parametrize(
    ("gains", "expected"), [((0.0, 0.05, 0.1, 0.2, 0.3), HOLDS), ((0.2, 0.2, 0.1, 0.1, 0.0), FAILS)]
)
def test_the_mechanism_wants_a_gain_that_grows_with_size(gains, expected):
    rng = np.random.default_rng(0)
    records = [invented(1, seed) for seed in range(4)]
    records += [invented(15, seed, gains=np.array(gains) + rng.normal(0, 0.01, 5)) for seed in range(4)]
    verdict, text = field_verdicts.mechanism(records)
    assert verdict == expected and "n = 4" in text
    table = field_verdicts.gain_by_size(records)
    assert table.shape == (4, 5) and table.mean().iloc[-1] == pytest.approx(100 * gains[-1], abs=2)
    d = (table.iloc[:, -1] - table.iloc[:, 0]).to_numpy()
    half = student_t.ppf(0.975, 3) * d.std(ddof=1) / 2
    assert f"(margin ±{half:.1f})" in text


# --- the open question -----------------------------------------------------------------------------------


def trials(seeds=5, noise=0.01, **scores):
    """Invented trials; ``scores`` gives (validation, training) by a short name, by default all alike."""
    names = {
        **{f"conv{k}": Trial("conv", k) for k in (5, 7, 9, 15)}, "gcn15": Trial("gcn", 15),
        **{f"few{k}": Trial("conv", k, few=True) for k in (3, 9, 15)}, "fewgcn": Trial("gcn", 15, few=True),
        "begun": Trial("conv", 15, start="gcn"), "gcngcn": Trial("gcn", 15, start="gcn"),
        "convconv": Trial("conv", 15, start="conv"),
    }  # fmt: skip
    base = {name: (40, 90) if trial.few else (62, 75) if trial.start else (60, 70) for name, trial in names.items()}
    rng = np.random.default_rng(0)
    return [
        {"trial": vars(names[name]), "seed": seed, "gcn_share": None, "chance_share": None, "spectrum": [1.0, 0.5],
         "miou": (value[0] + rng.normal(0, noise)) / 100, "training_miou": (value[1] + rng.normal(0, noise)) / 100}
        for name, value in (base | scores).items() for seed in range(seeds)
    ]  # fmt: skip


FIT, GENERALISATION = open_question.CAUSES


@pytest.mark.parametrize(("conv15", "expected"), [
    ((55, 65), f"worse: {FIT}"),
    ((55, 70), f"worse: {GENERALISATION}"),
    ((55, 75), f"worse: {GENERALISATION}"),  # fits better, validates worse
    ((50, 65), f"worse: {FIT} and {GENERALISATION}"),
    ((65, 75), f"better: {FIT}"),
    ((60, 60), open_question.ALIKE),
])  # fmt: skip
def test_a_loss_is_split_into_fit_and_generalisation(conv15, expected):
    found = {f.question: f for f in open_question.findings(trials(conv15=conv15))}
    finding = found["against GCN, k = 15, all images"]
    assert finding.verdict == expected and finding.n == 5
    change = [float(text.split()[0]) for text in (finding.validation, finding.training, finding.gap)]
    assert change == pytest.approx([conv15[0] - 60, conv15[1] - 70, conv15[0] - conv15[1] + 10], abs=0.4)


def test_the_answer_names_the_causes_and_where_they_were_found():
    text = open_question.answer(trials(few15=(33, 90), begun=(66, 80)))
    assert f"worse by {GENERALISATION} (n = 5" in text and FIT not in text
    assert "k = 15 against 3, few images: -7" in text and "against GCN, k = 15, few images: -7" in text
    assert "all images" not in text and "against that GCN +6" in text
    assert f"by {FIT} and by {GENERALISATION}" in open_question.answer(trials(few15=(33, 90), conv15=(50, 60)))


def test_a_drop_in_the_middle_is_found():
    """The paper's begins at k = 7."""
    text = open_question.answer(trials(conv7=(52, 62), conv9=(52, 62)))
    assert "k = 7 against 5, all images: -8" in text and "k = 9 against 5, all images: -8" in text and FIT in text


def test_without_a_clear_loss_spread_or_run_nothing_is_claimed():
    assert "No regime was found" in open_question.answer(trials())
    assert "No regime was found" in open_question.answer(trials(conv15=(57, 67), noise=10)), "within the margin"
    assert "no spread" in open_question.answer(trials(seeds=1, conv15=(40, 50)))
    assert "not run" in open_question.answer([])
    assert all(finding.verdict == "not run" for finding in open_question.findings([]))
    missing = [r for r in trials(conv15=(40, 50)) if Trial(**r["trial"]) != Trial("gcn", 15, start="gcn")]
    assert open_question.answer(missing).startswith("Not decided: begun with GCN's kernel, against GCN trained as long")


def test_profiles_without_trials_say_so(caught):
    with pytest.raises(UserError) as error:
        open_question.runs(profiles.get("photos"), [0])
    assert "'photos'" in caught(error) and "shapes or smoke" in caught(error)


def test_the_spectrum_of_a_gcn_is_that_of_the_convolution_it_equals():
    from gcnlab.models import build_head

    torch.manual_seed(0)
    head, image = build_head("gcn", 5, 3, k=5), torch.randn(1, 5, 9, 9)
    dense = torch.nn.functional.conv2d(image, head.kernel(), padding=2)
    torch.testing.assert_close(dense[..., 2:-2, 2:-2], head(image)[..., 2:-2, 2:-2], atol=1e-5, rtol=1e-4)


@pytest.mark.slow
def test_trials_are_trained_and_measured_with_the_smoke_profile(tmp_path, monkeypatch):
    few = (Trial("gcn", LARGEST), Trial("conv", LARGEST, start="gcn"), Trial("conv", 3, few=True))
    monkeypatch.setattr(open_question, "TRIALS", few)
    session = Session("smoke", out=tmp_path)
    session.train_open_question()
    found = {Trial(**r["trial"]): r for r in session.trials()}
    assert set(found) == set(few)
    dense_start = found[few[1]]
    assert 0 < dense_start["gcn_share"] <= 1 and dense_start["spectrum"][0] == 1
    assert 0 < dense_start["chance_share"] < 1
    assert found[few[0]]["gcn_share"] is None and found[few[0]]["spectrum"][0] == 1, "a GCN's own"
    for trial, record in found.items():
        run = trial.run(SMOKE, 0)
        assert record["key"] == run_key(run)
        assert results.read_record(tmp_path, run.profile, run.name, record["key"])["metrics"]["miou"] == record["miou"]
    assert len(field_plots.kernel_spectrum(list(found.values()), "smoke").axes[0].lines) == 2
    path = next((tmp_path / open_question.FOLDER / "trials").glob("*.json"))
    stale = json.loads(path.read_text())
    stale["config"]["schedule"]["steps"] += 1
    path.with_name("stale.json").write_text(json.dumps(stale))
    assert len(session.trials()) == len(few), "a trial of another schedule does not count"
    path.write_text(json.dumps({"no": "trial"}))
    with pytest.raises(UserError, match=path.name):
        session.trials()
    with pytest.raises(UserError, match=path.name):
        session.train_open_question()


@pytest.mark.slow
def test_fields_and_trials_from_the_command_line(tmp_path, monkeypatch, call):
    monkeypatch.setattr(open_question, "TRIALS", (Trial("gcn", LARGEST), Trial("conv", 3, few=True)))
    arguments = ["run", "fields", "open-question", "--profile", "smoke", "--out", tmp_path]
    code, printed, errors = call(*arguments)
    session = Session("smoke", out=tmp_path)
    assert code == 0 and errors == "" and printed.endswith(f"{open_question.answer(session.trials())}\n")
    assert len(session.trials()) == 2 and len(session.measured()) == 2
    runs = dict.fromkeys([*variants.table_runs(["1"], SMOKE, [0]), *open_question.runs(SMOKE, [0])])
    assert (
        f"{len(runs)} runs: 0 complete, {len(runs) + 1} to train (1 of them because others start from them)" in printed
    )
    monkeypatch.setattr(runner, "execute", lambda run, *_, **__: (_ for _ in ()).throw(RuntimeError("out of luck")))
    code, _, errors = call(*arguments[:-1], tmp_path / "other")
    assert code == 1 and errors and all(line.startswith("failed: ") for line in errors.splitlines())
    code, _, errors = call("run", "fields", "field", "--out", tmp_path)
    assert code == 2 and len(errors.splitlines()) == 1 and "'field'" in errors and "fields" in errors


def test_the_trials_of_the_study_are_distinct_and_share_the_runs_of_the_tables():
    shapes = profiles.get("shapes")
    runs = open_question.runs(shapes, [0, 1])
    assert len(set(runs)) == len(runs) == 2 * len(TRIALS)
    table2 = set(variants.table_runs(["2"], shapes, [0, 1]))
    assert table2 <= set(runs)
