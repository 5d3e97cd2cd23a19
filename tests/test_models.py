"""Heads, refinement and framework against closed forms, torchvision and the paper's counts."""

import math
from copy import deepcopy
from itertools import combinations

import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import nn

from gcnlab.evaluation import count_multiply_adds, count_parameters
from gcnlab.evaluation.kernels import gcn_share, spectrum
from gcnlab.models import BACKBONES, HEADS, BoundaryRefinement, build_head, build_segmenter
from gcnlab.models.classifier import Normalize
from gcnlab.models.folding import FoldedConv2d
from gcnlab.models.heads import dense_kernel
from gcnlab.models.segmenter import Upsample2x

CLASSES = 5


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def pictures(height, width, count=2):
    size = (count, 3, height, width)
    return torch.randint(0, 256, size, dtype=torch.uint8, generator=generator())


def segmenter(head="gcn", k=3, **options):
    return build_segmenter(head, k, **{"backbone": "small", "num_classes": CLASSES, **options})


# --- heads ---


@pytest.mark.parametrize("k", [3, 7, 15])
def test_gcn_is_one_dense_convolution(k):
    torch.manual_seed(k)
    head = build_head("gcn", 6, CLASSES, k).double()
    (a, b), (c, d) = ([conv.weight for conv in branch] for branch in (head.left, head.right))
    dense = torch.einsum("omx,miy->oiyx", b[:, :, 0], a[..., 0])
    dense = dense + torch.einsum("omy,mix->oiyx", d[..., 0], c[:, :, 0])
    features = torch.randn(2, 6, 16, 19, dtype=torch.float64, generator=generator())
    expected = F.conv2d(features, dense, padding=k // 2)
    torch.testing.assert_close(head(features), expected, rtol=0, atol=1e-13)
    torch.testing.assert_close(head.kernel(), dense)
    assert expected.abs().max() > 1e-3, "the comparison needs numbers that differ from zero"


@pytest.mark.parametrize("head", ["gcn", "conv", "stack"])
@pytest.mark.parametrize("k", [3, 7, 11])
def test_support_of_a_head_is_k_by_k(head, k):
    torch.manual_seed(0)
    side, (row, column), reach = 2 * k + 3, (k, k + 2), k // 2
    features = torch.zeros(1, 4, side, side)
    features[..., row, column] = 1
    support = build_head(head, 4, CLASSES, k)(features)[0].ne(0).any(0)
    expected = torch.zeros(side, side, dtype=torch.bool)
    expected[row - reach : row + reach + 1, column - reach : column + reach + 1] = True
    assert torch.equal(support, expected)


PAPERS = [("conv1x1", None), ("gcn", 15), ("conv", 15), ("stack", 15)]
OWN_HEADS = sorted(HEADS.keys() - dict(PAPERS))


@pytest.mark.parametrize(("head", "k"), PAPERS)
@pytest.mark.parametrize("size", [(16, 16), (5, 9), (1, 1)])
def test_heads_are_linear_keep_the_size_and_fill_it(head, k, size):
    torch.manual_seed(0)
    module = build_head(head, 6, CLASSES, k)
    a, b = torch.randn(2, 2, 6, *size, generator=generator())
    scores = module(a)
    assert scores.shape == (2, CLASSES, *size)
    torch.testing.assert_close(module(2 * a - b), 2 * scores - module(b), rtol=1e-4, atol=1e-5)
    if size == (16, 16):  # a kernel padded along the wrong axis leaves constant columns
        assert scores.std(-2).min() > 0 and scores.std(-1).min() > 0


def test_stack_of_3_is_the_trivial_convolution():
    stack, conv = build_head("stack", 8, CLASSES, 3, m=4), build_head("conv", 8, CLASSES, 3)
    stack.load_state_dict({"0.weight": conv.weight})
    features = torch.randn(1, 8, 7, 7, generator=generator())
    assert torch.equal(stack(features), conv(features))


@pytest.mark.parametrize("k", [3, 7, 15])
def test_multiply_adds_of_heads_are_the_closed_forms(k):
    gcn, conv = (build_head(head, 32, CLASSES, k) for head in ("gcn", "conv"))
    dense, separable = (count_multiply_adds(head, (1, 32, 16, 20)) for head in (conv, gcn))
    assert dense == 32 * CLASSES * k * k * 16 * 20
    assert separable == 2 * k * (32 + CLASSES) * CLASSES * 16 * 20


@pytest.mark.parametrize(("arguments", "named"), [
    ({"head": "gcn", "k": 4}, "odd k"),
    ({"head": "stack", "k": 6}, "odd k"),
    ({"head": "gcn", "k": 1}, "k ≥ 3"),
    ({"head": "conv", "k": -3}, "k ≥ 3"),
    ({"head": "gcn", "k": None}, "None"),
    ({"head": "conv1x1", "k": 3}, "k = 1"),
    ({"head": "GCN"}, "unknown head 'GCN'.*conv1x1, gcn, conv, stack"),
    ({"head": "gcn", "m": 8}, "m = 8 for 'gcn'"),
    ({"head": "conv", "m": 8}, "m = 8 for 'conv'"),
    ({"head": "stack", "k": 7, "m": 0}, "at least 1"),
    ({"backbone": "vgg16"}, "unknown backbone 'vgg16'.*resnet50"),
    ({"normalization": "bgr"}, "unknown normalization 'bgr'.*caffe"),
    ({"batch_norm": "eval"}, "unknown batch_norm 'eval'.*frozen"),
])  # fmt: skip
def test_impossible_models_are_refused(arguments, named):
    if "head" in arguments:
        head = {"k": 3, **arguments}
        with pytest.raises(ValueError, match=named):
            build_head(head.pop("head"), 8, CLASSES, **head)
    if "m" not in arguments:  # of a segmenter it is scaled to each level
        with pytest.raises(ValueError, match=named):
            segmenter(**arguments)


# --- every kind of variant: one contract ---

VARIANTS = [
    pytest.param(
        {"head": head, "k": k, "m": m, "refine": refine, "backbone": backbone},
        id=f"{backbone}-{head}-{k}-{m}{'-br' * refine}",
    )
    for backbone in ("small", "bottleneck27", "squeezenet1_1", "resnet18")
    for head, k, m in (
        ("conv1x1", None, None), ("gcn", 3, None), ("gcn", 15, None), ("conv", 7, None),
        ("stack", 7, 16), *((name, 7, None) for name in OWN_HEADS),
    )
    for refine in (False, True)
    if backbone == "small" or (head, k) != ("conv", 7)
]  # fmt: skip


def contract(model, images, precision=torch.float32):
    """One forward and backward pass with what holds for every variant."""
    with torch.autocast("cpu", precision, enabled=precision != torch.float32):
        scores = model(images).float()
    assert scores.shape == (len(images), CLASSES, *images.shape[-2:])
    assert torch.isfinite(scores).all()
    assert scores.std(-2).min() > 0 and scores.std(-1).min() > 0, "a constant column or row"
    target = torch.randint(CLASSES, scores[:, 0].shape, generator=generator())
    F.cross_entropy(scores, target).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, f"{name} has no gradient"
        assert torch.isfinite(parameter.grad).all(), f"{name} has a gradient that is not finite"
        assert parameter.grad.any(), f"{name} has a gradient of zero"


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_variant_trains_and_shares_no_weights(variant):
    torch.manual_seed(0)
    model = segmenter(**variant).train()
    contract(model, pictures(65, 97))
    parameters = [p for _, p in model.named_parameters(remove_duplicate=False)]
    assert len({p.data_ptr() for p in parameters}) == len(parameters)
    fresh = segmenter(**variant)
    drawn = [m.weight for m in (*fresh.heads.modules(), *fresh.refine_heads.modules())
             if isinstance(m, nn.Conv2d)]  # fmt: skip
    assert not any(a.shape == b.shape and torch.equal(a, b) for a, b in combinations(drawn, 2))


@pytest.mark.slow
def test_the_papers_input_size():
    torch.manual_seed(0)
    model = segmenter(k=15, refine=True, backbone="resnet50", batch_norm="frozen-statistics")
    shapes = []
    model.heads[-1].register_forward_hook(lambda *args: shapes.append(args[-1].shape[-2:]))
    contract(model.train(), pictures(512, 512, count=1), torch.bfloat16)
    assert shapes == [(16, 16)], "C5 of 512 pixels is 16×16, so that k = 15 is really global"


@pytest.mark.parametrize("size", [(64, 64), (1, 1), (31, 2), (33, 64)])
@pytest.mark.parametrize("backbone", ["small", "squeezenet1_1", "resnet18"])
def test_any_image_size(backbone, size):
    model = segmenter(backbone=backbone, refine=True).eval()
    with torch.no_grad():
        assert model(pictures(*size, count=1)).shape == (1, CLASSES, *size)


@pytest.mark.parametrize(("backbone", "blocks"), [
    ("resnet18", 9), ("resnet50", 9), ("small", 7), ("squeezenet1_1", 8),
])  # fmt: skip
def test_refinement_adds_its_blocks_and_nothing_else(backbone, blocks):
    """Fig. 2A: four after the heads, three after the sums, one after each last upsampling."""
    with torch.device("meta"):
        plain, refined = (segmenter(backbone=backbone, refine=r) for r in (False, True))
        one = count_parameters(BoundaryRefinement(CLASSES))
        assert count_parameters(BoundaryRefinement(21)) == 7_980, "counted independently"
    assert sum(isinstance(m, BoundaryRefinement) for m in refined.modules()) == blocks
    assert count_parameters(refined) - count_parameters(plain) == blocks * one


@pytest.mark.parametrize(("m", "widths"), [(64, [8, 16, 32, 64]), (None, [64, 128, 256, 512])])
def test_m_is_the_same_fraction_of_the_features_at_every_level(m, widths):
    model = segmenter("stack", 7, m=m, backbone="resnet18")
    assert [head[0].out_channels for head in model.heads] == widths


# --- refinement, upsampling, input ---


def test_refinement_is_the_input_plus_a_residual():
    block = BoundaryRefinement(CLASSES)
    with torch.no_grad():
        for parameter in block.parameters():
            parameter.normal_(generator=generator())
    scores = torch.randn(2, CLASSES, 9, 8, generator=generator())
    first, _, last = block.residual
    inner = F.conv2d(scores, first.weight, first.bias, padding=1).clamp(min=0)
    expected = scores + F.conv2d(inner, last.weight, last.bias, padding=1)
    torch.testing.assert_close(block(scores), expected)


def test_upsampling_starts_as_bilinear_interpolation():
    scores = torch.randn(2, CLASSES, 7, 9, generator=generator())
    expected = F.interpolate(scores, scale_factor=2, mode="bilinear", align_corners=False)
    inner = (..., slice(1, -1), slice(1, -1))
    torch.testing.assert_close(Upsample2x(CLASSES)(scores)[inner], expected[inner])


def test_upsampling_is_the_grouped_layer_also_in_bf16():
    layer = Upsample2x(CLASSES)
    nn.init.normal_(layer.weight, generator=generator())
    scores = torch.randn(2, CLASSES, 7, 9, generator=generator()).bfloat16().requires_grad_()

    def outputs_and_gradients(upsample):
        with torch.autocast("cpu", torch.bfloat16):
            output = upsample(scores)
        weights = torch.linspace(-1, 1, output.numel()).view_as(output)
        return output, *torch.autograd.grad((output * weights).sum(), (scores, layer.weight))

    dense = outputs_and_gradients(layer)
    grouped = outputs_and_gradients(lambda x: nn.ConvTranspose2d.forward(layer, x))
    assert dense[0].dtype == torch.bfloat16 and layer.weight.shape == (CLASSES, 1, 4, 4)
    for one, other in zip(dense, grouped, strict=True):
        torch.testing.assert_close(one, other, rtol=0.02, atol=0.02 * other.abs().max().item())


@pytest.mark.parametrize("convention", ["rgb", "caffe"])
def test_normalisation(convention):
    images = pictures(20, 30)
    if convention == "rgb":
        preset = torchvision.models.ResNet50_Weights.IMAGENET1K_V1.transforms()
        normalize = torchvision.transforms.functional.normalize
        expected = normalize(images / 255, preset.mean, preset.std)
    else:
        mean = torch.tensor([103.939, 116.779, 123.68]).view(1, 3, 1, 1)
        expected = images[:, [2, 1, 0]].float() - mean
    torch.testing.assert_close(Normalize(convention)(images), expected, rtol=1e-5, atol=1e-3)
    model = segmenter(normalization=convention).eval()
    with torch.no_grad():
        torch.testing.assert_close(model(images), model(images.float() / 255))


# --- batch norm ---


@pytest.mark.parametrize("backbone", [b for b in BACKBONES if not b.startswith("resnet1")])
@pytest.mark.parametrize(("head", "k", "refine"), [
    ("conv1x1", None, False), ("gcn", 5, True), ("conv", 3, False), ("stack", 5, False),
])  # fmt: skip
def test_a_quiet_start_has_the_loss_of_knowing_nothing(backbone, head, k, refine):
    """The logarithm of the number of classes, also where the features are loud; and it learns."""
    torch.manual_seed(0)
    model = segmenter(head, k, refine=refine, backbone=backbone, quiet=True, batch_norm="frozen")
    with torch.no_grad():
        for parameter in model.backbone.parameters():
            parameter.mul_(2)
    scores = model(pictures(32, 64))
    labels = torch.randint(CLASSES, (2, 32, 64), generator=generator())
    loss = F.cross_entropy(scores, labels)
    assert loss.item() == pytest.approx(math.log(CLASSES), abs=1e-5)
    loss.backward()
    assert all(any(p.grad.any() for p in h.parameters()) for h in model.heads)


@pytest.mark.parametrize("mode", ["train", "frozen-statistics", "frozen"])
def test_batch_norm_modes(mode):
    torch.manual_seed(0)
    model = segmenter(batch_norm=mode)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], 0.1)
    for _ in range(2):
        model.train()
        model(pictures(16, 16)).square().sum().backward()
        optimizer.step()
        model.eval()  # an evaluation between two steps must not change what training means
    after = model.state_dict()
    norms = [name for name, m in model.named_modules() if isinstance(m, nn.BatchNorm2d)]
    for name in norms:
        same = [torch.equal(before[f"{name}.{part}"], after[f"{name}.{part}"])
                for part in ("running_mean", "running_var", "weight", "bias")]  # fmt: skip
        assert same == [mode != "train"] * 2 + [mode == "frozen"] * 2
        assert (model.get_submodule(name).weight.grad is None) == (mode == "frozen")
    assert norms and not torch.equal(*(s["backbone.stem.0.weight"] for s in (before, after)))


