"""Frozen batch norm folded into the convolutions before it: one pass and one stored map less."""

from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor, nn


class FoldedConv2d(nn.Conv2d):
    """A convolution that applies the frozen batch norm after it, in its weight and bias.

    The gradient of its own weight is that of the pair: the fold is part of every forward pass.
    """

    norm: tuple[nn.BatchNorm2d]  # in a tuple, so that it stays the parent's module alone

    def forward(self, x: Tensor) -> Tensor:
        (norm,) = self.norm
        scale = norm.weight * (norm.running_var + norm.eps).rsqrt()
        bias = norm.bias - norm.running_mean * scale
        weight = self.weight * scale[:, None, None, None]
        return F.conv2d(x, weight, bias, self.stride, self.padding, self.dilation, self.groups)


class _FoldedAway(nn.BatchNorm2d):
    def forward(self, x: Tensor) -> Tensor:
        return x


def fold_frozen(model: nn.Module) -> None:
    """Fold every batch norm of ``model`` that directly follows a convolution without bias.

    Modules, parameters and their names stay what they were; only the class of the two changes. The
    batch norms must stay in evaluation mode, their parameters without gradient.
    """
    for parent in model.modules():
        for conv, norm in pairwise(parent.children()):
            if type(conv) is nn.Conv2d and type(norm) is nn.BatchNorm2d and conv.bias is None:
                conv.__class__, norm.__class__ = FoldedConv2d, _FoldedAway
                conv.norm = (norm,)
