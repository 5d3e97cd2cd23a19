"""Heads, refinement, backbones and the framework against closed forms, torchvision and the paper's numbers."""

import pickle
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import nn
from torchvision.models.feature_extraction import create_feature_extractor

from gcnlab import paper
from gcnlab.errors import UserError
from gcnlab.evaluation import count_parameters
from gcnlab.models import BoundaryRefinement, build_classifier, build_head, build_segmenter
from gcnlab.models.backbones import BACKBONES, Normalize, build_backbone, load_matching
from gcnlab.models.segmenter import Upsample2x
from gcnlab.study import profiles, variants
from gcnlab.study.run import build_model
from gcnlab.training import Schedule, autocast, best_precision, make_step

CLASSES = 5


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def pictures(height, width, count=2):
    return torch.randint(0, 256, (count, 3, height, width), dtype=torch.uint8, generator=generator())


# --- heads ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("k", [3, 7, 15])
def test_gcn_is_one_dense_convolution(k):
    torch.manual_seed(k)
    head = build_head("gcn", 6, CLASSES, k).double()
    (a, b), (c, d) = ([conv.weight.detach() for conv in branch] for branch in (head.left, head.right))
    dense = torch.einsum("omx,miy->oiyx", b[:, :, 0], a[..., 0]) + torch.einsum("omy,mix->oiyx", d[..., 0], c[:, :, 0])
    features = torch.randn(2, 6, 16, 19, dtype=torch.float64, generator=generator())
    expected = F.conv2d(features, dense, padding=k // 2)
    torch.testing.assert_close(head(features), expected, rtol=0, atol=1e-13)
    assert expected.abs().max() > 1e-3, "the comparison needs numbers that differ from zero"


@pytest.mark.parametrize("head", ["gcn", "conv", "stack"])
@pytest.mark.parametrize("k", [3, 7, 11])
def test_support_of_a_head_is_k_by_k(head, k):
    torch.manual_seed(0)
    side, (row, column) = 2 * k + 3, (k, k + 2)
    features = torch.zeros(1, 4, side, side)
    features[..., row, column] = 1
    seen = build_head(head, 4, CLASSES, k)(features)[0].ne(0).any(0)
    expected = torch.zeros(side, side, dtype=torch.bool)
    expected[row - k // 2 : row + k // 2 + 1, column - k // 2 : column + k // 2 + 1] = True
    assert torch.equal(seen, expected)


@pytest.mark.parametrize(("head", "k"), [("conv1x1", None), ("gcn", 15), ("conv", 15), ("stack", 15)])
@pytest.mark.parametrize("size", [(16, 16), (5, 9), (1, 1)])
def test_heads_are_linear_keep_the_size_and_fill_it(head, k, size):
    torch.manual_seed(0)
    module = build_head(head, 6, CLASSES, k)
    a, b = torch.randn(2, 2, 6, *size, generator=generator())
    scores = module(a)
    assert scores.shape == (2, CLASSES, *size)
    torch.testing.assert_close(module(2 * a - b), 2 * scores - module(b), rtol=1e-4, atol=1e-5)
    if size == (16, 16):  # a kernel padded along the wrong axis leaves constant columns at a border
        assert scores.std(-2).min() > 0 and scores.std(-1).min() > 0


def test_stack_of_3_is_the_trivial_convolution():
    stack, conv = build_head("stack", 8, CLASSES, 3, m=4), build_head("conv", 8, CLASSES, 3)
    assert [p.shape for p in stack.parameters()] == [p.shape for p in conv.parameters()]
    with torch.no_grad():
        next(stack.parameters()).copy_(conv.weight)
    features = torch.randn(1, 8, 7, 7, generator=generator())
    assert torch.equal(stack(features), conv(features))


def parameter_cells():
    return [
        pytest.param(cell, id=f"table{table}-{cell.row}-{cell.column}")
        for table in (2, 4)
        for cell in paper.cells(table).query("metric == 'parameters_k'").itertuples()
    ]


@pytest.mark.parametrize("cell", parameter_cells())
def test_parameter_counts_of_tables_2_and_4(cell):
    m = None if pd.isna(cell.m_ratio) else round(2048 * cell.m_ratio)
    with torch.device("meta"):
        head = build_head(cell.head, 2048, 21, int(cell.k), m)
    assert count_parameters(head) / 1000 == pytest.approx(cell.value, abs=1)


def test_parameter_counts_measured_independently():
    with torch.device("meta"):
        assert [count_parameters(build_head("gcn", 2048, 21, k)) for k in (3, 15, 25)] == [
            260_694,
            1_303_470,
            2_172_450,
        ]
        widths = [count_parameters(build_head("stack", 2048, 21, 7, m)) for m in (2048, 1024, 210)]
        assert widths == [75_884_544, 28_505_088, 4_307_310]
        assert count_parameters(BoundaryRefinement(21)) == 7_980


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"name": "gcn", "k": 4}, "odd k"),
        ({"name": "conv", "k": 14}, "odd k"),
        ({"name": "stack", "k": 6}, "odd k"),
        ({"name": "gcn", "k": 1}, "k ≥ 3"),
        ({"name": "gcn", "k": -3}, "k ≥ 3"),
        ({"name": "gcn"}, "None"),
        ({"name": "conv1x1", "k": 3}, "k = 1"),
        ({"name": "GCN", "k": 3}, "unknown head 'GCN'.*conv1x1, gcn, conv, stack"),
        ({"name": "gcn", "k": 3, "m": 8}, "m = 8 for 'gcn'"),
        ({"name": "conv", "k": 3, "m": 8}, "m = 8 for 'conv'"),
        ({"name": "stack", "k": 7, "m": 0}, "at least 1"),
    ],
)
def test_impossible_heads_are_refused(arguments, named):
    with pytest.raises(ValueError, match=named):
        build_head(in_channels=8, num_classes=CLASSES, **arguments)


