"""The trials of the open question of section 4.1.1: each differs from a run of the tables in one thing only."""

from dataclasses import asdict, replace

import pytest
import torch
from test_tables import made

from gcnlab.models import build_segmenter
from gcnlab.study import profiles, results, variants
from gcnlab.study.open_question import FEW, KS, LARGEST, TRIALS, Trial
from gcnlab.study.session import Session
from gcnlab.study.variants import Variant

SHAPES = profiles.get("shapes")


def test_a_plain_trial_is_the_very_run_of_the_tables():
    tables = variants.table_runs(["1", "2"], SHAPES, [0, 1])
    plain = [trial for trial in TRIALS if trial == Trial(trial.head, trial.k)]
    assert {(trial.head, trial.k) for trial in plain} == {(head, k) for head in ("gcn", "conv") for k in KS}
    for trial in plain:
        run, same = trial.run(SHAPES, 1), Variant(trial.head, trial.k).run(SHAPES, 1)
        if (trial.head, trial.k) == ("conv", LARGEST):  # which the paper does not have
            assert same not in tables and replace(run, profile="shapes", label="") == same
        else:
            assert same in tables and run == same


def test_what_fills_no_table_is_kept_beside_the_profiles(tmp_path):
    """Or it would be a stale record there."""
    tables = set(variants.table_runs(list(variants.TABLES), SHAPES, [0]))
    for run in (trial.run(SHAPES, 0) for trial in TRIALS):
        if run not in tables:
            results.write_record(made(run), tmp_path)
    assert Session("shapes", out=tmp_path).stale() == []


def test_trials_differ_in_what_they_are_about_only():
    for trial in TRIALS:
        run, plain = trial.run(SHAPES, 2), Variant(trial.head, trial.k).run(SHAPES, 2)
        same = replace(run, profile=plain.profile, label="")
        if trial.few:
            assert replace(same, data=plain.data) == plain
            assert run.data == replace(plain.data, images=FEW["shapes"])
        elif trial.scaled:
            assert replace(same, schedule=plain.schedule) == plain
            field, factor = {"rate": ("lr", 9 / 225), "decay": ("weight_decay", 225 / 9)}[trial.scaled]
            changed = {n for n, v in asdict(run.schedule).items() if v != asdict(plain.schedule)[n]}
            assert changed == {field}, "the backbone keeps its rate"
            assert getattr(run.schedule, field) == pytest.approx(factor * getattr(plain.schedule, field))
        elif trial.start:
            assert replace(same, weights=plain.weights) == plain
            assert run.weights == Trial(trial.start, trial.k).run(SHAPES, 2)
    one_rate = replace(SHAPES.template, schedule=replace(SHAPES.template.schedule, backbone_lr=None))
    run = Trial("conv", LARGEST, scaled="rate").run(replace(SHAPES, template=one_rate), 0)
    assert run.schedule.backbone_lr == one_rate.schedule.lr, "also where heads and backbone have the same"
    both = [
        trial.run(profile, seed) for profile in (SHAPES, profiles.get("smoke")) for trial in TRIALS for seed in (0, 1)
    ]
    assert len({(run.profile, run.name) for run in both}) == len(both)


@pytest.mark.parametrize("size", [(64, 64), (37, 51), (65, 33)])
@pytest.mark.parametrize(("k", "refine"), [(3, False), (15, False), (7, True)])
def test_a_convolution_that_starts_from_a_gcn_computes_what_it_does(k, refine, size, tmp_path):
    torch.manual_seed(k)
    gcn = build_segmenter("gcn", k, refine=refine, backbone="small", num_classes=5)
    for parameter in gcn.heads.parameters():
        torch.nn.init.normal_(parameter, std=0.1)  # both branches loud enough to be seen
    torch.save(gcn.state_dict(), tmp_path / "gcn.pt")
    conv = build_segmenter("conv", k, refine=refine, backbone="small", num_classes=5, weights=tmp_path / "gcn.pt")
    assert {head.kernel_size for head in conv.heads} == {(k, k)}
    images = torch.randint(0, 256, (2, 3, *size), dtype=torch.uint8)
    with torch.inference_mode():
        expected, found = gcn.eval()(images), conv.eval()(images)
    assert found.shape == (2, 5, *size) and expected.std() > 0.01
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5 * expected.abs().max().item())
