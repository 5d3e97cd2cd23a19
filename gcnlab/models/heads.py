"""The four heads of Fig. 4: each turns a feature map into a score map of the same size.

All heads are linear (no batch norm, no nonlinearity) and bias-free: only without biases do the
parameter counts of Tables 2 and 4 come out. Odd ``k`` with ``k // 2`` zero padding keeps the size.

Shapes: ``(N, in_channels, H, W) -> (N, num_classes, H, W)``, float.
"""

from collections.abc import Callable
from itertools import pairwise
from math import sqrt

import torch
from torch import Tensor, nn

from gcnlab.errors import NoSuchModel, check_name


def _conv(
    in_channels: int, out_channels: int, kernel: tuple[int, int], last: bool = True
) -> nn.Conv2d:
    """A bias-free convolution that keeps the size, initialised alike in every head.

    The paper gives no initialisation. Weights are normal with variance 1 / fan-in, which keeps the
    scale of the features whatever k and the depth, and the ``last`` convolution of a chain is ten
    times smaller. On features of unit scale the sum of four heads then starts near zero, on those
    of SqueezeNet far from it: see :func:`zero_scores`.
    """
    padding = (kernel[0] // 2, kernel[1] // 2)
    conv = nn.Conv2d(in_channels, out_channels, kernel, padding=padding, bias=False)
    fan_in = in_channels * kernel[0] * kernel[1]
    nn.init.normal_(conv.weight, std=(0.1 if last else 1.0) / sqrt(fan_in))
    return conv


class GCNHead(nn.Module):
    """Global Convolutional Network (Figs. 2B and 4A).

    Two separable branches, ``k×1 → 1×k`` and ``1×k → k×1``, are summed. Being linear, the block
    equals one dense k×k convolution whose kernel is the sum of the two branches' composed kernels,
    at O(2/k) of its cost.
    """

    def __init__(self, in_channels: int, num_classes: int, k: int):
        super().__init__()

        def branch(first: tuple[int, int], second: tuple[int, int]) -> nn.Sequential:
            inner = _conv(in_channels, num_classes, first, last=False)
            return nn.Sequential(inner, _conv(num_classes, num_classes, second))

        self.left, self.right = branch((k, 1), (1, k)), branch((1, k), (k, 1))

    def forward(self, features: Tensor) -> Tensor:
        return self.left(features) + self.right(features)

    def kernel(self) -> Tensor:
        """The kernel (num_classes, in_channels, k, k) of the dense convolution it equals."""
        branches = (self.left, self.right)
        return sum(dense_kernel(first.weight, second.weight) for first, second in branches)


def dense_kernel(first: Tensor, second: Tensor) -> Tensor:
    """The k×k kernel (O, I, k, k) of one branch of a GCN, from its two convolutions' weights.

    ``first`` (C, I, k, 1) and ``second`` (O, C, 1, k), or (C, I, 1, k) and (O, C, k, 1).
    """
    if first.shape[3] == 1:
        return torch.einsum("ocx,ciy->oiyx", second[:, :, 0], first[..., 0])
    return torch.einsum("ocy,cix->oiyx", second[..., 0], first[:, :, 0])


def _stack(in_channels: int, num_classes: int, k: int, m: int) -> nn.Sequential:
    """(k − 1) / 2 linear 3×3 convolutions with m channels in between (Fig. 4D)."""
    pairs = list(pairwise([in_channels] + [m] * ((k - 3) // 2) + [num_classes]))
    last = len(pairs) - 1
    return nn.Sequential(*(_conv(*pair, (3, 3), last=i == last) for i, pair in enumerate(pairs)))


# name → (in_channels, num_classes, k, m) → module; another file may add its own
HEADS: dict[str, Callable[[int, int, int | None, int | None], nn.Module]] = {
    "conv1x1": lambda channels, classes, k, m: _conv(channels, classes, (1, 1)),
    "gcn": lambda channels, classes, k, m: GCNHead(channels, classes, k),
    "conv": lambda channels, classes, k, m: _conv(channels, classes, (k, k)),
    "stack": lambda channels, classes, k, m: _stack(channels, classes, k, m or channels),
}


def zero_scores(head: nn.Module) -> None:
    """Set the last convolutions of ``head`` to zero: every score is zero, the loss the logarithm
    of the number of classes, whatever the features' scale. FCN's score layers start so.

    A head that is no chain of layers is the sum of its children, as :class:`GCNHead` is.
    """
    branches = [head] if isinstance(head, nn.Sequential | nn.Conv2d) else head.children()
    for branch in branches:
        *_, last = (module for module in branch.modules() if isinstance(module, nn.Conv2d))
        nn.init.zeros_(last.weight)


def build_head(
    name: str, in_channels: int, num_classes: int, k: int | None = None, m: int | None = None
) -> nn.Module:
    """Build one head of Fig. 4.

    Args:
        name: ``conv1x1`` (baseline, Fig. 4B), ``gcn`` (4A), ``conv`` (trivial k×k, 4C), ``stack``
            (4D).
        k: odd kernel size ≥ 3, of ``stack`` what its 3×3 convolutions add up to; not for
            ``conv1x1``.
        m: channels between the convolutions of ``stack``; default ``in_channels`` (Table 4: 2048).

    Raises:
        NoSuchModel: unknown name, even or missing ``k``, or ``m`` for a head that has none.
    """
    check_name("head", name, HEADS, NoSuchModel)
    if name == "conv1x1":
        if k not in (None, 1):
            raise NoSuchModel(f"head 'conv1x1' has k = 1, not {k}")
    elif k is None or k < 3 or k % 2 == 0:
        raise NoSuchModel(f"head {name!r} needs an odd k ≥ 3 (the paper has no other), not {k}")
    if m is not None and (name != "stack" or m < 1):
        raise NoSuchModel(f"m is the inner width of 'stack', at least 1; got m = {m} for {name!r}")
    return HEADS[name](in_channels, num_classes, k, m)
