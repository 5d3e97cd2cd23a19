"""The segmentation framework of Fig. 2A."""

from itertools import pairwise
from math import log2
from pathlib import Path
from urllib.error import URLError

import numpy as np
import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn

from gcnlab.models.backbones import Normalize, build_backbone, load_matching
from gcnlab.models.heads import build_head, dense_kernel
from gcnlab.models.refinement import BoundaryRefinement

BATCH_NORM = ("train", "frozen-statistics", "frozen")
CLASSIFIER = ("fc.", "classifier.")  # in torchvision's files and in ours: no place in a segmenter


class Upsample2x(nn.ConvTranspose2d):
    """The learned 4×4 stride-2 deconvolution of Fig. 2A, one filter per class, started as bilinear upsampling.

    ``(N, channels, H, W) -> (N, channels, 2H, 2W)``. Kernel and initialisation follow FCN (Long et al. 2015).
    """

    def __init__(self, channels: int):
        super().__init__(channels, channels, 4, stride=2, padding=1, groups=channels, bias=False)
        line = torch.tensor([0.25, 0.75, 0.75, 0.25])
        with torch.no_grad():
            self.weight.copy_(torch.outer(line, line).expand_as(self.weight))


class Segmenter(nn.Module):
    """Fig. 2A: a head on each of four taps, upsampled and summed from coarse to fine.

    ``(N, 3, H, W) -> (N, num_classes, H, W)`` logits (float; bf16 under autocast), for any H and W: the normalised
    image is padded with zeros at the bottom and the right to a multiple of the coarsest stride, and the score map is
    cropped back.
    Images are uint8 in 0 … 255 or float in [0, 1], RGB.

    With ``refine`` a BR block follows every head, every sum and every upsampling after the last sum: 4 + 3 + 2 = 9
    blocks on a ResNet (Fig. 2A).
    """

    def __init__(self, backbone: nn.Module, heads: list[nn.Module], num_classes: int, refine: bool,
                 normalization: str, batch_norm: str):  # fmt: skip
        super().__init__()
        if batch_norm not in BATCH_NORM:
            raise ValueError(f"unknown batch_norm {batch_norm!r}; choose one of {', '.join(BATCH_NORM)}")
        self.normalize = Normalize(normalization)
        self.backbone = backbone
        self.heads = nn.ModuleList(heads)

        def refinement() -> nn.Module:
            return BoundaryRefinement(num_classes) if refine else nn.Identity()

        strides = backbone.strides
        self.refine_heads = nn.ModuleList(refinement() for _ in strides)
        self.refine_sums = nn.ModuleList(refinement() for _ in strides[1:])
        self.upsample = nn.ModuleList(
            Upsample2x(num_classes) if coarse == 2 * fine else nn.Identity() for fine, coarse in pairwise(strides)
        )
        self.to_full_size = nn.Sequential(
            *(nn.Sequential(Upsample2x(num_classes), refinement()) for _ in range(int(log2(strides[0]))))
        )
        self.batch_norm = batch_norm
        if batch_norm == "frozen":
            for module in self.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.requires_grad_(False)  # γ and β; the statistics are held in train()

    def train(self, mode: bool = True) -> "Segmenter":
        """Training mode; batch norm keeps its stored statistics unless ``batch_norm`` is ``train``."""
        super().train(mode)
        if self.batch_norm != "train":
            for module in self.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.eval()
        return self

    def taps(self, images: Tensor) -> list[Tensor]:
        """The backbone's feature maps of padded ``images``, from fine to coarse."""
        height, width = images.shape[-2:]
        coarsest = self.backbone.strides[-1]
        return self.backbone(F.pad(self.normalize(images), (0, -width % coarsest, 0, -height % coarsest)))

    def merge(self, scores: list[Tensor]) -> Tensor:
        """The score map at the size of the padded image from those of the four heads, fine to coarse."""
        merged = self.refine_heads[-1](scores[-1])
        for level in range(len(scores) - 2, -1, -1):
            merged = self.refine_sums[level](self.refine_heads[level](scores[level]) + self.upsample[level](merged))
        return self.to_full_size(merged)

    def forward(self, images: Tensor) -> Tensor:
        height, width = images.shape[-2:]
        scores = [head(tap) for head, tap in zip(self.heads, self.taps(images), strict=True)]
        return self.merge(scores)[..., :height, :width]