def test_unknown_names_are_refused_by_the_framework():
    for wrong, named in (({"backbone": "vgg16"}, "unknown backbone 'vgg16'.*resnet50"),
                         ({"normalization": "bgr"}, "unknown normalization 'bgr'.*caffe"),
                         ({"batch_norm": "eval"}, "unknown batch_norm 'eval'.*frozen"),
                         ({"k": 4}, "odd k")):  # fmt: skip
        with pytest.raises(ValueError, match=named):
            build_segmenter(**{"head": "gcn", "k": 3, "backbone": "small", **wrong})


# --- every variant of the tables -----------------------------------------------------------------


def every_variant():
    """All variants of Tables 1 to 5 on the small backbone, and some on others."""
    runs = variants.table_runs(["1", "2", "3", "4", "5"], profiles.get("shapes"), [0])
    base = replace(runs[0], head="gcn", k=7, refine=True)
    for backbone in ("squeezenet1_1", "resnet18"):
        changes = ({}, {"refine": False}, {"head": "conv1x1", "k": None}, {"head": "stack", "m": 16})
        runs += [replace(base, backbone=backbone, **change) for change in changes]
    return [pytest.param(run, id=f"{run.backbone}-{run.variant}") for run in runs]


def contract(model, images, num_classes):
    """One forward and backward pass with what holds for every variant."""
    height, width = images.shape[-2:]
    precision = best_precision(images.device) if height >= 512 else "float32"
    with autocast(images.device, precision):
        scores = model(images)
    scores = scores.float()
    assert scores.shape == (len(images), num_classes, height, width)
    assert torch.isfinite(scores).all()
    assert scores.std(-2).min() > 0, "a constant column"
    assert scores.std(-1).min() > 0, "a constant row"
    target = torch.randint(num_classes, (len(images), height, width), generator=generator())
    F.cross_entropy(scores, target).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, f"{name} has no gradient"
        assert torch.isfinite(parameter.grad).all(), f"{name} has a gradient that is not finite"
        assert parameter.grad.any(), f"{name} has a gradient of zero"


@pytest.mark.parametrize("run", every_variant())
def test_every_variant_of_the_tables(run):
    model = build_model(run).train()
    contract(model, pictures(65, 97), num_classes=8)


@pytest.mark.parametrize("size", [(64, 64), (1, 1), (31, 2), (33, 64)])
@pytest.mark.parametrize("backbone", ["small", "squeezenet1_1", "resnet18"])
def test_any_image_size(backbone, size):
    model = build_segmenter("gcn", 3, backbone=backbone, num_classes=CLASSES, refine=True).eval()
    with torch.no_grad():
        assert model(pictures(*size, count=1)).shape == (1, CLASSES, *size)


