"""Backbones: feature networks that give the four taps res-2 … res-5 of Fig. 2A, from fine to coarse.

Every backbone is a module with ``channels`` and ``strides`` (four each, fine → coarse); its forward maps
normalised images ``(N, 3, H, W)``, H and W multiples of ``strides[-1]``, to four feature maps
``(N, channels[i], H / strides[i], W / strides[i])``.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import ClassVar, NamedTuple

import torch
import torchvision
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock


class GCNStage(NamedTuple):
    """The blocks of one stage in GCN form: kernel size ``k`` (odd) and ``width``, the channels of each branch."""

    k: int
    width: int


# Fig. 5, Table 11: which stages of ResNet-50 change, and their sizes.
RESNET50_GCN = {4: GCNStage(5, 85), 5: GCNStage(7, 128)}


class GCNBlock(nn.Module):
    """A residual block whose spatial layers are a GCN pair (Fig. 5B): ``relu(shortcut(x) + project(left + right))``.

    ``left`` is k×1 then 1×k, ``right`` 1×k then k×1, both with ``width`` channels and with batch norm and ReLU after
    each convolution; ``project`` is 1×1 and batch norm. The first convolution of either branch has the stride.

    ``(N, in_channels, H, W) -> (N, out_channels, ⌈H / stride⌉, ⌈W / stride⌉)``.
    """

    def __init__(self, in_channels: int, out_channels: int, k: int, width: int, stride: int = 1):
        super().__init__()
        if k < 1 or k % 2 == 0 or width < 1:
            raise ValueError(f"k = {k}, width = {width}: a block needs an odd k and at least one channel")

        def branch(first: tuple[int, int], second: tuple[int, int]) -> nn.Sequential:
            layers: list[nn.Module] = []
            for channels, kernel, step in ((in_channels, first, stride), (width, second, 1)):
                padding = (kernel[0] // 2, kernel[1] // 2)
                layers += [nn.Conv2d(channels, width, kernel, step, padding, bias=False), nn.BatchNorm2d(width)]
                layers.append(nn.ReLU(inplace=True))
            return nn.Sequential(*layers)

        self.left, self.right = branch((k, 1), (1, k)), branch((1, k), (k, 1))
        self.project = nn.Sequential(nn.Conv2d(width, out_channels, 1, bias=False), nn.BatchNorm2d(out_channels))
        self.shortcut = _shortcut(in_channels, out_channels, stride) or nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.shortcut(x) + self.project(self.left(x) + self.right(x)))


def _shortcut(in_channels: int, out_channels: int, stride: int) -> nn.Module | None:
    if stride == 1 and in_channels == out_channels:
        return None
    return nn.Sequential(nn.Conv2d(in_channels, out_channels, 1, stride, bias=False), nn.BatchNorm2d(out_channels))


class Backbone(nn.Module, ABC):
    """A chain of four parts, each of which ends in a tap; see the module for its contract."""

    strides: tuple[int, int, int, int]
    channels: tuple[int, int, int, int]

    @abstractmethod
    def parts(self) -> list[nn.Module]:
        """The modules from the image to res-2, from there to res-3, and so on."""

    def forward(self, x: Tensor) -> list[Tensor]:
        taps = []
        for part in self.parts():
            x = part(x)
            taps.append(x)
        return taps


class ResNet(Backbone):
    """A torchvision ResNet, tapped after res-2, res-3, res-4 and res-5 (strides 4, 8, 16, 32).

    Parameter names are torchvision's, so that its weight files load unchanged.

    Args:
        depth: 18, 34, 50, 101 or 152.
        stride_in_1x1: halve the resolution in the first 1×1 convolution of a bottleneck, as the original ResNet and
            the paper do, not in its 3×3 as torchvision does. The tensors of the two have the same names and shapes:
            that weights were trained with the other place cannot be seen from a file.
        gcn: stages (2 … 5) whose blocks become :class:`GCNBlock`, and their sizes (ResNet-GCN, Fig. 5).
    """

    strides = (4, 8, 16, 32)

    def __init__(self, depth: int, stride_in_1x1: bool = False, gcn: Mapping[int, GCNStage] | None = None):
        super().__init__()
        net = getattr(torchvision.models, f"resnet{depth}")(weights=None)
        self.channels = tuple(c * (1 if depth < 50 else 4) for c in (64, 128, 256, 512))
        for name in ("conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3", "layer4"):
            setattr(self, name, getattr(net, name))
        if stride_in_1x1:
            if depth < 50:
                raise ValueError(f"ResNet-{depth} has no bottlenecks: stride_in_1x1 needs depth 50 or more")
            for stage in (self.layer2, self.layer3, self.layer4):
                stage[0].conv1.stride, stage[0].conv2.stride = (2, 2), (1, 1)
        for stage, size in _checked(gcn).items():
            blocks = len(getattr(self, f"layer{stage - 1}"))
            before, channels = (64, *self.channels)[stage - 2 : stage]
            first = GCNBlock(before, channels, *size, stride=1 if stage == 2 else 2)
            layer = nn.Sequential(first, *(GCNBlock(channels, channels, *size) for _ in range(blocks - 1)))
            for module in layer.modules():
                if isinstance(module, nn.Conv2d):  # as torchvision starts the other stages
                    nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            setattr(self, f"layer{stage - 1}", layer)

    def parts(self) -> list[nn.Module]:
        stem = nn.Sequential(self.conv1, self.bn1, self.relu, self.maxpool, self.layer1)
        return [stem, self.layer2, self.layer3, self.layer4]

    def components(self) -> dict[str, nn.Module]:
        """The rows of Table 11, from the input to res-5."""
        stem = nn.Sequential(self.conv1, self.bn1)
        stages = (self.layer1, self.layer2, self.layer3, self.layer4)
        return {"conv1": stem, "max pool": self.maxpool, **{f"res-{i}": s for i, s in enumerate(stages, 2)}}


def _checked(gcn: Mapping[int, GCNStage] | None) -> Mapping[int, GCNStage]:
    wrong = set(gcn or ()) - {2, 3, 4, 5}
    if wrong:
        raise ValueError(f"gcn names stage {min(wrong)}; the stages are 2, 3, 4 and 5")
    return gcn or {}


class SqueezeNet(Backbone):
    """torchvision's SqueezeNet 1.1, tapped at strides 2, 4, 8 and 16: an ImageNet backbone that a CPU can train.

    The first convolution is padded by one pixel (torchvision pads none), which makes the taps exactly 1/2 … 1/16
    of the input: a 256-pixel image has the 16×16 top map of the paper. Weight names and values are unchanged.
    """

    strides = (2, 4, 8, 16)
    channels = (64, 128, 256, 512)
    taps_after = (1, 4, 7, 12)  # first ReLU, then the second fire module of each resolution

    def __init__(self):
        super().__init__()
        self.features = torchvision.models.squeezenet1_1(weights=None).features
        self.features[0].padding = (1, 1)

    def parts(self) -> list[nn.Module]:
        edges = [0, *(i + 1 for i in self.taps_after)]
        return [self.features[first:end] for first, end in pairwise(edges)]


class SmallResNet(Backbone):
    """A ResNet of four basic blocks that a CPU trains in minutes: strides 1, 2, 4, 4 times ``stem_stride``.

    With the default a 64-pixel image has a 16×16 top map, as 512 pixels have in the paper, so that k = 3 … 15 cover
    the same fractions of the image. The theoretical receptive field of the top map is then 41 pixels: less than a
    large object.

    Args:
        width: channels after the stem; the stages have 1, 2, 4 and 8 times as many.
        stem_stride: stride of the first convolution.
        gcn: stages (2 … 5) whose block becomes a :class:`GCNBlock`, and their sizes.
    """

    def __init__(self, width: int = 16, stem_stride: int = 1, gcn: Mapping[int, GCNStage] | None = None):
        super().__init__()
        self.strides = tuple(stem_stride * s for s in (1, 2, 4, 4))
        self.channels = (width, 2 * width, 4 * width, 8 * width)
        stem = nn.Conv2d(3, width, 3, stem_stride, padding=1, bias=False)
        self.stem = nn.Sequential(stem, nn.BatchNorm2d(width), nn.ReLU())
        gcn, previous = _checked(gcn), width
        stages = []
        for stage, channels, stride in zip((2, 3, 4, 5), self.channels, (1, 2, 2, 1), strict=True):
            if stage in gcn:
                stages.append(GCNBlock(previous, channels, *gcn[stage], stride=stride))
            else:
                stages.append(BasicBlock(previous, channels, stride, _shortcut(previous, channels, stride)))
            previous = channels
        self.stages = nn.ModuleList(stages)

    def parts(self) -> list[nn.Module]:
        return [nn.Sequential(self.stem, self.stages[0]), *self.stages[1:]]

    def components(self) -> dict[str, nn.Module]:
        """The rows of a table like Table 11, from the input to res-5."""
        return {"conv1": self.stem, **{f"res-{i}": stage for i, stage in enumerate(self.stages, 2)}}


def small_gcn(width: int) -> dict[int, GCNStage]:
    """The GCN form of :class:`SmallResNet`, by the two rules of Table 11.

    The reach k − 1 of a block grows as in ResNet50-GCN, twice at res-4 and three times at res-5: two 3×3 reach 4, so
    k = 9 and 13. The width keeps parameters and multiply-adds of the stage (within 2 %).
    """
    return {4: GCNStage(9, round(2.5 * width)), 5: GCNStage(13, 4 * width)}


BACKBONES = {f"resnet{depth}": lambda depth=depth: ResNet(depth) for depth in (18, 34, 50, 101, 152)}
BACKBONES |= {
    # The pair of Tables 6 and 11: both stride in the first convolution of a stage.
    "resnet50_v1": lambda: ResNet(50, stride_in_1x1=True),
    "resnet50_gcn": lambda: ResNet(50, stride_in_1x1=True, gcn=RESNET50_GCN),
    "squeezenet1_1": SqueezeNet,
    # Their stand-ins: for 64-pixel shapes, and for photographs on a CPU.
    "small": SmallResNet,
    "small_gcn": lambda: SmallResNet(gcn=small_gcn(16)),
    "medium": lambda: SmallResNet(32, stem_stride=2),
    "medium_gcn": lambda: SmallResNet(32, stem_stride=2, gcn=small_gcn(32)),
}


def build_backbone(name: str) -> Backbone:
    """Build the backbone ``name`` with random weights; ``ValueError`` names the known ones."""
    if name not in BACKBONES:
        raise ValueError(f"unknown backbone {name!r}; choose one of {', '.join(BACKBONES)}")
    return BACKBONES[name]()


class Normalize(nn.Module):
    """Turn RGB images into what the backbone's weights were trained on.

    ``rgb``: [0, 1], minus the ImageNet mean, over its standard deviation (torchvision's weights).
    ``caffe``: BGR in 0 … 255 minus the ImageNet mean (the mean subtraction of the paper's Caffe models).

    Input: uint8 in 0 … 255, or float in [0, 1], ``(N, 3, H, W)``, RGB. Output: float, the same shape.
    """

    CONVENTIONS: ClassVar = {
        "rgb": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        "caffe": ((123.68 / 255, 116.779 / 255, 103.939 / 255), (1 / 255, 1 / 255, 1 / 255)),
    }

    def __init__(self, convention: str = "rgb"):
        super().__init__()
        if convention not in self.CONVENTIONS:
            raise ValueError(f"unknown normalization {convention!r}; choose one of {', '.join(self.CONVENTIONS)}")
        self.bgr = convention == "caffe"
        mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in self.CONVENTIONS[convention])
        self.register_buffer("mean", mean, persistent=False)
        self.register_buffer("std", std, persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        images = images.float() / 255 if images.dtype == torch.uint8 else images.float()
        images = (images - self.mean) / self.std
        return images.flip(1) if self.bgr else images


class Classifier(nn.Module):
    """A backbone with global average pooling and one linear layer: ``(N, 3, H, W) -> (N, num_classes)`` logits.

    Images as for :class:`Normalize`, of any size. Its checkpoint serves as ``weights`` of every segmenter on that
    backbone.
    """

    def __init__(self, backbone: nn.Module, num_classes: int, normalization: str = "rgb"):
        super().__init__()
        self.normalize = Normalize(normalization)
        self.backbone = backbone
        self.fc = nn.Linear(backbone.channels[-1], num_classes)

    def forward(self, images: Tensor) -> Tensor:
        return self.fc(self.backbone(self.normalize(images))[-1].mean((-2, -1)))


def build_classifier(backbone: str, num_classes: int, normalization: str = "rgb") -> Classifier:
    """A classifier on ``backbone`` with random weights; ``ValueError`` names the known backbones."""
    return Classifier(build_backbone(backbone), num_classes, normalization)


def resnet50_gcn(num_classes: int = 1000) -> Classifier:
    """ResNet50-GCN of Fig. 5 and Table 11 as an ImageNet classifier: 22.55 M parameters with batch norm and fc."""
    return build_classifier("resnet50_gcn", num_classes)


def load_matching(module: nn.Module, state: dict[str, Tensor], source: str, ignore: Sequence[str] = ()) -> None:
    """Load ``state`` into ``module`` with every tensor accounted for.

    Args:
        source: named in error messages.
        ignore: prefixes of names in ``state`` that have no place in ``module`` by design (a classifier).

    Raises:
        ValueError: a missing, unexpected or wrongly shaped tensor, by name.
    """
    state = {name: tensor for name, tensor in state.items() if not name.startswith(tuple(ignore))}
    own = module.state_dict()
    # Caffe-era and some exported files lack this counter, which training does not use.
    missing = [n for n in own if n not in state and not n.endswith("num_batches_tracked")]
    unexpected = [n for n in state if n not in own]
    reshaped = [n for n in state if n in own and state[n].shape != own[n].shape]
    for problem, names in (("lacks", missing), ("has unknown", unexpected), ("has a wrong shape for", reshaped)):
        if names:
            raise ValueError(f"weights {source} {problem} {len(names)} tensors, first {names[0]!r}")
    module.load_state_dict(state, strict=False)