def test_frozen_batch_norm_is_folded_into_the_convolutions():
    """The same scores, gradients and names as the two layers have; a copy has its own weights."""
    torch.manual_seed(0)
    plain = build_segmenter("gcn", 3, backbone="small", num_classes=4)
    for module in plain.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(), module.running_var.uniform_(0.5, 2)
            nn.init.normal_(module.weight), nn.init.normal_(module.bias)
    folded = build_segmenter("gcn", 3, backbone="small", num_classes=4, batch_norm="frozen")
    folded.load_state_dict(plain.state_dict())
    folded, x = deepcopy(folded).train(), torch.rand(2, 3, 32, 32)
    assert folded.state_dict().keys() == plain.state_dict().keys()
    assert sum(isinstance(module, FoldedConv2d) for module in folded.modules()) > 10
    scores = [model(x) for model in (plain.eval(), folded)]
    torch.testing.assert_close(*scores, atol=1e-4, rtol=1e-4)
    for score in scores:
        score.square().sum().backward()
    expected = dict(plain.named_parameters())
    for name, parameter in folded.named_parameters():
        if parameter.requires_grad:
            gradient = expected[name].grad
            assert (parameter.grad - gradient).norm() <= 1e-4 * gradient.norm(), name


def test_the_kernel_of_a_gcn_is_all_gcn():
    torch.manual_seed(0)
    head = build_head("gcn", 8, 3, 5)
    assert gcn_share(head.kernel()) > 0.999
    assert gcn_share(torch.randn(3, 8, 5, 5, generator=generator())) < 0.9
    values = spectrum(dense_kernel(*(conv.weight for conv in head.left)))
    assert values[0] == 1 and (values[:3] > 0.01).all() and (values[3:] < 1e-6).all()


def test_a_head_of_ones_own_can_start_with_scores_of_zero(monkeypatch):
    class StripHead(nn.Module):
        def __init__(self, channels, classes, k):
            super().__init__()
            self.tall = nn.Conv2d(channels, classes, (k, 1), padding=(k // 2, 0), bias=False)
            self.wide = nn.Conv2d(channels, classes, (1, k), padding=(0, k // 2), bias=False)

        def forward(self, features):
            return self.tall(features) + self.wide(features)

    monkeypatch.setitem(HEADS, "strip", lambda *given: StripHead(*given[:3]))
    for head, k in (("strip", 3), ("gcn", 3), ("stack", 7), ("conv1x1", None)):
        model = segmenter(head, k, quiet=True)
        assert not model(pictures(64, 64)).any(), head