@pytest.mark.slow
def test_the_papers_input_size():
    torch.manual_seed(0)
    model = build_segmenter("gcn", 15, refine=True, backbone="resnet50", num_classes=21, batch_norm="frozen-statistics")
    model.train()
    seen = []
    model.heads[-1].register_forward_hook(lambda module, inputs, output: seen.append(output.shape))
    contract(model, pictures(512, 512, count=1), num_classes=21)
    assert seen == [(1, 21, 16, 16)], "the top map of 512 pixels is 16×16, so that k = 15 is really global"


@pytest.mark.parametrize("run", every_variant())
def test_no_two_modules_share_weights(run):
    model = build_model(run)
    parameters = [p for _, p in model.named_parameters(remove_duplicate=False)]
    assert len({p.data_ptr() for p in parameters}) == len(parameters)
    named = {n: module for n, module in model.named_modules(remove_duplicate=False) if isinstance(module, nn.Conv2d)}
    drawn = {n: module.weight for n, module in named.items() if not n.startswith("backbone.")}
    assert len(drawn) >= 4
    for (one, a), (other, b) in combinations(drawn.items(), 2):
        assert a.shape != b.shape or not torch.equal(a, b), f"{one} and {other} start with the same weights"


@pytest.mark.parametrize(("backbone", "blocks"), [("resnet18", 9), ("resnet50", 9), ("small", 7), ("squeezenet1_1", 8)])
def test_number_of_refinement_blocks(backbone, blocks):
    def count(refine):
        with torch.device("meta"):
            model = build_segmenter("conv1x1", backbone=backbone, refine=refine)
        return sum(isinstance(module, BoundaryRefinement) for module in model.modules())

    assert count(True) == blocks, "Fig. 2A: four after the heads, three after the sums, one after each last upsampling"
    assert count(False) == 0


def test_refinement_adds_only_its_blocks():
    with torch.device("meta"):
        plain, refined = (build_segmenter("gcn", 15, refine=refine, backbone="resnet50") for refine in (False, True))
    assert count_parameters(refined) - count_parameters(plain) == 9 * 7_980


def test_every_level_reaches_the_scores():
    model = build_segmenter("gcn", 3, backbone="resnet18", num_classes=CLASSES, refine=True).eval()
    images = pictures(64, 64, count=1)
    with torch.no_grad():
        whole = model(images)
        for level in range(4):
            hook = model.heads[level].register_forward_hook(lambda module, inputs, output: output * 0)
            assert not torch.allclose(model(images), whole), f"level {level} has no effect"
            hook.remove()


def test_m_is_the_same_fraction_of_the_features_at_every_level():
    model = build_segmenter("stack", 7, m=64, backbone="resnet18", num_classes=CLASSES)
    assert [head[0].out_channels for head in model.heads] == [8, 16, 32, 64]
    full = build_segmenter("stack", 7, backbone="resnet18", num_classes=CLASSES)
    assert [head[0].out_channels for head in full.heads] == [64, 128, 256, 512]


# --- refinement and upsampling -------------------------------------------------------------------


def test_refinement_is_the_input_plus_a_residual():
    block = BoundaryRefinement(CLASSES)
    with torch.no_grad():
        for parameter in block.parameters():
            parameter.normal_(generator=generator())
    scores = torch.randn(2, CLASSES, 9, 8, generator=generator())
    first, last = (m for m in block.modules() if isinstance(m, nn.Conv2d))
    inner = F.conv2d(scores, first.weight, first.bias, padding=1).clamp(min=0)
    torch.testing.assert_close(block(scores), scores + F.conv2d(inner, last.weight, last.bias, padding=1))
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
    assert torch.equal(block(scores), scores)


def test_upsampling_starts_as_bilinear_interpolation():
    scores = torch.randn(2, CLASSES, 7, 9, generator=generator())
    expected = F.interpolate(scores, scale_factor=2, mode="bilinear", align_corners=False)
    doubled = Upsample2x(CLASSES)(scores)
    assert doubled.shape == expected.shape
    torch.testing.assert_close(doubled[..., 1:-1, 1:-1], expected[..., 1:-1, 1:-1])


