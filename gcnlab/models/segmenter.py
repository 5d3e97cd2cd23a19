"""The segmentation framework of Fig. 2A."""

from collections.abc import Iterator
from itertools import pairwise
from math import log2
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gcnlab.errors import NoSuchModel, check_name
from gcnlab.models.backbones import build_backbone
from gcnlab.models.classifier import Normalize
from gcnlab.models.folding import fold_frozen
from gcnlab.models.heads import build_head, zero_scores
from gcnlab.models.refinement import BoundaryRefinement
from gcnlab.models.weights import dense_heads, load_matching, read_weights

BATCH_NORM = ("train", "frozen-statistics", "frozen")
CLASSIFIER = ("fc.", "classifier.")  # in torchvision's files and in ours: not part of a segmenter


class Upsample2x(nn.ConvTranspose2d):
    """The learned 4×4 stride-2 deconvolution of Fig. 2A, one filter per class.

    ``(N, channels, H, W) -> (N, channels, 2H, 2W)``. As in FCN (Long et al. 2015) its weights,
    ``(channels, 1, 4, 4)``, start as bilinear upsampling.
    """

    def __init__(self, channels: int):
        super().__init__(channels, channels, 4, stride=2, padding=1, groups=channels, bias=False)
        line = torch.tensor([0.25, 0.75, 0.75, 0.25])
        with torch.no_grad():
            self.weight.copy_(torch.outer(line, line).expand_as(self.weight))

    def forward(self, scores: Tensor) -> Tensor:
        if scores.device.type != "cpu" or not torch.is_autocast_enabled("cpu"):
            return super().forward(scores)
        # In bf16 on a CPU the grouped layer takes ten times as long as a dense one with the
        # filters on the diagonal of its weight.
        diagonal = torch.eye(self.in_channels)[..., None, None]
        return F.conv_transpose2d(scores, self.weight * diagonal, stride=2, padding=1)


class Segmenter(nn.Module):
    """Fig. 2A: a head on each of the feature maps C2 … C5, upsampled and summed, coarse to fine.

    ``(N, 3, H, W) -> (N, num_classes, H, W)`` logits (float; bf16 under autocast), for any H and W:
    the normalised image is padded with zeros at the bottom and the right to a multiple of the
    coarsest stride, and the score map is cropped back. Images are as of :class:`Normalize`.

    With ``refine`` a BR block follows every head, every sum and every upsampling after the last
    sum: 4 + 3 + 2 = 9 blocks on a ResNet (Fig. 2A).
    """

    def __init__(
        self,
        backbone: nn.Module,
        heads: list[nn.Module],
        num_classes: int,
        refine: bool,
        normalization: str,
        batch_norm: str,
    ):
        super().__init__()
        check_name("batch_norm", batch_norm, BATCH_NORM, NoSuchModel)
        self.normalize, self.backbone = Normalize(normalization), backbone
        self.heads = nn.ModuleList(heads)

        def refinement() -> nn.Module:
            return BoundaryRefinement(num_classes) if refine else nn.Identity()

        strides = backbone.strides
        self.refine_heads = nn.ModuleList(refinement() for _ in strides)
        self.refine_sums = nn.ModuleList(refinement() for _ in strides[1:])
        self.upsample = nn.ModuleList(
            Upsample2x(num_classes) if coarse == 2 * fine else nn.Identity()
            for fine, coarse in pairwise(strides)
        )
        steps = range(int(log2(strides[0])))
        last = (nn.Sequential(Upsample2x(num_classes), refinement()) for _ in steps)
        self.to_full_size = nn.Sequential(*last)
        self.batch_norm = batch_norm
        if batch_norm == "frozen":
            for module in self._batch_norms():
                module.requires_grad_(False)  # γ and β; the statistics are held in train()
            fold_frozen(self.backbone)

    def _batch_norms(self) -> Iterator[nn.Module]:
        return (module for module in self.modules() if isinstance(module, nn.BatchNorm2d))

    def train(self, mode: bool = True) -> "Segmenter":
        """Training mode; batch norm keeps its statistics unless ``batch_norm`` is ``train``."""
        super().train(mode)
        for module in self._batch_norms():
            module.train(mode and self.batch_norm == "train")
        return self

    def features(self, images: Tensor) -> list[Tensor]:
        """The feature maps C2 … C5 of the padded ``images``."""
        height, width = images.shape[-2:]
        coarsest = self.backbone.strides[-1]
        padding = (0, -width % coarsest, 0, -height % coarsest)
        return self.backbone(F.pad(self.normalize(images), padding))

    def merge(self, scores: list[Tensor]) -> Tensor:
        """The score map at the size of the padded image from those of the four heads."""
        merged = self.refine_heads[-1](scores[-1])
        for level in range(len(scores) - 2, -1, -1):
            finer = self.refine_heads[level](scores[level])
            merged = self.refine_sums[level](finer + self.upsample[level](merged))
        return self.to_full_size(merged)

    def forward(self, images: Tensor) -> Tensor:
        height, width = images.shape[-2:]
        scores = [head(c) for head, c in zip(self.heads, self.features(images), strict=True)]
        return self.merge(scores)[..., :height, :width]


def build_segmenter(
    head: str,
    k: int | None = None,
    m: int | None = None,
    refine: bool = False,
    backbone: str = "resnet50",
    num_classes: int = 21,
    weights: str | Path | None = None,
    normalization: str = "rgb",
    batch_norm: str = "train",
    quiet: bool = False,
) -> Segmenter:
    """Build one variant of the paper.

    Args:
        head, k: the head of Fig. 4, with one k at all four levels (the paper does not say).
        m: for ``stack``, the intermediate channels at the coarsest level (Table 4); finer levels
            have the same fraction of their own channels. Default: as many as C5 has.
        refine: add boundary refinement.
        backbone: a name of :data:`gcnlab.models.backbones.BACKBONES`, such as ``resnet50_gcn``.
        weights: of the backbone (or of a whole segmenter): None (random), a torchvision name such
            as ``IMAGENET1K_V1``, or a file (``.pt``, ``.pth``, ``.npz``). A ``conv`` takes those of
            a ``gcn`` too: the dense kernel of each pair.
        normalization: what the weights expect: ``rgb`` (torchvision) or ``caffe`` (BGR, mean only).
        batch_norm: ``train``; ``frozen-statistics`` (γ and β still learn); or ``frozen``.
        quiet: the scores start at zero (:func:`gcnlab.models.heads.zero_scores`).

    Raises:
        ValueError: unknown name, impossible k or m, or weights that do not fit, by tensor.
    """
    net = build_backbone(backbone)
    heads = []
    for channels in net.channels:
        own_m = None if m is None else max(1, round(m * channels / net.channels[-1]))
        heads.append(build_head(head, channels, num_classes, k, own_m))
        if quiet:
            zero_scores(heads[-1])
    model = Segmenter(net, heads, num_classes, refine, normalization, batch_norm)
    if weights is not None:
        state, source = read_weights(weights, backbone)
        if any(name.startswith("heads.") for name in state):
            load_matching(model, dense_heads(state) if head == "conv" else state, source)
        else:
            state = {name.removeprefix("backbone."): tensor for name, tensor in state.items()}
            load_matching(net, state, source, ignore=CLASSIFIER)
    return model
