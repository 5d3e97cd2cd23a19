"""Backbones: feature networks that give the four taps res-2 … res-5 of Fig. 2A, from fine to coarse.

Every backbone is a module with ``channels`` and ``strides`` (four each, fine → coarse); its forward maps
normalised images ``(N, 3, H, W)``, H and W multiples of ``strides[-1]``, to four feature maps
``(N, channels[i], H / strides[i], W / strides[i])``.
"""

from collections.abc import Sequence
from typing import ClassVar

import torch
import torchvision
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock


class ResNet(nn.Module):
    """A torchvision ResNet, tapped after res-2, res-3, res-4 and res-5 (strides 4, 8, 16, 32).

    Deviation: torchvision's bottleneck strides in its 3×3 convolution, the paper's (Caffe) in the first 1×1.
    Parameter names are torchvision's, so that its weight files load unchanged.
    """

    strides = (4, 8, 16, 32)

    def __init__(self, depth: int):
        super().__init__()
        net = getattr(torchvision.models, f"resnet{depth}")(weights=None)
        self.channels = tuple(c * (1 if depth < 50 else 4) for c in (64, 128, 256, 512))
        for name in ("conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3", "layer4"):
            setattr(self, name, getattr(net, name))

    def forward(self, x: Tensor) -> list[Tensor]:
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        taps = []
        for layer in (self.layer1, self.layer2, self.layer3, self.layer4):
            x = layer(x)
            taps.append(x)
        return taps


class SqueezeNet(nn.Module):
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

    def forward(self, x: Tensor) -> list[Tensor]:
        taps = []
        for i, layer in enumerate(self.features):
            x = layer(x)
            if i in self.taps_after:
                taps.append(x)
        return taps


class SmallResNet(nn.Module):
    """A ResNet of four basic blocks for the embedded data: strides 1, 2, 4, 4.

    A 64-pixel image has a 16×16 top map, as 512 pixels have in the paper, so that k = 3 … 15 cover the same
    fractions of the image. The theoretical receptive field of the top map is 41 pixels: less than a large object.
    """

    strides = (1, 2, 4, 4)

    def __init__(self, width: int = 16):
        super().__init__()
        self.channels = (width, 2 * width, 4 * width, 8 * width)
        self.stem = nn.Sequential(nn.Conv2d(3, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU())
        previous = width
        stages = []
        for channels, stride in zip(self.channels, (1, 2, 2, 1), strict=True):
            shortcut = None
            if stride != 1 or channels != previous:
                shortcut = nn.Sequential(nn.Conv2d(previous, channels, 1, stride, bias=False), nn.BatchNorm2d(channels))
            stages.append(BasicBlock(previous, channels, stride, shortcut))
            previous = channels
        self.stages = nn.ModuleList(stages)

    def forward(self, x: Tensor) -> list[Tensor]:
        x = self.stem(x)
        taps = []
        for stage in self.stages:
            x = stage(x)
            taps.append(x)
        return taps


BACKBONES = {f"resnet{depth}": lambda depth=depth: ResNet(depth) for depth in (18, 34, 50, 101, 152)}
BACKBONES |= {"squeezenet1_1": SqueezeNet, "small": SmallResNet}


def build_backbone(name: str) -> nn.Module:
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