# --- input ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("convention", ["rgb", "caffe"])
def test_bytes_and_floats_are_the_same_image(convention):
    model = build_segmenter("gcn", 3, backbone="small", num_classes=CLASSES, normalization=convention).eval()
    images = pictures(20, 30)
    with torch.no_grad():
        torch.testing.assert_close(model(images), model(images.float() / 255))


def test_caffe_normalisation():
    images = pictures(4, 5)
    mean = torch.tensor([103.939, 116.779, 123.68]).view(1, 3, 1, 1)
    torch.testing.assert_close(Normalize("caffe")(images), images[:, [2, 1, 0]].float() - mean, rtol=0, atol=1e-3)


def test_rgb_normalisation_is_torchvisions():
    images = pictures(4, 5)
    preset = torchvision.models.ResNet50_Weights.IMAGENET1K_V1.transforms()
    expected = torchvision.transforms.functional.normalize(images / 255, preset.mean, preset.std)
    torch.testing.assert_close(Normalize("rgb")(images), expected)


# --- batch norm ----------------------------------------------------------------------------------


def norms(model):
    return [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]


@pytest.mark.parametrize("mode", ["train", "frozen-statistics", "frozen"])
def test_batch_norm_modes(mode):
    torch.manual_seed(0)
    model = build_segmenter("gcn", 3, backbone="small", num_classes=CLASSES, batch_norm=mode)
    for norm in norms(model):
        norm.running_mean.normal_(0, 0.1, generator=generator())
        norm.running_var.uniform_(0.5, 2, generator=generator())
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    step = make_step(model, CLASSES, Schedule(3, 2, decay="constant"), precision="float32")
    labels = torch.randint(CLASSES, (2, 16, 16), generator=generator())
    for _ in range(2):
        step(pictures(16, 16), labels)
        model.eval()  # an evaluation between two steps must not change what training means
    assert len(norms(model)) > 10
    after = model.state_dict()
    for name, module in model.named_modules():
        if isinstance(module, nn.BatchNorm2d):
            same = {part: torch.equal(before[f"{name}.{part}"], after[f"{name}.{part}"])
                    for part in ("running_mean", "running_var", "num_batches_tracked", "weight", "bias")}  # fmt: skip
            held = mode != "train"
            assert (same["running_mean"], same["running_var"], same["num_batches_tracked"]) == (held, held, held)
            assert (same["weight"], same["bias"]) == (mode == "frozen", mode == "frozen")
            assert (module.weight.grad is None) == (mode == "frozen")
    convolution = "backbone.stem.0.weight"
    assert not torch.equal(before[convolution], after[convolution]), "only the batch norm is frozen"


def test_frozen_batch_norm_makes_images_independent_of_their_batch():
    model = build_segmenter("gcn", 3, backbone="small", num_classes=CLASSES, batch_norm="frozen-statistics").train()
    images = pictures(16, 16)
    torch.testing.assert_close(model(images)[:1], model(images[:1]))


# --- backbones and weights -----------------------------------------------------------------------


