"""Backbones as built: Fig. 5, Table 11, receptive fields; and the life of their weights."""

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from torch import nn
from torchvision.models.feature_extraction import create_feature_extractor

from gcnlab import paper
from gcnlab.errors import UserError
from gcnlab.evaluation import count_multiply_adds, count_parameters, theoretical_field
from gcnlab.evaluation.complexity import component_costs
from gcnlab.models import BACKBONES, build_backbone, build_classifier, build_segmenter, resnet50_gcn
from gcnlab.models.blocks import GCNBlock
from gcnlab.models.weights import load_matching


def convolutions(module):
    return {n: m for n, m in module.named_modules() if isinstance(m, nn.Conv2d)}


# --- every backbone ---


@pytest.mark.parametrize("name", list(BACKBONES))
def test_feature_maps_have_the_announced_channels_and_strides(name):
    with torch.device("meta"):
        backbone = build_backbone(name)
        maps = backbone(torch.empty(1, 3, 64, 96))
    shapes = zip(backbone.channels, backbone.strides, strict=True)
    assert [tuple(m.shape) for m in maps] == [(1, c, 64 // s, 96 // s) for c, s in shapes]


def test_bottlenecks_reduce_to_a_quarter_but_at_least_8_and_stride_in_the_3x3():
    stages = build_backbone("bottleneck27").stages
    blocks = [[(c.kernel_size[0], c.out_channels, c.stride[0]) for c in (b.conv1, b.conv2, b.conv3)]
              for stage in stages for b in stage]  # fmt: skip
    expected = [(8, 16, 1), (8, 32, 2), (16, 64, 2), (32, 128, 1), (32, 128, 1)]
    assert blocks == [[(1, w, 1), (3, w, s), (1, out, 1)] for w, out, s in expected]


class C5(nn.Module):
    def __init__(self, name):
        super().__init__()
        self.backbone = build_backbone(name)

    def forward(self, images):
        top = self.backbone(images)[-1]
        return top.repeat_interleave(self.backbone.strides[-1], -1)  # columns of the image


@pytest.mark.parametrize(("name", "side"), [
    ("small", 41), ("bottleneck19", 19), ("bottleneck27", 27), ("bottleneck35", 35),
    # before res-4 they have 13 (small) and 7 pixels; a GCN block adds k - 1 at a stride of 4
    ("small_gcn", 13 + 4 * (8 + 12)), ("bottleneck19_gcn", 7 + 4 * (4 + 6)),
    ("bottleneck27_gcn", 7 + 4 * (4 + 2 * 6)), ("bottleneck35_gcn", 7 + 4 * (2 * 4 + 2 * 6)),
])  # fmt: skip
def test_theoretical_field_of_c5(name, side):
    torch.manual_seed(0)
    field = theoretical_field(C5(name), (16, 256), (2, 128))
    assert int(field.any(0).sum()) == side


SMALL_FORMS = [n for n in BACKBONES if n.startswith(("small", "medium", "bottleneck"))]


@pytest.mark.parametrize("name", [*SMALL_FORMS, "resnet50_gcn"])
def test_a_classifier_trains_and_starts_a_segmenter_with_every_tensor(name, tmp_path):
    torch.manual_seed(0)
    classifier = build_classifier(name, 10)
    logits = classifier(torch.randint(0, 256, (2, 3, 63, 70), dtype=torch.uint8))
    assert logits.shape == (2, 10) and logits.isfinite().all() and logits.std(0).min() > 0
    nn.functional.cross_entropy(logits, torch.tensor([1, 2])).backward()
    for n, parameter in classifier.named_parameters():
        assert parameter.grad.isfinite().all() and parameter.grad.any(), n
    torch.save(classifier.state_dict(), tmp_path / "c.pt")
    model = build_segmenter("conv1x1", backbone=name, num_classes=3, weights=tmp_path / "c.pt")
    ours, theirs = model.backbone.state_dict(), classifier.backbone.state_dict()
    assert ours.keys() == theirs.keys() and all(torch.equal(ours[n], theirs[n]) for n in ours)


@pytest.mark.parametrize("name", [n for n in SMALL_FORMS if not n.endswith("_gcn")])
def test_gcn_forms_keep_the_costs_of_each_stage(name):
    backbones = (build_backbone(n).components() for n in (name, f"{name}_gcn"))
    plain, gcn = (component_costs(components, (1, 3, 64, 64)) for components in backbones)
    changed = 0.04 if name.startswith("bottleneck") else 0.02
    for stage in plain:
        tolerance = changed if stage in ("res-4", "res-5") else 0
        assert plain[stage].output_size == gcn[stage].output_size
        ratio = gcn[stage].parameters / plain[stage].parameters
        assert ratio == pytest.approx(1, abs=tolerance)
    total = [sum(cost.parameters for cost in costs.values()) for costs in (plain, gcn)]
    assert total[1] / total[0] == pytest.approx(1, abs=0.02)


# --- Fig. 5 and Table 11 ---


def test_resnet50_gcn_is_figure_5():
    with torch.device("meta"):
        network = resnet50_gcn()
    for stage, blocks, form in ((2, 3, None), (3, 4, None), (4, 6, (5, 85)), (5, 3, (7, 128))):
        layer = network.backbone.components()[f"res-{stage}"]
        assert len(layer) == blocks
        for number, block in enumerate(layer):
            assert isinstance(block, GCNBlock) == (form is not None)
            if form:
                (k, width), out = form, 256 * 2 ** (stage - 2)
                kernels = [(c.kernel_size, c.out_channels) for c in convolutions(block).values()]
                pair = [((k, 1), width), ((1, k), width), ((1, k), width), ((k, 1), width)]
                assert kernels == [*pair, ((1, 1), out)] + [((1, 1), out)] * (number == 0)


@pytest.mark.parametrize(("name", "parameters", "multiply_adds"), [
    ("resnet50_v1", 25_557_032, 3_855_925_248),
    ("resnet50_gcn", 22_545_780, 3_589_458_544),
])  # fmt: skip
def test_costs_and_sizes_of_table_11(name, parameters, multiply_adds):
    """Counted independently; published: about 3,700 million multiply-adds both, sizes by row."""
    with torch.device("meta"):
        classifier = build_classifier(name, 1000)
    costs = component_costs(classifier.backbone.components(), (1, 3, 224, 224))
    assert count_parameters(classifier) == parameters
    assert sum(cost.multiply_adds for cost in costs.values()) == multiply_adds
    published = paper.cells("11").query("metric == 'mflops'").value
    assert multiply_adds / 1e6 == pytest.approx(published.max(), rel=0.05)
    for row in paper.published("11")["rows"]:
        if row["component"] in costs:
            size = "×".join(map(str, costs[row["component"]].output_size))
            assert size == row["output_size"]


@pytest.mark.parametrize("name", ["resnet152_v1", "resnet50_v1", "resnet50_gcn"])
def test_strides_are_in_the_first_convolution_of_a_stage(name):
    strided = {n for n, m in convolutions(build_backbone(name)).items() if m.stride != (1, 1)}
    first = {f"layer{i}.0.{side}.0" for i in (3, 4) for side in ("left", "right")}
    usual = {f"layer{i}.0.conv1" for i in (3, 4)}
    shortcuts = {n for n in strided if "downsample" in n or "shortcut" in n}
    expected = {"conv1", "layer2.0.conv1", *(first if name.endswith("gcn") else usual)}
    assert len(shortcuts) == 3 and strided - shortcuts == expected


def test_a_block_is_relu_of_shortcut_plus_projected_sum_of_branches():
    torch.manual_seed(0)
    block = GCNBlock(6, 6, 5, 4).eval()
    x = torch.randn(2, 6, 9, 7)

    def layer(x, conv, norm):
        padding = tuple(k // 2 for k in conv.kernel_size)
        return torch.relu(norm(nn.functional.conv2d(x, conv.weight, padding=padding)))

    with torch.no_grad():
        branches = [layer(layer(x, *b[:2]), *b[3:5]) for b in (block.left, block.right)]
        expected = torch.relu(x + block.project(branches[0] + branches[1]))
        torch.testing.assert_close(block(x), expected)
    field = theoretical_field(GCNBlock(3, 3, 7, 4), (15, 15), (7, 7))
    assert field[4:11, 4:11].all() and field.sum() == 49


def test_a_block_costs_what_the_closed_form_says():
    c, out, k, w, side = 32, 48, 5, 7, 12
    weights = 2 * (k * c * w + k * w * w) + w * out + c * out
    block = GCNBlock(c, out, k, w, stride=2)
    assert count_parameters(block) == weights + 2 * (4 * w + out + out), "and γ, β"
    assert count_multiply_adds(block, (1, c, side, side)) == weights * (side // 2) ** 2


@pytest.mark.parametrize(("make", "named"), [
    (lambda: GCNBlock(4, 4, 4, 2), "k = 4.*odd"),
    (lambda: GCNBlock(4, 4, -1, 2), "k = -1"),
    (lambda: GCNBlock(4, 4, 3, 0), "width = 0"),
])  # fmt: skip
def test_impossible_blocks_are_refused(make, named):
    with pytest.raises(ValueError, match=named):
        make()


# --- weights ---


def test_torchvision_weights_give_torchvisions_features(tmp_path):
    torch.manual_seed(1)
    net = torchvision.models.resnet18(weights=None).eval()
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 2)
    torch.save(net.state_dict(), tmp_path / "resnet18.pth")
    model = build_segmenter("gcn", 3, backbone="resnet18", weights=tmp_path / "resnet18.pth").eval()
    layers = ["layer1", "layer2", "layer3", "layer4"]
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        theirs = create_feature_extractor(net, layers)(x)
        for name, ours in zip(layers, model.backbone(x), strict=True):
            torch.testing.assert_close(ours, theirs[name])


def test_squeezenet_weights_give_torchvisions_features(tmp_path):
    torch.manual_seed(1)
    net = torchvision.models.squeezenet1_1(weights=None).eval()
    np.savez(tmp_path / "net.npz", **{n: t.numpy() for n, t in net.state_dict().items()})
    model = build_segmenter("gcn", 3, backbone="squeezenet1_1", weights=tmp_path / "net.npz").eval()
    x = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        maps = model.backbone(x)
        unpadded = net.features[:2](x[..., 1:, 1:])  # all windows but the first row and column
        torch.testing.assert_close(maps[0][..., 1:, 1:], unpadded)
        for level, layers in enumerate((slice(2, 5), slice(5, 8), slice(8, 13))):
            torch.testing.assert_close(maps[level + 1], net.features[layers](maps[level]))


def test_a_segmenters_checkpoint_starts_a_segmenter_and_gcn_a_dense_one(tmp_path):
    options = {"k": 3, "backbone": "small", "num_classes": 5}
    torch.manual_seed(0)
    trained = build_segmenter("gcn", refine=True, **options).eval()
    torch.save(trained.state_dict(), tmp_path / "model.pt")
    images = torch.rand(1, 3, 16, 16)
    with torch.no_grad():
        for head in ("gcn", "conv"):
            same = build_segmenter(head, refine=True, weights=tmp_path / "model.pt", **options)
            same.eval()
            torch.testing.assert_close(same(images), trained(images), atol=1e-5, rtol=1e-4)
    with pytest.raises(ValueError, match=r"has unknown .*'refine_heads\.0\.residual\.0\.weight'"):
        build_segmenter("gcn", weights=tmp_path / "model.pt", **options)


@pytest.mark.parametrize(("changes", "named"), [
    ({}, None),
    ({"bn1.num_batches_tracked": None}, None),  # Caffe-era files lack this counter
    ({"layer3.1.conv2.weight": None}, r"w\.pth lacks 1 tensors, first 'layer3\.1\.conv2\.weight'"),
    ({"layer5.weight": torch.zeros(1)}, r"w\.pth has unknown 1 tensors, first 'layer5\.weight'"),
    ({"conv1.weight": torch.zeros(64, 1, 7, 7)}, r"wrong shape .*'conv1\.weight'"),
    ({"fc.weight": torch.zeros(1)}, r"first 'fc\.weight'"),  # ignored only where that is asked for
])  # fmt: skip
def test_weights_that_do_not_fit_name_the_tensor(changes, named):
    backbone = build_backbone("resnet18")
    state = {n: t for n, t in (backbone.state_dict() | changes).items() if t is not None}
    if named is None:
        load_matching(backbone, state, "w.pth")
    else:
        with pytest.raises(ValueError, match=named):
            load_matching(backbone, state, "w.pth")


class Malice(str):
    """A path whose pickle creates that file when it is loaded."""

    def __reduce__(self):
        return Path.touch, (Path(str(self)),)  # of itself it would pickle itself, from 3.13 on


@pytest.mark.parametrize("suffix", [".pt", ".pth"])
def test_a_malicious_pickle_is_refused(suffix, tmp_path):
    weights, victim = tmp_path / f"weights{suffix}", tmp_path / "victim"
    torch.save({"conv1.weight": Malice(victim)}, weights)
    with pytest.raises((ValueError, UserError, pickle.UnpicklingError)):
        build_segmenter("gcn", 3, backbone="small", weights=weights)
    assert not victim.exists()
    torch.load(weights, weights_only=False)
    assert victim.exists(), "this file must be one that does harm when it is trusted"


@pytest.mark.parametrize("name", ["weights.pt", "weights.pth", "weights.npz"])
@pytest.mark.parametrize("content", [b"", b"<html>not found</html>"])
def test_damaged_weights_are_an_error_that_names_the_file(name, content, tmp_path):
    (tmp_path / name).write_bytes(content)
    with pytest.raises((ValueError, UserError), match=name):
        build_segmenter("gcn", 3, backbone="small", weights=tmp_path / name)
