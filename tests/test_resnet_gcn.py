"""ResNet-GCN: Fig. 5 and Table 11 as built, its small twins, and the life of pre-trained weights (Table 6)."""

import re
from dataclasses import replace

import pytest
import torch
import torchvision
from torch import nn

from gcnlab import paper
from gcnlab.evaluation import count_multiply_adds, count_parameters, theoretical_field
from gcnlab.models import build_classifier, build_segmenter
from gcnlab.models.backbones import BACKBONES, GCNBlock, GCNStage, ResNet, SmallResNet, build_backbone, resnet50_gcn
from gcnlab.study import profiles, results, runner, tables, variants
from gcnlab.study.experiment import execute
from gcnlab.study.run import run_key

PAIRS = [("resnet50_v1", "resnet50_gcn"), ("small", "small_gcn"), ("medium", "medium_gcn")]


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return resnet50_gcn()


# --- Fig. 5 and Table 11 -------------------------------------------------------------------------


def test_blocks_are_3_4_6_3_and_the_last_nine_are_gcn(network):
    stages = [network.backbone.components()[f"res-{i}"] for i in (2, 3, 4, 5)]
    assert [len(stage) for stage in stages] == [3, 4, 6, 3]
    assert [sum(isinstance(block, GCNBlock) for block in stage) for stage in stages] == [0, 0, 6, 3]


