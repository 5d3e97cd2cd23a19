"""What backbones are made of: their contract, shortcuts, and the residual block in GCN form."""

from abc import ABC, abstractmethod
from typing import NamedTuple

import torch
from torch import Tensor, nn


class Backbone(nn.Module, ABC):
    """A chain of four parts, each of which ends in one of the feature maps C2 … C5 of Fig. 2A.

    Maps normalised images ``(N, 3, H, W)``, H and W multiples of ``strides[-1]``, to four maps
    ``(N, channels[i], H / strides[i], W / strides[i])``, from fine to coarse.
    """

    strides: tuple[int, int, int, int]
    channels: tuple[int, int, int, int]

    @abstractmethod
    def parts(self) -> list[nn.Module]:
        """The modules from the image to C2, from there to C3, and so on."""

    def forward(self, x: Tensor) -> list[Tensor]:
        maps = [x]
        for part in self.parts():
            maps.append(part(maps[-1]))
        return maps[1:]


class GCNStage(NamedTuple):
    """A stage in GCN form: kernel size ``k`` (odd) and ``width``, the channels of each branch."""

    k: int
    width: int


def conv_bn(inputs: int, outputs: int, kernel: tuple = (1, 1), stride: int = 1) -> list[nn.Module]:
    """A convolution, zero-padded by half its (height, width), and its batch norm."""
    padding = (kernel[0] // 2, kernel[1] // 2)
    conv = nn.Conv2d(inputs, outputs, kernel, stride, padding, bias=False)
    return [conv, nn.BatchNorm2d(outputs)]


def shortcut(in_channels: int, out_channels: int, stride: int) -> nn.Module | None:
    """The projection of a residual block; None where the identity fits."""
    if stride == 1 and in_channels == out_channels:
        return None
    return nn.Sequential(*conv_bn(in_channels, out_channels, stride=stride))


class GCNBlock(nn.Module):
    """A residual block whose spatial layers are a GCN pair (Fig. 5B).

    ``relu(shortcut(x) + project(left(x) + right(x)))``: ``left`` is k×1 then 1×k, ``right`` 1×k
    then k×1, both with ``width`` channels and with batch norm and ReLU after each convolution;
    ``project`` is 1×1 and batch norm. The first convolution of either branch has the stride.

    ``(N, in_channels, H, W) -> (N, out_channels, ⌈H / stride⌉, ⌈W / stride⌉)``.
    Raises ``ValueError`` for an even k or no channels.
    """

    def __init__(self, in_channels: int, out_channels: int, k: int, width: int, stride: int = 1):
        super().__init__()
        if k < 1 or k % 2 == 0 or width < 1:
            raise ValueError(f"k = {k}, width = {width}: use an odd k and at least one channel")

        def branch(first: tuple[int, int], second: tuple[int, int]) -> nn.Sequential:
            one, other = conv_bn(in_channels, width, first, stride), conv_bn(width, width, second)
            return nn.Sequential(*one, nn.ReLU(inplace=True), *other, nn.ReLU(inplace=True))

        self.left, self.right = branch((k, 1), (1, k)), branch((1, k), (k, 1))
        self.project = nn.Sequential(*conv_bn(width, out_channels))
        self.shortcut = shortcut(in_channels, out_channels, stride) or nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.shortcut(x) + self.project(self.left(x) + self.right(x)))