@pytest.mark.parametrize("name", list(BACKBONES))
def test_taps_have_the_announced_channels_and_strides(name):
    with torch.device("meta"):
        backbone = build_backbone(name)
        taps = backbone(torch.empty(1, 3, 64, 96))
    shapes = [(1, c, 64 // s, 96 // s) for c, s in zip(backbone.channels, backbone.strides, strict=True)]
    assert [tuple(tap.shape) for tap in taps] == shapes


def test_the_backbone_of_the_embedded_study_sees_41_pixels():
    torch.manual_seed(0)
    images = torch.zeros(1, 3, 128, 128, requires_grad=True)
    backbone = build_backbone("small").eval()
    with torch.no_grad():
        for module in backbone.modules():
            if isinstance(module, nn.Conv2d):
                module.weight.abs_()
            elif isinstance(module, nn.BatchNorm2d):
                module.bias.fill_(1.0)  # every ReLU is open
    backbone(images)[-1][..., 16, 16].sum().backward()
    seen = images.grad[0].ne(0).any(0)
    assert (seen.any(0).sum(), seen.any(1).sum()) == (41, 41)


@pytest.fixture(scope="module")
def torchvision_resnet18():
    torch.manual_seed(1)
    net = torchvision.models.resnet18(weights=None)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 2)
    return net.eval()


def test_torchvision_weights_give_torchvisions_features(torchvision_resnet18, tmp_path):
    path = tmp_path / "resnet18.pth"
    torch.save(torchvision_resnet18.state_dict(), path)
    model = build_segmenter("gcn", 3, backbone="resnet18", num_classes=CLASSES, weights=path).eval()
    layers = ["layer1", "layer2", "layer3", "layer4"]
    extractor = create_feature_extractor(torchvision_resnet18, layers)
    x = torch.randn(1, 3, 64, 64, generator=generator())
    with torch.no_grad():
        for name, tap in zip(layers, model.backbone(x), strict=True):
            torch.testing.assert_close(tap, extractor(x)[name])


def test_squeezenet_weights_give_torchvisions_features(tmp_path):
    torch.manual_seed(1)
    net = torchvision.models.squeezenet1_1(weights=None).eval()
    arrays = {name: tensor.numpy() for name, tensor in net.state_dict().items()}
    np.savez(tmp_path / "net.npz", **arrays)
    model = build_segmenter("gcn", 3, backbone="squeezenet1_1", weights=tmp_path / "net.npz").eval()
    x = torch.randn(1, 3, 64, 96, generator=generator())
    with torch.no_grad():
        taps = model.backbone(x)
        unpadded = net.features[:2](x[..., 1:, 1:])  # the same windows as ours but for the first row and column
        torch.testing.assert_close(taps[0][..., 1:, 1:], unpadded)
        for level, layers in enumerate((slice(2, 5), slice(5, 8), slice(8, 13))):
            torch.testing.assert_close(taps[level + 1], net.features[layers](taps[level]))


def test_classifier_checkpoint_starts_a_segmenter(tmp_path):
    torch.manual_seed(1)
    classifier = build_classifier("small", 7)
    assert classifier(pictures(64, 64)).shape == (2, 7)
    torch.save(classifier.state_dict(), tmp_path / "classifier.pt")
    model = build_segmenter("gcn", 3, backbone="small", num_classes=CLASSES, weights=tmp_path / "classifier.pt")
    ours, theirs = model.backbone.state_dict(), classifier.backbone.state_dict()
    assert ours.keys() == theirs.keys() and all(torch.equal(ours[n], theirs[n]) for n in ours)


def test_segmenter_checkpoint_starts_a_segmenter(tmp_path):
    trained = build_segmenter("gcn", 3, backbone="small", num_classes=CLASSES, refine=True).eval()
    torch.save(trained.state_dict(), tmp_path / "model.pt")
    again = build_segmenter("gcn", 3, backbone="small", num_classes=CLASSES, refine=True, weights=tmp_path / "model.pt")
    with torch.no_grad():
        assert torch.equal(again.eval()(pictures(16, 16)), trained(pictures(16, 16)))
    with pytest.raises(ValueError, match=r"model\.pt has unknown .*'refine_heads\.0\.residual\.0\.weight'"):
        build_segmenter("gcn", 3, backbone="small", num_classes=CLASSES, weights=tmp_path / "model.pt")


def test_weights_that_do_not_fit_name_the_tensor(torchvision_resnet18):
    state = build_backbone("resnet18").state_dict()

    def loading(**changes):
        load_matching(
            build_backbone("resnet18"), {n: t for n, t in (state | changes).items() if t is not None}, "w.pth"
        )

    loading()
    loading(**{"bn1.num_batches_tracked": None})  # Caffe-era files lack this counter
    with pytest.raises(ValueError, match=r"w\.pth lacks 1 tensors, first 'layer3\.1\.conv2\.weight'"):
        loading(**{"layer3.1.conv2.weight": None})
    with pytest.raises(ValueError, match=r"w\.pth has unknown 1 tensors, first 'layer5\.weight'"):
        loading(**{"layer5.weight": torch.zeros(1)})
    with pytest.raises(ValueError, match=r"w\.pth has a wrong shape for 1 tensors, first 'conv1\.weight'"):
        loading(**{"conv1.weight": torch.zeros(64, 1, 7, 7)})
    with pytest.raises(ValueError, match=r"first 'fc\.weight'"):  # no prefix is ignored unless it is asked for
        load_matching(build_backbone("resnet18"), torchvision_resnet18.state_dict(), "w.pth")


class Malice:
    """A pickle that creates a file when it is loaded."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


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
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises((ValueError, UserError), match=name):
        build_segmenter("gcn", 3, backbone="small", weights=path)