def test_every_convolution_has_weights_of_its_own_and_batch_norm_after_it(network):
    convolutions = [m for m in network.modules() if isinstance(m, nn.Conv2d)]
    norms = [m for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
    # 1 + 7 bottlenecks of 3 + 9 GCN blocks of 5 + 4 shortcuts
    assert len(convolutions) == len(norms) == 1 + 7 * 3 + 9 * 5 + 4
    assert len({c.weight.data_ptr() for c in convolutions}) == len(convolutions)
    assert all(c.bias is None for c in convolutions)
    assert len({c.weight.flatten()[0].item() for c in convolutions}) == len(convolutions), "drawn independently"


def test_kernels_and_widths_are_those_of_table_11(network):
    for stage, k, width, channels in ((4, 5, 85, 1024), (5, 7, 128, 2048)):
        for number, block in enumerate(network.backbone.components()[f"res-{stage}"]):
            kernels = [(c.kernel_size, c.out_channels) for c in block.modules() if isinstance(c, nn.Conv2d)]
            pair = [((k, 1), width), ((1, k), width), ((1, k), width), ((k, 1), width), ((1, 1), channels)]
            assert kernels == pair + [((1, 1), channels)] * (number == 0)


def test_table_11_reads_the_same_as_the_published_one():
    built = tables.architecture()
    for row in paper.published("11")["rows"]:
        for title, key in zip(variants.BACKBONES, ("resnet50", "resnet50_gcn"), strict=True):
            assert built[title].loc[row["component"], "layers"] == row[key]
            assert built[title].loc[row["component"], "output size"] == row["output_size"]


def test_the_row_of_convolutions_is_what_the_paper_counts():
    built = tables.architecture()
    for title, cost in zip(variants.BACKBONES, (3_855_925_248, 3_589_458_544), strict=True):
        part = built[title]
        assert part.loc["convolutions", "multiply-adds"] == cost == part.loc[:"res-5", "multiply-adds"].sum()
        assert part.loc["whole network", "multiply-adds"] == cost + 2_048_000


def test_the_paper_profiles_classifiers_follow_the_classical_recipe():
    for run in profiles.get("paper").pair:
        data, recipe = run.weights.data, run.weights.schedule
        assert (data.name, data.side, data.resize, data.crop_area) == ("imagenet", 224, 256, 0.08)
        assert (recipe.steps, recipe.batch_size, recipe.optimizer, recipe.lr) == (600_000, 256, "sgd", 0.1)
        assert (recipe.decay, recipe.momentum, recipe.weight_decay) == ("step", 0.9, 1e-4)


def test_counts_are_those_measured_independently():
    """Counted before this code was written: 3,856M and 3,589M multiply-adds, 25.56M and 22.55M parameters."""
    (resnet, resnet_cost), (gcn, gcn_cost) = tables.backbone_costs()
    assert (resnet, gcn) == (25_557_032, 22_545_780)
    assert (round(resnet_cost / 1e6), round(gcn_cost / 1e6)) == (3856, 3589)
    assert resnet == count_parameters(torchvision.models.resnet50(weights=None))


def test_a_block_costs_what_the_closed_form_says():
    c, out, k, w, side = 32, 48, 5, 7, 12
    weights = 2 * (k * c * w + k * w * w) + w * out + c * out
    block = GCNBlock(c, out, k, w, stride=2)
    assert count_parameters(block) == weights + 2 * (4 * w + out + out), "and γ, β of each batch norm"
    assert count_multiply_adds(block, (1, c, side, side)) == weights * (side // 2) ** 2, "all at the output's size"


@pytest.mark.parametrize("pair", PAIRS[1:])
def test_a_small_twin_costs_within_two_percent_of_its_resnet(pair):
    backbones = [build_backbone(name) for name in pair]
    for count in (count_parameters, lambda module: count_multiply_adds(module, (1, 3, 64, 64))):
        resnet, gcn = map(count, backbones)
        assert abs(gcn / resnet - 1) < 0.02
    stages = [[count_parameters(m) for m in backbone.components().values()] for backbone in backbones]
    assert stages[0][:3] == stages[1][:3], "conv1, res-2 and res-3 are alike"
    assert all(abs(b / a - 1) < 0.02 for a, b in zip(*stages, strict=True))


def test_strides_are_in_the_first_convolution_of_a_stage():
    for name in PAIRS[0]:
        backbone = build_backbone(name)
        strided = {n for n, m in backbone.named_modules() if isinstance(m, nn.Conv2d) and m.stride != (1, 1)}
        first = {"layer3.0.left.0", "layer3.0.right.0", "layer4.0.left.0", "layer4.0.right.0"}
        usual = {f"layer{i}.0.conv1" for i in (3, 4)}
        shortcuts = {n for n in strided if "downsample" in n or "shortcut" in n}
        assert len(shortcuts) == 3
        assert strided - shortcuts == {"conv1", "layer2.0.conv1", *(first if name.endswith("gcn") else usual)}


# --- what a block computes -----------------------------------------------------------------------


def test_a_block_is_relu_of_shortcut_plus_projected_sum_of_branches():
    torch.manual_seed(0)
    block = GCNBlock(6, 6, 5, 4).eval()
    x = torch.randn(2, 6, 9, 7)

    def layer(x, conv, norm):
        return torch.relu(norm(nn.functional.conv2d(x, conv.weight, padding=tuple(k // 2 for k in conv.kernel_size))))

    with torch.no_grad():
        branches = [layer(layer(x, b[0], b[1]), b[3], b[4]) for b in (block.left, block.right)]
        expected = torch.relu(x + block.project(branches[0] + branches[1]))
        torch.testing.assert_close(block(x), expected)
    assert [c.kernel_size for c in (block.left[0], block.right[0])] == [(5, 1), (1, 5)]


def test_a_block_reaches_k_by_k():
    seen = theoretical_field(GCNBlock(3, 3, 7, 4), (15, 15), (7, 7))
    assert seen[4:11, 4:11].all() and seen.sum() == 49


@pytest.mark.parametrize("size", [(64, 64), (63, 97), (224, 224)])
@pytest.mark.parametrize("name", ["resnet50_gcn", "small_gcn", "medium_gcn"])
def test_forward_and_backward(name, size):
    if name == "small_gcn" and size[0] == 224:
        pytest.skip("its maps would have full resolution: nobody uses it so")
    torch.manual_seed(0)
    classifier = build_classifier(name, 10)
    logits = classifier(torch.randint(0, 256, (2, 3, *size), dtype=torch.uint8))
    assert logits.shape == (2, 10) and logits.isfinite().all() and logits.std(0).min() > 0
    nn.functional.cross_entropy(logits, torch.tensor([1, 2])).backward()
    for n, parameter in classifier.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all() and parameter.grad.abs().sum() > 0, n


@pytest.mark.parametrize(("make", "named"), [
    (lambda: GCNBlock(4, 4, 4, 2), "k = 4.*odd"),
    (lambda: GCNBlock(4, 4, -1, 2), "k = -1"),
    (lambda: GCNBlock(4, 4, 3, 0), "width = 0"),
    (lambda: ResNet(50, gcn={6: GCNStage(3, 8)}), "stage 6"),
    (lambda: SmallResNet(gcn={1: GCNStage(3, 8)}), "stage 1"),
    (lambda: ResNet(18, stride_in_1x1=True), "depth 50"),
])  # fmt: skip
def test_impossible_networks_are_refused(make, named):
    with pytest.raises(ValueError, match=named):
        make()


@pytest.mark.parametrize("stage", [2, 3, 4, 5])
@pytest.mark.parametrize("make", [lambda gcn: ResNet(18, gcn=gcn), lambda gcn: SmallResNet(8, gcn=gcn)])
def test_any_stage_can_be_gcn(make, stage):
    backbone = make({stage: GCNStage(3, 5)})
    taps = backbone(torch.rand(1, 3, 64, 64))
    assert [t.shape[1] for t in taps] == list(backbone.channels)
    assert [64 // t.shape[-1] for t in taps] == list(backbone.strides)
    assert any(isinstance(m, GCNBlock) for m in backbone.components()[f"res-{stage}"].modules())


# --- from classifier to segmenter ----------------------------------------------------------------


@pytest.mark.parametrize("name", ["resnet50_gcn", "resnet50_v1", "small_gcn", "medium"])
def test_a_classifiers_checkpoint_starts_a_segmenter_with_every_tensor(name, tmp_path):
    torch.manual_seed(1)
    classifier = build_classifier(name, 5)
    torch.save(classifier.state_dict(), tmp_path / "c.pt")
    model = build_segmenter("conv1x1", backbone=name, num_classes=3, weights=tmp_path / "c.pt")
    ours, theirs = model.backbone.state_dict(), classifier.backbone.state_dict()
    assert ours.keys() == theirs.keys() and all(torch.equal(ours[n], theirs[n]) for n in ours)


def test_a_checkpoint_of_the_other_backbone_is_refused_by_the_name_of_a_tensor(tmp_path):
    torch.save(build_classifier("small", 5).state_dict(), tmp_path / "c.pt")
    with pytest.raises(ValueError, match=r"c\.pt lacks .*'stages\.2\.left\.0\.weight'"):
        build_segmenter("conv1x1", backbone="small_gcn", num_classes=3, weights=tmp_path / "c.pt")


def test_an_interrupted_pre_training_goes_on_to_the_same_weights(tmp_path):
    run = replace(profiles.get("smoke").pair[1].weights, seed=5)
    run = replace(run, schedule=replace(run.schedule, steps=4, evaluations=2))

    class PowerCut(Exception):
        pass

    def cut(*_):
        raise PowerCut

    execute(run, tmp_path / "whole", log=lambda line: None)
    with pytest.MonkeyPatch.context() as patch, pytest.raises(PowerCut):
        patch.setattr(results, "write_record", cut)  # the checkpoint of step 2 is the last thing written
        execute(run, tmp_path / "parts", log=lambda line: None)
    lines: list[str] = []
    record = execute(run, tmp_path / "parts", log=lines.append)
    assert any("resuming at step 2 of 4" in line for line in lines)
    states = [
        torch.load(results.weights_path(tmp_path / place, run.profile, run.name, run_key(run)), weights_only=True)
        for place in ("whole", "parts")
    ]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    whole = results.read_record(tmp_path / "whole", run.profile, run.name, run_key(run))
    assert record["metrics"] == whole["metrics"]


def test_a_second_study_reuses_the_weights_and_trains_only_what_is_new(tmp_path):
    smoke = profiles.get("smoke")
    baseline = variants.Variant("conv1x1", backbone="ResNet50-GCN").run(smoke, 0)
    other = replace(baseline, head="gcn", k=3)
    logs = []
    for run in (baseline, other):
        log: list[str] = []
        assert runner.run_all([run], tmp_path, log=log.append) == []
        logs.append([line for line in log if re.match(r"\(\d/\d\)", line)])
    assert logs == [
        ["(1/2) pretraining-small_gcn-s0 complete", "(2/2) conv1x1-on-small_gcn-s0 complete"],
        ["(1/1) gcn-k3-on-small_gcn-s0 complete"],
    ]
    record = results.read_record(tmp_path, "smoke", other.name, run_key(other))
    assert record["weights"] == run_key(other.weights), "the record names what it started from"


def test_both_networks_of_a_pair_are_trained_alike():
    for profile in profiles.PROFILES.values():
        resnet, gcn = profile.pair
        assert resnet.backbone in BACKBONES and gcn.backbone in BACKBONES
        assert (resnet.backbone, gcn.backbone) in PAIRS
        alike = replace(gcn, backbone=resnet.backbone, weights=replace(gcn.weights, backbone=resnet.backbone))
        assert alike == resnet