def build_segmenter(head: str, k: int | None = None, m: int | None = None, refine: bool = False,
                    backbone: str = "resnet50", num_classes: int = 21, weights: str | Path | None = None,
                    normalization: str = "rgb", batch_norm: str = "train") -> Segmenter:  # fmt: skip
    """Build one variant of the paper.

    Args:
        head, k: the head of Fig. 4, the same k at all four levels (assumption: the paper does not say).
        m: for ``stack``, the intermediate channels at the coarsest level (Table 4); finer levels have the same
            fraction of their own channels. Default: as many as the level's features have.
        refine: add boundary refinement.
        backbone: a name of :data:`gcnlab.models.backbones.BACKBONES`, such as ``resnet50`` or ``resnet50_gcn``.
        weights: of the backbone (or of a whole segmenter): None (random), a torchvision name such as
            ``IMAGENET1K_V1`` (downloads), or a file (``.pt``/``.pth`` read with ``weights_only``, or ``.npz``).
            A ``conv`` takes those of a ``gcn`` too: the dense kernel of each pair.
        normalization: what the weights expect: ``rgb`` (torchvision) or ``caffe`` (BGR, mean only).
        batch_norm: ``train``; ``frozen-statistics`` (γ and β still learn); or ``frozen``.

    Raises:
        ValueError: unknown name, impossible k or m, or weights that do not fit, with the first wrong tensor.
    """
    net = build_backbone(backbone)
    top = net.channels[-1]
    heads = [
        build_head(head, c, num_classes, k, None if m is None else max(1, round(m * c / top))) for c in net.channels
    ]
    model = Segmenter(net, heads, num_classes, refine, normalization, batch_norm)
    if weights is not None:
        state, source = _read_weights(weights, backbone)
        if any(name.startswith("heads.") for name in state):
            load_matching(model, _dense(state) if head == "conv" else state, source)
        else:
            state = {name.removeprefix("backbone."): tensor for name, tensor in state.items()}
            load_matching(net, state, source, ignore=CLASSIFIER)
    return model


def _dense(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """``state`` of a segmenter, any GCN heads in it as the trivial convolutions that they equal."""
    dense = {name: tensor for name, tensor in state.items() if ".left." not in name and ".right." not in name}
    for name in state:
        if name.endswith(".left.0.weight"):
            head = name.removesuffix(".left.0.weight")
            branches = ([state[f"{head}.{side}.{i}.weight"] for i in (0, 1)] for side in ("left", "right"))
            dense[f"{head}.weight"] = sum(dense_kernel(*branch) for branch in branches)
    return dense


def _read_weights(weights: str | Path, backbone: str) -> tuple[dict[str, Tensor], str]:
    path = Path(weights)
    if path.suffix in (".npz", ".pt", ".pth"):
        try:
            if path.suffix == ".npz":
                with np.load(path, allow_pickle=False) as arrays:
                    return {name: torch.from_numpy(arrays[name]) for name in arrays.files}, str(path)
            state = torch.load(path, map_location="cpu", weights_only=True)
            if not isinstance(state, dict):
                raise TypeError("no dictionary of tensors")
            return state, str(path)
        except FileNotFoundError:
            raise
        except Exception as error:  # a damaged or dangerous file can raise almost anything
            raise ValueError(f"weights {path} cannot be read ({type(error).__name__}): copy the file again") from None
    try:
        entry = torchvision.models.get_model_weights(backbone)[str(weights)]
    except (KeyError, ValueError):
        raise ValueError(f"torchvision has no weights {str(weights)!r} for {backbone!r}") from None
    try:
        return entry.get_state_dict(), str(weights)
    except URLError as error:
        place = Path(torch.hub.get_dir()) / "checkpoints"
        raise ValueError(f"{entry.url} cannot be downloaded ({error.reason}): put that file into {place}") from None
